//! Open-weight language models: from files to weights, tokenizer and templates.
//!
//! Depends on candle, tokenizers and the hub, but not on sampling, answers or runs.

mod assemble;
mod built_in;
mod byte_table;
mod chat;
mod config;
mod detokenizer;
mod device;
mod device_list;
mod files;
mod fingerprint;
mod gguf;
mod hub;
mod huggingface;
mod jinja;
mod layerwise;
mod load;
mod loaded;
mod origin;
mod prompt;
mod random;
mod refusals;
mod rope;
mod safetensors;
mod scan;
mod source;
mod template;
mod tokenizer;
mod tokenizer_files;
mod transformers;
mod weight_files;
mod weights;

pub use chat::ChatTemplate;
pub use config::{Architecture, DecoderConfig};
pub use detokenizer::Detokenizer;
pub use device::{DeviceChoice, DtypeChoice};
pub use device_list::DeviceList;
pub use hub::HubProgress;
pub(crate) use layerwise::LayerReader;
pub use load::ModelBuilder;
pub(crate) use loaded::Computed;
pub use loaded::{Model, Prompt};
pub use origin::Fact;
pub(crate) use scan::scan;
pub use source::ModelSource;
pub use template::{NamedTemplate, Template};
pub use tokenizer::Tokenizer;
#[cfg(feature = "transformers")]
pub(crate) use transformers::{Held, TransformersModel};
pub use weights::{LayerWeights, Linear, Matrix, RandomPart, Weights};
