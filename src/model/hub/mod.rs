//! Models from the Hugging Face hub, through its cache.
//!
//! Knows which files a model needs; the loader interprets them. The client crate talks to the hub,
//! downloads and maintains the cache. This module adds the environment variables of Python's
//! `huggingface_hub`, time limits, resuming of interrupted downloads, and a fallback to the cache
//! if the hub is unavailable.

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

/// The progress of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubProgress {
    /// The approximate number of bytes that have arrived.
    pub bytes: u64,
    /// The number of bytes in all; 0 while unknown.
    pub total: u64,
}

/// Fails, because the feature `hub` is disabled.
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

/// Downloads a repository's model files into the cache and returns the snapshot's directory.
#[cfg(feature = "hub")]
pub(super) fn download(
    id: &str,
    revision: Option<&str>,
    builder: &ModelBuilder,
) -> Result<PathBuf> {
    download::download(id, revision, builder)
}
