//! The files of a data set directory.

use std::fs;
use std::path::Path;

use crate::scripted::data_set::{outcome, write};
use dart_math::data::{DataSet, pass_rates};
use serde_json::Value;

fn rows(directory: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory.join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn files_agree_with_one_another() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("new").join("set");
    write(&outcome, &directory);
    let (dataset, trials, records) = (
        rows(&directory, "dataset.jsonl"),
        rows(&directory, "trials.jsonl"),
        rows(&directory, "problems.jsonl"),
    );
    let accepted: Vec<&Value> = trials.iter().filter(|t| t["accepted"] == true).collect();
    assert_eq!(dataset.len(), accepted.len());
    for (pair, trial) in dataset.iter().zip(&accepted) {
        assert_eq!(
            pair.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["query", "response"]
        );
        assert_eq!(pair["response"], trial["response"]);
        let record = records
            .iter()
            .find(|record| record["id"] == trial["problem"])
            .unwrap();
        assert_eq!(pair["query"], record["question"]);
        assert_eq!(trial["equal"], true);
    }
    for record in &records {
        let own: Vec<&Value> = trials
            .iter()
            .filter(|t| t["problem"] == record["id"])
            .collect();
        let numbers: Vec<u64> = own.iter().map(|t| t["trial"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..own.len() as u64).collect::<Vec<_>>());
        let count = |field: &str| own.iter().filter(|t| t[field] == true).count() as u64;
        assert_eq!(record["trials"], own.len() as u64);
        assert_eq!(record["correct"], count("equal"));
        assert_eq!(record["kept"], count("accepted"));
        assert_eq!(record["kept"], record["target"]);
        assert_eq!(record["stop_reason"], "target_met");
        let at = |field: &str| record[field].as_f64().unwrap();
        assert!(at("pass_rate_low") < at("pass_rate_high"));
        assert!(record["metadata"]["rate"].is_number());
    }
    let manifest: Value =
        serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["crate"], "dart-math");
    assert_eq!(manifest["generator"]["model"], "scripted");
    assert_eq!(manifest["strategy"]["k"], 10);
    assert_eq!(manifest["totals"]["kept"], dataset.len() as u64);
    assert_eq!(manifest["stop"], "finished");
}

#[test]
fn a_runs_problems_are_a_table_of_pass_rates() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    write(&outcome, directory.path());
    let rates = pass_rates::read(directory.path().join("problems.jsonl")).unwrap();
    for record in &outcome.problems {
        let rate = record.tally.pass_rate().unwrap();
        assert!((rates[&record.problem.id] - rate).abs() < 1e-12);
    }
}

#[test]
fn a_failed_write_leaves_the_old_files() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    write(&outcome, directory.path());
    let before = fs::read(directory.path().join("dataset.jsonl")).unwrap();
    let mut trials: Vec<_> = outcome.trials().collect();
    trials[0].as_mut().unwrap().problem = "nobody".into();
    let error = DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    }
    .write(directory.path(), trials)
    .unwrap_err();
    assert!(error.to_string().contains("\"nobody\""));
    assert_eq!(
        fs::read(directory.path().join("dataset.jsonl")).unwrap(),
        before
    );
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
}
