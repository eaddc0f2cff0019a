//! Continuous batching: keeps every slot busy with what the source wants most.
//!
//! Each prompt is run once, and its keys, values and last logits are kept for as long as trials of
//! it are in flight, and somewhat longer. A trial's first token is drawn from these logits; every
//! further one costs a row in a decoding step. When a trial ends, its slot takes the next request
//! before the next step.
//!
//! Where the keys and values of all would pass the bytes allowed, the youngest trials give up
//! theirs. They go on later, before anything new is begun, and are fed their own tokens again: as
//! rows of the same steps in which others go ahead.
//!
//! Knows backends, the sampler and trials; nothing of files, templates or why a source wants what.

mod memory;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::backend::{PrefixId, SequenceId};
use super::decoder::Decoder;
use super::sampler::{Draw, Sampler};
use super::trial::{Rules, Trial};
use super::{Statistics, StepTimes};
use crate::model::Detokenizer;
use crate::{Error, ErrorKind, Finish, Next, Offer, Request, Result, Source};
pub(super) use memory::Room;

/// How many tokens of prompts are run together at most, where one alone is not longer.
const PREFILL_TOKENS: usize = 2048;

/// How long to sleep while a source has nothing and nothing is in flight: first, and at most.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);
const LONGEST_SLEEP: Duration = Duration::from_millis(4);

/// Between requests, tokens and text.
pub(super) struct Texts<'a> {
    /// The prompt's tokens of a request.
    pub(super) prompt: &'a (dyn Fn(&Request) -> Result<Vec<u32>> + Sync),
    /// The most tokens of a request's completion, where the rules allow as many.
    pub(super) most: &'a (dyn Fn(&Request) -> usize + Sync),
    /// A fresh stream from tokens to text.
    pub(super) detokenizer: &'a (dyn Fn() -> Detokenizer + Sync),
}

/// Where a scheduler writes down what it does.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub(super) statistics: &'a Mutex<Statistics>,
    /// Times of all steps, where they are wanted.
    pub(super) steps: Option<&'a Mutex<Vec<StepTimes>>>,
}

/// One run over a source.
pub(super) struct Scheduler<'a> {
    backend: &'a mut dyn Decoder,
    sampler: Sampler,
    rules: &'a Rules,
    texts: Texts<'a>,
    room: Room,
    source: &'a dyn Source,
    log: Log<'a>,
    /// Requests taken from the source that have no slot yet.
    pending: VecDeque<Request>,
    /// Whether the source has said that there is nothing more.
    done: bool,
    active: Vec<Active>,
    /// Trials that gave up their keys and values, oldest first.
    parked: Vec<Parked>,
    /// How many trials were begun.
    begun: u64,
    /// Tokens of the completions so far, and how many there were, to know what to expect.
    finished: (u64, u64),
    /// By the problem's index.
    prompts: HashMap<u32, Prompt>,
    /// How many tokens the prompts have of problems that wait for room.
    waiting: HashMap<u32, usize>,
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
    /// How many of its tokens the model has been fed: all but the last, unless it is on its way
    /// back there.
    fed: usize,
    /// How many trials were begun before it.
    age: u64,
}

