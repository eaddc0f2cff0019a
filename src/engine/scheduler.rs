//! Continuous batching: keeps every slot busy with what the source wants most.
//!
//! Each prompt is run once, and its keys, values and last logits are kept for as long as trials of
//! it are in flight, and somewhat longer. A trial's first token is drawn from these logits; every
//! further one costs a row in a decoding step. When a trial ends, its slot takes the next request
//! before the next step.
//!
//! Knows backends, the sampler and trials; nothing of files, templates or why a source wants what.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Statistics;
use super::backend::{Backend, PrefixId, SequenceId};
use super::sampler::{Draw, Sampler};
use super::trial::{Rules, Trial};
use crate::model::Detokenizer;
use crate::{Error, ErrorKind, Finish, Next, Offer, Request, Result, Source};

/// How many tokens of prompts are run together at most, where one alone is not longer.
const PREFILL_TOKENS: usize = 2048;

/// How long to sleep while a source has nothing and nothing is in flight: first, and at most.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(4);

/// Between requests, tokens and text.
pub(super) struct Texts<'a> {
    /// The prompt's tokens of a request.
    pub(super) prompt: &'a (dyn Fn(&Request) -> Result<Vec<u32>> + Sync),
    /// A fresh stream from tokens to text.
    pub(super) detokenizer: &'a (dyn Fn() -> Detokenizer + Sync),
}

/// What a scheduler may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Sequences that run at a time.
    pub(super) slots: usize,
    /// Prompts that are kept though none of their trials is in flight.
    pub(super) idle_prompts: usize,
}

/// One run over a source.
pub(super) struct Scheduler<'a> {
    backend: &'a mut dyn Backend,
    sampler: Sampler,
    rules: &'a Rules,
    texts: Texts<'a>,
    room: Room,
    source: &'a dyn Source,
    statistics: &'a Mutex<Statistics>,
    /// Requests taken from the source that have no slot yet.
    pending: VecDeque<Request>,
    /// Whether the source has said that there is nothing more.
    done: bool,
    active: Vec<Active>,
    /// By the problem's index.
    prompts: HashMap<u32, Prompt>,
    /// Problems whose prompts leave no room in the context.
    too_long: HashSet<u32>,
    /// Counts uses of prompts, to know which was not used for longest.
    clock: u64,
    logits: Vec<f32>,
}

/// A trial in a slot.
struct Active {
    trial: Trial,
    sequence: SequenceId,
}

