//! Linear layers: weights are packed once into panels and multiplied with f32 rows.

use std::cell::RefCell;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::aligned::{Aligned, Element};
use super::blocks::{self, Blocks};
use super::formats::TILE;
use super::gemm::{Output, Panels, Rows, multiply};
use super::lanes::{WIDTH, f16_to_f32};
use super::parallel;
use super::q8_activations::Q8Activations;
use super::rows::{add, bf16_to_f32};
use super::simd::Level;
use crate::engine::decoder::{device_error, not_made};
use crate::model::{Linear, Matrix};
use crate::{Error, ErrorKind, Result};

/// The number of panels that a thread processes at a time: as many as the widest kernel takes.
const GROUP: usize = 3;

/// The number of inputs that are dequantized at a time: their weights in a group fit the L1 cache.
const INNER: usize = 128;

const _: () = assert!(GROUP <= blocks::MAX_PANELS && INNER.is_multiple_of(TILE));

/// A storage type of weights that converts to f32 exactly.
pub(super) trait Stored: Element + Into<f32> {
    fn to_f32_all(level: Level, from: &[Self], to: &mut [f32]);
}

impl Stored for f32 {
    fn to_f32_all(_: Level, from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Stored for f16 {
    fn to_f32_all(level: Level, from: &[Self], to: &mut [f32]) {
        f16_to_f32(level, from, to);
    }
}

impl Stored for bf16 {
    fn to_f32_all(level: Level, from: &[Self], to: &mut [f32]) {
        bf16_to_f32(level, from, to);
    }
}

/// A value aligned to a cache line.
#[repr(align(64))]
struct Line<T>(T);

/// A matrix `[out, in]` in panels of sixteen outputs, `[out / 16][in][16]`. The last panel is
/// padded with zeros. 16-bit weights stay 16-bit and quantized weights stay in blocks; both convert
/// to f32 exactly when they are used. Other weights are f32.
pub(super) struct Packed {
    outputs: usize,
    inputs: usize,
    /// Matrices stacked along the outputs, each with its own panels.
    parts: Vec<Part>,
}

struct Part {
    /// The index of its first output in the whole matrix.
    first: usize,
    outputs: usize,
    data: Data,
}

enum Data {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    Bf16(Aligned<bf16>),
    Blocks(Blocks),
}

impl Part {
    fn panels(&self) -> usize {
        self.outputs.div_ceil(WIDTH)
    }

    /// The number of panel groups that threads process.
    fn groups(&self) -> usize {
        self.panels().div_ceil(GROUP)
    }
}

impl Packed {
    /// Packs a matrix `[out, in]`. Block types without kernels are dequantized to f32.
    pub(super) fn new(matrix: Matrix) -> Result<Self> {
        let mut packed = Packed {
            outputs: 0,
            inputs: 0,
            parts: Vec::new(),
        };
        match matrix {
            Matrix::Dense(tensor) => {
                let (outputs, inputs) = tensor.dims2().map_err(device_error)?;
                packed.push(outputs, inputs, dense(&tensor)?);
            }
            Matrix::Random(_) => return Err(not_made()),
            Matrix::Quantized(parts) => {
                for part in parts {
                    let (outputs, inputs) = part.shape().dims2().map_err(device_error)?;
                    packed.push(outputs, inputs, quantized(&part, outputs, inputs)?);
                }
            }
        }
        Ok(packed)
    }

    fn push(&mut self, outputs: usize, inputs: usize, data: Data) {
        self.parts.push(Part {
            first: self.outputs,
            outputs,
            data,
        });
        self.outputs += outputs;
        self.inputs = inputs;
    }

    /// `y = x · Wᵀ` for rows `[rows, in]` into `[rows, out]`. If `activations` is given, the rows
    /// are quantized into it wherever the weights are blocks.
    pub(super) fn multiply(
        &self,
        level: Level,
        x: &[f32],
        activations: Option<&mut Q8Activations>,
        y: &mut [f32],
    ) {
        let rows = x.len() / self.inputs;
        let of_blocks = |part: &Part| matches!(part.data, Data::Blocks(_));
        let activations = activations.filter(|_| self.parts.iter().any(of_blocks));
        let activations = activations.map(|activations| {
            activations.quantize(level, x, self.inputs);
            &*activations
        });
        let y = Output::new(y, rows, self.outputs, self.outputs);
        parallel::for_each(self.parts.iter().map(Part::groups).sum(), |mut group| {
            for part in &self.parts {
                if group < part.groups() {
                    let first = group * GROUP;
                    let count = GROUP.min(part.panels() - first);
                    let columns = first * WIDTH..part.outputs.min((first + count) * WIDTH);
                    let columns = part.first + columns.start..part.first + columns.end;
                    // SAFETY: every group has its own columns and is processed once.
                    let mut y = unsafe { y.part(0..rows, columns) };
                    self.multiply_panels(
                        level,
                        (x, activations),
                        &part.data,
                        (first, count),
                        &mut y,
                    );
                    return;
                }
                group -= part.groups();
            }
        });
    }

    /// Multiplies with `count` panels from `first` on.
    fn multiply_panels(
        &self,
        level: Level,
        (x, activations): (&[f32], Option<&Q8Activations>),
        data: &Data,
        (first, count): (usize, usize),
        y: &mut Output<'_>,
    ) {
        let inputs = self.inputs;
        if let (Data::Blocks(blocks), Some(activations)) = (data, activations) {
            return blocks.multiply_int8(level, (first, count), activations, y);
        }
        match data {
            Data::F32(data) => {
                let x = Rows {
                    data: x,
                    stride: inputs,
                    count: x.len() / inputs,
                };
                let w = Panels {
                    data: &data[first * inputs * WIDTH..],
                    stride: inputs * WIDTH,
                    step: WIDTH,
                    count,
                };
                multiply(level, inputs, x, w, y, false);
            }
            Data::F16(data) => self.multiply_dequantized(level, x, count, y, |panel, at, to| {
                f16::to_f32_all(level, panel_part(data, inputs, first + panel, at, to), to);
            }),
            Data::Bf16(data) => self.multiply_dequantized(level, x, count, y, |panel, at, to| {
                bf16::to_f32_all(level, panel_part(data, inputs, first + panel, at, to), to);
            }),
            Data::Blocks(blocks) if x.len() == inputs => {
                // A single row is bound by the bytes of the weights, so that they are dequantized
                // in registers.
                let mut sums = Line([0f32; GROUP * WIDTH]);
                let sums = &mut sums.0[..count * WIDTH];
                blocks.dot(level, first, x, sums);
                let y = y.row(0);
                y.copy_from_slice(&sums[..y.len()]);
            }
            Data::Blocks(blocks) => {
                self.multiply_dequantized(level, x, count, y, |panel, at, to| {
                    blocks.dequantize(level, first + panel, at, to);
                })
            }
        }
    }

    /// Multiplies with `count` panels. As much of them as fits the L1 cache is dequantized at a
    /// time and used for all rows. `dequantize` takes the index of a panel among these, an input,
    /// and the output for the weights from this input on.
    fn multiply_dequantized(
        &self,
        level: Level,
        x: &[f32],
        count: usize,
        y: &mut Output<'_>,
        dequantize: impl Fn(usize, usize, &mut [f32]),
    ) {
        thread_local! {
            /// Reused, because zeroing the buffer takes a hundredth of the time of a product.
            static DEQUANTIZED: RefCell<Aligned<f32>> =
                RefCell::new(Aligned::zeroed(GROUP * INNER * WIDTH));
        }
        let inputs = self.inputs;
        // No borrow conflict: nothing in here multiplies again on this thread.
        DEQUANTIZED.with_borrow_mut(|dequantized| {
            for first in (0..inputs).step_by(INNER) {
                let inner = INNER.min(inputs - first);
                for panel in 0..count {
                    let to = &mut dequantized[panel * INNER * WIDTH..][..inner * WIDTH];
                    dequantize(panel, first, to);
                }
                let x = Rows {
                    data: &x[first..],
                    stride: inputs,
                    count: x.len() / inputs,
                };
                let w = Panels {
                    data: dequantized,
                    stride: INNER * WIDTH,
                    step: WIDTH,
                    count,
                };
                multiply(level, inner, x, w, y, first > 0);
            }
        });
    }

    /// Dequantizes row `output` of the matrix: `[in]`.
    pub(super) fn row(&self, level: Level, output: usize, row: &mut [f32]) {
        fn copy<W: Stored>(panel: &[W], row: &mut [f32]) {
            for (x, &column) in row.iter_mut().zip(panel.iter().step_by(WIDTH)) {
                *x = column.into();
            }
        }
        let holds = |part: &&Part| output < part.first + part.outputs;
        let Some(part) = self.parts.iter().find(holds) else {
            return;
        };
        let (panel, lane) = ((output - part.first) / WIDTH, (output - part.first) % WIDTH);
        let start = panel * WIDTH * self.inputs + lane;
        match &part.data {
            Data::F32(data) => copy(&data[start..], row),
            Data::F16(data) => copy(&data[start..], row),
            Data::Bf16(data) => copy(&data[start..], row),
            Data::Blocks(blocks) => {
                let mut dequantized = Line([0f32; INNER * WIDTH]);
                for (index, row) in row.chunks_mut(INNER).enumerate() {
                    let dequantized = &mut dequantized.0[..row.len() * WIDTH];
                    blocks.dequantize(level, panel, index * INNER, dequantized);
                    copy(&dequantized[lane..], row);
                }
            }
        }
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |part: &Part| match &part.data {
            Data::F32(data) => data.bytes(),
            Data::F16(data) => data.bytes(),
            Data::Bf16(data) => data.bytes(),
            Data::Blocks(blocks) => blocks.bytes(),
        };
        self.parts.iter().map(bytes).sum()
    }

    /// Whether all weights are finite.
    pub(super) fn is_finite(&self) -> bool {
        fn all<W: Stored>(data: &[W]) -> bool {
            data.iter().all(|&x| x.into().is_finite())
        }
        self.parts.iter().all(|part| match &part.data {
            Data::F32(data) => all::<f32>(data),
            Data::F16(data) => all::<f16>(data),
            Data::Bf16(data) => all::<bf16>(data),
            Data::Blocks(blocks) => blocks.is_finite(),
        })
    }
}

/// The weights of a panel from input `at` on, as many as `to` holds.
fn panel_part<'a, W>(data: &'a [W], inputs: usize, panel: usize, at: usize, to: &[f32]) -> &'a [W] {
    &data[(panel * inputs + at) * WIDTH..][..to.len()]
}

