//! Continuous batching with tiny models of random weights: a trial does not depend on concurrent ones, and every
//! request is delivered once.
//!
//! The tests run on any device. A test program includes this module beside its own module `device`, which creates the
//! models and states how exactly the device reproduces results, and runs the tests listed in `each_test`.

pub(crate) mod ends;
pub(crate) mod lists;
pub(crate) mod resources;
pub(crate) mod runs;

/// Passes all tests to a macro, by module and name.
macro_rules! each_test {
    ($with:ident) => {
        $with! {
            ends::completions_end_at_their_limits,
            ends::stop_strings_end_a_completion_and_are_cut,
            ends::a_greedy_loop_is_cut_off_unless_asked_for,
            ends::bad_settings_and_prompts_are_errors,
            lists::a_trial_is_the_same_alone_and_in_batches,
            lists::slots_and_threads_change_nothing,
            lists::limits_of_single_completions,
            lists::requests_have_settings_of_their_own,
            lists::streaming_can_be_left_at_a_token,
            lists::a_list_can_be_left_early,
            resources::a_smaller_kv_cache_changes_nothing,
            resources::steps_are_timed_when_asked_for,
            resources::slots_are_full_until_the_drain,
            resources::memory_is_reckoned_by_what_samples_may_become,
            runs::random_schedules_deliver_every_trial_once_and_the_same,
            runs::an_engine_never_waits_for_itself,
            runs::what_waits_is_not_begun_after_a_break,
            runs::a_group_ends_where_one_engine_fails,
            runs::a_group_checks_as_its_engines_do,
        }
    };
}
pub(crate) use each_test;

use std::ops::ControlFlow;
use std::sync::Arc;

use dart_math::engine::{CompletionRequest, Engine, EngineBuilder, Event, Sampling};
use dart_math::model::{Architecture, DecoderConfig, Model, Prompt, Template};
use dart_math::{Completion, Philox, Problem, Request, TrialId, trial_seed};

use crate::device;

pub(crate) const VOCABULARY: u32 = 97;

pub(crate) const CONTEXT: usize = 120;

fn config(context_length: usize) -> DecoderConfig {
    DecoderConfig {
        architecture: Architecture::Llama,
        hidden_size: 48,
        intermediate_size: 80,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 12,
        vocab_size: VOCABULARY as usize,
        context_length,
        rms_norm_eps: 1e-5,
        rope_frequencies: (0..6)
            .map(|i| 1e4f32.powf(-f32::from(i as u8) / 6.0))
            .collect(),
        rope_attention_factor: 1.0,
        sliding_windows: vec![None; 2],
    }
}

pub(crate) fn builder() -> EngineBuilder {
    Engine::builder(device::random(config(CONTEXT)))
        .template(Template::parse("{problem}").unwrap())
        .sampling(Sampling {
            temperature: 1.3,
            top_p: 0.9,
            ..Sampling::default()
        })
        .max_new_tokens(24)
}

/// An engine with nearly the smallest possible KV cache.
pub(crate) fn smallest() -> EngineBuilder {
    let bounded = |limit| builder().slots(2).kv_bytes(limit);
    let mut limits = (8..).map(|power| 1 << power);
    bounded(
        limits
            .find(|&limit| bounded(limit).build().is_ok())
            .unwrap(),
    )
}

/// A prompt with this many tokens, as text and tokens.
pub(crate) fn prompt(index: u64, len: u64) -> Prompt {
    let random = Philox::new(index);
    let tokens: Vec<u32> = (0..len)
        .map(|i| random.below(i, u64::from(VOCABULARY)) as u32)
        .collect();
    Prompt {
        text: tokens.iter().map(|token| format!("<{token}>")).collect(),
        tokens,
    }
}

/// Completes prompts with a limit for each.
pub(crate) fn up_to(
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

/// Completes requests and checks that the token events agree with the completions.
pub(crate) fn complete(
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

/// Prompts of different lengths, from one token to dozens.
pub(crate) fn ragged(count: u64) -> Vec<Prompt> {
    (0..count).map(|i| prompt(i, 1 + i * 7 % 40)).collect()
}

/// Asserts equality, up to the device's error in log-probabilities.
#[track_caller]
pub(crate) fn assert_same(a: &[Completion], b: &[Completion]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        let mut b = b.clone();
        if let (Some(ours), Some(theirs)) = (a.logprob, b.logprob)
            && (ours - theirs).abs() <= device::LOGPROB_ERROR
        {
            b.logprob = a.logprob;
        }
        assert_eq!(*a, b);
    }
}

pub(crate) fn requests(problems: u32, each: u32) -> Vec<Request> {
    requests_of(problems, each, 1)
}

/// Requests whose prompts have at least `shortest` tokens.
pub(crate) fn requests_of(problems: u32, each: u32, shortest: u64) -> Vec<Request> {
    (0..problems)
        .flat_map(|problem| {
            let text = prompt(u64::from(problem), shortest + u64::from(problem) * 5 % 30).text;
            let shared = Arc::new(Problem::new(text, ""));
            (0..each).map(move |number| Request {
                trial: TrialId { problem, number },
                problem: Arc::clone(&shared),
                seed: trial_seed(9, &shared.id, number),
            })
        })
        .collect()
}

/// A model with a long context, which repeats itself with greedy sampling.
pub(crate) fn looping_model() -> Model {
    device::random(config(1000))
}
