//! Detects the format of a file by its first bytes: plain text, gzipped text, or another format, which is
//! refused by name. Independent of rows.

use std::io::{BufRead, BufReader, Chain, Cursor, Error, ErrorKind, Read, Result};

use flate2::bufread::MultiGzDecoder;

/// The number of bytes that identify a format: the magic of a tar archive is at byte 257.
const HEAD: u64 = 264;
const GZIP: &[u8] = b"\x1f\x8b";

/// The beginnings of files that are not UTF-8 text.
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

/// A reader, preceded by the bytes that were inspected.
type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// A reader's text, decompressed if it is gzip.
#[derive(Debug)]
pub(super) enum Decoded<R> {
    /// Nothing has been read yet.
    Unread(R),
    Plain(Whole<R>),
    Gzip(Box<Whole<BufReader<MultiGzDecoder<Whole<R>>>>>),
    /// The format is not supported.
    Refused,
}

impl<R: BufRead> Decoded<R> {
    /// Returns the text. The first call detects the format.
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

    /// Returns a read error, with the line at which it occurred if the file itself is at fault.
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

/// Returns the first bytes, at most to the end of a line, and a reader that includes them. Stopping at a line
/// end does not keep a row-by-row writer waiting.
fn look<R: BufRead>(mut reader: R) -> Result<(Vec<u8>, Whole<R>)> {
    let mut head = Vec::new();
    (&mut reader).take(HEAD).read_until(b'\n', &mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// Refuses formats other than UTF-8 text, by name.
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

/// Makes a read error for invalid contents.
pub(super) fn refused(reason: String) -> Error {
    Error::new(ErrorKind::InvalidData, reason)
}
