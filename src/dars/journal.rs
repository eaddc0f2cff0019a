//! The journal of a run: every graded trial is on disk before it counts.
//!
//! A journal is a directory:
//!
//! | file | contents |
//! |---|---|
//! | `run.jsonl` | the configuration, changed limits and rules, added problems, and the calls of the run; locked while a run uses it |
//! | `000001.jsonl.zst` … | sealed parts: some trials each, by problem and number, compressed, with an index ([`sealed`]) |
//! | `000004.jsonl` | the part being written: one row per trial, in the order in which they settle |
//!
//! Rows of `.jsonl` files have checksums ([`rows`]). When the part being written is large enough, a new one
//! is begun and the old one is sealed in the background. If both forms of a part exist, the sealed one is
//! complete.
//!
//! A row is written completely before its trial counts, so a killed run loses at most the trials under way.
//! Rows are synced to disk every ten seconds and at the end, so a machine failure loses at most ten seconds
//! more. A kill may leave an incomplete last line. That line is dropped, and its trial is drawn again. Any
//! other damage is refused, naming the line or block. A line or a part may be deleted: its trials are then
//! drawn again if they count.

mod assemble;
mod expected;
mod files;
mod merge;
mod notes;
mod raw;
mod read;
mod regrade;
mod rows;
mod sealed;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use self::expected::Expected;
use self::expected::{problems_of, rules_of};
use self::files::{
    Access, NOTES, RAW, SEALED, check_regular, cut, list, make_directory, open_file, part_path,
    remove, sealed_path, sync_directory,
};
pub use self::merge::Merged;
pub(super) use self::merge::merge;
use self::notes::{Begun, Header, Note, Notes, Sums};
use self::raw::Raw;
pub use self::read::JournalTrials;
pub(super) use self::read::Parts;
pub use self::regrade::Regraded;
pub(super) use self::regrade::regrade;
use self::sealed::Sealed;
use super::summary::TrialSummary;
use super::{Problem, Session};
use crate::{Error, ErrorKind, Result, Trial};

/// The maximum time that rows stay unsynced. Unsynced rows survive a crash of the process, but not of the
/// machine.
const MAX_UNSYNCED: Duration = Duration::from_secs(10);
/// The default size at which a part is sealed.
pub(super) const PART_BYTES: u64 = 64 << 20;
/// At the end of a call, the last part is sealed if its size is at least the part size divided by this.
const REST_SHARE: u64 = 16;
/// The version of the format.
const VERSION: u32 = 2;
/// An open journal to which rows can be added.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    notes: Notes,
    /// Notes to write before the first trial of this call: changed limits and rules, added problems, the call
    /// itself. A call that draws nothing leaves the journal unchanged.
    unwritten: Vec<Note>,
    /// The earlier calls.
    sessions: Vec<Session>,
    problems: Arc<[Arc<Problem>]>,
    seed: u64,
    parts: Parts,
    /// The number of the next part.
    next: u32,
    part_bytes: u64,
    /// The previous part, while it is being sealed.
    sealing: Option<Sealing>,
    sync: Sync,
    access: Access,
}

/// A part that is being sealed in the background.
#[derive(Debug)]
struct Sealing {
    raw: Arc<Raw>,
    /// `None` once the thread has been joined.
    thread: Option<JoinHandle<Result<Sealed>>>,
}

