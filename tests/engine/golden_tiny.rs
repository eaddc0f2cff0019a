//! Tiny random models of every architecture, compared with Hugging Face transformers: logits at every position, from
//! prefill and decoding, and greedy tokens, with each backend.
//!
//! `DART_MATH_DEVICE` names the device of the candle backend. The backend is then tested in bf16, too:
//! `DART_MATH_DEVICE=metal cargo test --features metal --test engine candle_operations`.
//!
//! `scripts/golden_tiny.py` and `scripts/golden_sentencepiece.py` make the fixtures and describe them.

use std::path::{Path, PathBuf};

use dart_math::candle::{DType, Device, safetensors};
use dart_math::engine::{ActivationType, BackendChoice, Engine, Instructions, Sampling};
use dart_math::model::{DeviceChoice, DtypeChoice, Model, ModelBuilder, ModelSource, Prompt};
use dart_math::{ErrorKind, Generator};

use crate::golden::{TinyModel, fixtures, read_json};

/// Largest difference of a logit, relative to the largest logit. Fixtures and backends compute in f32 with different
/// summation orders. The largest observed difference is 4e-6.
const TOLERANCE: f32 = 1e-5;
/// The tolerance on a GPU, whose exponentials are approximate. It is less than half of the smallest distance between
/// a greedy token's logit and the next one.
const GPU_TOLERANCE: f32 = 5e-4;
/// The tolerance in bf16, which has 8 significant bits. The largest observed difference is 0.15.
const BF16_TOLERANCE: f32 = 0.3;

/// The device of the candle backend, if one is named.
fn candle_device() -> Option<DeviceChoice> {
    let named = std::env::var("DART_MATH_DEVICE").ok();
    named.map(|name| name.parse().unwrap())
}

pub(crate) struct Fixture {
    pub(crate) directory: PathBuf,
    pub(crate) golden: TinyModel,
    /// Logits, `[positions, vocab]`.
    logits: Vec<Vec<f32>>,
}

impl Fixture {
    pub(crate) fn read(name: &str) -> Self {
        let directory = fixtures().join(name);
        let golden = read_json(&directory.join("golden.json"));
        let tensors =
            safetensors::load(directory.join("golden.safetensors"), &Device::Cpu).unwrap();
        let logits = tensors["logits"].to_vec2().unwrap();
        Self {
            directory,
            golden,
            logits,
        }
    }

    fn source(&self) -> ModelSource {
        let gguf = self.directory.join("model.gguf");
        if gguf.exists() {
            ModelSource::Gguf(gguf)
        } else {
            ModelSource::Directory(self.directory.clone())
        }
    }

    fn model(&self, backend: BackendChoice) -> ModelBuilder {
        let model = Model::builder(self.source());
        match backend {
            // Candle's quantized products would quantize the activations to int8.
            BackendChoice::Candle => model
                .device(candle_device().unwrap_or(DeviceChoice::Cpu))
                .dtype(DtypeChoice::F32),
            _ => model.device(DeviceChoice::Cpu),
        }
    }

    fn engine(&self, backend: BackendChoice, instructions: Instructions) -> Engine {
        self.engine_of(self.model(backend), backend, instructions)
    }

    fn engine_of(
        &self,
        model: ModelBuilder,
        backend: BackendChoice,
        instructions: Instructions,
    ) -> Engine {
        let model = model.load().unwrap();
        Engine::builder(model)
            .backend(backend)
            .instructions(instructions)
            .sampling(Sampling::greedy())
            .max_new_tokens(self.golden.greedy.len())
            .ignore_eos(true)
            .loop_detection(false)
            .slots(3)
            .build()
            .unwrap()
    }
}

pub(crate) fn prompt(tokens: &[u32]) -> Prompt {
    Prompt {
        text: String::new(),
        tokens: tokens.to_vec(),
    }
}

/// The largest difference, relative to the largest magnitude of the expected values.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    let difference = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        // `max` would skip a NaN.
        .fold(
            0.0f32,
            |most, d| if d.is_nan() || d > most { d } else { most },
        );
    difference / scale
}

fn tolerance(engine: &Engine) -> f32 {
    let model = engine.model();
    match (model.dtype(), model.device()) {
        (DType::BF16, _) => BF16_TOLERANCE,
        (_, Device::Cpu) => TOLERANCE,
        _ => GPU_TOLERANCE,
    }
}

