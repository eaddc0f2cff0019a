//! Rows of JSON from untrusted files: bounded in length, numbered, each an object or an error.
//!
//! All readers of rows, in the crate and the examples, use [`Rows`], so all accept the same files.
//! Independent of the meaning of rows.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Result};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::array::{self, Array, Element};
use super::decode::{Decoded, refused};
use crate::error::json_reason;

/// The longest row that is read, in bytes without its line end.
pub const MAX_LINE: usize = 16 << 20;

/// Iterates over the rows of a file in bounded memory. The file is JSON Lines or a JSON array of objects in
/// any layout, plain or in gzip.
///
/// A UTF-8 byte order mark at the beginning and blank lines are skipped. Lines end with `\n` or `\r\n`. A row
/// that is not a JSON object is returned as an error message, and reading continues with the next row. A row
/// of more than [`MAX_LINE`] bytes is also returned as an error message, as soon as it exceeds the limit; its
/// rest is skipped when the next row is requested. After a read error there are no more rows. Files that are
/// not UTF-8 text (Parquet, UTF-16, …) and CSV files give an error of kind
/// [`InvalidData`](std::io::ErrorKind::InvalidData), which names the format.
///
/// ```
/// use dart_math::data::lines::Rows;
///
/// let file = "\u{FEFF}{\"id\": 1}\n\n[2]\n{\"id\": 3}\n";
/// let rows: Vec<_> = Rows::new(file.as_bytes()).collect::<Result<_, _>>()?;
/// assert_eq!(rows.len(), 3);
/// assert_eq!(rows[0].object.as_ref().unwrap()["id"], 1);
/// assert_eq!((rows[1].line, rows[1].object.as_ref().unwrap_err().as_str()), (3, "not a JSON object"));
///
/// let file = "[\n  {\"id\": 1},\n  {\"id\":\n   2.50}\n]\n";
/// let rows: Vec<_> = Rows::new(file.as_bytes()).collect::<Result<_, _>>()?;
/// assert_eq!((rows[1].line, rows[1].numbers["id"].as_str()), (3, "2.50"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Rows<R> {
    reader: Decoded<R>,
    number: u64,
    line: Vec<u8>,
    /// Whether the rest of an overlong line must still be skipped.
    within: bool,
    /// Whether a non-blank line has been seen.
    begun: bool,
    /// The array, if the file is one.
    array: Option<Array>,
    /// Whether the file ended or failed.
    over: bool,
}

/// A row: a non-blank line or an element of an array.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The number of its first line, from 1. Blank lines are counted.
    pub line: u64,
    /// The row's object, or why it is not one. A number that [`Value`] cannot hold (an integer of more than
    /// 64 bits, or one beyond the range of f64) is stored as text.
    pub object: std::result::Result<Map<String, Value>, String>,
    /// The numeric fields that [`object`](Row::object) does not represent as written: `0.50`, `1e3`,
    /// `12345678901234567890123`.
    pub numbers: BTreeMap<String, String>,
}

impl Row {
    fn new(line: u64, row: std::result::Result<Object, String>) -> Self {
        let (object, numbers) = match row {
            Ok(Object { fields, numbers }) => (Ok(fields), numbers),
            Err(reason) => (Err(reason), BTreeMap::new()),
        };
        Row {
            line,
            object,
            numbers,
        }
    }
}

/// The contents of a row.
struct Object {
    fields: Map<String, Value>,
    numbers: BTreeMap<String, String>,
}

impl<R: BufRead> Rows<R> {
    /// Returns the rows of a reader.
    pub fn new(reader: R) -> Self {
        Rows {
            reader: Decoded::Unread(reader),
            number: 0,
            line: Vec::new(),
            within: false,
            begun: false,
            array: None,
            over: false,
        }
    }

