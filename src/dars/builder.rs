//! Setting up a run.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::exclude::Excluded;
use super::journal::PART_BYTES;
use super::near;
use super::store::Keep;
use super::{CancelHandle, Limits, Observer, Run, Strategy};
use crate::{Error, ErrorKind, Problem, Rejection, Result};

/// How probable it must be that a trial counts, unless [`RunBuilder::sure`] says otherwise.
pub const SURE: f64 = 0.999;

/// Sets up a [`Run`].
#[must_use]
pub struct RunBuilder<'a> {
    problems: Vec<Problem>,
    strategy: Option<Box<dyn Strategy + 'a>>,
    limits: Limits,
    seed: u64,
    dedup: bool,
    near_duplicates: Option<f64>,
    excluded: Vec<Rejection>,
    journal: Option<PathBuf>,
    part_bytes: u64,
    keep: Keep,
    sure: f64,
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

    /// Whether a correct response that is exactly an earlier one of the same problem is left out of the
    /// data set, and not counted towards the problem's target. Of two the one with the lower number is
    /// kept, whichever was sampled first. Off unless set; duplicates are counted all the same
    /// ([`Totals::duplicates`](super::Totals::duplicates)).
    ///
    /// A problem's pass rate counts duplicates as the correct trials that they are.
    pub fn dedup(mut self, dedup: bool) -> Self {
        self.dedup = dedup;
        self
    }

    /// Leaves out a correct response, too, that is similar to an earlier one of the same problem which is in the
    /// data set, as [`dedup`](RunBuilder::dedup) leaves out what is exactly the same. Similarity is the Jaccard index
    /// of the sets of shingles: runs of five words (letters and digits, in lower case), from 0 to 1. As texts are needed for
    /// it, only [`select`](Run::select) does this; a run that draws refuses it.
    pub fn near_duplicates(mut self, similarity: f64) -> Self {
        self.near_duplicates = Some(similarity);
        self
    }

    /// Leaves problems out, such as those that overlap with a test set
    /// ([`TestSets::rejections`](crate::data::decontaminate::TestSets::rejections)): nothing is sampled for them, what
    /// a journal has of them does not count, and no row is theirs; they stay in the list of problems, with the reason.
    /// A run may be resumed with others left out, unless it has a limit of trials over all problems: nothing that was
    /// sampled is lost.
    ///
    /// ```
    /// use dart_math::dars::{Run, Uniform};
    /// use dart_math::{Problem, Rejection};
    ///
    /// let problems = vec![Problem::new("1 + 1?", "2"), Problem::new("3 + 4?", "7")];
    /// let reason = "in a test set".to_owned();
    /// let run = Run::builder(problems).strategy(Uniform { k: 4 }).exclude(vec![Rejection { problem: 1, reason }]);
    /// assert!(run.build().is_ok());
    /// ```
    pub fn exclude(mut self, problems: Vec<Rejection>) -> Self {
        self.excluded.extend(problems);
        self
    }

    /// A directory that every graded trial is written to before it counts; it is made where it does not
    /// exist. Where it has a journal already, the run goes on from what it has, if it is of the same configuration. Limits may have
    /// changed since: the trials drawn under lower ones are the first that higher ones allow, and lower ones of a
    /// problem take fewer of those that are there (one of the whole run may not be lowered).
    /// So may problems have been added behind those of before, which they change nothing for, and the
    /// strategy, [`dedup`](RunBuilder::dedup) and [`exclude`](RunBuilder::exclude) may be others: a trial does not depend on why it was
    /// drawn, so those that are there are used, and what is missing is drawn. Neither is possible
    /// where the run has a limit of trials over all problems.
    pub fn journal(mut self, path: impl Into<PathBuf>) -> Self {
        self.journal = Some(path.into());
        self
    }

    /// Bytes of rows from which on a part of the journal is sealed: compressed, and never written to
    /// again. 64 MiB unless set.
    pub fn journal_part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = bytes;
        self
    }

    /// Which trials' texts a run without a journal keeps: those that make up the data set, unless set.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// How probable it must be that a trial counts for it to be drawn before the verdicts that decide it,
    /// from 0.5 to 1; [`SURE`] unless set. Samples of one problem share its prompt's prefill and KV cache, so
    /// it is worth some trials in vain to have more of them at once. With 1 only what certainly counts is
    /// drawn, unless slots would be idle. Nothing of a data set depends on it.
    pub fn sure(mut self, probability: f64) -> Self {
        self.sure = probability;
        self
    }

    /// Who is notified of progress.
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
    /// Where there is no strategy, or it cannot be used for these problems; no problem, or none that is not
    /// excluded; two with the same id; no thread to grade; a similarity that cannot be.
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
        if !(0.5..=1.0).contains(&self.sure) {
            let reason = format!("sure must be from 0.5 to 1, and is {}", self.sure);
            return Err(settings(reason));
        }
        if let Some(below) = self.limits.futility {
            if !(below > 0.0 && below < 1.0) {
                let reason = format!("futility must be between 0 and 1, and is {below}");
                return Err(settings(reason));
            }
            if self.limits.trials_per_problem.is_none() {
                let reason = "futility goes by the limit of trials per problem, and there is none";
                return Err(settings(reason.into()));
            }
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
        if let Some(similarity) = self.near_duplicates {
            near::check(similarity)?;
        }
        let excluded = Excluded::new(self.excluded, &self.problems)?;
        match excluded.len() {
            0 => strategy.check(&self.problems)?,
            _ => {
                let rest: Vec<Problem> = excluded.rest(&self.problems).cloned().collect();
                strategy.check(&rest)?;
            }
        }
        Ok(Run {
            problems: self.problems.into_iter().map(Arc::new).collect(),
            strategy,
            limits: self.limits,
            seed: self.seed,
            dedup: self.dedup || self.near_duplicates.is_some(),
            near_duplicates: self.near_duplicates,
            excluded,
            journal: self.journal,
            part_bytes: self.part_bytes,
            keep: self.keep,
            sure: self.sure,
            observer: self.observer,
            cancel: self.cancel,
            graders: self.graders,
            rejected: None,
            selects: false,
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
            dedup: false,
            near_duplicates: None,
            excluded: Vec::new(),
            journal: None,
            part_bytes: PART_BYTES,
            keep: Keep::default(),
            sure: SURE,
            observer: None,
            cancel: CancelHandle::new(),
            graders: 1,
        }
    }
}
