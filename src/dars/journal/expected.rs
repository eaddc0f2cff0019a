//! Checks whether a journal belongs to the run that opens it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::notes::{Header, Note};
use crate::dars::limits::tightened;
use crate::dars::outcome::fingerprint;
use crate::dars::{CancelHandle, Problem, Session};
use crate::error::counted;
use crate::{Error, ErrorKind, Result, Settings, Trial, TrialId, trial_seed};

/// The key of the problems in a configuration.
pub(super) const PROBLEMS: &str = "problems";
/// The key of the excluded problems.
pub(super) const EXCLUDED: &str = "excluded";
/// Settings that decide which trials are requested and kept, but not the trials themselves.
const RULES: [&str; 4] = ["strategy", "dedup", "near_duplicates", EXCLUDED];

/// Limits that depend only on a problem's own trials.
const OF_A_PROBLEM: [&str; 4] = [
    "trials_per_problem",
    "give_up_after",
    "futility",
    "tokens_per_problem",
];

/// Returns whether all problems share a limit of trials.
fn is_shared(limits: &Settings) -> bool {
    limits.get("trials").is_some_and(|most| !most.is_null())
}

/// The latest values in a journal of what may change between calls.
pub(super) struct Latest {
    pub(super) limits: Settings,
    pub(super) problems: Settings,
    pub(super) rules: Settings,
}

impl Latest {
    pub(super) fn of(header: &Header, notes: &[Note]) -> Self {
        let mut latest = Latest {
            limits: header.limits.clone(),
            problems: problems_of(&header.configuration),
            rules: rules_of(&header.configuration),
        };
        for note in notes {
            match note {
                Note::Limits(raised) => latest.limits = raised.clone(),
                Note::Problems(more) => latest.problems = more.clone(),
                Note::Rules(changed) => latest.rules = changed.clone(),
                Note::Begun(_) | Note::Ended(_) => {}
            }
        }
        latest
    }
}

/// The run for which a journal is opened.
pub(in crate::dars) struct Expected<'a> {
    pub(in crate::dars) configuration: &'a Settings,
    pub(in crate::dars) limits: &'a Settings,
    pub(in crate::dars) problems: &'a [Arc<Problem>],
    /// The index of each problem by its id.
    pub(in crate::dars) indices: &'a HashMap<&'a str, u32>,
    pub(in crate::dars) seed: u64,
    /// Whether nothing is drawn. Limits then only select among the trials, so they may be lower than before.
    pub(in crate::dars) selects: bool,
    /// The call that opens the journal.
    pub(in crate::dars) session: &'a Session,
    /// Cancels the reading of a long journal.
    pub(in crate::dars) cancel: &'a CancelHandle,
}

impl Expected<'_> {
    /// Returns the journal's latest values if its configuration matches.
    pub(super) fn admit(&self, path: &Path, header: &Header, notes: &[Note]) -> Result<Latest> {
        let latest = Latest::of(header, notes);
        let mut differences = Vec::new();
        let rest = |configuration: &Settings| {
            let mut rest = configuration.clone();
            for key in RULES.iter().chain([&PROBLEMS]) {
                rest.shift_remove(*key);
            }
            Value::Object(rest)
        };
        let (was, is) = (rest(&header.configuration), rest(self.configuration));
        compare("", &was, &is, &mut differences);
        differences.extend(self.check_rules(&latest));
        differences.extend(self.check_problems(&latest.problems));
        match differences.is_empty() {
            true => Ok(latest),
            false => Err(other_configuration(path, &differences)),
        }
    }

    /// Checks the rules. A changed strategy, target, deduplication or exclusion requests other trials, but
    /// does not change any trial: existing ones are used and missing ones are drawn. Only a limit of trials
    /// over all problems makes the result depend on what was requested before.
    fn check_rules(&self, latest: &Latest) -> Vec<String> {
        let mut differences = Vec::new();
        let (was, is) = (
            Value::Object(latest.rules.clone()),
            Value::Object(rules_of(self.configuration)),
        );
        compare("", &was, &is, &mut differences);
        if !is_shared(self.limits) && !is_shared(&latest.limits) {
            differences.clear();
        }
        let reason = "which changes what a limit of trials over all problems leaves for each";
        let explained = differences.iter().map(|it| format!("{it}, {reason}"));
        explained.collect()
    }

    /// Checks the problems. Problems may be appended: earlier problems do not depend on later ones, unless
    /// all share a limit of trials.
    fn check_problems(&self, found: &Settings) -> Vec<String> {
        let mut differences = Vec::new();
        let count = count_of(found);
        let before = usize::try_from(count)
            .ok()
            .and_then(|n| self.problems.get(..n));
        match before {
            Some(before) if fingerprint(before) != *found => {
                let hash = found.get("hash").unwrap_or(&Value::Null);
                let is = fingerprint(before);
                let is = is.get("hash").unwrap_or(&Value::Null);
                let reason = match count == self.problems.len() as u64 {
                    true => "the problems are others".to_owned(),
                    false => format!("the first {} are others", counted(count, "problem")),
                };
                differences.push(format!("{reason} (their hash was {hash}, is {is})"));
            }
            Some(before) if before.len() < self.problems.len() => {
                if self
                    .limits
                    .get("trials")
                    .is_some_and(|most| !most.is_null())
                {
                    let is = self.problems.len();
                    differences.push(format!(
                        "problems.count was {count}, is {is}, which changes what a limit of trials \
                         over all problems leaves for each"
                    ));
                }
            }
            Some(_) => {}
            None => differences.push(format!(
                "problems.count was {count}, is {}: problems may be added, but none left out",
                self.problems.len()
            )),
        }
        differences
    }

    /// Checks the limits. A limit may be raised or lifted: the trials drawn under the lower limit are the
    /// first ones that the higher one allows. A limit of a problem may also be lowered, which leaves trials
    /// out. A limit of the whole run must not be lowered, and neither must any limit if the problems share a
    /// limit of trials, because the result then depends on the order.
    pub(super) fn check_limits(&self, path: &Path, found: &Settings) -> Result<()> {
        let mut differences = Vec::new();
        if self.selects {
            return Ok(());
        }
        for (name, now) in self.limits {
            let was = found.get(name).and_then(Value::as_f64);
            let is_bound = !OF_A_PROBLEM.contains(&name.as_str());
            if let Some(how) = tightened(name, was, now.as_f64())
                && (is_bound || is_shared(found) || is_shared(self.limits))
            {
                let was = found.get(name).unwrap_or(&Value::Null);
                differences.push(format!("limit {name} was {was}, {how} to {now}"));
            }
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(other_configuration(path, &differences)),
        }
    }

    /// [`name`](Expected::name), with errors that name the journal.
    pub(super) fn name_in(&self, journal: &Path, trial: &Trial) -> Result<TrialId> {
        self.name(trial).map_err(|reason| {
            Error::new(
                ErrorKind::Journal,
                format!("{}: {reason}", journal.display()),
            )
        })
    }

    /// Returns a row's trial, if it belongs to this run.
    pub(super) fn name(&self, trial: &Trial) -> std::result::Result<TrialId, String> {
        let Some(&problem) = self.indices.get(trial.problem.as_str()) else {
            return Err(format!("the run has no problem {:?}", trial.problem));
        };
        if trial.seed != trial_seed(self.seed, &trial.problem, trial.number) {
            return Err(format!(
                "trial {} of problem {:?} has another run's seed",
                trial.number, trial.problem
            ));
        }
        Ok(TrialId {
            problem,
            number: trial.number,
        })
    }
}

