//! The example `synthesize` as a user meets it: its files, its refusals, its exit codes.
#![cfg(feature = "engine")]

mod tool;

use std::fs;
use std::path::Path;

use tool::Tool;

#[test]
fn a_directory_is_made_resumed_refused_and_begun_anew() {
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
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

#[test]
fn rows_go_to_a_standard_output_that_is_no_terminal() {
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
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
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
    for (args, code, reason) in [
        (&["--trials", "4"][..], 2, "--trials is of no use"),
        (
            &["--strategy", "vanilla", "--k", "4"],
            2,
            "--k is of no use",
        ),
        (
            &["--strategy", "uniform", "--pilot", "4"],
            2,
            "--pilot is of no use",
        ),
        (&["--k", "0"], 2, "k must be at least 1"),
        (&["--limit", "0"], 2, "there are none"),
        (&["--fresh"], 2, "--out"),
        (
            &["--skip-bad"],
            2,
            "--skip-bad is of no use without --problems",
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
        (&["--problems", "no/such/file"], 1, "no/such/file"),
        (&["--pass-rates", "no/such/table"], 1, "no/such/table"),
        (&["--model", "no/such.gguf"], 1, "no/such.gguf"),
    ] {
        let ran = synthesize.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
    }
    assert!(synthesize.run(&["--help"]).out.contains("--max-trials"));
}

/// Both kinds of built-in problems, both graders: the steps accept no more than the answer does.
#[test]
fn built_in_problems_and_their_grader_can_be_chosen() {
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
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

#[test]
#[cfg(unix)]
fn a_line_without_end_is_refused() {
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
    let ran = synthesize.run(&["--problems", "/dev/zero"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("/dev/zero:1: longer than 16 MiB"),
        "{}",
        ran.err
    );
}

#[test]
fn a_manifest_tells_of_every_call() {
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
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

#[test]
fn a_data_set_that_cannot_be_written_does_not_hide_the_run() {
    let Some(synthesize) = Tool::find("synthesize") else {
        return;
    };
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
