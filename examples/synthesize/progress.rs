//! How a run's progress is shown.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use dart_math::dars::{Observer, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::common::tool::{Failure, say};

/// How often a line is written where there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows a run's progress: a line that moves on a terminal, a line now and then elsewhere.
pub(crate) struct Display {
    pub(crate) bar: ProgressBar,
    spoken: Option<Mutex<Instant>>,
}

impl Display {
    pub(crate) fn new(problems: usize) -> Result<Self, Failure> {
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} problems, {msg}")?;
        let bar = ProgressBar::new(problems as u64).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        let terminal = std::io::stderr().is_terminal();
        Ok(Display {
            bar,
            spoken: (!terminal).then(|| Mutex::new(Instant::now())),
        })
    }
}

impl Observer for Display {
    fn progress(&self, progress: &Progress) {
        let left = progress.remaining.time.map_or("?".into(), clock);
        let message = format!(
            "{} met, {} correct of {} trials, {:.0} tokens/s, {} gone, {left} to go",
            progress.met,
            progress.correct,
            progress.trials,
            progress.tokens_per_second,
            clock(progress.elapsed),
        );
        if let Some(spoken) = &self.spoken {
            let mut spoken = spoken.lock().unwrap_or_else(|error| error.into_inner());
            if spoken.elapsed() >= INTERVAL {
                *spoken = Instant::now();
                say!(
                    "{}/{} problems, {message}",
                    progress.done,
                    progress.problems
                );
            }
        }
        self.bar.set_position(progress.done as u64);
        self.bar.set_message(message);
    }
}

/// A time as a person reads it.
fn clock(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{}:{:02}", s / 60, s % 60),
        s => format!("{}:{:02} h", s / 3600, s % 3600 / 60),
    }
}
