//! The files of a data set directory.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::scripted::data_set::{outcome, write};
use dart_math::answer::Checker;
use dart_math::data::{
    DataSet, DataSetFiles, Format, Pair, Records, WriteOptions, pass_rates, read_pairs,
    read_problems_table, read_trials,
};
use dart_math::report::html::Report;
use dart_math::report::{CARD_FIGURES, Card, card_figures};
use dart_math::{Completion, Problem, ProblemRecord, Settings, StopReason, Tally, Trial, Verdict};
use serde_json::Value;

fn rows(directory: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory.join(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn files_agree_with_one_another() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("new").join("set");
    write(&outcome, &directory);
    let (dataset, trials, records) = (
        rows(&directory, "dataset.jsonl"),
        rows(&directory, "trials.jsonl"),
        rows(&directory, "problems.jsonl"),
    );
    let accepted: Vec<&Value> = trials.iter().filter(|t| t["accepted"] == true).collect();
    assert_eq!(dataset.len(), accepted.len());
    for (pair, trial) in dataset.iter().zip(&accepted) {
        assert_eq!(
            pair.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["query", "response"]
        );
        assert_eq!(pair["response"], trial["response"]);
        let record = records
            .iter()
            .find(|record| record["id"] == trial["problem"])
            .unwrap();
        assert_eq!(pair["query"], record["question"]);
        assert_eq!(trial["equal"], true);
    }
    for record in &records {
        let own: Vec<&Value> = trials
            .iter()
            .filter(|t| t["problem"] == record["id"])
            .collect();
        let numbers: Vec<u64> = own.iter().map(|t| t["trial"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..own.len() as u64).collect::<Vec<_>>());
        let count = |field: &str| own.iter().filter(|t| t[field] == true).count() as u64;
        assert_eq!(record["trials"], own.len() as u64);
        assert_eq!(record["correct"], count("equal"));
        assert_eq!(record["kept"], count("accepted"));
        assert_eq!(record["kept"], record["target"]);
        assert_eq!(record["stop_reason"], "target_met");
        let at = |field: &str| record[field].as_f64().unwrap();
        assert!(at("pass_rate_low") < at("pass_rate_high"));
        assert!(record["metadata"]["rate"].is_number());
    }
    let manifest: Value =
        serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["crate"], "dart-math");
    assert_eq!(manifest["generator"]["model"], "scripted");
    assert_eq!(manifest["strategy"]["k"], 10);
    assert_eq!(manifest["totals"]["kept"], dataset.len() as u64);
    assert_eq!(manifest["stop"], "finished");
}

#[test]
fn a_runs_problems_are_a_table_of_pass_rates() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    write(&outcome, directory.path());
    let rates = pass_rates::read(directory.path().join("problems.jsonl")).unwrap();
    for record in &outcome.problems {
        let rate = record.tally.pass_rate().unwrap();
        assert!((rates[&record.problem.id] - rate).abs() < 1e-12);
    }
}

#[test]
fn a_failed_write_leaves_the_old_files() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    write(&outcome, directory.path());
    let before = fs::read(directory.path().join("dataset.jsonl")).unwrap();
    let mut trials: Vec<_> = outcome.trials().collect();
    trials[0].as_mut().unwrap().problem = "nobody".into();
    let error = DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    }
    .write(directory.path(), trials)
    .unwrap_err();
    assert!(error.to_string().contains("\"nobody\""));
    assert_eq!(
        fs::read(directory.path().join("dataset.jsonl")).unwrap(),
        before
    );
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

/// Options with the majority answer by this checker.
fn options<'a>(checker: &'a Checker) -> WriteOptions<'a> {
    WriteOptions::new().majority_by(checker)
}

fn read<T>(rows: dart_math::Result<Records<T>>) -> Vec<T> {
    rows.unwrap().map(|row| row.unwrap()).collect()
}

