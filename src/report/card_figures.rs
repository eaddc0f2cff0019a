//! The figures of a data card: some of the report's figures as separate files.

use super::html::Report;
use crate::data::DataSetFiles;
use crate::{Error, ErrorKind, Result};

/// The names of the figures of a data card. Their files are `figures/NAME.svg` beside it.
pub const CARD_FIGURES: [&str; 3] = ["strategies", "coverage", "pass-rates"];

/// Returns the figures that a [`Card`](super::Card) shows, as file names and contents. They are the same as
/// in a report. Use with [`WriteOptions::figures`](crate::data::WriteOptions::figures).
///
/// # Errors
///
/// Returns an error if the files are not those of a data set with all its trials, as for [`Report::read`].
pub fn card_figures(files: DataSetFiles<'_>) -> Result<Vec<(String, String)>> {
    let report = Report::read_files(files)?;
    let figures = CARD_FIGURES.iter().map(|&name| {
        let figure = report.figures().iter().find(|figure| figure.name == name);
        let figure = figure.ok_or_else(|| {
            let reason = format!("the data set has no numbers for the figure `{name}`");
            Error::new(ErrorKind::Data, reason)
        })?;
        Ok((format!("{name}.svg"), figure.svg.clone()))
    });
    figures.collect()
}

/// Returns the title of a card's figure, its alternative text, and how to read it. `by` is the grouping of
/// the problems.
pub(super) fn words(name: &str, by: &str) -> [String; 3] {
    let [title, shows, read] = match name {
        "strategies" => [
            "Responses per problem, by strategy".to_owned(),
            format!("Bars: responses per problem by {by}, for vanilla, uniform and prop2diff sampling"),
            "The three strategies on this run's own trials, with the numbers that bring each nearest to this data \
             set's size. Paler parts are what pass rates let expect beyond the trials that were drawn."
                .to_owned(),
        ],
        "coverage" => [
            "Coverage by difficulty".to_owned(),
            format!("Bars: share of the problems that have a response, by {by}"),
            "The share of problems with at least one response, with intervals of 95 %.".to_owned(),
        ],
        _ => [
            "Pass rates".to_owned(),
            "Histogram: number of problems by pass rate, those never solved apart".to_owned(),
            "How many problems have which estimated pass rate.".to_owned(),
        ],
    };
    [title, shows, read]
}
