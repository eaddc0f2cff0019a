//! Tensors of one or several memory-mapped safetensors files.
//!
//! The header is parsed here. Every length is checked against the file's before it is used. Handles
//! names, shapes and types, but not the purpose of a tensor.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::DType;
use half::{bf16, f16};
use rayon::prelude::*;
use serde_json::Value;

use super::assemble::{Element, Part, TensorSource};
use super::files::{Bytes, Files, MAX_JSON};
use super::fingerprint::Fingerprint;
use super::huggingface;
use super::refusals;
use super::scan::StoredRows;
use super::weight_files::{INDEX, SINGLE, WeightFiles};
use crate::{Error, ErrorKind, Result};

/// The size limit of a header; a model of 100 layers needs about 100 kB.
const MAX_HEADER: u64 = 64 << 20;
const MAX_RANK: usize = 8;

/// One tensor in a file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) dtype: Kind,
    pub(super) shape: Vec<usize>,
    file: usize,
    start: usize,
    end: usize,
}

/// The stored number types that models use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    /// A type that is not supported for weights, by its name.
    Other(String),
}

impl Kind {
    fn parse(name: &str) -> Self {
        match name {
            "F64" => Kind::F64,
            "F32" => Kind::F32,
            "F16" => Kind::F16,
            "BF16" => Kind::Bf16,
            other => Kind::Other(other.to_owned()),
        }
    }

    /// Candle's type, if it is supported for weights.
    pub(super) fn dtype(&self) -> Option<DType> {
        match self {
            Kind::F64 => Some(DType::F64),
            Kind::F32 => Some(DType::F32),
            Kind::F16 => Some(DType::F16),
            Kind::Bf16 => Some(DType::BF16),
            Kind::Other(_) => None,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Kind::F64 => "F64",
            Kind::F32 => "F32",
            Kind::F16 => "F16",
            Kind::Bf16 => "BF16",
            Kind::Other(name) => name,
        }
    }
}

/// All tensors of a model's safetensors files.
pub(super) struct SafeTensors {
    /// Remarks about the files.
    pub(super) notes: Vec<String>,
    files: Vec<(String, Bytes)>,
    entries: BTreeMap<String, Entry>,
}

impl SafeTensors {
    /// Opens the files that hold a model's weights.
    pub(super) fn open(files: &Files) -> Result<Self> {
        let names = files.names()?;
        if !names.contains(SINGLE) {
            files.refuse_dangling(|name| name.ends_with(".safetensors"))?;
        }
        let index = files.read(INDEX, MAX_JSON)?;
        let found = WeightFiles::find(&names, &|name| files.label(name), index.as_deref())?;
        let Some(found) = found else {
            return Err(refusals::no_weights(files.place(), &names));
        };
        let mut notes = Vec::new();
        if let WeightFiles::Single {
            unused: Some(other),
        } = &found
        {
            notes.push(format!(
                "{}: read whole; the index beside it, which lists {other}, is not used",
                files.label(SINGLE)
            ));
        }
        let mut tensors = SafeTensors {
            notes,
            files: Vec::new(),
            entries: BTreeMap::new(),
        };
        for name in found.names() {
            let label = files.label(name);
            let bytes = files
                .map(name)?
                .ok_or_else(|| Error::new(ErrorKind::Model, format!("{label}: missing")))?;
            tensors.add(label, bytes)?;
        }
        if let WeightFiles::Indexed(map) = &found {
            tensors.agree(files, map)?;
        }
        tensors.refuse_quantized()?;
        Ok(tensors)
    }

    /// Checks that every tensor is in the file that the index names.
    fn agree(&self, files: &Files, map: &[(String, String)]) -> Result<()> {
        for (name, shard) in map {
            let label = files.label(shard);
            let place = match self.entries.get(name) {
                Some(entry) => self.files.get(entry.file).map(|(label, _)| label),
                None => None,
            };
            if place == Some(&label) {
                continue;
            }
            let place = place.map_or_else(String::new, |place| {
                format!("; it is in {place}, so the files are not of one model or one download")
            });
            return Err(Error::new(
                ErrorKind::Model,
                format!(
                    "{label}: no tensor `{}`, though {INDEX} says so{place}",
                    name.escape_debug()
                ),
            ));
        }
        Ok(())
    }