/// A prompt whose keys and values the backend holds.
struct Prompt {
    prefix: PrefixId,
    tokens: Vec<u32>,
    /// After its last token.
    logits: Vec<f32>,
    /// Trials in slots.
    live: usize,
    last_used: u64,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        backend: &'a mut dyn Backend,
        sampler: Sampler,
        rules: &'a Rules,
        texts: Texts<'a>,
        room: Room,
        source: &'a dyn Source,
        statistics: &'a Mutex<Statistics>,
    ) -> Self {
        Scheduler {
            backend,
            sampler,
            rules,
            texts,
            room,
            source,
            statistics,
            pending: VecDeque::new(),
            done: false,
            active: Vec::new(),
            prompts: HashMap::new(),
            too_long: HashSet::new(),
            clock: 0,
            logits: Vec::new(),
        }
    }

    /// Samples until the source is done and everything in flight is delivered.
    pub(super) fn run(&mut self) -> Result<()> {
        let mut sleep = SHORTEST_SLEEP;
        loop {
            let clock = Instant::now();
            self.cancel()?;
            self.admit()?;
            let busy = !self.active.is_empty();
            let finished = !busy && self.done && self.pending.is_empty();
            if busy {
                self.step()?;
                sleep = SHORTEST_SLEEP;
            } else if !finished {
                std::thread::sleep(sleep);
                self.count(|s| s.idle_time += sleep);
                sleep = (2 * sleep).min(LONGEST_SLEEP);
            }
            self.count(|s| s.time += clock.elapsed());
            if finished {
                return Ok(());
            }
        }
    }

    /// Stops what is no longer wanted.
    fn cancel(&mut self) -> Result<()> {
        let mut slot = 0;
        while let Some(active) = self.active.get(slot) {
            if self.source.wanted(active.trial.request.trial) {
                slot += 1;
            } else {
                self.end(slot, Finish::Cancelled)?;
            }
        }
        Ok(())
    }

    /// Fills free slots for as long as the source has requests.
    fn admit(&mut self) -> Result<()> {
        while self.active.len() < self.room.slots {
            let free = self.room.slots - self.active.len();
            if self.pending.is_empty() && !self.done {
                let mut resident: Vec<u32> = self.prompts.keys().copied().collect();
                resident.sort_unstable();
                let offer = Offer {
                    free,
                    resident: &resident,
                };
                match self.source.next(offer) {
                    Next::Requests(requests) => self.pending.extend(requests),
                    Next::Wait => {}
                    Next::Done => self.done = true,
                }
            }
            if self.pending.is_empty() {
                break;
            }
            let count = free.min(self.pending.len());
            let requests: Vec<Request> = self.pending.drain(..count).collect();
            self.start(requests)?;
        }
        Ok(())
    }

    /// Draws the first tokens of new trials and puts those that go on into slots.
    fn start(&mut self, requests: Vec<Request>) -> Result<()> {
        self.prefill(&requests)?;
        let mut trials = Vec::with_capacity(requests.len());
        for request in requests {
            let problem = request.trial.problem;
            match self.prompts.get_mut(&problem) {
                Some(prompt) => {
                    self.clock += 1;
                    prompt.last_used = self.clock;
                    let detokenizer = (self.texts.detokenizer)();
                    trials.push(Trial::new(request, &prompt.tokens, detokenizer, self.rules));
                }
                // Not an error: one overlong problem is no reason to end a run.
                None => {
                    let trial = Trial::new(request, &[], (self.texts.detokenizer)(), self.rules);
                    self.deliver(trial, Finish::Length)?;
                }
            }
        }
        let rows: Vec<_> = trials
            .iter()
            .filter_map(|trial| {
                let prompt = self.prompts.get(&trial.request.trial.problem)?;
                Some(trial.row(&prompt.logits))
            })
            .collect();
        let clock = Instant::now();
        let draws = self.sampler.draw(&rows);
        drop(rows);
        self.count(|s| s.sampling_time += clock.elapsed());
        self.count(|s| s.generated_tokens += draws.len() as u64);
        for (mut trial, draw) in trials.into_iter().zip(draws) {
            match push(&mut trial, draw, self.rules)? {
                Some(finish) => self.deliver(trial, finish)?,
                None => {
                    if let Some(prompt) = self.prompts.get_mut(&trial.request.trial.problem) {
                        prompt.live += 1;
                        let sequence = self.backend.fork(prompt.prefix);
                        self.active.push(Active { trial, sequence });
                    }
                }
            }
        }
        self.evict();
        Ok(())
    }

    /// Runs the prompts of requests that are not held yet.
    fn prefill(&mut self, requests: &[Request]) -> Result<()> {
        let mut new: Vec<(u32, Vec<u32>)> = Vec::new();
        for request in requests {
            let problem = request.trial.problem;
            if self.prompts.contains_key(&problem)
                || self.too_long.contains(&problem)
                || new.iter().any(|(known, _)| *known == problem)
            {
                continue;
            }
            let name = |error: Error| error.context(format_args!("problem {}", request.problem.id));
            let tokens = (self.texts.prompt)(request).map_err(name)?;
            if tokens.is_empty() {
                return Err(name(Error::new(
                    ErrorKind::Data,
                    "its prompt has no tokens",
                )));
            }
            if tokens.len() >= self.rules.context_length {
                tracing::warn!(
                    problem = %request.problem.id,
                    tokens = tokens.len(),
                    context = self.rules.context_length,
                    "the prompt leaves no room in the context: its completions are empty",
                );
                self.too_long.insert(problem);
                continue;
            }
            new.push((problem, tokens));
        }
        let mut new = new.into_iter().peekable();
        while new.peek().is_some() {
            let mut tokens = 0;
            let mut pack = Vec::new();
            while let Some(next) = new
                .next_if(|(_, prompt)| pack.is_empty() || tokens + prompt.len() <= PREFILL_TOKENS)
            {
                tokens += next.1.len();
                pack.push(next);
            }
            self.prefill_pack(pack, tokens)?;
        }
        Ok(())
    }

    fn prefill_pack(&mut self, pack: Vec<(u32, Vec<u32>)>, tokens: usize) -> Result<()> {
        let clock = Instant::now();
        let prompts: Vec<&[u32]> = pack.iter().map(|(_, prompt)| prompt.as_slice()).collect();
        let prefilled = self.backend.prefill(&prompts)?;
        let count = pack.len() as u64;
        for ((problem, tokens), (prefix, logits)) in pack.into_iter().zip(prefilled) {
            let prompt = Prompt {
                prefix,
                tokens,
                logits,
                live: 0,
                last_used: self.clock,
            };
            self.prompts.insert(problem, prompt);
        }
        self.count(|s| {
            s.prompts += count;
            s.prompt_tokens += tokens as u64;
            s.prefill_time += clock.elapsed();
        });
        Ok(())
    }

    /// Feeds every active trial's last token and takes the next one.
    fn step(&mut self) -> Result<()> {
        let clock = Instant::now();
        let fed: Vec<(SequenceId, u32)> = self
            .active
            .iter()
            .map(|active| (active.sequence, active.trial.last().unwrap_or(0)))
            .collect();
        let mut logits = std::mem::take(&mut self.logits);
        self.backend.decode(&fed, &mut logits)?;
        let decoded = clock.elapsed();
        let width = self.backend.vocab_size();
        let rows: Vec<_> = self
            .active
            .iter()
            .zip(logits.chunks_exact(width))
            .map(|(active, logits)| active.trial.row(logits))
            .collect();
        let draws = self.sampler.draw(&rows);
        drop(rows);
        self.logits = logits;
        let bytes = self.backend.kv_bytes();
        self.count(|s| {
            s.steps += 1;
            s.busy_slots += fed.len() as u64;
            s.decode_time += decoded;
            s.sampling_time += clock.elapsed() - decoded;
            s.peak_kv_bytes = s.peak_kv_bytes.max(bytes);
        });
        let mut ended = Vec::new();
        for (slot, (active, draw)) in self.active.iter_mut().zip(draws).enumerate() {
            if let Some(finish) = push(&mut active.trial, draw, self.rules)? {
                ended.push((slot, finish));
            }
        }
        self.count(|s| s.generated_tokens += fed.len() as u64);
        // From the back, since a slot that is given up takes the last one's trial.
        for (slot, finish) in ended.into_iter().rev() {
            self.end(slot, finish)?;
        }
        self.evict();
        Ok(())
    }

    /// Frees a slot and delivers its trial.
    fn end(&mut self, slot: usize, finish: Finish) -> Result<()> {
        let Active { trial, sequence } = self.active.swap_remove(slot);
        self.backend.release_sequence(sequence);
        if let Some(prompt) = self.prompts.get_mut(&trial.request.trial.problem) {
            prompt.live -= 1;
        }
        self.deliver(trial, finish)
    }

    fn deliver(&mut self, trial: Trial, finish: Finish) -> Result<()> {
        let id = trial.request.trial;
        let completion = trial.finish(finish, self.rules)?;
        self.source.deliver(id, completion);
        self.count(|s| s.completions += 1);
        Ok(())
    }

    /// Forgets the prompts that were not used for longest, beyond those that may be kept idle.
    fn evict(&mut self) {
        let mut idle: Vec<(u64, u32)> = self
            .prompts
            .iter()
            .filter(|(_, prompt)| prompt.live == 0)
            .map(|(&problem, prompt)| (prompt.last_used, problem))
            .collect();
        let surplus = idle.len().saturating_sub(self.room.idle_prompts);
        idle.sort_unstable();
        for (_, problem) in &idle[..surplus] {
            if let Some(prompt) = self.prompts.remove(problem) {
                self.backend.release_prefix(prompt.prefix);
            }
        }
    }

    fn count(&self, change: impl FnOnce(&mut Statistics)) {
        change(
            &mut self
                .statistics
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Drop for Scheduler<'_> {
    /// Leaves the backend empty, also after an error or a panic of the source.
    fn drop(&mut self) {
        for active in self.active.drain(..) {
            self.backend.release_sequence(active.sequence);
        }
        for (_, prompt) in self.prompts.drain() {
            self.backend.release_prefix(prompt.prefix);
        }
    }
}

/// Gives a trial its next token; an error names the trial and the token's position.
fn push(trial: &mut Trial, draw: Result<Draw>, rules: &Rules) -> Result<Option<Finish>> {
    let position = trial.len();
    draw.and_then(|draw| trial.push(draw, rules))
        .map_err(|error| {
            let Request { trial, problem, .. } = &trial.request;
            error.context(format_args!(
                "problem {}, trial {}, token {position}",
                problem.id, trial.number
            ))
        })
}

#[cfg(test)]
mod tests;
