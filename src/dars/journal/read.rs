//! Reading trials back: by problem, of a run that has them all counted, or as they lie in a journal.

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

/// As many bytes of rows are read at once.
const BATCH: u64 = 64 << 20;

/// The parts of a journal as they were when it was closed: what is added to it later is not seen.
#[derive(Debug)]
pub(in crate::dars) struct Parts {
    pub(super) sealed: Vec<Sealed>,
    /// The last one is the one that is written.
    pub(super) raw: Vec<Arc<Raw>>,
    /// Bytes of each problem's rows.
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

    /// Counts a row's bytes to its problem.
    pub(super) fn count(&mut self, problem: u32, bytes: u32) {
        if let Some(sum) = self.bytes.get_mut(problem as usize) {
            *sum += u64::from(bytes);
        }
    }

    /// The problems from one on that are read at once: some dozens of megabytes of rows, or the one.
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

    /// Hands the trials of these problems to `take`, those of others that lie among them as well, in no
    /// order.
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

/// The trials of a journal, part by part: in a part that is sealed by problem and number, in one that is
/// not in the order in which they settled. All that were graded, those that did not come to count among
/// them. A run may be writing to it at the same time.
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
    /// Opens a journal's directory to read it.
    ///
    /// # Errors
    ///
    /// Where it is no journal, or one of another version of the format.
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

    /// What the run was made with: version of the crate, seed, settings of generator, grader and
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
                // Sealed since the directory was listed.
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
