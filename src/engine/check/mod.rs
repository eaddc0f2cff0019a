//! A model looked at before a long run: what was read of its files, a prompt and a greedy completion
//! to look at, and checks that pass or fail by name.
//!
//! Knows the engine and the model; which of them a run would use is the caller's business.

mod decoding;
mod logits;
mod report;
mod text;
mod weights;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub use self::report::{Check, GreedyCompletion, ModelReport, Outcome};
use super::{CompletionRequest, Engine, Event, Sampling};
use crate::error::{counted, printable};
use crate::model::{Fact, ModelBuilder, Prompt};
use crate::{Completion, Error, ErrorKind, Result};

/// The most tokens of the greedy completion.
const MAX_COMPLETION: usize = 48;
/// Below so many tokens, guessing is too good to be told from a small or random model.
const MIN_VOCABULARY: usize = 1000;
/// By how much a token of a text has to be more probable than by guessing, as a logarithm: shuffled tokens
/// of a trained model come out within a fraction of that of guessing, the smallest models far above.
const MIN_GAIN: f64 = 1.0;
/// A text that every model of mathematics finds likely.
const KNOWN_TEXT: &str = "The sum of the numbers from 1 to 10 is 55, because 1 + 2 + 3 + 4 + 5 + 6 + 7 \
                          + 8 + 9 + 10 = 55.";

/// Checks a model in the engine that is to sample from it, on an example question.
///
/// `files` says where the model was loaded from: its weights are read from there once more, in f32 and
/// a layer at a time, for logits by plain operations on the CPU that those of the engine are compared
/// with. That takes the memory of the largest layer or of the embedding. Without it, and for
/// architectures that candle-transformers computes, this check is skipped.
///
/// ```
/// use dart_math::engine::{Engine, check_model};
/// use dart_math::model::{DeviceChoice, Model, ModelSource};
///
/// # fn main() -> dart_math::Result<()> {
/// let files = Model::builder(ModelSource::BuiltIn).device(DeviceChoice::Cpu);
/// let engine = Engine::builder(files.clone().load()?).build()?;
/// let question = "Tom has 3 apples and buys 4 more. How many has he now?";
/// let report = check_model(&engine, Some(&files), question);
/// assert!(report.passed(), "{report}");
/// # Ok(())
/// # }
/// ```
pub fn check_model(engine: &Engine, files: Option<&ModelBuilder>, question: &str) -> ModelReport {
    let mut report = ModelReport {
        model: engine.model().name().to_owned(),
        facts: engine.model().facts().to_vec(),
        ..ModelReport::default()
    };
    report.facts.extend(computed(engine));
    report.checks.push(weights::check(engine, files));
    report.checks.extend(text::checks(engine, question));
    let prompt = match engine.prompt(question) {
        Ok(prompt) => prompt,
        Err(error) => {
            report.checks.push(Check::failed("prompt", error));
            return report;
        }
    };
    report.checks.push(text::prompt(engine, question, &prompt));
    report.facts.push(room(engine, &prompt));
    report.prompt = Some(prompt.clone());
    let completion = match greedy(engine, &prompt) {
        Ok(completion) => completion,
        Err(error) => {
            report
                .checks
                .push(Check::failed("greedy completion", error));
            return report;
        }
    };
    report
        .checks
        .extend(decoding::checks(engine, &prompt, &completion));
    report
        .checks
        .push(logits::reference(engine, files, &prompt, &completion));
    report.checks.push(known_text(engine));
    report.facts.extend(unknown_tokens(engine, &completion));
    let (limit, limited_by) = limit(engine, &prompt);
    report.completion = Some(GreedyCompletion {
        text: completion.text,
        tokens: completion.tokens,
        finish: completion.finish,
        limit,
        limited_by,
    });
    report
}

