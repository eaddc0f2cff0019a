//! Continuous batching, on tiny models of random weights: a trial is the same whatever happens
//! around it, and every request is delivered once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use dart_math::candle::{DType, Device};
use dart_math::engine::{
    ActivationType, BackendChoice, CompletionRequest, Engine, EngineBuilder, EngineGroup, Event,
    KvType, Sampling,
};
use dart_math::model::{
    Architecture, DecoderConfig, DtypeChoice, Model, ModelSource, Prompt, Template,
};
use dart_math::{
    Completion, ErrorKind, Finish, Generator, Next, Offer, Philox, Problem, Request, Source,
    TrialId, trial_seed,
};

const VOCABULARY: u32 = 97;
const CONTEXT: usize = 120;

fn model() -> Model {
    let config = DecoderConfig {
        architecture: Architecture::Llama,
        hidden_size: 48,
        intermediate_size: 80,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        vocab_size: VOCABULARY as usize,
        context_length: CONTEXT,
        rms_norm_eps: 1e-5,
        rope_frequencies: (0..6)
            .map(|i| 1e4f32.powf(-f32::from(i as u8) / 6.0))
            .collect(),
        sliding_windows: vec![None; 2],
    };
    Model::random(config, 5, &Device::Cpu, DType::F32).unwrap()
}

fn builder() -> EngineBuilder {
    Engine::builder(model())
        .template(Template::parse("{problem}").unwrap())
        .sampling(Sampling {
            temperature: 1.3,
            top_p: 0.9,
            ..Sampling::default()
        })
        .max_new_tokens(24)
}

/// A prompt of so many tokens, as text and tokens.
fn prompt(index: u64, len: u64) -> Prompt {
    let random = Philox::new(index);
    let tokens: Vec<u32> = (0..len)
        .map(|i| random.below(i, u64::from(VOCABULARY)) as u32)
        .collect();
    Prompt {
        text: tokens.iter().map(|token| format!("<{token}>")).collect(),
        tokens,
    }
}

/// Completions with a limit of its own for each.
fn up_to(
    engine: &Engine,
    prompts: &[Prompt],
    limits: &[usize],
    seed: u64,
) -> dart_math::Result<Vec<Completion>> {
    let mut requests = CompletionRequest::list(prompts, seed);
    for (request, limit) in requests.iter_mut().zip(limits) {
        request.max_new_tokens = Some(*limit);
    }
    complete(engine, &requests)
}

/// The completions of requests; what is told of their tokens has to be what they are.
fn complete(engine: &Engine, requests: &[CompletionRequest]) -> dart_math::Result<Vec<Completion>> {
    let mut streams = vec![(Vec::new(), 0.0, String::new()); requests.len()];
    let mut completions = vec![None; requests.len()];
    engine.complete(requests, |event| {
        match event {
            Event::Token {
                request,
                token,
                logprob,
                text,
            } => {
                assert!(completions[request].is_none());
                let (tokens, sum, whole) = &mut streams[request];
                tokens.push(token);
                *sum += logprob;
                whole.push_str(text);
            }
            Event::Completed {
                request,
                completion,
            } => {
                let (tokens, sum, text) = &streams[request];
                assert_eq!(*tokens, completion.tokens);
                assert_eq!(Some(*sum), completion.logprob);
                assert!(completion.text.starts_with(text.as_str()));
                completions[request] = Some(completion);
            }
            _ => unreachable!(),
        }
        ControlFlow::Continue(())
    })?;
    Ok(completions.into_iter().map(Option::unwrap).collect())
}

/// Prompts of ragged lengths, from one token to dozens.
fn ragged(count: u64) -> Vec<Prompt> {
    (0..count).map(|i| prompt(i, 1 + i * 7 % 40)).collect()
}

/// The same to the last bit: rows are computed independently of the batch.
#[track_caller]
fn assert_same(a: &[Completion], b: &[Completion]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a, b);
    }
}

