//! The figures of the report, each with a table of its numbers.

use super::charts::{self, Line, Series};
use super::directory::{Directory, Fate};
use super::measures::{self, AtLimit, Estimate, Group};
use super::slots;
use super::strategies::Made;
use super::svg::Plot;
use super::table::Table;
use super::text::{decimal, percent, whole};

/// A figure, or the reason why it is missing.
#[derive(Debug)]
pub(super) struct Figure {
    /// The name of its file, without extension.
    pub(super) name: &'static str,
    pub(super) title: String,
    /// What it shows and how it was computed.
    pub(super) caption: String,
    /// The drawing; `None` if the directory lacks the numbers, which the caption then states.
    pub(super) svg: Option<String>,
    pub(super) table: Option<Table>,
}

impl Figure {
    pub(super) fn new(
        name: &'static str,
        title: &str,
        caption: String,
        plot: Plot,
        table: Table,
    ) -> Self {
        Figure {
            name,
            title: title.to_owned(),
            svg: Some(plot.finish(name, title, &caption)),
            caption,
            table: Some(table),
        }
    }

    pub(super) fn missing(name: &'static str, title: &str, why: &str) -> Self {
        Figure {
            name,
            title: title.to_owned(),
            caption: why.to_owned(),
            svg: None,
            table: None,
        }
    }
}

/// The data of the figures.
pub(super) struct Numbers<'a> {
    pub(super) directory: &'a Directory,
    pub(super) made: &'a [Made],
    pub(super) groups: &'a [Group],
    pub(super) all: &'a Group,
}

pub(super) fn all(numbers: &Numbers<'_>) -> Vec<Figure> {
    vec![
        strategies(numbers),
        rows(numbers),
        coverage(numbers),
        pass_rate(numbers),
        histogram(numbers),
        targets(numbers),
        lengths(numbers),
        tokens(numbers),
        slots::figure(&numbers.directory.calls),
    ]
}

impl Numbers<'_> {
    fn names(&self) -> Vec<String> {
        self.groups.iter().map(|group| group.name.clone()).collect()
    }

    /// Returns the name of the groups, for axes.
    fn difficulty(&self) -> &'static str {
        match self.directory.by_level {
            true => "level",
            false => "pass rate of the problems (0: never solved)",
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().chain([self.all])
    }
}

const CLASSES: [&str; 4] = ["c0", "c1", "c2", "c3"];

fn strategies(numbers: &Numbers<'_>) -> Figure {
    let mut head = vec![numbers.difficulty().to_owned(), "problems".to_owned()];
    for made in numbers.made {
        let own = if made.own { " (this run)" } else { "" };
        head.push(format!("{}{own}", made.name));
        if !made.own {
            head.push("of it expected".to_owned());
        }
    }
    let mut table = Table {
        caption: "Responses per problem".into(),
        head,
        rows: Vec::new(),
    };
    for group in numbers.lines() {
        let mut cells = vec![group.name.clone(), whole(group.problems)];
        for (made, (found, expected)) in numbers.made.iter().zip(&group.made) {
            cells.push(decimal(found + expected, 2));
            if !made.own {
                cells.push(decimal(*expected, 2));
            }
        }
        table.row(cells);
    }
    let labels: Vec<String> = numbers
        .made
        .iter()
        .map(|made| match made.own {
            true => format!("{} (this run)", made.name),
            false => made.name.clone(),
        })
        .collect();
    let series: Vec<Series<'_>> = numbers
        .made
        .iter()
        .zip(&labels)
        .enumerate()
        .map(|(index, (made, name))| Series {
            class: CLASSES[made.kind.min(3)],
            name,
            values: numbers
                .groups
                .iter()
                .map(|group| group.made[index])
                .collect(),
        })
        .collect();
    let axes = ("responses per problem", numbers.difficulty());
    let plot = charts::grouped(&numbers.names(), &series, axes);
    let expected = match numbers.directory.dedup() {
        true => {
            "The run leaves repetitions out, so nothing is said of trials that it did not draw: where a problem's \
                 trials end, so do its bars."
        }
        false => {
            "Pale: where a problem's trials do not suffice, what its pass rate lets expect of the trials that \
                  are missing."
        }
    };
    let caption = format!(
        "The paper's main figure, from this run's own trials: how many responses a problem gets at each difficulty, \
         by strategies whose numbers are chosen so that the data sets are as nearly of this one's size as whole \
         numbers allow. Each strategy takes the first correct responses up to its goal, under this run's limit of trials \
         a problem. {expected}"
    );
    Figure::new(
        "strategies",
        "Responses per problem, by strategy",
        caption,
        plot,
        table,
    )
}

fn interval(of: Option<Estimate>, decimals: usize) -> [String; 3] {
    match of {
        Some(of) => {
            let end = |end: fn((f64, f64)) -> f64| {
                let end = of.interval.map(|interval| decimal(end(interval), decimals));
                end.unwrap_or_else(|| "–".into())
            };
            [decimal(of.value, decimals), end(|of| of.0), end(|of| of.1)]
        }
        None => ["–", "–", "–"].map(str::to_owned),
    }
}

