//! The answer checker's public interface: fixtures by rule, properties, hostile and fuzzed texts, and the examples of
//! its guide.
//! examples of its guide.

mod expression;
mod extract;
mod fixtures;
mod fuzzed;
mod grading;
mod guide;
mod hostile;
mod hostile_texts;
mod identities;
mod neighbours;
mod pieces;
mod properties;
mod rewrites;
mod stack;
mod tolerance;

use std::path::PathBuf;

/// The path of a file or directory in the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
