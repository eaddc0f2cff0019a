//! Sets of real numbers as unions of intervals, merged into canonical form if the endpoints can be ordered.

use super::functions::sign;
use super::written::Scalar;
use crate::answer::budget::{Budget, EvalError};

/// An interval: its endpoints (a missing one is infinite) and whether they belong to it.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) low: Option<Scalar>,
    pub(crate) low_closed: bool,
    pub(crate) high: Option<Scalar>,
    pub(crate) high_closed: bool,
}

/// A union of intervals.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reals {
    pub(crate) pieces: Vec<Piece>,
}

impl Piece {
    /// Returns the interval of a single number.
    pub(crate) fn point(value: Scalar) -> Piece {
        Piece {
            low: Some(value.clone()),
            low_closed: true,
            high: Some(value),
            high_closed: true,
        }
    }

    /// Returns whether the interval is known to be empty.
    fn is_empty(&self, budget: &mut Budget) -> Result<bool, EvalError> {
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

/// Returns whether two numbers may be the endpoints of an interval: they are not known to be in the wrong
/// order.
pub(super) fn in_order(
    low: &Scalar,
    high: &Scalar,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    Ok(!matches!(order(low, high, budget)?, Some(0 | 1)))
}

/// Returns the sign of `left - right`, if it is known.
fn order(left: &Scalar, right: &Scalar, budget: &mut Budget) -> Result<Option<i8>, EvalError> {
    sign(&left.value.subtract(&right.value, budget)?, budget)
}

impl Reals {
    /// Returns all real numbers.
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

    /// Returns the canonical form, or `None` if the endpoints cannot be ordered.
    fn merged(&self, budget: &mut Budget) -> Result<Option<Vec<Piece>>, EvalError> {
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in &self.pieces {
            if !piece.is_empty(budget)? {
                pieces.push(piece.clone());
            }
        }
        if pieces.len() > 60 {
            return Err(EvalError::LimitExceeded);
        }
        // Insertion sort by the lower endpoint, because comparisons may fail.
        for i in 1..pieces.len() {
            let mut j = i;
            while j > 0 {
                budget.spend(1)?;
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

    /// Returns the pieces of two sets for comparison, in canonical form if all endpoints of both can be
    /// ordered. Returns `None` if this set turns out to be empty: contradictory constraints are more likely
    /// misread than meant.
    pub(crate) fn comparable(
        &self,
        other: &Reals,
        budget: &mut Budget,
    ) -> Result<Option<[Vec<Piece>; 2]>, EvalError> {
        let (left, right) = match (self.merged(budget)?, other.merged(budget)?) {
            (Some(left), Some(right)) => (left, right),
            _ => (self.pieces.clone(), other.pieces.clone()),
        };
        if left.is_empty() && !(self.pieces.is_empty() && other.pieces.is_empty()) {
            return Ok(None);
        }
        Ok(Some([left, right]))
    }

    /// Returns whether two sets are equal, with exactly equal endpoints.
    pub(super) fn same(&self, other: &Reals, budget: &mut Budget) -> Result<bool, EvalError> {
        let Some([left, right]) = self.comparable(other, budget)? else {
            return Ok(false);
        };
        if left.len() != right.len() {
            return Ok(false);
        }
        for (a, b) in left.iter().zip(&right) {
            budget.spend(1)?;
            let same_end =
                |a: &Option<Scalar>, b: &Option<Scalar>, budget: &mut Budget| match (a, b) {
                    (None, None) => Ok(true),
                    (Some(a), Some(b)) => a.value.same(&b.value, budget),
                    _ => Ok(false),
                };
            if a.low_closed != b.low_closed
                || a.high_closed != b.high_closed
                || !same_end(&a.low, &b.low, budget)?
                || !same_end(&a.high, &b.high, budget)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the complement, if all endpoints can be ordered.
    pub(crate) fn complement(&self, budget: &mut Budget) -> Result<Reals, EvalError> {
        let mut pieces = Vec::new();
        let mut low: Option<(Scalar, bool)> = None;
        let mut started = false;
        for piece in self.merged(budget)?.ok_or(EvalError::Unsupported)? {
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

    /// Returns the intersection, if all endpoints can be ordered.
    pub(crate) fn intersect(&self, other: &Reals, budget: &mut Budget) -> Result<Reals, EvalError> {
        let mut pieces = Vec::new();
        for a in &self.pieces {
            for b in &other.pieces {
                budget.spend(1)?;
                let (low, low_closed) = match (&a.low, &b.low) {
                    (None, _) => (b.low.clone(), b.low_closed),
                    (_, None) => (a.low.clone(), a.low_closed),
                    (Some(x), Some(y)) => {
                        match order(x, y, budget)?.ok_or(EvalError::Unsupported)? {
                            1 => (a.low.clone(), a.low_closed),
                            0 => (a.low.clone(), a.low_closed && b.low_closed),
                            _ => (b.low.clone(), b.low_closed),
                        }
                    }
                };
                let (high, high_closed) = match (&a.high, &b.high) {
                    (None, _) => (b.high.clone(), b.high_closed),
                    (_, None) => (a.high.clone(), a.high_closed),
                    (Some(x), Some(y)) => {
                        match order(x, y, budget)?.ok_or(EvalError::Unsupported)? {
                            -1 => (a.high.clone(), a.high_closed),
                            0 => (a.high.clone(), a.high_closed && b.high_closed),
                            _ => (b.high.clone(), b.high_closed),
                        }
                    }
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

fn starts_before(
    left: &Piece,
    right: &Piece,
    budget: &mut Budget,
) -> Result<Option<bool>, EvalError> {
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
