//! Text to token ids and back.
//!
//! Wraps a `tokenizers` pipeline and adds what generation needs: the opening tokens of a text,
//! encoding without recognizing special tokens, and incremental decoding. Independent of templates
//! and of the pipeline's origin.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{NormalizedString, Normalizer};

use super::byte_table::ByteTable;
use super::config::MAX_VOCAB;
use super::detokenizer::Detokenizer;
use crate::error::panic_message;
use crate::{Error, ErrorKind, Result};

/// A model's tokenizer. Cheap to clone.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pipeline: tokenizers::Tokenizer,
    /// The same pipeline without recognition of special tokens; created lazily.
    blind: OnceLock<tokenizers::Tokenizer>,
    /// The same for a text that continues another one.
    blind_inside: OnceLock<tokenizers::Tokenizer>,
    /// Special tokens that every text begins with.
    opening: Vec<u32>,
    /// Whether the pipeline's own post-processor adds them.
    opens_itself: bool,
    /// The texts of all special tokens, longest first.
    specials: Vec<(String, u32)>,
    special_ids: BTreeSet<u32>,
    /// The bytes of every token, if decoding concatenates bytes.
    pub(super) bytes: Option<ByteTable>,
    vocab_size: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.inner.vocab_size)
            .field("opening", &self.inner.opening)
            .finish_non_exhaustive()
    }
}

fn failed(error: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Model, format!("tokenizer: {error}")).with_source(error)
}

/// Runs code whose behavior depends on a tokenizer file, and converts panics to errors. The library
/// panics on some files, for example on a pattern that backtracks beyond the regex engine's limit.
fn catch_panic<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(failed),
        Err(panic) => Err(Error::new(
            ErrorKind::Model,
            format!("tokenizer: it cannot be run: {}", panic_message(&*panic)),
        )),
    }
}

/// Adapts a Metaspace pre-tokenizer that prefixes only the start of a text to text that continues
/// another one.
fn without_first_prefix(pre_tokenizer: &mut PreTokenizerWrapper) {
    match pre_tokenizer {
        PreTokenizerWrapper::Metaspace(metaspace)
            if metaspace.get_prepend_scheme() == PrependScheme::First =>
        {
            metaspace.set_prepend_scheme(PrependScheme::Never);
        }
        PreTokenizerWrapper::Sequence(steps) => {
            steps.as_mut().iter_mut().for_each(without_first_prefix);
        }
        _ => {}
    }
}

/// Applies only those steps of a normalizer that change the Unicode normalization form.
fn to_unicode_form(normalizer: &NormalizerWrapper, text: &mut NormalizedString) {
    match normalizer {
        NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_)
        | NormalizerWrapper::Precompiled(_) => {
            // An error here recurs when the text is encoded, and is reported there.
            let _ = normalizer.normalize(text);
        }
        NormalizerWrapper::Sequence(steps) => {
            let steps: &[NormalizerWrapper] = steps.as_ref();
            for step in steps {
                to_unicode_form(step, text);
            }
        }
        _ => {}
    }
}

/// Parses a `tokenizer.json`.
pub(super) fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    catch_panic(|| tokenizers::Tokenizer::from_bytes(json))
}