/// Returns the rules in a configuration.
pub(super) fn rules_of(configuration: &Settings) -> Settings {
    let named = |key: &&str| Some(((*key).to_owned(), configuration.get(*key)?.clone()));
    RULES.iter().filter_map(named).collect()
}

/// Returns the number of problems that a configuration's hash covers.
fn count_of(problems: &Settings) -> u64 {
    problems.get("count").and_then(Value::as_u64).unwrap_or(0)
}

/// Returns the problems in a configuration.
pub(super) fn problems_of(configuration: &Settings) -> Settings {
    let problems = configuration.get(PROBLEMS).and_then(Value::as_object);
    problems.cloned().unwrap_or_default()
}

fn other_configuration(path: &Path, differences: &[String]) -> Error {
    Error::new(
        ErrorKind::Journal,
        format!(
            "{} is of a run with another configuration: {}",
            path.display(),
            differences.join("; ")
        ),
    )
}

/// Lists the differences between two settings, as `path was this, is that`.
pub(super) fn compare(at: &str, was: &Value, is: &Value, differences: &mut Vec<String>) {
    match (was, is) {
        (Value::Object(was), Value::Object(is)) => {
            let mut names: Vec<_> = was.keys().collect();
            names.extend(is.keys().filter(|name| !was.contains_key(*name)));
            for name in names {
                let at = match at {
                    "" => name.clone(),
                    _ => format!("{at}.{name}"),
                };
                let side = |side: &serde_json::Map<String, Value>| {
                    side.get(name).cloned().unwrap_or(Value::Null)
                };
                compare(&at, &side(was), &side(is), differences);
            }
        }
        (Value::Number(was), Value::Number(is)) if is_same(was, is) => {}
        _ if was == is => {}
        _ => differences.push(format!("{at} was {was}, is {is}")),
    }
}

/// Returns whether two numbers are the same. JSON may change a fraction by one unit of rounding. (3 differs
/// from 3.0, which a chat template may print differently.)
fn is_same(was: &serde_json::Number, is: &serde_json::Number) -> bool {
    if was == is || !(was.is_f64() && is.is_f64()) {
        return was == is;
    }
    match (was.as_f64(), is.as_f64()) {
        (Some(was), Some(is)) => {
            was.is_sign_positive() == is.is_sign_positive()
                && was.to_bits().abs_diff(is.to_bits()) <= 1
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_unless_json_rounds_them() {
        let number = |text: &str| match serde_json::from_str(text) {
            Ok(Value::Number(number)) => number,
            other => panic!("{other:?}"),
        };
        let next = f64::from_bits(0.1_f64.to_bits() + 1).to_string();
        for (was, is, same) in [
            ("3", "3", true),
            ("3", "3.0", false),
            ("0.1", "0.1", true),
            ("0.1", &next, true),
            ("0.1", "0.1000000000000001", false),
            ("0.7", "0.8", false),
            ("1", "2", false),
            ("-0.0", "0.0", true),
        ] {
            assert_eq!(is_same(&number(was), &number(is)), same, "{was} and {is}");
        }
    }
}
