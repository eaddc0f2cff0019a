//! A run in progress: connects the allocator with a generator, a pool of graders and a journal.

mod ending;
mod observed;

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::allocator::{Allocator, Counts};
use super::estimate::Pace;
use super::occupancy::OccupancyMeter;
use super::session::GRADER_FAILED;
use super::store::{Row, Store};
use super::summary::TrialSummary;
use super::{CancelHandle, Limits, Observer, Problem, RunStop, Session, Totals};
use crate::error::panic_message;
use crate::{
    Completion, Error, ErrorKind, Finish, Grader, Next, Offer, Source, StopReason, Trial, TrialId,
    Verdict,
};

/// The number of completions awaiting a verdict at which sampling pauses.
const MAX_UNGRADED: usize = 1024;
/// How often a generator may return a wanted trial as cancelled.
const MAX_REFUSALS: u32 = 8;
/// How long `next` blocks an idle generator while verdicts are pending.
const POLL_TIMEOUT: Duration = Duration::from_millis(5);

/// The state shared by the generator, the graders and the caller.
pub(super) struct Shared<'a> {
    state: Mutex<State<'a>>,
    /// Signalled when a verdict has arrived.
    settled: Condvar,
    store: Mutex<Store>,
    grader: &'a dyn Grader,
    observer: Option<Mutex<&'a dyn Observer>>,
    /// Whether the observer is to be notified of the data set's rows.
    wants_rows: bool,
    cancel: CancelHandle,
    limits: Limits,
    problems: usize,
    begun: Instant,
    /// The span of the run.
    span: tracing::Span,
}

/// The initial state of a run.
pub(super) struct Beginning<'a> {
    pub(super) allocator: Allocator<'a>,
    /// Sums over the trials in the journal.
    pub(super) resumed: Totals,
    pub(super) session: Session,
    pub(super) store: Store,
    pub(super) grader: &'a dyn Grader,
    pub(super) observer: Option<&'a dyn Observer>,
    pub(super) cancel: CancelHandle,
    pub(super) limits: Limits,
    pub(super) begun: Instant,
    pub(super) span: tracing::Span,
}

struct State<'a> {
    allocator: Allocator<'a>,
    /// The trials that the generator has, and whether it knows that they are no longer wanted.
    flights: HashMap<TrialId, bool>,
    /// How often wanted trials came back cancelled.
    refusals: HashMap<TrialId, u32>,
    grading: usize,
    /// With a limit of time per problem: when problems were begun, earliest first, and the set of them.
    begun: VecDeque<(Instant, u32)>,
    known_begun: HashSet<u32>,
    /// The problems that this limit has ended.
    out_of_time: Vec<u32>,
    stop: Option<RunStop>,
    error: Option<Error>,
    tokens_before: u64,
    /// The allocator's counts before this call.
    before: Counts,
    pace: Pace,
    /// Only recorded; no decision depends on it.
    occupancy: OccupancyMeter,
    totals: Totals,
    /// This call; its sums are filled in when it ends.
    session: Session,
}

impl State<'_> {
    fn fail(&mut self, error: Error) {
        tracing::error!(%error, "the run ends early");
        self.stop = Some(RunStop::Failed);
        self.error.get_or_insert(error);
    }
}

/// The result of settling a graded trial.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// It is no longer wanted or could not be journalled.
    Dropped,
    Counted,
    /// It counts and ended its problem, with these rows of the data set.
    Last(Vec<Row>),
}

/// Returns a grader's verdict on a trial, and whether the grader panicked instead.
pub(super) fn judge(
    grader: &dyn Grader,
    (problem, number): (&Problem, u32),
    completion: &Completion,
) -> (Verdict, bool) {
    let _grading = tracing::debug_span!("grade", problem = problem.id, trial = number).entered();
    let judged = catch_unwind(AssertUnwindSafe(|| grader.grade(problem, completion)));
    let failed = judged.is_err();
    let verdict = judged.unwrap_or_else(|panic| {
        let reason = panic_message(&*panic);
        tracing::warn!(problem = problem.id, reason, "the grader panicked");
        Verdict {
            reason: reason.to_owned().into(),
            ..Verdict::new(false, GRADER_FAILED)
        }
    });
    (verdict, failed)
}

/// The source from which a generator draws.
pub(super) struct RunSource<'s, 'scope, 'a> {
    shared: &'scope Shared<'a>,
    scope: &'s rayon::Scope<'scope>,
}

