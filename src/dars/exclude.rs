//! Problems that a run leaves out: nothing is drawn for them, and their trials in a journal do not count.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Problem;
use super::outcome::count_and_hash;
use crate::{Error, ErrorKind, Rejection, Result, Settings};

/// The reason for each problem, by index.
#[derive(Debug, Default)]
pub(super) struct Excluded(BTreeMap<usize, String>);

impl Excluded {
    /// If a problem is named twice, the first reason is kept.
    pub(super) fn new(rejections: Vec<Rejection>, problems: &[Problem]) -> Result<Self> {
        let mut excluded = BTreeMap::new();
        for Rejection { problem, reason } in rejections {
            if problem >= problems.len() {
                let count = problems.len();
                let reason = format!("problem {problem} of {count} is to be excluded ({reason})");
                return Err(Error::new(ErrorKind::Settings, reason));
            }
            excluded.entry(problem).or_insert(reason);
        }
        match excluded.first_key_value() {
            Some((first, reason)) if excluded.len() == problems.len() => {
                let id = &problems[*first].id;
                let reason = format!("all problems are excluded: {id:?}: {reason}");
                Err(Error::new(ErrorKind::Data, reason))
            }
            _ => Ok(Excluded(excluded)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has(&self, problem: usize) -> bool {
        self.0.contains_key(&problem)
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0
            .iter()
            .map(|(problem, reason)| (*problem, reason.as_str()))
    }

    /// Returns the items of a list by problem, without those of excluded problems.
    pub(super) fn rest<'p, T>(&self, all: &'p [T]) -> impl Iterator<Item = &'p T> {
        let left = all.iter().enumerate();
        left.filter(|(problem, _)| !self.has(*problem))
            .map(|(_, it)| it)
    }

    /// Returns the number of problems and a hash of their ids, as recorded with a data set.
    pub(super) fn settings(&self, problems: &[Arc<Problem>]) -> Settings {
        let ids = self.0.keys().map(|index| &problems[*index].id);
        count_and_hash(self.len(), ids)
    }
}
