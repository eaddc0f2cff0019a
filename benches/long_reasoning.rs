//! The cost of a token of a long completion apart from the model, at 1,000 to 32,000 tokens: scheduler, detokenizer,
//! stop strings, loop detection and sampling, then grading and the journal. Prints one line of JSON each.
//!
//! ```sh
//! cargo bench --bench long_reasoning
//! ```
//!
//! The model is tiny, so its own parts are small: `linear` and `attention`. `attention` grows with the length if it
//! covers all positions, and must not grow with a sliding window. `other` is the rest of a step. Times are per token,
//! that is, per step and sequence.

#[path = "../tests/engine/tiny/mod.rs"]
mod tiny;

use std::io::Write;
use std::time::{Duration, Instant};

use dart_math::answer::Checker;
use dart_math::dars::{Run, Vanilla};
use dart_math::engine::{Engine, Sampling, StepTimes};
use dart_math::model::{DeviceChoice, Model, ModelSource, Template};
use dart_math::{
    Completion, Error, ErrorKind, Generator, Grader, Next, Offer, Problem, Result, Source,
};
use serde_json::{Value, json};

/// The lengths to report. Each is the median of the thousand steps before it.
const LENGTHS: [usize; 4] = [1_000, 4_000, 16_000, 32_000];
const WINDOW: usize = 1_000;
const SEQUENCES: usize = 4;

fn main() -> Result<()> {
    // `cargo test --benches` only checks that the benchmark runs.
    let longest = match std::env::args().any(|argument| argument == "--bench") {
        true => LENGTHS[3],
        false => LENGTHS[0],
    };
    for (name, window, penalty) in [
        ("sliding window of 64", Some(64), 1.0),
        ("sliding window of 64, repetition penalty", Some(64), 1.05),
        ("attention over all", None, 1.0),
    ] {
        for (length, medians) in steps(longest, window, penalty)? {
            let mut row = json!({"part": "sampling", "load": name, "tokens": length});
            for (part, median) in ["step", "linear", "attention", "drawing", "other"]
                .iter()
                .zip(medians)
            {
                row[format!("{part}_us_per_token")] = micros(median / SEQUENCES as u32).into();
            }
            say(&row)?;
        }
    }
    for length in LENGTHS.into_iter().filter(|&length| length <= longest) {
        let (bytes, grading, run) = after(length)?;
        say(&json!({
            "part": "after sampling", "tokens": length, "bytes": bytes,
            "grading_us_per_token": micros(grading) / length as f64,
            "run_us_per_token": micros(run) / length as f64,
        }))?;
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn say(row: &Value) -> Result<()> {
    writeln!(std::io::stdout(), "{row}").map_err(|error| Error::io("stdout", error))
}

/// Returns the median times of a step near each length: the total and its parts.
fn steps(
    longest: usize,
    window: Option<usize>,
    penalty: f32,
) -> Result<Vec<(usize, [Duration; 5])>> {
    let directory = tiny::thin_directory(2 * longest, window);
    let model = Model::builder(ModelSource::Directory(directory.path().to_owned()))
        .device(DeviceChoice::Cpu)
        .load()?;
    let engine = Engine::builder(model)
        .template(Template::parse("{problem}<think>\n")?)
        .sampling(Sampling {
            repetition_penalty: penalty,
            top_p: 0.95,
            ..Sampling::default()
        })
        .stop(vec![
            "User:".into(),
            "</answer>".into(),
            "\n\n\n\n\n\n".into(),
        ])
        .ignore_eos(true)
        .max_new_tokens(longest)
        .slots(SEQUENCES)
        .record_steps(true)
        .build()?;
    let prompt = engine.prompt("What is 1 + 1?")?;
    let done = engine.generate(&vec![prompt; SEQUENCES], 7)?;
    if let Some(short) = done.iter().find(|done| done.tokens.len() < longest) {
        let reason = format!("a completion of {} tokens", short.tokens.len());
        return Err(Error::new(ErrorKind::Data, reason));
    }
    let times = engine.step_times();
    // The median is robust against other work on the machine.
    let part = |steps: &[StepTimes], of: fn(&StepTimes) -> Duration| {
        let mut times: Vec<Duration> = steps.iter().map(of).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let lengths = LENGTHS.into_iter().filter(|&length| length <= longest);
    Ok(lengths
        .map(|length| {
            let end = length.min(times.len());
            let steps = &times[end.saturating_sub(WINDOW)..end];
            let parts = [
                part(steps, |step| step.total),
                part(steps, |step| step.linear.unwrap_or_default()),
                part(steps, |step| step.attention.unwrap_or_default()),
                part(steps, |step| step.sampling),
                part(steps, StepTimes::other),
            ];
            (length, parts)
        })
        .collect())
}

/// A generator with a fixed response.
struct Ready(String, usize);

impl Generator for Ready {
    fn run(&self, source: &dyn Source) -> Result<()> {
        loop {
            let offer = Offer {
                free: 4,
                resident: &[],
            };
            match source.next(offer) {
                Next::Requests(requests) => {
                    for request in requests {
                        let completion = Completion {
                            tokens: vec![1; self.1],
                            ..Completion::text(self.0.clone())
                        };
                        source.deliver(request.trial, completion);
                    }
                }
                Next::Wait => std::thread::yield_now(),
                Next::Done => return Ok(()),
            }
        }
    }
}

/// Returns the size of a response with this many tokens, the time to grade it, and the time of a trial in a run with
/// a journal.
fn after(tokens: usize) -> Result<(usize, Duration, Duration)> {
    const TRIALS: u32 = 16;
    let lines = [
        "So \\( x = 12 \\) gives $\\frac{3}{4} \\cdot 16 = 12$, and the answer might be 12.\n",
        "Wait, let me check: 3 < 4, so \\boxed{5} is not possible.\n\n",
        "Alternatively, n^2 + n = 132 means n = 11 or n = -12. Hmm, the answer is 11?\n",
    ];
    let mut text = String::from("<think>\n");
    for line in lines.iter().cycle() {
        text.push_str(line);
        // A token of such a text has about three bytes.
        if text.len() >= 3 * tokens {
            break;
        }
    }
    text.push_str("</think>\n\nThe answer is \\boxed{12}.");
    let bytes = text.len();
    let problem = Problem::new("What is x?", "12");
    let completion = Completion::text(text.clone());
    let clock = Instant::now();
    for _ in 0..TRIALS {
        if !Grader::grade(&Checker::default(), &problem, &completion).equal {
            return Err(Error::new(ErrorKind::Data, "the answer is not found"));
        }
    }
    let grading = clock.elapsed() / TRIALS;
    let directory = tempfile::tempdir().map_err(|error| Error::io("a directory", error))?;
    let run = Run::builder(vec![problem])
        .strategy(Vanilla { trials: TRIALS })
        .journal(directory.path().join("journal.jsonl"))
        .build()?;
    let clock = Instant::now();
    let _ = run
        .run(&Ready(text, tokens), &Checker::default())?
        .into_result()?;
    Ok((bytes, grading, clock.elapsed() / TRIALS))
}
