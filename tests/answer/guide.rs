//! Checks the examples in `docs/checker.md`: the tables with columns `reference`, `answer` and `equal` (and `option`,
//! if one is set), or `response` and `read`. Also, every rule that decides a fixture is in the table of rules.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use dart_math::answer::{Checker, CheckerBuilder};

use crate::repository;

/// A table: its header and rows. Cells have no code marks.
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Splits a table's line into cells. `\|` is a bar inside a cell.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|');
    let line = line.strip_suffix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('|')) => {
                cells.last_mut().unwrap().push('|');
                chars.next();
            }
            ('|', _) => cells.push(String::new()),
            _ => cells.last_mut().unwrap().push(c),
        }
    }
    cells.iter().map(|cell| uncoded(cell.trim())).collect()
}

/// Removes the code marks around a cell.
fn uncoded(cell: &str) -> String {
    for marks in ["``", "`"] {
        let inner = cell
            .strip_prefix(marks)
            .and_then(|cell| cell.strip_suffix(marks));
        if let Some(inner) = inner.filter(|inner| !inner.contains(marks)) {
            // A space next to a double mark belongs to the mark.
            return if marks == "``" { inner.trim() } else { inner }.to_owned();
        }
    }
    cell.to_owned()
}

fn tables() -> Vec<Table> {
    let text = std::fs::read_to_string(repository("docs/checker.md")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for (number, line) in lines.iter().enumerate() {
        if !line.starts_with('|') {
            inside = false;
        } else if lines
            .get(number + 1)
            .is_some_and(|next| next.starts_with("|--"))
        {
            inside = true;
            tables.push(Table {
                header: cells(line),
                rows: Vec::new(),
            });
        } else if inside && !line.starts_with("|--") {
            tables.last_mut().unwrap().rows.push(cells(line));
        }
    }
    tables
}

fn with_option(option: &str) -> Checker {
    let builder: CheckerBuilder = Checker::builder();
    match option {
        "" => builder.build(),
        "lenient" => builder.lenient(true).build(),
        "constant_of_integration" => builder.constant_of_integration(true).build(),
        "reference_digits" => builder.reference_digits().build(),
        _ => {
            let tolerance = option
                .strip_prefix("relative_tolerance(")
                .and_then(|rest| rest.strip_suffix(')'))
                .unwrap_or_else(|| panic!("unknown option {option}"));
            builder
                .relative_tolerance(tolerance.parse().unwrap())
                .build()
        }
    }
}

#[test]
fn no_row_is_there_twice() {
    let mut seen = BTreeSet::new();
    for table in tables() {
        for row in table.rows {
            let whole = (table.header.clone(), row);
            assert!(!seen.contains(&whole), "twice in the guide: {:?}", whole.1);
            seen.insert(whole);
        }
    }
}

#[test]
fn every_pair_gets_the_verdict_that_is_written() {
    let mut wrong = String::new();
    let mut count = 0;
    for table in tables() {
        let column = |name: &str| table.header.iter().position(|cell| cell == name);
        let (Some(reference), Some(answer), Some(equal)) =
            (column("reference"), column("answer"), column("equal"))
        else {
            continue;
        };
        for row in &table.rows {
            let option = column("option").map_or("", |at| &row[at]);
            let expected = match row[equal].as_str() {
                "yes" => true,
                "no" => false,
                other => panic!("neither yes nor no: {other} in {row:?}"),
            };
            let checker = with_option(option);
            let mut orders = vec![(&row[reference], &row[answer])];
            // Only options distinguish the reference from the answer. Otherwise, the verdict is symmetric.
            if option.is_empty() {
                orders.push((&row[answer], &row[reference]));
            }
            for (reference, answer) in orders {
                count += 1;
                let verdict = checker.equal(reference, answer);
                if verdict.equal != expected {
                    writeln!(wrong, "{reference} vs {answer}: {verdict}").unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count > 150, "only {count} examples");
}

#[test]
fn every_response_is_read_as_written() {
    let mut wrong = String::new();
    let mut count = 0;
    for table in tables() {
        let column = |name: &str| table.header.iter().position(|cell| cell == name);
        let (Some(response), Some(read)) = (column("response"), column("read")) else {
            continue;
        };
        for row in &table.rows {
            count += 1;
            let checker = with_option(column("option").map_or("", |at| &row[at]));
            let verdict = checker.grade("0.123", &row[response].replace('⏎', "\n"));
            let found = verdict.extracted.as_deref().unwrap_or("nothing");
            if found != row[read] {
                writeln!(wrong, "{}: read {found}", row[response]).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count > 20, "only {count} examples");
}

/// Every rule that decides a fixture is listed in the guide.
#[test]
fn every_rule_is_listed() {
    let listed: BTreeSet<String> = tables()
        .into_iter()
        .filter(|table| table.header.first().is_some_and(|cell| cell == "rule"))
        .flat_map(|table| table.rows.into_iter().map(|row| row[0].clone()))
        .collect();
    let checker = Checker::default();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for entry in std::fs::read_dir(repository("tests/fixtures/answer")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let halves = line.split_once(" ≡ ").or_else(|| line.split_once(" ≢ "));
            if let Some((left, right)) = halves.filter(|_| !line.starts_with('#')) {
                seen.insert(checker.equal(left, right).rule.into_owned());
            }
        }
    }
    let unlisted: Vec<_> = seen.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in docs/checker.md: {unlisted:?}");
}
