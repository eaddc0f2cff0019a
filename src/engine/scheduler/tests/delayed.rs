//! Draws that arrive late change no completion. The backend computes each step when it is issued
//! and returns its draws up to three steps later.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::*;
use crate::engine::{CompletionRequest, Engine, EngineBuilder, Event};
use crate::model::{Prompt, Template};
use crate::{Generator, trial_seed};

const WORDS: u64 = 97;

/// Delays the draws of a backend without lag until they are collected.
struct Delayed {
    inner: Box<dyn Backend>,
    lag: usize,
    /// For each step in flight, whether it feeds tokens.
    in_flight: VecDeque<bool>,
    /// The largest number of decode steps that were in flight.
    max_in_flight: Arc<AtomicUsize>,
    /// The capacity of the KV cache in bytes.
    capacity: Option<usize>,
    /// The number of steps that may be collected before collecting fails.
    collected: Option<usize>,
}

impl Delayed {
    fn new(inner: Box<dyn Backend>, lag: usize) -> Self {
        Delayed {
            inner,
            lag,
            in_flight: VecDeque::new(),
            max_in_flight: Arc::default(),
            capacity: None,
            collected: None,
        }
    }

    fn decode_steps(&self) -> usize {
        self.in_flight.iter().filter(|&&decode| decode).count()
    }
}

impl Backend for Delayed {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<PrefixId>> {
        self.inner.prefill(prompts)
    }

    fn fork(&mut self, prefix: PrefixId, sampling: &Sampling) -> SequenceId {
        self.inner.fork(prefix, sampling)
    }

    fn issue(&mut self, rows: &[StepRow]) -> Result<()> {
        assert!(!rows.is_empty());
        let starts = rows.iter().filter(|row| row.input == Input::Prefix).count();
        assert!(starts == 0 || starts == rows.len(), "a step of two kinds");
        // The scheduler may collect anything before it issues the next step, but then no more than
        // the lag may be in flight.
        let decode = starts == 0;
        assert!(!decode || self.decode_steps() <= self.lag);
        assert!(self.in_flight.len() <= max_in_flight(self.lag));
        self.inner.issue(rows)?;
        self.in_flight.push_back(decode);
        self.max_in_flight
            .fetch_max(self.decode_steps(), Ordering::Relaxed);
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<Drawn>> {
        assert!(self.in_flight.pop_front().is_some(), "nothing in flight");
        let draws = self.inner.collect();
        match &mut self.collected {
            Some(0) => Err(Error::new(ErrorKind::Device, "planted")),
            Some(left) => {
                *left -= 1;
                draws
            }
            None => draws,
        }
    }

    fn lag(&self) -> usize {
        self.lag
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.inner.release_sequence(sequence);
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        self.inner.release_prefix(prefix);
    }

    fn follow(
        &mut self,
        prompt: &[u32],
        continuation: &[u32],
        show: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        assert!(self.in_flight.is_empty());
        self.inner.follow(prompt, continuation, show)
    }

    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn kv_capacity(&self) -> Option<usize> {
        self.capacity
    }

    fn kv_bytes(&self) -> usize {
        self.inner.kv_bytes()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        self.inner.kv_bytes_after(sequences)
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        self.inner.prefix_bytes(tokens)
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        self.inner.suffix_bytes(tokens)
    }

    fn weight_bytes(&self) -> usize {
        self.inner.weight_bytes()
    }

    fn spent(&self) -> Option<Spent> {
        self.inner.spent()
    }

    fn sampling_time(&self) -> Option<Duration> {
        self.inner.sampling_time()
    }

    fn non_finite_weight(&self) -> Option<String> {
        self.inner.non_finite_weight()
    }
}

fn random_model() -> Model {
    let config = DecoderConfig {
        architecture: Architecture::Llama,
        hidden_size: 48,
        intermediate_size: 80,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        vocab_size: WORDS as usize,
        context_length: 1000,
        rms_norm_eps: 1e-5,
        rope_frequencies: (0..6)
            .map(|i| 1e4f32.powf(-f32::from(i as u8) / 6.0))
            .collect(),
        rope_attention_factor: 1.0,
        sliding_windows: vec![None; 2],
    };
    Model::random(config, 5, &Device::Cpu, DType::F32).unwrap()
}

fn builder() -> EngineBuilder {
    Engine::builder(random_model())
        .template(Template::parse("{problem}").unwrap())
        .sampling(Sampling::dart())
        .threads(2)
        .slots(5)
        .max_new_tokens(40)
}

/// The engine with delayed draws, and the largest delay that occurred.
fn delayed(engine: Engine, lag: usize) -> (Engine, Arc<AtomicUsize>) {
    let backend = Delayed::new(engine.backend.into_inner().unwrap(), lag);
    let max_in_flight = Arc::clone(&backend.max_in_flight);
    let engine = Engine {
        backend: Mutex::new(Box::new(backend)),
        ..engine
    };
    (engine, max_in_flight)
}

/// Prompts of ragged lengths, with several samples of each.
fn prompts(count: u64) -> Vec<Prompt> {
    (0..count)
        .map(|index| {
            let index = index % 7;
            let random = Philox::new(index);
            let len = 1 + index * 11 % 40;
            let tokens: Vec<u32> = (0..len).map(|i| random.below(i, WORDS) as u32).collect();
            Prompt {
                text: tokens.iter().map(|token| format!("<{token}>")).collect(),
                tokens,
            }
        })
        .collect()
}

/// Completes each prompt with its own limit.
fn up_to(engine: &Engine, prompts: &[Prompt], limits: &[usize]) -> Vec<Completion> {
    let mut requests = CompletionRequest::list(prompts, 1);
    for (request, limit) in requests.iter_mut().zip(limits) {
        request.max_new_tokens = Some(*limit);
    }
    let mut completions = vec![None; requests.len()];
    let on_event = |event: Event<'_>| {
        if let Event::Completed {
            request,
            completion,
        } = event
        {
            completions[request] = Some(completion);
        }
        ControlFlow::Continue(())
    };
    engine.complete(&requests, on_event).unwrap();
    completions.into_iter().map(Option::unwrap).collect()
}

