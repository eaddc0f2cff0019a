//! The cost of a run's journal and memory: bytes per trial on disk compared with JSON lines compressed one by one, time
//! and memory of a run and of resuming it, and reading back and regrading all trials with the checker.
//!
//! ```sh
//! cargo bench --no-default-features --bench journal                 # a million trials, about 2 minutes
//! cargo bench --no-default-features --bench journal -- 10000000     # ten million
//! cargo bench --no-default-features --bench journal -- 150000000 short    # the size of the paper's run, short texts
//! ```
//!
//! There is no model. A writer makes distinct solutions of about 700 bytes each (`short`: about 20 bytes). They are
//! correct as often as those of the paper's sampler on MATH. Writing takes little time, so the run's own cost is
//! measured.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use dart_math::answer::Checker;
use dart_math::dars::{Outcome, Run, Vanilla};
use dart_math::{
    Completion, Generator, Next, Offer, Philox, Problem, Result, Settings, Source, Trial, Verdict,
};

const PROBLEMS: usize = 15_000;
/// The number of trials that the generator takes and delivers at once.
const BATCH: usize = 256;

/// How often the memory is printed during a run.
const POINTS: u64 = 15;

/// Writes derivations of sums, and prints the run's memory and time along the way.
struct Writer {
    short: bool,
    /// The number of trials between two points of the curve.
    every: u64,
    written: Mutex<Written>,
}

struct Written {
    trials: u64,
    /// The process's CPU time at the previous point.
    seconds: f64,
}

const OPENINGS: [&str; 8] = [
    "Let's work through this step by step.",
    "We are given the quantities below and look for the total.",
    "First, note what the problem asks for.",
    "To solve this, I will set up an equation.",
    "Let x be the number that we are looking for.",
    "The key is to keep track of what is left.",
    "We begin with the information that is given.",
    "Think of the quantities one after another.",
];
const STEPS: [&str; 10] = [
    "Adding {a} and {b} gives us {c}.",
    "So far we have {a} + {b} = {c}, which we carry on.",
    "Since there are {b} more of them, the number is now {c}.",
    "Combining the terms, \\({a} + {b} = {c}\\).",
    "That leaves us with $ {a} + {b} = {c} $ in total.",
    "Then {a} becomes {c}, because {b} are added.",
    "Substituting the value {a} and simplifying, we obtain {c} (the difference is {b}).",
    "It follows that the sum of {a} and {b}, namely {c}, is what we need next.",
    "By the second condition we have to add {b}, so we get {c}.",
    "Now \\begin{align*} {a} + {b} &= {c} \\end{align*}",
];

impl Writer {
    fn new(trials: u64, short: bool) -> Self {
        Writer {
            short,
            every: (trials / POINTS).max(1),
            written: Mutex::new(Written {
                trials: 0,
                seconds: processor_seconds(),
            }),
        }
    }

    /// Counts trials, and prints a point of the curve if one is due.
    fn count(&self, trials: u64) {
        let Ok(mut written) = self.written.lock() else {
            return;
        };
        let before = written.trials / self.every;
        written.trials += trials;
        if written.trials / self.every > before {
            let seconds = processor_seconds();
            println!(
                "  {:>11} trials: {:>5.0} MB resident, {:.2} us of processor time a trial since the last",
                written.trials,
                status("VmRSS:") as f64 / 1e6,
                1e6 * (seconds - written.seconds) / self.every as f64
            );
            written.seconds = seconds;
        }
    }

    /// Returns the text of a trial, a function of its seed.
    fn write(&self, seed: u64) -> String {
        use std::fmt::Write as _;
        let random = Philox::new(seed);
        let mut at = 0;
        let mut below = |high: u64| {
            at += 1;
            random.below(at, high)
        };
        if self.short {
            return format!("\\boxed{{{seed}}}");
        }
        let mut sum = below(1_000_000);
        let mut text = OPENINGS[below(8) as usize].to_owned();
        for _ in 0..8 + below(8) {
            let (a, b) = (sum, below(10_000));
            sum += b;
            let step = STEPS[below(10) as usize];
            let step = step.replace("{a}", &a.to_string());
            let step = step.replace("{b}", &b.to_string());
            let _ = write!(text, "\n{}", step.replace("{c}", &sum.to_string()));
        }
        let _ = write!(text, "\nThe answer is $\\boxed{{{sum}}}$.");
        text
    }
}

/// Returns a problem's pass rate.
fn rate(problem: u32) -> f64 {
    let u = Philox::new(7).uniform(u64::from(problem));
    u.powf(0.4 / 0.6)
}

impl Generator for Writer {
    fn run(&self, source: &dyn Source) -> Result<()> {
        loop {
            match source.next(Offer {
                free: BATCH,
                resident: &[],
            }) {
                Next::Requests(requests) => {
                    let count = requests.len() as u64;
                    for request in requests {
                        let text = self.write(request.seed);
                        // A token has about three bytes.
                        let tokens = vec![0; text.len() / 3];
                        let completion = Completion {
                            tokens,
                            logprob: Some(-0.7 * text.len() as f64 / 3.0),
                            ..Completion::text(text)
                        };
                        source.deliver(request.trial, completion);
                    }
                    self.count(count);
                }
                Next::Wait => std::thread::yield_now(),
                Next::Done => return Ok(()),
            }
        }
    }

