//! Sets of real numbers as unions of intervals, merged into a normal form where the ends can be
//! ordered.

use super::fraction::Fraction;
use super::functions::sign;
use crate::answer::budget::{Budget, Stop};
use crate::answer::numeric::{self, Numeric};

/// One interval: its ends (none: infinite) and whether they belong to it.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) low: Option<Fraction>,
    pub(crate) low_closed: bool,
    pub(crate) high: Option<Fraction>,
    pub(crate) high_closed: bool,
}

/// A union of intervals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reals {
    pub(crate) pieces: Vec<Piece>,
}

impl Piece {
    /// One number.
    pub(crate) fn point(value: Fraction) -> Piece {
        Piece {
            low: Some(value.clone()),
            low_closed: true,
            high: Some(value),
            high_closed: true,
        }
    }

    fn same(&self, other: &Piece, budget: &mut Budget) -> Result<bool, Stop> {
        if self.low_closed != other.low_closed || self.high_closed != other.high_closed {
            return Ok(false);
        }
        Ok(same_end(self.low.as_ref(), other.low.as_ref(), budget)?
            && same_end(self.high.as_ref(), other.high.as_ref(), budget)?)
    }

    /// Whether the ends are known to stand in the wrong order: nothing lies between.
    fn is_empty(&self, budget: &mut Budget) -> Result<bool, Stop> {
        Ok(match (&self.low, &self.high) {
            (Some(low), Some(high)) => match order(low, high, budget)? {
                Some(1) => true,
                Some(0) => !(self.low_closed && self.high_closed),
                _ => false,
            },
            _ => false,
        })
    }
}

fn same_end(
    left: Option<&Fraction>,
    right: Option<&Fraction>,
    budget: &mut Budget,
) -> Result<bool, Stop> {
    match (left, right) {
        (None, None) => Ok(true),
        (Some(left), Some(right)) => {
            Ok(left.same(right, budget)?
                || numeric::compare(left, right, budget)? == Numeric::Equal)
        }
        _ => Ok(false),
    }
}

/// Whether two ends may be those of an interval: not known to stand in the wrong order.
pub(super) fn in_order(low: &Fraction, high: &Fraction, budget: &mut Budget) -> Result<bool, Stop> {
    Ok(!matches!(order(low, high, budget)?, Some(0 | 1)))
}

/// The sign of `left - right`, where it is known.
fn order(left: &Fraction, right: &Fraction, budget: &mut Budget) -> Result<Option<i8>, Stop> {
    sign(&left.subtract(right, budget)?, budget)
}

impl Reals {
    /// All real numbers.
    pub(crate) fn all() -> Reals {
        Reals {
            pieces: vec![Piece {
                low: None,
                low_closed: false,
                high: None,
                high_closed: false,
            }],
        }
    }

    /// In normal form where all ends can be ordered; `None` where not.
    fn merged(&self, budget: &mut Budget) -> Result<Option<Vec<Piece>>, Stop> {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in &self.pieces {
            if !piece.is_empty(budget)? {
                pieces.push(piece.clone());
            }
        }
        if pieces.len() > 60 {
            return Err(Stop::Limit);
        }
        // Insertion sort by the lower end: comparisons may fail.
        for i in 1..pieces.len() {
            let mut j = i;
            while j > 0 {
                match starts_before(&pieces[j], &pieces[j - 1], budget)? {
                    Some(true) => pieces.swap(j, j - 1),
                    Some(false) => break,
                    None => return Ok(None),
                }
                j -= 1;
            }
        }
        let mut merged: Vec<Piece> = Vec::new();
        for piece in pieces {
            let Some(last) = merged.last_mut() else {
                merged.push(piece);
                continue;
            };
            let touch = match (&last.high, &piece.low) {
                (None, _) | (_, None) => true,
                (Some(high), Some(low)) => match order(low, high, budget)? {
                    Some(1) => false,
                    Some(0) => last.high_closed || piece.low_closed,
                    Some(_) => true,
                    None => return Ok(None),
                },
            };
            if !touch {
                merged.push(piece);
                continue;
            }
            let extends = match (&last.high, &piece.high) {
                (None, _) => false,
                (_, None) => true,
                (Some(a), Some(b)) => match order(b, a, budget)? {
                    Some(1) => true,
                    Some(0) => piece.high_closed && !last.high_closed,
                    Some(_) => false,
                    None => return Ok(None),
                },
            };
            if extends {
                last.high = piece.high;
                last.high_closed = piece.high_closed;
            }
        }
        Ok(Some(merged))
    }

