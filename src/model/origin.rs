//! Describes what was read from which file, for users who check a model before a long run.
//!
//! Only describes; decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::chat::ChatTemplate;
use super::config::{Architecture, DecoderConfig};
use super::tokenizer::Tokenizer;
use crate::error::printable;

/// A fact that was read from a model's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The name of the fact, such as `context length`.
    pub name: String,
    /// The value that was read.
    pub value: String,
    /// The file, and the field if there is one.
    pub from: String,
}

impl Fact {
    pub(super) fn new(
        name: &str,
        value: impl std::fmt::Display,
        from: impl std::fmt::Display,
    ) -> Self {
        Fact {
            name: name.to_owned(),
            value: value.to_string(),
            from: from.to_string(),
        }
    }
}

/// A token and the place that declares it.
pub(super) type Declared = (u32, String);

/// The origin of each part of a decoder's shape: the file and its fields, or that it is a default.
#[derive(Debug)]
pub(super) struct ConfigSources {
    pub(super) architecture: String,
    pub(super) layers: String,
    pub(super) heads: String,
    pub(super) vocabulary: String,
    pub(super) rope: String,
    pub(super) context: String,
    pub(super) epsilon: String,
    pub(super) window: String,
}

/// A special token with the name that files give it.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// `bos_token`, …
    pub(super) name: &'static str,
    /// Its text.
    pub(super) text: String,
    /// The file and the field, or whose default it is.
    pub(super) from: String,
}

/// The names and texts, for templates.
pub(super) fn pairs(named: &[Named]) -> Vec<(&'static str, String)> {
    let pair = |named: &Named| (named.name, named.text.clone());
    named.iter().map(pair).collect()
}

/// Logs and reports something that was read differently than might be expected.
pub(super) fn warning(text: &str) -> Fact {
    tracing::warn!("{}", printable(text));
    Fact::new("warning", text, "")
}

/// Describes the decoder's shape. `rope` describes RoPE.
pub(super) fn of_config(config: &DecoderConfig, rope: &str, from: &ConfigSources) -> Vec<Fact> {
    let c = config;
    let fact = |name: &str, value: String, from: &str| Fact::new(name, value, from);
    let mut facts = vec![
        fact(
            "architecture",
            c.architecture.name().to_owned(),
            &from.architecture,
        ),
        fact(
            "layers",
            format!(
                "{}, hidden size {}, feed-forward size {}",
                c.layers, c.hidden_size, c.intermediate_size
            ),
            &from.layers,
        ),
        fact(
            "heads",
            format!(
                "{} of Q, {} of K and V, {} wide",
                c.heads, c.kv_heads, c.head_dim
            ),
            &from.heads,
        ),
        fact(
            "vocabulary",
            format!("{} tokens", c.vocab_size),
            &from.vocabulary,
        ),
        fact("rotary embedding", rope.to_owned(), &from.rope),
        fact(
            "context length",
            c.context_length.to_string(),
            &from.context,
        ),
        fact(
            "epsilon of the norms",
            format!("{:e}", c.rms_norm_eps),
            &from.epsilon,
        ),
    ];
    if !matches!(c.architecture, Architecture::Transformers(_)) {
        let windows: BTreeSet<usize> = c.sliding_windows.iter().flatten().copied().collect();
        let with = c.sliding_windows.iter().flatten().count();
        facts.push(fact(
            "sliding window",
            match windows.len() {
                0 => "none".to_owned(),
                _ => format!("{} in {with} of {} layers", listed(&windows), c.layers),
            },
            &from.window,
        ));
    }
    facts
}

/// Describes whether the output head is tied to the embedding.
pub(super) fn of_head(tied: bool, from: impl std::fmt::Display) -> Fact {
    let value = match tied {
        true => "the embedding (tied)",
        false => "a matrix of its own",
    };
    Fact::new("output head", value, from)
}

/// Describes the stored types of tensors; each item is a type, a number of bytes and a file.
pub(super) fn of_tensors<'a>(
    tensors: impl Iterator<Item = (String, usize, String)> + 'a,
    parameters: u64,
) -> Fact {
    let mut types: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut files = BTreeSet::new();
    for (kind, bytes, file) in tensors {
        let (count, sum) = types.entry(kind).or_default();
        *count += 1;
        *sum += bytes;
        files.insert(file);
    }
    let types: Vec<String> = types
        .iter()
        .map(|(kind, (count, bytes))| {
            let mib = *bytes as f64 / f64::from(1 << 20);
            format!("{count} tensors of {kind} ({mib:.1} MiB)")
        })
        .collect();
    Fact::new(
        "weights",
        format!("{parameters} parameters: {}", types.join(", ")),
        match (files.len(), files.first()) {
            (2.., Some(first)) => format!("{first} and {} more files", files.len() - 1),
            (_, first) => first.cloned().unwrap_or_default(),
        },
    )
}

/// Describes the tokenizer, the named special tokens, and the chat template or its absence.
pub(super) fn of_text(
    tokenizer: &Tokenizer,
    from: &str,
    named: &[Named],
    opening_from: &str,
    template: Result<&ChatTemplate, &str>,
) -> Vec<Fact> {
    let kind = match tokenizer.spells_bytes() {
        true => "it spells any usual text",
        false => "it spells texts of its own words only",
    };
    let mut facts = vec![Fact::new(
        "tokenizer",
        format!("{} tokens; {kind}", tokenizer.vocab_size()),
        from,
    )];
    for Named { name, text, from } in named {
        let value = match tokenizer.id(text) {
            Some(id) => format!("{id} `{}`", text.escape_debug()),
            None => format!("`{}`, which is no token", text.escape_debug()),
        };
        facts.push(Fact::new(name, value, from));
    }
    let specials: BTreeSet<u32> = tokenizer.specials().iter().map(|&(_, id)| id).collect();
    let spelled = |id: u32| {
        let text = tokenizer.token(id).unwrap_or_default();
        format!("{id} `{}`", text.escape_debug())
    };
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = specials.iter().take(SHOWN).map(|&id| spelled(id)).collect();
    if specials.len() > SHOWN {
        shown.push("…".to_owned());
    }
    let shown = match shown.is_empty() {
        true => String::new(),
        false => format!(": {}", shown.join(", ")),
    };
    facts.push(Fact::new(
        "special tokens",
        format!("{}{shown}", specials.len()),
        from,
    ));
    let opening: Vec<String> = tokenizer.opening().iter().map(|&id| spelled(id)).collect();
    facts.push(Fact::new(
        "prompts begin with",
        match opening.is_empty() {
            true => "no token of their own".to_owned(),
            false => opening.join(" "),
        },
        opening_from,
    ));
    facts.push(match template {
        Ok(template) => Fact::new("chat template", template.described(), template.label()),
        Err(from) => Fact::new("chat template", "none", from),
    });
    facts
}

/// Describes the tokens that end a response, each with the files that declare them.
pub(super) fn of_stop_tokens(tokenizer: &Tokenizer, declared: &[Declared]) -> Vec<Fact> {
    let mut by_id: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (id, from) in declared {
        let files = by_id.entry(*id).or_default();
        if !files.contains(&from.as_str()) {
            files.push(from);
        }
    }
    by_id
        .into_iter()
        .map(|(id, from)| {
            let text = tokenizer.token(id).unwrap_or_default();
            let value = format!("{id} `{}`", text.escape_debug());
            Fact::new("stop token", value, from.join(", "))
        })
        .collect()
}

fn listed(numbers: &BTreeSet<usize>) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    numbers.join(" or ")
}
