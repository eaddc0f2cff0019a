//! The end of a run: writes the data set and prints a summary.

use std::collections::HashMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use dart_math::answer::Checker;
use dart_math::dars::{Outcome, RunStop};
use dart_math::data::problems::BadRow;
use dart_math::data::{DataSet, Format, Solutions, WriteOptions, dataset_info};
use dart_math::report::{Card, LevelTable, card_figures, counted, printable};
use dart_math::{Settings, StopReason};
use serde_json::Value;

use crate::Args;
use crate::common::tool::{Failure, Stdout, say};
use crate::decontaminate::Decontaminated;
use crate::directory::JOURNAL;
use crate::forecast::beside_actual;
use crate::sampler::Sampler;

/// The exit status if a limit of the whole run, or too few trials in a journal, leave problems undone.
const NOT_DONE: u8 = 3;
/// The maximum number of skipped rows listed in a manifest.
const MAX_NAMED: usize = 100;

/// The format of the data set's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// {"query", "response"}, the columns of the published DART-Math data sets
    Pairs,
    /// {"messages": [{"role": "user", "content"}, {"role": "assistant", "content"}]}
    Chat,
    /// {"instruction", "input", "output"}
    Alpaca,
}

impl FormatName {
    fn format(self) -> Format {
        match self {
            FormatName::Pairs => Format::Pairs,
            FormatName::Chat => Format::Chat,
            FormatName::Alpaca => Format::Alpaca,
        }
    }
}

/// Parses a licence's identifier in the Hub's form.
pub(crate) fn license(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.+_".contains(c);
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("no identifier such as mit or cc-by-4.0".into()),
    }
}

/// Returns the manifest of a run: the library's, plus the source of the problems.
pub(crate) fn manifest(
    args: &Args,
    outcome: &Outcome,
    skipped: &[BadRow],
    decontaminated: &Decontaminated,
) -> Settings {
    let mut manifest = outcome.manifest();
    let source = match &args.problems {
        Some(path) => path.file_name().map(|name| name.to_string_lossy()),
        None => Some("data::arithmetic".into()),
    };
    manifest.insert("problems_from".into(), source.into());
    manifest.insert("skip_bad".into(), args.skip_bad.into());
    manifest.insert("format".into(), args.format.format().name().into());
    if let Some(forecast) = args
        .out
        .as_deref()
        .and_then(|out| beside_actual(out, outcome))
    {
        manifest.insert("forecast".into(), forecast);
    }
    if let Some(shard) = args.shard {
        let shard = serde_json::json!({"index": shard.index, "count": shard.count});
        manifest.insert("shard".into(), shard);
    }
    let row = |row: &BadRow| serde_json::json!({"line": row.line, "reason": row.reason});
    let rows: Vec<Value> = skipped.iter().take(MAX_NAMED).map(row).collect();
    manifest.insert(
        "skipped_rows".into(),
        serde_json::json!({"count": skipped.len(), "first": rows}),
    );
    if let Some(decontamination) = decontaminated.manifest() {
        manifest.insert("decontamination".into(), decontamination);
    }
    // Computed here because the data card is written before the files. (If the trials cannot be read, writing
    // reports it.)
    if args.with_solutions
        && let Ok(solutions) = solutions(outcome)
    {
        manifest.insert("solutions".into(), serde_json::json!(solutions.counts()));
    }
    manifest
}

/// Returns the problems' solutions, with those that equal kept responses marked.
fn solutions(outcome: &Outcome) -> Result<Solutions<'_>, Failure> {
    let mut solutions = Solutions::new(&outcome.problems);
    for trial in outcome.accepted() {
        solutions.see(&trial?);
    }
    Ok(solutions)
}

/// Writes the data set to its directory, or to a standard output that is not a terminal. Returns whether
/// anything changed.
pub(crate) fn publish(
    args: &Args,
    outcome: &Outcome,
    manifest: &Settings,
) -> Result<bool, Failure> {
    let format = args.format.format();
    if let Some(directory) = &args.out {
        let card = args.card.then(|| card(args, outcome, manifest));
        // Majority answers use the checker's equivalence, whatever graded the responses.
        let checker = Checker::default();
        let mut options = WriteOptions::new()
            .format(format)
            .parquet(args.parquet)
            .solutions(args.with_solutions)
            .majority_by(&checker);
        if let Some(card) = &card {
            options = options.card(card).figures(&card_figures);
        }
        let changed = DataSet {
            problems: &outcome.problems,
            manifest,
        }
        .write_with(directory, outcome.trials(), options)?;
        let readme = directory.join("README.md");
        if changed && !args.card && fs::read_to_string(&readme).is_ok_and(|it| Card::is_card(&it)) {
            say!(
                "note: {} is the card of the files as they were before: --card writes it anew",
                readme.display()
            );
        }
        return Ok(changed);
    }
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        return Ok(true);
    }
    let questions: HashMap<&str, &str> = outcome
        .problems
        .iter()
        .map(|record| (&*record.problem.id, &*record.problem.question))
        .collect();
    let mut write = |question: &str, response: &str| -> Result<(), Failure> {
        let row = serde_json::to_string(&format.row(question, response))?;
        writeln!(out, "{row}").map_err(Stdout)?;
        Ok(())
    };
    for trial in outcome.accepted() {
        let trial = trial?;
        let question = questions.get(&*trial.problem).copied().unwrap_or_default();
        write(question, &trial.response)?;
    }
    if args.with_solutions {
        for (problem, solution) in solutions(outcome)?.rows() {
            write(&problem.question, solution)?;
        }
    }
    out.flush().map_err(Stdout)?;
    Ok(true)
}