/// A trial that waits for room.
struct Parked {
    trial: Trial,
    age: u64,
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
        backend: &'a mut dyn Decoder,
        sampler: Sampler,
        rules: &'a Rules,
        texts: Texts<'a>,
        room: Room,
        source: &'a dyn Source,
        log: Log<'a>,
    ) -> Self {
        Scheduler {
            backend,
            sampler,
            rules,
            texts,
            room,
            source,
            log,
            pending: VecDeque::new(),
            done: false,
            active: Vec::new(),
            parked: Vec::new(),
            begun: 0,
            finished: (0, 0),
            prompts: HashMap::new(),
            waiting: HashMap::new(),
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
            let finished = !busy && self.is_draining();
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

    /// Whether nothing is left that a free slot could take.
    fn is_draining(&self) -> bool {
        self.done && self.pending.is_empty() && self.parked.is_empty()
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
        let parked = std::mem::take(&mut self.parked);
        for parked in parked {
            if self.source.wanted(parked.trial.request.trial) {
                self.parked.push(parked);
            } else {
                self.deliver(parked.trial, Finish::Cancelled)?;
            }
        }
        let pending = std::mem::take(&mut self.pending);
        for request in pending {
            if self.source.wanted(request.trial) {
                self.pending.push_back(request);
            } else {
                self.deliver_empty(request, Finish::Cancelled)?;
            }
        }
        Ok(())
    }

    /// Fills free slots for as long as the source has requests.
    fn admit(&mut self) -> Result<()> {
        while self.active.len() < self.room.slots && !self.parked.is_empty() {
            let Parked { trial, .. } = &self.parked[0];
            let parked = [(trial.request.clone(), trial.len())];
            if self.fitting(&parked)? == 0 {
                return Ok(());
            }
            let parked = self.parked.remove(0);
            self.resume(parked)?;
        }
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
            let first = self.pending.iter().take(free).cloned();
            let first: Vec<_> = first.map(|request| (request, 0)).collect();
            let count = self.fitting(&first)?;
            if count == 0 {
                break;
            }
            let requests: Vec<Request> = self.pending.drain(..count).collect();
            self.start(requests)?;
        }
        Ok(())
    }

    /// Puts a trial whose prompt is held into a slot.
    fn occupy(&mut self, trial: Trial, age: u64) {
        self.clock += 1;
        if let Some(prompt) = self.prompts.get_mut(&trial.request.trial.problem) {
            prompt.live += 1;
            prompt.last_used = self.clock;
            let sequence = self.backend.fork(prompt.prefix);
            self.active.push(Active {
                trial,
                sequence,
                fed: 0,
                age,
            });
        }
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
                    let most = (self.texts.most)(&request);
                    let detokenizer = (self.texts.detokenizer)();
                    let trial = Trial::new(request, &prompt.tokens, most, detokenizer, self.rules);
                    trials.push(trial);
                }
                // Not an error: one overlong problem is no reason to end a run.
                None => self.deliver_empty(request, Finish::Length)?,
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
                    self.begun += 1;
                    self.occupy(trial, self.begun);
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
            self.waiting.remove(&problem);
            let tokens = tokens_of(&self.texts, request)?;
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
            let limit = self.rules.limit(tokens.len(), (self.texts.most)(request));
            self.room
                .check(&*self.backend, tokens.len(), limit.saturating_sub(1))
                .map_err(|error| named(request, error))?;
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
            self.make_room(requests, |backend, _| {
                let prompts = pack.iter().map(|(_, prompt)| prompt.len());
                let new: usize = prompts.map(|len| backend.prefix_bytes(len)).sum();
                backend.kv_bytes() + new
            })?;
            self.prefill_pack(pack, tokens)?;
        }
        Ok(())
    }

    fn prefill_pack(&mut self, pack: Vec<(u32, Vec<u32>)>, tokens: usize) -> Result<()> {
        let clock = Instant::now();
        let prompts: Vec<&[u32]> = pack.iter().map(|(_, prompt)| prompt.as_slice()).collect();
        let prefilled = self.backend.prefill(&prompts)?;
        let count = pack.len() as u64;
        let bytes = self.backend.kv_bytes();
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
            s.peak_kv_bytes = s.peak_kv_bytes.max(bytes);
        });
        Ok(())
    }

    /// Feeds every active trial its next token and draws the one after it, where there is none yet.
    fn step(&mut self) -> Result<()> {
        let clock = Instant::now();
        self.make_room(&[], |backend, sequences| backend.kv_bytes_after(sequences))?;
        let before = self.backend.spent();
        let draining = self.is_draining();
        let fed: Vec<(SequenceId, u32)> = self
            .active
            .iter()
            .map(|active| {
                let token = active.trial.token(active.fed).unwrap_or(0);
                (active.sequence, token)
            })
            .collect();
        let mut logits = std::mem::take(&mut self.logits);
        let start = Instant::now();
        self.backend.decode(&fed, &mut logits)?;
        let decoded = start.elapsed();
        let width = self.backend.vocab_size();
        let mut drawing = Vec::with_capacity(fed.len());
        let mut rows = Vec::with_capacity(fed.len());
        for (active, logits) in self.active.iter_mut().zip(logits.chunks_exact(width)) {
            active.fed += 1;
            let last = active.fed == active.trial.len();
            drawing.push(last);
            if last {
                rows.push(active.trial.row(logits));
            }
        }
        let draws = self.sampler.draw(&rows);
        drop(rows);
        self.logits = logits;
        let sampling = start.elapsed() - decoded;
        let drawn = draws.len() as u64;
        let bytes = self.backend.kv_bytes();
        self.count(|s| {
            s.steps += 1;
            s.busy_slots += fed.len() as u64;
            s.refed_tokens += fed.len() as u64 - drawn;
            s.decode_time += decoded;
            s.sampling_time += sampling;
            s.peak_kv_bytes = s.peak_kv_bytes.max(bytes);
        });
        let mut ended = Vec::new();
        let slots = self.active.iter_mut().enumerate().zip(drawing);
        let drawn_in = slots.filter_map(|(slot, drawing)| drawing.then_some(slot));
        for ((slot, active), draw) in drawn_in.zip(draws) {
            if let Some(finish) = push(&mut active.trial, draw, self.rules)? {
                ended.push((slot, finish));
            }
        }
        self.count(|s| s.generated_tokens += drawn);
        // From the back, since a slot that is given up takes the last one's trial.
        for (slot, finish) in ended.into_iter().rev() {
            self.end(slot, finish)?;
        }
        self.evict();
        if let Some(steps) = self.log.steps {
            let spent = before.zip(self.backend.spent());
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.push(StepTimes {
                rows: fed.len(),
                draining,
                total: clock.elapsed(),
                linear: spent.map(|(before, after)| after.linear - before.linear),
                attention: spent.map(|(before, after)| after.attention - before.attention),
                sampling,
            });
        }
        Ok(())
    }

    /// Frees a slot and delivers its trial.
    fn end(&mut self, slot: usize, finish: Finish) -> Result<()> {
        let Active {
            trial, sequence, ..
        } = self.active.swap_remove(slot);
        self.backend.release_sequence(sequence);
        if let Some(prompt) = self.prompts.get_mut(&trial.request.trial.problem) {
            prompt.live -= 1;
        }
        self.deliver(trial, finish)
    }

    /// Delivers a completion without tokens.
    fn deliver_empty(&mut self, request: Request, finish: Finish) -> Result<()> {
        let detokenizer = (self.texts.detokenizer)();
        let trial = Trial::new(request, &[], 0, detokenizer, self.rules);
        self.deliver(trial, finish)
    }

    fn deliver(&mut self, trial: Trial, finish: Finish) -> Result<()> {
        let id = trial.request.trial;
        if finish != Finish::Cancelled && trial.len() > 0 {
            self.finished.0 += trial.len() as u64;
            self.finished.1 += 1;
        }
        let completion = trial.finish(finish, self.rules)?;
        self.source.deliver(id, completion);
        self.count(|s| match finish {
            Finish::Cancelled => s.cancelled += 1,
            _ => s.completions += 1,
        });
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
        for &(_, problem) in &idle[..surplus] {
            self.forget(problem);
        }
    }

    /// Forgets a prompt that none of the trials in slots needs.
    fn forget(&mut self, problem: u32) {
        if let Some(prompt) = self.prompts.remove(&problem) {
            self.backend.release_prefix(prompt.prefix);
        }
    }

    fn count(&self, change: impl FnOnce(&mut Statistics)) {
        change(
            &mut self
                .log
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

/// The prompt of a request.
fn tokens_of(texts: &Texts<'_>, request: &Request) -> Result<Vec<u32>> {
    let tokens = (texts.prompt)(request).map_err(|error| named(request, error))?;
    if tokens.is_empty() {
        let empty = Error::new(ErrorKind::Data, "its prompt has no tokens");
        return Err(named(request, empty));
    }
    Ok(tokens)
}

fn named(request: &Request, error: Error) -> Error {
    error.context(format_args!("problem {}", request.problem.id))
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
