//! The number of tokens that a prompt leaves for its completion, and the limit that ends it.

use crate::engine::Engine;
use crate::model::{Fact, Prompt};

/// The largest number of tokens of the greedy completion.
pub(super) const MAX_COMPLETION: usize = 48;

/// The fact that the report states about the tokens left for a completion.
pub(super) fn fact(engine: &Engine, prompt: &Prompt) -> Fact {
    let rules = &engine.rules;
    let (used, context) = (prompt.tokens.len(), rules.context_length);
    let left = context.saturating_sub(used);
    let (name, value) = match rules.max_new_tokens {
        wanted if wanted <= left => (
            "longest completion",
            format!("{wanted} tokens, within the model's context of {context}"),
        ),
        wanted => (
            match rules.is_length_given {
                true => "warning",
                false => "longest completion",
            },
            format!(
                "{left} tokens: the model's context of {context} less the prompt's {used}, not \
                 max_new_tokens, which is {wanted}"
            ),
        ),
    };
    Fact {
        name: name.to_owned(),
        value,
        from: match rules.is_length_given {
            true => "settings".to_owned(),
            false => "max_new_tokens by default".to_owned(),
        },
    }
}

/// The largest number of tokens of the greedy completion, and the name of the limit that sets it.
pub(super) fn limit(engine: &Engine, prompt: &Prompt) -> (usize, String) {
    let rules = &engine.rules;
    let context = rules.context_length;
    let left = context.saturating_sub(prompt.tokens.len());
    let limits = [
        (MAX_COMPLETION, "the check's own".to_owned()),
        (rules.max_new_tokens, "max_new_tokens".to_owned()),
        (left, format!("the model's context of {context} tokens")),
    ];
    let least = limits.into_iter().min_by_key(|(limit, _)| *limit);
    least.unwrap_or_default()
}
