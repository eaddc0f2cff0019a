//! Settings that are for the crate's own CPU kernels alone.

use std::fmt;
use std::str::FromStr;

use super::cpu::Level;
use crate::{Error, ErrorKind, Result};

/// The type in which the crate's own CPU kernels keep the KV cache; they compute in f32 whatever
/// this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KvType {
    /// As they are computed.
    #[default]
    F32,
    /// Rounded to 16 bits, to 65,504 in size at most: half the memory, and less to read for samples
    /// that have become long. Tokens are other ones than with f32, and as independent of the batch.
    F16,
}

impl KvType {
    /// Bytes of a number.
    pub(super) fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
        }
    }
}

/// The type of the numbers that the crate's own CPU kernels multiply quantized weights with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ActivationType {
    /// As they are computed.
    #[default]
    F32,
    /// Rounded to whole numbers from -127 to 127 times a factor that 32 neighbours share, so that
    /// products are sums of whole numbers: 1.6 to 2.4 times as fast in all with tens of sequences, on
    /// processors with an instruction for them (AVX-512 VNNI; ARMv8.2 has one, too). The mean divergence of the
    /// distributions from those without rounding was 0.003 nats for a model of 135 million parameters
    /// and 0.0001 for one of 500 million. Tokens are other ones than with f32, and as independent of
    /// the batch. Weights that are not quantized are multiplied in f32 all the same.
    Int8,
}

/// The vector instructions that the crate's own CPU kernels compute with.
///
/// Those that fuse multiply-adds (all but [`Portable`](Instructions::Portable) on x86) give the
/// same logits, to the last bit.
///
/// ```
/// use dart_math::engine::Instructions;
///
/// assert!(Instructions::available().any(|set| set == Instructions::Portable));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Instructions {
    /// The widest of those below that the processor has.
    #[default]
    Widest,
    /// None but what every processor of the architecture has, as the compiler finds use for them.
    Portable,
    /// AVX2, FMA and F16C of x86-64.
    Avx2,
    /// AVX-512F of x86-64, besides.
    Avx512,
    /// NEON of 64-bit ARM.
    Neon,
}

impl Instructions {
    /// All that this processor has, narrowest first.
    pub fn available() -> impl Iterator<Item = Instructions> {
        let named = Instructions::NAMES.iter().map(|&(set, _)| set);
        named.filter(|&set| set != Instructions::Widest && Level::of(set).is_some())
    }
}

/// Reads and writes a type by the names of its values.
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

/// All of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KernelSettings {
    pub(super) kv_type: KvType,
    pub(super) activation_type: ActivationType,
    pub(super) instructions: Instructions,
}

impl KernelSettings {
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for settings other than the default ones, where other kernels compute.
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