    /// Whether two are the same set: in normal form, or piece by piece in any order where the
    /// ends cannot be ordered.
    pub(crate) fn same(&self, other: &Reals, budget: &mut Budget) -> Result<bool, Stop> {
        let (left, right) = match (self.merged(budget)?, other.merged(budget)?) {
            (Some(left), Some(right)) => (left, right),
            _ => (self.pieces.clone(), other.pieces.clone()),
        };
        if left.len() != right.len() {
            return Ok(false);
        }
        // Constraints that contradict one another are more likely misread than meant: only an
        // empty set that was written as one equals another.
        if left.is_empty() && !(self.pieces.is_empty() && other.pieces.is_empty()) {
            return Ok(false);
        }
        let mut taken = vec![false; right.len()];
        'next: for piece in &left {
            for (other, taken) in right.iter().zip(&mut taken) {
                if !*taken && piece.same(other, budget)? {
                    *taken = true;
                    continue 'next;
                }
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// All other real numbers, where all ends can be ordered.
    pub(crate) fn complement(&self, budget: &mut Budget) -> Result<Reals, Stop> {
        let mut pieces = Vec::new();
        let mut low: Option<(Fraction, bool)> = None;
        let mut started = false;
        for piece in self.merged(budget)?.ok_or(Stop::Unknown)? {
            if let Some(end) = piece.low {
                pieces.push(Piece {
                    low: low.as_ref().map(|(low, _)| low.clone()),
                    low_closed: low.as_ref().is_some_and(|(_, closed)| *closed),
                    high: Some(end),
                    high_closed: !piece.low_closed,
                });
            }
            started = true;
            match piece.high {
                Some(end) => low = Some((end, !piece.high_closed)),
                None => return Ok(Reals { pieces }),
            }
        }
        if !started {
            return Ok(Reals::all());
        }
        pieces.push(Piece {
            low_closed: low.as_ref().is_some_and(|(_, closed)| *closed),
            low: low.map(|(low, _)| low),
            high: None,
            high_closed: false,
        });
        Ok(Reals { pieces })
    }

    /// What both have in common, where all ends can be ordered.
    pub(crate) fn intersect(&self, other: &Reals, budget: &mut Budget) -> Result<Reals, Stop> {
        let mut pieces = Vec::new();
        for a in &self.pieces {
            for b in &other.pieces {
                let (low, low_closed) = match (&a.low, &b.low) {
                    (None, _) => (b.low.clone(), b.low_closed),
                    (_, None) => (a.low.clone(), a.low_closed),
                    (Some(x), Some(y)) => match order(x, y, budget)?.ok_or(Stop::Unknown)? {
                        1 => (a.low.clone(), a.low_closed),
                        0 => (a.low.clone(), a.low_closed && b.low_closed),
                        _ => (b.low.clone(), b.low_closed),
                    },
                };
                let (high, high_closed) = match (&a.high, &b.high) {
                    (None, _) => (b.high.clone(), b.high_closed),
                    (_, None) => (a.high.clone(), a.high_closed),
                    (Some(x), Some(y)) => match order(x, y, budget)?.ok_or(Stop::Unknown)? {
                        -1 => (a.high.clone(), a.high_closed),
                        0 => (a.high.clone(), a.high_closed && b.high_closed),
                        _ => (b.high.clone(), b.high_closed),
                    },
                };
                let piece = Piece {
                    low,
                    low_closed,
                    high,
                    high_closed,
                };
                if !piece.is_empty(budget)? {
                    pieces.push(piece);
                }
            }
        }
        Ok(Reals { pieces })
    }
}

fn starts_before(left: &Piece, right: &Piece, budget: &mut Budget) -> Result<Option<bool>, Stop> {
    Ok(match (&left.low, &right.low) {
        (None, None) => Some(false),
        (None, Some(_)) => Some(true),
        (Some(_), None) => Some(false),
        (Some(a), Some(b)) => match order(a, b, budget)? {
            Some(-1) => Some(true),
            Some(0) => Some(left.low_closed && !right.low_closed),
            Some(_) => Some(false),
            None => None,
        },
    })
}
