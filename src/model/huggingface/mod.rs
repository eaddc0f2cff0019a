//! `config.json` and `generation_config.json` as Hugging Face's transformers writes them.
//!
//! Missing and null fields take that library's defaults for the architecture. Knows the names of
//! fields; opens no files.

mod config;
mod fields;
mod quantization;
mod rotary;
mod stop_tokens;
#[cfg(test)]
mod tests;
mod windows;

pub(super) use config::parse;
pub(super) use fields::object;
pub(super) use stop_tokens::stop_tokens;
