//! Continuous batching: keeps every slot busy with the trials that the source wants most.
//!
//! Each prompt is prefilled once. Its KV cache and last logits are kept while its trials are in
//! flight, and longer in the prefix cache. A trial's first token is drawn from these logits; every
//! other token costs a row in a decode step. When a trial ends, its slot takes the next request
//! before the next step.
//!
//! The scheduler separates what was *issued* to a trial (positions drawn, tokens fed, its limit,
//! the forecast of the KV cache) from what has *arrived* (text, stop strings, loops), because a
//! backend may have steps in flight whose draws the host does not know yet. A trial that ends
//! leaves its slot at once, and its later draws are discarded.
//!
//! If the KV cache would exceed its limit, the youngest trials are preempted: their part of the
//! cache is released. They resume before any new trial starts. Their own tokens are recomputed in
//! rows of the same steps in which other trials decode.
//!
//! Depends on backends and trials, but not on files, templates or the source's reasons.

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

/// The largest number of prompt tokens that are prefilled together. A longer prompt is prefilled
/// alone.
const MAX_PREFILL_TOKENS: usize = 2048;

/// The shortest and the longest sleep while the source has nothing and nothing is in flight.
const MIN_SLEEP: Duration = Duration::from_micros(50);
const MAX_SLEEP: Duration = Duration::from_millis(4);

/// The contents of a request, and the conversion of tokens to text.
pub(super) struct Texts<'a> {
    /// Returns a request's prompt tokens.
    pub(super) prompt: &'a (dyn Fn(&Request) -> Result<Vec<u32>> + Sync),
    /// Returns a request's limit of completion tokens. The rules' limit applies, too.
    pub(super) limit: &'a (dyn Fn(&Request) -> usize + Sync),
    /// Returns a request's sampling settings.
    pub(super) sampling: &'a (dyn Fn(&Request) -> Sampling + Sync),
    /// Creates a detokenizer.
    pub(super) detokenizer: &'a (dyn Fn() -> Detokenizer + Sync),
    /// Whether a prompt opens the reasoning of its completions.
    pub(super) begins_reasoning: &'a (dyn Fn(&[u32]) -> bool + Sync),
    /// Receives each token of a completion, if requested.
    pub(super) on_token: Option<&'a OnToken<'a>>,
}

/// Receives a trial's new token, its log-probability, and the text that became certain with it.
pub(super) type OnToken<'a> = dyn Fn(TrialId, u32, f64, &str) + Sync + 'a;

/// Records of a scheduler's work.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub(super) statistics: &'a Mutex<Statistics>,
    /// The times of all steps, if requested.
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
    /// Whether the source has reported that it is done.
    done: bool,
    active: Vec<Active>,
    /// Preempted trials, oldest first.
    preempted: Vec<Waiting>,
    /// Trials whose tokens are all issued, but have not all arrived.
    finishing: Vec<Waiting>,
    /// Steps whose draws have not arrived, oldest first.
    in_flight: VecDeque<InFlight>,
    /// The number of in-flight steps that feed tokens.
    decode_steps: usize,
    /// The number of trials started so far.
    started: u64,
    /// The total tokens and the number of finished completions, for the expected length.
    finished: (u64, u64),
    /// Held prompts, by the problem's index.
    prompts: HashMap<u32, Prompt>,
    /// The prompt lengths of problems that wait for memory.
    waiting: HashMap<u32, usize>,
    /// Problems whose prompts fill the context.
    too_long: HashSet<u32>,
    /// A logical clock of prompt uses, for least-recently-used eviction.
    clock: u64,
}

/// A trial in a slot.
struct Active {
    trial: Trial,
    sequence: SequenceId,
    /// The number of tokens drawn for it, including those that have not arrived.
    issued: usize,
    /// The number of its tokens that the sequence was fed.
    fed: usize,
    /// The number of leading tokens that are known and recomputed after a preemption.
    recompute: usize,
    /// The number of trials that were started before it. It also identifies the trial.
    age: u64,
}

impl Active {
    /// The trial's row of the next step.
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

/// A trial without a slot: preempted, or with all tokens issued.
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
    /// For each draw, the age of its trial and the trial's slot when the step was issued.
    draws: Vec<(u64, usize)>,
    /// Whether the step feeds tokens; if not, it draws the first tokens of trials.
    decode: bool,
}

