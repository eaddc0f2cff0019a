//! The example `grade` as a user runs it: good and bad rows, flags, and exit codes.

use std::fs;

use serde_json::Value;

use crate::harness::{Test, tests};
use crate::tool::{Ran, Tool};

pub(crate) const TESTS: &[Test] = tests![
    a_bad_row_is_reported_and_the_rest_goes_on,
    only_the_first_bad_rows_are_reported,
    ids_are_kept_to_the_letter,
    tolerances_are_asked_for,
    what_makes_no_sense_is_refused,
    an_output_that_cannot_be_written_is_named,
];

fn rows(ran: &Ran) -> Vec<Value> {
    let rows = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

fn a_bad_row_is_reported_and_the_rest_goes_on() {
    let grade = Tool::new("grade");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("answers.jsonl");
    let good = r#"{"id": "a", "reference": "\\frac12", "answer": "0.5"}"#;
    let mut file = format!("\u{FEFF}{good}\r\n\n").into_bytes();
    file.extend(b"{\"id\": \"\xff\"}\n");
    file.resize(file.len() + (17 << 20), b' ');
    file.extend(b"\n{\"id\": \"e\", \"reference\": \"1\"}\n[]\n");
    file.extend(br#"{"id": 7, "reference": 2, "response": "So it is \\boxed{3}."}"#);
    fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();

    let ran = grade.run(&[path]);
    assert_eq!(ran.code, Some(1));
    let rows = rows(&ran);
    let ids: Vec<&Value> = rows.iter().map(|row| &row["id"]).collect();
    assert_eq!(
        ids,
        [
            &"a".into(),
            &Value::Null,
            &Value::Null,
            &"e".into(),
            &Value::Null,
            &7.into()
        ]
    );
    assert_eq!(
        (&rows[0]["equal"], &rows[5]["equal"]),
        (&true.into(), &false.into())
    );
    assert_eq!((rows[0].get("error"), rows[5].get("error")), (None, None));
    for (row, line, reason) in [
        (&rows[1], 3, "not UTF-8 (byte 9)"),
        (&rows[2], 4, "longer than 16 MiB"),
        (&rows[3], 5, "neither `answer` nor `response`"),
        (&rows[4], 6, "not a JSON object"),
    ] {
        let error = format!("{path}:{line}: {reason}");
        assert_eq!(
            (&row["error"], &row["equal"]),
            (&error.clone().into(), &false.into())
        );
        assert!(ran.err.contains(&error), "{} lacks {error}", ran.err);
    }
    assert!(ran.err.contains("2 graded"), "{}", ran.err);
    assert!(
        ran.err.contains(&format!("error: {path}: 4 bad rows")),
        "{}",
        ran.err
    );
}

fn only_the_first_bad_rows_are_reported() {
    let grade = Tool::new("grade");
    let good = "{\"reference\": 1, \"answer\": 1}\n";
    for (bad, more) in [
        (1, None),
        (20, None),
        (21, Some("and 1 more bad row\n")),
        (30, Some("and 10 more bad rows\n")),
    ] {
        let ran = grade.fed(&["-"], format!("{good}{}", "[]\n".repeat(bad)).as_bytes());
        assert_eq!(ran.code, Some(1));
        assert_eq!(rows(&ran).len(), bad + 1);
        let reported = ran.err.matches(": not a JSON object").count();
        assert_eq!(reported, bad.min(20), "{}", ran.err);
        match more {
            Some(more) => assert!(ran.err.contains(more), "{}", ran.err),
            None => assert!(!ran.err.contains("more bad"), "{}", ran.err),
        }
        let plural = if bad == 1 { "" } else { "s" };
        let last = format!("error: stdin: {bad} bad row{plural}\n");
        assert!(ran.err.ends_with(&last), "{}", ran.err);
    }
}

fn ids_are_kept_to_the_letter() {
    let grade = Tool::new("grade");
    let ids = ["1e0", "0.50", "12345678901234567890123", "\"x\"", "[1,2]"];
    let row = |id: &&str| format!("{{\"id\":{id},\"reference\":1,\"answer\":1}}\n");
    let input: String = ids.iter().map(row).collect();
    let ran = grade.fed(&["-"], format!("{input}{{\"id\":2.0}}\n").as_bytes());
    let written: Vec<&str> = ran.out.lines().collect();
    for (line, id) in written.iter().zip(ids) {
        let begin = format!("{{\"id\":{id},\"equal\":true,");
        assert!(line.starts_with(&begin), "{line}");
    }
    assert!(
        written[5].starts_with("{\"id\":2.0,\"equal\":false,\"error\":"),
        "{}",
        written[5]
    );
}

fn tolerances_are_asked_for() {
    let grade = Tool::new("grade");
    let equal = |reference: &str, answer: &str, flags: &[&str]| {
        let row = serde_json::json!({"reference": reference, "answer": answer}).to_string();
        let ran = grade.fed(&[&["-"], flags].concat(), row.as_bytes());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        rows(&ran)[0]["equal"].as_bool().unwrap()
    };
    let digits = &["--reference-digits"][..];
    assert!(!equal("33.3", r"\frac{100}{3}", &[]));
    assert!(equal("33.3", r"\frac{100}{3}", digits));
    assert!(!equal("33.4", r"\frac{100}{3}", digits));
    assert!(!equal(r"\frac{100}{3}", "33.3", digits));
    assert!(!equal("200", "201", &[]));
    assert!(equal("200", "201", &["--relative-tolerance", "0.005"]));
    assert!(!equal("200", "201", &["--relative-tolerance", "0.0049"]));
    assert!(!equal("200", "201", &["--relative-tolerance", "0"]));
    let help = grade.run(&["--help"]).out;
    assert!(help.contains("--reference-digits") && help.contains("--relative-tolerance <X>"));
}

fn what_makes_no_sense_is_refused() {
    let grade = Tool::new("grade");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("answers.jsonl");
    fs::write(&path, "{}").unwrap();
    let path = path.to_str().unwrap();
    for (args, code, reason) in [
        (&["-"][..], 1, "error: bad input data: stdin: no rows"),
        (&["no/such/file"], 1, "no/such/file"),
        (
            &[path, "--out", "no/such/directory/file"],
            1,
            "no/such/directory/file",
        ),
        (&[path, "--out", path], 2, "that is the file to be graded"),
        (
            &["-", "--relative-tolerance", "-0.1"],
            2,
            "--relative-tolerance <X>",
        ),
        (
            &["-", "--relative-tolerance", "NaN"],
            2,
            "not a number from 0 to below 1",
        ),
        (
            &["-", "--relative-tolerance", "1"],
            2,
            "not a number from 0 to below 1",
        ),
        (
            &["-", "--relative-tolerance", "0.1", "--reference-digits"],
            2,
            "cannot be used with",
        ),
        (&[], 2, "<FILE>"),
    ] {
        for stdin in ["", "\u{FEFF}\n \n"] {
            let ran = grade.fed(args, stdin.as_bytes());
            assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
            assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
            assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
            assert!(ran.out.is_empty());
        }
    }
    assert_eq!(fs::read_to_string(path).unwrap(), "{}");
}

fn an_output_that_cannot_be_written_is_named() {
    let grade = Tool::new("grade");
    grade.cannot_write(&["-"], br#"{"reference": 1, "answer": 1}"#);
}
