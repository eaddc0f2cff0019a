//! Data sets do not depend on the schedule.

use std::path::{Path, PathBuf};

use dart_math::Problem;
use dart_math::dars::{Keep, Limits, Outcome, Prop2Diff, Run, RunStop};

use crate::files::files;
use crate::scripted::{Schedule, Scripted, grader, problems};

const RATES: [f64; 8] = [0.95, 0.6, 0.5, 0.3, 0.1, 0.0, 0.8, 0.4];
const SHARDS: usize = 3;

fn run<'a>(problems: Vec<Problem>, journal: &Path, graders: usize) -> Run<'a> {
    let limits = Limits {
        trials_per_problem: Some(60),
        ..Limits::default()
    };
    Run::builder(problems)
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits)
        .seed(11)
        .graders(graders)
        .keep(Keep::All)
        .journal(journal)
        .build()
        .unwrap()
}

/// The files of a finished run.
fn finished(outcome: &Outcome) -> Vec<(&'static str, Vec<u8>)> {
    assert_eq!(outcome.stop, RunStop::Finished);
    files(outcome)
}

/// The files are the same for 1, 7 and 32 slots, one and two graders, one run and three joined shards. Trials arrive
/// in another order each time.
#[test]
fn slots_threads_and_shards_leave_no_trace_in_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let (mut first, mut shuffle) = (None, 0);
    for slots in [1, 7, 32] {
        for graders in [1, 2] {
            let mut generator = |shard| {
                shuffle += 1;
                Scripted::new(Schedule {
                    slots,
                    shuffle,
                    shard,
                    ..Schedule::default()
                })
            };
            let path = |name: &str| directory.path().join(format!("{slots} {graders} {name}"));
            let whole = run(problems(&RATES), &path("whole"), graders);
            let whole = whole.run(&generator(None), &grader).unwrap();

            let mut shard = |index: usize| -> PathBuf {
                let own = problems(&RATES).into_iter().skip(index).step_by(SHARDS);
                let journal = path(&format!("shard {index}"));
                let generator = generator(Some((index as u32, SHARDS as u32)));
                let run = run(own.collect(), &journal, graders);
                let outcome = run.run(&generator, &grader).unwrap();
                assert_eq!(outcome.stop, RunStop::Finished);
                journal
            };
            let shards: Vec<PathBuf> = (0..SHARDS).map(&mut shard).collect();
            let joined = run(problems(&RATES), &path("joined"), graders);
            let _ = joined.merge(&shards).unwrap();
            let joined = joined.select().unwrap();

            let expected = first.get_or_insert_with(|| finished(&whole));
            assert!(String::from_utf8_lossy(&expected[0].1).lines().count() > RATES.len());
            assert!(
                finished(&whole) == *expected,
                "{slots} slots, {graders} graders"
            );
            assert!(
                finished(&joined) == *expected,
                "{slots} slots, {graders} graders, joined"
            );
        }
    }
}
