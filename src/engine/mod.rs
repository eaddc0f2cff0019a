//! From prompts to completions: the decoder, its caches, the sampler and the scheduler that keeps
//! every slot busy.
//!
//! Knows the contract and the model; nothing of answers, allocation or files.

mod backend;
mod cpu;
mod inspect;
mod plain;
#[cfg(test)]
mod reference;
mod row;
mod sampler;
mod sampling;

pub use backend::BackendChoice;
pub use sampling::Sampling;
