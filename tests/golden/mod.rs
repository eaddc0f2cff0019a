//! What the golden tests share: where fixtures are and how they are read.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// `tests/fixtures/golden`.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden")
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> T {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
