//! The example `synthesize` as a user meets it: its files, its refusals, its exit codes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::golden::fixtures;
use crate::harness::{Test, repository, tests};
use crate::tool::{Ran, Tool};

pub(crate) const TESTS: &[Test] = tests![
    a_directory_is_made_resumed_refused_and_begun_anew,
    rows_go_to_a_standard_output_that_is_no_terminal,
    flags_that_make_no_sense_are_refused,
    built_in_problems_and_their_grader_can_be_chosen,
    a_gguf_file_with_a_sentencepiece_vocabulary_is_enough,
    a_manifest_tells_of_every_call,
    a_data_set_that_cannot_be_written_does_not_hide_the_run,
    #[cfg(unix)]
    a_line_without_end_is_refused,
    everything_that_decides_tokens_may_not_change,
    what_cannot_be_sampled_is_told_and_harms_nothing,
    the_readme_shows_what_is_printed,
    the_numbers_of_a_summary_add_up,
    every_key_of_the_output_is_documented,
    rows_left_out_are_in_the_manifest,
    changed_metadata_is_written_anew,
    a_directory_that_is_none_is_told_of,
    progress_is_told_as_json,
    a_run_is_graded_anew,
    duplicates_are_told_of_and_left_out,
    a_model_is_checked_before_a_run,
    a_resumed_run_may_take_more_problems,
    #[cfg(unix)]
    an_interrupted_run_says_what_is_kept_and_how_it_goes_on,
    #[cfg(unix)]
    signals_that_were_ignored_stay_ignored,
    #[cfg(unix)]
    two_signals_at_once_are_one,
    #[cfg(unix)]
    a_later_signal_quits_at_once,
    #[cfg(unix)]
    a_directory_of_a_run_that_goes_on_is_left_alone,
];

