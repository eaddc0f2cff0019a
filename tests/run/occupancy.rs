//! The number of slots in use over time, as a run records it.

use std::fs;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use dart_math::dars::{Occupancy, Run, Session, Uniform, Vanilla};
use dart_math::report::html::Report;
use dart_math::{Completion, Generator, Next, Offer, Problem, Result, Source, Verdict};
use serde_json::{Value, json};

use crate::report::{finished, number, table};
use crate::scripted::{Scripted, complete, grader, problems};

/// Delivers one trial at a time, after a delay, and sums up the time that trials were in flight.
#[derive(Default)]
struct Slow {
    slots: usize,
    /// The total time that trials were in flight, in seconds.
    busy: Mutex<f64>,
}

impl Generator for Slow {
    fn run(&self, source: &dyn Source) -> Result<()> {
        let mut in_flight = Vec::new();
        loop {
            let free = self.slots - in_flight.len();
            let offer = Offer {
                free,
                resident: &[],
            };
            match source.next(offer) {
                Next::Requests(requests) => {
                    let now = Instant::now();
                    in_flight.extend(requests.into_iter().map(|request| (request, now)));
                }
                Next::Wait => {}
                Next::Done => return Ok(()),
            }
            sleep(Duration::from_millis(3));
            if !in_flight.is_empty() {
                let (request, began) = in_flight.remove(0);
                source.deliver(request.trial, complete(&request));
                *self.busy.lock().unwrap() += began.elapsed().as_secs_f64();
            }
        }
    }
}

/// The sum of means times their intervals. The last interval ends with the call.
fn integral(means: &[f64], interval: f64, end: f64) -> f64 {
    let parts = means.iter().enumerate();
    let times = parts.map(|(index, mean)| mean * interval.min(end - index as f64 * interval));
    times.sum()
}

fn recorded(session: &Session) -> (&Occupancy, f64) {
    (
        session.occupancy.as_ref().unwrap(),
        session.seconds.unwrap(),
    )
}

#[test]
fn the_series_adds_up_to_the_time_that_slots_were_busy() {
    const GRADING: Duration = Duration::from_millis(2);
    let slow_grader = |problem: &Problem, completion: &Completion| -> Verdict {
        sleep(GRADING);
        grader(problem, completion)
    };
    let generator = Slow {
        slots: 5,
        ..Slow::default()
    };
    let run = Run::builder(problems(&[0.5, 0.5, 0.5, 0.5]));
    let run = run.strategy(Vanilla { trials: 30 }).build().unwrap();
    let outcome = run.run(&generator, &slow_grader).unwrap();
    let (occupancy, seconds) = recorded(&outcome.sessions[0]);
    assert_eq!(occupancy.slots, 5);
    let ends = occupancy.in_flight.len() as f64 * occupancy.interval;
    assert!(ends >= seconds - 1e-3 && ends < seconds + occupancy.interval + 1e-3);
    let busy = *generator.busy.lock().unwrap();
    let found = integral(&occupancy.in_flight, occupancy.interval, seconds);
    // The two clocks start and stop at slightly different times for each trial.
    assert!((found - busy).abs() < 0.1 * busy, "{found}, {busy}");
    assert!(occupancy.in_flight.iter().all(|mean| *mean <= 5.0));
    // All slots are in use, except at the end, when the last trials are awaited.
    let full = occupancy.in_flight.iter().filter(|mean| **mean > 4.5);
    assert!(full.count() > 5, "{occupancy:?}");
    assert!(occupancy.in_flight.last() < Some(&5.0));
    let grading = integral(&occupancy.grading, occupancy.interval, seconds);
    let graded = 120.0 * GRADING.as_secs_f64();
    assert!(grading > 0.98 * graded, "{grading}, {graded}");
}

