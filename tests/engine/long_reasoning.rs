//! Models that reason for tens of thousands of tokens: the opening and end of a reasoning, cuts within it, lengths of
//! 33,000 tokens, and a KV cache that is too small for such a sequence.

use std::path::Path;

use crate::trials;
use dart_math::answer::Checker;
use dart_math::dars::{Keep, Outcome, Run, Vanilla};
use dart_math::engine::{Engine, EngineBuilder, Sampling};
use dart_math::model::{DeviceChoice, Model, ModelSource, Template};
use dart_math::{Completion, ErrorKind, Finish, Generator, Grader, Philox, Problem, Settings};
use serde_json::json;

use crate::golden::fixtures;
use crate::tiny;

const LONG: usize = 33_000;

fn load(path: &Path) -> Model {
    Model::builder(ModelSource::parse(path.to_str().unwrap()).unwrap())
        .device(DeviceChoice::Cpu)
        .load()
        .unwrap()
}

/// A thin model with a context of this many positions.
fn with_context(positions: usize) -> Model {
    load(tiny::thin_directory(positions, None).path())
}

/// Bytes of its KV cache per position: one head of width 8, with values padded to 16, and 4 bytes per number.
const POSITION: usize = (8 + 16) * 4;

fn builder(model: Model, template: &str) -> EngineBuilder {
    Engine::builder(model)
        .template(Template::parse(template).unwrap())
        .ignore_eos(true)
        .threads(1)
}

/// The chat template of a model that opens a reasoning unless thinking is switched off.
const CHAT: &str = "{{ messages[0].content }}\n{% if enable_thinking is defined and \
                    enable_thinking is false %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}";

fn thinker() -> tempfile::TempDir {
    let directory = tiny::directory();
    let config = json!({"chat_template": CHAT});
    tiny::write_json(&directory.path().join("tokenizer_config.json"), &config);
    directory
}

fn arguments(name: &str, value: serde_json::Value) -> Settings {
    [(name.to_owned(), value)].into_iter().collect()
}

#[test]
fn template_arguments_reach_the_template_and_the_records() {
    let directory = thinker();
    let engine = |template: Template| {
        Engine::builder(load(directory.path()))
            .template(template)
            .build()
    };
    let thinking = engine(Template::chat()).unwrap();
    assert_eq!(thinking.prompt("1+1?").unwrap().text, "1+1?\n<think>\n");
    assert!(!thinking.settings().contains_key("template_arguments"));
    let off = arguments("enable_thinking", json!(false));
    let off = Template::chat().with_arguments(off).unwrap();
    let off = engine(off).unwrap();
    let prompt = off.prompt("1+1?").unwrap().text;
    assert_eq!(prompt, "1+1?\n<think>\n\n</think>\n\n");
    let settings = off.settings();
    assert_eq!(
        settings["template_arguments"],
        json!({"enable_thinking": false})
    );
    assert_eq!(
        settings["template_text"],
        thinking.settings()["template_text"]
    );

    // Arguments that the template does not use, or that every prompt sets, are refused.
    let typo = arguments("enable_thinkin", json!(false));
    let refused = engine(Template::chat().with_arguments(typo).unwrap());
    let refused = refused.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Settings);
    assert!(
        refused.detail().contains("does not ask for it"),
        "{refused}"
    );
    let set = Template::chat().with_arguments(arguments("messages", json!([])));
    assert_eq!(set.unwrap_err().kind(), ErrorKind::Settings);
}

/// A completion of this many tokens with a template.
fn complete(model: Model, template: Template, tokens: usize) -> Completion {
    let engine = Engine::builder(model)
        .template(template)
        .ignore_eos(true)
        .max_new_tokens(tokens)
        .build()
        .unwrap();
    let prompt = engine.prompt("1+1?").unwrap();
    engine.generate(&[prompt], 3).unwrap().remove(0)
}

