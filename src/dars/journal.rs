//! A run's journal: one JSON object a line, first the configuration, then a row for each graded
//! trial, in the order in which they settled. Between them stand the calls that drew them: a row
//! where one begins to draw and one, with its sums, where it ends.
//!
//! A row is written whole before its trial counts, so a run that is killed loses at most what was
//! under way; handed to the disk every ten seconds and at the end, so that a machine that fails loses
//! that much more. What a kill may leave is a last line without its end; that line is dropped, and its
//! trial drawn again. Everything else that is not as written is refused, by line. A line may be
//! deleted: its trial is then drawn again if it counts.

mod lines;
mod regrade;

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::lines::{Line, Lines};
pub use self::regrade::Regraded;
use super::outcome::fingerprint;
use super::{CancelHandle, Problem, Session};
use crate::error::{counted, json_reason};
use crate::{Error, ErrorKind, Result, Settings, Trial, TrialId, trial_seed};

/// Where a configuration has its problems.
const PROBLEMS: &str = "problems";

/// How long rows may be the operating system's only, which a crash of the machine loses and one of the
/// process does not.
const MAX_UNSYNCED: Duration = Duration::from_secs(10);

/// Version of the format.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    journal: u32,
    configuration: Settings,
    /// Apart from the rest because they may be raised.
    limits: Settings,
}

/// A row that is no trial.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// Raised limits, written when a run is resumed with them.
    Limits(Settings),
    /// More problems, behind those of before, likewise.
    Problems(Settings),
    /// A call of the run, written before its first trial, and whole when it ends.
    Session(Session),
}

/// A row behind the header.
enum Row {
    Trial(Box<Trial>),
    Note(Note),
}

impl Row {
    fn read(line: &[u8]) -> serde_json::Result<Row> {
        let trial = serde_json::from_slice(line).map(|trial| Row::Trial(Box::new(trial)));
        // Where it is neither, what it lacks of a trial is said.
        trial.or_else(|error| {
            serde_json::from_slice(line)
                .map(Row::Note)
                .map_err(|_| error)
        })
    }
}

/// An open journal, ready for more rows.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    line: Vec<u8>,
    /// Earlier calls.
    sessions: Vec<Session>,
    /// What is written before the first trial of this call: raised limits, more problems, the call as
    /// it began. A call that draws nothing leaves the journal as it was.
    unwritten: Vec<Note>,
    /// Length of the file up to the last whole row.
    length: u64,
    /// Since when something is written that may not be on the disk.
    unsynced: Option<Instant>,
}

/// What a journal is opened for.
pub(super) struct Expected<'a> {
    pub(super) configuration: &'a Settings,
    pub(super) limits: &'a Settings,
    pub(super) problems: &'a [Arc<Problem>],
    /// Index of each problem by its id.
    pub(super) indices: &'a HashMap<&'a str, u32>,
    pub(super) seed: u64,
    /// The call that opens it.
    pub(super) session: &'a Session,
    /// Ends the reading of a long one.
    pub(super) cancel: &'a CancelHandle,
}

