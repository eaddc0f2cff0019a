//! Journals: killed, cut, damaged, changed, resumed.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::scripted::journals::{self, first_part, lines, notes, restore, snapshot, write_lines};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{
    CancelHandle, Limits, Observer, Outcome, Prop2Diff, Run, RunStop, Strategy, Uniform, Vanilla,
};
use dart_math::data::DataSet;
use dart_math::{ErrorKind, Problem, ProblemRecord, Result, Trial, TrialId};

const RATES: [f64; 6] = [0.95, 0.6, 0.5, 0.3, 0.1, 0.0];

fn limits() -> Limits {
    Limits {
        trials_per_problem: Some(60),
        ..Limits::default()
    }
}

fn resume(journal: &Path, generator: &Scripted, limits: Limits) -> Result<Outcome> {
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

/// The bytes of the data set's files. The manifest has times, and is left out.
fn files(outcome: &Outcome) -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    }
    .write(directory.path(), outcome.trials())
    .unwrap();
    let read = |name| (name, fs::read(directory.path().join(name)).unwrap());
    let files = ["dataset.jsonl", "trials.jsonl", "problems.jsonl"].map(read);
    files.to_vec()
}

/// The data set of a run that nothing disturbed.
fn undisturbed() -> Vec<(&'static str, Vec<u8>)> {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    files(&resume(&journal, &Scripted::default(), limits()).unwrap())
}

#[test]
fn a_run_killed_anywhere_goes_on_as_if_nothing_had_happened() {
    let whole = undisturbed();
    // With parts of a row or two, of some rows, and in one part.
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

        // A finished run draws nothing, and its journal does not grow.
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
fn every_call_that_drew_is_told_of() {
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
    let journal = directory.path().join("journal");
    let run = |generator: &Scripted| {
        let run = small().journal(&journal).build().unwrap();
        run.run(generator, &grader).unwrap()
    };
    let whole = run(&Scripted::default());
    let all = trials(&whole);
    let files = snapshot(&journal);
    for (path, bytes) in &files {
        // Of the long rows beside the trials, some bytes and the ends.
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
                // Trials of which nobody says whose they are.
                let error = small().journal(&journal).build().unwrap();
                let error = error.run(&Scripted::default(), &grader).unwrap_err();
                let reason = "it does not say which run's they are";
                assert!(error.to_string().contains(reason), "{place}: {error}");
                // Without them it is begun anew.
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
            // What is there now is a journal again.
            assert_eq!(run(&Scripted::default()).totals.drawn, 0);
        }
    }
}

/// The trials of whole rows.
fn journals_before(journal: &Path) -> std::collections::BTreeSet<TrialId> {
    let part = first_part(journal);
    let text = fs::read_to_string(part).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|row| journals::id(&serde_json::from_str(row).unwrap()))
        .collect()
}

