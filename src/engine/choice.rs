//! Which backend runs a model: the one place where they are chosen.
//!
//! Knows all backends; nothing of how they work.

use candle_core::{DType, Device};

use super::backend::Backend;
use super::decoder::decoder_for;
use super::host::HostSampled;
use super::kernel_settings::KernelSettings;
use crate::Result;
use crate::model::{DecoderConfig, Weights};

/// What computes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The crate's own kernels on a CPU; elsewhere, plain operations.
    #[default]
    Auto,
    /// Plain tensor operations on any device: the reference that the kernels are held to. With
    /// quantised weights they round the rows that these are multiplied with to 8 bits.
    Plain,
}

/// The backend for a model. Whatever is sampled on the host is so over this many threads: those of
/// the rayon pool in which the backend is called.
///
/// # Errors
///
/// Weights whose shapes do not fit the configuration, a failure of the device, or settings of the
/// kernels that the backend cannot serve.
pub(super) fn backend_for(
    config: &DecoderConfig,
    weights: Weights,
    device: &Device,
    dtype: DType,
    choice: BackendChoice,
    kernels: KernelSettings,
    threads: usize,
) -> Result<Box<dyn Backend>> {
    Ok(match choice {
        BackendChoice::Auto | BackendChoice::Plain => {
            let decoder = decoder_for(config, weights, device, dtype, choice, kernels)?;
            Box::new(HostSampled::new(decoder, threads))
        }
    })
}
