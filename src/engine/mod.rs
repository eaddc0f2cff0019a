//! From prompts to completions: the decoder, its KV cache, the sampler and the scheduler for
//! continuous batching.
//!
//! Depends on the contract and the model, but not on answers, allocation or data files.

mod backend;
mod builder;
mod candle;
mod check;
mod choice;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod decoder;
mod generator;
mod group;
mod host;
mod inspect;
mod kernel_settings;
mod list;
mod reasoning;
#[cfg(test)]
mod reference;
mod request;
mod row;
mod sampler;
mod scheduler;
mod score;
mod statistics;
mod steps;
mod stop;
#[cfg(feature = "transformers")]
mod transformers;
mod trial;

pub use builder::EngineBuilder;
pub use check::{Check, GreedyCompletion, ModelReport, Outcome, check_model};
pub use choice::BackendChoice;
pub use cpu::fma_peak;
#[cfg(feature = "cuda")]
pub(crate) use cuda::{check_device as cuda_device, count_devices as cuda_device_count};
pub use generator::Engine;
pub use group::EngineGroup;
pub use kernel_settings::{ActivationType, Instructions, KvType};
pub use request::{CompletionRequest, Event};
pub use statistics::Statistics;
pub use steps::StepTimes;

pub use crate::Sampling;