fn refusal(journal: &Path) -> String {
    let error = resume(journal, &Scripted::default(), limits()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    error.to_string()
}

#[test]
fn damaged_and_foreign_rows_are_refused_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let _ = resume(&journal, &Scripted::default(), limits()).unwrap();
    let whole = snapshot(&journal);
    let (part, notes) = (first_part(&journal), notes(&journal));
    let check = |path: &Path, lines: &[String], reason: &str| {
        restore(&journal, &whole);
        write_lines(path, lines);
        let before = snapshot(&journal);
        let message = refusal(&journal);
        assert!(message.contains(reason), "{message} lacks {reason}");
        assert!(
            snapshot(&journal) == before,
            "a refused journal was changed"
        );
    };
    let rows = lines(&part);
    let changed = |path: &Path, index: usize, line: String, reason: &str| {
        let mut lines = lines_of(&whole[path]);
        lines[index] = line;
        check(path, &lines, reason);
    };
    let twice = [&rows[..], &[rows[4].clone()]].concat();
    check(&part, &twice, &format!("jsonl:{}: trial", rows.len() + 1));
    let cut = rows[3][..10].to_owned();
    changed(&part, 3, cut, "jsonl:4: no row with a checksum (delete");
    changed(&part, 3, String::new(), "jsonl:4: no row with a checksum");
    changed(
        &part,
        3,
        rows[3].clone() + &rows[4],
        "jsonl:4: damaged: its checksum",
    );
    let other = |line: &str, old: &str, new: &str| {
        assert!(line.contains(old), "{line} has no {old}");
        line.replacen(old, new, 1)
    };
    // One character, and the checksum of before.
    let digit = other(&rows[3], "\"tokens\":", "\"tokens\":1");
    changed(&part, 3, digit, "jsonl:4: damaged: its checksum");
    // Rows that somebody wrote anew.
    let anew = |index: usize, old: &str, new: &str| {
        journals::changed(&rows[index], |rest| other(rest, old, new))
    };
    let row = anew(3, "\"problem\":\"", "\"problem\":7,\"x\":\"");
    changed(&part, 3, row, "jsonl:4: invalid type: integer `7`");
    let row = anew(5, "\"problem\":\"p", "\"problem\":\"x");
    changed(&part, 5, row, "jsonl:6: the run has no problem \"x");
    let row: Trial = serde_json::from_str(&rows[5]).unwrap();
    let row = anew(5, &format!("\"seed\":{}", row.seed), "\"seed\":1");
    changed(&part, 5, row, "has another run's seed");
    changed(&notes, 0, rows[3].clone(), "jsonl:1: not the header");
    let question = "{\"question\": \"1 + 1?\"}";
    changed(&notes, 0, question.into(), "jsonl:1: not the header");
    let header = &lines_of(&whole[&notes])[0];
    let version = |rest: &str| other(rest, "\"journal\":2", "\"journal\":3");
    let header = journals::changed(header, version);
    changed(&notes, 0, header, "version 3 of the format");
    changed(&notes, 1, "{}".into(), "jsonl:2: no row with a checksum");
    fs::write(&notes, "a file of something else").unwrap();
    assert!(refusal(&journal).contains("not the header"));
    assert_eq!(fs::read(&notes).unwrap(), b"a file of something else");
    // A journal of the first version was a file.
    let file = directory.path().join("journal.jsonl");
    fs::write(&file, "{}\n").unwrap();
    assert!(refusal(&file).contains("a journal is a directory"));
}

fn lines_of(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn small_run(journal: &Path, generator: &Scripted, part_bytes: u64) -> Result<Outcome> {
    Run::builder(problems(&[0.7, 0.4, 0.0]))
        .strategy(Uniform { k: 2 })
        .limits(Limits {
            trials_per_problem: Some(6),
            ..Limits::default()
        })
        .seed(8)
        .journal(journal)
        .journal_part_bytes(part_bytes)
        .build()
        .unwrap()
        .run(generator, &grader)
}

/// Runs again from a journal that lacks something: the outcome is the same, what is missing and counts
/// was drawn again, and nothing that is there.
fn draws_what_is_missing(
    journal: &Path,
    (whole, records): (&[Trial], &[ProblemRecord]),
    every: &BTreeSet<TrialId>,
    part_bytes: u64,
    place: &str,
) {
    // A trial that came in after its problem had ended does not count, and is not missed.
    let counting: BTreeSet<TrialId> = whole.iter().map(journals::id).collect();
    let there = journals::trials(journal);
    let missed: Vec<TrialId> = every
        .difference(&there)
        .filter(|id| counting.contains(id))
        .copied()
        .collect();
    let generator = Scripted::default();
    let outcome = small_run(journal, &generator, part_bytes).unwrap();
    assert_eq!(trials(&outcome), whole, "without {place}");
    assert_eq!(outcome.problems, records);
    let asked: BTreeSet<TrialId> = generator.log().asked.keys().copied().collect();
    let lacks = missed.iter().find(|id| !asked.contains(id));
    assert!(
        lacks.is_none() && asked.is_disjoint(&there),
        "without {place}: {asked:?}"
    );
}

#[test]
fn any_line_of_trials_may_be_deleted_and_is_drawn_again() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let run = || small_run(&journal, &Scripted::default(), u64::MAX);
    let whole = run().unwrap();
    let all = trials(&whole);
    let files = snapshot(&journal);
    let part = first_part(&journal);
    let rows = lines(&part);
    let every = journals::trials(&journal);
    assert_eq!(every.len(), rows.len());
    for index in 0..rows.len() {
        restore(&journal, &files);
        let mut damaged = rows.clone();
        damaged[index] = "{".into();
        write_lines(&part, &damaged);
        let error = run().unwrap_err();
        let place = format!("jsonl:{}: no row", index + 1);
        assert!(error.detail().contains(&place), "{error}");
        assert!(error.detail().contains("delete this line"), "{error}");

        damaged.remove(index);
        write_lines(&part, &damaged);
        draws_what_is_missing(&journal, (&all, &whole.problems), &every, u64::MAX, &place);
    }
}

