//! Logits, tokens and trials.

use std::path::Path;

use dart_math::answer::Checker;
use dart_math::dars::{CancelHandle, Keep, Limits, Observer, Outcome, Run, Vanilla};
use dart_math::engine::{CompletionRequest, Engine, EngineBuilder, Sampling};
use dart_math::model::{DeviceChoice, Model, ModelSource, Template};
use dart_math::{Generator, Problem, Trial};

use super::NAMES;
use crate::golden_tiny::{Fixture, check_greedy, check_splits, prompt};

fn fixture(name: &str) -> Fixture {
    Fixture::read(&format!("transformers_{name}"))
}

fn load(directory: &Path) -> Model {
    Model::builder(ModelSource::Directory(directory.to_owned()))
        .device(DeviceChoice::Cpu)
        .load()
        .unwrap()
}

fn builder(fixture: &Fixture) -> EngineBuilder {
    Engine::builder(load(&fixture.directory))
        .max_new_tokens(fixture.golden.greedy.len())
        .ignore_eos(true)
        .loop_detection(false)
}

fn check(name: &str) {
    let fixture = fixture(name);
    let engine = builder(&fixture)
        .sampling(Sampling::greedy())
        .slots(3)
        .build()
        .unwrap();
    let worst = check_splits(&fixture, &engine);
    println!("{name}: largest relative error {worst:.1e}");
    check_greedy(&fixture, &engine);
}

macro_rules! fixtures {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn all_are_checked() {
            assert_eq!(NAMES, [$(stringify!($name)),*]);
        }
    };
}

fixtures! {
    deepseek_v2
    deepseek_v2_queries
    gemma2
    gemma3
    gemma3_single_key
    glm4
    mixtral
    phi3
    starcoder2
}

/// A trial's tokens do not depend on concurrent trials or preemption: no two sequences share a cache.
#[test]
fn sequences_do_not_disturb_one_another() {
    for name in NAMES {
        let fixture = fixture(name);
        let tokens = &fixture.golden.tokens;
        let prompts = [&tokens[..12], &tokens[3..4], &tokens[5..25]];
        let prompts: Vec<_> = (0..9).map(|index| prompt(prompts[index % 3])).collect();
        let requests = CompletionRequest::list(&prompts, 3);
        let sampled = |slots: usize, kv_bytes: Option<usize>| {
            let mut builder = builder(&fixture).slots(slots).max_new_tokens(30);
            if let Some(kv_bytes) = kv_bytes {
                builder = builder.kv_bytes(kv_bytes);
            }
            let engine = builder.build().unwrap();
            let mut found = vec![Vec::new(); requests.len()];
            let completed = engine.complete(&requests, |event| {
                if let dart_math::engine::Event::Completed {
                    request,
                    completion,
                } = event
                {
                    found[request] = completion.tokens;
                }
                std::ops::ControlFlow::Continue(())
            });
            completed.unwrap();
            (found, engine.statistics())
        };
        let (alone, _) = sampled(1, None);
        let distinct: std::collections::BTreeSet<_> = alone.iter().collect();
        assert_eq!(distinct.len(), 9, "{name}: nine trials of their own");
        let (together, statistics) = sampled(9, None);
        assert!(together == alone, "{name}: together");
        assert_eq!(statistics.preemptions, 0);
        let limit = statistics.peak_kv_bytes / 2;
        let (preempted, statistics) = sampled(9, Some(limit));
        assert!(preempted == alone, "{name}: preempted");
        // The memory of caches that never grow is reserved from the start, so those trials wait instead.
        let grows = !name.starts_with("gemma3") && *name != "glm4";
        assert_eq!(statistics.preemptions > 0, grows, "{name}");
        assert!(statistics.peak_kv_bytes <= limit, "{name}");
    }
}

/// Stops the run after this many verdicts.
struct Impatient(std::sync::atomic::AtomicUsize, CancelHandle);

