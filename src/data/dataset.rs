//! A data set directory: what was made, of what, and how.
//!
//! | file | a row is |
//! |---|---|
//! | `dataset.jsonl` | a training pair in one of the [`Format`]s: `query`, `response` unless another is asked for; responses, then reference solutions where these are asked for |
//! | `trials.jsonl` | one trial, a [`Trial`], right or wrong |
//! | `problems.jsonl` | one problem, a [`ProblemRow`]: counts, pass rate, pass@k, majority answer, why it ended |
//! | `dataset.parquet`, … | the same three tables in Parquet, where they are asked for |
//! | `README.md` | (a text) the data card, where there is one |
//! | `figures` | (a directory) the figures that the data card shows, where it has any |
//! | `manifest.json` | (one object) version, settings, seed, limits, `stop` (why the run ended), `totals`, and `sessions`: one row a call that drew trials, with the times when it began and ended |
//!
//! Failures are published with successes: difficulty cannot be measured without them. `docs/output.md` says
//! what every field means, in which unit. Knows the contract only.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::draft::{Draft, Finished};
use super::format::Format;
use super::majority::{Answers, Majority};
use super::problem_row::ProblemRow;
use super::solutions::Solutions;
use super::table::{self, Table};
use crate::{Equivalence, Error, ErrorKind, Problem, ProblemRecord, Result, Settings, Trial};

/// The names of the tables' files, without what they end in.
const TABLES: [&str; 3] = ["dataset", "trials", "problems"];

/// What a data set directory is written from.
#[derive(Debug, Clone, Copy)]
pub struct DataSet<'a> {
    /// One record a problem.
    pub problems: &'a [ProblemRecord],
    /// What the run was: written as it is, under the name and version of this crate.
    pub manifest: &'a Settings,
}

/// Files of a data set, whole, wherever they are.
#[derive(Debug, Clone, Copy)]
pub struct DataSetFiles<'a> {
    /// The manifest, `manifest.json` in a directory.
    pub manifest: &'a Path,
    /// `problems.jsonl`.
    pub problems: &'a Path,
    /// `trials.jsonl`.
    pub trials: &'a Path,
}

/// Makes the figures of a data card, as file names and texts.
pub type MakeFigures<'a> = dyn Fn(DataSetFiles<'_>) -> Result<Vec<(String, String)>> + 'a;

/// Which files a data set directory gets, and what they have.
#[derive(Clone, Copy, Default)]
#[must_use]
pub struct WriteOptions<'a> {
    format: Format,
    parquet: bool,
    card: Option<&'a str>,
    figures: Option<&'a MakeFigures<'a>>,
    equivalence: Option<&'a dyn Equivalence>,
    solutions: bool,
}

impl<'a> WriteOptions<'a> {
    /// JSON Lines, a row of the data set a pair, no data card, no majority answers.
    pub fn new() -> Self {
        WriteOptions::default()
    }

    /// The form of the data set's rows.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Whether the tables are written in Parquet, too. It takes the feature `parquet`, and up to some
    /// hundred megabytes of memory for each of two tables.
    pub fn parquet(mut self, parquet: bool) -> Self {
        self.parquet = parquet;
        self
    }

    /// The text of the data card, `README.md`. Without one a `README.md` that is there is left alone.
    pub fn card(mut self, card: &'a str) -> Self {
        self.card = Some(card);
        self
    }

    /// The figures that the data card shows, such as [`report::card_figures`](crate::report::card_figures):
    /// files in the directory `figures`. They are made of the other files when these are whole, and published
    /// with them. Without a card none are made, and those that are there are left alone.
    pub fn figures(mut self, make: &'a MakeFigures<'a>) -> Self {
        self.figures = Some(make);
        self
    }

    /// Whether the problems' reference solutions are rows of the data set, too, behind all responses
    /// ([`Solutions`]); the manifest then has their counts as `solutions`. They are as their authors wrote them.
    pub fn solutions(mut self, solutions: bool) -> Self {
        self.solutions = solutions;
        self
    }

    /// By what final answers are the same, such as an [`answer::Checker`](crate::answer::Checker): then
    /// the problems' table has majority answers, and all trials of a problem must follow one another.
    pub fn majority_by(mut self, equivalence: &'a dyn Equivalence) -> Self {
        self.equivalence = Some(equivalence);
        self
    }
}

