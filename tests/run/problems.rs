//! Problem readers with valid and invalid rows of every kind.

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
    // Replacing "q" also changed the field's name, so restore it.
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
    let mut rows = b"\xff\xfd{\x00\n".to_vec();
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
    let message = fail(format!("{GOOD}\n\n{GOOD}"));
    assert!(
        message.contains("rows:3: the same problem as in line 1"),
        "{message}"
    );
    let (problems, bad) = skip(format!("{GOOD}\n{GOOD}"));
    assert_eq!((problems.len(), bad.len()), (1, 1));
    // Ids do not make the same text two problems, but another reference does.
    let named = |id: &str, answer: &str| {
        format!("{{\"id\": \"{id}\", \"question\": \"q\", \"answer\": \"{answer}\"}}")
    };
    for rows in [
        format!("{}\n{}", named("a", "1"), named("b", "1")),
        format!("{}\n{GOOD}", named("a", "1")),
        format!("{GOOD}\n{}", named("a", "1")),
    ] {
        let message = fail(&rows);
        assert!(
            message.contains("rows:2: the same problem as in line 1"),
            "{message}"
        );
    }
    let (problems, bad) = skip(format!("{}\n{}", named("a", "1"), named("b", "2")));
    assert_eq!((problems.len(), bad.len()), (2, 0));
    // An id that equals the hash of a later row's text.
    let hash = Problem::new("q", "1").id;
    let message = fail(format!("{}\n{GOOD}", named(&hash, "2")));
    assert!(
        message.contains("rows:2: line 1 has the hash of this row's text"),
        "{message}"
    );
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

const ROWS: [&str; 3] = [
    r#"{"id": "a", "question": "say \"]},{[\" \\", "answer": "1", "tags": [{"x": []}, 2]}"#,
    r#"{"id": "b", "question": "q", "answer": 12345678901234567890123}"#,
    r#"{"id": "c", "question": "p", "answer": "3"}"#,
];

/// The same rows in every supported file format.
#[test]
fn arrays_and_gzip_are_read_as_lines_are() {
    let lines = ROWS.join("\n") + "\n";
    let (expected, _) = skip(&lines);
    assert_eq!(expected.len(), 3);
    assert_eq!(expected[0].question, "say \"]},{[\" \\");
    let pretty: Vec<String> = ROWS
        .iter()
        .map(|row| row.replace(", \"", ",\r\n\t\"").replace("{\"", "{\n \""))
        .collect();
    for array in [
        format!("[{}]", ROWS.join(",")),
        format!("\u{FEFF}\n [\n{}\n]\n\n", ROWS.join(" ,\n\n ")),
        format!("[{}\r\n]", pretty.join("\n,")),
        format!("[\n\n{}]", pretty.join(",")),
    ] {
        let (problems, bad) = skip(&array);
        assert_eq!((&problems, bad.len()), (&expected, 0), "{array}");
        let (problems, bad) = skip(gzip(array.as_bytes()));
        assert_eq!((problems, bad.len()), (expected.clone(), 0));
    }
    // Several gzip members in sequence, as `cat a.gz b.gz` makes them.
    let (head, tail) = lines.split_at(100);
    let members = [gzip(head.as_bytes()), gzip(tail.as_bytes())].concat();
    assert_eq!(skip(members).0, expected);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("problems.jsonl.gz");
    std::fs::write(&path, gzip(lines.as_bytes())).unwrap();
    assert_eq!(read(&path, OnBadRow::Fail).unwrap().0, expected);
}

