//! Flags, models and problems that are accepted, and those that are refused.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{SHORT, rows};
use crate::golden::fixtures;
use crate::harness::{Test, tests};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![
    flags_that_make_no_sense_are_refused,
    built_in_problems_and_their_grader_can_be_chosen,
    a_gguf_file_with_a_sentencepiece_vocabulary_is_enough,
    #[cfg(unix)]
    a_line_without_end_is_refused,
    what_cannot_be_sampled_is_reported_and_harms_nothing,
    rows_left_out_are_in_the_manifest,
    a_model_is_checked_before_a_run,
    a_look_at_the_model_refuses_what_the_run_refuses,
    a_context_that_cuts_is_reported,
];

/// `--check-model` samples no trial, reports its findings, and fails if a check fails.
fn a_model_is_checked_before_a_run() {
    let synthesize = Tool::new("synthesize");
    let ran = synthesize.run(&["--check-model", "--threads", "1"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for expected in ["architecture: Llama", "Nothing failed.", "<answer>"] {
        assert!(ran.out.contains(expected), "{}", ran.out);
    }
    let ran = synthesize.run(&["--check-model=json", "--threads", "1"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() >= 10);
    assert!(checks.iter().all(|check| check["outcome"] != "failed"));

    // A model with a vocabulary of 61 words, without a tokenizer that can encode the question.
    let fixture = fixtures().join("qwen2");
    let template = ["--check-model", "--template", "t1 {problem}"];
    let model = ["--model", fixture.to_str().unwrap()];
    let ran = synthesize.run(&[&template[..], &model].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    assert!(
        ran.err.contains("check failed: tokenizer round trip"),
        "{}",
        ran.err
    );
    assert!(ran.out.contains("Failed: tokenizer round trip, prompt"));

    // A closed stdout does not change the result.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = synthesize.writing(&[&template[..], &model].concat(), b"", writer.into());
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains("check failed: tokenizer round trip"));
    synthesize.cannot_write(&["--check-model", "--threads", "1"], b"");
}

/// `--check-model` refuses what a run refuses, with the same message.
fn a_look_at_the_model_refuses_what_the_run_refuses() {
    let synthesize = Tool::new("synthesize");
    for (args, code, reason) in [
        (&["--out", "somewhere"][..], 2, "cannot be used with"),
        (&["--fresh"], 2, "cannot be used with"),
        (&["--regrade"], 2, "cannot be used with"),
        (&["--trials", "4"], 2, "--trials does not apply"),
        (
            &["--max-trials", "2"],
            2,
            "ends every problem before its pilot",
        ),
        (&["--pass-rates", "no/such.jsonl"], 1, "no/such.jsonl"),
        (
            &[
                "--kv-mib",
                "1",
                "--kv-type",
                "f32",
                "--max-new-tokens",
                "9999",
            ],
            2,
            "--kv-mib 1",
        ),
    ] {
        let ran = synthesize.run(&[&["--check-model"], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
    // With JSON output, the error is on stdout as well.
    let ran = synthesize.run(&["--check-model=json", "--model", "no/such/model"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let error = found["error"].as_str().unwrap();
    assert!(error.contains("no/such/model"), "{error}");
    assert!(ran.err.contains(error), "{}", ran.err);
    // This includes errors of the argument parser, whatever the order of arguments.
    for (args, reason) in [
        (
            &["--check-model=json", "--k", "0"][..],
            "'--k <N>': it must be at least 1",
        ),
        (
            &["--no-such", "--check-model=json"],
            "unexpected argument '--no-such' found",
        ),
        (
            &["--check-model=json", "--fresh", "--out", "x"],
            "cannot be used with",
        ),
    ] {
        let ran = synthesize.run(args);
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        let found: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(found.as_object().unwrap().len(), 1);
        let error = found["error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
        assert!(ran.err.contains(error), "{}", ran.err);
    }
    let help = synthesize.run(&["--check-model=json", "--help"]);
    assert!(help.code == Some(0) && help.out.contains("Usage:") && !help.out.starts_with('{'));
}

/// If the context leaves fewer tokens than requested, a warning precedes the run, and the summary says that the
/// context, not the flag, cut the trials.
fn a_context_that_cuts_is_reported() {
    let synthesize = Tool::new("synthesize");
    // The flag cuts every trial after one token.
    let short = ["--max-new-tokens", "1"];
    let ran = synthesize.run(&[&SHORT[..], &short].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.err.contains("context"), "{}", ran.err);
    assert!(
        ran.err
            .contains("8 trials were cut off at the limit of tokens (--max-new-tokens)\n"),
        "{}",
        ran.err
    );
    // A random model that hardly ever stops, with a context of 256 tokens.
    let fixture = fixtures().join("qwen2");
    let long = [
        "--template",
        "t1 t2 {problem}",
        "--max-new-tokens",
        "999",
        "--no-loop-detection",
    ];
    let model = ["--model", fixture.to_str().unwrap(), "--stop", "never"];
    let one = ["--limit", "1", "--strategy", "vanilla", "--trials", "1"];
    let ran = synthesize.run(&[&one[..], &long, &model].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let warning =
        "1 of 1 prompts leave less than max_new_tokens (999) of the model's context of 256";
    assert_eq!(ran.err.matches(warning).count(), 1, "{}", ran.err);
    if !ran
        .err
        .contains("1 trial was cut off at the end of the model's context")
    {
        // It may have sampled its stop token earlier.
        assert!(!ran.err.contains("cut off"), "{}", ran.err);
    }
}

fn flags_that_make_no_sense_are_refused() {
    let synthesize = Tool::new("synthesize");
    for (args, code, reason) in [
        (&["--trials", "4"][..], 2, "--trials does not apply"),
        (
            &["--strategy", "vanilla", "--k", "4"],
            2,
            "--k does not apply",
        ),
        (
            &["--strategy", "uniform", "--pilot", "4"],
            2,
            "--pilot does not apply",
        ),
        (&["--k", "0"], 2, "'--k <N>': it must be at least 1"),
        (&["--limit", "0"], 2, "'--limit <N>': it must be at least 1"),
        (&["--slots", "0"], 2, "'--slots <N>': it must be at least 1"),
        (&["--fresh"], 2, "--out"),
        (
            &["--skip-bad"],
            2,
            "--skip-bad does not apply without --problems",
        ),
        (
            &["--revision", "v1"],
            2,
            "--revision does not apply to `abacus`",
        ),
        (
            &["--cache-dir", "x"],
            2,
            "--cache-dir does not apply to `abacus`",
        ),
        (
            &["--problems", "file", "--grader", "steps"],
            2,
            "--grader steps knows the built-in problems only",
        ),
        (&["--problems", "file", "--last-value"], 2, "--last-value"),
        (
            &["--device", "abacus"],
            2,
            "error: invalid value 'abacus' for '--device <DEVICE>': device `abacus`",
        ),
        (
            &["--kv-type", "f64"],
            2,
            "error: invalid value 'f64' for '--kv-type <TYPE>': ",
        ),
        (&["--greedy"], 2, "vanilla with 1 trial a problem"),
        (&["--temperature", "0"], 2, "vanilla with 1 trial a problem"),
        (&["--top-k", "1"], 2, "vanilla with 1 trial a problem"),
        (
            &["--kv-mib", "1"],
            2,
            "--kv-mib 1 is too little, at least 2 is needed: problem \"abacus-every-1-0000\": kv_bytes is 1048576, but",
        ),
        (&["--problems", "no/such/file"], 1, "no/such/file"),
        (&["--pass-rates", "no/such/table"], 1, "no/such/table"),
        (&["--model", "no/such.gguf"], 1, "no/such.gguf"),
    ] {
        let ran = synthesize.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
        let last = ran.err.lines().rfind(|line| !line.starts_with("  "));
        assert!(
            code == 2 && ran.err.starts_with("error: ")
                || last.is_some_and(|line| line.starts_with("error: ")),
            "{args:?}: {}",
            ran.err
        );
        let kinds = ran.err.matches("bad settings").count() + ran.err.matches("bad input").count();
        assert!(kinds <= 1, "{args:?}: {}", ran.err);
    }
    let help = synthesize.run(&["--help"]).out;
    assert!(help.contains("--max-trials"));
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for named in dart_math::model::NamedTemplate::ALL {
        assert!(words.contains(named.name), "--help lacks {}", named.name);
    }
}

/// Both kinds of built-in problems with both graders. The steps grader accepts no more than the answer grader.
fn built_in_problems_and_their_grader_can_be_chosen() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let run = |kind: &[&str], grader: &str| {
        let out = directory.path().join(format!("{}{grader}", kind.len()));
        let args = [
            "--limit",
            "8",
            "--strategy",
            "vanilla",
            "--trials",
            "6",
            "--grader",
            grader,
            "--out",
            out.to_str().unwrap(),
        ];
        let ran = synthesize.run(&[kind, &args].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let manifest = fs::read(out.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let trials = fs::read_to_string(out.join("trials.jsonl")).unwrap();
        (manifest, trials)
    };
    for (kind, id) in [
        (&[][..], "abacus-every-8-0000"),
        (&["--last-value"], "abacus-8-0000"),
    ] {
        let (answer, trials) = run(kind, "answer");
        assert_eq!(answer["grader"]["grader"], "checker");
        assert!(trials.contains(&format!("\"{id}\"")), "{id}");
        let (steps, trials) = run(kind, "steps");
        assert_eq!(steps["grader"]["grader"], "arithmetic steps");
        assert!(trials.contains("\"rule\":\"steps\""));
        let kept = |manifest: &serde_json::Value| manifest["totals"]["kept"].as_u64().unwrap();
        assert!((1..=kept(&answer)).contains(&kept(&steps)));
    }
}

#[cfg(unix)]
fn a_line_without_end_is_refused() {
    let synthesize = Tool::new("synthesize");
    let ran = synthesize.run(&["--problems", "/dev/zero"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("/dev/zero:1: longer than 16 MiB"),
        "{}",
        ran.err
    );
}

fn a_gguf_file_with_a_sentencepiece_vocabulary_is_enough() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/golden/gguf_sentencepiece/model.gguf");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let args = [
        "--model",
        model.to_str().unwrap(),
        "--max-new-tokens",
        "8",
        "--template",
        "{problem}",
        "--out",
        out.to_str().unwrap(),
    ];
    let ran = Tool::new("synthesize").run(&[&SHORT, &args[..]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let trials = rows(&out.join("trials.jsonl"));
    assert_eq!(trials.len(), 8);
    assert!(trials.iter().all(|trial| trial["error"].is_null()));
}

fn what_cannot_be_sampled_is_reported_and_harms_nothing() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.json");
    let long = "Ruth puts in 5 more. ".repeat(80);
    let rows_in = serde_json::json!([
        {"id": "good", "question": "A box holds 5 stones. Ruth puts in 5 more. How many stones are in the box now?", "answer": 10},
        {"id": "long", "question": long, "answer": 7},
    ]);
    fs::write(&problems, serde_json::to_string_pretty(&rows_in).unwrap()).unwrap();
    let out = directory.path().join("out");
    let args = [
        "--problems",
        problems.to_str().unwrap(),
        "--strategy",
        "vanilla",
        "--trials",
        "3",
        "--out",
        out.to_str().unwrap(),
    ];
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err
            .contains("1 problem cannot be sampled: \"long\": its prompt of"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains("-0"), "{}", ran.err);
    let records = rows(&out.join("problems.jsonl"));
    assert_eq!(records[1]["stop_reason"], "rejected");
    assert!(
        records[1]["rejection"]
            .as_str()
            .unwrap()
            .contains("the model's context of 288")
    );
    assert_eq!(
        (&records[1]["trials"], &records[0]["trials"]),
        (&0.into(), &3.into())
    );
    assert_eq!(records[0].get("rejection"), None);
    assert!(
        rows(&out.join("trials.jsonl"))
            .iter()
            .all(|trial| trial["problem"] == "good")
    );
    assert!(synthesize.run(&args).err.contains("nothing to do"));

    // A run that cannot begin neither creates nor deletes files.
    let none = directory.path().join("none");
    let ran = synthesize.run(&["--greedy", "--out", none.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(!none.exists());
    let ran = synthesize.run(&[&args[..], &["--fresh", "--kv-mib", "1"]].concat());
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert_eq!(rows(&out.join("problems.jsonl")).len(), 2);
    let ran = synthesize.run(&[&SHORT[..4], &["--trials", "1", "--greedy"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

fn rows_left_out_are_in_the_manifest() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let good = "{\"question\": \"1 + 1?\", \"answer\": 2}\n";
    fs::write(&problems, format!("{good}{}", "[]\n".repeat(150))).unwrap();
    let out = directory.path().join("out");
    let args = [
        "--problems",
        problems.to_str().unwrap(),
        "--skip-bad",
        "--strategy",
        "vanilla",
        "--trials",
        "2",
        "--out",
        out.to_str().unwrap(),
    ];
    let manifest = || -> Value {
        serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap()
    };
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    // The built-in model does not know other problems, which is noted before the run.
    let begin = format!(
        "model abacus (built in); 1 problem (from {}); vanilla, 2 trials a problem; seed 0\n\
         note: the built-in model knows the built-in problems only",
        problems.display()
    );
    assert!(ran.err.contains(&begin), "{}", ran.err);
    let first = manifest();
    assert_eq!(first["skip_bad"], true);
    let skipped = &first["skipped_rows"];
    assert_eq!(
        (
            &skipped["count"],
            skipped["first"].as_array().unwrap().len()
        ),
        (&150.into(), 100)
    );
    assert_eq!(
        skipped["first"][0],
        serde_json::json!({"line": 2, "reason": "not a JSON object"})
    );
    assert!(synthesize.run(&args).err.contains("nothing to do"));
    // The same problems from a file without bad rows: the manifest is updated.
    fs::write(&problems, good).unwrap();
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(manifest()["skipped_rows"]["count"], 0);
    assert_eq!(manifest()["sessions"], first["sessions"]);
}
