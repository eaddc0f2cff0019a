//! Loading a model: from a source to a [`Model`].
//!
//! Puts the readers together; knows which file says what, and nothing of formats.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::assemble::{Layout, Naming, Plan, Target, TensorSource};
use super::built_in;
use super::chat::ChatTemplate;
use super::config::DecoderConfig;
use super::device::{DeviceChoice, DtypeChoice, Place};
use super::files::{Files, MAX_JSON, MAX_TOKENIZER};
use super::fingerprint::{Contents, Fingerprint};
use super::gguf::{self, Gguf};
use super::hub::{self, HubProgress};
use super::huggingface;
use super::loaded::{Model, Parts};
use super::safetensors::SafeTensors;
use super::source::ModelSource;
use super::tokenizer::{self, Tokenizer};
use crate::{Error, ErrorKind, Result};

/// A callback that hears of a download.
pub(super) type Progress = Arc<dyn Fn(HubProgress) + Send + Sync>;

/// How to load a model. Made by [`Model::builder`].
#[derive(Clone)]
#[must_use]
pub struct ModelBuilder {
    source: ModelSource,
    device: DeviceChoice,
    dtype: DtypeChoice,
    pub(super) revision: Option<String>,
    pub(super) token: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) cache_dir: Option<PathBuf>,
    pub(super) progress: Option<Progress>,
}

impl std::fmt::Debug for ModelBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret and is not shown.
        f.debug_struct("ModelBuilder")
            .field("source", &self.source)
            .field("device", &self.device)
            .field("dtype", &self.dtype)
            .field("revision", &self.revision)
            .field("cache_dir", &self.cache_dir)
            .finish_non_exhaustive()
    }
}

impl ModelBuilder {
    pub(super) fn new(source: ModelSource) -> Self {
        ModelBuilder {
            source,
            device: DeviceChoice::Auto,
            dtype: DtypeChoice::Auto,
            revision: None,
            token: None,
            endpoint: None,
            cache_dir: None,
            progress: None,
        }
    }

    /// The device; [`DeviceChoice::Auto`] if not called.
    pub fn device(mut self, device: DeviceChoice) -> Self {
        self.device = device;
        self
    }

    /// The type of number; [`DtypeChoice::Auto`] if not called.
    pub fn dtype(mut self, dtype: DtypeChoice) -> Self {
        self.dtype = dtype;
        self
    }

    /// A hub repository's branch, tag or commit; goes before the one in the source.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// The token for a gated or private hub repository. If not called, the hub's own rules apply
    /// (the file that its login command writes, and its environment variables).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The hub's address, for a mirror of it. If not called, the hub's own rules apply.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Where the hub's cache is; its usual place if not called.
    pub fn cache_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(directory.into());
        self
    }

    /// A callback that hears how far a download is. It must return quickly.
    pub fn progress(mut self, progress: Arc<dyn Fn(HubProgress) + Send + Sync>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] and [`ErrorKind::Hub`] where files cannot be had, [`ErrorKind::Model`]
    /// where they are damaged, incomplete or contradict one another, [`ErrorKind::Unsupported`]
    /// where they ask for what the crate does not have, [`ErrorKind::Device`] where the device
    /// fails or memory ends.
    pub fn load(self) -> Result<Model> {
        let place = self.device.place()?;
        match &self.source {
            ModelSource::BuiltIn => from_files(
                &Files::Static(built_in::FILES),
                ModelSource::BUILT_IN.to_owned(),
                self.dtype,
                place,
            ),
            ModelSource::Directory(path) => {
                if !path.is_dir() {
                    return Err(Error::new(
                        ErrorKind::Io,
                        format!("{}: no such directory", path.display()),
                    ));
                }
                let files = Files::Directory(path.clone());
                from_files(&files, file_name(path), self.dtype, place)
            }
            ModelSource::Gguf(path) => from_gguf(path, self.dtype, place),
            ModelSource::Hub { id, revision } => {
                let revision = self.revision.as_deref().or(revision.as_deref());
                let directory = hub::download(id, revision, &self)?;
                // The cache names a snapshot's directory after its commit.
                let name = format!("{id}@{}", file_name(&directory));
                from_files(&Files::Directory(directory), name, self.dtype, place)
            }
        }
    }
}