    fn settings(&self) -> Settings {
        Settings::new()
    }
}

fn grade(problem: &Problem, completion: &Completion) -> Verdict {
    // Correctness is a function of the problem's rate and the text's hash.
    let index: u32 = problem.id.parse().unwrap_or(0);
    let hash = completion
        .text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let right = Philox::new(hash).uniform(1) < rate(index);
    Verdict {
        extracted: Some(completion.text.len().to_string()),
        ..Verdict::new(right, "number")
    }
}

/// Returns a figure of this process's memory in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The peak memory of this process in bytes, since the last reset.
fn peak_memory() -> u64 {
    status("VmHWM:")
}

/// The CPU time of this process's threads in seconds, in ticks of 10 ms.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // utime and stime are the 12th and 13th fields after the name in parentheses.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|it| it.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let trials = arguments.iter().find_map(|argument| argument.parse().ok());
    let trials: u64 = trials.unwrap_or(1_000_000);
    let short = arguments.iter().any(|argument| argument == "short");
    match measure(trials, short) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn of_journal(trials: u64, journal: &std::path::Path) -> Result<Run<'static>> {
    let problems = (0..PROBLEMS).map(|index| {
        let question = format!("What is the value of expression number {index}?");
        Problem::new(question, "0").with_id(index.to_string())
    });
    Run::builder(problems.collect())
        .strategy(Vanilla {
            trials: u32::try_from(trials / PROBLEMS as u64).unwrap_or(u32::MAX),
        })
        .journal(journal)
        .build()
}

fn run(trials: u64, short: bool, journal: &std::path::Path) -> Result<Outcome> {
    of_journal(trials, journal)?.run(&Writer::new(trials, short), &grade)
}

fn measure(trials: u64, short: bool) -> Result<()> {
    let directory = tempfile_directory()?;
    let journal = directory.join("journal");
    let result = measure_in(trials, short, &journal);
    let _ = std::fs::remove_dir_all(&directory);
    result
}

fn tempfile_directory() -> Result<std::path::PathBuf> {
    let directory = std::env::temp_dir().join(format!("journal-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| dart_math::Error::io(&directory, error))?;
    Ok(directory)
}

fn measure_in(trials: u64, short: bool, journal: &std::path::Path) -> Result<()> {
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let begun = Instant::now();
    let outcome = run(trials, short, journal)?;
    let seconds = begun.elapsed().as_secs_f64();
    let drawn = outcome.totals.trials as f64;
    println!(
        "run: {drawn} trials in {seconds:.1} s, {:.2} us each; peak memory {:.0} MB",
        1e6 * seconds / drawn,
        megabytes(peak_memory())
    );
    drop(outcome);
    let (mut bytes, mut files) = (0, 0);
    let entries = std::fs::read_dir(journal);
    for entry in entries.map_err(|error| dart_math::Error::io(journal, error))? {
        let Ok(entry) = entry else { continue };
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        files += 1;
    }
    println!(
        "disk: {:.0} MB in {files} files, {:.1} bytes a trial",
        megabytes(bytes),
        bytes as f64 / drawn
    );

    forget_peak();
    let begun = Instant::now();
    let outcome = run(trials, short, journal)?;
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "resumed: {} trials in {seconds:.1} s, {:.2} us each; peak memory {:.0} MB",
        outcome.totals.resumed,
        1e6 * seconds / drawn,
        megabytes(peak_memory())
    );

    forget_peak();
    let begun = Instant::now();
    let (mut count, mut rows, mut compressed) = (0_u64, 0_u64, 0_u64);
    let mut compressor =
        zstd::bulk::Compressor::new(3).map_err(|error| dart_math::Error::io("zstd", error))?;
    let mut sampled = 0_u64;
    for trial in outcome.trials() {
        let trial: Trial = trial?;
        count += 1;
        // Every hundredth row is enough for a mean.
        if count.is_multiple_of(100) {
            let row = serde_json::to_vec(&trial).unwrap_or_default();
            rows += row.len() as u64;
            compressed += compressor.compress(&row).map_or(0, |row| row.len() as u64);
            sampled += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "read: {count} trials in {seconds:.1} s, {:.2} us each; peak memory {:.0} MB",
        1e6 * seconds / drawn,
        megabytes(peak_memory())
    );
    let sampled = sampled.max(1) as f64;
    println!(
        "a row of JSON: {:.1} bytes, compressed by itself (zstd 3): {:.1}; the journal has {:.2} of that",
        rows as f64 / sampled,
        compressed as f64 / sampled,
        bytes as f64 / drawn / (compressed as f64 / sampled)
    );
    drop(outcome);

    forget_peak();
    let (begun, before) = (Instant::now(), processor_seconds());
    let writer = Writer::new(trials, short);
    let regraded = of_journal(trials, journal)?.regrade(&writer, &Checker::default())?;
    let count = regraded.trials as f64;
    println!(
        "graded anew: {count} trials in {:.1} s, {:.0} a second of a core; peak memory {:.0} MB",
        begun.elapsed().as_secs_f64(),
        count / (processor_seconds() - before),
        megabytes(peak_memory())
    );
    Ok(())
}
