//! Pass rates by level, sampled as any user of the crate would: from the files, by its engine.

use std::path::Path;

use dart_math::data::arithmetic::{LEVELS, problems};
use dart_math::engine::{Engine, Sampling};
use dart_math::model::{DeviceChoice, Model, ModelSource};

use crate::Error;

/// Prints a table of pass rates at temperature 1 for each nucleus in `top_p`, over `count`
/// evaluation problems a level with `samples` responses each.
pub(crate) fn print(
    directory: &Path,
    threads: usize,
    count: usize,
    samples: usize,
) -> Result<(), Error> {
    let nuclei = [1.0, 0.95];
    let mut columns = Vec::new();
    for top_p in nuclei {
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
        let mut rates = Vec::new();
        for level in LEVELS {
            let problems = problems(level..=level, count, 0);
            let mut prompts = Vec::with_capacity(count * samples);
            for problem in &problems {
                let prompt = engine.prompt(&problem.question)?;
                prompts.extend(std::iter::repeat_n(prompt, samples));
            }
            let completions = engine.generate(&prompts, 0)?;
            let correct = completions
                .chunks(samples)
                .zip(&problems)
                .map(|(completions, problem)| {
                    let end = format!("\\boxed{{{}}}.", problem.reference);
                    completions
                        .iter()
                        .filter(|completion| completion.text.ends_with(&end))
                        .count()
                })
                .sum::<usize>();
            rates.push(correct as f64 / (count * samples) as f64);
        }
        columns.push(rates);
    }
    println!("| level | top-p 1 | top-p 0.95 |\n|---|---|---|");
    for (row, level) in LEVELS.enumerate() {
        let rates: Vec<String> = columns
            .iter()
            .map(|rates| format!("{:.3}", rates[row]))
            .collect();
        println!("| {level} | {} |", rates.join(" | "));
    }
    Ok(())
}
