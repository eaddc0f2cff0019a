//! Running: the ledger put between a generator, a pool of graders and a journal.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::journal::{Expected, Journal};
use super::ledger::Ledger;
use super::outcome::fingerprint;
use super::session::GRADER_FAILED;
use super::{
    CancelHandle, Limits, Observer, Outcome, Progress, RunStop, Session, Strategy, Totals,
};
use crate::error::panic_message;
use crate::{
    Completion, Error, ErrorKind, Finish, Generator, Grader, Next, Offer, Problem, Result,
    Settings, Source, Trial, TrialId, Verdict,
};

/// Completions that may wait for their verdict before no more is sampled.
const MAX_UNGRADED: usize = 1024;
/// How often a generator may return a trial cancelled that it was not told to cancel.
const MAX_REFUSALS: u32 = 8;
/// How long `next` holds a generator that has nothing else to do, while verdicts are pending.
const PATIENCE: Duration = Duration::from_millis(5);

/// A run, ready to start.
pub struct Run<'a> {
    problems: Vec<Arc<Problem>>,
    strategy: Box<dyn Strategy + 'a>,
    limits: Limits,
    seed: u64,
    journal: Option<PathBuf>,
    observer: Option<&'a dyn Observer>,
    cancel: CancelHandle,
    graders: usize,
}

/// Sets up a [`Run`].
#[must_use]
pub struct RunBuilder<'a> {
    problems: Vec<Problem>,
    strategy: Option<Box<dyn Strategy + 'a>>,
    limits: Limits,
    seed: u64,
    journal: Option<PathBuf>,
    observer: Option<&'a dyn Observer>,
    cancel: CancelHandle,
    graders: usize,
}

impl<'a> RunBuilder<'a> {
    /// How many responses each problem is to get. Required.
    pub fn strategy(mut self, strategy: impl Strategy + 'a) -> Self {
        self.strategy = Some(Box::new(strategy));
        self
    }

    /// When to end before that; no limits unless set.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The seed that all trials' random numbers derive from; 0 unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// A file that every graded trial is written to before it counts. Where it exists already, the
    /// run goes on from what it has, if it is of the same configuration. Limits may have been
    /// raised since: the trials drawn under the lower ones are the first that the higher ones allow.
    pub fn journal(mut self, path: impl Into<PathBuf>) -> Self {
        self.journal = Some(path.into());
        self
    }

    /// Who is told of progress.
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The handle that ends the run from another thread.
    pub fn cancel(mut self, handle: CancelHandle) -> Self {
        self.cancel = handle;
        self
    }

    /// Threads that grade; 1 unless set.
    pub fn graders(mut self, threads: usize) -> Self {
        self.graders = threads;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Where there is no strategy, or it cannot be used for these problems; no problem; two with
    /// the same id; no thread to grade.
    pub fn build(self) -> Result<Run<'a>> {
        let settings = |reason: String| Error::new(ErrorKind::Settings, reason);
        let strategy = self
            .strategy
            .ok_or_else(|| settings("a run needs a strategy".into()))?;
        if self.problems.is_empty() {
            return Err(settings("a run needs problems, and there are none".into()));
        }
        if u32::try_from(self.problems.len()).is_err() {
            return Err(settings("more problems than can be numbered".into()));
        }
        if self.graders == 0 {
            return Err(settings("graders must be at least 1".into()));
        }
        let mut ids = HashMap::new();
        for (index, problem) in self.problems.iter().enumerate() {
            if let Some(other) = ids.insert(problem.id.as_str(), index) {
                return Err(settings(format!(
                    "problems {other} and {index} have the same id {:?}",
                    problem.id
                )));
            }
        }
        strategy.check(&self.problems)?;
        Ok(Run {
            problems: self.problems.into_iter().map(Arc::new).collect(),
            strategy,
            limits: self.limits,
            seed: self.seed,
            journal: self.journal,
            observer: self.observer,
            cancel: self.cancel,
            graders: self.graders,
        })
    }
}

