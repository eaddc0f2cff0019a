//! Models from the Hugging Face hub, through its cache.
//!
//! Knows which files of a repository a model needs; what is in them is the loader's business.

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
    with_hub::download(id, revision, builder)
}

#[cfg(feature = "hub")]
mod with_hub {
    use std::collections::{BTreeSet, HashMap};
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    use hf_hub::progress::{DownloadEvent, Progress, ProgressEvent, ProgressHandler};
    use hf_hub::{HFClient, HFError};

    use super::HubProgress;
    use crate::model::files::{Files, MAX_JSON};
    use crate::model::huggingface;
    use crate::model::load::{self, ModelBuilder};
    use crate::{Error, ErrorKind, Result};

    const INDEX: &str = "model.safetensors.index.json";
    /// Everything but the weights; a repository need not have all of them.
    const SMALL: [&str; 6] = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        INDEX,
    ];

    pub(super) fn download(
        id: &str,
        revision: Option<&str>,
        builder: &ModelBuilder,
    ) -> Result<PathBuf> {
        let failed = |error: HFError| -> Error { explain(id, error) };
        let mut client = HFClient::builder();
        if let Some(token) = &builder.token {
            client = client.token(token.clone());
        }
        if let Some(url) = &builder.endpoint {
            client = client.endpoint(url.clone());
        }
        if let Some(directory) = &builder.cache_dir {
            client = client.cache_dir(directory.clone());
        }
        let client = client.build_sync().map_err(failed)?;
        let (owner, name) = id.split_once('/').unwrap_or(("", id));
        let repository = client.model(owner, name);
        let fetch = |revision: Option<&str>, files: Vec<String>| {
            let progress = builder.progress.clone().map(|callback| {
                Progress::new(Relay {
                    callback,
                    state: Mutex::default(),
                })
            });
            repository
                .snapshot_download()
                .maybe_revision(revision)
                .allow_patterns(files.clone())
                .maybe_progress(progress)
                .send()
                .or_else(|error| match error {
                    // No network: what is in the cache will do, if it is all there.
                    HFError::Request { .. } => repository
                        .snapshot_download()
                        .maybe_revision(revision)
                        .allow_patterns(files)
                        .local_files_only(true)
                        .send()
                        .map_err(|_| error),
                    _ => Err(error),
                })
                .map_err(failed)
        };
        let small = SMALL.iter().map(|&name| name.to_owned()).collect();
        let directory = fetch(revision, small)?;
        let weights = weight_files(&directory)?;
        // The same commit, even if the branch has moved on meanwhile.
        let commit = directory.file_name().and_then(|name| name.to_str());
        fetch(commit.or(revision), weights)
    }

    /// The safetensors files of a repository whose small files are in `directory`.
    fn weight_files(directory: &Path) -> Result<Vec<String>> {
        let files = Files::Directory(directory.to_owned());
        let Some(bytes) = files.read(INDEX, MAX_JSON)? else {
            return Ok(vec!["model.safetensors".to_owned()]);
        };
        let label = files.label(INDEX);
        let index = huggingface::object(&label, &bytes)?;
        let shards: BTreeSet<String> = index
            .get("weight_map")
            .and_then(|map| map.as_object())
            .into_iter()
            .flat_map(|map| map.values())
            .filter_map(|shard| shard.as_str())
            // Names are patterns here; the loader refuses the odd ones by name.
            .filter(|shard| !shard.contains(['*', '?', '[', '{', '/', '\\']))
            .map(str::to_owned)
            .collect();
        if shards.is_empty() {
            return Err(Error::new(
                ErrorKind::Model,
                format!("{label}: lists no files"),
            ));
        }
        Ok(shards.into_iter().collect())
    }

    fn explain(id: &str, error: HFError) -> Error {
        let hint = match &error {
            HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
                " (a gated or private repository: accept its terms on the hub and give a token)"
            }
            HFError::RepoNotFound { .. } => {
                " (the hub says the same of private repositories without a token)"
            }
            _ => "",
        };
        Error::new(ErrorKind::Hub, format!("{id}: {error}{hint}")).with_source(error)
    }

    /// Adds up the hub's events for the user's callback.
    struct Relay {
        callback: load::Progress,
        state: Mutex<State>,
    }

    #[derive(Default)]
    struct State {
        total: u64,
        files: HashMap<String, u64>,
        batch: u64,
    }

    impl ProgressHandler for Relay {
        fn on_progress(&self, event: &ProgressEvent) {
            let ProgressEvent::Download(event) = event else {
                return;
            };
            let progress = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    DownloadEvent::Start { total_bytes, .. } => state.total = *total_bytes,
                    DownloadEvent::Progress { files } => {
                        for file in files {
                            state
                                .files
                                .insert(file.filename.clone(), file.bytes_completed);
                        }
                    }
                    DownloadEvent::AggregateProgress {
                        bytes_completed, ..
                    } => state.batch = *bytes_completed,
                    DownloadEvent::Complete => state.batch = state.total,
                }
                // The hub tells of a batch of large files as a whole, of others one by one, and
                // of some both ways.
                let bytes = state.files.values().sum::<u64>().max(state.batch);
                HubProgress {
                    bytes: bytes.min(state.total),
                    total: state.total,
                }
            };
            (self.callback)(progress);
        }
    }
}
