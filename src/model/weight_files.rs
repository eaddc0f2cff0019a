//! Finds the safetensors files that hold a model's weights, from the names of the files in the
//! directory and from the index.

use std::collections::BTreeSet;

use serde_json::Value;

use super::huggingface;
use crate::{Error, ErrorKind, Result};

/// The file of an unsharded model.
pub(super) const SINGLE: &str = "model.safetensors";
/// The index that maps tensors to shards.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The files that hold a model's weights.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WeightFiles {
    /// A single file. If an index next to it lists other files, it is not used; `unused` names one
    /// of those files.
    Single { unused: Option<String> },
    /// Shards with an index: each tensor with its shard.
    Indexed(Vec<(String, String)>),
    /// Shards that are numbered in their names, without an index.
    Numbered(Vec<String>),
}

impl WeightFiles {
    /// Finds them among `names`; `None` if there are no safetensors with a known name. `label`
    /// returns a file's name for messages; `index` is the contents of [`INDEX`], if it exists.
    ///
    /// A single file takes precedence over an index next to it, as in Hugging Face transformers.
    pub(super) fn find(
        names: &BTreeSet<String>,
        label: &dyn Fn(&str) -> String,
        index: Option<&[u8]>,
    ) -> Result<Option<Self>> {
        if names.contains(SINGLE) {
            let unused = index.and_then(|index| match weight_map(&label(INDEX), index) {
                Ok(map) => map
                    .into_iter()
                    .find_map(|(_, shard)| (shard != SINGLE).then_some(shard)),
                Err(_) => Some("nothing that can be read".to_owned()),
            });
            return Ok(Some(WeightFiles::Single { unused }));
        }
        if let Some(index) = index {
            let map = weight_map(&label(INDEX), index)?;
            let shards: BTreeSet<&String> = map.iter().map(|(_, shard)| shard).collect();
            let missing: Vec<&str> = shards
                .iter()
                .filter(|shard| !names.contains(**shard))
                .map(|shard| shard.as_str())
                .collect();
            if let Some(first) = missing.first() {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!(
                        "{}: missing, though {INDEX} lists it ({} of its {} files are missing); \
                         download it",
                        label(first),
                        missing.len(),
                        shards.len()
                    ),
                ));
            }
            return Ok(Some(WeightFiles::Indexed(map)));
        }
        numbered(names, label)
    }

    /// The files' names, each once.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        match self {
            WeightFiles::Single { .. } => BTreeSet::from([SINGLE]),
            WeightFiles::Indexed(map) => map.iter().map(|(_, shard)| shard.as_str()).collect(),
            WeightFiles::Numbered(files) => files.iter().map(String::as_str).collect(),
        }
    }
}

/// The index's pairs of tensor and shard.
fn weight_map(label: &str, index: &[u8]) -> Result<Vec<(String, String)>> {
    let bad = |reason: &str| Error::new(ErrorKind::Model, format!("{label}: {reason}"));
    let index = huggingface::object(label, index)?;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(bad("no object `weight_map`"));
    };
    if map.is_empty() {
        return Err(bad("`weight_map` lists no files"));
    }
    map.iter()
        .map(|(name, shard)| {
            let Value::String(shard) = shard else {
                return Err(bad("`weight_map` has a value that is not a file name"));
            };
            // Only plain names: an index must not reach outside its directory, and the hub's client
            // treats names as patterns.
            if shard.contains(['/', '\\', '\0', ':', '*', '?', '[', ']', '{', '}'])
                || shard.starts_with('.')
                || !shard.ends_with(".safetensors")
            {
                return Err(bad(&format!(
                    "tensor `{}` is said to be in `{}`, which is not the name of a safetensors \
                     file beside it",
                    name.escape_debug(),
                    shard.escape_debug()
                )));
            }
            Ok((name.clone(), shard.clone()))
        })
        .collect()
}

/// Parses `model-00002-of-00005.safetensors` as 2 of 5.
fn number(name: &str) -> Option<(usize, usize)> {
    let middle = name.strip_prefix("model-")?.strip_suffix(".safetensors")?;
    let (number, count) = middle.split_once("-of-")?;
    let digits = |text: &str| match text.len() {
        5 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    Some((digits(number)?, digits(count)?))
}

/// Finds shards without an index; all that their names count must exist.
fn numbered(
    names: &BTreeSet<String>,
    label: &dyn Fn(&str) -> String,
) -> Result<Option<WeightFiles>> {
    let found: Vec<(&String, (usize, usize))> = names
        .iter()
        .filter_map(|name| Some((name, number(name)?)))
        .collect();
    let Some(&(first, (_, count))) = found.first() else {
        return Ok(None);
    };
    if let Some((other, _)) = found.iter().find(|(_, (_, n))| *n != count) {
        return Err(Error::new(
            ErrorKind::Model,
            format!(
                "{}: belongs to another set of files than {first}, and there is no {INDEX} to \
                 say which is the model; remove one of the sets",
                label(other)
            ),
        ));
    }
    for number in 1..=count {
        let name = format!("model-{number:05}-of-{count:05}.safetensors");
        if !names.contains(&name) {
            return Err(Error::new(
                ErrorKind::Model,
                format!(
                    "{}: missing, as {first} says that there are {count} such files; download it",
                    label(&name)
                ),
            ));
        }
    }
    if found.len() != count {
        return Err(Error::new(
            ErrorKind::Model,
            format!("{}: numbered beyond 1 to {count}", label(first)),
        ));
    }
    Ok(Some(WeightFiles::Numbered(
        found.into_iter().map(|(name, _)| name.clone()).collect(),
    )))
}
