//! Journals as pools of trials: joining shards, and selecting data sets.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::scripted::journals::{self, notes, snapshot};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{
    Limits, Outcome, Prop2Diff, Run, RunBuilder, RunStop, Strategy, Uniform, Vanilla,
};
use dart_math::{ErrorKind, Problem, StopReason};

const RATES: [f64; 7] = [0.95, 0.6, 0.5, 0.3, 0.1, 0.0, 0.8];
const SHARDS: usize = 3;

fn limits() -> Limits {
    Limits {
        trials_per_problem: Some(40),
        ..Limits::default()
    }
}

fn builder<'a>(
    problems: Vec<Problem>,
    strategy: &'a dyn Strategy,
    journal: &Path,
) -> RunBuilder<'a> {
    Run::builder(problems)
        .strategy(strategy)
        .limits(limits())
        .seed(5)
        .journal(journal)
        .journal_part_bytes(4000)
}

fn run(problems: Vec<Problem>, strategy: &dyn Strategy, journal: &Path) -> Outcome {
    let run = builder(problems, strategy, journal).build().unwrap();
    run.run(&Scripted::default(), &grader).unwrap()
}

/// Creates the journals of the shards. Each has every third problem.
fn shards(strategy: &dyn Strategy, directory: &Path) -> Vec<PathBuf> {
    let shard = |index: usize| {
        let own = problems(&RATES).into_iter().skip(index).step_by(SHARDS);
        let journal = directory.join(format!("shard{index}"));
        let generator = Scripted::new(Schedule {
            shard: Some((index as u32, SHARDS as u32)),
            ..Schedule::default()
        });
        let run = builder(own.collect(), strategy, &journal).build().unwrap();
        let _ = run.run(&generator, &grader).unwrap();
        journal
    };
    (0..SHARDS).map(shard).collect()
}

#[test]
fn shards_that_are_joined_are_the_whole_run() {
    let strategy = Prop2Diff::with_pilot(12, 6);
    let directory = tempfile::tempdir().unwrap();
    let whole = run(problems(&RATES), &strategy, &directory.path().join("whole"));
    let shards = shards(&strategy, directory.path());
    let before: Vec<_> = shards.iter().map(|shard| snapshot(shard)).collect();
    let journal = directory.path().join("joined");
    let joined = || {
        builder(problems(&RATES), &strategy, &journal)
            .build()
            .unwrap()
    };
    let merged = joined().merge(&shards).unwrap();
    assert_eq!((merged.overlaps, merged.without_trials.len()), (0, 0));
    // Select without a generator, and resume with a generator that has nothing to draw.
    let selected = joined().select().unwrap();
    assert_eq!(selected.stop, RunStop::Finished);
    let generator = Scripted::default();
    let resumed = joined().run(&generator, &grader).unwrap();
    assert!(generator.log().asked.is_empty());
    for outcome in [&selected, &resumed] {
        assert_eq!(trials(outcome), trials(&whole));
        assert_eq!(outcome.problems, whole.problems);
        assert_eq!(outcome.configuration, whole.configuration);
        assert_eq!(outcome.totals.resumed, merged.trials);
        // The sessions of all shards.
        assert_eq!(outcome.sessions.len(), SHARDS);
        let drawn: u64 = outcome.sessions.iter().map(|session| session.drawn).sum();
        assert!(drawn >= merged.trials);
    }
    let after: Vec<_> = shards.iter().map(|shard| snapshot(shard)).collect();
    assert!(before == after, "a shard was changed");

    // The joined journal already exists.
    let error = joined().merge(&shards).unwrap_err();
    assert!(
        error.to_string().contains("there is a journal already"),
        "{error}"
    );
}

#[test]
fn overlaps_and_gaps_of_shards_are_reported() {
    let strategy = Uniform { k: 3 };
    let directory = tempfile::tempdir().unwrap();
    let mut shards = shards(&strategy, directory.path());
    let own = journals::trials(&shards[0]).len() as u64;
    shards[2] = shards[0].clone();
    // A journal cannot be locked twice, so the shard is joined with a copy of itself.
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for (path, bytes) in snapshot(&shards[0]) {
        fs::write(copy.join(path.file_name().unwrap()), bytes).unwrap();
    }
    shards[2] = copy;
    let journal = directory.path().join("joined");
    let joined = || {
        builder(problems(&RATES), &strategy, &journal)
            .build()
            .unwrap()
    };
    let merged = joined().merge(&shards).unwrap();
    assert_eq!(merged.overlaps, own);
    assert_eq!(merged.without_trials, ["p2", "p5"]);
    let selected = joined().select().unwrap();
    let lacking = selected.problems.iter();
    let lacking = lacking.filter(|r| r.stop == StopReason::RunEnded).count();
    assert_eq!(
        selected.stop,
        RunStop::JournalExhausted { problems: lacking }
    );
    assert_eq!(selected.problems[2].tally.trials, 0);
    // Resuming draws only the missing trials.
    let generator = Scripted::default();
    let outcome = joined().run(&generator, &grader).unwrap();
    let asked: BTreeSet<u32> = generator.log().asked.keys().map(|id| id.problem).collect();
    assert_eq!(asked, BTreeSet::from([2, 5]));
    let whole = run(problems(&RATES), &strategy, &directory.path().join("whole"));
    assert_eq!(trials(&outcome), trials(&whole));
}

