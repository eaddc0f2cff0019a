//! Memory, occupancy and times.

use dart_math::ErrorKind;
use dart_math::engine::{ActivationType, BackendChoice, Engine, Sampling};
use dart_math::model::{Prompt, Template};

use crate::device;

use super::{assert_same, builder, looping_model, prompt, ragged, smallest, up_to};

/// A half or a quarter of the memory for the KV cache changes no token.
pub(crate) fn a_smaller_kv_cache_changes_nothing() {
    let mut prompts = Vec::new();
    for sample in 0..6 {
        prompts.extend(ragged(4).into_iter().skip(sample % 2));
    }
    let engine = |backend, limit: Option<usize>| {
        let builder = Engine::builder(looping_model())
            .template(Template::parse("{problem}").unwrap())
            .sampling(Sampling::dart())
            .max_new_tokens(250 / device::STRIDE.min(2))
            .ignore_eos(true)
            .loop_detection(false)
            .backend(backend)
            .slots(16);
        let builder = match limit {
            Some(limit) => builder.kv_bytes(limit),
            None => builder,
        };
        builder.build()
    };
    for &backend in device::BACKENDS {
        let free = engine(backend, None).unwrap();
        let whole = free.generate(&prompts, 5).unwrap();
        let most = free.statistics().peak_kv_bytes;
        for limit in [most / 2, most / 4] {
            let bounded = engine(backend, Some(limit)).unwrap();
            let completions = bounded.generate(&prompts, 5).unwrap();
            let statistics = bounded.statistics();
            assert!(statistics.preemptions > 0 && statistics.peak_kv_bytes <= limit);
            for (bounded, whole) in completions.iter().zip(&whole) {
                assert_eq!(bounded.tokens, whole.tokens);
                if backend == BackendChoice::Auto {
                    assert_same(std::slice::from_ref(bounded), std::slice::from_ref(whole));
                }
            }
        }
        let tiny = engine(backend, Some(most / 100));
        let error = tiny.and_then(|tiny| tiny.generate(&prompts, 5));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Settings);
    }
}

pub(crate) fn steps_are_timed_when_asked_for() {
    let prompts = ragged(9);
    let silent = builder().build().unwrap();
    silent.generate(&prompts, 0).unwrap();
    assert!(silent.step_times().is_empty());
    for &backend in device::BACKENDS {
        let engine = builder().backend(backend).record_steps(true).slots(4);
        let engine = engine.build().unwrap();
        engine.generate(&prompts, 0).unwrap();
        let (steps, statistics) = (engine.step_times(), engine.statistics());
        assert_eq!(steps.len() as u64, statistics.steps);
        let rows: usize = steps.iter().map(|step| step.rows).sum();
        assert_eq!(rows as u64, statistics.busy_slots);
        for step in &steps {
            let measured = device::TIMES_PARTS && backend == BackendChoice::Auto;
            assert_eq!(
                (step.linear.is_some(), step.attention.is_some()),
                (measured, measured)
            );
            let parts = step.linear.unwrap_or_default() + step.attention.unwrap_or_default();
            assert_eq!(parts + step.sampling + step.other(), step.total);
            assert!(step.other() > std::time::Duration::ZERO);
            assert!(
                !measured || !step.linear.unwrap().is_zero() && !step.attention.unwrap().is_zero()
            );
        }
        let total: std::time::Duration = steps.iter().map(|step| step.total).sum();
        assert!(total <= statistics.time);
    }
}

/// Free slots are refilled before the next step as long as requests are left. The recorded steps show when the drain
/// begins.
pub(crate) fn slots_are_full_until_the_drain() {
    // Five prompts with eight samples each, of 1 to 22 tokens.
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
        // A completion's first token takes no step. With more than one slot, there is a drain.
        let rows: usize = steps.iter().map(|step| step.rows).sum();
        assert_eq!(rows, limits.iter().sum::<usize>() - 40);
        assert_eq!(steps.iter().any(|step| step.rows < slots), slots > 1);
        // At most a fifth of the tokens is sampled in the drain.
        let before: usize = steps.iter().filter(|s| !s.draining).map(|s| s.rows).sum();
        assert!(10 * before > 8 * rows, "{before} of {rows}");
    }
    // With more slots than completions, the drain begins at once.
    let wide = engine(64).build().unwrap();
    up_to(&wide, &prompts, &limits, 0).unwrap();
    assert!(wide.step_times().iter().all(|step| step.draining));
    // A completion that waits for memory is still left to run, so this is no drain.
    let bounded = engine(7).kv_bytes(200_000).build().unwrap();
    up_to(&bounded, &prompts, &limits, 0).unwrap();
    let steps = bounded.step_times();
    assert!(steps.iter().any(|step| !step.draining && step.rows < 7));
}

/// A memory limit that a single sample may exceed is an error before sampling. The maximum length of a completion is
/// bounded by the context and by the request.
pub(crate) fn memory_is_reckoned_by_what_samples_may_become() {
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
    let (error, statistics) = run(115, Some(free.peak_kv_bytes / 16), 115);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(
        error.to_string().contains("problem 1 of the list"),
        "{error}"
    );
    assert_eq!(statistics.generated_tokens, 0);
    // This also holds if another request of the same prompt asks for few tokens.
    let engine = builder().max_new_tokens(115).ignore_eos(true);
    let engine = engine.kv_bytes(free.peak_kv_bytes / 16).build().unwrap();
    let error = up_to(&engine, &prompts[..2], &[1, 115], 1).unwrap_err();
    assert!(
        error.to_string().contains("problem 2 of the list"),
        "{error}"
    );
    // Scoring respects the limit, too.
    let error = builder().kv_bytes(1000).build().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let error = builder().activation_type(ActivationType::Int8).build();
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Settings);
    let engine = smallest().build().unwrap();
    let error = engine.score(&prompt(1, 100).tokens, &[1, 2]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}
