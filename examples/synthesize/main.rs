//! Makes a difficulty-balanced data set from problems and a model: the crate's main job.
//!
//! ```sh
//! cargo run --release --example synthesize                      # built-in model and problems
//! cargo run --release --example synthesize -- \
//!     --model Qwen/Qwen2.5-Math-1.5B-Instruct --problems gsm8k_train.jsonl --out data/gsm8k
//! ```

#[path = "../common"]
mod common {
    pub(crate) mod count;
    pub(crate) mod engine;
    pub(crate) mod kv_limit;
    pub(crate) mod setting;
    pub(crate) mod tool;
}
mod args;
mod check;
mod decontaminate;
mod directory;
mod forecast;
mod limits;
mod opening;
mod pool;
mod progress;
mod sampler;
mod signals;
mod summary;

use std::process::ExitCode;

use clap::Parser;
use dart_math::dars::{CancelHandle, RunStop};
use dart_math::report::counted;

use args::{Args, StrategyName};
use common::tool::{self, Failure, Usage, say};
use decontaminate::Decontaminated;
use progress::Display;

fn main() -> ExitCode {
    tool::show_log();
    match Args::try_parse() {
        Ok(args) => tool::exit(synthesize(&args)),
        Err(error) => match check::write_refusal(&error) {
            Ok(()) => error.exit(),
            Err(failure) => tool::exit(Err(failure)),
        },
    }
}

fn synthesize(args: &Args) -> Result<ExitCode, Failure> {
    if args.parquet && cfg!(not(feature = "parquet")) {
        let reason =
            "--parquet: built without the feature `parquet` (cargo run --features parquet …)";
        return Err(Usage(reason.into()).into());
    }
    if args.near_duplicates.is_some() && args.select.is_none() && args.merge.is_empty() {
        let reason = "--near-duplicates needs --select or --merge: a run that draws compares no texts (--dedup leaves \
                      out what is exactly the same)";
        return Err(Usage(reason.into()).into());
    }
    if let Some(format) = args.check_model {
        return check::run(args, format);
    }
    if let Some(table) = &args.dry_run {
        return forecast::run(args, table.as_deref());
    }
    if args.select.is_some() || !args.merge.is_empty() {
        return pool::run(args);
    }
    let strategy = args.strategy()?;
    let limits = args.limits();
    let (problems, skipped) = args.problems()?;
    let decontaminated = Decontaminated::find(args, &problems)?;
    if let Some(directory) = &args.out {
        directory::refuse_unknown(directory, args.fresh)?;
    }
    opening::say_all(args, problems.len(), &*strategy, limits);
    // Before anything is loaded, and before --fresh removes anything.
    let sampler = sampler::Sampler::new(args)?;
    let generator = sampler.generator();

    let count = problems.len();
    let display = Display::new(count, args.progress)?;
    let cancel = CancelHandle::new();
    signals::end_in_order(cancel.clone(), display.bar.clone(), args.out.is_some())?;

    let mut run = args
        .run(problems, strategy, limits)
        .exclude(decontaminated.excluded.clone())
        .observer(&display)
        .cancel(cancel);
    if let Some(directory) = &args.out {
        run = run.journal(directory.join(directory::JOURNAL));
    }
    let mut run = run.build()?;
    // Check first, so that nothing is created or removed for a run that cannot begin.
    let checked = run.check(generator);
    checked.map_err(|error| args.engine.explain(error))?;
    if let Some(directory) = &args.out {
        directory::prepare(directory, args.fresh)?;
    }
    if args.regrade {
        let regraded = run.regrade(generator, &*args.grader());
        let regraded = regraded.map_err(|error| args.explain(error, count))?;
        say!(
            "graded anew: {}, of which {} are correct now that were wrong, and {} wrong that were correct",
            counted(regraded.trials, "trial"),
            regraded.newly_correct,
            regraded.newly_wrong
        );
    }
    let outcome = run.run(generator, &*args.grader());
    display.bar.finish_and_clear();
    let mut outcome = outcome.map_err(|error| args.explain(error, count))?;

    let manifest = summary::manifest(args, &outcome, &skipped, &decontaminated);
    if let Some(error) = outcome.error.take_if(|error| {
        // The files belong to another run and must not be replaced, or there are no results.
        error.kind() == dart_math::ErrorKind::Journal || outcome.totals.trials == 0
    }) {
        return Err(error.into());
    }
    if outcome.stop == RunStop::Interrupted && outcome.totals.trials == 0 {
        say!(
            "{}, before anything was sampled: nothing is written",
            outcome.stop
        );
        return Ok(ExitCode::from(130));
    }
    let published = summary::publish(args, &outcome, &manifest);
    if let (Some(directory), Ok(changed), true) = (
        &args.out,
        &published,
        outcome.totals.drawn == 0 && outcome.finished(),
    ) {
        if !changed {
            say!(
                "{} holds this run already, finished, with {}: nothing to do (--fresh begins anew)",
                directory.display(),
                counted(outcome.totals.kept, "response")
            );
            return Ok(ExitCode::SUCCESS);
        }
        say!(
            "{}: the run is finished, but its files are not what the journal, the problems and the \
             command say: written anew",
            directory.display()
        );
    }
    summary::say_all(args, &outcome, &manifest, Some(&sampler), published.is_ok());
    let code = summary::exit_code(&outcome);
    let code = tool::exit(published.map(|_| code));
    Ok(match (outcome.stop, outcome.error) {
        (RunStop::Interrupted, _) | (_, None) => code,
        (_, Some(error)) => tool::exit(Err(error.into())),
    })
}
