//! A generator without a model, with known pass rates and any schedule. A trial's text is a function of its request's
//! seed alone, as the contract requires, so runs must not depend on the schedule.
#![allow(dead_code, unreachable_pub)]

pub mod data_set;
pub mod expected;
pub mod journals;
pub mod verdicts;

use std::collections::BTreeMap;
use std::sync::Mutex;

use dart_math::{
    Completion, Error, ErrorKind, Finish, Generator, Next, Offer, Philox, Problem, Request, Result,
    Settings, Source, TrialId, Verdict, trial_seed,
};
use serde_json::json;
pub use verdicts::Verdicts;

/// Returns all trials kept in an outcome.
pub fn trials(outcome: &dart_math::dars::Outcome) -> Vec<dart_math::Trial> {
    outcome.trials().map(|trial| trial.unwrap()).collect()
}

/// The behaviour of a scripted generator.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The number of requests in progress at once.
    pub slots: usize,
    /// The seed of the order of completion.
    pub shuffle: u64,
    /// Whether trials that are not [`wanted`](Source::wanted) are cancelled.
    pub cancels: bool,
    /// Fails at this completion.
    pub fails_after: Option<usize>,
    /// Panics at this completion, which is close to a kill.
    pub killed_after: Option<usize>,
    /// Cancels every n-th completion without being asked.
    pub refuses_every: Option<usize>,
    /// Continues only when all delivered trials have verdicts, as a slow model usually does. Its
    /// [`Scripted::verdicts`] must be the run's observer.
    pub awaits_verdicts: bool,
    /// The first problem and the step of a shard. Without it, the problems are p0, p1, ….
    pub shard: Option<(u32, u32)>,
    /// Returns at this completion although trials are missing.
    pub walks_off_after: Option<usize>,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            slots: 8,
            shuffle: 0,
            cancels: true,
            fails_after: None,
            killed_after: None,
            refuses_every: None,
            awaits_verdicts: false,
            shard: None,
            walks_off_after: None,
        }
    }
}

/// Samples by a schedule and records the requests.
#[derive(Debug, Default)]
pub struct Scripted {
    pub schedule: Schedule,
    pub log: Mutex<Log>,
    pub verdicts: Verdicts,
}

#[derive(Debug, Default)]
pub struct Log {
    /// How often each trial was requested.
    pub asked: BTreeMap<TrialId, u32>,
    /// Trials completed without cancellation, in order.
    pub completed: Vec<TrialId>,
    pub cancelled: usize,
    /// The largest number of requests in progress at once.
    pub most_at_work: usize,
    /// Requests whose prompt was not among the most recent ones.
    pub prefills: usize,
}

impl Scripted {
    pub fn new(schedule: Schedule) -> Self {
        Scripted {
            schedule,
            log: Mutex::default(),
            verdicts: Verdicts::default(),
        }
    }

