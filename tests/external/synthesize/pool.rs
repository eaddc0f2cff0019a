//! Shards, joined journals, selections, and forecasts: the operations without a model, and their messages.

use std::fs;
use std::path::Path;

use super::rows;
use crate::harness::{Test, tests};
use crate::tool::{Ran, Tool};

pub(crate) const TESTS: &[Test] = tests![
    shards_are_joined_to_the_whole_run,
    other_strategies_are_selected_from_a_journal,
    a_journal_is_exported_as_json_lines,
    a_forecast_stands_beside_what_came,
    a_journal_is_read_where_it_cannot_be_written,
    a_journal_without_its_head_is_named,
    a_limit_of_tokens_counts_earlier_calls,
];

const BASE: [&str; 6] = ["--limit", "9", "--strategy", "uniform", "--k", "2"];

fn synthesize(args: &[&str]) -> Ran {
    Tool::new("synthesize").run(args)
}

fn good(args: &[&str]) -> Ran {
    let ran = synthesize(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
    ran
}

fn same_files(a: &Path, b: &Path) {
    for name in ["dataset.jsonl", "trials.jsonl", "problems.jsonl"] {
        let read = |directory: &Path| fs::read(directory.join(name)).unwrap();
        assert!(read(a) == read(b), "{name} differs");
    }
}

fn shards_are_joined_to_the_whole_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let whole = path("whole");
    good(&[&BASE[..], &["--out", &whole]].concat());
    for index in ["0", "1"] {
        let (shard, out) = (format!("{index}/2"), path(index));
        good(&[&BASE[..], &["--shard", &shard, "--out", &out]].concat());
        let manifest = fs::read_to_string(Path::new(&out).join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["shard"]["count"], 2);
    }
    let (joined, zero, one) = (path("joined"), path("0"), path("1"));
    let merge = ["--out", &joined, "--merge", &zero, &one];
    let ran = good(&[&BASE[..], &merge].concat());
    assert!(ran.err.contains("of 2 journals"), "{}", ran.err);
    same_files(Path::new(&joined), Path::new(&whole));
    // The joined run is a run like any other.
    let ran = good(&[&BASE[..], &["--out", &joined]].concat());
    assert!(ran.err.contains("nothing to do"), "{}", ran.err);

    // Joining it again with itself: --fresh removes it only after the others were read completely.
    let again = ["--out", &joined, "--fresh", "--merge", &joined, &zero];
    good(&[&BASE[..], &again].concat());
    same_files(Path::new(&joined), Path::new(&whole));
    let absent = path("absent");
    let lost = ["--out", &joined, "--fresh", "--merge", &zero, &absent];
    let refused = synthesize(&[&BASE[..], &lost].concat());
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    same_files(Path::new(&joined), Path::new(&whole));
    assert!(Path::new(&joined).join("journal/run.jsonl").exists());
    assert!(!Path::new(&joined).join("journal.joined").exists());

    // With half of the shards, missing problems are named. The same command without --merge draws them.
    let half = path("half");
    let ran = synthesize(&[&BASE[..], &["--out", &half, "--merge", &one]].concat());
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.contains("not done: 5 problems"), "{}", ran.err);
    assert!(
        ran.err.contains("5 problems without a trial"),
        "{}",
        ran.err
    );
    good(&[&BASE[..], &["--out", &half]].concat());
    same_files(Path::new(&half), Path::new(&whole));

    let again = synthesize(&[&BASE[..], &merge].concat());
    assert_eq!(again.code, Some(1));
    assert!(
        again.err.contains("there is a journal already"),
        "{}",
        again.err
    );
    let unmade = path("unmade");
    for (code, args, said) in [
        (2, &["--shard", "2/2"][..], "it may be 0 to 1"),
        (
            1,
            &["--limit", "9", "--shard", "0/2", "--out", &one],
            "is it another shard's than 0/2?",
        ),
        (
            1,
            &["--limit", "4", "--out", &unmade, "--merge", &zero, &one],
            "(--problems, --limit and --last-value are to be as the shards had them)",
        ),
    ] {
        let bad = synthesize(&[&BASE[2..], args].concat());
        assert_eq!(bad.code, Some(code), "{args:?}: {}", bad.err);
        assert!(bad.err.contains(said), "{args:?}: {}", bad.err);
    }
    assert!(!Path::new(&unmade).exists());
}