#[test]
fn what_is_written_is_read_back() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    let (directory, checker) = (directory.path(), Checker::default());
    let manifest = outcome.manifest();
    let set = DataSet {
        problems: &outcome.problems,
        manifest: &manifest,
    };
    let trials: Vec<Trial> = outcome.trials().map(|trial| trial.unwrap()).collect();
    let wanted: Vec<Pair> = trials
        .iter()
        .filter(|trial| trial.accepted)
        .map(|trial| {
            let of_it = |record: &&ProblemRecord| record.problem.id == trial.problem;
            let record = outcome.problems.iter().find(of_it).unwrap();
            Pair {
                query: record.problem.question.clone(),
                response: trial.response.clone(),
            }
        })
        .collect();
    let parquet = cfg!(feature = "parquet");
    let ends: &[&str] = if parquet {
        &["jsonl", "parquet"]
    } else {
        &["jsonl"]
    };
    for format in [Format::Pairs, Format::Chat, Format::Alpaca] {
        let options = options(&checker).format(format).parquet(parquet);
        assert!(
            set.write_with(directory, outcome.trials(), options)
                .unwrap()
        );
        // The second call has nothing to do.
        assert!(
            !set.write_with(directory, outcome.trials(), options)
                .unwrap()
        );
        for end in ends {
            let path = |name: &str| directory.join(format!("{name}.{end}"));
            assert_eq!(read(read_pairs(path("dataset"))), wanted, "{end}");
            assert_eq!(read(read_trials(path("trials"))), trials, "{end}");
            let rows = read(read_problems_table(path("problems")));
            assert_eq!(rows.len(), outcome.problems.len());
            for (row, record) in rows.iter().zip(&outcome.problems) {
                let tally = &record.tally;
                assert_eq!(row.id, record.problem.id);
                assert_eq!(row.question, record.problem.question);
                assert_eq!(row.reference, record.problem.reference);
                assert_eq!(row.metadata, record.problem.metadata);
                assert_eq!((row.trials, row.correct), (tally.trials, tally.correct));
                assert_eq!(row.pass_rate, tally.pass_rate());
                let (low, high) = tally.interval().unwrap();
                assert_eq!(row.pass_rate_low, Some(low));
                assert_eq!(row.pass_rate_high, Some(high));
                assert_eq!(row.pass_at_1, tally.pass_at(1));
                assert_eq!(row.pass_at_4, tally.pass_at(4));
                // No problem has that many trials.
                assert_eq!(row.pass_at_1024, None);
                assert_eq!(row.target, record.target);
                assert_eq!(row.kept, record.kept);
                assert_eq!(row.stop_reason, record.stop);
                assert_eq!(row.rejection, record.rejection);
            }
            let lines = read(read_problems_table(directory.join("problems.jsonl")));
            assert_eq!(rows, lines);
        }
    }
}

/// One problem with typical answers, whose majority was determined by hand.
#[test]
fn a_problem_has_its_majority_answer() {
    let problem = Arc::new(Problem::new("1 / 2?", "0.5"));
    let answers = ["2", r"\frac12", "1/2", "2", "0.50"];
    let trials: Vec<Trial> = answers
        .iter()
        .enumerate()
        .map(|(number, answer)| {
            let text = format!("It is {answer}.");
            let mut verdict = Verdict::new(*answer != "2", "by hand");
            verdict.extracted = Some((*answer).into());
            Trial::new(&problem, number as u32, 0, Completion::text(text), verdict)
        })
        .collect();
    let record = |trials| ProblemRecord {
        problem: problem.clone(),
        tally: Tally {
            trials,
            correct: 3,
            ..Tally::default()
        },
        target: None,
        kept: 0,
        tokens: 0,
        stop: StopReason::TrialsDone,
        rejection: None,
    };
    let manifest = Settings::new();
    let checker = Checker::default();
    let directory = tempfile::tempdir().unwrap();
    let table = |records: &[ProblemRecord], trials: &[Trial], options: WriteOptions<'_>| {
        DataSet {
            problems: records,
            manifest: &manifest,
        }
        .write_with(directory.path(), trials.iter().cloned().map(Ok), options)
        .map(|_| read(read_problems_table(directory.path().join("problems.jsonl"))))
    };
    let rows = table(&[record(5)], &trials, options(&checker)).unwrap();
    assert_eq!(rows[0].majority_answer.as_deref(), Some(r"\frac12"));
    assert_eq!(rows[0].majority_share, Some(0.6));
    assert_eq!(rows[0].majority_correct, Some(true));
    assert_eq!(rows[0].pass_at_1, Some(0.6));
    assert_eq!((rows[0].pass_at_4, rows[0].pass_at_16), (Some(1.0), None));

    // With another equivalence relation, and with some of the trials.
    let verbatim = |first: &str, second: &str| first == second;
    let by_text = WriteOptions::new().majority_by(&verbatim);
    let rows = table(&[record(5)], &trials, by_text).unwrap();
    assert_eq!(rows[0].majority_answer.as_deref(), Some("2"));
    assert_eq!(rows[0].majority_correct, Some(false));
    let rows = table(&[record(6)], &trials, options(&checker)).unwrap();
    assert_eq!(rows[0].majority_answer, None);
    let rows = table(&[record(5)], &trials, WriteOptions::new()).unwrap();
    assert_eq!(
        (rows[0].majority_share, rows[0].majority_correct),
        (None, None)
    );

    // Interleaved trials of two problems cannot be counted in one pass.
    let mut other = record(1);
    other.problem = Arc::new(Problem::new("1 + 1?", "2"));
    let mut mixed = trials.clone();
    mixed[1].problem = other.problem.id.clone();
    let error = table(&[record(4), other], &mixed, options(&checker)).unwrap_err();
    assert!(error.to_string().contains("are not together"), "{error}");
}

