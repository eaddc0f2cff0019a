//! The example `generate` as a user runs it: good and bad rows, and exit codes.

use std::fs;

use serde_json::Value;

use crate::harness::{Test, tests};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![
    a_bad_row_is_reported_and_the_rest_goes_on,
    all_rows_may_be_bad,
    what_makes_no_sense_is_refused,
    an_output_that_cannot_be_written_is_named,
    files_of_problems_are_prompts_too,
    ids_are_unique_and_kept_to_the_letter,
    only_the_first_bad_rows_are_reported,
];

/// A question in the built-in model's language.
const QUESTION: &str =
    "Tom has 5 apples. Mia has 3 more than Tom. How many apples does each of them have?";

const GOOD: &str =
    r#"{"id": "a", "prompt": "Tom has 3 eggs. He buys 4 more. How many eggs does Tom have now?"}"#;

fn a_bad_row_is_reported_and_the_rest_goes_on() {
    let generate = Tool::new("generate");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prompts.jsonl");
    let mut file = format!("\u{FEFF}{GOOD}\r\n\n").into_bytes();
    file.extend(b"{\"id\": 3, \"prompt\": \"\xff\"}\n");
    file.resize(file.len() + (17 << 20), b'x');
    file.extend(b"\n{\"id\": \"e\"}\n{\"prompt\"\n{\"id\": [], \"prompt\": \"p\"}\n");
    file.extend(
        b"{\"prompt\": \"Mia has 3 eggs. She buys 4 more. How many eggs does Mia have now?\"}",
    );
    fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();

    let args = ["--prompts", path, "--greedy", "--samples", "2"];
    let ran = generate.run(&[&args[..], &["--json"]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let rows = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let rows: Vec<Value> = rows.collect();
    let ids: Vec<String> = rows.iter().map(|row| row["id"].to_string()).collect();
    assert_eq!(
        ids,
        ["\"a\"", "\"a\"", "2", "3", "\"e\"", "5", "6", "7", "7"]
    );
    for (row, line, reason) in [
        (&rows[2], 3, "not UTF-8 (byte 22)"),
        (&rows[3], 4, "longer than 16 MiB"),
        (&rows[4], 5, "no `prompt`"),
        (&rows[5], 6, "not JSON (column 9)"),
        (&rows[6], 7, "`id` is [], not a string or a number"),
    ] {
        let error = row["error"].as_str().unwrap();
        assert!(
            error.starts_with(&format!("{path}:{line}: {reason}")),
            "{error}"
        );
        assert!(ran.err.contains(error), "{} lacks {error}", ran.err);
        assert_eq!(row.as_object().unwrap().len(), 2);
    }
    for row in [&rows[0], &rows[1], &rows[7], &rows[8]] {
        assert!(!row["text"].as_str().unwrap().is_empty());
    }
    assert_eq!(
        (&rows[7]["sample"], &rows[8]["sample"]),
        (&0.into(), &1.into())
    );
    assert!(
        ran.err.contains("error: bad: 5 of 7 prompts\n"),
        "{}",
        ran.err
    );

    let ran = generate.run(&args);
    assert_eq!(ran.code, Some(1));
    let heads = ran.out.lines().filter(|line| line.starts_with("---"));
    assert_eq!(
        heads.collect::<Vec<_>>(),
        [
            "--- prompt \"a\", sample 0",
            "--- prompt \"a\", sample 1",
            "--- prompt 7, sample 0",
            "--- prompt 7, sample 1"
        ]
    );
    assert!(!ran.out.contains("not UTF-8"));
}

fn all_rows_may_be_bad() {
    let generate = Tool::new("generate");
    let ran = generate.fed(&["--prompts", "-", "--json"], b"x\n");
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("stdin:1: not JSON"), "{}", ran.err);
    assert!(
        ran.out
            .starts_with("{\"id\":1,\"error\":\"stdin:1: not JSON"),
        "{}",
        ran.out
    );
    // A prompt without tokens cannot be completed either.
    let ran = generate.run(&["--raw", ""]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("prompt 1: a prompt without any token"),
        "{}",
        ran.err
    );
}

fn what_makes_no_sense_is_refused() {
    let generate = Tool::new("generate");
    for (args, code, reason) in [
        (
            &["--prompts", "-"][..],
            1,
            "error: bad input data: stdin: no rows",
        ),
        (&["--prompts", "no/such/file"], 1, "no/such/file"),
        (
            &["p", "--temperature", "-1"],
            2,
            "error: bad settings: temperature is -1",
        ),
        (&["p", "--model", "neither"], 2, "model `neither`"),
        (
            &["p", "--revision", "v1"],
            2,
            "--revision does not apply to `abacus`",
        ),
        (
            &["p", "--model", "no/such.gguf", "--cache-dir", "x"],
            2,
            "--cache-dir does not apply to `no/such.gguf`",
        ),
        (&["p", "--model", "no/such.gguf"], 1, "no/such.gguf"),
        (
            &["p", "--samples", "0"],
            2,
            "'--samples <N>': it must be at least 1",
        ),
        (
            &["p", "--slots", "0"],
            2,
            "'--slots <N>': it must be at least 1",
        ),
        (&["p", "--samples", "x"], 2, "'x' for '--samples <N>': "),
        (
            &["p", "--model", "abacus", "--max-new-tokens", "0"],
            2,
            "'--max-new-tokens <N>': it must be at least 1",
        ),
        (&[], 2, "<PROMPT>"),
    ] {
        let ran = generate.fed(args, b" \n\n");
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(reason), "{args:?}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{args:?}: {}", ran.err);
        assert!(ran.out.is_empty());
    }
}