impl std::fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteOptions")
            .field("format", &self.format)
            .field("parquet", &self.parquet)
            .field("card", &self.card)
            .field("solutions", &self.solutions)
            .finish_non_exhaustive()
    }
}

impl DataSet<'_> {
    /// Writes the directory's files as [`write_with`](Self::write_with) does by default.
    ///
    /// # Errors
    ///
    /// As [`write_with`](Self::write_with).
    pub fn write(
        &self,
        directory: impl AsRef<Path>,
        trials: impl IntoIterator<Item = Result<Trial>>,
    ) -> Result<bool> {
        self.write_with(directory, trials, WriteOptions::new())
    }

    /// Writes the directory's files, in place of any that are there. Each is written whole under
    /// another name before it gets its own, the manifest last. Where all of them are there already,
    /// byte for byte, nothing is changed. Tables in Parquet that are there and not asked for are removed:
    /// they are another run's, or this one's of before.
    ///
    /// `trials` are those of these problems, in the order in which they are to be written; they are
    /// taken one by one, and not kept.
    ///
    /// Whether anything was changed.
    ///
    /// # Errors
    ///
    /// Where a file cannot be written, a trial is an error or belongs to none of the problems, or Parquet
    /// is asked for without the feature `parquet`. Files that were there before are then unchanged.
    pub fn write_with(
        &self,
        directory: impl AsRef<Path>,
        trials: impl IntoIterator<Item = Result<Trial>>,
        options: WriteOptions<'_>,
    ) -> Result<bool> {
        let directory = directory.as_ref();
        let WriteOptions {
            format, parquet, ..
        } = options;
        if parquet && cfg!(not(feature = "parquet")) {
            let reason = "Parquet: this build has no feature `parquet`";
            return Err(Error::new(ErrorKind::Unsupported, reason));
        }
        fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
        let _alone = lock(directory)?;
        let by_id: HashMap<&str, &Problem> = self
            .problems
            .iter()
            .map(|record| (&*record.problem.id, &*record.problem))
            .collect();

        let table = |name, columns| Table::new(directory, name, columns, parquet);
        let [dataset, all, problems] = TABLES;
        let mut dataset = table(dataset, table::dataset(format))?;
        let mut all = table(all, table::TRIALS)?;
        let mut majorities = options.equivalence.map(Majorities::new);
        let mut solutions = options.solutions.then(|| Solutions::new(self.problems));
        for trial in trials {
            let trial = trial?;
            let problem = *by_id.get(&*trial.problem).ok_or_else(|| {
                let reason = format!("a trial of problem {:?}, which is not there", trial.problem);
                Error::new(ErrorKind::Data, reason)
            })?;
            if trial.accepted {
                dataset.row(&format.row(&problem.question, &trial.response))?;
            }
            if let Some(solutions) = &mut solutions {
                solutions.see(&trial);
            }
            all.row(&trial)?;
            if let Some(majorities) = &mut majorities {
                majorities.add(problem, &trial)?;
            }
        }
        let mut manifest = with_crate(self.manifest);
        if let Some(solutions) = &solutions {
            for (problem, solution) in solutions.rows() {
                dataset.row(&format.row(&problem.question, solution))?;
            }
            let counts = serde_json::to_value(solutions.counts()).unwrap_or_default();
            manifest.insert("solutions".into(), counts);
        }
        let mut majorities = majorities.map(Majorities::finish).unwrap_or_default();

        let mut problems = table(problems, table::PROBLEMS)?;
        let most = self.problems.iter().map(|record| record.tally.trials).max();
        for record in self.problems {
            // A majority of some of its trials is none.
            let majority = majorities.remove(&*record.problem.id);
            let majority = majority.filter(|(trials, _)| *trials == record.tally.trials);
            let majority = majority.and_then(|(_, majority)| majority);
            problems.row(&ProblemRow::new(record, majority, most.unwrap_or(0)))?;
        }
        let mut drafts = Vec::new();
        dataset.finish(&mut drafts)?;
        let (trials, problems) = (all.finish(&mut drafts)?, problems.finish(&mut drafts)?);
        let mut draft = Draft::new(directory, "manifest.json")?;
        draft.object(&manifest)?;
        let manifest = draft.finish()?;
        if let Some(text) = options.card {
            drafts.push(whole(directory, "README.md", text)?);
            let files = DataSetFiles {
                manifest: manifest.draft(),
                problems: &problems,
                trials: &trials,
            };
            let figures = options.figures.map(|make| make(files));
            draft_figures(
                directory,
                figures.transpose()?.unwrap_or_default(),
                &mut drafts,
            )?;
        }
        drafts.push(manifest);
        // All are whole before the first gets its name.
        publish(directory, drafts, parquet)
    }
}

