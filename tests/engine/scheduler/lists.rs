//! Lists of requests: a completion is the same whatever runs beside it, and requests have settings of
//! their own.

use std::ops::ControlFlow;
use std::path::Path;

use dart_math::engine::{
    ActivationType, BackendChoice, CompletionRequest, Engine, Event, KvType, Sampling,
};
use dart_math::model::{DtypeChoice, Model, ModelSource, Prompt, Template};
use dart_math::{ErrorKind, Finish};

use super::{assert_same, builder, complete, prompt, ragged, up_to};

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
