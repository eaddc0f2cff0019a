//! The tokens in a GGUF file's metadata: the tokenizer, special tokens and the chat template.
//!
//! Depends on the keys of llama.cpp's converters. Each kind of vocabulary has its own module for
//! the pipeline.

use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use super::container::Gguf;
use super::{byte_level, sentencepiece};
use crate::model::origin::Declared;
use crate::model::tokenizer::Tokenizer;
use crate::{Error, ErrorKind, Result};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";

/// A file's vocabulary.
#[derive(Debug)]
pub(in crate::model) struct Vocabulary {
    /// The tokenizer without its opening token, or the reason why it cannot be built from the file.
    pub(in crate::model) tokenizer: Result<tokenizers::Tokenizer>,
    /// The tokens that a text begins with; `None` if neither the file nor its kind of vocabulary
    /// specifies them.
    pub(in crate::model) opening: Option<Vec<u32>>,
    pub(in crate::model) bos: Option<u32>,
    pub(in crate::model) eos: Option<u32>,
    /// The token for text outside the vocabulary.
    pub(in crate::model) unknown: Option<u32>,
    pub(in crate::model) padding: Option<u32>,
    /// The tokens that end a response, each with the key that says so.
    pub(in crate::model) stop_tokens: Vec<Declared>,
    pub(in crate::model) chat_template: Option<String>,
}

/// Control tokens that end a turn or a text even if a file's own list does not contain them: many
/// files name only one of several (llama.cpp treats them likewise).
const ENDS: [&str; 8] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|EOT|>",
    "<｜end▁of▁sentence｜>",
];

/// The kind of a token, by the codes of `tokenizer.ggml.token_type` (SentencePiece's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    /// The token for text outside the vocabulary.
    Unknown,
    /// A token without text.
    Control,
    /// Text that is never split.
    UserDefined,
    /// Padding of the embedding.
    Unused,
    /// A byte, for characters outside the vocabulary.
    Byte,
}

impl Kind {
    fn of(number: i64) -> Option<Kind> {
        Some(match number {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            _ => return None,
        })
    }
}

/// A file's tokens, in order of their ids.
pub(super) struct Tokens<'a> {
    label: &'a str,
    texts: &'a [String],
    /// The kind of each token; empty if all are normal.
    kinds: Vec<Kind>,
}

impl<'a> Tokens<'a> {
    fn new(file: &'a Gguf) -> Result<Self> {
        let texts = file.texts(TOKENS)?.unwrap_or_default();
        let fail =
            |reason: String| Error::new(ErrorKind::Model, format!("{}: {reason}", file.label()));
        let mut numbers = file.numbers(TYPES)?.unwrap_or_default();
        if texts.is_empty() {
            // Types without tokens are ignored; missing tokens are an error where they are needed.
            numbers = &[];
        } else if !numbers.is_empty() && numbers.len() != texts.len() {
            return Err(fail(format!(
                "`{TYPES}` has {} entries for {} tokens",
                numbers.len(),
                texts.len()
            )));
        }
        let kinds = numbers
            .iter()
            .enumerate()
            .map(|(id, &number)| {
                Kind::of(number).ok_or_else(|| fail(format!("`{TYPES}` is {number} of token {id}")))
            })
            .collect::<Result<_>>()?;
        Ok(Tokens {
            label: file.label(),
            texts,
            kinds,
        })
    }

    pub(super) fn error(&self, kind: ErrorKind, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, format!("{}: {reason}", self.label))
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, id: u32) -> Option<&'a str> {
        self.texts.get(id as usize).map(String::as_str)
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Normal)
    }

    /// Whether the file specifies the kinds of its tokens.
    pub(super) fn has_kinds(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// All used tokens, with their ids.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, &'a str, Kind)> + '_ {
        (0..)
            .zip(self.texts)
            .map(|(id, text)| (id, text.as_str(), self.kind(id)))
            .filter(|&(_, text, kind)| kind != Kind::Unused && !text.is_empty())
    }

    pub(super) fn vocab(&self) -> Vocab {
        self.used()
            .map(|(id, text, _)| (text.to_owned(), id))
            .collect()
    }

    /// The tokens that are matched in a text before pre-tokenization.
    pub(super) fn added(&self) -> Vec<AddedToken> {
        self.used()
            .filter_map(|(_, text, kind)| {
                let special = match kind {
                    Kind::Unknown | Kind::Control => true,
                    Kind::UserDefined => false,
                    Kind::Normal | Kind::Unused | Kind::Byte => return None,
                };
                Some(AddedToken::from(text, special).normalized(false))
            })
            .collect()
    }
}

