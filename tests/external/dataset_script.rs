//! Tests `scripts/check_dataset.py`, which checks the files of a data set against each other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use dart_math::answer::Checker;
use dart_math::dars::{CancelHandle, Run, RunStop, Uniform};
use dart_math::data::{DataSet, Format, WriteOptions, dataset_info};
use dart_math::report::{Card, card_figures};
use dart_math::{Completion, Problem, ProblemRecord, Settings, StopReason, Tally, Trial, Verdict};

use crate::harness::{Test, repository, tests};
use crate::scripted::data_set::{outcome, write};
use crate::scripted::{Scripted, grader, problems};

pub(crate) const TESTS: &[Test] = tests![
    a_set_may_be_empty_where_the_run_was_interrupted,
    every_form_of_a_set_loads_as_it_was_written,
    a_field_that_only_a_late_row_has_is_loaded,
];

/// Runs the script on a directory. Returns whether the files agree, and the script's output.
fn checked(directory: &Path) -> (bool, String) {
    let script = repository("scripts/check_dataset.py");
    let mut command = Command::new("python3");
    command.arg(script);
    // The packages that load data sets, if they are required.
    let required = std::env::var("DART_MATH_REQUIRED").unwrap_or_default();
    if required.split(',').any(|name| name == "datasets") {
        command.arg("--strict");
    }
    let ran = command.arg(directory).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    (ran.status.success(), said)
}

fn a_set_may_be_empty_where_the_run_was_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let cancel = CancelHandle::new();
    cancel.cancel();
    let run = Run::builder(problems(&[0.9])).strategy(Uniform { k: 1 });
    let run = run.cancel(cancel).build().unwrap();
    let interrupted = run.run(&Scripted::default(), &grader).unwrap();
    assert_eq!(interrupted.stop, RunStop::Interrupted);
    assert!(interrupted.totals.trials == 0);
    write(&interrupted, directory);
    assert_eq!(checked(directory), (true, String::new()));

    // The same files are wrong if the manifest says that the run finished.
    let path = directory.join("manifest.json");
    let manifest = fs::read_to_string(&path).unwrap();
    fs::write(path, manifest.replace("\"interrupted\"", "\"finished\"")).unwrap();
    let (fine, said) = checked(directory);
    assert!(!fine && said.contains("a file has no rows"), "{said}");

    write(&outcome(), directory);
    assert_eq!(checked(directory), (true, String::new()));
    fs::write(directory.join("dataset.jsonl"), "").unwrap();
    assert!(!checked(directory).0);
}

/// Every format, as JSON Lines and as Parquet. If Python's packages are installed, the script loads the set as its
/// card describes it, and each row must equal the one written.
fn every_form_of_a_set_loads_as_it_was_written() {
    let outcome = outcome();
    let mut manifest = outcome.manifest();
    let checker = Checker::default();
    for format in [Format::Pairs, Format::Chat, Format::Alpaca] {
        for parquet in [false, true] {
            if parquet && cfg!(not(feature = "parquet")) {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            let directory = directory.path();
            manifest.insert("format".into(), format.name().into());
            let card = Card::new(&outcome.problems, &manifest).license("mit");
            let info = dataset_info(format);
            let card = card.dataset_info(&info).name("Set: \"one\"");
            let card = card.parquet(parquet).figures(true).to_string();
            let options = WriteOptions::new().format(format).parquet(parquet);
            let options = options.card(&card).figures(&card_figures);
            let options = options.majority_by(&checker);
            let set = DataSet {
                problems: &outcome.problems,
                manifest: &manifest,
            };
            let written = set.write_with(directory, outcome.trials(), options);
            assert!(written.unwrap());
            assert_eq!(checked(directory), (true, String::new()), "{format:?}");
            // A response that differs from the trial's is detected in every format.
            let path = directory.join("dataset.jsonl");
            let rows = fs::read_to_string(&path).unwrap();
            fs::write(path, rows.replacen("question 0", "question 1", 1)).unwrap();
            let (fine, said) = checked(directory);
            assert!(!fine && said.contains("differ"), "{said}");
        }
    }
}

/// Some fields are absent in most rows. `datasets` infers the fields from the first ten megabytes, unless the card
/// lists them.
fn a_field_that_only_a_late_row_has_is_loaded() {
    let problem = Arc::new(Problem::new("1 + 1?", "2"));
    let trials: Vec<Trial> = (0..3)
        .map(|number| {
            let text = "so ".repeat(2_500_000);
            let verdict = Verdict::new(true, "by hand");
            let mut trial = Trial::new(&problem, number, 0, Completion::text(text), verdict);
            trial.duplicate_of = (number > 0).then_some(0);
            trial.accepted = number == 0;
            if number == 2 {
                trial.verdict.extracted = Some("2".into());
            }
            trial
        })
        .collect();
    let record = ProblemRecord {
        problem,
        tally: Tally {
            trials: 3,
            correct: 3,
            ..Tally::default()
        },
        target: Some(1),
        kept: 1,
        tokens: 12,
        stop: StopReason::TrialsDone,
        rejection: None,
    };
    let manifest = Settings::new();
    let set = DataSet {
        problems: &[record],
        manifest: &manifest,
    };
    let directory = tempfile::tempdir().unwrap();
    let info = dataset_info(Format::Pairs);
    let card = Card::new(set.problems, set.manifest).dataset_info(&info);
    let card = card.to_string();
    let options = WriteOptions::new().card(&card);
    let written = set.write_with(directory.path(), trials.into_iter().map(Ok), options);
    assert!(written.unwrap());
    assert_eq!(checked(directory.path()), (true, String::new()));
}
