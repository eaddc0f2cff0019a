//! Fixtures that were made of real models, and where those are.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::golden::{fixtures, read_json};

/// A fixture and its model's file.
pub(crate) fn fixture<T: DeserializeOwned>(name: &str) -> (T, PathBuf) {
    let value: serde_json::Value = read_json(&fixtures().join(format!("real_{name}.json")));
    let file = value["file"].as_str().unwrap().to_owned();
    let directory = std::env::var_os("DART_MATH_MODELS").expect("DART_MATH_MODELS is not set");
    let path = PathBuf::from(directory).join(file);
    assert!(path.exists(), "there is no {}", path.display());
    (serde_json::from_value(value).unwrap(), path)
}
