//! Checks a model before a long run: facts read from its files, an example prompt with its greedy
//! completion, and named checks that pass or fail.
//!
//! Depends on the engine and the model. The caller decides which of them a run will use.

mod completion_limit;
mod decoding;
mod likelihood;
mod logits;
mod report;
mod text;
mod weights;

use std::ops::ControlFlow;

pub use self::report::{Check, GreedyCompletion, ModelReport, Outcome};
use super::{CompletionRequest, Engine, Event, Sampling};
use crate::error::printable;
use crate::model::{Fact, ModelBuilder, Prompt};
use crate::{Completion, Error, ErrorKind, Result};

/// Checks the model of an engine on an example question.
///
/// `files` names the files that the model was loaded from. Their weights are read again in f32, one
/// layer at a time, and the candle backend computes reference logits on the CPU, with which the
/// engine's logits are compared. This takes the memory of the largest layer or of the embedding.
/// Without `files`, and for architectures that candle-transformers computes, this check is skipped.
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
    report.facts.push(completion_limit::fact(engine, &prompt));
    report.prompt = Some(prompt.clone());
    if completion_limit::limit(engine, &prompt).0 == 0 {
        return report;
    }
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
    report.checks.push(likelihood::check(engine));
    report
        .facts
        .extend(decoding::unknown_tokens(engine, &completion));
    let (limit, limited_by) = completion_limit::limit(engine, &prompt);
    report.completion = Some(GreedyCompletion {
        text: completion.text,
        tokens: completion.tokens,
        finish: completion.finish,
        limit,
        limited_by,
    });
    report
}

/// The engine's settings that say how the model is computed.
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

/// Completes a prompt greedily.
fn greedy(engine: &Engine, prompt: &Prompt) -> Result<Completion> {
    let found = greedy_list(engine, std::slice::from_ref(prompt))?.pop();
    found.ok_or_else(|| Error::new(ErrorKind::Device, "no completion was delivered"))
}

/// Completes prompts greedily, in one batch.
fn greedy_list(engine: &Engine, prompts: &[Prompt]) -> Result<Vec<Completion>> {
    let request = |prompt: &Prompt| CompletionRequest {
        sampling: Some(Sampling::greedy()),
        max_new_tokens: Some(completion_limit::MAX_COMPLETION),
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
