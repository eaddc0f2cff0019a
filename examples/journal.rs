//! Reads the journal of a run: `journal export DIR` prints its trials as JSON lines, as in a data set's
//! `trials.jsonl`. A run may be writing to it at the same time.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dart_math::dars::JournalTrials;

/// Reads the journal of a run
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print all graded trials as JSON lines, part by part
    Export {
        /// The journal's directory (after `synthesize --out DIR`: DIR/journal)
        journal: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Export { journal } = Args::parse().command;
    match export(&journal) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as with `| head`.
        Err(Failure::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Write(error)) => {
            eprintln!("error: standard output: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Read(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Read(dart_math::Error),
    Write(std::io::Error),
}

fn export(journal: &Path) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for trial in JournalTrials::open(journal).map_err(Failure::Read)? {
        let trial = trial.map_err(Failure::Read)?;
        serde_json::to_writer(&mut out, &trial).map_err(|error| Failure::Write(error.into()))?;
        out.write_all(b"\n").map_err(Failure::Write)?;
    }
    out.flush().map_err(Failure::Write)
}