impl Journal {
    /// Opens a run's journal, or begins it where there is none, and hands the trials that it has,
    /// in its order, to `take`.
    pub(super) fn open(
        path: &Path,
        expected: &Expected<'_>,
        mut take: impl FnMut(TrialId, Trial),
    ) -> Result<Self> {
        let io = |error| Error::io(path, error);
        let file = open_locked(path)?;
        let mut lines = Lines::new(&file, path);
        let header = expected.header()?;
        let mut limits = None;
        let mut problems = Settings::new();
        let mut sessions: Vec<Session> = Vec::new();
        let mut session = expected.session.clone();
        match lines.next()? {
            Line::Whole(line) => {
                let found: Header = serde_json::from_slice(line)
                    .map_err(|_| damaged(path, 1, "not the header of a run's journal"))?;
                problems = problems_of(&found.configuration);
                if expected.has_fewer(&problems) {
                    problems = latest_problems(&mut lines, problems)?;
                }
                limits = Some(expected.admit(path, &found, &problems)?);
            }
            // The header itself was cut short; anything else without a line's end is not ours.
            Line::Torn(line) if !header.starts_with(line) => {
                return Err(damaged(path, 1, "not the header of a run's journal"));
            }
            Line::Torn(_) | Line::End => {}
        }
        if let Some(limits) = &mut limits {
            // The line of each trial.
            let mut seen = HashMap::new();
            while let Line::Whole(line) = lines.next()? {
                if expected.cancel.is_cancelled() {
                    let reason = format!(
                        "{}: interrupted while it was read, at line {}: nothing has changed",
                        path.display(),
                        lines.number
                    );
                    return Err(Error::new(ErrorKind::Interrupted, reason));
                }
                let row =
                    Row::read(line).map_err(|error| unreadable(path, lines.number, &error))?;
                let trial = match row {
                    Row::Trial(trial) => *trial,
                    Row::Note(Note::Limits(raised)) => {
                        *limits = raised;
                        continue;
                    }
                    Row::Note(Note::Problems(mut more)) => {
                        if expected.has_fewer(&more) {
                            more = latest_problems(&mut lines, more)?;
                        }
                        let differences = expected.check_problems(&more);
                        if !differences.is_empty() {
                            return Err(other_configuration(path, &differences));
                        }
                        problems = more;
                        continue;
                    }
                    Row::Note(Note::Session(session)) => {
                        // The second row of a call stands for the first.
                        if session.finished.is_some() {
                            sessions.pop_if(|last| last.finished.is_none());
                        }
                        sessions.push(session);
                        continue;
                    }
                };
                let id = expected
                    .name(&trial)
                    .map_err(|reason| damaged(path, lines.number, &reason))?;
                if let Some(first) = seen.insert(id, lines.number) {
                    let reason = format!(
                        "trial {} of {:?} a second time, after line {first}: delete either line",
                        id.number, trial.problem
                    );
                    return Err(damaged(path, lines.number, &reason));
                }
                // Until a call's second row has its sums, its trials are what is known of it.
                if let Some(open) = sessions.last_mut().filter(|last| last.finished.is_none()) {
                    open.count(&trial);
                }
                session.resumed += 1;
                take(id, trial);
            }
        }
        let length = lines.whole;
        let mut journal = Journal {
            file,
            path: path.to_owned(),
            line: Vec::new(),
            sessions,
            unwritten: Vec::new(),
            length,
            unsynced: None,
        };
        journal.file.set_len(length).map_err(io)?;
        journal.file.seek(SeekFrom::End(0)).map_err(io)?;
        match limits {
            None => {
                journal.write(&header)?;
                journal.sync()?;
                sync_directory(path);
            }
            Some(limits) => {
                expected.check_limits(path, &limits)?;
                if limits != *expected.limits {
                    let raised = Note::Limits(expected.limits.clone());
                    journal.unwritten.push(raised);
                }
                let now = problems_of(expected.configuration);
                if problems != now {
                    journal.unwritten.push(Note::Problems(now));
                }
            }
        }
        journal.unwritten.push(Note::Session(session));
        Ok(journal)
    }

    /// Writes a trial's row, before the first one that of this call.
    pub(super) fn trial(&mut self, trial: &Trial) -> Result<()> {
        self.begin()?;
        self.append(trial)
    }

    /// Writes this call's sums.
    pub(super) fn end(&mut self, session: &Session) -> Result<()> {
        self.begin()?;
        self.append(&Note::Session(session.clone()))
    }

    /// The calls of before.
    pub(super) fn into_sessions(self) -> Vec<Session> {
        self.sessions
    }

    fn begin(&mut self) -> Result<()> {
        while let Some(note) = self.unwritten.first() {
            let mut line = Vec::new();
            serialise(note, &mut line)?;
            self.write(&line)?;
            self.unwritten.remove(0);
        }
        Ok(())
    }

    /// Hands everything written to the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        if self.unsynced.take().is_some() {
            let synced = self.file.sync_data();
            synced.map_err(|error| Error::io(&self.path, error))?;
        }
        Ok(())
    }

    fn append(&mut self, row: &impl Serialize) -> Result<()> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        serialise(row, &mut line)?;
        let written = self.write(&line);
        self.line = line;
        written
    }

    /// Writes a whole line, or takes back what was written of it.
    fn write(&mut self, line: &[u8]) -> Result<()> {
        let io = |error| Error::io(&self.path, error);
        if !is_at(&self.file, &self.path) {
            let reason = format!(
                "{}: deleted, renamed or replaced while the run writes to it",
                self.path.display()
            );
            return Err(Error::new(ErrorKind::Io, reason));
        }
        // Two runs on one journal would draw the same trials and make it useless to both.
        if self.file.metadata().map_err(io)?.len() != self.length {
            let reason = format!("{}: something else writes to it", self.path.display());
            return Err(Error::new(ErrorKind::Journal, reason));
        }
        if let Err(error) = self.file.write_all(line) {
            let undone = self.file.set_len(self.length);
            let undone = undone.and_then(|()| self.file.seek(SeekFrom::End(0)));
            if let Err(error) = undone {
                tracing::warn!(%error, "half a row stays at the journal's end");
            }
            return Err(io(error));
        }
        self.length += line.len() as u64;
        let since = *self.unsynced.get_or_insert_with(Instant::now);
        match since.elapsed() >= MAX_UNSYNCED {
            true => self.sync(),
            false => Ok(()),
        }
    }
}