#[test]
fn a_trial_is_the_same_alone_and_in_batches() {
    let engine = builder().slots(33).build().unwrap();
    let all = ragged(33);
    let together = engine.generate(&all, 1).unwrap();
    assert_eq!(together.len(), 33);
    for (i, prompt) in all.iter().enumerate() {
        let alone = engine.generate(std::slice::from_ref(prompt), 1).unwrap();
        assert_same(&alone, &together[i..=i]);
        let other = (i + 1) % all.len();
        let two = engine
            .generate(&[all[other].clone(), prompt.clone()], 1)
            .unwrap();
        assert_same(&two[1..], &together[i..=i]);
    }
    // Not all the same, or this would show nothing.
    let distinct: std::collections::BTreeSet<_> = together.iter().map(|c| &c.tokens).collect();
    assert!(distinct.len() > 30);
}

#[test]
fn slots_and_threads_change_nothing() {
    let mut prompts = ragged(12);
    // Several samples of the same prompts, interleaved.
    prompts.extend(ragged(12));
    prompts.extend(ragged(5));
    for sampling in [
        Sampling::greedy(),
        Sampling::dart(),
        Sampling {
            top_k: Some(20),
            min_p: 0.02,
            repetition_penalty: 1.2,
            ..Sampling::default()
        },
    ] {
        let run = |slots: usize, threads: usize, idle: usize| {
            let engine = builder()
                .sampling(sampling)
                .slots(slots)
                .threads(threads)
                .prefix_cache(idle)
                .build()
                .unwrap();
            let completions = engine.generate(&prompts, 3).unwrap();
            let statistics = engine.statistics();
            assert_eq!(statistics.completions, prompts.len() as u64);
            let tokens: usize = completions.iter().map(|c| c.tokens.len()).sum();
            assert_eq!(statistics.generated_tokens, tokens as u64);
            assert!(statistics.occupancy() > 0.5 && statistics.occupancy() <= 1.0);
            // One prefill serves all samples of a prompt.
            assert!(statistics.prompts == 12 || idle == 0);
            completions
        };
        let one = run(1, 1, 16);
        assert_same(&one, &run(7, 1, 16));
        assert_same(&one, &run(7, 3, 0));
        assert_same(&one, &run(32, 2, 16));
        let samples_differ = one[0].tokens != one[12].tokens;
        assert_eq!(samples_differ, !sampling.is_greedy());
    }
}

#[test]
fn both_backends_agree() {
    let prompts = ragged(9);
    let run = |choice| {
        let engine = builder()
            .sampling(Sampling::greedy())
            .backend(choice)
            .build()
            .unwrap();
        engine.generate(&prompts, 0).unwrap()
    };
    for (own, plain) in run(BackendChoice::Auto)
        .iter()
        .zip(run(BackendChoice::Plain))
    {
        assert_eq!((&own.tokens, own.finish), (&plain.tokens, plain.finish));
        let difference = own.logprob.unwrap() - plain.logprob.unwrap();
        assert!(difference.abs() < 1e-4, "{difference}");
    }
}

/// Asks for a list of trials in random portions, waits at random, and gives some up.
struct Schedule {
    random: Philox,
    state: Mutex<State>,
    /// Trials that are unwanted once they have been asked about so many times.
    patience: BTreeMap<TrialId, u32>,
}

struct State {
    calls: u64,
    queue: Vec<Request>,
    asked: BTreeMap<TrialId, u32>,
    delivered: BTreeMap<TrialId, Completion>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Schedule {
    fn new(key: u64, requests: Vec<Request>) -> Self {
        let random = Philox::new(key);
        let patience = requests
            .iter()
            .enumerate()
            .filter(|(i, _)| random.below(1000 + *i as u64, 3) == 0)
            .map(|(i, request)| (request.trial, random.below(2000 + i as u64, 30) as u32))
            .collect();
        Schedule {
            random,
            patience,
            state: Mutex::new(State {
                calls: 1_000_000,
                queue: requests,
                asked: BTreeMap::new(),
                delivered: BTreeMap::new(),
                in_flight: 0,
                most_in_flight: 0,
            }),
        }
    }
}

impl Source for Schedule {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut state = self.state.lock().unwrap();
        assert!(offer.free > 0);
        assert!(offer.resident.is_sorted());
        state.calls += 1;
        let portion = self.random.below(state.calls, offer.free as u64 + 1) as usize;
        let portion = portion.min(state.queue.len());
        if portion > 0 {
            // Any order.
            let pick = self
                .random
                .below(state.calls + (1 << 40), state.queue.len() as u64);
            state.queue.rotate_left(pick as usize);
            state.in_flight += portion;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
            Next::Requests(state.queue.drain(..portion).collect())
        } else if state.queue.is_empty() && state.in_flight == 0 {
            Next::Done
        } else {
            Next::Wait
        }
    }