/// Checks the logits with the first `split` tokens as the prompt and the others fed one by one.
fn check_logits(fixture: &Fixture, engine: &Engine, split: usize) -> f32 {
    let tokens = &fixture.golden.tokens;
    let found = engine.logits(&tokens[..split], &tokens[split..]).unwrap();
    assert_eq!(found.len(), tokens.len() - split + 1);
    let mut worst = 0.0f32;
    for (&position, expected) in fixture.golden.positions.iter().zip(&fixture.logits) {
        if position + 1 >= split {
            let error = relative_error(&found[position + 1 - split], expected);
            assert!(
                error <= tolerance(engine),
                "{}: position {position} with {split} prompt tokens: relative error {error:e}",
                fixture.directory.display()
            );
            worst = worst.max(error);
        }
    }
    worst
}

/// Checks every split: decoding every position (a prompt of one token), prefilling every position, and mixtures, in
/// which windows and caches begin within the prompt.
pub(crate) fn check_splits(fixture: &Fixture, engine: &Engine) -> f32 {
    (1..=fixture.golden.tokens.len())
        .map(|split| check_logits(fixture, engine, split))
        .fold(0.0, f32::max)
}

fn check(name: &str, backend: BackendChoice, instructions: Instructions) {
    let fixture = Fixture::read(name);
    let engine = fixture.engine(backend, instructions);
    let worst = check_splits(&fixture, &engine);
    println!("{name}: largest relative error {worst:.1e} with {backend:?}, {instructions}");
    if backend == BackendChoice::Candle && candle_device().is_some() {
        // The default type on GPUs.
        let model = fixture.model(backend).dtype(DtypeChoice::Bf16);
        let worst = check_splits(&fixture, &fixture.engine_of(model, backend, instructions));
        println!("{name}: largest relative error {worst:.1e} with {backend:?} in bf16");
    }

    check_greedy(&fixture, &engine);
}

/// Checks greedy tokens: alone, and as several samples of shared prompts in one batch.
pub(crate) fn check_greedy(fixture: &Fixture, engine: &Engine) {
    let golden = &fixture.golden;
    let first = prompt(&golden.tokens[..golden.prompt]);
    let alone = engine.generate(std::slice::from_ref(&first), 0).unwrap();
    assert_eq!(alone[0].tokens, golden.greedy);
    let other = prompt(&golden.tokens[..golden.prompt / 2]);
    let other_alone = engine.generate(std::slice::from_ref(&other), 0).unwrap();
    let prompts = [first.clone(), other.clone(), first.clone(), first, other];
    let together = engine.generate(&prompts, 0).unwrap();
    for (index, completion) in together.iter().enumerate() {
        let expected = if matches!(index, 1 | 4) {
            &other_alone[0].tokens
        } else {
            &golden.greedy
        };
        assert_eq!(
            &completion.tokens,
            expected,
            "{}: prompt {index} of the batch",
            fixture.directory.display()
        );
    }
}

macro_rules! fixtures {
    ($($name:ident)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn own_kernels() {
                    for instructions in Instructions::available() {
                        check(stringify!($name), BackendChoice::Auto, instructions);
                    }
                }

                #[test]
                fn candle_operations() {
                    check(stringify!($name), BackendChoice::Candle, Instructions::Widest);
                }
            }
        )*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

fixtures! {
    gguf_llama
    gguf_qwen2
    gguf_sentencepiece
    llama_biases
    llama_gqa_tied
    llama_linear_rope
    llama_llama3_rope
    llama_llama3_rope_v5
    llama_sharded
    llama_tied_head_differs
    mistral_window
    qwen2
    qwen2_layer_types
    qwen2_window
    qwen2_yarn
    qwen3
    qwen3_bias
}

