//! From a repository's name to a directory with its model: from the hub or, if the hub cannot
//! serve, from the cache.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hf_hub::repository::{RepoTreeEntry, RepoTypeModel};
use hf_hub::{HFClient, HFError, HFRepositorySync};

use super::cache::{Cache, SMALL, Snapshot, is_commit};
use super::failure::Failure;
use super::fetch::{Fetch, Listed};
use super::settings::Settings;
use super::watch::within;
use crate::model::files::{Files, MAX_JSON};
use crate::model::load::ModelBuilder;
use crate::model::refusals::{self, Place};
use crate::model::weight_files::{INDEX, WeightFiles};
use crate::{Error, ErrorKind, Result};

/// A value that the client treats as no token. Without one, it would look for a token by its own
/// rules. It never sends a token that is invalid in a header.
const NO_TOKEN: &str = "\n";

pub(super) fn download(
    id: &str,
    revision: Option<&str>,
    builder: &ModelBuilder,
) -> Result<PathBuf> {
    let settings = Settings::of(builder)?;
    let cache = Cache::new(&settings.cache, id);
    let asked = revision.unwrap_or("main");
    let what = match revision {
        Some(revision) => format!("{id}@{revision}"),
        None => id.to_owned(),
    };
    let cached = cache.complete(asked);
    if settings.offline {
        return match cached {
            Ok(snapshot) => Ok(used(&what, snapshot)),
            Err(reason) => Err(Error::new(
                ErrorKind::Hub,
                format!(
                    "{what}: HF_HUB_OFFLINE is set, so the hub is not asked, and the cache is not \
                     enough: {reason}"
                ),
            )),
        };
    }
    // A commit never changes.
    if let Ok(snapshot) = &cached
        && is_commit(asked)
        && snapshot.unknown.is_empty()
    {
        return Ok(snapshot.directory.clone());
    }
    let error = match (Online {
        id,
        what: &what,
        revision: asked,
        builder,
        settings: &settings,
        cache: &cache,
    }
    .download())
    {
        Ok(directory) => return Ok(directory),
        Err(error) => error,
    };
    // The cache replaces an unreachable hub, but hides no error of the repository or the settings.
    if !matches!(error.kind(), ErrorKind::Hub | ErrorKind::Io) {
        return Err(error);
    }
    match cache.complete(asked) {
        Ok(snapshot) => {
            tracing::warn!(
                "{what}: commit {} from the cache is used, for the hub cannot serve: {}",
                snapshot.commit,
                error.detail()
            );
            Ok(used(&what, snapshot))
        }
        Err(_) => Err(match cache.unnamed(asked) {
            Some(there) if revision.is_none() => {
                Error::new(error.kind(), format!("{}; {there}", error.detail())).with_source(error)
            }
            _ => error,
        }),
    }
}

/// Uses a snapshot without contacting the hub.
fn used(what: &str, snapshot: Snapshot) -> PathBuf {
    if !snapshot.unknown.is_empty() {
        tracing::warn!(
            "{what}: {} not in the cache, and the cache does not say whether the repository has \
             {}; read without",
            snapshot.unknown.join(", "),
            match snapshot.unknown.len() {
                1 => "it",
                _ => "them",
            }
        );
    }
    snapshot.directory
}

/// A download from the hub.
struct Online<'a> {
    id: &'a str,
    what: &'a str,
    revision: &'a str,
    builder: &'a ModelBuilder,
    settings: &'a Settings,
    cache: &'a Cache,
}