    fn wanted(&self, trial: TrialId) -> bool {
        let mut state = self.state.lock().unwrap();
        assert!(!state.delivered.contains_key(&trial));
        let asked = state.asked.entry(trial).or_default();
        *asked += 1;
        self.patience.get(&trial).is_none_or(|most| *asked <= *most)
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let mut state = self.state.lock().unwrap();
        state.in_flight -= 1;
        let before = state.delivered.insert(trial, completion);
        assert!(before.is_none(), "{trial:?} was delivered twice");
    }
}

fn requests(problems: u32, each: u32) -> Vec<Request> {
    (0..problems)
        .flat_map(|problem| {
            let text = prompt(u64::from(problem), 1 + u64::from(problem) * 5 % 30).text;
            let shared = Arc::new(Problem::new(text, ""));
            (0..each).map(move |number| Request {
                trial: TrialId { problem, number },
                problem: Arc::clone(&shared),
                seed: trial_seed(9, &shared.id, number),
            })
        })
        .collect()
}

#[test]
fn random_schedules_deliver_every_trial_once_and_the_same() {
    let all = requests(7, 9);
    let reference = Schedule {
        patience: BTreeMap::new(),
        ..Schedule::new(0, all.clone())
    };
    builder().slots(1).build().unwrap().run(&reference).unwrap();
    let reference = reference.state.into_inner().unwrap().delivered;
    assert_eq!(reference.len(), 63);
    let mut cancelled = 0;
    for (slots, idle) in [(1, 0), (2, 1), (5, 2), (64, 16)] {
        let engine = builder().slots(slots).prefix_cache(idle).build().unwrap();
        for key in 1..6 {
            let schedule = Schedule::new(key, all.clone());
            engine.run(&schedule).unwrap();
            let state = schedule.state.into_inner().unwrap();
            assert!(state.most_in_flight <= slots);
            assert_eq!(state.delivered.len(), all.len());
            for (trial, completion) in &state.delivered {
                let whole = &reference[trial];
                if completion.finish == Finish::Cancelled {
                    cancelled += 1;
                    assert!(schedule.patience.contains_key(trial));
                    assert!(whole.tokens.starts_with(&completion.tokens));
                    assert!(whole.text.starts_with(&completion.text));
                } else {
                    assert_same(
                        std::slice::from_ref(completion),
                        std::slice::from_ref(whole),
                    );
                }
            }
        }
    }
    assert!(cancelled > 100, "only {cancelled} were cancelled");
}

#[test]
fn completions_end_at_their_limits() {
    // 8 tokens by the setting, fewer where the context is full.
    let engine = builder()
        .max_new_tokens(8)
        .ignore_eos(true)
        .build()
        .unwrap();
    let lens = [
        1,
        10,
        CONTEXT as u64 - 3,
        CONTEXT as u64 - 1,
        CONTEXT as u64,
        500,
    ];
    let prompts: Vec<Prompt> = lens.iter().map(|&len| prompt(len, len)).collect();
    let completions = engine.generate(&prompts, 0).unwrap();
    let tokens: Vec<usize> = completions.iter().map(|c| c.tokens.len()).collect();
    assert_eq!(tokens, [8, 8, 3, 1, 0, 0]);
    for completion in &completions {
        assert_eq!(completion.finish, Finish::Length);
        assert_eq!(completion.text.is_empty(), completion.tokens.is_empty());
    }
}

#[test]
fn stop_strings_end_a_completion_and_are_cut() {
    let prompts = ragged(8);
    let free = builder().build().unwrap().generate(&prompts, 2).unwrap();
    for (prompt, whole) in prompts.iter().zip(&free) {
        // The end of one token's text and the start of the next.
        let middle = whole.text.len() / 2;
        let stop = whole.text[middle..middle + 5].to_owned();
        let at = whole.text.find(&stop).unwrap();
        let engine = builder().stop(vec![stop.clone()]).build().unwrap();
        let cut = engine
            .generate(std::slice::from_ref(prompt), 2)
            .unwrap()
            .remove(0);
        assert_eq!(cut.finish, Finish::Stop);
        assert_eq!(cut.text, whole.text[..at], "stop at {stop:?}");
        assert!(whole.tokens.starts_with(&cut.tokens));
        assert!(cut.logprob.unwrap() >= whole.logprob.unwrap());
    }
}

