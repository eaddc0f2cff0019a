//! Lists of requests: a completion does not depend on concurrent ones, and each request can have its own settings.

use std::ops::ControlFlow;

use dart_math::engine::{CompletionRequest, Event, Sampling};
use dart_math::{ErrorKind, Finish};

use crate::device;

use super::{assert_same, builder, complete, ragged, up_to};

pub(crate) fn a_trial_is_the_same_alone_and_in_batches() {
    let engine = builder().slots(33).build().unwrap();
    let all = ragged(33);
    let together = engine.generate(&all, 1).unwrap();
    assert_eq!(together.len(), 33);
    for (i, prompt) in all.iter().enumerate().step_by(device::STRIDE) {
        let alone = engine.generate(std::slice::from_ref(prompt), 1).unwrap();
        assert_same(&alone, &together[i..=i]);
        let other = (i + 1) % all.len();
        let two = engine
            .generate(&[all[other].clone(), prompt.clone()], 1)
            .unwrap();
        assert_same(&two[1..], &together[i..=i]);
    }
    // The completions differ, so the comparison is meaningful.
    let distinct: std::collections::BTreeSet<_> = together.iter().map(|c| &c.tokens).collect();
    assert!(distinct.len() > 30);
}

pub(crate) fn slots_and_threads_change_nothing() {
    let mut prompts = ragged(12);
    // Several samples of the same prompts, interleaved.
    prompts.extend(ragged(12));
    prompts.extend(ragged(5));
    let samplings = [
        Sampling::greedy(),
        Sampling::dart(),
        Sampling {
            top_k: Some(20),
            min_p: 0.02,
            repetition_penalty: 1.2,
            ..Sampling::default()
        },
    ];
    for sampling in samplings.into_iter().step_by(device::STRIDE.min(2)) {
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
        assert_same(&one, &run(7, 3, 0));
        if device::STRIDE == 1 {
            assert_same(&one, &run(7, 1, 16));
        }
        assert_same(&one, &run(32, 2, 16));
        let samples_differ = one[0].tokens != one[12].tokens;
        assert_eq!(samples_differ, !sampling.is_greedy());
    }
}

pub(crate) fn limits_of_single_completions() {
    let engine = builder().ignore_eos(true).slots(5).build().unwrap();
    let prompts = ragged(12);
    let whole = engine.generate(&prompts, 4).unwrap();
    let limits: Vec<usize> = (0..12).map(|i| 1 + i * 5 % 31).collect();
    let cut = up_to(&engine, &prompts, &limits, 4).unwrap();
    for ((whole, cut), limit) in whole.iter().zip(&cut).zip(limits) {
        // The engine's own limit is 24.
        assert_eq!(cut.tokens, whole.tokens[..limit.min(24)]);
        assert_eq!(cut.finish, Finish::Length);
    }
    let error = up_to(&engine, &prompts, &[0; 12], 4).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("request 1"), "{error}");
}

/// Requests of one call can have their own seeds, limits and sampling settings. Each completion equals that of an
/// engine with these settings.
pub(crate) fn requests_have_settings_of_their_own() {
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
    // The stride is not a multiple of the number of settings.
    for (index, request) in requests.iter().enumerate().step_by(2 * device::STRIDE - 1) {
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

/// Streaming can be stopped at any token.
pub(crate) fn streaming_can_be_left_at_a_token() {
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

pub(crate) fn a_list_can_be_left_early() {
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