impl<'s, 'scope, 'a> RunSource<'s, 'scope, 'a> {
    pub(super) fn new(shared: &'scope Shared<'a>, scope: &'s rayon::Scope<'scope>) -> Self {
        RunSource { shared, scope }
    }
}

impl Source for RunSource<'_, '_, '_> {
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
    pub(super) fn new(beginning: Beginning<'a>) -> Self {
        let Beginning {
            allocator,
            resumed,
            session,
            store,
            grader,
            observer,
            cancel,
            limits,
            begun,
            span,
        } = beginning;
        let before = allocator.counts();
        Shared {
            problems: allocator.problems(),
            state: Mutex::new(State {
                allocator,
                flights: HashMap::new(),
                refusals: HashMap::new(),
                grading: 0,
                begun: VecDeque::new(),
                known_begun: HashSet::new(),
                out_of_time: Vec::new(),
                stop: None,
                error: None,
                tokens_before: resumed.tokens,
                before,
                pace: Pace::default(),
                occupancy: OccupancyMeter::new(),
                totals: Totals {
                    tokens: 0,
                    ..resumed
                },
                session,
            }),
            settled: Condvar::new(),
            store: Mutex::new(store),
            grader,
            wants_rows: observer.is_some_and(Observer::wants_accepted),
            observer: observer.map(Mutex::new),
            cancel,
            limits,
            begun,
            span,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        // Only a user's strategy can panic under the lock. That ends the run, which is still closed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the run if it was cancelled or its time is over, and ends problems whose time is over.
    fn look_around(&self, state: &mut State<'_>) {
        if state.stop.is_none() {
            if self.cancel.is_cancelled() {
                state.stop = Some(RunStop::Interrupted);
            } else if let Some(limit) = self.limits.time {
                let elapsed = self.begun.elapsed();
                if elapsed >= limit {
                    state.stop = Some(RunStop::Time { limit, elapsed });
                }
            }
        }
        if let Some(limit) = self.limits.time_per_problem {
            while let Some((begun, problem)) = state.begun.front().copied()
                && begun.elapsed() >= limit
            {
                state.begun.pop_front();
                if state.allocator.end(problem, StopReason::TimeLimit) {
                    state.out_of_time.push(problem);
                }
            }
        }
    }

    /// Ends the run if it has reached its limit of tokens.
    fn check_tokens(&self, state: &mut State<'_>) {
        let sampled = state.tokens_before + state.totals.tokens_sampled;
        if let Some(limit) = self.limits.tokens.filter(|most| sampled >= *most) {
            state.stop.get_or_insert(RunStop::Tokens { limit, sampled });
        }
    }

    /// Records when problems are begun, if there is a limit of time per problem.
    fn note_begun(&self, state: &mut State<'_>, trials: &[TrialId]) {
        if self.limits.time_per_problem.is_none() {
            return;
        }
        let now = Instant::now();
        for trial in trials {
            if state.known_begun.insert(trial.problem) {
                state.begun.push_back((now, trial.problem));
            }
        }
    }

    fn next(&self, offer: Offer<'_>) -> Next {
        let mut state = self.lock();
        let in_flight = state.flights.len();
        state.occupancy.offered(offer.free, in_flight);
        let next = self.decide(&mut state, offer);
        if !matches!(next, Next::Wait) || !state.flights.is_empty() || state.grading == 0 {
            return next;
        }
        // The generator is idle, and nothing can be decided before a verdict arrives.
        let waited = self.settled.wait_timeout(state, POLL_TIMEOUT);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        self.decide(&mut state, offer)
    }

    fn decide(&self, state: &mut State<'_>, offer: Offer<'_>) -> Next {
        self.look_around(state);
        if state.allocator.all_ended() {
            state.stop.get_or_insert(RunStop::Finished);
        }
        self.check_tokens(state);
        if state.stop.is_some() {
            return Next::Done;
        }
        if state.grading >= MAX_UNGRADED || offer.free == 0 {
            return Next::Wait;
        }
        let trials = state.allocator.issue(offer);
        if !trials.is_empty() {
            self.note_begun(state, &trials);
            state
                .flights
                .extend(trials.iter().map(|&trial| (trial, false)));
            self.note_occupancy(state);
            let request = |trial| state.allocator.request(trial);
            return Next::Requests(trials.into_iter().map(request).collect());
        }
        if !state.flights.is_empty() || state.grading > 0 {
            return Next::Wait;
        }
        // Nothing to draw and nothing to wait for: every open problem is at its allowance.
        if let Some(limit) = self.limits.trials {
            state.stop = Some(RunStop::Trials { limit });
        } else {
            let reason = "a problem is neither at its goal nor in need of trials";
            state.fail(Error::new(ErrorKind::Settings, reason));
        }
        Next::Done
    }

    /// Records the current numbers of trials in flight and in grading.
    fn note_occupancy(&self, state: &mut State<'_>) {
        let (in_flight, grading) = (state.flights.len(), state.grading);
        let now = self.begun.elapsed();
        state.occupancy.set(now, in_flight, grading);
    }

    fn wanted(&self, trial: TrialId) -> bool {
        let mut state = self.lock();
        self.look_around(&mut state);
        if !state.flights.contains_key(&trial) {
            return false;
        }
        let wanted = state.stop.is_none() && state.allocator.wants(trial);
        if !wanted {
            state.flights.insert(trial, true);
        }
        wanted
    }

    /// Takes a completion and returns whether it is to be graded.
    fn receive(&self, trial: TrialId, completion: &Completion) -> bool {
        let mut state = self.lock();
        let Some(knows) = state.flights.remove(&trial) else {
            tracing::warn!(?trial, "a completion that was not asked for");
            return false;
        };
        state.totals.tokens_sampled += u64::from(completion.token_count());
        let wanted = state.allocator.wants(trial);
        let whole = completion.finish != Finish::Cancelled;
        if whole {
            state.totals.drawn += 1;
        } else {
            state.totals.cancelled += 1;
            if wanted && !knows && state.stop.is_none() {
                let refusals = state.refusals.entry(trial).or_default();
                *refusals += 1;
                if *refusals > MAX_REFUSALS {
                    let request = state.allocator.request(trial);
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
            state.allocator.await_verdict(trial);
        } else {
            state.allocator.requeue(trial);
        }
        self.note_occupancy(&mut state);
        self.check_tokens(&mut state);
        whole && wanted
    }

    /// Grades a completion, writes its row and counts it. Runs on a grading thread.
    fn grade_and_settle(&self, trial: TrialId, completion: Completion) {
        // This thread has not entered a span yet.
        let _run = self.span.enter();
        let request = self.lock().allocator.request(trial);
        let judged = (&*request.problem, trial.number);
        let (verdict, failed) = judge(self.grader, judged, &completion);
        let row = Trial::new(
            &request.problem,
            trial.number,
            request.seed,
            completion,
            verdict,
        );
        let graded = self.observer.is_some().then(|| row.clone());
        let settled = self
            .catch_panic(|| self.settle(trial, row))
            .unwrap_or(Settled::Dropped);
        {
            let mut state = self.lock();
            state.grading -= 1;
            self.note_occupancy(&mut state);
            state.totals.grader_failures += u64::from(failed);
        }
        self.settled.notify_all();
        let graded = graded.filter(|_| settled != Settled::Dropped);
        let rows = match settled {
            Settled::Last(rows) => self.read_rows(&[(trial.problem, rows)]),
            _ => Vec::new(),
        };
        self.notify(graded.as_ref(), &rows);
    }

    /// Runs code that calls a user's strategy or observer. A panic ends the run with it as the error, instead
    /// of leaving a verdict pending forever or losing the outcome.
    fn catch_panic<T>(&self, run: impl FnOnce() -> T) -> Option<T> {
        let ran = catch_unwind(AssertUnwindSafe(run));
        ran.map_err(|panic| {
            let reason = format!("strategy or observer panicked: {}", panic_message(&*panic));
            self.lock().fail(Error::new(ErrorKind::Settings, reason));
        })
        .ok()
    }

    /// Writes a graded trial's row and counts it, unless it is no longer wanted.
    fn settle(&self, id: TrialId, trial: Trial) -> Settled {
        {
            let mut state = self.lock();
            if !state.allocator.wants(id) {
                state.allocator.requeue(id);
                return Settled::Dropped;
            }
        }
        let summary = TrialSummary::of(&trial);
        let added = self.store().add(id, trial, &summary);
        let mut state = self.lock();
        if let Err(error) = added {
            state.allocator.requeue(id);
            state.fail(error);
            return Settled::Dropped;
        }
        let before = state.allocator.has_ended(id.problem);
        state.allocator.settle(id.problem, summary);
        if before || !state.allocator.has_ended(id.problem) {
            return Settled::Counted;
        }
        let rows = state.allocator.rows(id.problem);
        drop(state);
        self.store().end(id.problem, &rows);
        Settled::Last(rows)
    }
}
