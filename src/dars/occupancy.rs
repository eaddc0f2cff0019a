//! Measures how many trials a generator has in flight over a call of a run, in bounded memory.
//!
//! Nothing is decided by it: sampling does not depend on a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The maximum number of intervals of a series. When they are used up, adjacent ones are merged in pairs.
const MAX_INTERVALS: usize = 120;
/// The initial width of an interval, in nanoseconds.
const FIRST_WIDTH: u64 = 10_000_000;

/// How many of a generator's slots were in use over one call of a run. The series are means over at most 120
/// intervals of equal width, from the call's beginning (including reading the journal) to its end. The last
/// interval ends with the call ([`Session::seconds`](super::Session::seconds)); its means cover only that
/// part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Occupancy {
    /// The maximum of the trials in flight plus the trials that the generator offered to start, at one time.
    pub slots: u64,
    /// The width of an interval, in seconds.
    pub interval: f64,
    /// The mean number of trials in flight, to a hundredth: passed to the generator and not yet delivered,
    /// including those that wait for memory in it.
    pub in_flight: Vec<f64>,
    /// The mean number of completions being graded, to a hundredth: delivered and without a verdict yet.
    pub grading: Vec<f64>,
}

/// Accumulates the series during a call.
#[derive(Debug, Clone)]
pub(super) struct OccupancyMeter {
    slots: u64,
    /// The width of an interval. All times are in nanoseconds since the call began.
    width: u64,
    /// The integrals over time of the trials in flight and the completions in grading, by interval.
    integrals: Vec<[u128; 2]>,
    /// The time up to which they are integrated.
    until: u64,
    /// The trials in flight and completions in grading since then.
    counts: [usize; 2],
}

impl OccupancyMeter {
    pub(super) fn new() -> Self {
        OccupancyMeter {
            slots: 0,
            width: FIRST_WIDTH,
            integrals: Vec::new(),
            until: 0,
            counts: [0; 2],
        }
    }

    /// Records that a generator could start `free` trials in addition to those in flight.
    pub(super) fn offered(&mut self, free: usize, in_flight: usize) {
        self.slots = self.slots.max(free as u64 + in_flight as u64);
    }

    /// Records the trials in flight and completions in grading from a given time on.
    pub(super) fn set(&mut self, at: Duration, in_flight: usize, grading: usize) {
        self.integrate(nanoseconds(at));
        self.counts = [in_flight, grading];
    }

    fn integrate(&mut self, end: u64) {
        let [in_flight, grading] = self.counts.map(|count| count as u128);
        while self.until < end {
            let index = (self.until / self.width) as usize;
            if index >= MAX_INTERVALS {
                self.double_width();
                continue;
            }
            if index >= self.integrals.len() {
                self.integrals.resize(index + 1, [0; 2]);
            }
            let part_end = end.min((index as u64 + 1).saturating_mul(self.width));
            let time = u128::from(part_end - self.until);
            self.integrals[index][0] += in_flight * time;
            self.integrals[index][1] += grading * time;
            self.until = part_end;
        }
    }

    fn double_width(&mut self) {
        let pairs = self.integrals.chunks(2);
        let sum = |pair: &[[u128; 2]]| [0, 1].map(|of| pair.iter().map(|one| one[of]).sum());
        self.integrals = pairs.map(sum).collect();
        self.width = self.width.saturating_mul(2);
    }

    /// Returns the series up to the end of the call; `None` if no generator made an offer.
    pub(super) fn finish(&mut self, end: Duration) -> Option<Occupancy> {
        self.integrate(nanoseconds(end));
        let mean = |of: usize| {
            let intervals = self.integrals.iter().zip(0u64..);
            let means = intervals.map(|(integrals, index)| {
                let time = self.width.min(self.until - index * self.width);
                to_hundredths(integrals[of] as f64 / time as f64)
            });
            means.collect()
        };
        (self.slots > 0).then(|| Occupancy {
            slots: self.slots,
            interval: self.width as f64 / 1e9,
            in_flight: mean(0),
            grading: mean(1),
        })
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Rounds a mean, so that it survives writing and reading unchanged.
fn to_hundredths(mean: f64) -> f64 {
    (mean * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The integral of a series for a call of this duration.
    fn integral(of: &[f64], interval: f64, end: f64) -> f64 {
        let parts = of.iter().enumerate();
        let times = parts.map(|(index, mean)| mean * interval.min(end - index as f64 * interval));
        times.sum()
    }

    proptest! {
        #[test]
        fn a_series_has_the_time_that_was_spent(
            changes in prop::collection::vec((0u64..400_000_000, 0usize..70, 0usize..9), 1..400),
        ) {
            let mut meter = OccupancyMeter::new();
            meter.offered(1, 69);
            let (mut at, mut spent, mut counts) = (0, [0.0; 2], [0usize; 2]);
            for (after, in_flight, grading) in changes {
                at += after;
                for (spent, count) in spent.iter_mut().zip(counts) {
                    *spent += count as f64 * after as f64 / 1e9;
                }
                counts = [in_flight, grading];
                meter.set(Duration::from_nanos(at), in_flight, grading);
            }
            let end = at as f64 / 1e9;
            let series = meter.finish(Duration::from_nanos(at)).unwrap();
            prop_assert_eq!(series.slots, 70);
            for (series_of, spent) in [&series.in_flight, &series.grading].into_iter().zip(spent) {
                prop_assert!(series_of.len() <= MAX_INTERVALS);
                let difference = integral(series_of, series.interval, end) - spent;
                prop_assert!(difference.abs() <= 0.005 * end + 1e-6, "{difference} of {spent}");
                prop_assert!((series_of.len() as f64 - 1.0) * series.interval <= end);
            }
            let json = serde_json::to_string(&series).unwrap();
            prop_assert_eq!(serde_json::from_str::<Occupancy>(&json).unwrap(), series);
        }
    }

    #[test]
    fn widths_double_and_means_are_by_time() {
        let at = Duration::from_millis;
        let mut meter = OccupancyMeter::new();
        assert_eq!(meter.clone().finish(at(50)), None);
        meter.offered(4, 0);
        meter.set(at(5), 4, 0);
        meter.set(at(20), 1, 3);
        let short = meter.clone().finish(at(25)).unwrap();
        assert_eq!((short.slots, short.interval), (4, 0.01));
        assert_eq!(short.in_flight, [2.0, 4.0, 1.0]);
        assert_eq!(short.grading, [0.0, 0.0, 3.0]);
        // A call of 120 s has intervals of 1.28 s; idle days change only the width.
        meter.set(at(120_000), 0, 0);
        let long = meter.clone().finish(at(120_000)).unwrap();
        assert_eq!((long.interval, long.in_flight.len()), (1.28, 94));
        assert!(long.in_flight[1..].iter().all(|mean| *mean == 1.0));
        let days = meter.finish(Duration::from_secs(300_000)).unwrap();
        assert!(days.in_flight.len() <= MAX_INTERVALS && days.in_flight.len() > 59);
        assert_eq!(days.in_flight[1..], vec![0.0; days.in_flight.len() - 1]);
    }
}
