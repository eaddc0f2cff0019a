//! The HTML report of a finished directory: it is well formed, has the numbers of the files, and escapes their texts.

use std::fs;
use std::path::Path;

use crate::scripted::{Scripted, grader, problems};
use dart_math::dars::{Keep, Limits, Outcome, Prop2Diff, Run, Strategy, Uniform, Vanilla};
use dart_math::data::DataSet;
use dart_math::report::html::Report;
use dart_math::{Completion, Problem};
use serde_json::{Value, json};

/// A run with three levels and at most 40 trials per problem.
fn run(strategy: &dyn Strategy) -> Outcome {
    let mut problems = problems(&[0.95, 0.9, 0.6, 0.5, 0.1, 0.0]);
    for (index, problem) in problems.iter_mut().enumerate() {
        let level = format!("Level {}", 1 + index / 2);
        problem.metadata.insert("level".into(), level.into());
    }
    let limits = Limits {
        trials_per_problem: Some(40),
        ..Limits::default()
    };
    Run::builder(problems)
        .strategy(strategy)
        .limits(limits)
        .keep(Keep::All)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap()
}

fn write(outcome: &Outcome, directory: &Path) {
    DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    }
    .write(directory, outcome.trials())
    .unwrap();
}

/// Returns a run's outcome and a directory with its files.
pub(crate) fn finished(strategy: &dyn Strategy) -> (Outcome, tempfile::TempDir) {
    let (outcome, directory) = (run(strategy), tempfile::tempdir().unwrap());
    write(&outcome, directory.path());
    (outcome, directory)
}

/// An element of a page: its name and its text without markup.
struct Element {
    name: String,
    attributes: String,
    text: String,
}

/// Parses a text into elements and checks that it is well formed: every element is closed in order, attributes are
/// quoted, no bare `&`, no control characters.
fn parse(text: &str) -> Vec<Element> {
    let text = text.trim_start_matches("<!DOCTYPE html>\n");
    let text = text.trim_start_matches("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (mut open, mut done): (Vec<Element>, Vec<Element>) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        words(&rest[..start], &mut open);
        let end = start + rest[start..].find('>').expect("a tag without an end");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().expect("an end without a beginning");
            assert_eq!(element.name, name);
            if let Some(parent) = open.last_mut() {
                parent.text.push_str(&element.text);
            }
            done.push(element);
            continue;
        }
        let alone = tag.strip_suffix('/');
        let tag = alone.unwrap_or(tag);
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{tag}");
        let quotes = attributes.matches('"').count();
        assert!(
            quotes % 2 == 0 && quotes == 2 * attributes.matches("=\"").count(),
            "{tag}"
        );
        let element = Element {
            name: name.into(),
            attributes: attributes.into(),
            text: String::new(),
        };
        match alone {
            Some(_) => done.push(element),
            None => open.push(element),
        }
    }
    assert!(rest.trim().is_empty() && open.is_empty(), "{rest}");
    done
}

/// Adds the text before a tag to the open elements, with its entities resolved.
fn words(text: &str, open: &mut [Element]) {
    let hidden = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!text.contains(hidden) && !text.contains('>'), "{text:?}");
    let Some(element) = open.last_mut() else {
        assert!(text.trim().is_empty(), "{text}");
        return;
    };
    for (index, part) in text.split('&').enumerate() {
        let part = match index {
            0 => part.to_owned(),
            _ => {
                let (name, rest) = part.split_once(';').expect("a bare &");
                let c = match name {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "#39" => '\'',
                    other => panic!("&{other};"),
                };
                format!("{c}{rest}")
            }
        };
        element.text.push_str(&part);
    }
}

/// Returns the rows of the table whose header begins with these cells. Commas in numbers are removed.
pub(crate) fn table(page: &str, head: &[&str]) -> Vec<Vec<String>> {
    for table in page.split("<table>").skip(1) {
        let table = &table[..table.find("</table>").unwrap()];
        let cells = |row: &str| -> Vec<String> {
            let row = format!("<tr>{}", &row[..row.find("</tr>").unwrap() + 5]);
            let cells = parse(&row).into_iter();
            let cells = cells.filter(|cell| cell.name == "th" || cell.name == "td");
            cells.map(|cell| cell.text.replace(',', "")).collect()
        };
        let rows: Vec<Vec<String>> = table.split("<tr>").skip(1).map(cells).collect();
        if head.iter().zip(&rows[0]).all(|(want, got)| want == got) && rows[0].len() >= head.len() {
            return rows[1..].to_vec();
        }
    }
    panic!("no table {head:?}");
}

