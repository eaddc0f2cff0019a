//! JSON Lines from files that may hold anything: rows bounded in length, numbered, each an object or
//! the reason why it is none.
//!
//! Every reader of rows, the crate's own and the examples', goes through [`Rows`], so that all of
//! them take the same files. Knows nothing of what the rows mean.

use std::io::{BufRead, Read, Result};

use serde_json::{Map, Value};

use crate::error::json_reason;

/// The longest line that is read, in bytes without its end.
pub const MAX_LINE: usize = 16 << 20;

/// The rows of a JSON Lines file, one after the other, in bounded memory.
///
/// A mark of UTF-8 at the file's beginning (a "BOM") and blank lines are passed over; lines end with
/// `\n` or `\r\n`. A row that is no JSON object comes as the reason why, and the next one is read all
/// the same. A line of more than [`MAX_LINE`] bytes is such a row too: it is told of as soon as
/// the limit is passed, and read on, to its end, only when the row after it is asked for. After an
/// error of the file itself there are no more rows.
///
/// ```
/// use dart_math::data::lines::Rows;
///
/// let file = "\u{FEFF}{\"id\": 1}\n\n[2]\n{\"id\": 3}\n";
/// let rows: Vec<_> = Rows::new(file.as_bytes()).collect::<Result<_, _>>()?;
/// assert_eq!(rows.len(), 3);
/// assert_eq!(rows[0].object.as_ref().unwrap()["id"], 1);
/// assert_eq!((rows[1].line, rows[1].object.as_ref().unwrap_err().as_str()), (3, "not a JSON object"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Rows<R> {
    reader: R,
    number: u64,
    line: Vec<u8>,
    /// Whether the rest of the last line, which was too long, is still to be passed over.
    within: bool,
    /// Whether the file ended or failed.
    over: bool,
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// Its number, from 1; blank lines are counted.
    pub line: u64,
    /// The object that it is, or why it is none.
    pub object: std::result::Result<Map<String, Value>, String>,
}

impl<R: BufRead> Rows<R> {
    /// The rows of what a reader gives.
    pub fn new(reader: R) -> Self {
        Rows {
            reader,
            number: 0,
            line: Vec::new(),
            within: false,
            over: false,
        }
    }

    fn read(&mut self) -> Result<Option<Row>> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF") {
                self.line.drain(..3);
            }
            let line = self.line.trim_ascii();
            if self.within || !line.is_empty() {
                let object = match self.within {
                    true => Err(format!("longer than {} MiB", MAX_LINE >> 20)),
                    false => object(line),
                };
                let line = self.number;
                return Ok(Some(Row { line, object }));
            }
        }
    }

    /// Reads one line, or the beginning of one that is too long; `false` at the file's end.
    fn read_line(&mut self) -> Result<bool> {
        if self.within {
            self.reader.skip_until(b'\n')?;
        }
        self.line.clear();
        self.number += 1;
        // One byte more for the line's end, by which a line of just the limit is told.
        let mut bounded = (&mut self.reader).take(MAX_LINE as u64 + 1);
        let read = bounded.read_until(b'\n', &mut self.line)?;
        self.within = read > MAX_LINE && !self.line.ends_with(b"\n");
        Ok(read > 0)
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if self.over {
            return None;
        }
        let row = self.read().transpose();
        self.over = !matches!(row, Some(Ok(_)));
        row
    }
}

fn object(line: &[u8]) -> std::result::Result<Map<String, Value>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 (byte {})", error.valid_up_to() + 1))?;
    match serde_json::from_str(line) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(_) => Err("not a JSON object".into()),
        Err(error) => Err(format!(
            "not JSON (column {}): {}",
            error.column(),
            json_reason(&error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Error, repeat};

    use super::*;

    /// Fails when more is read than a reader needs to see that a line is too long.
    struct Endless(usize);

    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            self.0 += into.len();
            assert!(self.0 <= MAX_LINE + (1 << 20), "read on without end");
            into.fill(0);
            Ok(into.len())
        }
    }

    #[test]
    fn a_line_without_end_is_told_of_at_the_limit() {
        let row = Rows::new(BufReader::new(Endless(0))).next();
        let row = row.unwrap().unwrap();
        assert_eq!(
            (row.line, row.object),
            (1, Err("longer than 16 MiB".into()))
        );
    }

    #[test]
    fn a_long_line_is_passed_over_in_bounded_memory() {
        let huge = repeat(b' ').take(20 * MAX_LINE as u64);
        let mut rows = Rows::new(BufReader::new(huge.chain(&b"\n{\"id\": 1}"[..])));
        assert!(rows.next().unwrap().unwrap().object.is_err());
        let row = rows.next().unwrap().unwrap();
        assert_eq!((row.line, &row.object.unwrap()["id"]), (2, &1.into()));
        assert!(rows.line.capacity() <= 2 * MAX_LINE + 2);
        assert!(rows.next().is_none());
    }

    #[test]
    fn a_line_of_just_the_limit_is_read() {
        let row = |length: usize| format!("{{\"id\": \"{}\"}}", "x".repeat(length - 10));
        let file = format!("{}\n{}\n", row(MAX_LINE), row(MAX_LINE + 1));
        let rows: Result<Vec<Row>> = Rows::new(file.as_bytes()).collect();
        let rows = rows.unwrap();
        assert!(rows[0].object.is_ok());
        assert!(rows[1].object.is_err());
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_failing_file_ends_the_rows() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> Result<usize> {
                Err(Error::other("torn"))
            }
        }
        let mut rows = Rows::new(BufReader::new((&b"{}\n"[..]).chain(Broken)));
        assert!(rows.next().unwrap().is_ok());
        assert!(rows.next().unwrap().is_err());
        assert!(rows.next().is_none());
    }
}