impl Expected<'_> {
    fn header(&self) -> Result<Vec<u8>> {
        let mut line = Vec::new();
        let header = Header {
            journal: VERSION,
            configuration: self.configuration.clone(),
            limits: self.limits.clone(),
        };
        serialise(&header, &mut line)?;
        Ok(line)
    }

    /// The limits of a journal's header, if its configuration is ours, with these problems.
    fn admit(&self, path: &Path, found: &Header, problems: &Settings) -> Result<Settings> {
        if found.journal != VERSION {
            return Err(Error::new(
                ErrorKind::Journal,
                format!(
                    "{}: version {} of the format, this crate writes {VERSION}",
                    path.display(),
                    found.journal
                ),
            ));
        }
        let mut differences = Vec::new();
        let rest = |configuration: &Settings| {
            let mut rest = configuration.clone();
            rest.shift_remove(PROBLEMS);
            Value::Object(rest)
        };
        let (was, is) = (rest(&found.configuration), rest(self.configuration));
        compare("", &was, &is, &mut differences);
        differences.extend(self.check_problems(problems));
        match differences.is_empty() {
            true => Ok(found.limits.clone()),
            false => Err(other_configuration(path, &differences)),
        }
    }

    /// Problems may be added behind those of before: nothing of these depends on what follows them,
    /// unless all share a limit of trials.
    fn check_problems(&self, found: &Settings) -> Vec<String> {
        let mut differences = Vec::new();
        let count = count_of(found);
        let before = usize::try_from(count)
            .ok()
            .and_then(|n| self.problems.get(..n));
        match before {
            Some(before) if fingerprint(before) != *found => {
                let hash = found.get("hash").unwrap_or(&Value::Null);
                let is = fingerprint(before);
                let is = is.get("hash").unwrap_or(&Value::Null);
                let first = counted(count, "problem");
                differences.push(format!("of the first {first} the hash was {hash}, is {is}"));
            }
            Some(before) if before.len() < self.problems.len() => {
                if self
                    .limits
                    .get("trials")
                    .is_some_and(|most| !most.is_null())
                {
                    let is = self.problems.len();
                    differences.push(format!(
                        "problems.count was {count}, is {is}, which changes what a limit of trials \
                         over all problems leaves for each"
                    ));
                }
            }
            Some(_) => {}
            None => differences.push(format!(
                "problems.count was {count}, is {}: problems may be added, but none left out",
                self.problems.len()
            )),
        }
        differences
    }

    /// Whether there are fewer problems now than these.
    fn has_fewer(&self, found: &Settings) -> bool {
        count_of(found) > self.problems.len() as u64
    }

    /// A limit may be raised or lifted: the trials drawn under the lower one are the first of those
    /// that the higher one allows. It may not be lowered.
    fn check_limits(&self, path: &Path, found: &Settings) -> Result<()> {
        let mut differences = Vec::new();
        for (name, now) in self.limits {
            let lowered = match (found.get(name).and_then(Value::as_u64), now.as_u64()) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(was), Some(now)) => now < was,
            };
            if lowered {
                let was = found.get(name).unwrap_or(&Value::Null);
                differences.push(format!("limit {name} was {was}, lowered to {now}"));
            }
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(other_configuration(path, &differences)),
        }
    }

    /// Which trial a row is, if it is one of this run.
    fn name(&self, trial: &Trial) -> std::result::Result<TrialId, String> {
        let Some(&problem) = self.indices.get(trial.problem.as_str()) else {
            return Err(format!("the run has no problem {:?}", trial.problem));
        };
        if trial.seed != trial_seed(self.seed, &trial.problem, trial.number) {
            return Err(format!(
                "trial {} of problem {:?} has another run's seed",
                trial.number, trial.problem
            ));
        }
        Ok(TrialId {
            problem,
            number: trial.number,
        })
    }
}

