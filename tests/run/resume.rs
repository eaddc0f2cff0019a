//! Resuming runs that were killed, truncated or interrupted.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::files::files;
use crate::scripted::journals::{self, first_part, notes, restore, snapshot};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{CancelHandle, Limits, Observer, Outcome, Prop2Diff, Run, RunStop, Uniform};
use dart_math::{ErrorKind, Result, Trial, TrialId};

pub(super) const RATES: [f64; 6] = [0.95, 0.6, 0.5, 0.3, 0.1, 0.0];

pub(super) fn limits() -> Limits {
    Limits {
        trials_per_problem: Some(60),
        ..Limits::default()
    }
}

pub(super) fn resume(journal: &Path, generator: &Scripted, limits: Limits) -> Result<Outcome> {
    resume_in_parts(journal, generator, limits, u64::MAX)
}

fn resume_in_parts(
    journal: &Path,
    generator: &Scripted,
    limits: Limits,
    part_bytes: u64,
) -> Result<Outcome> {
    Run::builder(problems(&RATES))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits)
        .seed(5)
        .journal(journal)
        .journal_part_bytes(part_bytes)
        .build()?
        .run(generator, &grader)
}

/// The data set of an undisturbed run.
pub(super) fn undisturbed() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    files(&resume(&journal, &Scripted::default(), limits()).unwrap())
}

#[test]
fn a_run_killed_anywhere_goes_on_as_if_nothing_had_happened() {
    let whole = undisturbed();
    // Parts of one or two rows, parts of several rows, and a single part.
    let sizes = [1, 300, 5000, u64::MAX];
    for (killed_after, part_bytes) in [1, 5, 20, 60, 130]
        .into_iter()
        .flat_map(|kill| sizes.map(|size| (kill, size)))
    {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let killed = Scripted::new(Schedule {
            killed_after: Some(killed_after),
            shuffle: 3,
            ..Schedule::default()
        });
        let run = |generator: &Scripted| resume_in_parts(&journal, generator, limits(), part_bytes);
        let panic = catch_unwind(AssertUnwindSafe(|| run(&killed)));
        assert!(panic.is_err(), "the generator was not killed");
        let before = journals::trials(&journal);
        assert!(before.len() < killed_after);

        let again = Scripted::new(Schedule {
            slots: 3,
            shuffle: 9,
            ..Schedule::default()
        });
        let outcome = run(&again).unwrap();
        assert_eq!(outcome.stop, RunStop::Finished);
        assert_eq!(outcome.totals.resumed as usize, before.len());
        let log = again.log();
        let twice: Vec<_> = before
            .iter()
            .filter(|id| log.asked.contains_key(id))
            .collect();
        assert!(twice.is_empty(), "drawn again: {twice:?}");
        assert!(
            files(&outcome) == whole,
            "another data set after {killed_after}, in parts of {part_bytes}"
        );

        // Resuming a finished run draws nothing and does not change its journal.
        let at_rest = snapshot(&journal);
        let idle = Scripted::default();
        let outcome = run(&idle).unwrap();
        assert_eq!((outcome.stop, outcome.totals.drawn), (RunStop::Finished, 0));
        assert!(idle.log().asked.is_empty());
        assert!(snapshot(&journal) == at_rest);
        assert!(files(&outcome) == whole);
    }
}