#[test]
fn a_greedy_loop_is_cut_off_unless_asked_for() {
    // A model of random weights soon repeats itself when it is greedy and the context allows.
    let engine = |detect| {
        Engine::builder(looping_model())
            .template(Template::parse("{problem}").unwrap())
            .sampling(Sampling::greedy())
            .max_new_tokens(700)
            .loop_detection(detect)
            .build()
            .unwrap()
    };
    let prompts = ragged(4);
    let cut = engine(true).generate(&prompts, 0).unwrap();
    let whole = engine(false).generate(&prompts, 0).unwrap();
    let mut loops = 0;
    for (cut, whole) in cut.iter().zip(&whole) {
        assert_eq!(whole.finish, Finish::Length);
        assert_eq!(whole.tokens.len(), 700);
        if cut.finish == Finish::Loop {
            loops += 1;
            assert!(cut.tokens.len() >= 128 && cut.tokens.len() < 700);
            assert!(whole.tokens.starts_with(&cut.tokens));
        }
    }
    assert!(loops > 0);
}

fn looping_model() -> Model {
    let mut config = model().config().clone();
    config.context_length = 1000;
    Model::random(config, 5, &Device::Cpu, DType::F32).unwrap()
}

#[test]
fn bad_settings_and_prompts_are_errors() {
    let bad = [
        builder().slots(0),
        builder().threads(0),
        builder().max_new_tokens(0),
        builder().stop(vec![String::new()]),
        builder().sampling(Sampling {
            top_p: 0.0,
            ..Sampling::default()
        }),
    ];
    for builder in bad {
        assert_eq!(builder.build().unwrap_err().kind(), ErrorKind::Settings);
    }
    let engine = builder().build().unwrap();
    let empty = Prompt {
        text: String::new(),
        tokens: Vec::new(),
    };
    let error = engine.generate(&[prompt(1, 3), empty], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.to_string().contains("problem 2 of the list"),
        "{error}"
    );
    let foreign = Prompt {
        text: "x".into(),
        tokens: vec![VOCABULARY],
    };
    assert!(engine.generate(&[foreign], 0).is_err());
    // Neither has spoilt the engine.
    assert_eq!(engine.generate(&ragged(2), 0).unwrap().len(), 2);
    assert!(engine.generate(&[], 0).unwrap().is_empty());
}

/// Half and a quarter of the memory that the KV cache would take change no token.
#[test]
fn a_smaller_kv_cache_changes_nothing() {
    let mut prompts = Vec::new();
    for sample in 0..6 {
        prompts.extend(ragged(4).into_iter().skip(sample % 2));
    }
    let engine = |backend, limit: Option<usize>| {
        let builder = Engine::builder(looping_model())
            .template(Template::parse("{problem}").unwrap())
            .sampling(Sampling::dart())
            .max_new_tokens(300)
            .ignore_eos(true)
            .loop_detection(false)
            .backend(backend)
            .slots(16);
        let builder = match limit {
            Some(limit) => builder.kv_bytes(limit),
            None => builder,
        };
        builder.build().unwrap()
    };
    for backend in [BackendChoice::Auto, BackendChoice::Plain] {
        let free = engine(backend, None);
        let whole = free.generate(&prompts, 5).unwrap();
        let most = free.statistics().peak_kv_bytes;
        for limit in [most / 2, most / 4] {
            let bounded = engine(backend, Some(limit));
            let completions = bounded.generate(&prompts, 5).unwrap();
            let statistics = bounded.statistics();
            assert!(statistics.preemptions > 0 && statistics.peak_kv_bytes <= limit);
            for (bounded, whole) in completions.iter().zip(&whole) {
                assert_eq!(bounded.tokens, whole.tokens);
                if backend == BackendChoice::Auto {
                    assert_eq!(bounded, whole);
                }
            }
        }
        let error = engine(backend, Some(most / 100)).generate(&prompts, 5);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Settings);
    }
}

