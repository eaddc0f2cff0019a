//! A model looked at before a run: what is well passes, what is damaged fails by name.

use std::path::{Path, PathBuf};

use dart_math::Finish;
use dart_math::engine::{
    ActivationType, BackendChoice, Engine, EngineBuilder, KvType, ModelReport, Outcome, check_model,
};
use dart_math::model::{DeviceChoice, DtypeChoice, Model, ModelBuilder, ModelSource, Template};
use serde_json::json;

use crate::golden::fixtures;
use crate::tiny;

const QUESTION: &str = "Tom has 3 apples and buys 4 more. How many has he now?";
const REFERENCE: &str = "logits against the CPU reference";

fn files(path: &Path) -> ModelBuilder {
    let source = ModelSource::parse(path.to_str().unwrap()).unwrap();
    Model::builder(source).device(DeviceChoice::Cpu)
}

/// An engine with a template that no chat template is needed for.
fn engine(files: &ModelBuilder) -> EngineBuilder {
    let template = Template::custom("{problem}").unwrap();
    Engine::builder(files.clone().load().unwrap())
        .template(template)
        .threads(2)
        .slots(3)
}

fn checked(files: &ModelBuilder, question: &str) -> ModelReport {
    check_model(&engine(files).build().unwrap(), Some(files), question)
}

fn failed(report: &ModelReport) -> Vec<&str> {
    report.failed().map(|check| check.name.as_str()).collect()
}

fn outcome(report: &ModelReport, name: &str) -> (Outcome, String) {
    let found = report.checks.iter().find(|check| check.name == name);
    let found = found.unwrap_or_else(|| panic!("no check {name}: {report}"));
    (found.outcome, found.detail.clone())
}

fn fact<'a>(report: &'a ModelReport, name: &str) -> (&'a str, &'a str) {
    let found = report.facts.iter().find(|fact| fact.name == name);
    let found = found.unwrap_or_else(|| panic!("no {name}: {report}"));
    (&found.value, &found.from)
}

