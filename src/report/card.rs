//! The data card: the README.md of a data set directory. Its YAML header describes the files to the Hugging
//! Face Hub. Its text explains how the data were made, from what, and how to load them.

use std::fmt::{self, Write};

use serde_json::Value;

use super::card_figures::{CARD_FIGURES, words};
use super::{LevelTable, counted};
use crate::{ProblemRecord, Settings};

/// The tags that identify a card of this crate.
const TAGS: &str = "tags:\n- mathematics\n- synthetic\n- rejection-sampling\n- dart-math";

/// A data set's card in Markdown with a YAML header. Its [`Display`](fmt::Display) is the file's text.
///
/// ```
/// use dart_math::{Settings, report::Card};
///
/// let mut manifest = Settings::new();
/// manifest.insert("seed".into(), 7.into());
/// let card = Card::new(&[], &manifest).name("Sums").license("cc-by-4.0").to_string();
/// assert!(card.starts_with("---\nlicense: \"cc-by-4.0\"\n"));
/// assert!(card.contains("# Sums\n") && card.contains("| `seed` | 7 |"));
/// ```
#[must_use]
#[derive(Debug, Clone)]
pub struct Card<'a> {
    problems: &'a [ProblemRecord],
    manifest: &'a Settings,
    name: &'a str,
    license: Option<&'a str>,
    parquet: bool,
    figures: bool,
    dataset_info: &'a str,
}

impl<'a> Card<'a> {
    /// Returns whether a README.md is a data card of this crate.
    pub fn is_card(text: &str) -> bool {
        text.starts_with("---\n") && text.contains(TAGS)
    }

    /// Creates the card of a run from its problems and manifest.
    pub fn new(problems: &'a [ProblemRecord], manifest: &'a Settings) -> Self {
        Card {
            problems,
            manifest,
            name: "Mathematical solutions by rejection sampling",
            license: None,
            parquet: false,
            figures: false,
            dataset_info: "",
        }
    }

    /// Sets the data set's name.
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// Sets the identifier of the licence, such as `mit` or `cc-by-4.0`.
    pub fn license(mut self, license: &'a str) -> Self {
        self.license = Some(license);
        self
    }

    /// Sets whether the tables exist in Parquet. The card then lists those files for the Hub.
    pub fn parquet(mut self, parquet: bool) -> Self {
        self.parquet = parquet;
        self
    }

    /// Sets whether the card shows figures. They are made by [`card_figures`](super::card_figures) and must
    /// be written along with the card, by [`WriteOptions::figures`](crate::data::WriteOptions::figures).
    pub fn figures(mut self, figures: bool) -> Self {
        self.figures = figures;
        self
    }

    /// Sets the tables' columns, from [`data::dataset_info`](crate::data::dataset_info), for the header of a
    /// card of JSON Lines. (Parquet files describe their own columns.)
    pub fn dataset_info(mut self, dataset_info: &'a str) -> Self {
        self.dataset_info = dataset_info;
        self
    }

    fn end(&self) -> &'static str {
        match self.parquet {
            true => "parquet",
            false => "jsonl",
        }
    }

    fn head(&self, rows: u64) -> String {
        let mut head = String::from("---\n");
        let mut line = |line: String| {
            head.push_str(&line);
            head.push('\n');
        };
        if let Some(license) = self.license {
            line(format!("license: {}", quoted(license)));
        }
        line("language:\n- en".into());
        line("pretty_name: ".to_owned() + &quoted(self.name));
        line("task_categories:\n- text-generation\n- question-answering".into());
        line(TAGS.into());
        line(format!("size_categories:\n- {}", size(rows)));
        line("configs:".into());
        for (name, default) in [
            ("dataset", "\n  default: true"),
            ("trials", ""),
            ("problems", ""),
        ] {
            let end = self.end();
            line(format!(
                "- config_name: {name}{default}\n  data_files: {name}.{end}"
            ));
        }
        if !self.parquet && !self.dataset_info.is_empty() {
            line(self.dataset_info.trim_end().to_owned());
        }
        line("---".into());
        head
    }

    fn text(&self, name: &[&str]) -> Option<String> {
        let (last, path) = name.split_last()?;
        let mut at = self.manifest;
        for part in path {
            at = at.get(*part)?.as_object()?;
        }
        match at.get(*last)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            value => Some(value.to_string()),
        }
    }

    /// Describes how many responses a problem was to get.
    fn method(&self) -> String {
        let number = |name: &str| self.text(&["strategy", name]);
        let k = number("k").unwrap_or("k".into());
        match self.text(&["strategy", "name"]).as_deref() {
            Some("vanilla") => format!(
                "Every problem was tried equally often ({} times at most), and every correct response was kept \
                 (the baseline, VRT).",
                number("trials").unwrap_or("n".into())
            ),
            Some("uniform") => format!(
                "Every problem was sampled until it had {k} correct responses (DARS-Uniform)."
            ),
            Some("prop2diff") => {
                let rates = match number("pilot") {
                    Some(pilot) => format!("its first {pilot} trials"),
                    None => "a table of pass rates".into(),
                };
                format!(
                    "Every problem was to get correct responses in proportion to its fail rate, {k} where it is \
                     never solved (DARS-Prop2Diff); the fail rate was estimated from {rates}."
                )
            }
            Some(other) => format!("Problems were sampled by the strategy `{other}`."),
            None => "How problems were sampled is not recorded.".into(),
        }
    }
}