#[test]
fn a_bit_that_flips_anywhere_is_found_or_changes_nothing() {
    for part_bytes in [900, u64::MAX] {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let run = || small_run(&journal, &Scripted::default(), part_bytes);
        let whole = run().unwrap();
        let all = trials(&whole);
        let files = snapshot(&journal);
        let mut found = 0;
        for (path, bytes) in &files {
            for bit in (0..8 * bytes.len()).step_by(23) {
                restore(&journal, &files);
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                fs::write(path, flipped).unwrap();
                match run() {
                    Ok(outcome) => {
                        let place = format!("bit {bit} of {}", path.display());
                        assert_eq!(trials(&outcome), all, "{place}");
                        assert_eq!(outcome.problems, whole.problems, "{place}");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Journal, "{error}");
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 100, "{found}");
    }
}

#[test]
fn sealed_parts_are_read_by_any_tool_and_may_be_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let part_bytes = 900;
    let whole = small_run(&journal, &Scripted::default(), part_bytes).unwrap();
    let all = trials(&whole);
    let files = snapshot(&journal);
    let every = journals::trials(&journal);
    let is_sealed = |path: &&std::path::PathBuf| path.extension().is_some_and(|end| end == "zst");
    let sealed: Vec<_> = files.keys().filter(is_sealed).collect();
    assert!(sealed.len() >= 3, "{sealed:?}");
    for path in sealed {
        // JSON lines in Zstandard, by problem and number.
        let mut text = String::new();
        let file = fs::File::open(path).unwrap();
        let mut decoder = zstd::Decoder::new(file).unwrap();
        std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
        let rows: Vec<Trial> = text
            .lines()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect();
        assert!(rows.len() >= 2 && rows.iter().map(journals::id).is_sorted());
        assert!(rows.iter().all(|row| every.contains(&journals::id(row))));

        restore(&journal, &files);
        fs::remove_file(path).unwrap();
        let place = path.display().to_string();
        draws_what_is_missing(
            &journal,
            (&all, &whole.problems),
            &every,
            part_bytes,
            &place,
        );

        // Cut, it is refused by name.
        restore(&journal, &files);
        let bytes = &files[path];
        for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            fs::write(path, &bytes[..cut]).unwrap();
            let run = small_run(&journal, &Scripted::default(), part_bytes);
            let error = run.unwrap_err().to_string();
            assert!(
                error.contains(&place) && error.contains("delete the file"),
                "{error}"
            );
        }
    }
    // A part that was sealed while the run was killed is there twice; the sealed one is taken.
    restore(&journal, &files);
    fs::write(first_part(&journal), "nothing that is read").unwrap();
    let outcome = small_run(&journal, &Scripted::default(), part_bytes).unwrap();
    assert_eq!(trials(&outcome), all);
    assert!(!first_part(&journal).exists());
    // Trials that two parts have are refused.
    let (first, second) = (
        files.keys().next().unwrap(),
        journal.join("000099.jsonl.zst"),
    );
    fs::copy(first, &second).unwrap();
    let error = small_run(&journal, &Scripted::default(), part_bytes).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a second time: delete either part"),
        "{error}"
    );
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
    // When the run begins, and when trials have settled.
    let outcome = watched(0);
    frightened(&outcome);
    assert_eq!(outcome.totals.drawn, 0);
    frightened(&watched(9));
    let before = journals::trials(&journal).len();
    assert!(before >= 8);
    let outcome = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert_eq!(outcome.totals.resumed as usize, before);
    assert!(files(&outcome) == undisturbed());
    // A finished run begins and ends, and nothing else: the second call is the last.
    let at_rest = snapshot(&journal);
    let outcome = watched(1);
    frightened(&outcome);
    assert!(files(&outcome) == undisturbed());
    assert!(snapshot(&journal) == at_rest);
    assert_eq!(watched(2).stop, RunStop::Finished);
}