#[test]
fn a_series_is_read_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let resume = |k| {
        let run = Run::builder(problems(&[0.6, 0.3])).strategy(Uniform { k });
        let run = run.journal(&journal).build().unwrap();
        run.run(&Scripted::default(), &grader).unwrap()
    };
    let first = resume(2);
    let second = resume(6);
    assert_eq!(second.sessions.len(), 2);
    assert_eq!(second.sessions[0], first.sessions[0]);
    // A finished run's manifest is rebuilt from its journal, byte for byte.
    let text = |manifest| serde_json::to_string_pretty(&manifest).unwrap();
    let again = resume(6);
    let sessions =
        |outcome: &dart_math::dars::Outcome| text(outcome.manifest()["sessions"].clone());
    assert_eq!(sessions(&again), sessions(&second));

    // A row of an older journal, without occupancy.
    let mut old = json!(second.sessions[1]);
    old.as_object_mut().unwrap().remove("occupancy");
    let old: Session = serde_json::from_value(old).unwrap();
    assert_eq!((old.occupancy, old.drawn), (None, second.sessions[1].drawn));
}

#[test]
fn slots_in_use_are_those_of_the_calls() {
    let (outcome, directory) = finished(&Uniform { k: 4 });
    let head = [
        "call (UTC)",
        "from second",
        "to second",
        "slots",
        "trials in flight",
    ];
    let report = Report::read(directory.path()).unwrap();
    let rows = table(report.html(), &head);
    assert!(
        rows.iter()
            .all(|row| row[0] == outcome.sessions[0].started && row[3] == "8")
    );
    let seconds = outcome.sessions[0].seconds.unwrap();
    assert!((number(&rows.last().unwrap()[2]) - seconds).abs() < 0.006);

    // Two calls with known occupancy, and a killed one without.
    let path = directory.path().join("manifest.json");
    let manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |sessions: Value| {
        let mut manifest = manifest.clone();
        manifest["sessions"] = sessions;
        fs::write(&path, manifest.to_string()).unwrap();
        Report::read(directory.path())
    };
    let occupancy = |slots: u32, means: &[f64]| json!({"slots": slots, "interval": 8.0, "in_flight": means, "grading": means});
    let report = with(json!([
        {"started": "a", "seconds": 20.0, "occupancy": occupancy(4, &[4.0, 3.0, 1.0])},
        {"started": "b", "seconds": null},
        {"started": "c", "seconds": 7.5, "occupancy": occupancy(8, &[6.0])},
    ]));
    let report = report.unwrap();
    let rows = table(report.html(), &head);
    let listed: Vec<[f64; 4]> = rows
        .iter()
        .map(|row| [1, 2, 3, 4].map(|cell| number(&row[cell])))
        .collect();
    assert_eq!(
        listed,
        [
            [0.0, 8.0, 4.0, 4.0],
            [8.0, 16.0, 4.0, 3.0],
            [16.0, 20.0, 4.0, 1.0],
            [0.0, 7.5, 8.0, 6.0]
        ]
    );
    // 4 * 8 + 3 * 8 + 1 * 4 + 6 * 7.5 of 4 * 20 + 8 * 7.5 slot seconds.
    for said in [
        "75.0 % of the slots",
        "Not shown: 1 call without",
        "The 2 calls of the run",
    ] {
        assert!(report.html().contains(said), "{said}");
    }
    let slots = report
        .figures()
        .iter()
        .find(|figure| figure.name == "slots");
    let svg = &slots.unwrap().svg;
    assert_eq!(svg.matches("class=\"divider\"").count(), 1);
    // Once in the legend, and once for each of the two calls.
    assert_eq!(svg.matches("<path class=\"c1\"").count(), 3);

    let error = with(json!([{"seconds": 1.0, "occupancy": occupancy(0, &[])}])).unwrap_err();
    let error = error.to_string();
    for word in ["manifest.json", "`sessions[0]`", "`occupancy.slots`"] {
        assert!(error.contains(word), "{error}");
    }
}