/// Blocks of every type of 32 weights: the same tokens with any number of slots and threads and with
/// half of the memory, whichever types the KV cache and activations have; and, where these are not
/// rounded, those of the same weights dequantised.
#[test]
fn quantised_weights_give_the_same_tokens_in_any_schedule() {
    for name in ["gguf_llama", "gguf_qwen2"] {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
        let path = fixtures.join(name).join("model.gguf");
        type Types = (DtypeChoice, KvType, ActivationType);
        let run = |types: Types, slots: usize, threads: usize, limit: Option<usize>| {
            let (dtype, kv_type, activation_type) = types;
            let source = ModelSource::Gguf(path.clone());
            let model = Model::builder(source).dtype(dtype).load().unwrap();
            let builder = Engine::builder(model)
                .template(Template::parse("{problem}").unwrap())
                .sampling(Sampling::dart())
                .max_new_tokens(90)
                .ignore_eos(true)
                .loop_detection(false)
                .kv_type(kv_type)
                .activation_type(activation_type)
                .slots(slots)
                .threads(threads);
            let builder = match limit {
                Some(limit) => builder.kv_bytes(limit),
                None => builder,
            };
            let engine = builder.build().unwrap();
            // Three prompts; completions begin a second page.
            let prompts: Vec<Prompt> = (0..36).map(|i| prompt(i % 3, 2 + 20 * (i % 3))).collect();
            let completions = engine.generate(&prompts, 6).unwrap();
            (completions, engine.statistics())
        };
        let mut of_types = Vec::new();
        for (kv_type, activation_type) in [
            (KvType::F32, ActivationType::F32),
            (KvType::F16, ActivationType::F32),
            (KvType::F32, ActivationType::Int8),
        ] {
            let blocks = (DtypeChoice::Quantized, kv_type, activation_type);
            let (one, _) = run(blocks, 1, 1, None);
            assert_eq!(one.len(), 36);
            let mut most = 0;
            for (slots, threads) in [(1, 2), (7, 1), (7, 2), (32, 1), (32, 2)] {
                let (completions, statistics) = run(blocks, slots, threads, None);
                assert_same(&one, &completions);
                most = most.max(statistics.peak_kv_bytes);
            }
            let (completions, statistics) = run(blocks, 32, 2, Some(most / 2));
            assert_same(&one, &completions);
            assert!(statistics.preemptions > 0 && statistics.peak_kv_bytes <= most / 2);
            if activation_type == ActivationType::F32 {
                let wide = (DtypeChoice::F32, kv_type, activation_type);
                assert_same(&one, &run(wide, 32, 2, None).0);
            }
            of_types.push((one, most));
        }
        let [wide, narrow, rounded] = &of_types[..] else {
            unreachable!()
        };
        assert_eq!(wide.1, 2 * narrow.1);
        assert!(wide.0 != narrow.0, "16 bits round nothing");
        assert!(wide.0 != rounded.0, "8 bits round nothing");
    }
}

#[test]
fn limits_of_single_completions() {
    let engine = builder().ignore_eos(true).slots(5).build().unwrap();
    let prompts = ragged(12);
    let whole = engine.generate(&prompts, 4).unwrap();
    let limits: Vec<usize> = (0..12).map(|i| 1 + i * 5 % 31).collect();
    let cut = up_to(&engine, &prompts, &limits, 4).unwrap();
    for ((whole, cut), limit) in whole.iter().zip(&cut).zip(limits) {
        // No more than the engine's own limit of 24.
        assert_eq!(cut.tokens, whole.tokens[..limit.min(24)]);
        assert_eq!(cut.finish, Finish::Length);
    }
    let error = up_to(&engine, &prompts, &[0; 12], 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("request 1"), "{error}");
}

