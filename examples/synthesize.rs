//! Problems and a model in, a difficulty-balanced data set out: the crate's main job.
//!
//! ```sh
//! cargo run --release --example synthesize                      # built-in model and problems
//! cargo run --release --example synthesize -- \
//!     --model Qwen/Qwen2.5-Math-1.5B-Instruct --problems gsm8k_train.jsonl --out data/gsm8k
//! ```

mod common {
    pub(crate) mod engine;
    pub(crate) mod tool;
}

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use dart_math::answer::Checker;
use dart_math::dars::{
    CancelHandle, Limits, Observer, Outcome, Progress, Prop2Diff, Run, RunStop, Strategy, Uniform,
    Vanilla,
};
use dart_math::data::arithmetic::{self, Asked, StepGrader};
use dart_math::data::problems::{OnBadRow, read};
use dart_math::data::{DataSet, pass_rates};
use dart_math::report::LevelTable;
use dart_math::{Grader, Problem, Settings};
use indicatif::{ProgressBar, ProgressStyle};

use common::tool::{self, Failure, Stdout, Usage, say};

/// Problems of each level that are made where no file of problems is given.
const MADE_PER_LEVEL: usize = 30;
/// The run's journal, beside the data set's files.
const JOURNAL: &str = "journal.jsonl";
const FILES: [&str; 4] = [
    "dataset.jsonl",
    "trials.jsonl",
    "problems.jsonl",
    "manifest.json",
];