    pub fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Returns the pass rate in a problem's metadata.
pub fn rate(problem: &Problem) -> f64 {
    problem.metadata["rate"].as_f64().unwrap()
}

/// Problems with these pass rates.
pub fn problems(rates: &[f64]) -> Vec<Problem> {
    rates
        .iter()
        .enumerate()
        .map(|(index, rate)| {
            let mut problem = Problem::new(format!("question {index}"), format!("{index}"));
            problem = problem.with_id(format!("p{index}"));
            problem.metadata.insert("rate".into(), json!(rate));
            problem
        })
        .collect()
}

/// Returns whether a trial of a scripted generator is correct.
pub fn is_correct(problem: &Problem, run_seed: u64, number: u32) -> bool {
    let seed = trial_seed(run_seed, &problem.id, number);
    Philox::new(seed).uniform(0) < rate(problem)
}

/// Returns the number of distinct responses of a problem, from its metadata. Without it, all responses differ.
pub fn variety(problem: &Problem) -> u64 {
    let variety = problem.metadata.get("variety");
    variety
        .and_then(|variety| variety.as_u64())
        .unwrap_or(u64::MAX)
}

/// Returns the scripted response. Its length does not depend on its correctness.
pub fn complete(request: &Request) -> Completion {
    let random = Philox::new(request.seed);
    let answer = if random.uniform(0) < rate(&request.problem) {
        request.problem.reference.clone()
    } else {
        "wrong".into()
    };
    let length = 1 + random.below(1, 20) as usize;
    Completion {
        text: format!(
            "{:016x} {answer}",
            random.below(2, variety(&request.problem))
        ),
        tokens: vec![7; length],
        counted_tokens: None,
        finish: Finish::Stop,
        logprob: Some(-10.0 * random.uniform(3)),
        unfinished_reasoning: false,
    }
}

/// Grades scripted responses.
pub fn grader(problem: &Problem, completion: &Completion) -> Verdict {
    let answer = completion
        .text
        .split_once(' ')
        .map_or("", |(_, answer)| answer);
    Verdict {
        extracted: Some(answer.to_owned()),
        ..Verdict::new(answer == problem.reference, "scripted")
    }
}

impl Generator for Scripted {
    fn run(&self, source: &dyn Source) -> Result<()> {
        let random = Philox::new(self.schedule.shuffle);
        let (mut at_work, mut step, mut done) = (Vec::<Request>::new(), 0, 0);
        let mut tokens = 0;
        let mut resident: Vec<u32> = Vec::new();
        loop {
            let free = self.schedule.slots - at_work.len();
            let offer = Offer {
                free,
                resident: &resident,
            };
            match source.next(offer) {
                Next::Done => {
                    for request in at_work.drain(..) {
                        cancel(source, &request);
                    }
                    return Ok(());
                }
                Next::Wait if at_work.is_empty() => continue,
                Next::Wait => {}
                Next::Requests(requests) => {
                    assert!(!requests.is_empty() && requests.len() <= free);
                    let mut log = self.log();
                    for request in requests {
                        let index = request.trial.problem;
                        match self.schedule.shard {
                            None => assert_eq!(request.problem.id, format!("p{index}")),
                            Some((first, step)) => {
                                let index = first + step * index;
                                assert_eq!(request.problem.id, format!("p{index}"));
                            }
                        }
                        *log.asked.entry(request.trial).or_default() += 1;
                        if !resident.contains(&request.trial.problem) {
                            log.prefills += 1;
                            resident.insert(0, request.trial.problem);
                            resident.truncate(4);
                        }
                        at_work.push(request);
                    }
                    log.most_at_work = log.most_at_work.max(at_work.len());
                }
            }
            if self.schedule.cancels {
                at_work.retain(|request| {
                    let wanted = source.wanted(request.trial);
                    if !wanted {
                        cancel(source, request);
                        self.log().cancelled += 1;
                    }
                    wanted
                });
            }
            // Some of the requests in progress complete, in any order.
            let count = random.below(2 * step, 4).min(at_work.len() as u64);
            for _ in 0..count {
                step += 1;
                let index = random.below(2 * step + 1, at_work.len() as u64) as usize;
                let request = at_work.swap_remove(index);
                done += 1;
                let is = |at: Option<usize>| at.is_some_and(|at| done == at);
                if is(self.schedule.fails_after) {
                    return Err(Error::new(ErrorKind::Device, "out of order"));
                }
                if is(self.schedule.walks_off_after) {
                    return Ok(());
                }
                assert!(!is(self.schedule.killed_after), "killed");
                if self.schedule.refuses_every.is_some_and(|n| done % n == 0) {
                    cancel(source, &request);
                    continue;
                }
                if self.schedule.awaits_verdicts && !source.wanted(request.trial) {
                    cancel(source, &request);
                    continue;
                }
                let completion = complete(&request);
                tokens += completion.tokens.len() as u64;
                source.deliver(request.trial, completion);
                self.log().completed.push(request.trial);
                if self.schedule.awaits_verdicts {
                    self.verdicts.wait(tokens);
                }
            }
            step += 1;
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        settings.insert("model".into(), "scripted".into());
        settings
    }
}

fn cancel(source: &dyn Source, request: &Request) {
    let completion = Completion {
        finish: Finish::Cancelled,
        ..Completion::text("half a resp")
    };
    source.deliver(request.trial, completion);
}