/// The problems that a journal has last, of these and those of the rows that follow: they may have been
/// added to more than once.
fn latest_problems(lines: &mut Lines<'_>, mut latest: Settings) -> Result<Settings> {
    while let Line::Whole(line) = lines.next()? {
        if let Ok(Note::Problems(more)) = serde_json::from_slice(line) {
            latest = more;
        }
    }
    Ok(latest)
}

/// How many problems a configuration's hash of them is of.
fn count_of(problems: &Settings) -> u64 {
    problems.get("count").and_then(Value::as_u64).unwrap_or(0)
}

/// Opens a journal, or makes an empty one, and takes its lock.
fn open_locked(path: &Path) -> Result<File> {
    let found = std::fs::metadata(path);
    if found.as_ref().is_ok_and(|found| !found.is_file()) {
        let reason = format!("{}: no regular file", path.display());
        return Err(Error::new(ErrorKind::Journal, reason));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| Error::io(path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::new(
                ErrorKind::Journal,
                format!("{}: another run is writing to it", path.display()),
            ));
        }
        // File systems without locks: a second writer is still noticed by the file's length.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, path = %path.display(), "the journal cannot be locked");
        }
    }
    Ok(file)
}

/// Whether a path still names the file that was opened there.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(file), Ok(found)) => (file.dev(), file.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Hands the name of a new file to the disk, where the system has directories that can be opened.
fn sync_directory(path: &Path) {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new(".")));
    if let Err(error) = directory.and_then(|directory| directory.sync_all()) {
        tracing::debug!(%error, path = %path.display(), "the directory cannot be synchronised");
    }
}

/// What a configuration says of the problems.
fn problems_of(configuration: &Settings) -> Settings {
    let problems = configuration.get(PROBLEMS).and_then(Value::as_object);
    problems.cloned().unwrap_or_default()
}

fn serialise(row: &impl Serialize, line: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(&mut *line, row).map_err(|error| {
        Error::new(ErrorKind::Journal, "a row cannot be written as JSON").with_source(error)
    })?;
    line.push(b'\n');
    Ok(())
}

/// `place` is a line, or a line and the byte in it.
fn damaged(path: &Path, place: impl std::fmt::Display, reason: &str) -> Error {
    Error::new(
        ErrorKind::Journal,
        format!("{}:{place}: {reason}", path.display()),
    )
}

/// A line that is no row. Without it there is a gap among the trials, as where a row was not written.
fn unreadable(path: &Path, line: u64, error: &serde_json::Error) -> Error {
    let place = format!("{line}:{}", error.column().max(1));
    let reason = json_reason(error);
    let hint = "delete this line to go on without it; what it held is drawn again if it counts";
    damaged(path, place, &format!("{reason} ({hint})"))
}

fn other_configuration(path: &Path, differences: &[String]) -> Error {
    Error::new(
        ErrorKind::Journal,
        format!(
            "{} is of a run with another configuration: {}",
            path.display(),
            differences.join("; ")
        ),
    )
}

/// Lists where two settings differ, as `path was this, is that`.
fn compare(at: &str, was: &Value, is: &Value, differences: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let mut names: Vec<_> = was.keys().collect();
            names.extend(is.keys().filter(|name| !was.contains_key(*name)));
            for name in names {
                let at = match at {
                    "" => name.clone(),
                    _ => format!("{at}.{name}"),
                };
                let side = |side: &serde_json::Map<String, Value>| {
                    side.get(name).cloned().unwrap_or(Value::Null)
                };
                compare(&at, &side(was), &side(is), differences);
            }
        }
        // Numbers may come back from JSON a rounding error away from what was written.
        (Value::Number(was), Value::Number(is)) if close(was, is) => {}
        _ if was == is => {}
        _ => differences.push(format!("{at} was {was}, is {is}")),
    }
}

fn close(was: &serde_json::Number, is: &serde_json::Number) -> bool {
    was == is
        || match (was.is_f64() || is.is_f64(), was.as_f64(), is.as_f64()) {
            (true, Some(was), Some(is)) => (was - is).abs() <= 1e-12 * was.abs().max(is.abs()),
            _ => false,
        }
}