#[test]
fn bad_elements_of_an_array_are_named_by_line() {
    let [a, b, c] = ROWS;
    let cases: &[(String, &[&str])] = &[
        (
            format!("[{a},\n{{\"x\": 1,\n  y}},\n{c}]"),
            &["line 2: not JSON (line 3, column 3): key must be"],
        ),
        (
            format!("[\n  {a}, {{\"id\" 1}},{c}]"),
            &["line 2: not JSON (column "],
        ),
        (
            format!("[{a}\n 7,\n{c}]"),
            &["line 1: not JSON (line 2, column 2): trailing characters"],
        ),
        (
            format!("[{a},\n[{b}],\n\"x\", null]"),
            &[
                "line 2: not a JSON object",
                "line 3: not a JSON object",
                "line 3: not a JSON object",
            ],
        ),
        (
            format!("[{a},{b},\n]"),
            &["line 2: a comma with no row behind it"],
        ),
        (
            format!("[{a},\n,{b}]"),
            &["line 2: a comma with no row before it"],
        ),
        (
            format!("[{a},\n{b}\n"),
            &["line 3: the file ends within the array"],
        ),
        (
            format!("[{a},\n{b},\n{{\"question\": \"q"),
            &[
                "line 3: not JSON (column 15): EOF",
                "line 3: the file ends within the array",
            ],
        ),
        (
            format!("[{a}]\n\n{b}\n{c}"),
            &["line 3: something follows the array"],
        ),
        (
            format!("[{{\"question\": \"{}\"}},\n{c},{a}]", "q".repeat(40 << 20)),
            &["line 1: longer than 16 MiB"],
        ),
    ];
    for (array, reasons) in cases {
        let (problems, bad) = skip(array);
        assert_eq!(bad.len(), reasons.len(), "{bad:?}");
        for (bad, reason) in bad.iter().zip(*reasons) {
            assert!(bad.starts_with(reason), "{bad} is not {reason}");
        }
        assert!(!problems.is_empty());
        let first = format!("rows:{}", &reasons[0]["line ".len()..]);
        assert!(fail(array).contains(&first), "{first}");
    }
    assert!(fail("[ \n ]\n").contains("rows: no problems"));
    assert!(fail("[").contains("rows:1: the file ends within the array"));
}

#[test]
fn a_damaged_gzip_file_is_an_error_with_its_line() {
    let random = dart_math::Philox::new(1);
    let row = |id: u64| {
        format!(
            "{{\"id\": {id}, \"question\": \"{:x}\", \"answer\": 1}}\n",
            random.bits(id)
        )
    };
    let rows: String = (0..5000).map(row).collect();
    let whole = gzip(rows.as_bytes());
    for cut in [3, 20, whole.len() / 2, whole.len() - 1] {
        let error = read_from(&whole[..cut], "p.gz", OnBadRow::Skip).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        let message = error.to_string();
        assert!(
            message.contains("damaged or cut off") && message.contains("p.gz: "),
            "{message}"
        );
        assert!(cut < 1000 || message.contains("line "), "{message}");
    }
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 0x55;
    assert!(read_from(&changed[..], "p.gz", OnBadRow::Skip).is_err());
    // The limit applies to the decompressed length of a line, however small the file is.
    let bomb = gzip(format!("{{\"question\": \"{}\"}}\n{GOOD}", "q".repeat(64 << 20)).as_bytes());
    assert!(bomb.len() < 1 << 20);
    let (problems, bad) = skip(bomb);
    assert_eq!(
        (problems.len(), &*bad[0]),
        (1, "line 1: longer than 16 MiB")
    );
}

