//! A run with a few problems.

use std::path::Path;

use dart_math::dars::{Keep, Outcome, Prop2Diff, Run};
use dart_math::data::DataSet;

use super::{Scripted, grader, problems};

pub fn outcome() -> Outcome {
    Run::builder(problems(&[0.9, 0.5, 0.2]))
        .strategy(Prop2Diff::with_pilot(10, 5))
        .keep(Keep::All)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap()
}

pub fn write(outcome: &Outcome, directory: &Path) {
    DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    }
    .write(directory, outcome.trials())
    .unwrap();
}
