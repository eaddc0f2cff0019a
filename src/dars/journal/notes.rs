//! The notes of a journal: everything except trials. These are the configuration, changed limits and rules,
//! added problems, and the calls of the run.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::raw::append;
use super::rows::{self, Found, Rows};
use super::{Access, NOTES, check_regular, cut, damaged, open_file, sync_directory};
use crate::dars::Session;
use crate::dars::summary::TrialSummary;
use crate::{Error, ErrorKind, Result, Settings};

/// The first row of the notes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    /// The version of the format.
    pub(super) journal: u32,
    pub(super) configuration: Settings,
    /// Separate from the configuration because limits may change.
    pub(super) limits: Settings,
}

/// A row after the header.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Note {
    /// Changed limits, written when a run is resumed with them.
    Limits(Settings),
    /// Problems appended when a run is resumed.
    Problems(Settings),
    /// Changed rules (strategy, deduplication, exclusions), written when a run is resumed with them.
    Rules(Settings),
    /// A call of the run, written before its first trial.
    Begun(Begun),
    /// A call that has ended, with its sums.
    Ended(Session),
}

/// A call at its beginning, with sums of the trials that existed then. The difference to the sums of the next
/// call gives what a killed call drew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) session: Session,
    #[serde(flatten)]
    pub(super) sums: Sums,
}

/// Sums over a journal's trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) trials: u64,
    pub(super) tokens: u64,
    pub(super) grader_failures: u64,
}

impl Sums {
    pub(super) fn add(&mut self, trial: &TrialSummary) {
        self.trials += 1;
        self.tokens += u64::from(trial.tokens);
        self.grader_failures += u64::from(trial.grader_failed);
    }
}

impl Begun {
    /// Returns the killed call with what it drew until the journal had these sums.
    fn killed_at(mut self, sums: Sums) -> Session {
        self.session.drawn = sums.trials.saturating_sub(self.sums.trials);
        self.session.tokens_sampled = sums.tokens.saturating_sub(self.sums.tokens);
        let failures = sums
            .grader_failures
            .saturating_sub(self.sums.grader_failures);
        self.session.grader_failures = failures;
        self.session
    }
}

/// Returns the calls that these rows record, given the sums over the journal's trials.
pub(super) fn sessions(notes: &[Note], sums: Sums) -> Vec<Session> {
    let mut sessions = Vec::new();
    let mut open: Option<Begun> = None;
    for note in notes {
        match note {
            Note::Begun(begun) => {
                let before = open.replace(begun.clone());
                sessions.extend(before.map(|before| before.killed_at(begun.sums)));
            }
            Note::Ended(session) => {
                open = None;
                sessions.push(session.clone());
            }
            Note::Limits(_) | Note::Problems(_) | Note::Rules(_) => {}
        }
    }
    sessions.extend(open.map(|open| open.killed_at(sums)));
    sessions
}

/// The contents of the file: the header and the rows after it.
pub(super) type Contents = (Header, Vec<Note>);

/// The file of the notes, locked.
#[derive(Debug)]
pub(super) struct Notes {
    file: File,
    path: PathBuf,
    length: u64,
    line: Vec<u8>,
}

impl Notes {
    /// Opens and locks the file. For writing, it is created empty if missing. Returns its contents if it has
    /// a header.
    pub(super) fn open(path: &Path, access: Access) -> Result<(Self, Option<Contents>)> {
        check_regular(path)?;
        let file = open_file(path, access)?;
        let locked = match access {
            Access::Read => file.try_lock_shared(),
            Access::Write => file.try_lock(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Journal,
                    format!("{}: another run is writing to it", path.display()),
                ));
            }
            // On file systems without locks, the file length still reveals a second writer.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, path = %path.display(), "the journal cannot be locked");
            }
        }
        let mut notes = Notes {
            file,
            path: path.to_owned(),
            length: 0,
            line: Vec::new(),
        };
        let read = read(&notes.file, path)?;
        let rows = read.map(|(header, rows, whole)| {
            notes.length = whole;
            (header, rows)
        });
        cut(&notes.file, path, notes.length, access)?;
        Ok((notes, rows))
    }

    /// Opens the notes of an existing journal. `lacks` says what cannot be done without one.
    pub(super) fn open_existing(
        directory: &Path,
        access: Access,
        lacks: &str,
    ) -> Result<(Self, Contents)> {
        let path = directory.join(NOTES);
        if !path.exists() {
            let reason = format!("{}: no journal{lacks}", directory.display());
            return Err(Error::new(ErrorKind::Journal, reason));
        }
        let (notes, found) = Notes::open(&path, access)?;
        let contents = found.ok_or_else(|| foreign(&path))?;
        Ok((notes, contents))
    }

    pub(super) fn write(&mut self, row: &impl Serialize) -> Result<()> {
        rows::write(row, &mut self.line)?;
        append(&self.file, &self.path, self.length, &self.line)?;
        self.length += self.line.len() as u64;
        Ok(())
    }

    /// Empties the file.
    pub(super) fn clear(&mut self) -> Result<()> {
        let cleared = self.file.set_len(0);
        self.length = 0;
        cleared.map_err(|error| Error::io(&self.path, error))
    }

    pub(super) fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|error| Error::io(&self.path, error))
    }

    /// Syncs a new file to disk, including its name.
    pub(super) fn sync_new(&self) -> Result<()> {
        self.sync()?;
        sync_directory(&self.path);
        Ok(())
    }
}

/// Reads the header, the notes, and the end of the last complete row. `None` if the header is incomplete.
pub(super) fn read(file: &File, path: &Path) -> Result<Option<(Header, Vec<Note>, u64)>> {
    let mut rows = Rows::new(file, path);
    let first = rows.next().map_err(|error| match error.kind() {
        ErrorKind::Journal => foreign(path),
        _ => error,
    });
    let header: Header = match first? {
        Found::Row(line) => serde_json::from_slice(line).map_err(|_| foreign(path))?,
        // An incomplete header is cut off; any other line without an end belongs to another file.
        Found::Torn(line) if !is_a_beginning(line) => return Err(foreign(path)),
        Found::Torn(_) | Found::End => return Ok(None),
    };
    if header.journal != super::VERSION {
        return Err(super::other_version(path, header.journal));
    }
    let mut notes = Vec::new();
    while let Some(note) = rows.next_value()? {
        notes.push(note);
    }
    Ok(Some((header, notes, rows.whole)))
}

pub(super) fn foreign(path: &Path) -> Error {
    damaged(path, 1, "not the header of a run's journal")
}

/// Returns whether an incomplete line may be the beginning of a header.
fn is_a_beginning(line: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"{\"crc\":\"........\",\"journal\":";
    let pairs = line.iter().zip(BEGINNING);
    pairs
        .into_iter()
        .all(|(byte, expected)| byte == expected || (*expected == b'.' && byte.is_ascii_hexdigit()))
}
