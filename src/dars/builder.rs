//! Configures a run.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::exclude::Excluded;
use super::journal::PART_BYTES;
use super::near;
use super::store::Keep;
use super::{CancelHandle, Limits, Observer, Run, Strategy};
use crate::{Error, ErrorKind, Problem, Rejection, Result};

/// The default of [`RunBuilder::sure`].
pub const SURE: f64 = 0.999;

/// Configures a [`Run`].
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
    /// Sets how many responses each problem is to get. Required.
    pub fn strategy(mut self, strategy: impl Strategy + 'a) -> Self {
        self.strategy = Some(Box::new(strategy));
        self
    }

    /// Sets limits that end problems or the run earlier. The default has no limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the seed from which all trials' random numbers derive. The default is 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets whether exact duplicates of a problem's correct responses are left out of the data set and not
    /// counted towards the problem's target. Of equal responses, the one with the lowest number is kept,
    /// whichever was sampled first. Off by default; [`Totals::duplicates`](super::Totals::duplicates) counts
    /// duplicates in any case.
    ///
    /// A problem's pass rate counts duplicates as correct trials.
    pub fn dedup(mut self, dedup: bool) -> Self {
        self.dedup = dedup;
        self
    }

    /// Also leaves out correct responses that are similar to an earlier response of the same problem in the
    /// data set. Implies [`dedup`](RunBuilder::dedup), which leaves out exact duplicates only. Similarity,
    /// from 0 to 1, is the Jaccard index of the sets of shingles: runs of five words (letters and digits, in
    /// lower case). It requires the texts, so only [`select`](Run::select) supports it; a run that draws
    /// refuses it.
    pub fn near_duplicates(mut self, similarity: f64) -> Self {
        self.near_duplicates = Some(similarity);
        self
    }

    /// Leaves problems out, such as those that overlap with a test set
    /// ([`TestSets::rejections`](crate::data::decontaminate::TestSets::rejections)). Nothing is sampled for
    /// them, their trials in a journal do not count, and they have no rows. They remain in the list of
    /// problems, with the reason. A run can be resumed with other exclusions without losing trials, unless it
    /// has a limit of trials over all problems.
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

    /// Sets the directory to which every graded trial is written before it counts. It is created if it does
    /// not exist. If it contains a journal of the same configuration, the run resumes from it.
    ///
    /// These may differ from the journal:
    ///
    /// - Limits. Trials drawn under lower limits are the first that higher limits allow. Lower limits of a
    ///   problem use fewer of the existing trials. A limit of the whole run in trials or tokens must not be
    ///   lowered.
    /// - Problems may be appended. The results of the earlier ones do not change.
    /// - The strategy, [`dedup`](RunBuilder::dedup) and [`exclude`](RunBuilder::exclude). A trial does not
    ///   depend on why it was drawn, so existing trials are used and missing ones are drawn.
    ///
    /// With a limit of trials over all problems, only limits may differ, and they can only be raised.
    pub fn journal(mut self, path: impl Into<PathBuf>) -> Self {
        self.journal = Some(path.into());
        self
    }

    /// Sets the number of bytes of rows at which a part of the journal is sealed: compressed, and never
    /// written again. The default is 64 MiB.
    pub fn journal_part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = bytes;
        self
    }

    /// Sets which trials' texts a run without a journal keeps. The default is those of the data set.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Sets how probable it must be that a trial counts, from 0.5 to 1, for it to be drawn before the
    /// verdicts that decide this. The default is [`SURE`]. Samples of one problem share its prompt's prefill
    /// and KV cache, so drawing more of them at once is worth some wasted trials. With 1, only trials that
    /// certainly count are drawn, unless slots would be idle. The data set does not depend on it.
    pub fn sure(mut self, probability: f64) -> Self {
        self.sure = probability;
        self
    }

    /// Sets the observer that is notified of progress.
    pub fn observer(mut self, observer: &'a dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the handle that ends the run from another thread.
    pub fn cancel(mut self, handle: CancelHandle) -> Self {
        self.cancel = handle;
        self
    }

    /// Sets the number of grading threads. The default is 1.
    pub fn graders(mut self, threads: usize) -> Self {
        self.graders = threads;
        self
    }

    /// Validates the settings and returns the run.
    ///
    /// # Errors
    ///
    /// Returns an error if the strategy is missing or cannot be used for these problems; if there are no
    /// problems, all are excluded, or two have the same id; if there are no grading threads; or if another
    /// setting is out of range.
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
    /// Returns a builder for a run over these problems.
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