    /// Fails if tensors are quantized although the configuration did not say so; names the method.
    fn refuse_quantized(&self) -> Result<()> {
        let quantized = self.entries.iter().find_map(|(name, entry)| {
            let method = quantized_by(name, &entry.dtype)?;
            Some((name, entry, method))
        });
        let Some((name, entry, method)) = quantized else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{} of type {} is of weights quantized by {method}; {}: take the unquantized \
                 model, or a GGUF file of it",
                self.tensor_label(name),
                entry.dtype.name().escape_debug(),
                refusals::READ,
            ),
        ))
    }

    fn add(&mut self, label: String, bytes: Bytes) -> Result<()> {
        let index = self.files.len();
        for (name, entry) in header(&label, &bytes, index)? {
            if self.entries.contains_key(&name) {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!("{label}: tensor `{}` is in two files", name.escape_debug()),
                ));
            }
            self.entries.insert(name, entry);
        }
        self.files.push((label, bytes));
        Ok(())
    }

    /// All tensors, in order of their names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// A hash of all tensors.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut weights = Fingerprint::default();
        for (name, entry) in self.entries() {
            weights.tensor(name, entry.dtype.name(), &entry.shape, self.bytes(entry));
        }
        weights
    }

    /// A tensor's bytes.
    pub(super) fn bytes(&self, entry: &Entry) -> &[u8] {
        self.files
            .get(entry.file)
            .and_then(|(_, bytes)| bytes.get(entry.start..entry.end))
            .unwrap_or_default()
    }
}

/// The method with which a tensor was quantized, recognized by its name or type.
fn quantized_by(name: &str, dtype: &Kind) -> Option<&'static str> {
    if name.contains(".quant_state.") {
        return Some("bitsandbytes");
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    match last {
        "qweight" | "qzeros" | "g_idx" => return Some("GPTQ or AWQ"),
        "SCB" | "absmax" | "quant_map" | "nested_absmax" => return Some("bitsandbytes"),
        "weight_packed" => return Some("compressed-tensors"),
        _ => {}
    }
    match dtype {
        Kind::Other(kind) if kind.starts_with("F8_") => Some("FP8"),
        Kind::Other(kind) if kind.starts_with("F4") || kind.starts_with("F6_") => {
            Some("a method with floats of less than 8 bits")
        }
        Kind::Other(_) if last == "weight" => Some("a method that keeps them as whole numbers"),
        _ => None,
    }
}

/// Parses a file's header: eight bytes of length, then JSON that maps names to type, shape and
/// range.
fn header(label: &str, bytes: &[u8], file: usize) -> Result<Vec<(String, Entry)>> {
    let bad = |reason: String| Error::new(ErrorKind::Model, format!("{label}: {reason}"));
    let length = bytes
        .first_chunk::<8>()
        .map(|length| u64::from_le_bytes(*length))
        .ok_or_else(|| {
            bad(format!(
                "cut short: {} bytes; download it again",
                bytes.len()
            ))
        })?;
    let rest = &bytes[8..];
    if length > MAX_HEADER || length > rest.len() as u64 {
        return Err(bad(format!(
            "the header claims {length} bytes of a file of {}; the file is cut short or damaged: \
             download it again",
            bytes.len()
        )));
    }
    let (head, data) = rest.split_at(length as usize);
    let map = huggingface::object(&format!("{label} (header)"), head)?;
    let mut entries = Vec::new();
    for (name, value) in &map {
        if name != "__metadata__" {
            let entry = entry(value, file, data.len(), 8 + length as usize)
                .map_err(|reason| bad(format!("tensor `{}`: {reason}", name.escape_debug())))?;
            entries.push((name.clone(), entry));
        }
    }
    // Ranges must be contiguous, without gap or overlap, up to the end of the file. The format
    // requires it, and it detects truncated and corrupt files.
    let mut order: Vec<&(String, Entry)> = entries.iter().collect();
    order.sort_by_key(|(_, entry)| (entry.start, entry.end));
    let mut at = 8 + length as usize;
    for (name, entry) in order {
        if entry.start != at {
            return Err(bad(format!(
                "tensor `{}` begins at byte {} where byte {at} was expected",
                name.escape_debug(),
                entry.start
            )));
        }
        at = entry.end;
    }
    if at != bytes.len() {
        return Err(bad(format!(
            "{} bytes after the last tensor",
            bytes.len() - at
        )));
    }
    Ok(entries)
}

fn entry(value: &Value, file: usize, data: usize, base: usize) -> Result<Entry, String> {
    let field = |name: &str| value.get(name).ok_or(format!("no `{name}`"));
    let size = |value: &Value| {
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| format!("{value} is not a size"))
    };
    let sizes = |name: &str| match field(name)? {
        Value::Array(list) if list.len() <= MAX_RANK => list.iter().map(size).collect(),
        Value::Array(list) => Err(format!("`{name}` has {} numbers", list.len())),
        _ => Err(format!("`{name}` is not a list")),
    };
    let Value::String(dtype) = field("dtype")? else {
        return Err("`dtype` is not a string".to_owned());
    };
    let dtype = Kind::parse(dtype);
    let shape: Vec<usize> = sizes("shape")?;
    let range: Vec<usize> = sizes("data_offsets")?;
    let &[start, end] = range.as_slice() else {
        return Err(format!("`data_offsets` has {} numbers, not 2", range.len()));
    };
    if start > end || end > data {
        return Err(format!(
            "lies at bytes {start} to {end} of {data}; the file is cut short or damaged: \
             download it again"
        ));
    }
    if let Some(known) = dtype.dtype() {
        let needed = shape
            .iter()
            .try_fold(known.size_in_bytes(), |bytes, &n| bytes.checked_mul(n));
        if needed != Some(end - start) {
            return Err(format!(
                "shape {shape:?} of {} does not take the {} bytes that it is given",
                dtype.name(),
                end - start
            ));
        }
    }
    Ok(Entry {
        dtype,
        shape,
        file,
        start: base + start,
        end: base + end,
    })
}

