//! Models from the Hugging Face hub, through its cache.
//!
//! Knows which files of a repository a model needs; what is in them is the loader's business.
//! The client crate asks the hub, downloads and keeps the cache; here is what it lacks: the
//! variables of its environment as Python's `huggingface_hub` reads them, time limits, going on
//! with a download that was cut, and a cache that is enough when the hub is not.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod failure;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod settings;
#[cfg(feature = "hub")]
mod watch;

use std::path::PathBuf;

use super::load::ModelBuilder;
use crate::Result;

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubProgress {
    /// Bytes that are there, about.
    pub bytes: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
}

/// Without the feature there is nothing to download with.
#[cfg(not(feature = "hub"))]
pub(super) fn download(id: &str, _: Option<&str>, _: &ModelBuilder) -> Result<PathBuf> {
    Err(crate::Error::new(
        crate::ErrorKind::Unsupported,
        format!(
            "{id}: this build cannot download models; build with `--features hub`, or give a \
             directory or a GGUF file"
        ),
    ))
}

/// Brings a repository's model files into the cache and gives the snapshot's directory.
#[cfg(feature = "hub")]
pub(super) fn download(
    id: &str,
    revision: Option<&str>,
    builder: &ModelBuilder,
) -> Result<PathBuf> {
    download::download(id, revision, builder)
}