#[test]
fn other_files_are_refused_by_name() {
    let wide = |text: &str, unit: fn(u16) -> Vec<u8>| {
        text.encode_utf16().flat_map(unit).collect::<Vec<u8>>()
    };
    let little = wide(GOOD, |unit| unit.to_le_bytes().to_vec());
    let big = wide(GOOD, |unit| unit.to_be_bytes().to_vec());
    let wider = wide(GOOD, |unit| u32::from(unit).to_le_bytes().to_vec());
    let mut tar = vec![b'x'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, name) in [
        (b"PAR1\x15\x04".to_vec(), "Parquet"),
        (b"ARROW1\0\0".to_vec(), "Arrow"),
        (b"PK\x03\x04\x14".to_vec(), "ZIP"),
        (b"\x28\xb5\x2f\xfd\x04".to_vec(), "Zstandard"),
        (b"\xfd7zXZ\x00\0".to_vec(), "XZ"),
        (b"BZh91AY".to_vec(), "bzip2"),
        (b"SQLite format 3\x00".to_vec(), "SQLite"),
        (tar, "tar"),
        ([b"\xff\xfe", &little[..]].concat(), "UTF-16"),
        ([b"\xfe\xff", &big[..]].concat(), "UTF-16"),
        (little, "UTF-16"),
        (big, "UTF-16"),
        ([b"\xff\xfe\0\0", &wider[..]].concat(), "UTF-32"),
        (wider, "UTF-32"),
        (b"id,question,answer\n1,q,2\n".to_vec(), "CSV"),
        (b"\"id\"\t\"question\"\n".to_vec(), "CSV"),
        (
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "a pointer of Git LFS",
        ),
        (gzip(&gzip(GOOD.as_bytes())), "gzip within gzip"),
        (gzip(b"PAR1\x15\x04"), "within gzip: Parquet"),
    ] {
        // This is not a bad row to skip: the whole file has the wrong format.
        for on_bad_row in [OnBadRow::Fail, OnBadRow::Skip] {
            let error = read_from(&bytes[..], "rows", on_bad_row).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{error}");
            assert!(
                error.to_string().contains(&format!("rows: {name}"))
                    || name == "CSV"
                    || name == "tar",
                "{error}"
            );
            assert!(error.to_string().contains(name), "{error} lacks {name}");
        }
    }
}

#[test]
fn rows_in_a_field_and_rows_over_lines_are_reported() {
    let wrapped = format!("{{\"version\": 1, \"data\": [{}]}}", ROWS.join(","));
    let message = fail(&wrapped);
    assert!(
        message.contains("rows in its field `data`") && message.contains("jq -c '.data[]'"),
        "{message}"
    );
    let pretty = "{\n  \"question\": \"q\",\n  \"answer\": 1\n}\n";
    assert!(fail(pretty).contains(
        "rows:1: not JSON (column 1): EOF while parsing an object (a row is one line, or"
    ));
}

#[test]
fn numbers_are_read_as_they_are_written() {
    for number in [
        "12345678901234567890123",
        "-98765432109876543210",
        "18446744073709551616",
        "0.10",
        "0.1",
        "1e400",
        "-1E-400",
        "2.50e+3",
        "3.14159265358979323846264338327950288",
        "7",
        "-0",
        "9007199254740993",
        "100000000000000000000000000000000000000000000000001",
    ] {
        for field in ["reference", "answer"] {
            let row = format!(
                "{{\"id\": {number}, \"question\": \"q\", \"{field}\": {number}, \"level\": 2.0}}"
            );
            for file in [row.clone(), format!("[\n{row}\n]")] {
                let (problems, bad) = skip(&file);
                assert_eq!(bad, [""; 0]);
                assert_eq!(
                    (&*problems[0].reference, &*problems[0].id),
                    (number, number),
                    "{row}"
                );
                assert_eq!(problems[0].metadata["level"], 2.0);
            }
        }
    }
    // Metadata keeps all digits as well.
    let (problems, _) =
        skip(r#"{"question": "q", "answer": 1, "seed": 12345678901234567890123, "z": 0.5}"#);
    assert_eq!(problems[0].metadata["seed"], "12345678901234567890123");
    assert_eq!(
        problems[0].metadata.keys().collect::<Vec<_>>(),
        ["seed", "z"]
    );
    // Two ids that are equal as f64.
    let rows = "{\"id\":12345678901234567890123,\"pass_rate\":1}\n{\"id\":12345678901234567890124,\"pass_rate\":1}";
    assert_eq!(
        pass_rates::read_from(rows.as_bytes(), "table")
            .unwrap()
            .len(),
        2
    );
}
