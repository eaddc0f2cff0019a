//! Removing test set problems and near duplicates from a data set, and adding reference solutions to it.

use std::fs;
use std::path::Path;

use dart_math::Problem;
use dart_math::data::arithmetic::{Asked, LEVELS, problems_asking};
use dart_math::data::decontaminate::TestSets;
use serde_json::Value;

use super::rows;
use crate::harness::{Test, tests};
use crate::tool::{Ran, Tool};

pub(crate) const TESTS: &[Test] = tests![
    problems_of_test_sets_are_left_out,
    near_duplicates_are_left_out_of_a_selection,
    solutions_are_rows_behind_the_responses,
    what_makes_no_sense_leaves_everything_as_it_was,
];

const FEW: [&str; 6] = ["--limit", "6", "--strategy", "vanilla", "--trials", "4"];

/// Returns the first built-in problems in the order of a run.
fn first_problems(count: usize) -> Vec<Problem> {
    let made = problems_asking(Asked::EveryValue, LEVELS, 30, 0);
    made.into_iter().step_by(30).take(count).collect()
}

/// Writes a test set with the first problem's question in another layout, and another question.
fn test_set(directory: &Path) -> String {
    let path = directory.join("test.jsonl");
    let question = first_problems(1)[0]
        .question
        .to_uppercase()
        .replace('.', " --");
    let row = serde_json::json!({"problem": question, "solution": "no answer"});
    fs::write(
        &path,
        format!("{row}\n{{\"question\": \"Who is it?\"}}\nx\n"),
    )
    .unwrap();
    path.to_str().unwrap().to_owned()
}

fn good(args: &[&str]) -> Ran {
    let ran = Tool::new("synthesize").run(args);
    assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
    ran
}

fn manifest(directory: &str) -> Value {
    let text = fs::read(Path::new(directory).join("manifest.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn problems_of_test_sets_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let tests = test_set(directory.path());
    let clean = ["--decontaminate", &tests, "--ngram", "20"];
    let own = path("own");
    let ran = good(&[&FEW[..], &clean, &["--out", &own]].concat());
    let found = TestSets::read(&[&tests], 20)
        .unwrap()
        .rejections(&first_problems(6));
    assert_eq!(found.iter().map(|it| it.problem).collect::<Vec<_>>(), [0]);
    for said in [
        "test.jsonl: 1 row without a question, the first at line 3: not JSON",
        "1 problem excluded: \"abacus-every-1-0000\": the whole question is also in test.jsonl:1",
        "1 are excluded",
    ] {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    let problems = rows(&Path::new(&own).join("problems.jsonl"));
    assert_eq!(problems.len(), 6);
    assert_eq!(
        (&problems[0]["stop_reason"], &problems[0]["trials"]),
        (&"excluded".into(), &0.into())
    );
    assert_eq!(problems[0]["rejection"], found[0].reason);
    let made = manifest(&own);
    assert_eq!(
        (&made["totals"]["excluded"], &made["excluded"]["count"]),
        (&1.into(), &1.into())
    );
    let said = &made["decontamination"];
    assert_eq!((&said["ngram"], &said["count"]), (&20.into(), &1.into()));
    assert_eq!(said["first"][0]["reason"], found[0].reason);
    assert_eq!(said["test_sets"][0]["name"], "test.jsonl");
    assert_eq!(said["test_sets"][0]["questions"], 2);

    // Selecting from a pool that has trials of the problem gives the same data set.
    let (pool, selected) = (path("pool"), path("selected"));
    good(&[&FEW[..], &["--out", &pool]].concat());
    good(&[&FEW[..], &clean, &["--select", &pool, "--out", &selected]].concat());
    let same = |a: &str, b: &str| {
        for name in ["dataset.jsonl", "trials.jsonl", "problems.jsonl"] {
            let read = |directory: &str| fs::read(Path::new(directory).join(name)).unwrap();
            assert!(read(a) == read(b), "{name}");
        }
    };
    same(&own, &selected);
    // Without the test set, the run resumes and draws the missing trials.
    let ran = good(&[&FEW[..], &["--out", &own]].concat());
    assert!(ran.err.contains("20 resumed + 4 drawn"), "{}", ran.err);
    same(&own, &pool);
    let ran = good(&[&FEW[..], &clean, &["--out", &own]].concat());
    assert!(ran.err.contains("or of excluded problems"), "{}", ran.err);
    same(&own, &selected);
}

fn near_duplicates_are_left_out_of_a_selection() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pool = path("pool");
    good(&[
        "--limit",
        "6",
        "--strategy",
        "vanilla",
        "--trials",
        "12",
        "--out",
        &pool,
    ]);
    let kept = |name: &str, more: &[&str]| {
        let out = path(name);
        let base = ["--limit", "6", "--strategy", "vanilla", "--trials", "12"];
        let ran = good(&[&base[..], &["--select", &pool, "--out", &out], more].concat());
        (manifest(&out), ran.err)
    };
    let count = |manifest: &Value| manifest["totals"]["kept"].as_u64().unwrap();
    let (exact, _) = kept("exact", &["--dedup"]);
    let (near, said) = kept("near", &["--near-duplicates", "0.1"]);
    assert!(count(&near) <= count(&exact) && count(&near) > 0);
    assert_eq!(
        (&near["dedup"], &near["near_duplicates"]),
        (&true.into(), &0.1.into())
    );
    assert!(exact.get("near_duplicates").is_none());
    assert!(
        said.contains(" left out as duplicates or near duplicates"),
        "{said}"
    );
    let dataset = rows(&directory.path().join("near").join("dataset.jsonl"));
    assert_eq!(dataset.len() as u64, count(&near));
}

fn solutions_are_rows_behind_the_responses() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let text = out.to_str().unwrap();
    let run = [&FEW[..], &["--with-solutions"]].concat();
    let ran = good(&[&run[..], &["--out", text, "--card"]].concat());
    let made = manifest(text);
    let count = |of: &str, name: &str| made[of][name].as_u64().unwrap() as usize;
    let (kept, added) = (count("totals", "kept"), count("solutions", "added"));
    assert_eq!(added + count("solutions", "duplicates"), 6);
    let said = format!("reference solutions: {added} row");
    assert!(ran.err.contains(&said), "{}", ran.err);
    let dataset = rows(&out.join("dataset.jsonl"));
    assert_eq!(dataset.len(), kept + added);
    let problems = first_problems(6);
    for row in &dataset[kept..] {
        let problem = problems
            .iter()
            .find(|it| row["query"] == *it.question)
            .unwrap();
        assert_eq!(row["response"].as_str(), problem.solution.as_deref());
    }
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert_eq!(card.contains("of `dataset` are no responses"), added > 0);
    assert!(
        good(&[&run[..], &["--out", text, "--card"]].concat())
            .err
            .contains("nothing to do")
    );
    // Without a directory, the rows are the same.
    let lines: Vec<Value> = good(&run)
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, dataset);
}

