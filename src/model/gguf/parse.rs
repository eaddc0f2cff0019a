//! Parses a GGUF file's bytes into metadata and the locations of its tensors.
//!
//! Every declared length and count is checked against the remaining bytes before anything is
//! allocated. The format is that of ggml's `docs/gguf.md`, versions 2 and 3 (little-endian). Does
//! not interpret keys, except for the alignment.

use std::collections::BTreeMap;

use super::container::{Entry, Value};
use super::types::{self, TensorType};
use crate::ErrorKind;

const MAX_DIMENSIONS: usize = 4;
const MAX_ARRAY_DEPTH: usize = 4;
const MAX_ALIGNMENT: u64 = 1 << 20;

/// A file's contents, without the tensors' bytes.
pub(super) struct Parsed {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// The reason why a file could not be parsed.
pub(super) struct Reason {
    pub(super) kind: ErrorKind,
    pub(super) text: String,
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Reason {
            kind: ErrorKind::Model,
            text,
        }
    }
}

/// A position in the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let taken = usize::try_from(length)
            .ok()
            .filter(|&length| length <= self.left())
            .and_then(|length| self.bytes.get(self.at..self.at + length))
            .ok_or_else(|| {
                format!(
                    "cut short or damaged: {length} bytes wanted at byte {} of {}",
                    self.at,
                    self.bytes.len()
                )
            })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads a count of items that take at least `least` bytes each.
    fn count(&mut self, least: u64) -> Result<u64, String> {
        let count = self.u64()?;
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.left() as u64 => Ok(count),
            _ => Err(format!(
                "cut short or damaged: {count} entries claimed at byte {} of {}",
                self.at - 8,
                self.bytes.len()
            )),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        // Some files have strings that are not valid UTF-8. They are only displayed.
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.bool()?),
            8 => Value::Text(self.text()?),
            9 => self.list(depth)?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("metadata of the unknown type {other}")),
        })
    }

    fn bool(&mut self) -> Result<bool, String> {
        match self.array::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("a truth value of {other}")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let kind = self.u32()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            other => return Err(format!("an array of the unknown type {other}")),
        };
        let count = self.count(least)?;
        Ok(match kind {
            8 => {
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.text()?);
                }
                Value::Texts(texts)
            }
            4 | 5 => {
                let (numbers, _) = self.take(count * 4)?.as_chunks::<4>();
                Value::Numbers(
                    numbers
                        .iter()
                        .map(|bytes| match kind {
                            4 => i64::from(u32::from_le_bytes(*bytes)),
                            _ => i64::from(i32::from_le_bytes(*bytes)),
                        })
                        .collect(),
                )
            }
            6 => {
                let (numbers, _) = self.take(count * 4)?.as_chunks::<4>();
                Value::Floats(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            9 => {
                if depth >= MAX_ARRAY_DEPTH {
                    return Err("arrays nested too deep".to_owned());
                }
                for _ in 0..count {
                    self.list(depth + 1)?;
                }
                Value::Other(count)
            }
            _ => {
                self.take(count * least)?;
                Value::Other(count)
            }
        })
    }
}

