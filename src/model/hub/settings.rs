//! The hub's address, the token and the cache directory: from the caller, or else from the
//! environment variables by the rules of Python's `huggingface_hub`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::load::ModelBuilder;
use crate::{Error, ErrorKind, Result};

const ENDPOINT: &str = "https://huggingface.co";
/// The time limit of a request, in seconds.
const ANSWER: u64 = 10;
/// The longest time without data in a download, in seconds.
const SILENCE: u64 = 30;

/// Settings of the hub client.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) endpoint: String,
    pub(super) token: Option<String>,
    pub(super) cache: PathBuf,
    /// Whether the hub must not be contacted.
    pub(super) offline: bool,
    /// The time limit of a request, including the connection.
    pub(super) answer: Duration,
    /// The longest time without data in a download.
    pub(super) silence: Duration,
}

/// An environment's variables.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Result<Option<String>>,
    home: Option<PathBuf>,
}

impl Settings {
    /// The settings of the caller and of this process's environment.
    pub(super) fn of(builder: &ModelBuilder) -> Result<Self> {
        let environment = Environment {
            variable: &|name| match std::env::var(name) {
                Ok(value) => Ok(Some(value)),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => Err(bad(name, "is not UTF-8")),
            },
            home: std::env::home_dir(),
        };
        environment.settings(
            builder.endpoint.as_deref(),
            builder.token.as_deref(),
            builder.cache_dir.as_deref(),
        )
    }
}

fn bad(name: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Settings,
        format!("environment variable {name}: {reason}"),
    )
}

