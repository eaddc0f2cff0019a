//! A loaded model.

use std::path::Path;

use candle_core::{DType, Device};
use serde::Serialize;

use super::chat::ChatTemplate;
use super::config::{Architecture, DecoderConfig};
use super::device::{DeviceChoice, DtypeChoice};
use super::fingerprint::{Contents, decoder_settings};
use super::load::ModelBuilder;
use super::origin::Fact;
use super::source::ModelSource;
use super::template::{NamedTemplate, Template};
use super::tokenizer::Tokenizer;
#[cfg(feature = "transformers")]
use super::transformers::TransformersModel;
use super::weights::Weights;
use super::{prompt, random};
use crate::{Error, ErrorKind, Result, Settings};

/// A language model: its weights, tokenizer, templates and settings.
///
/// ```no_run
/// use dart_math::model::{Model, ModelSource, Template};
///
/// let model = Model::builder(ModelSource::parse("model.gguf")?).load()?;
/// let prompt = model.prompt(&Template::default_for(&model), "What is 2+2?")?;
/// assert!(!prompt.tokens.is_empty());
/// # Ok::<(), dart_math::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    parts: Parts,
}

/// The parts of a model.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) config: DecoderConfig,
    pub(super) weights: Weights,
    /// Replaces the weights for the architectures of candle-transformers.
    #[cfg(feature = "transformers")]
    pub(super) transformers: Option<TransformersModel>,
    pub(super) tokenizer: Tokenizer,
    pub(super) stop_tokens: Vec<u32>,
    pub(super) chat_template: Option<ChatTemplate>,
    pub(super) parameters: u64,
    pub(super) quantized: bool,
    pub(super) device: Device,
    pub(super) cuda: Option<usize>,
    pub(super) dtype: DType,
    pub(super) contents: Contents,
    /// What was read from which file.
    pub(super) facts: Vec<Fact>,
}

/// The part of a model that an engine takes.
pub(crate) enum Computed {
    /// Weights for the crate's own decoder.
    Own(Weights),
    /// A model that candle-transformers computes.
    #[cfg(feature = "transformers")]
    Transformers(TransformersModel),
}

/// A prompt as text and as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// The text, without an opening token that the tokenizer adds.
    pub text: String,
    /// The token ids, including that opening token.
    pub tokens: Vec<u32>,
}

impl Model {
    pub(super) fn new(parts: Parts) -> Self {
        Model { parts }
    }

    /// Returns a builder that loads a model from a source.
    pub fn builder(source: impl Into<ModelSource>) -> ModelBuilder {
        ModelBuilder::new(source.into())
    }

    /// Loads the crate's built-in model on the CPU: a decoder of about a million weights that
    /// solves arithmetic word problems, trained by an example of this repository.
    ///
    /// ```
    /// let model = dart_math::model::Model::built_in()?;
    /// assert!(model.parameters() < 2_000_000);
    /// assert!(model.chat_template().is_some());
    /// # Ok::<(), dart_math::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails only if memory runs out.
    pub fn built_in() -> Result<Model> {
        Self::builder(ModelSource::BuiltIn)
            .device(DeviceChoice::Cpu)
            .load()
    }

