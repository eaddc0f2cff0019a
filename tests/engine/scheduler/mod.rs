//! Continuous batching, on tiny models of random weights: a trial is the same whatever happens
//! around it, and every request is delivered once.

mod ends;
mod lists;
mod resources;
mod runs;

use std::ops::ControlFlow;
use std::sync::Arc;

use dart_math::candle::{DType, Device};
use dart_math::engine::{CompletionRequest, Engine, EngineBuilder, Event, Sampling};
use dart_math::model::{Architecture, DecoderConfig, Model, Prompt, Template};
use dart_math::{Completion, Philox, Problem, Request, TrialId, trial_seed};

pub(super) const VOCABULARY: u32 = 97;

pub(super) const CONTEXT: usize = 120;

pub(super) fn model() -> Model {
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
        rope_attention_factor: 1.0,
        sliding_windows: vec![None; 2],
    };
    Model::random(config, 5, &Device::Cpu, DType::F32).unwrap()
}

pub(super) fn builder() -> EngineBuilder {
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
pub(super) fn prompt(index: u64, len: u64) -> Prompt {
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
pub(super) fn up_to(
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
pub(super) fn complete(
    engine: &Engine,
    requests: &[CompletionRequest],
) -> dart_math::Result<Vec<Completion>> {
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
pub(super) fn ragged(count: u64) -> Vec<Prompt> {
    (0..count).map(|i| prompt(i, 1 + i * 7 % 40)).collect()
}

/// The same to the last bit: rows are computed independently of the batch.
#[track_caller]
pub(super) fn assert_same(a: &[Completion], b: &[Completion]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a, b);
    }
}

pub(super) fn requests(problems: u32, each: u32) -> Vec<Request> {
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

/// A model that repeats itself when it is greedy, for its context is long.
pub(super) fn looping_model() -> Model {
    let mut config = model().config().clone();
    config.context_length = 1000;
    Model::random(config, 5, &Device::Cpu, DType::F32).unwrap()
}
