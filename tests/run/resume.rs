//! Journals: killed, cut, damaged, changed, resumed.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::scripted::{Schedule, Scripted, grader, problems};
use dart_math::dars::{CancelHandle, Limits, Observer, Outcome, Prop2Diff, Run, RunStop, Uniform};
use dart_math::data::DataSet;
use dart_math::{ErrorKind, Problem, Result, Trial, TrialId};

const RATES: [f64; 6] = [0.95, 0.6, 0.5, 0.3, 0.1, 0.0];

fn limits() -> Limits {
    Limits {
        trials_per_problem: Some(60),
        ..Limits::default()
    }
}

fn resume(journal: &Path, generator: &Scripted, limits: Limits) -> Result<Outcome> {
    Run::builder(problems(&RATES))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits)
        .seed(5)
        .journal(journal)
        .build()?
        .run(generator, &grader)
}

/// The bytes of the data set's files. The manifest has times, and is left out.
fn files(outcome: &Outcome) -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    DataSet {
        problems: &outcome.problems,
        trials: &outcome.trials,
        manifest: &outcome.manifest(),
    }
    .write(directory.path())
    .unwrap();
    let read = |name| (name, fs::read(directory.path().join(name)).unwrap());
    let files = ["dataset.jsonl", "trials.jsonl", "problems.jsonl"].map(read);
    files.to_vec()
}

/// The data set of a run that nothing disturbed.
fn undisturbed() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    files(&resume(&journal, &Scripted::default(), limits()).unwrap())
}

/// The trials that a journal has whole rows of.
fn settled(journal: &[u8]) -> BTreeSet<TrialId> {
    let text = String::from_utf8_lossy(journal);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let rows = whole.lines().skip(1);
    let trials = rows.filter(|row| !row.starts_with("{\"session\""));
    trials
        .map(|row| {
            let trial: Trial = serde_json::from_str(row).unwrap();
            TrialId {
                problem: trial.problem[1..].parse().unwrap(),
                number: trial.number,
            }
        })
        .collect()
}

#[test]
fn a_run_killed_anywhere_goes_on_as_if_nothing_had_happened() {
    let whole = undisturbed();
    for killed_after in [1, 5, 20, 60, 130] {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal.jsonl");
        let killed = Scripted::new(Schedule {
            killed_after: Some(killed_after),
            shuffle: 3,
            ..Schedule::default()
        });
        let panic = catch_unwind(AssertUnwindSafe(|| resume(&journal, &killed, limits())));
        assert!(panic.is_err(), "the generator was not killed");
        let before = settled(&fs::read(&journal).unwrap());
        assert!(before.len() < killed_after);

        let again = Scripted::new(Schedule {
            slots: 3,
            shuffle: 9,
            ..Schedule::default()
        });
        let outcome = resume(&journal, &again, limits()).unwrap();
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
            "another data set after {killed_after}"
        );

        // A finished run draws nothing, and its journal does not grow.
        let length = fs::metadata(&journal).unwrap().len();
        let idle = Scripted::default();
        let outcome = resume(&journal, &idle, limits()).unwrap();
        assert_eq!((outcome.stop, outcome.totals.drawn), (RunStop::Finished, 0));
        assert!(idle.log().asked.is_empty());
        assert_eq!(fs::metadata(&journal).unwrap().len(), length);
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
    let journal = directory.path().join("journal.jsonl");
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
fn every_call_that_drew_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let killed = Scripted::new(Schedule {
        killed_after: Some(20),
        ..Schedule::default()
    });
    let panic = catch_unwind(AssertUnwindSafe(|| resume(&journal, &killed, limits())));
    assert!(panic.is_err());
    let rows = settled(&fs::read(&journal).unwrap()).len() as u64;
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

    let manifest = outcome.manifest();
    let totals = &manifest["totals"];
    assert_eq!(totals["drawn"], rows + 29 + third.drawn);
    let sampled: u64 = outcome.sessions.iter().map(|s| s.tokens_sampled).sum();
    assert_eq!(totals["tokens_sampled"], sampled);
    assert!(totals["seconds"].as_f64() >= second.seconds);
    assert_eq!(totals.get("resumed"), None);
    assert_eq!(manifest["sessions"][1]["started"], *second.started);

    // Looking at a finished run is no part of its history.
    let idle = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert_eq!(idle.sessions, outcome.sessions);
    // Without a journal there is this call only.
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
    let journal = directory.path().join("journal.jsonl");
    let run = |generator: &Scripted| {
        let run = small().journal(&journal).build().unwrap();
        run.run(generator, &grader).unwrap()
    };
    let whole = run(&Scripted::default());
    let bytes = fs::read(&journal).unwrap();
    for cut in 0..bytes.len() {
        fs::write(&journal, &bytes[..cut]).unwrap();
        let before = settled(&bytes[..cut]);
        let generator = Scripted::default();
        let outcome = run(&generator);
        assert_eq!(outcome.trials, whole.trials, "cut at byte {cut}");
        assert_eq!(outcome.problems, whole.problems, "cut at byte {cut}");
        let log = generator.log();
        assert!(
            before.iter().all(|id| !log.asked.contains_key(id)),
            "cut at byte {cut}"
        );
        assert_eq!(outcome.totals.resumed as usize, before.len());
        // What is there now is a journal again.
        assert_eq!(run(&Scripted::default()).totals.drawn, 0);
    }
}

