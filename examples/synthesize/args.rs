//! The command line arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use dart_math::answer::Checker;
use dart_math::dars::{Limits, Prop2Diff, Run, RunBuilder, Strategy, Uniform, Vanilla};
use dart_math::data::arithmetic::{self, Asked, StepGrader};
use dart_math::data::pass_rates;
use dart_math::data::problems::{BadRow, OnBadRow, read};
use dart_math::report::counted;
use dart_math::{Grader, Problem};

use crate::common::count::count;
use crate::common::tool::{Failure, Usage, say};
use crate::{check, common, directory, limits, pool, progress, summary};

/// Part of a journal error about different problems.
const OTHER_PROBLEMS: &str = " are others (their hash was ";

/// The number of built-in problems per level, if no file is given.
const MADE_PER_LEVEL: usize = 30;

/// Sample solutions of mathematical problems with a language model, check their answers, and keep as many
/// correct ones of each problem as its difficulty requires.
///
/// Exit status: 0 if every problem has ended, by its target or a limit, and the data set is written (even if
/// --skip-bad skipped rows), 1 if something failed or, without --skip-bad, a row is not a problem, 2 for
/// invalid arguments, 3 if the data set is written but some problems are not done, because of a limit of the
/// whole run or because the journals of --merge or --select have too few trials, 130 after Ctrl-C.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// File of problems: rows in the format of GSM8K, MATH, or {"id", "question", "reference"}, as JSONL or a
    /// JSON array, plain or in gzip [default: generated arithmetic word problems]
    #[arg(long, value_name = "FILE")]
    pub(crate) problems: Option<PathBuf>,
    /// Use built-in problems that ask for the last number only: wrong derivations often reach it, as --grader
    /// steps shows
    #[arg(long, conflicts_with = "problems")]
    pub(crate) last_value: bool,
    /// How correct responses are recognised
    #[arg(long, value_enum, default_value = "answer", conflicts_with_all = ["merge", "select"])]
    pub(crate) grader: GraderName,
    /// Use only the first N problems; a resumed run may use more
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub(crate) limit: Option<usize>,
    /// Use every N-th problem, starting with number I (from 0): this divides a run among N machines, whose
    /// journals are joined by --merge. The default of I is SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX
    #[arg(long, value_name = "[I]/N", conflicts_with_all = ["merge", "select"])]
    pub(crate) shard: Option<pool::Shard>,
    /// Skip rows that are not problems, instead of failing; the manifest lists them
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Exclude problems whose question overlaps with a question of this test set (rows as in --problems, of
    /// which only the question is read): nothing is sampled for them, and their trials in a journal do not
    /// count. May be repeated. problems.jsonl and the manifest list the problems and the reasons
    #[arg(long, value_name = "FILE")]
    pub(crate) decontaminate: Vec<PathBuf>,
    /// For --decontaminate: number of consecutive words that make an overlap. Shorter questions, of at least
    /// 3 words, must be the same as a whole [default: 10]
    #[arg(long, value_name = "N", value_parser = count::<usize>, requires = "decontaminate")]
    pub(crate) ngram: Option<usize>,

    /// How many responses each problem gets
    #[arg(
        long,
        value_enum,
        default_value = "prop2diff",
        help_heading = "Strategy"
    )]
    pub(crate) strategy: StrategyName,
    /// uniform: correct responses per problem [default: 4; the preset's: 40]; prop2diff: correct responses of
    /// a problem that is never solved [default: 4; the preset's: 192]
    #[arg(long, value_name = "N", value_parser = count::<u32>, help_heading = "Strategy")]
    pub(crate) k: Option<u32>,
    /// vanilla: trials per problem [default: 8; the preset's: 52]
    #[arg(long, value_name = "N", value_parser = count::<u32>, help_heading = "Strategy")]
    pub(crate) trials: Option<u32>,
    /// Maximum number of trials of a problem [default: 48; the preset's: 2048]
    #[arg(long, value_name = "N", value_parser = count::<u32>, help_heading = "Limits")]
    pub(crate) max_trials: Option<u32>,
    /// Give up a problem after N trials if none of them is correct
    #[arg(long, value_name = "N", value_parser = count::<u32>, help_heading = "Limits")]
    pub(crate) give_up_after: Option<u32>,
    /// End a problem for futility: when the probability that it meets its target within --max-trials is below
    /// P (estimated from its trials; see dart_math::Futility)
    #[arg(long, value_name = "P", value_parser = limits::futility, help_heading = "Limits")]
    pub(crate) futility: Option<f64>,
    /// Maximum number of tokens of a problem: it ends with the trial that reaches them
    #[arg(long, value_name = "N", value_parser = count::<u64>, help_heading = "Limits")]
    pub(crate) max_problem_tokens: Option<u64>,
    /// Maximum time of a problem, from its first trial of this call, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = limits::duration, help_heading = "Limits", conflicts_with_all = ["merge", "select"])]
    pub(crate) max_problem_time: Option<Duration>,
    /// Maximum number of trials of the whole run, divided equally among the problems as far as possible
    #[arg(long, value_name = "N", value_parser = count::<u64>, help_heading = "Limits", conflicts_with_all = ["merge", "select"])]
    pub(crate) max_run_trials: Option<u64>,
    /// Maximum number of tokens sampled by the whole run, including earlier calls; exceeded by the trials in
    /// flight when it is reached
    #[arg(long, value_name = "N", value_parser = count::<u64>, help_heading = "Limits", conflicts_with_all = ["merge", "select"])]
    pub(crate) max_run_tokens: Option<u64>,
    /// Maximum sampling time of this call, such as 90s, 10m or 2h; the same command resumes the run
    #[arg(long, value_name = "TIME", value_parser = limits::duration, help_heading = "Limits", conflicts_with_all = ["merge", "select"])]
    pub(crate) max_run_time: Option<Duration>,
    /// prop2diff: number of first trials of a problem that measure its difficulty [default: 4; the preset's:
    /// 8]
    #[arg(
        long,
        value_name = "N",
        value_parser = count::<u32>,
        conflicts_with = "pass_rates",
        help_heading = "Strategy"
    )]
    pub(crate) pilot: Option<u32>,
    /// prop2diff: take pass rates from a table instead, JSONL {"id", "pass_rate"}, such as an earlier run's
    /// problems.jsonl
    #[arg(long, value_name = "FILE.jsonl", help_heading = "Strategy")]
    pub(crate) pass_rates: Option<PathBuf>,
    /// Leave out exact duplicates of a problem's correct responses and sample others instead. Easy problems,
    /// which have few different responses, then get fewer responses or take more trials
    #[arg(long, help_heading = "Strategy")]
    pub(crate) dedup: bool,
    /// With --select or --merge: also leave out responses that are similar to an earlier one of the same
    /// problem. The similarity is the share of runs of five words that both have, above 0 and up to 1
    #[arg(long, value_name = "SIMILARITY", value_parser = limits::similarity, help_heading = "Strategy")]
    pub(crate) near_duplicates: Option<f64>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Strategy")]
    pub(crate) seed: u64,
    /// Required probability that a trial counts for it to be drawn early, so that more samples share a
    /// prompt; 1: draw only trials that certainly count
    #[arg(
        long,
        value_name = "P",
        default_value_t = dart_math::dars::SURE,
        value_parser = limits::sure,
        help_heading = "Strategy"
    )]
    pub(crate) sure: f64,

    /// Write the data set to this directory; a run of the same configuration in it is resumed
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Format of the rows of the data set
    #[arg(
        long,
        value_enum,
        default_value = "pairs",
        value_name = "FORMAT",
        help_heading = "Files"
    )]
    pub(crate) format: summary::FormatName,
    /// Add each problem's own solution (`solution`, or an `answer` with steps before its ####), unchanged, as
    /// a row after all responses, unless it equals a kept response
    #[arg(long, help_heading = "Files")]
    pub(crate) with_solutions: bool,
    /// Also write the tables in Parquet (requires the feature parquet)
    #[arg(long, requires = "out", help_heading = "Files")]
    pub(crate) parquet: bool,
    /// Write a data card, README.md, replacing an existing one: method, counts, figures and settings, with a
    /// header for the Hugging Face Hub; its figures are written to DIR/figures
    #[arg(long, requires = "out", help_heading = "Files")]
    pub(crate) card: bool,
    /// Licence of the data card, by its identifier on the Hub, such as cc-by-4.0
    #[arg(long, value_name = "ID", requires = "card", value_parser = summary::license, help_heading = "Files")]
    pub(crate) license: Option<String>,
    /// Sample nothing: join the journals of the shards in these directories into DIR's journal, and make the
    /// data set from their trials
    #[arg(long, value_name = "SHARD", num_args = 1.., requires = "out", conflicts_with_all = ["select", "regrade"])]
    pub(crate) merge: Vec<PathBuf>,
    /// Sample nothing: make the data set from the trials in the journal of another run's directory, whatever
    /// its strategy
    #[arg(long, value_name = "RUN", conflicts_with = "regrade")]
    pub(crate) select: Option<PathBuf>,
    /// Sample nothing: forecast what the run takes and yields, by limit of trials, from a table of pass rates
    /// or counts (such as the problems.jsonl of a pilot), or by default from DIR's journal; with --out the
    /// forecast is stored, and the manifest later compares it with the actual result
    #[arg(
        long,
        value_name = "TABLE",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["fresh", "regrade", "merge", "select", "check_model"]
    )]
    pub(crate) dry_run: Option<Option<PathBuf>>,
    /// For --dry-run: mean number of tokens of a trial [default: from the journal]
    #[arg(long, value_name = "N", value_parser = limits::expected, requires = "dry_run")]
    pub(crate) expect_tokens: Option<f64>,
    /// For --dry-run: tokens per second [default: from the journal]
    #[arg(long, value_name = "N", value_parser = limits::expected, requires = "dry_run")]
    pub(crate) expect_speed: Option<f64>,
    /// Start again, replacing any run in DIR
    #[arg(long, requires = "out")]
    pub(crate) fresh: bool,
    /// Sample nothing: show what was read from the model, a prompt and a greedy completion, compare the
    /// logits with a reference, and exit with 1 if something is wrong
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "text",
        conflicts_with_all = ["out", "fresh", "regrade"]
    )]
    pub(crate) check_model: Option<check::Format>,
    /// Grade the trials in DIR's journal again, with this grader and this version's rules, and resume from
    /// there
    #[arg(long, requires = "out", conflicts_with = "fresh")]
    pub(crate) regrade: bool,
    /// How progress is displayed on standard error
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub(crate) progress: progress::Format,
    /// Sample from an OpenAI-compatible server (vLLM, SGLang, llama.cpp) instead of a model in this process,
    /// such as http://localhost:8000/v1 (may be repeated: all are used at once). --model is then the name
    /// under which they serve it [default: the one they have]; the key is taken from OPENAI_API_KEY
    #[arg(
        long,
        value_name = "URL",
        help_heading = "Model",
        conflicts_with = "check_model"
    )]
    pub(crate) server: Vec<String>,
    /// For --server: certificates (PEM) to trust for https, such as those of a cluster's own authority
    /// [default: Mozilla's list]
    #[arg(long, value_name = "FILE", help_heading = "Model", requires = "server")]
    pub(crate) server_ca: Option<PathBuf>,
    /// --server: wait up to this long, such as 10m, until a server answers that is still loading its model
    #[arg(long, value_name = "TIME", value_parser = limits::duration, help_heading = "Model", requires = "server")]
    pub(crate) server_wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) engine: common::engine::EngineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyName {
    /// The same number of trials for every problem; every correct response is kept
    Vanilla,
    /// The same number of correct responses for every problem
    Uniform,
    /// Correct responses in proportion to the fail rate, at least one per problem
    Prop2diff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraderName {
    /// By the final answer
    Answer,
    /// By every step as well, for the built-in problems
    Steps,
}

impl Args {
    /// Configures the run as far as the model check and the run share it.
    pub(crate) fn run<'a>(
        &self,
        problems: Vec<Problem>,
        strategy: impl Strategy + 'a,
        limits: Limits,
    ) -> RunBuilder<'a> {
        let run = Run::builder(problems);
        let run = match self.near_duplicates {
            Some(similarity) => run.near_duplicates(similarity),
            None => run,
        };
        run.strategy(strategy)
            .limits(limits)
            .dedup(self.dedup)
            .seed(self.seed)
            .sure(self.sure)
    }

    pub(crate) fn strategy(&self) -> Result<Box<dyn Strategy>, Failure> {
        let paper = self.engine.preset.is_some();
        let only =
            |flag: &str, given: bool, name: StrategyName| match given && self.strategy != name {
                true => Err(Usage(format!("{flag} does not apply to this strategy"))),
                false => Ok(()),
            };
        only("--trials", self.trials.is_some(), StrategyName::Vanilla)?;
        only("--pilot", self.pilot.is_some(), StrategyName::Prop2diff)?;
        let table = self.pass_rates.is_some();
        only("--pass-rates", table, StrategyName::Prop2diff)?;
        if self.k.is_some() && self.strategy == StrategyName::Vanilla {
            return Err(Usage("--k does not apply to --strategy vanilla".into()).into());
        }
        if let (StrategyName::Prop2diff, None, Some(most)) =
            (self.strategy, &self.pass_rates, self.max_trials)
        {
            let pilot = self.pilot();
            if most < pilot {
                let reason = format!(
                    "--max-trials {most} ends every problem before its pilot of {pilot} trials has measured \
                     its difficulty: --pilot {most} or less, or more trials"
                );
                return Err(Usage(reason).into());
            }
        }
        let k = |own, papers| self.k.unwrap_or(if paper { papers } else { own });
        Ok(match (self.strategy, &self.pass_rates) {
            (StrategyName::Vanilla, _) => Box::new(Vanilla {
                trials: self.trials.unwrap_or(if paper { 52 } else { 8 }),
            }),
            (StrategyName::Uniform, _) => Box::new(Uniform { k: k(4, 40) }),
            (StrategyName::Prop2diff, None) => {
                Box::new(Prop2Diff::with_pilot(k(4, 192), self.pilot()))
            }
            (StrategyName::Prop2diff, Some(table)) => Box::new(Prop2Diff::with_pass_rates(
                k(4, 192),
                pass_rates::read(table)?,
            )),
        })
    }

    /// Returns the number of trials of a pilot.
    fn pilot(&self) -> u32 {
        let default = if self.engine.preset.is_some() { 8 } else { 4 };
        self.pilot.unwrap_or(default)
    }

    pub(crate) fn grader(&self) -> Box<dyn Grader> {
        match self.grader {
            GraderName::Answer => Box::new(Checker::default()),
            GraderName::Steps => Box::new(StepGrader),
        }
    }

    /// Returns the problems and the skipped rows.
    pub(crate) fn problems(&self) -> Result<(Vec<Problem>, Vec<BadRow>), Failure> {
        let (mut problems, skipped) = match &self.problems {
            None if self.skip_bad => {
                return Err(Usage("--skip-bad does not apply without --problems".into()).into());
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
                // One of each level in turn, so that --limit keeps all levels.
                let levels = arithmetic::LEVELS;
                let made = arithmetic::problems_asking(asked, levels, MADE_PER_LEVEL, 0);
                let turn = |index: usize| made.iter().skip(index).step_by(MADE_PER_LEVEL).cloned();
                ((0..MADE_PER_LEVEL).flat_map(turn).collect(), Vec::new())
            }
            Some(path) => {
                let on_bad_row = match self.skip_bad {
                    true => OnBadRow::Skip,
                    false => OnBadRow::Fail,
                };
                let (problems, bad) = read(path, on_bad_row).map_err(|error| -> Failure {
                    // An error of a row names its line.
                    let row = error.detail().strip_prefix(&format!("{}:", path.display()));
                    let is_row =
                        row.is_some_and(|row| row.starts_with(|c: char| c.is_ascii_digit()));
                    match is_row && error.kind() == dart_math::ErrorKind::Data {
                        true => format!("{error} (--skip-bad leaves such rows out)").into(),
                        false => error.into(),
                    }
                })?;
                if let Some(first) = bad.first() {
                    say!(
                        "{}: left out {}, the first at {first}",
                        path.display(),
                        counted(bad.len(), "bad row")
                    );
                }
                (problems, bad)
            }
        };
        if let Some(limit) = self.limit {
            problems.truncate(limit);
        }
        if let Some(pool::Shard { index, count }) = self.shard {
            problems = problems.into_iter().skip(index).step_by(count).collect();
            if problems.is_empty() {
                return Err(format!("--shard {index}/{count} leaves no problem").into());
            }
        }
        Ok((problems, skipped))
    }

    /// Adds advice to an error about a journal of another run, or of this run with more problems.
    pub(crate) fn explain(&self, error: dart_math::Error, problems: usize) -> Failure {
        let Some(directory) = &self.out else {
            return error.into();
        };
        if error.kind() != dart_math::ErrorKind::Journal {
            return error.into();
        }
        if directory::is_held(directory) {
            return directory::held(directory);
        }
        let before = directory::problems_before(directory);
        let lowered = match (before, self.limit) {
            // A limit above the number of problems does not leave problems out.
            (Some(before), Some(limit)) if before > limit && limit == problems => {
                format!("--limit may only be raised (was {before}, now {limit}): ")
            }
            _ => String::new(),
        };
        let mut detail = error.to_string();
        if let (Some(pool::Shard { index, count }), true) =
            (self.shard, detail.contains(OTHER_PROBLEMS))
        {
            detail += &format!("; is it another shard's than {index}/{count}?");
        }
        let regrade = match detail.contains(": grader.") || detail.contains("; grader.") {
            true => "--regrade grades its trials anew, ",
            false => "",
        };
        format!("{lowered}{detail} ({regrade}--fresh begins anew, another --out leaves it alone)")
            .into()
    }
}
