//! The output of a run: rows, summary, progress, documented keys.

use std::fs;

use dart_math::data::{read_pairs, read_problems_table, read_trials};
use dart_math::report::CARD_FIGURES;
use serde_json::Value;

use super::{SHORT, rows};
use crate::harness::{Test, repository, tests};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![
    rows_go_to_a_standard_output_that_is_no_terminal,
    the_readme_shows_what_is_printed,
    the_numbers_of_a_summary_add_up,
    every_key_of_the_output_is_documented,
    progress_is_reported_as_json,
    duplicates_are_reported_and_left_out,
    files_have_the_form_that_is_asked_for,
];

fn rows_go_to_a_standard_output_that_is_no_terminal() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let rows = concat!(
        "{\"id\": \"a\", \"question\": \"A box holds 5 stones. Ruth puts in 5 more. ",
        "How many stones are in the box now?\", \"answer\": \"so\\n#### 10\"}\n",
        "{\"question\": \"no answer\"}\n",
    );
    fs::write(&problems, rows).unwrap();
    let problems = problems.to_str().unwrap();

    let args = [
        "--problems",
        problems,
        "--strategy",
        "vanilla",
        "--trials",
        "3",
    ];
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.contains("problems.jsonl:2: no `reference`"),
        "{}",
        ran.err
    );
    assert!(ran.out.is_empty());

    let ran = synthesize.run(&[&args[..], &["--skip-bad"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("left out 1 bad row, the first at line 2"),
        "{}",
        ran.err
    );
    assert!(!ran.out.is_empty());
    for line in ran.out.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(row["query"].as_str().unwrap().starts_with("A box"));
        assert!(row["response"].as_str().unwrap().contains("10"));
    }
}