impl<'a> Run<'a> {
    /// A run over these problems.
    pub fn builder(problems: Vec<Problem>) -> RunBuilder<'a> {
        RunBuilder {
            problems,
            strategy: None,
            limits: Limits::default(),
            seed: 0,
            journal: None,
            observer: None,
            cancel: CancelHandle::new(),
            graders: 1,
        }
    }

    /// What the run's trials depend on, limits apart: a journal is only resumed where all of it is
    /// the same.
    pub fn configuration(&self, generator: &dyn Generator, grader: &dyn Grader) -> Settings {
        let mut problems = Settings::new();
        problems.insert("count".into(), self.problems.len().into());
        let hash = fingerprint(self.problems.iter().map(Arc::as_ref));
        problems.insert("hash".into(), hash.into());
        let mut settings = Settings::new();
        settings.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        settings.insert("seed".into(), self.seed.into());
        settings.insert("problems".into(), problems.into());
        settings.insert("strategy".into(), self.strategy.settings().into());
        settings.insert("generator".into(), generator.settings().into());
        settings.insert("grader".into(), grader.settings().into());
        settings
    }

    /// Draws, grades and counts until every problem has ended or the run is stopped. Grading has
    /// threads of its own; the generator runs on the caller's.
    ///
    /// A limit, an interruption, or a failure of generator, journal, strategy or observer once the
    /// run has begun does not make an error here: the outcome has what is complete, and says why
    /// there is not more.
    ///
    /// # Errors
    ///
    /// Where the run cannot begin: the journal cannot be read or written, is damaged, or belongs to
    /// another configuration (every difference is named); threads cannot be started.
    pub fn run(self, generator: &dyn Generator, grader: &dyn Grader) -> Result<Outcome> {
        let begun = Instant::now();
        let session = Session::begin();
        let configuration = self.configuration(generator, grader);
        let limits = self.limits.settings();
        let mut ledger = Ledger::open(&self.problems, &*self.strategy, self.limits, self.seed);
        let mut resumed = Totals::default();
        let journal = match &self.journal {
            None => None,
            Some(path) => {
                let expected = Expected {
                    configuration: &configuration,
                    limits: &limits,
                    problems: &(0..)
                        .zip(&self.problems)
                        .map(|(index, problem)| (problem.id.as_str(), index))
                        .collect(),
                    seed: self.seed,
                    session: &session,
                };
                Some(Journal::open(path, &expected, |id, trial| {
                    resumed.resumed += 1;
                    resumed.tokens += u64::from(trial.tokens);
                    ledger.settle(id.problem, trial);
                })?)
            }
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.graders)
            .thread_name(|index| format!("grader {index}"))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Settings, "threads for grading cannot be started")
                    .with_source(error)
            })?;
        let shared = Shared {
            state: Mutex::new(State {
                ledger,
                flights: HashMap::new(),
                refusals: HashMap::new(),
                grading: 0,
                stop: None,
                error: None,
                tokens_before: resumed.tokens,
                totals: Totals {
                    tokens: 0,
                    ..resumed
                },
                session,
            }),
            settled: Condvar::new(),
            journal: journal.map(Mutex::new),
            grader,
            observer: self.observer.map(Mutex::new),
            cancel: self.cancel,
            limits: self.limits,
            problems: self.problems.len(),
            begun,
        };
        shared.tell(None);
        let desk = &shared;
        let ran = pool.in_place_scope(|scope| {
            generator.run(&Desk {
                shared: desk,
                scope,
            })
        });
        shared.conclude(ran);
        shared.tell(None);
        Ok(shared.close(configuration, limits))
    }
}

/// What generator, graders and caller share.
struct Shared<'a> {
    state: Mutex<State<'a>>,
    /// Signalled when a verdict has come in.
    settled: Condvar,
    journal: Option<Mutex<Journal>>,
    grader: &'a dyn Grader,
    observer: Option<Mutex<&'a dyn Observer>>,
    cancel: CancelHandle,
    limits: Limits,
    problems: usize,
    begun: Instant,
}

struct State<'a> {
    ledger: Ledger<'a>,
    /// Trials the generator has, and whether it was told that they are no longer wanted.
    flights: HashMap<TrialId, bool>,
    /// How often trials came back cancelled though they were wanted.
    refusals: HashMap<TrialId, u32>,
    grading: usize,
    stop: Option<RunStop>,
    error: Option<Error>,
    tokens_before: u64,
    totals: Totals,
    /// This call, without its sums until it ends.
    session: Session,
}

impl State<'_> {
    fn fail(&mut self, error: Error) {
        tracing::error!(%error, "the run ends early");
        self.stop = Some(RunStop::Failed);
        self.error.get_or_insert(error);
    }
}

/// The source that a generator draws from.
struct Desk<'s, 'scope, 'a> {
    shared: &'scope Shared<'a>,
    scope: &'s rayon::Scope<'scope>,
}

impl Source for Desk<'_, '_, '_> {
    fn next(&self, offer: Offer<'_>) -> Next {
        self.shared.next(offer)
    }

    fn wanted(&self, trial: TrialId) -> bool {
        self.shared.wanted(trial)
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        if self.shared.receive(trial, &completion) {
            let shared = self.shared;
            self.scope
                .spawn(move |_| shared.grade_and_settle(trial, completion));
        }
    }
}