impl Environment<'_> {
    fn settings(
        &self,
        endpoint: Option<&str>,
        token: Option<&str>,
        cache: Option<&Path>,
    ) -> Result<Settings> {
        Ok(Settings {
            endpoint: self.endpoint(endpoint)?,
            token: self.token(token)?,
            cache: match cache {
                Some(cache) => cache.to_owned(),
                None => self.cache()?,
            },
            offline: self.flag("HF_HUB_OFFLINE")?,
            answer: self.seconds("HF_HUB_ETAG_TIMEOUT", ANSWER)?,
            silence: self.seconds("HF_HUB_DOWNLOAD_TIMEOUT", SILENCE)?,
        })
    }

    fn get(&self, name: &str) -> Result<Option<String>> {
        (self.variable)(name)
    }

    /// True if the value is 1, ON, YES or TRUE, in any case.
    fn flag(&self, name: &str) -> Result<bool> {
        let value = self.get(name)?.unwrap_or_default().to_uppercase();
        Ok(matches!(value.as_str(), "1" | "ON" | "YES" | "TRUE"))
    }

    /// An integer number of seconds; the default if it is 0 or unset.
    fn seconds(&self, name: &str, default: u64) -> Result<Duration> {
        let seconds = match self.get(name)? {
            None => default,
            Some(value) => match value.trim().parse() {
                Ok(0) => default,
                Ok(seconds) => seconds,
                Err(_) => {
                    let reason = format!(
                        "`{}` is not a whole number of seconds",
                        value.escape_debug()
                    );
                    return Err(bad(name, &reason));
                }
            },
        };
        Ok(Duration::from_secs(seconds))
    }

    fn endpoint(&self, given: Option<&str>) -> Result<String> {
        let (from, url) = match given {
            Some(url) => ("the hub's address", url.to_owned()),
            None => match self.get("HF_ENDPOINT")? {
                Some(url) => ("environment variable HF_ENDPOINT", url),
                None => return Ok(ENDPOINT.to_owned()),
            },
        };
        let url = url.trim_end_matches('/');
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "{from}: `{}` is not an address that begins with https:// or http://",
                    url.escape_debug()
                ),
            ));
        }
        Ok(url.to_owned())
    }

    fn token(&self, given: Option<&str>) -> Result<Option<String>> {
        let (from, token) = match given {
            Some(token) => ("the hub's token".to_owned(), clean(token)),
            None if self.flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")? => return Ok(None),
            None => match self.get("HF_TOKEN")?.as_deref().and_then(clean) {
                Some(token) => ("environment variable HF_TOKEN".to_owned(), Some(token)),
                None => self.stored_token()?,
            },
        };
        if token
            .as_ref()
            .is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("{from}: has a character that no token has"),
            ));
        }
        Ok(token)
    }

    /// The token in the file that the hub's login command writes, with the file's name.
    fn stored_token(&self) -> Result<(String, Option<String>)> {
        let path = match self.get("HF_TOKEN_PATH")? {
            Some(path) => PathBuf::from(self.expanded(&path)?),
            None => self.hub_home()?.join("token"),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok((path.display().to_string(), clean(&text))),
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!(%error, "{}: no token is read", path.display());
                }
                Ok((String::new(), None))
            }
        }
    }

    /// `HF_HOME`, or `huggingface` in the user's cache directory.
    fn hub_home(&self) -> Result<PathBuf> {
        let path = match self.get("HF_HOME")? {
            Some(path) => path,
            None => match self.get("XDG_CACHE_HOME")? {
                Some(caches) => join(&caches, "huggingface"),
                None => "~/.cache/huggingface".to_owned(),
            },
        };
        self.expanded(&path).map(PathBuf::from)
    }

    fn cache(&self) -> Result<PathBuf> {
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            if let Some(path) = self.get(name)? {
                return self.expanded(&path).map(PathBuf::from);
            }
        }
        Ok(self.hub_home()?.join("hub"))
    }

    /// Expands `~` at the beginning of a path, and `$NAME` and `${NAME}` anywhere. Unset variables
    /// stay as written.
    fn expanded(&self, path: &str) -> Result<String> {
        let mut rest = path;
        let mut out = String::new();
        if let Some(after) = path.strip_prefix('~')
            && (after.is_empty() || after.starts_with('/'))
            && let Some(home) = &self.home
        {
            out.push_str(home.to_string_lossy().trim_end_matches('/'));
            rest = after;
        }
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let (name, after) = match from.strip_prefix("${").and_then(|s| s.split_once('}')) {
                Some(braced) => braced,
                None => {
                    let name = from.get(1..).unwrap_or_default();
                    let end = name
                        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                        .unwrap_or(name.len());
                    name.split_at(end)
                }
            };
            let written = from.strip_suffix(after).unwrap_or(from);
            let value = match name.is_empty() || name.contains(['=', '\0']) {
                true => None,
                false => self.get(name)?,
            };
            out.push_str(value.as_deref().unwrap_or(written));
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// A token without line breaks and surrounding blanks; `None` if nothing is left.
fn clean(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

fn join(directory: &str, name: &str) -> String {
    Path::new(directory).join(name).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The settings for environment variables, with the home `/users/me`.
    fn under(variables: &[(&str, &str)]) -> Result<Settings> {
        with(variables, None)
    }

    fn with(variables: &[(&str, &str)], token: Option<&str>) -> Result<Settings> {
        let environment = Environment {
            variable: &|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                Ok(found.map(|(_, value)| (*value).to_owned()))
            },
            home: Some(PathBuf::from("/users/me")),
        };
        environment.settings(None, token, None)
    }

    #[test]
    fn the_cache_is_where_pythons_library_has_it() {
        for (variables, expected) in [
            (&[][..], "/users/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/h/hub"),
            (&[("HF_HOME", "~/h")], "/users/me/h/hub"),
            (&[("HF_HOME", "~other/h")], "~other/h/hub"),
            (
                &[("HF_HOME", "$D/${E}_$F"), ("D", "/d"), ("E", "e")],
                "/d/e_$F/hub",
            ),
            (
                &[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/h")],
                "/old",
            ),
            (
                &[("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")],
                "/c",
            ),
            (&[("HF_HUB_CACHE", "~")], "/users/me"),
            (&[("HF_HUB_CACHE", "a$")], "a$"),
            (&[("HF_HUB_CACHE", "a${b")], "a${b"),
        ] {
            let settings = under(variables).unwrap();
            assert_eq!(settings.cache, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn offline_is_what_pythons_library_takes_for_true() {
        for (value, expected) in [
            ("1", true),
            ("true", true),
            ("Yes", true),
            ("on", true),
            ("", false),
            ("0", false),
            ("false", false),
            ("2", false),
            (" 1", false),
        ] {
            let settings = under(&[("HF_HUB_OFFLINE", value)]).unwrap();
            assert_eq!(settings.offline, expected, "{value:?}");
        }
        assert!(!under(&[]).unwrap().offline);
    }

    #[test]
    fn the_token_is_given_in_a_variable_or_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "stored\n").unwrap();
        let home = directory.path().to_str().unwrap();
        let file = file.to_str().unwrap();
        let nowhere = "/no/such/token";
        for (variables, expected) in [
            (&[("HF_HOME", home)][..], Some("stored")),
            (
                &[("HF_TOKEN_PATH", file), ("HF_HOME", "/h")],
                Some("stored"),
            ),
            // If a path is set, no other is tried.
            (&[("HF_TOKEN_PATH", nowhere), ("HF_HOME", home)], None),
            (
                &[("HF_TOKEN", " given\n"), ("HF_HOME", home)],
                Some("given"),
            ),
            // An empty token counts as none.
            (&[("HF_TOKEN", ""), ("HF_HOME", home)], Some("stored")),
            (&[("HF_TOKEN", " \n"), ("HF_HOME", home)], Some("stored")),
            (&[("HF_TOKEN", ""), ("HF_TOKEN_PATH", nowhere)], None),
            (
                &[("HF_TOKEN", "t"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")],
                None,
            ),
            (
                &[("HF_TOKEN", "t"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0")],
                Some("t"),
            ),
        ] {
            let settings = under(variables).unwrap();
            assert_eq!(settings.token.as_deref(), expected, "{variables:?}");
        }
        let settings = with(&[("HF_TOKEN", "t")], Some("mine")).unwrap();
        assert_eq!(settings.token.as_deref(), Some("mine"));
        let error = under(&[("HF_TOKEN", "a b")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.detail().contains("HF_TOKEN"), "{error}");
        assert!(!error.detail().contains("a b"), "tokens are not shown");
    }

    #[test]
    fn other_variables_are_read_or_refused_by_name() {
        let settings = under(&[("HF_ENDPOINT", "https://mirror.example/hf//")]).unwrap();
        assert_eq!(settings.endpoint, "https://mirror.example/hf");
        assert_eq!(under(&[]).unwrap().endpoint, ENDPOINT);
        let settings = under(&[
            ("HF_HUB_ETAG_TIMEOUT", "3"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
        ]);
        let settings = settings.unwrap();
        assert_eq!(settings.answer, Duration::from_secs(3));
        assert_eq!(settings.silence, Duration::from_secs(SILENCE));
        for (name, value) in [
            ("HF_ENDPOINT", ""),
            ("HF_ENDPOINT", "mirror.example"),
            ("HF_HUB_ETAG_TIMEOUT", "soon"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "-1"),
        ] {
            let error = under(&[(name, value)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.detail().contains(name), "{error}");
        }
    }
}
