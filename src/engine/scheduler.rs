//! Continuous batching: keeps every slot busy with what the source wants most.
//!
//! Each prompt is prefilled once, and its KV cache and last logits are kept for as long as trials of
//! it are in flight, and somewhat longer. A trial's first token is drawn from these logits; every
//! further one costs a row in a decode step. When a trial ends, its slot takes the next request
//! before the next step.
//!
//! What a trial has been *issued* (positions drawn, tokens fed, its limit, the KV cache's forecast)
//! is apart from what has *arrived* (text, stop strings, loops): a backend may have steps in flight,
//! whose draws the host does not know yet. A trial that ends leaves its slot at once, and draws of it
//! that arrive later are discarded.
//!
//! Where the KV cache would outgrow its limit, the youngest trials are preempted: their part of it is
//! released. They resume before anything new is started, and their own tokens are recomputed: as rows
//! of the same steps in which others go ahead.
//!
//! Knows backends and trials; nothing of files, templates or why a source wants what.

mod memory;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::backend::{
    Backend, Drawn, Input, PrefixId, SequenceId, StepRow, max_in_flight, non_finite,
};
use super::sampler::weight_bits;
use super::trial::{Rules, Trial};
use super::{Sampling, Statistics, StepTimes};
use crate::model::Detokenizer;
use crate::{Error, ErrorKind, Finish, Next, Offer, Request, Result, Source, TrialId};
pub(super) use memory::Capacity;

/// How many tokens of prompts are prefilled together at most, where one alone is not longer.
const MAX_PREFILL_TOKENS: usize = 2048;

/// How long to sleep while a source has nothing and nothing is in flight: first, and at most.
const MIN_SLEEP: Duration = Duration::from_micros(50);
const MAX_SLEEP: Duration = Duration::from_millis(4);

/// What a request asks for, and the way from tokens to text.
pub(super) struct Texts<'a> {
    /// The prompt's tokens of a request.
    pub(super) prompt: &'a (dyn Fn(&Request) -> Result<Vec<u32>> + Sync),
    /// The most tokens of a request's completion, where the rules allow as many.
    pub(super) limit: &'a (dyn Fn(&Request) -> usize + Sync),
    /// How the tokens of a request's completion are drawn.
    pub(super) sampling: &'a (dyn Fn(&Request) -> Sampling + Sync),
    /// A fresh stream from tokens to text.
    pub(super) detokenizer: &'a (dyn Fn() -> Detokenizer + Sync),
    /// Whether a prompt begins the reasoning of its completions.
    pub(super) begins_reasoning: &'a (dyn Fn(&[u32]) -> bool + Sync),
    /// Hears of each token of a completion, where anyone wants to.
    pub(super) on_token: Option<&'a OnToken<'a>>,
}

/// Takes a trial's new token, its log-probability, and the text that became certain with it.
pub(super) type OnToken<'a> = dyn Fn(TrialId, u32, f64, &str) + Sync + 'a;

/// Where a scheduler writes down what it does.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub(super) statistics: &'a Mutex<Statistics>,
    /// Times of all steps, where they are wanted.
    pub(super) steps: Option<&'a Mutex<Vec<StepTimes>>>,
}

/// One run over a source.
pub(super) struct Scheduler<'a> {
    backend: &'a mut dyn Backend,
    rules: &'a Rules,
    texts: Texts<'a>,
    capacity: Capacity,
    source: &'a dyn Source,
    log: Log<'a>,
    /// Requests taken from the source that have no slot yet.
    pending: VecDeque<Request>,
    /// Whether the source has said that there is nothing more.
    done: bool,
    active: Vec<Active>,
    /// Preempted trials, oldest first.
    preempted: Vec<Waiting>,
    /// Trials that were issued all tokens they may have, while some have not arrived.
    finishing: Vec<Waiting>,
    /// Steps whose draws have not arrived, oldest first.
    in_flight: VecDeque<InFlight>,
    /// How many of these feed tokens.
    decode_steps: usize,
    /// How many trials were started.
    started: u64,
    /// Tokens of the completions so far, and how many there were, to know what to expect.
    finished: (u64, u64),
    /// By the problem's index.
    prompts: HashMap<u32, Prompt>,
    /// How many tokens the prompts have of problems that wait for memory.
    waiting: HashMap<u32, usize>,
    /// Problems whose prompts fill the context.
    too_long: HashSet<u32>,
    /// Counts uses of prompts, to know the least recently used one.
    clock: u64,
}

