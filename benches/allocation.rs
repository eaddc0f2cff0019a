//! The cost of allocation: wasted trials, idle slots, shared prompts, and time and memory per trial. For comparison,
//! rounds with a fixed number of trials, as the authors' program draws them.
//!
//! ```sh
//! cargo bench --no-default-features --bench allocation            # a few minutes
//! cargo bench --no-default-features --bench allocation -- large   # two more rows, with 8.8 million trials
//! cargo bench --no-default-features --bench allocation -- futility   # rows with this in their name
//! ```
//!
//! There is no model: trials have known pass rates and lengths, and every slot makes one token per step. The order is
//! a function of the seed. By level, problems are as difficult as MATH's training set (the mean fail rates of the
//! paper's sampler, derived from its published counts). Harder problems have longer responses.

use std::cmp::Reverse;
#[path = "../tests/run/scripted/verdicts.rs"]
#[allow(unreachable_pub)]
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Mutex;
use std::time::Instant;

use dart_math::dars::{Limits, Prop2Diff, Run, Strategy, Uniform};
use dart_math::{
    Completion, Finish, Generator, Next, Offer, Philox, Problem, Request, Result, Settings, Source,
    TrialId, Verdict,
};
use verdicts::Verdicts;

const SLOTS: usize = 256;
/// The number of problems and the mean fail rate of each level of MATH's training set.
const LEVELS: [(usize, f64); 5] = [
    (565, 0.074),
    (1349, 0.175),
    (1592, 0.286),
    (1690, 0.415),
    (2304, 0.558),
];
/// The number of trials in a round of the authors' program.
const ROUND: usize = 16_384;

/// Pass rates with each level's mean: u^a with uniform u has the mean 1 / (1 + a).
fn pass_rates(copies: usize) -> Vec<f64> {
    let random = Philox::new(7);
    let mut rates = Vec::new();
    for _ in 0..copies {
        for (count, fails) in LEVELS {
            for _ in 0..count {
                let u = random.uniform(rates.len() as u64);
                rates.push(u.powf(fails / (1.0 - fails)));
            }
        }
    }
    rates
}

/// Returns whether a trial is correct, and its number of tokens.
fn draw(rate: f64, seed: u64) -> (bool, u32) {
    let random = Philox::new(seed);
    let mean = 200.0 + 400.0 * (1.0 - rate);
    // The product of two uniform numbers gives the sum of two exponential ones: a long tail, few very short lengths.
    let spread = -(random.uniform(1) * random.uniform(2)).max(1e-300).ln() / 2.0;
    (
        random.uniform(0) < rate,
        (1.0 + mean * spread).min(2048.0) as u32,
    )
}

/// Slots without a model. Every trial in flight makes one token per step.
struct Simulator<'a> {
    rates: &'a [f64],
    verdicts: Verdicts,
    sums: Mutex<Sums>,
}

