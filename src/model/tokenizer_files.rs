//! The tokenizer of a directory, with the special tokens and the chat template that its files
//! declare.
//!
//! Follows the precedence of files in transformers.

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::chat::ChatTemplate;
use super::files::{Files, MAX_JSON, MAX_TOKENIZER};
use super::fingerprint::Fingerprint;
use super::huggingface;
use super::origin::{self, Fact, Named};
use super::tokenizer::{self, Tokenizer};
use crate::{Error, ErrorKind, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const TEMPLATE: &str = "chat_template.jinja";
/// A directory of additional templates.
const FURTHER: &str = "additional_chat_templates";
/// The name of the template that is used if there are several.
const DEFAULT: &str = "default";

/// The tokenizer and related settings.
pub(super) struct TextSide {
    pub(super) tokenizer: Tokenizer,
    pub(super) chat_template: Option<ChatTemplate>,
    /// The token that ends a text, with the file that declares it.
    pub(super) eos: Option<origin::Declared>,
    /// Facts that were read, and warnings.
    pub(super) facts: Vec<Fact>,
    /// The fingerprint of the tokenizer alone. The opening tokens and the chat template are
    /// recorded where they are used.
    pub(super) fingerprint: Fingerprint,
}

/// Reads a directory's tokenizer; `None` if there is no `tokenizer.json`.
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
    let added = declared.add_to(&files.label(TOKENIZER), &mut pipeline)?;
    for line in &added.changes {
        fingerprint.add("declared token", line.as_bytes());
    }
    let (opening, opening_from) = opening(files, &config, &pipeline, &declared)?;
    let tokenizer =
        Tokenizer::new(pipeline, opening).map_err(|error| error.context(files.label(TOKENIZER)))?;
    let chat_template = template(files, &config, &declared)?;
    let tokenizer_from = match added.changes.is_empty() {
        true => files.label(TOKENIZER),
        false => format!("{}, and {}", files.label(TOKENIZER), added.from.join(", ")),
    };
    let no_template = format!(
        "no {}, and {} has no chat_template",
        files.label(TEMPLATE),
        files.label(CONFIG)
    );
    let mut facts = origin::of_text(
        &tokenizer,
        &tokenizer_from,
        &declared.named,
        &opening_from,
        chat_template.as_ref().ok_or(no_template.as_str()),
    );
    facts.extend(added.warnings);
    let eos = declared
        .named("eos_token")
        .and_then(|eos| Some((tokenizer.id(&eos.text)?, eos.from.clone())));
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

/// Whether the tokenizer class adds the BOS token itself.
fn is_llama(config: &Map<String, Value>) -> bool {
    let class = config.get("tokenizer_class").and_then(Value::as_str);
    matches!(class, Some("LlamaTokenizer" | "LlamaTokenizerFast"))
}

/// A token that a file next to `tokenizer.json` declares.
struct Token {
    /// The file and the field.
    from: String,
    /// Its id, if the file specifies one.
    id: Option<u32>,
    token: AddedToken,
}

/// The tokens that the files next to `tokenizer.json` declare.
struct Declared {
    /// The special tokens that have a name (`bos_token`, …).
    named: Vec<Named>,
    /// All declared tokens; those with an id come first, in order of their ids.
    tokens: Vec<Token>,
}

/// The effect of declared tokens on a pipeline.
#[derive(Default)]
struct Added {
    /// The changes, one line each.
    changes: Vec<String>,
    /// The files and fields that requested them.
    from: Vec<String>,
    warnings: Vec<Fact>,
}

/// The names of special tokens.
const NAMES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// The names of lists of additional special tokens.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

impl Declared {
    fn read(files: &Files, config: &Map<String, Value>) -> Result<Self> {
        const DECODER: &str = "added_tokens_decoder";
        let mut config = config.clone();
        let mut from = files.label(CONFIG);
        // The file that takes precedence over the configuration.
        let mut first = Map::new();
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
            // Older files, which lack that field; they take precedence over the configuration.
            if let Some(map) = object(files, SPECIAL_TOKENS)? {
                from = format!("{} or {from}", files.label(SPECIAL_TOKENS));
                config.extend(map.clone());
                first = map;
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
            let file = match first.contains_key(name) {
                true => SPECIAL_TOKENS,
                false => CONFIG,
            };
            let file = files.label(file);
            let found = match config.get(name) {
                // A null means that there is none.
                Some(value) => text_of(value).map(|text| (text, format!("{file}: {name}"))),
                None => default.filter(|_| is_llama(&config)).map(|text| {
                    let from = format!("default of LlamaTokenizer; {file} has no {name}");
                    (text, from)
                }),
            };
            named.extend(found.map(|(text, from)| Named {
                name,
                text: text.to_owned(),
                from,
            }));
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

    fn named(&self, name: &str) -> Option<&Named> {
        self.named.iter().find(|known| known.name == name)
    }

    /// Adds the tokens that the pipeline lacks and sets the flags of those that it has, like
    /// transformers. `file` is the pipeline's.
    fn add_to(&self, file: &str, pipeline: &mut tokenizers::Tokenizer) -> Result<Added> {
        let mut added = Added::default();
        let mut known = pipeline.get_added_tokens_decoder();
        for Token { from, id, token } in &self.tokens {
            let content = token.content.escape_debug();
            let present = pipeline.token_to_id(&token.content);
            match (present, id) {
                // A token without an id has no flags, so that the pipeline's are kept.
                (Some(present), None) if known.contains_key(&present) => continue,
                (Some(present), Some(id)) if present != *id => {
                    added.warnings.push(origin::warning(&format!(
                        "{from} has `{content}` as token {id}; it is token {present} in {file}, \
                         which counts"
                    )));
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
                        "{from} has `{content}` as token {id}, which {file} lacks, and the next \
                         free id is {}",
                        now.unwrap_or_default()
                    ),
                ));
            }
            if let Some(now) = now {
                known.insert(now, token.clone());
                added.changes.push(format!("{now} {token:?}"));
                if !added.from.contains(from) {
                    added.from.push(from.clone());
                }
            }
        }
        Ok(added)
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

/// The chat template: from its own file, or from `tokenizer_config.json`.
fn template(
    files: &Files,
    config: &Map<String, Value>,
    declared: &Declared,
) -> Result<Option<ChatTemplate>> {
    let new = |label: String, source: &str| {
        ChatTemplate::new(label, source.to_owned(), origin::pairs(&declared.named))
    };
    if let Some(source) = files.read(TEMPLATE, MAX_JSON)? {
        let source = String::from_utf8_lossy(&source);
        return Ok(Some(new(files.label(TEMPLATE), &source)));
    }
    // Additional template files take precedence over the configuration, even if none is the
    // default.
    let further = files.names_in(FURTHER)?;
    let further: Vec<&str> = further
        .iter()
        .filter_map(|name| name.strip_suffix(".jinja"))
        .collect();
    if !further.is_empty() {
        const NAME: &str = "additional_chat_templates/default.jinja";
        return Ok(Some(match files.read(NAME, MAX_JSON)? {
            Some(source) => {
                let variant = format!(", `default` of {}", further.len());
                let source = String::from_utf8_lossy(&source);
                new(files.label(NAME), &source).named(variant)
            }
            None => ChatTemplate::refused(files.label(FURTHER), no_default(&further)),
        }));
    }
    const FIELD: &str = "chat_template";
    let label = format!("{}: {FIELD}", files.label(CONFIG));
    let refused = |reason: String| Ok(Some(ChatTemplate::refused(label.clone(), reason)));
    // Several named templates, in one object or as a list of objects.
    let mut several: Vec<(&str, &Value)> = Vec::new();
    match config.get(FIELD) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(source)) => return Ok(Some(new(label, source))),
        Some(Value::Object(map)) => {
            several.extend(map.iter().map(|(name, source)| (name.as_str(), source)));
        }
        Some(Value::Array(list)) => {
            for entry in list {
                let name = entry.get("name").and_then(Value::as_str);
                match (name, entry.get("template")) {
                    (Some(name), Some(source)) => several.push((name, source)),
                    _ => {
                        return refused(format!(
                            "{} stands in the list, where each is an object with `name` and \
                             `template`",
                            short(entry)
                        ));
                    }
                }
            }
        }
        Some(other) => {
            return refused(format!(
                "is {}; expected a template, or several by name",
                short(other)
            ));
        }
    }
    // If a name occurs twice, the last one counts.
    match several.iter().rev().find(|(name, _)| *name == DEFAULT) {
        Some((_, Value::String(source))) => {
            let variant = format!(", `{DEFAULT}` of {}", several.len());
            Ok(Some(new(label, source).named(variant)))
        }
        Some((_, other)) => refused(format!("`{DEFAULT}` is {}, not a template", short(other))),
        None => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            refused(no_default(&names))
        }
    }
}

