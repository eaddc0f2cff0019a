//! Makes data sets without a model: from the trials in a run's journal, or from the journals of shards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dart_math::dars::Merged;
use dart_math::report::counted;
use dart_math::{Error, Problem};

use crate::common::tool::{self, Failure, Usage, say};
use crate::decontaminate::Decontaminated;
use crate::{Args, directory, summary};

/// The maximum number of problems without trials that are named.
const MAX_NAMED: usize = 5;

/// A shard: the problems whose index modulo `count` is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

/// Environment variables of schedulers: the index of a job in an array and, if available, the lowest index.
const SCHEDULERS: [(&str, Option<&str>); 2] = [
    ("SLURM_ARRAY_TASK_ID", Some("SLURM_ARRAY_TASK_MIN")),
    ("JOB_COMPLETION_INDEX", None),
];

impl std::str::FromStr for Shard {
    type Err = String;

    /// Parses `I/N`, or `/N` with the scheduler's index.
    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("{text:?} is neither I/N with I from 0 to N - 1, such as 0/4, nor /N");
        let (index, count) = text.split_once('/').ok_or_else(form)?;
        let count: usize = count.parse().map_err(|_| form())?;
        let index = match index {
            "" => from_scheduler(|name| std::env::var(name).ok())?,
            index => index.parse().map_err(|_| form())?,
        };
        match index < count {
            true => Ok(Shard { index, count }),
            false if count == 0 => Err("a run cannot be shared out among no machines".into()),
            false => Err(format!(
                "the index is {index}, of {count} it may be 0 to {}",
                count.saturating_sub(1)
            )),
        }
    }
}

/// Returns the index from a scheduler's environment.
fn from_scheduler(get: impl Fn(&str) -> Option<String>) -> Result<usize, String> {
    let names = SCHEDULERS.map(|(name, _)| name).join(" nor ");
    let found = SCHEDULERS
        .into_iter()
        .find_map(|(name, lowest)| Some((name, lowest, get(name)?)));
    let Some((name, lowest, text)) = found else {
        return Err(format!("neither {names} is set: give the index, as in 0/4"));
    };
    let number = |name: &str, text: &str| {
        let parsed = text.trim().parse::<usize>();
        parsed.map_err(|_| format!("{name} is {text:?}, no index"))
    };
    let index = number(name, &text)?;
    let lowest = match lowest.and_then(|name| Some((name, get(name)?))) {
        Some((name, text)) => number(name, &text)?,
        None => 0,
    };
    index
        .checked_sub(lowest)
        .ok_or_else(|| format!("{name} is {index}, less than the lowest index, {lowest}"))
}

/// The joined journal, until it replaces the old one.
const JOINED: &str = "journal.joined";
/// The old journal, until the replacement is complete.
const REPLACED: &str = "journal.replaced";

/// Joins journals or selects from one, and writes the data set.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let strategy = args.strategy()?;
    let (problems, skipped) = args.problems()?;
    let decontaminated = Decontaminated::find(args, &problems)?;
    let count = problems.len();
    say_unused(args);
    let run = |journal: &Path, problems: Vec<Problem>| {
        let run = args.run(problems, &strategy, args.limits());
        let run = run.exclude(decontaminated.excluded.clone());
        run.journal(journal).build()
    };
    // Check first, so that nothing is created or removed for invalid arguments.
    refuse_unknown(args)?;
    let journal = match (&args.select, &args.out) {
        (Some(from), _) => {
            if let Some(directory) = &args.out {
                refuse_to_replace(args, from, directory)?;
            }
            from.join(directory::JOURNAL)
        }
        (None, Some(out)) => {
            let journal = out.join(directory::JOURNAL);
            if !args.fresh && journal.exists() {
                let reason = format!(
                    "{}: there is a journal already (--fresh replaces it, the same command without --merge goes on \
                     from it)",
                    journal.display()
                );
                return Err(reason.into());
            }
            // Complete the new journal before replacing the old one, which may be one of the sources.
            let joined = out.join(JOINED);
            fs::create_dir_all(out).map_err(|error| Error::io(out, error))?;
            remove(&joined)?;
            let merged = run(&joined, problems.clone())?.merge(&shards(args));
            let merged = merged.map_err(|error| -> Failure {
                let _ = remove(&joined);
                // Succeeds only if it was created for this.
                let _ = fs::remove_dir(out);
                match error.detail().contains("the run has no problem") {
                    true => format!("{error} (--problems, --limit and --last-value are to be as the shards had them)")
                        .into(),
                    false => error.into(),
                }
            })?;
            let old = out.join(REPLACED);
            remove(&old)?;
            if journal.exists() {
                fs::rename(&journal, &old).map_err(|error| Error::io(&journal, error))?;
            }
            fs::rename(&joined, &journal).map_err(|error| Error::io(&journal, error))?;
            directory::clear_files(out)?;
            remove(&old)?;
            say_merged(&merged, args.merge.len());
            journal
        }
        (None, None) => return Err(Usage("--merge needs --out".into()).into()),
    };
    let outcome = run(&journal, problems)?.select();
    let outcome = outcome.map_err(|error| -> Failure {
        match &args.select {
            Some(from) if directory::is_held(from) => directory::held(from),
            // (The advice for a run's own journal does not apply here.)
            Some(_) => error.into(),
            None => args.explain(error, count),
        }
    })?;
    if let (Some(out), Some(_)) = (&args.out, &args.select) {
        // Check again: one may have been created in the meantime.
        refuse_unknown(args)?;
        directory::prepare(out, args.fresh)?;
    }
    let mut manifest = summary::manifest(args, &outcome, &skipped, &decontaminated);
    if let Some(from) = &args.select {
        manifest.insert("selected_from".into(), from.display().to_string().into());
    }
    let published = summary::publish(args, &outcome, &manifest);
    summary::say_all(args, &outcome, &manifest, None, published.is_ok());
    let code = summary::exit_code(&outcome);
    Ok(tool::exit(published.map(|_| code)))
}

