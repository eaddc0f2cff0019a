//! The device for the scheduler's tests: the CPU.

use dart_math::candle::{DType, Device};
use dart_math::engine::BackendChoice;
use dart_math::model::{DecoderConfig, Model};

pub(crate) const BACKENDS: &[BackendChoice] = &[BackendChoice::Auto, BackendChoice::Candle];

/// Rows are computed independently of the batch.
pub(crate) const LOGPROB_ERROR: f64 = 0.0;

/// Steps that may be issued before sampled tokens have arrived.
pub(crate) const STEPS_AHEAD: usize = 0;

/// Only every n-th of similar cases is tested.
pub(crate) const STRIDE: usize = 1;

/// Whether a step reports the times of its matrix products and attention.
pub(crate) const TIMES_PARTS: bool = true;

/// A model with random weights.
pub(crate) fn random(config: DecoderConfig) -> Model {
    Model::random(config, 5, &Device::Cpu, DType::F32).unwrap()
}
