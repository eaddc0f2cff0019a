//! Common behaviour of the tools: log and errors on stderr, and exit codes.
//!
//! Exit codes: 0 if everything was done, 1 if something failed or a row was bad, 2 for invalid arguments, 130
//! after Ctrl-C (in tools that handle it).

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal};
use std::process::ExitCode;

use dart_math::report::printable;

/// Prints a line on stderr. If stderr is full or closed, the line is dropped.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}
pub(crate) use say;

/// The error type of the tools.
pub(crate) type Failure = Box<dyn Error>;

/// Invalid arguments, alone or in combination. The text names them.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// A failure to write to standard output.
#[derive(Debug)]
pub(crate) struct Stdout(pub(crate) io::Error);

impl fmt::Display for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stdout: {}", self.0)
    }
}

impl Error for Stdout {}

/// Shows the library's warnings on stderr (filtered by `RUST_LOG`).
pub(crate) fn show_log() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::prelude::*;
    let wanted = std::env::var("RUST_LOG").ok();
    let parsed = wanted.as_deref().map(str::parse::<Targets>);
    let filter = match &parsed {
        Some(Ok(targets)) => targets.clone(),
        _ => Targets::new().with_default(LevelFilter::WARN),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .without_time();
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .init();
    if let Some(Err(error)) = parsed {
        say!("RUST_LOG: {error}; showing warnings");
    }
}

/// Converts a tool's result to its exit code. A closed output pipe is not a failure.
pub(crate) fn exit(result: Result<ExitCode, Failure>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    if let Some(Stdout(error)) = error.downcast_ref()
        && error.kind() == ErrorKind::BrokenPipe
    {
        return ExitCode::SUCCESS;
    }
    report(&*error);
    let kind = error.downcast_ref().map(dart_math::Error::kind);
    match kind {
        Some(dart_math::ErrorKind::Interrupted) => ExitCode::from(130),
        Some(dart_math::ErrorKind::Settings) => ExitCode::from(2),
        _ if error.is::<Usage>() => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Prints an error and its causes as one line on stderr.
pub(crate) fn report(error: &dyn Error) {
    let mut said = error.to_string();
    say!("error: {}", printable(&said));
    let mut cause = error.source();
    while let Some(error) = cause {
        // Skip a cause that the error already ends with.
        let words = error.to_string();
        if !said.ends_with(&words) {
            say!("  caused by: {}", printable(&words));
        }
        said = words;
        cause = error.source();
    }
}