impl Sealing {
    fn finish(&mut self) -> Option<std::thread::Result<Result<Sealed>>> {
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Sealing {
    /// Waits for the thread, so that nothing writes to the directory after its run has ended.
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Syncs rows to disk from time to time, on a separate thread.
#[derive(Debug, Default)]
struct Sync {
    /// The time of the first write since the last sync.
    unsynced: Option<Instant>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Journal {
    /// Opens a run's journal, or creates it. Passes the summaries of its trials to `take`, which returns
    /// whether a trial is new.
    pub(super) fn open(
        directory: &Path,
        expected: &Expected<'_>,
        part_bytes: u64,
        mut take: impl FnMut(u32, TrialSummary) -> bool,
    ) -> Result<Self> {
        let path = directory.join(NOTES);
        let access = match expected.selects {
            true => Access::Read,
            false => {
                regrade::recover(directory)?;
                make_directory(directory)?;
                Access::Write
            }
        };
        let (mut notes, found) = Notes::open(&path, access)?;
        let listed = list(directory)?;
        let mut unwritten = Vec::new();
        let mut earlier = Vec::new();
        // A call that ended before it drew anything has left nothing to be consistent with.
        let found = found.filter(|(_, rows)| {
            let is_blank = rows.is_empty() && listed.is_empty() && !expected.selects;
            !is_blank
        });
        match found {
            None if listed.is_empty() => {
                notes.clear()?;
                notes.write(&Header {
                    journal: VERSION,
                    configuration: expected.configuration.clone(),
                    limits: expected.limits.clone(),
                })?;
                notes.sync_new()?;
                sync_directory(directory);
            }
            None => {
                let reason = format!(
                    "{}: there are trials beside it, but it does not say which run's they are",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Journal, reason));
            }
            Some((header, rows)) => {
                let latest = expected.admit(&path, &header, &rows)?;
                expected.check_limits(&path, &latest.limits)?;
                if latest.limits != *expected.limits {
                    unwritten.push(Note::Limits(expected.limits.clone()));
                }
                let now = problems_of(expected.configuration);
                if latest.problems != now {
                    unwritten.push(Note::Problems(now));
                }
                let now = rules_of(expected.configuration);
                if latest.rules != now {
                    unwritten.push(Note::Rules(now));
                }
                earlier = rows;
            }
        }
        let mut sums = Sums::default();
        let mut parts = Parts::new(expected.problems.len());
        let mut take = |problem, summary: TrialSummary, bytes| {
            sums.add(&summary);
            parts.count(problem, bytes);
            take(problem, summary)
        };
        let mut opened = (Vec::new(), Vec::new());
        for (number, is_sealed) in &listed {
            if *is_sealed {
                let path = part_path(directory, *number, SEALED);
                opened.0.push(open_sealed(&path, expected, &mut take)?);
                // Left by a run that was killed just after sealing.
                if access == Access::Write {
                    remove(&part_path(directory, *number, RAW));
                }
            } else {
                let path = part_path(directory, *number, RAW);
                opened.1.push(open_raw(&path, access, expected, &mut take)?);
            }
        }
        (parts.sealed, parts.raw) = (opened.0, opened.1.into_iter().map(Arc::new).collect());
        let mut session = expected.session.clone();
        session.resumed = sums.trials;
        unwritten.push(Note::Begun(Begun { session, sums }));
        let mut journal = Journal {
            directory: directory.to_owned(),
            notes,
            unwritten,
            sessions: notes::sessions(&earlier, sums),
            problems: expected.problems.into(),
            seed: expected.seed,
            parts,
            next: listed.last_key_value().map_or(1, |(number, _)| number + 1),
            part_bytes,
            sealing: None,
            sync: Sync::default(),
            access,
        };
        if access == Access::Write {
            journal.seal_all_but_last()?;
        }
        Ok(journal)
    }

    /// Returns the tokens sampled by earlier calls, as far as known for calls that were killed.
    pub(super) fn tokens_sampled(&self) -> u64 {
        let sessions = self.sessions.iter();
        sessions.map(|session| session.tokens_sampled).sum()
    }

    /// Seals all parts but the last, which a killed run may have left unsealed.
    fn seal_all_but_last(&mut self) -> Result<()> {
        while self.parts.raw.len() > 1 {
            let raw = self.parts.raw.remove(0);
            self.seal(raw)?;
        }
        self.await_sealing();
        Ok(())
    }

    /// Writes a trial's row. The notes of this call are written before its first row.
    pub(super) fn add(
        &mut self,
        problem: u32,
        trial: &Trial,
        summary: &TrialSummary,
    ) -> Result<()> {
        self.begin()?;
        let raw = match self.parts.raw.pop() {
            Some(raw) if raw.length < self.part_bytes => raw,
            full => {
                if let Some(full) = full {
                    self.seal(full)?;
                }
                let path = part_path(&self.directory, self.next, RAW);
                self.next += 1;
                Arc::new(Raw::begin(&path)?)
            }
        };
        let mut raw = raw;
        let written = match Arc::get_mut(&mut raw) {
            Some(raw) => raw.append(problem, trial, summary),
            None => {
                let reason = format!("{}: is being read", raw.path.display());
                Err(Error::new(ErrorKind::Journal, reason))
            }
        };
        self.parts.raw.push(raw);
        self.parts.count(problem, written?);
        self.sync.now_and_then(&self.parts)
    }

    /// Writes the sums of this call.
    pub(super) fn end(&mut self, session: &Session) -> Result<()> {
        self.begin()?;
        self.notes.write(&Note::Ended(session.clone()))
    }

    fn begin(&mut self) -> Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        while let Some(note) = self.unwritten.first() {
            self.notes.write(note)?;
            self.unwritten.remove(0);
        }
        self.notes.sync()
    }

    /// Syncs everything written to disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.sync.now(&self.parts)?;
        self.notes.sync()
    }

    /// Passes the trials of these problems to `take`.
    pub(super) fn read(
        &mut self,
        problems: &std::ops::Range<u32>,
        take: &mut dyn FnMut(Trial) -> Result<()>,
    ) -> Result<()> {
        self.await_sealing();
        self.parts.read(problems, take)
    }

    /// Returns the parts written so far, for reading.
    pub(super) fn parts(&mut self) -> &Parts {
        self.await_sealing();
        &self.parts
    }

    /// Returns the parts for reading, and the earlier calls.
    pub(super) fn close(mut self) -> (Parts, Vec<Session>) {
        let least = self.part_bytes / REST_SHARE;
        let may_seal = self.access == Access::Write;
        if let Some(rest) = self.parts.raw.pop_if(|raw| may_seal && raw.length >= least)
            && let Err(error) = self.seal(rest)
        {
            tracing::warn!(%error, "the journal's last part stays as it was written");
        }
        self.await_sealing();
        (self.parts, self.sessions)
    }

    /// Begins to seal a part to which no more rows are added.
    fn seal(&mut self, raw: Arc<Raw>) -> Result<()> {
        self.await_sealing();
        if raw.is_empty() {
            remove(&raw.path);
            return Ok(());
        }
        let (own, problems, seed) = (Arc::clone(&raw), Arc::clone(&self.problems), self.seed);
        let thread = std::thread::Builder::new().name("journal".into());
        let thread = thread.spawn(move || {
            let id = |problem: u32| problems[problem as usize].id.clone();
            let sealed = own.seal(&sealed_path(&own.path), seed, &id)?;
            sync_directory(&own.path);
            Ok(sealed)
        });
        match thread {
            Ok(thread) => {
                let thread = Some(thread);
                self.sealing = Some(Sealing { raw, thread });
            }
            Err(error) => {
                let path = raw.path.clone();
                self.parts.raw.insert(0, raw);
                return Err(Error::io(path, error));
            }
        }
        Ok(())
    }

    /// Waits for the part being sealed. A part that could not be sealed stays uncompressed and is tried again
    /// when the journal is next opened.
    fn await_sealing(&mut self) {
        let Some(mut sealing) = self.sealing.take() else {
            return;
        };
        let raw = Arc::clone(&sealing.raw);
        match sealing.finish() {
            Some(Ok(Ok(sealed))) => {
                self.parts.sealed.push(sealed);
                remove(&raw.path);
            }
            Some(Ok(Err(error))) => {
                tracing::warn!(%error, "a part of the journal stays uncompressed");
                self.parts.raw.insert(0, raw);
            }
            Some(Err(_)) | None => {
                tracing::warn!("a part of the journal stays uncompressed: sealing it panicked");
                self.parts.raw.insert(0, raw);
            }
        }
    }
}

impl Sync {
    /// Syncs rows if some have been unsynced for too long. A failure is reported by the next call.
    fn now_and_then(&mut self, parts: &Parts) -> Result<()> {
        let since = *self.unsynced.get_or_insert_with(Instant::now);
        if since.elapsed() < MAX_UNSYNCED {
            return Ok(());
        }
        self.finish(parts)?;
        if let Some(raw) = parts.raw.last() {
            let file = raw.handle()?;
            let thread = std::thread::Builder::new().name("sync".into());
            let thread = thread.spawn(move || file.sync_data());
            self.thread = Some(thread.map_err(|error| Error::io(&raw.path, error))?);
            self.unsynced = None;
        }
        Ok(())
    }

