//! What a run leaves in a directory.

use std::fs;

use dart_math::dars::Outcome;
use dart_math::data::DataSet;

/// The bytes of a data set's files but for the manifest, which says when it was made.
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
