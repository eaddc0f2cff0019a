//! A page to look at of a run's directory, finished or not: `report DIR` writes DIR/report.html, which needs nothing
//! else and has no script; with `--figures` its figures as SVG files too.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dart_math::report::html::Report;

#[path = "common/tool.rs"]
mod tool;

use tool::{Failure, say};

/// Makes a page to look at of a run's directory, finished or not
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The directory (`synthesize --out DIR`); gets the file report.html
    directory: PathBuf,
    /// Write the figures as SVG files to DIR/figures as well
    #[arg(long)]
    figures: bool,
}

fn main() -> ExitCode {
    tool::show_log();
    tool::exit(report(&Args::parse()))
}

fn report(args: &Args) -> Result<ExitCode, Failure> {
    let report = Report::read(&args.directory)?;
    let mut written = vec![report.write(&args.directory)?];
    if args.figures {
        written.extend(report.write_figures(&args.directory)?);
    }
    for path in written {
        say!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}