/// The error for templates none of which is the default.
fn no_default(names: &[&str]) -> String {
    match names {
        [] => "is empty".to_owned(),
        names => format!(
            "has no `{DEFAULT}`, only {}",
            names
                .iter()
                .map(|name| format!("`{}`", name.escape_debug()))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    }
}

/// The beginning of a value, for messages.
fn short(value: &Value) -> String {
    const SHOWN: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The opening tokens, if `tokenizer_config.json` overrides the pipeline's post-processor with
/// `add_bos_token`, and the file that says so. The Llama classes take a missing `add_bos_token` as
/// true.
fn opening(
    files: &Files,
    config: &Map<String, Value>,
    pipeline: &tokenizers::Tokenizer,
    declared: &Declared,
) -> Result<(Option<Vec<u32>>, String)> {
    const FIELD: &str = "add_bos_token";
    let label = files.label(CONFIG);
    let (add, from) = match config.get(FIELD).and_then(Value::as_bool) {
        Some(add) => (add, format!("{label}: {FIELD}")),
        None if is_llama(config) => (
            true,
            format!("default of LlamaTokenizer; {label} has no {FIELD}"),
        ),
        None => return Ok((None, format!("{}: post_processor", files.label(TOKENIZER)))),
    };
    let Some(bos) = declared.named("bos_token").filter(|_| add) else {
        return Ok((Some(Vec::new()), from));
    };
    match pipeline.token_to_id(&bos.text) {
        Some(id) => Ok((Some(vec![id]), from)),
        None => Err(bad(
            &label,
            "bos_token",
            format!(
                "is `{}`, which is not in the vocabulary",
                bos.text.escape_debug()
            ),
        )),
    }
}
