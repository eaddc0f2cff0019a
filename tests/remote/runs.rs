//! Whole runs over servers: with a journal, and with endpoints that die and return.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dart_math::dars::{JournalTrials, Limits, Outcome, Prop2Diff, Run, RunStop};
use dart_math::data::DataSet;
use dart_math::remote::{OpenAi, OpenAiBuilder, Retries};
use dart_math::{
    Completion, ErrorKind, Generator, Problem, ProblemRecord, Result, Trial, Verdict, trial_seed,
};

use crate::list::{builder, retries, sent};
use crate::server::{Reply, Server, text, tokens};

fn problems() -> Vec<Problem> {
    let problem =
        |index| Problem::new(format!("question {index}?"), "right").with_id(format!("p{index}"));
    (0..12).map(problem).collect()
}

fn grader(problem: &Problem, completion: &Completion) -> Verdict {
    Verdict::new(completion.text.ends_with(&problem.reference), "by its end")
}

fn run(journal: &Path, generator: &OpenAi) -> Result<Outcome> {
    let limits = Limits {
        trials_per_problem: Some(40),
        ..Limits::default()
    };
    Run::builder(problems())
        .strategy(Prop2Diff::with_pilot(8, 4))
        .limits(limits)
        .seed(5)
        .journal(journal)
        .build()?
        .run(generator, &grader)
}

/// Reads a journal. Checks that each trial has its own seed and text and occurs once.
fn journalled(journal: &Path) -> BTreeMap<(String, u32), Trial> {
    let mut trials = BTreeMap::new();
    for trial in JournalTrials::open(journal).unwrap() {
        let trial = trial.unwrap();
        assert_eq!(trial.seed, trial_seed(5, &trial.problem, trial.number));
        assert_eq!(trial.response, text(sent(trial.seed)));
        assert_eq!(trial.tokens, tokens(sent(trial.seed)));
        let before = trials.insert((trial.problem.clone(), trial.number), trial);
        assert_eq!(before, None, "counted twice");
    }
    trials
}

fn seeds(server: &Server) -> BTreeSet<u64> {
    server.log(|log| log.asked.iter().map(|asked| asked.seed).collect())
}

fn slow() -> Server {
    Server::new(|_| Reply::Good(Duration::from_millis(2)))
}

fn trials(outcome: &Outcome) -> Vec<Trial> {
    outcome.trials().map(|trial| trial.unwrap()).collect()
}

fn undisturbed() -> (Vec<Trial>, Vec<ProblemRecord>) {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::good();
    let generator = builder(&[&server]).connect().unwrap();
    let outcome = run(&directory.path().join("journal"), &generator).unwrap();
    (trials(&outcome), outcome.problems)
}

#[test]
fn a_run_survives_endpoints_that_die_and_return() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let (first, second) = (slow(), slow());
    let generator = builder(&[&first, &second]).connect().unwrap();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Each server dies in turn, and once both are down.
            let asked = |server: &Server, more: usize| {
                let (from, begun) = (server.requests(), Instant::now());
                while server.requests() < from + more && begun.elapsed() < Duration::from_secs(10) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            asked(&first, 10);
            first.die();
            asked(&second, 20);
            second.die();
            std::thread::sleep(Duration::from_millis(100));
            first.come_back();
            asked(&first, 20);
            second.come_back();
        });
        run(&journal, &generator).unwrap()
    });
    assert_eq!(outcome.stop, RunStop::Finished, "{:?}", outcome.error);
    let expected = undisturbed();
    assert_eq!(trials(&outcome), expected.0);
    assert_eq!(outcome.problems, expected.1);
    let rows = journalled(&journal);
    assert!(rows.len() as u64 >= outcome.totals.trials);
    let statistics = generator.statistics();
    for endpoint in &statistics {
        assert!(
            endpoint.completed > 0 && endpoint.failures > 0 && endpoint.rests > 0,
            "{endpoint:?}"
        );
        assert!(endpoint.requests >= endpoint.completed + endpoint.failures + endpoint.cancelled);
    }
    let whole: u64 = statistics.iter().map(|endpoint| endpoint.completed).sum();
    assert_eq!(whole, outcome.totals.drawn);
}

