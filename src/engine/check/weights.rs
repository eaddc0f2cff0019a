//! Scans all weights of the files, whether or not the example uses them: none may be empty or
//! non-finite.

use super::report::Check;
use crate::engine::Engine;
use crate::error::counted;
use crate::model::{ModelBuilder, scan};

/// Checks the files that a model was loaded from, if they are known.
pub(super) fn check(engine: &Engine, files: Option<&ModelBuilder>) -> Check {
    const NAME: &str = "weights";
    let Some(files) = files else {
        return Check::skipped(NAME, "the model's files are not known");
    };
    match engine.pool.install(|| scan(files, engine.model())) {
        Ok(found) => {
            let well = format!(
                "{}: every number is finite, and no tensor or long run of rows is empty",
                counted(found.tensors, "tensor")
            );
            Check::of(NAME, &found.defects, well)
        }
        Err(error) => Check::failed(NAME, error),
    }
}
