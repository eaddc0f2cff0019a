//! A walk over all weights of the files: none may be empty or not finite, whether the example needs them or
//! not.

use super::report::Check;
use crate::engine::Engine;
use crate::error::counted;
use crate::model::{ModelBuilder, scan};

/// The check of the files that a model was loaded from, where they are known.
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
