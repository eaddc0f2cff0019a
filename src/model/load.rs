//! Loads a model: from a source to a [`Model`].
//!
//! Combines the readers. Knows the role of each file, but no formats.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::assemble::{Layout, Naming, Plan, Target, TensorSource};
use super::built_in;
use super::chat::ChatTemplate;
use super::config::DecoderConfig;
use super::device::{DeviceChoice, DtypeChoice, Place};
use super::files::{Files, MAX_JSON};
use super::fingerprint::{Contents, Fingerprint};
use super::gguf::{self, Gguf};
use super::hub::{self, HubProgress};
use super::huggingface;
use super::loaded::{Model, Parts};
use super::origin::{self, Declared, Fact, Named};
use super::refusals;
use super::safetensors::SafeTensors;
use super::source::ModelSource;
use super::tokenizer::Tokenizer;
use super::tokenizer_files::{self, TextSide};
#[cfg(feature = "transformers")]
use super::transformers;
#[cfg(feature = "transformers")]
use super::weights::Weights;
use crate::{Error, ErrorKind, Result};

/// A callback for download progress.
pub(super) type Progress = Arc<dyn Fn(HubProgress) + Send + Sync>;

/// Options for loading a model. Created by [`Model::builder`].
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

    /// Sets the device. Default: [`DeviceChoice::Auto`].
    pub fn device(mut self, device: DeviceChoice) -> Self {
        self.device = device;
        self
    }

    /// Sets the number type. Default: [`DtypeChoice::Auto`].
    pub fn dtype(mut self, dtype: DtypeChoice) -> Self {
        self.dtype = dtype;
        self
    }

    /// Sets a hub repository's branch, tag or commit. Takes precedence over the one in the source.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = Some(revision.into());
        self
    }

    /// Sets the token for a gated or private hub repository. Default: `HF_TOKEN`, or the file that
    /// the hub's login command writes (`HF_TOKEN_PATH`, or `token` in `HF_HOME`), unless
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the hub's address, for a mirror. Default: `HF_ENDPOINT`, or the hub itself.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Sets the directory of the hub's cache. Default: `HF_HUB_CACHE`, or `hub` in `HF_HOME`.
    pub fn cache_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cache_dir = Some(directory.into());
        self
    }

    /// Sets a callback for download progress. It must return quickly.
    pub fn progress(mut self, progress: Arc<dyn Fn(HubProgress) + Send + Sync>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The source of the model.
    pub(super) fn source(&self) -> &ModelSource {
        &self.source
    }

    /// Loads the model.
    ///
    /// If the hub does not answer, or answers with an error, and the repository's revision is
    /// complete in the cache, the model is loaded from the cache, with a warning. With
    /// `HF_HUB_OFFLINE` the hub is not contacted. A request times out after `HF_HUB_ETAG_TIMEOUT`
    /// seconds (10), and a download after `HF_HUB_DOWNLOAD_TIMEOUT` seconds (30) without data.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Io`] and [`ErrorKind::Hub`] if files are unavailable, [`ErrorKind::Model`] if
    /// they are damaged, incomplete or contradictory, [`ErrorKind::Unsupported`] if they require a
    /// feature that the crate lacks, [`ErrorKind::Device`] if the device fails or memory runs out.
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
                    return Err(refusals::not_a_directory(path));
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

/// A Hugging Face directory's `config.json`.
pub(super) struct ConfigFile {
    /// Its name for messages.
    pub(super) label: String,
    #[cfg(feature = "transformers")]
    bytes: Vec<u8>,
    pub(super) map: Map<String, Value>,
}

impl ConfigFile {
    pub(super) fn read(files: &Files) -> Result<Self> {
        const NAME: &str = "config.json";
        let Some(bytes) = files.read(NAME, MAX_JSON)? else {
            return Err(refusals::no_config(files.place(), &files.names()?));
        };
        let label = files.label(NAME);
        let map = huggingface::object(&label, &bytes)?;
        Ok(ConfigFile {
            label,
            #[cfg(feature = "transformers")]
            bytes,
            map,
        })
    }
}

/// Loads a Hugging Face directory.
fn from_files(files: &Files, name: String, dtype: DtypeChoice, place: Place) -> Result<Model> {
    let config = ConfigFile::read(files)?;
    let ConfigFile { label, map, .. } = &config;
    let declared = |ids: Vec<u32>| ids.into_iter().map(|id| (id, label.clone())).collect();
    #[cfg(feature = "transformers")]
    if let Some(described) = transformers::describe(label, map)? {
        let stop_tokens = declared(huggingface::stop_tokens(label, map)?);
        return from_transformers(
            files,
            name,
            (dtype, place),
            described,
            stop_tokens,
            (&config.bytes, map),
        );
    }
    let parsed = huggingface::parse(label, map)?;
    let mut text = read_text(files, declared(parsed.stop_tokens))?;
    if dtype == DtypeChoice::Quantized {
        return Err(no_blocks(&name));
    }
    let tensors = SafeTensors::open(files)?;
    let contents = Contents::new(&parsed.config, text.fingerprint, tensors.fingerprint());
    let sources = huggingface::sources(label, map, &parsed.config);
    let mut facts = origin::of_config(&parsed.config, &parsed.rope, &sources);
    let layout = parsed.layout.with_own_head(&tensors)?;
    let mut head_from = huggingface::tied_source(label, map);
    if layout != parsed.layout {
        const HEAD: &str = "lm_head.weight";
        head_from = tensors.label(HEAD);
        facts.push(origin::warning(&format!(
            "{head_from}: `{HEAD}` is not the embedding, though {label} says `tie_word_embeddings`; it is \
             taken, as by transformers"
        )));
    }
    facts.push(origin::of_head(layout.tied, head_from));
    facts.extend(tensors.notes.iter().map(|note| origin::warning(note)));
    text.text.facts.splice(0..0, facts);
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
            layout,
            naming: Naming::HuggingFace,
        },
        &tensors,
        target,
        text.text,
        contents,
    )
}

