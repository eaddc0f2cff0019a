//! `--check-model`: a look at the model as the run would use it, before the run.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use dart_math::engine::{ModelReport, check_model};
use dart_math::report::printable;

use crate::Args;
use crate::common::tool::{Failure, Stdout, Usage, say};

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Checks the model on the first problem and writes what was found to stdout. What the run would refuse
/// is refused here.
pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode, Failure> {
    let report = match report(args) {
        Ok(report) => report,
        Err(error) => {
            if format == Format::Json {
                let found = serde_json::json!({"error": error.to_string()});
                write(&json(&found)?)?;
            }
            return Err(error);
        }
    };
    let text = match format {
        Format::Text => report.to_string(),
        Format::Json => json(&report)?,
    };
    let written = write(&text);
    for check in report.failed() {
        say!("check failed: {}: {}", check.name, printable(&check.detail));
    }
    written?;
    Ok(match report.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Where `--check-model=json` is among arguments that were refused, writes the refusal as the object that is expected.
pub(crate) fn write_refusal(error: &clap::Error) -> Result<(), Failure> {
    let mut given = std::env::args_os().take_while(|argument| argument != "--");
    // (Help and the version are no refusals.)
    if !error.use_stderr() || !given.any(|argument| argument == "--check-model=json") {
        return Ok(());
    }
    let text = error.to_string();
    // What follows the first empty line is how the program is used.
    let reason = text.split("\n\n").next().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
    write(&json(&serde_json::json!({"error": reason}))?)
}

fn report(args: &Args) -> Result<ModelReport, Failure> {
    let strategy = args.strategy()?;
    let (problems, _) = args.problems()?;
    let Some(question) = problems.first().map(|problem| problem.question.clone()) else {
        return Err("--check-model: there is no problem to make a prompt of".into());
    };
    let [device] = args.engine.device.devices()?[..] else {
        let reason = "--check-model looks at one device: name one with --device";
        return Err(Usage(reason.to_owned()).into());
    };
    let files = args.engine.model(device)?;
    let engine = args.engine.builder(device)?.build()?;
    let mut run = args.run(problems, strategy, args.limits()).build()?;
    let checked = run.check(&engine);
    let checked = checked.map_err(|error| args.engine.explain(error));
    match checked {
        // A prompt that cannot be made fails by name, beside what else was found.
        Err(error) if error.kind() == dart_math::ErrorKind::Data => {
            let report = check_model(&engine, Some(&files), &question);
            match report.passed() {
                true => Err(error.into()),
                false => Ok(report),
            }
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(check_model(&engine, Some(&files), &question)),
    }
}

/// A report as JSON, whose strings steer no terminal either.
fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let mut buffer = [0; 4];
        // What the format's own line breaks and indentation are made of stays.
        match c != '\n' && printable(c.encode_utf8(&mut buffer)).len() != c.len_utf8() {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Ok(out)
}

/// Writes to stdout. That its reader has gone changes nothing about what was found.
fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Stdout(error).into()),
        _ => Ok(()),
    }
}
