//! A journal's lines.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use super::damaged;
use crate::{Error, Result};

/// The longest line that is read: far above any response a model's context holds.
const MAX_LINE: u64 = 64 << 20;

/// Lines of a journal, bounded in length, with the place where the last whole one ends.
pub(super) struct Lines<'a> {
    reader: BufReader<&'a File>,
    path: &'a Path,
    /// The last line's number.
    pub(super) number: u64,
    /// Where the last whole line ends.
    pub(super) whole: u64,
    line: Vec<u8>,
}

pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Without its end: what was being written when the run was killed.
    Torn(&'a [u8]),
    End,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path) -> Self {
        Lines {
            reader: BufReader::new(file),
            path,
            number: 0,
            whole: 0,
            line: Vec::new(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Line<'_>> {
        self.line.clear();
        self.number += 1;
        let mut bounded = (&mut self.reader).take(MAX_LINE);
        let read = loop {
            match bounded.read_until(b'\n', &mut self.line) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        read.map_err(|error| Error::io(self.path, error))?;
        match self.line.split_last() {
            None => Ok(Line::End),
            Some((b'\n', line)) => {
                self.whole += self.line.len() as u64;
                Ok(Line::Whole(line))
            }
            Some(_) if self.line.len() as u64 == MAX_LINE => Err(damaged(
                self.path,
                self.number,
                "a line longer than any row is",
            )),
            Some(_) => Ok(Line::Torn(&self.line)),
        }
    }
}