/// Names of all golden fixtures that hold a model.
fn all_fixtures() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// Every architecture and kind of file: the engine's logits are the reference's, which has its weights
/// from the files once more.
#[test]
fn tiny_models_of_every_kind_pass() {
    let mut compared = 0;
    for directory in all_fixtures() {
        let name = directory.file_name().unwrap().to_str().unwrap();
        let by_candle = name.starts_with("transformers_");
        if by_candle && !cfg!(feature = "transformers") {
            continue;
        }
        let gguf = directory.join("model.gguf");
        let files = match gguf.exists() {
            true => self::files(&gguf),
            false => self::files(&directory),
        };
        // Words of the vocabularies that these fixtures have.
        let question = match name {
            "gguf_llama" | "gguf_qwen2" => "<|s5|><|s7|><|s9|><|s40|>",
            "gguf_sentencepiece" => QUESTION,
            _ => "t5 t7 t9 t40 t11",
        };
        let report = checked(&files, question);
        let known: &[&str] = match name {
            // Their tokens are all special ones, which a question cannot say.
            "gguf_llama" | "gguf_qwen2" => &["tokenizer round trip", "prompt"],
            _ => &[],
        };
        let wrong: Vec<&str> = failed(&report)
            .into_iter()
            .filter(|name| !known.contains(name))
            .collect();
        assert!(wrong.is_empty(), "{name}: {report}");
        let (found, detail) = outcome(&report, REFERENCE);
        match by_candle {
            true => assert_eq!(found, Outcome::Skipped, "{detail}"),
            false => {
                assert_eq!(found, Outcome::Passed, "{name}: {detail}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 16);
}

/// The same with other types of numbers and by candle's operations.
#[test]
fn every_way_to_compute_passes() {
    let path = fixtures().join("gguf_sentencepiece/model.gguf");
    type Setting = fn(EngineBuilder) -> EngineBuilder;
    let ways: [(DtypeChoice, Setting); 5] = [
        (DtypeChoice::Auto, |builder| builder.kv_type(KvType::F16)),
        (DtypeChoice::Quantized, |builder| {
            builder.activation_type(ActivationType::Int8)
        }),
        (DtypeChoice::F32, |builder| {
            builder.backend(BackendChoice::Plain)
        }),
        (DtypeChoice::Bf16, |builder| {
            builder.backend(BackendChoice::Plain)
        }),
        (DtypeChoice::F16, |builder| builder),
    ];
    for (dtype, set) in ways {
        let files = files(&path).dtype(dtype);
        let engine = set(engine(&files)).build().unwrap();
        let report = check_model(&engine, Some(&files), QUESTION);
        assert!(report.passed(), "{dtype}: {report}");
        assert_eq!(outcome(&report, REFERENCE).0, Outcome::Passed);
    }
}

#[test]
fn a_report_says_what_was_read_from_which_file() {
    let files = Model::builder(ModelSource::BuiltIn).device(DeviceChoice::Cpu);
    let built_in = Engine::builder(files.clone().load().unwrap())
        .build()
        .unwrap();
    let report = check_model(&built_in, Some(&files), QUESTION);
    assert!(report.passed(), "{report}");
    assert_eq!(fact(&report, "architecture").0, "Llama");
    assert_eq!(fact(&report, "output head").0, "the embedding (tied)");
    let stop = fact(&report, "stop token");
    assert_eq!(stop.0, "3 `<stop>`");
    assert!(stop.1.contains("generation_config.json") && stop.1.contains("tokenizer_config.json"));
    let completion = report.completion.as_ref().unwrap();
    assert_eq!(completion.finish, Finish::Stop);
    assert!(completion.text.contains("boxed"), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["checks"][0]["outcome"], "passed");
    assert_eq!(
        json["prompt"]["tokens"],
        json!(report.prompt.unwrap().tokens)
    );

    let report = checked(&self::files(&fixtures().join("qwen2_yarn")), "t1");
    let rope = fact(&report, "rotary embedding").0;
    assert!(rope.contains("YaRN by"), "{rope}");
    let report = checked(&self::files(&fixtures().join("mistral_window")), "t1");
    assert!(
        fact(&report, "sliding window").0.contains("of 2 layers"),
        "{report}"
    );
    let gguf = fixtures().join("gguf_qwen2/model.gguf");
    let report = checked(&self::files(&gguf), "t1");
    let weights = fact(&report, "weights");
    assert!(weights.0.contains("tensors of Q"), "{weights:?}");
    assert!(weights.1.ends_with("model.gguf"));
}

/// One wrong row of one matrix, as a kernel that is wrong on some device would have it: all that does
/// not look at the reference is well.
#[test]
fn a_wrong_weight_fails_against_the_reference() {
    let whole = tiny::directory();
    let files = files(whole.path());
    let report = checked(&files, QUESTION);
    assert!(report.passed(), "{report}");

    let damaged = tiny::directory();
    let mut tensors = tiny::tensors();
    let down = tensors
        .get_mut("model.layers.1.mlp.down_proj.weight")
        .unwrap();
    down.data[..tiny::FFN].iter_mut().for_each(|x| *x = -*x);
    let bytes = tiny::safetensors(&tensors, "F32");
    std::fs::write(damaged.path().join("model.safetensors"), bytes).unwrap();
    let wrong = engine(&self::files(damaged.path())).build().unwrap();
    let report = check_model(&wrong, Some(&files), QUESTION);
    assert_eq!(failed(&report), [REFERENCE], "{report}");
    assert!(
        report
            .to_string()
            .ends_with(&format!("Failed: {REFERENCE}"))
    );

    // Without the files there is nothing to compare with, which is said.
    let report = check_model(&wrong, None, QUESTION);
    assert!(report.passed());
    assert_eq!(outcome(&report, REFERENCE).0, Outcome::Skipped);
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let directory = tiny::directory();
    let mut tensors = tiny::tensors();
    let norm = tensors.get_mut("model.layers.0.input_layernorm.weight");
    norm.unwrap().data[3] = f32::NAN;
    let bytes = tiny::safetensors(&tensors, "F32");
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    let report = checked(&files(directory.path()), QUESTION);
    assert_eq!(failed(&report), ["greedy completion"], "{report}");
    let detail = outcome(&report, "greedy completion").1;
    assert!(detail.contains("attention norm of layer 0"), "{detail}");
}

/// Changes the tiny model's `tokenizer.json` and `config.json`, and checks it.
fn with_files(change: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value)) -> ModelReport {
    let directory = tiny::directory();
    let (mut tokenizer, mut config) = (tiny::tokenizer_json(), tiny::config_json());
    change(&mut tokenizer, &mut config);
    tiny::write_json(&directory.path().join("tokenizer.json"), &tokenizer);
    tiny::write_json(&directory.path().join("config.json"), &config);
    checked(&files(directory.path()), QUESTION)
}

#[test]
fn a_wrong_tokenizer_fails_by_name() {
    // The decoder of another kind of vocabulary: spaces come back as `Ġ`.
    let report = with_files(|tokenizer, _| tokenizer["decoder"] = json!({"type": "Fuse"}));
    assert_eq!(
        failed(&report),
        ["tokenizer round trip", "prompt"],
        "{report}"
    );
    let detail = outcome(&report, "tokenizer round trip").1;
    assert!(detail.contains("TomĠhas"), "{detail}");

    // What lower-cases loses something.
    let report = with_files(|tokenizer, _| tokenizer["normalizer"] = json!({"type": "Lowercase"}));
    assert_eq!(
        failed(&report),
        ["tokenizer round trip", "prompt"],
        "{report}"
    );

    // A token more than the model has rows.
    let report = with_files(|tokenizer, _| {
        let mut more = tokenizer["added_tokens"][0].clone();
        more["content"] = json!("<more>");
        more["id"] = json!(tiny::VOCAB);
        tokenizer["added_tokens"].as_array_mut().unwrap().push(more);
    });
    assert_eq!(failed(&report), ["vocabulary"], "{report}");
}

#[test]
fn a_model_that_never_stops_fails_by_name() {
    let report = with_files(|_, config| {
        config.as_object_mut().unwrap().remove("eos_token_id");
    });
    assert_eq!(failed(&report), ["stop rules"], "{report}");
    let completion = report.completion.unwrap();
    assert_ne!(completion.finish, Finish::Stop);
}

/// What no prompt can be made of ends the report, with the reason.
#[test]
fn a_template_that_cannot_be_used_fails_by_name() {
    let directory = tiny::directory();
    let files = files(directory.path());
    let chat = Engine::builder(files.clone().load().unwrap())
        .template(Template::parse("chat").unwrap())
        .build()
        .unwrap();
    let report = check_model(&chat, Some(&files), QUESTION);
    assert_eq!(failed(&report), ["prompt"], "{report}");
    assert!(outcome(&report, "prompt").1.contains("no chat template"));
    assert!(report.completion.is_none());
}
