//! Real llama.cpp servers.

pub(crate) mod deaths;
mod server;
#[cfg(feature = "engine")]
pub(crate) mod synthesize;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dart_math::dars::{
    CancelHandle, JournalTrials, Keep, Limits, Outcome, Prop2Diff, Run, RunStop, Vanilla,
};
use dart_math::remote::{OpenAi, OpenAiBuilder, Prompt, Retries};
use dart_math::{Completion, Finish, Generator, Problem, Sampling, Trial, Verdict};

use crate::files::files;
use crate::harness::{Test, tests};
use serde_json::json;
use server::Llama;

pub(crate) const TESTS: &[Test] = tests![
    seeds_decide_what_a_server_draws,
    a_run_by_chat_ends,
    what_is_too_long_is_refused_and_what_is_not_wanted_stops,
    files_are_the_same_where_requests_are_alone,
];

fn builder() -> OpenAiBuilder {
    let retries = Retries {
        first_wait: Duration::from_millis(20),
        max_wait: Duration::from_millis(200),
        ..Retries::default()
    };
    // This model's tokens are bytes. If they are not valid UTF-8, llama.cpp misses stop strings, and streamed texts
    // end differently from whole ones. So only ASCII is sampled.
    let others = (128..=255).map(|token| json!([token, false]));
    OpenAi::builder()
        .prompt(Prompt::text("Q: {problem}\nA:").unwrap())
        .retries(retries)
        .extra("logit_bias", others.collect())
        // A prompt that is partly cached is rounded differently.
        .extra("cache_prompt", false.into())
        .max_tokens(48)
}

fn problems(count: usize) -> Vec<Problem> {
    let problem = |index| {
        let question = format!("What is {index} + {}?", 2 * index + 1);
        Problem::new(question, "right").with_id(format!("p{index}"))
    };
    (0..count).map(problem).collect()
}

/// Accepts two fifths of the random model's texts.
fn grader(_: &Problem, completion: &Completion) -> Verdict {
    let sum: u64 = completion.text.bytes().map(u64::from).sum();
    Verdict::new(sum % 5 < 2, "by the sum of its bytes")
}

const MAX_TRIALS: u32 = 30;

/// A run of these problems with a journal.
fn run<'a>(problems: Vec<Problem>, journal: &Path) -> Run<'a> {
    let limits = Limits {
        trials_per_problem: Some(MAX_TRIALS),
        ..Limits::default()
    };
    Run::builder(problems)
        .strategy(Prop2Diff::with_pilot(10, 8))
        .limits(limits)
        .seed(7)
        .keep(Keep::All)
        .journal(journal)
        .build()
        .unwrap()
}

/// Checks that every problem met its target or reached its limit of trials, that the journal has no trial twice, and
/// that it has all trials that count, numbered without gaps.
fn check(outcome: &Outcome, journal: &Path) {
    assert_eq!(outcome.stop, RunStop::Finished, "{:?}", outcome.error);
    for record in &outcome.problems {
        let is_met = record.target.is_some_and(|target| record.kept == target);
        assert!(is_met || record.tally.trials == MAX_TRIALS, "{record:?}");
    }
    let mut written = BTreeMap::new();
    for trial in JournalTrials::open(journal).unwrap() {
        let trial = trial.unwrap();
        let before = written.insert((trial.problem.clone(), trial.number), trial.response);
        assert_eq!(before, None, "{} {} twice", trial.problem, trial.number);
    }
    let mut numbers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for trial in outcome.trials() {
        let trial = trial.unwrap();
        assert_eq!(
            written[&(trial.problem.clone(), trial.number)],
            trial.response
        );
        numbers.entry(trial.problem).or_default().push(trial.number);
    }
    assert_eq!(numbers.len(), outcome.problems.len());
    for (problem, numbers) in numbers {
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u32),
            "{problem}: {numbers:?}"
        );
    }
}

fn seeds_decide_what_a_server_draws() {
    let server = Llama::start();
    let sampling = Sampling {
        temperature: 1.5,
        ..Sampling::default()
    };
    let drawn = |builder: OpenAiBuilder| -> Vec<Trial> {
        let generator = builder.sampling(sampling).connect().unwrap();
        let run = Run::builder(problems(3))
            .strategy(Vanilla { trials: 4 })
            .keep(Keep::All);
        let outcome = run.build().unwrap().run(&generator, &grader).unwrap();
        outcome.trials().map(|trial| trial.unwrap()).collect()
    };
    let trials = drawn(builder().endpoint_with(server.url(), 4).logprobs(true));
    let texts: BTreeSet<&str> = trials.iter().map(|trial| &*trial.response).collect();
    assert_eq!((trials.len(), texts.len()), (12, 12), "{trials:?}");
    for trial in &trials {
        assert!((1..=48).contains(&trial.tokens), "{trial:?}");
        assert_eq!(
            trial.finish == Finish::Length,
            trial.tokens == 48,
            "{trial:?}"
        );
        // At this temperature, with a vocabulary of 288 tokens, every response is improbable.
        assert!(
            trial.logprob.is_none_or(|logprob| logprob < -1.0),
            "{trial:?}"
        );
    }
    assert!(trials.iter().any(|trial| trial.logprob.is_some()));

    // The result does not depend on streaming.
    let alone = |stream: bool| {
        let trials = drawn(builder().endpoint_with(server.url(), 1).stream(stream));
        let seen = |trial: Trial| (trial.response, trial.tokens, trial.finish);
        trials.into_iter().map(seen).collect::<Vec<_>>()
    };
    let first = alone(true);
    assert!(first.iter().all(|(text, ..)| text.is_ascii()));
    assert_eq!(alone(false), first);
}

