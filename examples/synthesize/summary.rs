//! What a run ends with: its data set, and what is said about it.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};

use dart_math::dars::{Outcome, RunStop};
use dart_math::data::DataSet;
use dart_math::engine::Engine;
use dart_math::report::LevelTable;

use crate::Args;
use crate::common::tool::{Failure, Stdout, say};
use crate::directory::JOURNAL;

/// Writes the data set to its directory, or to a standard output that is not a terminal.
pub(crate) fn publish(args: &Args, outcome: &Outcome) -> Result<(), Failure> {
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
    let questions: HashMap<&str, &str> = outcome
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

/// Says what became of the run, what is kept of it, and how it goes on where it has not ended.
pub(crate) fn say_all(args: &Args, outcome: &Outcome, engine: &Engine, published: bool) {
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
    match (totals.duplicates, args.dedup) {
        (0, _) => {}
        (count, true) => say!("{count} correct responses were left out as duplicates"),
        (count, false) => say!(
            "{count} of the responses kept are exactly another one of the same problem (--dedup \
             leaves such out)"
        ),
    }
    if totals.truncated > 0 || totals.unfinished_reasoning > 0 {
        say!(
            "{} trials were cut off at the limit of tokens (--max-new-tokens), and {} ended within their \
             reasoning, without `</think>`",
            totals.truncated,
            totals.unfinished_reasoning
        );
    }
    let mut rejected = outcome.problems.iter().filter_map(|record| {
        let reason = record.rejection.as_deref()?;
        Some((&record.problem.id, reason))
    });
    if let Some((id, reason)) = rejected.next() {
        say!(
            "{} problems cannot be sampled: {id:?}: {reason}",
            totals.rejected
        );
    }
    say!("{}", engine.statistics());
    if !outcome.finished() {
        let open = outcome
            .problems
            .iter()
            .filter(|record| record.stop == dart_math::StopReason::RunEnded);
        say!(
            "{}: the {} responses so far are kept, and {} problems are not done",
            outcome.stop,
            totals.kept,
            open.count()
        );
    }
    say_where(args, outcome, published);
}

/// Says where the data set is, and how the run goes on.
fn say_where(args: &Args, outcome: &Outcome, published: bool) {
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
            say!("--out DIR keeps the data set, and lets a run go on where it was stopped")
        }
        None if outcome.stop == RunStop::Interrupted => say!(
            "written to standard output; only a run with --out DIR can go on where it was stopped"
        ),
        None => {}
    }
}