    fn read(&mut self) -> Result<Option<Row>> {
        loop {
            if let Some(array) = &mut self.array {
                let element = array.next(self.reader.text()?, &mut self.line)?;
                return Ok(element.map(|element| row_of(element, &self.line)));
            }
            if !self.read_line()? {
                return Ok(None);
            }
            if self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF") {
                self.line.drain(..3);
            }
            let line = self.line.trim_ascii();
            if !self.within && line.is_empty() {
                continue;
            }
            let first = !std::mem::replace(&mut self.begun, true);
            if first && array::opens(line) {
                self.within = false;
                self.array = Some(Array::new(std::mem::take(&mut self.line), self.number));
                continue;
            }
            let object = match self.within {
                true => Err(format!("longer than {} MiB", MAX_LINE >> 20)),
                false => object(line, |error| format!("column {}", error.column())),
            };
            let no_json = |reason: &String| reason.starts_with("not JSON");
            if first && object.as_ref().err().is_some_and(no_json) && is_csv(line) {
                return Err(refused(
                    "no JSON but CSV, by the look of its first line; rows are read from JSON Lines or a JSON array, so \
                     convert it first"
                        .into(),
                ));
            }
            return Ok(Some(Row::new(self.number, object)));
        }
    }

    /// Reads one line, or the beginning of an overlong one. Returns `false` at the end of the file.
    fn read_line(&mut self) -> Result<bool> {
        let reader = self.reader.text()?;
        if self.within {
            reader.skip_until(b'\n')?;
        }
        self.line.clear();
        self.number += 1;
        // Read one more byte, so that a line of exactly the maximum length is recognised by its line end.
        let mut bounded = reader.take(MAX_LINE as u64 + 1);
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
        let row = self.read().map_err(|error| {
            let line = self.array.as_ref().map_or(self.number, Array::line);
            self.reader.explain(error, line.max(1))
        });
        let row = row.transpose();
        self.over = !matches!(row, Some(Ok(_)));
        row
    }
}

/// Returns the row of an array element.
fn row_of(element: Element, text: &[u8]) -> Row {
    let Element { line, column, .. } = element;
    let place = |error: &serde_json::Error| match error.line() as u64 {
        0 | 1 => format!("column {}", column + (error.column() as u64).max(1) - 1),
        later => format!("line {}, column {}", line + later - 1, error.column()),
    };
    let object = element
        .text
        .and_then(|()| object(text.trim_ascii_end(), place));
    Row::new(line, object)
}

fn object(
    line: &[u8],
    place: impl Fn(&serde_json::Error) -> String,
) -> std::result::Result<Object, String> {
    let line = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 (byte {})", error.valid_up_to() + 1))?;
    let fields = match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => return Err("not a JSON object".into()),
        Err(error) => Err(error),
    };
    let exact = |value: &Value| !value.is_f64();
    match fields {
        Ok(fields) if fields.values().all(exact) => Ok(Object {
            fields,
            numbers: BTreeMap::new(),
        }),
        Ok(fields) => Ok(as_written(line).unwrap_or(Object {
            fields,
            numbers: BTreeMap::new(),
        })),
        // It may be valid except for a number that is too large.
        Err(error) => as_written(line).ok_or_else(|| {
            let advice = match error.is_eof() {
                true => " (a row is one line, or an element of an array)",
                false => "",
            };
            format!(
                "not JSON ({}): {}{advice}",
                place(&error),
                json_reason(&error)
            )
        }),
    }
}

/// The fields of an object in order, as raw text.
struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RawFields(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Returns the object of a line with its numbers as written; `None` if it is not an object.
fn as_written(line: &str) -> Option<Object> {
    let raw: RawFields<'_> = serde_json::from_str(line).ok()?;
    let (mut fields, mut numbers) = (Map::new(), BTreeMap::new());
    for (name, text) in raw.0 {
        let text = text.get();
        let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
        let value = match serde_json::from_str(text) {
            Ok(Value::Number(number)) => {
                if number.to_string() != text {
                    numbers.insert(name.clone(), text.to_owned());
                }
                let rounded = number.is_f64() && number.as_f64() != Some(0.0);
                match rounded && !text.contains(['.', 'e', 'E']) {
                    true => Value::String(text.to_owned()),
                    false => Value::Number(number),
                }
            }
            Ok(value) => value,
            Err(_) if is_number => {
                numbers.insert(name.clone(), text.to_owned());
                Value::String(text.to_owned())
            }
            Err(_) => return None,
        };
        fields.insert(name, value);
    }
    Some(Object { fields, numbers })
}

/// Returns whether a line that is not JSON looks like the first line of a CSV file.
fn is_csv(line: &[u8]) -> bool {
    let separated = |separator: u8| line.contains(&separator);
    !line.iter().any(|byte| b"{}[]".contains(byte)) && b",;\t".iter().any(|&byte| separated(byte))
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Error, repeat};

    use super::*;

    /// Fails when more is read than needed to detect an overlong line.
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
    fn a_line_without_end_is_reported_at_the_limit() {
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
