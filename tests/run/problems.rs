//! Readers against rows of every sort, good and bad.

use dart_math::data::pass_rates;
use dart_math::data::problems::{OnBadRow, read, read_from};
use dart_math::{ErrorKind, Problem};

fn skip(rows: impl AsRef<[u8]>) -> (Vec<Problem>, Vec<String>) {
    let (problems, bad) = read_from(rows.as_ref(), "rows", OnBadRow::Skip).unwrap();
    (problems, bad.iter().map(ToString::to_string).collect())
}

fn fail(rows: impl AsRef<[u8]>) -> String {
    let error = read_from(rows.as_ref(), "rows", OnBadRow::Fail).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    error.to_string()
}

const GOOD: &str = r#"{"question":"q","answer":"1"}"#;

#[test]
fn every_format_is_read() {
    let rows = [
        r#"{"question": " q1 ", "answer": "12 / 4 = <<12/4=3>>3\n#### 1,234 "}"#,
        r#"{"problem": "q2", "solution": "a \\boxed{1} b \\boxed{\\frac{1}{2}}.", "level": "Level 5", "type": "Algebra"}"#,
        r#"{"id": "x", "query": "q3", "reference": 7, "answer": "other", "tags": ["a"]}"#,
        r#"{"id": 17, "question": "q4", "answer": 0.5, "reference": null}"#,
        r##"{"problem": "q5", "solution": "long", "answer": "5", "subject": "s"}"##,
    ];
    let (problems, bad) = skip(rows.join("\n"));
    assert!(bad.is_empty());
    let read: Vec<(&str, &str)> = problems
        .iter()
        .map(|problem| (&*problem.question, &*problem.reference))
        .collect();
    let expected = [
        ("q1", "1,234"),
        ("q2", r"\frac{1}{2}"),
        ("q3", "7"),
        ("q4", "0.5"),
        ("q5", "5"),
    ];
    assert_eq!(read, expected);
    assert_eq!(problems[0].id, Problem::new("q1", "1,234").id);
    assert_eq!((&*problems[2].id, &*problems[3].id), ("x", "17"));
    assert_eq!(
        problems[1].metadata.keys().collect::<Vec<_>>(),
        ["level", "type"]
    );
    assert_eq!(
        problems[2].metadata.keys().collect::<Vec<_>>(),
        ["answer", "tags"]
    );
    assert_eq!(problems[4].metadata["solution"], "long");
}

#[test]
fn marks_blank_lines_and_line_ends_do_not_matter() {
    let rows = format!(
        "\u{FEFF}{GOOD}\r\n\r\n   \n\t{}  \r\n\n",
        GOOD.replace('q', "p")
    );
    // "p" took the place of "q" in the field's name too: make that one right again.
    let rows = rows.replace("puestion", "question");
    let (problems, bad) = skip(rows);
    assert_eq!((problems.len(), bad.len()), (2, 0));
}

#[test]
fn bad_rows_are_named_by_line_and_reason() {
    let cases: &[(&str, &str)] = &[
        ("{\"question\": \"q\"", "not JSON (column 16): EOF"),
        ("[1]", "not a JSON object"),
        ("\"text\"", "not a JSON object"),
        ("{\"answer\": \"1\"}", "no `question`, `problem` or `query`"),
        (
            "{\"question\": \"q\"}",
            "no `reference`, `answer` or `solution`",
        ),
        (
            "{\"question\": \" \", \"answer\": \"1\"}",
            "`question` is empty",
        ),
        (
            "{\"question\": [\"q\"], \"answer\": \"1\"}",
            "`question` is neither a text nor a number",
        ),
        (
            "{\"question\": \"q\", \"answer\": true}",
            "`answer` is neither a text nor a number",
        ),
        (
            "{\"question\": \"q\", \"answer\": \"so #### \"}",
            "nothing after the last `####`",
        ),
        (
            "{\"problem\": \"q\", \"solution\": \"so 5\"}",
            "no `\\boxed` in `solution`",
        ),
        (
            "{\"problem\": \"q\", \"solution\": \"\\\\boxed{5\"}",
            "not closed",
        ),
        (
            "{\"id\": {}, \"question\": \"q\", \"answer\": \"1\"}",
            "`id` is neither",
        ),
    ];
    for (row, reason) in cases {
        let message = fail(format!("{}\n\n{row}\n", GOOD.replace(":\"q\"", ":\"z\"")));
        assert!(message.starts_with("bad input data: rows:3: "), "{message}");
        assert!(message.contains(reason), "{message} lacks {reason}");
        let (problems, bad) = skip(format!("{row}\n{GOOD}"));
        assert_eq!(problems.len(), 1);
        assert!(
            bad[0].starts_with("line 1: ") && bad[0].contains(reason),
            "{bad:?}"
        );
    }
}

