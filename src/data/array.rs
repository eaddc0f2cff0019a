//! Reads the elements of a JSON array one by one in bounded memory, each with its position. It handles
//! brackets, strings and commas; elements are parsed by the caller.

use std::io::{BufRead, Result};

use super::lines::MAX_LINE;

/// An array being read.
#[derive(Debug)]
pub(super) struct Array {
    /// The bytes read ahead, and how many of them were consumed.
    buffer: Vec<u8>,
    used: usize,
    /// The position of the next byte: line and column, from 1.
    line: u64,
    column: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// After the opening bracket.
    Opened,
    /// After a comma.
    Continued,
    /// Inside an element that is too long.
    Overlong {
        depth: u64,
        quoted: bool,
        escaped: bool,
    },
    /// The file ended before the array did.
    Torn,
    /// After the closing bracket.
    Closed,
    /// Nothing more to report.
    Over,
}

/// An element or an error in its place.
pub(super) struct Element {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) text: std::result::Result<(), String>,
}

/// What ends an element.
enum End {
    Comma,
    Close,
    File,
    /// The length limit.
    Limit(State),
}

/// Returns whether a file's first line begins an array of rows: a bracket followed by an object, the end of
/// the line or the end of the array. Any other line with a bracket is a row by itself.
pub(super) fn opens(line: &[u8]) -> bool {
    let Some(rest) = line.trim_ascii_start().strip_prefix(b"[") else {
        return false;
    };
    matches!(rest.trim_ascii_start().first(), None | Some(b'{' | b']'))
}

impl Array {
    /// An array whose opening bracket is the first non-blank character of `bytes`, the beginning of line
    /// `line`.
    pub(super) fn new(mut bytes: Vec<u8>, line: u64) -> Self {
        let open = bytes.iter().position(|&byte| byte == b'[');
        let used = open.map_or(0, |at| at + 1);
        bytes.shrink_to_fit();
        Array {
            buffer: bytes,
            used,
            line,
            column: used as u64 + 1,
            state: State::Opened,
        }
    }

    /// Returns the line of the next byte.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Reads the text of the next element into `text`.
    pub(super) fn next(
        &mut self,
        reader: &mut dyn BufRead,
        text: &mut Vec<u8>,
    ) -> Result<Option<Element>> {
        text.clear();
        if let State::Overlong { .. } = self.state {
            match self.scan(reader, None)? {
                End::Comma => self.state = State::Continued,
                End::Close => self.state = State::Closed,
                End::File | End::Limit(_) => self.state = State::Torn,
            }
        }
        let blank = self.skip_blanks(reader)?;
        let (line, column) = (self.line, self.column);
        let element = |text| Ok(Some(Element { line, column, text }));
        let bad = |reason: &str| element(Err(reason.to_owned()));
        let first = match self.state {
            State::Opened => true,
            State::Continued | State::Overlong { .. } => false,
            State::Torn => {
                self.state = State::Over;
                return bad("the file ends within the array: its `]` is missing");
            }
            State::Closed if blank.is_some() => {
                self.state = State::Over;
                return bad("something follows the array");
            }
            State::Closed | State::Over => return Ok(None),
        };
        let end = self.scan(reader, Some(text))?;
        self.state = match end {
            End::Comma => State::Continued,
            End::Close => State::Closed,
            End::File => State::Torn,
            End::Limit(state) => {
                self.state = state;
                return element(Err(format!("longer than {} MiB", MAX_LINE >> 20)));
            }
        };
        match (text.is_empty(), self.state) {
            (false, _) => element(Ok(())),
            (true, State::Closed) if first => self.next(reader, text),
            (true, State::Torn) => self.next(reader, text),
            (true, State::Closed) => bad("a comma with no row behind it"),
            (true, _) => bad("a comma with no row before it"),
        }
    }

    /// Reads to the end of an element, and stores it in `text` if given and if it fits.
    fn scan(&mut self, reader: &mut dyn BufRead, mut text: Option<&mut Vec<u8>>) -> Result<End> {
        let (mut depth, mut quoted, mut escaped) = match self.state {
            State::Overlong {
                depth,
                quoted,
                escaped,
            } => (depth, quoted, escaped),
            _ => (0, false, false),
        };
        while let Some(byte) = self.peek(reader)? {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b',' if depth == 0 => {
                    self.advance(byte);
                    return Ok(End::Comma);
                }
                b']' if depth == 0 => {
                    self.advance(byte);
                    return Ok(End::Close);
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = u64::saturating_sub(depth, 1),
                _ => {}
            }
            self.advance(byte);
            if let Some(text) = &mut text {
                if text.len() == MAX_LINE {
                    text.clear();
                    return Ok(End::Limit(State::Overlong {
                        depth,
                        quoted,
                        escaped,
                    }));
                }
                text.push(byte);
            }
        }
        Ok(End::File)
    }

    /// Skips white space and returns the next byte.
    fn skip_blanks(&mut self, reader: &mut dyn BufRead) -> Result<Option<u8>> {
        loop {
            match self.peek(reader)? {
                Some(byte) if byte.is_ascii_whitespace() => self.advance(byte),
                byte => return Ok(byte),
            }
        }
    }

    fn peek(&mut self, reader: &mut dyn BufRead) -> Result<Option<u8>> {
        if self.used == self.buffer.len() {
            let read = reader.fill_buf()?;
            let count = read.len();
            self.buffer.clear();
            self.buffer.extend_from_slice(read);
            self.used = 0;
            reader.consume(count);
        }
        Ok(self.buffer.get(self.used).copied())
    }

    fn advance(&mut self, byte: u8) {
        self.used += 1;
        match byte {
            b'\n' => (self.line, self.column) = (self.line + 1, 1),
            _ => self.column += 1,
        }
    }
}