/// The error for safetensors with a type that requires GGUF.
fn no_blocks(name: &str) -> Error {
    Error::new(
        ErrorKind::Settings,
        format!("{name}: dtype quantized is for GGUF files; safetensors hold no blocks"),
    )
}

/// Loads a Hugging Face directory with an architecture that candle-transformers computes.
#[cfg(feature = "transformers")]
fn from_transformers(
    files: &Files,
    name: String,
    (dtype, place): (DtypeChoice, Place),
    described: transformers::Described,
    stop_tokens: Vec<Declared>,
    (config, map): (&[u8], &Map<String, Value>),
) -> Result<Model> {
    let read = read_text(files, stop_tokens)?;
    if dtype == DtypeChoice::Quantized {
        return Err(no_blocks(&name));
    }
    let mut text = read.text;
    check_text(&name, described.config.vocab_size, &mut text)?;
    let tensors = SafeTensors::open(files)?;
    let notes = tensors.notes.clone();
    let mut whole = Fingerprint::default();
    // The whole file, because candle decides which fields it reads.
    whole.json("config.json", config);
    let contents = Contents::of(whole, read.fingerprint, tensors.fingerprint());
    let label = files.label("config.json");
    let sources = huggingface::sources(&label, map, &described.config);
    let config = described.config.clone();
    let stored: Vec<_> = tensors.stored().collect();
    let model = transformers::load(&name, described, tensors, &place, dtype)?;
    let parameters = model
        .tensors()
        .map(|(_, tensor)| tensor.elem_count() as u64)
        .sum();
    let rope = "as candle-transformers reads it of the configuration";
    let mut facts = origin::of_config(&config, rope, &sources);
    facts.append(&mut text.facts);
    facts.extend(notes.iter().map(|note| origin::warning(note)));
    facts.push(origin::of_tensors(stored.into_iter(), parameters));
    facts.append(&mut origin::of_stop_tokens(&text.tokenizer, &text.declared));
    Ok(Model::new(Parts {
        name,
        config,
        parameters,
        facts,
        stop_tokens: text.stop_tokens(),
        weights: Weights::none(&place.device)?,
        transformers: Some(model),
        tokenizer: text.tokenizer,
        chat_template: text.chat_template,
        quantized: false,
        device: place.device,
        cuda: None,
        dtype: candle_core::DType::F32,
        contents,
    }))
}