fn dense(tensor: &Tensor) -> Result<Data> {
    Ok(match tensor.dtype() {
        DType::F16 => Data::F16(pack(tensor)?),
        DType::BF16 => Data::Bf16(pack(tensor)?),
        _ => Data::F32(pack(&tensor.to_dtype(DType::F32).map_err(device_error)?)?),
    })
}

fn quantized(tensor: &QTensor, outputs: usize, inputs: usize) -> Result<Data> {
    let stored = tensor.data().map_err(device_error)?;
    if let Some(blocks) = Blocks::new(tensor.dtype(), &stored, outputs, inputs) {
        return Ok(Data::Blocks(blocks));
    }
    let wide = tensor.dequantize(&Device::Cpu).map_err(device_error)?;
    // A GGUF file may hold unquantized matrices.
    match tensor.dtype() {
        GgmlDType::F16 => dense(&wide.to_dtype(DType::F16).map_err(device_error)?),
        GgmlDType::BF16 => dense(&wide.to_dtype(DType::BF16).map_err(device_error)?),
        _ => dense(&wide),
    }
}

fn pack<T: Stored + WithDType>(tensor: &Tensor) -> Result<Aligned<T>> {
    let (outputs, inputs) = tensor.dims2().map_err(device_error)?;
    let tensor = tensor.contiguous().map_err(device_error)?;
    let (storage, layout) = tensor.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(Error::new(
            ErrorKind::Device,
            "the CPU kernels take weights that lie in main memory",
        ));
    };
    let source = &cpu_slice::<T>(storage)?[layout.start_offset()..][..outputs * inputs];
    let mut packed = Aligned::zeroed(outputs.next_multiple_of(WIDTH) * inputs);
    packed
        .par_chunks_mut(inputs * WIDTH)
        .zip(source.par_chunks(inputs * WIDTH))
        .for_each(|(panel, rows)| {
            for (column, row) in rows.chunks_exact(inputs).enumerate() {
                for (to, &from) in panel[column..].iter_mut().step_by(WIDTH).zip(row) {
                    *to = from;
                }
            }
        });
    Ok(packed)
}