#[test]
fn no_bytes_whatever_stop_the_reader() {
    let mut rows = b"\xff\xfe{\x00\n".to_vec();
    rows.extend(b"{\"question\": \"\xc3\x28\", \"answer\": \"1\"}\n\0\0\0\n");
    rows.extend(GOOD.as_bytes());
    let (problems, bad) = skip(&rows);
    assert_eq!(problems.len(), 1);
    assert_eq!(bad.len(), 3);
    assert!(bad[0].contains("not UTF-8 (byte 1)"));
    assert!(bad[1].contains("not UTF-8 (byte 15)"));

    let deep = format!("{}{}\n{GOOD}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(skip(deep).1[0].contains("recursion limit"));
}

#[test]
fn a_row_of_any_length_is_passed_over() {
    let huge = format!("{{\"question\": \"{}\"}}", "q".repeat(40 << 20));
    let (problems, bad) = skip(format!("{huge}\n{GOOD}\n{huge}"));
    assert_eq!(problems.len(), 1);
    assert_eq!(
        bad,
        ["line 1: longer than 16 MiB", "line 3: longer than 16 MiB"]
    );
}

#[test]
fn the_same_id_twice_is_an_error() {
    let rows = "{\"id\":\"a\",\"question\":\"q\",\"answer\":\"1\"}\n{\"id\":\"a\",\"question\":\"p\",\"answer\":\"1\"}";
    assert!(fail(rows).contains("rows:2: id \"a\" was line 1's already"));
    // Without ids, the same text is the same problem.
    assert!(fail(format!("{GOOD}\n{GOOD}")).contains("was line 1's already"));
    let (problems, bad) = skip(format!("{GOOD}\n{GOOD}"));
    assert_eq!((problems.len(), bad.len()), (1, 1));
}

#[test]
fn a_file_without_problems_is_an_error() {
    assert!(fail("\n\n").contains("rows: no problems"));
    let error = read_from(&b"{}\nx"[..], "rows", OnBadRow::Skip).unwrap_err();
    assert!(error.to_string().contains("2 bad rows; line 1"), "{error}");
    let error = read("no/such/file.jsonl", OnBadRow::Skip).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("no/such/file.jsonl"));
}

#[test]
fn tables_of_pass_rates_are_checked() {
    let read = |rows: &str| pass_rates::read_from(rows.as_bytes(), "table");
    let run = r#"{"id":"a","trials":9,"correct":3,"pass_rate":0.25,"target":3}
{"id":7,"trials":4,"correct":1}
{"id":"untried","trials":0,"correct":0,"pass_rate":null}"#;
    let rates = read(run).unwrap();
    assert_eq!((rates.len(), rates["a"], rates["7"]), (2, 0.25, 0.25));
    for (rows, reason) in [
        ("{\"pass_rate\":0.5}", "table:1: no `id`"),
        (
            "{\"id\":\"a\",\"pass_rate\":1.5}",
            "table:1: `pass_rate` is not a number from 0 to 1",
        ),
        (
            "{\"id\":\"a\",\"pass_rate\":\"1\"}",
            "table:1: `pass_rate` is not",
        ),
        (
            "{\"id\":\"a\"}",
            "neither `pass_rate` nor a whole number of `trials`",
        ),
        (
            "{\"id\":\"a\",\"trials\":2,\"correct\":3}",
            "3 correct of 2 trials",
        ),
        (
            "{\"id\":\"a\",\"pass_rate\":1}\n{\"id\":\"a\",\"pass_rate\":1}",
            "table:2: id \"a\" was line 1's",
        ),
        ("nonsense", "table:1: not JSON"),
    ] {
        let error = read(rows).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} lacks {reason}");
    }
}
