//! A data set directory: the data, the problems and how they were made.
//!
//! | file | one row is |
//! |---|---|
//! | `dataset.jsonl` | a training pair in one of the [`Format`]s, by default `query` and `response`: the responses, then the reference solutions if requested |
//! | `trials.jsonl` | one [`Trial`], correct or wrong |
//! | `problems.jsonl` | one [`ProblemRow`]: counts, pass rate, pass@k, majority answer, stop reason |
//! | `dataset.parquet`, … | the same three tables in Parquet, if requested |
//! | `README.md` | (a text) the data card, if any |
//! | `figures` | (a directory) the figures of the data card, if any |
//! | `manifest.json` | (one object) version, settings, seed, limits, `stop` (why the run ended), `totals`, and `sessions`: one row per call that drew trials, with its start and end times |
//!
//! Failures are published with successes, because difficulty cannot be measured without them.
//! `docs/output.md` describes every field and its unit. Depends on the contract only.

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

/// The file names of the tables, without extensions.
const TABLES: [&str; 3] = ["dataset", "trials", "problems"];

/// The contents of a data set directory.
#[derive(Debug, Clone, Copy)]
pub struct DataSet<'a> {
    /// One record per problem.
    pub problems: &'a [ProblemRecord],
    /// The run's manifest. It is written unchanged, after the name and version of this crate.
    pub manifest: &'a Settings,
}

/// The complete files of a data set, wherever they are.
#[derive(Debug, Clone, Copy)]
pub struct DataSetFiles<'a> {
    /// The manifest, `manifest.json` in a directory.
    pub manifest: &'a Path,
    /// `problems.jsonl`.
    pub problems: &'a Path,
    /// `trials.jsonl`.
    pub trials: &'a Path,
}

/// Makes the figures of a data card, as file names and contents.
pub type MakeFigures<'a> = dyn Fn(DataSetFiles<'_>) -> Result<Vec<(String, String)>> + 'a;

/// Options for the files of a data set directory.
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
    /// JSON Lines with one row per pair, no data card, no majority answers.
    pub fn new() -> Self {
        WriteOptions::default()
    }

    /// Sets the format of the data set's rows.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Sets whether the tables are also written in Parquet. This needs the feature `parquet`, and up to some
    /// hundred megabytes of memory for each of two tables.
    pub fn parquet(mut self, parquet: bool) -> Self {
        self.parquet = parquet;
        self
    }

    /// Sets the text of the data card, `README.md`. Without it, an existing `README.md` is left unchanged.
    pub fn card(mut self, card: &'a str) -> Self {
        self.card = Some(card);
        self
    }

    /// Sets the figures of the data card, such as [`report::card_figures`](crate::report::card_figures):
    /// files in the directory `figures`. They are made from the other files when these are complete, and
    /// published with them. Without a card none are made, and existing ones are left unchanged.
    pub fn figures(mut self, make: &'a MakeFigures<'a>) -> Self {
        self.figures = Some(make);
        self
    }

    /// Sets whether the problems' reference solutions, as their authors wrote them, are also rows of the data
    /// set, after all responses ([`Solutions`]). The manifest then has their counts as `solutions`.
    pub fn solutions(mut self, solutions: bool) -> Self {
        self.solutions = solutions;
        self
    }

    /// Sets the equivalence of final answers, such as an [`answer::Checker`](crate::answer::Checker). The
    /// problems' table then has majority answers, and all trials of a problem must be consecutive.
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
    /// Writes the directory's files with the default options of [`write_with`](Self::write_with).
    ///
    /// # Errors
    ///
    /// See [`write_with`](Self::write_with).
    pub fn write(
        &self,
        directory: impl AsRef<Path>,
        trials: impl IntoIterator<Item = Result<Trial>>,
    ) -> Result<bool> {
        self.write_with(directory, trials, WriteOptions::new())
    }

    /// Writes the directory's files, replacing existing ones. Returns whether anything changed.
    ///
    /// Each file is written completely under a temporary name before it is renamed, the manifest last. If all
    /// files already exist with the same bytes, nothing is changed. Existing Parquet tables are removed if
    /// Parquet is not requested, since they are from an earlier run.
    ///
    /// `trials` are the trials of these problems, in the order in which they are to be written. They are
    /// consumed one by one and not kept in memory.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be written, if a trial is an error or belongs to none of the
    /// problems, or if Parquet is requested without the feature `parquet`. Existing files are then unchanged, unless the
    /// renaming itself failed half-way: in that case the manifest is still the old one.
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
            // Omit a majority over only some of the problem's trials.
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
        // All files are complete before the first is renamed.
        publish(directory, drafts, parquet)
    }
}

/// Locks the directory against other writers of a data set while the value lives, on systems that can lock
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

/// Makes a draft of a text file.
fn whole(directory: &Path, name: &str, text: &str) -> Result<Finished> {
    let mut draft = Draft::new(directory, name)?;
    draft.text(text)?;
    draft.finish()
}

/// Makes drafts of the figures, given as file names and contents.
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

/// Renames the files, unless all of them already exist with the same contents.
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

/// Computes the majority answers of problems from a stream of trials, one problem after the other.
struct Majorities<'a> {
    equivalence: &'a dyn Equivalence,
    current: Option<(&'a Problem, Answers<'a>)>,
    /// By problem id: the number of trials, and the majority among them.
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
