//! A backend that samples on the host: a decoder computes logits, and the CPU sampler draws from
//! them.
//!
//! A step is computed when it is issued, so that its draws are available at once: the lag is 0.
//!
//! Depends on decoders and the sampler, but not on text, requests or the scheduler's slots.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::Sampling;
use super::backend::{Backend, Drawn, Input, PrefixId, SequenceId, StepRow, non_finite};
use super::decoder::{Decoder, bad_sequence, check_named_once};
use super::row;
use super::sampler::{Row, Sampler};
use super::steps::Spent;
use crate::{Error, ErrorKind, Result};

/// A decoder and the CPU sampler.
pub(super) struct HostSampled {
    decoder: Box<dyn Decoder>,
    sampler: Sampler,
    prefixes: HashMap<PrefixId, Prefix>,
    sequences: HashMap<SequenceId, Sequence>,
    /// The logits of the last step that fed tokens; kept to reuse the memory.
    logits: Vec<f32>,
    /// The draws of the steps that were issued and not collected, oldest first.
    in_flight: VecDeque<Vec<Drawn>>,
    sampling_time: Duration,
}

/// The data from which a prompt's sequences draw their first tokens.
struct Prefix {
    /// The tokens, for repetition penalties.
    tokens: Vec<u32>,
    /// The logits after the last token.
    logits: Vec<f32>,
}

struct Sequence {
    prefix: PrefixId,
    sampling: Sampling,
    /// The token that was drawn last.
    drawn: Option<u32>,
    /// Empty unless there is a repetition penalty.
    seen: Seen,
}

/// The distinct tokens of a prompt and its completion.
#[derive(Debug, Default)]
struct Seen {
    tokens: Vec<u32>,
    members: HashSet<u32>,
}

impl Seen {
    fn insert(&mut self, token: u32) {
        if self.members.insert(token) {
            self.tokens.push(token);
        }
    }
}

impl Sequence {
    /// Records a token that was fed or drawn, if there is a repetition penalty.
    fn see(&mut self, token: u32) {
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.insert(token);
        }
    }
}

impl HostSampled {
    /// Creates a backend that samples with `threads` threads.
    pub(super) fn new(decoder: Box<dyn Decoder>, threads: usize) -> Self {
        HostSampled {
            decoder,
            sampler: Sampler::new(threads),
            prefixes: HashMap::new(),
            sequences: HashMap::new(),
            logits: Vec::new(),
            in_flight: VecDeque::new(),
            sampling_time: Duration::ZERO,
        }
    }

    /// The tokens that the rows feed.
    fn fed(&self, rows: &[StepRow]) -> Result<Vec<(SequenceId, u32)>> {
        check_named_once(rows.iter().map(|row| row.sequence))?;
        let mut fed = Vec::with_capacity(rows.len());
        for row in rows {
            let sequence = self.sequences.get(&row.sequence);
            let sequence = sequence.ok_or_else(|| bad_sequence(row.sequence, "is unknown"))?;
            match row.input {
                Input::Prefix => {}
                Input::Token(token) => fed.push((row.sequence, token)),
                Input::Drawn => {
                    let unknown = || bad_sequence(row.sequence, "has drawn no token yet");
                    fed.push((row.sequence, sequence.drawn.ok_or_else(unknown)?));
                }
            }
        }
        Ok(fed)
    }

    /// Draws for the rows that request it. `logits` are those of the rows that fed a token.
    fn draw(&mut self, rows: &[StepRow], logits: &[f32]) -> Result<Vec<Drawn>> {
        let mut decoded = logits.chunks_exact(self.decoder.vocab_size().max(1));
        let mut drawing = Vec::with_capacity(rows.len());
        for row in rows {
            let sequence = self.sequences.get(&row.sequence);
            let sequence = sequence.ok_or_else(|| bad_sequence(row.sequence, "is unknown"))?;
            let logits = match row.input {
                Input::Prefix => {
                    let prefix = self.prefixes.get(&sequence.prefix);
                    prefix.map(|prefix| prefix.logits.as_slice())
                }
                _ => decoded.next(),
            };
            let logits = logits.ok_or_else(|| bad_sequence(row.sequence, "has no logits"))?;
            if let Some((random, position)) = row.draw {
                drawing.push(Row {
                    logits,
                    seen: &sequence.seen.tokens,
                    sampling: &sequence.sampling,
                    random,
                    position,
                });
            }
        }
        Ok(self.sampler.draw(&drawing))
    }

