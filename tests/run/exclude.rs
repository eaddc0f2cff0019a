//! Problems that a run excludes: sampling, resuming, joining and selecting without them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::scripted::journals::{self, snapshot};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{
    Basis, Costs, Keep, Known, Limits, Outcome, Prop2Diff, Run, RunBuilder, RunStop, Uniform,
    Vanilla,
};
use dart_math::data::decontaminate::TestSets;
use dart_math::data::{DataSet, read_problems_table};
use dart_math::report::LevelTable;
use dart_math::report::html::Report;
use dart_math::{ErrorKind, Problem, Rejection, StopReason, Trial};

const RATES: [f64; 6] = [0.9, 0.6, 0.5, 0.3, 0.1, 0.8];

fn out(of: &[usize]) -> Vec<Rejection> {
    let reason = |problem| format!("{problem} is in a test set");
    let rejection = |&problem: &usize| Rejection {
        problem,
        reason: reason(problem),
    };
    of.iter().map(rejection).collect()
}

fn limits() -> Limits {
    Limits {
        trials_per_problem: Some(40),
        ..Limits::default()
    }
}

fn builder<'a>(excluded: &[usize]) -> RunBuilder<'a> {
    Run::builder(problems(&RATES))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits())
        .seed(5)
        .keep(Keep::All)
        .exclude(out(excluded))
}

fn run(builder: RunBuilder<'_>, generator: &Scripted) -> Outcome {
    let run = builder.build().unwrap();
    run.run(generator, &grader).unwrap()
}

fn asked(generator: &Scripted) -> BTreeSet<u32> {
    let log = generator.log();
    log.asked.keys().map(|id| id.problem).collect()
}

/// The expected data set without these problems.
fn without(outcome: &Outcome, excluded: &[usize]) -> Vec<Trial> {
    let ids: Vec<String> = excluded.iter().map(|index| format!("p{index}")).collect();
    let mut all = trials(outcome);
    all.retain(|trial| !ids.contains(&trial.problem));
    all
}

#[test]
fn nothing_is_drawn_for_problems_that_are_left_out() {
    let generator = Scripted::default();
    let whole = run(builder(&[]), &Scripted::default());
    let outcome = run(builder(&[4, 1]), &generator);
    assert_eq!(asked(&generator), BTreeSet::from([0, 2, 3, 5]));
    assert_eq!(outcome.stop, RunStop::Finished);
    assert_eq!(trials(&outcome), without(&whole, &[1, 4]));
    for (index, (record, other)) in outcome.problems.iter().zip(&whole.problems).enumerate() {
        if index != 1 && index != 4 {
            assert_eq!(record, other);
            continue;
        }
        assert_eq!(record.stop, StopReason::Excluded);
        let reason = format!("{index} is in a test set");
        assert_eq!(record.rejection.as_deref(), Some(&*reason));
        assert_eq!(
            (record.tally.trials, record.kept, record.target),
            (0, 0, None)
        );
    }
    let totals = &outcome.totals;
    assert_eq!(
        (totals.problems, totals.excluded, totals.rejected),
        (6, 2, 0)
    );
    let manifest = outcome.manifest();
    assert_eq!(manifest["totals"]["excluded"], 2);
    assert_eq!(manifest["excluded"]["count"], 2);
    assert_eq!(manifest["problems"], whole.manifest()["problems"]);
    assert!(whole.manifest().get("excluded").is_none());
    // They do not count in tables of problems.
    assert_eq!(LevelTable::new(&outcome.problems).total.problems, 4);

    // The data set's files, and the report made from them.
    let directory = tempfile::tempdir().unwrap();
    let set = DataSet {
        problems: &outcome.problems,
        manifest: &manifest,
    };
    set.write(directory.path(), outcome.trials()).unwrap();
    let rows = read_problems_table(directory.path().join("problems.jsonl")).unwrap();
    let rows: Vec<_> = rows.map(|row| row.unwrap()).collect();
    assert_eq!(rows[4].stop_reason, StopReason::Excluded);
    assert_eq!(rows[4].rejection.as_deref(), Some("4 is in a test set"));
    let page = Report::read(directory.path()).unwrap();
    let page = page.html();
    assert!(page.contains("Left out of the run, and of all figures: 2 problems."));
    assert!(page.contains("it was left out of the run"));
}

