//! What fits into the memory that a scheduler may use, and who gives up what where it runs out.

use std::collections::HashSet;

use super::{Active, Parked, Prompt, Scheduler, tokens_of};
use crate::engine::backend::SequenceId;
use crate::engine::decoder::Decoder;
use crate::{Error, ErrorKind, Request, Result};

/// What a scheduler may hold.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Room {
    /// Sequences that run at a time.
    pub(in crate::engine) slots: usize,
    /// Prompts that are kept though none of their trials is in flight.
    pub(in crate::engine) idle_prompts: usize,
    /// Bytes of keys and values.
    pub(in crate::engine) kv_bytes: Option<usize>,
}

impl Room {
    /// Whether a single sample fits, at its full length.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] where it does not.
    pub(in crate::engine) fn check(
        &self,
        backend: &dyn Decoder,
        prompt: usize,
        new: usize,
    ) -> Result<()> {
        let needed = backend.prefix_bytes(prompt) + backend.suffix_bytes(new);
        match self.kv_bytes {
            Some(limit) if needed > limit => Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "kv_bytes is {limit}, but keys and values of a prompt of {prompt} tokens and of \
                     the {new} that may be fed after it take {needed} bytes"
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl Scheduler<'_> {
    /// How many of these, each a request and how many tokens it has already, there is room for
    /// beside what is in flight, when all become as long as completions have been on average, or as
    /// they may. One at least where nothing is in flight.
    pub(super) fn fitting(&mut self, requests: &[(Request, usize)]) -> Result<usize> {
        let Some(limit) = self.room.kv_bytes else {
            return Ok(requests.len());
        };
        let backend = &*self.backend;
        let suffix = |len: usize, most: usize| {
            let expected = match self.finished {
                // Nothing is known: most completions end well before they have to.
                (_, 0) => most / 4,
                (tokens, count) => most.min((tokens / count) as usize),
            };
            backend.suffix_bytes(expected.max(len + 1))
        };
        let active = self.active.iter().map(|active| &active.trial);
        let mut bytes: usize = active.map(|trial| suffix(trial.len(), trial.limit())).sum();
        let live = self.prompts.values().filter(|prompt| prompt.live > 0);
        bytes += live
            .map(|prompt| backend.prefix_bytes(prompt.tokens.len()))
            .sum::<usize>();
        let mut new = HashSet::new();
        for (count, (request, len)) in requests.iter().enumerate() {
            let problem = request.trial.problem;
            let held = self.prompts.get(&problem);
            let known = held.map(|prompt| prompt.tokens.len());
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
                let most = (self.texts.most)(request);
                bytes += suffix(*len, self.rules.limit(tokens, most));
            }
            if bytes > limit && count + self.active.len() > 0 {
                return Ok(count);
            }
        }
        Ok(requests.len())
    }

    /// Makes room for keys and values: forgets prompts that no trial in flight needs, then has the
    /// youngest trials give up theirs, until `needed` bytes are within the limit. `needed` is given
    /// the backend and the sequences in slots; `keep` are prompts that are about to be used.
    pub(super) fn make_room(
        &mut self,
        keep: &[Request],
        needed: impl Fn(&dyn Decoder, &[SequenceId]) -> usize,
    ) -> Result<()> {
        let Some(limit) = self.room.kv_bytes else {
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
            let idle = self.prompts.iter().filter(unused);
            let oldest = idle.min_by_key(|(_, prompt)| prompt.last_used);
            if let Some((&problem, _)) = oldest {
                self.forget(problem);
                continue;
            }
            let ages = self.active.iter().map(|active| active.age).enumerate();
            let youngest = ages.max_by_key(|&(_, age)| age);
            match youngest {
                // The one that is left keeps what it has, unless it makes room for a prompt.
                Some((slot, _)) if self.active.len() > 1 || !keep.is_empty() => self.park(slot),
                _ => {
                    return Err(Error::new(
                        ErrorKind::Settings,
                        format!(
                            "kv_bytes is {limit}, which does not hold the keys and values of a \
                             single sample: {bytes} bytes"
                        ),
                    ));
                }
            }
        }
    }

    /// Has a trial give up its keys and values, and its slot.
    pub(super) fn park(&mut self, slot: usize) {
        let Active {
            trial,
            sequence,
            age,
            ..
        } = self.active.swap_remove(slot);
        self.backend.release_sequence(sequence);
        if let Some(prompt) = self.prompts.get_mut(&trial.request.trial.problem) {
            prompt.live -= 1;
        }
        let place = self.parked.partition_point(|other| other.age < age);
        self.parked.insert(place, Parked { trial, age });
        self.count(|s| s.given_up += 1);
    }

    /// Gives a parked trial a slot again; it is fed its own tokens before it goes on.
    pub(super) fn resume(&mut self, parked: Parked) -> Result<()> {
        let Parked { trial, age } = parked;
        self.prefill(std::slice::from_ref(&trial.request))?;
        self.occupy(trial, age);
        self.evict();
        Ok(())
    }
}
