//! Errors between this machine and the hub, with messages that name the actual cause.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use hf_hub::HFError;

use super::settings::Settings;
use crate::{Error, ErrorKind};

/// The reason why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client's own error.
    Client(Box<HFError>),
    /// No data arrived for this long.
    Silent(Duration),
    /// The received data differ from what the hub announced.
    Wrong(String),
    /// A failure of this machine.
    Local(String),
    /// The repository cannot be read as a model.
    Refused(Error),
}

impl From<HFError> for Failure {
    fn from(error: HFError) -> Self {
        Failure::Client(Box::new(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused(error)
    }
}

impl Failure {
    /// Whether a retry may succeed.
    pub(super) fn passes(&self) -> bool {
        match self {
            Failure::Silent(_) | Failure::Wrong(_) => true,
            Failure::Local(_) | Failure::Refused(_) => false,
            Failure::Client(error) => match &**error {
                HFError::Http { context } => {
                    context.status.is_server_error() || context.status.as_u16() == 408
                }
                HFError::Request { .. }
                | HFError::RateLimited { .. }
                | HFError::CacheLockTimeout { .. }
                | HFError::Xet { .. }
                | HFError::MalformedResponse { .. } => true,
                _ => false,
            },
        }
    }

    /// The reason in one line, without the repository's name.
    pub(super) fn reason(&self, settings: &Settings) -> String {
        let hub = &settings.endpoint;
        match self {
            Failure::Silent(limit) => format!("{hub}: nothing came for {} s", limit.as_secs()),
            Failure::Wrong(reason) | Failure::Local(reason) => reason.clone(),
            Failure::Refused(error) => error.detail().to_owned(),
            Failure::Client(error) => of_client(error, settings),
        }
    }

    /// The error for the user, prefixed with what was requested.
    pub(super) fn explained(self, what: &str, settings: &Settings) -> Error {
        let reason = self.reason(settings);
        match self {
            Failure::Refused(error) => error,
            Failure::Client(error) => {
                let kind = match &*error {
                    HFError::Io(_) => ErrorKind::Io,
                    _ => ErrorKind::Hub,
                };
                Error::new(kind, format!("{what}: {reason}")).with_source(error)
            }
            Failure::Silent(_) | Failure::Wrong(_) | Failure::Local(_) => {
                Error::new(ErrorKind::Hub, format!("{what}: {reason}"))
            }
        }
    }
}

fn of_client(error: &HFError, settings: &Settings) -> String {
    let hub = &settings.endpoint;
    let token = match settings.token {
        Some(_) => "the token that was given is not accepted for it",
        None => "it needs a token (HF_TOKEN, or the hub's login command)",
    };
    match error {
        HFError::AuthRequired { .. } => format!(
            "{hub} answers 401: there is no such repository, or it is private or gated and {token}"
        ),
        HFError::Forbidden { context } => {
            let said = context.server_message.as_deref().unwrap_or("");
            format!(
                "{hub} answers 403{}{said}; a gated repository wants its terms accepted on the \
                 hub and the token of that account",
                if said.is_empty() { "" } else { ": " },
            )
        }
        HFError::RepoNotFound { repo_id, .. } => {
            let here = match Path::new(repo_id).exists() {
                true => "",
                false => ", and no such directory here",
            };
            format!(
                "there is no such repository on {hub}{here} (the hub says the same of private \
                 repositories without a token)"
            )
        }
        HFError::RevisionNotFound { revision, .. } => format!(
            "the repository has no branch, tag or commit `{}`",
            revision.escape_debug()
        ),
        HFError::RateLimited { retry_after, .. } => {
            let when = match retry_after {
                Some(wait) => format!("in {} s", wait.as_secs()),
                None => "later".to_owned(),
            };
            format!("{hub} answers 429, too many requests; try again {when}")
        }
        HFError::Http { context } => {
            let said = context.server_message.as_deref().unwrap_or("");
            format!(
                "{hub} answers {}{}{said}",
                context.status,
                if said.is_empty() { "" } else { ": " },
            )
        }
        HFError::CacheLockTimeout { path } => format!(
            "another process holds {} and does not go on",
            path.display()
        ),
        HFError::Io(error) => format!("the cache {}: {error}", settings.cache.display()),
        other => {
            // The client's message only says that a request failed; the cause is at the end of the
            // chain.
            let mut line = other.to_string();
            let mut cause = other.source();
            while let Some(error) = cause {
                let text = error.to_string();
                if !line.contains(&text) {
                    line = format!("{line}: {text}");
                }
                cause = error.source();
            }
            line
        }
    }
}