#[test]
fn journals_of_other_runs_are_not_joined() {
    let strategy = Uniform { k: 3 };
    let directory = tempfile::tempdir().unwrap();
    let shards = shards(&strategy, directory.path());
    let journal = directory.path().join("joined");
    let refused = |run: RunBuilder<'_>, shards: &[PathBuf], reason: &str| {
        let error = run.build().unwrap().merge(shards).unwrap_err();
        assert!(error.to_string().contains(reason), "{error} lacks {reason}");
        assert!(!journal.exists());
        error.kind()
    };
    let joined = || builder(problems(&RATES), &strategy, &journal);
    let kind = refused(joined().seed(6), &shards, "has another run's seed");
    assert_eq!(kind, ErrorKind::Journal);
    let fewer = builder(problems(&RATES[..4]), &strategy, &journal);
    refused(fewer, &shards, "the run has no problem \"p");
    refused(joined(), &[], "no journals to join");
    refused(joined(), &[directory.path().join("none")], "no journal");
    let other = directory.path().join("other");
    let _ = run(problems(&RATES[..2]), &Uniform { k: 4 }, &other);
    let both = [shards[0].clone(), other];
    refused(joined(), &both, "strategy.k was 3, is 4");
    let shared = directory.path().join("shared");
    let limits = Limits {
        trials: Some(30),
        ..limits()
    };
    let few = builder(problems(&RATES[..2]), &strategy, &shared).limits(limits);
    let _ = few.build().unwrap().run(&Scripted::default(), &grader);
    refused(joined(), &[shared], "a limit of trials over all problems");
    // If a shard is damaged, no part of the new journal is left.
    let part = snapshot(&shards[1])
        .into_keys()
        .find(|path| *path != notes(&shards[1]));
    let part = part.unwrap();
    let mut bytes = fs::read(&part).unwrap();
    bytes[40] ^= 4;
    fs::write(&part, bytes).unwrap();
    refused(joined(), &shards, "damaged");
    let none = Run::builder(problems(&RATES))
        .strategy(strategy)
        .build()
        .unwrap();
    assert_eq!(none.merge(&shards).unwrap_err().kind(), ErrorKind::Settings);
}

/// Other strategies select from one pool the data sets that their own runs would have made.
#[test]
fn any_strategy_selects_from_a_pool() {
    let directory = tempfile::tempdir().unwrap();
    let pool = directory.path().join("pool");
    // 30 trials of each problem.
    let _ = run(problems(&RATES), &Vanilla { trials: 30 }, &pool);
    let at_rest = snapshot(&pool);
    let limits = Limits {
        trials_per_problem: Some(30),
        ..Limits::default()
    };
    let strategies: [&dyn Strategy; 4] = [
        &Uniform { k: 2 },
        &Uniform { k: 20 },
        &Prop2Diff::with_pilot(12, 6),
        &Vanilla { trials: 11 },
    ];
    for (number, strategy) in strategies.into_iter().enumerate() {
        for dedup in [false, true] {
            let own = directory.path().join(format!("own{number}{dedup}"));
            let anew = builder(problems(&RATES), strategy, &own)
                .limits(limits)
                .dedup(dedup);
            let anew = anew
                .build()
                .unwrap()
                .run(&Scripted::default(), &grader)
                .unwrap();
            let selected = builder(problems(&RATES), strategy, &pool)
                .limits(limits)
                .dedup(dedup);
            // The pool's limit of trials per problem is not lower than this one.
            let error = selected.build().unwrap().select();
            let selected = error.unwrap();
            assert_eq!(trials(&selected), trials(&anew), "strategy {number}");
            assert_eq!(selected.problems, anew.problems);
            assert_eq!(
                selected.configuration["strategy"],
                anew.configuration["strategy"]
            );
            assert_eq!(selected.stop, RunStop::Finished);
        }
    }
    // If the strategy asks for more trials than the pool has, it gets all of them.
    let most = builder(problems(&RATES), &Vanilla { trials: 40 }, &pool);
    let selected = most.build().unwrap().select().unwrap();
    let lacking = selected.problems.iter();
    let lacking = lacking.filter(|r| r.stop == StopReason::RunEnded).count();
    assert_eq!(
        selected.stop,
        RunStop::JournalExhausted { problems: lacking }
    );
    assert_eq!(selected.totals.trials, 30 * RATES.len() as u64);
    assert!(snapshot(&pool) == at_rest);
    let none = builder(
        problems(&RATES),
        &Uniform { k: 2 },
        &directory.path().join("none"),
    );
    assert_eq!(
        none.build().unwrap().select().unwrap_err().kind(),
        ErrorKind::Io
    );
}
