//! `scripts/check_dataset.py`, which checks the files of a data set against each other.

use std::fs;
use std::path::Path;
use std::process::Command;

use dart_math::dars::{CancelHandle, Run, RunStop, Uniform};

use crate::harness::{Test, repository, tests};
use crate::scripted::data_set::{outcome, write};
use crate::scripted::{Scripted, grader, problems};

pub(crate) const TESTS: &[Test] = tests![a_set_may_be_empty_where_the_run_was_interrupted];

/// What the script says of a directory: whether it agrees with itself, and why not.
fn checked(directory: &Path) -> (bool, String) {
    let script = repository("scripts/check_dataset.py");
    let mut command = Command::new("python3");
    let ran = command.arg(script).arg(directory).output().unwrap();
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

    // The same files are wrong where the manifest says that the run finished.
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