impl SafeTensors {
    /// Whether two tensors have the same shape and numbers.
    pub(super) fn equal(&self, one: &str, other: &str) -> Result<bool> {
        const ROWS: usize = 64;
        let (Some(first), Some(second)) = (self.entries.get(one), self.entries.get(other)) else {
            return Ok(false);
        };
        if first.shape != second.shape {
            return Ok(false);
        }
        if first.dtype == second.dtype {
            return Ok(self.bytes(first) == self.bytes(second));
        }
        let columns = first.shape.last().copied().unwrap_or(1).max(1);
        let rows = first.shape.iter().product::<usize>() / columns;
        let (mut left, mut right) = (vec![0.0; ROWS * columns], vec![0.0; ROWS * columns]);
        for start in (0..rows).step_by(ROWS) {
            let range = start..rows.min(start + ROWS);
            let count = range.len() * columns;
            let read = self.rows_of(one, range.clone(), &mut left[..count])?
                && self.rows_of(other, range, &mut right[..count])?;
            if !read || left[..count] != right[..count] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl StoredRows for SafeTensors {
    fn rows_of(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<bool> {
        let entry = self.entries.get(name).ok_or_else(|| self.missing(name))?;
        let Some(dtype) = entry.dtype.dtype() else {
            return Ok(false);
        };
        let width = match rows.len() {
            0 => return Ok(true),
            count => out.len() / count * dtype.size_in_bytes(),
        };
        let bytes = self.bytes(entry);
        let bytes = bytes.get(rows.start * width..rows.end * width);
        let short = || {
            Error::new(
                ErrorKind::Model,
                format!("{}: rows {rows:?} are missing", self.tensor_label(name)),
            )
        };
        read(&entry.dtype, bytes.ok_or_else(short)?, out);
        Ok(true)
    }
}

/// Converts numbers of a type; does nothing for unsupported types.
fn read<T: Element>(kind: &Kind, bytes: &[u8], out: &mut [T]) {
    match kind {
        Kind::F64 => convert::<T, 8>(bytes, out, |b| f64::from_le_bytes(b) as f32),
        Kind::F32 => convert::<T, 4>(bytes, out, f32::from_le_bytes),
        Kind::F16 => convert::<T, 2>(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        Kind::Bf16 => convert::<T, 2>(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Kind::Other(_) => {}
    }
}

impl TensorSource for SafeTensors {
    fn label(&self, name: &str) -> String {
        let file = self.entries.get(name).map_or(0, |entry| entry.file);
        self.files
            .get(file)
            .map_or_else(String::new, |(label, _)| label.clone())
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    fn names(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    fn stored(&self) -> Box<dyn Iterator<Item = (String, usize, String)> + '_> {
        let describe = |(name, entry): (&str, &Entry)| {
            let bytes = entry.end - entry.start;
            (entry.dtype.name().to_owned(), bytes, self.label(name))
        };
        Box::new(self.entries().map(describe))
    }

    fn fill<T: Element>(&self, part: &Part, out: &mut [T]) -> Result<()> {
        let entry = self
            .entries
            .get(&part.name)
            .ok_or_else(|| self.missing(&part.name))?;
        if let Kind::Other(kind) = &entry.dtype {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} is of type {}; supported are F64, F32, F16, BF16",
                    self.tensor_label(&part.name),
                    kind.escape_debug()
                ),
            ));
        }
        read(&entry.dtype, self.bytes(entry), out);
        Ok(())
    }
}

/// Converts numbers of `N` bytes, in parallel for large tensors.
fn convert<T: Element, const N: usize>(
    bytes: &[u8],
    out: &mut [T],
    read: impl Fn([u8; N]) -> f32 + Sync,
) {
    const CHUNK: usize = 1 << 16;
    out.par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * N))
        .for_each(|(out, bytes)| {
            let (numbers, _) = bytes.as_chunks::<N>();
            for (out, number) in out.iter_mut().zip(numbers) {
                *out = T::from_f32(read(*number));
            }
        });
}
