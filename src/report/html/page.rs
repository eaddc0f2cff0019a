//! The HTML page.

use serde_json::{Map, Value};

use super::directory::Directory;
use super::examples::{Example, OfGroup};
use super::figures::{Figure, Numbers};
use super::table::Table;
use super::text::{decimal, escape, percent, whole};

const CHART_STYLE: &str = include_str!("style.css");
const PAGE_STYLE: &str = include_str!("page.css");

/// Returns a drawing as a standalone file with its style.
pub(super) fn alone(svg: &str) -> String {
    let end = svg.find('>').map_or(0, |end| end + 1);
    let (open, rest) = svg.split_at(end);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{open}<style>{CHART_STYLE}svg {{ background: var(--paper); }}</style>{rest}\n"
    )
}

pub(super) fn page(numbers: &Numbers<'_>, figures: &[Figure]) -> String {
    let directory = numbers.directory;
    let title = title(&directory.manifest);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title}</title>\n\
         <style>\n{CHART_STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n{}</header>\n<main>\n{}",
        lead(directory),
        facts(numbers),
    );
    html.push_str("<h2>Figures</h2>\n<div class=\"figures\">\n");
    for figure in figures {
        if let Some(svg) = &figure.svg {
            html.push_str(&figure_html(figure, svg));
        }
    }
    html.push_str("</div>\n");
    for figure in figures.iter().filter(|figure| figure.svg.is_none()) {
        let (title, why) = (escape(&figure.title), escape(&figure.caption));
        html.push_str(&format!("<p class=\"soft\"><b>{title}.</b> {why}</p>\n"));
    }
    html.push_str(&levels(numbers).html());
    html.push_str(&format!(
        "<h2>Ends of the problems</h2>\n{}",
        ends(directory).html()
    ));
    html.push_str(&format!(
        "<h2>Rules of the verdicts</h2>\n{}",
        rules(directory).html()
    ));
    if let Some(sessions) = sessions(&directory.manifest) {
        html.push_str(&format!("<h2>Calls of the run</h2>\n{}", sessions.html()));
    }
    html.push_str("<h2>Examples of responses</h2>\n<p class=\"soft\">Of some groups the first responses of different \
                   problems that were kept and that were refused, the second by another rule where there is one. Long \
                   texts are cut; characters that cannot be seen are shown by name.</p>\n");
    for of in &directory.examples.groups {
        html.push_str(&examples(directory, of));
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

fn text<'a>(manifest: &'a Map<String, Value>, path: [&str; 2]) -> Option<&'a str> {
    manifest.get(path[0])?.get(path[1])?.as_str()
}

fn title(manifest: &Map<String, Value>) -> String {
    let strategy = text(manifest, ["strategy", "name"]);
    let model = text(manifest, ["generator", "model"]);
    let words: Vec<&str> = strategy.into_iter().chain(model).collect();
    match words.is_empty() {
        true => "Report of a run".into(),
        false => escape(&format!("Report of a run: {}", words.join(", "))),
    }
}

/// Summarises the run in words.
fn lead(directory: &Directory) -> String {
    let manifest = &directory.manifest;
    let mut words = Vec::new();
    if let Some(Value::Object(strategy)) = manifest.get("strategy") {
        let settings: Vec<String> = strategy
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("name", Value::String(name)) => name.clone(),
                (key, Value::String(value)) => format!("{key} {value}"),
                (key, value) => format!("{key} {value}"),
            })
            .collect();
        words.push(format!("Strategy: {}.", settings.join(", ")));
    }
    if let Some(from) = manifest.get("problems_from").and_then(Value::as_str) {
        words.push(format!("Problems from {from}."));
    }
    if let Some(seed) = manifest.get("seed").and_then(Value::as_u64) {
        words.push(format!("Seed {seed}."));
    }
    if let Some(limit) = directory.count(["limits", "trials_per_problem"]) {
        words.push(format!("At most {} trials a problem.", whole(limit)));
    }
    if directory.dedup() {
        let near = manifest.get("near_duplicates").and_then(Value::as_f64);
        words.push(match near {
            None => "Repetitions of a response are left out.".into(),
            Some(similarity) => {
                format!(
                    "Responses that are similar to an earlier one (by {similarity}) are left out."
                )
            }
        });
    }
    if directory.excluded > 0 {
        let excluded = crate::error::counted(directory.excluded, "problem");
        words.push(format!(
            "Left out of the run, and of all figures: {excluded}."
        ));
    }
    if let Some(stop) = manifest.get("stop").and_then(Value::as_str) {
        words.push(match stop {
            "finished" => "The run is finished.".into(),
            stop => format!("The run ended early: {stop}."),
        });
    }
    match words.is_empty() {
        true => String::new(),
        false => format!("<p class=\"soft\">{}</p>\n", escape(&words.join(" "))),
    }
}

