//! Compares numbers and expressions: exactly, by ball arithmetic, as decimals, with units, as ratios and as
//! residues.

use dashu_ratio::RBig;

use super::compare::{Compared, Comparison, Tolerance};
use crate::answer::budget::EvalError;
use crate::answer::numeric::{self, Numeric};
use crate::answer::value::{
    Fraction, Part, Scalar, Unit, Value, differ_by_constant, digits, is_negative, power,
    same_progression, seconds, whole,
};

/// The number of significant digits from which a decimal is assumed to be rounded.
const FLOATING_DIGITS: usize = 12;

impl Comparison<'_> {
    /// Returns whether two numbers or expressions are equal, by their canonical forms or by ball arithmetic.
    pub(super) fn same(&mut self, left: &Fraction, right: &Fraction) -> Compared {
        if left.same(right, self.budget)? {
            return Ok(true);
        }
        match numeric::compare(left, right, self.budget)? {
            Numeric::Equal => {
                self.numeric = true;
                Ok(true)
            }
            Numeric::Different | Numeric::Undecided => Ok(false),
        }
    }

    /// Returns whether two numbers or expressions are equal or within the tolerance. Every comparison of
    /// numbers goes through here, however deep they are nested.
    pub(super) fn scalars(&mut self, left: &Scalar, right: &Scalar) -> Compared {
        if self.same(&left.value, &right.value)? {
            return Ok(true);
        }
        if !left.value.is_constant() || !right.value.is_constant() {
            if same_progression(&left.value, &right.value, self.budget)? {
                return Ok(true);
            }
            if self.options.constant_of_integration
                && differ_by_constant(&left.value, &right.value, self.budget)?
            {
                return Ok(true);
            }
            // Expressions with variables are compared exactly.
            if !left.has_coordinates() && !right.has_coordinates() {
                return Ok(false);
            }
        }
        // Neither side is inexact.
        if self.options.tolerance == Tolerance::Exact && !left.is_decimal() && !right.is_decimal() {
            return Ok(false);
        }
        let (reference, answer) = self.sides(left, right);
        self.near(reference, answer)
    }

    /// Returns whether each coordinate of an answer equals the reference's or is within the tolerance.
    fn near(&mut self, reference: &Scalar, answer: &Scalar) -> Compared {
        let (mut expected, mut given) = (reference.parts(self.budget)?, answer.parts(self.budget)?);
        // Zero coordinates are not written.
        self.budget.spend(expected.len() * given.len())?;
        let missing = |parts: &[Part], others: &[Part]| -> Vec<Part> {
            let is_new = |other: &&Part| !parts.iter().any(|part| part.same_axis(other));
            others.iter().filter(is_new).map(Part::zero).collect()
        };
        expected.extend(missing(&expected, &given));
        given.extend(missing(&given, &expected));
        for part in &expected {
            let Some(other) = given.iter().find(|other| other.same_axis(part)) else {
                return Ok(false);
            };
            // A single coordinate is already known to differ.
            let same = expected.len() > 1 && self.same(&part.value, &other.value)?;
            if !same && !self.near_part(part, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn near_part(&mut self, reference: &Part, answer: &Part) -> Compared {
        if !reference.value.is_constant() || !answer.value.is_constant() {
            return Ok(false);
        }
        for decimal in [reference, answer] {
            let Some((of, step)) = &decimal.step else {
                continue;
            };
            let count = decimal.value.divide(of, self.budget)?.as_rational();
            let count = match count {
                Some(count) => digits(&count, step, self.budget)?,
                None => 0,
            };
            if count < FLOATING_DIGITS {
                continue;
            }
            // Digits beyond the 12th are floating-point noise.
            let more =
                i64::try_from(count - FLOATING_DIGITS).map_err(|_| EvalError::LimitExceeded)?;
            let unit = step * power(&whole(10), more, self.budget)?;
            if self.within(&reference.value, &answer.value, of, &unit)? {
                return Ok(true);
            }
        }
        match self.options.tolerance {
            Tolerance::Exact => Ok(false),
            Tolerance::Relative(tolerance) => {
                let Some(tolerance) = RBig::simplest_from_f64(tolerance) else {
                    return Ok(false);
                };
                numeric::is_near(&answer.value, &reference.value, &tolerance, self.budget)
            }
            Tolerance::ReferenceDigits => match &reference.step {
                Some((of, step)) if !reference.value.is_zero() => {
                    let half = step / whole(2);
                    self.within(&reference.value, &answer.value, of, &half)
                }
                _ => Ok(false),
            },
        }
    }

    /// Returns whether two constants differ by at most `bound` times `of`.
    fn within(&mut self, a: &Fraction, b: &Fraction, of: &Fraction, bound: &RBig) -> Compared {
        let gap = a.subtract(b, self.budget)?.divide(of, self.budget)?;
        match gap.as_rational() {
            Some(gap) => Ok(if is_negative(&gap) { -gap } else { gap } <= *bound),
            None => numeric::is_within(&gap, &RBig::ZERO, bound, self.budget),
        }
    }

    /// Compares a percentage to a number, which may be the number of percent or a hundredth of it.
    pub(super) fn percent(&mut self, percent: &Scalar, other: &Scalar) -> Compared {
        if self.scalars(percent, other)? {
            return Ok(true);
        }
        let hundredfold = other.multiply(&Fraction::whole(100), self.budget)?;
        self.scalars(percent, &hundredfold)
    }

    pub(super) fn quantities(
        &mut self,
        a: &Value,
        unit: &Unit,
        b: &Value,
        other: &Unit,
    ) -> Compared {
        if unit.same(other) {
            return self.values(a, b);
        }
        let Some(ratio) = unit.ratio(other) else {
            return Ok(false);
        };
        let (Value::Scalar(a), Value::Scalar(b)) = (a, b) else {
            return Ok(false);
        };
        let a = a.multiply(&Fraction::rational(ratio), self.budget)?;
        self.scalars(&a, b)
    }

    /// Compares ratios: all pairs of terms in proportion, or term by term.
    pub(super) fn ratios(&mut self, a: &[Scalar], b: &[Scalar]) -> Compared {
        if a.len() != b.len() || a.iter().chain(b).any(|term| term.value.is_zero()) {
            return Ok(false);
        }
        let mut proportional = true;
        for i in 1..a.len() {
            let left = a[0].value.multiply(&b[i].value, self.budget)?;
            let right = b[0].value.multiply(&a[i].value, self.budget)?;
            if !self.same(&left, &right)? {
                proportional = false;
                break;
            }
        }
        if proportional {
            return Ok(true);
        }
        for (x, y) in a.iter().zip(b) {
            self.budget.spend(1)?;
            if !self.scalars(x, y)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn congruent(&mut self, r: &Fraction, s: &Fraction, m: &Fraction) -> Compared {
        if self.same(r, s)? {
            return Ok(true);
        }
        let difference = r.subtract(s, self.budget)?.as_rational();
        Ok(match (difference, m.as_rational()) {
            (Some(difference), Some(m)) if !m.is_zero() => (difference / m).is_int(),
            _ => false,
        })
    }

    /// Returns the seconds since midnight. An integer is a time only with `a.m.` or `p.m.`.
    pub(super) fn moment(&self, value: &Value, unit: &Unit) -> Option<u32> {
        let half = unit.half_of_day();
        match value {
            Value::Clock(clock) => seconds(clock, half),
            Value::Scalar(hour) => {
                let hour = u32::try_from(hour.value.as_small()?).ok()?;
                half.and_then(|half| seconds(&[hour, 0], Some(half)))
            }
            _ => None,
        }
    }
}
