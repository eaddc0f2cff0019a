//! The slots in use over the calls of a run, from the manifest's `sessions`.

use serde_json::{Map, Value};

/// The calls of a run with recorded slots, in order.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) recorded: Vec<Call>,
    /// The number of calls without: killed, or made by a version that did not record them.
    pub(super) without: usize,
}

/// A call of the run.
#[derive(Debug)]
pub(super) struct Call {
    /// When it began, as written in the manifest.
    pub(super) started: String,
    pub(super) slots: u64,
    pub(super) parts: Vec<Part>,
}

/// A part of a call's time, with means over it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// In seconds since the call began.
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) in_flight: f64,
    pub(super) grading: f64,
}

impl Call {
    /// Returns the duration in seconds.
    pub(super) fn duration(&self) -> f64 {
        self.parts.last().map_or(0.0, |part| part.to)
    }

    /// Returns the parts, merged to at most `most`.
    pub(super) fn joined(&self, most: usize) -> Vec<Part> {
        let each = self.parts.len().div_ceil(most.max(1)).max(1);
        self.parts.chunks(each).map(join).collect()
    }
}

fn join(parts: &[Part]) -> Part {
    let mean = |of: fn(&Part) -> f64| {
        let time: f64 = parts.iter().map(|part| part.to - part.from).sum();
        let sum: f64 = parts
            .iter()
            .map(|part| of(part) * (part.to - part.from))
            .sum();
        if time > 0.0 { sum / time } else { 0.0 }
    };
    Part {
        from: parts.first().map_or(0.0, |part| part.from),
        to: parts.last().map_or(0.0, |part| part.to),
        in_flight: mean(|part| part.in_flight),
        grading: mean(|part| part.grading),
    }
}

/// Reads the calls of a manifest. The error names the key.
pub(super) fn read(manifest: &Map<String, Value>) -> Result<Calls, String> {
    let mut calls = Calls::default();
    let sessions = manifest.get("sessions").and_then(Value::as_array);
    for (index, session) in sessions.into_iter().flatten().enumerate() {
        match session.get("occupancy") {
            None | Some(Value::Null) => calls.without += 1,
            Some(occupancy) => {
                let call = call(session, occupancy);
                let call = call.map_err(|reason| format!("`sessions[{index}]`: {reason}"))?;
                calls.recorded.push(call);
            }
        }
    }
    Ok(calls)
}

fn call(session: &Value, occupancy: &Value) -> Result<Call, String> {
    let number = |of: Option<&Value>| of.and_then(Value::as_f64).filter(|of| *of >= 0.0);
    let means = |name: &str| {
        let list = occupancy.get(name).and_then(Value::as_array);
        let means = list.and_then(|list| list.iter().map(|of| number(Some(of))).collect());
        let means: Option<Vec<f64>> = means;
        means.ok_or_else(|| format!("`occupancy.{name}` is not a list of numbers from 0 on"))
    };
    let slots = occupancy.get("slots").and_then(Value::as_u64);
    let slots = slots.filter(|slots| *slots > 0);
    let slots = slots.ok_or("`occupancy.slots` is not a count from 1 on")?;
    let interval = number(occupancy.get("interval")).filter(|width| *width > 0.0);
    let interval = interval.ok_or("`occupancy.interval` is not a number above 0")?;
    let (in_flight, grading) = (means("in_flight")?, means("grading")?);
    if in_flight.len() != grading.len() {
        return Err(format!(
            "`occupancy` has {} intervals of `in_flight` and {} of `grading`",
            in_flight.len(),
            grading.len()
        ));
    }
    let end = number(session.get("seconds")).unwrap_or(f64::INFINITY);
    let begin = |index: usize| index as f64 * interval;
    // The duration is rounded to milliseconds.
    if in_flight.len() > 1 && begin(in_flight.len() - 1) > end + 1e-3 {
        return Err(format!(
            "`occupancy` has {} intervals of {interval} s, but `seconds` is {end}",
            in_flight.len()
        ));
    }
    let started = session.get("started").and_then(Value::as_str);
    let means = in_flight.into_iter().zip(grading).enumerate();
    let parts = means.map(|(index, (in_flight, grading))| Part {
        from: begin(index),
        // A call shorter than a millisecond still has a duration.
        to: begin(index + 1).min(end.max(begin(index)).max(1e-3)),
        in_flight,
        grading,
    });
    Ok(Call {
        started: started.unwrap_or("–").to_owned(),
        slots,
        parts: parts.collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_one(session: Value) -> Result<Calls, String> {
        let manifest = json!({ "sessions": [session] });
        read(manifest.as_object().unwrap())
    }

    #[test]
    fn parts_end_with_the_call_and_are_joined_by_time() {
        let occupancy =
            json!({"slots": 4, "interval": 2.0, "in_flight": [4, 3.5, 1.0], "grading": [0, 0, 3]});
        let calls = read_one(json!({"seconds": 5.0, "occupancy": occupancy})).unwrap();
        let call = &calls.recorded[0];
        assert_eq!((call.slots, call.duration(), call.parts.len()), (4, 5.0, 3));
        let joined = call.joined(2);
        assert_eq!((joined[0].to, joined[0].in_flight), (4.0, 3.75));
        assert_eq!((joined[1].from, joined[1].grading), (4.0, 3.0));
        let one = call.joined(1)[0];
        assert_eq!((one.to, one.in_flight, one.grading), (5.0, 3.2, 0.6));
        assert_eq!(call.joined(9).len(), 3);
        let occupancy = json!({"slots": 4, "interval": 0.01, "in_flight": [2], "grading": [0]});
        let short = read_one(json!({"seconds": 0.0, "occupancy": occupancy})).unwrap();
        assert_eq!(short.recorded[0].duration(), 1e-3);
        let none = read_one(json!({"seconds": null})).unwrap();
        assert_eq!((none.recorded.len(), none.without), (0, 1));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let good = json!({"slots": 4, "interval": 2.0, "in_flight": [4, 4], "grading": [0, 0]});
        for (key, value, said) in [
            ("slots", json!(0), "`occupancy.slots`"),
            ("interval", json!(-1), "`occupancy.interval`"),
            ("in_flight", json!([1, "2"]), "`occupancy.in_flight`"),
            ("grading", json!(null), "`occupancy.grading`"),
            ("grading", json!([0]), "2 intervals of `in_flight` and 1"),
            ("interval", json!(9), "`seconds` is 3"),
        ] {
            let mut occupancy = good.clone();
            occupancy[key] = value;
            let error = read_one(json!({"seconds": 3, "occupancy": occupancy})).unwrap_err();
            assert!(
                error.contains(said) && error.contains("`sessions[0]`"),
                "{error}"
            );
        }
    }
}