#[test]
fn what_is_no_row_of_a_data_set_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.jsonl");
    let refused = |rows: &str, pairs: bool| {
        fs::write(&path, rows).unwrap();
        let error = match pairs {
            true => read_pairs(&path).unwrap().find_map(Result::err),
            false => read_trials(&path).unwrap().find_map(Result::err),
        };
        let error = error.unwrap().to_string();
        error.split_once("rows.jsonl:").unwrap().1.to_owned()
    };
    let pair = r#"{"query": "q", "response": "r"}"#;
    for (row, said) in [
        ("{}", "2: no `query`, `messages` or `instruction`"),
        (r#"{"query": "q"}"#, "2: no `response`"),
        (
            r#"{"query": 1, "response": "r"}"#,
            "2: `query` is not a text",
        ),
        (
            r#"{"instruction": "q", "input": "x", "output": "r"}"#,
            "2: `input` is not empty, and a pair has no place for it",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "q"}]}"#,
            "2: `messages` are not one of a user and one of an assistant",
        ),
        ("[1]", "2: not a JSON object"),
    ] {
        assert_eq!(refused(&format!("{pair}\n{row}\n"), true), said);
    }
    assert_eq!(refused("\n{}", false), "2: missing field `problem`");
    let none = read_trials(directory.path().join("none.jsonl")).unwrap_err();
    assert!(none.to_string().contains("none.jsonl"), "{none}");
}

#[test]
fn parquet_follows_what_is_asked_for() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let manifest = outcome.manifest();
    let set = DataSet {
        problems: &outcome.problems,
        manifest: &manifest,
    };
    let parquet = WriteOptions::new().parquet(true);
    let written = set.write_with(directory, outcome.trials(), parquet);
    if cfg!(not(feature = "parquet")) {
        let error = written.unwrap_err();
        assert_eq!(error.kind(), dart_math::ErrorKind::Unsupported);
        assert!(fs::read_dir(directory).unwrap().next().is_none());
        let path = directory.join("trials.parquet");
        fs::write(&path, "PAR1").unwrap();
        let error = read_trials(&path).unwrap_err();
        assert!(error.to_string().contains("feature `parquet`"), "{error}");
        return;
    }
    assert!(written.unwrap());
    let path = directory.join("trials.parquet");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let error = read_trials(&path).unwrap_err();
    assert!(error.to_string().contains("trials.parquet"), "{error}");
    // The file is rewritten, byte for byte.
    assert!(
        set.write_with(directory, outcome.trials(), parquet)
            .unwrap()
    );
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert!(
        !set.write_with(directory, outcome.trials(), parquet)
            .unwrap()
    );
    // Tables that are no longer requested are removed, because they would become outdated.
    assert!(set.write(directory, outcome.trials()).unwrap());
    assert!(!path.exists() && directory.join("trials.jsonl").exists());
    assert!(!set.write(directory, outcome.trials()).unwrap());
}

