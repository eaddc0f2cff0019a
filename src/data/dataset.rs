//! A data set directory: what was made, of what, and how.
//!
//! | file | a row is |
//! |---|---|
//! | `dataset.jsonl` | a training pair: `query`, `response` |
//! | `trials.jsonl` | one trial: `problem`, `trial` (its number), `seed`, `response`, `extracted`, `equal`, `rule`, `reason`, `finish`, `unfinished_reasoning` (true) where it ended between `<think>` and `</think>`, `tokens` (how many), `logprob`, `accepted`, and `duplicate_of` (an earlier trial with the same response) where there is one |
//! | `problems.jsonl` | one problem: `id`, `question`, `reference`, `metadata`, `trials`, `correct`, `pass_rate`, `pass_rate_low`, `pass_rate_high`, `target`, `kept`, `stop_reason`, and `rejection` (why it could not be sampled) where it was not |
//! | `manifest.json` | (one object) version, settings, seed, limits, `stop` (why the run ended), `totals`, and `sessions`: one row a call that drew trials, with the times when it began and ended |
//!
//! Failures are published with successes: difficulty cannot be told without them. `docs/output.md` says
//! what every field means, in which unit. Knows the contract only.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, ProblemRecord, Result, Settings, Trial};

/// What a data set directory is written from.
#[derive(Debug, Clone, Copy)]
pub struct DataSet<'a> {
    /// One record a problem.
    pub problems: &'a [ProblemRecord],
    /// What the run was: written as it is, under the name and version of this crate.
    pub manifest: &'a Settings,
}

#[derive(Serialize)]
struct PairRow<'a> {
    query: &'a str,
    response: &'a str,
}

#[derive(Serialize)]
struct ProblemRow<'a> {
    id: &'a str,
    question: &'a str,
    reference: &'a str,
    metadata: &'a Map<String, Value>,
    trials: u32,
    correct: u32,
    pass_rate: Option<f64>,
    pass_rate_low: Option<f64>,
    pass_rate_high: Option<f64>,
    target: Option<u32>,
    kept: u32,
    stop_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<&'a str>,
}

impl DataSet<'_> {
    /// Writes the directory's files, in place of any that are there. Each is written whole under
    /// another name before it gets its own, the manifest last. Where all of them are there already,
    /// byte for byte, nothing is changed.
    ///
    /// `trials` are those of these problems, in the order in which they are to be written; they are
    /// taken one by one, and not kept.
    ///
    /// Whether anything was changed.
    ///
    /// # Errors
    ///
    /// Where a file cannot be written, a trial is an error or belongs to none of the problems. Files
    /// that were there before are then unchanged.
    pub fn write(
        &self,
        directory: impl AsRef<Path>,
        trials: impl IntoIterator<Item = Result<Trial>>,
    ) -> Result<bool> {
        let directory = directory.as_ref();
        fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
        let questions: HashMap<&str, &str> = self
            .problems
            .iter()
            .map(|record| (&*record.problem.id, &*record.problem.question))
            .collect();
        let question = |trial: &Trial| {
            questions.get(&*trial.problem).copied().ok_or_else(|| {
                let reason = format!("a trial of problem {:?}, which is not there", trial.problem);
                Error::new(ErrorKind::Data, reason)
            })
        };

        let mut dataset = Draft::new(directory, "dataset.jsonl")?;
        let mut all = Draft::new(directory, "trials.jsonl")?;
        for trial in trials {
            let trial = trial?;
            let query = question(&trial)?;
            if trial.accepted {
                dataset.row(&PairRow {
                    query,
                    response: &trial.response,
                })?;
            }
            all.row(&trial)?;
        }
        let mut problems = Draft::new(directory, "problems.jsonl")?;
        for record in self.problems {
            problems.row(&problem_row(record))?;
        }
        let mut manifest = Draft::new(directory, "manifest.json")?;
        manifest.manifest(self.manifest)?;

        // All are whole before the first gets its name.
        let drafts = [dataset, all, problems, manifest].map(Draft::finish);
        let drafts = drafts.into_iter().collect::<Result<Vec<_>>>()?;
        let mut changed = false;
        for draft in &drafts {
            changed = changed || !draft.is_there()?;
        }
        if changed {
            for draft in drafts {
                draft.publish()?;
            }
        }
        Ok(changed)
    }
}

fn problem_row(record: &ProblemRecord) -> ProblemRow<'_> {
    let interval = record.tally.interval();
    ProblemRow {
        id: &record.problem.id,
        question: &record.problem.question,
        reference: &record.problem.reference,
        metadata: &record.problem.metadata,
        trials: record.tally.trials,
        correct: record.tally.correct,
        pass_rate: record.tally.pass_rate(),
        pass_rate_low: interval.map(|(low, _)| low),
        pass_rate_high: interval.map(|(_, high)| high),
        target: record.target,
        kept: record.kept,
        stop_reason: record.stop.name(),
        rejection: record.rejection.as_deref(),
    }
}

/// A file under a passing name; removed unless it is published.
struct Draft {
    file: BufWriter<File>,
    finished: Finished,
}

struct Finished {
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    fn new(directory: &Path, name: &str) -> Result<Self> {
        let draft = directory.join(format!(".{name}.draft"));
        let file = File::create(&draft).map_err(|error| Error::io(&draft, error))?;
        Ok(Draft {
            file: BufWriter::new(file),
            finished: Finished {
                draft,
                path: directory.join(name),
            },
        })
    }

    fn row(&mut self, row: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, row).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| Error::io(&self.finished.path, error))
    }

    fn manifest(&mut self, settings: &Settings) -> Result<()> {
        let mut manifest = Settings::new();
        manifest.insert("crate".into(), env!("CARGO_PKG_NAME").into());
        manifest.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        manifest.extend(settings.clone());
        let written = serde_json::to_writer_pretty(&mut self.file, &manifest);
        let written = written.map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| Error::io(&self.finished.path, error))
    }

    /// Hands the whole file to the disk.
    fn finish(self) -> Result<Finished> {
        let Draft { file, finished } = self;
        let flushed = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        match flushed.and_then(|file| file.sync_all()) {
            Ok(()) => Ok(finished),
            Err(error) => Err(Error::io(&finished.path, error)),
        }
    }
}

impl Finished {
    /// Whether the file is there already, with the same bytes.
    fn is_there(&self) -> Result<bool> {
        let Ok(there) = File::open(&self.path) else {
            return Ok(false);
        };
        let draft = File::open(&self.draft).map_err(|error| Error::io(&self.draft, error))?;
        let (mut there, mut draft) = (BufReader::new(there), BufReader::new(draft));
        loop {
            let written = draft.fill_buf();
            let written = written.map_err(|error| Error::io(&self.draft, error))?;
            let Ok(found) = there.fill_buf() else {
                return Ok(false);
            };
            let len = written.len().min(found.len());
            if written[..len] != found[..len] || len == 0 {
                return Ok(written.is_empty() && found.is_empty());
            }
            draft.consume(len);
            there.consume(len);
        }
    }

    fn publish(self) -> Result<()> {
        fs::rename(&self.draft, &self.path).map_err(|error| Error::io(&self.path, error))
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // Gone already where it was published; where it was not, there is nothing more to be done.
        let _ = fs::remove_file(&self.draft);
    }
}
