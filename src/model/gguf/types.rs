//! Tensor types: ggml's codes and names, and how rows of each type are read.
//!
//! Two types that candle lacks are converted to Q8_0, which represents their numbers exactly.

use std::fmt;

use candle_core::quantized::GgmlDType;
use half::f16;

/// Elements per block of IQ4_NL, MXFP4 and Q8_0.
const BLOCK: usize = 32;
/// Bytes per Q8_0 block: an f16 scale, then one int8 per element.
const Q8_0_BYTES: usize = 2 + BLOCK;

/// The values of the 16 codes of IQ4_NL.
const IQ4_NL: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// The values of the 16 codes of MXFP4 (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and signs), in halves.
const MXFP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The storage type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum TensorType {
    /// A type that candle supports.
    Candle(GgmlDType),
    /// An f16 scale and 32 codes of 4 bits.
    Iq4Nl,
    /// A power of two and 32 numbers of 4 bits.
    Mxfp4,
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Like candle: fingerprints of weights depend on it.
            TensorType::Candle(dtype) => dtype.fmt(f),
            TensorType::Iq4Nl => f.write_str("IQ4_NL"),
            TensorType::Mxfp4 => f.write_str("MXFP4"),
        }
    }
}

impl TensorType {
    /// The type with a ggml code.
    pub(super) fn from_code(code: u32) -> Result<Self, String> {
        Ok(TensorType::Candle(match code {
            0 => GgmlDType::F32,
            1 => GgmlDType::F16,
            2 => GgmlDType::Q4_0,
            3 => GgmlDType::Q4_1,
            6 => GgmlDType::Q5_0,
            7 => GgmlDType::Q5_1,
            8 => GgmlDType::Q8_0,
            10 => GgmlDType::Q2K,
            11 => GgmlDType::Q3K,
            12 => GgmlDType::Q4K,
            13 => GgmlDType::Q5K,
            14 => GgmlDType::Q6K,
            20 => return Ok(TensorType::Iq4Nl),
            30 => GgmlDType::BF16,
            39 => return Ok(TensorType::Mxfp4),
            other => {
                let name = match type_name(other) {
                    Some(name) => name.to_owned(),
                    None => format!("number {other}"),
                };
                return Err(format!(
                    "type {name}; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, \
                     Q2_K to Q6_K, IQ4_NL and MXFP4"
                ));
            }
        }))
    }

    /// Elements per block.
    pub(in crate::model) fn block_size(self) -> usize {
        match self {
            TensorType::Candle(dtype) => dtype.block_size(),
            TensorType::Iq4Nl | TensorType::Mxfp4 => BLOCK,
        }
    }

    /// Bytes per block.
    pub(super) fn block_bytes(self) -> usize {
        match self {
            TensorType::Candle(dtype) => dtype.type_size(),
            TensorType::Iq4Nl => 2 + BLOCK / 2,
            TensorType::Mxfp4 => 1 + BLOCK / 2,
        }
    }

    /// The type that rows are converted to.
    pub(super) fn read_as(self) -> GgmlDType {
        match self {
            TensorType::Candle(dtype) => dtype,
            TensorType::Iq4Nl | TensorType::Mxfp4 => GgmlDType::Q8_0,
        }
    }

    /// Converts a stored row.
    pub(super) fn read_row(self, stored: &[u8], out: &mut [u8]) -> Result<(), String> {
        let blocks = stored
            .chunks_exact(self.block_bytes())
            .zip(out.chunks_exact_mut(Q8_0_BYTES));
        match self {
            TensorType::Candle(_) => out.copy_from_slice(stored),
            TensorType::Iq4Nl => blocks.for_each(|(stored, out)| {
                out[..2].copy_from_slice(&stored[..2]);
                let numbers = codes(&stored[2..]).map(|code| IQ4_NL[code]);
                put_numbers(&mut out[2..], numbers);
            }),
            TensorType::Mxfp4 => {
                for (stored, out) in blocks {
                    mxfp4_block(stored, out)?;
                }
            }
        }
        Ok(())
    }
}