#[test]
fn a_reasoning_that_the_prompt_opens_is_marked_if_it_is_cut() {
    let directory = thinker();
    let cut = complete(load(directory.path()), Template::chat(), 20);
    assert_eq!(cut.finish, Finish::Length);
    assert!(cut.unfinished_reasoning);
    let off = arguments("enable_thinking", json!(false));
    let off = Template::chat().with_arguments(off).unwrap();
    assert!(!complete(load(directory.path()), off, 20).unfinished_reasoning);
    let custom = |text: &str| Template::custom(text).unwrap();
    let said = complete(
        load(directory.path()),
        custom("{problem} <think> is a tag"),
        9,
    );
    assert!(!said.unfinished_reasoning);

    // Any amount of white space may follow the tag.
    let space = custom(&format!("{{problem}}<think>{}", "\n \t".repeat(9)));
    assert!(complete(load(directory.path()), space, 9).unfinished_reasoning);
    for other in ["<thinker>", "<think_step>", "<think"] {
        let other = custom(&format!("{{problem}}{other}\n"));
        assert!(!complete(load(directory.path()), other, 9).unfinished_reasoning);
    }

    // The tag may be a special token, which has no text.
    let mut tokenizer = tiny::tokenizer_json();
    tokenizer["added_tokens"][2]["content"] = json!("<think>");
    tokenizer["added_tokens"][2]["special"] = json!(true);
    tiny::write_json(&directory.path().join("tokenizer.json"), &tokenizer);
    let model = load(directory.path());
    assert!(model.tokenizer().is_special(tiny::TOOL));
    let cut = complete(model, custom("{problem}<think>\n"), 20);
    assert!(cut.unfinished_reasoning);
}

/// A completion that ends within its reasoning has no answer, whatever it says and however it ends.
#[test]
fn what_ends_within_its_reasoning_has_no_answer() {
    let problem = Problem::new("1+1?", "2");
    let verdict = |finish, unfinished_reasoning| {
        let completion = Completion {
            finish,
            unfinished_reasoning,
            ..Completion::text("So it is \\boxed{2}.")
        };
        Grader::grade(&Checker::default(), &problem, &completion)
    };
    assert!(verdict(Finish::Stop, false).equal);
    let stopped = verdict(Finish::Stop, true);
    assert!(!stopped.equal);
    assert_eq!(
        stopped.reason,
        "ended within its reasoning, or right behind it"
    );
    let cut = verdict(Finish::Length, true);
    assert!(!cut.equal && cut.reason.contains("within its reasoning"));
    assert!(!verdict(Finish::Length, false).reason.contains("reasoning"));
}

fn long_run(engine: &Engine, journal: Option<&Path>) -> Outcome {
    let problems = vec![Problem::new("What is 1 + 1?", "2")];
    let mut run = Run::builder(problems)
        .strategy(Vanilla { trials: 2 })
        .seed(5)
        .keep(Keep::All);
    if let Some(journal) = journal {
        run = run.journal(journal);
    }
    let run = run.build().unwrap();
    run.run(engine, &Checker::default()).unwrap()
}

/// Two trials of 33,000 tokens are cut at their limit and marked. Resuming gives the same trials, after a finished run
/// and after a killed one.
#[test]
fn a_trial_of_33_000_tokens_is_cut_marked_and_resumed() {
    // With a sliding window, the last token costs no more than the first.
    let directory = tiny::thin_directory(40_000, Some(64));
    let engine = builder(load(directory.path()), "{problem}<think>\n")
        .max_new_tokens(LONG)
        .loop_detection(false)
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let whole = long_run(&engine, Some(&journal));
    let all = trials(&whole);
    assert_eq!(all.len(), 2);
    for trial in &all {
        assert_eq!(trial.finish, Finish::Length);
        assert_eq!(trial.tokens as usize, LONG);
        let closed = trial.response.rfind("</think>");
        assert_eq!(trial.unfinished_reasoning, closed.is_none());
        assert!(!trial.verdict.equal);
    }
    assert_eq!(whole.totals.truncated, 2);
    assert_eq!(whole.totals.unfinished_reasoning, 2);
    assert_eq!(whole.manifest()["totals"]["unfinished_reasoning"], 2);

    let again = long_run(&engine, Some(&journal));
    assert_eq!((again.totals.resumed, again.totals.drawn), (2, 0));
    assert_eq!(trials(&again), all);

    // The run was killed while it wrote the second row.
    let part = journal.join("000001.jsonl");
    let text = std::fs::read(&part).unwrap();
    let rows: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    let is_trial = |row: &&&[u8]| row.len() > LONG;
    assert_eq!(rows.iter().filter(is_trial).count(), 2);
    let second = rows.iter().rposition(|row| is_trial(&row)).unwrap();
    let torn = rows[..second].concat().len() + 5000;
    std::fs::write(&part, &text[..torn]).unwrap();
    let resumed = long_run(&engine, Some(&journal));
    assert_eq!((resumed.totals.resumed, resumed.totals.drawn), (1, 1));
    assert_eq!(trials(&resumed), all);
}