fn file_name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Loads what a Hugging Face directory holds.
fn from_files(files: &Files, name: String, dtype: DtypeChoice, place: Place) -> Result<Model> {
    const CONFIG: &str = "config.json";
    const GENERATION: &str = "generation_config.json";
    let config_bytes = files.read(CONFIG, MAX_JSON)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Model,
            format!("{}: missing", files.label(CONFIG)),
        )
    })?;
    let label = files.label(CONFIG);
    let parsed = huggingface::parse(&label, &huggingface::object(&label, &config_bytes)?)?;
    let mut stop_tokens = parsed.stop_tokens;
    if let Some(bytes) = files.read(GENERATION, MAX_JSON)? {
        let label = files.label(GENERATION);
        let generation = huggingface::object(&label, &bytes)?;
        stop_tokens.extend(huggingface::stop_tokens(&label, &generation)?);
    }
    let text = read_text_side(files)?.ok_or_else(|| {
        Error::new(
            ErrorKind::Model,
            format!("{}: missing", files.label("tokenizer.json")),
        )
    })?;
    stop_tokens.extend(text.eos);

    if dtype == DtypeChoice::Quantized {
        return Err(Error::new(
            ErrorKind::Settings,
            format!("{name}: dtype quantized is for GGUF files; safetensors hold no blocks"),
        ));
    }
    let tensors = SafeTensors::open(files)?;
    let mut weights = Fingerprint::default();
    for (name, entry) in tensors.entries() {
        weights.tensor(name, entry.dtype.name(), &entry.shape, tensors.bytes(entry));
    }
    let contents = Contents::new(&parsed.config, text.fingerprint, weights);
    let target = Target {
        dtype: dtype.compute(&place)?,
        device: place.device,
        cuda: place.cuda,
        quantized: false,
    };
    finish(
        name,
        Decoder {
            config: parsed.config,
            layout: parsed.layout,
            naming: Naming::HuggingFace,
        },
        &tensors,
        target,
        Text {
            tokenizer: text.tokenizer,
            stop_tokens,
            chat_template: text.chat_template,
        },
        contents,
    )
}

/// Loads a GGUF file.
fn from_gguf(path: &Path, dtype: DtypeChoice, place: Place) -> Result<Model> {
    let file = Gguf::open(path)?;
    let gguf::Described {
        config,
        layout,
        naming,
    } = gguf::describe(&file)?;
    let vocabulary = gguf::vocabulary(&file)?;
    let mut fingerprint = Fingerprint::default();
    let (tokenizer, beside) = match vocabulary.tokenizer {
        Ok(pipeline) => {
            file.identify_tokenizer(&mut fingerprint);
            let opening = vocabulary.opening.unwrap_or_default();
            (Tokenizer::new(pipeline, Some(opening))?, None)
        }
        Err(error) => {
            let text = beside_gguf(&file, vocabulary.opening, error)?;
            fingerprint = text.fingerprint;
            (text.tokenizer, text.chat_template)
        }
    };
    let spelled = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
    let chat_template = match vocabulary.chat_template {
        Some(source) => Some(ChatTemplate::new(
            file.label().to_owned(),
            &source,
            spelled(vocabulary.bos),
            spelled(vocabulary.eos),
        )),
        None => beside,
    };
    let mut weights = Fingerprint::default();
    for (name, entry) in file.tensors() {
        let dtype = format!("{:?}", entry.dtype);
        weights.tensor(name, &dtype, &entry.shape, file.bytes(entry));
    }
    let contents = Contents::new(&config, fingerprint, weights);
    let blocks = file
        .tensors()
        .any(|(_, entry)| entry.dtype.block_size() > 1);
    let quantized = match dtype {
        DtypeChoice::Quantized => true,
        DtypeChoice::Auto => place.device.is_cpu() && place.cuda.is_none() && blocks,
        _ => false,
    };
    let target = Target {
        dtype: match quantized {
            true => candle_core::DType::F32,
            false => dtype.compute(&place)?,
        },
        device: place.device,
        cuda: place.cuda,
        quantized,
    };
    let stop_tokens = vocabulary.stop_tokens;
    finish(
        file_name(file.path()),
        Decoder {
            config,
            layout,
            naming,
        },
        &file,
        target,
        Text {
            tokenizer,
            stop_tokens,
            chat_template,
        },
        contents,
    )
}

/// The tokenizer beside a GGUF file whose own cannot be built, for the reason given. It must have
/// the file's tokens, and begins texts as the file says.
fn beside_gguf(file: &Gguf, opening: Option<Vec<u32>>, error: Error) -> Result<TextSide> {
    let directory = match file.path().parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let files = Files::Directory(directory);
    let Some(mut text) = read_text_side(&files)? else {
        return Err(error);
    };
    gguf::check_tokens(file, &files.label("tokenizer.json"), &text.tokenizer)?;
    tracing::info!(%error, "using the tokenizer.json beside the GGUF file");
    if let Some(opening) = opening {
        text.tokenizer = text.tokenizer.with_opening(opening)?;
    }
    Ok(text)
}

struct Decoder {
    config: DecoderConfig,
    layout: Layout,
    naming: Naming,
}

struct Text {
    tokenizer: Tokenizer,
    stop_tokens: Vec<u32>,
    chat_template: Option<ChatTemplate>,
}

