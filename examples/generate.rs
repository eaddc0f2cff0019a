//! Completes prompts.
//!
//! ```sh
//! cargo run --release --example generate -- "Mia has 4 pencils. She buys 9 more. How many pencils does Mia have now?"
//! cargo run --release --example generate -- --prompts prompts.jsonl --greedy --json
//! ```

mod common {
    pub(crate) mod count;
    pub(crate) mod engine;
    pub(crate) mod kv_limit;
    pub(crate) mod rows;
    pub(crate) mod setting;
    pub(crate) mod tool;
}

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dart_math::data::lines::Row;
use dart_math::engine::{CompletionRequest, Engine, EngineGroup, Event};
use dart_math::model::{Prompt, Template};
use dart_math::report::counted;
use dart_math::{Completion, Finish};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use common::count::count;
use common::engine::say_statistics;
use common::rows::{BadRows, Input};
use common::tool::{self, Failure, Stdout};

/// The maximum number of completions per call. Each holds its prompt in memory.
const MAX_COMPLETIONS: usize = 10_000_000;

/// Complete prompts with a language model, as text or as JSONL.
///
/// For a bad row of FILE, an error is reported on stderr (for the first 20) and, with --json, an object with
/// its `id` and an `error` is written; the other rows are still processed. Exit status: 0 if every prompt was
/// completed, 1 if some were bad, there was none, or something failed, 2 for invalid arguments.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Questions to complete
    #[arg(value_name = "PROMPT", required_unless_present = "prompts")]
    questions: Vec<String>,
    /// File of questions {"id", "prompt"}, as JSONL or a JSON array, plain or in gzip; `-` reads stdin. A row
    /// without an id gets its row number, from 1 (or "row N" if another row has that number as its id).
    /// Instead of "prompt", the field may be "question", "problem" or "query"
    #[arg(long, value_name = "FILE", conflicts_with = "questions")]
    prompts: Option<PathBuf>,
    /// Use prompts unchanged, without a template
    #[arg(long, conflicts_with = "template")]
    raw: bool,
    /// Number of completions of each prompt
    #[arg(long, default_value = "1", value_name = "N", value_parser = count::<usize>)]
    samples: usize,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Write JSONL rows {"id", "text", "tokens", "finish", "logprob"}, and "sample" (from 0) if there are
    /// several per prompt; ids are written as they were read
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: common::engine::EngineArgs,
}

/// The fields that may contain a row's prompt, in order of precedence.
const TEXTS: [&str; 4] = ["prompt", "question", "problem", "query"];

/// A requested prompt.
struct Question {
    /// The id as written in the file.
    id: Box<RawValue>,
    /// Its position, for messages.
    place: String,
    /// The text to complete, or why it is invalid.
    text: Result<String, String>,
}

/// The output row of a completion.
#[derive(Serialize)]
struct CompletionRow<'a> {
    id: &'a RawValue,
    text: &'a str,
    tokens: &'a [u32],
    finish: Finish,
    logprob: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<usize>,
}

/// The output row of a bad input row.
#[derive(Serialize)]
struct ErrorRow<'a> {
    id: &'a RawValue,
    error: String,
}

fn main() -> ExitCode {
    tool::show_log();
    tool::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut questions = args.questions()?;
    let group = args.engine.group(|builder| {
        Ok(match args.raw {
            // A template without its own stop markers.
            true => builder.template(Template::parse("{problem}")?),
            false => builder,
        })
    })?;
    // Prompts are the same for all engines.
    let engine = &group.engines()[0];
    let count = questions.len().saturating_mul(args.samples);
    if count > MAX_COMPLETIONS {
        return Err(format!("{count} completions are more than {MAX_COMPLETIONS}").into());
    }
    let mut prompts = Vec::with_capacity(count);
    let mut bad = BadRows::default();
    for question in &mut questions {
        let prompt = question.text.clone();
        match prompt.and_then(|text| args.prompt(engine, &text)) {
            Ok(prompt) => prompts.extend(std::iter::repeat_n(prompt, args.samples)),
            Err(reason) => {
                bad.report(&format!("{}: {reason}", question.place));
                question.text = Err(reason);
            }
        }
    }
    bad.finish();
    let completed = complete(args, &group, &questions, &prompts);
    completed.map_err(|failure| args.explain(failure))?;
    match bad.count {
        0 => Ok(ExitCode::SUCCESS),
        bad => {
            let prompts = counted(questions.len(), "prompt");
            Err(format!("bad: {bad} of {prompts}").into())
        }
    }
}