    /// Fails if logits are not finite, with the cause.
    fn check_finite(&self, logits: &[f32]) -> Result<()> {
        if row::range(logits).2 {
            return Ok(());
        }
        Err(non_finite(self))
    }

    fn feed(
        &mut self,
        sequence: SequenceId,
        tokens: &[u32],
        show: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let mut logits = Vec::new();
        for &token in tokens {
            self.decoder.decode(&[(sequence, token)], &mut logits)?;
            self.check_finite(&logits)?;
            show(&logits);
        }
        Ok(())
    }
}

impl Backend for HostSampled {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<PrefixId>> {
        let prefilled = self.decoder.prefill(prompts)?;
        let mut ids = Vec::with_capacity(prompts.len());
        for ((id, logits), prompt) in prefilled.into_iter().zip(prompts) {
            let tokens = prompt.to_vec();
            self.prefixes.insert(id, Prefix { tokens, logits });
            ids.push(id);
        }
        Ok(ids)
    }

    fn fork(&mut self, prefix: PrefixId, sampling: &Sampling) -> SequenceId {
        let id = self.decoder.fork(prefix);
        if let Some(Prefix { tokens, .. }) = self.prefixes.get(&prefix) {
            let mut sequence = Sequence {
                prefix,
                sampling: *sampling,
                drawn: None,
                seen: Seen::default(),
            };
            tokens.iter().for_each(|&token| sequence.see(token));
            self.sequences.insert(id, sequence);
        }
        id
    }

    fn issue(&mut self, rows: &[StepRow]) -> Result<()> {
        let fed = self.fed(rows)?;
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        if !fed.is_empty() {
            self.decoder.decode(&fed, &mut logits)?;
        }
        for &(id, token) in &fed {
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.see(token);
            }
        }
        let clock = Instant::now();
        let draws = self.draw(rows, &logits)?;
        self.sampling_time += clock.elapsed();
        self.logits = logits;
        let drawing = rows.iter().filter(|row| row.draw.is_some());
        for (row, drawn) in drawing.zip(&draws) {
            if let Some(sequence) = self.sequences.get_mut(&row.sequence) {
                sequence.drawn = Some(drawn.token);
            }
        }
        self.in_flight.push_back(draws);
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<Drawn>> {
        let none = || Error::new(ErrorKind::Settings, "no step is in flight");
        self.in_flight.pop_front().ok_or_else(none)
    }

    fn lag(&self) -> usize {
        0
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
        self.decoder.release_sequence(sequence);
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        self.prefixes.remove(&prefix);
        self.decoder.release_prefix(prefix);
    }

    fn follow(
        &mut self,
        prompt: &[u32],
        continuation: &[u32],
        show: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let mut prefilled = self.decoder.prefill(&[prompt])?;
        let Some((prefix, logits)) = prefilled.pop() else {
            return Err(Error::new(ErrorKind::Device, "a prompt gave no logits"));
        };
        let done = self.check_finite(&logits).and_then(|()| {
            show(&logits);
            let sequence = self.decoder.fork(prefix);
            let done = self.feed(sequence, continuation, show);
            self.decoder.release_sequence(sequence);
            done
        });
        self.decoder.release_prefix(prefix);
        done
    }

    fn vocab_size(&self) -> usize {
        self.decoder.vocab_size()
    }

    fn kv_capacity(&self) -> Option<usize> {
        None
    }

    fn kv_bytes(&self) -> usize {
        self.decoder.kv_bytes()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        self.decoder.kv_bytes_after(sequences)
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        self.decoder.prefix_bytes(tokens)
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        self.decoder.suffix_bytes(tokens)
    }

    fn sequence_bytes(&self, prompt: usize, tokens: usize) -> usize {
        self.decoder.sequence_bytes(prompt, tokens)
    }

    fn weight_bytes(&self) -> usize {
        self.decoder.weight_bytes()
    }

    fn spent(&self) -> Option<Spent> {
        self.decoder.spent()
    }

    fn sampling_time(&self) -> Option<Duration> {
        Some(self.sampling_time)
    }

    fn non_finite_weight(&self) -> Option<String> {
        self.decoder.non_finite_weight()
    }
}

#[cfg(test)]
mod tests;
