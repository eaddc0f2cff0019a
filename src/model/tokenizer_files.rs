//! The tokenizer of a directory, with the special tokens and the chat template that its files declare.
//!
//! Follows transformers in which file goes before which.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::chat::ChatTemplate;
use super::files::{Files, MAX_JSON, MAX_TOKENIZER};
use super::fingerprint::Fingerprint;
use super::huggingface;
use super::origin::{self, Fact};
use super::tokenizer::{self, Tokenizer};
use crate::{Error, ErrorKind, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const TEMPLATE: &str = "chat_template.jinja";

/// The tokenizer and what belongs to it.
pub(super) struct TextSide {
    pub(super) tokenizer: Tokenizer,
    pub(super) chat_template: Option<ChatTemplate>,
    /// The token that ends a text, with the file that says so.
    pub(super) eos: Option<origin::Declared>,
    /// What was read.
    pub(super) facts: Vec<Fact>,
    /// Of the tokenizer alone: the other files' parts are told where they are used.
    pub(super) fingerprint: Fingerprint,
}

/// Reads a directory's tokenizer; `None` where there is no `tokenizer.json`.
pub(super) fn read(files: &Files) -> Result<Option<TextSide>> {
    let Some(bytes) = files.read(TOKENIZER, MAX_TOKENIZER)? else {
        return Ok(None);
    };
    let mut fingerprint = Fingerprint::default();
    fingerprint.json(TOKENIZER, &bytes);
    let mut pipeline =
        tokenizer::parse(&bytes).map_err(|error| error.context(files.label(TOKENIZER)))?;
    let config = object(files, CONFIG)?.unwrap_or_default();
    let declared = Declared::read(files, &config)?;
    for line in declared.add_to(&mut pipeline)? {
        fingerprint.add("declared token", line.as_bytes());
    }
    let opening = opening(&files.label(CONFIG), &config, &pipeline, &declared)?;
    let tokenizer =
        Tokenizer::new(pipeline, opening).map_err(|error| error.context(files.label(TOKENIZER)))?;
    let (from, source) = match files.read(TEMPLATE, MAX_JSON)? {
        Some(source) => (
            TEMPLATE,
            Some(String::from_utf8_lossy(&source).into_owned()),
        ),
        None => (CONFIG, template_of(&config)),
    };
    let chat_template =
        source.map(|source| ChatTemplate::new(files.label(from), source, declared.named.clone()));
    let facts = origin::of_text(
        &tokenizer,
        &files.label(TOKENIZER),
        &declared.named,
        &files.label(CONFIG),
        chat_template.as_ref(),
    );
    let eos = declared
        .named("eos_token")
        .and_then(|eos| Some((tokenizer.id(eos)?, files.label(CONFIG))));
    Ok(Some(TextSide {
        facts,
        eos,
        tokenizer,
        chat_template,
        fingerprint,
    }))
}

fn object(files: &Files, name: &str) -> Result<Option<Map<String, Value>>> {
    files
        .read(name, MAX_JSON)?
        .map(|bytes| huggingface::object(&files.label(name), &bytes))
        .transpose()
}

/// The classes of tokenizers that put the first token before a text themselves.
fn is_llama(config: &Map<String, Value>) -> bool {
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    matches!(class, Some("LlamaTokenizer" | "LlamaTokenizerFast"))
}

/// A token that a file beside `tokenizer.json` declares.
struct Token {
    /// The file and the field.
    from: String,
    /// Its id, where that is told.
    id: Option<u32>,
    token: AddedToken,
}

/// The tokens that the files beside `tokenizer.json` declare.
struct Declared {
    /// The special tokens that have a name (`bos_token`, …).
    named: Vec<(&'static str, String)>,
    /// All of them; those whose ids are told come first, in the order of their ids.
    tokens: Vec<Token>,
}

/// The names that special tokens go by.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Lists of further special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

impl Declared {
    fn read(files: &Files, config: &Map<String, Value>) -> Result<Self> {
        const DECODER: &str = "added_tokens_decoder";
        let mut config = config.clone();
        let mut from = files.label(CONFIG);
        let mut tokens = Vec::new();
        let decoder = config.remove(DECODER).filter(|value| !value.is_null());
        if let Some(decoder) = decoder {
            let Value::Object(decoder) = decoder else {
                return Err(bad(&from, DECODER, "is not an object"));
            };
            for (id, value) in &decoder {
                let id: u32 = id
                    .parse()
                    .map_err(|_| bad(&from, DECODER, format!("has `{}`", id.escape_debug())))?;
                let token = added(value)
                    .ok_or_else(|| bad(&from, DECODER, format!("has {value} as token {id}")))?;
                tokens.push(Token {
                    from: format!("{from}: `{DECODER}`"),
                    id: Some(id),
                    token,
                });
            }
        } else {
            // Files of before that field was written; these go before the configuration.
            if let Some(map) = object(files, SPECIAL_TOKENS)? {
                from = format!("{} or {from}", files.label(SPECIAL_TOKENS));
                config.extend(map);
            }
            if let Some(map) = object(files, ADDED_TOKENS)? {
                let from = files.label(ADDED_TOKENS);
                let special = special_texts(&config);
                for (content, id) in map {
                    let id = id
                        .as_u64()
                        .and_then(|id| u32::try_from(id).ok())
                        .ok_or_else(|| bad(&from, &content, format!("is {id}, not an id")))?;
                    let special = special.contains(&content);
                    tokens.push(Token {
                        from: from.clone(),
                        id: Some(id),
                        token: AddedToken::from(content, special).normalized(!special),
                    });
                }
            }
        }
        tokens.sort_by_key(|token| token.id);
        let mut named = Vec::new();
        for name in NAMES {
            let default = match name {
                "bos_token" => Some("<s>"),
                "eos_token" => Some("</s>"),
                _ => None,
            };
            let text = match config.get(name) {
                // A null says that there is none.
                Some(value) => text_of(value),
                None => default.filter(|_| is_llama(&config)),
            };
            named.extend(text.map(|text| (name, text.to_owned())));
        }
        for text in special_texts(&config) {
            if tokens.iter().all(|known| known.token.content != text) {
                tokens.push(Token {
                    from: from.clone(),
                    id: None,
                    token: AddedToken::from(text, true).normalized(false),
                });
            }
        }
        Ok(Declared { named, tokens })
    }

    fn named(&self, name: &str) -> Option<&str> {
        self.named
            .iter()
            .find_map(|(known, text)| (*known == name).then_some(text.as_str()))
    }

    /// Adds the tokens that the pipeline does not have and sets the flags of those that it has, as
    /// transformers does. What was changed is returned, a line each.
    fn add_to(&self, pipeline: &mut tokenizers::Tokenizer) -> Result<Vec<String>> {
        let mut changes = Vec::new();
        let mut known = pipeline.get_added_tokens_decoder();
        for Token { from, id, token } in &self.tokens {
            let content = token.content.escape_debug();
            let present = pipeline.token_to_id(&token.content);
            match (present, id) {
                // Of a token whose id is not told, no flags are told either.
                (Some(present), None) if known.contains_key(&present) => continue,
                (Some(present), Some(id)) if present != *id => {
                    tracing::warn!(
                        "{from} has `{content}` as token {id}; it is token {present} in {TOKENIZER}, \
                         which counts"
                    );
                }
                _ => {}
            }
            if let Some(present) = present
                && known.get(&present) == Some(token)
            {
                continue;
            }
            pipeline
                .add_tokens([token.clone()])
                .map_err(|error| bad(from, &token.content, error))?;
            let now = pipeline.token_to_id(&token.content);
            if let (None, Some(id)) = (present, id)
                && now != Some(*id)
            {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!(
                        "{from} has `{content}` as token {id}, which {TOKENIZER} lacks, and the next \
                         free id is {}",
                        now.unwrap_or_default()
                    ),
                ));
            }
            if let Some(now) = now {
                known.insert(now, token.clone());
                changes.push(format!("{now} {token:?}"));
            }
        }
        Ok(changes)
    }
}

