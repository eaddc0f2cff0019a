//! Reference solutions: read from problem files, and written as rows after the responses.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dart_math::data::problems::{OnBadRow, read_from};
use dart_math::data::{DataSet, Format, Pair, Solutions, WriteOptions, arithmetic, read_pairs};
use dart_math::{Completion, Problem, ProblemRecord, Settings, StopReason, Tally, Trial, Verdict};
use serde_json::{Value, json};

#[test]
fn solutions_are_read_as_they_are_written() {
    let gsm8k = "He has 3 + 4 = <<3+4=7>>7.\n#### 7";
    let rows = [
        (json!({"question": "a", "answer": gsm8k}), Some(gsm8k)),
        (
            json!({"problem": "b", "solution": " It is $\\boxed{2}$. "}),
            Some("It is $\\boxed{2}$."),
        ),
        (
            json!({"question": "c", "answer": "2", "solution": "long"}),
            Some("long"),
        ),
        (
            json!({"question": "d", "reference": "7", "answer": gsm8k}),
            Some(gsm8k),
        ),
        (
            json!({"question": "e", "answer": gsm8k, "solution": "other"}),
            Some("other"),
        ),
        // No steps, an empty text, or not a text.
        (json!({"question": "f", "answer": "#### 7"}), None),
        (json!({"question": "g", "answer": "7"}), None),
        (json!({"question": "h", "answer": 7, "solution": ""}), None),
        (
            json!({"question": "i", "answer": 7, "solution": ["x"]}),
            None,
        ),
    ];
    let text: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    let (problems, _) = read_from(text.as_bytes(), "rows", OnBadRow::Fail).unwrap();
    for (problem, (_, solution)) in problems.iter().zip(&rows) {
        assert_eq!(
            problem.solution.as_deref(),
            *solution,
            "{}",
            problem.question
        );
    }
    // A field that is not used as the reference stays in the metadata.
    assert_eq!(problems[2].metadata["solution"], "long");
    assert!(problems[0].metadata.is_empty() && problems[1].metadata.is_empty());
    let built_in = arithmetic::problems(1..=1, 1, 0);
    let solution = built_in[0].solution.as_deref().unwrap();
    let end = format!("\\boxed{{{}}}.", built_in[0].reference);
    assert!(solution.ends_with(&end), "{solution}");
}

fn record(name: &str, solution: Option<&str>, stop: StopReason) -> ProblemRecord {
    let mut problem = Problem::new(format!("question {name}"), "1").with_id(name);
    problem.solution = solution.map(str::to_owned);
    ProblemRecord {
        problem: Arc::new(problem),
        tally: Tally {
            trials: 2,
            correct: 2,
            ..Tally::default()
        },
        target: None,
        kept: 1,
        tokens: 0,
        stop,
        rejection: None,
    }
}

fn write(
    (records, trials): (&[ProblemRecord], &[Trial]),
    directory: &Path,
    options: WriteOptions<'_>,
) -> (bool, Value) {
    let manifest = Settings::new();
    let set = DataSet {
        problems: records,
        manifest: &manifest,
    };
    let trials = trials.iter().cloned().map(Ok);
    let changed = set.write_with(directory, trials, options).unwrap();
    let manifest = fs::read(directory.join("manifest.json")).unwrap();
    (changed, serde_json::from_slice(&manifest).unwrap())
}

#[test]
fn solutions_follow_the_responses() {
    let records = [
        record("none", None, StopReason::TrialsDone),
        record("own", Some("so it is 1"), StopReason::TrialsDone),
        record("same", Some("it is 1"), StopReason::TargetMet),
        record("refused", Some("by 1 step"), StopReason::Rejected),
        record("out", Some("secret"), StopReason::Excluded),
        record("open", Some("not accepted"), StopReason::RunEnded),
    ];
    let trial = |name: &str, number, text: &str, accepted| {
        let of_it = |record: &&ProblemRecord| record.problem.id == name;
        let problem = &records.iter().find(of_it).unwrap().problem;
        let trial = Trial::new(
            problem,
            number,
            0,
            Completion::text(text),
            Verdict::new(true, "t"),
        );
        Trial { accepted, ..trial }
    };
    let trials = [
        trial("none", 0, "1", true),
        // A response that equals another problem's solution is no duplicate.
        trial("own", 0, "it is 1", true),
        trial("same", 0, "1!", true),
        trial("same", 1, " it is 1\n", true),
        trial("open", 0, "not accepted", false),
    ];
    let pair = |name: &str, response: &str| Pair {
        query: format!("question {name}"),
        response: response.into(),
    };
    let responses = [
        pair("none", "1"),
        pair("own", "it is 1"),
        pair("same", "1!"),
        pair("same", " it is 1\n"),
    ];
    let solutions = [
        pair("own", "so it is 1"),
        pair("refused", "by 1 step"),
        pair("open", "not accepted"),
    ];
    let counts = json!({"added": 3, "duplicates": 1, "missing": 1, "excluded": 1});
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let parquet = cfg!(feature = "parquet");
    for format in [Format::Pairs, Format::Chat, Format::Alpaca] {
        let options = WriteOptions::new().format(format).parquet(parquet);
        for (with, expected) in [
            (false, responses.to_vec()),
            (true, [&responses[..], &solutions].concat()),
        ] {
            let options = options.solutions(with);
            let (changed, manifest) = write((&records, &trials), directory, options);
            assert!(changed);
            assert_eq!(manifest.get("solutions"), with.then_some(&counts));
            assert!(!write((&records, &trials), directory, options).0);
            for end in if parquet {
                &["jsonl", "parquet"][..]
            } else {
                &["jsonl"]
            } {
                let path = directory.join(format!("dataset.{end}"));
                let rows: Vec<Pair> = read_pairs(path).unwrap().map(|row| row.unwrap()).collect();
                assert_eq!(rows, expected, "{end}");
            }
        }
    }
    let mut own = Solutions::new(&records);
    trials.iter().for_each(|trial| own.see(trial));
    assert_eq!(json!(own.counts()), counts);
    let rows: Vec<Pair> = own
        .rows()
        .map(|(problem, solution)| pair(&problem.id, solution))
        .collect();
    assert_eq!(rows, solutions);
}
