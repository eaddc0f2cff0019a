//! Pass rates by level, and how many of the accepted responses are right derivations; sampled as
//! any user of the crate would: from the files, by its engine.

use std::path::Path;

use dart_math::Grader;
use dart_math::answer::Checker;
use dart_math::data::arithmetic::{Asked, LEVELS, StepGrader, problems_asking};
use dart_math::engine::{Engine, Sampling};
use dart_math::model::{DeviceChoice, Model, ModelSource};

use crate::Error;

/// Responses of one level.
#[derive(Clone, Copy)]
struct Counts {
    sampled: usize,
    /// With the right answer.
    accepted: usize,
    /// With the right answer, by right steps.
    right: usize,
}

/// Prints a table for either kind of problem: pass rates at temperature 1 for two nuclei, over
/// `count` evaluation problems a level with `samples` responses each, and the right derivations
/// among the accepted responses.
pub(crate) fn print(
    directory: &Path,
    threads: usize,
    count: usize,
    samples: usize,
) -> Result<(), Error> {
    let engines = [1.0, 0.95]
        .into_iter()
        .map(|top_p| engine(directory, threads, top_p))
        .collect::<Result<Vec<_>, _>>()?;
    for (asked, name) in [
        (Asked::EveryValue, "every value is asked for"),
        (Asked::LastValue, "the last value is asked for"),
    ] {
        println!("\n{name}:\n");
        println!("| level | top-p 1 | right of accepted | top-p 0.95 | right of accepted |");
        println!("|---|---|---|---|---|");
        for level in LEVELS {
            let columns = engines
                .iter()
                .map(|engine| {
                    let counts = sample(engine, asked, level, count, samples)?;
                    let rate = counts.accepted as f64 / counts.sampled as f64;
                    Ok(format!("{rate:.3} | {}", share(counts)))
                })
                .collect::<Result<Vec<_>, Error>>()?;
            println!("| {level} | {} |", columns.join(" | "));
        }
    }
    Ok(())
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

fn sample(
    engine: &Engine,
    asked: Asked,
    level: u32,
    count: usize,
    samples: usize,
) -> Result<Counts, Error> {
    let problems = problems_asking(asked, level..=level, count, 0);
    let mut prompts = Vec::with_capacity(count * samples);
    for problem in &problems {
        let prompt = engine.prompt(&problem.question)?;
        prompts.extend(std::iter::repeat_n(prompt, samples));
    }
    let completions = engine.generate(&prompts, 0)?;
    let mut counts = Counts {
        sampled: completions.len(),
        accepted: 0,
        right: 0,
    };
    for (completions, problem) in completions.chunks(samples).zip(&problems) {
        for completion in completions {
            let accepted = Grader::grade(&Checker::default(), problem, completion).equal;
            counts.accepted += usize::from(accepted);
            counts.right += usize::from(accepted && StepGrader.grade(problem, completion).equal);
        }
    }
    Ok(counts)
}

/// Such as `99.5 % (398 of 400)`.
fn share(counts: Counts) -> String {
    let Counts {
        accepted, right, ..
    } = counts;
    match accepted {
        0 => "none accepted".into(),
        _ => format!(
            "{:.1} % ({right} of {accepted})",
            100.0 * right as f64 / accepted as f64
        ),
    }
}
