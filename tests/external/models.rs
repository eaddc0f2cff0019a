//! Fixtures made from real models, and the paths of these models.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::golden::{fixtures, read_json};

/// Returns a fixture and the path of its model.
pub(crate) fn fixture<T: DeserializeOwned>(name: &str) -> (T, PathBuf) {
    let value: serde_json::Value = read_json(&fixtures().join(format!("real_{name}.json")));
    let file = value["file"].as_str().unwrap().to_owned();
    let directory = std::env::var_os("DART_MATH_MODELS").expect("DART_MATH_MODELS is not set");
    let path = PathBuf::from(directory).join(file);
    assert!(path.exists(), "there is no {}", path.display());
    (serde_json::from_value(value).unwrap(), path)
}