/// The location of a trial.
#[derive(Clone, Copy)]
enum Place {
    Active(usize),
    Preempted(usize),
    Finishing(usize),
}

/// A prompt whose KV cache the backend holds.
struct Prompt {
    prefix: PrefixId,
    /// The number of its tokens.
    len: usize,
    /// Whether it opens the reasoning of its completions.
    begins_reasoning: bool,
    /// The number of its trials in slots.
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

    /// Runs until the source is done and everything in flight is delivered.
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
                    // Nothing can be issued before a draw arrives.
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

    /// Whether no work is left for a free slot.
    fn is_draining(&self) -> bool {
        self.done && self.pending.is_empty() && self.preempted.is_empty()
    }

    /// Cancels trials that are no longer wanted.
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

    /// Removes the trials that are no longer wanted from a list of trials without a slot, delivers
    /// them and returns the others.
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

    /// Fills free slots as long as the source has requests.
    fn admit(&mut self) -> Result<()> {
        while self.active.len() < self.capacity.slots && !self.preempted.is_empty() {
            let Waiting { trial, .. } = &self.preempted[0];
            // The tokens to recompute must have arrived.
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

    /// Assigns a slot to a trial whose prompt is held. `recompute` of its tokens are known.
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

    /// Assigns slots to new trials and issues the draws of their first tokens.
    fn start(&mut self, requests: Vec<Request>) -> Result<()> {
        self.prefill(&requests)?;
        let first = self.active.len();
        for request in requests {
            let Some(prompt) = self.prompts.get(&request.trial.problem) else {
                // Not an error: a single overlong problem must not end a run.
                self.deliver_empty(request, Finish::Length)?;
                continue;
            };
            let limit = self.rules.limit(prompt.len, (self.texts.limit)(&request));
            // Requests of one prompt may have different limits.
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

    /// Feeds every active trial its next token and draws the one after it, unless it is known.
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

    /// Collects steps that are old enough: decode steps beyond the backend's lag, and steps of
    /// first draws once the steps behind them keep the backend busy or too many steps are in
    /// flight.
    fn settle(&mut self) -> Result<()> {
        let lag = self.backend.lag();
        while let Some(oldest) = self.in_flight.front() {
            let late = self.decode_steps > lag;
            let first_draws = !oldest.decode && self.decode_steps >= lag;
            // Trials of one token would otherwise issue first draws indefinitely.
            let crowded = self.in_flight.len() > max_in_flight(lag);
            if !(late || first_draws || crowded) {
                break;
            }
            self.collect()?;
        }
        Ok(())
    }

    /// Hands the draws of the oldest step in flight to their trials.
    fn collect(&mut self) -> Result<()> {
        let clock = Instant::now();
        // Removed here even if the backend fails, because the backend has dropped it, too.
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
                // The draw's trial has ended.
                None => discarded += 1,
            }
        }
        self.count(|s| {
            s.decode_time += waited;
            s.generated_tokens += draws.len() as u64 - discarded;
            s.discarded_tokens += discarded;
        });
        if step.decode {
            // In reverse order, because a freed slot takes the last slot's trial.
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

    /// Locates a trial that was in a slot; `None` if it has ended.
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

    /// Appends a drawn token to a trial. Errors name the trial and the token's position.
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

    /// Delivers a trial that has ended, in any place. `remove` takes it out of its slot.
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

    /// Marks the prompts of trials that are in slots as used.
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

    /// Frees the slots of trials whose tokens are all issued: draws that have not arrived need no
    /// slot.
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

    /// Releases the resources of a trial that leaves its slot.
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

    /// Delivers a trial that was removed from its slot.
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

    /// Evicts the least recently used prompts beyond the size of the prefix cache.
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

    /// Releases a prompt that no trial in a slot needs.
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
    /// Leaves the backend empty, even after an error or a panic of the source.
    fn drop(&mut self) {
        // The next run would otherwise receive these draws.
        for _ in self.in_flight.drain(..) {
            // After a failed step the others must still be collected.
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

/// Returns the prompt tokens of a request.
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

/// The difference between two readings; zero if the backend does not measure it.
fn difference(before: Option<Duration>, after: Option<Duration>) -> Duration {
    let both = before.zip(after);
    both.map_or(Duration::ZERO, |(before, after)| {
        after.saturating_sub(before)
    })
}

#[cfg(test)]
mod tests;