/// Sample solutions of mathematical problems with a language model, check their answers, and keep
/// as many correct ones of each problem as its difficulty asks for.
///
/// Exit status: 0 if all was done, 1 if something failed, 2 if the arguments make no sense, 130
/// after Ctrl-C.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Problems: JSONL as GSM8K's, as MATH's, or {"id", "question", "reference"} [default:
    /// arithmetic word problems made for the purpose]
    #[arg(long, value_name = "FILE.jsonl")]
    problems: Option<PathBuf>,
    /// Of the built-in problems those that ask for the last number only: wrong derivations often end
    /// in it, as --grader steps shows
    #[arg(long, conflicts_with = "problems")]
    last_value: bool,
    /// What decides that a response is correct
    #[arg(long, value_enum, default_value = "answer")]
    grader: GraderName,
    /// Take only the first N problems
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Leave out rows that are not problems, instead of giving up
    #[arg(long)]
    skip_bad: bool,

    /// How many responses each problem is to get
    #[arg(
        long,
        value_enum,
        default_value = "prop2diff",
        help_heading = "Strategy"
    )]
    strategy: StrategyName,
    /// uniform: correct responses per problem [default: 4; the preset's: 40]; prop2diff: those of a
    /// problem that is never solved [default: 4; the preset's: 192]
    #[arg(long, value_name = "N", help_heading = "Strategy")]
    k: Option<u32>,
    /// vanilla: trials per problem [default: 8; the preset's: 52]
    #[arg(long, value_name = "N", help_heading = "Strategy")]
    trials: Option<u32>,
    /// The most trials of one problem [default: 48; the preset's: 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Strategy")]
    max_trials: Option<u32>,
    /// prop2diff: first trials of a problem that tell its difficulty [default: 4; the
    /// preset's: 8]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "pass_rates",
        help_heading = "Strategy"
    )]
    pilot: Option<u32>,
    /// prop2diff: pass rates from a table instead, JSONL {"id", "pass_rate"}, such as an earlier
    /// run's problems.jsonl
    #[arg(long, value_name = "FILE.jsonl", help_heading = "Strategy")]
    pass_rates: Option<PathBuf>,
    /// Key of all random numbers
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Strategy")]
    seed: u64,

    /// Write the data set here; a directory that holds a run of the same configuration is resumed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Begin anew, whatever run DIR holds
    #[arg(long, requires = "out")]
    fresh: bool,
    #[command(flatten)]
    engine: common::engine::EngineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyName {
    /// The same number of trials for every problem, every correct response kept
    Vanilla,
    /// The same number of correct responses for every problem
    Uniform,
    /// Correct responses in proportion to the fail rate, at least one
    Prop2diff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GraderName {
    /// Its final answer
    Answer,
    /// Every step, too: for the built-in problems
    Steps,
}

fn main() -> ExitCode {
    tool::show_log();
    tool::exit(synthesize(&Args::parse()))
}

fn synthesize(args: &Args) -> Result<ExitCode, Failure> {
    let strategy = args.strategy()?;
    let limits = args.limits();
    let problems = args.problems()?;
    if let Some(directory) = &args.out {
        prepare(directory, args.fresh)?;
    }
    // Before anything is loaded, and before --fresh removes anything.
    let engine = args.engine.builder()?.build()?;

    let cancel = CancelHandle::new();
    let handle = cancel.clone();
    ctrlc::set_handler(move || {
        if handle.is_cancelled() {
            // The second time the user means it; the journal is whole at any time.
            std::process::exit(130);
        }
        handle.cancel();
    })?;

    let count = problems.len();
    let display = Display::new(count)?;
    let mut run = Run::builder(problems)
        .strategy(strategy)
        .limits(limits)
        .seed(args.seed)
        .observer(&display)
        .cancel(cancel);
    if let Some(directory) = &args.out {
        run = run.journal(directory.join(JOURNAL));
    }
    let run = run.build()?;
    if let (Some(directory), true) = (&args.out, args.fresh) {
        clear(directory)?;
    }
    let outcome = run.run(&engine, &*args.grader());
    display.bar.finish_and_clear();
    let outcome = outcome.map_err(|error| args.explain(error))?;

    if let Some(directory) = &args.out
        && outcome.totals.drawn == 0
        && is_published(directory, &outcome)
    {
        say!(
            "{} holds this run already, finished, with {} responses: nothing to do \
             (--fresh begins anew)",
            directory.display(),
            outcome.totals.kept
        );
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(error) = &outcome.error
        && error.kind() == dart_math::ErrorKind::Journal
    {
        // Someone else's run: its files are not ours to replace.
        return Err(error.to_string().into());
    }
    let published = publish(args, &outcome);
    summarise(args, &outcome, &engine, published.is_ok());
    if let Some(error) = &outcome.error {
        tool::report(error);
    }
    let code = tool::exit(published.map(|()| ExitCode::SUCCESS));
    Ok(match (outcome.stop, outcome.error) {
        (RunStop::Interrupted, _) => ExitCode::from(130),
        (_, Some(_)) => ExitCode::FAILURE,
        (_, None) => code,
    })
}

impl Args {
    fn strategy(&self) -> Result<Box<dyn Strategy>, Failure> {
        let paper = self.engine.preset.is_some();
        let only =
            |flag: &str, given: bool, name: StrategyName| match given && self.strategy != name {
                true => Err(Usage(format!("{flag} is of no use to this strategy"))),
                false => Ok(()),
            };
        only("--trials", self.trials.is_some(), StrategyName::Vanilla)?;
        only("--pilot", self.pilot.is_some(), StrategyName::Prop2diff)?;
        let table = self.pass_rates.is_some();
        only("--pass-rates", table, StrategyName::Prop2diff)?;
        if self.k.is_some() && self.strategy == StrategyName::Vanilla {
            return Err(Usage("--k is of no use to this strategy".into()).into());
        }
        let k = |own, papers| self.k.unwrap_or(if paper { papers } else { own });
        Ok(match (self.strategy, &self.pass_rates) {
            (StrategyName::Vanilla, _) => Box::new(Vanilla {
                trials: self.trials.unwrap_or(if paper { 52 } else { 8 }),
            }),
            (StrategyName::Uniform, _) => Box::new(Uniform { k: k(4, 40) }),
            (StrategyName::Prop2diff, None) => {
                let pilot = self.pilot.unwrap_or(if paper { 8 } else { 4 });
                Box::new(Prop2Diff::with_pilot(k(4, 192), pilot))
            }
            (StrategyName::Prop2diff, Some(table)) => Box::new(Prop2Diff::with_pass_rates(
                k(4, 192),
                pass_rates::read(table)?,
            )),
        })
    }

    fn grader(&self) -> Box<dyn Grader> {
        match self.grader {
            GraderName::Answer => Box::new(Checker::default()),
            GraderName::Steps => Box::new(StepGrader),
        }
    }

    fn limits(&self) -> Limits {
        let most = match (self.strategy, self.engine.preset) {
            // The strategy has a number of trials of its own.
            (StrategyName::Vanilla, _) => None,
            (_, None) => Some(48),
            (_, Some(_)) => Some(2048),
        };
        Limits {
            trials_per_problem: self.max_trials.or(most),
            ..Limits::default()
        }
    }

    fn problems(&self) -> Result<Vec<Problem>, Failure> {
        let mut problems = match &self.problems {
            None if self.skip_bad => {
                return Err(Usage("--skip-bad is of no use without --problems".into()).into());
            }
            Some(_) if self.grader == GraderName::Steps => {
                let reason = "--grader steps knows the built-in problems only, not --problems";
                return Err(Usage(reason.into()).into());
            }
            None => {
                let asked = match self.last_value {
                    true => Asked::LastValue,
                    false => Asked::EveryValue,
                };
                // One of each level in turn, so that a limit leaves all levels in.
                let levels = arithmetic::LEVELS;
                let made = arithmetic::problems_asking(asked, levels, MADE_PER_LEVEL, 0);
                let turn = |index: usize| made.iter().skip(index).step_by(MADE_PER_LEVEL).cloned();
                (0..MADE_PER_LEVEL).flat_map(turn).collect()
            }
            Some(path) => {
                let on_bad_row = match self.skip_bad {
                    true => OnBadRow::Skip,
                    false => OnBadRow::Fail,
                };
                let (problems, bad) = read(path, on_bad_row)?;
                if let Some(first) = bad.first() {
                    say!(
                        "{}: left out {} bad rows, the first at {first}",
                        path.display(),
                        bad.len()
                    );
                }
                problems
            }
        };
        if let Some(limit) = self.limit {
            problems.truncate(limit);
        }
        Ok(problems)
    }

    /// Says what can be done about a journal that is another run's.
    fn explain(&self, error: dart_math::Error) -> Failure {
        match (error.kind(), &self.out) {
            (dart_math::ErrorKind::Journal, Some(_)) => {
                format!("{error} (--fresh begins anew, another --out leaves it alone)").into()
            }
            _ => error.into(),
        }
    }
}

/// Makes the directory ready, and refuses one that holds a data set of unknown origin.
fn prepare(directory: &Path, fresh: bool) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| dart_math::Error::io(directory, error))?;
    if !fresh
        && !has_header(&directory.join(JOURNAL))
        && let Some(name) = FILES.iter().find(|name| directory.join(name).exists())
    {
        return Err(format!(
            "{} has a {name}, but no {JOURNAL} to resume from (--fresh would replace it)",
            directory.display()
        )
        .into());
    }
    Ok(())
}

