//! A run from beginning to outcome.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::allocator::Allocator;
use super::exclude::Excluded;
use super::forecast::{Basis, Costs, Forecast, forecast};
use super::journal::{Expected, Journal, JournalTrials, Merged, Regraded, merge, regrade};
use super::near;
use super::outcome::fingerprint;
use super::rules::{FutilityEnds, Rules};
use super::source::{Beginning, RunSource, Shared};
use super::store::{Keep, Store};
use super::summary::TrialSummary;
use super::sure::Sure;
use super::{CancelHandle, Goal, Limits, Observer, Outcome, Prefix, Session, Strategy, Totals};
use crate::{
    Completion, Error, ErrorKind, Generator, Grader, Problem, Rejection, Result, Settings, Source,
    StopReason, Verdict,
};

/// A run, ready to start.
pub struct Run<'a> {
    pub(super) problems: Vec<Arc<Problem>>,
    pub(super) strategy: Box<dyn Strategy + 'a>,
    pub(super) limits: Limits,
    pub(super) seed: u64,
    pub(super) dedup: bool,
    pub(super) near_duplicates: Option<f64>,
    pub(super) excluded: Excluded,
    pub(super) journal: Option<PathBuf>,
    pub(super) part_bytes: u64,
    pub(super) keep: Keep,
    pub(super) sure: f64,
    pub(super) observer: Option<&'a dyn Observer>,
    pub(super) cancel: CancelHandle,
    pub(super) graders: usize,
    /// The problems that the generator cannot sample, once it has been asked.
    pub(super) rejected: Option<Vec<Rejection>>,
    /// Whether nothing is drawn.
    pub(super) selects: bool,
}

impl<'a> Run<'a> {
    /// Returns the settings that the run's trials depend on, except limits. A journal is resumed only if they
    /// are the same, apart from the strategy, deduplication, added problems and exclusions
    /// ([`RunBuilder::journal`](super::RunBuilder::journal)).
    pub fn configuration(&self, generator: &dyn Generator, grader: &dyn Grader) -> Settings {
        let mut settings = Settings::new();
        settings.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        settings.insert("seed".into(), self.seed.into());
        settings.insert("problems".into(), fingerprint(&self.problems).into());
        settings.insert("strategy".into(), self.strategy.settings().into());
        settings.insert("dedup".into(), self.dedup.into());
        if let Some(similarity) = self.near_duplicates {
            settings.insert("near_duplicates".into(), similarity.into());
        }
        if self.excluded.len() > 0 {
            let excluded = self.excluded.settings(&self.problems);
            settings.insert("excluded".into(), excluded.into());
        }
        settings.insert("generator".into(), generator.settings().into());
        settings.insert("grader".into(), grader.settings().into());
        settings
    }

    /// Returns the index of each problem by its id.
    fn indices(&self) -> HashMap<&str, u32> {
        let problems = (0..).zip(&self.problems);
        problems
            .map(|(index, problem)| (problem.id.as_str(), index))
            .collect()
    }