fn facts(numbers: &Numbers<'_>) -> String {
    let all = numbers.all;
    let mut facts = vec![
        ("problems", whole(all.problems)),
        ("rows of the data set", whole(all.kept)),
        (
            "problems with a row",
            percent(all.covered as f64, all.problems as f64),
        ),
        ("trials that count", whole(all.trials)),
        (
            "of them correct",
            percent(all.correct as f64, all.trials as f64),
        ),
    ];
    let with_target = numbers
        .directory
        .problems
        .iter()
        .filter(|row| row.target.is_some());
    let (mut targets, mut met) = (0u64, 0u64);
    for row in with_target {
        targets += 1;
        met += u64::from(row.target.is_some_and(|target| row.kept >= target));
    }
    if targets > 0 {
        facts.push(("targets met", percent(met as f64, targets as f64)));
    }
    let sampled = numbers.directory.count(["totals", "tokens_sampled"]);
    if let Some(tokens) = sampled.filter(|tokens| *tokens > 0) {
        facts.push(("tokens sampled", whole(tokens)));
        let seconds = numbers
            .directory
            .manifest
            .get("totals")
            .and_then(|totals| totals.get("seconds")?.as_f64());
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            facts.push(("seconds", decimal(seconds, 1)));
            facts.push(("tokens per second", whole((tokens as f64 / seconds) as u64)));
        }
    }
    let facts: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)))
        .collect();
    format!("<dl class=\"facts\">\n{facts}</dl>\n")
}

fn figure_html(figure: &Figure, svg: &str) -> String {
    let mut html = format!(
        "<figure id=\"{}\">\n<h3>{}</h3>\n",
        figure.name,
        escape(&figure.title)
    );
    html.push_str(svg);
    html.push('\n');
    html.push_str(&format!(
        "<figcaption>{}</figcaption>\n",
        escape(&figure.caption)
    ));
    if let Some(table) = &figure.table {
        html.push_str(&format!(
            "<details><summary>The numbers</summary>{}</details>\n",
            table.html()
        ));
    }
    html.push_str("</figure>\n");
    html
}

fn levels(numbers: &Numbers<'_>) -> Section {
    let head = [
        if numbers.directory.by_level {
            "level"
        } else {
            "pass rate"
        },
        "problems",
        "trials",
        "correct",
        "mean pass rate",
        "rows",
        "share of rows",
        "with a row",
        "share",
    ];
    let mut table = Table::new("", &head);
    for group in numbers.groups.iter().chain([numbers.all]) {
        table.row(vec![
            group.name.clone(),
            whole(group.problems),
            whole(group.trials),
            whole(group.correct),
            group
                .pass_rate
                .map_or("–".into(), |rate| decimal(rate.value, 3)),
            whole(group.kept),
            percent(group.kept as f64, numbers.all.kept as f64),
            whole(group.covered),
            percent(group.covered as f64, group.problems as f64),
        ]);
    }
    Section {
        title: "By difficulty",
        table,
    }
}

/// A table with a heading.
struct Section {
    title: &'static str,
    table: Table,
}

impl Section {
    fn html(&self) -> String {
        format!("<h2>{}</h2>\n{}\n", self.title, self.table.html())
    }
}

fn ends(directory: &Directory) -> Table {
    let mut counts: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for row in &directory.problems {
        *counts.entry(&row.stop_reason).or_default() += 1;
    }
    if directory.excluded > 0 {
        counts.insert("excluded", directory.excluded);
    }
    let all: u64 = counts.values().sum();
    let mut table = Table::new("", &["why no more trials were drawn", "problems", "share"]);
    for (reason, count) in counts {
        let words = match reason {
            "target_met" => "it has all that it was to get",
            "trials_done" => "all its trials were drawn",
            "strategy" => "the strategy wanted no more",
            "trial_limit" => "the limit of trials a problem",
            "gave_up" => "no success in as many trials as one may take",
            "futile" => "the chance to meet its target within its limit was negligible",
            "token_limit" => "the limit of tokens a problem",
            "time_limit" => "the limit of time a problem",
            "rejected" => "it cannot be sampled",
            "excluded" => "it was left out of the run",
            "run_ended" => "the run ended first",
            "" => "not said",
            other => other,
        };
        let share = percent(count as f64, all as f64);
        table.row(vec![words.to_owned(), whole(count), share]);
    }
    table
}

