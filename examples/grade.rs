//! Grades answers against references: JSONL in, JSONL out.
//!
//! ```sh
//! cargo run --release --no-default-features --example grade -- answers.jsonl > verdicts.jsonl
//! ```

mod common {
    pub(crate) mod rows;
    pub(crate) mod tool;
}

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use dart_math::answer::{Checker, Reference};
use dart_math::data::lines::Row;
use dart_math::report::counted;
use dart_math::{Error, Verdict};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use common::rows::{BadRows, Input};
use common::tool::{self, Failure, Stdout, Usage, say};

/// Grade answers or whole responses against references.
///
/// Each line of FILE is an object with `reference` and either `answer` (only the answer) or `response` (a
/// complete response, from which the final answer is extracted), and usually an `id` of any type. For each
/// line, one object `{"id","equal","extracted","rule","reason"}` is written, in the same order. FILE may also
/// be a JSON array of such objects.
///
/// For a bad line, an error is reported on stderr (for the first 20) and an object with `equal` false and an
/// `error` is written; the other lines are still graded. Exit status: 0 if every line was graded, 1 if some
/// were bad, there was none, or a file could not be read or written, 2 for invalid arguments.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The rows to grade; `-` reads standard input
    file: PathBuf,
    /// If a response has no answer marker, use its last formula or number
    #[arg(long)]
    lenient: bool,
    /// Numbers also equal a decimal reference if they round to its digits: 100/3 equals 33.3
    #[arg(long, conflicts_with = "relative_tolerance")]
    reference_digits: bool,
    /// Numbers are also equal if they differ by at most X times the reference
    #[arg(long, value_name = "X", value_parser = tolerance, allow_negative_numbers = true)]
    relative_tolerance: Option<f64>,
    /// Write the verdicts to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (0.0..1.0).contains(&x) => Ok(x),
        _ => Err("not a number from 0 to below 1".into()),
    }
}

impl Args {
    fn checker(&self) -> Checker {
        let mut checker = Checker::builder().lenient(self.lenient);
        if self.reference_digits {
            checker = checker.reference_digits();
        }
        if let Some(tolerance) = self.relative_tolerance {
            checker = checker.relative_tolerance(tolerance);
        }
        checker.build()
    }

    fn output(&self) -> Result<Output, Failure> {
        let Some(path) = &self.out else {
            return Ok(Output {
                file: None,
                writer: BufWriter::new(Box::new(io::stdout().lock())),
            });
        };
        if let (Ok(input), Ok(output)) = (self.file.canonicalize(), path.canonicalize())
            && input == output
        {
            let reason = format!("--out {}: that is the file to be graded", path.display());
            return Err(Usage(reason).into());
        }
        let file = File::create(path).map_err(|error| Error::io(path, error))?;
        Ok(Output {
            file: Some(path.clone()),
            writer: BufWriter::new(Box::new(file)),
        })
    }
}

/// The destination of verdicts: a file or standard output.
struct Output {
    file: Option<PathBuf>,
    writer: BufWriter<Box<dyn Write>>,
}

impl Output {
    fn row(&mut self, row: &impl Serialize) -> Result<(), Failure> {
        let written = serde_json::to_writer(&mut self.writer, row).map_err(io::Error::from);
        let written = written.and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| self.failed(error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.writer.flush();
        flushed.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Failure {
        match &self.file {
            Some(path) => Error::io(path, error).into(),
            None => Stdout(error).into(),
        }
    }
}

/// The counts for the summary.
#[derive(Default)]
struct Totals {
    equal: usize,
    different: usize,
    rules: BTreeMap<String, (usize, usize)>,
}

/// The output row of a verdict. The id is unchanged.
#[derive(Serialize)]
struct VerdictRow<'a> {
    id: &'a RawValue,
    equal: bool,
    extracted: Option<&'a str>,
    rule: &'a str,
    reason: &'a str,
}

/// The output row of a bad input row.
#[derive(Serialize)]
struct ErrorRow<'a> {
    id: &'a RawValue,
    equal: bool,
    error: &'a str,
}