/// Scores are log-probabilities of the logits, and agree with the logprob of a completion.
#[test]
fn scores() {
    let fixture = Fixture::read("llama_gqa_tied");
    let engine = fixture.engine(BackendChoice::Auto, Instructions::Widest);
    let tokens = &fixture.golden.tokens;
    let (head, tail) = tokens.split_at(fixture.golden.prompt);
    let found = engine.score(head, tail).unwrap();
    assert_eq!(found.len(), tail.len());
    for (score, (token, row)) in found
        .iter()
        .zip(tail.iter().zip(&fixture.logits[head.len() - 1..]))
    {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        let expected = f64::from(row[*token as usize]) - sum.ln();
        assert!((score - expected).abs() < 1e-4, "{score} for {expected}");
    }

    let completion = engine.generate(&[prompt(head)], 0).unwrap().remove(0);
    let sum: f64 = engine.score(head, &completion.tokens).unwrap().iter().sum();
    let stated = completion.logprob.unwrap();
    assert!(
        (sum - stated).abs() < 1e-4 * sum.abs(),
        "{sum} for {stated}"
    );
}

/// Instruction sets with the same rounding of multiply-adds agree bit by bit. Instruction sets that the processor lacks
/// or that would not be used are refused.
#[test]
fn instructions() {
    let fixture = Fixture::read("gguf_llama");
    let tokens = &fixture.golden.tokens;
    let logits = |instructions| {
        let engine = fixture.engine(BackendChoice::Auto, instructions);
        let logits = engine.logits(&tokens[..2], &tokens[2..]).unwrap();
        (engine.settings()["fused_multiply_add"].clone(), logits)
    };
    let found: Vec<_> = Instructions::available().map(logits).collect();
    assert!(found.last() == Some(&logits(Instructions::Widest)));
    for (fused, logits) in &found {
        let same = |other: &&(_, Vec<Vec<f32>>)| other.0 == *fused;
        assert!(found.iter().filter(same).all(|other| other.1 == *logits));
    }
    let available: Vec<Instructions> = Instructions::available().collect();
    let build = |instructions, backend| {
        let model = fixture.model(BackendChoice::Auto).load().unwrap();
        let builder = Engine::builder(model).instructions(instructions);
        builder.backend(backend).build()
    };
    for instructions in [
        Instructions::Portable,
        Instructions::Avx2,
        Instructions::Avx512,
        Instructions::Neon,
    ] {
        let named = instructions.to_string();
        assert_eq!(named.parse::<Instructions>().unwrap(), instructions);
        match build(instructions, BackendChoice::Auto) {
            Ok(_) => assert!(available.contains(&instructions)),
            Err(error) => {
                assert!(!available.contains(&instructions));
                assert_eq!(error.kind(), ErrorKind::Settings);
                assert!(error.to_string().contains(&named), "{error}");
            }
        }
        let error = build(instructions, BackendChoice::Candle).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
    }
    let model = fixture.model(BackendChoice::Auto).load().unwrap();
    let builder = Engine::builder(model).activation_type(ActivationType::Int8);
    let error = builder
        .backend(BackendChoice::Candle)
        .build()
        .err()
        .unwrap();
    assert!(error.to_string().contains("int8"), "{error}");
    assert!("sse9".parse::<Instructions>().is_err());
}

/// Texts that cannot be scored are refused, and the engine still works.
#[test]
fn bad_texts_are_refused() {
    let fixture = Fixture::read("llama_gqa_tied");
    for backend in [BackendChoice::Auto, BackendChoice::Candle] {
        let engine = fixture.engine(backend, Instructions::Widest);
        let vocab = engine.model().config().vocab_size as u32;
        let context = engine.model().config().context_length;
        assert!(engine.score(&[1], &[]).unwrap().is_empty());
        for (prompt, continuation) in [
            (vec![], vec![1]),
            (vec![vocab], vec![1]),
            (vec![1], vec![vocab]),
            (vec![1], vec![2, u32::MAX, 2]),
            (vec![1; context + 1], vec![1]),
            (vec![1; context], vec![1, 1]),
        ] {
            let error = engine.score(&prompt, &continuation).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        }
        // Every position of the context can be scored.
        assert_eq!(engine.score(&vec![1; context], &[1]).unwrap().len(), 1);
        check_logits(&fixture, &engine, fixture.golden.prompt);
    }
}

/// Every fixture has its tests.
#[test]
fn all_fixtures_are_listed() {
    let mut found: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path: &PathBuf| Path::is_dir(path))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        // Fixtures of other tests.
        .filter(|name| !name.starts_with("transformers_"))
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
}