/// Refuses to replace a data set that comes neither from a run nor, for a selection, from another selection.
fn refuse_unknown(args: &Args) -> Result<(), Failure> {
    match &args.out {
        Some(out) if args.select.is_some() && directory::is_selection(out) => Ok(()),
        Some(out) => directory::refuse_unknown(out, args.fresh),
        None => Ok(()),
    }
}

/// Returns the journals to join.
fn shards(args: &Args) -> Vec<PathBuf> {
    let shards = args.merge.iter();
    shards.map(|shard| shard.join(directory::JOURNAL)).collect()
}

fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(directory, error))
        }
        _ => Ok(()),
    }
}

/// Refuses a selection that would replace another run's data set or clear its own source.
fn refuse_to_replace(args: &Args, from: &Path, out: &Path) -> Result<(), Failure> {
    match (is_same(from, out), args.fresh) {
        (true, true) => {
            let reason = "--select takes trials from the directory that --fresh would clear";
            Err(Usage(reason.into()).into())
        }
        (false, false) if out.join(directory::JOURNAL).exists() => Err(format!(
            "{} holds a run of its own, whose data set the selection would replace (another --out leaves it alone, \
             --fresh removes it)",
            out.display()
        )
        .into()),
        _ => Ok(()),
    }
}

/// Warns about flags for sampling, which are unused.
fn say_unused(args: &Args) {
    let engine = &args.engine;
    let flags = [
        ("--template", engine.template.is_some()),
        ("--template-arg", !engine.template_arg.is_empty()),
        ("--greedy", engine.greedy),
        ("--temperature", engine.temperature.is_some()),
        ("--top-p", engine.top_p.is_some()),
        ("--top-k", engine.top_k.is_some()),
        ("--min-p", engine.min_p.is_some()),
        ("--repetition-penalty", engine.repetition_penalty.is_some()),
        ("--max-new-tokens", engine.max_new_tokens.is_some()),
        ("--stop", !engine.stop.is_empty()),
        ("--no-loop-detection", engine.no_loop_detection),
    ];
    let unused: Vec<&str> = flags
        .iter()
        .filter_map(|(flag, given)| given.then_some(*flag))
        .collect();
    if !unused.is_empty() {
        say!(
            "note: nothing is sampled: the trials are those of the journal, whatever {} would have",
            unused.join(", ")
        );
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn say_merged(merged: &Merged, journals: usize) {
    say!(
        "joined: {} of {}",
        counted(merged.trials, "trial"),
        counted(journals, "journal")
    );
    if merged.overlaps > 0 {
        say!(
            "{} were in more than one of them, and are taken once",
            counted(merged.overlaps, "trial")
        );
    }
    if let Some(first) = merged
        .without_trials
        .get(..merged.without_trials.len().min(MAX_NAMED))
        && !first.is_empty()
    {
        let more = match merged.without_trials.len() - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        say!(
            "{} without a trial: {}{more} (the same command without --merge samples them)",
            counted(merged.without_trials.len(), "problem"),
            first.join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_named_or_numbered_by_a_scheduler() {
        let shard = |text: &str| text.parse::<Shard>();
        assert_eq!(shard("2/3"), Ok(Shard { index: 2, count: 3 }));
        for bad in ["3/3", "1", "a/3", "1/", "-1/3", "1/0", "0/0", "1/2/3"] {
            assert!(shard(bad).is_err(), "{bad}");
        }
        let slurm = |id: &'static str| {
            move |name: &str| match name {
                "SLURM_ARRAY_TASK_ID" => Some(id.to_owned()),
                "SLURM_ARRAY_TASK_MIN" => Some("1".to_owned()),
                _ => None,
            }
        };
        assert_eq!(from_scheduler(slurm("4")), Ok(3));
        assert!(from_scheduler(slurm("0")).is_err());
        assert!(from_scheduler(slurm("x")).is_err());
        let kubernetes = |name: &str| (name == "JOB_COMPLETION_INDEX").then(|| "5".to_owned());
        assert_eq!(from_scheduler(kubernetes), Ok(5));
        assert!(from_scheduler(|_| None).unwrap_err().contains("is set"));
    }
}
