//! Linear layers: weights packed once into panels, multiplied with rows of f32.

use std::cell::RefCell;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::aligned::{Aligned, Element};
use super::blocks::{self, Blocks};
use super::formats::TILE;
use super::lanes::{WIDTH, widen_f16};
use super::parallel;
use super::product::{Output, Panels, Rows, multiply};
use super::rounded::RoundedRows;
use super::rows::{add, widen_bf16};
use super::simd::Level;
use crate::engine::backend::device_error;
use crate::model::{Linear, Matrix};
use crate::{Error, ErrorKind, Result};

/// Panels that one thread takes at a time: as many as the widest kernel does at once.
const GROUP: usize = 3;

/// Inputs that are widened at a time: their weights in a group stay in the nearest cache.
const INNER: usize = 128;

const _: () = assert!(GROUP <= blocks::MOST_PANELS && INNER.is_multiple_of(TILE));

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
    fn widen_all(level: Level, from: &[Self], to: &mut [f32]) {
        widen_f16(level, from, to);
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
/// with zeros. 16-bit weights stay 16-bit and quantised ones stay blocks, both widened exactly as
/// they are used; others are f32.
pub(super) struct Packed {
    outputs: usize,
    inputs: usize,
    /// Stacked along the outputs, each in panels of its own.
    parts: Vec<Part>,
}

struct Part {
    /// The first of its outputs in the whole matrix.
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

    /// Groups of panels that threads take.
    fn groups(&self) -> usize {
        self.panels().div_ceil(GROUP)
    }
}

impl Packed {
    /// Packs a matrix, given as `[out, in]`. Blocks of types that there are no kernels for become
    /// f32.
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
            Matrix::Quantized(parts) => {
                for part in parts {
                    let (outputs, inputs) = part.shape().dims2().map_err(device_error)?;
                    packed.push(outputs, inputs, quantised(&part, outputs, inputs)?);
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

    /// `y = x · Wᵀ` for rows `[rows, in]` into `[rows, out]`. Where there is room to round the rows
    /// to 8 bits in, those that blocks are multiplied with are.
    pub(super) fn multiply(
        &self,
        level: Level,
        x: &[f32],
        rounded: Option<&mut RoundedRows>,
        y: &mut [f32],
    ) {
        let rows = x.len() / self.inputs;
        let of_blocks = |part: &Part| matches!(part.data, Data::Blocks(_));
        let rounded = rounded.filter(|_| self.parts.iter().any(of_blocks));
        let rounded = rounded.map(|rounded| {
            rounded.round(level, x, self.inputs);
            &*rounded
        });
        let y = Output::new(y, rows, self.outputs, self.outputs);
        parallel::for_each(self.parts.iter().map(Part::groups).sum(), |mut group| {
            for part in &self.parts {
                if group < part.groups() {
                    let first = group * GROUP;
                    let count = GROUP.min(part.panels() - first);
                    let columns = first * WIDTH..part.outputs.min((first + count) * WIDTH);
                    let columns = part.first + columns.start..part.first + columns.end;
                    // SAFETY: every group has its own columns, and every group is taken once.
                    let mut y = unsafe { y.part(0..rows, columns) };
                    self.multiply_panels(level, (x, rounded), &part.data, (first, count), &mut y);
                    return;
                }
                group -= part.groups();
            }
        });
    }

    /// The product with `count` panels from `first` on.
    fn multiply_panels(
        &self,
        level: Level,
        (x, rounded): (&[f32], Option<&RoundedRows>),
        data: &Data,
        (first, count): (usize, usize),
        y: &mut Output<'_>,
    ) {
        let inputs = self.inputs;
        if let (Data::Blocks(blocks), Some(rounded)) = (data, rounded) {
            return blocks.multiply_rounded(level, (first, count), rounded, y);
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
            Data::F16(data) => self.multiply_widened(level, x, count, y, |panel, at, to| {
                f16::widen_all(level, panel_part(data, inputs, first + panel, at, to), to);
            }),
            Data::Bf16(data) => self.multiply_widened(level, x, count, y, |panel, at, to| {
                bf16::widen_all(level, panel_part(data, inputs, first + panel, at, to), to);
            }),
            Data::Blocks(blocks) if x.len() == inputs => {
                // One row alone is bound by the bytes of the weights: they are used as they are
                // widened, in registers.
                let mut sums = Line([0f32; GROUP * WIDTH]);
                let sums = &mut sums.0[..count * WIDTH];
                blocks.dot(level, first, x, sums);
                let y = y.row(0);
                y.copy_from_slice(&sums[..y.len()]);
            }
            Data::Blocks(blocks) => self.multiply_widened(level, x, count, y, |panel, at, to| {
                blocks.widen(level, first + panel, at, to);
            }),
        }
    }

    /// The product with `count` panels of which as much as fits the nearest cache is widened at a
    /// time and serves all rows. `widen` is given a panel's number among these, an input and where
    /// to put the weights of the inputs from there on.
    fn multiply_widened(
        &self,
        level: Level,
        x: &[f32],
        count: usize,
        y: &mut Output<'_>,
        widen: impl Fn(usize, usize, &mut [f32]),
    ) {
        thread_local! {
            /// Kept, for filling so much with zeros takes a hundredth of the time of a product.
            static WIDENED: RefCell<Aligned<f32>> =
                RefCell::new(Aligned::zeroed(GROUP * INNER * WIDTH));
        }
        let inputs = self.inputs;
        // Nothing in here multiplies again on this thread.
        WIDENED.with_borrow_mut(|widened| {
            for first in (0..inputs).step_by(INNER) {
                let inner = INNER.min(inputs - first);
                for panel in 0..count {
                    let to = &mut widened[panel * INNER * WIDTH..][..inner * WIDTH];
                    widen(panel, first, to);
                }
                let x = Rows {
                    data: &x[first..],
                    stride: inputs,
                    count: x.len() / inputs,
                };
                let w = Panels {
                    data: widened,
                    stride: INNER * WIDTH,
                    step: WIDTH,
                    count,
                };
                multiply(level, inner, x, w, y, first > 0);
            }
        });
    }

    /// Row `output` of the matrix, widened: `[in]`.
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
                let mut widened = Line([0f32; INNER * WIDTH]);
                for (index, row) in row.chunks_mut(INNER).enumerate() {
                    let widened = &mut widened.0[..row.len() * WIDTH];
                    blocks.widen(level, panel, index * INNER, widened);
                    copy(&widened[lane..], row);
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

/// As many weights of a panel from an input on as there is room for.
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

fn quantised(tensor: &QTensor, outputs: usize, inputs: usize) -> Result<Data> {
    let stored = tensor.data().map_err(device_error)?;
    if let Some(blocks) = Blocks::new(tensor.dtype(), &stored, outputs, inputs) {
        return Ok(Data::Blocks(blocks));
    }
    let wide = tensor.dequantize(&Device::Cpu).map_err(device_error)?;
    // A file may hold some matrices as they are.
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

    /// `y = x · Wᵀ + b` for rows `[rows, in]` into `[rows, out]`, with the rows rounded as by
    /// [`Packed::multiply`].
    pub(super) fn forward(
        &self,
        level: Level,
        x: &[f32],
        rounded: Option<&mut RoundedRows>,
        y: &mut [f32],
    ) {
        self.weight.multiply(level, x, rounded, y);
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
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use candle_core::quantized::QStorage;

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
            packed.row(Level::detect(), 69, &mut row);
            assert_eq!(row, exact[69]);
            for rows in [1, 9, 33] {
                let x = values(rows * inputs, 1 << 20);
                let (mut y, mut widened) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
                packed.multiply(Level::detect(), &x, None, &mut y);
                wide.multiply(Level::detect(), &x, None, &mut widened);
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

    /// Blocks of random bits, but for the numbers of 16 bits, which are made finite.
    fn random_blocks(dtype: GgmlDType, outputs: usize, inputs: usize, seed: u64) -> Arc<QTensor> {
        let halves: &[usize] = match dtype {
            GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => &[0],
            GgmlDType::Q4_1 | GgmlDType::Q5_1 | GgmlDType::Q4K | GgmlDType::Q5K => &[0, 2],
            GgmlDType::Q2K => &[80, 82],
            GgmlDType::Q6K => &[208],
            other => panic!("{other:?}"),
        };
        let random = Philox::new(seed);
        let count = outputs * inputs / dtype.block_size() * dtype.type_size();
        let mut bytes: Vec<u8> = (0..count as u64).map(|i| random.bits(i) as u8).collect();
        for block in bytes.chunks_exact_mut(dtype.type_size()) {
            for &half in halves {
                // Without the exponent's highest bit: below 2.
                block[half + 1] &= 0xBF;
            }
        }
        // Candle asks for an alignment that bytes do not have of themselves.
        let mut aligned = Aligned::<u8>::zeroed(count);
        aligned.copy_from_slice(&bytes);
        let storage = QStorage::from_data(Cow::Borrowed(&aligned), &Device::Cpu, dtype).unwrap();
        Arc::new(QTensor::new(storage, (outputs, inputs)).unwrap())
    }

    const BLOCKS: [GgmlDType; 8] = [
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q5_0,
        GgmlDType::Q5_1,
        GgmlDType::Q8_0,
        GgmlDType::Q4K,
        GgmlDType::Q5K,
        GgmlDType::Q6K,
    ];

    /// Every type of block at every level of instructions, with outputs that no panel divides: the
    /// same to the bit as candle's dequantised matrix, whatever the number of rows.
    #[test]
    fn quantised_products_are_those_of_the_dequantised_matrix() {
        let (outputs, inputs) = (70, 768);
        let random = Philox::new(5);
        for (seed, dtype) in BLOCKS.into_iter().enumerate() {
            let blocks = random_blocks(dtype, outputs, inputs, seed as u64);
            let wide = blocks.dequantize(&Device::Cpu).unwrap();
            let exact: Vec<Vec<f32>> = wide.to_vec2().unwrap();
            let stored = blocks.storage_size_in_bytes();
            let packed = Packed::new(Matrix::Quantized(vec![blocks])).unwrap();
            assert!(matches!(packed.parts[0].data, Data::Blocks(_)), "{dtype:?}");
            // Ten of eighty outputs are filling.
            let room = stored * 80 / 70;
            assert!(packed.bytes() <= room * 103 / 100 + 64, "{dtype:?}");
            assert!(packed.is_finite());
            let wide = Packed::new(Matrix::Dense(wide)).unwrap();
            for level in Level::available() {
                let mut row = vec![0.0; inputs];
                for output in [0, 15, 16, 47, 69] {
                    packed.row(level, output, &mut row);
                    assert_eq!(row, exact[output], "{dtype:?} {level:?}");
                }
                for rows in [1, 2, 7, 33] {
                    let x: Vec<f32> = (0..(rows * inputs) as u64)
                        .map(|i| random.uniform(i) as f32 - 0.5)
                        .collect();
                    let (mut y, mut widened) =
                        (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
                    packed.multiply(level, &x, None, &mut y);
                    wide.multiply(level, &x, None, &mut widened);
                    assert_eq!(y, widened, "{dtype:?} {level:?} {rows}");
                    assert!(y.iter().all(|y| *y != 0.0));
                    // Alone, a row goes another way.
                    let mut alone = vec![0.0; outputs];
                    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(outputs)) {
                        packed.multiply(level, x, None, &mut alone);
                        assert_eq!(alone, y, "{dtype:?} {level:?}");
                    }
                }
            }
        }
    }

    /// A row as it is after rounding, by the definition: the nearest of 255 multiples of a scale.
    fn rounded(x: &[f32]) -> Vec<f64> {
        let round = |tile: &[f32]| {
            let most = tile.iter().fold(0f32, |most, x| most.max(x.abs()));
            let scale = f64::from(most / 127.0);
            let number = |&x: &f32| (f64::from(x) * (127.0 / f64::from(most))).round() * scale;
            tile.iter().map(number).collect::<Vec<f64>>()
        };
        x.chunks_exact(32).flat_map(round).collect()
    }

    /// Every type of block at every level: the product of the rounded row with the dequantised
    /// matrix, to the bit whatever the number of rows and whoever fuses.
    #[test]
    fn rounded_products_are_those_of_rounded_rows() {
        let (outputs, inputs) = (70, 768);
        let random = Philox::new(8);
        for (seed, dtype) in BLOCKS.into_iter().enumerate() {
            let blocks = random_blocks(dtype, outputs, inputs, seed as u64);
            let exact: Vec<Vec<f32>> = blocks.dequantize(&Device::Cpu).unwrap().to_vec2().unwrap();
            let packed = Packed::new(Matrix::Quantized(vec![blocks])).unwrap();
            let mut room = RoundedRows::default();
            let mut of_levels = Vec::new();
            for level in Level::available() {
                for rows in [1, 2, 3, 5, 33] {
                    let mut x: Vec<f32> = (0..(rows * inputs) as u64)
                        .map(|i| (random.uniform(i) as f32 - 0.5) * (i % 97) as f32)
                        .collect();
                    // A tile of zeros, one of numbers next to nothing.
                    x[..32].fill(0.0);
                    x[32..64].iter_mut().for_each(|x| *x *= 1e-38);
                    let mut y = vec![0.0; rows * outputs];
                    packed.multiply(level, &x, Some(&mut room), &mut y);
                    let mut alone = vec![0.0; outputs];
                    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(outputs)) {
                        packed.multiply(level, x, Some(&mut room), &mut alone);
                        assert_eq!(alone, y, "{dtype:?} {level:?}");
                        let mut x = rounded(x);
                        x.iter_mut()
                            .filter(|x| !x.is_normal())
                            .for_each(|x| *x = 0.0);
                        for (y, w) in y.iter().zip(&exact) {
                            let products = x.iter().zip(w).map(|(x, &w)| x * f64::from(w));
                            let size: f64 = products.clone().map(f64::abs).sum();
                            let difference = (f64::from(*y) - products.sum::<f64>()).abs();
                            assert!(
                                difference <= 2e-6 * size,
                                "{dtype:?} {level:?} {difference}"
                            );
                        }
                    }
                    if level.fuses() {
                        of_levels.push((rows, y));
                    }
                }
            }
            for (rows, y) in &of_levels {
                assert!(of_levels.iter().all(|(r, other)| r != rows || other == y));
            }
        }
    }

    /// What is not finite stays so, and in its own row.
    #[test]
    fn rounding_hides_nothing_that_is_not_finite() {
        let blocks = random_blocks(GgmlDType::Q4_1, 16, 64, 3);
        let packed = Packed::new(Matrix::Quantized(vec![blocks])).unwrap();
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 3 * 64];
            x[64 + 40] = bad;
            let mut y = vec![0.0; 3 * 16];
            let mut room = RoundedRows::default();
            packed.multiply(Level::detect(), &x, Some(&mut room), &mut y);
            let finite: Vec<bool> = y
                .chunks_exact(16)
                .map(|y| y.iter().all(|y| y.is_finite()))
                .collect();
            assert_eq!(finite, [true, false, true]);
            assert!(y[16..32].iter().all(|y| !y.is_finite()));
        }
    }

    /// Joined projections of several types, one of them without kernels and one not quantised.
    #[test]
    fn parts_of_several_types_are_stacked() {
        let inputs = 256;
        let half: Vec<u8> = (0..5 * inputs as u64)
            .flat_map(|i| f16::from_f64(Philox::new(6).uniform(i)).to_le_bytes())
            .collect();
        let half = QStorage::from_data(Cow::Owned(half), &Device::Cpu, GgmlDType::F16).unwrap();
        let parts = vec![
            random_blocks(GgmlDType::Q4K, 33, inputs, 1),
            random_blocks(GgmlDType::Q2K, 20, inputs, 2),
            Arc::new(QTensor::new(half, (5, inputs)).unwrap()),
            random_blocks(GgmlDType::Q8_0, 64, inputs, 3),
        ];
        let wide: Vec<Tensor> = parts
            .iter()
            .map(|part| part.dequantize(&Device::Cpu).unwrap())
            .collect();
        let wide = Packed::new(Matrix::Dense(Tensor::cat(&wide, 0).unwrap())).unwrap();
        let packed = Packed::new(Matrix::Quantized(parts)).unwrap();
        assert_eq!((packed.outputs, packed.inputs), (122, inputs));
        assert!(matches!(packed.parts[1].data, Data::F32(_)));
        assert!(matches!(packed.parts[2].data, Data::F16(_)));
        let level = Level::detect();
        let (mut row, mut wide_row) = (vec![0.0; inputs], vec![0.0; inputs]);
        for output in 0..122 {
            packed.row(level, output, &mut row);
            wide.row(level, output, &mut wide_row);
            assert_eq!(row, wide_row, "{output}");
        }
        for rows in [1, 5] {
            let x: Vec<f32> = (0..rows * inputs).map(|i| (i as f32).sin()).collect();
            let (mut y, mut widened) = (vec![0.0; rows * 122], vec![0.0; rows * 122]);
            packed.multiply(level, &x, None, &mut y);
            wide.multiply(level, &x, None, &mut widened);
            assert_eq!(y, widened);
        }
    }

    #[test]
    fn blocks_that_are_not_finite_are_found() {
        for dtype in BLOCKS {
            let blocks = random_blocks(dtype, 20, 512, 9);
            let mut bytes = blocks.data().unwrap().into_owned();
            // The last half of the last block: no other bytes of it are a number of 16 bits.
            let half = match dtype {
                GgmlDType::Q6K => 208,
                GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => 0,
                _ => 2,
            };
            let last = bytes.len() - dtype.type_size() + half;
            bytes[last..last + 2].copy_from_slice(&f16::INFINITY.to_le_bytes());
            let blocks = Blocks::new(dtype, &bytes, 20, 512).unwrap();
            assert!(!blocks.is_finite(), "{dtype:?}");
        }
        assert!(Blocks::new(GgmlDType::Q4_0, &[0; 18], 1, 64).is_none());
        assert!(Blocks::new(GgmlDType::Q4K, &[0; 144], 1, 128).is_none());
    }
}
