//! Rows with a checksum: one JSON object per line. Its first member, `crc`, is the CRC-32 (ISO-HDLC, as in
//! zip and gzip) of the rest of the row, in hexadecimal.
//!
//! A row is still JSON, and any flipped bit is detected.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::damaged;
use crate::error::json_reason;
use crate::{Error, Result};

/// The beginning of a row, before the checksum.
const OPEN: &[u8] = b"{\"crc\":\"";
/// The hexadecimal digits of a checksum.
const DIGITS: usize = 8;
/// The offset of the checksummed data: after the closing quotation mark, from the comma that stands for the
/// object's opening brace.
const REST: usize = OPEN.len() + DIGITS + 1;

/// The longest row that is read, far longer than any response.
const MAX_ROW: u64 = 64 << 20;

/// Writes a row with its line end to `line`, replacing its contents.
pub(super) fn write(row: &impl Serialize, line: &mut Vec<u8>) -> Result<()> {
    line.clear();
    line.extend_from_slice(OPEN);
    line.extend_from_slice(&[b'0'; DIGITS]);
    line.push(b'"');
    serde_json::to_writer(&mut *line, row).map_err(|error| {
        Error::new(crate::ErrorKind::Journal, "a row cannot be written as JSON").with_source(error)
    })?;
    line[REST] = b',';
    let checksum = format!("{:08x}", crc32fast::hash(&line[REST..]));
    line[OPEN.len()..OPEN.len() + DIGITS].copy_from_slice(checksum.as_bytes());
    line.push(b'\n');
    Ok(())
}

/// Checks that a row, without its line end, has not changed since it was written.
fn check(line: &[u8]) -> std::result::Result<(), &'static str> {
    let (Some(digits), true) = (
        line.get(OPEN.len()..OPEN.len() + DIGITS),
        line.starts_with(OPEN) && line.get(REST - 1..=REST) == Some(b"\","),
    ) else {
        return Err("no row with a checksum");
    };
    match format!("{:08x}", crc32fast::hash(&line[REST..])).as_bytes() == digits {
        true => Ok(()),
        false => Err("damaged: its checksum is another one"),
    }
}

/// Appends a row as plain JSON, without its checksum. `line` must be complete and checked.
pub(super) fn append_plain(line: &[u8], to: &mut Vec<u8>) {
    to.push(b'{');
    to.extend_from_slice(&line[REST + 1..]);
}

/// Reads rows of bounded length and tracks where the last complete one ends.
pub(super) struct Rows<'a, R> {
    reader: BufReader<R>,
    path: &'a Path,
    /// The number of the last row, from 1.
    pub(super) number: u64,
    /// The end of the last complete row.
    pub(super) whole: u64,
    line: Vec<u8>,
}

pub(super) enum Found<'a> {
    /// An intact row: its JSON without the checksum.
    Row(&'a [u8]),
    /// A row without an end, which was being written when the run was killed.
    Torn(&'a [u8]),
    End,
}

impl<'a, R: Read> Rows<'a, R> {
    pub(super) fn new(reader: R, path: &'a Path) -> Self {
        Rows {
            reader: BufReader::new(reader),
            path,
            number: 0,
            whole: 0,
            line: Vec::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Found<'_>> {
        self.line.clear();
        self.number += 1;
        let mut bounded = (&mut self.reader).take(MAX_ROW);
        let read = loop {
            match bounded.read_until(b'\n', &mut self.line) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        read.map_err(|error| Error::io(self.path, error))?;
        let length = self.line.len();
        match self.line.last() {
            None => Ok(Found::End),
            Some(b'\n') => {
                check(&self.line[..length - 1])
                    .map_err(|reason| unreadable(self.path, self.number, reason))?;
                self.whole += length as u64;
                self.line[REST] = b'{';
                Ok(Found::Row(&self.line[REST..length - 1]))
            }
            Some(_) if length as u64 == MAX_ROW => Err(damaged(
                self.path,
                self.number,
                "a line longer than any row is",
            )),
            Some(_) => Ok(Found::Torn(&self.line)),
        }
    }
}

impl<R: Read> Rows<'_, R> {
    /// Returns the next row as a value; `None` at the end or at an incomplete last row.
    pub(super) fn next_value<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let value = match self.next()? {
            Found::Row(row) => serde_json::from_slice(row),
            Found::Torn(_) | Found::End => return Ok(None),
        };
        value
            .map(Some)
            .map_err(|error| unreadable(self.path, self.number, &json_reason(&error)))
    }
}

/// An error for a row that cannot be read. Deleting it leaves a gap, as if it had not been written.
fn unreadable(path: &Path, line: u64, reason: &str) -> Error {
    let hint = "delete this line to go on without it; what it held is drawn again if it counts";
    damaged(path, line, &format!("{reason} ({hint})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_that_flips_is_found() {
        let row = serde_json::json!({"problem": "p1", "trial": 3, "text": "é\n\"x\""});
        let mut line = Vec::new();
        write(&row, &mut line).unwrap();
        let (end, whole) = line.split_last().unwrap();
        assert_eq!(*end, b'\n');
        check(whole).unwrap();
        let read: serde_json::Value = serde_json::from_slice(whole).unwrap();
        assert_eq!(read["text"], row["text"]);
        let mut plain = Vec::new();
        append_plain(whole, &mut plain);
        assert_eq!(plain, serde_json::to_vec(&row).unwrap());
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&flipped).is_err(), "{bit}");
        }
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
