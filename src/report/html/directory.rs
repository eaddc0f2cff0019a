//! Reads a finished directory for a report. Problems and the numbers of their correct trials are held in
//! memory; texts are streamed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use serde_json::{Map, Value};

use super::calls::{self, Calls};
use super::examples::{Candidate, Examples};
use crate::data::DataSetFiles;
use crate::data::lines::Rows;
use crate::error::json_reason;
use crate::report::groups::{Key, level};
use crate::{Error, ErrorKind, Result};

/// A row of `problems.jsonl`, with data from its trials.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) metadata: Map<String, Value>,
    pub(super) trials: u32,
    pub(super) correct: u32,
    pub(super) pass_rate: Option<f64>,
    pub(super) target: Option<u32>,
    pub(super) kept: u32,
    pub(super) stop_reason: String,
    /// The number of its trials read so far, and of correct ones.
    pub(super) seen: [u32; 2],
    /// The numbers of its correct trials, without duplicates if the run leaves them out.
    pub(super) successes: Vec<u32>,
    /// The index of its group.
    pub(super) group: usize,
}

/// The outcome of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Correct, and in the data set.
    Kept,
    /// Correct, but beyond the problem's target, or a duplicate that was left out.
    Surplus,
    /// Wrong, with an answer or a regular end.
    Wrong,
    /// Wrong, cut off at the limit of tokens or in a loop.
    Cut,
}

impl Fate {
    pub(super) const ALL: [Fate; 4] = [Fate::Kept, Fate::Surplus, Fate::Wrong, Fate::Cut];
}

/// A finished directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) manifest: Map<String, Value>,
    /// The calls of the run, with their slots in use.
    pub(super) calls: Calls,
    pub(super) problems: Vec<Row>,
    /// The number of excluded problems, which are not part of any figure.
    pub(super) excluded: u64,
    /// The names of the groups, the easiest first.
    pub(super) groups: Vec<String>,
    /// Whether problems are grouped by level. Otherwise, if no problem has a level, by pass rate.
    pub(super) by_level: bool,
    /// The number of trials with each fate, by length in tokens.
    pub(super) lengths: BTreeMap<u32, [u64; 4]>,
    /// The number of trials without a length.
    pub(super) without_length: u64,
    /// The number of trials that each rule decided: equal, not equal.
    pub(super) rules: BTreeMap<String, [u64; 2]>,
    pub(super) examples: Examples,
}

impl Directory {
    pub(super) fn read(files: DataSetFiles<'_>) -> Result<Self> {
        let manifest = read_manifest(files.manifest)?;
        let calls = calls::read(&manifest).map_err(|reason| {
            let reason = format!("{}: {reason}", files.manifest.display());
            Error::new(ErrorKind::Data, reason)
        })?;
        let mut problems = read_problems(files.problems)?;
        let all = problems.len();
        problems.retain(|row| row.stop_reason != "excluded");
        if problems.is_empty() {
            let reason = format!("{}: all problems are excluded", files.problems.display());
            return Err(Error::new(ErrorKind::Data, reason));
        }
        let excluded = (all - problems.len()) as u64;
        let by_level = problems.iter().any(|row| level(&row.metadata).is_some());
        let keys: Vec<Key> = problems.iter().map(|row| key(row, by_level)).collect();
        let mut order: BTreeMap<Key, usize> = keys.iter().map(|key| (key.clone(), 0)).collect();
        for (index, at) in order.values_mut().enumerate() {
            *at = index;
        }
        let mut read = Directory {
            manifest,
            calls,
            problems,
            excluded,
            groups: order.keys().map(|key| key.clone().name(by_level)).collect(),
            by_level,
            lengths: BTreeMap::new(),
            without_length: 0,
            rules: BTreeMap::new(),
            examples: Examples::new(order.len()),
        };
        for (row, key) in read.problems.iter_mut().zip(&keys) {
            row.group = order[key];
        }
        read.read_trials(files.trials)?;
        read.examples.describe(&read.problems);
        read.examples.ask(files.problems, &read.problems)?;
        Ok(read)
    }