/// Returns the data card, named after the directory.
fn card(args: &Args, outcome: &Outcome, manifest: &Settings) -> String {
    let name = args.out.as_deref().and_then(|out| out.file_name());
    let name = name.map(|name| name.to_string_lossy());
    let info = dataset_info(args.format.format());
    let mut card = Card::new(&outcome.problems, manifest)
        .parquet(args.parquet)
        .figures(true)
        .dataset_info(&info);
    if let Some(name) = &name {
        card = card.name(name);
    }
    if let Some(license) = &args.license {
        card = card.license(license);
    }
    card.to_string()
}

/// Returns the exit status of a run whose data set is written.
pub(crate) fn exit_code(outcome: &Outcome) -> ExitCode {
    match outcome.stop {
        RunStop::Finished => ExitCode::SUCCESS,
        RunStop::Interrupted => ExitCode::from(130),
        _ => ExitCode::from(NOT_DONE),
    }
}

/// Prints the result of the run, what is kept, and how to resume it if it has not ended.
pub(crate) fn say_all(
    args: &Args,
    outcome: &Outcome,
    manifest: &Settings,
    sampler: Option<&Sampler>,
    published: bool,
) {
    let totals = &outcome.totals;
    say!(
        "{}",
        LevelTable::new(&outcome.problems).to_string().trim_end()
    );
    say!("{}", problems_by_end(outcome));
    say!("{}", trials_by_use(args, outcome));
    let dedup = args.dedup || args.near_duplicates.is_some();
    if let (count @ 1.., false) = (totals.duplicates, dedup) {
        let are = if count == 1 { "is" } else { "are" };
        say!(
            "duplicates: {count} of the responses kept {are} exactly another one of the same problem \
             (--dedup leaves such out)"
        );
    }
    if totals.truncated > 0 || totals.unfinished_reasoning > 0 {
        say!("{}", cut_off(outcome));
    }
    say_left_out(outcome);
    if let Some(solutions) = manifest.get("solutions") {
        say!("{}", solutions_by_use(solutions));
    }
    if let Some(sampler) = sampler.filter(|_| totals.drawn > 0) {
        sampler.say_statistics();
    }
    if !outcome.finished() {
        say!(
            "{}: kept so far: {}; not done: {}",
            outcome.stop,
            counted(totals.kept, "response"),
            counted(ended_by(outcome, StopReason::RunEnded), "problem")
        );
    }
    say_where(args, outcome, published);
}

/// Prints how many problems could not be sampled or were excluded, with an example of each.
fn say_left_out(outcome: &Outcome) {
    for (stop, count, what) in [
        (
            StopReason::Rejected,
            outcome.totals.rejected,
            "cannot be sampled",
        ),
        (StopReason::Excluded, outcome.totals.excluded, "excluded"),
    ] {
        let example = outcome.problems.iter().find(|record| record.stop == stop);
        if let Some(record) = example {
            say!(
                "{} {what}: {:?}: {}",
                counted(count, "problem"),
                record.problem.id,
                printable(record.rejection.as_deref().unwrap_or_default())
            );
        }
    }
}

/// Describes how many solutions are rows, and why the others are not.
fn solutions_by_use(counts: &Value) -> String {
    let count = |name: &str| counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut said = format!(
        "reference solutions: {} added behind the responses",
        counted(count("added"), "row")
    );
    if let repeated @ 1.. = count("duplicates") {
        said += &format!(", {repeated} not, being exactly a response that is kept");
    }
    if let missing @ 1.. = count("missing") {
        said += &format!("; {} without one", counted(missing, "problem"));
    }
    said
}