/// A short run over the built-in problems.
const SHORT: [&str; 6] = ["--limit", "4", "--strategy", "vanilla", "--trials", "2"];

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `--check-model` samples no trial, says what it found, and fails where something is wrong.
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
    assert!(checks.iter().all(|check| check["outcome"] == "passed"));

    // A model of 61 words without a tokenizer for the question.
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

    let ran = synthesize.run(&["--check-model", "--out", "somewhere"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
}

fn a_directory_is_made_resumed_refused_and_begun_anew() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let out = out.to_str().unwrap();
    let base = ["--limit", "8", "--strategy", "uniform", "--out", out];
    let run = |more: &[&str]| synthesize.run(&[&base, more].concat());
    let read = |name: &str| fs::read(Path::new(out).join(name)).unwrap();

    let ran = run(&["--k", "2", "--max-trials", "6"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.is_empty());
    assert!(
        ran.err.contains("vanilla") && ran.err.contains("written to"),
        "{}",
        ran.err
    );
    let rows = String::from_utf8(read("dataset.jsonl")).unwrap();
    assert!(rows.lines().count() >= 4);
    let manifest: serde_json::Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    assert_eq!(manifest["generator"]["model"], "abacus");
    assert_eq!(manifest["limits"]["trials_per_problem"], 6);

    let journal = read("journal.jsonl");
    let ran = run(&["--k", "2", "--max-trials", "6"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.err.contains("finished") && ran.err.contains("nothing to do"),
        "{}",
        ran.err
    );
    assert_eq!(read("journal.jsonl"), journal);

    let ran = run(&["--k", "3", "--max-trials", "6", "--temperature", "0.9"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("strategy.k was 2, is 3"), "{}", ran.err);
    assert!(
        ran.err.contains("generator.temperature was 1.0, is 0.9 ("),
        "{}",
        ran.err
    );
    assert_eq!(read("journal.jsonl"), journal);

    // A journal that lost its end: only what it lacks is drawn, and the data set is the same.
    let dataset = read("dataset.jsonl");
    let half: Vec<&[u8]> = journal.split_inclusive(|&byte| byte == b'\n').collect();
    fs::write(
        Path::new(out).join("journal.jsonl"),
        half[..half.len() / 2].concat(),
    )
    .unwrap();
    fs::remove_file(Path::new(out).join("dataset.jsonl")).unwrap();
    let ran = run(&["--k", "2", "--max-trials", "6", "--slots", "3"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(read("dataset.jsonl"), dataset);

    let ran = run(&["--k", "3", "--max-trials", "6", "--fresh"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    fs::remove_file(Path::new(out).join("journal.jsonl")).unwrap();
    let ran = run(&["--k", "3"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("no journal.jsonl to resume from"),
        "{}",
        ran.err
    );
}

fn rows_go_to_a_standard_output_that_is_no_terminal() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let rows = concat!(
        "{\"id\": \"a\", \"question\": \"A box holds 5 stones. Ruth puts in 5 more. ",
        "How many stones are in the box now?\", \"answer\": \"so\\n#### 10\"}\n",
        "{\"question\": \"no answer\"}\n",
    );
    fs::write(&problems, rows).unwrap();
    let problems = problems.to_str().unwrap();

    let args = [
        "--problems",
        problems,
        "--strategy",
        "vanilla",
        "--trials",
        "3",
    ];
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("problems.jsonl:2: no `reference`"),
        "{}",
        ran.err
    );
    assert!(ran.out.is_empty());

    let ran = synthesize.run(&[&args[..], &["--skip-bad"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("left out 1 bad row, the first at line 2"),
        "{}",
        ran.err
    );
    assert!(!ran.out.is_empty());
    for line in ran.out.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["query"].as_str().unwrap().starts_with("A box"));
        assert!(row["response"].as_str().unwrap().contains("10"));
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

/// Both kinds of built-in problems, both graders: the steps accept no more than the answer does.
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

fn a_manifest_tells_of_every_call() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let base = [
        "--limit",
        "8",
        "--strategy",
        "uniform",
        "--out",
        out,
        "--max-trials",
    ];
    let manifest = || {
        let bytes = fs::read(directory.path().join("manifest.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
    };
    assert_eq!(synthesize.run(&[&base[..], &["2"]].concat()).code, Some(0));
    let first = manifest();
    assert_eq!(first["generator"]["top_p"].to_string(), "0.95");
    assert_eq!(first["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(synthesize.run(&[&base[..], &["4"]].concat()).code, Some(0));
    let both = manifest();
    let sessions = both["sessions"].as_array().unwrap();
    assert_eq!((sessions.len(), &sessions[0]), (2, &first["sessions"][0]));
    for name in ["drawn", "cancelled", "tokens_sampled"] {
        let sum: u64 = sessions
            .iter()
            .map(|session| session[name].as_u64().unwrap())
            .sum();
        assert_eq!(both["totals"][name], sum, "{name}");
    }
    assert!(sessions[0]["finished"].as_str() <= sessions[1]["started"].as_str());
}

fn a_data_set_that_cannot_be_written_does_not_hide_the_run() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let args = [
        "--limit",
        "8",
        "--strategy",
        "uniform",
        "--k",
        "1",
        "--max-trials",
        "2",
    ];
    let args = [&args[..], &["--out", out]].concat();
    assert_eq!(synthesize.run(&args).code, Some(0));
    let dataset = directory.path().join("dataset.jsonl");
    fs::remove_file(&dataset).unwrap();
    fs::create_dir_all(dataset.join("in the way")).unwrap();
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(1));
    for said in [
        "level",
        "trials",
        "the same command goes on from its journal.jsonl",
        "error: ",
    ] {
        assert!(ran.err.contains(said), "{} lacks {said}", ran.err);
    }
    let last = ran.err.lines().find(|line| line.starts_with("error: "));
    assert!(last.unwrap().contains("dataset.jsonl"), "{}", ran.err);

    fs::remove_dir_all(&dataset).unwrap();
    assert_eq!(synthesize.run(&args).code, Some(0));
    assert!(dataset.is_file());

    let args = ["--limit", "2", "--strategy", "vanilla", "--trials", "8"];
    synthesize.cannot_write(&args, b"");
}

fn everything_that_decides_tokens_may_not_change() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join("model");
    fs::create_dir(&model).unwrap();
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/abacus");
    for file in fs::read_dir(&assets).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    let out = directory.path().join("out");
    let run = |more: &[&str]| -> Ran {
        let paths = [
            "--model",
            model.to_str().unwrap(),
            "--out",
            out.to_str().unwrap(),
        ];
        synthesize.run(&[&SHORT[..], &paths, &["--max-new-tokens", "16"], more].concat())
    };
    let ran = run(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let journal = fs::read(out.join("journal.jsonl")).unwrap();

    /// What becomes of a file's bytes.
    type Edit = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
    /// Puts a text in the place of another, as often as it is there.
    fn replace(name: &str, from: &'static str, to: &'static str) -> (String, Edit) {
        let edit = move |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "no {from}");
            text.replace(from, to).into_bytes()
        };
        (name.to_owned(), Box::new(edit))
    }
    let one_weight = |mut bytes: Vec<u8>| {
        let middle = bytes.len() / 2 + 1;
        bytes[middle] ^= 1;
        bytes
    };
    let refused = [
        (
            replace("generation_config.json", "3\n", "3, 4\n"),
            "generator.stop_tokens was [3], is [3,4]",
        ),
        (
            replace("tokenizer.json", "\" Anna\": 5", "\" Alma\": 5"),
            "generator.tokenizer was \"",
        ),
        (
            replace(
                "tokenizer.json",
                "\"<answer>\",\n      \"single_word\": false",
                "\"<answer>\",\n      \"single_word\": true",
            ),
            "generator.tokenizer was \"",
        ),
        (
            replace("tokenizer_config.json", "}}<answer>", "}} <answer>"),
            "generator.template_text was \"",
        ),
        (
            replace(
                "tokenizer_config.json",
                "\"add_bos_token\": false",
                "\"add_bos_token\": true, \"bos_token\": \"<answer>\", \"tokenizer_class\": \"LlamaTokenizerFast\"",
            ),
            "generator.opening_tokens was [], is [2]",
        ),
        (
            replace("config.json", "10000.0", "20000.0"),
            "generator.config.rope_frequencies was \"",
        ),
        (
            replace("config.json", "9.999999747378752e-6", "2e-5"),
            "generator.config.rms_norm_eps was ",
        ),
        (
            replace(
                "config.json",
                "\"max_position_embeddings\": 288",
                "\"max_position_embeddings\": 200",
            ),
            "generator.config.context_length was 288, is 200",
        ),
        (
            ("model.safetensors".to_owned(), Box::new(one_weight) as Edit),
            "generator.weights was \"",
        ),
    ];
    for ((name, edit), reason) in refused {
        let path = model.join(&name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, edit(bytes.clone())).unwrap();
        let ran = run(&[]);
        assert_eq!(ran.code, Some(1), "{name}, {reason}: {}", ran.err);
        assert!(
            ran.err.contains(reason),
            "{name} lacks {reason}: {}",
            ran.err
        );
        fs::write(&path, bytes).unwrap();
    }
    for (flags, reason) in [
        (&["--stop", "x"][..], "generator.stop was [], is [\"x\"]"),
        (
            &["--template", "qa"],
            "generator.template was \"chat\", is \"qa\"",
        ),
        (
            &["--no-loop-detection"],
            "generator.loop_detection was true, is false",
        ),
        (&["--top-k", "9"], "generator.top_k was null, is 9"),
    ] {
        let ran = run(flags);
        assert_eq!(ran.code, Some(1), "{flags:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{flags:?}: {}", ran.err);
    }
    assert_eq!(fs::read(out.join("journal.jsonl")).unwrap(), journal);

    // What decides nothing may change.
    for (name, from, to) in [
        ("README.md", "a", "b"),
        (
            "generation_config.json",
            "\"temperature\": 1.0",
            "\"temperature\": 0.25",
        ),
        (
            "tokenizer_config.json",
            "\"model_max_length\": 288",
            "\"model_max_length\": 9",
        ),
        ("tokenizer.json", "\n  ", "\r\n\t "),
        ("config.json", ",\n  ", ",  "),
    ] {
        let path = model.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        let ran = run(&[]);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.err);
        assert!(ran.err.contains("nothing to do"), "{name}: {}", ran.err);
    }
}

fn what_cannot_be_sampled_is_told_and_harms_nothing() {
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

    // What cannot begin leaves nothing behind, and takes nothing away.
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

fn duplicates_are_told_of_and_left_out() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = directory.path().join(name);
        let args = [
            "--limit",
            "3",
            "--strategy",
            "uniform",
            "--k",
            "6",
            "--max-trials",
            "20",
        ];
        let ran = synthesize.run(&[&args[..], &["--out", out.to_str().unwrap()], more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let manifest = fs::read(out.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let rows = rows(&out.join("dataset.jsonl"));
        let distinct: std::collections::HashSet<String> =
            rows.iter().map(Value::to_string).collect();
        (
            ran,
            rows.len(),
            distinct.len(),
            manifest["totals"]["duplicates"].as_u64().unwrap(),
        )
    };
    let (ran, kept, distinct, duplicates) = run("all", &[]);
    assert!(distinct < kept, "the model never repeats itself");
    assert_eq!(duplicates, (kept - distinct) as u64);
    let said = format!("{duplicates} of the responses kept are exactly another one");
    assert!(ran.err.contains(&said), "{}", ran.err);
    let (ran, kept, distinct, duplicates) = run("distinct", &["--dedup"]);
    assert_eq!(kept, distinct);
    let said = format!("{duplicates} left out as duplicates");
    assert!(ran.err.contains(&said), "{}", ran.err);
    let left_out = rows(&directory.path().join("distinct/trials.jsonl"));
    let left_out = left_out
        .iter()
        .filter(|trial| trial["duplicate_of"].is_u64());
    assert_eq!(left_out.count() as u64, duplicates);
}

fn a_resumed_run_may_take_more_problems() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let run =
        |limit: &str| synthesize.run(&[&["--limit", limit], &SHORT[2..], &["--out", out]].concat());
    assert_eq!(run("3").code, Some(0));
    let first = fs::read_to_string(directory.path().join("dataset.jsonl")).unwrap();
    let ran = run("6");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("; 6 resumed + 6 drawn, in "),
        "{}",
        ran.err
    );
    let second = fs::read_to_string(directory.path().join("dataset.jsonl")).unwrap();
    assert!(second.starts_with(&first) && second.len() > first.len());
    assert_eq!(rows(&directory.path().join("problems.jsonl")).len(), 6);
    let ran = run("5");
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err
            .contains("error: --limit may only be raised (was 6, now 5): journal cannot be used: ")
            && ran.err.contains("problems.count was 6, is 5"),
        "{}",
        ran.err
    );
}

/// A run that goes on; killed where its test fails.
#[cfg(unix)]
struct Running(std::process::Child);

#[cfg(unix)]
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a run that does not end by itself, with none but these signals ignored, and waits until it
/// samples.
#[cfg(unix)]
fn start(synthesize: &Tool, ignored: &'static [libc::c_int], out: &Path) -> Running {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    let mut command = Command::new(synthesize.path());
    command
        .args([
            "--limit",
            "8",
            "--strategy",
            "vanilla",
            "--trials",
            "100000",
            "--out",
        ])
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec only `signal` is called, which may be called there. (The test
    // itself may run with signals ignored, which a shell cannot undo.)
    unsafe {
        command.pre_exec(move || {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                let action = match ignored.contains(&signal) {
                    true => libc::SIG_IGN,
                    false => libc::SIG_DFL,
                };
                libc::signal(signal, action);
            }
            Ok(())
        });
    }
    let child = Running(command.spawn().unwrap());
    let journal = out.join("journal.jsonl");
    within_two_minutes("nothing is sampled", || {
        fs::metadata(&journal).is_ok_and(|meta| meta.len() > 20_000)
    });
    child
}

#[cfg(unix)]
fn within_two_minutes(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 120, "{otherwise}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Waits for the end of a run: its code, and what it said.
#[cfg(unix)]
fn end(mut run: Running) -> (Option<i32>, String) {
    let mut said = String::new();
    let mut code = None;
    within_two_minutes("it goes on after a signal", || {
        let status = run.0.try_wait().unwrap();
        code = status.and_then(|status| status.code());
        status.is_some()
    });
    let mut err = run.0.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut err, &mut said).unwrap();
    (code, said)
}

#[cfg(unix)]
fn signal(run: &Running, name: &str) {
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), &run.0.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[cfg(unix)]
fn an_interrupted_run_says_what_is_kept_and_how_it_goes_on() {
    let synthesize = Tool::new("synthesize");
    for name in ["INT", "TERM", "HUP"] {
        let directory = tempfile::tempdir().unwrap();
        let child = start(&synthesize, &[], directory.path());
        signal(&child, name);
        let (code, err) = end(child);
        assert_eq!(code, Some(130), "{name}: {err}");
        let kept = rows(&directory.path().join("dataset.jsonl")).len();
        assert!(kept > 0);
        let said =
            format!("the run was interrupted: kept so far: {kept} responses; not done: 8 problems");
        assert!(err.contains(&said), "{err}");
        assert!(err.contains("the same command goes on from there"), "{err}");
        assert!(err.contains("; once more quits at once"), "{err}");
        assert!(!err.contains("-0"), "{err}");
    }
}

#[cfg(unix)]
fn signals_that_were_ignored_stay_ignored() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    // As `nohup` does.
    let mut child = start(&synthesize, &[libc::SIGHUP], directory.path());
    for _ in 0..3 {
        signal(&child, "HUP");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    assert!(
        child.0.try_wait().unwrap().is_none(),
        "it went with its terminal"
    );
    signal(&child, "INT");
    assert_eq!(end(child).0, Some(130));
}

/// `timeout -s INT` signals its child, and then its group, in which the child is.
#[cfg(unix)]
fn two_signals_at_once_are_one() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let child = start(&synthesize, &[], directory.path());
    let id = libc::pid_t::try_from(child.0.id()).unwrap();
    for _ in 0..2 {
        // SAFETY: a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (code, err) = end(child);
    assert_eq!(code, Some(130), "{err}");
    assert_eq!(err.matches("once more quits at once").count(), 1, "{err}");
    assert!(!err.contains("quit at once: "), "{err}");
    assert!(err.contains("the run was interrupted: "), "{err}");
    assert!(directory.path().join("manifest.json").exists(), "{err}");
}

/// A run that cannot end, because its data set's file takes nothing, does so by another signal.
#[cfg(unix)]
fn a_later_signal_quits_at_once() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(&synthesize, &[], directory.path());
    let pipe = directory.path().join(".dataset.jsonl.draft");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    within_two_minutes("signals do not end it", || {
        // It may have ended since the last look.
        let _ = std::process::Command::new("kill")
            .args(["-INT", &child.0.id().to_string()])
            .status();
        std::thread::sleep(std::time::Duration::from_millis(400));
        child.0.try_wait().unwrap().is_some()
    });
    let (code, err) = end(child);
    assert_eq!(code, Some(130), "{err}");
    let quit = "quit at once: what was graded is in the journal";
    assert!(err.contains(quit), "{err}");
    assert!(!directory.path().join("manifest.json").exists());
}

/// A run that another process goes on with is neither resumed nor replaced, and nobody is advised to.
#[cfg(unix)]
fn a_directory_of_a_run_that_goes_on_is_left_alone() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let child = start(&synthesize, &[], directory.path());
    let out = directory.path().to_str().unwrap();
    for more in [&[][..], &["--fresh"]] {
        let ran = synthesize.run(&[&SHORT[..], &["--out", out], more].concat());
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(
            ran.err.contains("journal.jsonl: another process holds it"),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("--fresh"), "{}", ran.err);
    }
    signal(&child, "INT");
    assert_eq!(end(child).0, Some(130));
}

/// What a line says, its numbers apart: each is `N`, and spaces and rules may be of any length.
fn form(line: &str) -> String {
    let mut form = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { 'N' } else { c };
        if !(matches!(c, 'N' | ' ' | '-') && form.ends_with(c)) {
            form.push(c);
        }
    }
    // Decimals, and signs before a share that is none.
    form.replace("N.N", "N")
}

/// The README's block of the first run has every line that such a run prints, and no other.
fn the_readme_shows_what_is_printed() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let (_, after) = readme.split_once("```text\nmodel abacus").unwrap();
    let (block, _) = after.split_once("\n```").unwrap();
    let shown: Vec<String> = format!("model abacus{block}").lines().map(form).collect();
    // As many levels, of fewer problems.
    let ran = Tool::new("synthesize").run(&["--limit", "48"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let progress = |line: &&str| line.contains(" problems done, ") && line.contains(" gone, ");
    let said: Vec<String> = ran
        .err
        .lines()
        .filter(|line| !progress(line))
        .map(form)
        .collect();
    // Whether trials came too late, or were no longer wanted, is a matter of the schedule.
    let late = |line: &String| match line.split_once("; N drawn") {
        Some((begin, _)) => format!("{begin}, in N s"),
        None => line.replace(" and N cancelled", ""),
    };
    let strip = |lines: &[String]| lines.iter().map(late).collect::<Vec<_>>();
    assert_eq!(strip(&said), strip(&shown));
}

/// The numbers at the beginning of these parts of a line.
fn numbers(parts: &str) -> Vec<u64> {
    let parts = parts.split([',', ';', ':', '(', ')']).map(str::trim);
    let number = |part: &str| part.split(' ').next().unwrap().parse().ok();
    parts.filter_map(number).collect()
}

fn the_numbers_of_a_summary_add_up() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = directory.path().join(name);
        let ran = synthesize.run(&[more, &["--out", out.to_str().unwrap()]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let line = |start: &str| {
            let found = ran.err.lines().find(|line| {
                line.split_once(' ')
                    .is_some_and(|(_, rest)| rest.starts_with(start))
            });
            found
                .unwrap_or_else(|| panic!("no {start}: {}", ran.err))
                .to_owned()
        };
        let problems = numbers(&line("problems: "));
        assert_eq!(
            problems[0],
            problems[1..].iter().sum::<u64>(),
            "{}",
            ran.err
        );
        let trials = line("trials: ");
        let (trials, _) = trials.split_once("; ").unwrap_or((&*trials, ""));
        let trials = numbers(
            trials
                .rsplit_once(", in ")
                .map_or(trials, |(trials, _)| trials),
        );
        assert_eq!(trials[0], trials[1] + trials[2], "{}", ran.err);
        assert_eq!(trials[2], trials[3..].iter().sum::<u64>(), "{}", ran.err);
        let dataset = rows(&out.join("dataset.jsonl")).len() as u64;
        assert_eq!(trials[3], dataset, "{}", ran.err);
        assert_eq!(trials[0], rows(&out.join("trials.jsonl")).len() as u64);
        ran.err
    };
    let said = run("first", &["--limit", "16", "--max-trials", "6"]);
    assert!(
        said.contains(" ended with less, at the limit of 6 trials"),
        "{said}"
    );
    // Drawn anew are those that the limit did not let be.
    let said = run("first", &["--limit", "24", "--max-trials", "8"]);
    assert!(said.contains(" resumed + "), "{said}");
    let said = run("dedup", &["--limit", "16", "--dedup"]);
    assert!(said.contains(" left out as duplicates"), "{said}");
}

/// All keys of an object, those of the objects in it included.
fn keys(value: &Value, into: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                into.insert(key.clone());
                // A file of problems may have any metadata.
                if key != "metadata" {
                    keys(value, into);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

fn every_key_of_the_output_is_documented() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let long = "Ruth puts in 5 more. ".repeat(80);
    let row = |question: &str| {
        let row = serde_json::json!({"question": question, "answer": 10, "level": 1});
        format!("{row}\n")
    };
    let good =
        row("A box holds 5 stones. Ruth puts in 5 more. How many stones are in the box now?");
    fs::write(&problems, format!("{good}{}x\n", row(&long))).unwrap();
    let table = directory.path().join("rates.jsonl");
    let guide = fs::read_to_string(repository("docs/output.md")).unwrap();
    let section = |name: &str| -> &str {
        let (_, after) = guide.split_once(&format!("\n## `{name}`")).unwrap();
        after
            .split_once("\n## ")
            .map_or(after, |(section, _)| section)
    };
    let own = ["--problems", problems.to_str().unwrap(), "--skip-bad"];
    let vanilla = ["--strategy", "vanilla", "--trials", "9"];
    let rated = ["--limit", "8", "--pass-rates", table.to_str().unwrap()];
    for (number, args) in [
        [&own[..], &vanilla].concat(),
        vec!["--limit", "8", "--grader", "steps"],
        rated.to_vec(),
    ]
    .into_iter()
    .enumerate()
    {
        let out = directory.path().join(number.to_string());
        let ran = synthesize.run(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        for file in fs::read_dir(&out).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "journal.jsonl" {
                assert!(guide.contains("`journal.jsonl`"));
                continue;
            }
            let mut found = std::collections::BTreeSet::new();
            match name.ends_with(".jsonl") {
                true => rows(&path).iter().for_each(|row| keys(row, &mut found)),
                false => keys(
                    &serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(),
                    &mut found,
                ),
            }
            assert!(found.len() > 1, "{name}");
            let section = section(name);
            let lacking: Vec<&String> = found
                .iter()
                .filter(|key| !section.contains(&format!("`{key}`")))
                .collect();
            assert!(lacking.is_empty(), "docs/output.md, {name}: {lacking:?}");
        }
        if number == 1 {
            fs::copy(out.join("problems.jsonl"), &table).unwrap();
        }
    }
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
    // One's own problems are nothing for the built-in model, and that is said beforehand.
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
    // The same problems of a file without bad rows: the manifest says so.
    fs::write(&problems, good).unwrap();
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(manifest()["skipped_rows"]["count"], 0);
    assert_eq!(manifest()["sessions"], first["sessions"]);
}

fn changed_metadata_is_written_anew() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let out = directory.path().join("out");
    let run = |level: &str| {
        let row = serde_json::json!({"question": "1 + 1?", "answer": 2, "level": level, "x": 0.1});
        fs::write(&problems, row.to_string()).unwrap();
        let args = ["--problems", problems.to_str().unwrap(), "--out"];
        let ran = synthesize.run(&[&args[..], &[out.to_str().unwrap()], &SHORT[2..]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let row = rows(&out.join("problems.jsonl")).remove(0);
        assert_eq!(row["metadata"]["level"], level);
        (ran.err, fs::read(out.join("trials.jsonl")).unwrap())
    };
    let (_, trials) = run("Level 1");
    assert!(run("Level 1").0.contains("nothing to do"));
    let (said, same) = run("Level 2");
    assert!(
        !said.contains("nothing to do") && said.contains("written to"),
        "{said}"
    );
    assert_eq!(same, trials);
    assert!(run("Level 2").0.contains("nothing to do"));
    // A byte of a file of a finished run is not as it was.
    let damaged = out.join("trials.jsonl");
    let mut bytes = trials.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let (said, again) = run("Level 2");
    assert!(said.contains("written anew"), "{said}");
    assert_eq!(again, trials);
    assert!(run("Level 2").0.contains("nothing to do"));
}

fn a_directory_that_is_none_is_told_of() {
    let synthesize = Tool::new("synthesize");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for more in [&[][..], &["--fresh"]] {
        let ran = synthesize.run(&[&SHORT[..], &["--out", path], more].concat());
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        let said = format!("error: --out {path}: a file, not a directory\n");
        assert_eq!(ran.err, said);
    }
}

fn progress_is_told_as_json() {
    let ran = Tool::new("synthesize").run(&[&SHORT[..], &["--progress", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines = ran.err.lines().filter(|line| line.starts_with('{'));
    let told: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(told.len() >= 2, "{}", ran.err);
    let count = |line: &Value, field: &str| line[field].as_u64().unwrap();
    assert_eq!(count(&told[0], "done"), 0);
    let last = told.last().unwrap();
    assert_eq!(count(last, "done"), count(last, "problems"));
    assert_eq!(last["remaining"]["trials"], 0);
    for pair in told.windows(2) {
        assert!(count(&pair[0], "trials") <= count(&pair[1], "trials"));
        let seconds = |line: &Value| line["elapsed"].as_f64().unwrap();
        assert!(seconds(&pair[0]) <= seconds(&pair[1]));
    }
}

fn a_run_is_graded_anew() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let args = [
        "--limit",
        "8",
        "--last-value",
        "--strategy",
        "vanilla",
        "--trials",
        "4",
        "--out",
        out,
    ];
    let run = |more: &[&str]| synthesize.run(&[&args[..], more].concat());
    assert_eq!(run(&[]).code, Some(0));
    let correct = || {
        let trials = rows(&directory.path().join("trials.jsonl"));
        let correct = trials.iter().filter(|trial| trial["equal"] == true);
        (trials.len(), correct.count())
    };
    let before = correct();
    let refused = run(&["--grader", "steps"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("grader"), "{}", refused.err);
    let ran = run(&["--grader", "steps", "--regrade"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("graded anew: 32 trials"), "{}", ran.err);
    // No derivation is right without the right last value.
    let after = correct();
    assert!(
        after.0 == before.0 && after.1 <= before.1,
        "{before:?} {after:?}"
    );
    let again = run(&["--grader", "steps"]);
    assert!(again.err.contains("nothing to do"), "{}", again.err);
}
