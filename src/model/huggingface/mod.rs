//! `config.json` and `generation_config.json` in the format of Hugging Face transformers.
//!
//! Missing and null fields take that library's defaults for the architecture. Interprets fields,
//! but opens no files.

mod config;
mod fields;
mod quantization;
mod rotary;
mod sources;
mod stop_tokens;
#[cfg(test)]
mod tests;
mod windows;

pub(super) use config::parse;
#[cfg(feature = "transformers")]
pub(super) use config::{architecture_name, shared_head_dim};
#[cfg(feature = "transformers")]
pub(super) use fields::Fields;
pub(super) use fields::object;
#[cfg(feature = "transformers")]
pub(super) use quantization::refuse_quantized;
#[cfg(feature = "transformers")]
pub(super) use rotary::{rope_kind, rope_parameters};
pub(super) use sources::{sources, tied_source};
pub(super) use stop_tokens::stop_tokens;