    /// Returns what the journal is checked against.
    fn expected<'e>(
        &'e self,
        configuration: &'e Settings,
        limits: &'e Settings,
        indices: &'e HashMap<&'e str, u32>,
        session: &'e Session,
    ) -> Expected<'e> {
        Expected {
            configuration,
            limits,
            problems: &self.problems,
            indices,
            seed: self.seed,
            selects: self.selects,
            session,
            cancel: &self.cancel,
        }
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            strategy: &*self.strategy,
            limits: self.limits,
            futility: FutilityEnds::of(&self.limits),
            dedup: self.dedup,
            sure: Sure::new(self.sure),
        }
    }

    /// Checks that the generator supports this run, before anything is written or sampled. [`run`](Run::run)
    /// calls this if it has not been called before.
    ///
    /// # Errors
    ///
    /// Returns an error if a greedy generator would sample a problem several times with the same result, if
    /// the generator can sample nothing with its settings or none of the problems that are not excluded, or
    /// if near duplicates are to be left out.
    pub fn check(&mut self, generator: &dyn Generator) -> Result<()> {
        if self.rejected.is_some() {
            return Ok(());
        }
        if self.near_duplicates.is_some() {
            return Err(near::refused());
        }
        let mut rest = self.excluded.rest(&self.problems);
        if generator.is_greedy()
            && let Some(problem) = rest.find(|problem| self.draws_several(problem))
        {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "greedy sampling gives one and the same response every time, and the strategy \
                     asks for several trials of problem {:?}: use vanilla with 1 trial a problem, or \
                     sample with a temperature",
                    problem.id
                ),
            ));
        }
        let mut rejected = generator.check(&self.problems)?;
        rejected.retain(|rejection| !self.excluded.has(rejection.problem));
        let left_out = rejected.len() + self.excluded.len();
        if let (true, Some(first)) = (left_out >= self.problems.len(), rejected.first()) {
            let reason = format!("none of the problems can be sampled: {}", first.reason);
            return Err(Error::new(ErrorKind::Data, reason));
        }
        self.rejected = Some(rejected);
        Ok(())
    }

    /// Returns whether a problem may need more than one trial.
    fn draws_several(&self, problem: &Problem) -> bool {
        let limits = &self.limits;
        if limits.trials_per_problem.is_some_and(|most| most <= 1) {
            return false;
        }
        let is_open = |verdicts: &[bool]| {
            let prefix = Prefix::new(verdicts);
            match self.strategy.goal(problem, prefix) {
                Goal::Stop => false,
                Goal::Trials(goal) => prefix.trials() < goal,
                Goal::Correct(goal) => {
                    let given_up = limits.give_up_after.is_some_and(|most| most <= 1);
                    prefix.correct() < goal
                        && !(given_up && prefix.trials() == 1 && prefix.correct() == 0)
                }
            }
        };
        is_open(&[]) && (is_open(&[false]) || is_open(&[true]))
    }

    /// Grades the trials of the run's journal again, with a different grader, other settings, or another
    /// version of the crate. The journal is then as if this grader had graded the trials originally, and
    /// [`run`](Run::run) resumes from it. It draws further trials for problems that now have too few correct
    /// ones.
    ///
    /// The grader receives texts and finish reasons, but no token ids, because a journal does not store them.
    ///
    /// # Errors
    ///
    /// Returns an error if the run has no journal, if the journal has another configuration (except grader
    /// and version), or if it cannot be read or written. The journal is then unchanged, or, if only the removal of
    /// the old one failed, graded anew as a whole.
    pub fn regrade(&self, generator: &dyn Generator, grader: &dyn Grader) -> Result<Regraded> {
        let path = self.journal_path("no trials to grade anew")?;
        let configuration = self.configuration(generator, grader);
        let (limits, indices) = (self.limits.settings(), self.indices());
        let session = Session::begin();
        let expected = self.expected(&configuration, &limits, &indices, &session);
        regrade(path, &expected, self.part_bytes, grader)
    }

    /// Joins the journals of runs over disjoint parts of these problems (shards) into this run's journal,
    /// which must not exist yet. [`run`](Run::run) then resumes from it as if there had been one run, and
    /// [`select`](Run::select) makes the data set without drawing.
    ///
    /// # Errors
    ///
    /// Returns an error if the run has no journal setting or its journal exists already; if a shard's journal
    /// cannot be read or a run is writing to it; if it has trials of problems or of a seed that this run does
    /// not have; if its configuration differs from the first one's, apart from problems; or if the shards
    /// have a limit of trials over all problems.
    pub fn merge(&self, journals: &[PathBuf]) -> Result<Merged> {
        let path = self.journal_path("nothing to join journals into")?;
        let (limits, indices) = (self.limits.settings(), self.indices());
        let (configuration, session) = (Settings::new(), Session::begin());
        let expected = self.expected(&configuration, &limits, &indices, &session);
        let mut merged = merge(path, journals, &expected, self.part_bytes)?;
        let is_out = |id: &str| {
            indices
                .get(id)
                .is_some_and(|at| self.excluded.has(*at as usize))
        };
        merged.without_trials.retain(|id| !is_out(id));
        Ok(merged)
    }

    fn journal_path(&self, lacks: &str) -> Result<&Path> {
        self.journal.as_deref().ok_or_else(|| {
            let reason = format!("a run without a journal has {lacks}");
            Error::new(ErrorKind::Settings, reason)
        })
    }

    /// Selects the data set that the run's strategy and limits make of the trials in its journal, whatever
    /// generator and grader produced them. It is the data set that a run would make, as far as the trials
    /// suffice. Nothing is drawn, and the journal is unchanged.
    ///
    /// # Errors
    ///
    /// Returns an error if the run has no journal, if the journal cannot be read or has other problems or
    /// another seed, or if the run has a limit of trials over all problems.
    pub fn select(mut self) -> Result<Outcome> {
        let path = self.journal_path("no trials to select from")?;
        if self.limits.trials.is_some() {
            let reason = "of a journal's trials no number over all problems can be selected: what each \
                          problem has of it depends on the order in which they were drawn";
            return Err(Error::new(ErrorKind::Settings, reason));
        }
        let found = JournalTrials::open(path)?;
        let mut configuration = self.configuration(&Absent, &Absent);
        for key in ["version", "generator", "grader"] {
            if let Some(was) = found.configuration().get(key) {
                configuration.insert(key.into(), was.clone());
            }
        }
        self.rejected = Some(Vec::new());
        self.selects = true;
        self.go_on(configuration, &Absent, |shared| {
            shared.end_selection();
            Ok(())
        })
    }

    /// Forecasts what the run takes and yields, as a function of the limit of trials per problem: trials,
    /// tokens, time, rows and the share of targets met, each with an interval. Nothing is drawn.
    ///
    /// The forecast ignores duplicates and limits of the whole run. The end for futility is that of the run's
    /// own limit in every row. Excluded problems are not included.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use dart_math::Problem;
    /// use dart_math::dars::{Basis, Costs, Known, Limits, Run, Uniform};
    ///
    /// let problems = vec![Problem::new("1 + 1?", "2").with_id("easy"), Problem::new("?", "0").with_id("hard")];
    /// let limits = Limits { trials_per_problem: Some(64), ..Limits::default() };
    /// let run = Run::builder(problems).strategy(Uniform { k: 4 }).limits(limits).build()?;
    /// let table = HashMap::from([
    ///     ("easy".to_owned(), Known::Rate(0.9)),
    ///     ("hard".to_owned(), Known::Counts { trials: 8, correct: 1 }),
    /// ]);
    /// let costs = Costs { tokens_per_trial: Some(300.0), ..Costs::default() };
    /// let forecast = run.forecast(Basis::Table(&table), costs)?;
    /// let last = forecast.rows.last().ok_or("no rows")?;
    /// assert!(last.trials.low <= last.trials.mean && last.trials.mean <= 128.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if nothing is known about any problem, if some problem's rate can be derived neither
    /// from the table nor from other problems' trials, or if a rate or counts are out of range.
    pub fn forecast(&self, basis: Basis<'_>, costs: Costs) -> Result<Forecast> {
        let problems = self.excluded.rest(&self.problems);
        let problems = problems.map(|problem| &**problem);
        forecast(problems, &self.rules(), self.seed, basis, costs)
    }

    /// Draws, grades and counts trials until every problem has ended or the run is stopped. Grading uses
    /// separate threads; the generator runs on the caller's thread.
    ///
    /// A limit, an interruption, or a failure of generator, journal, strategy or observer after the run has
    /// begun is not an error: the outcome has everything that is complete and the reason for the end.
    ///
    /// # Errors
    ///
    /// Returns an error if the run cannot begin: if [`check`](Run::check) fails; if the journal cannot be
    /// read or written, is damaged, or has another configuration (every difference is named); or if threads
    /// cannot be started.
    pub fn run(mut self, generator: &dyn Generator, grader: &dyn Grader) -> Result<Outcome> {
        self.check(generator)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.graders)
            .thread_name(|index| format!("grader {index}"))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Settings, "threads for grading cannot be started")
                    .with_source(error)
            })?;
        let configuration = self.configuration(generator, grader);
        self.go_on(configuration, grader, |shared| {
            pool.in_place_scope(|scope| generator.run(&RunSource::new(shared, scope)))
        })
    }

    /// Returns the problems that are not sampled, with reasons.
    fn left_out(&mut self) -> Vec<(StopReason, Rejection)> {
        let rejected = self.rejected.take().unwrap_or_default().into_iter();
        let rejected = rejected.map(|rejection| (StopReason::Rejected, rejection));
        let excluded = self.excluded.reasons().map(|(problem, reason)| {
            let reason = reason.to_owned();
            (StopReason::Excluded, Rejection { problem, reason })
        });
        rejected.chain(excluded).collect()
    }

    /// Takes the trials of the journal, samples more, and closes the run.
    fn go_on(
        mut self,
        configuration: Settings,
        grader: &dyn Grader,
        sample: impl FnOnce(&Shared<'_>) -> Result<()>,
    ) -> Result<Outcome> {
        let begun = Instant::now();
        let session = Session::begin();
        let span = tracing::info_span!("run", problems = self.problems.len(), seed = self.seed);
        let _entered = span.enter();
        let left_out = self.left_out();
        let limits = self.limits.settings();
        let mut allocator = Allocator::open(&self.problems, &left_out, self.rules(), self.seed);
        let mut resumed = Totals::default();
        let store = match &self.journal {
            None => Store::in_memory(self.problems.len(), self.keep),
            Some(path) => {
                let _opening = tracing::info_span!("journal", path = %path.display()).entered();
                let indices = self.indices();
                let expected = self.expected(&configuration, &limits, &indices, &session);
                let mut take = |problem, trial: TrialSummary| {
                    resumed.resumed += 1;
                    resumed.tokens += u64::from(trial.tokens);
                    // Near duplicates are found by their texts once all trials have been read.
                    self.near_duplicates.is_some() || allocator.settle(problem, trial)
                };
                let mut journal = Journal::open(path, &expected, self.part_bytes, &mut take)?;
                if let Some(similarity) = self.near_duplicates {
                    let reading = near::Reading {
                        problems: &self.problems,
                        indices: &indices,
                        similarity,
                        cancel: &self.cancel,
                    };
                    reading.settle(journal.parts(), &mut |problem, trial| {
                        allocator.settle(problem, trial)
                    })?;
                }
                // Tokens of cancelled trials are in no row.
                resumed.tokens = resumed.tokens.max(journal.tokens_sampled());
                Store::Journal(Box::new(journal))
            }
        };
        if self.observer.is_some() {
            allocator.estimate();
        }
        let shared = Shared::new(Beginning {
            allocator,
            resumed,
            session,
            store,
            grader,
            observer: self.observer,
            cancel: self.cancel.clone(),
            limits: self.limits,
            begun,
            span: span.clone(),
        });
        shared.notify(None, &[]);
        let ran = {
            let _sampling = tracing::info_span!("sample").entered();
            sample(&shared)
        };
        shared.conclude(ran);
        shared.notify(None, &shared.rows_of_open());
        Ok(shared.close(configuration, limits))
    }
}

/// Stands for the generator and the grader if nothing is drawn.
struct Absent;

impl Generator for Absent {
    fn run(&self, _: &dyn Source) -> Result<()> {
        Ok(())
    }
}

impl Grader for Absent {
    fn grade(&self, _: &Problem, _: &Completion) -> Verdict {
        Verdict::new(false, "absent")
    }
}