/// The 4-bit codes of a block: first those in the low nibbles, then those in the high ones.
fn codes(bytes: &[u8]) -> impl Iterator<Item = usize> + Clone {
    let low = bytes.iter().map(|byte| usize::from(byte & 0xF));
    low.chain(bytes.iter().map(|byte| usize::from(byte >> 4)))
}

fn put_numbers(out: &mut [u8], numbers: impl Iterator<Item = i8>) {
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = number as u8;
    }
}

/// Converts a block of MXFP4 to Q8_0. Its scale is a power of two from 2^-127 to 2^127. f16 has
/// 2^-24 to 2^15, and int8 adds some range.
fn mxfp4_block(stored: &[u8], out: &mut [u8]) -> Result<(), String> {
    const SMALLEST: i32 = -24;
    const LARGEST: i32 = 15;
    let numbers = codes(&stored[1..]).map(|code| i32::from(MXFP4[code]));
    // Half of 2^(code - 127), because the numbers are counted in halves.
    let exponent = i32::from(stored[0]) - 128;
    let bits = numbers.clone().fold(0, |bits, number| bits | number);
    let (scale, shift) = match bits {
        // Any scale fits zeros.
        0 => (0, 0),
        _ => {
            let scale = exponent.clamp(SMALLEST, LARGEST);
            (scale, exponent - scale)
        }
    };
    let shifted = |number: i32| -> Option<i8> {
        let number = match shift {
            0.. => number.checked_mul(1i32.checked_shl(shift.unsigned_abs())?)?,
            _ => {
                let unit = 1i32.checked_shl(shift.unsigned_abs())?;
                (number % unit == 0).then_some(number / unit)?
            }
        };
        i8::try_from(number).ok()
    };
    out[..2].copy_from_slice(&f16::from_f64(2f64.powi(scale)).to_le_bytes());
    for (out, number) in out[2..].iter_mut().zip(numbers) {
        *out = shifted(number).ok_or_else(|| {
            format!(
                "a block of MXFP4 with a scale of 2^{}, which is beyond f16",
                exponent + 1
            )
        })? as u8;
    }
    Ok(())
}

/// ggml's name for a tensor type, including types that it has removed.
fn type_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        4 => "Q4_2",
        5 => "Q4_3",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        30 => "BF16",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        42 => "Q2_0",
        _ => return None,
    })
}

/// The mixture of types of a `general.file_type`, by the name that files carry.
pub(super) fn file_type_name(code: u64) -> Option<&'static str> {
    Some(match code {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_mxfp4_beyond_f16_are_kept_exactly_or_refused() {
        let block = |exponent: u8, codes: u8| {
            let mut stored = [codes; 1 + BLOCK / 2];
            stored[0] = exponent;
            let mut out = [0; Q8_0_BYTES];
            TensorType::Mxfp4.read_row(&stored, &mut out)?;
            let scale = f16::from_le_bytes([out[0], out[1]]).to_f64();
            Ok::<_, String>(scale * f64::from(out[2] as i8))
        };
        for (exponent, code) in [
            (0, 0),
            (255, 0),
            (104, 1),
            (103, 2),
            (143, 7),
            (146, 7),
            (146, 15),
        ] {
            let exact = f64::from(MXFP4[usize::from(code)]) * 2f64.powi(i32::from(exponent) - 128);
            assert_eq!(
                block(exponent, code | code << 4),
                Ok(exact),
                "{exponent} {code}"
            );
        }
        // Half of the smallest f16, and more than int8 times the largest power of two.
        for (exponent, code) in [(103, 1), (0, 1), (147, 7), (255, 1)] {
            let error = block(exponent, code).unwrap_err();
            assert!(error.contains("2^") && error.contains("f16"), "{error}");
        }
    }
}