fn refusal(journal: &Path) -> String {
    let error = resume(journal, &Scripted::default(), limits()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    error.to_string()
}

#[test]
fn damaged_and_foreign_rows_are_refused_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let _ = resume(&journal, &Scripted::default(), limits()).unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |lines: &[&str], reason: &str| {
        fs::write(&journal, lines.join("\n") + "\n").unwrap();
        let before = fs::read(&journal).unwrap();
        let message = refusal(&journal);
        assert!(message.contains(reason), "{message} lacks {reason}");
        assert_eq!(
            fs::read(&journal).unwrap(),
            before,
            "a refused journal was changed"
        );
    };
    let with = |index: usize, line: &str| {
        let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        lines[index] = line.into();
        lines
    };
    let changed = |index: usize, line: &str, reason: &str| {
        let lines = with(index, line);
        check(
            &lines.iter().map(String::as_str).collect::<Vec<_>>(),
            reason,
        );
    };
    check(
        &[&lines[..], &[lines[4]]].concat(),
        &format!("jsonl:{}: trial", lines.len() + 1),
    );
    changed(
        3,
        &lines[3][..20],
        "jsonl:4:20: EOF while parsing a string (",
    );
    changed(3, "", "jsonl:4:1: EOF while parsing a value (");
    let two_in_one = lines[3].to_owned() + lines[4];
    let place = format!("jsonl:4:{}: trailing characters (", lines[3].len() + 1);
    changed(3, &two_in_one, &place);
    changed(
        3,
        "{\"problem\":7}",
        "jsonl:4:12: invalid type: integer `7`",
    );
    changed(0, lines[3], "jsonl:1: not the header");
    changed(0, "{\"question\": \"1 + 1?\"}", "jsonl:1: not the header");
    changed(
        5,
        &lines[5].replace("\"problem\":\"p", "\"problem\":\"x"),
        "jsonl:6: the run has no problem \"x",
    );
    let foreign: Trial = serde_json::from_str(lines[5]).unwrap();
    let seed = format!("\"seed\":{}", foreign.seed);
    changed(
        5,
        &lines[5].replace(&seed, "\"seed\":1"),
        "has another run's seed",
    );
    changed(
        0,
        &lines[0].replace("\"journal\":1", "\"journal\":2"),
        "version 2 of the format",
    );
    fs::write(&journal, "a file of something else").unwrap();
    assert!(refusal(&journal).contains("not the header"));
    assert_eq!(fs::read(&journal).unwrap(), b"a file of something else");
}