/// Samples, and writes the rows in the order of the questions, each as soon as all previous ones are
/// complete.
fn complete(
    args: &Args,
    group: &EngineGroup,
    questions: &[Question],
    prompts: &[Prompt],
) -> Result<(), Failure> {
    let bar = ProgressBar::new(prompts.len() as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} completions, {elapsed} gone, {eta} to go",
    )?);
    let good = (0..)
        .zip(questions)
        .filter(|(_, question)| question.text.is_ok());
    let good: Vec<usize> = good.map(|(index, _)| index).collect();
    let mut early = BTreeMap::new();
    let (mut next, mut at) = (0, 0);
    let mut written = Ok(());
    let requests = CompletionRequest::list(prompts, args.seed);
    group.complete(&requests, |event| {
        let Event::Completed {
            request,
            completion,
        } = event
        else {
            return ControlFlow::Continue(());
        };
        early.insert(request, completion);
        bar.inc(1);
        while let Some(completion) = early.remove(&next) {
            let question = good[next / args.samples];
            written = bar.suspend(|| {
                args.write_bad(&questions[at..question])?;
                args.write(&questions[question], next, prompts.len(), &completion)
            });
            if written.is_err() {
                return ControlFlow::Break(());
            }
            at = question;
            next += 1;
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    written
        .and_then(|()| args.write_bad(&questions[at..]))
        .map_err(Stdout)?;
    say_statistics("", group);
    Ok(())
}

impl Args {
    fn questions(&self) -> Result<Vec<Question>, Failure> {
        let Some(path) = &self.prompts else {
            let numbered = (1usize..).zip(&self.questions);
            let numbered = numbered.map(|(number, text)| {
                Ok(Question {
                    id: to_raw_value(&number)?,
                    place: format!("prompt {number}"),
                    text: Ok(text.clone()),
                })
            });
            return numbered.collect();
        };
        let mut input = Input::open(path)?;
        let mut questions = Vec::new();
        while let Some(row) = input.next()? {
            let place = format!("{}:{}", input.name, row.line);
            let (id, text) = question(row)?;
            questions.push((id, place, text));
        }
        let given: HashSet<String> = questions
            .iter()
            .filter_map(|(id, ..)| Some(id.as_ref()?.get().to_owned()))
            .collect();
        let numbered = (1usize..).zip(questions);
        let named = numbered.map(|(number, (id, place, text))| {
            let id = match id {
                Some(id) => id,
                None if given.contains(&number.to_string()) => {
                    to_raw_value(&format!("row {number}"))?
                }
                None => to_raw_value(&number)?,
            };
            Ok(Question { id, place, text })
        });
        named.collect()
    }

    /// Adds the name of the flag that resolves a failure of the engine.
    fn explain(&self, failure: Failure) -> Failure {
        match failure.downcast() {
            Ok(error) => self.engine.explain(*error).into(),
            Err(failure) => failure,
        }
    }

    fn prompt(&self, engine: &Engine, text: &str) -> Result<Prompt, String> {
        let context = engine.model().config().context_length;
        let prompt = match self.raw {
            true => engine.model().raw_prompt(text),
            false => engine.prompt(text),
        };
        match prompt {
            Ok(prompt) if prompt.tokens.is_empty() => Err("a prompt without any token".into()),
            Ok(prompt) if prompt.tokens.len() >= context => Err(format!(
                "a prompt of {} fills the model's context of {context}",
                counted(prompt.tokens.len(), "token")
            )),
            prompt => prompt.map_err(|error| error.detail().to_owned()),
        }
    }

    /// Writes the rows of invalid questions.
    fn write_bad(&self, questions: &[Question]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for Question { id, place, text } in questions {
            if let (true, Err(reason)) = (self.json, text) {
                let error = format!("{place}: {reason}");
                serde_json::to_writer(&mut out, &ErrorRow { id, error })?;
                writeln!(out)?;
            }
        }
        out.flush()
    }

    /// Writes one of `count` completions.
    fn write(
        &self,
        question: &Question,
        index: usize,
        count: usize,
        completion: &Completion,
    ) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        let sample = index % self.samples;
        if self.json {
            let row = CompletionRow {
                id: &question.id,
                text: &completion.text,
                tokens: &completion.tokens,
                finish: completion.finish,
                logprob: completion.logprob,
                sample: (self.samples > 1).then_some(sample),
            };
            serde_json::to_writer(&mut out, &row)?;
            writeln!(out)?;
        } else {
            if count > 1 {
                writeln!(out, "--- prompt {}, sample {sample}", question.id)?;
            }
            writeln!(out, "{}", completion.text)?;
        }
        out.flush()
    }
}

/// A row's id as written, if it has one, and its text.
type Named = (Option<Box<RawValue>>, Result<String, String>);

fn question(row: Row) -> serde_json::Result<Named> {
    let Row {
        object, numbers, ..
    } = row;
    let mut row = match object {
        Ok(row) => row,
        Err(reason) => return Ok((None, Err(reason))),
    };
    let id = match (numbers.get("id"), row.remove("id")) {
        (_, None) => None,
        (Some(written), Some(_)) => Some(RawValue::from_string(written.clone())?),
        (None, Some(id @ (Value::String(_) | Value::Number(_)))) => Some(to_raw_value(&id)?),
        (None, Some(id)) => {
            let reason = format!("`id` is {id}, not a string or a number");
            return Ok((None, Err(reason)));
        }
    };
    Ok((id, text(row)))
}

/// Returns the text of a row.
fn text(mut row: Map<String, Value>) -> Result<String, String> {
    let named = TEXTS
        .into_iter()
        .find_map(|name| Some((name, row.remove(name)?)));
    match named {
        Some((_, Value::String(prompt))) => Ok(prompt),
        Some((name, _)) => Err(format!("`{name}` is not a string")),
        None => Err("no `prompt`, `question`, `problem` or `query`".into()),
    }
}