/// The settings shown in the card: title, and path in the manifest.
const SETTINGS: &[(&str, &[&str])] = &[
    ("model", &["generator", "model"]),
    ("architecture", &["generator", "architecture"]),
    ("fingerprint", &["generator", "fingerprint"]),
    ("dtype", &["generator", "dtype"]),
    ("device", &["generator", "device"]),
    ("template", &["generator", "template"]),
    ("temperature", &["generator", "temperature"]),
    ("top_k", &["generator", "top_k"]),
    ("top_p", &["generator", "top_p"]),
    ("min_p", &["generator", "min_p"]),
    ("repetition_penalty", &["generator", "repetition_penalty"]),
    ("max_new_tokens", &["generator", "max_new_tokens"]),
    ("problems_from", &["problems_from"]),
    ("strategy", &["strategy"]),
    ("limits", &["limits"]),
    ("dedup", &["dedup"]),
    ("near_duplicates", &["near_duplicates"]),
    ("grader", &["grader"]),
    ("seed", &["seed"]),
    ("stop", &["stop"]),
    ("version", &["version"]),
];

impl fmt::Display for Card<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = LevelTable::new(self.problems);
        let total = &table.total;
        let solutions = self.count(&["solutions", "added"]);
        f.write_str(&self.head(total.kept + solutions))?;
        let model = self.text(&["generator", "model"]);
        let model = model.unwrap_or("a language model".into());
        writeln!(
            f,
            "\n# {}\n\nSolutions of mathematical problems, sampled from {} and kept where their final answer \
             equals the reference: {} of {}, out of {}, of which {} are correct. All trials, wrong ones too, are \
             in the table `trials`.",
            one_line(self.name),
            one_line(&model),
            counted(total.kept, "response"),
            counted(total.problems as u64, "problem"),
            counted(total.trials, "trial"),
            total.correct,
        )?;
        writeln!(
            f,
            "\n## Method\n\nDifficulty-aware rejection sampling (Tong et al., \"DART-Math: Difficulty-Aware \
             Rejection Tuning for Mathematical Problem-Solving\", 2024). {} A response was kept by its number \
             among its problem's trials, not by when it was finished, so that short ones have no advantage. Pass \
             rates are estimates without bias however sampling ended.",
            self.method()
        )?;
        self.write_left_out(f, solutions)?;
        if self.text(&["stop"]).is_some_and(|stop| stop != "finished") {
            f.write_str("\nThe run ended before all problems had what they were to get.\n")?;
        }
        let level = match table.by_pass_rate {
            true => "pass rates",
            false => "level",
        };
        writeln!(
            f,
            "\n## Counts\n\n| {level} | problems | trials | correct | mean pass rate | kept | problems without \
             any |\n|---|---:|---:|---:|---:|---:|---:|"
        )?;
        for row in table.levels.iter().chain([total]) {
            let rate = row.pass_rate.map(|rate| format!("{rate:.3}"));
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {} |",
                cell(&row.name),
                row.problems,
                row.trials,
                row.correct,
                rate.unwrap_or("-".into()),
                row.kept,
                row.unsolved
            )?;
        }
        if self.figures {
            write_figures(f, level)?;
        }
        f.write_str("\n## Settings\n\n| setting | value |\n|---|---|\n")?;
        for (title, name) in SETTINGS {
            if let Some(value) = self.text(name) {
                writeln!(f, "| `{title}` | {} |", cell(&value))?;
            }
        }
        f.write_str("\n`manifest.json` has all of them.\n")?;
        self.write_loading(f)?;
        let license = match self.license {
            Some(license) => format!("`{}`.", one_line(license)),
            None => "None was given.".into(),
        };
        writeln!(
            f,
            "\n## Licence\n\n{license} Questions and references are those of the problems' authors, and responses \
             are a model's output: what their licences ask for applies as well."
        )
    }
}