#[test]
fn any_line_of_trials_may_be_deleted_and_is_drawn_again() {
    let run = |journal: &Path, generator: &Scripted| {
        Run::builder(problems(&[0.7, 0.4, 0.0]))
            .strategy(Uniform { k: 2 })
            .limits(Limits {
                trials_per_problem: Some(6),
                ..Limits::default()
            })
            .seed(8)
            .journal(journal)
            .build()
            .unwrap()
            .run(generator, &grader)
    };
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let whole = run(&journal, &Scripted::default()).unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let every = settled(text.as_bytes());
    // The header, and the rows in which the call began and ended.
    assert_eq!(every.len(), lines.len() - 3);
    for index in 1..lines.len() {
        let mut damaged = lines.clone();
        damaged[index] = "{\n";
        fs::write(&journal, damaged.concat()).unwrap();
        let error = run(&journal, &Scripted::default()).unwrap_err();
        let place = format!("jsonl:{}:1: EOF", index + 1);
        assert!(error.detail().contains(&place), "{error}");
        assert!(error.detail().contains("delete this line"), "{error}");

        damaged.remove(index);
        let left = damaged.concat();
        fs::write(&journal, &left).unwrap();
        // A trial that came in after its problem had ended does not count, and is not missed.
        let counts = |id: &&TrialId| {
            let same = |trial: &Trial| {
                trial.number == id.number && trial.problem == format!("p{}", id.problem)
            };
            whole.trials.iter().any(same)
        };
        let settled = settled(left.as_bytes());
        let missed: Vec<TrialId> = every.difference(&settled).filter(counts).copied().collect();
        let generator = Scripted::default();
        let outcome = run(&journal, &generator).unwrap();
        assert_eq!(outcome.trials, whole.trials, "without line {}", index + 1);
        assert_eq!(outcome.problems, whole.problems);
        let asked: Vec<TrialId> = generator.log().asked.keys().copied().collect();
        assert_eq!(asked, missed, "without line {}", index + 1);
    }
}

#[test]
fn an_observer_that_panics_ends_the_run_and_harms_no_journal() {
    /// Panics from a call on; the calls are counted from 0.
    struct Jumpy(u32, std::sync::atomic::AtomicU32);
    impl Observer for Jumpy {
        fn progress(&self, _: &dart_math::dars::Progress) {
            let calls = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(calls < self.0, "saw a ghost");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
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
    // When the run begins, and when trials have settled.
    let outcome = watched(0);
    frightened(&outcome);
    assert_eq!(outcome.totals.drawn, 0);
    frightened(&watched(9));
    let before = settled(&fs::read(&journal).unwrap()).len();
    assert!(before >= 8);
    let outcome = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert_eq!(outcome.totals.resumed as usize, before);
    assert!(files(&outcome) == undisturbed());
    // A finished run begins and ends, and nothing else: the second call is the last.
    let bytes = fs::read(&journal).unwrap();
    let outcome = watched(1);
    frightened(&outcome);
    assert!(files(&outcome) == undisturbed());
    assert_eq!(fs::read(&journal).unwrap(), bytes);
    assert_eq!(watched(2).stop, RunStop::Finished);
}

#[test]
fn a_changed_configuration_is_refused_with_every_difference() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let _ = resume(&journal, &Scripted::default(), limits()).unwrap();
    let refuse = |problems: Vec<Problem>, k, seed, limits: Limits| {
        let error = Run::builder(problems)
            .strategy(Prop2Diff::with_pilot(k, 6))
            .limits(limits)
            .seed(seed)
            .journal(&journal)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Journal);
        error.to_string()
    };
    let message = refuse(problems(&RATES), 13, 6, limits());
    assert!(message.contains("journal.jsonl is of a run with another configuration"));
    assert!(
        message.contains("seed was 5, is 6; strategy.k was 12, is 13"),
        "{message}"
    );
    let message = refuse(problems(&RATES[..5]), 12, 5, limits());
    assert!(
        message.contains("problems.count was 6, is 5: problems may be added"),
        "{message}"
    );
    let lower = Limits {
        trials_per_problem: Some(59),
        tokens: Some(9),
        ..Limits::default()
    };
    let message = refuse(problems(&RATES), 12, 5, lower);
    assert!(
        message.contains("limit trials_per_problem was 60, lowered to 59"),
        "{message}"
    );
    assert!(
        message.contains("limit tokens was null, lowered to 9"),
        "{message}"
    );
}

