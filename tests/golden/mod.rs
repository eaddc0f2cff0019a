//! Shared by the golden tests: paths and readers of fixtures.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Returns `tests/fixtures/golden`.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden")
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> T {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The golden values of a tiny model.
#[allow(dead_code)] // Only some test programs use tiny models.
#[derive(Deserialize)]
pub(crate) struct TinyModel {
    pub(crate) tokens: Vec<u32>,
    /// The positions of the rows of logits.
    pub(crate) positions: Vec<usize>,
    /// The number of tokens in the prompt of the greedy completion.
    pub(crate) prompt: usize,
    pub(crate) greedy: Vec<u32>,
}