/// Checks that completions are the same for every lag. Returns them, and the statistics for each
/// lag, starting with 0.
fn same_for_every_lag(
    engine: impl Fn() -> Engine,
    work: impl Fn(&Engine) -> Vec<Completion>,
) -> (Vec<Completion>, Vec<Statistics>) {
    let expected = work(&engine());
    let mut all = Vec::new();
    for lag in 0..=3 {
        let (engine, max_in_flight) = delayed(engine(), lag);
        assert_eq!(work(&engine), expected, "lag {lag}");
        // The draws were really delayed.
        assert_eq!(max_in_flight.load(Ordering::Relaxed), lag + 1);
        let statistics = engine.statistics();
        let tokens: usize = expected.iter().map(|c| c.tokens.len()).sum();
        assert_eq!(statistics.generated_tokens, tokens as u64);
        // Every draw is a completion's first token or follows a token that was fed for the first
        // time; it belongs to a completion or is discarded.
        let fed = statistics.busy_slots - statistics.recomputed_tokens;
        let drawn = statistics.generated_tokens + statistics.discarded_tokens;
        assert_eq!(fed + expected.len() as u64, drawn);
        assert!(lag > 0 || statistics.discarded_tokens == 0);
        assert_eq!(statistics.completions, expected.len() as u64);
        let backend = engine.backend.lock().unwrap();
        assert_eq!(backend.kv_bytes(), 0);
        drop(backend);
        all.push(statistics);
    }
    (expected, all)
}

fn with_limit(builder: EngineBuilder, limit: Option<usize>) -> EngineBuilder {
    match limit {
        Some(limit) => builder.kv_bytes(limit),
        None => builder,
    }
}

#[test]
fn completions_of_every_length() {
    let prompts = prompts(40);
    let limits: Vec<usize> = (0..40).map(|i| 1 + i * 7 % 22).collect();
    let (_, statistics) = same_for_every_lag(
        || builder().loop_detection(false).build().unwrap(),
        |engine| up_to(engine, &prompts, &limits),
    );
    // The limit is known when steps are issued: no token is drawn beyond it, and no slot waits for
    // draws.
    for later in &statistics {
        assert_eq!(later.discarded_tokens, 0);
        assert_eq!(later.steps, statistics[0].steps);
    }
}

/// Trials that never feed a token leave their slots before their draw arrives.
#[test]
fn completions_of_one_token() {
    let prompts = prompts(100);
    let expected = up_to(&builder().build().unwrap(), &prompts, &[1; 100]);
    for lag in 0..=3 {
        let (engine, max_in_flight) = delayed(builder().build().unwrap(), lag);
        assert_eq!(up_to(&engine, &prompts, &[1; 100]), expected);
        assert_eq!(max_in_flight.load(Ordering::Relaxed), 0);
        let statistics = engine.statistics();
        assert_eq!((statistics.generated_tokens, statistics.steps), (100, 0));
    }
}