impl<'a> Shared<'a> {
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        // What panics under the lock is a user's strategy; that ends the run, which still closes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run where it was asked to, or its time is over.
    fn look_around(&self, state: &mut State<'_>) {
        if state.stop.is_none() {
            if self.cancel.is_cancelled() {
                state.stop = Some(RunStop::Interrupted);
            } else if self
                .limits
                .time
                .is_some_and(|most| self.begun.elapsed() >= most)
            {
                state.stop = Some(RunStop::Time);
            }
        }
    }

    fn next(&self, offer: Offer<'_>) -> Next {
        let mut state = self.lock();
        let next = self.decide(&mut state, offer);
        if !matches!(next, Next::Wait) || !state.flights.is_empty() || state.grading == 0 {
            return next;
        }
        // The generator has nothing else to do, and nothing may be decided before a verdict.
        let waited = self.settled.wait_timeout(state, PATIENCE);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        self.decide(&mut state, offer)
    }

    fn decide(&self, state: &mut State<'_>, offer: Offer<'_>) -> Next {
        self.look_around(state);
        if state.ledger.all_ended() {
            state.stop.get_or_insert(RunStop::Finished);
        }
        if state.stop.is_some() {
            return Next::Done;
        }
        if state.grading >= MAX_UNGRADED || offer.free == 0 {
            return Next::Wait;
        }
        let trials = state.ledger.issue(offer);
        if !trials.is_empty() {
            state
                .flights
                .extend(trials.iter().map(|&trial| (trial, false)));
            let request = |trial| state.ledger.request(trial);
            return Next::Requests(trials.into_iter().map(request).collect());
        }
        if !state.flights.is_empty() || state.grading > 0 {
            return Next::Wait;
        }
        // Nothing to draw, nothing to wait for: every open problem is at its allowance.
        if self.limits.trials.is_some() {
            state.stop = Some(RunStop::Trials);
        } else {
            let reason = "a problem is neither at its goal nor in need of trials";
            state.fail(Error::new(ErrorKind::Settings, reason));
        }
        Next::Done
    }

    fn wanted(&self, trial: TrialId) -> bool {
        let mut state = self.lock();
        self.look_around(&mut state);
        if !state.flights.contains_key(&trial) {
            return false;
        }
        let wanted = state.stop.is_none() && state.ledger.wants(trial);
        if !wanted {
            state.flights.insert(trial, true);
        }
        wanted
    }

    /// Books a completion in; whether it is to be graded.
    fn receive(&self, trial: TrialId, completion: &Completion) -> bool {
        let mut state = self.lock();
        let Some(told) = state.flights.remove(&trial) else {
            tracing::warn!(?trial, "a completion that was not asked for");
            return false;
        };
        state.totals.tokens_sampled += completion.tokens.len() as u64;
        let wanted = state.ledger.wants(trial);
        let whole = completion.finish != Finish::Cancelled;
        if whole {
            state.totals.drawn += 1;
        } else {
            state.totals.cancelled += 1;
            if wanted && !told && state.stop.is_none() {
                let refusals = state.refusals.entry(trial).or_default();
                *refusals += 1;
                if *refusals > MAX_REFUSALS {
                    let request = state.ledger.request(trial);
                    let reason = format!(
                        "the generator does not complete trial {} of problem {:?}",
                        trial.number, request.problem.id
                    );
                    state.fail(Error::new(ErrorKind::Device, reason));
                }
            }
        }
        if whole && wanted {
            state.grading += 1;
            state.ledger.await_verdict(trial);
        } else {
            state.ledger.take_back(trial);
        }
        let tokens = state.tokens_before + state.totals.tokens_sampled;
        if state.stop.is_none() && self.limits.tokens.is_some_and(|most| tokens >= most) {
            state.stop = Some(RunStop::Tokens);
        }
        whole && wanted
    }

    /// On a grader's thread: judges a completion, writes its row, counts it.
    fn grade_and_settle(&self, trial: TrialId, completion: Completion) {
        let request = self.lock().ledger.request(trial);
        let judged = catch_unwind(AssertUnwindSafe(|| {
            self.grader.grade(&request.problem, &completion)
        }));
        let failed = judged.is_err();
        let verdict = judged.unwrap_or_else(|panic| {
            let reason = panic_message(&*panic);
            tracing::warn!(problem = request.problem.id, reason, "the grader panicked");
            Verdict {
                reason: reason.to_owned().into(),
                ..Verdict::new(false, GRADER_FAILED)
            }
        });
        let row = Trial::new(
            &request.problem,
            trial.number,
            request.seed,
            completion,
            verdict,
        );
        let graded = self.observer.is_some().then(|| row.clone());
        let counts = self.guard(|| self.settle(trial, row)).unwrap_or(false);
        {
            let mut state = self.lock();
            state.grading -= 1;
            state.totals.grader_failures += u64::from(failed);
        }
        self.settled.notify_all();
        self.tell(graded.as_ref().filter(|_| counts));
    }

