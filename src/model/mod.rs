//! Open-weight language models: from files to weights, tokenizer and templates.
//!
//! Knows candle, tokenizers and the hub; nothing of sampling, problems' answers or runs.

mod config;
mod weights;

pub use config::{Architecture, DecoderConfig};
pub use weights::{LayerWeights, Linear, Matrix, Weights};
