//! Data that is too large for the repository, where it is at hand.

use std::path::{Path, PathBuf};

/// A file of that data, or nothing and a note. It lies in the directory that the environment
/// variable `DART_MATH_SHARED` names, or else in `shared` beside the checkout.
pub(crate) fn shared(file: &str) -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("DART_MATH_SHARED") {
        let path = Path::new(&directory).join(file);
        assert!(
            path.exists(),
            "DART_MATH_SHARED is set, but there is no {}",
            path.display()
        );
        return Some(path);
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()?
        .join("shared");
    let path = beside.join(file);
    if !path.exists() {
        println!("skipped: DART_MATH_SHARED names no directory with {file}");
        return None;
    }
    Some(path)
}