fn rules(directory: &Directory) -> Table {
    /// The maximum number of rules listed.
    const MOST: usize = 40;
    let mut rules: Vec<(&String, &[u64; 2])> = directory.rules.iter().collect();
    rules.sort_by_key(|(name, counts)| (std::cmp::Reverse(counts[0] + counts[1]), *name));
    let all: u64 = rules.iter().map(|(_, counts)| counts[0] + counts[1]).sum();
    let mut table = Table::new("", &["rule", "equal", "not equal", "share of the trials"]);
    let mut row = |name: &str, [equal, other]: [u64; 2]| {
        let share = percent((equal + other) as f64, all as f64);
        let name = super::text::cut(name, 60);
        table.row(vec![name, whole(equal), whole(other), share]);
    };
    for (name, counts) in rules.iter().take(MOST) {
        row(name, **counts);
    }
    let rest = rules.iter().skip(MOST);
    let rest = rest.fold([0, 0], |sum, (_, counts)| {
        [sum[0] + counts[0], sum[1] + counts[1]]
    });
    if rest != [0, 0] {
        row("others", rest);
    }
    table
}

fn sessions(manifest: &Map<String, Value>) -> Option<Table> {
    let sessions = manifest.get("sessions")?.as_array()?;
    let head = [
        "began (UTC)",
        "seconds",
        "trials drawn",
        "stopped",
        "tokens",
        "tokens per second",
    ];
    let mut table = Table::new("", &head);
    for session in sessions {
        let count = |name: &str| session.get(name).and_then(Value::as_u64);
        let cell = |name: &str| count(name).map_or("–".into(), whole);
        let seconds = session.get("seconds").and_then(Value::as_f64);
        let rate = count("tokens_sampled").zip(seconds.filter(|seconds| *seconds > 0.0));
        table.row(vec![
            session
                .get("started")
                .and_then(Value::as_str)
                .unwrap_or("–")
                .to_owned(),
            seconds.map_or("killed".into(), |seconds| decimal(seconds, 1)),
            cell("drawn"),
            cell("cancelled"),
            cell("tokens_sampled"),
            rate.map_or("–".into(), |(tokens, seconds)| {
                whole((tokens as f64 / seconds) as u64)
            }),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn examples(directory: &Directory, of: &OfGroup) -> String {
    if of.kept.is_empty() && of.refused.is_empty() {
        return String::new();
    }
    let name = escape(&super::text::cut(&directory.groups[of.group], 60));
    let what = if directory.by_level {
        "Level"
    } else {
        "Pass rate"
    };
    let name = match name.to_lowercase().starts_with("level") {
        true => name,
        false => format!("{what} {name}"),
    };
    let mut html = format!("<h2>{name}</h2>\n<div class=\"examples\">\n");
    for (list, kept) in [(&of.kept, true), (&of.refused, false)] {
        for example in list {
            html.push_str(&example_html(example, kept));
        }
    }
    html.push_str("</div>\n");
    html
}

fn example_html(example: &Example, kept: bool) -> String {
    let (class, word) = if kept {
        ("good", "kept")
    } else {
        ("bad", "refused")
    };
    let mut pairs = vec![("reference", example.reference.clone())];
    pairs.push((
        "answer found",
        example.extracted.clone().unwrap_or_else(|| "none".into()),
    ));
    let rule = match example.reason.is_empty() {
        true => example.rule.clone(),
        false => format!("{}: {}", example.rule, example.reason),
    };
    pairs.push(("rule", rule));
    if !example.finish.is_empty() && example.finish != "stop" {
        pairs.push(("ended by", example.finish.clone()));
    }
    let pairs: String = pairs
        .iter()
        .map(|(name, value)| format!("<dt>{name}</dt><dd dir=\"auto\">{}</dd>\n", escape(value)))
        .collect();
    let response = match &example.response {
        Some(response) => format!("<pre dir=\"auto\">{}</pre>\n", escape(response)),
        None => "<p class=\"soft\">trials.jsonl does not have the response.</p>\n".into(),
    };
    format!(
        "<article class=\"example\">\n<p><span class=\"verdict {class}\">{word}</span> <span class=\"soft\">{}, line {} of \
         trials.jsonl</span></p>\n<p dir=\"auto\">{}</p>\n{response}<dl>\n{pairs}</dl>\n</article>\n",
        escape(&super::text::cut(&example.id, 80)),
        whole(example.line),
        escape(&example.question),
    )
}
