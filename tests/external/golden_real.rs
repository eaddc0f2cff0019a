//! SmolLM2-135M and Qwen2.5-Coder-0.5B from GGUF files, compared with Hugging Face transformers: logits and greedy
//! texts.
//!
//! `scripts/golden_real.py` makes the fixtures and describes them. The model files are in the directory that the
//! environment variable `DART_MATH_MODELS` names.

use std::path::PathBuf;

use dart_math::Completion;
use dart_math::engine::{ActivationType, BackendChoice, Engine, Instructions, Sampling};
use dart_math::model::{DtypeChoice, Model, ModelSource, Prompt};
use serde::Deserialize;

use crate::harness::{Test, tests};
use crate::models;

pub(crate) const TESTS: &[Test] = tests![
    smollm2_own_kernels,
    smollm2_candle_operations,
    qwen2_own_kernels,
    dequantized_weights_give_the_same_bits,
    smollm2_quantized_candle_products,
    rounded_activations_are_close,
    smollm2_gives_the_same_tokens_in_any_schedule,
];

/// Largest difference of a logit, relative to the largest logit of its row.
const TOLERANCE: f32 = 1e-5;

/// The tolerance if activations are quantized to int8.
const QUANTIZED_TOLERANCE: f32 = 0.05;

#[derive(Deserialize)]
struct Golden {
    greedy: Vec<Greedy>,
    logits: Vec<LogitsOf>,
}

#[derive(Deserialize)]
struct Greedy {
    text: String,
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    /// The token position at which the two best logits were closest, and their difference.
    closest: (usize, f32),
}

#[derive(Deserialize)]
struct LogitsOf {
    /// Index into `greedy`. The sequence is that entry's prompt followed by its tokens.
    prompt: usize,
    rows: Vec<LogitsRow>,
}

#[derive(Deserialize)]
struct LogitsRow {
    position: usize,
    ids: Vec<usize>,
    values: Vec<f32>,
    logsumexp: f32,
    largest: f32,
}

fn engine(
    path: PathBuf,
    dtype: DtypeChoice,
    backend: BackendChoice,
    instructions: Instructions,
    new_tokens: usize,
    slots: usize,
) -> Engine {
    let model = Model::builder(ModelSource::Gguf(path))
        .dtype(dtype)
        .load()
        .unwrap();
    Engine::builder(model)
        .backend(backend)
        .instructions(instructions)
        .sampling(Sampling::greedy())
        .max_new_tokens(new_tokens)
        .ignore_eos(true)
        .loop_detection(false)
        .slots(slots)
        .build()
        .unwrap()
}

/// Checks the stored logits and the log-sum-exp of the whole vocabulary. Returns the largest relative error.
fn check_logits(golden: &Golden, engine: &Engine, tolerance: f32) -> f32 {
    let mut worst = 0.0f32;
    for LogitsOf { prompt, rows } in &golden.logits {
        let greedy = &golden.greedy[*prompt];
        let tokens: Vec<u32> = greedy
            .prompt
            .iter()
            .chain(&greedy.tokens)
            .copied()
            .collect();
        let last = rows.iter().map(|row| row.position).max().unwrap();
        // Prefill the whole prompt; then prefill a part of it and decode the rest.
        for split in [greedy.prompt.len(), greedy.prompt.len() / 2 + 1] {
            let found = engine
                .logits(&tokens[..split], &tokens[split..=last])
                .unwrap();
            for row in rows.iter().filter(|row| row.position + 1 >= split) {
                let logits = &found[row.position + 1 - split];
                let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
                let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
                let logsumexp = (f64::from(most) + sum.ln()) as f32;
                let pairs = row.ids.iter().map(|&id| logits[id]).zip(row.values.clone());
                for (found, expected) in pairs.chain([(logsumexp, row.logsumexp)]) {
                    let error = (found - expected).abs() / row.largest;
                    assert!(
                        error <= tolerance,
                        "prompt {prompt}, position {}: {found} for {expected}",
                        row.position
                    );
                    worst = worst.max(error);
                }
            }
        }
    }
    worst
}

