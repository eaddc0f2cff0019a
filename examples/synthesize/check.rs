//! `--check-model`: inspects the model as the run would use it, before the run.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use dart_math::engine::{ModelReport, check_model};
use dart_math::report::printable;

use crate::Args;
use crate::common::tool::{Failure, Stdout, Usage, say};

/// The format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For humans
    Text,
    /// For programs
    Json,
}

/// Checks the model on the first problem and writes the findings to stdout. Refuses what the run would
/// refuse.
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

/// If `--check-model=json` is among refused arguments, writes the refusal as a JSON report.
pub(crate) fn write_refusal(error: &clap::Error) -> Result<(), Failure> {
    let mut given = std::env::args_os().take_while(|argument| argument != "--");
    // (Help and version are not refusals.)
    if !error.use_stderr() || !given.any(|argument| argument == "--check-model=json") {
        return Ok(());
    }
    let text = error.to_string();
    // The usage follows the first empty line.
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
        // A prompt that cannot be made is reported by name, along with the other findings.
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

/// Formats a report as JSON, with terminal control characters in strings escaped.
fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let mut buffer = [0; 4];
        // Keep the line breaks and indentation of the format.
        match c != '\n' && printable(c.encode_utf8(&mut buffer)).len() != c.len_utf8() {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Ok(out)
}

/// Writes to stdout. A closed pipe does not change the result.
fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Stdout(error).into()),
        _ => Ok(()),
    }
}