/// A Hugging Face directory's contents besides the network and its weights.
struct ReadText {
    text: Text,
    /// The tokenizer's fingerprint.
    fingerprint: Fingerprint,
}

/// Reads these contents. `declared` are the configuration's own stop tokens.
fn read_text(files: &Files, mut declared: Vec<Declared>) -> Result<ReadText> {
    const GENERATION: &str = "generation_config.json";
    if let Some(bytes) = files.read(GENERATION, MAX_JSON)? {
        let label = files.label(GENERATION);
        let generation = huggingface::object(&label, &bytes)?;
        let ids = huggingface::stop_tokens(&label, &generation)?;
        declared.extend(ids.into_iter().map(|id| (id, label.clone())));
    }
    let Some(text) = tokenizer_files::read(files)? else {
        return Err(refusals::no_tokenizer(files.place(), &files.names()?));
    };
    declared.extend(text.eos);
    Ok(ReadText {
        text: Text {
            label: files.label("tokenizer.json"),
            tokenizer: text.tokenizer,
            declared,
            chat_template: text.chat_template,
            facts: text.facts,
        },
        fingerprint: text.fingerprint,
    })
}

/// Loads a GGUF file.
fn from_gguf(path: &Path, dtype: DtypeChoice, place: Place) -> Result<Model> {
    let file = Gguf::open(path)?;
    let gguf::Described {
        config,
        layout,
        naming,
        rope,
        sources,
    } = gguf::describe(&file)?;
    let vocabulary = gguf::vocabulary(&file)?;
    let mut fingerprint = Fingerprint::default();
    let mut from_beside = Vec::new();
    let (tokenizer, beside) = match vocabulary.tokenizer {
        Ok(pipeline) => {
            file.identify_tokenizer(&mut fingerprint);
            let opening = vocabulary.opening.unwrap_or_default();
            (Tokenizer::new(pipeline, Some(opening))?, None)
        }
        Err(error) => {
            let text = beside_gguf(&file, vocabulary.opening, error)?;
            fingerprint = text.fingerprint;
            from_beside = text.facts;
            (text.tokenizer, text.chat_template)
        }
    };
    let spelled = |name, key: &str, id: Option<u32>| {
        let key = format!("tokenizer.ggml.{key}_token_id");
        Some(Named {
            name,
            text: tokenizer.token(id?)?,
            from: match file.get(&key) {
                Some(_) => format!("{}: {key}", file.label()),
                None => format!(
                    "default of its kind of vocabulary; {} has no {key}",
                    file.label()
                ),
            },
        })
    };
    let mut named: Vec<Named> = [
        spelled("bos_token", "bos", vocabulary.bos),
        spelled("eos_token", "eos", vocabulary.eos),
    ]
    .into_iter()
    .flatten()
    .collect();
    let chat_template = match vocabulary.chat_template {
        Some(source) => Some(ChatTemplate::new(
            format!("{}: tokenizer.chat_template", file.label()),
            source,
            origin::pairs(&named),
        )),
        None => beside,
    };
    named.extend(spelled("unk_token", "unknown", vocabulary.unknown));
    named.extend(spelled("pad_token", "padding", vocabulary.padding));
    let mut facts = origin::of_config(&config, &rope, &sources);
    facts.push(origin::of_head(
        layout.tied,
        match layout.tied {
            true => format!("{} has no tensor `output.weight`", file.label()),
            false => format!("{}: tensor `output.weight`", file.label()),
        },
    ));
    if from_beside.is_empty() {
        const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
        let opening_from = match file.get(ADD_BOS) {
            Some(_) => format!("{}: {ADD_BOS}", file.label()),
            None => format!(
                "default of its kind of vocabulary; {} has no {ADD_BOS}",
                file.label()
            ),
        };
        let no_template = format!("{} has no tokenizer.chat_template", file.label());
        facts.append(&mut origin::of_text(
            &tokenizer,
            file.label(),
            &named,
            &opening_from,
            chat_template.as_ref().ok_or(no_template.as_str()),
        ));
    }
    facts.extend(from_beside);
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
            label: file.label().to_owned(),
            tokenizer,
            declared: vocabulary.stop_tokens,
            chat_template,
            facts,
        },
        contents,
    )
}

