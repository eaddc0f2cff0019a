//! Journals that are damaged, incomplete, moved away or modified by others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::files::files;
use crate::resume::{RATES, limits, resume, undisturbed};
use crate::scripted::journals::{self, first_part, lines, notes, restore, snapshot, write_lines};
use crate::scripted::{Scripted, grader, problems, trials};
use dart_math::dars::{Limits, Observer, Outcome, Prop2Diff, Run, RunStop, Uniform};
use dart_math::{ErrorKind, ProblemRecord, Result, Trial, TrialId};

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
    // One changed character with the old checksum.
    let digit = other(&rows[3], "\"tokens\":", "\"tokens\":1");
    changed(&part, 3, digit, "jsonl:4: damaged: its checksum");
    // Rows with a valid checksum.
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
    // In the first version, a journal was a file.
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

/// Resumes from an incomplete journal. The outcome must be the same. All missing trials that count must be drawn again,
/// and no existing ones.
fn draws_what_is_missing(
    journal: &Path,
    (whole, records): (&[Trial], &[ProblemRecord]),
    every: &BTreeSet<TrialId>,
    part_bytes: u64,
    place: &str,
) {
    // A trial that arrived after its problem had ended does not count, so it is not missed.
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
        // A sealed part is JSON lines in Zstandard, sorted by problem and number.
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

        // A truncated part is refused by name.
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
    // If the run is killed while it seals a part, both files exist. The sealed one is used.
    restore(&journal, &files);
    fs::write(first_part(&journal), "nothing that is read").unwrap();
    let outcome = small_run(&journal, &Scripted::default(), part_bytes).unwrap();
    assert_eq!(trials(&outcome), all);
    assert!(!first_part(&journal).exists());
    // Trials that are in two parts are refused.
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
    // If the journal is moved back, the run resumes from it.
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
    // `mkfifo` is called directly: a child process would inherit the locks of other tests' journals until it runs exec.
    // SAFETY: the path is a C string that outlives the call.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    let error = resume(&pipe, &Scripted::default(), limits()).unwrap_err();
    assert!(error.to_string().contains("no directory"), "{error}");
    // A part of a journal must not be a pipe either.
    let journal = directory.path().join("whole");
    let _ = resume(&journal, &Scripted::default(), limits()).unwrap();
    for name in ["000009.jsonl", "000009.jsonl.zst"] {
        let part = journal.join(name);
        let path = std::ffi::CString::new(part.to_str().unwrap()).unwrap();
        // SAFETY: the path is a C string that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let error = resume(&journal, &Scripted::default(), limits()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(name) && error.contains("no regular file"),
            "{error}"
        );
        fs::remove_file(part).unwrap();
    }
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