#[test]
fn stop_tokens_and_stop_strings() {
    let prompts = prompts(60);
    let stopping = |tokens: &[u32], strings: &[&str]| {
        let strings = strings.iter().map(|&s| s.to_owned()).collect();
        let mut engine = builder().stop(strings).build().unwrap();
        engine.rules.stop_tokens = tokens.to_vec();
        engine
    };
    for (tokens, strings) in [(&[3, 40, 77][..], &[][..]), (&[], &["><25", "75><1"])] {
        let (completions, statistics) = same_for_every_lag(
            || stopping(tokens, strings),
            |engine| engine.generate(&prompts, 2).unwrap(),
        );
        let stopped = completions.iter().filter(|c| c.finish == Finish::Stop);
        let stopped = stopped.count();
        assert!((20..60).contains(&stopped), "{stopped}");
        for (lag, statistics) in statistics.iter().enumerate() {
            // A trial that stops was issued one more token per step in flight.
            let most = (stopped * lag) as u64;
            assert!(statistics.discarded_tokens <= most);
            assert!(statistics.discarded_tokens >= most / 2);
        }
    }
}

#[test]
fn loops() {
    let prompts = prompts(9);
    let (completions, statistics) = same_for_every_lag(
        || {
            let builder = builder().sampling(Sampling::greedy());
            builder.max_new_tokens(600).build().unwrap()
        },
        |engine| engine.generate(&prompts, 3).unwrap(),
    );
    assert!(completions.iter().any(|c| c.finish == Finish::Loop));
    assert!(statistics[2].discarded_tokens > 0);
}

/// Trials are preempted while their draws are in flight, and end meanwhile.
#[test]
fn preemption_with_and_without_a_repetition_penalty() {
    let prompts = prompts(40);
    for penalty in [1.0, 1.3] {
        let engine = |limit| {
            let builder = builder().slots(16).max_new_tokens(200);
            let builder = builder.loop_detection(false).sampling(Sampling {
                repetition_penalty: penalty,
                ..Sampling::default()
            });
            let mut engine = with_limit(builder, limit).build().unwrap();
            engine.rules.stop_tokens = vec![5, 60];
            engine
        };
        let work = |engine: &Engine| engine.generate(&prompts, 4).unwrap();
        let free = engine(None);
        let expected = work(&free);
        let peak = free.statistics().peak_kv_bytes;
        for limit in [peak / 2, peak / 4] {
            let (completions, statistics) = same_for_every_lag(|| engine(Some(limit)), work);
            assert_eq!(completions, expected);
            for statistics in statistics {
                assert!(statistics.preemptions > 0 && statistics.recomputed_tokens > 0);
                assert!(statistics.peak_kv_bytes <= limit);
            }
        }
    }
}

/// Hands out trials and cancels some, each after a number of `wanted` calls.
struct Fickle {
    queue: Mutex<VecDeque<Request>>,
    wanted_for: Mutex<BTreeMap<TrialId, u64>>,
    delivered: Mutex<BTreeMap<TrialId, Completion>>,
}

impl Fickle {
    fn new(key: Option<u64>, problems: &[Prompt]) -> Self {
        let requests = (0..90).map(|index: u32| {
            let (problem, number) = (index % problems.len() as u32, index / problems.len() as u32);
            let text = &problems[problem as usize].text;
            Request {
                trial: TrialId { problem, number },
                problem: Arc::new(Problem::new(text.as_str(), "")),
                seed: trial_seed(7, text, number),
            }
        });
        let queue: VecDeque<Request> = requests.collect();
        let wanted_for = key.into_iter().flat_map(|key| {
            let random = Philox::new(key);
            let trials = queue.iter().zip(0..).map(|(request, i)| (request.trial, i));
            let unwanted = trials.filter(move |&(_, i)| random.below(i, 2) == 0);
            unwanted.map(move |(trial, i)| (trial, random.below(1000 + i, 200)))
        });
        Fickle {
            wanted_for: Mutex::new(wanted_for.collect()),
            queue: Mutex::new(queue),
            delivered: Mutex::default(),
        }
    }
}

impl Source for Fickle {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut queue = self.queue.lock().unwrap();
        if queue.is_empty() {
            return Next::Done;
        }
        let count = offer.free.min(queue.len());
        Next::Requests(queue.drain(..count).collect())
    }

    fn wanted(&self, trial: TrialId) -> bool {
        assert!(!self.delivered.lock().unwrap().contains_key(&trial));
        match self.wanted_for.lock().unwrap().get_mut(&trial) {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let before = self.delivered.lock().unwrap().insert(trial, completion);
        assert!(before.is_none(), "{trial:?} was delivered twice");
    }
}