/// Requests of one call have seeds, limits and sampling settings of their own, and are completed as
/// each would be by an engine with its settings.
#[test]
fn requests_have_settings_of_their_own() {
    let settings = [
        Sampling::greedy(),
        Sampling::dart(),
        Sampling {
            repetition_penalty: 1.4,
            top_k: Some(30),
            ..Sampling::default()
        },
    ];
    let prompts = ragged(5);
    let mut requests = Vec::new();
    for (index, prompt) in prompts.iter().cycle().take(30).enumerate() {
        requests.push(CompletionRequest {
            max_new_tokens: (index % 2 == 0).then_some(1 + index),
            sampling: (index % 4 > 0).then(|| settings[index % 4 - 1]),
            ..CompletionRequest::new(prompt.clone(), 100 + index as u64 % 7)
        });
    }
    let engine = builder().slots(6).stop(vec!["><1".into()]).build().unwrap();
    let together = complete(&engine, &requests).unwrap();
    assert_eq!(engine.statistics().prompts, 5);
    for (index, request) in requests.iter().enumerate() {
        let mut alone = builder().slots(1).stop(vec!["><1".into()]);
        if let Some(sampling) = request.sampling {
            alone = alone.sampling(sampling);
        }
        let request = CompletionRequest {
            sampling: None,
            ..request.clone()
        };
        let alone = complete(&alone.build().unwrap(), &[request]).unwrap();
        assert_same(&alone, &together[index..=index]);
    }
    let stopped = together.iter().filter(|c| c.finish == Finish::Stop).count();
    assert!(stopped > 3, "{stopped}");
    let bad = CompletionRequest {
        sampling: Some(Sampling {
            top_p: 2.0,
            ..Sampling::default()
        }),
        ..requests[3].clone()
    };
    let error = engine.complete(&[requests[0].clone(), bad], |_| unreachable!());
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("request 2"), "{error}");
}