/// What is common to all sources: checks, then weights.
fn finish(
    name: String,
    decoder: Decoder,
    tensors: &impl TensorSource,
    target: Target,
    mut text: Text,
    contents: Contents,
) -> Result<Model> {
    let Decoder {
        config,
        layout,
        naming,
    } = decoder;
    if text.tokenizer.vocab_size() > config.vocab_size {
        return Err(Error::new(
            ErrorKind::Model,
            format!(
                "{name}: the tokenizer has {} tokens, the model {}",
                text.tokenizer.vocab_size(),
                config.vocab_size
            ),
        ));
    }
    text.stop_tokens.sort_unstable();
    text.stop_tokens.dedup();
    text.stop_tokens.retain(|&id| {
        let known = (id as usize) < config.vocab_size;
        if !known {
            tracing::warn!(id, "a stop token outside the vocabulary is left out");
        }
        known
    });
    let plan = Plan::new(&config, layout, naming);
    plan.check(tensors)?;
    let weights = plan.build(tensors, &target)?;
    Ok(Model::new(Parts {
        name,
        config,
        weights,
        tokenizer: text.tokenizer,
        stop_tokens: text.stop_tokens,
        chat_template: text.chat_template,
        parameters: plan.parameters(),
        quantized: target.quantized,
        device: target.device,
        cuda: target.cuda,
        dtype: target.dtype,
        contents,
    }))
}

/// The tokenizer and what belongs to it.
struct TextSide {
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    eos: Option<u32>,
    /// Of the tokenizer alone: the other files' parts are told where they are used.
    fingerprint: Fingerprint,
}

/// Reads `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`; `None` where there
/// is no `tokenizer.json`.
fn read_text_side(files: &Files) -> Result<Option<TextSide>> {
    const TOKENIZER: &str = "tokenizer.json";
    const CONFIG: &str = "tokenizer_config.json";
    const TEMPLATE: &str = "chat_template.jinja";
    let Some(bytes) = files.read(TOKENIZER, MAX_TOKENIZER)? else {
        return Ok(None);
    };
    let mut fingerprint = Fingerprint::default();
    fingerprint.json("tokenizer.json", &bytes);
    let pipeline =
        tokenizer::parse(&bytes).map_err(|error| error.context(files.label(TOKENIZER)))?;
    let label = files.label(CONFIG);
    let config = match files.read(CONFIG, MAX_JSON)? {
        Some(read) => huggingface::object(&label, &read)?,
        None => Map::new(),
    };
    let bos = special(&config, "bos_token");
    let eos = special(&config, "eos_token");
    let opening = opening(&label, &config, &pipeline, bos)?;
    let tokenizer =
        Tokenizer::new(pipeline, opening).map_err(|error| error.context(files.label(TOKENIZER)))?;
    let (from, source) = match files.read(TEMPLATE, MAX_JSON)? {
        Some(source) => (
            files.label(TEMPLATE),
            Some(String::from_utf8_lossy(&source).into_owned()),
        ),
        None => (label, template_of(&config)),
    };
    let chat_template = source.map(|source| {
        ChatTemplate::new(
            from,
            &source,
            bos.unwrap_or_default().to_owned(),
            eos.unwrap_or_default().to_owned(),
        )
    });
    Ok(Some(TextSide {
        eos: eos.and_then(|eos| tokenizer.id(eos)),
        tokenizer,
        chat_template,
        fingerprint,
    }))
}

/// A special token's text: a string, or an object with `content`.
fn special<'a>(config: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    match config.get(field)? {
        Value::String(text) => Some(text),
        Value::Object(token) => token.get("content")?.as_str(),
        _ => None,
    }
}

/// The chat template in `tokenizer_config.json`: a string, or a list of named ones.
fn template_of(config: &Map<String, Value>) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(source) => Some(source.clone()),
        Value::Array(named) => named
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_owned),
        _ => None,
    }
}

/// The tokens before a text, where `tokenizer_config.json` overrides `tokenizer.json`: the
/// classes for Llama put the first token there themselves, as `add_bos_token` says (true if it
/// is missing), whatever the pipeline's post-processor does.
fn opening(
    label: &str,
    config: &Map<String, Value>,
    pipeline: &tokenizers::Tokenizer,
    bos: Option<&str>,
) -> Result<Option<Vec<u32>>> {
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    if !matches!(class, Some("LlamaTokenizer" | "LlamaTokenizerFast")) {
        return Ok(None);
    }
    if config.get("add_bos_token").and_then(Value::as_bool) == Some(false) {
        return Ok(Some(Vec::new()));
    }
    let bos = bos.unwrap_or("<s>");
    match pipeline.token_to_id(bos) {
        Some(id) => Ok(Some(vec![id])),
        None => Err(Error::new(
            ErrorKind::Model,
            format!(
                "{label}: `bos_token` is `{}`, which is not in the vocabulary",
                bos.escape_debug()
            ),
        )),
    }
}
