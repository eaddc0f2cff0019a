//! Checks of sampling: from logits to tokens.

use std::collections::BTreeSet;

use super::logits::{Difference, tolerance};
use super::report::Check;
use crate::engine::Engine;
use crate::error::counted;
use crate::model::{Fact, Prompt};
use crate::{Completion, Result};

/// Runs the checks of a greedy completion.
pub(super) fn checks(engine: &Engine, prompt: &Prompt, completion: &Completion) -> Vec<Check> {
    vec![
        text(engine, completion),
        or_failed(GREEDY, largest(engine, prompt, completion)),
        or_failed(BATCHED, batched(engine, prompt, completion)),
        or_failed(PREFILL, prefill(engine, prompt, completion)),
    ]
}

const GREEDY: &str = "greedy tokens";
const BATCHED: &str = "batching";
const PREFILL: &str = "prefill against decoding";

fn or_failed(name: &str, check: Result<Check>) -> Check {
    check.unwrap_or_else(|error| Check::failed(name, error))
}

/// Checks that a completion's text is the decoded text of its tokens.
fn text(engine: &Engine, completion: &Completion) -> Check {
    const NAME: &str = "greedy completion";
    match engine.model().tokenizer().decode(&completion.tokens) {
        // The text may be shorter: a stop string is cut off.
        Ok(text) if text.starts_with(&completion.text) => Check::passed(
            NAME,
            format!(
                "{} tokens, {:?}",
                completion.tokens.len(),
                completion.finish
            ),
        ),
        Ok(text) => Check::failed(
            NAME,
            format!("its tokens say {text:?}, its text is {:?}", completion.text),
        ),
        Err(error) => Check::failed(NAME, error),
    }
}

/// Checks that each greedy token has the largest logit, up to rounding.
fn largest(engine: &Engine, prompt: &Prompt, completion: &Completion) -> Result<Check> {
    let Some((_, fed)) = completion.tokens.split_last() else {
        return Ok(Check::skipped(GREEDY, "the completion has none"));
    };
    let rows = engine.logits(&prompt.tokens, fed)?;
    let allowed = tolerance(engine).maximum;
    let mut complaints = Vec::new();
    for (at, (row, &token)) in rows.iter().zip(&completion.tokens).enumerate() {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let scale = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        if row.len() > 1 && row.iter().all(|&logit| logit == max) {
            complaints.push(format!("all logits at {at} are {max}"));
        }
        let own = row
            .get(token as usize)
            .copied()
            .unwrap_or(f32::NEG_INFINITY);
        if f64::from(max - own) > allowed * f64::from(scale) {
            complaints.push(format!(
                "token {token} at {at} has logit {own}, another one {max}"
            ));
        }
    }
    let well = format!("{} have the largest logits", rows.len());
    Ok(Check::of(GREEDY, &complaints, well))
}

/// Checks that a completion does not depend on its batch, on backends where rounding may not differ
/// either.
fn batched(engine: &Engine, prompt: &Prompt, completion: &Completion) -> Result<Check> {
    let exact =
        engine.model().cuda().is_none() && engine.model().device().is_cpu() && !engine.is_candle;
    if !exact {
        let reason = "on this device sums may depend on the batch, and tokens with them";
        return Ok(Check::skipped(BATCHED, reason));
    }
    let slots = engine.capacity.slots.clamp(2, 8);
    let together = super::greedy_list(engine, &vec![prompt.clone(); slots])?;
    let different = together
        .iter()
        .filter(|other| other.tokens != completion.tokens)
        .count();
    let complaints: Vec<String> = (different > 0)
        .then(|| format!("{different} of {slots} completions of one batch are others"))
        .into_iter()
        .collect();
    let well = format!("{slots} completions at a time are the same as one alone");
    Ok(Check::of(BATCHED, &complaints, well))
}

/// Checks that a prefill gives the same logits as feeding the prompt token by token.
fn prefill(engine: &Engine, prompt: &Prompt, completion: &Completion) -> Result<Check> {
    let tokens = super::logits::text(prompt, completion);
    let at_once = engine.logits(&tokens, &[])?;
    let (first, rest) = tokens.split_at(1);
    let stepwise = engine.logits(first, rest)?;
    let last = &stepwise[stepwise.len().saturating_sub(1)..];
    let difference = Difference::between(&at_once, last);
    Ok(difference.judge(PREFILL, tolerance(engine)))
}

/// Reports the tokens of a completion that the tokenizer lacks; they have no text.
pub(super) fn unknown_tokens(engine: &Engine, completion: &Completion) -> Option<Fact> {
    let tokenizer = engine.model().tokenizer();
    let tokens = completion.tokens.iter().copied();
    let unknown: BTreeSet<u32> = tokens.filter(|&id| tokenizer.token(id).is_none()).collect();
    let first = unknown.first()?;
    Some(Fact {
        name: "warning".to_owned(),
        value: format!(
            "{} of the greedy completion {} not in the tokenizer's vocabulary of {}, and {} no text: {first}{}",
            counted(unknown.len(), "token"),
            if unknown.len() == 1 { "is" } else { "are" },
            tokenizer.vocab_size(),
            if unknown.len() == 1 { "has" } else { "have" },
            if unknown.len() == 1 { "" } else { ", …" },
        ),
        from: "greedy completion".to_owned(),
    })
}