#[derive(Default)]
struct Sums {
    /// The number of steps, busy slots times steps, and resident prompts times steps.
    steps: u64,
    busy: u64,
    prompts: u64,
    /// The tokens of cancelled trials.
    cancelled_tokens: u64,
    tokens: u64,
    prefills: u64,
    /// The longest call of `next` in seconds: CPU time of the thread, and wall time.
    longest: f64,
    longest_wall: f64,
    calls: u64,
    inside: f64,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A trial in flight: its end, its start and its request.
type Flight = (u64, u64, Request);

impl Generator for Simulator<'_> {
    fn run(&self, source: &dyn Source) -> Result<()> {
        let mut ends = BinaryHeap::new();
        let mut flights: BTreeMap<TrialId, Flight> = BTreeMap::new();
        // The trials in flight of each problem. While there are any, the problem's prompt is resident.
        let mut of_problem: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut sums = Sums::default();
        let (mut now, mut delivered) = (0_u64, 0_u64);
        loop {
            let mut done = false;
            while flights.len() < SLOTS && !done {
                let resident: Vec<u32> = of_problem.keys().copied().collect();
                let offer = Offer {
                    free: SLOTS - flights.len(),
                    resident: &resident,
                };
                let (begun, own) = (Instant::now(), thread_seconds());
                let next = source.next(offer);
                let took = thread_seconds() - own;
                sums.longest = sums.longest.max(took);
                let wall = begun.elapsed().as_secs_f64();
                sums.longest_wall = sums.longest_wall.max(wall);
                sums.inside += took;
                sums.calls += 1;
                match next {
                    Next::Requests(requests) => {
                        for request in requests {
                            let trial = request.trial;
                            let (_, length) =
                                draw(self.rates[trial.problem as usize], request.seed);
                            let own = of_problem.entry(trial.problem).or_default();
                            sums.prefills += u64::from(own.is_empty());
                            own.insert(trial.number);
                            let end = now + u64::from(length);
                            ends.push(Reverse((end, trial)));
                            flights.insert(trial, (end, now, request));
                        }
                    }
                    Next::Wait => break,
                    Next::Done => done = true,
                }
            }
            if flights.is_empty() {
                *lock(&self.sums) = sums;
                return Ok(());
            }
            let Some(Reverse((end, trial))) = ends.pop() else {
                continue;
            };
            // The end of a cancelled trial stays in the heap.
            if flights.get(&trial).is_none_or(|flight| flight.0 != end) {
                continue;
            }
            sums.busy += flights.len() as u64 * (end - now);
            sums.prompts += of_problem.len() as u64 * (end - now);
            now = end;
            sums.steps = now;
            if done {
                // The run is over, so all trials in flight are cancelled.
                for (trial, (_, from, _)) in std::mem::take(&mut flights) {
                    sums.cancelled_tokens += now - from;
                    source.deliver(trial, cancelled());
                }
                continue;
            }
            let Some((_, _, request)) = flights.remove(&trial) else {
                continue;
            };
            let (correct, length) = draw(self.rates[trial.problem as usize], request.seed);
            sums.tokens += u64::from(length);
            delivered += u64::from(length);
            let text = if correct { "right" } else { "wrong" };
            source.deliver(
                trial,
                Completion {
                    tokens: vec![0; length as usize],
                    ..Completion::text(text)
                },
            );
            self.verdicts.wait(delivered);
            let mut own = of_problem.remove(&trial.problem).unwrap_or_default();
            own.remove(&trial.number);
            // A verdict only changes which trials of its own problem are wanted.
            own.retain(|&number| {
                let other = TrialId {
                    problem: trial.problem,
                    number,
                };
                let wanted = source.wanted(other);
                if !wanted && let Some((_, from, _)) = flights.remove(&other) {
                    sums.cancelled_tokens += now - from;
                    source.deliver(other, cancelled());
                }
                wanted
            });
            if !own.is_empty() {
                of_problem.insert(trial.problem, own);
            }
        }
    }

    fn settings(&self) -> Settings {
        Settings::new()
    }
}

fn cancelled() -> Completion {
    Completion {
        finish: Finish::Cancelled,
        ..Completion::text("")
    }
}

fn grade(_: &Problem, completion: &Completion) -> Verdict {
    Verdict::new(completion.text == "right", "simulated")
}

fn problems(rates: &[f64]) -> Vec<Problem> {
    let problem = |index: usize| Problem::new("q", "r").with_id(format!("p{index}"));
    (0..rates.len()).map(problem).collect()
}

/// The peak memory of the process in MB, if the system reports it.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// The CPU time of this thread in seconds, or the time of day if the system does not report it.
fn thread_seconds() -> f64 {
    #[cfg(unix)]
    {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call only writes the time.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
    }
    #[cfg(not(unix))]
    {
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0.0, |it| it.as_secs_f64())
    }
}

/// Returns whether a row's name contains the text on the command line, if any.
fn is_asked_for(name: &str) -> bool {
    let mut given = std::env::args()
        .skip(1)
        .filter(|text| !text.starts_with("--") && text != "large");
    given.next().is_none_or(|text| name.contains(&text))
}

fn measure(name: &str, rates: &[f64], strategy: &dyn Strategy, limits: Limits) {
    measure_sure(name, rates, strategy, limits, None);
}

/// Like [`measure`], with another probability from which trials are drawn before they certainly count.
fn measure_sure(
    name: &str,
    rates: &[f64],
    strategy: &dyn Strategy,
    limits: Limits,
    sure: Option<f64>,
) {
    if !is_asked_for(name) {
        return;
    }
    let simulator = Simulator {
        rates,
        verdicts: Verdicts::default(),
        sums: Mutex::default(),
    };
    let run = Run::builder(problems(rates))
        .strategy(strategy)
        .limits(limits)
        .seed(1)
        .observer(&simulator.verdicts);
    let run = match sure {
        Some(sure) => run.sure(sure),
        None => run,
    };
    let run = run.build();
    let begun = Instant::now();
    let outcome = run.and_then(|run| run.run(&simulator, &grade));
    let seconds = begun.elapsed().as_secs_f64();
    let Ok(outcome) = outcome else {
        println!("{name}: failed");
        return;
    };
    let sums = lock(&simulator.sums);
    let trials = outcome.totals.trials as f64;
    let wasted = sums.tokens + sums.cancelled_tokens - outcome.totals.tokens;
    println!(
        "| {name} | {trials:.0} | {} | {:.1} % | {:.3} % | {:.2} % | {:.1} | {:.2} | {:.1} ({:.1}) | {:.1} | {:.0} |",
        outcome.totals.kept,
        100.0 * outcome.totals.met as f64 / rates.len() as f64,
        100.0 * wasted as f64 / sums.tokens as f64,
        100.0 * sums.busy as f64 / (SLOTS as f64 * sums.steps as f64),
        sums.busy as f64 / sums.prompts as f64,
        1e6 * sums.inside / sums.calls as f64,
        1e3 * sums.longest,
        1e3 * sums.longest_wall,
        1e6 * seconds / trials,
        peak_memory(),
    );
}

