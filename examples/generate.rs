//! Prompts in, completions out.
//!
//! ```sh
//! cargo run --release --example generate -- "Mia has 4 pencils. She buys 9 more. How many pencils does Mia have now?"
//! cargo run --release --example generate -- --prompts prompts.jsonl --greedy --json
//! ```

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use dart_math::Completion;
use dart_math::model::Template;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use common::say;

type Failure = Box<dyn std::error::Error>;

/// The most completions of one call: each holds its prompt in memory.
const MOST_COMPLETIONS: usize = 10_000_000;

/// Complete prompts with a language model, as text or as JSONL.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Questions to complete
    #[arg(value_name = "PROMPT", required_unless_present = "prompts")]
    questions: Vec<String>,
    /// Questions from JSONL rows {"id", "prompt"}; `-` reads stdin
    #[arg(long, value_name = "FILE.jsonl", conflicts_with = "questions")]
    prompts: Option<PathBuf>,
    /// Take prompts as they are, without a template
    #[arg(long, conflicts_with = "template")]
    raw: bool,
    /// Completions of each prompt
    #[arg(long, default_value = "1", value_name = "N")]
    samples: NonZeroUsize,
    /// Key of the random numbers
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Write JSONL rows {"id", "text", "tokens", "finish", "logprob"}, and "sample" where there are
    /// several
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: common::EngineArgs,
}

/// A prompt as it was given.
struct Row {
    id: Value,
    prompt: String,
}

fn main() -> ExitCode {
    common::show_log();
    common::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Failure> {
    let rows = match &args.prompts {
        Some(path) => read(path)?,
        None => (1..)
            .zip(&args.questions)
            .map(|(id, prompt)| Row {
                id: Value::from(id),
                prompt: prompt.clone(),
            })
            .collect(),
    };
    let mut builder = args.engine.builder()?;
    if args.raw {
        // A template without markers of its own that would stop a completion.
        builder = builder.template(Template::parse("{problem}")?);
    }
    let engine = builder.build()?;
    let count = rows.len().saturating_mul(args.samples.get());
    if count > MOST_COMPLETIONS {
        return Err(format!("{count} completions are more than {MOST_COMPLETIONS}").into());
    }
    let mut prompts = Vec::with_capacity(count);
    for row in &rows {
        let prompt = match args.raw {
            true => engine.model().raw_prompt(&row.prompt),
            false => engine.prompt(&row.prompt),
        };
        let prompt = prompt.map_err(|error| error.context(format_args!("prompt {}", row.id)))?;
        prompts.extend(std::iter::repeat_n(prompt, args.samples.get()));
    }

    let bar = ProgressBar::new(prompts.len() as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} completions, {elapsed} gone, {eta} to go",
    )?);
    // Rows are written in the order of the prompts, each as soon as all before it are.
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut written = Ok(());
    engine.generate_each(&prompts, args.seed, |index, completion| {
        early.insert(index, completion);
        bar.inc(1);
        while let Some(completion) = early.remove(&next) {
            let row = &rows[next / args.samples];
            written = bar.suspend(|| write(args, row, next, prompts.len(), &completion));
            if written.is_err() {
                return ControlFlow::Break(());
            }
            next += 1;
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    written?;
    say!("{}", engine.statistics());
    Ok(())
}

fn write(
    args: &Args,
    row: &Row,
    index: usize,
    count: usize,
    completion: &Completion,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let sample = index % args.samples;
    if args.json {
        let mut line = json!({
            "id": row.id,
            "text": completion.text,
            "tokens": completion.tokens,
            "finish": completion.finish,
            "logprob": completion.logprob,
        });
        if args.samples.get() > 1 {
            line["sample"] = sample.into();
        }
        writeln!(out, "{line}")?;
    } else {
        if count > 1 {
            writeln!(out, "--- prompt {}, sample {sample}", row.id)?;
        }
        writeln!(out, "{}", completion.text)?;
    }
    out.flush()
}

/// Reads rows, and names every bad one before it fails.
fn read(path: &Path) -> Result<Vec<Row>, Failure> {
    let failed = |error| dart_math::Error::io(path, error);
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    let mut rows = Vec::new();
    let mut bad = 0usize;
    for (number, line) in (1u64..).zip(reader.lines()) {
        let line = line.map_err(|error| failed(error).context(format_args!("line {number}")))?;
        if line.trim().is_empty() {
            continue;
        }
        match parse(&line, number) {
            Ok(row) => rows.push(row),
            Err(reason) => {
                bad += 1;
                say!("{}:{number}: {reason}", path.display());
            }
        }
    }
    if bad > 0 {
        return Err(format!("{}: {bad} bad rows", path.display()).into());
    }
    Ok(rows)
}

fn parse(line: &str, number: u64) -> Result<Row, String> {
    let row: Value = serde_json::from_str(line).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(mut row) = row else {
        return Err("not an object".into());
    };
    let id = match row.remove("id") {
        None => Value::from(number),
        Some(id @ (Value::String(_) | Value::Number(_))) => id,
        Some(id) => return Err(format!("`id` is {id}, not a string or a number")),
    };
    match row.remove("prompt") {
        Some(Value::String(prompt)) => Ok(Row { id, prompt }),
        Some(_) => Err("`prompt` is not a string".into()),
        None => Err("no `prompt`".into()),
    }
}
