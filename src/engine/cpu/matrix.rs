//! Linear layers: weights packed once into panels, multiplied with rows of f32.

use candle_core::{CpuStorage, DType, Tensor, WithDType};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::aligned::{Aligned, Element};
use super::lanes::WIDTH;
use super::parallel;
use super::product::{Output, Panels, Rows, multiply};
use super::rows::{add, widen_bf16};
use super::simd::Level;
use crate::engine::backend::device_error;
use crate::model::{Linear, Matrix};
use crate::{Error, ErrorKind, Result};

/// Panels that one thread takes at a time: as many as the widest kernel does at once.
const GROUP: usize = 3;

/// A type that weights are stored in; each widens to f32 exactly.
pub(super) trait Stored: Element + Into<f32> {
    fn widen_all(level: Level, from: &[Self], to: &mut [f32]);
}

impl Stored for f32 {
    fn widen_all(_: Level, from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Stored for f16 {
    fn widen_all(_: Level, from: &[Self], to: &mut [f32]) {
        // By the processor's own instruction where it has one.
        from.convert_to_f32_slice(to);
    }
}

impl Stored for bf16 {
    fn widen_all(level: Level, from: &[Self], to: &mut [f32]) {
        widen_bf16(level, from, to);
    }
}

/// An array that starts at a cache line.
#[repr(align(64))]
struct Line<T>(T);

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
    pub(super) fn new(matrix: Matrix) -> Result<Self> {
        let Matrix::Dense(tensor) = matrix else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the CPU kernels take dense weights",
            ));
        };
        let (outputs, inputs) = tensor.dims2().map_err(device_error)?;
        let data = match tensor.dtype() {
            DType::F16 => Data::F16(pack(&tensor, outputs, inputs)?),
            DType::BF16 => Data::Bf16(pack(&tensor, outputs, inputs)?),
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
        let (outputs, inputs) = (self.outputs, self.inputs);
        let rows = x.len() / inputs;
        let panels = outputs.div_ceil(WIDTH);
        let y = Output::new(y, rows, outputs, outputs);
        parallel::for_each(panels.div_ceil(GROUP), |group| {
            let first = group * GROUP;
            let count = GROUP.min(panels - first);
            // SAFETY: every group has its own columns, and every group is taken once.
            let mut y = unsafe { y.part(0..rows, first * WIDTH..(first + count) * WIDTH) };
            let start = first * inputs * WIDTH;
            match &self.data {
                Data::F32(data) => {
                    let x = Rows {
                        data: x,
                        stride: inputs,
                        count: rows,
                    };
                    let w = Panels {
                        data: &data[start..],
                        stride: inputs * WIDTH,
                        step: WIDTH,
                        count,
                    };
                    multiply(level, inputs, x, w, &mut y, false);
                }
                Data::F16(data) => self.multiply_widened(level, x, &data[start..], count, &mut y),
                Data::Bf16(data) => self.multiply_widened(level, x, &data[start..], count, &mut y),
            }
        });
    }

    /// The product with `count` panels of 16-bit weights, of which as much as fits the nearest
    /// cache is widened at a time and serves all rows.
    fn multiply_widened<W: Stored>(
        &self,
        level: Level,
        x: &[f32],
        panels: &[W],
        count: usize,
        y: &mut Output<'_>,
    ) {
        const INNER: usize = 128;
        let mut widened = Line([0f32; GROUP * INNER * WIDTH]);
        let inputs = self.inputs;
        for first in (0..inputs).step_by(INNER) {
            let inner = INNER.min(inputs - first);
            for panel in 0..count {
                let from = &panels[(panel * inputs + first) * WIDTH..][..inner * WIDTH];
                let to = &mut widened.0[panel * INNER * WIDTH..][..inner * WIDTH];
                W::widen_all(level, from, to);
            }
            let x = Rows {
                data: &x[first..],
                stride: inputs,
                count: x.len() / inputs,
            };
            let w = Panels {
                data: &widened.0,
                stride: INNER * WIDTH,
                step: WIDTH,
                count,
            };
            multiply(level, inner, x, w, y, first > 0);
        }
    }

    /// Row `output` of the matrix, widened: `[in]`.
    pub(super) fn row(&self, output: usize, row: &mut [f32]) {
        fn copy<W: Stored>(panel: &[W], row: &mut [f32]) {
            for (x, &column) in row.iter_mut().zip(panel.iter().step_by(WIDTH)) {
                *x = column.into();
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
            data.iter().all(|&x| x.into().is_finite())
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
    pub(super) fn new(linear: Linear) -> Result<Self> {
        Ok(Projection {
            weight: Packed::new(linear.weight)?,
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Philox;

    /// Every type and number of rows, with inputs that do not fit a cache block and outputs that
    /// no panel divides: the same as the widened matrix to the bit, and right.
    #[test]
    fn packed_products_agree_with_plain_ones() {
        let (outputs, inputs) = (70, 300);
        let random = Philox::new(4);
        let values = |count: usize, from: u64| -> Vec<f32> {
            let value = |i| random.uniform(from + i) as f32 - 0.5;
            (0..count as u64).map(value).collect()
        };
        let tensor = Tensor::from_vec(values(outputs * inputs, 0), (outputs, inputs), &Device::Cpu);
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            let stored = tensor.as_ref().unwrap().to_dtype(dtype).unwrap();
            let wide = stored.to_dtype(DType::F32).unwrap();
            let exact: Vec<Vec<f32>> = wide.to_vec2().unwrap();
            let packed = Packed::new(Matrix::Dense(stored)).unwrap();
            let wide = Packed::new(Matrix::Dense(wide)).unwrap();
            let mut row = vec![0.0; inputs];
            packed.row(69, &mut row);
            assert_eq!(row, exact[69]);
            for rows in [1, 9, 33] {
                let x = values(rows * inputs, 1 << 20);
                let (mut y, mut widened) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
                packed.multiply(Level::detect(), &x, &mut y);
                wide.multiply(Level::detect(), &x, &mut widened);
                assert_eq!(y, widened);
                for (i, &y) in y.iter().enumerate() {
                    let (row, output) = (i / outputs, i % outputs);
                    let x = &x[row * inputs..][..inputs];
                    let products = x.iter().zip(&exact[output]);
                    let sum: f64 = products.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    assert!((f64::from(y) - sum).abs() < 1e-4);
                }
            }
        }
    }
}