/// Simulates rounds of [`ROUND`] trials over all problems with at most `k` correct responses. Every trial is drawn to
/// its end, trials beyond a target are wasted, and slots wait for the last trial of a round.
fn rounds(name: &str, rates: &[f64], k: u32, most: u32) {
    if !is_asked_for(name) {
        return;
    }
    let ids: Vec<String> = (0..rates.len()).map(|index| format!("p{index}")).collect();
    let mut counts = vec![(0_u32, 0_u32); rates.len()];
    let (mut steps, mut busy, mut wasted, mut tokens, mut trials) =
        (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    loop {
        let open: Vec<usize> = (0..rates.len())
            .filter(|&index| counts[index].1 <= k && counts[index].0 < most)
            .collect();
        if open.is_empty() {
            break;
        }
        let each = (ROUND / open.len()).max(1) as u32;
        let mut ends: BinaryHeap<Reverse<u64>> = (0..SLOTS).map(|_| Reverse(0)).collect();
        let mut last = 0;
        for index in open {
            for _ in 0..each.min(most - counts[index].0) {
                let (number, correct) = counts[index];
                let seed = dart_math::trial_seed(1, &ids[index], number);
                let (right, length) = draw(rates[index], seed);
                let Some(Reverse(from)) = ends.pop() else {
                    return;
                };
                let end = from + u64::from(length);
                ends.push(Reverse(end));
                last = last.max(end);
                busy += u64::from(length);
                tokens += u64::from(length);
                trials += 1;
                // Trials after the k-th correct one are not needed.
                wasted += if correct >= k { u64::from(length) } else { 0 };
                counts[index] = (number + 1, correct + u32::from(right));
            }
        }
        steps += last;
    }
    let kept: u64 = counts
        .iter()
        .map(|(_, correct)| u64::from((*correct).min(k)))
        .sum();
    let met = counts.iter().filter(|(_, correct)| *correct >= k).count();
    println!(
        "| {name} | {trials} | {kept} | {:.1} % | {:.3} % | {:.2} % | | | | | |",
        100.0 * met as f64 / rates.len() as f64,
        100.0 * wasted as f64 / (tokens - wasted) as f64,
        100.0 * busy as f64 / (SLOTS as f64 * steps as f64),
    );
}

fn main() {
    let large = std::env::args().any(|argument| argument == "large");
    let limits = |most| Limits {
        trials_per_problem: Some(most),
        ..Limits::default()
    };
    println!(
        "| strategy, limit, problems | trials | kept | targets met | tokens in vain | slots busy | \
         samples a prompt | µs a decision | longest, ms (with waiting) | µs a trial, all | peak MB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    let rates = pass_rates(1);
    measure(
        "Uniform 40, 2,048, 7,500",
        &rates,
        &Uniform { k: 40 },
        limits(2048),
    );
    rounds("the same in rounds of 16,384", &rates, 40, 2048);
    measure(
        "Uniform 40, 8,192, 7,500",
        &rates,
        &Uniform { k: 40 },
        limits(8192),
    );
    rounds("the same in rounds of 16,384", &rates, 40, 8192);
    for sure in [1.0, 0.99] {
        let name = format!("the same, at least {sure} sure");
        measure_sure(&name, &rates, &Uniform { k: 40 }, limits(2048), Some(sure));
    }
    let futile = Limits {
        futility: Some(0.001),
        ..limits(2048)
    };
    measure(
        "Uniform 40, 2,048, futility 0.001, 7,500",
        &rates,
        &Uniform { k: 40 },
        futile,
    );
    let capped = Limits {
        trials: Some(400_000),
        ..limits(2048)
    };
    measure(
        "Uniform 40, 400,000 in all, 7,500",
        &rates,
        &Uniform { k: 40 },
        capped,
    );
    measure(
        "Prop2Diff 192 (pilot 8), 512, 7,500",
        &rates,
        &Prop2Diff::with_pilot(192, 8),
        limits(512),
    );
    if large {
        let rates = pass_rates(2);
        measure(
            "Prop2Diff 192 (pilot 8), 2,048, 15,000",
            &rates,
            &Prop2Diff::with_pilot(192, 8),
            limits(2048),
        );
        measure(
            "Prop2Diff 192 (pilot 8), 8,192, 15,000",
            &rates,
            &Prop2Diff::with_pilot(192, 8),
            limits(8192),
        );
    }
}