/// Reads the tokenizer next to a GGUF file, whose own cannot be built because of `error`. It must
/// have the file's tokens, and texts begin as the file says.
fn beside_gguf(file: &Gguf, opening: Option<Vec<u32>>, error: Error) -> Result<TextSide> {
    let directory = match file.path().parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let files = Files::Directory(directory);
    let Some(mut text) = tokenizer_files::read(&files)? else {
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
    /// The tokenizer's file.
    label: String,
    tokenizer: Tokenizer,
    /// The tokens that end a response, with the files that declare them.
    declared: Vec<Declared>,
    chat_template: Option<ChatTemplate>,
    facts: Vec<Fact>,
}

impl Text {
    /// The tokens that end a response, ascending.
    fn stop_tokens(&self) -> Vec<u32> {
        let ids: BTreeSet<u32> = self.declared.iter().map(|&(id, _)| id).collect();
        ids.into_iter().collect()
    }
}

/// Checks that a model with this vocabulary can process a text; removes stop tokens outside the
/// vocabulary.
fn check_text(name: &str, vocab_size: usize, text: &mut Text) -> Result<()> {
    let unknown = |&&id: &&u32| id as usize >= vocab_size;
    if let Some(id) = text.tokenizer.opening().iter().find(unknown) {
        return Err(Error::new(
            ErrorKind::Model,
            format!(
                "{name}: texts begin with token {id} (`{}`), and the model has {} tokens",
                text.tokenizer.token(*id).unwrap_or_default().escape_debug(),
                vocab_size
            ),
        ));
    }
    if text.tokenizer.vocab_size() > vocab_size {
        let more = origin::warning(&format!(
            "{}: the tokenizer has {} tokens, the model {vocab_size}; prompts that need one of the others \
             are refused",
            text.label,
            text.tokenizer.vocab_size(),
        ));
        text.facts.push(more);
    }
    let known = |id: u32| (id as usize) < vocab_size;
    for (id, from) in text.declared.iter().filter(|(id, _)| !known(*id)) {
        text.facts.push(origin::warning(&format!(
            "{from}: stop token {id} is outside the model's vocabulary of {vocab_size}, and left out"
        )));
    }
    text.declared.retain(|&(id, _)| known(id));
    Ok(())
}

/// The steps that all sources share: checks, then weights.
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
    check_text(&name, config.vocab_size, &mut text)?;
    let plan = Plan::new(&config, layout, naming);
    let unused = plan.check(tensors)?;
    text.facts.extend(unused.map(|note| origin::warning(&note)));
    let weights = plan.build(tensors, &target)?;
    let parameters = plan.parameters();
    text.facts
        .push(origin::of_tensors(tensors.stored(), parameters));
    text.facts
        .append(&mut origin::of_stop_tokens(&text.tokenizer, &text.declared));
    Ok(Model::new(Parts {
        name,
        config,
        weights,
        stop_tokens: text.stop_tokens(),
        facts: text.facts,
        #[cfg(feature = "transformers")]
        transformers: None,
        tokenizer: text.tokenizer,
        chat_template: text.chat_template,
        parameters,
        quantized: target.quantized,
        device: target.device,
        cuda: target.cuda,
        dtype: target.dtype,
        contents,
    }))
}
