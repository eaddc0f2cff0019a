//! Compares products of all weight types, row counts and levels with plain loops.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::QStorage;

use super::*;
use crate::Philox;

/// Every type and row count, with inputs that do not fit a cache block and outputs that no panel
/// divides: bit-identical to the dequantized matrix, and correct.
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
            let (mut y, mut dequantized) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
            packed.multiply(Level::detect(), &x, None, &mut y);
            wide.multiply(Level::detect(), &x, None, &mut dequantized);
            assert_eq!(y, dequantized);
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

/// Blocks of random bits, except that their f16 numbers are made finite.
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
            // Clears the exponent's highest bit: the value is below 2.
            block[half + 1] &= 0xBF;
        }
    }
    // Candle requires an alignment that a byte vector does not guarantee.
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

/// Every block type at every level, with outputs that no panel divides: bit-identical to candle's
/// dequantized matrix for any number of rows.
#[test]
fn quantized_products_are_those_of_the_dequantized_matrix() {
    let (outputs, inputs) = (70, 768);
    let random = Philox::new(5);
    for (seed, dtype) in BLOCKS.into_iter().enumerate() {
        let blocks = random_blocks(dtype, outputs, inputs, seed as u64);
        let wide = blocks.dequantize(&Device::Cpu).unwrap();
        let exact: Vec<Vec<f32>> = wide.to_vec2().unwrap();
        let stored = blocks.storage_size_in_bytes();
        let packed = Packed::new(Matrix::Quantized(vec![blocks])).unwrap();
        assert!(matches!(packed.parts[0].data, Data::Blocks(_)), "{dtype:?}");
        // Ten of eighty outputs are padding.
        let limit = stored * 80 / 70;
        assert!(packed.bytes() <= limit * 103 / 100 + 64, "{dtype:?}");
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
                let (mut y, mut dequantized) =
                    (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
                packed.multiply(level, &x, None, &mut y);
                wide.multiply(level, &x, None, &mut dequantized);
                assert_eq!(y, dequantized, "{dtype:?} {level:?} {rows}");
                assert!(y.iter().all(|y| *y != 0.0));
                // A single row takes another code path.
                let mut alone = vec![0.0; outputs];
                for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(outputs)) {
                    packed.multiply(level, x, None, &mut alone);
                    assert_eq!(alone, y, "{dtype:?} {level:?}");
                }
            }
        }
    }
}

/// A row after quantization, by definition: each number becomes the nearest of 255 multiples of a
/// scale.
fn rounded(x: &[f32]) -> Vec<f64> {
    let round = |tile: &[f32]| {
        let most = tile.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = f64::from(most / 127.0);
        let number = |&x: &f32| (f64::from(x) * (127.0 / f64::from(most))).round() * scale;
        tile.iter().map(number).collect::<Vec<f64>>()
    };
    x.chunks_exact(32).flat_map(round).collect()
}

/// Every block type at every level: the product of the quantized row with the dequantized matrix,
/// bit-identical for any number of rows, with and without FMA.
#[test]
fn int8_products_are_those_of_quantized_activations() {
    let (outputs, inputs) = (70, 768);
    let random = Philox::new(8);
    for (seed, dtype) in BLOCKS.into_iter().enumerate() {
        let blocks = random_blocks(dtype, outputs, inputs, seed as u64);
        let exact: Vec<Vec<f32>> = blocks.dequantize(&Device::Cpu).unwrap().to_vec2().unwrap();
        let packed = Packed::new(Matrix::Quantized(vec![blocks])).unwrap();
        let mut q8 = Q8Activations::default();
        let mut of_levels = Vec::new();
        for level in Level::available() {
            for rows in [1, 2, 3, 5, 33] {
                let mut x: Vec<f32> = (0..(rows * inputs) as u64)
                    .map(|i| (random.uniform(i) as f32 - 0.5) * (i % 97) as f32)
                    .collect();
                // A tile of zeros, and one of tiny numbers.
                x[..32].fill(0.0);
                x[32..64].iter_mut().for_each(|x| *x *= 1e-38);
                let mut y = vec![0.0; rows * outputs];
                packed.multiply(level, &x, Some(&mut q8), &mut y);
                let mut alone = vec![0.0; outputs];
                for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(outputs)) {
                    packed.multiply(level, x, Some(&mut q8), &mut alone);
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

/// Non-finite inputs give non-finite outputs, in their own row only.
#[test]
fn rounding_hides_nothing_that_is_not_finite() {
    let blocks = random_blocks(GgmlDType::Q4_1, 16, 64, 3);
    let packed = Packed::new(Matrix::Quantized(vec![blocks])).unwrap();
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![1.0; 3 * 64];
        x[64 + 40] = bad;
        let mut y = vec![0.0; 3 * 16];
        let mut q8 = Q8Activations::default();
        packed.multiply(Level::detect(), &x, Some(&mut q8), &mut y);
        let finite: Vec<bool> = y
            .chunks_exact(16)
            .map(|y| y.iter().all(|y| y.is_finite()))
            .collect();
        assert_eq!(finite, [true, false, true]);
        assert!(y[16..32].iter().all(|y| !y.is_finite()));
    }
}

/// Stacked projections of several types, one without kernels and one not quantized.
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
        let (mut y, mut dequantized) = (vec![0.0; rows * 122], vec![0.0; rows * 122]);
        packed.multiply(level, &x, None, &mut y);
        wide.multiply(level, &x, None, &mut dequantized);
        assert_eq!(y, dequantized);
    }
}

#[test]
fn blocks_that_are_not_finite_are_found() {
    for dtype in BLOCKS {
        let blocks = random_blocks(dtype, 20, 512, 9);
        let mut bytes = blocks.data().unwrap().into_owned();
        // The last f16 number of the last block: no other bytes of it are an f16.
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