fn an_output_that_cannot_be_written_is_named() {
    let generate = Tool::new("generate");
    generate.cannot_write(&["--prompts", "-", "--greedy"], GOOD.as_bytes());
}

fn files_of_problems_are_prompts_too() {
    let generate = Tool::new("generate");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("problems.json.gz");
    let long = "What is 3 plus 4? ".repeat(100);
    let rows = serde_json::json!([
        {"id": "gsm8k", "question": QUESTION, "answer": "#### 7"},
        {"id": "math", "problem": QUESTION, "solution": "\\boxed{7}"},
        {"id": "both", "question": "never read", "prompt": QUESTION},
        {"id": "long", "question": long},
        {"id": "big", "question": 5},
    ]);
    let text = serde_json::to_string_pretty(&rows).unwrap();
    let text = text.replace("\"big\"", "12345678901234567890123");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    fs::write(&path, encoder.finish().unwrap()).unwrap();
    let ran = generate.run(&["--prompts", path.to_str().unwrap(), "--greedy", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let rows: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0]["text"], rows[1]["text"]);
    assert_eq!(rows[0]["text"], rows[2]["text"]);
    assert!(!rows[0]["text"].as_str().unwrap().is_empty());
    let error = |row: &Value| row["error"].as_str().unwrap().to_owned();
    assert!(
        error(&rows[3]).contains("fills the model's context of 288"),
        "{}",
        rows[3]
    );
    assert!(
        error(&rows[4]).contains("`question` is not a string"),
        "{}",
        rows[4]
    );
    let last = ran.out.lines().last().unwrap();
    assert!(
        last.starts_with("{\"id\":12345678901234567890123,"),
        "{last}"
    );
}

/// Every row has its own id, whatever the file's layout. Numbers are kept as written.
fn ids_are_unique_and_kept_to_the_letter() {
    let generate = Tool::new("generate");
    let ids = |rows: &str| -> Vec<String> {
        let ran = generate.fed(&["--prompts", "-", "--json"], rows.as_bytes());
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        let lines = ran.out.lines();
        let id = |line: &str| {
            let line = line.strip_prefix("{\"id\":").unwrap();
            line.split_once(",\"error\"").unwrap().0.to_owned()
        };
        lines.map(id).collect()
    };
    // The rows have no prompts, because nothing needs to be sampled here.
    assert_eq!(ids("[{}, {}, {\"x\": 1}]"), ["1", "2", "3"]);
    assert_eq!(ids("\n{}\n\n{}\nx\n"), ["1", "2", "3"]);
    assert_eq!(
        ids("[{\"id\": 1e0}, {\"id\": 0.50}, {\"id\": -0}, {\"id\": \"1\"}, {\"id\": 1E400}]"),
        ["1e0", "0.50", "-0", "\"1\"", "1E400"]
    );
    assert_eq!(
        ids("{\"id\": 2}\n{}\n{\"id\": \"3\"}\n{}\n"),
        ["2", "\"row 2\"", "\"3\"", "4"]
    );
}

fn only_the_first_bad_rows_are_reported() {
    let generate = Tool::new("generate");
    let ran = generate.fed(&["--prompts", "-", "--json"], "{}\n".repeat(30).as_bytes());
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.out.lines().count(), 30);
    assert!(ran.err.contains("stdin:20: no `prompt`"), "{}", ran.err);
    assert!(!ran.err.contains("stdin:21:"), "{}", ran.err);
    assert!(ran.err.contains("and 10 more bad rows\n"), "{}", ran.err);
    assert!(
        ran.err.contains("error: bad: 30 of 30 prompts"),
        "{}",
        ran.err
    );
}
