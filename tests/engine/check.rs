//! Checks of a model before a run: sound models pass, and damaged ones fail by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dart_math::engine::{
    ActivationType, BackendChoice, Engine, EngineBuilder, KvType, ModelReport, Outcome, check_model,
};
use dart_math::model::{DeviceChoice, DtypeChoice, Model, ModelBuilder, ModelSource, Template};
use dart_math::{ErrorKind, Finish};
use serde_json::json;

use crate::golden::fixtures;
use crate::tiny;

const QUESTION: &str = "Tom has 3 apples and buys 4 more. How many has he now?";
const REFERENCE: &str = "logits against the CPU reference";

fn files(path: &Path) -> ModelBuilder {
    let source = ModelSource::parse(path.to_str().unwrap()).unwrap();
    Model::builder(source).device(DeviceChoice::Cpu)
}

/// An engine with a template that needs no chat template.
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

/// The directories of all golden fixtures that contain a model.
fn all_fixtures() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// For every architecture and kind of file, the engine's logits equal those of the reference, which reads its weights
/// from the files again.
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
        // Words in the vocabularies of these fixtures.
        let question = match name {
            "gguf_llama" | "gguf_qwen2" => "<|s5|><|s7|><|s9|><|s40|>",
            "gguf_sentencepiece" => QUESTION,
            _ => "t5 t7 t9 t40 t11",
        };
        let report = checked(&files, question);
        let known: &[&str] = match name {
            // All their tokens are special, and special tokens in a question are read as text.
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
    assert_eq!(compared, 17);
}

/// All checks pass with other number types and with the candle backend.
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
            builder.backend(BackendChoice::Candle)
        }),
        (DtypeChoice::Bf16, |builder| {
            builder.backend(BackendChoice::Candle)
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

/// One wrong row of one matrix, as a wrong kernel on some device would produce. Only the comparison with the reference
/// detects it.
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

    // Without the files, the comparison is skipped and reported as such.
    let report = check_model(&wrong, None, QUESTION);
    assert!(report.passed());
    assert_eq!(outcome(&report, REFERENCE).0, Outcome::Skipped);
}

/// Checks the tiny model with changed weights.
fn with_weights(change: impl FnOnce(&mut BTreeMap<String, tiny::Tensor>)) -> ModelReport {
    let directory = tiny::directory();
    let mut tensors = tiny::tensors();
    change(&mut tensors);
    let bytes = tiny::safetensors(&tensors, "F32");
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    checked(&files(directory.path()), QUESTION)
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let report = with_weights(|tensors| {
        let norm = tensors.get_mut("model.layers.0.input_layernorm.weight");
        norm.unwrap().data[3] = f32::NAN;
    });
    assert_eq!(
        failed(&report),
        ["weights", "greedy completion"],
        "{report}"
    );
    let detail = outcome(&report, "greedy completion").1;
    assert!(detail.contains("attention norm of layer 0"), "{detail}");
    let detail = outcome(&report, "weights").1;
    assert!(
        detail.ends_with(
            "model.safetensors: tensor `model.layers.0.input_layernorm.weight` is not finite in number 3"
        ),
        "{detail}"
    );
}

/// The example does not use this weight: the embedding of a byte that it does not contain.
#[test]
fn a_weight_that_is_not_used_is_looked_at_all_the_same() {
    let unused = usize::from(b'Q') - 33;
    let report = with_weights(|tensors| {
        let embedding = tensors.get_mut("model.embed_tokens.weight").unwrap();
        embedding.data[unused * tiny::HIDDEN + 5] = f32::INFINITY;
    });
    let tokens = &report.prompt.as_ref().unwrap().tokens;
    assert!(!tokens.contains(&(unused as u32)));
    assert!(failed(&report).contains(&"weights"), "{report}");
    let detail = outcome(&report, "weights").1;
    let expected = format!("`model.embed_tokens.weight` is not finite in row {unused}");
    assert!(detail.ends_with(&expected), "{detail}");
}

#[test]
fn weights_that_hold_nothing_are_named() {
    let layer = "model.layers.1";
    for (name, rows, expected) in [
        ("input_layernorm", 0..tiny::HIDDEN, "is 0 throughout"),
        ("mlp.down_proj", 0..tiny::HIDDEN, "is 0 throughout"),
        (
            "mlp.gate_proj",
            50..tiny::FFN,
            "is 0 from 50 to 63 of 64 rows",
        ),
        ("self_attn.q_proj", 8..16, "is 0 from 8 to 15 of 32 rows"),
    ] {
        let name = format!("{layer}.{name}.weight");
        let report = with_weights(|tensors| {
            let tensor = tensors.get_mut(&name).unwrap();
            let columns = tensor.shape.get(1).copied().unwrap_or(1);
            tensor.data[rows.start * columns..rows.end * columns].fill(0.0);
        });
        assert_eq!(failed(&report), ["weights"], "{report}");
        let detail = outcome(&report, "weights").1;
        assert!(
            detail.ends_with(&format!("tensor `{name}` {expected}")),
            "{detail}"
        );
    }
    // Logits that are all equal agree with any other such logits, so the comparison would show nothing.
    let report = with_weights(|tensors| {
        tensors.get_mut("lm_head.weight").unwrap().data.fill(0.0);
    });
    let all = [
        "weights",
        "greedy tokens",
        "prefill against decoding",
        REFERENCE,
    ];
    assert_eq!(failed(&report), all, "{report}");
    let detail = outcome(&report, "greedy tokens").1;
    assert!(detail.starts_with("all logits at 0 are 0"), "{detail}");
}

/// Embedding rows without tokens in the tokenizer are often zero.
#[test]
fn rows_beyond_the_tokenizers_tokens_may_be_empty() {
    let directory = padded(tiny::VOCAB + 60, |_, _| 0.0);
    let report = checked(&files(directory.path()), QUESTION);
    assert!(report.passed(), "{report}");
}

/// The tiny model with a vocabulary larger than its tokenizer's. `number` returns the values of the additional rows of
/// the embedding and the head.
fn padded(size: usize, number: impl Fn(&str, usize) -> f32) -> tempfile::TempDir {
    let directory = tiny::directory();
    let mut tensors = tiny::tensors();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let tensor = tensors.get_mut(name).unwrap();
        tensor.shape[0] = size;
        let from = tensor.data.len();
        let more = (from..size * tiny::HIDDEN).map(|at| number(name, at));
        let more: Vec<f32> = more.collect();
        tensor.data.extend(more);
    }
    let bytes = tiny::safetensors(&tensors, "F32");
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    let mut config = tiny::config_json();
    config["vocab_size"] = json!(size);
    config["max_position_embeddings"] = json!(256);
    tiny::write_json(&directory.path().join("config.json"), &config);
    directory
}