    /// Runs what calls a strategy or an observer of the user's. Where that panics the run ends with
    /// it as its error, instead of waiting for a verdict that never comes or losing its outcome.
    fn guard<T>(&self, run: impl FnOnce() -> T) -> Option<T> {
        let ran = catch_unwind(AssertUnwindSafe(run));
        ran.map_err(|panic| {
            let reason = format!("strategy or observer panicked: {}", panic_message(&*panic));
            self.lock().fail(Error::new(ErrorKind::Settings, reason));
        })
        .ok()
    }

    /// Writes a graded trial's row and counts it, unless it is of no use any more.
    fn settle(&self, id: TrialId, trial: Trial) -> bool {
        {
            let mut state = self.lock();
            if !state.ledger.wants(id) {
                state.ledger.take_back(id);
                return false;
            }
        }
        if let Some(journal) = &self.journal {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = journal.trial(&trial) {
                let mut state = self.lock();
                state.ledger.take_back(id);
                state.fail(error);
                return false;
            }
        }
        self.lock().ledger.settle(id.problem, trial);
        true
    }

    /// Tells the observer where the run stands.
    fn tell(&self, graded: Option<&Trial>) {
        let Some(observer) = &self.observer else {
            return;
        };
        self.guard(|| {
            let observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(trial) = graded {
                observer.graded(trial);
            }
            observer.progress(&self.progress());
        });
    }

    fn progress(&self) -> Progress {
        let state = self.lock();
        let counts = state.ledger.counts();
        Progress {
            problems: self.problems,
            done: counts.done,
            met: counts.met,
            trials: counts.trials,
            correct: counts.correct,
            resumed: state.totals.resumed,
            tokens: state.totals.tokens_sampled,
            in_flight: state.flights.len(),
            grading: state.grading,
            expected: counts.expected,
            elapsed: self.begun.elapsed(),
        }
    }

    /// Settles why the run ended, once the generator has returned and all verdicts are in.
    fn conclude(&self, ran: Result<()>) {
        let mut state = self.lock();
        let ended = state.ledger.all_ended();
        match ran {
            Ok(()) if state.stop.is_some() => {}
            Ok(()) if ended => state.stop = Some(RunStop::Finished),
            Ok(()) => {
                let reason = "the generator returned before the run was done";
                state.fail(Error::new(ErrorKind::Device, reason));
            }
            Err(error) => state.fail(error),
        }
        state.totals.seconds = self.begun.elapsed().as_secs_f64();
        let totals = state.totals;
        state.session.end(&totals);
        if let Some(journal) = &self.journal {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = match state.session.drew() {
                true => journal.end(&state.session),
                // Looking at a finished run is no part of its history.
                false => Ok(()),
            };
            if let Err(error) = ended.and_then(|()| journal.sync()) {
                state.fail(error);
            }
        }
    }

    fn close(self, configuration: Settings, limits: Settings) -> Outcome {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let (problems, trials) = state.ledger.close();
        let kept = |record: &crate::ProblemRecord| u64::from(record.kept);
        let met = |record: &&crate::ProblemRecord| {
            use crate::StopReason::{TargetMet, TrialsDone};
            matches!(record.stop, TargetMet | TrialsDone)
        };
        let totals = Totals {
            problems: problems.len(),
            met: problems.iter().filter(met).count(),
            covered: problems.iter().filter(|record| record.kept > 0).count(),
            trials: trials.len() as u64,
            correct: trials.iter().filter(|trial| trial.verdict.equal).count() as u64,
            kept: problems.iter().map(kept).sum(),
            tokens: trials.iter().map(|trial| u64::from(trial.tokens)).sum(),
            ..state.totals
        };
        let mut sessions = match self.journal {
            None => Vec::new(),
            Some(journal) => journal
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .into_sessions(),
        };
        if state.session.drew() || sessions.is_empty() {
            sessions.push(state.session);
        }
        Outcome {
            problems,
            trials,
            totals,
            sessions,
            stop: state.stop.unwrap_or(RunStop::Finished),
            error: state.error,
            configuration,
            limits,
        }
    }
}