/// Beyond position 32,768, a prompt prefilled at once has the same logits, bit by bit, as one whose last tokens are fed
/// one by one.
#[test]
fn positions_beyond_32_768_are_computed() {
    let directory = tiny::thin_directory(40_000, Some(2_048));
    let engine = builder(load(directory.path()), "{problem}")
        .build()
        .unwrap();
    let random = Philox::new(9);
    let tokens: Vec<u32> = (0..LONG as u64)
        .map(|at| random.below(at, 256) as u32)
        .collect();
    let at_once = engine.logits(&tokens, &[]).unwrap();
    let (first, last) = tokens.split_at(LONG - 3);
    let stepwise = engine.logits(first, last).unwrap();
    assert!(stepwise[3] == at_once[0]);
}

/// A KV cache that is too small for a completion of maximum length is refused before sampling.
#[test]
fn a_kv_cache_too_small_for_one_sequence_is_refused_up_front() {
    let engine = |bytes| {
        builder(with_context(40_000), "{problem}")
            .max_new_tokens(32_000)
            .kv_bytes(bytes)
            .build()
            .unwrap()
    };
    let run = Run::builder(vec![Problem::new("What is 1 + 1?", "2").with_id("sum")]);
    let mut run = run.strategy(Vanilla { trials: 1 }).build().unwrap();
    let error = run.check(&engine(16_000 * POSITION)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    for part in ["\"sum\"", "31999", "kv_bytes"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    run.check(&engine(32_200 * POSITION)).unwrap();
}

/// Decoding 32,000 tokens one by one gives the same text as decoding them at once, for each kind of vocabulary.
#[test]
fn long_texts_are_the_same_token_by_token() {
    let models = [
        with_context(64),
        load(&fixtures().join("gguf_sentencepiece/model.gguf")),
        Model::built_in().unwrap(),
    ];
    for model in models {
        let tokenizer = model.tokenizer();
        let random = Philox::new(4);
        let size = tokenizer.vocab_size() as u64;
        let tokens: Vec<u32> = (0..32_000)
            .map(|at| random.below(at, size) as u32)
            .collect();
        let mut stream = tokenizer.stream();
        let mut text = String::new();
        for &token in &tokens {
            text.push_str(stream.push(token).unwrap());
        }
        text.push_str(&stream.finish().unwrap());
        assert!(text.len() > 30_000);
        assert!(
            text == tokenizer.decode(&tokens).unwrap(),
            "{}",
            model.name()
        );
    }
}

/// Over thousands of tokens, completions with a bounded KV cache and preemptions equal those with an unbounded one.
#[test]
fn preempted_long_completions_are_the_same() {
    let complete = |bytes: Option<usize>| {
        let mut builder = builder(with_context(10_000), "{problem}<think>\n")
            .max_new_tokens(4_000)
            .sampling(Sampling::default())
            .slots(4);
        if let Some(bytes) = bytes {
            builder = builder.kv_bytes(bytes);
        }
        let engine = builder.build().unwrap();
        let prompt = engine.prompt("1+1?").unwrap();
        let done = engine.generate(&vec![prompt; 4], 1).unwrap();
        (done, engine.statistics().preemptions)
    };
    let (free, none) = complete(None);
    assert_eq!(none, 0);
    let (bounded, preemptions) = complete(Some(9_000 * POSITION));
    assert!(preemptions > 0);
    assert!(bounded == free);
}
