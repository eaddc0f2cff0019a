//! Linear layers: weights packed once into panels, multiplied with rows of f32.

use candle_core::{CpuStorage, DType, Tensor, WithDType};
use half::{bf16, f16};

use super::aligned::Aligned;
use super::lanes::{Stored, WIDTH};
use super::parallel;
use super::product::{Output, Panels, Rows, multiply};
use super::rows::add;
use super::simd::Level;
use crate::engine::backend::device_error;
use crate::model::{Linear, Matrix};
use crate::{Error, ErrorKind, Result};

/// Panels that one thread takes at a time: as many as the widest kernel does at once.
const GROUP: usize = 3;

/// A matrix `[out, in]` in panels of sixteen outputs, `[out / 16][in][16]`, the last filled up
/// with zeros. 16-bit weights stay 16-bit and are widened exactly as they are used; others are
/// f32.
pub(super) struct Packed {
    outputs: usize,
    inputs: usize,
    data: Data,
}

enum Data {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    Bf16(Aligned<bf16>),
}

impl Packed {
    /// Packs a dense matrix, given as `[out, in]`.
    pub(super) fn new(matrix: &Matrix) -> Result<Self> {
        let Matrix::Dense(tensor) = matrix else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the CPU kernels take dense weights",
            ));
        };
        let (outputs, inputs) = tensor.dims2().map_err(device_error)?;
        let data = match tensor.dtype() {
            DType::F16 => Data::F16(pack(tensor, outputs, inputs)?),
            DType::BF16 => Data::Bf16(pack(tensor, outputs, inputs)?),
            _ => {
                let tensor = tensor.to_dtype(DType::F32).map_err(device_error)?;
                Data::F32(pack(&tensor, outputs, inputs)?)
            }
        };
        Ok(Packed {
            outputs,
            inputs,
            data,
        })
    }

    /// `y = x · Wᵀ` for rows `[rows, in]` into `[rows, out]`.
    pub(super) fn multiply(&self, level: Level, x: &[f32], y: &mut [f32]) {
        match &self.data {
            Data::F32(data) => self.multiply_stored(level, data, x, y),
            Data::F16(data) => self.multiply_stored(level, data, x, y),
            Data::Bf16(data) => self.multiply_stored(level, data, x, y),
        }
    }

    fn multiply_stored<W: Stored>(&self, level: Level, data: &[W], x: &[f32], y: &mut [f32]) {
        let (outputs, inputs) = (self.outputs, self.inputs);
        let x = Rows {
            data: x,
            stride: inputs,
            count: x.len() / inputs,
        };
        let panels = outputs.div_ceil(WIDTH);
        let y = Output::new(y, x.count, outputs, outputs);
        parallel::for_each(panels.div_ceil(GROUP), |group| {
            let first = group * GROUP;
            let w = Panels {
                data: &data[first * inputs * WIDTH..],
                stride: inputs * WIDTH,
                step: WIDTH,
                count: GROUP.min(panels - first),
            };
            // SAFETY: every group has its own columns, and every group is taken once.
            let mut y = unsafe { y.part(0..x.count, first * WIDTH..(first + w.count) * WIDTH) };
            multiply(level, inputs, x, w, &mut y, false);
        });
    }

    /// Row `output` of the matrix, widened: `[in]`.
    pub(super) fn row(&self, output: usize, row: &mut [f32]) {
        fn copy<W: Stored>(panel: &[W], row: &mut [f32]) {
            for (x, column) in row.iter_mut().zip(panel.iter().step_by(WIDTH)) {
                *x = column.widen();
            }
        }
        let start = output / WIDTH * WIDTH * self.inputs + output % WIDTH;
        match &self.data {
            Data::F32(data) => copy(&data[start..], row),
            Data::F16(data) => copy(&data[start..], row),
            Data::Bf16(data) => copy(&data[start..], row),
        }
    }

    /// Whether all weights are finite.
    pub(super) fn is_finite(&self) -> bool {
        fn all<W: Stored>(data: &[W]) -> bool {
            data.iter().all(|x| x.widen().is_finite())
        }
        match &self.data {
            Data::F32(data) => all::<f32>(data),
            Data::F16(data) => all::<f16>(data),
            Data::Bf16(data) => all::<bf16>(data),
        }
    }
}

fn pack<T: Stored + WithDType>(
    tensor: &Tensor,
    outputs: usize,
    inputs: usize,
) -> Result<Aligned<T>> {
    use rayon::prelude::*;

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

/// A vector as f32.
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
    pub(super) fn new(linear: &Linear) -> Result<Self> {
        Ok(Projection {
            weight: Packed::new(&linear.weight)?,
            bias: linear.bias.as_ref().map(vector).transpose()?,
        })
    }

    /// `y = x · Wᵀ + b` for rows `[rows, in]` into `[rows, out]`.
    pub(super) fn forward(&self, level: Level, x: &[f32], y: &mut [f32]) {
        self.weight.multiply(level, x, y);
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(bias.len()) {
                add(level, row, bias);
            }
        }
    }

    /// Whether all weights and biases are finite.
    pub(super) fn is_finite(&self) -> bool {
        let mut biases = self.bias.iter().flatten();
        self.weight.is_finite() && biases.all(|bias| bias.is_finite())
    }
}
