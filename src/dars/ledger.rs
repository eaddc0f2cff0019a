//! All problems' books and the decision what to sample next. Single-threaded and without a clock:
//! what it decides is a function of the calls made to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::book::Book;
use super::strategy::Strategy;
use super::{Limits, Problem};
use crate::{Offer, ProblemRecord, Request, Trial, TrialId, trial_seed};

/// The state of a run.
pub(super) struct Ledger<'a> {
    books: Vec<Book>,
    strategy: &'a dyn Strategy,
    limits: Limits,
    seed: u64,
    /// Problems that have not ended.
    open: BTreeSet<u32>,
    /// Those of them that certainly need more trials than are under way.
    hungry: BTreeSet<u32>,
    allowance: Allowance,
    /// Trials that count of problems that have ended.
    ended_trials: u64,
    totals: Counts,
}

/// Sums over the books, kept up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) done: usize,
    pub(super) met: usize,
    pub(super) trials: u64,
    pub(super) correct: u64,
    pub(super) expected: u64,
}

/// How far the run's limit of trials lets the open problems go: every one up to `level` trials,
/// and those with an index below `before` one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    level: u32,
    before: u32,
}

impl Allowance {
    fn of(self, problem: u32) -> u32 {
        self.level.saturating_add(u32::from(problem < self.before))
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn open(
        problems: &[Arc<Problem>],
        strategy: &'a dyn Strategy,
        limits: Limits,
        seed: u64,
    ) -> Self {
        let books: Vec<_> = problems
            .iter()
            .map(|problem| Book::open(Arc::clone(problem), strategy, &limits))
            .collect();
        let mut ledger = Ledger {
            open: (0..)
                .zip(&books)
                .filter(|(_, book)| !book.ended())
                .map(|(index, _)| index)
                .collect(),
            hungry: BTreeSet::new(),
            allowance: Allowance {
                level: u32::MAX,
                before: 0,
            },
            ended_trials: 0,
            totals: Counts {
                done: books.iter().filter(|book| book.ended()).count(),
                met: books.iter().filter(|book| book.met()).count(),
                expected: books.iter().map(|book| book.expected_left(&limits)).sum(),
                ..Counts::default()
            },
            books,
            strategy,
            limits,
            seed,
        };
        ledger.allow();
        ledger
    }

    pub(super) fn counts(&self) -> Counts {
        self.totals
    }

    pub(super) fn all_ended(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn request(&self, trial: TrialId) -> Request {
        let problem = Arc::clone(self.books[trial.problem as usize].problem());
        Request {
            seed: trial_seed(self.seed, &problem.id, trial.number),
            trial,
            problem,
        }
    }

    pub(super) fn wants(&self, trial: TrialId) -> bool {
        let allowance = self.allowance.of(trial.problem);
        self.books[trial.problem as usize].wants(trial.number, &self.limits, allowance)
    }

    /// Takes a graded trial.
    pub(super) fn settle(&mut self, problem: u32, trial: Trial) {
        self.change(problem, |book, strategy, limits| {
            book.settle(trial, strategy, limits);
        });
    }

    /// Notes that a trial has been sampled and waits for its verdict.
    pub(super) fn await_verdict(&mut self, trial: TrialId) {
        self.books[trial.problem as usize].await_verdict(trial.number);
    }

    /// Takes back a trial that was given out and will not settle.
    pub(super) fn take_back(&mut self, trial: TrialId) {
        self.change(trial.problem, |book, _, _| book.take_back(trial.number));
    }

    fn change(&mut self, index: u32, change: impl FnOnce(&mut Book, &dyn Strategy, &Limits)) {
        let book = &mut self.books[index as usize];
        let before = (book.ended(), book.trials(), book.correct());
        let expected = book.expected_left(&self.limits);
        change(book, self.strategy, &self.limits);
        self.totals.trials += u64::from(book.trials() - before.1);
        self.totals.correct += u64::from(book.correct() - before.2);
        self.totals.expected += book.expected_left(&self.limits);
        self.totals.expected -= expected;
        if book.ended() && !before.0 {
            self.ended_trials += u64::from(book.trials());
            self.totals.done += 1;
            self.totals.met += usize::from(book.met());
            self.open.remove(&index);
            self.hungry.remove(&index);
            if self.limits.trials.is_some() {
                self.allow();
            }
        } else {
            self.weigh(index);
        }
    }

    /// Shares what the run's limit of trials leaves among the open problems. Every problem that
    /// ends frees the rest of its share, so nobody's allowance ever falls.
    fn allow(&mut self) {
        let open = self.open.len() as u64;
        if let (Some(most), 1..) = (self.limits.trials, open) {
            let left = most.saturating_sub(self.ended_trials);
            let (level, rest) = (left / open, left % open);
            self.allowance = Allowance {
                level: u32::try_from(level).unwrap_or(u32::MAX),
                before: self.open.iter().nth(rest as usize).copied().unwrap_or(0),
            };
        }
        let open: Vec<_> = self.open.iter().copied().collect();
        for index in open {
            self.weigh(index);
        }
    }

    /// Brings a problem's place among the hungry up to date.
    fn weigh(&mut self, index: u32) {
        if self.needs(index).certain > 0 {
            self.hungry.insert(index);
        } else {
            self.hungry.remove(&index);
        }
    }

    fn needs(&self, index: u32) -> super::book::Needs {
        self.books[index as usize].needs(&self.limits, self.allowance.of(index))
    }

    /// Decides what to sample: first what is certainly needed, of problems whose prompts are
    /// resident before others and of earlier problems before later ones; then, with slots that
    /// would be idle, what may be expected to be needed, in equal shares of each problem's
    /// expectation. No more than that, however many slots there are.
    pub(super) fn issue(&mut self, offer: Offer<'_>) -> Vec<TrialId> {
        let mut issued = Vec::new();
        let resident = offer.resident.iter().copied();
        let mut certain: Vec<u32> = resident
            .filter(|index| self.hungry.contains(index))
            .collect();
        certain.extend(self.hungry.iter().take(offer.free));
        for index in certain {
            let most = offer.free - issued.len();
            let count = (self.needs(index).certain as usize).min(most);
            self.give_out(index, count, &mut issued);
        }
        if issued.len() < offer.free && self.hungry.is_empty() {
            self.speculate(offer, &mut issued);
        }
        issued
    }

    fn speculate(&mut self, offer: Offer<'_>, issued: &mut Vec<TrialId>) {
        // Per problem: trials under way, as a share of the expectation. The lowest comes first.
        let mut open: Vec<_> = self
            .open
            .iter()
            .map(|&index| (index, self.needs(index)))
            .filter(|(_, needs)| needs.expected > 0)
            .collect();
        let resident: BTreeSet<u32> = offer.resident.iter().copied().collect();
        while issued.len() < offer.free && !open.is_empty() {
            let share = |needs: &super::book::Needs| {
                f64::from(needs.under_way)
                    / (f64::from(needs.under_way) + f64::from(needs.expected))
            };
            open.sort_by(|(a, x), (b, y)| {
                (share(x).total_cmp(&share(y)))
                    .then(resident.contains(b).cmp(&resident.contains(a)))
                    .then(a.cmp(b))
            });
            // One each for the emptier half, then look again.
            let half = open.len().div_ceil(2).min(offer.free - issued.len());
            for (index, needs) in &mut open[..half] {
                self.give_out(*index, 1, issued);
                *needs = self.needs(*index);
            }
            open.retain(|(_, needs)| needs.expected > 0);
        }
    }

    fn give_out(&mut self, problem: u32, count: usize, issued: &mut Vec<TrialId>) {
        let book = &mut self.books[problem as usize];
        for _ in 0..count {
            issued.push(TrialId {
                problem,
                number: book.give_out(),
            });
        }
        if count > 0 {
            self.weigh(problem);
        }
    }

    /// Closes all books: a record a problem, in their order, and all trials that count, ordered by
    /// problem and number.
    pub(super) fn close(self) -> (Vec<ProblemRecord>, Vec<Trial>) {
        let mut records = Vec::with_capacity(self.books.len());
        let mut trials = Vec::new();
        for book in self.books {
            let (record, own) = book.close();
            records.push(record);
            trials.extend(own);
        }
        (records, trials)
    }
}