    /// Creates a model with random weights, for tests and benchmarks. Its tokenizer has the tokens
    /// `<0>`, `<1>`, …; it has no stop tokens and no chat template.
    ///
    /// Weights are normally distributed with standard deviation 0.02, norms are 1, and the output
    /// head is not tied. Biases and norms over heads exist if the architecture always has them. The
    /// same configuration and seed give the same weights on every machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`](crate::ErrorKind::Model) for an impossible configuration,
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) if memory runs out.
    pub fn random(
        config: DecoderConfig,
        seed: u64,
        device: &Device,
        dtype: DType,
    ) -> Result<Model> {
        random::model(config, seed, device, dtype)
    }

    /// Like [`random`](Model::random), with the shape in a Hugging Face `config.json`, including
    /// its biases and tied output head. Reads no other file, so that a model's cost can be measured
    /// without its weights. Weights are created in the requested type, one matrix at a time;
    /// [`DtypeChoice::Quantized`] creates blocks of GGUF's type Q4_0.
    ///
    /// # Errors
    ///
    /// As for [`random`](Model::random). Also fails if the file cannot be read or requires a
    /// feature that the crate lacks.
    pub fn random_like(
        config: &Path,
        seed: u64,
        device: DeviceChoice,
        dtype: DtypeChoice,
    ) -> Result<Model> {
        random::model_like(config, seed, device.place()?, dtype)
    }

    /// The decoder's shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.parts.config
    }

    /// The weights. Empty in the model of an [`Engine`](crate::engine::Engine), which repacks them,
    /// and for a model that candle-transformers computes.
    pub fn weights(&self) -> &Weights {
        &self.parts.weights
    }

    /// Takes the weights out of the model.
    pub(crate) fn take_computed(&mut self) -> Computed {
        #[cfg(feature = "transformers")]
        if let Some(model) = self.parts.transformers.take() {
            return Computed::Transformers(model);
        }
        Computed::Own(self.parts.weights.take())
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.parts.tokenizer
    }

    /// All token ids that end a response, ascending.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.parts.stop_tokens
    }

    /// The model's own chat template, if it has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.parts.chat_template.as_ref()
    }

    /// The device that holds the weights. For the crate's own [CUDA](Model::cuda) backend, this is
    /// host memory until an engine takes them.
    pub fn device(&self) -> &Device {
        &self.parts.device
    }

    /// The ordinal of the CUDA device on which the crate's own kernels compute.
    pub fn cuda(&self) -> Option<usize> {
        self.parts.cuda
    }

    /// The compute type.
    pub fn dtype(&self) -> DType {
        self.parts.dtype
    }

    /// Whether weights are stored in quantized blocks.
    pub fn is_quantized(&self) -> bool {
        self.parts.quantized
    }

    /// The number of weights. Shared weights count once.
    pub fn parameters(&self) -> u64 {
        self.parts.parameters
    }

    /// The name of the file or directory, or `id@commit` of a hub repository.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// A hash of the decoder's shape, the tokenizer and all weights. It does not depend on the
    /// location of the model's files.
    pub fn fingerprint(&self) -> &str {
        &self.parts.contents.whole
    }

    /// Descriptions of what was read from which file: the shape, the tokens, what ends a response,
    /// the types of the weights. Empty for random weights.
    pub fn facts(&self) -> &[Fact] {
        &self.parts.facts
    }

    /// The model's settings for a run's records: everything of the model that tokens depend on.
    /// Excludes the prompt template and the stop tokens, which an engine can override.
    pub fn settings(&self) -> Settings {
        let device = match (&self.parts.device, self.parts.cuda) {
            (_, Some(_)) => "cuda",
            (Device::Cpu, None) => "cpu",
            (Device::Cuda(_), None) => "candle-cuda",
            (Device::Metal(_), None) => "metal",
        };
        let dtype = match self.parts.quantized {
            true => "quantized",
            false => self.parts.dtype.as_str(),
        };
        let mut settings = Settings::new();
        settings.insert("model".to_owned(), self.parts.name.clone().into());
        settings.insert(
            "architecture".to_owned(),
            self.parts.config.architecture.name().into(),
        );
        settings.insert("parameters".to_owned(), self.parts.parameters.into());
        settings.insert("dtype".to_owned(), dtype.into());
        settings.insert("device".to_owned(), device.into());
        let contents = &self.parts.contents;
        settings.insert("fingerprint".to_owned(), contents.whole.clone().into());
        let mut config = decoder_settings(&self.parts.config);
        if let Architecture::Transformers(_) = self.parts.config.architecture {
            config.insert("config.json".into(), contents.config.clone().into());
        }
        settings.insert("config".to_owned(), config.into());
        settings.insert("tokenizer".to_owned(), contents.tokenizer.clone().into());
        let opening = self.parts.tokenizer.opening();
        settings.insert("opening_tokens".to_owned(), opening.into());
        settings.insert("weights".to_owned(), contents.weights.clone().into());
        settings
    }

    /// Renders a question into a prompt for the model.
    ///
    /// The special tokens that the model expects before a text occur once, whether the template or
    /// the tokenizer adds them. Special tokens are recognized only in the template's own text: if a
    /// question spells one, its letters become ordinary tokens.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Settings`](crate::ErrorKind::Settings) for [`Template::Chat`] if the model
    ///   has no chat template.
    /// - [`ErrorKind::Model`](crate::ErrorKind::Model) if the model's template fails.
    /// - [`ErrorKind::Data`](crate::ErrorKind::Data) for a question with special tokens that a chat
    ///   template changed beyond recognition, and for a prompt with a token that the tokenizer has
    ///   and the model lacks.
    pub fn prompt(&self, template: &Template, question: &str) -> Result<Prompt> {
        let rendered = template.render(question, self.chat_template())?;
        self.embedded(prompt::encode(self.tokenizer(), rendered)?)
    }

    /// Encodes a text as a prompt, as it is. Special tokens in it are recognized.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`](crate::ErrorKind::Model) if the tokenizer cannot represent it,
    /// [`ErrorKind::Data`](crate::ErrorKind::Data) for a token that the model lacks.
    pub fn raw_prompt(&self, text: &str) -> Result<Prompt> {
        let tokens = self.tokenizer().encode(text, false)?;
        self.embedded(Prompt {
            text: text.to_owned(),
            tokens: prompt::opened(self.tokenizer(), tokens),
        })
    }

    /// Checks that the model has an embedding for every token of a prompt.
    fn embedded(&self, prompt: Prompt) -> Result<Prompt> {
        let size = self.config().vocab_size;
        match prompt.tokens.iter().find(|&&id| id as usize >= size) {
            None => Ok(prompt),
            Some(&id) => Err(Error::new(
                ErrorKind::Data,
                format!(
                    "the prompt needs token {id} (`{}`), and the model has {size} tokens",
                    self.tokenizer()
                        .token(id)
                        .unwrap_or_default()
                        .escape_debug()
                ),
            )),
        }
    }
}

impl Template {
    /// The default template for a model: its own chat template or, if it has none, DeepSeekMath's
    /// wording.
    pub fn default_for(model: &Model) -> Template {
        match model.chat_template() {
            Some(_) => Template::chat(),
            None => Template::Named(&NamedTemplate::DEEPSEEKMATH),
        }
    }
}
