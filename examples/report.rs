//! Renders a run's directory, finished or not, as a page: `report DIR` writes a self-contained
//! DIR/report.html without scripts. With `--figures`, the figures are also written as SVG files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dart_math::report::html::Report;

#[path = "common/tool.rs"]
mod tool;

use tool::{Failure, say};

/// Render a run's directory, finished or not, as an HTML page
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The directory (`synthesize --out DIR`); report.html is written to it
    directory: PathBuf,
    /// Also write the figures as SVG files to DIR/figures
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
