//! Models in GGUF files: the container, the decoder that its metadata describes, its tensors and
//! its vocabulary.

mod byte_level;
mod container;
mod decoder;
mod parse;
mod sentencepiece;
mod split;
mod tensors;
mod types;
mod vocabulary;

pub(super) use container::Gguf;
pub(super) use decoder::{Described, describe};
pub(super) use vocabulary::{check_tokens, vocabulary};
