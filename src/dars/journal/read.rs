//! Reads trials back: by problem, for a run that knows which ones count, or in the order of a journal.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::raw::Raw;
use super::rows::Rows;
use super::sealed::Sealed;
use super::{NOTES, RAW, SEALED, list, notes, part_path, sealed_path};
use crate::{Error, Result, Settings, Trial};

/// The number of bytes of rows read at once.
const BATCH: u64 = 64 << 20;

/// The parts of a journal at the time it was closed. Later additions are not seen.
#[derive(Debug)]
pub(in crate::dars) struct Parts {
    pub(super) sealed: Vec<Sealed>,
    /// The last one is the part being written.
    pub(super) raw: Vec<Arc<Raw>>,
    /// The bytes of each problem's rows.
    pub(in crate::dars) bytes: Vec<u64>,
}

impl Parts {
    pub(super) fn new(problems: usize) -> Self {
        Parts {
            sealed: Vec::new(),
            raw: Vec::new(),
            bytes: vec![0; problems],
        }
    }

    /// Adds a row's bytes to its problem.
    pub(super) fn count(&mut self, problem: u32, bytes: u32) {
        if let Some(sum) = self.bytes.get_mut(problem as usize) {
            *sum += u64::from(bytes);
        }
    }

    /// Returns the range of problems from `begin` to read at once: at least one, with at most [`BATCH`] bytes
    /// of rows otherwise.
    pub(in crate::dars) fn batch(&self, begin: u32) -> Range<u32> {
        let rest = self.bytes.get(begin as usize..).unwrap_or_default();
        let mut sum = rest.first().copied().unwrap_or(0);
        let fits = rest.iter().skip(1).take_while(|bytes| {
            sum += **bytes;
            sum <= BATCH
        });
        let end = begin as usize + 1 + fits.count();
        begin..u32::try_from(end).unwrap_or(u32::MAX)
    }

    /// Passes the trials of these problems to `take`, in no order. Trials of other problems may be among
    /// them.
    pub(in crate::dars) fn read(
        &self,
        problems: &Range<u32>,
        take: &mut dyn FnMut(Trial) -> Result<()>,
    ) -> Result<()> {
        for sealed in &self.sealed {
            sealed.read(problems, take)?;
        }
        for raw in &self.raw {
            raw.read(problems, take)?;
        }
        Ok(())
    }
}

/// Iterates over the trials of a journal, part by part. Sealed parts are ordered by problem and number,
/// unsealed ones by the order in which trials settled. All graded trials are included, even those that do not
/// count. A run may be writing to the journal at the same time.
///
/// ```no_run
/// use dart_math::dars::JournalTrials;
///
/// for trial in JournalTrials::open("out/journal")? {
///     let trial = trial?;
///     println!("{} {}: {}", trial.problem, trial.number, trial.verdict);
/// }
/// # Ok::<(), dart_math::Error>(())
/// ```
#[derive(Debug)]
pub struct JournalTrials {
    configuration: Settings,
    parts: VecDeque<(PathBuf, bool)>,
    read: VecDeque<Trial>,
}

impl JournalTrials {
    /// Opens a journal's directory for reading.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a journal, or one of another version of the format.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let path = directory.join(NOTES);
        let file = File::open(&path).map_err(|error| Error::io(&path, error))?;
        let (header, ..) = notes::read(&file, &path)?.ok_or_else(|| notes::foreign(&path))?;
        let path = |(number, is_sealed): (u32, bool)| {
            let ending = if is_sealed { SEALED } else { RAW };
            (part_path(directory, number, ending), is_sealed)
        };
        Ok(JournalTrials {
            configuration: header.configuration,
            parts: list(directory)?.into_iter().map(path).collect(),
            read: VecDeque::new(),
        })
    }

    /// Returns the configuration of the run: version of the crate, seed, settings of generator, grader and
    /// strategy, hash of the problems.
    pub fn configuration(&self) -> &Settings {
        &self.configuration
    }

    fn read_part(&mut self, path: &Path, is_sealed: bool) -> Result<()> {
        let mut take = |trial| {
            self.read.push_back(trial);
            Ok(())
        };
        if is_sealed {
            return Sealed::list(path)?.read_all(&mut take);
        }
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let mut rows = Rows::new(file, path);
        while let Some(trial) = rows.next_value()? {
            take(trial)?;
        }
        Ok(())
    }
}

impl Iterator for JournalTrials {
    type Item = Result<Trial>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(trial) = self.read.pop_front() {
                return Some(Ok(trial));
            }
            let (mut path, mut is_sealed) = self.parts.pop_front()?;
            if !is_sealed && !path.exists() {
                // It was sealed after the directory was listed.
                path = sealed_path(&path);
                is_sealed = true;
            }
            if let Err(error) = self.read_part(&path, is_sealed) {
                self.read.clear();
                return Some(Err(error));
            }
        }
    }
}
