//! The example `synthesize` as a user runs it: files, refusals, and exit codes.

use std::fs;
use std::path::Path;

use serde_json::Value;

pub(crate) mod clean;
pub(crate) mod directory;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod pool;
#[cfg(unix)]
pub(crate) mod signals;

/// A short run of built-in problems.
const SHORT: [&str; 6] = ["--limit", "4", "--strategy", "vanilla", "--trials", "2"];

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