fn cpu_slice<T: WithDType>(storage: &CpuStorage) -> Result<&[T]> {
    storage.as_slice::<T>().map_err(device_error)
}

/// Converts a vector to f32.
pub(super) fn vector(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor
        .to_dtype(DType::F32)
        .and_then(|tensor| tensor.to_vec1())
        .map_err(device_error)
}

/// A linear layer.
pub(super) struct Projection {
    weight: Packed,
    bias: Option<Vec<f32>>,
}

impl Projection {
    pub(super) fn new(linear: Linear) -> Result<Self> {
        Ok(Projection {
            weight: Packed::new(linear.weight)?,
            bias: linear.bias.as_ref().map(vector).transpose()?,
        })
    }

    /// `y = x · Wᵀ + b` for rows `[rows, in]` into `[rows, out]`. The rows are quantized as in
    /// [`Packed::multiply`].
    pub(super) fn forward(
        &self,
        level: Level,
        x: &[f32],
        activations: Option<&mut Q8Activations>,
        y: &mut [f32],
    ) {
        self.weight.multiply(level, x, activations, y);
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(bias.len()) {
                add(level, row, bias);
            }
        }
    }

    /// Bytes of the weights and the bias.
    pub(super) fn bytes(&self) -> usize {
        let bias = self.bias.as_deref().map_or(0, size_of_val);
        self.weight.bytes() + bias
    }

    /// Whether all weights and biases are finite.
    pub(super) fn is_finite(&self) -> bool {
        let mut biases = self.bias.iter().flatten();
        self.weight.is_finite() && biases.all(|bias| bias.is_finite())
    }
}

#[cfg(test)]
mod tests;