fn other_strategies_are_selected_from_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pool, own, selected) = (path("pool"), path("own"), path("selected"));
    let few = ["--limit", "6"];
    let vanilla = ["--strategy", "vanilla", "--trials", "12", "--out", &pool];
    good(&[&few[..], &vanilla].concat());
    let prop2diff = ["--k", "3", "--pilot", "4", "--max-trials", "12"];
    good(&[&few[..], &prop2diff, &["--out", &own]].concat());
    let select = ["--select", &pool, "--out", &selected];
    good(&[&few[..], &prop2diff, &select].concat());
    same_files(Path::new(&own), Path::new(&selected));
    // The strategy asks for more than the pool has: files are written, and the exit status reports the shortage.
    let (fewer, many) = (path("fewer"), ["--strategy", "vanilla", "--trials", "13"]);
    let select = ["--select", &pool, "--out", &fewer];
    let ran = synthesize(&[&few[..], &many, &select].concat());
    assert_eq!(ran.code, Some(3), "{}", ran.err);
    assert!(ran.err.contains("not done: 6 problems"), "{}", ran.err);
    assert_eq!(rows(&Path::new(&fewer).join("trials.jsonl")).len(), 72);
    let none = synthesize(&[&few[..], &["--select", &path("none")]].concat());
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("none/journal"), "{}", none.err);
    // A refused call creates no directory, and does not remove the pool it selects from.
    let (unmade, absent) = (path("unmade"), path("absent"));
    let refused = synthesize(&[&few[..], &["--select", &absent, "--out", &unmade]].concat());
    assert_eq!(refused.code, Some(1));
    assert!(!Path::new(&unmade).exists());
    let itself = ["--select", &pool, "--out", &pool, "--fresh"];
    let refused = synthesize(&[&few[..], &itself].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(Path::new(&pool).join("journal/run.jsonl").exists());
    // A selection replaces an earlier selection,
    let again = [
        "--select",
        &pool,
        "--out",
        &fewer,
        "--strategy",
        "uniform",
        "--k",
        "1",
    ];
    good(&[&few[..], &again].concat());
    assert_eq!(rows(&Path::new(&fewer).join("dataset.jsonl")).len(), 6);
    let less = synthesize(&["--limit", "5", "--select", &pool, "--out", &fewer]);
    assert!(
        less.code == Some(1) && !less.err.contains("--fresh"),
        "{}",
        less.err
    );
    // but not another run's data set.
    let before = rows(&Path::new(&own).join("trials.jsonl"));
    let refused = synthesize(&[&few[..], &["--select", &pool, "--out", &own]].concat());
    assert_eq!(refused.code, Some(1), "{}", refused.err);
    assert!(refused.err.contains("a run of its own"), "{}", refused.err);
    assert_eq!(rows(&Path::new(&own).join("trials.jsonl")), before);
    // A selection refuses limits of the whole run and another grader. Sampling flags are only noted.
    for flag in [
        ["--max-run-tokens", "9"],
        ["--max-run-trials", "9"],
        ["--max-run-time", "9s"],
        ["--max-problem-time", "9s"],
        ["--grader", "steps"],
    ] {
        let refused = synthesize(&[&few[..], &flag, &["--select", &pool]].concat());
        assert_eq!(refused.code, Some(2), "{}", refused.err);
    }
    let noted = synthesize(&[&few[..], &["--temperature", "0.2", "--select", &pool]].concat());
    assert!(
        noted.err.contains("note: nothing is sampled"),
        "{}",
        noted.err
    );
}

/// Reading a journal needs no write permission, and several processes may read it at once.
#[cfg(unix)]
fn a_journal_is_read_where_it_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pool, one, other) = (path("pool"), path("one"), path("other"));
    let few = ["--limit", "6", "--strategy", "vanilla", "--trials", "4"];
    good(&[&few[..], &["--out", &pool]].concat());
    let journal = Path::new(&pool).join("journal");
    let set = |mode: u32| {
        for entry in fs::read_dir(&journal).unwrap() {
            let permissions = fs::Permissions::from_mode(mode & 0o666);
            fs::set_permissions(entry.unwrap().path(), permissions).unwrap();
        }
        fs::set_permissions(&journal, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o555);
    let reader = fs::File::open(journal.join("run.jsonl")).unwrap();
    reader.lock_shared().unwrap();
    let before: Vec<_> = fs::read_dir(&journal).unwrap().collect();
    good(&[&few[..], &["--select", &pool, "--out", &one]].concat());
    good(&[&few[..], &["--merge", &pool, "--out", &other]].concat());
    same_files(Path::new(&one), Path::new(&pool));
    same_files(Path::new(&other), Path::new(&pool));
    assert_eq!(fs::read_dir(&journal).unwrap().count(), before.len());
    set(0o755);
}