    fn now(&mut self, parts: &Parts) -> Result<()> {
        self.finish(parts)?;
        if let (Some(raw), Some(_)) = (parts.raw.last(), self.unsynced.take()) {
            let synced = raw.handle()?.sync_data();
            synced.map_err(|error| Error::io(&raw.path, error))?;
        }
        Ok(())
    }

    fn finish(&mut self, parts: &Parts) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let synced = thread
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("synchronisation panicked")));
        let path = parts.raw.last().map(|raw| raw.path.as_path());
        synced.map_err(|error| Error::io(path.unwrap_or(Path::new("journal")), error))
    }
}

/// Opens a sealed part and reads its index.
fn open_sealed(
    path: &Path,
    expected: &Expected<'_>,
    take: &mut dyn FnMut(u32, TrialSummary, u32) -> bool,
) -> Result<Sealed> {
    check_cancelled(expected, path, None)?;
    let find = |id: &str| expected.indices.get(id).copied();
    let opened = Sealed::open(path, expected.seed, &find)?;
    for trial in opened.trials {
        if !take(trial.problem, trial.summary, trial.bytes) {
            let id = &expected.problems[trial.problem as usize].id;
            let reason = format!("has {}", twice(trial.summary.number, id));
            return Err(Error::new(
                ErrorKind::Journal,
                format!("{}: {reason}: delete either part", path.display()),
            ));
        }
    }
    Ok(opened.sealed)
}