/// Makes a figure of estimates by group.
fn by_group(
    numbers: &Numbers<'_>,
    (name, title, caption): (&'static str, &str, String),
    (axis, class, shares): (&str, &str, bool),
    (count_name, count): (&str, fn(&Group) -> u64),
    value: fn(&Group) -> Option<Estimate>,
) -> Figure {
    let head = [
        numbers.difficulty(),
        "problems",
        count_name,
        axis,
        "from",
        "to",
    ];
    let mut table = Table::new("With intervals of 95 %", &head);
    for group in numbers.lines() {
        let mut cells = vec![
            group.name.clone(),
            whole(group.problems),
            whole(count(group)),
        ];
        cells.extend(interval(value(group), 3));
        table.row(cells);
    }
    let values: Vec<_> = numbers.groups.iter().map(value).collect();
    let axes = (axis, numbers.difficulty());
    let plot = charts::intervals(&numbers.names(), class, &values, shares, axes);
    Figure::new(name, title, caption, plot, table)
}

fn rows(numbers: &Numbers<'_>) -> Figure {
    let caption = "Rows of the data set per problem; the lines are intervals of 95 % of the mean, from how much \
                   the problems of a group differ."
        .to_owned();
    by_group(
        numbers,
        ("rows", "Rows by difficulty", caption),
        ("rows per problem", "c1", false),
        ("rows", |group| group.kept),
        |group| group.rows,
    )
}

fn coverage(numbers: &Numbers<'_>) -> Figure {
    let caption = "The share of problems with at least one row, with intervals of 95 % (Clopper and Pearson).".to_owned();
    by_group(
        numbers,
        ("coverage", "Coverage by difficulty", caption),
        ("share of problems with a row", "kept", true),
        ("with a row", |group| group.covered),
        |group| group.coverage,
    )
}

fn pass_rate(numbers: &Numbers<'_>) -> Figure {
    let caption = "The mean of the problems' pass rates, in which each problem that was tried counts once, with intervals \
                   of 95 %."
        .to_owned();
    by_group(
        numbers,
        ("pass-rate-by-level", "Pass rate by difficulty", caption),
        ("mean pass rate", "c2", true),
        ("trials", |group| group.trials),
        |group| group.pass_rate,
    )
}

fn histogram(numbers: &Numbers<'_>) -> Figure {
    let bins = measures::pass_rates(numbers.directory);
    let head = ["pass rate", "problems", "of them never solved"];
    let mut table = Table::new(
        "Problems by pass rate, the upper end not included but for the last",
        &head,
    );
    for (index, (solved, never)) in bins.iter().enumerate() {
        let name = format!(
            "{:.1} to {:.1}",
            index as f64 / 10.0,
            (index + 1) as f64 / 10.0
        );
        table.row(vec![name, whole(solved + never), whole(*never)]);
    }
    let untried = numbers
        .directory
        .problems
        .iter()
        .filter(|row| row.trials == 0)
        .count();
    let mut caption =
        "How many problems have which pass rate, by the estimate in problems.jsonl.".to_owned();
    if untried > 0 {
        let without = crate::error::counted(untried, "problem");
        caption.push_str(&format!(" Without {without} that had no trial."));
    }
    let kinds = [("c1", "solved at least once"), ("idle", "never solved")];
    let plot = charts::histogram(&bins, kinds, ("problems", "pass rate"));
    Figure::new("pass-rates", "Pass rates", caption, plot, table)
}

fn targets(numbers: &Numbers<'_>) -> Figure {
    let (limits, targets) = measures::limits(numbers.directory);
    let title = "Targets met against trials";
    if limits.is_empty() {
        return Figure::missing(
            "targets",
            title,
            "No problem has a trial, so there is nothing to show.",
        );
    }
    let problems = numbers.directory.problems.len() as f64;
    let head = [
        "limit of trials a problem",
        "trials in all",
        "solved",
        "share",
        "target met",
        "share",
    ];
    let caption = "Problems by the limit of trials a problem";
    let mut table = Table::new(caption, &head[..if targets > 0 { 6 } else { 4 }]);
    let shown = |at: &AtLimit| at.limit.is_power_of_two() || Some(at) == limits.last();
    for at in limits.iter().filter(|at| shown(at)) {
        let mut cells = vec![
            whole(at.limit.into()),
            whole(at.trials),
            whole(at.solved),
            percent(at.solved as f64, problems),
        ];
        if targets > 0 {
            cells.extend([whole(at.met), percent(at.met as f64, targets as f64)]);
        }
        table.row(cells);
    }
    let points = |count: fn(&AtLimit) -> u64, of: f64| {
        let points = limits.iter();
        points
            .map(|at| (f64::from(at.limit), count(at) as f64 / of))
            .collect()
    };
    let mut lines = vec![Line {
        class: "c1",
        name: "solved at least once",
        points: points(|at| at.solved, problems),
    }];
    if targets > 0 {
        lines.push(Line {
            class: "c2",
            name: "target met",
            points: points(|at| at.met, targets as f64),
        });
    }
    let plot = charts::shares_by_log(&lines, ("share of problems", "limit of trials a problem"));
    let mut caption = "What a lower limit of trials a problem would have left of this run: problems with a correct \
                       response by then"
        .to_owned();
    caption.push_str(match targets {
        0 => ". No problem has a target: the strategy keeps every correct response.",
        _ => ", and, of the problems that have a target, those that have met it.",
    });
    let ended = numbers
        .directory
        .problems
        .iter()
        .filter(|row| row.stop_reason == "run_ended");
    let ended = ended.count();
    if ended > 0 {
        let ended = crate::error::counted(ended, "problem");
        caption.push_str(&format!(
            " The run ended before {ended} had come to an end: more trials might have met more."
        ));
    }
    Figure::new("targets", title, caption, plot, table)
}

const FATES: [(&str, &str); 4] = [
    ("kept", "correct, kept"),
    ("surplus", "correct, not kept"),
    ("wrong", "wrong"),
    ("cut", "cut off or in a loop"),
];

fn lengths(numbers: &Numbers<'_>) -> Figure {
    let directory = numbers.directory;
    let title = "Lengths by verdict";
    if directory.lengths.is_empty() {
        return Figure::missing(
            "lengths",
            title,
            "trials.jsonl does not say how many tokens its responses have, so their lengths are not shown.",
        );
    }
    let lengths = measures::lengths(&directory.lengths);
    let head = [
        "verdict",
        "responses",
        "tokens",
        "mean",
        "median",
        "90 % up to",
        "longest",
    ];
    let mut table = Table::new("Lengths in tokens", &head);
    let mut kinds = Vec::new();
    let mut shown = Vec::new();
    for (fate, of) in Fate::ALL.iter().zip(&lengths) {
        let (class, name) = FATES[*fate as usize];
        if let Some(of) = of {
            table.row(vec![
                name.to_owned(),
                whole(of.trials),
                whole(of.tokens),
                decimal(of.mean(), 1),
                whole(of.median.into()),
                whole(of.ninety.into()),
                whole(of.longest.into()),
            ]);
            kinds.push((class, name));
            shown.push(*fate as usize);
        }
    }
    let values: Vec<(u32, Vec<u64>)> = directory
        .lengths
        .iter()
        .map(|(&tokens, counts)| (tokens, shown.iter().map(|&fate| counts[fate]).collect()))
        .collect();
    let axes = ("share of the responses of a verdict", "tokens");
    let plot = charts::distributions(&kinds, &values, axes);
    let mut caption = "How long the responses of each verdict are: of each, the share in each interval of tokens.".to_owned();
    if directory.without_length > 0 {
        let without = crate::error::counted(directory.without_length, "trial");
        caption.push_str(&format!(" Without {without} whose length is not known."));
    }
    Figure::new("lengths", title, caption, plot, table)
}

fn tokens(numbers: &Numbers<'_>) -> Figure {
    let directory = numbers.directory;
    let title = "Tokens useful and wasted";
    if directory.lengths.is_empty() {
        return Figure::missing(
            "tokens",
            title,
            "trials.jsonl does not say how many tokens its responses have, so what became of them is not shown.",
        );
    }
    let lengths = measures::lengths(&directory.lengths);
    let of_trials = lengths.map(|of| of.map_or(0, |of| of.tokens));
    let counted: u64 = of_trials.iter().sum();
    let mut parts: Vec<(&str, &str, u64)> = FATES
        .iter()
        .zip(of_trials)
        .map(|((class, name), tokens)| (*class, *name, tokens))
        .collect();
    let sampled = directory.count(["totals", "tokens_sampled"]);
    let mut caption = "Of all tokens sampled, those of rows of the data set (useful), and those of responses that are \
                       not in it."
        .to_owned();
    match sampled.and_then(|sampled| sampled.checked_sub(counted)) {
        Some(rest) => {
            parts.push(("idle", "of trials that do not count", rest));
            caption.push_str(
                " Trials that do not count were stopped when they were no longer needed, or drawn beyond what was \
                 needed.",
            );
        }
        // A data set selected from other runs' trials has sampled none itself.
        None => caption.push_str(
            " The manifest does not say how many were sampled for these trials in all, so those of trials that do not \
             count are not shown.",
        ),
    }
    let all: u64 = parts.iter().map(|(_, _, tokens)| tokens).sum();
    let mut table = Table::new("Tokens", &["of responses", "tokens", "share"]);
    let mut shown = Vec::new();
    for (class, name, tokens) in parts {
        table.row(vec![
            name.to_owned(),
            whole(tokens),
            percent(tokens as f64, all as f64),
        ]);
        let label = format!(
            "{name}: {} ({})",
            whole(tokens),
            percent(tokens as f64, all as f64)
        );
        shown.push((class, label, tokens));
    }
    table.row(vec![
        "all".to_owned(),
        whole(all),
        percent(all as f64, all as f64),
    ]);
    let plot = charts::divided(&shown);
    Figure::new("tokens", title, caption, plot, table)
}