#[test]
fn a_run_that_lost_its_servers_goes_on_with_others() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let server = slow();
    let impatient = Retries {
        all_away: Duration::from_millis(300),
        ..retries()
    };
    let generator = builder(&[&server]).retries(impatient).connect().unwrap();
    let failed = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while server.log(|log| log.completed.len()) < 40
                && begun.elapsed() < Duration::from_secs(10)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            server.die();
        });
        run(&journal, &generator).unwrap()
    });
    assert_eq!(failed.stop, RunStop::Failed);
    let error = failed.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Server);
    assert!(error.detail().contains(&server.url()), "{error}");
    let before = journalled(&journal);
    assert!(before.len() >= 30);

    // The same run with two other addresses and other bounds.
    let (third, fourth) = (slow(), slow());
    let moved = builder(&[&third])
        .endpoint_with(fourth.url(), 2)
        .connect()
        .unwrap();
    let outcome = run(&journal, &moved).unwrap();
    assert_eq!(outcome.stop, RunStop::Finished);
    assert_eq!(outcome.totals.resumed as usize, before.len());
    let drawn: BTreeSet<u64> = before.values().map(|trial| sent(trial.seed)).collect();
    assert!(seeds(&third).is_disjoint(&drawn) && seeds(&fourth).is_disjoint(&drawn));
    assert!(moved.statistics()[1].max_in_flight <= 2);
    let expected = undisturbed();
    assert_eq!(trials(&outcome), expected.0);
    assert_eq!(outcome.problems, expected.1);
    journalled(&journal);

    // Another model makes it another run.
    let other = Server::serving(&["other"], "vllm", |_| Reply::Good(Duration::ZERO));
    let other = builder(&[&other]).connect().unwrap();
    let error = run(&journal, &other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert!(error.detail().contains("model"), "{error}");
}

#[test]
fn greedy_sampling_says_so() {
    let server = Server::good();
    let sampling = dart_math::Sampling::greedy();
    let generator = builder(&[&server]).sampling(sampling).connect().unwrap();
    assert!(generator.is_greedy());
    let directory = tempfile::tempdir().unwrap();
    let error = run(&directory.path().join("journal"), &generator).unwrap_err();
    assert!(error.detail().starts_with("greedy"), "{error}");
}

/// If servers honour seeds, the data set does not depend on the number of endpoints, their concurrency or their
/// failures.
#[test]
fn concurrency_endpoints_and_faults_leave_no_trace_in_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let files = |name: &str, servers: &[&Server], bound: usize| {
        let add =
            |builder: OpenAiBuilder, server: &&Server| builder.endpoint_with(server.url(), bound);
        let generator = servers.iter().fold(builder(&[]), add).connect().unwrap();
        let journal = directory.path().join(format!("journal {name}"));
        let outcome = run(&journal, &generator).unwrap();
        assert_eq!(outcome.stop, RunStop::Finished, "{:?}", outcome.error);
        journalled(&journal);
        let most = generator
            .statistics()
            .into_iter()
            .map(|endpoint| endpoint.max_in_flight);
        assert!(
            most.clone().all(|most| (1..=bound).contains(&most)),
            "{name}"
        );
        assert!(servers.iter().all(|server| server.requests() > 0), "{name}");
        let set = directory.path().join(name);
        let data = DataSet {
            problems: &outcome.problems,
            manifest: &outcome.manifest(),
        };
        data.write(&set, outcome.trials()).unwrap();
        ["dataset.jsonl", "trials.jsonl", "problems.jsonl"]
            .map(|file| std::fs::read_to_string(set.join(file)).unwrap())
    };
    let alone = files("alone", &[&Server::good()], 1);
    assert!(alone.iter().all(|file| file.lines().count() >= 12));
    for bound in [4, 16] {
        assert!(
            files(&format!("{bound}"), &[&Server::good()], bound) == alone,
            "{bound}"
        );
        let name = format!("two of {bound}");
        assert!(
            files(&name, &[&Server::good(), &Server::good()], bound) == alone,
            "{name}"
        );
        // Every third request meets some fault.
        let count = AtomicUsize::new(0);
        let faulty = Server::new(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            n if n % 3 > 0 => Reply::Good(Duration::ZERO),
            n if n % 2 > 0 => Reply::Cut(250),
            _ => Reply::Status(503, vec![], String::new()),
        });
        let name = format!("faulty, {bound}");
        assert!(
            files(&name, &[&Server::good(), &faulty], bound) == alone,
            "{name}"
        );
    }
}