impl Online<'_> {
    fn download(&self) -> Result<PathBuf> {
        let repository = self.repository().map_err(|failure| self.error(failure))?;
        let commit = self
            .commit(&repository)
            .map_err(|failure| self.error(failure))?;
        let listed = self
            .list(&repository, &commit)
            .map_err(|failure| self.error(failure))?;
        let names: BTreeSet<String> = listed.iter().map(|file| file.name.clone()).collect();
        let place = Place::Hub(self.id);
        if !names.contains("config.json") {
            return Err(refusals::no_config(place, &names));
        }
        if !names.contains("tokenizer.json") {
            return Err(refusals::no_tokenizer(place, &names));
        }
        let fetch = Fetch {
            repository,
            commit: &commit,
            cache: self.cache,
            settings: self.settings,
            progress: self.builder.progress.clone(),
        };
        let bring = |wanted: &dyn Fn(&str) -> bool| -> Result<()> {
            let files: Vec<Listed> = listed
                .iter()
                .filter(|file| wanted(&file.name))
                .cloned()
                .collect();
            fetch.fetch(&files).map_err(|(failure, place)| {
                let what = match place {
                    Some(place) => format!("{}: {place}", self.what),
                    None => self.what.to_owned(),
                };
                failure.explained(&what, self.settings)
            })
        };
        bring(&|name| SMALL.contains(&name))?;
        let directory = self.cache.snapshot(&commit);
        let files = Files::Directory(directory.clone());
        let index = match names.contains(INDEX) {
            true => files.read(INDEX, MAX_JSON)?,
            false => None,
        };
        let label = |name: &str| format!("{}: {name}", self.what);
        let Some(weights) = WeightFiles::find(&names, &label, index.as_deref())? else {
            return Err(refusals::no_weights(place, &names));
        };
        let weights = weights.names();
        bring(&|name| weights.contains(name))?;
        for name in SMALL {
            if !names.contains(name) {
                self.cache.keep_absent(&commit, name);
            }
        }
        self.cache.keep_reference(self.revision, &commit);
        Ok(directory)
    }

    fn error(&self, failure: Failure) -> Error {
        failure.explained(self.what, self.settings)
    }

    fn repository(&self) -> Result<HFRepositorySync<RepoTypeModel>, Failure> {
        let token = self.settings.token.as_deref().unwrap_or(NO_TOKEN);
        let client = HFClient::builder()
            .endpoint(&self.settings.endpoint)
            .cache_dir(&self.settings.cache)
            .token(token)
            .retry_max_attempts(3)
            .build_sync()?;
        let (owner, name) = self.id.split_once('/').unwrap_or(("", self.id));
        Ok(client.model(owner, name))
    }

    /// The commit that the revision refers to at the hub.
    fn commit(&self, repository: &HFRepositorySync<RepoTypeModel>) -> Result<String, Failure> {
        let limit = self.settings.answer;
        let asked = repository.clone();
        let revision = self.revision.to_owned();
        let info = within(limit, limit, move |_| {
            asked.info().revision(revision).send()
        });
        let sha = match info {
            Ok(info) => info.sha,
            Err(Failure::Client(error)) => match *error {
                HFError::RevisionNotFound {
                    repo_id,
                    revision,
                    context,
                } => {
                    let code = context
                        .as_ref()
                        .and_then(|context| context.error_code.clone());
                    // The client attributes every 404 of this request to the revision.
                    let repository_exists = match code.as_deref() {
                        Some("RepoNotFound") => false,
                        Some("RevisionNotFound") => true,
                        _ => {
                            let asked = repository.clone();
                            within(limit, limit, move |_| asked.exists().send()).unwrap_or(true)
                        }
                    };
                    return Err(match repository_exists {
                        true => HFError::RevisionNotFound {
                            repo_id,
                            revision,
                            context,
                        },
                        false => HFError::RepoNotFound { repo_id, context },
                    }
                    .into());
                }
                error => return Err(error.into()),
            },
            Err(failure) => return Err(failure),
        };
        // The cache names directories after it.
        sha.filter(|sha| is_commit(sha)).ok_or_else(|| {
            Failure::Wrong(format!(
                "{} does not say which commit `{}` is",
                self.settings.endpoint,
                self.revision.escape_debug()
            ))
        })
    }

    /// The files of a commit.
    fn list(
        &self,
        repository: &HFRepositorySync<RepoTypeModel>,
        commit: &str,
    ) -> Result<Vec<Listed>, Failure> {
        let limit = self.settings.answer;
        let asked = repository.clone();
        let revision = commit.to_owned();
        let entries = within(limit, limit, move |_| {
            asked.list_tree().revision(revision).recursive(true).send()
        })?;
        Ok(entries
            .into_iter()
            .filter_map(|entry| match entry {
                RepoTreeEntry::File { path, size, .. } => Some(Listed { name: path, size }),
                RepoTreeEntry::Directory { .. } => None,
            })
            .collect())
    }
}
