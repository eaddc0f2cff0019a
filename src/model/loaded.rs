//! A model in memory, ready to be run.

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

/// A language model: weights, tokenizer, templates and what else belongs to it.
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

/// What a model is made of.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) config: DecoderConfig,
    pub(super) weights: Weights,
    /// In the place of weights, for the architectures of candle-transformers.
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

/// What an engine takes from a model.
pub(crate) enum Computed {
    /// Weights for the crate's own decoder.
    Own(Weights),
    /// What candle-transformers computes.
    #[cfg(feature = "transformers")]
    Transformers(TransformersModel),
}

/// A prompt as text and as the tokens that the model is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// The text, without a first token that the tokenizer adds by itself.
    pub text: String,
    /// The token ids, that first token included.
    pub tokens: Vec<u32>,
}

impl Model {
    pub(super) fn new(parts: Parts) -> Self {
        Model { parts }
    }

    /// Begins to load a model from a source.
    pub fn builder(source: impl Into<ModelSource>) -> ModelBuilder {
        ModelBuilder::new(source.into())
    }

    /// The small model that is part of the crate: a decoder of about a million weights that solves
    /// arithmetic word problems, trained by an example of this repository. On the CPU.
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
    /// None that depend on the machine, apart from memory.
    pub fn built_in() -> Result<Model> {
        Self::builder(ModelSource::BuiltIn)
            .device(DeviceChoice::Cpu)
            .load()
    }

    /// A model of a shape with random weights, for tests and measurements. Its tokenizer has the
    /// tokens `<0>`, `<1>`, …; no stop tokens, no chat template.
    ///
    /// Weights are normal with standard deviation 0.02, norms are 1; the output head is its own.
    /// Biases and norms over heads are there where the architecture always has them. The same
    /// configuration and seed give the same weights on every machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`](crate::ErrorKind::Model) for an impossible configuration,
    /// [`ErrorKind::Device`](crate::ErrorKind::Device) where memory ends.
    pub fn random(
        config: DecoderConfig,
        seed: u64,
        device: &Device,
        dtype: DType,
    ) -> Result<Model> {
        random::model(config, seed, device, dtype)
    }

    /// Like [`random`](Model::random), of the shape that a `config.json` of the Hugging Face kind
    /// says: biases and a shared output head as there. Nothing else is read, so that a model's cost
    /// can be measured without its weights. Weights are made in the type asked for, one matrix at a
    /// time; [`DtypeChoice::Quantized`] makes blocks of GGUF's type Q4_0.
    ///
    /// # Errors
    ///
    /// As for [`random`](Model::random), and where the file cannot be read or says what the crate
    /// does not have.
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

    /// The weights. None are left in the model of an [`Engine`](crate::engine::Engine), which lays
    /// them out in its own way, and none are shown of a model that candle-transformers computes.
    pub fn weights(&self) -> &Weights {
        &self.parts.weights
    }

    /// Takes the weights out.
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

    /// The device that holds the weights: the host's memory, until an engine takes them, where the
    /// crate's own [CUDA](Model::cuda) backend computes.
    pub fn device(&self) -> &Device {
        &self.parts.device
    }

    /// The number of the CUDA device on which the crate's own kernels compute.
    pub fn cuda(&self) -> Option<usize> {
        self.parts.cuda
    }

    /// The type of number that is computed in.
    pub fn dtype(&self) -> DType {
        self.parts.dtype
    }

    /// Whether weights are held in quantised blocks.
    pub fn is_quantized(&self) -> bool {
        self.parts.quantized
    }

    /// The number of weights, shared ones counted once.
    pub fn parameters(&self) -> u64 {
        self.parts.parameters
    }

    /// The file's or directory's name, or `id@commit` of a hub repository.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// A hash of the decoder's shape, the tokenizer and all weights; the same wherever the model's files
    /// lie.
    pub fn fingerprint(&self) -> &str {
        &self.parts.contents.whole
    }

    /// What was read of the model's files and where, in words: its shape, its tokens, what ends a
    /// response, the types of its weights. None of random weights.
    pub fn facts(&self) -> &[Fact] {
        &self.parts.facts
    }

    /// The model's settings for a run's records: everything of the model that decides tokens. The
    /// prompt template and the stop tokens are left out, since an engine can override them.
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

    /// The prompt that puts a question to the model.
    ///
    /// The special tokens that the model wants before a text are there once, whether the template
    /// writes them or the tokenizer adds them. Special tokens count as such in the template's own
    /// text only: a question that spells one out gives the ordinary tokens of its letters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) for [`Template::Chat`] where the model
    /// has no chat template, [`ErrorKind::Model`](crate::ErrorKind::Model) where its template
    /// fails, [`ErrorKind::Data`](crate::ErrorKind::Data) for a question with special tokens that
    /// a chat template has changed beyond recognition, and for a prompt with a token that the
    /// tokenizer has and the model has not.
    pub fn prompt(&self, template: &Template, question: &str) -> Result<Prompt> {
        let rendered = template.render(question, self.chat_template())?;
        self.embedded(prompt::encode(self.tokenizer(), rendered)?)
    }

    /// The prompt that is just this text. Special tokens in it count as such.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`](crate::ErrorKind::Model) where the tokenizer cannot represent it,
    /// [`ErrorKind::Data`](crate::ErrorKind::Data) for a token that the model has not.
    pub fn raw_prompt(&self, text: &str) -> Result<Prompt> {
        let tokens = self.tokenizer().encode(text, false)?;
        self.embedded(Prompt {
            text: text.to_owned(),
            tokens: prompt::opened(self.tokenizer(), tokens),
        })
    }

    /// A prompt of tokens that the model has an embedding for.
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
    /// The template for a model if nothing else is said: its own chat template, or the wording of
    /// DeepSeekMath where it has none.
    pub fn default_for(model: &Model) -> Template {
        match model.chat_template() {
            Some(_) => Template::chat(),
            None => Template::Named(&NamedTemplate::DEEPSEEKMATH),
        }
    }
}
