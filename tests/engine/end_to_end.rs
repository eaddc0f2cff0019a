//! Whole runs with one tiny model of every family: prompts, trials, a journal, and an interrupted run that is resumed
//! and compared with an uninterrupted one. The weights are random, so no answer is right.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::trials;
use dart_math::answer::Checker;
use dart_math::dars::{CancelHandle, Keep, Observer, Outcome, Run, RunStop, Vanilla};
use dart_math::engine::Engine;
use dart_math::model::{DeviceChoice, Model, ModelSource, Template};
use dart_math::{Finish, Problem, Trial};

use crate::golden::fixtures;
use crate::tiny::{Gguf, Meta};

const PROBLEMS: usize = 3;
const TRIALS: u32 = 3;

/// A model to run.
struct Case {
    path: PathBuf,
    template: &'static str,
    /// Questions in words of the model's vocabulary.
    questions: [&'static str; PROBLEMS],
    /// The first tokens of its prompts.
    opening: &'static [u32],
    architecture: &'static str,
}

const WORDS: [&str; PROBLEMS] = ["t5 t7 t9 t11", "t6 t8", "t10 t12 t14"];
const QUESTIONS: [&str; PROBLEMS] = [
    "What is 1 + 1?",
    "Tom has 3 apples and buys 4 more. How many has he now?",
    "\u{bd} of 8 is?",
];

/// Stops the run after this many verdicts.
struct Impatient(AtomicUsize, CancelHandle);

impl Observer for Impatient {
    fn graded(&self, _: &Trial) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.cancel();
        }
    }
}

fn engine(case: &Case, slots: usize) -> Engine {
    let source = ModelSource::parse(case.path.to_str().unwrap()).unwrap();
    let model = Model::builder(source)
        .device(DeviceChoice::Cpu)
        .load()
        .unwrap();
    assert_eq!(model.config().architecture.name(), case.architecture);
    Engine::builder(model)
        .template(Template::parse(case.template).unwrap())
        .max_new_tokens(12)
        .slots(slots)
        .threads(1)
        .build()
        .unwrap()
}

fn run(case: &Case, slots: usize, journal: Option<&Path>, verdicts: usize) -> Outcome {
    let problem = |(index, question): (usize, &&str)| {
        Problem::new(*question, "no such answer").with_id(format!("p{index}"))
    };
    let cancel = CancelHandle::new();
    let observer = Impatient(verdicts.into(), cancel.clone());
    let mut run = Run::builder(case.questions.iter().enumerate().map(problem).collect())
        .strategy(Vanilla { trials: TRIALS })
        .seed(11)
        .keep(Keep::All)
        .observer(&observer)
        .cancel(cancel);
    if let Some(journal) = journal {
        run = run.journal(journal);
    }
    let run = run.build().unwrap();
    run.run(&engine(case, slots), &Checker::default()).unwrap()
}

fn check(case: &Case) {
    let name = case.path.display();
    let sampler = engine(case, 2);
    for question in case.questions {
        let prompt = sampler.prompt(question).unwrap();
        assert_eq!(prompt.text, case.template.replace("{problem}", question));
        assert!(
            prompt.tokens.starts_with(case.opening),
            "{name}: {prompt:?}"
        );
        let said = sampler.model().tokenizer().decode(&prompt.tokens).unwrap();
        assert!(said.contains(question), "{name}: {said:?}");
    }
    let whole = run(case, 2, None, usize::MAX);
    assert_eq!(whole.stop, RunStop::Finished, "{name}");
    let all = trials(&whole);
    assert_eq!(all.len(), PROBLEMS * TRIALS as usize);
    for trial in &all {
        assert!(!trial.verdict.equal && !trial.accepted);
        assert!(trial.tokens >= 1 && trial.tokens <= 12);
        match trial.finish {
            Finish::Length => assert_eq!(trial.tokens, 12),
            finish => assert_eq!(finish, Finish::Stop, "{name}"),
        }
        assert!(trial.logprob.is_some_and(|logprob| logprob < 0.0));
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    // How much is done by then depends on timing, but does not change the result.
    let stopped = run(case, 2, Some(&journal), 1);
    assert_eq!(stopped.stop, RunStop::Interrupted);
    let resumed = run(case, 3, Some(&journal), usize::MAX);
    assert!(resumed.totals.resumed >= 1, "{name}");
    assert_eq!(resumed.totals.resumed + resumed.totals.drawn, 9);
    assert_eq!(trials(&resumed), all, "{name}");
    let done = run(case, 1, Some(&journal), usize::MAX);
    assert_eq!((done.totals.drawn, trials(&done)), (0, all));
}

/// A GGUF file with a SentencePiece vocabulary, in a temporary directory.
fn sentencepiece(change: impl FnOnce(&mut Gguf)) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    let mut gguf = Gguf::sentencepiece();
    gguf.set("llama.context_length", Meta::U32(256));
    change(&mut gguf);
    gguf.write(&path);
    (directory, path)
}

#[test]
fn llama_2_by_a_gguf_file() {
    let (_directory, path) = sentencepiece(|_| {});
    check(&Case {
        path,
        template: "[INST] {problem} [/INST]",
        questions: QUESTIONS,
        opening: &[1],
        architecture: "Llama",
    });
    check(&Case {
        path: fixtures().join("gguf_sentencepiece/model.gguf"),
        template: "[INST] {problem} [/INST]",
        questions: QUESTIONS,
        opening: &[1],
        architecture: "Llama",
    });
}

/// A model like Mistral 7B v0.1: llama.cpp's architecture `llama`, SentencePiece, and a sliding window, which is
/// shorter than these prompts.
#[test]
fn mistral_v0_1_by_a_gguf_file() {
    let (_directory, path) = sentencepiece(|gguf| {
        gguf.set("llama.attention.sliding_window", Meta::U32(8));
    });
    let case = Case {
        path,
        template: "[INST] {problem} [/INST]",
        questions: QUESTIONS,
        opening: &[1],
        architecture: "Llama",
    };
    let windows = &engine(&case, 1).model().config().sliding_windows.clone();
    assert!(windows.iter().all(|window| *window == Some(8)));
    check(&case);
}

#[test]
fn a_model_scaled_by_yarn() {
    let case = Case {
        path: fixtures().join("qwen2_yarn"),
        template: "t1 t2 {problem} t3",
        questions: WORDS,
        opening: &[1, 2],
        architecture: "Qwen2",
    };
    assert!(engine(&case, 1).model().config().rope_attention_factor > 1.0);
    check(&case);
}

#[cfg(feature = "transformers")]
#[test]
fn every_family_that_candle_transformers_computes() {
    let families = [
        ("deepseek_v2", "DeepSeek-V2"),
        ("gemma2", "Gemma 2"),
        ("gemma3", "Gemma 3"),
        ("glm4", "GLM-4"),
        ("mixtral", "Mixtral"),
        ("phi3", "Phi-3"),
        ("starcoder2", "StarCoder2"),
    ];
    for (fixture, architecture) in families {
        check(&Case {
            path: fixtures().join(format!("transformers_{fixture}")),
            template: "t1 t2 {problem} t3",
            questions: WORDS,
            opening: &[1, 2],
            architecture,
        });
    }
}