/// Completion tokens that are not in the tokenizer have no text. A warning reports them.
#[test]
fn tokens_outside_the_tokenizers_vocabulary_are_reported() {
    let varied = |name: &str, at: usize| {
        let wave = ((at * 37 % 101) as f32 - 50.0) / 40.0;
        if name.starts_with("lm_head") {
            wave * 4.0
        } else {
            wave / 4.0
        }
    };
    let directory = padded(tiny::VOCAB + 60, varied);
    let report = checked(&files(directory.path()), QUESTION);
    let tokens = &report.completion.as_ref().unwrap().tokens;
    assert!(
        tokens.iter().any(|&id| id as usize >= tiny::VOCAB),
        "{report}"
    );
    let (value, from) = fact(&report, "warning");
    assert!(
        value.contains("not in the tokenizer's vocabulary of 260"),
        "{value}"
    );
    assert_eq!(from, "greedy completion");
}

/// With a vocabulary of realistic size, the probability of a plain text shows whether the tokenizer belongs to the
/// model.
#[test]
fn a_text_less_probable_than_by_guessing_fails() {
    const NAME: &str = "log-probability of a plain text";
    let wave = |_: &str, at: usize| ((at * 37 % 101) as f32 - 50.0) / 100.0;
    let directory = padded(1200, wave);
    let report = checked(&files(directory.path()), QUESTION);
    assert_eq!(failed(&report), [NAME], "{report}");
    let detail = outcome(&report, NAME).1;
    assert!(detail.contains("guessing has -7.09"), "{detail}");
    assert!(detail.contains("not of one model"), "{detail}");

    // No input makes these rows likely, so only the tokenizer's tokens are left.
    let directory = padded(1200, |_, _| 0.0);
    let path = directory.path().join("model.safetensors");
    let mut tensors = tiny::tensors();
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        let tensor = tensors.get_mut(name).unwrap();
        tensor.shape[0] = 1200;
        tensor.data.resize(1200 * tiny::HIDDEN, 0.0);
        let rows = tensor.data.chunks_exact_mut(tiny::HIDDEN).enumerate();
        for (row, numbers) in rows {
            numbers[0] = match name.starts_with("lm_head") {
                true if row >= tiny::VOCAB => -2.0,
                true => 2.0,
                false => 8.0,
            };
        }
    }
    tensors.get_mut("model.norm.weight").unwrap().data[0] = 1.0;
    std::fs::write(path, tiny::safetensors(&tensors, "F32")).unwrap();
    let report = checked(&files(directory.path()), QUESTION);
    assert_eq!(outcome(&report, NAME).0, Outcome::Passed, "{report}");

    // With a small vocabulary, the check is not conclusive.
    let small = tiny::directory();
    let report = checked(&files(small.path()), QUESTION);
    assert_eq!(outcome(&report, NAME).0, Outcome::Skipped, "{report}");
}