pub(crate) fn number(cell: &str) -> f64 {
    cell.trim_end_matches(" %").parse().unwrap()
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_else() {
    let strategies: [&dyn Strategy; 3] = [
        &Prop2Diff::with_pilot(6, 5),
        &Uniform { k: 4 },
        &Vanilla { trials: 12 },
    ];
    for strategy in strategies {
        let (_, directory) = finished(strategy);
        let report = Report::read(directory.path()).unwrap();
        let page = report.html();
        let elements = parse(page);
        for name in ["script", "link", "iframe", "img", "object", "a"] {
            assert!(
                elements.iter().all(|element| element.name != name),
                "{name}"
            );
        }
        for out in ["http", "url(", "@import", "src=", " on"] {
            let uses = |element: &Element| {
                element
                    .attributes
                    .replace("http-equiv", "")
                    .replace("http://www.w3.org/2000/svg", "")
                    .contains(out)
            };
            assert!(!elements.iter().any(uses), "{out}");
        }
        let svgs: Vec<&Element> = elements
            .iter()
            .filter(|element| element.name == "svg")
            .collect();
        assert_eq!(svgs.len(), 9);
        assert_eq!(report.figures().len(), 9);
        for figure in report.figures() {
            let elements = parse(&figure.svg);
            for name in ["title", "desc", "style"] {
                assert!(elements.iter().any(|element| element.name == name));
            }
            assert!(
                !figure.svg.contains("NaN") && !figure.svg.contains("inf"),
                "{}",
                figure.name
            );
        }
        assert!(!page.contains("NaN"));
        assert_eq!(page, Report::read(directory.path()).unwrap().html());
    }
}

#[test]
fn tables_have_the_numbers_of_the_records() {
    let (outcome, directory) = finished(&Prop2Diff::with_pilot(6, 5));
    let report = Report::read(directory.path()).unwrap();
    let page = report.html();
    let levels = table(
        page,
        &["level", "problems", "trials", "correct", "mean pass rate"],
    );
    assert_eq!(levels.len(), 4);
    let of = |level: usize| {
        let records = outcome.problems.iter().enumerate();
        records
            .filter(move |(index, _)| level == 3 || index / 2 == level)
            .map(|(_, record)| record)
    };
    for (level, row) in levels.iter().enumerate() {
        let records: Vec<_> = of(level).collect();
        let count = |of: fn(&dart_math::ProblemRecord) -> u32| -> f64 {
            records.iter().map(|record| f64::from(of(record))).sum()
        };
        assert_eq!(number(&row[1]), records.len() as f64);
        assert_eq!(number(&row[2]), count(|record| record.tally.trials));
        assert_eq!(number(&row[3]), count(|record| record.tally.correct));
        let rates: f64 = records
            .iter()
            .filter_map(|record| record.tally.pass_rate())
            .sum();
        assert!((number(&row[4]) - rates / records.len() as f64).abs() < 6e-4);
        assert_eq!(number(&row[5]), count(|record| record.kept));
        assert_eq!(number(&row[7]), count(|record| u32::from(record.kept > 0)));
    }
    let rows = table(page, &["level", "problems", "rows", "rows per problem"]);
    let kept: u32 = outcome.problems.iter().map(|record| record.kept).sum();
    assert_eq!(number(&rows[3][2]), f64::from(kept));
    let coverage = table(page, &["level", "problems", "with a row"]);
    assert!(number(&coverage[0][4]) < number(&coverage[0][3]));
    let lengths = table(page, &["verdict", "responses", "tokens"]);
    let trials: Vec<_> = outcome.trials().map(|trial| trial.unwrap()).collect();
    for row in &lengths {
        let fits = |trial: &&dart_math::Trial| match &*row[0] {
            "correct kept" => trial.accepted,
            "correct not kept" => trial.verdict.equal && !trial.accepted,
            "wrong" => !trial.verdict.equal,
            other => panic!("{other}"),
        };
        let of: Vec<_> = trials.iter().filter(fits).collect();
        assert_eq!(number(&row[1]), of.len() as f64);
        let mut tokens: Vec<u32> = of.iter().map(|trial| trial.tokens).collect();
        tokens.sort_unstable();
        assert_eq!(number(&row[2]), f64::from(tokens.iter().sum::<u32>()));
        assert_eq!(number(&row[4]), f64::from(tokens[(tokens.len() - 1) / 2]));
        assert_eq!(number(&row[6]), f64::from(*tokens.last().unwrap()));
    }
    let tokens = table(page, &["of responses", "tokens"]);
    assert_eq!(
        number(&tokens.last().unwrap()[1]),
        outcome.totals.tokens_sampled as f64
    );
    let limits = table(
        page,
        &[
            "limit of trials a problem",
            "trials in all",
            "solved",
            "share",
            "target met",
        ],
    );
    let last = limits.last().unwrap();
    assert_eq!(number(&last[1]), trials.len() as f64);
    assert_eq!(number(&last[4]), outcome.totals.met as f64);
    let rules = table(page, &["rule", "equal", "not equal"]);
    assert_eq!(rules[0][0], "scripted");
    assert_eq!(number(&rules[0][1]), outcome.totals.correct as f64);
    let histogram = table(page, &["pass rate", "problems", "of them never solved"]);
    assert_eq!(
        histogram.iter().map(|row| number(&row[1])).sum::<f64>(),
        6.0
    );
}

#[test]
fn strategies_are_compared_on_the_same_trials() {
    // For up to 12 trials per problem, all trials exist. Beyond that, up to the limit of 40, pass rates are used.
    let (outcome, directory) = finished(&Vanilla { trials: 12 });
    let report = Report::read(directory.path()).unwrap();
    let rows = table(
        report.html(),
        &["level", "problems", "vanilla trials 12 (this run)"],
    );
    assert_eq!(rows.len(), 4);
    for (level, row) in rows[..3].iter().enumerate() {
        let kept: u32 = outcome.problems[2 * level..][..2]
            .iter()
            .map(|record| record.kept)
            .sum();
        assert!((number(&row[2]) - f64::from(kept) / 2.0).abs() < 6e-3);
    }
    let (uniform, expected) = (number(&rows[3][3]), number(&rows[3][4]));
    assert!((uniform - number(&rows[3][2])).abs() < 1.0 && expected > 0.0 && expected < uniform);
    // The part found in the trials is the first k correct responses of each problem.
    let page = report.html();
    let k = page.split("uniform, k ").nth(1).unwrap();
    let k: u32 = k
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let records = outcome.problems.iter();
    let found: u32 = records.map(|record| record.tally.correct.min(k)).sum();
    assert!((uniform - expected - f64::from(found) / 6.0).abs() < 2e-2);
    // Prop2Diff gives hard problems more responses, uniform gives them fewer.
    assert!(number(&rows[0][2]) > number(&rows[1][2]));
    assert!(number(&rows[0][5]) < number(&rows[1][5]));
}

/// Grades as usual, but with a hostile reason.
fn hostile(problem: &Problem, completion: &Completion) -> dart_math::Verdict {
    let mut verdict = grader(problem, completion);
    verdict.reason = "\u{1B}[31m\"</dd>'&amp;".into();
    verdict
}

#[test]
fn hostile_texts_are_shown_and_do_nothing() {
    let text =
        "</script><script>alert(1)</script><!-- ]]> & &lt; \"'\u{0}\u{7}\u{85}\u{202E}\u{2028}";
    let mut problem = Problem::new(text, "0").with_id("p0");
    problem.metadata.insert("rate".into(), json!(0.5));
    problem.metadata.insert("level".into(), text.into());
    let outcome = Run::builder(vec![problem])
        .strategy(Uniform { k: 3 })
        .keep(Keep::All)
        .build()
        .unwrap()
        .run(&Scripted::default(), &hostile)
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    write(&outcome, directory.path());
    let report = Report::read(directory.path()).unwrap();
    let page = report.html();
    let shown = "</script><script>alert(1)</script><!-- ]]> & &lt; \"'␀␇[U+0085][U+202E][U+2028]";
    let elements = parse(page);
    assert!(
        elements
            .iter()
            .any(|element| element.name == "p" && element.text == shown)
    );
    assert!(
        elements
            .iter()
            .any(|element| element.text == "scripted: ␛[31m\"</dd>'&amp;")
    );
    assert!(elements.iter().all(|element| element.name != "script"));
    for figure in report.figures() {
        parse(&figure.svg);
    }
}

/// Changes the rows of a file in a directory.
fn change(directory: &Path, name: &str, change: impl Fn(usize, &mut Value)) {
    let path = directory.join(name);
    let text = fs::read_to_string(&path).unwrap();
    let rows = text.lines().enumerate().map(|(index, line)| {
        let mut row = serde_json::from_str(line).unwrap();
        change(index, &mut row);
        format!("{row}\n")
    });
    let text: String = rows.collect();
    fs::write(path, text).unwrap();
}

#[test]
fn what_is_missing_is_left_out_and_said() {
    let (outcome, directory) = finished(&Prop2Diff::with_pilot(6, 5));
    let whole = Report::read(directory.path()).unwrap();
    change(directory.path(), "trials.jsonl", |_, row| {
        let fields = row.as_object_mut().unwrap();
        fields.retain(|name, _| name == "problem" || name == "equal");
    });
    change(directory.path(), "problems.jsonl", |_, row| {
        row.as_object_mut()
            .unwrap()
            .retain(|name, _| ["id", "trials", "correct", "kept"].contains(&&**name));
    });
    fs::write(directory.path().join("manifest.json"), "{}").unwrap();
    let report = Report::read(directory.path()).unwrap();
    parse(report.html());
    assert_eq!((whole.figures().len(), report.figures().len()), (9, 6));
    for said in [
        "so their lengths are not shown",
        "does not say how many slots were in use when",
        "what became of them is not shown",
        "does not have the response",
        "not named",
    ] {
        assert!(report.html().contains(said), "{said}");
    }
    let all = table(
        report.html(),
        &["pass rate", "problems", "trials", "correct"],
    );
    let all = all.last().unwrap();
    assert_eq!(number(&all[3]), outcome.totals.correct as f64);
    // Problems without levels are grouped by pass rate.
    assert_eq!(all[0], "all");
}

#[test]
fn bad_files_are_refused_by_name() {
    let refused = |damage: &dyn Fn(&Path), words: &[&str]| {
        let (_, directory) = finished(&Uniform { k: 2 });
        damage(directory.path());
        let error = Report::read(directory.path()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error}: {word}");
        }
    };
    for name in ["manifest.json", "problems.jsonl", "trials.jsonl"] {
        refused(
            &|directory| fs::remove_file(directory.join(name)).unwrap(),
            &[name],
        );
        refused(
            &|directory| fs::write(directory.join(name), "{\"a\": ").unwrap(),
            &[name, ":1: "],
        );
    }
    refused(
        &|directory| fs::write(directory.join("manifest.json"), "[]").unwrap(),
        &["not a JSON object"],
    );
    refused(
        &|directory| fs::write(directory.join("problems.jsonl"), "").unwrap(),
        &["problems.jsonl: no problems"],
    );
    let set = |file: &'static str, at: usize, field: &'static str, value: Value| {
        move |directory: &Path| {
            change(directory, file, |index, row| {
                if index == at {
                    row[field] = value.clone();
                }
            });
        }
    };
    refused(
        &set("trials.jsonl", 1, "problem", json!("q")),
        &["trials.jsonl:2", "\"q\"", "not in problems.jsonl"],
    );
    refused(
        &set("trials.jsonl", 1, "equal", json!("yes")),
        &["trials.jsonl:2", "`equal`"],
    );
    refused(
        &set("trials.jsonl", 1, "trial", json!(7)),
        &["trials.jsonl:2", "trial 7"],
    );
    refused(
        &set("trials.jsonl", 1, "tokens", json!(-1)),
        &["trials.jsonl:2", "`tokens`"],
    );
    refused(
        &set("problems.jsonl", 2, "trials", json!(99)),
        &["trials.jsonl", "\"p2\"", "problems.jsonl says 99"],
    );
    refused(
        &set("problems.jsonl", 2, "correct", json!(1000)),
        &["problems.jsonl:3", "1000 correct"],
    );
    refused(
        &set("problems.jsonl", 2, "pass_rate", json!(2)),
        &["problems.jsonl:3", "`pass_rate`"],
    );
    refused(
        &set("problems.jsonl", 2, "id", json!("p0")),
        &["problems.jsonl:3", "line 1's already"],
    );
}

#[test]
fn files_are_written_whole() {
    let (_, directory) = finished(&Uniform { k: 2 });
    let report = Report::read(directory.path()).unwrap();
    let path = report.write(directory.path()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), report.html());
    assert_eq!(path.file_name().unwrap(), "report.html");
    let figures = report.write_figures(directory.path()).unwrap();
    assert_eq!(figures.len(), report.figures().len());
    for (path, figure) in figures.iter().zip(report.figures()) {
        assert_eq!(fs::read_to_string(path).unwrap(), figure.svg);
    }
    let drafts = fs::read_dir(directory.path()).unwrap();
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(".report");
    assert!(
        !drafts
            .into_iter()
            .any(|entry| hidden(&entry.unwrap().file_name()))
    );
    let error = report.write(directory.path().join("nowhere")).unwrap_err();
    assert!(error.to_string().contains("report.html"), "{error}");
}
