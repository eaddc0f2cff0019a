//! SmolLM2-135M and Qwen2.5-Coder-0.5B from GGUF files against Hugging Face transformers: logits
//! and greedy texts.
//!
//! `scripts/golden_real.py` makes the fixtures and says what is in them. The files are looked for
//! in the directory that the environment variable `DART_MATH_MODELS` names; without it these
//! tests pass with a note.

#![cfg(feature = "engine")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod golden;
#[path = "golden/real.rs"]
mod real;

use std::path::PathBuf;

use dart_math::Completion;
use dart_math::engine::{BackendChoice, Engine, Sampling};
use dart_math::model::{DtypeChoice, Model, ModelSource, Prompt};
use serde::Deserialize;

/// Largest difference of a logit, relative to the largest logit of its row.
const TOLERANCE: f32 = 1e-4;

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
    /// After how many tokens the two best logits were closest, and how close.
    closest: (usize, f32),
}

#[derive(Deserialize)]
struct LogitsOf {
    /// Index into `greedy`: the sequence is its prompt and its tokens.
    prompt: usize,
    rows: Vec<LogitsRow>,
}

#[derive(Deserialize)]
struct LogitsRow {
    position: usize,
    ids: Vec<usize>,
    values: Vec<f32>,
    logsumexp: f64,
    largest: f32,
}

fn load(path: PathBuf) -> Model {
    Model::builder(ModelSource::Gguf(path)).load().unwrap()
}

fn engine(model: Model, new_tokens: usize, ignore_eos: bool, slots: usize) -> Engine {
    Engine::builder(model)
        .sampling(Sampling::greedy())
        .max_new_tokens(new_tokens)
        .ignore_eos(ignore_eos)
        .loop_detection(false)
        .slots(slots)
        .build()
        .unwrap()
}

/// The largest relative error of the stored logits; the sum over the whole vocabulary is checked
/// too.
fn check_logits(golden: &Golden, engine: &Engine) -> f32 {
    let mut worst = 0.0f32;
    for LogitsOf { prompt, rows } in &golden.logits {
        let greedy = &golden.greedy[*prompt];
        // Half of the prompt by prefill, the rest token by token.
        let tokens: Vec<u32> = greedy
            .prompt
            .iter()
            .chain(&greedy.tokens)
            .copied()
            .collect();
        let split = greedy.prompt.len() / 2 + 1;
        for split in [1, split, greedy.prompt.len()] {
            let last = rows.iter().map(|row| row.position).max().unwrap();
            let found = engine
                .logits(&tokens[..split], &tokens[split..=last])
                .unwrap();
            for row in rows.iter().filter(|row| row.position + 1 >= split) {
                let logits = &found[row.position + 1 - split];
                for (&id, &value) in row.ids.iter().zip(&row.values) {
                    let error = (logits[id] - value).abs() / row.largest;
                    assert!(
                        error <= TOLERANCE,
                        "prompt {prompt}, position {}, token {id}: {} for {value}",
                        row.position,
                        logits[id]
                    );
                    worst = worst.max(error);
                }
                let most = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
                let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
                let logsumexp = f64::from(most) + sum.ln();
                let error = (logsumexp - row.logsumexp).abs() as f32 / row.largest;
                assert!(error <= TOLERANCE, "prompt {prompt}: sum {logsumexp}");
                worst = worst.max(error);
            }
        }
    }
    worst
}

fn prompts(golden: &Golden) -> Vec<Prompt> {
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

fn check(name: &str, backend: BackendChoice, slots: usize) {
    let Some((golden, path)) = real::fixture::<Golden>(name) else {
        return;
    };
    let engine = engine(load(path), golden.greedy[0].tokens.len(), true, slots);
    let worst = check_logits(&golden, &engine);
    println!("{name}: largest relative error {worst:.1e}");
    check_greedy(&golden, &engine.generate(&prompts(&golden), 0).unwrap());
}

#[test]
fn smollm2_own_kernels() {
    check("smollm2", BackendChoice::Auto, 10);
}

#[test]
fn smollm2_plain_operations() {
    check("smollm2", BackendChoice::Plain, 4);
}

#[test]
fn qwen2_own_kernels() {
    check("qwen2", BackendChoice::Auto, 10);
}