fn files_have_the_form_that_is_asked_for() {
    let synthesize = Tool::new("synthesize");
    let ran = synthesize.run(&[&SHORT[..], &["--format", "chat"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.starts_with("{\"messages\":[{\"role\":\"user\","));

    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("sums");
    let to = ["--out", out.to_str().unwrap(), "--format", "alpaca"];
    let card = ["--card", "--license", "cc-by-4.0"];
    let args = [&SHORT[..], &to, &card].concat();
    let ran = synthesize.run(&args);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let pairs = read_pairs(out.join("dataset.jsonl")).unwrap();
    assert!(pairs.map(Result::unwrap).count() > 0);
    let problems = read_problems_table(out.join("problems.jsonl")).unwrap();
    for problem in problems.map(Result::unwrap) {
        let share = problem.majority_share.unwrap();
        assert!(share > 0.0 && share <= 1.0, "{problem:?}");
        assert!(problem.pass_at_1.is_some(), "{problem:?}");
    }
    let text = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(text.starts_with("---\nlicense: \"cc-by-4.0\"\n"), "{text}");
    for part in ["\n# sums\n", "`instruction` (the question)", "| `model` | "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let figures = CARD_FIGURES.map(|name| format!("figures/{name}.svg"));
    for figure in &figures {
        assert!(text.contains(&format!("]({figure})")), "{text}");
        let svg = fs::read_to_string(out.join(figure)).unwrap();
        assert!(svg.contains("<svg ") && svg.contains("</svg>"), "{svg}");
    }
    let ran = synthesize.run(&args);
    assert!(ran.err.contains("nothing to do"), "{}", ran.err);
    fs::remove_file(out.join(&figures[0])).unwrap();
    let ran = synthesize.run(&args);
    assert!(ran.err.contains("written anew"), "{}", ran.err);
    assert!(out.join(&figures[0]).exists());
    // A run with `--fresh` removes the files of the previous run, and nothing else.
    fs::write(out.join("figures/own.svg"), "<svg/>").unwrap();
    let ran = synthesize.run(&[&SHORT[..], &to, &["--fresh"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let left = fs::read_dir(out.join("figures")).unwrap();
    let left: Vec<_> = left.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["own.svg"]);

    let ran = synthesize.run(&[&args[..], &["--parquet"]].concat());
    if cfg!(feature = "parquet") {
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let lines = read_trials(out.join("trials.jsonl")).unwrap();
        let parquet = read_trials(out.join("trials.parquet")).unwrap();
        assert!(lines.map(Result::unwrap).eq(parquet.map(Result::unwrap)));
    } else {
        assert_eq!(ran.code, Some(2));
        assert!(ran.err.contains("without the feature `parquet`"));
    }
    for bad in [
        &["--card"][..],
        &["--parquet"],
        &["--format", "csv"],
        &["--out", "x", "--license", "mit"],
        &["--out", "x", "--card", "--license", "a b"],
    ] {
        assert_eq!(synthesize.run(bad).code, Some(2), "{bad:?}");
    }
}

fn duplicates_are_reported_and_left_out() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = directory.path().join(name);
        let args = [
            "--limit",
            "3",
            "--strategy",
            "uniform",
            "--k",
            "6",
            "--max-trials",
            "20",
        ];
        let ran = synthesize.run(&[&args[..], &["--out", out.to_str().unwrap()], more].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let manifest = fs::read(out.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let rows = rows(&out.join("dataset.jsonl"));
        let distinct: std::collections::HashSet<String> =
            rows.iter().map(Value::to_string).collect();
        (
            ran,
            rows.len(),
            distinct.len(),
            manifest["totals"]["duplicates"].as_u64().unwrap(),
        )
    };
    let (ran, kept, distinct, duplicates) = run("all", &[]);
    assert!(distinct < kept, "the model never repeats itself");
    assert_eq!(duplicates, (kept - distinct) as u64);
    let said = format!("{duplicates} of the responses kept are exactly another one");
    assert!(ran.err.contains(&said), "{}", ran.err);
    let (ran, kept, distinct, duplicates) = run("distinct", &["--dedup"]);
    assert_eq!(kept, distinct);
    let said = format!("{duplicates} left out as duplicates");
    assert!(ran.err.contains(&said), "{}", ran.err);
    let left_out = rows(&directory.path().join("distinct/trials.jsonl"));
    let left_out = left_out
        .iter()
        .filter(|trial| trial["duplicate_of"].is_u64());
    assert_eq!(left_out.count() as u64, duplicates);
}

/// Normalizes a line: every number becomes `N`, and spaces and rules have any length.
fn form(line: &str) -> String {
    let mut form = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { 'N' } else { c };
        if !(matches!(c, 'N' | ' ' | '-') && form.ends_with(c)) {
            form.push(c);
        }
    }
    // Decimal numbers.
    form.replace("N.N", "N")
}

/// The README's block of the first run has exactly the lines that such a run prints.
fn the_readme_shows_what_is_printed() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let (_, after) = readme.split_once("```text\nmodel abacus").unwrap();
    let (block, _) = after.split_once("\n```").unwrap();
    let shown: Vec<String> = format!("model abacus{block}").lines().map(form).collect();
    // The same levels with fewer problems.
    let ran = Tool::new("synthesize").run(&["--limit", "48"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let progress = |line: &&str| line.contains(" problems done, ") && line.contains(" gone, ");
    let said: Vec<String> = ran
        .err
        .lines()
        .filter(|line| !progress(line))
        .map(form)
        .collect();
    // The schedule decides how many trials come too late or are cancelled.
    let late = |line: &String| match line.split_once("; N drawn") {
        Some((begin, _)) => format!("{begin}, in N s"),
        None => line.replace(" and N cancelled", ""),
    };
    let strip = |lines: &[String]| lines.iter().map(late).collect::<Vec<_>>();
    assert_eq!(strip(&said), strip(&shown));
}

/// Returns the leading numbers of a line's parts.
fn numbers(parts: &str) -> Vec<u64> {
    let parts = parts.split([',', ';', ':', '(', ')']).map(str::trim);
    let number = |part: &str| part.split(' ').next().unwrap().parse().ok();
    parts.filter_map(number).collect()
}

fn the_numbers_of_a_summary_add_up() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &[&str]| {
        let out = directory.path().join(name);
        let ran = synthesize.run(&[more, &["--out", out.to_str().unwrap()]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let line = |start: &str| {
            let found = ran.err.lines().find(|line| {
                line.split_once(' ')
                    .is_some_and(|(_, rest)| rest.starts_with(start))
            });
            found
                .unwrap_or_else(|| panic!("no {start}: {}", ran.err))
                .to_owned()
        };
        let problems = numbers(&line("problems: "));
        assert_eq!(
            problems[0],
            problems[1..].iter().sum::<u64>(),
            "{}",
            ran.err
        );
        let trials = line("trials: ");
        let (trials, _) = trials.split_once("; ").unwrap_or((&*trials, ""));
        let trials = numbers(
            trials
                .rsplit_once(", in ")
                .map_or(trials, |(trials, _)| trials),
        );
        assert_eq!(trials[0], trials[1] + trials[2], "{}", ran.err);
        assert_eq!(trials[2], trials[3..].iter().sum::<u64>(), "{}", ran.err);
        let dataset = rows(&out.join("dataset.jsonl")).len() as u64;
        assert_eq!(trials[3], dataset, "{}", ran.err);
        assert_eq!(trials[0], rows(&out.join("trials.jsonl")).len() as u64);
        ran.err
    };
    let said = run("first", &["--limit", "16", "--max-trials", "6"]);
    assert!(
        said.contains(" ended with less, at the limit of 6 trials"),
        "{said}"
    );
    // Problems that the lower limit ended are sampled further.
    let said = run("first", &["--limit", "24", "--max-trials", "8"]);
    assert!(said.contains(" resumed + "), "{said}");
    let said = run("dedup", &["--limit", "16", "--dedup"]);
    assert!(said.contains(" left out as duplicates"), "{said}");
}

/// Collects all keys of an object, including nested ones.
fn keys(value: &Value, into: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                into.insert(key.clone());
                // Metadata of problems may have any keys.
                if key != "metadata" {
                    keys(value, into);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

fn every_key_of_the_output_is_documented() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let problems = directory.path().join("problems.jsonl");
    let long = "Ruth puts in 5 more. ".repeat(80);
    let row = |question: &str| {
        let row = serde_json::json!({"question": question, "answer": 10, "level": 1});
        format!("{row}\n")
    };
    let good =
        row("A box holds 5 stones. Ruth puts in 5 more. How many stones are in the box now?");
    fs::write(&problems, format!("{good}{}x\n", row(&long))).unwrap();
    let table = directory.path().join("rates.jsonl");
    let guide = fs::read_to_string(repository("docs/output.md")).unwrap();
    let section = |name: &str| -> &str {
        let (_, after) = guide.split_once(&format!("\n## `{name}`")).unwrap();
        after
            .split_once("\n## ")
            .map_or(after, |(section, _)| section)
    };
    let own = ["--problems", problems.to_str().unwrap(), "--skip-bad"];
    let vanilla = ["--strategy", "vanilla", "--trials", "9"];
    let tests = directory.path().join("test.jsonl");
    fs::write(&tests, &good).unwrap();
    let clean = ["--ngram", "20", "--decontaminate", tests.to_str().unwrap()];
    let rated = ["--limit", "8", "--pass-rates", table.to_str().unwrap()];
    for (number, args) in [
        [&own[..], &vanilla].concat(),
        vec!["--limit", "8", "--grader", "steps"],
        rated.to_vec(),
        [&["--limit", "8", "--with-solutions"], &clean[..]].concat(),
    ]
    .into_iter()
    .enumerate()
    {
        let out = directory.path().join(number.to_string());
        let ran = synthesize.run(&[&args[..], &["--out", out.to_str().unwrap()]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        for file in fs::read_dir(&out).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "journal" {
                assert!(guide.contains("\n## `journal`"));
                continue;
            }
            let mut found = std::collections::BTreeSet::new();
            match name.ends_with(".jsonl") {
                true => rows(&path).iter().for_each(|row| keys(row, &mut found)),
                false => keys(
                    &serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(),
                    &mut found,
                ),
            }
            assert!(found.len() > 1, "{name}");
            let section = section(name);
            let lacking: Vec<&String> = found
                .iter()
                .filter(|key| !section.contains(&format!("`{key}`")))
                .collect();
            assert!(lacking.is_empty(), "docs/output.md, {name}: {lacking:?}");
        }
        if number == 1 {
            fs::copy(out.join("problems.jsonl"), &table).unwrap();
        }
    }
}

fn progress_is_reported_as_json() {
    let ran = Tool::new("synthesize").run(&[&SHORT[..], &["--progress", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let lines = ran.err.lines().filter(|line| line.starts_with('{'));
    let reports: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(reports.len() >= 2, "{}", ran.err);
    let count = |line: &Value, field: &str| line[field].as_u64().unwrap();
    assert_eq!(count(&reports[0], "done"), 0);
    let last = reports.last().unwrap();
    assert_eq!(count(last, "done"), count(last, "problems"));
    assert_eq!(last["remaining"]["trials"], 0);
    for pair in reports.windows(2) {
        assert!(count(&pair[0], "trials") <= count(&pair[1], "trials"));
        let seconds = |line: &Value| line["elapsed"].as_f64().unwrap();
        assert!(seconds(&pair[0]) <= seconds(&pair[1]));
    }
}
