//! Servers that are killed during a run and restarted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dart_math::{Completion, Problem, Verdict};

use super::server::Llama;
use super::{builder, check, grader, problems, run};
use crate::files::files;
use crate::harness::{Test, tests};

pub(crate) const TESTS: &[Test] = tests![a_run_survives_a_server_that_is_killed_and_restarted];

/// The number of verdicts given before the server is back.
const BEFORE: usize = 100;

const DEADLINE: Duration = Duration::from_secs(60);

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// With one request at a time per server, the files equal those of an undisturbed run. With four, the targets are
/// met.
fn a_run_survives_a_server_that_is_killed_and_restarted() {
    let directory = tempfile::tempdir().unwrap();
    let undisturbed = {
        let server = Llama::start();
        let generator = builder().endpoint_with(server.url(), 1);
        let generator = generator.connect().unwrap();
        let journal = directory.path().join("undisturbed");
        let outcome = run(problems(30), &journal).run(&generator, &grader);
        files(&outcome.unwrap())
    };
    for at_a_time in [1, 4] {
        let (mut first, second) = (Llama::start(), Llama::start());
        let generator = builder()
            .endpoint_with(first.url(), at_a_time)
            .endpoint_with(second.url(), at_a_time)
            .connect()
            .unwrap();
        let begun = Instant::now();
        // Verdicts wait for the restart, so that most of the run comes after it.
        let (given, is_back) = (AtomicUsize::new(0), AtomicBool::new(false));
        let waiting = |problem: &Problem, completion: &Completion| -> Verdict {
            if given.fetch_add(1, Ordering::Relaxed) >= BEFORE {
                // The deadline applies if the other thread panics.
                while !is_back.load(Ordering::Relaxed) && begun.elapsed() < DEADLINE {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            grader(problem, completion)
        };
        let journal = directory.path().join(at_a_time.to_string());
        let run = run(problems(30), &journal);
        let outcome = std::thread::scope(|scope| {
            let disturbs = scope.spawn(|| {
                wait_for("the first server does nothing", || first.sampled() > 500);
                first.kill();
                let before = second.sampled() + 500;
                wait_for("the second does not go on", || second.sampled() > before);
                first.restart();
                let before = second.sampled();
                is_back.store(true, Ordering::Relaxed);
                before
            });
            let outcome = run.run(&generator, &waiting).unwrap();
            let before = disturbs.join().unwrap();
            assert!(second.sampled() > before);
            outcome
        });
        // The restarted server has sampled, too.
        assert!(first.sampled() > 0);
        check(&outcome, &journal);
        let statistics = generator.statistics();
        assert!(statistics[0].failures > 0, "{statistics:?}");
        assert_eq!(statistics[1].failures, 0, "{statistics:?}");
        let whole: u64 = statistics.iter().map(|endpoint| endpoint.completed).sum();
        assert_eq!(whole, outcome.totals.drawn);
        if at_a_time == 1 {
            assert!(files(&outcome) == undisturbed);
        }
    }
}