#[test]
fn other_problems_are_left_out_of_a_run_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let mut there = BTreeSet::new();
    let all: [&[usize]; 6] = [&[1, 3], &[3, 4], &[0, 2, 5], &[], &[1, 3], &[2]];
    for (number, excluded) in all.into_iter().enumerate() {
        let generator = Scripted::new(Schedule {
            shuffle: number as u64,
            ..Schedule::default()
        });
        let outcome = run(builder(excluded).journal(&journal), &generator);
        let anew = run(builder(excluded), &Scripted::default());
        assert_eq!(
            trials(&outcome).iter().filter(|it| it.accepted).count(),
            outcome.totals.kept as usize
        );
        let rows = |outcome: &Outcome| -> Vec<Trial> {
            outcome.accepted().map(|trial| trial.unwrap()).collect()
        };
        assert_eq!(rows(&outcome), rows(&anew), "{excluded:?}");
        assert_eq!(outcome.problems, anew.problems, "{excluded:?}");
        // Only problems that were excluded before are drawn.
        let drawn: &[u32] = match number {
            0 => &[0, 2, 4, 5],
            1 => &[1],
            2 => &[3],
            _ => &[],
        };
        assert_eq!(
            asked(&generator),
            drawn.iter().copied().collect(),
            "{number}"
        );
        let now = journals::trials(&journal);
        assert!(now.is_superset(&there), "{excluded:?} lost trials");
        there = now;
    }
}

#[test]
fn a_data_set_is_selected_without_them() {
    let directory = tempfile::tempdir().unwrap();
    let pool = directory.path().join("pool");
    let all = builder(&[]).strategy(Vanilla { trials: 40 }).journal(&pool);
    let _ = run(all, &Scripted::default());
    let at_rest = snapshot(&pool);
    for excluded in [&[0][..], &[2, 3, 5], &[]] {
        let selected = builder(excluded)
            .journal(&pool)
            .build()
            .unwrap()
            .select()
            .unwrap();
        let anew = run(
            builder(excluded).journal(directory.path().join(format!("{excluded:?}"))),
            &Scripted::default(),
        );
        assert_eq!(trials(&selected), trials(&anew));
        assert_eq!(selected.problems, anew.problems);
        assert_eq!(selected.stop, RunStop::Finished);
        assert_eq!(
            selected.configuration.get("excluded"),
            anew.configuration.get("excluded")
        );
    }
    assert!(snapshot(&pool) == at_rest);
}

#[test]
fn a_limit_of_all_trials_fixes_what_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let shared = |excluded: &[usize]| {
        let limits = Limits {
            trials: Some(60),
            ..limits()
        };
        builder(excluded).limits(limits).journal(&journal)
    };
    let first = run(shared(&[3, 1]), &Scripted::default());
    let again = run(shared(&[1, 3]), &Scripted::default());
    assert_eq!(trials(&first), trials(&again));
    for excluded in [&[][..], &[1], &[1, 2]] {
        let run = shared(excluded).build().unwrap();
        let error = run.run(&Scripted::default(), &grader).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Journal);
        let error = error.to_string();
        assert!(
            error.contains("excluded") && error.contains("a limit of trials over all problems"),
            "{error}"
        );
    }
    let third = run(shared(&[1, 3]), &Scripted::default());
    assert_eq!(trials(&first), trials(&third));
}