/// Opens an unsealed part and reads it.
fn open_raw(
    path: &Path,
    access: Access,
    expected: &Expected<'_>,
    take: &mut dyn FnMut(u32, TrialSummary, u32) -> bool,
) -> Result<Raw> {
    Raw::open(path, access, &mut |trial, summary, line, bytes| {
        check_cancelled(expected, path, Some(line))?;
        let id = expected.name(trial);
        let id = id.map_err(|reason| damaged(path, line, &reason))?;
        match take(id.problem, summary, bytes) {
            true => Ok(id),
            false => {
                let reason = format!("{}: delete this line", twice(id.number, &trial.problem));
                Err(damaged(path, line, &reason))
            }
        }
    })
}

fn twice(number: u32, problem: &str) -> String {
    format!("trial {number} of {problem:?} a second time")
}

fn check_cancelled(expected: &Expected<'_>, path: &Path, line: Option<u64>) -> Result<()> {
    if !expected.cancel.is_cancelled() {
        return Ok(());
    }
    let line = line.map_or(String::new(), |line| format!(", at line {line}"));
    let reason = format!(
        "{}: interrupted while it was read{line}: nothing has changed",
        path.display()
    );
    Err(Error::new(ErrorKind::Interrupted, reason))
}

/// An error for damaged data. `place` is a line.
fn damaged(path: &Path, place: impl std::fmt::Display, reason: &str) -> Error {
    Error::new(
        ErrorKind::Journal,
        format!("{}:{place}: {reason}", path.display()),
    )
}

fn to_json(trial: &Trial) -> Result<Vec<u8>> {
    serde_json::to_vec(trial).map_err(|error| {
        Error::new(ErrorKind::Journal, "a row cannot be written as JSON").with_source(error)
    })
}

fn other_version(path: &Path, found: u32) -> Error {
    let reason = format!(
        "{}: version {found} of the format, this crate writes {VERSION}",
        path.display()
    );
    Error::new(ErrorKind::Journal, reason)
}