/// A value that a type cannot represent is not an error of the file.
#[test]
fn a_number_too_large_for_f16_is_blamed_on_the_conversion() {
    let directory = tiny::directory();
    let mut tensors = tiny::tensors();
    let down = tensors.get_mut("model.layers.1.mlp.down_proj.weight");
    down.unwrap().data[2 * tiny::FFN + 7] = 1e5;
    let bytes = tiny::safetensors(&tensors, "BF16");
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    let files = files(directory.path());
    let error = files.clone().dtype(DtypeChoice::F16).load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    for part in [
        "model.safetensors",
        "down_proj",
        "in row 2",
        "f16",
        "6.5504e4",
    ] {
        assert!(error.detail().contains(part), "{error}");
    }
    files.dtype(DtypeChoice::F32).load().unwrap();
}

/// A value missing in the configuration is reported as a default, and any other with its field.
#[test]
fn facts_name_their_fields_and_defaults() {
    let report = with_files(|_, config| {
        let config = config.as_object_mut().unwrap();
        config.remove("rope_theta");
        config.remove("rms_norm_eps");
        config.insert(
            "rope_scaling".into(),
            json!({"type": "dynamic", "factor": 2.0}),
        );
    });
    let (rope, from) = fact(&report, "rotary embedding");
    assert_eq!(
        rope,
        "theta 10000, dynamic by 2, which changes nothing within the model's context"
    );
    assert!(
        from.ends_with("config.json: rope_scaling; default: rope_theta"),
        "{from}"
    );
    let (epsilon, from) = fact(&report, "epsilon of the norms");
    assert_eq!(epsilon, "1e-6");
    assert!(from.starts_with("default; ") && from.ends_with("config.json has no rms_norm_eps"));
    let (_, from) = fact(&report, "heads");
    assert!(
        from.ends_with("config.json: num_attention_heads, num_key_value_heads"),
        "{from}"
    );
    assert!(
        fact(&report, "output head")
            .1
            .ends_with("config.json: tie_word_embeddings")
    );
    let (_, from) = fact(&report, "sliding window");
    assert!(from.starts_with("default; "), "{from}");
    let (none, from) = fact(&report, "chat template");
    assert_eq!(none, "none");
    assert!(
        from.contains("tokenizer_config.json has no chat_template"),
        "{from}"
    );
}

#[test]
fn a_head_that_is_not_the_embedding_is_reported() {
    let files = files(&fixtures().join("llama_tied_head_differs"));
    let report = checked(&files, "t1");
    assert_eq!(fact(&report, "output head").0, "a matrix of its own");
    let (warning, _) = fact(&report, "warning");
    assert!(
        warning.contains("`lm_head.weight` is not the embedding"),
        "{warning}"
    );
    // A head that equals the embedding is the embedding, whatever type it is stored as.
    let directory = tiny::directory();
    let mut tensors = tiny::tensors();
    let embedding = tensors["model.embed_tokens.weight"].clone();
    tensors.insert("lm_head.weight".into(), embedding);
    let bytes = tiny::safetensors(&tensors, "BF16");
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    let mut config = tiny::config_json();
    config["tie_word_embeddings"] = json!(true);
    tiny::write_json(&directory.path().join("config.json"), &config);
    let report = checked(&self::files(directory.path()), QUESTION);
    assert_eq!(fact(&report, "output head").0, "the embedding (tied)");
}