#[cfg(not(unix))]
fn a_journal_is_read_where_it_cannot_be_written() {}

/// A journal that cannot be read or has lost its header is not treated as absent.
fn a_journal_without_its_head_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let text = out.to_str().unwrap();
    let few = ["--limit", "6", "--out", text];
    good(&few);
    let head = out.join("journal/run.jsonl");
    let whole = fs::read_to_string(&head).unwrap();
    // With only the first line left, the calls are lost but the run is the same.
    fs::write(&head, whole.split_inclusive('\n').next().unwrap()).unwrap();
    good(&few);
    let ran = good(&few);
    assert!(ran.err.contains("nothing to do"), "{}", ran.err);
    fs::write(&head, "").unwrap();
    let refused = synthesize(&few);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("run.jsonl: missing, or without"),
        "{}",
        refused.err
    );
    fs::remove_file(&head).unwrap();
    fs::create_dir(&head).unwrap();
    let refused = synthesize(&few);
    assert_eq!(refused.code, Some(1));
    assert!(!refused.err.contains("--fresh would"), "{}", refused.err);
}

/// Also, an old card does not stay beside new files. (Another test checks the exact count of tokens.)
fn a_limit_of_tokens_counts_earlier_calls() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let text = out.to_str().unwrap();
    let run = |most: &str, more: &[&str]| {
        let limit = ["--limit", "16", "--out", text, "--max-run-tokens", most];
        let ran = synthesize(&[&limit[..], more].concat());
        assert_eq!(ran.code, Some(3), "{}", ran.err);
        let manifest = fs::read_to_string(out.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["stop"], "tokens");
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let reached = number(&manifest["stop_figures"]["reached"]);
        (
            reached,
            number(&manifest["totals"]["tokens_sampled"]),
            ran.err,
        )
    };
    let (first, sampled, _) = run("3000", &["--card"]);
    assert!((3000.0..4000.0).contains(&first) && sampled >= first);
    let (second, all, said) = run("9000", &[]);
    assert!(second >= 9000.0 && all >= second, "{second} of {all}");
    assert!(
        said.contains("README.md is the card of the files as they were"),
        "{said}"
    );
}

fn a_journal_is_exported_as_json_lines() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let text = out.to_str().unwrap();
    good(&[&BASE[..], &["--out", text]].concat());
    let journal = out.join("journal");
    let exported = Tool::new("journal").run(&["export", journal.to_str().unwrap()]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let trials = rows(&out.join("trials.jsonl"));
    assert!(exported.out.lines().count() >= trials.len());
    let keys = |row: &serde_json::Value| {
        let keys = row.as_object().unwrap().keys();
        let keys = keys.filter(|key| *key != "duplicate_of");
        keys.cloned().collect::<Vec<_>>()
    };
    for line in exported.out.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(keys(&row), keys(&trials[0]));
    }
    let none = Tool::new("journal").run(&["export", text]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("run.jsonl"), "{}", none.err);
}

fn a_forecast_stands_beside_what_came() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pilot, out) = (path("pilot"), path("run"));
    let vanilla = ["--strategy", "vanilla", "--trials", "6", "--seed", "9"];
    good(&[&["--limit", "16"], &vanilla[..], &["--out", &pilot]].concat());
    let run = [
        "--limit",
        "16",
        "--strategy",
        "uniform",
        "--k",
        "3",
        "--out",
        &out,
    ];
    let table = format!("--dry-run={pilot}/problems.jsonl");
    let costs = ["--expect-tokens", "75", "--expect-speed", "1000"];
    let ran = good(&[&run[..], &[&table], &costs].concat());
    assert!(
        ran.err.contains("of the targets met") && ran.err.contains(" s ("),
        "{}",
        ran.err
    );
    let kept = fs::read_to_string(Path::new(&out).join("forecast.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["rows"][6]["trials_per_problem"], 48);
    good(&run);
    let manifest = fs::read_to_string(Path::new(&out).join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let trials = &manifest["forecast"]["trials"];
    assert_eq!(
        trials["actual"],
        manifest["totals"]["trials"].as_f64().unwrap()
    );
    let expected = trials["expected"].as_f64().unwrap();
    let ratio = expected / trials["actual"].as_f64().unwrap();
    assert!((0.4..2.5).contains(&ratio), "{trials}");
    // By its own journal, nothing is left to do.
    let ran = good(&[&run[..], &["--dry-run"]].concat());
    assert!(ran.err.contains("so far: "), "{}", ran.err);
    let none = synthesize(&["--dry-run"]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("needs pass rates"), "{}", none.err);
}