/// Reads a file's vocabulary, chat template and special tokens.
pub(in crate::model) fn vocabulary(file: &Gguf) -> Result<Vocabulary> {
    let tokens = Tokens::new(file)?;
    let count = tokens.texts.len();
    let id = |key: &str| -> Result<Option<u32>> {
        match file.size(key)? {
            // Some files write -1 or all ones for "none"; a negative number is an error above.
            Some(id) if id == u32::MAX as usize => Ok(None),
            Some(id) if count > 0 && id >= count => Err(tokens.error(
                ErrorKind::Model,
                format!("`{key}` is {id} with a vocabulary of {count}"),
            )),
            Some(id) => Ok(u32::try_from(id).ok()),
            None => Ok(None),
        }
    };
    let model = file.text("tokenizer.ggml.model")?;
    // Old files of SentencePiece vocabularies omit the ids of the usual special tokens.
    let usual = |key: &str, at: u32| -> Result<Option<u32>> {
        match model == Some(sentencepiece::MODEL) && file.get(key).is_none() {
            true => Ok(Some(at).filter(|&at| tokens.kind(at) == Kind::Control)),
            false => id(key),
        }
    };
    let bos = usual(BOS, 1)?;
    let eos = usual(EOS, 2)?;
    let ends = tokens
        .used()
        .filter(|&(_, text, kind)| kind == Kind::Control && ENDS.contains(&text))
        .map(|(id, ..)| (id, TOKENS));
    const EOT: &str = "tokenizer.ggml.eot_token_id";
    const EOM: &str = "tokenizer.ggml.eom_token_id";
    let stop_tokens = [(eos, EOS), (id(EOT)?, EOT), (id(EOM)?, EOM)]
        .into_iter()
        .filter_map(|(id, key)| Some((id?, key)))
        .chain(ends)
        .map(|(id, key)| (id, format!("{}: `{key}`", file.label())))
        .collect();
    let pre = file.text("tokenizer.ggml.pre")?;
    let known = pre.and_then(byte_level::pipeline);
    let usually = match model {
        Some(sentencepiece::MODEL) => Some(true),
        _ => known.as_ref().map(|known| known.add_bos),
    };
    let unknown = id("tokenizer.ggml.unknown_token_id")?;
    Ok(Vocabulary {
        tokenizer: match model {
            Some(sentencepiece::MODEL) => sentencepiece::tokenizer(file, &tokens, unknown),
            _ => byte_level_tokenizer(file, &tokens, model, pre, known.as_ref()),
        },
        opening: opening(&tokens, file.flag(ADD_BOS)?, usually, bos)?,
        bos,
        eos,
        unknown,
        padding: id("tokenizer.ggml.padding_token_id")?,
        stop_tokens,
        chat_template: file.text("tokenizer.chat_template")?.map(str::to_owned),
    })
}

/// The tokens that a text begins with, according to the file or else to its kind of vocabulary.
/// Ignores `add_eos_token`, which is for complete texts and never applies to prompts.
fn opening(
    tokens: &Tokens<'_>,
    says: Option<bool>,
    usually: Option<bool>,
    bos: Option<u32>,
) -> Result<Option<Vec<u32>>> {
    match (says.or(usually), bos) {
        (None, _) => Ok(None),
        (Some(true), Some(bos)) => Ok(Some(vec![bos])),
        (Some(true), None) if says.is_some() => Err(tokens.error(
            ErrorKind::Model,
            format!("`{ADD_BOS}` is true, but there is no `{BOS}`"),
        )),
        _ => Ok(Some(Vec::new())),
    }
}

fn byte_level_tokenizer(
    file: &Gguf,
    tokens: &Tokens<'_>,
    model: Option<&str>,
    pre: Option<&str>,
    known: Option<&byte_level::Pipeline>,
) -> Result<tokenizers::Tokenizer> {
    use byte_level::KNOWN;
    let Some(model) = model else {
        return Err(tokens.error(ErrorKind::Model, "no `tokenizer.ggml.model`"));
    };
    if model != "gpt2" {
        return Err(tokens.error(
            ErrorKind::Unsupported,
            format!(
                "`tokenizer.ggml.model` is `{}`; only byte-level BPE (gpt2) and SentencePiece's \
                 BPE (llama) are read from GGUF files, for others put the model's tokenizer.json \
                 beside the file",
                model.escape_debug()
            ),
        ));
    }
    let Some(pipeline) = known else {
        return Err(tokens.error(
            ErrorKind::Unsupported,
            match pre {
                Some(pre) => format!(
                    "`tokenizer.ggml.pre` is `{}`; known are {KNOWN}, for others put the model's \
                     tokenizer.json beside the file",
                    pre.escape_debug()
                ),
                None => format!(
                    "no `tokenizer.ggml.pre`, so how text is cut is not known; put the model's \
                     tokenizer.json beside the file (known are {KNOWN})"
                ),
            },
        ));
    };
    if tokens.texts.is_empty() {
        return Err(tokens.error(ErrorKind::Model, format!("no `{TOKENS}`")));
    }
    byte_level::tokenizer(file, tokens, pipeline)
}

/// Checks that a tokenizer next to the file has the file's tokens, for which the weights were
/// trained. Padding may be missing, and converters write a space for the `▁` of user-defined
/// tokens.
pub(in crate::model) fn check_tokens(file: &Gguf, label: &str, found: &Tokenizer) -> Result<()> {
    let tokens = Tokens::new(file)?;
    let differs = |reason: String| {
        let file = file.label();
        Error::new(
            ErrorKind::Model,
            format!("{label}: not the tokenizer of {file}: {reason}"),
        )
    };
    if tokens.texts.is_empty() {
        return Ok(());
    }
    for (id, text) in (0..).zip(tokens.texts) {
        let kind = tokens.kind(id);
        let same = match found.token(id) {
            None => kind == Kind::Unused,
            Some(token) => {
                token == *text
                    || kind == Kind::UserDefined && token.replace('▁', " ") == *text
                    || kind == Kind::Unused
            }
        };
        if !same {
            return Err(differs(match found.token(id) {
                Some(token) => format!(
                    "token {id} is `{}`, there it is `{}`",
                    token.escape_debug(),
                    text.escape_debug()
                ),
                None => format!("no token {id}, there it is `{}`", text.escape_debug()),
            }));
        }
    }
    if found.vocab_size() > tokens.texts.len() {
        return Err(differs(format!(
            "{} tokens, there are {} there",
            found.vocab_size(),
            tokens.texts.len()
        )));
    }
    Ok(())
}