/// A trial in a slot.
struct Active {
    trial: Trial,
    sequence: SequenceId,
    /// How many tokens were drawn for it, whether they have arrived or not.
    issued: usize,
    /// How many of its tokens the sequence was fed.
    fed: usize,
    /// How many of its first tokens are known and fed again after a preemption.
    recompute: usize,
    /// How many trials were started before it: its name, too.
    age: u64,
}

impl Active {
    /// Its row of the next step.
    fn row(&self) -> StepRow {
        let known = (self.fed < self.recompute).then(|| self.trial.token(self.fed));
        let draws = self.fed + 1 == self.issued;
        StepRow {
            sequence: self.sequence,
            input: known.flatten().map_or(Input::Drawn, Input::Token),
            draw: draws.then(|| (self.trial.random(), self.issued as u64)),
        }
    }
}

/// A trial without a slot: preempted, or issued up to its limit.
struct Waiting {
    trial: Trial,
    issued: usize,
    age: u64,
}

impl Waiting {
    /// Whether all its draws have arrived.
    fn has_arrived(&self) -> bool {
        self.trial.len() == self.issued
    }
}

/// A step whose draws have not arrived.
struct InFlight {
    /// The trial of each draw, and the slot that it had when the step was issued.
    draws: Vec<(u64, usize)>,
    /// Whether it feeds tokens; if not, it draws the first tokens of trials.
    decode: bool,
}

/// Where a trial is.
#[derive(Clone, Copy)]
enum Place {
    Active(usize),
    Preempted(usize),
    Finishing(usize),
}

/// A prompt whose KV cache the backend holds.
struct Prompt {
    prefix: PrefixId,
    /// How many tokens it has.
    len: usize,
    /// Whether it begins the reasoning of its completions.
    begins_reasoning: bool,
    /// Trials in slots.
    live: usize,
    last_used: u64,
}

impl<'a> Scheduler<'a> {
    pub(super) fn new(
        backend: &'a mut dyn Backend,
        rules: &'a Rules,
        texts: Texts<'a>,
        capacity: Capacity,
        source: &'a dyn Source,
        log: Log<'a>,
    ) -> Self {
        Scheduler {
            backend,
            rules,
            texts,
            capacity,
            source,
            log,
            pending: VecDeque::new(),
            done: false,
            active: Vec::new(),
            preempted: Vec::new(),
            finishing: Vec::new(),
            in_flight: VecDeque::new(),
            decode_steps: 0,
            started: 0,
            finished: (0, 0),
            prompts: HashMap::new(),
            waiting: HashMap::new(),
            too_long: HashSet::new(),
            clock: 0,
        }
    }

    /// Samples until the source is done and everything in flight is delivered.
    pub(super) fn run(&mut self) -> Result<()> {
        let mut sleep = MIN_SLEEP;
        loop {
            let clock = Instant::now();
            self.cancel()?;
            self.admit()?;
            let busy = !self.active.is_empty() || !self.in_flight.is_empty();
            let finished = !busy && self.is_draining();
            if busy {
                if self.active.is_empty() {
                    // Nothing can be issued before something arrives.
                    self.collect()?;
                    self.evict();
                } else {
                    self.step()?;
                }
                sleep = MIN_SLEEP;
            } else if !finished {
                std::thread::sleep(sleep);
                self.count(|s| s.idle_time += sleep);
                sleep = (2 * sleep).min(MAX_SLEEP);
            }
            self.count(|s| s.time += clock.elapsed());
            if finished {
                return Ok(());
            }
        }
    }

    /// Whether nothing is left that a free slot could take.
    fn is_draining(&self) -> bool {
        self.done && self.pending.is_empty() && self.preempted.is_empty()
    }