fn what_makes_no_sense_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (tests, out, pool, empty) = (
        test_set(directory.path()),
        path("out"),
        path("pool"),
        path("empty.jsonl"),
    );
    fs::write(&empty, "{\"id\": 1}\n").unwrap();
    good(&[&FEW[..], &["--out", &pool]].concat());
    let none = path("none.jsonl");
    let refused = |args: &[&str], code: i32, said: &str| {
        let ran = Tool::new("synthesize").run(&[&FEW[..], &["--out", &out], args].concat());
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(said), "{args:?}: {}", ran.err);
        assert!(!Path::new(&out).exists(), "{args:?}");
    };
    refused(&["--decontaminate", &none], 1, "none.jsonl");
    refused(
        &["--decontaminate", &empty],
        1,
        "empty.jsonl: no question to decontaminate by",
    );
    refused(
        &["--decontaminate", &tests, "--ngram", "0"],
        2,
        "at least 1",
    );
    refused(&["--ngram", "5"], 2, "--decontaminate");
    for (flag, bad, range) in [
        ("--futility", "1", "between 0 and 1"),
        ("--sure", "0.4", "from 0.5 to 1"),
        ("--expect-speed", "0", "above 0"),
    ] {
        let said = format!("' for '{flag} <");
        refused(&["--dry-run", flag, bad], 2, &said);
        refused(
            &["--dry-run", flag, bad],
            2,
            &format!("a number {range} is"),
        );
    }
    refused(
        &["--near-duplicates", "0.8"],
        2,
        "--near-duplicates needs --select or --merge",
    );
    for bad in ["0", "1.5", "nan"] {
        let args = ["--select", &pool, "--near-duplicates", bad];
        refused(
            &args,
            2,
            "--near-duplicates <SIMILARITY>': a number above 0 and up to 1",
        );
    }
    refused(
        &["--select", &pool, "--decontaminate", &none],
        1,
        "none.jsonl",
    );
    // A test set with all problems leaves no problem to run.
    let all = path("all.jsonl");
    let row =
        |problem: &Problem| serde_json::json!({"question": problem.question}).to_string() + "\n";
    fs::write(&all, first_problems(6).iter().map(row).collect::<String>()).unwrap();
    refused(
        &["--select", &pool, "--decontaminate", &all],
        1,
        "all problems are excluded",
    );
    refused(&["--decontaminate", &all], 1, "all problems are excluded");
}
