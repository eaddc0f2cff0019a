//! Where the real models are that fixtures were made of.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::golden::{fixtures, read_json};

/// A fixture and its model's file, or nothing and a note.
pub(crate) fn fixture<T: DeserializeOwned>(name: &str) -> Option<(T, PathBuf)> {
    let value: serde_json::Value = read_json(&fixtures().join(format!("real_{name}.json")));
    let file = value["file"].as_str().unwrap().to_owned();
    let Some(directory) = std::env::var_os("DART_MATH_MODELS") else {
        println!("skipped: DART_MATH_MODELS names no directory with {file}");
        return None;
    };
    let path = PathBuf::from(directory).join(file);
    assert!(
        path.exists(),
        "DART_MATH_MODELS is set, but there is no {}",
        path.display()
    );
    Some((serde_json::from_value(value).unwrap(), path))
}