#[test]
fn a_changed_configuration_is_refused_with_every_difference() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
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
    let message = refuse(problems(&RATES), 12, 6, limits());
    assert!(message.contains("run.jsonl is of a run with another configuration"));
    assert!(message.contains("seed was 5, is 6"), "{message}");
    let shared = Limits {
        trials: Some(500),
        ..limits()
    };
    let message = refuse(problems(&RATES), 13, 5, shared);
    let reason = "strategy.k was 12, is 13, which changes what a limit of trials over all problems";
    assert!(message.contains(reason), "{message}");
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
    let journal = directory.path().join("journal");
    for most in [7, 20, 60] {
        let limits = Limits {
            trials_per_problem: Some(most),
            ..Limits::default()
        };
        let outcome = resume(&journal, &Scripted::default(), limits).unwrap();
        let anew = directory.path().join(format!("anew-{most}"));
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
    let journal = directory.path().join("journal");
    let most = |trials_per_problem| Limits {
        trials_per_problem: Some(trials_per_problem),
        ..Limits::default()
    };
    let _ = resume(&journal, &Scripted::default(), most(20)).unwrap();
    let before = snapshot(&journal);
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
    assert!(snapshot(&journal) == before);
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
    let journal = directory.path().join("journal");
    let moved = directory.path().join("moved");
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
    assert!(trials(&outcome).len() >= 5 && !journal.exists());
    // What was written before goes on where it is put back.
    fs::rename(&moved, &journal).unwrap();
    let resumed = resume(&journal, &Scripted::default(), limits()).unwrap();
    assert!(files(&resumed) == undisturbed());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_journal() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("journal");
    let path = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
    // (No program is started for it: until a child runs it holds the locks of the journals of other tests.)
    // SAFETY: the path is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let error = resume(&pipe, &Scripted::default(), limits()).unwrap_err();
    assert!(error.to_string().contains("no directory"), "{error}");
}

#[test]
fn a_journal_that_cannot_be_written_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("none").join("journal");
    let error = resume(&journal, &Scripted::default(), limits()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("journal"));
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
    let journal = directory.path().join("journal");
    let rival = Rival(first_part(&journal), std::sync::Once::new());
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
    let journal = directory.path().join("journal");
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
        let earlier = trials(&before);
        assert_eq!(trials(&outcome)[..earlier.len()], earlier);
        assert_eq!(outcome.problems[..before.problems.len()], before.problems);
        before = outcome;
    }
    assert!(
        files(&before) == undisturbed(),
        "not the data set of a run with all of them"
    );

    // None may be taken away, changed or put in between; and none added where all share a limit.
    let at_rest = snapshot(&journal);
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
        message.contains("of the first 6 problems the hash was "),
        "{message}"
    );
    assert!(snapshot(&journal) == at_rest);
    fs::remove_dir_all(&journal).unwrap();
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
        assert_eq!(trials(&outcome), trials(&whole));
        assert_eq!(outcome.totals.duplicates, whole.totals.duplicates);
    }
    // Kept after all: no other trials are asked for than those of a run that kept them at first.
    let kept = run("whole", Schedule::default(), false).unwrap();
    let anew = run("anew", Schedule::default(), false).unwrap();
    assert_eq!(trials(&kept), trials(&anew));
    assert_eq!((kept.problems, kept.totals.drawn), (anew.problems, 0));
}

/// A trial does not depend on why it was drawn: from one journal the data sets of any strategies, each
/// the one that a run of its own would have made, and only what is missing is drawn.
#[test]
fn another_strategy_uses_the_trials_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, strategy: &dyn Strategy, generator: &Scripted| {
        Run::builder(problems(&RATES))
            .strategy(strategy)
            .limits(limits())
            .seed(5)
            .journal(directory.path().join(name))
            .build()
            .unwrap()
            .run(generator, &grader)
            .unwrap()
    };
    let strategies: [&dyn Strategy; 6] = [
        &Uniform { k: 2 },
        &Uniform { k: 9 },
        &Prop2Diff::with_pilot(12, 6),
        &Vanilla { trials: 7 },
        &Uniform { k: 3 },
        &Uniform { k: 11 },
    ];
    let mut there = BTreeSet::new();
    for (number, strategy) in strategies.into_iter().enumerate() {
        let generator = Scripted::default();
        let outcome = run("journal", strategy, &generator);
        let anew = run(&number.to_string(), strategy, &Scripted::default());
        assert!(files(&outcome) == files(&anew), "strategy {number}");
        let asked: BTreeSet<TrialId> = generator.log().asked.keys().copied().collect();
        assert!(asked.is_disjoint(&there), "strategy {number}");
        // Fewer responses than before need nothing new.
        assert!(
            !(asked.is_empty() && [0, 5].contains(&number)),
            "strategy {number}"
        );
        assert!(asked.is_empty() || number != 4, "strategy {number}");
        there = journals::trials(&directory.path().join("journal"));
    }
}
