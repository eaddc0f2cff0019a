//! Measures pass rates by level, and how many of the accepted responses are correct derivations. Sampled from
//! the files with the engine, as a user of the crate would.

use std::io::Write;
use std::path::Path;

use dart_math::answer::Checker;
use dart_math::data::arithmetic::{Asked, LEVELS, StepGrader, problems_asking};
use dart_math::engine::{Engine, Sampling};
use dart_math::model::{DeviceChoice, Model, ModelSource};
use dart_math::{Grader, Problem};

use crate::Error;
use crate::tool::Stdout;

/// The number of problems per level.
const PROBLEMS: usize = 200;
/// Correct derivations are counted until a level has at least this many accepted responses …
const MIN_ACCEPTED: usize = 400;
/// … or this many rounds.
const MAX_ROUNDS: u64 = 20;

/// The responses of one level.
#[derive(Clone, Copy, Default)]
struct Counts {
    sampled: usize,
    /// Responses with the correct answer.
    accepted: usize,
    /// Responses with the correct answer and correct steps.
    right: usize,
}

/// Prints a table for each kind of problem: pass rates at temperature 1, with the full distribution and with
/// a nucleus, over evaluation problems with `samples` responses each. For the nucleus, it also counts correct
/// derivations among the accepted responses, over as many rounds as needed.
pub(crate) fn print(directory: &Path, threads: usize, samples: usize) -> Result<(), Error> {
    let whole = engine(directory, threads, 1.0)?;
    let nucleus = engine(directory, threads, 0.95)?;
    for (asked, name) in [
        (Asked::EveryValue, "Every value is asked for"),
        (Asked::LastValue, "The last value is asked for"),
    ] {
        line(&format!("\n{name}:\n"))?;
        line("| level | top-p 1 | top-p 0.95 | right derivations | of accepted |")?;
        line("|---|---|---|---|---|")?;
        for level in LEVELS {
            let problems = problems_asking(asked, level..=level, PROBLEMS, 0);
            let mut first = Counts::default();
            sample(&whole, &problems, samples, 0, &mut first)?;
            let mut counts = Counts::default();
            for round in 0..MAX_ROUNDS {
                sample(&nucleus, &problems, samples, round, &mut counts)?;
                if counts.accepted >= MIN_ACCEPTED {
                    break;
                }
            }
            let share = match counts.accepted {
                0 => "none".into(),
                accepted => format!("{:.1} %", 100.0 * counts.right as f64 / accepted as f64),
            };
            line(&format!(
                "| {level} | {:.3} | {:.3} | {share} | {} of {} |",
                first.pass_rate(),
                counts.pass_rate(),
                counts.right,
                counts.accepted,
            ))?;
        }
    }
    Ok(())
}

fn line(text: &str) -> Result<(), Stdout> {
    writeln!(std::io::stdout(), "{text}").map_err(Stdout)
}

impl Counts {
    fn pass_rate(self) -> f64 {
        self.accepted as f64 / self.sampled as f64
    }
}

fn engine(directory: &Path, threads: usize, top_p: f32) -> Result<Engine, Error> {
    let model = Model::builder(ModelSource::Directory(directory.to_owned()))
        .device(DeviceChoice::Cpu)
        .load()?;
    let engine = Engine::builder(model)
        .sampling(Sampling {
            top_p,
            ..Sampling::default()
        })
        .threads(threads)
        .slots(64)
        .max_new_tokens(160)
        .build()?;
    Ok(engine)
}

/// Samples responses to each problem and counts them.
fn sample(
    engine: &Engine,
    problems: &[Problem],
    samples: usize,
    seed: u64,
    counts: &mut Counts,
) -> Result<(), Error> {
    let mut prompts = Vec::with_capacity(problems.len() * samples);
    for problem in problems {
        let prompt = engine.prompt(&problem.question)?;
        prompts.extend(std::iter::repeat_n(prompt, samples));
    }
    let completions = engine.generate(&prompts, seed)?;
    counts.sampled += completions.len();
    for (completions, problem) in completions.chunks(samples).zip(problems) {
        for completion in completions {
            if Grader::grade(&Checker::default(), problem, completion).equal {
                counts.accepted += 1;
                counts.right += usize::from(StepGrader.grade(problem, completion).equal);
            }
        }
    }
    Ok(())
}