/// Whether there is a journal with at least its first line.
fn has_header(journal: &Path) -> bool {
    let mut line = Vec::new();
    fs::File::open(journal).is_ok_and(|file| {
        let read = BufReader::new(file)
            .take(1 << 20)
            .read_until(b'\n', &mut line);
        read.is_ok() && line.ends_with(b"\n")
    })
}

/// Removes an earlier run, unless it is still going on.
fn clear(directory: &Path) -> Result<(), Failure> {
    let journal = directory.join(JOURNAL);
    if let Ok(file) = fs::File::open(&journal)
        && matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    {
        return Err(format!("{}: another run is writing to it", journal.display()).into());
    }
    for name in [JOURNAL].iter().chain(&FILES) {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(dart_math::Error::io(&path, error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many lines a file of the data set has.
fn lines(path: &Path) -> Option<u64> {
    let mut reader = BufReader::new(fs::File::open(path).ok()?);
    let mut count = 0;
    while reader.skip_until(b'\n').ok()? > 0 {
        count += 1;
    }
    Some(count)
}

/// Whether the directory has the files of this very outcome.
fn is_published(directory: &Path, outcome: &Outcome) -> bool {
    let Ok(bytes) = fs::read(directory.join("manifest.json")) else {
        return false;
    };
    let Ok(manifest) = serde_json::from_slice::<Settings>(&bytes) else {
        return false;
    };
    outcome.finished()
        && [
            ("dataset.jsonl", outcome.totals.kept),
            ("trials.jsonl", outcome.trials.len() as u64),
            ("problems.jsonl", outcome.problems.len() as u64),
        ]
        .iter()
        .all(|&(name, rows)| lines(&directory.join(name)) == Some(rows))
        && [
            ("trials", outcome.totals.trials),
            ("correct", outcome.totals.correct),
            ("kept", outcome.totals.kept),
        ]
        .iter()
        .all(|&(name, count)| {
            manifest.get("totals").and_then(|totals| totals.get(name)) == Some(&count.into())
        })
        && manifest.get("stop").and_then(|stop| stop.as_str()) == Some(outcome.stop.name())
        && manifest.get("limits") == Some(&outcome.limits.clone().into())
}

/// Writes the data set to its directory, or to a standard output that is not a terminal.
fn publish(args: &Args, outcome: &Outcome) -> Result<(), Failure> {
    if let Some(directory) = &args.out {
        let mut manifest = outcome.manifest();
        let source = match &args.problems {
            Some(path) => path.file_name().map(|name| name.to_string_lossy()),
            None => Some("data::arithmetic".into()),
        };
        manifest.insert("problems_from".into(), source.into());
        DataSet {
            problems: &outcome.problems,
            trials: &outcome.trials,
            manifest: &manifest,
        }
        .write(directory)?;
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        return Ok(());
    }
    let questions: std::collections::HashMap<&str, &str> = outcome
        .problems
        .iter()
        .map(|record| (&*record.problem.id, &*record.problem.question))
        .collect();
    for trial in outcome.accepted() {
        let row = serde_json::json!({
            "query": questions.get(&*trial.problem),
            "response": trial.response,
        });
        writeln!(out, "{row}").map_err(Stdout)?;
    }
    out.flush().map_err(Stdout)?;
    Ok(())
}

fn summarise(args: &Args, outcome: &Outcome, engine: &dart_math::engine::Engine, published: bool) {
    let totals = &outcome.totals;
    say!(
        "{}",
        LevelTable::new(&outcome.problems).to_string().trim_end()
    );
    say!(
        "{} of {} problems have all they were to get; {} responses kept of {} trials ({} resumed) \
         in {:.1} s",
        totals.met,
        totals.problems,
        totals.kept,
        totals.trials,
        totals.resumed,
        totals.seconds
    );
    say!("{}", engine.statistics());
    if !outcome.finished() {
        say!("{}: what is complete was kept", outcome.stop);
    }
    let again = match args.fresh {
        true => "the same command without --fresh",
        false => "the same command",
    };
    match &args.out {
        Some(directory) if !published => say!(
            "not written to {}; {again} goes on from its {JOURNAL}",
            directory.display()
        ),
        Some(directory) if outcome.finished() => say!("written to {}", directory.display()),
        Some(directory) => say!(
            "written to {}; {again} goes on from there",
            directory.display()
        ),
        None if !published || std::io::stdout().is_terminal() => {
            say!("--out DIR keeps the data set")
        }
        None => {}
    }
}

/// Shows a run's progress: a line that moves on a terminal, a line now and then elsewhere.
struct Display {
    bar: ProgressBar,
    spoken: Option<Mutex<Instant>>,
}

impl Display {
    fn new(problems: usize) -> Result<Self, Failure> {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} problems, {msg}")?;
        let bar = ProgressBar::new(problems as u64).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        let terminal = std::io::stderr().is_terminal();
        Ok(Display {
            bar,
            spoken: (!terminal).then(|| Mutex::new(Instant::now())),
        })
    }
}

impl Observer for Display {
    fn progress(&self, progress: &Progress) {
        let seconds = progress.elapsed.as_secs_f64().max(1e-3);
        let drawn = progress.trials.saturating_sub(progress.resumed) as f64;
        let eta = match drawn > 0.0 {
            true => clock(progress.expected as f64 * seconds / drawn),
            false => "?".into(),
        };
        let message = format!(
            "{} met, {} correct of {} trials, {:.0} tokens/s, {} gone, {eta} to go",
            progress.met,
            progress.correct,
            progress.trials,
            progress.tokens as f64 / seconds,
            clock(seconds),
        );
        if let Some(spoken) = &self.spoken {
            let mut spoken = spoken.lock().unwrap_or_else(|error| error.into_inner());
            if spoken.elapsed() >= Duration::from_secs(10) {
                *spoken = Instant::now();
                say!(
                    "{}/{} problems, {message}",
                    progress.done,
                    progress.problems
                );
            }
        }
        self.bar.set_position(progress.done as u64);
        self.bar.set_message(message);
    }
}

/// Seconds as a person reads them.
fn clock(seconds: f64) -> String {
    match seconds as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{}:{:02}", s / 60, s % 60),
        s => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
    }
}
