//! What fits into the memory that a scheduler may use, and who is preempted where it runs out.

use std::collections::HashSet;

use super::{Prompt, Scheduler, Waiting, tokens_of};
use crate::engine::backend::{Backend, SequenceId};
use crate::{Error, ErrorKind, Request, Result};

/// What a scheduler may hold.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Capacity {
    /// Sequences that run at a time.
    pub(in crate::engine) slots: usize,
    /// Prompts that are kept though none of their trials is in flight.
    pub(in crate::engine) prefix_cache: usize,
    /// Bytes of the KV cache.
    pub(in crate::engine) kv_bytes: Option<usize>,
}

impl Capacity {
    /// The most bytes of the KV cache, and whose limit that is, for an error.
    fn kv_limit(&self, backend: &dyn Backend) -> Option<(usize, &'static str)> {
        let user = self.kv_bytes.map(|bytes| (bytes, "kv_bytes"));
        let device = backend.kv_capacity();
        let device = device.map(|bytes| (bytes, "the KV cache's capacity"));
        // Of equal ones the user's is named: it can be changed.
        user.into_iter().chain(device).min_by_key(|limit| limit.0)
    }

    /// Whether a single sample fits, at its full length.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] where it does not.
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
    /// How many of these, each a request and how many tokens it has already, fit into the KV cache
    /// beside what is active, when all become as long as completions have been on average, or as
    /// they may. One at least where nothing is active.
    pub(super) fn fitting(&mut self, requests: &[(Request, usize)]) -> Result<usize> {
        let backend = &*self.backend;
        let Some((limit, _)) = self.capacity.kv_limit(backend) else {
            return Ok(requests.len());
        };
        let sequence = |prompt: usize, len: usize, max: usize| {
            let expected = match self.finished {
                // Nothing is known: most completions end well before they have to.
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
            // Overlong ones take nothing: they are not run.
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

    /// Reserves KV cache: evicts prompts that no active trial needs, then preempts the youngest
    /// trials, until `needed` bytes are within the limit. `needed` is given the backend and the
    /// sequences in slots; `keep` are prompts that are about to be used.
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
                // The one that is left keeps what it has, unless a prompt needs it.
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

    /// Gives a preempted trial a slot again; its own tokens are recomputed before it goes on.
    pub(super) fn resume(&mut self, preempted: Waiting) -> Result<()> {
        let Waiting { trial, age, .. } = preempted;
        self.prefill(std::slice::from_ref(&trial.request))?;
        let known = trial.len();
        self.occupy(trial, age, known);
        self.evict();
        Ok(())
    }
}
