//! Whole runs with the built-in model: the data set does not depend on slots, shards or interruptions.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::files::files;
use crate::trials;
use dart_math::answer::Checker;
use dart_math::dars::{
    CancelHandle, Keep, Limits, Observer, Outcome, Prop2Diff, Run, RunBuilder, RunStop,
};
use dart_math::data::arithmetic;
use dart_math::engine::Engine;
use dart_math::model::Model;
use dart_math::{Finish, Problem, Trial};

fn engine(slots: usize, threads: usize) -> Engine {
    Engine::builder(Model::built_in().unwrap())
        .slots(slots)
        .threads(threads)
        .max_new_tokens(160)
        .build()
        .unwrap()
}

/// Stops the run after this many verdicts.
struct Impatient {
    after: u32,
    seen: AtomicU32,
    handle: CancelHandle,
}

impl Observer for Impatient {
    fn graded(&self, _: &Trial) {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.after {
            self.handle.cancel();
        }
    }
}

/// Two problems of each of seven levels.
fn problems() -> Vec<Problem> {
    arithmetic::problems(1..=7, 2, 3)
}

fn builder<'a>(problems: Vec<Problem>) -> RunBuilder<'a> {
    Run::builder(problems)
        .strategy(Prop2Diff::with_pilot(6, 4))
        .limits(Limits {
            trials_per_problem: Some(12),
            ..Limits::default()
        })
        .seed(1)
        .keep(Keep::All)
}

fn run(engine: &Engine, journal: Option<&Path>, after: u32) -> Outcome {
    let observer = Impatient {
        after,
        seen: AtomicU32::new(0),
        handle: CancelHandle::new(),
    };
    let mut run = builder(problems())
        .observer(&observer)
        .cancel(observer.handle.clone());
    if let Some(journal) = journal {
        run = run.journal(journal);
    }
    let run = run.build().unwrap();
    run.run(engine, &Checker::default()).unwrap()
}

#[test]
fn slots_threads_shards_and_interruptions_leave_no_trace_in_the_files() {
    let whole = run(&engine(16, 2), None, u32::MAX);
    assert_eq!(whole.stop, RunStop::Finished);
    assert!(
        trials(&whole)
            .iter()
            .all(|trial| trial.finish != Finish::Cancelled)
    );
    assert!(
        trials(&whole)
            .iter()
            .all(|trial| trial.logprob.is_some_and(|l| l <= 0.0))
    );
    // The easiest problem has a response, and the 14 problems have more than one each on average.
    assert!(whole.problems[0].kept >= 1);
    assert!(whole.totals.kept > 14, "{} kept", whole.totals.kept);

    let expected = files(&whole);
    for (slots, threads) in [(1, 2), (7, 1), (32, 2), (32, 1)] {
        let other = run(&engine(slots, threads), None, u32::MAX);
        assert!(
            files(&other) == expected,
            "{slots} slots, {threads} threads"
        );
    }

    let directory = tempfile::tempdir().unwrap();
    let shard = |index: usize| {
        let own = problems().into_iter().skip(index).step_by(3).collect();
        let journal = directory.path().join(format!("shard {index}"));
        let run = builder(own).journal(&journal).build().unwrap();
        let outcome = run.run(&engine(7, 2), &Checker::default()).unwrap();
        assert_eq!(outcome.stop, RunStop::Finished);
        journal
    };
    let shards: Vec<PathBuf> = (0..3).map(shard).collect();
    let joined = builder(problems()).journal(directory.path().join("joined"));
    let joined = joined.build().unwrap();
    let _ = joined.merge(&shards).unwrap();
    assert!(files(&joined.select().unwrap()) == expected);

    let journal = directory.path().join("journal");
    let part = run(&engine(7, 2), Some(&journal), 25);
    assert_eq!(part.stop, RunStop::Interrupted);
    assert!(part.totals.trials < whole.totals.trials);
    let rest = run(&engine(5, 1), Some(&journal), u32::MAX);
    assert!(rest.totals.resumed >= 25);
    assert_eq!(trials(&rest), trials(&whole));
    assert_eq!(rest.problems, whole.problems);
}