#[test]
fn shards_leave_out_their_own() {
    let directory = tempfile::tempdir().unwrap();
    // Problems 1 and 4 are the first and the last of the second shard.
    let shard = |index: u32, excluded: &[usize]| -> PathBuf {
        let own = problems(&RATES).into_iter().skip(index as usize).step_by(2);
        let journal = directory.path().join(format!("shard{index}"));
        let generator = Scripted::new(Schedule {
            shard: Some((index, 2)),
            ..Schedule::default()
        });
        let shard = Run::builder(own.collect())
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(limits())
            .seed(5)
            .exclude(out(excluded))
            .journal(&journal);
        let _ = run(shard, &generator);
        journal
    };
    let shards = [shard(0, &[]), shard(1, &[0, 2])];
    let joined = |name: &str, excluded: &[usize]| {
        let journal: &Path = &directory.path().join(name);
        let merged = builder(excluded)
            .journal(journal)
            .build()
            .unwrap()
            .merge(&shards)
            .unwrap();
        (
            merged.without_trials,
            builder(excluded).journal(journal).build().unwrap(),
        )
    };
    let (missing, selected) = joined("same", &[1, 5]);
    assert!(missing.is_empty(), "{missing:?}");
    let whole = run(
        builder(&[1, 5]).journal(directory.path().join("whole")),
        &Scripted::default(),
    );
    let selected = selected.select().unwrap();
    assert_eq!(trials(&selected), trials(&whole));
    assert_eq!(selected.problems, whole.problems);
    // With other exclusions, a problem that its shard excluded is missing and is drawn.
    let (missing, joined) = joined("other", &[0, 1]);
    assert_eq!(missing, ["p5"]);
    let generator = Scripted::default();
    let outcome = joined.run(&generator, &grader).unwrap();
    assert_eq!(asked(&generator), BTreeSet::from([5]));
    let whole = run(builder(&[0, 1]), &Scripted::default());
    assert_eq!(outcome.problems, whole.problems);
}

#[test]
fn what_is_left_out_need_not_be_known_or_sampled() {
    // A table of pass rates without the excluded problems.
    let rates = |of: &[usize]| -> HashMap<String, f64> {
        of.iter()
            .map(|index| (format!("p{index}"), RATES[*index]))
            .collect()
    };
    let strategy = Prop2Diff::with_pass_rates(8, rates(&[0, 1, 2, 3]));
    let error = builder(&[4])
        .strategy(strategy.clone())
        .build()
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("1 of 5 problems, such as \"p5\""),
        "{error}"
    );
    let outcome = run(builder(&[4, 5]).strategy(strategy), &Scripted::default());
    assert_eq!(outcome.totals.met, 4);
    // A forecast without the excluded problems.
    let table: HashMap<String, Known> = rates(&[0, 1, 2, 3])
        .into_iter()
        .map(|(id, rate)| (id, Known::Rate(rate)))
        .collect();
    let forecast = |excluded: &[usize]| {
        let run = builder(excluded)
            .strategy(Uniform { k: 2 })
            .build()
            .unwrap();
        run.forecast(Basis::Table(&table), Costs::default())
    };
    assert!(forecast(&[4]).is_err());
    let known = forecast(&[4, 5]).unwrap();
    assert_eq!(known.unknown, 0);
    assert_eq!(known.rows.last().unwrap().kept.mean, 8.0);
}

#[test]
fn what_cannot_be_left_out_is_refused() {
    let error = |excluded: &[usize]| builder(excluded).build().err().unwrap();
    assert_eq!(error(&[6]).kind(), ErrorKind::Settings);
    assert!(error(&[6]).to_string().contains("problem 6 of 6"));
    let all = error(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(all.kind(), ErrorKind::Data);
    let said = "all problems are excluded: \"p0\": 0 is in a test set";
    assert!(all.to_string().contains(said), "{all}");
    // Excluding a problem twice counts once, with the first reason.
    let twice = builder(&[2]).exclude(vec![Rejection {
        problem: 2,
        reason: "again".into(),
    }]);
    let outcome = run(twice, &Scripted::default());
    assert_eq!(outcome.totals.excluded, 1);
    assert_eq!(
        outcome.problems[2].rejection.as_deref(),
        Some("2 is in a test set")
    );
}

#[test]
fn test_sets_say_what_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.jsonl");
    std::fs::write(
        &path,
        "{\"question\": \"Question 3!\"}\n{\"problem\": \"is this question 4 ?\"}\n",
    )
    .unwrap();
    let tests = TestSets::read(&[&path], 2).unwrap();
    let mut of = problems(&RATES);
    of[0] = Problem {
        question: "Is this one?".into(),
        ..of[0].clone()
    };
    let found = tests.rejections(&of);
    let indices: Vec<usize> = found.iter().map(|rejection| rejection.problem).collect();
    assert_eq!(indices, [0, 3, 4]);
    assert_eq!(
        found[0].reason,
        "2 words in a row are also in test.jsonl:2: \"is this\""
    );
    assert_eq!(
        found[1].reason,
        "2 words in a row are also in test.jsonl:1: \"question 3\""
    );
    let outcome = run(builder(&[]).exclude(found), &Scripted::default());
    assert_eq!(outcome.totals.excluded, 3);
}