/// Keeps others from writing a data set into the directory for as long as it lives, where the system has locks of
/// directories.
fn lock(directory: &Path) -> Result<Option<fs::File>> {
    let Ok(open) = fs::File::open(directory) else {
        return Ok(None);
    };
    match open.try_lock() {
        Err(fs::TryLockError::WouldBlock) => {
            let reason = "another process is writing a data set into it";
            let error = std::io::Error::new(std::io::ErrorKind::WouldBlock, reason);
            Err(Error::io(directory, error))
        }
        _ => Ok(Some(open)),
    }
}

/// A draft of a text.
fn whole(directory: &Path, name: &str, text: &str) -> Result<Finished> {
    let mut draft = Draft::new(directory, name)?;
    draft.text(text)?;
    draft.finish()
}

/// Drafts of the figures, by file name and text.
fn draft_figures(
    directory: &Path,
    figures: Vec<(String, String)>,
    into: &mut Vec<Finished>,
) -> Result<()> {
    let directory = directory.join("figures");
    for (name, text) in figures {
        if Path::new(&name).file_name() != Some(name.as_ref()) {
            let reason = format!("{name:?} is no name for a figure's file");
            return Err(Error::new(ErrorKind::Settings, reason));
        }
        fs::create_dir_all(&directory).map_err(|error| Error::io(&directory, error))?;
        into.push(whole(&directory, &name, &text)?);
    }
    Ok(())
}

/// Gives the files their names, unless all of them are there already.
fn publish(directory: &Path, drafts: Vec<Finished>, parquet: bool) -> Result<bool> {
    let mut stale = Vec::new();
    if !parquet {
        let paths = TABLES.map(|name| directory.join(format!("{name}.parquet")));
        stale.extend(paths.into_iter().filter(|path| path.exists()));
    }
    let mut changed = !stale.is_empty();
    for draft in &drafts {
        changed = changed || !draft.is_there()?;
    }
    if changed {
        for path in stale {
            fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
        }
        for draft in drafts {
            draft.publish()?;
        }
    }
    Ok(changed)
}

fn with_crate(settings: &Settings) -> Settings {
    let mut manifest = Settings::new();
    manifest.insert("crate".into(), env!("CARGO_PKG_NAME").into());
    manifest.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    manifest.extend(settings.clone());
    manifest
}

/// The majority answers of problems whose trials pass by, one problem's after the other's.
struct Majorities<'a> {
    equivalence: &'a dyn Equivalence,
    current: Option<(&'a Problem, Answers<'a>)>,
    /// By id: how many trials there were, and the majority among them.
    done: HashMap<&'a str, (u32, Option<Majority>)>,
}

impl<'a> Majorities<'a> {
    fn new(equivalence: &'a dyn Equivalence) -> Self {
        Majorities {
            equivalence,
            current: None,
            done: HashMap::new(),
        }
    }

    fn add(&mut self, problem: &'a Problem, trial: &Trial) -> Result<()> {
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| current.id != problem.id)
        {
            self.close();
            if self.done.contains_key(&*problem.id) {
                let reason = format!("the trials of problem {:?} are not together", problem.id);
                return Err(Error::new(ErrorKind::Data, reason));
            }
            self.current = Some((problem, Answers::new(self.equivalence)));
        }
        if let Some((_, answers)) = &mut self.current {
            answers.add(trial.verdict.extracted.as_deref());
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some((problem, answers)) = self.current.take() {
            let counted = (answers.trials(), answers.majority(&problem.reference));
            self.done.insert(&problem.id, counted);
        }
    }

    fn finish(mut self) -> HashMap<&'a str, (u32, Option<Majority>)> {
        self.close();
        self.done
    }
}
