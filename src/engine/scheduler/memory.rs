//! Decides what fits into the scheduler's memory, and which trials are preempted.

use std::collections::HashSet;

use super::{Prompt, Scheduler, Waiting, tokens_of};
use crate::engine::backend::{Backend, SequenceId};
use crate::{Error, ErrorKind, Request, Result};

/// The limits of a scheduler.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Capacity {
    /// The number of concurrent sequences.
    pub(in crate::engine) slots: usize,
    /// The number of prompts that are kept while none of their trials is in flight.
    pub(in crate::engine) prefix_cache: usize,
    /// The limit of the KV cache in bytes.
    pub(in crate::engine) kv_bytes: Option<usize>,
}

impl Capacity {
    /// The limit of the KV cache in bytes, and its name for errors.
    fn kv_limit(&self, backend: &dyn Backend) -> Option<(usize, &'static str)> {
        let user = self.kv_bytes.map(|bytes| (bytes, "kv_bytes"));
        let device = backend.kv_capacity();
        let device = device.map(|bytes| (bytes, "the KV cache's capacity"));
        // If both are equal, name the user's limit, because the user can change it.
        user.into_iter().chain(device).min_by_key(|limit| limit.0)
    }

    /// Checks that a single sample of full length fits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if it does not fit.
    pub(in crate::engine) fn check(
        &self,
        backend: &dyn Backend,
        prompt: usize,
        new: usize,
    ) -> Result<()> {
        let needed = backend.prefix_bytes(prompt) + backend.sequence_bytes(prompt, new);
        match self.kv_limit(backend) {
            Some((limit, whose)) if needed > limit => Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "{whose} is {limit}, but the KV cache of a prompt of {prompt} tokens and of the \
                     {new} that may be fed after it takes {needed} bytes"
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl Scheduler<'_> {
    /// Returns how many of these requests, each with its number of known tokens, fit into the KV
    /// cache next to the active trials. Assumes that each grows to the average length of
    /// completions, or to its limit if that is shorter. At least one fits if nothing is active.
    pub(super) fn fitting(&mut self, requests: &[(Request, usize)]) -> Result<usize> {
        let backend = &*self.backend;
        let Some((limit, _)) = self.capacity.kv_limit(backend) else {
            return Ok(requests.len());
        };
        let sequence = |prompt: usize, len: usize, max: usize| {
            let expected = match self.finished {
                // No data yet: most completions end well before their limit.
                (_, 0) => max / 4,
                (tokens, count) => max.min((tokens / count) as usize),
            };
            backend.sequence_bytes(prompt, expected.max(len + 1))
        };
        let active = self.active.iter();
        let mut bytes: usize = active
            .map(|active| {
                let prompt = self.prompts.get(&active.trial.request.trial.problem);
                let prompt = prompt.map_or(0, |prompt| prompt.len);
                sequence(prompt, active.issued, active.trial.limit())
            })
            .sum();
        let live = self.prompts.values().filter(|prompt| prompt.live > 0);
        bytes += live
            .map(|prompt| backend.prefix_bytes(prompt.len))
            .sum::<usize>();
        let mut new = HashSet::new();
        for (count, (request, len)) in requests.iter().enumerate() {
            let problem = request.trial.problem;
            let held = self.prompts.get(&problem);
            let known = held.map(|prompt| prompt.len);
            let tokens = match known.or_else(|| self.waiting.get(&problem).copied()) {
                Some(tokens) => tokens,
                None => {
                    let tokens = tokens_of(&self.texts, request)?.len();
                    self.waiting.insert(problem, tokens);
                    tokens
                }
            };
            // Overlong prompts need no memory, because they are not run.
            if tokens < self.rules.context_length {
                if held.is_none_or(|prompt| prompt.live == 0) && new.insert(problem) {
                    bytes += backend.prefix_bytes(tokens);
                }
                let wanted = (self.texts.limit)(request);
                bytes += sequence(tokens, *len, self.rules.limit(tokens, wanted));
            }
            if bytes > limit && count + self.active.len() > 0 {
                return Ok(count);
            }
        }
        Ok(requests.len())
    }

    /// Reserves KV cache until `needed` bytes are within the limit: first evicts prompts without
    /// active trials, then preempts the youngest trials. `needed` receives the backend and the
    /// sequences in slots. `keep` lists prompts that are about to be used.
    pub(super) fn reserve(
        &mut self,
        keep: &[Request],
        needed: impl Fn(&dyn Backend, &[SequenceId]) -> usize,
    ) -> Result<()> {
        let Some((limit, whose)) = self.capacity.kv_limit(&*self.backend) else {
            return Ok(());
        };
        loop {
            let sequences: Vec<SequenceId> = self.active.iter().map(|a| a.sequence).collect();
            let bytes = needed(&*self.backend, &sequences);
            if bytes <= limit {
                return Ok(());
            }
            let unused = |(problem, prompt): &(&u32, &Prompt)| {
                let kept = keep
                    .iter()
                    .any(|request| request.trial.problem == **problem);
                prompt.live == 0 && !kept
            };
            let unused = self.prompts.iter().filter(unused);
            let oldest = unused.min_by_key(|(_, prompt)| prompt.last_used);
            if let Some((&problem, _)) = oldest {
                self.forget(problem);
                continue;
            }
            let ages = self.active.iter().map(|active| active.age).enumerate();
            let youngest = ages.max_by_key(|&(_, age)| age);
            match youngest {
                // The last trial keeps its cache, unless a prompt needs the memory.
                Some((slot, _)) if self.active.len() > 1 || !keep.is_empty() => self.preempt(slot),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Settings,
                        format!(
                            "{whose} is {limit}, which does not hold the KV cache of a single \
                             sample: {bytes} bytes"
                        ),
                    ));
                }
            }
        }
    }

    /// Preempts a trial: releases its sequence and its slot. Its draws in flight still arrive.
    fn preempt(&mut self, slot: usize) {
        let active = self.active.swap_remove(slot);
        let waiting = self.vacate(active);
        let older = |other: &Waiting| other.age < waiting.age;
        let index = self.preempted.partition_point(older);
        self.preempted.insert(index, waiting);
        self.count(|s| s.preemptions += 1);
    }

    /// Gives a preempted trial a slot again. Its own tokens are recomputed before it continues.
    pub(super) fn resume(&mut self, preempted: Waiting) -> Result<()> {
        let Waiting { trial, age, .. } = preempted;
        self.prefill(std::slice::from_ref(&trial.request))?;
        let known = trial.len();
        self.occupy(trial, age, known);
        self.evict();
        Ok(())
    }
}