#[test]
fn random_cancellation_delivers_prefixes() {
    let problems = prompts(7);
    let engine = |limit| {
        let builder = builder().slots(9).max_new_tokens(200);
        let builder = with_limit(builder, limit).prefix_cache(1);
        let mut engine = builder.build().unwrap();
        engine.rules.stop_tokens = vec![11];
        engine
    };
    let whole = Fickle::new(None, &problems);
    let free = engine(None);
    free.run(&whole).unwrap();
    let whole = whole.delivered.into_inner().unwrap();
    let peak = free.statistics().peak_kv_bytes;
    let mut discarded = 0;
    for lag in 0..=3 {
        for limit in [None, Some(peak / 3)] {
            let (engine, _) = delayed(engine(limit), lag);
            for key in 0..2 {
                let source = Fickle::new(Some(key), &problems);
                engine.run(&source).unwrap();
                let delivered = source.delivered.into_inner().unwrap();
                assert_eq!(delivered.len(), whole.len());
                let mut cancelled = 0;
                for (trial, completion) in &delivered {
                    let whole = &whole[trial];
                    if completion.finish == Finish::Cancelled {
                        cancelled += 1;
                        assert!(whole.tokens.starts_with(&completion.tokens));
                        assert!(whole.text.starts_with(&completion.text));
                    } else {
                        assert_eq!(completion, whole);
                    }
                }
                assert!(cancelled > 10, "{cancelled}");
            }
            let statistics = engine.statistics();
            assert_eq!(statistics.preemptions > 0, limit.is_some());
            discarded += statistics.discarded_tokens;
            assert!(lag > 0 || discarded == 0);
            assert_eq!(engine.backend.lock().unwrap().kv_bytes(), 0);
        }
    }
    assert!(discarded > 0);
}

/// Steps in flight when a run fails do not leak into the next run.
#[test]
fn a_run_that_fails_leaves_nothing_in_flight() {
    let prompts = prompts(20);
    let expected = builder().build().unwrap().generate(&prompts, 6).unwrap();
    let (engine, _) = delayed(builder().build().unwrap(), 3);
    let mut bad = prompts.clone();
    bad[13].text = "bad".into();
    bad[13].tokens = vec![WORDS as u32];
    let error = engine.generate(&bad, 6).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(engine.statistics().steps > 3);
    assert_eq!(engine.generate(&prompts, 6).unwrap(), expected);
    assert!(engine.score(&prompts[0].tokens, &[1, 2]).is_ok());
}

/// Non-finite logits are an error of their trial, however late they are detected.
#[test]
fn late_errors_name_their_trial() {
    let mut first = None;
    for lag in 0..=3 {
        let source = Lists::new([(0..12).map(|n| request(n % 3, n)).collect()]);
        let books = Books::new(Accounts {
            spoilt: Some(5),
            ..Accounts::default()
        });
        let host = HostSampled::new(Box::new(books.clone()), 2);
        let mut backend = Delayed::new(Box::new(host), lag);
        let error = run_on(&mut backend, CAPACITY, &source).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        let cause = "not finite: its weight of the test";
        assert!(error.detail().contains(cause), "{error}");
        let name = error.detail().split(": ").next().unwrap().to_owned();
        assert!(name.contains("trial") && name.contains("token"), "{name}");
        // The schedule is the same up to this point, because nothing had ended before.
        assert_eq!(first.get_or_insert(name.clone()), &name);
        assert!(backend.in_flight.is_empty());
        books.assert_empty();
    }
}

/// A failing device leaves nothing in flight for the next run.
#[test]
fn a_failed_step_leaves_nothing_in_flight() {
    for lag in 0..=3 {
        for collected in [0, 1, 5, 9] {
            let source = Lists::new([(0..12).map(|n| request(n % 3, n)).collect()]);
            let books = Books::new(Accounts::default());
            let host = HostSampled::new(Box::new(books.clone()), 2);
            let mut backend = Delayed::new(Box::new(host), lag);
            backend.collected = Some(collected);
            let error = run_on(&mut backend, CAPACITY, &source).0.unwrap_err();
            assert_eq!(error.detail(), "planted");
            assert!(backend.in_flight.is_empty());
            books.assert_empty();
        }
    }
}

/// The device's capacity bounds the KV cache if the user's limit does not.
#[test]
fn the_backends_capacity_is_a_limit() {
    let small = |books: &Books| Delayed {
        capacity: Some(30),
        ..Delayed::new(Box::new(HostSampled::new(Box::new(books.clone()), 2)), 1)
    };
    let all: Vec<Request> = (0..40).map(|n| request(n % 5, n)).collect();
    for (kv_bytes, limit) in [(None, 30), (Some(1000), 30), (Some(26), 26)] {
        let books = Books::new(Accounts {
            limit: Some(limit),
            ..Accounts::default()
        });
        let mut backend = small(&books);
        let capacity = Capacity {
            kv_bytes,
            ..CAPACITY
        };
        let source = Lists::new([all.clone()]);
        let (result, statistics) = run_on(&mut backend, capacity, &source);
        result.unwrap();
        assert!(statistics.preemptions > 0);
        books.assert_empty();
    }
    let mut backend = small(&Books::default());
    let source = Lists::new([vec![request(20, 0)]]);
    let error = run_on(&mut backend, CAPACITY, &source).0.unwrap_err();
    let reason = "the KV cache's capacity is 30";
    assert!(error.detail().contains(reason), "{error}");
}
