//! Data sets without a model: from the trials that a run's journal has, or those of several that shared its
//! problems out among them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dart_math::dars::Merged;
use dart_math::report::counted;

use crate::common::tool::{self, Failure, Usage, say};
use crate::decontaminate::Decontaminated;
use crate::{Args, directory, summary};

/// Of the problems that no shard has tried, so many are named.
const MAX_NAMED: usize = 5;

/// Part of the problems: those of which the index leaves `index` when divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

/// What a scheduler calls the index of a job of several, and the lowest index, where it says it.
const SCHEDULERS: [(&str, Option<&str>); 2] = [
    ("SLURM_ARRAY_TASK_ID", Some("SLURM_ARRAY_TASK_MIN")),
    ("JOB_COMPLETION_INDEX", None),
];

impl std::str::FromStr for Shard {
    type Err = String;

    /// `I/N`, or `/N` with the index that the scheduler gives.
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
            false => Err(format!(
                "the index is {index}, of {count} it may be 0 to {}",
                count.saturating_sub(1)
            )),
        }
    }
}

/// The index that a scheduler's environment has.
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

/// Joins journals, or selects from one, and writes the data set.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let strategy = args.strategy()?;
    let (problems, skipped) = args.problems()?;
    let decontaminated = Decontaminated::find(args, &problems)?;
    let count = problems.len();
    let journal = match (&args.select, &args.out) {
        (Some(from), _) => from.join(directory::JOURNAL),
        (None, Some(out)) => out.join(directory::JOURNAL),
        (None, None) => return Err(Usage("--merge needs --out".into()).into()),
    };
    let run = args.run(problems, strategy, args.limits());
    let run = run.exclude(decontaminated.excluded.clone());
    let run = run.journal(&journal).build()?;
    // Nothing is made or removed for what makes no sense.
    if let Some(directory) = &args.out {
        directory::refuse_unknown(directory, args.fresh)?;
        if let (Some(from), true) = (&args.select, args.fresh)
            && is_same(from, directory)
        {
            let reason = "--select takes trials from the directory that --fresh would clear";
            return Err(Usage(reason.into()).into());
        }
    }
    let prepare = || match &args.out {
        Some(directory) => directory::prepare(directory, args.fresh),
        None => Ok(()),
    };
    if !args.merge.is_empty() {
        prepare()?;
        let journals: Vec<PathBuf> = args
            .merge
            .iter()
            .map(|shard| shard.join(directory::JOURNAL))
            .collect();
        say_merged(&run.merge(&journals)?, journals.len());
    }
    let outcome = run.select().map_err(|error| -> Failure {
        match args.select.as_deref().is_some_and(directory::is_held) {
            true => directory::held(args.select.as_deref().unwrap_or(Path::new(""))),
            false => args.explain(error, count),
        }
    })?;
    if args.merge.is_empty() {
        prepare()?;
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