impl Card<'_> {
    fn count(&self, name: &[&str]) -> u64 {
        let count = self.text(name).and_then(|count| count.parse().ok());
        count.unwrap_or(0)
    }

    /// Writes the problems excluded for overlap with test sets, and the reference solutions that were added.
    fn write_left_out(&self, f: &mut fmt::Formatter<'_>, solutions: u64) -> fmt::Result {
        let tests = self.manifest.get("decontamination");
        let tests = tests.and_then(|it| it.get("test_sets")?.as_array());
        if let Some(tests) = tests {
            let names = tests.iter().filter_map(|test| test.get("name")?.as_str());
            let names: Vec<String> = names.map(|name| format!("`{}`", one_line(name))).collect();
            writeln!(
                f,
                "\nDecontaminated: problems whose question has {} words in a row in common with a question of {}, or \
                 is the same where that has fewer, were left out ({}).",
                self.count(&["decontamination", "ngram"]),
                names.join(", "),
                counted(self.count(&["decontamination", "count"]), "problem"),
            )?;
        }
        if solutions > 0 {
            writeln!(
                f,
                "\nThe last {} of `dataset` are no responses but the problems' own reference solutions.",
                counted(solutions, "row"),
            )?;
        }
        Ok(())
    }

    fn write_loading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = match self.text(&["format"]).as_deref() {
            Some("chat") => {
                "`messages` (the question as the user's, the response as the assistant's)"
            }
            Some("alpaca") => {
                "`instruction` (the question), `input` (empty), `output` (the response)"
            }
            _ => "`query` (the question), `response`",
        };
        let end = self.end();
        write!(
            f,
            "\n## Files\n\n| config | a row is | columns |\n|---|---|---|\n\
             | `dataset` | a response that was kept | {columns} |\n\
             | `trials` | a sampled response, right or wrong | `problem`, `trial`, `seed`, `response`, \
             `extracted`, `equal`, `accepted`, … |\n\
             | `problems` | a problem | `id`, `question`, `reference`, `trials`, `correct`, `pass_rate` with its \
             interval, `pass_at_1` …, `majority_answer`, … |\n\n\
             ```python\n\
             from datasets import load_dataset\n\n\
             dataset = load_dataset(\"DIRECTORY or REPOSITORY\", \"dataset\", split=\"train\")\n\
             trials = load_dataset(\"DIRECTORY or REPOSITORY\", \"trials\", split=\"train\")\n\
             ```\n\n\
             ```python\n\
             import pandas\n\n\
             "
        )?;
        match self.parquet {
            true => writeln!(f, "trials = pandas.read_parquet(\"trials.{end}\")\n```"),
            false => writeln!(
                f,
                "trials = pandas.read_json(\"trials.{end}\", lines=True, dtype=False)\n```\n\n\
                 (Seeds are 64-bit integers, which `datasets` reads from JSON Lines as floating point.)"
            ),
        }
    }
}

/// Writes the figures with relative links. `by` is the grouping of the problems.
fn write_figures(f: &mut fmt::Formatter<'_>, by: &str) -> fmt::Result {
    f.write_str("\n## Figures\n")?;
    for name in CARD_FIGURES {
        let [title, shows, read] = words(name, by);
        write!(
            f,
            "\n### {title}\n\n![{shows}](figures/{name}.svg)\n\n{read}\n"
        )?;
    }
    Ok(())
}

/// Returns the Hub's category for a number of rows.
fn size(rows: u64) -> &'static str {
    match rows {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        10_000_000..100_000_000 => "10M<n<100M",
        _ => "100M<n<1B",
    }
}