/// A cut by the model's context is reported differently from a cut by a setting.
#[test]
fn the_limit_of_the_completion_is_named() {
    let directory = tiny::directory();
    let files = files(directory.path());
    let check = |question: &str, tokens: usize| {
        let engine = engine(&files).ignore_eos(true).max_new_tokens(tokens);
        check_model(&engine.build().unwrap(), Some(&files), question)
    };
    // Every byte is a token, and the context has 64 tokens.
    let report = check("abcdefghij klmnopqrst", 50);
    let completion = report.completion.as_ref().unwrap();
    assert_eq!(completion.limit, 43);
    assert_eq!(completion.limited_by, "the model's context of 64 tokens");
    assert_eq!(completion.tokens.len(), 43);
    assert!(
        report
            .to_string()
            .contains("cut at 43, the model's context of 64 tokens")
    );
    let (warning, _) = fact(&report, "warning");
    assert!(
        warning.starts_with("43 tokens: the model's context of 64"),
        "{warning}"
    );

    let report = check("abc", 7);
    let completion = report.completion.as_ref().unwrap();
    assert_eq!((completion.limit, completion.tokens.len()), (7, 7));
    assert_eq!(completion.limited_by, "max_new_tokens");
    assert!(
        fact(&report, "longest completion")
            .0
            .starts_with("7 tokens")
    );

    let report = check("abc", 60);
    let completion = report.completion.as_ref().unwrap();
    assert_eq!(
        (completion.limit, completion.limited_by.as_str()),
        (48, "the check's own")
    );
}

/// The tiny model with a `tokenizer_config.json`.
fn with_chat_template(template: serde_json::Value) -> (tempfile::TempDir, ModelBuilder) {
    let directory = tiny::directory();
    let config = json!({"chat_template": template});
    tiny::write_json(&directory.path().join("tokenizer_config.json"), &config);
    let files = files(directory.path());
    (directory, files)
}

#[test]
fn chat_templates_by_name_are_read_as_an_object_and_as_a_list() {
    const SOURCE: &str = "{{ messages[0].content }}!";
    for several in [
        json!({"default": SOURCE, "rag": "no"}),
        json!([{"name": "rag", "template": "no"}, {"name": "default", "template": SOURCE}]),
    ] {
        let (_directory, files) = with_chat_template(several);
        let engine = Engine::builder(files.clone().load().unwrap())
            .build()
            .unwrap();
        let report = check_model(&engine, Some(&files), "abc");
        assert_eq!(report.prompt.as_ref().unwrap().text, "abc!");
        let (template, from) = fact(&report, "chat template");
        assert_eq!(template, "26 characters, `default` of 2");
        assert!(
            from.ends_with("tokenizer_config.json: chat_template"),
            "{from}"
        );
    }
    for (template, reason) in [
        (json!({"rag": SOURCE}), "has no `default`, only `rag`"),
        (
            json!([{"name": "rag", "template": SOURCE}]),
            "has no `default`, only `rag`",
        ),
        (json!({}), "is empty"),
        (json!([SOURCE]), "stands in the list"),
        (json!([{"name": "default"}]), "stands in the list"),
        (json!({"default": 5}), "`default` is 5, not a template"),
        (json!(5), "is 5; expected a template"),
    ] {
        let (_directory, files) = with_chat_template(template);
        let engine = Engine::builder(files.clone().load().unwrap());
        let error = engine.build().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Model);
        for part in ["tokenizer_config.json: chat_template: ", reason] {
            assert!(error.detail().contains(part), "{error}");
        }
        // The report passes with another template, and describes the model's own one.
        let report = checked(&files, "abc");
        assert!(report.passed(), "{report}");
        assert!(
            fact(&report, "chat template").0.contains(reason),
            "{report}"
        );
    }
}

/// Files with additional templates take precedence over the configuration, as in transformers.
#[test]
fn further_chat_templates_without_the_usual_one_are_refused() {
    let (directory, files) = with_chat_template(json!("{{ messages[0].content }}"));
    let further = directory.path().join("additional_chat_templates");
    std::fs::create_dir(&further).unwrap();
    std::fs::write(further.join("rag.jinja"), "no").unwrap();
    let build = || Engine::builder(files.clone().load().unwrap()).build();
    let error = build().err().unwrap();
    assert!(
        error.detail().contains("has no `default`, only `rag`"),
        "{error}"
    );
    std::fs::write(
        directory.path().join("chat_template.jinja"),
        "{{ messages[0].content }}?",
    )
    .unwrap();
    assert_eq!(build().unwrap().prompt("abc").unwrap().text, "abc?");
}

