//! Displays a run's progress.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use dart_math::dars::{Observer, Progress};
use dart_math::report::counted;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::common::tool::{Failure, say};

/// The interval between lines without a terminal, and the time of the first one.
const INTERVAL: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_secs(3);
/// The remaining work is not estimated before this time.
const ESTIMATED_FROM: Duration = Duration::from_secs(2);

/// The interval between JSON objects.
const JSON_INTERVAL: Duration = Duration::from_secs(1);

/// The format of the progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For humans: a progress line on a terminal, otherwise one line every ten seconds
    Text,
    /// For programs: a line of JSON every second, with the fields of `dars::Progress`
    Json,
}

/// Displays a run's progress: an updated line on a terminal, otherwise a line from time to time.
pub(crate) struct Display {
    pub(crate) bar: ProgressBar,
    format: Format,
    /// When the next line is due, without a terminal.
    due: Option<Mutex<Instant>>,
}

impl Display {
    pub(crate) fn new(problems: usize, format: Format) -> Result<Self, Failure> {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} problems done, {msg}")?;
        let bar = ProgressBar::new(problems as u64).with_style(style);
        let moves = format == Format::Text && std::io::stderr().is_terminal();
        let first = match format {
            Format::Text => FIRST,
            Format::Json => Duration::ZERO,
        };
        match moves {
            true => bar.enable_steady_tick(Duration::from_millis(200)),
            false => bar.set_draw_target(ProgressDrawTarget::hidden()),
        }
        Ok(Display {
            bar,
            format,
            due: (!moves).then(|| Mutex::new(Instant::now() + first)),
        })
    }
}

impl Display {
    /// Returns whether a line is due without a terminal, and schedules the next one.
    fn is_due(&self, interval: Duration) -> bool {
        let Some(due) = &self.due else { return false };
        let mut due = due.lock().unwrap_or_else(|error| error.into_inner());
        let now = Instant::now();
        let is_due = now >= *due;
        if is_due {
            *due = now + interval;
        }
        is_due
    }
}

impl Observer for Display {
    fn wants_accepted(&self) -> bool {
        false
    }

    fn progress(&self, progress: &Progress) {
        if self.format == Format::Json {
            // The first and the last line are always written: the run has begun or is done.
            let is_end = progress.done == progress.problems;
            if (self.is_due(JSON_INTERVAL) || is_end)
                && let Ok(line) = serde_json::to_string(progress)
            {
                say!("{line}");
            }
            return;
        }
        // The first responses to arrive are the shortest ones, so wait for as many as are in flight.
        let drawn = progress.trials.saturating_sub(progress.resumed);
        let is_known = progress.elapsed >= ESTIMATED_FROM && drawn >= progress.in_flight as u64;
        let left = match progress.remaining.time {
            Some(time) if is_known => format!("{} to go", clock(time)),
            _ => "estimating what is left".into(),
        };
        let message = format!(
            "{} with all they were to get, {} correct of {}, {:.0} tokens/s, {} gone, {left}",
            progress.met,
            progress.correct,
            counted(progress.trials, "trial"),
            progress.tokens_per_second,
            clock(progress.elapsed),
        );
        if self.is_due(INTERVAL) {
            let (done, problems) = (progress.done, progress.problems);
            say!("{done}/{} done, {message}", counted(problems, "problem"));
        }
        self.bar.set_position(progress.done as u64);
        self.bar.set_message(message);
    }
}

/// Formats a duration for humans.
fn clock(time: Duration) -> String {
    match time.as_secs() {
        0 => "less than 1 s".into(),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3600 => format!("{}:{:02}", s / 60, s % 60),
        s => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
    }
}