impl Tokenizer {
    /// Wraps a pipeline. `opening` overrides the pipeline's own opening tokens.
    pub(crate) fn new(
        mut pipeline: tokenizers::Tokenizer,
        opening: Option<Vec<u32>>,
    ) -> Result<Self> {
        // A file may request truncation or padding, which must not apply to prompts.
        pipeline.with_truncation(None).map_err(failed)?;
        pipeline.with_padding(None);
        let opens_itself = opening.is_none();
        let opening = match opening {
            Some(opening) => {
                pipeline.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
                opening
            }
            None => own_opening(&pipeline)?,
        };
        let mut specials: Vec<(String, u32)> = pipeline
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| (token.content, id))
            .collect();
        specials.sort_by(|a, b| (b.0.len(), &a.0).cmp(&(a.0.len(), &b.0)));
        let special_ids = specials.iter().map(|&(_, id)| id).collect();
        let vocab_size = pipeline
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |id| id as usize + 1);
        if vocab_size > MAX_VOCAB {
            return Err(Error::new(
                ErrorKind::Model,
                format!("tokenizer: a token has the id {}", vocab_size - 1),
            ));
        }
        let bytes = ByteTable::new(&pipeline, vocab_size);
        Ok(Tokenizer {
            inner: Arc::new(Inner {
                pipeline,
                blind: OnceLock::new(),
                blind_inside: OnceLock::new(),
                opening,
                opens_itself,
                specials,
                special_ids,
                bytes,
                vocab_size,
            }),
        })
    }

    /// The same tokenizer with other opening tokens.
    pub(super) fn with_opening(&self, opening: Vec<u32>) -> Result<Self> {
        Self::new(self.inner.pipeline.clone(), Some(opening))
    }

    /// Returns the token ids of a text. Special tokens in the text are recognized. With
    /// `add_special`, the tokens that the model expects around a text are added.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`] if the tokenizer cannot represent the text.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let inner = &*self.inner;
        let encoding = catch_panic(|| inner.pipeline.encode_fast(text, add_special))?;
        if add_special && !inner.opens_itself {
            let mut ids = inner.opening.clone();
            ids.extend_from_slice(encoding.get_ids());
            Ok(ids)
        } else {
            Ok(encoding.get_ids().to_vec())
        }
    }

    /// Returns the token ids of a text without recognizing special tokens. If the text continues
    /// another one (`inside`), it gets no space prefix that is only for the start of a text.
    pub(crate) fn encode_blind(&self, text: &str, inside: bool) -> Result<Vec<u32>> {
        let blind = |inside: bool| {
            let mut blind = self.inner.pipeline.clone();
            blind.set_encode_special_tokens(true);
            if inside && let Some(mut pre_tokenizer) = blind.get_pre_tokenizer().cloned() {
                without_first_prefix(&mut pre_tokenizer);
                blind.with_pre_tokenizer(Some(pre_tokenizer));
            }
            blind
        };
        let blind = match inside {
            true => self.inner.blind_inside.get_or_init(|| blind(true)),
            false => self.inner.blind.get_or_init(|| blind(false)),
        };
        let encoding = catch_panic(|| blind.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the text of token ids. Special tokens and unknown ids are skipped. Bytes that are
    /// not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match &self.inner.bytes {
            Some(table) => Ok(table.decode(ids)),
            None => self.decode_chain(ids),
        }
    }

    /// Decodes with the pipeline's own decoder.
    pub(super) fn decode_chain(&self, ids: &[u32]) -> Result<String> {
        catch_panic(|| self.inner.pipeline.decode(ids, true))
    }

    /// Returns an incremental decoder.
    pub fn stream(&self) -> Detokenizer {
        Detokenizer::new(self.clone())
    }

    /// One more than the largest token id.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// A token's id.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.pipeline.token_to_id(token)
    }

    /// A token as the vocabulary spells it. In byte-level vocabularies this differs from its text.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.pipeline.id_to_token(id)
    }

    /// Whether an id is a special token, which has no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.special_ids.contains(&id)
    }

    /// The special tokens that a prompt begins with, usually one or none.
    pub fn opening(&self) -> &[u32] {
        &self.inner.opening
    }

    /// The texts of all special tokens, longest first.
    pub(crate) fn specials(&self) -> &[(String, u32)] {
        &self.inner.specials
    }

    /// Whether every ordinary text can be tokenized, and decoding concatenates bytes.
    pub(crate) fn spells_bytes(&self) -> bool {
        let table = self.inner.bytes.as_ref();
        table.is_some_and(ByteTable::has_all_bytes)
    }

    /// A text in the Unicode normalization form of the tokenizer's own normalizer, without the
    /// normalizer's other changes, such as letter case.
    pub(crate) fn unicode_form(&self, text: &str) -> String {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.inner.pipeline.get_normalizer() {
            to_unicode_form(normalizer, &mut normalized);
        }
        normalized.get().to_owned()
    }

    pub(super) fn byte_table(&self) -> Option<&ByteTable> {
        self.inner.bytes.as_ref()
    }
}

/// The opening tokens that a pipeline's post-processor adds.
fn own_opening(pipeline: &tokenizers::Tokenizer) -> Result<Vec<u32>> {
    const TEXT: &str = "a";
    let plain = catch_panic(|| pipeline.encode_fast(TEXT, false))?;
    let with_specials = catch_panic(|| pipeline.encode_fast(TEXT, true))?;
    let (plain, with_specials) = (plain.get_ids(), with_specials.get_ids());
    if plain.is_empty() {
        return Ok(Vec::new());
    }
    Ok(with_specials
        .windows(plain.len())
        .position(|window| window == plain)
        .map(|at| with_specials[..at].to_vec())
        .unwrap_or_default())
}
