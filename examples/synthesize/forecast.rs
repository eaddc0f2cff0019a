//! Forecasts a run, and later compares the forecast with the result.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use dart_math::dars::{
    Basis, Costs, Expected, Forecast, ForecastRow, Known, Limits, Outcome, Vanilla,
};
use dart_math::data::pass_rates::{self, PassRate};
use dart_math::report::counted;
use dart_math::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::common::tool::{Failure, Usage, say};
use crate::decontaminate::Decontaminated;
use crate::{Args, directory};

/// The file of a directory's last forecast.
const FILE: &str = "forecast.json";

/// Prints the forecast, from a table or the directory's journal.
pub(crate) fn run(args: &Args, table: Option<&Path>) -> Result<ExitCode, Failure> {
    let (problems, _) = args.problems()?;
    let excluded = Decontaminated::find(args, &problems)?.excluded;
    let run = args.run(problems.clone(), args.strategy()?, args.limits());
    let run = run.exclude(excluded.clone()).build()?;
    let costs = Costs {
        tokens_per_trial: args.expect_tokens,
        tokens_per_second: args.expect_speed,
    };
    let forecast = match (table, &args.out) {
        (Some(path), _) => {
            let table: HashMap<String, Known> = pass_rates::read_counts(path)?
                .into_iter()
                .map(|(id, row)| (id, known(row)))
                .collect();
            let forecast = run.forecast(Basis::Table(&table), costs);
            forecast.map_err(|error| -> Failure {
                match error.kind() {
                    ErrorKind::Data => format!("{}: {}", path.display(), error.detail()).into(),
                    _ => error.into(),
                }
            })?
        }
        (None, Some(out)) if out.join(directory::JOURNAL).exists() => {
            // All of its trials, whatever they were drawn for.
            let strategy = Box::new(Vanilla { trials: u32::MAX });
            let everything = args.run(problems, strategy, Limits::default());
            let journal = out.join(directory::JOURNAL);
            let everything = everything.exclude(excluded).journal(journal);
            let so_far = everything.build()?.select()?;
            say!("so far: {}", counted(so_far.totals.trials, "trial"));
            run.forecast(Basis::Trials(&so_far), costs)?
        }
        (None, _) => {
            let reason = "--dry-run needs pass rates: --dry-run=TABLE, or --out DIR with a journal (of a pilot, for \
                          instance: the same command with --strategy vanilla --trials 8)";
            return Err(Usage(reason.into()).into());
        }
    };
    say_table(&forecast);
    if let (Some(last), Some(limit)) = (forecast.rows.last(), args.limits().trials_per_problem)
        && last.trials_per_problem < limit
    {
        let last = last.trials_per_problem;
        say!("the run's own limit, {limit} trials a problem, is not simulated: {last} is the most");
    }
    let kept = args.out.as_deref().map(|out| out.join(FILE));
    if let (None, Some(path)) = (table, kept.filter(|path| path.exists())) {
        say!(
            "{} is left as it is: what was expected before stays beside what comes",
            path.display()
        );
    } else if let Some(out) = &args.out {
        fs::create_dir_all(out).map_err(|error| Error::io(out, error))?;
        let path = out.join(FILE);
        let text = format!("{:#}\n", json!(forecast));
        fs::write(&path, text).map_err(|error| Error::io(&path, error))?;
        say!("kept in {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn known(row: PassRate) -> Known {
    match row.counts {
        Some((trials, correct)) => Known::Counts { trials, correct },
        None => Known::Rate(row.rate),
    }
}

fn say_table(forecast: &Forecast) {
    let number = |it: Expected| format!("{:.0} ({:.0} to {:.0})", it.mean, it.low, it.high);
    let percent = |it: Expected| {
        let [mean, low, high] = [it.mean, it.low, it.high].map(|share| 100.0 * share);
        format!("{mean:.1} % ({low:.1} to {high:.1})")
    };
    let hours = |it: Expected| {
        let (unit, seconds) = match it.mean {
            0.0..300.0 => ("s", 1.0),
            300.0..18_000.0 => ("min", 60.0),
            _ => ("h", 3600.0),
        };
        let [mean, low, high] = [it.mean, it.low, it.high].map(|it| it / seconds);
        format!("{mean:.1} {unit} ({low:.1} to {high:.1})")
    };
    say!("expected, and an interval of 95 %, by limit of trials a problem:");
    for row in &forecast.rows {
        let mut parts = vec![
            format!("{} trials", number(row.trials)),
            format!("{} rows", number(row.kept)),
            format!("{} of the targets met", percent(row.met)),
        ];
        parts.extend(
            row.tokens
                .map(|tokens| format!("{} tokens", number(tokens))),
        );
        parts.extend(row.seconds.map(hours));
        say!("  {:>6}: {}", row.trials_per_problem, parts.join(", "));
    }
    if forecast.unknown > 0 {
        say!(
            "{} without a pass rate: taken to be as the others are",
            counted(forecast.unknown, "problem")
        );
    }
}

/// Returns a directory's forecast for the run's limit with the actual result, for the manifest.
pub(crate) fn beside_actual(directory: &Path, outcome: &Outcome) -> Option<Value> {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        read => read.map_err(|error| error.to_string()),
    };
    let forecast = text.and_then(|text| {
        serde_json::from_str::<Forecast>(&text).map_err(|error| error.to_string())
    });
    let forecast = match forecast {
        Ok(forecast) => forecast,
        Err(reason) => {
            say!(
                "note: {} is no forecast, and is left aside: {reason}",
                path.display()
            );
            return None;
        }
    };
    let limit = outcome.limits.get("trials_per_problem")?.as_u64();
    let is_its =
        |row: &&ForecastRow| limit.is_none_or(|limit| u64::from(row.trials_per_problem) == limit);
    let Some(row) = forecast.rows.iter().rev().find(is_its) else {
        say!(
            "note: {} has no row for this run's limit of trials a problem, and is left aside",
            path.display()
        );
        return None;
    };
    let totals = &outcome.totals;
    let beside = |expected: Expected, actual: f64| {
        json!({
            "expected": expected.mean, "low": expected.low, "high": expected.high, "actual": actual,
        })
    };
    let seconds: f64 = outcome.sessions.iter().filter_map(|it| it.seconds).sum();
    // Excluded problems are not part of a forecast.
    let problems = totals.problems - totals.excluded;
    let met = totals.met as f64 / problems.max(1) as f64;
    Some(json!({
        "trials_per_problem": row.trials_per_problem,
        "trials": beside(row.trials, totals.trials as f64),
        "tokens": row.tokens.map(|it| beside(it, totals.tokens as f64)),
        "seconds": row.seconds.map(|it| beside(it, seconds)),
        "kept": beside(row.kept, totals.kept as f64),
        "met": beside(row.met, met),
    }))
}