impl Observer for Impatient {
    fn graded(&self, _: &Trial) {
        if self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 1 {
            self.1.cancel();
        }
    }
}

/// An interrupted and resumed run with a journal has the trials of an uninterrupted one.
#[test]
fn a_run_is_resumed() {
    for name in ["gemma2", "glm4"] {
        let fixture = fixture(name);
        let run = |journal: Option<&Path>, verdicts: usize| -> Outcome {
            let engine = builder(&fixture)
                .template(Template::parse("{problem}").unwrap())
                .max_new_tokens(8)
                .build()
                .unwrap();
            let problems = (0..4)
                .map(|index| Problem::new(format!("t{} t{} t7", 10 + index, 20 + index), "12"));
            let cancel = CancelHandle::new();
            let observer = Impatient(verdicts.into(), cancel.clone());
            let mut run = Run::builder(problems.collect())
                .strategy(Vanilla { trials: 3 })
                .limits(Limits::default())
                .seed(4)
                .keep(Keep::All)
                .observer(&observer)
                .cancel(cancel);
            if let Some(journal) = journal {
                run = run.journal(journal);
            }
            run.build()
                .unwrap()
                .run(&engine, &Checker::default())
                .unwrap()
        };
        let texts = |outcome: &Outcome| -> Vec<(String, String)> {
            let trials = outcome.trials().map(|trial| trial.unwrap());
            trials
                .map(|trial| (trial.problem, trial.response))
                .collect()
        };
        let whole = texts(&run(None, usize::MAX));
        assert_eq!(whole.len(), 12);
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        assert!(run(Some(&journal), 5).totals.trials < 12);
        assert_eq!(texts(&run(Some(&journal), usize::MAX)), whole, "{name}");
    }
}

/// The fingerprint covers the whole configuration, except white space, and all weights.
#[test]
fn the_fingerprint_covers_everything() {
    let fixture = fixture("phi3");
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(fixture.directory.join(file), copy.path().join(file)).unwrap();
    }
    let fingerprint = || load(copy.path()).fingerprint().to_owned();
    let first = fingerprint();
    let edit = |file: &str, edit: &dyn Fn(&mut Vec<u8>)| {
        let path = copy.path().join(file);
        let before = std::fs::read(&path).unwrap();
        let mut bytes = before.clone();
        edit(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let found = fingerprint();
        std::fs::write(&path, before).unwrap();
        found
    };
    assert_eq!(edit("config.json", &|bytes| bytes.extend(b"\n\n")), first);
    let theta = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let changed = text.replace("\"rope_theta\": 300.0", "\"rope_theta\": 301.0");
        assert_ne!(changed, text);
        *bytes = changed.into_bytes();
    };
    assert_ne!(edit("config.json", &theta), first);
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    assert_ne!(edit("model.safetensors", &last), first);
    let engine = builder(&fixture).build().unwrap();
    let settings = engine.settings();
    assert_eq!(settings["architecture"], "Phi-3");
    assert!(settings["config"]["config.json"].is_string());
    assert_eq!(settings["fingerprint"], first.as_str());
}

/// The context is limited to where candle's model would compute something else.
#[test]
fn contexts_are_cut_with_a_warning() {
    let cut = |name: &str, field: &str, value: usize, expected: usize| {
        let fixture = fixture(name);
        let changed = super::refused::changed(&fixture.directory, |config| {
            config.insert(field.to_owned(), value.into());
        });
        let (model, warnings) = crate::logged::warnings(|| load(changed.path()));
        assert_eq!(model.config().context_length, expected, "{name}");
        let warning = format!("to {expected} positions");
        assert!(warnings.contains(&warning), "{name}: {warnings}");
    };
    for name in ["gemma2", "phi3", "mixtral", "starcoder2"] {
        cut(name, "sliding_window", 100, 100);
    }
    for name in NAMES {
        if !["gemma2", "starcoder2"].contains(name) {
            cut(name, "max_position_embeddings", 100_000, 8_192);
        }
    }
}
