//! Errors for files that cannot be read as a model, with advice.
//!
//! Uses file names only, so that a directory and a repository get the same message. Reads no file.

use std::collections::BTreeSet;
use std::path::Path;

use super::files;
use crate::{Error, ErrorKind};

/// The supported formats, for messages.
pub(super) const READ: &str =
    "read are safetensors of type F64, F32, F16 or BF16, and GGUF files, quantized or not";

/// The location of files.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Directory(&'a Path),
    /// A repository by its id.
    Hub(&'a str),
}

impl Place<'_> {
    /// The name of a file for messages.
    fn label(self, name: &str) -> String {
        match self {
            Place::Directory(path) => path.join(name).display().to_string(),
            Place::Hub(id) => format!("{id}: {name}"),
        }
    }

    fn name(self) -> String {
        match self {
            Place::Directory(path) => path.display().to_string(),
            Place::Hub(id) => id.to_owned(),
        }
    }
}

/// Lists the first few names and the number of others, for a message.
fn list(names: &[&str]) -> String {
    const MAX_NAMED: usize = 8;
    let first = names.get(..MAX_NAMED).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The error for a missing `config.json`.
pub(super) fn no_config(place: Place<'_>, names: &BTreeSet<String>) -> Error {
    missing(place, "config.json", weights_instead(place, names))
}

/// The error if there are no safetensors with a known name.
pub(super) fn no_weights(place: Place<'_>, names: &BTreeSet<String>) -> Error {
    let instead = weights_instead(place, names).or_else(|| {
        let others = matching(names, |name| name.ends_with(".safetensors"));
        (!others.is_empty()).then(|| {
            format!(
                "there is {}, under no name that the weights of a Hugging Face model have \
                 (model.safetensors, or model-00001-of-0000N.safetensors)",
                list(&others)
            )
        })
    });
    match instead {
        Some(instead) => missing(place, "model.safetensors", Some(instead)),
        None => Error::new(
            ErrorKind::Model,
            format!(
                "{}: missing, and so is an index of shards; {READ}",
                place.label("model.safetensors")
            ),
        ),
    }
}

/// The error for a missing `tokenizer.json`.
pub(super) fn no_tokenizer(place: Place<'_>, names: &BTreeSet<String>) -> Error {
    let others = matching(names, |name| {
        matches!(
            name,
            "tokenizer.model"
                | "tekken.json"
                | "vocab.json"
                | "merges.txt"
                | "vocab.txt"
                | "spiece.model"
                | "tokenizer.model.v3"
        ) || name.ends_with(".tiktoken")
    });
    let instead = (!others.is_empty()).then(|| {
        format!(
            "there is {}, which is not read by itself. Write a tokenizer.json with Hugging Face \
             transformers, `AutoTokenizer.from_pretrained(\"{name}\").save_pretrained(\"DIRECTORY\")`\
             , and put it beside the weights; or take a GGUF file of the model, which has its \
             tokenizer inside",
            list(&others),
            name = place.name(),
        )
    });
    missing(place, "tokenizer.json", instead)
}

fn missing(place: Place<'_>, name: &str, instead: Option<String>) -> Error {
    let label = place.label(name);
    match instead {
        Some(instead) => Error::new(
            ErrorKind::Unsupported,
            format!("{label}: missing; {instead}"),
        ),
        None => Error::new(ErrorKind::Model, format!("{label}: missing")),
    }
}

fn matching(names: &BTreeSet<String>, matches: impl Fn(&str) -> bool) -> Vec<&str> {
    names
        .iter()
        .map(String::as_str)
        .filter(|name| matches(name))
        .collect()
}

/// Describes the files that exist in place of safetensors, and what to do with them.
fn weights_instead(place: Place<'_>, names: &BTreeSet<String>) -> Option<String> {
    if names.contains("adapter_config.json") {
        return Some(
            "there is adapter_config.json, so this is an adapter, not a whole model. Merge it into \
             its base model (`base_model_name_or_path` in that file) with PEFT's \
             `merge_and_unload` and save the result"
                .to_owned(),
        );
    }
    let gguf = matching(names, |name| has_extension(name, &["gguf"]));
    if let Some(first) = gguf.first() {
        let remedy = match place {
            Place::Directory(path) => {
                format!("give the file itself, as in {}", path.join(first).display())
            }
            Place::Hub(id) => format!(
                "download the one you want (`hf download {id} {first}`) and give the file itself"
            ),
        };
        return Some(format!("there is {}: {remedy}", list(&gguf)));
    }
    let others = matching(names, |name| {
        has_extension(
            name,
            &[
                "bin", "pth", "pt", "ckpt", "h5", "msgpack", "onnx", "nemo", "npz",
            ],
        ) && !name.starts_with("training_args")
            && !name.starts_with("optimizer")
            && !name.starts_with("scheduler")
    });
    (!others.is_empty()).then(|| {
        format!(
            "there is {}, which is not read. Write safetensors with Hugging Face transformers, \
             `AutoModelForCausalLM.from_pretrained(\"{name}\").save_pretrained(\"DIRECTORY\")` \
             (of Meta's own format, take the repository in Hugging Face's), or take a GGUF file of \
             the model",
            list(&others),
            name = place.name(),
        )
    })
}

fn has_extension(name: &str, extensions: &[&str]) -> bool {
    Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|own| {
            extensions
                .iter()
                .any(|extension| own.eq_ignore_ascii_case(extension))
        })
}

/// The error for a path that is not a model's directory.
pub(super) fn not_a_directory(path: &Path) -> Error {
    let shown = path.display();
    let Ok(meta) = path.metadata() else {
        if let Some(error) = files::dangling(path) {
            return error;
        }
        return Error::new(
            ErrorKind::Io,
            format!("{shown}: no such directory or GGUF file"),
        );
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent.display();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let reason = if !meta.is_file() {
        "neither a directory nor a regular file".to_owned()
    } else if has_extension(&name, &["safetensors"]) {
        format!(
            "a safetensors file by itself holds no configuration and no tokenizer; give the \
             directory ({parent}) with config.json and tokenizer.json beside it"
        )
    } else if has_extension(&name, &["json", "jinja", "model"]) {
        format!("one file of a model; give the directory that they are in ({parent})")
    } else {
        format!("neither a directory nor a GGUF file; {READ}")
    };
    Error::new(ErrorKind::Settings, format!("{shown}: {reason}"))
}
