//! Reads a model's weights again, in f32 on the CPU and one part at a time, so that a reference of
//! any size fits in the memory of its largest part.
//!
//! Depends on the roles of the files, like `load`, but not on the computation.

use candle_core::{DType, Device, Tensor};

use super::assemble::{Layout, Naming, Plan, Target};
use super::config::{Architecture, DecoderConfig};
use super::gguf::{self, Gguf};
use super::huggingface;
use super::load::{ConfigFile, ModelBuilder};
use super::loaded::Model;
use super::safetensors::SafeTensors;
use super::scan::{Stored as Tensors, files_of};
use super::source::ModelSource;
use super::weights::{LayerWeights, Matrix};
use crate::Result;

/// Reads the weights of a model for the crate's own decoder, one part at a time.
pub(crate) struct LayerReader {
    config: DecoderConfig,
    plan: Plan,
    tensors: Tensors,
    target: Target,
}

/// Evaluates an expression for either kind of file.
macro_rules! with {
    ($reader:expr, $tensors:ident => $work:expr) => {
        match &$reader.tensors {
            Tensors::SafeTensors($tensors) => $work,
            Tensors::Gguf($tensors) => $work,
        }
    };
}

impl LayerReader {
    /// Opens the files that a model was loaded from; `None` if the crate's own decoder does not
    /// support the architecture.
    pub(crate) fn open(builder: &ModelBuilder, model: &Model) -> Result<Option<Self>> {
        if let Architecture::Transformers(_) = model.config().architecture {
            return Ok(None);
        }
        if let ModelSource::Gguf(path) = builder.source() {
            let file = Gguf::open(path)?;
            let described = gguf::describe(&file)?;
            let (layout, naming) = (described.layout, described.naming);
            let tensors = Tensors::Gguf(file);
            return Self::new(described.config, layout, naming, tensors).map(Some);
        }
        let Some(files) = files_of(builder, model)? else {
            return Ok(None);
        };
        let config = ConfigFile::read(&files)?;
        let parsed = huggingface::parse(&config.label, &config.map)?;
        let tensors = SafeTensors::open(&files)?;
        let layout = parsed.layout.with_own_head(&tensors)?;
        let tensors = Tensors::SafeTensors(tensors);
        Self::new(parsed.config, layout, Naming::HuggingFace, tensors).map(Some)
    }

    fn new(
        config: DecoderConfig,
        layout: Layout,
        naming: Naming,
        tensors: Tensors,
    ) -> Result<Self> {
        let plan = Plan::new(&config, layout, naming);
        let target = Target {
            device: Device::Cpu,
            cuda: None,
            dtype: DType::F32,
            quantized: false,
        };
        let reader = LayerReader {
            config,
            plan,
            tensors,
            target,
        };
        with!(reader, tensors => reader.plan.check(tensors))?;
        Ok(reader)
    }

    /// The decoder's shape.
    pub(crate) fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Bytes of the largest part.
    pub(crate) fn largest_part(&self) -> u64 {
        let c = &self.config;
        let table = c.vocab_size * c.hidden_size;
        let attention = (c.qkv_size() + c.heads * c.head_dim) * c.hidden_size;
        let layer = attention + 3 * c.intermediate_size * c.hidden_size;
        (table.max(layer) * size_of::<f32>()) as u64
    }

    /// The embedding, `[vocab, hidden]`.
    pub(crate) fn embedding(&self) -> Result<Matrix> {
        with!(self, tensors => self.plan.embedding(tensors, &self.target))
    }

    /// Reads a layer.
    pub(crate) fn layer(&self, index: usize) -> Result<LayerWeights> {
        with!(self, tensors => self.plan.layer(index, tensors, &self.target))
    }

    /// The norm before the output head.
    pub(crate) fn output_norm(&self) -> Result<Tensor> {
        with!(self, tensors => self.plan.output_norm(tensors, &self.target))
    }

    /// The output head, `[vocab, hidden]`.
    pub(crate) fn head(&self) -> Result<Matrix> {
        with!(self, tensors => self.plan.head(tensors, &self.target))
    }
}
