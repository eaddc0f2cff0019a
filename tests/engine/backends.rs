//! The CPU backends: their agreement, and quantized weights and activations.

use std::path::Path;

use dart_math::Generator as _;
use dart_math::engine::{ActivationType, BackendChoice, Engine, KvType, Sampling};
use dart_math::model::{DtypeChoice, Model, ModelSource, Prompt, Template};

use crate::scheduler::{assert_same, builder, prompt, ragged};

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
        .zip(run(BackendChoice::Candle))
    {
        assert_eq!((&own.tokens, own.finish), (&plain.tokens, plain.finish));
        let difference = own.logprob.unwrap() - plain.logprob.unwrap();
        assert!(difference.abs() < 1e-4, "{difference}");
    }
}

/// Block types with 32 weights. Tokens do not depend on the number of slots and threads or on a KV cache of half the
/// size, for all types of the KV cache and activations. With f32 activations, they equal those of dequantized weights.
#[test]
fn quantized_weights_give_the_same_tokens_in_any_schedule() {
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
            // Three prompts. The completions reach a second page of the KV cache.
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

/// The candle backend quantizes activations before quantized weights. The settings record this, as tokens depend on it.
#[test]
fn settings_say_who_rounds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("tests/fixtures/golden/gguf_llama/model.gguf");
    let settings = |dtype, backend| {
        let model = Model::builder(ModelSource::Gguf(path.clone())).dtype(dtype);
        let builder = Engine::builder(model.load().unwrap()).backend(backend);
        builder.build().unwrap().settings()
    };
    let (auto, plain) = (BackendChoice::Auto, BackendChoice::Candle);
    let (blocks, wide) = (DtypeChoice::Quantized, DtypeChoice::F32);
    assert_ne!(settings(blocks, auto), settings(blocks, plain));
    assert_eq!(settings(wide, auto), settings(wide, plain));
}
