//! An opened GGUF model: metadata by key, and tensors and their memory-mapped bytes by name.
//!
//! Does not interpret keys, except for the one that says that a model is split.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::parse::{self, Parsed};
use super::split;
use super::types::TensorType;
use crate::model::files::{self, Bytes};
use crate::model::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result};

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// An array of integers.
    Numbers(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    /// An array of a type that is never read; only its length.
    Other(u64),
}

/// One tensor in the file.
#[derive(Debug, Clone)]
pub(in crate::model) struct Entry {
    pub(in crate::model) dtype: TensorType,
    /// Outermost dimension first, `[rows, columns]` for a matrix.
    pub(in crate::model) shape: Vec<usize>,
    /// The range of the bytes in their file.
    pub(super) range: Range<usize>,
    /// The index of the file of a split model.
    pub(super) file: usize,
}

/// One file of a model.
pub(super) struct Part {
    path: PathBuf,
    bytes: Bytes,
}

/// An opened model: one GGUF file, or all files of a split model.
pub(in crate::model) struct Gguf {
    /// The first file's name, for messages.
    label: String,
    parts: Vec<Part>,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Entry>,
}

impl Gguf {
    /// Opens and parses a file, and the other files of a split model.
    pub(in crate::model) fn open(path: &Path) -> Result<Self> {
        let file = Self::open_one(path)?;
        match file.size(split::COUNT)? {
            None | Some(0 | 1) => Ok(file),
            Some(count) => split::open_others(file, count),
        }
    }

    /// Opens and parses one file.
    pub(super) fn open_one(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let bytes = files::map(path)?;
        let Parsed { metadata, tensors } = parse::parse(&bytes)
            .map_err(|reason| Error::new(reason.kind, format!("{label}: {}", reason.text)))?;
        let path = path.to_owned();
        Ok(Gguf {
            label,
            parts: vec![Part { path, bytes }],
            metadata,
            tensors,
        })
    }

    /// Adds another file's tensors.
    pub(super) fn append(&mut self, other: Gguf) -> Result<()> {
        for (name, mut entry) in other.tensors {
            if let Some(known) = self.tensor(&name) {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!(
                        "{}: tensor `{}` is in {} already",
                        other.label,
                        name.escape_debug(),
                        self.label_of(known)
                    ),
                ));
            }
            entry.file = self.parts.len();
            self.tensors.insert(name, entry);
        }
        self.parts.extend(other.parts);
        Ok(())
    }

    /// The path of the model's first file.
    pub(in crate::model) fn path(&self) -> &Path {
        self.parts.first().map_or(Path::new(""), |part| &part.path)
    }

    /// The name of the file that holds a tensor, for messages.
    pub(super) fn label_of(&self, entry: &Entry) -> String {
        match self.parts.get(entry.file) {
            Some(part) => part.path.display().to_string(),
            None => self.label.clone(),
        }
    }

    /// The file's name, for messages.
    pub(in crate::model) fn label(&self) -> &str {
        &self.label
    }

    /// Adds the metadata that define the tokenizer. Leaves out the chat template, which is recorded
    /// where it is used.
    pub(in crate::model) fn identify_tokenizer(&self, fingerprint: &mut Fingerprint) {
        for (key, value) in &self.metadata {
            if key.starts_with("tokenizer.") && key != "tokenizer.chat_template" {
                fingerprint.add(key, format!("{value:?}").as_bytes());
            }
        }
    }

    /// All tensors, in order of their names.
    pub(in crate::model) fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.tensors
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// A tensor by name.
    pub(in crate::model) fn tensor(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// A tensor's bytes.
    pub(in crate::model) fn bytes(&self, entry: &Entry) -> &[u8] {
        self.parts
            .get(entry.file)
            .and_then(|part| part.bytes.get(entry.range.clone()))
            .unwrap_or_default()
    }

    /// A metadata value.
    pub(in crate::model) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        let is = match value {
            Value::Unsigned(n) => n.to_string(),
            Value::Signed(n) => n.to_string(),
            Value::Float(n) => n.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Text(_) => "a string".to_owned(),
            _ => "an array".to_owned(),
        };
        Error::new(
            ErrorKind::Model,
            format!("{}: `{key}` is {is}; expected {expected}", self.label),
        )
    }

    /// A non-negative integer.
    pub(in crate::model) fn size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match *value {
            Value::Unsigned(n) => usize::try_from(n).ok(),
            Value::Signed(n) => usize::try_from(n).ok(),
            _ => None,
        }
        .map(Some)
        .ok_or_else(|| self.wrong(key, value, "a size"))
    }

    /// A number.
    pub(in crate::model) fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Unsigned(n)) => Ok(Some(n as f64)),
            Some(&Value::Signed(n)) => Ok(Some(n as f64)),
            Some(&Value::Float(n)) if n.is_finite() => Ok(Some(n)),
            Some(value) => Err(self.wrong(key, value, "a number")),
        }
    }

    /// A Boolean.
    pub(in crate::model) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::Bool(flag)) => Ok(Some(flag)),
            Some(value) => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// A string.
    pub(in crate::model) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(key, value, "a string")),
        }
    }

    /// An array of strings.
    pub(in crate::model) fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(value) => Err(self.wrong(key, value, "a list of strings")),
        }
    }

    /// An array of floating-point numbers.
    pub(in crate::model) fn floats(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Floats(numbers)) => Ok(Some(numbers)),
            Some(value) => Err(self.wrong(key, value, "a list of numbers in f32")),
        }
    }

    /// An array of integers.
    pub(in crate::model) fn numbers(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Numbers(numbers)) => Ok(Some(numbers)),
            Some(value) => Err(self.wrong(key, value, "a list of whole numbers")),
        }
    }
}