fn prompts_of(golden: &Golden) -> Vec<Prompt> {
    golden
        .greedy
        .iter()
        .map(|g| Prompt {
            text: g.text.clone(),
            tokens: g.prompt.clone(),
        })
        .collect()
}

fn check_greedy(golden: &Golden, completions: &[Completion]) {
    let mut different = Vec::new();
    for (index, (greedy, completion)) in golden.greedy.iter().zip(completions).enumerate() {
        let agree = greedy
            .tokens
            .iter()
            .zip(&completion.tokens)
            .take_while(|(a, b)| a == b)
            .count();
        println!(
            "prompt {index}: {agree} of {} tokens agree (closest decision after {}: {:.4})",
            greedy.tokens.len(),
            greedy.closest.0,
            greedy.closest.1
        );
        if completion.tokens != greedy.tokens {
            different.push(index);
        }
    }
    assert!(
        different.is_empty(),
        "greedy tokens differ for prompts {different:?}"
    );
}

/// The number of prompts and slots.
struct Amount {
    prompts: usize,
    slots: usize,
}

fn check(
    name: &str,
    dtype: DtypeChoice,
    backend: BackendChoice,
    instructions: Instructions,
    amount: Amount,
) {
    let (mut golden, path) = models::fixture::<Golden>(name);
    golden.greedy.truncate(amount.prompts);
    golden
        .logits
        .retain(|logits| logits.prompt < amount.prompts);
    let new_tokens = golden.greedy[0].tokens.len();
    let slots = amount.slots;
    let engine = engine(path, dtype, backend, instructions, new_tokens, slots);
    let worst = check_logits(&golden, &engine, TOLERANCE);
    println!(
        "{name}: largest relative error {worst:.1e} with {backend:?}, {dtype}, {instructions}"
    );
    check_greedy(&golden, &engine.generate(&prompts_of(&golden), 0).unwrap());
}

fn check_kernels(name: &str, instructions: Instructions, prompts: usize) {
    let amount = Amount {
        prompts,
        slots: prompts,
    };
    let (dtype, backend) = (DtypeChoice::Quantized, BackendChoice::Auto);
    check(name, dtype, backend, instructions, amount);
}

/// Every instruction set that the processor has.
fn smollm2_own_kernels() {
    for instructions in Instructions::available() {
        // Without vector instructions, this takes ten times as long.
        let prompts = match instructions {
            Instructions::Portable => 1,
            _ => 10,
        };
        check_kernels("smollm2", instructions, prompts);
    }
}

/// Fewer slots than prompts, so that some prompts start while others run.
fn smollm2_candle_operations() {
    let (dtype, backend) = (DtypeChoice::F32, BackendChoice::Candle);
    let amount = Amount {
        prompts: 5,
        slots: 3,
    };
    check("smollm2", dtype, backend, Instructions::Widest, amount);
}

fn qwen2_own_kernels() {
    check_kernels("qwen2", Instructions::Widest, 10);
}

/// Dequantized weights take more memory and give the same logits.
fn dequantized_weights_give_the_same_bits() {
    for name in ["smollm2", "qwen2"] {
        let (golden, path) = models::fixture::<Golden>(name);
        let file = std::fs::metadata(&path).unwrap().len() as usize;
        let prompt = &golden.greedy[0].prompt;
        let (fed, more) = prompt.split_at(prompt.len() / 2);
        let run = |dtype| {
            let engine = engine(
                path.clone(),
                dtype,
                BackendChoice::Auto,
                Instructions::Widest,
                1,
                1,
            );
            (engine.logits(fed, more).unwrap(), engine.weight_bytes())
        };
        let (blocks, small) = run(DtypeChoice::Quantized);
        let (wide, large) = run(DtypeChoice::F32);
        assert!(blocks == wide);
        println!("{name}: {small} bytes of weights, {large} in f32, {file} in the file");
        assert!(small < large && 100 * small <= 115 * file);
    }
}