/// Quotes a text for YAML, with JSON's escapes, which are valid in YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Escapes a text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in one_line(text).chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '|' => write!(cell, "\\|"),
            '<' => write!(cell, "&lt;"),
            c => write!(cell, "{c}"),
        };
    }
    cell
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::{Problem, StopReason, Tally};

    #[test]
    fn counts_and_settings_are_those_of_the_run() {
        let record = |level: &str, trials, correct, kept| {
            let mut problem = Problem::new(format!("question {level}"), "1");
            problem.metadata.insert("level".into(), level.into());
            ProblemRecord {
                problem: Arc::new(problem),
                tally: Tally {
                    trials,
                    correct,
                    ..Tally::default()
                },
                target: Some(kept),
                kept,
                tokens: 0,
                stop: StopReason::TargetMet,
                rejection: None,
            }
        };
        let records = [record("1", 4, 4, 700), record("a|b", 40, 10, 900)];
        let manifest = json!({
            "strategy": {"name": "prop2diff", "k": 192, "pilot": 8}, "stop": "interrupted", "format": "chat",
            "generator": {"model": "M\n# no head", "top_k": null, "temperature": 1.6}, "seed": 3,
        });
        let manifest = manifest.as_object().unwrap();
        let text = Card::new(&records, manifest).name("a: \"b\"").to_string();
        let (head, body) = text[4..].split_once("\n---\n").unwrap();
        assert!(!head.contains("license"), "{head}");
        for line in [
            r#"pretty_name: "a: \"b\"""#,
            "- 1K<n<10K",
            "- config_name: dataset\n  default: true\n  data_files: dataset.jsonl\n- config_name: trials",
        ] {
            assert!(head.contains(line), "{line}: {head}");
        }
        for line in [
            "sampled from M # no head and kept",
            "1600 responses of 2 problems, out of 44 trials, of which 14 are correct",
            "192 where it is never solved",
            "its first 8 trials",
            "The run ended before",
            "| 1 | 1 | 4 | 4 | 1.000 | 700 | 0 |",
            r"| a\|b | 1 | 40 | 10 | 0.250 | 900 | 0 |",
            "| all | 2 | 44 | 14 | 0.625 | 1600 | 0 |",
            "| `temperature` | 1.6 |",
            "`messages` (the question",
            "None was given.",
        ] {
            assert!(body.contains(line), "{line}: {body}");
        }
        assert!(!body.contains("`top_k`"), "{body}");
        assert!(!body.contains("Decontaminated") && !body.contains("no responses"));
        assert!(!body.contains("svg"), "{body}");
        let card = Card::new(&records, manifest).figures(true).to_string();
        for link in [
            "by level, for vanilla, uniform and prop2diff sampling](figures/strategies.svg)\n",
            "share of the problems that have a response, by level](figures/coverage.svg)\n",
            "(figures/pass-rates.svg)\n",
        ] {
            assert!(card.contains(link), "{link}: {card}");
        }
        let card = Card::new(&records, manifest).license("mit").parquet(true);
        let text = card.to_string();
        assert!(text.starts_with("---\nlicense: \"mit\"\nlanguage:\n- en\n"));
        assert!(Card::is_card(&text) && !Card::is_card("# Notes\n"));
        assert!(text.contains("data_files: problems.parquet") && !text.contains(".jsonl\""));
    }

    #[test]
    fn what_was_left_out_and_added_is_said() {
        let record = |stop| ProblemRecord {
            problem: Arc::new(Problem::new("question", "1")),
            tally: Tally::default(),
            target: None,
            kept: 0,
            tokens: 0,
            stop,
            rejection: None,
        };
        let records = [record(StopReason::TrialsDone), record(StopReason::Excluded)];
        let manifest = json!({
            "decontamination": {"ngram": 13, "count": 1, "test_sets": [{"name": "a.jsonl"}, {"name": "b\n"}]},
            "solutions": {"added": 1200},
        });
        let text = Card::new(&records, manifest.as_object().unwrap()).to_string();
        for line in [
            "- 1K<n<10K",
            "0 responses of 1 problem,",
            "has 13 words in a row in common with a question of `a.jsonl`, `b`, or",
            "were left out (1 problem).",
            "The last 1200 rows of `dataset` are no responses",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
