//! Recognises the format of a file by its first bytes: plain text, text in gzip, or another format,
//! which is refused by name. Knows nothing of rows.

use std::io::{BufRead, BufReader, Chain, Cursor, Error, ErrorKind, Read, Result};

use flate2::bufread::MultiGzDecoder;

/// How many bytes identify a format: the mark of a tar archive is at byte 257.
const HEAD: u64 = 264;
const GZIP: &[u8] = b"\x1f\x8b";

/// What files begin with that are not text in UTF-8.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
    (b"ORC", "ORC"),
    (b"Obj\x01", "Avro"),
    (b"PK\x03\x04", "ZIP (as .xlsx and .npz files are)"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\xfd7zXZ\x00", "XZ"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel file"),
    (b"SQLite format 3\x00", "SQLite"),
    (b"\x89HDF", "HDF5"),
    (b"\x93NUMPY", "NumPy"),
    (b"%PDF", "PDF"),
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
    ),
];

/// A reader, and before it the bytes that were looked at.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// A reader's text, taken out of gzip where it is in it.
#[derive(Debug)]
pub(super) enum Decoded<R> {
    /// Nothing has been read.
    Unread(R),
    Plain(Whole<R>),
    Gzip(Box<Whole<BufReader<MultiGzDecoder<Whole<R>>>>>),
    /// It is not for us.
    Refused,
}

impl<R: BufRead> Decoded<R> {
    /// The text, which the first bytes are looked at for if nobody has.
    pub(super) fn text(&mut self) -> Result<&mut dyn BufRead> {
        if let Decoded::Unread(_) = self
            && let Decoded::Unread(reader) = std::mem::replace(self, Decoded::Refused)
        {
            *self = decode(reader)?;
        }
        match self {
            Decoded::Plain(reader) => Ok(reader),
            Decoded::Gzip(reader) => Ok(reader),
            Decoded::Unread(_) | Decoded::Refused => Err(refused("it was refused before".into())),
        }
    }

    /// An error of reading, with the line that it came in where the file itself is at fault.
    pub(super) fn explain(&self, error: Error, line: u64) -> Error {
        let damaged = matches!(
            error.kind(),
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof
        );
        match self {
            Decoded::Gzip(_) if damaged => refused(format!(
                "line {line}: the gzip file is damaged or cut off: {error}"
            )),
            _ => error,
        }
    }
}

fn decode<R: BufRead>(reader: R) -> Result<Decoded<R>> {
    let (head, whole) = look(reader)?;
    if !head.starts_with(GZIP) {
        check(&head)?;
        return Ok(Decoded::Plain(whole));
    }
    let cut = |error| refused(format!("the gzip file is damaged or cut off: {error}"));
    let (head, whole) = look(BufReader::new(MultiGzDecoder::new(whole))).map_err(cut)?;
    if head.starts_with(GZIP) {
        return Err(refused("gzip within gzip".into()));
    }
    check(&head).map_err(|error| refused(format!("within gzip: {error}")))?;
    Ok(Decoded::Gzip(Box::new(whole)))
}

/// The first bytes, to the end of a line at most, so that whoever writes row by row is not kept
/// waiting; and the reader as if nothing had been read.
fn look<R: BufRead>(mut reader: R) -> Result<(Vec<u8>, Whole<R>)> {
    let mut head = Vec::new();
    (&mut reader).take(HEAD).read_until(b'\n', &mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// Refuses what is not text in UTF-8, by its name.
fn check(head: &[u8]) -> Result<()> {
    let signed = SIGNATURES.iter().find(|(bytes, _)| head.starts_with(bytes));
    let name = match signed {
        Some(&(_, name)) => name,
        None if head
            .get(257..)
            .is_some_and(|rest| rest.starts_with(b"ustar")) =>
        {
            "a tar archive"
        }
        // The bytes of an ASCII character in wider units.
        None => match head {
            [0, 0, 0, 1..=255, ..] | [1..=255, 0, 0, 0, ..] => "UTF-32",
            [0, 1..=255, 0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..] => "UTF-16",
            _ => return Ok(()),
        },
    };
    Err(refused(format!(
        "{name}; rows are read from JSON Lines or a JSON array in UTF-8, as they are or in gzip, \
         so convert it first"
    )))
}

/// What is wrong with a file's contents, as an error of reading it.
pub(super) fn refused(reason: String) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}