#[test]
fn raised_limits_go_on_as_if_they_had_been_so_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    for most in [7, 20, 60] {
        let limits = Limits {
            trials_per_problem: Some(most),
            ..Limits::default()
        };
        let outcome = resume(&journal, &Scripted::default(), limits).unwrap();
        let anew = directory.path().join(format!("anew-{most}.jsonl"));
        let anew = resume(&anew, &Scripted::default(), limits).unwrap();
        assert!(files(&outcome) == files(&anew), "raised to {most}");
    }
    // The last limits are the ones that may not be lowered.
    let lower = Limits {
        trials_per_problem: Some(20),
        ..Limits::default()
    };
    let error = resume(&journal, &Scripted::default(), lower).unwrap_err();
    assert!(error.to_string().contains("was 60, lowered to 20"));
}

#[test]
fn a_limit_under_which_nothing_was_drawn_may_be_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let most = |trials_per_problem| Limits {
        trials_per_problem: Some(trials_per_problem),
        ..Limits::default()
    };
    let _ = resume(&journal, &Scripted::default(), most(20)).unwrap();
    let before = fs::read(&journal).unwrap();
    // Raised by mistake, and cancelled before anything is drawn.
    let cancel = CancelHandle::new();
    let raised = |cancel: &CancelHandle| {
        Run::builder(problems(&RATES))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(most(2000))
            .seed(5)
            .journal(&journal)
            .cancel(cancel.clone())
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
    };
    cancel.cancel();
    // (A journal is not even read then.)
    let error = raised(&cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().contains("nothing has changed"), "{error}");
    struct Idle;
    impl dart_math::Generator for Idle {
        fn run(&self, _: &dyn dart_math::Source) -> Result<()> {
            Err(dart_math::Error::new(ErrorKind::Device, "no device"))
        }
        fn settings(&self) -> dart_math::Settings {
            Scripted::default().settings()
        }
    }
    let idle = Run::builder(problems(&RATES))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(most(2000))
        .seed(5)
        .journal(&journal)
        .build()
        .unwrap()
        .run(&Idle, &grader)
        .unwrap();
    assert_eq!(idle.stop, RunStop::Failed);
    assert!(fs::read(&journal).unwrap() == before);
    let again = resume(&journal, &Scripted::default(), most(20)).unwrap();
    assert_eq!(again.totals.drawn, 0);
}

