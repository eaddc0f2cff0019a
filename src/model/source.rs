//! The source of a model.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::refusals;
use crate::{Error, ErrorKind, Result};

/// The source of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// The crate's built-in model.
    BuiltIn,
    /// A directory with `config.json`, `tokenizer.json` and safetensors.
    Directory(PathBuf),
    /// A GGUF file, or any file of a split GGUF model.
    Gguf(PathBuf),
    /// A repository of the Hugging Face hub.
    Hub {
        /// `organisation/name`.
        id: String,
        /// A branch, tag or commit; the main branch if `None`.
        revision: Option<String>,
    },
}

impl ModelSource {
    /// The built-in model's name.
    pub const BUILT_IN: &'static str = "abacus";

    /// Parses `abacus` (the built-in model), a directory, a GGUF file, or `organisation/name` with
    /// an optional `@revision`. A path that exists takes precedence. A file without the extension
    /// `gguf` is recognized by its first bytes.
    ///
    /// ```
    /// use dart_math::model::ModelSource;
    ///
    /// assert_eq!(ModelSource::parse("abacus")?, ModelSource::BuiltIn);
    /// assert_eq!(
    ///     ModelSource::parse("org/name@v1")?,
    ///     ModelSource::Hub { id: "org/name".into(), revision: Some("v1".into()) },
    /// );
    /// # Ok::<(), dart_math::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if the text is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        if text == Self::BUILT_IN {
            return Ok(ModelSource::BuiltIn);
        }
        if let Some(source) = on_disk(Path::new(text)) {
            return Ok(source);
        }
        if Path::new(text).symlink_metadata().is_ok() {
            return Err(refusals::not_a_directory(Path::new(text)));
        }
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        if is_repository(id) && revision != Some("") {
            return Ok(ModelSource::Hub {
                id: id.to_owned(),
                revision: revision.map(str::to_owned),
            });
        }
        let hint = match repository_in(text) {
            Some(id) => format!(" (for the hub's repository, give `{id}`)"),
            None => String::new(),
        };
        Err(Error::new(
            ErrorKind::Settings,
            format!(
                "model `{}`: not a directory that exists, a .gguf file, a repository \
                 (organisation/name) or `{}`{hint}",
                text.escape_debug(),
                Self::BUILT_IN
            ),
        ))
    }
}

/// The source that a path names: an existing directory, or a file with the extension `gguf` or
/// GGUF's magic bytes.
fn on_disk(path: &Path) -> Option<ModelSource> {
    let gguf = |extension: &std::ffi::OsStr| extension.eq_ignore_ascii_case("gguf");
    if path.is_dir() {
        Some(ModelSource::Directory(path.to_owned()))
    } else if path.extension().is_some_and(gguf) || begins_as_gguf(path) {
        Some(ModelSource::Gguf(path.to_owned()))
    } else {
        None
    }
}

/// Whether a regular file begins with GGUF's magic bytes. Other programs' caches name such files by
/// hash.
fn begins_as_gguf(path: &Path) -> bool {
    let mut first = [0; 4];
    path.is_file()
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut first))
            .is_ok()
        && &first == b"GGUF"
}

/// The repository in a web address or `hf://` URL.
fn repository_in(text: &str) -> Option<String> {
    let rest = ["https://huggingface.co/", "https://hf.co/", "hf://"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let mut parts = rest.splitn(3, '/');
    let id = format!("{}/{}", parts.next()?, parts.next()?);
    is_repository(&id).then_some(id)
}

/// Whether a text has the form of a repository id.
fn is_repository(id: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    id.split_once('/')
        .is_some_and(|(owner, name)| part(owner) && part(name))
}

impl FromStr for ModelSource {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ModelSource::parse(text)
    }
}

impl From<&Path> for ModelSource {
    /// A GGUF file if the path has that extension or the magic bytes; otherwise a directory.
    fn from(path: &Path) -> Self {
        on_disk(path).unwrap_or_else(|| ModelSource::Directory(path.to_owned()))
    }
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelSource::BuiltIn => f.write_str(Self::BUILT_IN),
            ModelSource::Directory(path) | ModelSource::Gguf(path) => {
                write!(f, "{}", path.display())
            }
            ModelSource::Hub { id, revision: None } => f.write_str(id),
            ModelSource::Hub {
                id,
                revision: Some(revision),
            } => write!(f, "{id}@{revision}"),
        }
    }
}
