//! The calls of a run: when each began and ended, and what it drew.
//!
//! They are recorded in the manifest. The data set does not depend on them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Occupancy, Totals};

/// The rule of a verdict that stands for a grader's panic.
pub(super) const GRADER_FAILED: &str = "grader failed";

/// One call of [`Run::run`](super::Run::run). A resumed run has several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// When the call began: UTC, to the second, in RFC 3339 (`2026-11-22T18:05:00Z`).
    pub started: String,
    /// When the call ended; `None` if it was killed.
    pub finished: Option<String>,
    /// Its duration in seconds, rounded to milliseconds (so that it survives writing and reading unchanged);
    /// `None` if it was killed.
    pub seconds: Option<f64>,
    /// The trials found in the journal.
    pub resumed: u64,
    /// The complete trials that it drew. If it was killed: those in the journal.
    pub drawn: u64,
    /// The trials that it began and stopped. If it was killed: 0, since they were not recorded.
    pub cancelled: u64,
    /// The tokens that it sampled, including cancelled trials. If it was killed: those of the trials in the
    /// journal.
    pub tokens_sampled: u64,
    /// The trials that it drew and whose grader failed (panicked).
    pub grader_failures: u64,
    /// How many of the generator's slots were in use over time. `None` if the call was killed, drew nothing,
    /// or was recorded by a version without this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<Occupancy>,
}

impl Session {
    /// A call that begins now.
    pub(super) fn begin() -> Self {
        Session {
            started: utc(SystemTime::now()),
            ..Session::default()
        }
    }

    /// Ends the call now, with these sums and its occupancy.
    pub(super) fn end(&mut self, totals: &Totals, occupancy: Option<Occupancy>) {
        self.finished = Some(utc(SystemTime::now()));
        self.seconds = Some(to_milliseconds(totals.seconds));
        self.resumed = totals.resumed;
        self.drawn = totals.drawn;
        self.cancelled = totals.cancelled;
        self.tokens_sampled = totals.tokens_sampled;
        self.grader_failures = totals.grader_failures;
        self.occupancy = occupancy.filter(|_| self.drew());
    }

    /// Returns whether the call sampled anything.
    pub(super) fn drew(&self) -> bool {
        self.drawn + self.cancelled > 0
    }
}

/// Rounds seconds to milliseconds.
pub(super) fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

/// Formats a time in UTC as in RFC 3339. Times before 1970 give its first second.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years begin in March here, so that the leap day is the last of its year, and are counted from the year
    // 0. 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Every five months from March or August have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (400 * era + year, month + 3),
        _ => (400 * era + year + 1, month - 9),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> String {
        utc(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(at(2_147_483_647), "2038-01-19T03:14:07Z");
        assert_eq!(utc(UNIX_EPOCH - Duration::from_secs(1)), at(0));

        // Every day of 600 years, counted by the rule of leap years.
        let mut day = 0;
        for year in 1970..2570 {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let february = if leap { 29 } else { 28 };
            let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, days) in (1..).zip(months) {
                for date in 1..=days {
                    let expected = format!("{year}-{month:02}-{date:02}T23:59:59Z");
                    assert_eq!(at(day * 86_400 + 86_399), expected);
                    day += 1;
                }
            }
        }
    }
}
