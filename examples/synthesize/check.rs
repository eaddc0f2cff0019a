//! `--check-model`: a look at the model as the run would use it, before the run.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;
use dart_math::engine::check_model;

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

/// Checks the model on the first problem and writes what was found to stdout.
pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode, Failure> {
    let (problems, _) = args.problems()?;
    let Some(problem) = problems.first() else {
        return Err("--check-model: there is no problem to make a prompt of".into());
    };
    let [device] = args.engine.device.devices()?[..] else {
        let reason = "--check-model looks at one device: name one with --device";
        return Err(Usage(reason.to_owned()).into());
    };
    let files = args.engine.model(device)?;
    let engine = args.engine.builder(device)?.build()?;
    let report = check_model(&engine, Some(&files), &problem.question);
    let text = match format {
        Format::Text => report.to_string(),
        Format::Json => serde_json::to_string_pretty(&report)?,
    };
    writeln!(std::io::stdout(), "{text}").map_err(Stdout)?;
    for check in report.failed() {
        say!("check failed: {}: {}", check.name, check.detail);
    }
    Ok(match report.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