/// Parses a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Reason> {
    let mut cursor = Cursor { bytes, at: 0 };
    let magic = cursor.array::<4>()?;
    if &magic != b"GGUF" {
        return Err(format!("not a GGUF file: it begins with {magic:02x?}").into());
    }
    supported(cursor.u32()?)?;
    // Minimum sizes: a name's length, the number of dimensions, type and offset; and a name's
    // length, a type and one byte.
    let tensor_count = cursor.count(24)?;
    let metadata_count = cursor.count(13)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..metadata_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor
            .value(kind, 0)
            .map_err(|reason| format!("`{}`: {reason}", key.escape_debug()))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("`{}` is there twice", key.escape_debug()).into());
        }
    }
    let mut raw = Vec::new();
    for _ in 0..tensor_count {
        raw.push(tensor(&mut cursor)?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(&Value::Unsigned(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => n,
        Some(_) => {
            return Err("`general.alignment` is not a power of two up to 1 MiB"
                .to_owned()
                .into());
        }
    };
    let data = (cursor.at as u64).next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for Raw {
        name,
        dtype,
        shape,
        offset,
    } in raw
    {
        let quoted = name.escape_debug().to_string();
        let dtype = TensorType::from_code(dtype).map_err(|text| Reason {
            kind: ErrorKind::Unsupported,
            text: format!("tensor `{quoted}`: {text}{}", mixture(&metadata)),
        })?;
        let entry = place(dtype, shape, offset, data, bytes.len())
            .map_err(|reason| format!("tensor `{quoted}`: {reason}"))?;
        if tensors.insert(name, entry).is_some() {
            return Err(format!("tensor `{quoted}` is there twice").into());
        }
    }
    Ok(Parsed { metadata, tensors })
}

/// Refuses versions with another layout.
fn supported(version: u32) -> Result<(), Reason> {
    let text = match version {
        2 | 3 => return Ok(()),
        1 => {
            "GGUF version 1, whose counts and lengths are shorter; supported are 2 and 3: convert \
              the model again"
                .to_owned()
        }
        // Such a file has all its bytes swapped, including the version.
        _ if matches!(version.swap_bytes(), 1..=3) => format!(
            "big-endian (GGUF version {}); only little-endian files are read",
            version.swap_bytes()
        ),
        _ => format!("GGUF version {version}; supported are 2 and 3, little-endian"),
    };
    Err(Reason {
        kind: ErrorKind::Unsupported,
        text,
    })
}

/// The file's mixture of types, for messages; empty if the file does not say.
fn mixture(metadata: &BTreeMap<String, Value>) -> String {
    match metadata.get("general.file_type") {
        Some(&Value::Unsigned(code)) => match types::file_type_name(code) {
            Some(name) => format!(" (the file's `general.file_type` is {code}, {name})"),
            None => format!(" (the file's `general.file_type` is {code})"),
        },
        _ => String::new(),
    }
}

/// A tensor's entry in the file.
struct Raw {
    name: String,
    dtype: u32,
    shape: Vec<usize>,
    offset: u64,
}

fn tensor(cursor: &mut Cursor<'_>) -> Result<Raw, String> {
    let name = cursor.text()?;
    let in_name = |reason: String| format!("tensor `{}`: {reason}", name.escape_debug());
    let dimensions = cursor.u32().map_err(in_name)? as usize;
    if dimensions > MAX_DIMENSIONS {
        return Err(in_name(format!("{dimensions} dimensions")));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = cursor.u64().map_err(in_name)?;
        shape.push(usize::try_from(size).map_err(|_| in_name(format!("a size of {size}")))?);
    }
    // GGUF lists the innermost dimension first.
    shape.reverse();
    let dtype = cursor.u32().map_err(in_name)?;
    let offset = cursor.u64().map_err(in_name)?;
    Ok(Raw {
        name,
        dtype,
        shape,
        offset,
    })
}

/// The location of a tensor's bytes, checked against the file's length.
fn place(
    dtype: TensorType,
    shape: Vec<usize>,
    offset: u64,
    data: u64,
    file: usize,
) -> Result<Entry, String> {
    let elements = shape
        .iter()
        .try_fold(1usize, |elements, &n| elements.checked_mul(n))
        .ok_or_else(|| format!("shape {shape:?} overflows"))?;
    let block = dtype.block_size();
    // Rows must consist of whole blocks.
    if !shape.last().copied().unwrap_or(1).is_multiple_of(block) {
        return Err(format!(
            "rows of {:?} elements are not made of blocks of {block} ({dtype:?})",
            shape.last()
        ));
    }
    let start = data
        .checked_add(offset)
        .and_then(|start| usize::try_from(start).ok());
    let range = (elements / block)
        .checked_mul(dtype.block_bytes())
        .and_then(|bytes| Some((start?, start?.checked_add(bytes)?)));
    match range {
        Some((start, end)) if end <= file => Ok(Entry {
            dtype,
            shape,
            range: start..end,
            file: 0,
        }),
        _ => Err(format!(
            "shape {shape:?} at offset {offset} does not fit in the file of {file} bytes; it is \
             cut short or damaged"
        )),
    }
}
