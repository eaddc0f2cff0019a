//! A GGUF file's tensors as the decoder requires them: rows in half-split order, quantized blocks
//! kept or dequantized.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use rayon::prelude::*;

use super::container::{Entry, Gguf};
use crate::model::assemble::{self, Element, Part, TensorSource};
use crate::model::scan::StoredRows;
use crate::{Error, ErrorKind, Result};

impl TensorSource for Gguf {
    fn label(&self, name: &str) -> String {
        match self.tensor(name) {
            Some(entry) => self.label_of(entry),
            None => Gguf::label(self).to_owned(),
        }
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensor(name).map(|entry| entry.shape.as_slice())
    }

    fn names(&self) -> Vec<&str> {
        self.tensors().map(|(name, _)| name).collect()
    }

    fn stored(&self) -> Box<dyn Iterator<Item = (String, usize, String)> + '_> {
        let describe = |(_, entry): (&str, &Entry)| {
            let bytes = self.bytes(entry).len();
            (format!("{:?}", entry.dtype), bytes, self.label_of(entry))
        };
        Box::new(self.tensors().map(describe))
    }

    fn fill<T: Element>(&self, part: &Part, out: &mut [T]) -> Result<()> {
        /// The number of elements that are dequantized at a time.
        const CHUNK: usize = 1 << 18;
        let entry = self.find(part)?;
        let label = self.tensor_label(&part.name);
        // A vector is treated as rows of one element, so that it can be reordered, too.
        let columns = part.columns.unwrap_or(1);
        if !columns.is_multiple_of(entry.dtype.block_size()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{label}: a vector stored as {:?} blocks", entry.dtype),
            ));
        }
        let chunk_rows = (CHUNK / columns).max(1);
        out.par_chunks_mut(chunk_rows * columns)
            .enumerate()
            .try_for_each(|(chunk, out)| {
                let first = chunk * chunk_rows;
                let count = out.len() / columns;
                self.dequantized(part, entry, first..first + count, &label, out)
            })
    }

    fn blocks(&self, parts: &[Part], device: &Device) -> Result<Option<Vec<Arc<QTensor>>>> {
        let mut entries = Vec::with_capacity(parts.len());
        for part in parts {
            entries.push((part, self.find(part)?));
        }
        if entries
            .iter()
            .all(|(_, entry)| entry.dtype.block_size() == 1)
        {
            return Ok(None);
        }
        entries
            .into_iter()
            .map(|(part, entry)| self.quantized(part, entry, device))
            .collect::<Result<_>>()
            .map(Some)
    }
}

impl StoredRows for Gguf {
    fn rows_of(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<bool> {
        let entry = self.tensor(name).ok_or_else(|| self.missing(name))?;
        let columns = match rows.len() {
            0 => return Ok(true),
            count => out.len() / count,
        };
        if !columns.is_multiple_of(entry.dtype.block_size()) {
            return Ok(false);
        }
        let part = Part {
            name: name.to_owned(),
            rows: rows.end,
            columns: Some(columns),
            interleaved_head: None,
        };
        let label = self.tensor_label(name);
        self.dequantized(&part, entry, rows, &label, out)?;
        Ok(true)
    }
}

impl Gguf {
    /// Writes the numbers of some rows.
    fn dequantized<T: Element>(
        &self,
        part: &Part,
        entry: &Entry,
        range: Range<usize>,
        label: &str,
        out: &mut [T],
    ) -> Result<()> {
        let shape = vec![range.len(), part.columns.unwrap_or(1)];
        let rows = self.rows(part, entry, range, label)?;
        let tensor = qtensor(entry.dtype.read_as(), rows.bytes(), shape, &Device::Cpu)
            .and_then(|tensor| tensor.dequantize(&Device::Cpu))
            .and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>())
            .map_err(|error| assemble::device_error(label, error))?;
        for (out, number) in out.iter_mut().zip(tensor) {
            *out = T::from_f32(number);
        }
        Ok(())
    }

    fn find(&self, part: &Part) -> Result<&Entry> {
        self.tensor(&part.name)
            .ok_or_else(|| self.missing(&part.name))
    }

    /// A part's blocks, with rows reordered if necessary.
    fn quantized(&self, part: &Part, entry: &Entry, device: &Device) -> Result<Arc<QTensor>> {
        let label = self.tensor_label(&part.name);
        let rows = self.rows(part, entry, 0..part.rows, &label)?;
        qtensor(entry.dtype.read_as(), rows.bytes(), part.shape(), device)
            .map(Arc::new)
            .map_err(|error| assemble::device_error(&label, error))
    }

    /// The bytes of some rows, in the type that they are read as and in the decoder's order.
    fn rows(
        &self,
        part: &Part,
        entry: &Entry,
        range: Range<usize>,
        label: &str,
    ) -> Result<Aligned> {
        let columns = part.columns.unwrap_or(1);
        let blocks = columns / entry.dtype.block_size();
        let stored_width = blocks * entry.dtype.block_bytes();
        let width = blocks * entry.dtype.read_as().type_size();
        let bytes = self.bytes(entry);
        let mut rows = Aligned::new(width * range.len(), label)?;
        for (out, row) in rows.bytes_mut().chunks_exact_mut(width).zip(range) {
            let from = part.stored_row(row) * stored_width;
            let stored = bytes.get(from..from + stored_width).ok_or_else(|| {
                Error::new(ErrorKind::Model, format!("{label}: row {row} is missing"))
            })?;
            entry.dtype.read_row(stored, out).map_err(|reason| {
                Error::new(
                    ErrorKind::Unsupported,
                    format!("{label}: row {row}: {reason}"),
                )
            })?;
        }
        Ok(rows)
    }
}

fn qtensor(
    dtype: GgmlDType,
    bytes: &[u8],
    shape: Vec<usize>,
    device: &Device,
) -> candle_core::Result<QTensor> {
    QTensor::new(
        QStorage::from_data(Cow::Borrowed(bytes), device, dtype)?,
        shape,
    )
}

/// Bytes aligned for every block type. Candle asserts the alignment, and the alignment in a file's
/// metadata may be insufficient.
struct Aligned {
    storage: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    const ALIGNMENT: usize = 16;

    fn new(length: usize, label: &str) -> Result<Self> {
        let mut storage = Vec::new();
        let whole = length + Self::ALIGNMENT;
        storage.try_reserve_exact(whole).map_err(|error| {
            Error::new(
                ErrorKind::Device,
                format!("{label}: no memory for {whole} bytes"),
            )
            .with_source(error)
        })?;
        storage.resize(whole, 0u8);
        let start = storage.as_ptr().align_offset(Self::ALIGNMENT);
        Ok(Aligned {
            storage,
            // `align_offset` may fail to answer; candle then reports the misalignment.
            start: start.min(Self::ALIGNMENT),
            length,
        })
    }

    fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.length]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.length]
    }
}
