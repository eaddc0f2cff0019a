//! JSON Lines from files that may hold anything: rows bounded in length, numbered, each object or
//! the reason why it is none. Knows nothing of what the rows mean.

use std::io::{BufRead, ErrorKind as IoErrorKind, Read};

use serde_json::{Map, Value};

/// The longest row that is read.
pub(super) const LONGEST_ROW: usize = 16 << 20;

/// Reads rows one after the other.
pub(super) struct Rows<R> {
    reader: R,
    number: u64,
    line: Vec<u8>,
}

/// A row, by the number of its line (from 1).
pub(super) type Row = (u64, Result<Map<String, Value>, String>);

impl<R: BufRead> Rows<R> {
    pub(super) fn new(reader: R) -> Self {
        Rows {
            reader,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next row that is not blank.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Row>> {
        loop {
            self.number += 1;
            if !self.read_line()? {
                return Ok(None);
            }
            if self.number == 1 && self.line.starts_with(b"\xEF\xBB\xBF") {
                self.line.drain(..3);
            }
            if self.line.len() > LONGEST_ROW {
                let reason = format!("longer than {} MiB", LONGEST_ROW >> 20);
                return Ok(Some((self.number, Err(reason))));
            }
            let line = self.line.trim_ascii();
            if !line.is_empty() {
                return Ok(Some((self.number, object(line))));
            }
        }
    }

    /// Reads one line; of one that is too long only the beginning is kept. `false` at the end.
    fn read_line(&mut self) -> std::io::Result<bool> {
        self.line.clear();
        let bound = LONGEST_ROW as u64 + 1;
        let mut begun = false;
        loop {
            let mut skipped = Vec::new();
            let into = match self.line.len() > LONGEST_ROW {
                true => &mut skipped,
                false => &mut self.line,
            };
            let read = match (&mut self.reader).take(bound).read_until(b'\n', into) {
                Err(error) if error.kind() == IoErrorKind::Interrupted => continue,
                read => read?,
            };
            begun |= read > 0;
            if read == 0 || into.ends_with(b"\n") {
                return Ok(begun);
            }
        }
    }
}

fn object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|error| format!("not UTF-8 (byte {})", error.valid_up_to() + 1))?;
    match serde_json::from_str(line) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(_) => Err("not a JSON object".into()),
        Err(error) => Err(format!(
            "not JSON (column {}): {}",
            error.column(),
            what_failed(&error)
        )),
    }
}

/// The parser's message without its line, which is always 1.
fn what_failed(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