/// Describes how many trials were cut off, by which limit, and how many have nothing after their reasoning.
fn cut_off(outcome: &Outcome) -> String {
    let totals = &outcome.totals;
    let limit = outcome.configuration.get("generator");
    let limit = limit.and_then(|generator| generator.get("max_new_tokens")?.as_u64());
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    let by_context = limit.map_or(0, |limit| outcome.truncated_below(limit));
    let were = |count: u64| {
        let were = if count == 1 { "was" } else { "were" };
        format!("{} {were}", counted(count, "trial"))
    };
    let mut parts = Vec::new();
    if totals.truncated > by_context {
        parts.push(format!(
            "{} cut off at the limit of tokens (--max-new-tokens)",
            were(totals.truncated - by_context)
        ));
    }
    if by_context > 0 {
        parts.push(format!(
            "{} cut off at the end of the model's context",
            were(by_context)
        ));
    }
    match totals.unfinished_reasoning {
        0 => {}
        1 => parts.push("1 trial has nothing behind its reasoning (`</think>`)".to_owned()),
        count => parts.push(format!(
            "{count} trials have nothing behind their reasoning (`</think>`)"
        )),
    }
    parts.join("; ")
}

fn ended_by(outcome: &Outcome, reason: StopReason) -> usize {
    let records = outcome.problems.iter();
    records.filter(|record| record.stop == reason).count()
}

/// Describes how many problems ended in each way. The numbers add up to all problems.
fn problems_by_end(outcome: &Outcome) -> String {
    let most = outcome.limits.get("trials_per_problem");
    let most = most.and_then(Value::as_u64).unwrap_or(0);
    let count = |reason| ended_by(outcome, reason);
    let groups = [
        (outcome.totals.met, "have all they were to get".to_owned()),
        (count(StopReason::Strategy), "were to get no more".into()),
        (
            count(StopReason::TrialLimit),
            format!(
                "ended with less, at the limit of {}",
                counted(most, "trial")
            ),
        ),
        (
            count(StopReason::GaveUp),
            "were given up without a success".into(),
        ),
        (
            count(StopReason::Futile),
            "had no chance to get all that they were to get".into(),
        ),
        (
            count(StopReason::TokenLimit),
            "ended at the limit of tokens of a problem".into(),
        ),
        (
            count(StopReason::TimeLimit),
            "ended at the limit of time of a problem".into(),
        ),
        (count(StopReason::Rejected), "cannot be sampled".into()),
        (count(StopReason::Excluded), "are excluded".into()),
        (count(StopReason::RunEnded), "are not done".into()),
    ];
    let groups: Vec<String> = groups
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, end)| format!("{count} {end}"))
        .collect();
    format!(
        "{}: {}",
        counted(outcome.totals.problems, "problem"),
        groups.join(", ")
    )
}

/// Describes how the trials and the correct ones among them were used, and which completions are not among
/// them. The numbers add up.
fn trials_by_use(args: &Args, outcome: &Outcome) -> String {
    let totals = &outcome.totals;
    let dedup = args.dedup || args.near_duplicates.is_some();
    let left_out = if dedup { totals.duplicates } else { 0 };
    let beyond = totals.correct - totals.kept - left_out;
    let mut uses = vec![format!("{} kept", totals.kept)];
    if left_out > 0 {
        let near = match args.near_duplicates {
            Some(_) => " or near duplicates",
            None => "",
        };
        uses.push(format!("{left_out} left out as duplicates{near}"));
    }
    if beyond > 0 {
        uses.push(format!("{beyond} beyond what their problem was to get"));
    }
    let mut parts = vec![format!(
        "{}: {} wrong, {} correct ({})",
        counted(totals.trials, "trial"),
        totals.trials - totals.correct,
        totals.correct,
        uses.join(", ")
    )];
    let uncounted = (totals.resumed + totals.drawn).saturating_sub(totals.trials);
    if totals.resumed > 0 || uncounted > 0 {
        let mut sources = Vec::new();
        if totals.resumed > 0 {
            sources.push(format!("{} resumed", totals.resumed));
        }
        sources.push(format!("{} drawn", totals.drawn));
        let less = match (uncounted, outcome.finished()) {
            (0, _) => String::new(),
            (count, true) if totals.excluded > 0 => {
                format!(" less {count} beyond their problem's end, or of excluded problems")
            }
            (count, true) => format!(" less {count} beyond their problem's end"),
            (count, false) => {
                format!(" less {count} that do not count, or not before earlier ones")
            }
        };
        parts.push(format!("{}{less}", sources.join(" + ")));
    }
    format!("{}, in {:.1} s", parts.join("; "), totals.seconds)
}

/// Prints where the data set is and how to resume the run.
fn say_where(args: &Args, outcome: &Outcome, published: bool) {
    let again = match args.fresh || !args.merge.is_empty() {
        true if !args.merge.is_empty() && args.near_duplicates.is_some() => {
            "the same command without --merge and --near-duplicates"
        }
        true if !args.merge.is_empty() => "the same command without --merge",
        true => "the same command without --fresh",
        false => "the same command",
    };
    match &args.out {
        Some(directory) if !published => say!(
            "not written to {}; {again} goes on from its {JOURNAL}",
            directory.display()
        ),
        Some(directory) if outcome.finished() => say!("written to {}", directory.display()),
        Some(directory) if args.select.is_some() => {
            say!("written to {}", directory.display());
        }
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