fn a_run_by_chat_ends() {
    let server = Llama::start();
    let generator = builder()
        .prompt(Prompt::chat().with_system("Answer with one number."))
        .stop(vec!["\n".into()])
        .endpoint_with(server.url(), 4)
        .connect()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let outcome = run(problems(4), &journal).run(&generator, &grader).unwrap();
    check(&outcome, &journal);
    for trial in outcome.trials() {
        let trial = trial.unwrap();
        assert!(
            trial.tokens > 0 && !trial.response.contains('\n'),
            "{trial:?}"
        );
    }
}

fn what_is_too_long_is_refused_and_what_is_not_wanted_stops() {
    let server = Llama::start();
    let generator = builder()
        .endpoint_with(server.url(), 4)
        .max_tokens(200)
        .extra("ignore_eos", true.into())
        .connect()
        .unwrap();
    let questions = ["What is 1 + 1?".to_owned(), "one two three ".repeat(400)];
    let questions = questions.map(|question| Arc::new(Problem::new(question, "2")));
    let rejected = generator.check(&questions).unwrap();
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    assert_eq!(rejected[0].problem, 1);

    let cancel = CancelHandle::new();
    let run = Run::builder(problems(10))
        .strategy(Vanilla { trials: 10_000 })
        .cancel(cancel.clone());
    let run = run.build().unwrap();
    let outcome = std::thread::scope(|scope| {
        let cancels = scope.spawn(|| {
            while server.sampled() < 2000 {
                std::thread::sleep(Duration::from_millis(50));
            }
            cancel.cancel();
            Instant::now()
        });
        let outcome = run.run(&generator, &grader).unwrap();
        let waited = cancels.join().unwrap().elapsed();
        assert!(waited < Duration::from_secs(3), "{waited:?}");
        outcome
    });
    assert_eq!(outcome.stop, RunStop::Interrupted);
    assert!(outcome.totals.cancelled > 0, "{:?}", outcome.totals);
    let statistics = &generator.statistics()[0];
    assert_eq!(statistics.failures, 0, "{statistics:?}");
}

/// A server promises the same tokens for requests that run alone. Concurrent requests may get other tokens by
/// rounding, but the run is still valid.
fn files_are_the_same_where_requests_are_alone() {
    let servers = [Llama::start(), Llama::start(), Llama::of_slots(1)];
    let directory = tempfile::tempdir().unwrap();
    let drawn = |endpoints: &[(usize, usize)]| {
        let add = |builder: OpenAiBuilder, &(server, bound): &(usize, usize)| {
            builder.endpoint_with(servers[server].url(), bound)
        };
        let generator = endpoints.iter().fold(builder(), add).connect().unwrap();
        let journal = directory.path().join(format!("{endpoints:?}"));
        let outcome = run(problems(12), &journal)
            .run(&generator, &grader)
            .unwrap();
        check(&outcome, &journal);
        outcome
    };
    let alone = drawn(&[(0, 1)]);
    assert!(alone.problems.iter().any(|record| record.kept > 0));
    // Another process, and two processes that share the requests.
    assert!(files(&drawn(&[(1, 1)])) == files(&alone));
    assert!(files(&drawn(&[(0, 1), (1, 1)])) == files(&alone));
    // The server has one slot, so all other requests wait in its queue.
    assert!(files(&drawn(&[(2, 8)])) == files(&alone));

    let texts = |outcome: &Outcome| -> BTreeMap<(String, u32), String> {
        let trials = outcome.trials().map(|trial| trial.unwrap());
        trials
            .map(|trial| ((trial.problem, trial.number), trial.response))
            .collect()
    };
    let (alone, four) = (texts(&alone), texts(&drawn(&[(0, 4)])));
    let both = alone
        .iter()
        .filter_map(|(id, text)| Some((text, four.get(id)?)));
    let differ = both.clone().filter(|(one, other)| one != other).count();
    println!(
        "{differ} of {} trials differ between one and four requests at a time",
        both.count()
    );
}
