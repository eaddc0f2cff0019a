//! Settings of the crate's own CPU kernels.

use std::fmt;
use std::str::FromStr;

use super::cpu::Level;
use crate::{Error, ErrorKind, Result};

/// The storage type of the KV cache of the crate's own CPU kernels. They compute in f32 in either
/// case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KvType {
    /// 32-bit floats, without rounding.
    #[default]
    F32,
    /// 16-bit floats; larger magnitudes saturate at 65,504. Takes half the memory, and less
    /// bandwidth for long samples. Tokens differ from those with f32, but are equally independent
    /// of the batch.
    F16,
}

impl KvType {
    /// Bytes per number.
    pub(super) fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
        }
    }
}

/// The type of the activations that the crate's own CPU kernels multiply with quantized weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ActivationType {
    /// 32-bit floats, without rounding.
    #[default]
    F32,
    /// Integers from -127 to 127, with a scale for each 32 neighbors, so that products are integer
    /// sums. With tens of sequences, generation is 1.6 to 2.4 times as fast on processors with a
    /// dot-product instruction (AVX-512 VNNI; ARMv8.2 has one, too). The mean divergence from the
    /// distributions without rounding was 0.003 nats for a model of 135 million parameters and
    /// 0.0001 nats for one of 500 million. Tokens differ from those with f32, but are equally
    /// independent of the batch. Unquantized weights are still multiplied in f32.
    Int8,
}

/// The vector instructions that the crate's own CPU kernels use.
///
/// All sets with fused multiply-add (all but [`Portable`](Instructions::Portable) on x86) give
/// bit-identical logits.
///
/// ```
/// use dart_math::engine::Instructions;
///
/// assert!(Instructions::available().any(|set| set == Instructions::Portable));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Instructions {
    /// The widest set that the processor supports.
    #[default]
    Widest,
    /// The baseline of the architecture, vectorized by the compiler.
    Portable,
    /// AVX2, FMA and F16C of x86-64.
    Avx2,
    /// Additionally AVX-512F of x86-64.
    Avx512,
    /// NEON of 64-bit ARM.
    Neon,
}

impl Instructions {
    /// Returns the sets that this processor supports, narrowest first.
    pub fn available() -> impl Iterator<Item = Instructions> {
        let named = Instructions::NAMES.iter().map(|&(set, _)| set);
        named.filter(|&set| set != Instructions::Widest && Level::of(set).is_some())
    }
}

/// Implements parsing and display by name.
macro_rules! named {
    ($type:ident, $what:literal: $($value:ident = $name:literal),*) => {
        impl $type {
            const NAMES: &[($type, &str)] = &[$(($type::$value, $name)),*];
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let named = $type::NAMES.iter().find(|(_, name)| *name == text);
                named.map(|&(value, _)| value).ok_or_else(|| {
                    let names: Vec<&str> = $type::NAMES.iter().map(|(_, name)| *name).collect();
                    let reason = format!("{} `{text}`: expected {}", $what, names.join(", "));
                    Error::new(ErrorKind::Settings, reason)
                })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $($type::$value => $name,)*
                })
            }
        }
    };
}

named!(KvType, "type of the KV cache": F32 = "f32", F16 = "f16");
named!(ActivationType, "type of activations": F32 = "f32", Int8 = "int8");
named!(
    Instructions, "instructions":
    Widest = "widest", Portable = "portable", Avx2 = "avx2", Avx512 = "avx512", Neon = "neon"
);

/// All settings of the CPU kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KernelSettings {
    pub(super) kv_type: KvType,
    pub(super) activation_type: ActivationType,
    pub(super) instructions: Instructions,
}

impl KernelSettings {
    /// Fails unless the settings are the defaults, for backends without these kernels.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for any other setting.
    pub(super) fn refuse_elsewhere(self) -> Result<()> {
        let default = KernelSettings::default();
        let what = if self.kv_type != default.kv_type {
            format!("KV caches of type {}", self.kv_type)
        } else if self.activation_type != default.activation_type {
            format!("activations of type {}", self.activation_type)
        } else if self.instructions != default.instructions {
            format!("{} instructions", self.instructions)
        } else {
            return Ok(());
        };
        let reason = format!("{what} are for the crate's own CPU kernels alone");
        Err(Error::new(ErrorKind::Settings, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (value, name) in KvType::NAMES {
            assert_eq!(value.to_string(), *name);
            assert_eq!(name.parse::<KvType>().unwrap(), *value);
        }
        for (value, name) in ActivationType::NAMES {
            assert_eq!(value.to_string(), *name);
            assert_eq!(name.parse::<ActivationType>().unwrap(), *value);
        }
        for (value, name) in Instructions::NAMES {
            assert_eq!(value.to_string(), *name);
            assert_eq!(name.parse::<Instructions>().unwrap(), *value);
        }
        let error = "int4".parse::<ActivationType>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.detail().contains("f32, int8"), "{error}");
    }
}
