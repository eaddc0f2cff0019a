//! Models in one GGUF file: the container, the decoder that its metadata describes, its tensors
//! and its vocabulary.

mod container;
mod decoder;
mod tensors;
mod vocabulary;

pub(super) use container::Gguf;
pub(super) use decoder::{Described, describe};
pub(super) use vocabulary::vocabulary;