/// Candle's quantized products quantize the activations to int8, so the results are only close.
fn smollm2_quantized_candle_products() {
    let (mut golden, path) = models::fixture::<Golden>("smollm2");
    golden.logits.truncate(1);
    let engine = engine(
        path,
        DtypeChoice::Quantized,
        BackendChoice::Candle,
        Instructions::Widest,
        1,
        1,
    );
    let worst = check_logits(&golden, &engine, QUANTIZED_TOLERANCE);
    println!("largest relative error {worst:.1e} with quantized products");
}

/// With int8 activations, the logits are close to the golden ones and the distributions close to those with f32
/// activations.
fn rounded_activations_are_close() {
    for name in ["smollm2", "qwen2"] {
        let (golden, path) = models::fixture::<Golden>(name);
        let engine = |activation_type| {
            let model = Model::builder(ModelSource::Gguf(path.clone()));
            let builder = Engine::builder(model.load().unwrap());
            builder.activation_type(activation_type).build().unwrap()
        };
        let rounded = engine(ActivationType::Int8);
        let worst = check_logits(&golden, &rounded, QUANTIZED_TOLERANCE);
        // Mean Kullback-Leibler divergence from the exact distribution, over all positions.
        let exact = engine(ActivationType::F32);
        let (mut divergence, mut positions) = (0.0, 0);
        for greedy in &golden.greedy[..4] {
            let run = |engine: &Engine| engine.logits(&greedy.prompt, &greedy.tokens).unwrap();
            for (exact, rounded) in run(&exact).iter().zip(&run(&rounded)) {
                let (exact, rounded) = (log_softmax(exact), log_softmax(rounded));
                let terms = exact.iter().zip(&rounded);
                divergence += terms.map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                positions += 1;
            }
        }
        let mean = divergence / f64::from(positions);
        println!("{name}: largest relative error {worst:.1e}, mean divergence {mean:.1e} nats");
        assert!(mean > 0.0 && mean < 0.02, "{mean}");
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    let shift = f64::from(most) + sum.ln();
    logits.iter().map(|&x| f64::from(x) - shift).collect()
}

/// The tokens do not depend on the number of slots and threads, nor on a KV cache of half the size.
fn smollm2_gives_the_same_tokens_in_any_schedule() {
    let (golden, path) = models::fixture::<Golden>("smollm2");
    // Two prompts with five samples each. The samples reach a second page of the KV cache.
    let prompts: Vec<Prompt> = prompts_of(&golden).into_iter().take(2).collect();
    let prompts: Vec<Prompt> = (0..10).map(|i| prompts[i / 5].clone()).collect();
    let run = |slots: usize, threads: usize, limit: Option<usize>| {
        let model = Model::builder(ModelSource::Gguf(path.clone()))
            .load()
            .unwrap();
        let builder = Engine::builder(model)
            .sampling(Sampling::dart())
            .max_new_tokens(80)
            .ignore_eos(true)
            .slots(slots)
            .threads(threads);
        let builder = match limit {
            Some(limit) => builder.kv_bytes(limit),
            None => builder,
        };
        let engine = builder.build().unwrap();
        let completions = engine.generate(&prompts, 3).unwrap();
        (completions, engine.statistics())
    };
    let (one, _) = run(1, 1, None);
    assert_ne!(one[0].tokens, one[1].tokens);
    for (slots, threads) in [(1, 2), (7, 1), (7, 2), (32, 1)] {
        assert!(run(slots, threads, None).0 == one, "{slots} {threads}");
    }
    let (completions, statistics) = run(32, 2, None);
    assert!(completions == one);
    let half = statistics.peak_kv_bytes / 2;
    let (completions, statistics) = run(32, 2, Some(half));
    assert!(completions == one);
    println!("{} preemptions", statistics.preemptions);
    assert!(statistics.preemptions > 0 && statistics.peak_kv_bytes <= half);
}