#[cfg(unix)]
#[test]
fn a_journal_that_is_taken_away_ends_the_run_and_keeps_its_data() {
    struct Thief(std::path::PathBuf, std::path::PathBuf, std::sync::Once);
    impl Observer for Thief {
        fn progress(&self, progress: &dart_math::dars::Progress) {
            if progress.trials >= 5 {
                self.2.call_once(|| fs::rename(&self.0, &self.1).unwrap());
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let moved = directory.path().join("moved.jsonl");
    let thief = Thief(journal.clone(), moved.clone(), std::sync::Once::new());
    let outcome = Run::builder(problems(&RATES))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits())
        .seed(5)
        .journal(&journal)
        .observer(&thief)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    assert_eq!(outcome.stop, RunStop::Failed);
    let error = outcome.error.as_ref().unwrap().to_string();
    assert!(error.contains("deleted, renamed or replaced"), "{error}");
    assert!(outcome.trials.len() >= 5 && !journal.exists());
    // What was written before goes on where it is put back.
    fs::rename(&moved, &journal).unwrap();
    let resumed = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert!(files(&resumed) == undisturbed());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_journal() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("journal.jsonl");
    let path = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // (No program is started for it: until a child runs it holds the locks of the journals of other tests.)
    // SAFETY: the path is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let error = resume(&pipe, &Scripted::default(), limits()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}

#[test]
fn a_journal_that_cannot_be_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("none").join("journal.jsonl");
    let error = resume(&journal, &Scripted::default(), limits()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("journal.jsonl"));
}

#[test]
fn a_second_writer_ends_the_run_before_harm_is_done() {
    struct Rival(std::path::PathBuf, std::sync::Once);
    impl Observer for Rival {
        fn graded(&self, _: &Trial) {
            self.1.call_once(|| {
                let whole = fs::read(&self.0).unwrap();
                let last = whole
                    .split_inclusive(|&byte| byte == b'\n')
                    .next_back()
                    .unwrap();
                fs::write(&self.0, [&whole[..], last].concat()).unwrap();
            });
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let rival = Rival(journal.clone(), std::sync::Once::new());
    let outcome = Run::builder(problems(&RATES))
        .strategy(Uniform { k: 2 })
        .journal(&journal)
        .observer(&rival)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    assert_eq!(outcome.stop, RunStop::Failed);
    let error = outcome.error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert!(error.to_string().contains("something else writes to it"));
}

#[test]
fn problems_added_at_the_end_change_nothing_for_those_before() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let run = |rates: &[f64], limits: Limits| {
        Run::builder(problems(rates))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(limits)
            .seed(5)
            .journal(&journal)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
    };
    let mut before = run(&RATES[..2], limits()).unwrap();
    for count in [3, 5, 6] {
        let outcome = run(&RATES[..count], limits()).unwrap();
        assert_eq!(outcome.stop, RunStop::Finished);
        assert!(outcome.totals.resumed >= before.totals.trials);
        assert_eq!(outcome.trials[..before.trials.len()], before.trials);
        assert_eq!(outcome.problems[..before.problems.len()], before.problems);
        before = outcome;
    }
    assert!(
        files(&before) == undisturbed(),
        "not the data set of a run with all of them"
    );

    // None may be taken away, changed or put in between; and none added where all share a limit.
    let text = fs::read_to_string(&journal).unwrap();
    // What is named is what the run has by now, not what it began with.
    for count in [1, 4, 5] {
        let message = run(&RATES[..count], limits()).unwrap_err().to_string();
        let named = format!("problems.count was 6, is {count}");
        assert!(message.contains(&named), "{message}");
    }
    let mut others = problems(&RATES);
    others[1].question.push('!');
    others.extend(problems(&[0.5; 8]).into_iter().skip(7));
    let error = Run::builder(others)
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits())
        .seed(5)
        .journal(&journal)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("of the first 2 problems the hash was "),
        "{message}"
    );
    assert_eq!(fs::read_to_string(&journal).unwrap(), text);
    fs::remove_file(&journal).unwrap();
    let shared = Limits {
        trials: Some(20),
        ..limits()
    };
    let _ = run(&RATES[..4], shared).unwrap();
    let error = run(&RATES, shared).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert!(
        error.to_string().contains("problems.count was 4, is 6"),
        "{error}"
    );
}

#[test]
fn duplicates_are_the_same_after_an_interruption() {
    let few = || {
        let mut problems = problems(&[0.9, 0.5]);
        for problem in &mut problems {
            problem.metadata.insert("variety".into(), 9.into());
        }
        problems
    };
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, schedule: Schedule, dedup: bool| {
        Run::builder(few())
            .strategy(Uniform { k: 7 })
            .seed(3)
            .dedup(dedup)
            .journal(directory.path().join(name))
            .build()
            .unwrap()
            .run(&Scripted::new(schedule), &grader)
    };
    let whole = run("whole", Schedule::default(), true).unwrap();
    assert!(whole.totals.duplicates > 0);
    for fails_after in [3, 11, 19] {
        let failing = Schedule {
            fails_after: Some(fails_after),
            shuffle: 4,
            ..Schedule::default()
        };
        let name = format!("cut {fails_after}");
        assert_eq!(run(&name, failing, true).unwrap().stop, RunStop::Failed);
        let outcome = run(&name, Schedule::default(), true).unwrap();
        assert_eq!(outcome.trials, whole.trials);
        assert_eq!(outcome.totals.duplicates, whole.totals.duplicates);
    }
    let error = run("whole", Schedule::default(), false).unwrap_err();
    assert!(
        error.to_string().contains("dedup was true, is false"),
        "{error}"
    );
}
