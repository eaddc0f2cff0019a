//! The contents of a run's directory, and the effect of a second call.

use std::fs;
use std::path::Path;

use super::{SHORT, rows};
use crate::harness::{Test, tests};
use crate::tool::{Ran, Tool};

pub(crate) const TESTS: &[Test] = tests![
    a_directory_is_made_resumed_refused_and_begun_anew,
    a_manifest_records_every_call,
    a_data_set_that_cannot_be_written_does_not_hide_the_run,
    everything_that_decides_tokens_may_not_change,
    changed_metadata_is_written_anew,
    a_file_in_place_of_a_directory_is_refused,
    a_run_is_graded_anew,
    a_resumed_run_may_take_more_problems,
];

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

    let journal = [read("journal/run.jsonl"), read("journal/000001.jsonl")];
    let journal_now = || [read("journal/run.jsonl"), read("journal/000001.jsonl")];
    let ran = run(&["--k", "2", "--max-trials", "6"]);
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.err.contains("finished") && ran.err.contains("nothing to do"),
        "{}",
        ran.err
    );
    assert_eq!(journal_now(), journal);

    let ran = run(&["--k", "3", "--max-trials", "6", "--temperature", "0.9"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("generator.temperature was 1.0, is 0.9 ("),
        "{}",
        ran.err
    );
    assert_eq!(journal_now(), journal);

    // If the journal is truncated, only the missing trials are drawn, and the data set is the same.
    let dataset = read("dataset.jsonl");
    let half: Vec<&[u8]> = journal[1].split_inclusive(|&byte| byte == b'\n').collect();
    fs::write(
        Path::new(out).join("journal/000001.jsonl"),
        half[..half.len() / 2].concat(),
    )
    .unwrap();
    fs::remove_file(Path::new(out).join("dataset.jsonl")).unwrap();
    let ran = run(&["--k", "2", "--max-trials", "6", "--slots", "3"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(read("dataset.jsonl"), dataset);

    let ran = run(&["--k", "3", "--max-trials", "6", "--fresh"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    fs::remove_dir_all(Path::new(out).join("journal")).unwrap();
    let ran = run(&["--k", "3"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("no journal to resume from"), "{}", ran.err);
}

fn a_manifest_records_every_call() {
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
        "the same command goes on from its journal",
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
    let journal = fs::read(out.join("journal/000001.jsonl")).unwrap();

    /// A change to a file's bytes.
    type Edit = Box<dyn Fn(Vec<u8>) -> Vec<u8>>;
    /// Replaces all occurrences of a text.
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
    assert_eq!(fs::read(out.join("journal/000001.jsonl")).unwrap(), journal);

    // Settings that do not affect the result may change.
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
    // A byte of a finished run's file changes.
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

fn a_file_in_place_of_a_directory_is_refused() {
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
    // A derivation is only right if its last value is.
    let after = correct();
    assert!(
        after.0 == before.0 && after.1 <= before.1,
        "{before:?} {after:?}"
    );
    let again = run(&["--grader", "steps"]);
    assert!(again.err.contains("nothing to do"), "{}", again.err);
}