/// Control characters from files are escaped in errors and reports.
#[test]
fn texts_of_files_are_escaped() {
    let (_directory, files) = with_chat_template(json!(
        "{{ raise_exception('\u{1b}[31mred\u{9b}2J\u{202e}x\ny') }}"
    ));
    let engine = Engine::builder(files.clone().load().unwrap())
        .build()
        .unwrap();
    let report = check_model(&engine, Some(&files), "abc");
    assert_eq!(failed(&report), ["prompt"]);
    let shown = report.to_string();
    assert!(
        shown.contains(r"\u{1b}[31mred\u{9b}2J\u{202e}x\ny"),
        "{shown}"
    );
    let error = with_activation("\u{1b}[2J");
    assert!(error.contains(r"is `\u{1b}[2J`"), "{error}");
    for text in [&shown, &error] {
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']));
    }
    assert!(!error.contains('\n'));
}

/// Returns the error for a model with this activation.
fn with_activation(name: &str) -> String {
    let directory = tiny::directory();
    let mut config = tiny::config_json();
    config["hidden_act"] = json!(name);
    tiny::write_json(&directory.path().join("config.json"), &config);
    files(directory.path()).load().unwrap_err().to_string()
}

/// Dangling links and pipes are refused by name, without waiting for a pipe.
#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_and_pipes_are_refused() {
    use std::os::unix::fs::symlink;
    for name in [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "generation_config.json",
    ] {
        let directory = tiny::directory();
        let path = directory.path().join(name);
        let _ = std::fs::remove_file(&path);
        symlink("nowhere", &path).unwrap();
        let error = files(directory.path()).load().unwrap_err();
        let expected = format!("{}: a link to nowhere, which is not there", path.display());
        assert_eq!(error.detail(), expected);
        std::fs::remove_file(&path).unwrap();
        let pipe = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the string is null-terminated.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let error = files(directory.path()).load().unwrap_err();
        assert_eq!(
            error.detail(),
            format!("{}: not a regular file", path.display())
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("model");
    symlink("nowhere", &link).unwrap();
    let error = ModelSource::parse(link.to_str().unwrap()).unwrap_err();
    assert!(
        error
            .detail()
            .ends_with("a link to nowhere, which is not there"),
        "{error}"
    );
}

/// Every key of the JSON report is documented.
#[test]
fn every_key_of_the_report_is_described() {
    fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    found.insert(key.clone());
                    keys(value, found);
                }
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let files = Model::builder(ModelSource::BuiltIn).device(DeviceChoice::Cpu);
    let engine = Engine::builder(files.clone().load().unwrap())
        .build()
        .unwrap();
    let report = check_model(&engine, Some(&files), QUESTION);
    let mut found = BTreeSet::new();
    keys(&serde_json::to_value(&report).unwrap(), &mut found);
    assert!(found.len() > 10, "{found:?}");
    let docs = std::fs::read_to_string("docs/models.md").unwrap();
    let section = docs.split("### As JSON").nth(1).unwrap();
    for key in found {
        assert!(
            section.contains(&format!("`{key}`")),
            "`{key}` is not described"
        );
    }
}

/// Changes the tiny model's `tokenizer.json` and `config.json`, and checks the model.
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
    // The decoder of another kind of vocabulary decodes spaces as `Ġ`.
    let report = with_files(|tokenizer, _| tokenizer["decoder"] = json!({"type": "Fuse"}));
    assert_eq!(
        failed(&report),
        ["tokenizer round trip", "prompt"],
        "{report}"
    );
    let detail = outcome(&report, "tokenizer round trip").1;
    assert!(detail.contains("TomĠhas"), "{detail}");

    // A tokenizer that composes characters changes bytes, but not the text.
    let report = with_files(|tokenizer, config| {
        tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]});
        config["max_position_embeddings"] = json!(256);
    });
    assert!(report.passed(), "{report}");
    let directory = tiny::directory();
    let mut composing = tiny::tokenizer_json();
    composing["normalizer"] = json!({"type": "NFC"});
    tiny::write_json(&directory.path().join("tokenizer.json"), &composing);
    let report = checked(&files(directory.path()), "Zoe\u{308} has cafe\u{301}s");
    assert!(report.passed(), "{report}");
    assert!(
        outcome(&report, "tokenizer round trip")
            .1
            .contains("1 of them")
    );

    // A tokenizer that lower-cases loses information.
    let report = with_files(|tokenizer, _| tokenizer["normalizer"] = json!({"type": "Lowercase"}));
    assert_eq!(
        failed(&report),
        ["tokenizer round trip", "prompt"],
        "{report}"
    );

    // The tokenizer has one token more than the model has rows.
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

/// If no prompt can be made, the report ends with the reason.
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