    /// Returns whether the run left duplicates out.
    pub(super) fn dedup(&self) -> bool {
        self.manifest.get("dedup") == Some(&Value::Bool(true))
    }

    /// Returns an integer of the manifest by its path.
    pub(super) fn count(&self, path: [&str; 2]) -> Option<u64> {
        self.manifest.get(path[0])?.get(path[1])?.as_u64()
    }

    fn read_trials(&mut self, path: &Path) -> Result<()> {
        let indices: HashMap<String, usize> = self
            .problems
            .iter()
            .enumerate()
            .map(|(index, row)| (row.id.clone(), index))
            .collect();
        let mut kept = vec![0u32; self.problems.len()];
        let dedup = self.dedup();
        for_rows(path, |line, row| {
            let id = text(&row, "problem")?;
            let index = *indices.get(&id).ok_or_else(|| {
                format!(
                    "a trial of problem {id:?}, which is not in problems.jsonl, or excluded there"
                )
            })?;
            let problem = &mut self.problems[index];
            let number = match number(&row, "trial")? {
                Some(number) => number,
                None => problem.seen[0],
            };
            let next = problem.seen[0];
            if number != next {
                return Err(format!(
                    "trial {number} of problem {id:?} where its trial {next} should be"
                ));
            }
            let equal = match row.get("equal") {
                Some(Value::Bool(equal)) => *equal,
                _ => return Err("`equal` is neither true nor false".into()),
            };
            let repeats = number_or_none(&row, "duplicate_of")?.is_some();
            let accepted = match row.get("accepted") {
                Some(Value::Bool(accepted)) => *accepted,
                // The first correct trials are kept.
                None => equal && kept[index] < problem.kept && !(dedup && repeats),
                Some(_) => return Err("`accepted` is neither true nor false".into()),
            };
            if accepted && !equal {
                return Err("`accepted`, but not `equal`".into());
            }
            kept[index] += u32::from(accepted);
            problem.seen[0] += 1;
            problem.seen[1] += u32::from(equal);
            if equal && !(dedup && repeats) {
                problem.successes.push(number);
            }
            let finish = row.get("finish").and_then(Value::as_str);
            let fate = match (accepted, equal, finish) {
                (true, _, _) => Fate::Kept,
                (_, true, _) => Fate::Surplus,
                (_, _, Some("length" | "loop")) => Fate::Cut,
                _ => Fate::Wrong,
            };
            match number_or_none(&row, "tokens")?.filter(|&tokens| tokens > 0) {
                Some(tokens) => self.lengths.entry(tokens).or_default()[fate as usize] += 1,
                None => self.without_length += 1,
            }
            let rule = row.get("rule").and_then(Value::as_str);
            let rule = rule.unwrap_or("not named");
            match self.rules.get_mut(rule) {
                Some(counts) => counts[usize::from(!equal)] += 1,
                None => {
                    let counts = [u64::from(equal), u64::from(!equal)];
                    self.rules.insert(rule.to_owned(), counts);
                }
            }
            self.examples.see(Candidate {
                group: problem.group,
                problem: index,
                accepted,
                equal,
                rule,
                line,
                row: &row,
            });
            Ok(())
        })?;
        for (row, &kept) in self.problems.iter().zip(&kept) {
            let [trials, correct] = row.seen;
            let counts = [
                ("trials", row.trials, trials),
                ("correct", row.correct, correct),
                ("kept", row.kept, kept),
            ];
            for (name, said, found) in counts {
                if said != found {
                    let reason = format!(
                        "{}: problem {:?} has {found} {name}, but problems.jsonl says {said}",
                        path.display(),
                        row.id
                    );
                    return Err(Error::new(ErrorKind::Data, reason));
                }
            }
        }
        Ok(())
    }
}

