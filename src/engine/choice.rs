//! Chooses the backend that runs a model.
//!
//! Depends on all backends, but not on how they work.

use candle_core::{DType, Device};

use super::backend::Backend;
#[cfg(feature = "transformers")]
use super::decoder::checked;
use super::decoder::decoder_for;
use super::host::HostSampled;
#[cfg(feature = "cuda")]
use super::inspect::check_shapes;
use super::kernel_settings::KernelSettings;
use super::scheduler::Capacity;
#[cfg(feature = "transformers")]
use super::transformers::Transformers;
#[cfg(feature = "transformers")]
use crate::model::TransformersModel;
use crate::model::{Computed, DecoderConfig, Weights};
use crate::{Error, ErrorKind, Result};

/// The backend that computes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The crate's own kernels on a CPU and, with the feature `cuda`, on an NVIDIA GPU; candle's
    /// operations on other devices.
    #[default]
    Auto,
    /// Candle's tensor operations on any device: the reference for the kernels. If weights are
    /// quantized, candle rounds the activations to 8 bits.
    Candle,
}

/// A backend's settings, apart from its weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackendSettings<'a> {
    pub(super) config: &'a DecoderConfig,
    /// The device that holds the weights.
    pub(super) device: &'a Device,
    /// The CUDA device of the crate's own backend.
    pub(super) cuda: Option<usize>,
    pub(super) dtype: DType,
    pub(super) choice: BackendChoice,
    pub(super) kernels: KernelSettings,
    /// The number of threads of the rayon pool in which the backend is called.
    pub(super) threads: usize,
    /// The largest number of tokens of a completion.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))] // Other backends allocate on demand.
    pub(super) max_new_tokens: usize,
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(super) capacity: Capacity,
    /// Whether a sequence's logits must not depend on its batch.
    pub(super) deterministic: bool,
}

/// Creates the backend for a model.
///
/// # Errors
///
/// Weights whose shapes do not match the configuration, a failure of the device, or settings that
/// the backend does not support.
pub(super) fn backend_for(
    settings: &BackendSettings<'_>,
    computed: Computed,
) -> Result<Box<dyn Backend>> {
    match computed {
        Computed::Own(weights) => own(settings, weights),
        #[cfg(feature = "transformers")]
        Computed::Transformers(model) => transformers(settings, model),
    }
}

/// Creates the backend for a model that candle-transformers computes.
#[cfg(feature = "transformers")]
fn transformers(
    settings: &BackendSettings<'_>,
    model: TransformersModel,
) -> Result<Box<dyn Backend>> {
    let refused = |reason: &str| Err(Error::new(ErrorKind::Settings, reason));
    if settings.choice == BackendChoice::Candle {
        return refused(
            "the candle backend is the crate's own decoder; candle-transformers computes \
             this architecture",
        );
    }
    if settings.deterministic && !settings.device.is_cpu() {
        return refused("candle's operations on a GPU cannot be made deterministic");
    }
    settings.kernels.refuse_elsewhere()?;
    let decoder = checked(Transformers::new(model));
    Ok(Box::new(HostSampled::new(decoder, settings.threads)))
}

fn own(settings: &BackendSettings<'_>, weights: Weights) -> Result<Box<dyn Backend>> {
    match (settings.cuda, settings.choice) {
        (Some(ordinal), BackendChoice::Auto) => cuda(settings, weights, ordinal),
        (Some(_), BackendChoice::Candle) => Err(Error::new(
            ErrorKind::Settings,
            "the candle backend on a CUDA device: build with the feature `candle-cuda` \
             in the place of `cuda`",
        )),
        (None, choice) => {
            let BackendSettings {
                config,
                device,
                dtype,
                kernels,
                threads,
                ..
            } = *settings;
            let own = choice == BackendChoice::Auto && device.is_cpu();
            if settings.deterministic && !own {
                return Err(Error::new(
                    ErrorKind::Settings,
                    "candle's operations cannot be made deterministic: their sums depend on the batch",
                ));
            }
            let decoder = decoder_for(config, weights, device, dtype, choice, kernels)?;
            Ok(Box::new(HostSampled::new(decoder, threads)))
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda(
    settings: &BackendSettings<'_>,
    weights: Weights,
    ordinal: usize,
) -> Result<Box<dyn Backend>> {
    use super::cuda::{Cuda, CudaSettings, Precision};
    check_shapes(settings.config, &weights)?;
    settings.kernels.refuse_elsewhere()?;
    let precision = match settings.dtype {
        DType::BF16 => Precision::Bf16,
        DType::F32 => Precision::F32,
        other => {
            let reason = format!("the CUDA backend computes in bf16 or f32, not in {other:?}");
            return Err(Error::new(ErrorKind::Settings, reason));
        }
    };
    let backend = Cuda::new(
        settings.config,
        weights,
        CudaSettings {
            ordinal,
            precision,
            slots: settings.capacity.slots,
            prefix_cache: settings.capacity.prefix_cache,
            max_new_tokens: settings.max_new_tokens,
            kv_bytes: settings.capacity.kv_bytes,
            deterministic: settings.deterministic,
        },
    )?;
    Ok(Box::new(backend))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &BackendSettings<'_>, _: Weights, ordinal: usize) -> Result<Box<dyn Backend>> {
    let reason = format!("cuda:{ordinal}: this build has no CUDA support");
    Err(Error::new(ErrorKind::Device, reason))
}