/// What the engine's settings say of how the model is computed.
fn computed(engine: &Engine) -> Vec<Fact> {
    let settings = crate::Generator::settings(engine);
    let text = |name: &str| match settings.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let fact = |name: &str, value: String| Fact {
        name: name.to_owned(),
        value,
        from: "settings".to_owned(),
    };
    let mut facts = vec![
        fact(
            "computed",
            format!(
                "on {} as {}, activations {}, KV cache {}, {} threads, {} slots",
                text("device"),
                text("dtype"),
                text("activation_type"),
                text("kv_type"),
                engine.threads(),
                engine.capacity.slots
            ),
        ),
        fact(
            "weights in memory",
            format!(
                "{:.1} MiB",
                engine.weight_bytes() as f64 / f64::from(1 << 20)
            ),
        ),
        Fact {
            from: match engine.is_template_given {
                true => "settings".to_owned(),
                false => "by default".to_owned(),
            },
            ..fact("template", text("template"))
        },
    ];
    for (name, value) in engine.template.arguments().into_iter().flatten() {
        let argument = format!("{} = {value}", printable(name));
        facts.push(fact("template argument", argument));
    }
    if !engine.rules.stop_strings.strings().is_empty() {
        facts.push(fact("stop strings", text("stop")));
    }
    facts
}

/// How likely the model finds a plain text, where its vocabulary can spell it.
fn known_text(engine: &Engine) -> Check {
    const NAME: &str = "log-probability of a plain text";
    let model = engine.model();
    let size = model.config().vocab_size;
    if !model.tokenizer().spells_bytes() {
        return Check::skipped(NAME, "the vocabulary does not spell any text");
    }
    if size < MIN_VOCABULARY {
        let reason = format!("of a vocabulary of {size} tokens it tells too little");
        return Check::skipped(NAME, reason);
    }
    let scores = model.raw_prompt(KNOWN_TEXT).and_then(|prompt| {
        let (first, rest) = prompt.tokens.split_at(prompt.tokens.len().min(1));
        engine.score(first, rest)
    });
    let scores = match scores {
        Ok(scores) => scores,
        Err(error) => return Check::failed(NAME, error),
    };
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let guess = -(size as f64).ln();
    let detail = format!("{mean:.2} a token of `{KNOWN_TEXT}`; guessing has {guess:.2}");
    // So written that what is no number fails, too.
    match mean > guess + MIN_GAIN {
        true => Check::passed(NAME, detail),
        false => Check::failed(
            NAME,
            format!("{detail}: weights and tokens are not of one model, or it was never trained"),
        ),
    }
}

/// What the example shows of the room that a completion has.
fn room(engine: &Engine, prompt: &Prompt) -> Fact {
    let rules = &engine.rules;
    let (used, context) = (prompt.tokens.len(), rules.context_length);
    let left = context.saturating_sub(used);
    let (name, value) = match rules.max_new_tokens {
        wanted if wanted <= left => (
            "longest completion",
            format!("{wanted} tokens, for which the context of {context} has room"),
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

/// The most tokens of the greedy completion, and whose limit that is.
fn limit(engine: &Engine, prompt: &Prompt) -> (usize, String) {
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

/// Tokens of a completion that the tokenizer does not have, and which have no text.
fn unknown_tokens(engine: &Engine, completion: &Completion) -> Option<Fact> {
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

/// Completes a prompt greedily.
fn greedy(engine: &Engine, prompt: &Prompt) -> Result<Completion> {
    let found = greedy_list(engine, std::slice::from_ref(prompt))?.pop();
    found.ok_or_else(|| Error::new(ErrorKind::Device, "no completion was delivered"))
}

/// Completes prompts greedily, together.
fn greedy_list(engine: &Engine, prompts: &[Prompt]) -> Result<Vec<Completion>> {
    let request = |prompt: &Prompt| CompletionRequest {
        sampling: Some(Sampling::greedy()),
        max_new_tokens: Some(MAX_COMPLETION),
        ..CompletionRequest::new(prompt.clone(), 0)
    };
    let requests: Vec<CompletionRequest> = prompts.iter().map(request).collect();
    let mut found = Vec::new();
    engine.complete(&requests, |event| {
        if let Event::Completed { completion, .. } = event {
            found.push(completion);
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
