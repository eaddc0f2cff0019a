//! The hub's cache on disk, in the layout of its libraries: blobs by hash, a directory of links per
//! commit, references from branches to commits, and a lock per blob.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::model::files::{Files, MAX_JSON};
use crate::model::weight_files::{INDEX, WeightFiles};

/// All files but the weights; a repository need not have all of them.
pub(super) const SMALL: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    INDEX,
];
/// The files that a repository must have.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];

/// A repository's part of the cache.
pub(super) struct Cache {
    repository: PathBuf,
    locks: PathBuf,
}

/// A commit that is complete in the cache.
pub(super) struct Snapshot {
    pub(super) directory: PathBuf,
    pub(super) commit: String,
    /// Files that are absent, although the cache does not say that the repository lacks them.
    pub(super) unknown: Vec<&'static str>,
}

/// An interrupted download.
pub(super) struct Partial {
    pub(super) path: PathBuf,
    pub(super) sha256: String,
    pub(super) length: u64,
}

/// Whether a revision is a full commit hash.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Cache {
    pub(super) fn new(directory: &Path, id: &str) -> Self {
        let folder = format!("models--{}", id.replace('/', "--"));
        Cache {
            repository: directory.join(&folder),
            locks: directory.join(".locks").join(&folder),
        }
    }

    /// The directory of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repository.join("snapshots").join(commit)
    }

    fn reference(&self, revision: &str) -> Option<PathBuf> {
        let plain = revision
            .split('/')
            .all(|part| !part.is_empty() && part != ".." && part != ".");
        plain.then(|| self.repository.join("refs").join(revision))
    }

    /// The commit that a revision referred to when it was last downloaded.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let commit = std::fs::read_to_string(self.reference(revision)?).ok()?;
        let commit = commit.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Records the commit that a revision refers to.
    pub(super) fn keep_reference(&self, revision: &str, commit: &str) {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return;
        }
        let Some(path) = self.reference(revision) else {
            return;
        };
        write(&path, commit);
    }

    fn absent(&self, commit: &str, name: &str) -> PathBuf {
        self.repository.join(".no_exist").join(commit).join(name)
    }

    /// Records, like the Python library, that a commit lacks a file.
    pub(super) fn keep_absent(&self, commit: &str, name: &str) {
        let path = self.absent(commit, name);
        if path.exists() {
            return;
        }
        write(&path, "");
    }

    /// The commits of which the cache holds some files.
    fn commits(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.repository.join("snapshots"));
        let mut commits: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_commit(name))
            .collect();
        commits.sort();
        commits
    }

    /// Describes what the cache holds if it does not know the revision's commit.
    pub(super) fn unnamed(&self, revision: &str) -> Option<String> {
        let commits = self.commits();
        (self.commit(revision).is_none() && !commits.is_empty()).then(|| {
            format!(
                "{} does not say which commit `{}` is, but holds files of {}; give the commit as \
                 the revision",
                self.repository.display(),
                revision.escape_debug(),
                commits.join(", ")
            )
        })
    }

    /// Finds a revision in the cache alone, or says what is missing.
    pub(super) fn complete(&self, revision: &str) -> Result<Snapshot, String> {
        let shown = self.repository.display();
        let Some(commit) = self.commit(revision) else {
            return Err(self
                .unnamed(revision)
                .unwrap_or_else(|| format!("{shown} holds nothing of it")));
        };
        let directory = self.snapshot(&commit);
        if !directory.is_dir() {
            return Err(format!("{shown} holds nothing of commit {commit}"));
        }
        let files = Files::Directory(directory.clone());
        let found = || -> Result<_> {
            let names = files.names()?;
            let index = files.read(INDEX, MAX_JSON)?;
            let weights = WeightFiles::find(&names, &|name| files.label(name), index.as_deref())?;
            Ok((names, weights))
        };
        let (names, weights) = found().map_err(|error| error.detail().to_owned())?;
        let missing = |name: &str| format!("{}: not there", directory.join(name).display());
        for name in REQUIRED {
            if !names.contains(name) {
                return Err(missing(name));
            }
        }
        if weights.is_none() {
            return Err(missing("model.safetensors"));
        }
        let unknown = SMALL
            .into_iter()
            .filter(|&name| name != INDEX && !names.contains(name))
            .filter(|name| !self.absent(&commit, name).exists())
            .collect();
        Ok(Snapshot {
            directory,
            commit,
            unknown,
        })
    }

    fn blobs(&self) -> PathBuf {
        self.repository.join("blobs")
    }

    /// Bytes of all blobs, complete and partial. They grow while another process downloads.
    pub(super) fn blob_bytes(&self) -> u64 {
        let entries = std::fs::read_dir(self.blobs()).into_iter().flatten();
        entries
            .flatten()
            .filter_map(|entry| entry.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    }

    /// Interrupted downloads that can be resumed: those whose contents can be verified.
    pub(super) fn partials(&self) -> Vec<Partial> {
        let entries = std::fs::read_dir(self.blobs()).into_iter().flatten();
        let mut partials: Vec<Partial> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let sha256 = name.strip_suffix(".incomplete")?;
                let hash =
                    sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
                hash.then_some(())?;
                Some(Partial {
                    path: entry.path(),
                    sha256: sha256.to_owned(),
                    length: entry.metadata().ok()?.len(),
                })
            })
            .collect();
        partials.sort_by(|a, b| a.sha256.cmp(&b.sha256));
        partials
    }

    /// The path of a blob.
    pub(super) fn blob(&self, hash: &str) -> PathBuf {
        self.blobs().join(hash)
    }

    /// Locks a blob; `None` if another process holds the lock.
    pub(super) fn lock(&self, hash: &str) -> std::io::Result<Option<File>> {
        std::fs::create_dir_all(&self.locks)?;
        lock(&self.lock_path(hash))
    }

    pub(super) fn lock_path(&self, hash: &str) -> PathBuf {
        self.locks.join(format!("{hash}.lock"))
    }

    /// Removes a snapshot's file from the cache, with the blob that it links to.
    pub(super) fn remove(&self, path: &Path) -> std::io::Result<()> {
        let blobs = self.blobs().canonicalize()?;
        let blob = path.canonicalize()?;
        std::fs::remove_file(path)?;
        match blob.starts_with(blobs) {
            true => std::fs::remove_file(blob),
            false => Ok(()),
        }
    }
}

/// Writes an optional file; failures are ignored, because the cache may be read-only.
fn write(path: &Path, text: &str) {
    let written = match path.parent() {
        Some(parent) => std::fs::create_dir_all(parent),
        None => Ok(()),
    }
    .and_then(|()| std::fs::write(path, text));
    if let Err(error) = written {
        tracing::debug!(%error, "{}: not written", path.display());
    }
}

/// Locks a file if its lock is free.
pub(super) fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

impl Partial {
    /// Whether its first bytes equal those of `head`, as far as it has them.
    pub(super) fn begins_with(&self, head: &[u8]) -> std::io::Result<bool> {
        let mut own = Vec::new();
        File::open(&self.path)?
            .take(head.len() as u64)
            .read_to_end(&mut own)?;
        Ok(head.starts_with(&own))
    }
}
