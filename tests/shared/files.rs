//! The files of a run's data set.

use std::fs;

use dart_math::dars::Outcome;
use dart_math::data::DataSet;

/// Returns the contents of a data set's files except the manifest, which contains times.
pub(crate) fn files(outcome: &Outcome) -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let set = DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    };
    set.write(directory.path(), outcome.trials()).unwrap();
    let read = |name| (name, fs::read(directory.path().join(name)).unwrap());
    ["dataset.jsonl", "trials.jsonl", "problems.jsonl"]
        .map(read)
        .to_vec()
}
