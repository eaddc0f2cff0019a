//! The device and the number type of the computation.
//!
//! Depends on candle's devices, but not on models.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device};

use crate::{Error, ErrorKind, Result};

/// The device to compute on.
///
/// ```
/// use dart_math::model::DeviceChoice;
///
/// assert_eq!("cuda:1".parse::<DeviceChoice>()?, DeviceChoice::Cuda(1));
/// assert!("tpu".parse::<DeviceChoice>().is_err());
/// # Ok::<(), dart_math::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The first CUDA device if CUDA is built in and a device is present; otherwise the first Metal
    /// device, on the same conditions; otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this ordinal.
    Cuda(usize),
    /// The first Metal device.
    Metal,
}

impl DeviceChoice {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if the requested device is not built in or cannot be opened.
    /// [`DeviceChoice::Auto`] never fails: it falls back to the CPU.
    pub fn open(self) -> Result<Device> {
        match self {
            DeviceChoice::Cpu => Ok(Device::Cpu),
            DeviceChoice::Cuda(number) => cuda(number),
            DeviceChoice::Metal => metal(),
            DeviceChoice::Auto => {
                if candle_core::utils::cuda_is_available() {
                    match cuda(0) {
                        Ok(device) => return Ok(device),
                        Err(error) => tracing::info!(%error, "no CUDA device; trying others"),
                    }
                }
                if candle_core::utils::metal_is_available() {
                    match metal() {
                        Ok(device) => return Ok(device),
                        Err(error) => tracing::info!(%error, "no Metal device; using the CPU"),
                    }
                }
                Ok(Device::Cpu)
            }
        }
    }
}

/// The memory that weights are loaded to, and the CUDA device to which the crate's own backend
/// uploads them.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) device: Device,
    pub(super) cuda: Option<usize>,
}

impl DeviceChoice {
    /// Returns the memory that a model for this device is loaded to. The crate's own CUDA backend
    /// (feature `cuda`) takes weights from host memory.
    ///
    /// # Errors
    ///
    /// As for [`open`](DeviceChoice::open).
    pub(super) fn place(self) -> Result<Place> {
        #[cfg(feature = "cuda")]
        {
            let host = |number| Place {
                device: Device::Cpu,
                cuda: Some(number),
            };
            match self {
                DeviceChoice::Cuda(number) => {
                    return crate::engine::cuda_device(number).map(|()| host(number));
                }
                DeviceChoice::Auto => match crate::engine::cuda_device(0) {
                    Ok(()) => return Ok(host(0)),
                    Err(error) => tracing::info!(%error, "no CUDA device; trying others"),
                },
                DeviceChoice::Cpu | DeviceChoice::Metal => {}
            }
        }
        Ok(Place {
            device: self.open()?,
            cuda: None,
        })
    }
}

fn cuda(number: usize) -> Result<Device> {
    if !candle_core::utils::cuda_is_available() {
        return Err(Error::new(
            ErrorKind::Device,
            format!("cuda:{number}: this build has no CUDA support; build with `--features cuda`"),
        ));
    }
    Device::new_cuda(number).map_err(|error| {
        Error::new(ErrorKind::Device, format!("cuda:{number}: {error}")).with_source(error)
    })
}

fn metal() -> Result<Device> {
    if !candle_core::utils::metal_is_available() {
        return Err(Error::new(
            ErrorKind::Device,
            "metal: this build has no Metal support; build with `--features metal` on a Mac",
        ));
    }
    // Candle panics if the list of devices is empty, as in a virtual machine.
    let opened = std::panic::catch_unwind(|| Device::new_metal(0))
        .map_err(|_| Error::new(ErrorKind::Device, "metal: no such device"))?;
    opened.map_err(|error| {
        Error::new(ErrorKind::Device, format!("metal: {error}")).with_source(error)
    })
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, Some(number)),
            None => (text, None),
        };
        match (kind, number) {
            ("auto", None) => Ok(DeviceChoice::Auto),
            ("cpu", None) => Ok(DeviceChoice::Cpu),
            ("metal", None) => Ok(DeviceChoice::Metal),
            ("cuda", None) => Ok(DeviceChoice::Cuda(0)),
            ("cuda", Some(number)) if number.parse::<usize>().is_ok() => {
                Ok(DeviceChoice::Cuda(number.parse().unwrap_or_default()))
            }
            _ => Err(Error::new(
                ErrorKind::Settings,
                format!("device `{text}`: expected auto, cpu, cuda, cuda:N or metal"),
            )),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(number) => write!(f, "cuda:{number}"),
            DeviceChoice::Metal => f.write_str("metal"),
        }
    }
}

