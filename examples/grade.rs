//! Grades answers against references: JSONL in, JSONL out.
//!
//! ```sh
//! cargo run --release --no-default-features --example grade -- answers.jsonl > verdicts.jsonl
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use dart_math::answer::{Checker, Reference};
use dart_math::{Error, ErrorKind, Result, Verdict};
use serde_json::{Map, Value};

/// A line on stderr. Where that is full or closed the line is lost, and nothing else.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = writeln!(io::stderr(), $($words)*);
    }};
}

/// Grade answers or whole responses against references.
///
/// Each line of FILE is an object with `reference` and either `answer` (a bare answer) or
/// `response` (a whole response, whose final answer is looked for), and usually an `id`, which
/// may be of any type. For each line one object `{"id","equal","extracted","rule","reason"}` is
/// written, in the same order.
///
/// A bad line is reported on stderr and written as an object with `equal` false and an `error`;
/// the rest goes on. Exit status: 0 if every line was graded, 1 if some were bad, 2 if a file
/// could not be read or written or the arguments are wrong.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The rows to grade; `-` reads standard input.
    file: PathBuf,
    /// Read the last formula or number of a response without a marker as its answer.
    #[arg(long)]
    lenient: bool,
    /// Write the verdicts here instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was graded, for the summary.
#[derive(Default)]
struct Totals {
    equal: usize,
    different: usize,
    bad: usize,
    rules: BTreeMap<String, (usize, usize)>,
}

/// Why a row cannot be graded.
struct BadRow {
    id: Value,
    reason: String,
}

/// Grades rows; the reference read last is kept, as files often repeat it line by line.
struct Grader {
    checker: Checker,
    last: Option<(String, Reference)>,
}

impl Grader {
    fn verdict(&mut self, line: &str) -> Result<(Value, Verdict), BadRow> {
        let row: Map<String, Value> = serde_json::from_str(line).map_err(|error| BadRow {
            id: Value::Null,
            reason: format!("not a JSON object: {error}"),
        })?;
        let id = row.get("id").cloned().unwrap_or(Value::Null);
        let bad = |reason: &str| BadRow {
            id: id.clone(),
            reason: reason.to_owned(),
        };
        let text = |name: &str| match row.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            // Data sets have numbers for answers too.
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(bad(&format!("`{name}` is neither text nor a number"))),
        };
        let reference = text("reference")?.ok_or_else(|| bad("no `reference`"))?;
        if self
            .last
            .as_ref()
            .is_none_or(|(text, _)| *text != reference)
        {
            let read = self.checker.reference(&reference);
            self.last = Some((reference, read));
        }
        let Some((_, reference)) = &self.last else {
            return Err(bad("no `reference`"));
        };
        let verdict = match (text("answer")?, text("response")?) {
            (Some(answer), None) => reference.equal(&answer),
            (None, Some(response)) => reference.grade(&response),
            (None, None) => return Err(bad("neither `answer` nor `response`")),
            (Some(_), Some(_)) => return Err(bad("both `answer` and `response`")),
        };
        Ok((id, verdict))
    }
}

fn run(arguments: &Arguments) -> Result<Totals> {
    let from_stdin = arguments.file == Path::new("-");
    let name = if from_stdin {
        "<stdin>".to_owned()
    } else {
        arguments.file.display().to_string()
    };
    let input: Box<dyn BufRead> = if from_stdin {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&arguments.file).map_err(|e| Error::io(&arguments.file, e))?;
        Box::new(BufReader::new(file))
    };
    let (target, output): (String, Box<dyn Write>) = match &arguments.out {
        Some(path) => {
            if let (Ok(input), Ok(output)) = (arguments.file.canonicalize(), path.canonicalize())
                && input == output
            {
                let reason = format!("{}: both input and output", path.display());
                return Err(Error::new(ErrorKind::Settings, reason));
            }
            let file = File::create(path).map_err(|error| Error::io(path, error))?;
            (path.display().to_string(), Box::new(file))
        }
        None => ("<stdout>".to_owned(), Box::new(io::stdout().lock())),
    };
    let mut output = BufWriter::new(output);
    let mut totals = Totals::default();
    let checker = Checker::builder().lenient(arguments.lenient).build();
    let mut grader = Grader {
        checker,
        last: None,
    };
    let mut input = input;
    let mut bytes = Vec::new();
    let mut number = 0usize;
    loop {
        bytes.clear();
        let read = input
            .read_until(b'\n', &mut bytes)
            .map_err(|error| Error::io(&name, error))?;
        if read == 0 {
            break;
        }
        number += 1;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let row = match std::str::from_utf8(&bytes) {
            Ok(line) => grader.verdict(line),
            Err(error) => Err(BadRow {
                id: Value::Null,
                reason: format!("not UTF-8: {error}"),
            }),
        };
        let mut object = Map::new();
        match row {
            Ok((id, verdict)) => {
                let counts = totals.rules.entry(verdict.rule.to_string()).or_default();
                if verdict.equal {
                    counts.0 += 1;
                    totals.equal += 1;
                } else {
                    counts.1 += 1;
                    totals.different += 1;
                }
                object.insert("id".into(), id);
                object.insert("equal".into(), verdict.equal.into());
                object.insert("extracted".into(), verdict.extracted.into());
                object.insert("rule".into(), verdict.rule.into());
                object.insert("reason".into(), verdict.reason.into());
            }
            Err(bad) => {
                say!("{name}:{number}: {}", bad.reason);
                totals.bad += 1;
                object.insert("id".into(), bad.id);
                object.insert("equal".into(), false.into());
                object.insert(
                    "error".into(),
                    format!("{name}:{number}: {}", bad.reason).into(),
                );
            }
        }
        let write = serde_json::to_writer(&mut output, &object)
            .map_err(io::Error::from)
            .and_then(|()| output.write_all(b"\n"));
        write.map_err(|error| Error::io(&target, error))?;
    }
    output.flush().map_err(|error| Error::io(&target, error))?;
    if number == 0 {
        return Err(Error::new(ErrorKind::Data, format!("{name}: no rows")));
    }
    Ok(totals)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    match run(&arguments) {
        Ok(totals) => {
            let graded = totals.equal + totals.different;
            let seconds = start.elapsed().as_secs_f64();
            say!(
                "{graded} graded in {seconds:.3} s: {} equal, {} not, {} bad rows",
                totals.equal,
                totals.different,
                totals.bad
            );
            for (rule, (equal, different)) in &totals.rules {
                say!("  {rule:<14} {equal:>6} equal {different:>6} not");
            }
            ExitCode::from(u8::from(totals.bad > 0))
        }
        Err(error) => {
            say!("grade: {error}");
            ExitCode::from(2)
        }
    }
}