/// Grades rows. Caches the last reference, since files often repeat it line by line.
struct Grader {
    checker: Checker,
    last: Option<(String, Reference)>,
}

impl Grader {
    /// Returns the verdict on a row. `numbers` are the numbers that JSON would print differently.
    fn verdict(
        &mut self,
        row: &serde_json::Map<String, Value>,
        numbers: &BTreeMap<String, String>,
    ) -> Result<Verdict, String> {
        let text = |name: &str| match row.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            // Data sets also have numeric answers.
            Some(Value::Number(number)) => {
                let written = numbers.get(name).cloned();
                Ok(Some(written.unwrap_or_else(|| number.to_string())))
            }
            Some(_) => Err(format!("`{name}` is neither text nor a number")),
        };
        let reference = text("reference")?.ok_or("no `reference`")?;
        if self
            .last
            .as_ref()
            .is_none_or(|(text, _)| *text != reference)
        {
            let read = self.checker.reference(&reference);
            self.last = Some((reference, read));
        }
        let Some((_, reference)) = &self.last else {
            return Err("no `reference`".into());
        };
        let verdict = match (text("answer")?, text("response")?) {
            (Some(answer), None) => reference.equal(&answer),
            (None, Some(response)) => reference.grade(&response),
            (None, None) => return Err("neither `answer` nor `response`".into()),
            (Some(_), Some(_)) => return Err("both `answer` and `response`".into()),
        };
        Ok(verdict)
    }
}

/// Returns a row's id as written; `null` if it has none.
fn id(row: &Row) -> serde_json::Result<Box<RawValue>> {
    let id = row.object.as_ref().ok().and_then(|row| row.get("id"));
    match row.numbers.get("id") {
        Some(written) => RawValue::from_string(written.clone()),
        None => to_raw_value(&id),
    }
}

/// Grades every row of the input.
fn grade(args: &Args, input: &mut Input, bad: &mut BadRows) -> Result<Totals, Failure> {
    let mut output = args.output()?;
    let mut totals = Totals::default();
    let mut grader = Grader {
        checker: args.checker(),
        last: None,
    };
    while let Some(row) = input.next()? {
        let id = &*id(&row)?;
        let verdict = match &row.object {
            Ok(object) => grader.verdict(object, &row.numbers),
            Err(reason) => Err(reason.clone()),
        };
        match verdict {
            Ok(verdict) => {
                let counts = totals.rules.entry(verdict.rule.to_string()).or_default();
                if verdict.equal {
                    counts.0 += 1;
                    totals.equal += 1;
                } else {
                    counts.1 += 1;
                    totals.different += 1;
                }
                output.row(&VerdictRow {
                    id,
                    equal: verdict.equal,
                    extracted: verdict.extracted.as_deref(),
                    rule: &verdict.rule,
                    reason: &verdict.reason,
                })?;
            }
            Err(reason) => {
                let error = format!("{}:{}: {reason}", input.name, row.line);
                bad.report(&error);
                output.row(&ErrorRow {
                    id,
                    equal: false,
                    error: &error,
                })?;
            }
        }
    }
    output.finish()?;
    Ok(totals)
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    let mut input = Input::open(&args.file)?;
    let mut bad = BadRows::default();
    let graded = grade(args, &mut input, &mut bad);
    bad.finish();
    let totals = graded?;
    let bad_rows = counted(bad.count, "bad row");
    say!(
        "{} graded in {:.3} s: {} equal, {} not; {bad_rows}",
        totals.equal + totals.different,
        start.elapsed().as_secs_f64(),
        totals.equal,
        totals.different,
    );
    for (rule, (equal, different)) in &totals.rules {
        say!("  {rule:<14} {equal:>6} equal {different:>6} not");
    }
    match bad.count {
        0 => Ok(ExitCode::SUCCESS),
        _ => Err(format!("{}: {bad_rows}", input.name).into()),
    }
}

fn main() -> ExitCode {
    tool::show_log();
    tool::exit(run(&Args::parse()))
}
