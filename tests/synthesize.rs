//! The example `synthesize` as a user meets it: its files, its refusals, its exit codes.
#![cfg(feature = "engine")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The example's binary, which `cargo test` builds beside the tests.
fn binary() -> Option<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let name = format!("synthesize{}", std::env::consts::EXE_SUFFIX);
    let path = tests.parent()?.parent()?.join("examples").join(name);
    if !path.exists() {
        eprintln!("skipped: the example is not built (cargo build --example synthesize)");
        return None;
    }
    Some(path)
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn synthesize(binary: &Path, args: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(binary).args(args).output().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

#[test]
fn a_directory_is_made_resumed_refused_and_begun_anew() {
    let Some(binary) = binary() else { return };
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let out = out.to_str().unwrap();
    let base = ["--limit", "8", "--strategy", "uniform", "--out", out];
    let run = |more: &[&str]| synthesize(&binary, &[&base, more].concat());
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

#[test]
fn rows_go_to_a_standard_output_that_is_no_terminal() {
    let Some(binary) = binary() else { return };
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
    let ran = synthesize(&binary, &args);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("problems.jsonl:2: no `reference`"),
        "{}",
        ran.err
    );
    assert!(ran.out.is_empty());

    let ran = synthesize(&binary, &[&args[..], &["--skip-bad"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("left out 1 bad rows, the first at line 2"),
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

#[test]
fn flags_that_make_no_sense_are_refused() {
    let Some(binary) = binary() else { return };
    for (args, reason) in [
        (&["--trials", "4"][..], "--trials is of no use"),
        (&["--strategy", "vanilla", "--k", "4"], "--k is of no use"),
        (
            &["--strategy", "uniform", "--pilot", "4"],
            "--pilot is of no use",
        ),
        (&["--k", "0"], "k must be at least 1"),
        (&["--limit", "0"], "there are none"),
        (&["--problems", "no/such/file"], "no/such/file"),
        (&["--pass-rates", "no/such/table"], "no/such/table"),
        (&["--model", "no/such.gguf"], "no/such.gguf"),
    ] {
        let ran = synthesize(&binary, args);
        assert_eq!(ran.code, Some(1), "{args:?}");
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
    }
    assert_eq!(synthesize(&binary, &["--fresh"]).code, Some(2));
    assert!(
        synthesize(&binary, &["--help"])
            .out
            .contains("--max-trials")
    );
}