#[test]
fn an_interrupted_run_keeps_all_that_was_graded() {
    struct After(u32, CancelHandle, std::sync::atomic::AtomicU32);
    impl Observer for After {
        fn graded(&self, _: &Trial) {
            if self.2.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == self.0 {
                self.1.cancel();
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let mut calls = 0;
    let last = loop {
        calls += 1;
        let handle = CancelHandle::new();
        let observer = After(17, handle.clone(), 0.into());
        let outcome = Run::builder(problems(&RATES))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(limits())
            .seed(5)
            .journal(&journal)
            .observer(&observer)
            .cancel(handle)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
            .unwrap();
        if outcome.stop == RunStop::Finished {
            break outcome;
        }
        assert_eq!(outcome.stop, RunStop::Interrupted);
        assert!(calls < 100);
    };
    assert!(calls > 3);
    assert!(files(&last) == undisturbed());
}

#[test]
fn every_call_that_sampled_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let killed = Scripted::new(Schedule {
        killed_after: Some(20),
        ..Schedule::default()
    });
    let panic = catch_unwind(AssertUnwindSafe(|| resume(&journal, &killed, limits())));
    assert!(panic.is_err());
    let rows = journals::trials(&journal).len() as u64;
    assert!(rows > 5);

    let failing = Scripted::new(Schedule {
        fails_after: Some(30),
        ..Schedule::default()
    });
    let failed = resume(&journal, &failing, limits()).unwrap();
    assert_eq!(failed.stop, RunStop::Failed);
    let outcome = resume(&journal, &Scripted::default(), limits()).unwrap();

    let [first, second, third] = &outcome.sessions[..] else {
        panic!("{:?}", outcome.sessions)
    };
    assert_eq!((&first.finished, first.seconds), (&None, None));
    assert_eq!((first.resumed, first.drawn), (0, rows));
    assert_eq!(*second, failed.sessions[1]);
    assert_eq!((second.resumed, second.drawn), (rows, 29));
    assert_eq!(third.resumed, outcome.totals.resumed);
    assert_eq!(third.drawn, outcome.totals.drawn);
    assert_eq!(third.tokens_sampled, outcome.totals.tokens_sampled);
    let finished = [second, third].map(|session| session.finished.clone().unwrap());
    let times = [
        &first.started,
        &second.started,
        &finished[0],
        &third.started,
        &finished[1],
    ];
    assert!(times.is_sorted(), "{times:?}");
    assert!(
        times
            .iter()
            .all(|time| time.len() == 20 && time.ends_with('Z'))
    );

    // The occupancy of a killed call is unknown.
    assert_eq!(first.occupancy, None);
    for call in [second, third] {
        let occupancy = call.occupancy.as_ref().unwrap();
        assert_eq!(occupancy.slots, 8);
        assert_eq!(occupancy.in_flight.len(), occupancy.grading.len());
    }

    let manifest = outcome.manifest();
    assert_eq!(manifest["sessions"][0].get("occupancy"), None);
    assert_eq!(manifest["sessions"][1]["occupancy"]["slots"], 8);
    let totals = &manifest["totals"];
    assert_eq!(totals["drawn"], rows + 29 + third.drawn);
    let sampled: u64 = outcome.sessions.iter().map(|s| s.tokens_sampled).sum();
    assert_eq!(totals["tokens_sampled"], sampled);
    assert!(totals["seconds"].as_f64() >= second.seconds);
    assert_eq!(totals.get("resumed"), None);
    assert_eq!(manifest["sessions"][1]["started"], *second.started);

    // Resuming a finished run adds no session.
    let idle = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert_eq!(idle.sessions, outcome.sessions);
    // Without a journal, this call is the only session.
    let alone = Run::builder(problems(&RATES))
        .strategy(Uniform { k: 1 })
        .limits(limits());
    let alone = alone
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    assert_eq!(alone.sessions.len(), 1);
    assert_eq!(alone.sessions[0].drawn, alone.totals.drawn);
}

#[test]
fn a_journal_cut_at_any_byte_is_resumed_or_begun_anew() {
    let small = || {
        Run::builder(problems(&[0.7, 0.4]))
            .strategy(Uniform { k: 2 })
            .seed(8)
    };
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let run = |generator: &Scripted| {
        let run = small().journal(&journal).build().unwrap();
        run.run(generator, &grader).unwrap()
    };
    let whole = run(&Scripted::default());
    let all = trials(&whole);
    let files = snapshot(&journal);
    for (path, bytes) in &files {
        // In the file of long rows, only cut at every 13th byte and near line ends.
        let is_far = |cut: &usize| {
            let near = &bytes[cut.saturating_sub(2)..(cut + 2).min(bytes.len())];
            *path == notes(&journal) && !cut.is_multiple_of(13) && !near.contains(&b'\n')
        };
        for cut in (0..bytes.len()).filter(|cut| !is_far(cut)) {
            restore(&journal, &files);
            fs::write(path, &bytes[..cut]).unwrap();
            let place = format!("{} cut at byte {cut}", path.display());
            let header = bytes.iter().position(|&byte| byte == b'\n').unwrap();
            if *path == notes(&journal) && cut <= header {
                // Without the header, trials cannot be assigned to a run.
                let error = small().journal(&journal).build().unwrap();
                let error = error.run(&Scripted::default(), &grader).unwrap_err();
                let reason = "it does not say which run's they are";
                assert!(error.to_string().contains(reason), "{place}: {error}");
                // Without trials, the run starts anew.
                fs::remove_file(first_part(&journal)).unwrap();
            }
            let before = journals_before(&journal);
            let generator = Scripted::default();
            let outcome = run(&generator);
            assert_eq!(trials(&outcome), all, "{place}");
            assert_eq!(outcome.problems, whole.problems, "{place}");
            let log = generator.log();
            let again = before.iter().any(|id| log.asked.contains_key(id));
            assert!(!again, "{place}");
            assert_eq!(outcome.totals.resumed as usize, before.len());
            // The journal is complete again.
            assert_eq!(run(&Scripted::default()).totals.drawn, 0);
        }
    }
}

/// Returns the trials of complete rows.
fn journals_before(journal: &Path) -> std::collections::BTreeSet<TrialId> {
    let part = first_part(journal);
    let text = fs::read_to_string(part).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|row| journals::id(&serde_json::from_str(row).unwrap()))
        .collect()
}

#[test]
fn an_observer_that_panics_ends_the_run_and_harms_no_journal() {
    /// Panics from the given call on. Calls are counted from 0.
    struct Jumpy(u32, std::sync::atomic::AtomicU32);
    impl Observer for Jumpy {
        fn progress(&self, _: &dart_math::dars::Progress) {
            let calls = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(calls < self.0, "saw a ghost");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let watched = |calls: u32| {
        let observer = Jumpy(calls, 0.into());
        Run::builder(problems(&RATES))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(limits())
            .seed(5)
            .journal(&journal)
            .observer(&observer)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
            .unwrap()
    };
    let frightened = |outcome: &Outcome| {
        assert_eq!(outcome.stop, RunStop::Failed);
        let error = outcome.error.as_ref().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.detail().contains("saw a ghost"), "{error}");
    };
    // Panics when the run begins, and when trials have settled.
    let outcome = watched(0);
    frightened(&outcome);
    assert_eq!(outcome.totals.drawn, 0);
    frightened(&watched(9));
    let before = journals::trials(&journal).len();
    assert!(before >= 8);
    let outcome = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert_eq!(outcome.totals.resumed as usize, before);
    assert!(files(&outcome) == undisturbed());
    // A finished run notifies only twice, when it begins and when it ends.
    let at_rest = snapshot(&journal);
    let outcome = watched(1);
    frightened(&outcome);
    assert!(files(&outcome) == undisturbed());
    assert!(snapshot(&journal) == at_rest);
    assert_eq!(watched(2).stop, RunStop::Finished);
}
