//! The notifications that observers of a run receive.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::scripted::{Schedule, Scripted, grader, problems};
use dart_math::Trial;
use dart_math::dars::{
    CancelHandle, Keep, Limits, Observer, Progress, Prop2Diff, Run, RunStop, Strategy, Uniform,
    Vanilla,
};

#[test]
fn observers_see_the_run_go_by() {
    #[derive(Default)]
    struct Watch(Mutex<Vec<Progress>>);
    impl Observer for Watch {
        fn progress(&self, progress: &Progress) {
            self.0.lock().unwrap().push(*progress);
        }
    }
    let watch = Watch::default();
    let outcome = Run::builder(problems(&[0.9, 0.5, 0.2]))
        .strategy(Uniform { k: 5 })
        .keep(Keep::All)
        .observer(&watch)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    let seen = watch.0.into_inner().unwrap();
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    assert_eq!((first.done, first.trials, first.problems), (0, 0, 3));
    assert!(first.remaining.trials >= 15);
    assert_eq!(first.remaining.time, None);
    assert_eq!(
        (last.done, last.met, last.remaining.trials, last.in_flight),
        (3, 3, 0, 0)
    );
    let middle = &seen[seen.len() / 2];
    assert!(middle.remaining.tokens > 0 && middle.remaining.time.is_some());
    assert!(middle.tokens_per_second > 0.0);
    assert_eq!(last.trials, outcome.totals.trials);
    assert_eq!(last.correct, 15);
    assert!(seen.is_sorted_by_key(|progress| progress.trials));
}

/// Collects the rows in the notifications.
#[derive(Default)]
struct Rows(Mutex<Vec<(String, u32)>>, Option<(usize, CancelHandle)>);

impl Observer for Rows {
    fn accepted(&self, trial: &Trial) {
        assert!(trial.accepted && trial.verdict.equal);
        let mut rows = self.0.lock().unwrap();
        rows.push((trial.problem.clone(), trial.number));
        if let Some((most, cancel)) = &self.1
            && rows.len() >= *most
        {
            cancel.cancel();
        }
    }
}

#[test]
fn an_observer_is_notified_of_every_row_once_and_in_order() {
    let rates = [1.0, 0.8, 0.5, 0.3, 0.05, 0.0];
    let strategies: [Box<dyn Strategy>; 3] = [
        Box::new(Vanilla { trials: 9 }),
        Box::new(Uniform { k: 4 }),
        Box::new(Prop2Diff::with_pilot(12, 5)),
    ];
    let limits = Limits {
        trials_per_problem: Some(40),
        ..Limits::default()
    };
    for strategy in &strategies {
        for (dedup, interrupted) in [(false, false), (true, false), (false, true)] {
            let cancel = CancelHandle::new();
            let rows = Rows(Mutex::default(), interrupted.then(|| (6, cancel.clone())));
            let outcome = Run::builder(problems(&rates))
                .strategy(strategy)
                .keep(Keep::All)
                .limits(limits)
                .seed(11)
                .dedup(dedup)
                .observer(&rows)
                .cancel(cancel)
                .build()
                .unwrap()
                .run(&Scripted::new(Schedule::default()), &grader)
                .unwrap();
            assert_eq!(outcome.stop == RunStop::Interrupted, interrupted);
            let notified = rows.0.into_inner().unwrap();
            // The rows of each problem arrive in numeric order.
            let mut last = HashMap::new();
            for (problem, number) in &notified {
                let before = last.insert(problem, *number);
                assert!(before.is_none_or(|before| before < *number));
            }
            let mut sorted = notified.clone();
            sorted.sort();
            let mut expected: Vec<(String, u32)> = outcome
                .accepted()
                .map(|trial| trial.unwrap())
                .map(|trial| (trial.problem, trial.number))
                .collect();
            expected.sort();
            assert_eq!(sorted, expected);
        }
    }
}
