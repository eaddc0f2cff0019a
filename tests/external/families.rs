//! Runs `synthesize` on one tiny model of every family. The weights are random, so no answer is right. The tests
//! check that everything is sampled, recorded and reproduced.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::golden::fixtures;
use crate::harness::{Test, tests};
use crate::tiny::{Gguf, Meta};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![
    families_by_synthesize_of_gguf_files,
    families_by_synthesize_of_our_decoder,
    #[cfg(feature = "transformers")]
    families_by_synthesize_of_candle_transformers,
];

const TRIALS: usize = 2;

/// Runs the model twice, once in one call and once in two. The questions use words of the model's vocabulary.
fn check(model: &Path, template: &str, questions: &[&str]) {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let rows: Vec<String> = questions
        .iter()
        .map(|question| json!({"question": question, "answer": "no such"}).to_string())
        .collect();
    fs::write(&problems, rows.join("\n")).unwrap();
    let run = |name: &str, trials: usize| {
        let out = directory.path().join(name);
        let trials = trials.to_string();
        let args = [
            "--model",
            model.to_str().unwrap(),
            "--problems",
            problems.to_str().unwrap(),
            "--template",
            template,
            "--strategy",
            "uniform",
            "--k",
            "1",
            "--max-trials",
            &trials,
            "--max-new-tokens",
            "8",
            "--temperature",
            "1",
            "--out",
            out.to_str().unwrap(),
        ];
        let ran = synthesize.run(&args);
        assert_eq!(ran.code, Some(0), "{}: {}", model.display(), ran.err);
        fs::read_to_string(out.join("trials.jsonl")).unwrap()
    };
    let whole = run("whole", TRIALS);
    let trials: Vec<Value> = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        trials.len(),
        TRIALS * questions.len(),
        "{}",
        model.display()
    );
    for trial in &trials {
        assert!((1..=8).contains(&trial["tokens"].as_u64().unwrap()));
        assert!(trial["logprob"].as_f64().unwrap() < 0.0);
        assert_eq!(trial["equal"], false);
    }
    // The result is the same if a second call draws the second trials.
    run("parts", 1);
    assert!(run("parts", TRIALS) == whole, "{}", model.display());
}

fn families_by_synthesize_of_gguf_files() {
    let directory = tempfile::tempdir().unwrap();
    // Like Llama 2 and Mistral 7B v0.1: SentencePiece vocabularies in the file, and a sliding window for the latter.
    for (name, window) in [("llama-2.gguf", None), ("mistral-v0.1.gguf", Some(8))] {
        let path = directory.path().join(name);
        let mut gguf = Gguf::sentencepiece();
        gguf.set("llama.context_length", Meta::U32(256));
        if let Some(window) = window {
            gguf.set("llama.attention.sliding_window", Meta::U32(window));
        }
        gguf.write(&path);
        let questions = [
            "What is 1 + 1?",
            "Tom has 3 apples and buys 4 more. How many?",
        ];
        check(&path, "[INST] {problem} [/INST]", &questions);
    }
}

const WORDS: [&str; 2] = ["t5 t7 t9 t11", "t6 t8"];

fn families_by_synthesize_of_our_decoder() {
    for fixture in ["llama_llama3_rope", "mistral_window", "qwen2_yarn", "qwen3"] {
        check(&fixtures().join(fixture), "t1 t2 {problem} t3", &WORDS);
    }
}

#[cfg(feature = "transformers")]
fn families_by_synthesize_of_candle_transformers() {
    for family in [
        "deepseek_v2",
        "gemma2",
        "gemma3",
        "glm4",
        "mixtral",
        "phi3",
        "starcoder2",
    ] {
        let fixture = fixtures().join(format!("transformers_{family}"));
        check(&fixture, "t1 t2 {problem} t3", &WORDS);
    }
}