/// A list may be left at any token.
#[test]
fn streaming_can_be_left_at_a_token() {
    let engine = builder().slots(4).ignore_eos(true).build().unwrap();
    let requests = CompletionRequest::list(&ragged(12), 0);
    let mut tokens = 0;
    engine
        .complete(&requests, |event| {
            assert!(matches!(event, Event::Token { .. }));
            tokens += 1;
            match tokens {
                19 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .unwrap();
    assert_eq!(tokens, 19);
    assert_eq!(complete(&engine, &requests).unwrap().len(), 12);
}

#[test]
fn steps_are_timed_when_asked_for() {
    let prompts = ragged(9);
    let silent = builder().build().unwrap();
    silent.generate(&prompts, 0).unwrap();
    assert!(silent.step_times().is_empty());
    for backend in [BackendChoice::Auto, BackendChoice::Plain] {
        let engine = builder().backend(backend).record_steps(true).slots(4);
        let engine = engine.build().unwrap();
        engine.generate(&prompts, 0).unwrap();
        let (steps, statistics) = (engine.step_times(), engine.statistics());
        assert_eq!(steps.len() as u64, statistics.steps);
        let rows: usize = steps.iter().map(|step| step.rows).sum();
        assert_eq!(rows as u64, statistics.busy_slots);
        for step in &steps {
            let told = backend == BackendChoice::Auto;
            assert_eq!(
                (step.linear.is_some(), step.attention.is_some()),
                (told, told)
            );
            let parts = step.linear.unwrap_or_default() + step.attention.unwrap_or_default();
            assert_eq!(parts + step.sampling + step.other(), step.total);
            assert!(step.other() > std::time::Duration::ZERO);
            assert!(!told || !step.linear.unwrap().is_zero() && !step.attention.unwrap().is_zero());
        }
        let total: std::time::Duration = steps.iter().map(|step| step.total).sum();
        assert!(total <= statistics.time);
    }
}

/// Slots are refilled before the next step for as long as there is something to fill them with, and
/// the steps say from when on there is not.
#[test]
fn slots_are_full_until_the_drain() {
    // Five prompts, eight samples each, of 1 to 22 tokens.
    let prompts: Vec<Prompt> = (0..40).map(|i| prompt(i / 8, 9 + i / 8)).collect();
    let limits: Vec<usize> = (0..40).map(|i| 1 + i * 7 % 22).collect();
    let engine = |slots| {
        let builder = builder().ignore_eos(true).loop_detection(false);
        builder.slots(slots).record_steps(true)
    };
    for slots in [1, 3, 7] {
        let engine = engine(slots).build().unwrap();
        up_to(&engine, &prompts, &limits, 0).unwrap();
        let steps = engine.step_times();
        assert!(steps.is_sorted_by_key(|step| step.draining));
        for step in &steps {
            assert_eq!(step.draining, step.rows < slots);
        }
        // A completion's first token takes no step, and there is a drain unless there is one slot.
        let rows: usize = steps.iter().map(|step| step.rows).sum();
        assert_eq!(rows, limits.iter().sum::<usize>() - 40);
        assert_eq!(steps.iter().any(|step| step.rows < slots), slots > 1);
        // A fifth of the load at most is sampled in the drain.
        let before: usize = steps.iter().filter(|s| !s.draining).map(|s| s.rows).sum();
        assert!(10 * before > 8 * rows, "{before} of {rows}");
    }
    // Fewer than there are slots: a drain from the beginning.
    let wide = engine(64).build().unwrap();
    up_to(&wide, &prompts, &limits, 0).unwrap();
    assert!(wide.step_times().iter().all(|step| step.draining));
    // Whoever waits for memory is something to fill a slot with.
    let bounded = engine(7).kv_bytes(200_000).build().unwrap();
    up_to(&bounded, &prompts, &limits, 0).unwrap();
    let steps = bounded.step_times();
    assert!(steps.iter().any(|step| !step.draining && step.rows < 7));
}

#[test]
fn a_list_can_be_left_early() {
    let engine = builder().slots(4).build().unwrap();
    let mut seen = Vec::new();
    engine
        .complete(&CompletionRequest::list(&ragged(30), 0), |event| {
            let Event::Completed {
                request,
                completion,
            } = event
            else {
                return ControlFlow::Continue(());
            };
            assert_ne!(completion.finish, Finish::Cancelled);
            seen.push(request);
            if seen.len() == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    assert_eq!(seen.len(), 3);
}

/// An engine may be asked from any thread, also from those of another pool, which do other work
/// while they wait; asked from within its own run it says so.
#[test]
fn an_engine_never_waits_for_itself() {
    use rayon::prelude::*;
    let engine = builder().build().unwrap();
    let expected: Vec<_> = (0..24).map(|i| prompt(i, 3)).collect();
    let expected = engine.generate(&expected, 1).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    let found: Vec<Completion> = pool.build().unwrap().install(|| {
        let one = |i| {
            engine
                .generate(&[prompt(i as u64, 3)], 1)
                .unwrap()
                .remove(0)
        };
        (0..24usize)
            .into_par_iter()
            .with_max_len(1)
            .map(one)
            .collect()
    });
    assert_same(&expected, &found);
    let mut refused = 0;
    let one = prompt(1, 3);
    engine
        .complete(&[CompletionRequest::new(one.clone(), 1)], |event| {
            let Event::Completed { completion, .. } = event else {
                return ControlFlow::Continue(());
            };
            let error = engine.score(&one.tokens, &completion.tokens).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(engine.generate(std::slice::from_ref(&one), 1).is_err());
            assert!(engine.weight_bytes() > 0);
            refused += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(refused, 1);
    assert!(engine.score(&one.tokens, &[1, 2]).is_ok());
}

/// A limit on memory that a single sample might pass is an error at once; what completions may become
/// is bounded by the context and by the request.
#[test]
fn memory_is_reckoned_by_what_samples_may_become() {
    let prompts: Vec<Prompt> = (0..16).map(|_| prompt(3, 5)).collect();
    let run = |new: usize, limit: Option<usize>, limits: usize| {
        let builder = builder().max_new_tokens(new).slots(16).ignore_eos(true);
        let builder = builder.loop_detection(false);
        let builder = match limit {
            Some(limit) => builder.kv_bytes(limit),
            None => builder,
        };
        let engine = builder.build().unwrap();
        let completions = up_to(&engine, &prompts, &[limits; 16], 1);
        (completions, engine.statistics())
    };
    let (all, free) = run(115, None, 115);
    let limit = free.peak_kv_bytes * 11 / 10;
    for (new, limits) in [(115, 115), (1_000_000, 115), (usize::MAX, usize::MAX)] {
        let (found, statistics) = run(new, Some(limit), limits);
        assert_same(all.as_ref().unwrap(), &found.unwrap());
        assert_eq!(statistics.steps, free.steps, "{new}");
    }
    let (_, short) = run(1_000_000, None, 10);
    let (_, statistics) = run(1_000_000, Some(limit), 10);
    assert_eq!(statistics.steps, short.steps);
    let (error, statistics) = run(115, Some(free.peak_kv_bytes / 20), 115);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(
        error.to_string().contains("problem 1 of the list"),
        "{error}"
    );
    assert_eq!(statistics.generated_tokens, 0);
    // Also where another request of the same prompt asks for little.
    let engine = builder().max_new_tokens(115).ignore_eos(true);
    let engine = engine.kv_bytes(free.peak_kv_bytes / 20).build().unwrap();
    let error = up_to(&engine, &prompts[..2], &[1, 115], 1).unwrap_err();
    assert!(
        error.to_string().contains("problem 2 of the list"),
        "{error}"
    );
    // Scores keep to the limit, too.
    let error = builder().kv_bytes(1000).build().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let error = builder().activation_type(ActivationType::Int8).build();
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Settings);
    let engine = builder().kv_bytes(10_000).build().unwrap();
    let error = engine.score(&prompts[0].tokens, &[1, 2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}

/// After the list is no longer wanted, what waits for memory is not started.
#[test]
fn what_waits_is_not_begun_after_a_break() {
    let prompts: Vec<Prompt> = (0..16).map(|i| prompt(i, 5)).collect();
    let engine = builder()
        .slots(16)
        .ignore_eos(true)
        .loop_detection(false)
        .kv_bytes(120_000)
        .build()
        .unwrap();
    let mut at_break = None;
    engine
        .complete(&CompletionRequest::list(&prompts, 1), |event| {
            if matches!(event, Event::Token { .. }) {
                return ControlFlow::Continue(());
            }
            at_break = Some(engine.statistics());
            ControlFlow::Break(())
        })
        .unwrap();
    let (before, after) = (at_break.unwrap(), engine.statistics());
    assert!(before.prompts < 16, "all were begun before");
    assert_eq!((before.prompts, before.steps), (after.prompts, after.steps));
    assert_eq!(before.generated_tokens, after.generated_tokens);
}

/// Plain operations round what quantised weights are multiplied with: a setting that tokens depend on.
#[test]
fn settings_say_who_rounds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("tests/fixtures/golden/gguf_llama/model.gguf");
    let settings = |dtype, backend| {
        let model = Model::builder(ModelSource::Gguf(path.clone())).dtype(dtype);
        let builder = Engine::builder(model.load().unwrap()).backend(backend);
        builder.build().unwrap().settings()
    };
    let (auto, plain) = (BackendChoice::Auto, BackendChoice::Plain);
    let (blocks, wide) = (DtypeChoice::Quantized, DtypeChoice::F32);
    assert_ne!(settings(blocks, auto), settings(blocks, plain));
    assert_eq!(settings(wide, auto), settings(wide, plain));
}

/// A source that waits for all of its trials, as a run does for verdicts.
struct Patient {
    requests: Mutex<Vec<Request>>,
    missing: Mutex<usize>,
}

impl Source for Patient {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut requests = self.requests.lock().unwrap();
        match (
            offer.free.min(requests.len()),
            *self.missing.lock().unwrap(),
        ) {
            (0, 0) => Next::Done,
            (0, _) => Next::Wait,
            (count, _) => Next::Requests(requests.drain(..count).collect()),
        }
    }

    fn wanted(&self, _: TrialId) -> bool {
        true
    }

    fn deliver(&self, _: TrialId, _: Completion) {
        *self.missing.lock().unwrap() -= 1;
    }
}

/// Where one engine of a group fails, the others end, though trials of its are never delivered.
#[test]
fn a_group_ends_where_one_engine_fails() {
    let whole = builder().slots(2).build().unwrap();
    let one_token = whole.generate(&[prompt(0, 1)], 0);
    assert!(one_token.is_ok());
    let least = builder().kv_bytes(1).build().err().unwrap().to_string();
    let least = least.rsplit("takes ").next().unwrap();
    let least: usize = least.split(' ').next().unwrap().parse().unwrap();
    // Enough for the shortest prompt, and for nothing after it.
    let small = builder().slots(2).kv_bytes(least).build().unwrap();
    let group = EngineGroup::new(vec![whole, small]).unwrap();
    let source = Patient {
        requests: Mutex::new(requests(4, 3)),
        missing: Mutex::new(12),
    };
    let error = group.run(&source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("kv_bytes is"), "{error}");
    // What is asked for afterwards is done as ever.
    let again = group.engines()[0].generate(&[prompt(0, 1)], 0);
    assert_eq!(again.unwrap(), one_token.unwrap());
}