fn bad(file: &str, field: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Model, format!("{file}: `{field}` {reason}"))
}

/// A token with its flags.
fn added(value: &Value) -> Option<AddedToken> {
    let content = text_of(value)?;
    let flag = |name| value.get(name).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    Some(
        AddedToken::from(content, special)
            .single_word(flag("single_word").unwrap_or(false))
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special)),
    )
}

/// A token's text: a string, or an object with `content`.
fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(token) => token.get("content")?.as_str(),
        _ => None,
    }
}

/// The texts of all special tokens that a configuration names or lists.
fn special_texts(config: &Map<String, Value>) -> Vec<String> {
    let named = NAMES.iter().filter_map(|&name| config.get(name));
    let listed = LISTS.iter().filter_map(|&name| config.get(name));
    let listed = listed.flat_map(|list| -> Vec<&Value> {
        match list {
            Value::Array(list) => list.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        }
    });
    let mut texts: Vec<String> = Vec::new();
    for text in named.chain(listed).filter_map(text_of) {
        if !text.is_empty() && !texts.iter().any(|known| known == text) {
            texts.push(text.to_owned());
        }
    }
    texts
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

/// The tokens before a text, where `tokenizer_config.json` overrides what the pipeline's
/// post-processor puts there: by `add_bos_token`, which the classes for Llama take as true where it is
/// missing.
fn opening(
    label: &str,
    config: &Map<String, Value>,
    pipeline: &tokenizers::Tokenizer,
    declared: &Declared,
) -> Result<Option<Vec<u32>>> {
    let add = match config.get("add_bos_token").and_then(Value::as_bool) {
        Some(add) => add,
        None if is_llama(config) => true,
        None => return Ok(None),
    };
    let Some(bos) = declared.named("bos_token").filter(|_| add) else {
        return Ok(Some(Vec::new()));
    };
    match pipeline.token_to_id(bos) {
        Some(id) => Ok(Some(vec![id])),
        None => Err(bad(
            label,
            "bos_token",
            format!(
                "is `{}`, which is not in the vocabulary",
                bos.escape_debug()
            ),
        )),
    }
}
