//! The figure of slots in use over time.

use super::calls::{Call, Calls, Part};
use super::charts::{self, Steps};
use super::figures::Figure;
use super::table::Table;
use super::text::{decimal, percent, whole};

const NAME: &str = "slots";
const TITLE: &str = "Slots in use over time";
/// The maximum number of parts of time drawn, over all calls.
const MAX_PARTS: usize = 480;
/// The maximum number of table rows, over all calls and per call.
const MAX_ROWS: usize = 240;
const MAX_CALL_ROWS: usize = 12;

pub(super) fn figure(calls: &Calls) -> Figure {
    let duration: f64 = calls.recorded.iter().map(Call::duration).sum();
    if duration <= 0.0 {
        return Figure::missing(
            NAME,
            TITLE,
            "The manifest does not say how many slots were in use when: calls that were killed have no record of it, \
             nor have those of earlier versions.",
        );
    }
    let (unit, seconds) = unit(duration);
    let count = calls.recorded.len();
    let mut in_flight = line("c1", "trials in flight");
    let mut grading = line("c2", "waiting for a verdict");
    let mut slots = line("c0", "slots");
    let mut dividers = Vec::new();
    let mut begin = 0.0;
    for call in &calls.recorded {
        let place = |time: f64| (begin + time) / seconds;
        let parts = call.joined((MAX_PARTS / count).max(1));
        let steps = |of: fn(&Part) -> f64| -> Vec<(f64, f64, f64)> {
            let steps = parts.iter();
            steps
                .map(|part| (place(part.from), place(part.to), of(part)))
                .collect()
        };
        in_flight.stretches.push(steps(|part| part.in_flight));
        grading.stretches.push(steps(|part| part.grading));
        let all = (place(0.0), place(call.duration()), call.slots as f64);
        slots.stretches.push(vec![all]);
        if begin > 0.0 {
            dividers.push(place(0.0));
        }
        begin += call.duration();
    }
    let axes = ("trials or completions", &*format!("time, in {unit}"));
    let lines = [slots, in_flight, grading];
    let plot = charts::steps_over_time(&lines, &dividers, duration / seconds, axes);
    Figure::new(
        NAME,
        TITLE,
        caption(calls, count),
        plot,
        table(calls, count),
    )
}

fn line<'a>(class: &'a str, name: &'a str) -> Steps<'a> {
    Steps {
        class,
        name,
        stretches: Vec::new(),
    }
}

/// Returns a readable unit for a duration, and its seconds.
fn unit(seconds: f64) -> (&'static str, f64) {
    match seconds {
        0.0..300.0 => ("seconds", 1.0),
        300.0..18_000.0 => ("minutes", 60.0),
        18_000.0..432_000.0 => ("hours", 3600.0),
        _ => ("days", 86_400.0),
    }
}

fn caption(calls: &Calls, count: usize) -> String {
    let time = |of: &dyn Fn(&Call, &Part) -> f64| -> f64 {
        let calls = calls.recorded.iter();
        let parts = calls.flat_map(|call| call.parts.iter().map(move |part| (call, part)));
        parts
            .map(|(call, part)| of(call, part) * (part.to - part.from))
            .sum()
    };
    let used = time(&|_, part| part.in_flight);
    let all = time(&|call, _| call.slots as f64);
    let mut caption = format!(
        "How many trials the generator had in flight, of its slots, and how many completions waited for their \
         verdict: means over parts of the time. {} of the slots' time was in use, the reading of the journal and the \
         last trials' end included.",
        percent(used, all)
    );
    if count > 1 {
        caption.push_str(&format!(
            " The {count} calls of the run are shown one after another, with dotted lines between them, whenever they \
             were made."
        ));
    }
    if calls.without > 0 {
        let without = crate::error::counted(calls.without, "call");
        caption.push_str(&format!(" Not shown: {without} without a record of it."));
    }
    caption
}

fn table(calls: &Calls, count: usize) -> Table {
    let head = [
        "call (UTC)",
        "from second",
        "to second",
        "slots",
        "trials in flight",
        "of the slots",
        "waiting for a verdict",
    ];
    let mut table = Table::new("Means over parts of each call", &head);
    for call in &calls.recorded {
        for part in call.joined((MAX_ROWS / count).clamp(1, MAX_CALL_ROWS)) {
            table.row(vec![
                call.started.clone(),
                decimal(part.from, 2),
                decimal(part.to, 2),
                whole(call.slots),
                decimal(part.in_flight, 1),
                percent(part.in_flight, call.slots as f64),
                decimal(part.grading, 1),
            ]);
        }
    }
    table
}