fn key(row: &Row, by_level: bool) -> Key {
    match by_level {
        true => Key::of_level(level(&row.metadata)),
        false => Key::of_rate(row.pass_rate, row.correct),
    }
}

fn read_manifest(path: &Path) -> Result<Map<String, Value>> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    let bad = |reason: String| Error::new(ErrorKind::Data, format!("{}:{reason}", path.display()));
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(manifest)) => Ok(manifest),
        Ok(_) => Err(bad("1: not a JSON object".into())),
        Err(error) => Err(bad(format!("{}: {}", error.line(), json_reason(&error)))),
    }
}

fn read_problems(path: &Path) -> Result<Vec<Row>> {
    let mut problems = Vec::new();
    let mut seen: HashMap<String, u64> = HashMap::new();
    for_rows(path, |line, mut row| {
        let id = text(&row, "id")?;
        if let Some(first) = seen.insert(id.clone(), line) {
            return Err(format!("id {id:?} was line {first}'s already"));
        }
        let count = |name: &str| number(&row, name)?.ok_or_else(|| format!("no `{name}`"));
        let (trials, correct, kept) = (count("trials")?, count("correct")?, count("kept")?);
        if correct > trials || kept > correct {
            return Err(format!(
                "{kept} kept of {correct} correct of {trials} trials"
            ));
        }
        let pass_rate = match row.get("pass_rate") {
            None | Some(Value::Null) => None,
            Some(rate) => {
                let rate = rate.as_f64().filter(|rate| (0.0..=1.0).contains(rate));
                Some(rate.ok_or("`pass_rate` is not a number from 0 to 1")?)
            }
        };
        let target = number_or_none(&row, "target")?;
        let stop_reason = row.get("stop_reason").and_then(Value::as_str);
        let stop_reason = stop_reason.unwrap_or_default().to_owned();
        let metadata = match row.get_mut("metadata").map(Value::take) {
            Some(Value::Object(metadata)) => metadata,
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Err("`metadata` is not an object".into()),
        };
        let by_count = (trials > 0).then(|| f64::from(correct) / f64::from(trials));
        problems.push(Row {
            id,
            metadata,
            trials,
            correct,
            pass_rate: pass_rate.or(by_count),
            target,
            kept,
            stop_reason,
            seen: [0; 2],
            successes: Vec::new(),
            group: 0,
        });
        Ok(())
    })?;
    if problems.is_empty() {
        let reason = format!("{}: no problems", path.display());
        return Err(Error::new(ErrorKind::Data, reason));
    }
    Ok(problems)
}

/// Calls a function with every row of a file. Its errors get the file's name and the line.
pub(super) fn for_rows(
    path: &Path,
    mut each: impl FnMut(u64, Map<String, Value>) -> Result<(), String>,
) -> Result<()> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    for row in Rows::new(BufReader::with_capacity(1 << 16, file)) {
        let row = row.map_err(|error| Error::io(path, error))?;
        let line = row.line;
        row.object
            .and_then(|row| each(line, row))
            .map_err(|reason| {
                Error::new(
                    ErrorKind::Data,
                    format!("{}:{line}: {reason}", path.display()),
                )
            })?;
    }
    Ok(())
}

pub(super) fn text(row: &Map<String, Value>, name: &str) -> Result<String, String> {
    match row.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("`{name}` is not a text")),
        None => Err(format!("no `{name}`")),
    }
}

/// Returns a field that must be a count if it exists.
fn number(row: &Map<String, Value>, name: &str) -> Result<Option<u32>, String> {
    let Some(value) = row.get(name) else {
        return Ok(None);
    };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(format!("`{name}` is not a whole number below 2^32")),
    }
}

/// Returns a field that must be a count or `null` if it exists.
fn number_or_none(row: &Map<String, Value>, name: &str) -> Result<Option<u32>, String> {
    match row.get(name) {
        Some(Value::Null) => Ok(None),
        _ => number(row, name),
    }
}