#[test]
fn a_card_is_written_where_there_is_one() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let manifest = outcome.manifest();
    let set = DataSet {
        problems: &outcome.problems,
        manifest: &manifest,
    };
    let card = WriteOptions::new().card("# Card\n");
    assert!(set.write_with(directory, outcome.trials(), card).unwrap());
    assert!(!set.write_with(directory, outcome.trials(), card).unwrap());
    assert!(!set.write(directory, outcome.trials()).unwrap());
    let path = directory.join("README.md");
    assert_eq!(fs::read_to_string(path).unwrap(), "# Card\n");
}

#[test]
fn a_card_has_the_figures_that_it_shows() {
    let outcome = outcome();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let manifest = outcome.manifest();
    let set = DataSet {
        problems: &outcome.problems,
        manifest: &manifest,
    };
    let card = Card::new(&outcome.problems, &manifest);
    let card = card.figures(true).to_string();
    let options = WriteOptions::new().card(&card).figures(&card_figures);
    let write = || {
        set.write_with(directory, outcome.trials(), options)
            .unwrap()
    };
    assert!(write() && !write());

    // Every link has a file and every file a link. The figures equal the report's.
    let links = card.split("](").skip(1).filter_map(|rest| {
        let (path, _) = rest.split_once(')')?;
        path.ends_with(".svg").then_some(path)
    });
    let links: Vec<&str> = links.collect();
    let files = || -> Vec<_> {
        let files = fs::read_dir(directory.join("figures")).unwrap();
        files.map(|file| file.unwrap().file_name()).collect()
    };
    assert_eq!(
        (links.len(), files().len()),
        (CARD_FIGURES.len(), CARD_FIGURES.len())
    );
    let report = Report::read(directory).unwrap();
    for link in &links {
        let name = link
            .strip_prefix("figures/")
            .and_then(|link| link.strip_suffix(".svg"));
        let figure = report
            .figures()
            .iter()
            .find(|figure| Some(figure.name) == name);
        let text = fs::read_to_string(directory.join(link)).unwrap();
        assert_eq!(text, figure.unwrap().svg);
    }
    // A figure that does not match the other files is rewritten.
    fs::write(directory.join(links[1]), "<svg/>").unwrap();
    assert!(write() && !write());
    // Without a card, figures are neither created nor changed.
    let plain = WriteOptions::new().figures(&card_figures);
    fs::remove_file(directory.join(links[1])).unwrap();
    assert!(!set.write_with(directory, outcome.trials(), plain).unwrap());
    assert_eq!(files().len(), CARD_FIGURES.len() - 1);

    // If figures cannot be made, all files stay as they were, and no drafts are left.
    let before = fs::read(directory.join("trials.jsonl")).unwrap();
    let elsewhere = |_: DataSetFiles<'_>| Ok(vec![("../trials.jsonl".to_owned(), String::new())]);
    let options = WriteOptions::new().card("# Other\n").figures(&elsewhere);
    let error = set
        .write_with(directory, outcome.trials(), options)
        .unwrap_err();
    assert!(
        error.to_string().contains("\"../trials.jsonl\" is no name"),
        "{error}"
    );
    assert_eq!(fs::read(directory.join("trials.jsonl")).unwrap(), before);
    assert_eq!(
        fs::read_to_string(directory.join("README.md")).unwrap(),
        card
    );
    let hidden = fs::read_dir(directory).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(hidden.count(), 0);
}

/// Two concurrent writers would mix their files in a directory.
#[cfg(unix)]
#[test]
fn a_directory_has_one_writer_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = dart_math::Settings::new();
    let data = DataSet {
        problems: &[],
        manifest: &manifest,
    };
    let other = fs::File::open(directory.path()).unwrap();
    other.lock().unwrap();
    let error = data.write(directory.path(), []).unwrap_err().to_string();
    assert!(error.contains("another process is writing"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    other.unlock().unwrap();
    data.write(directory.path(), []).unwrap();
}
