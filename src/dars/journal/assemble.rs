//! Writes a journal's parts from trials in any order.

use std::path::{Path, PathBuf};

use super::sealed::Writer;
use super::{SEALED, part_path};
use crate::Result;
use crate::dars::summary::TrialSummary;

/// A trial for a part: the index of its problem, its summary and its row.
pub(super) struct Row {
    pub(super) problem: u32,
    pub(super) summary: TrialSummary,
    pub(super) json: Vec<u8>,
}

/// Collects trials and writes them as sealed parts.
pub(super) struct Assembler<'a> {
    directory: PathBuf,
    seed: u64,
    part_bytes: u64,
    /// The id of each problem.
    id: &'a dyn Fn(u32) -> &'a str,
    rows: Vec<Row>,
    bytes: u64,
    /// The number of the next part.
    next: u32,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        directory: &Path,
        seed: u64,
        part_bytes: u64,
        id: &'a dyn Fn(u32) -> &'a str,
    ) -> Self {
        Assembler {
            directory: directory.to_owned(),
            seed,
            part_bytes,
            id,
            rows: Vec::new(),
            bytes: 0,
            next: 1,
        }
    }

    pub(super) fn push(&mut self, row: Row) -> Result<()> {
        self.bytes += row.json.len() as u64;
        self.rows.push(row);
        match self.bytes >= self.part_bytes {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> Result<()> {
        self.rows
            .sort_by_key(|row| (row.problem, row.summary.number));
        let path = part_path(&self.directory, self.next, SEALED);
        let mut writer = Writer::new(&path, self.seed)?;
        for row in self.rows.drain(..) {
            let problem = (row.problem, (self.id)(row.problem));
            writer.push(problem, &row.summary, |to| to.extend_from_slice(&row.json))?;
        }
        writer.finish()?;
        self.next += 1;
        self.bytes = 0;
        Ok(())
    }

    /// Writes the remaining trials.
    pub(super) fn finish(mut self) -> Result<()> {
        match self.rows.is_empty() {
            true => Ok(()),
            false => self.write(),
        }
    }
}