    /// Stops what is no longer wanted.
    fn cancel(&mut self) -> Result<()> {
        let mut slot = 0;
        while let Some(active) = self.active.get(slot) {
            if self.source.wanted(active.trial.request.trial) {
                slot += 1;
            } else {
                let active = self.active.swap_remove(slot);
                self.end(active, Finish::Cancelled)?;
            }
        }
        self.preempted = self.keep_wanted(|scheduler| &mut scheduler.preempted)?;
        self.finishing = self.keep_wanted(|scheduler| &mut scheduler.finishing)?;
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

    /// Takes one of the lists of trials without a slot and delivers what is no longer wanted of it.
    fn keep_wanted(&mut self, list: fn(&mut Self) -> &mut Vec<Waiting>) -> Result<Vec<Waiting>> {
        let list = std::mem::take(list(self));
        let mut kept = Vec::with_capacity(list.len());
        for waiting in list {
            if self.source.wanted(waiting.trial.request.trial) {
                kept.push(waiting);
            } else {
                self.deliver(waiting.trial, Finish::Cancelled)?;
            }
        }
        Ok(kept)
    }

    /// Fills free slots for as long as the source has requests.
    fn admit(&mut self) -> Result<()> {
        while self.active.len() < self.capacity.slots && !self.preempted.is_empty() {
            let Waiting { trial, .. } = &self.preempted[0];
            // What it is fed again has to be known.
            if !self.preempted[0].has_arrived() {
                return Ok(());
            }
            let preempted = [(trial.request.clone(), trial.len())];
            if self.fitting(&preempted)? == 0 {
                return Ok(());
            }
            let preempted = self.preempted.remove(0);
            self.resume(preempted)?;
        }
        while self.active.len() < self.capacity.slots {
            let free = self.capacity.slots - self.active.len();
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

    /// Puts a trial whose prompt is held into a slot; `recompute` of its tokens are known.
    fn occupy(&mut self, trial: Trial, age: u64, recompute: usize) {
        self.clock += 1;
        if let Some(prompt) = self.prompts.get_mut(&trial.request.trial.problem) {
            prompt.live += 1;
            prompt.last_used = self.clock;
            let sequence = self.backend.fork(prompt.prefix, trial.sampling());
            self.active.push(Active {
                trial,
                sequence,
                issued: recompute,
                fed: 0,
                recompute,
                age,
            });
        }
    }

    /// Puts new trials into slots and issues the draws of their first tokens.
    fn start(&mut self, requests: Vec<Request>) -> Result<()> {
        self.prefill(&requests)?;
        let first = self.active.len();
        for request in requests {
            let Some(prompt) = self.prompts.get(&request.trial.problem) else {
                // Not an error: one overlong problem is no reason to end a run.
                self.deliver_empty(request, Finish::Length)?;
                continue;
            };
            let limit = self.rules.limit(prompt.len, (self.texts.limit)(&request));
            // Requests of one prompt may have limits of their own.
            self.capacity
                .check(&*self.backend, prompt.len, limit.saturating_sub(1))
                .map_err(|error| named(&request, error))?;
            let sampling = (self.texts.sampling)(&request);
            let detokenizer = (self.texts.detokenizer)();
            let begun = prompt.begins_reasoning;
            let trial = Trial::new(request, sampling, limit, detokenizer, begun, self.rules);
            self.started += 1;
            self.occupy(trial, self.started, 0);
        }
        let new = self.active[first..].iter_mut().enumerate();
        let (rows, draws): (Vec<_>, Vec<_>) = new
            .map(|(index, active)| {
                active.issued = 1;
                let row = StepRow {
                    sequence: active.sequence,
                    input: Input::Prefix,
                    draw: Some((active.trial.random(), 0)),
                };
                (row, (active.age, first + index))
            })
            .unzip();
        if !rows.is_empty() {
            let decode = false;
            self.issue(&rows, InFlight { draws, decode })?;
            self.settle()?;
            self.retire();
        }
        self.evict();
        Ok(())
    }

    /// Prefills the prompts of requests that are not held yet.
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
                    "the prompt fills the context: its completions are empty",
                );
                self.too_long.insert(problem);
                continue;
            }
            let vocab = self.backend.vocab_size();
            if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab) {
                let reason =
                    format!("token {token} of its prompt is outside the vocabulary of {vocab}");
                return Err(named(request, Error::new(ErrorKind::Data, reason)));
            }
            let limit = self.rules.limit(tokens.len(), (self.texts.limit)(request));
            self.capacity
                .check(&*self.backend, tokens.len(), limit.saturating_sub(1))
                .map_err(|error| named(request, error))?;
            new.push((problem, tokens));
        }
        let mut new = new.into_iter().peekable();
        while new.peek().is_some() {
            let mut tokens = 0;
            let mut pack = Vec::new();
            while let Some(next) = new.next_if(|(_, prompt)| {
                pack.is_empty() || tokens + prompt.len() <= MAX_PREFILL_TOKENS
            }) {
                tokens += next.1.len();
                pack.push(next);
            }
            self.reserve(requests, |backend, _| {
                let prompts = pack.iter().map(|(_, prompt)| prompt.len());
                let new: usize = prompts.map(|len| backend.prefix_bytes(len)).sum();
                backend.kv_bytes() + new
            })?;
            self.prefill_pack(&pack, tokens)?;
        }
        Ok(())
    }

    fn prefill_pack(&mut self, pack: &[(u32, Vec<u32>)], tokens: usize) -> Result<()> {
        let clock = Instant::now();
        let prompts: Vec<&[u32]> = pack.iter().map(|(_, prompt)| prompt.as_slice()).collect();
        let prefixes = self.backend.prefill(&prompts)?;
        let bytes = self.backend.kv_bytes();
        for ((problem, tokens), prefix) in pack.iter().zip(prefixes) {
            let prompt = Prompt {
                prefix,
                len: tokens.len(),
                begins_reasoning: (self.texts.begins_reasoning)(tokens),
                live: 0,
                last_used: self.clock,
            };
            self.prompts.insert(*problem, prompt);
        }
        self.count(|s| {
            s.prompts += pack.len() as u64;
            s.prompt_tokens += tokens as u64;
            s.prefill_time += clock.elapsed();
            s.peak_kv_bytes = s.peak_kv_bytes.max(bytes);
        });
        Ok(())
    }

    /// Feeds every active trial its next token and draws the one after it, where it is not known.
    fn step(&mut self) -> Result<()> {
        let clock = Instant::now();
        self.reserve(&[], |backend, sequences| backend.kv_bytes_after(sequences))?;
        let spent = self.backend.spent();
        let sampled = self.backend.sampling_time();
        let draining = self.is_draining();
        let rows: Vec<StepRow> = self.active.iter().map(Active::row).collect();
        let mut draws = Vec::with_capacity(rows.len());
        for (slot, (active, row)) in self.active.iter_mut().zip(&rows).enumerate() {
            active.fed += 1;
            if row.draw.is_some() {
                active.issued += 1;
                draws.push((active.age, slot));
            }
        }
        let (fed, drawn) = (rows.len() as u64, draws.len() as u64);
        let decode = true;
        self.issue(&rows, InFlight { draws, decode })?;
        let bytes = self.backend.kv_bytes();
        self.count(|s| {
            s.steps += 1;
            s.busy_slots += fed;
            s.recomputed_tokens += fed - drawn;
            s.peak_kv_bytes = s.peak_kv_bytes.max(bytes);
        });
        self.settle()?;
        self.retire();
        self.evict();
        if let Some(steps) = self.log.steps {
            let spent = spent.zip(self.backend.spent());
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.push(StepTimes {
                rows: rows.len(),
                draining,
                total: clock.elapsed(),
                linear: spent.map(|(before, after)| after.linear - before.linear),
                attention: spent.map(|(before, after)| after.attention - before.attention),
                sampling: difference(sampled, self.backend.sampling_time()),
            });
        }
        Ok(())
    }

    /// Issues a step.
    fn issue(&mut self, rows: &[StepRow], step: InFlight) -> Result<()> {
        let clock = Instant::now();
        let sampled = self.backend.sampling_time();
        self.backend.issue(rows)?;
        self.decode_steps += usize::from(step.decode);
        self.in_flight.push_back(step);
        let sampling = difference(sampled, self.backend.sampling_time());
        let total = clock.elapsed();
        self.count(|s| {
            s.decode_time += total.saturating_sub(sampling);
            s.sampling_time += sampling;
        });
        Ok(())
    }

    /// Collects what is old enough: while more decode steps are in flight than the backend's lag, and
    /// first draws as soon as the steps behind them keep the backend busy, or there are too many.
    fn settle(&mut self) -> Result<()> {
        let lag = self.backend.lag();
        while let Some(oldest) = self.in_flight.front() {
            let late = self.decode_steps > lag;
            let first_draws = !oldest.decode && self.decode_steps >= lag;
            // Trials of one token each would issue first draws without end.
            let crowded = self.in_flight.len() > max_in_flight(lag);
            if !(late || first_draws || crowded) {
                break;
            }
            self.collect()?;
        }
        Ok(())
    }

    /// Takes the draws of the oldest step in flight to their trials.
    fn collect(&mut self) -> Result<()> {
        let clock = Instant::now();
        // Gone from both sides, also where it has failed.
        let Some(step) = self.in_flight.pop_front() else {
            return Ok(());
        };
        self.decode_steps -= usize::from(step.decode);
        let draws = self.backend.collect()?;
        let waited = clock.elapsed();
        if draws.len() != step.draws.len() {
            let counts = (draws.len(), step.draws.len());
            let reason = format!("a step has {} draws in place of {}", counts.0, counts.1);
            return Err(Error::new(ErrorKind::Device, reason));
        }
        let mut ended = Vec::new();
        let mut discarded = 0;
        for (&(age, slot), drawn) in step.draws.iter().zip(&draws) {
            match self.place(age, slot) {
                Some(place) => {
                    if let Some(finish) = self.push(place, drawn)? {
                        ended.push((age, slot, finish));
                    }
                }
                // Its trial has ended.
                None => discarded += 1,
            }
        }
        self.count(|s| {
            s.decode_time += waited;
            s.generated_tokens += draws.len() as u64 - discarded;
            s.discarded_tokens += discarded;
        });
        if step.decode {
            // From the back, since a slot that is left takes the last one's trial.
            for (age, slot, finish) in ended.into_iter().rev() {
                self.finish(age, slot, finish, Vec::swap_remove)?;
            }
        } else {
            for (age, slot, finish) in ended {
                self.finish(age, slot, finish, Vec::remove)?;
            }
            self.touch(&step.draws);
        }
        Ok(())
    }

    /// Where a trial is that was in a slot; none if it has ended.
    fn place(&self, age: u64, slot: usize) -> Option<Place> {
        if self
            .active
            .get(slot)
            .is_some_and(|active| active.age == age)
        {
            return Some(Place::Active(slot));
        }
        let active = self.active.iter().position(|active| active.age == age);
        let within = |list: &[Waiting]| list.iter().position(|waiting| waiting.age == age);
        active
            .map(Place::Active)
            .or_else(|| within(&self.preempted).map(Place::Preempted))
            .or_else(|| within(&self.finishing).map(Place::Finishing))
    }

    /// Gives a trial its next token; an error names the trial and the token's position.
    fn push(&mut self, place: Place, drawn: &Drawn) -> Result<Option<Finish>> {
        let trial = match place {
            Place::Active(slot) => &mut self.active[slot].trial,
            Place::Preempted(index) => &mut self.preempted[index].trial,
            Place::Finishing(index) => &mut self.finishing[index].trial,
        };
        let position = trial.len();
        let pushed = if drawn.finite {
            let logprob = drawn.logprob(weight_bits(self.backend.vocab_size()));
            let pushed = trial.push(drawn.token, logprob, self.rules);
            if let (Some(on_token), Ok(_)) = (self.texts.on_token, &pushed) {
                let id = trial.request.trial;
                on_token(id, drawn.token, logprob, trial.stream(self.rules));
            }
            pushed
        } else {
            Err(non_finite(&*self.backend))
        };
        pushed.map_err(|error| {
            let Request { trial, problem, .. } = &trial.request;
            error.context(format_args!(
                "problem {}, trial {}, token {position}",
                problem.id, trial.number
            ))
        })
    }

    /// Delivers a trial that has ended, wherever it is; `remove` takes it out of its slot.
    fn finish(
        &mut self,
        age: u64,
        slot: usize,
        finish: Finish,
        remove: fn(&mut Vec<Active>, usize) -> Active,
    ) -> Result<()> {
        match self.place(age, slot) {
            Some(Place::Active(slot)) => {
                let active = remove(&mut self.active, slot);
                self.end(active, finish)
            }
            Some(Place::Preempted(index)) => {
                let Waiting { trial, .. } = self.preempted.remove(index);
                self.deliver(trial, finish)
            }
            Some(Place::Finishing(index)) => {
                let Waiting { trial, .. } = self.finishing.swap_remove(index);
                self.deliver(trial, finish)
            }
            None => Ok(()),
        }
    }

    /// Notes that the prompts of those trials that are in slots were used.
    fn touch(&mut self, draws: &[(u64, usize)]) {
        for &(age, slot) in draws {
            if let Some(Place::Active(slot)) = self.place(age, slot) {
                self.clock += 1;
                let problem = self.active[slot].trial.request.trial.problem;
                if let Some(prompt) = self.prompts.get_mut(&problem) {
                    prompt.last_used = self.clock;
                }
            }
        }
    }

    /// Frees the slots of trials that were issued all tokens they may have: what has not arrived
    /// needs none.
    fn retire(&mut self) {
        let mut slot = 0;
        while let Some(active) = self.active.get(slot) {
            if active.issued < active.trial.limit() {
                slot += 1;
                continue;
            }
            let active = self.active.swap_remove(slot);
            let waiting = self.vacate(active);
            self.finishing.push(waiting);
        }
    }

    /// Releases what a trial holds that leaves its slot.
    fn vacate(&mut self, active: Active) -> Waiting {
        self.backend.release_sequence(active.sequence);
        if let Some(prompt) = self.prompts.get_mut(&active.trial.request.trial.problem) {
            prompt.live -= 1;
        }
        Waiting {
            trial: active.trial,
            issued: active.issued,
            age: active.age,
        }
    }

    /// Delivers a trial that has left its slot.
    fn end(&mut self, active: Active, finish: Finish) -> Result<()> {
        let Waiting { trial, .. } = self.vacate(active);
        self.deliver(trial, finish)
    }

    /// Delivers a completion without tokens.
    fn deliver_empty(&mut self, request: Request, finish: Finish) -> Result<()> {
        let sampling = (self.texts.sampling)(&request);
        let detokenizer = (self.texts.detokenizer)();
        let trial = Trial::new(request, sampling, 0, detokenizer, false, self.rules);
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

    /// Evicts the least recently used prompts beyond those that the prefix cache may keep.
    fn evict(&mut self) {
        let mut unused: Vec<(u64, u32)> = self
            .prompts
            .iter()
            .filter(|(_, prompt)| prompt.live == 0)
            .map(|(&problem, prompt)| (prompt.last_used, problem))
            .collect();
        let surplus = unused.len().saturating_sub(self.capacity.prefix_cache);
        unused.sort_unstable();
        for &(_, problem) in &unused[..surplus] {
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
        // What is in flight would be taken for the draws of the next run.
        for _ in self.in_flight.drain(..) {
            // After one that failed the others are there yet.
            let _ = self.backend.collect();
        }
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

/// Time between two readings; zero if the backend does not measure it.
fn difference(before: Option<Duration>, after: Option<Duration>) -> Duration {
    let both = before.zip(after);
    both.map_or(Duration::ZERO, |(before, after)| {
        after.saturating_sub(before)
    })
}

#[cfg(test)]
mod tests;
