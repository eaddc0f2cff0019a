//! Regraded journals: the resumed run equals one made with the new grader.

use std::fs;
use std::path::Path;

use crate::scripted::journals::{first_part, restore, snapshot};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{
    CancelHandle, Limits, Outcome, Prop2Diff, Run, RunBuilder, Strategy, Uniform,
};
use dart_math::{Completion, ErrorKind, Grader, Problem, Settings, Verdict};

const RATES: [f64; 6] = [1.0, 0.8, 0.5, 0.3, 0.1, 0.0];

/// The scripted grader, optionally refusing responses with an odd first digit.
struct Strict(bool);

impl Grader for Strict {
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict {
        let verdict = grader(problem, completion);
        let first = completion.text.chars().next().and_then(|c| c.to_digit(16));
        let odd = first.is_some_and(|digit| digit % 2 == 1);
        match self.0 && odd {
            true => Verdict::new(false, "odd"),
            false => verdict,
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        settings.insert("strict".into(), self.0.into());
        settings
    }
}

fn builder<'a>(strategy: &'a dyn Strategy, journal: &Path, seed: u64) -> RunBuilder<'a> {
    Run::builder(problems(&RATES))
        .strategy(strategy)
        .limits(Limits {
            trials_per_problem: Some(50),
            ..Limits::default()
        })
        .seed(seed)
        .journal(journal)
}

fn run(strategy: &dyn Strategy, journal: &Path, strict: bool) -> Outcome {
    let run = builder(strategy, journal, 5).build().unwrap();
    run.run(&Scripted::new(Schedule::default()), &Strict(strict))
        .unwrap()
}

#[test]
fn a_run_that_is_graded_anew_goes_on_as_if_it_had_been_so_from_the_start() {
    let strategies: [Box<dyn Strategy>; 2] = [
        Box::new(Uniform { k: 6 }),
        Box::new(Prop2Diff::with_pilot(12, 6)),
    ];
    for strategy in &strategies {
        for strict in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let journal = directory.path().join("journal");
            let before = run(strategy, &journal, !strict);
            let anew = run(strategy, &directory.path().join("anew"), strict);
            // Another grader is refused by name, unless the journal is regraded.
            let refused = builder(strategy, &journal, 5)
                .build()
                .unwrap()
                .run(&Scripted::default(), &Strict(strict))
                .unwrap_err();
            assert!(
                refused.to_string().contains("grader.strict was"),
                "{refused}"
            );
            let regraded = builder(strategy, &journal, 5)
                .build()
                .unwrap()
                .regrade(&Scripted::default(), &Strict(strict))
                .unwrap();
            assert!(regraded.trials >= before.totals.trials);
            let changed = [regraded.newly_correct, regraded.newly_wrong];
            assert_eq!(changed.map(|count| count > 0), [!strict, strict]);
            let after = run(strategy, &journal, strict);
            assert_eq!(trials(&after), trials(&anew));
            assert_eq!(after.problems, anew.problems);
            // A stricter grader requires more trials; a more lenient one requires none.
            assert_eq!(after.totals.drawn > 0, strict);
            // Regrading again changes nothing.
            let again = builder(strategy, &journal, 5)
                .build()
                .unwrap()
                .regrade(&Scripted::default(), &Strict(strict))
                .unwrap();
            assert_eq!((again.newly_correct, again.newly_wrong), (0, 0));
        }
    }
}

#[test]
fn what_cannot_be_graded_anew_stays_as_it_was() {
    let strategy = Uniform { k: 6 };
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let generator = Scripted::default();
    let none = builder(&strategy, &journal, 5).build().unwrap();
    let error = none.regrade(&generator, &Strict(true)).unwrap_err();
    assert!(error.to_string().contains("no journal"), "{error}");
    let without = Run::builder(problems(&RATES))
        .strategy(strategy)
        .build()
        .unwrap();
    let error = without.regrade(&generator, &Strict(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);

    let _ = run(&strategy, &journal, false);
    let whole = snapshot(&journal);
    // The journal is another run's.
    let other = builder(&strategy, &journal, 6).build().unwrap();
    let error = other.regrade(&generator, &Strict(true)).unwrap_err();
    assert!(error.to_string().contains("seed was 5, is 6"), "{error}");
    // A lower limit, which a run would refuse as well.
    let lower = Limits {
        tokens: Some(3),
        ..Limits::default()
    };
    let lower = builder(&strategy, &journal, 5)
        .limits(lower)
        .build()
        .unwrap();
    let error = lower.regrade(&generator, &Strict(true)).unwrap_err();
    assert!(error.to_string().contains("lowered to 3"), "{error}");
    // The call is cancelled.
    let cancel = CancelHandle::new();
    cancel.cancel();
    let run = builder(&strategy, &journal, 5)
        .cancel(cancel)
        .build()
        .unwrap();
    let error = run.regrade(&generator, &Strict(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    // The journal is damaged.
    assert!(snapshot(&journal) == whole);
    let part = first_part(&journal);
    let mut damaged = whole[&part].clone();
    damaged.truncate(damaged.len() - 40);
    damaged.extend(b"nonsense\n");
    fs::write(&part, &damaged).unwrap();
    let before = snapshot(&journal);
    let run = builder(&strategy, &journal, 5).build().unwrap();
    let error = run.regrade(&generator, &Strict(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert!(snapshot(&journal) == before);
    let left = fs::read_dir(directory.path()).unwrap();
    assert_eq!(left.count(), 1);
    // The call was killed between two steps of replacing the old journal.
    restore(&journal, &whole);
    let regraded = directory.path().join("journal.regraded");
    fs::rename(&journal, &regraded).unwrap();
    let old = directory.path().join("journal.old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("run.jsonl"), "").unwrap();
    let resumed = self::run(&strategy, &journal, false);
    assert_eq!(resumed.totals.drawn, 0);
    assert!(!regraded.exists());
}