/// The number type in which weights are stored and computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DtypeChoice {
    /// On a CPU, the blocks of a quantized file, with which the engine's kernels give the same
    /// logits as with `f32`, at least as fast and in a fraction of the memory. Otherwise `f32` on a
    /// CPU and `bf16` elsewhere; quantized files are dequantized.
    #[default]
    Auto,
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point (IEEE).
    F16,
    /// 16-bit floating point with the range of `f32`.
    Bf16,
    /// The blocks of a quantized file as stored; computation in `f32`.
    Quantized,
}

impl DtypeChoice {
    /// The type to compute in at a place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for a type that the CUDA backend does not support.
    pub(super) fn compute(self, place: &Place) -> Result<DType> {
        let on_cpu = place.device.is_cpu() && place.cuda.is_none();
        match self {
            DtypeChoice::F16 | DtypeChoice::Quantized if place.cuda.is_some() => Err(Error::new(
                ErrorKind::Settings,
                format!("dtype {self}: the CUDA backend computes in bf16 or f32"),
            )),
            DtypeChoice::F32 | DtypeChoice::Quantized => Ok(DType::F32),
            DtypeChoice::F16 => Ok(DType::F16),
            DtypeChoice::Bf16 => Ok(DType::BF16),
            DtypeChoice::Auto if on_cpu => Ok(DType::F32),
            DtypeChoice::Auto => Ok(DType::BF16),
        }
    }
}

impl FromStr for DtypeChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(DtypeChoice::Auto),
            "f32" => Ok(DtypeChoice::F32),
            "f16" => Ok(DtypeChoice::F16),
            "bf16" => Ok(DtypeChoice::Bf16),
            "quantized" => Ok(DtypeChoice::Quantized),
            _ => Err(Error::new(
                ErrorKind::Settings,
                format!("dtype `{text}`: expected auto, f32, f16, bf16 or quantized"),
            )),
        }
    }
}

impl fmt::Display for DtypeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DtypeChoice::Auto => "auto",
            DtypeChoice::F32 => "f32",
            DtypeChoice::F16 => "f16",
            DtypeChoice::Bf16 => "bf16",
            DtypeChoice::Quantized => "quantized",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_what_they_write() {
        for choice in [
            DeviceChoice::Auto,
            DeviceChoice::Cpu,
            DeviceChoice::Cuda(3),
            DeviceChoice::Metal,
        ] {
            assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
        }
        assert_eq!(
            "cuda".parse::<DeviceChoice>().unwrap(),
            DeviceChoice::Cuda(0)
        );
        for bad in ["", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CUDA"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
        for text in ["auto", "f32", "f16", "bf16", "quantized"] {
            assert_eq!(text.parse::<DtypeChoice>().unwrap().to_string(), text);
        }
        assert!("int4".parse::<DtypeChoice>().is_err());
    }

    #[test]
    fn a_cpu_is_always_there() {
        assert!(DeviceChoice::Cpu.open().unwrap().is_cpu());
        assert!(DeviceChoice::Auto.open().is_ok());
        if !candle_core::utils::cuda_is_available() {
            let error = DeviceChoice::Cuda(0).open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Device);
            assert!(error.detail().contains("--features cuda"));
        }
    }
}
