//! Numbers and expressions: exactly, by enclosures, as decimals, with units, as ratios and residues.

use dashu_ratio::RBig;

use super::compare::{Compared, Comparison, Tolerance};
use crate::answer::numeric::{self, Numeric};
use crate::answer::value::{
    Fraction, Scalar, Unit, Value, differ_by_constant, is_negative, same_progression, seconds,
    whole,
};

/// Significant digits from which a decimal stands for all that rounds to it.
const FLOATING_DIGITS: usize = 12;

impl Comparison<'_> {
    /// Whether two numbers or expressions are equal: by their normal forms, or by enclosures.
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

    pub(super) fn scalars(&mut self, left: &Scalar, right: &Scalar) -> Compared {
        if self.same(&left.value, &right.value)? {
            return Ok(true);
        }
        if !left.value.is_constant() || !right.value.is_constant() {
            if same_progression(&left.value, &right.value, self.budget)? {
                return Ok(true);
            }
            return Ok(self.options.constant_of_integration
                && differ_by_constant(&left.value, &right.value, self.budget)?);
        }
        for (decimal, exact) in [(left, right), (right, left)] {
            if decimal.decimal.is_some_and(|n| n >= FLOATING_DIGITS)
                && self.within_unit(&decimal.value, &exact.value, FLOATING_DIGITS)?
            {
                return Ok(true);
            }
        }
        match self.options.tolerance {
            Tolerance::Exact => Ok(false),
            Tolerance::Relative(tolerance) => {
                let Some(tolerance) = RBig::simplest_from_f64(tolerance) else {
                    return Ok(false);
                };
                numeric::is_near(&right.value, &left.value, &tolerance, self.budget)
            }
            Tolerance::ReferenceDigits => match left.decimal {
                Some(digits) => self.rounds_to(&left.value, &right.value, digits),
                None => Ok(false),
            },
        }
    }

    /// Whether two constants differ by at most one unit of the first's `digits`-th digit.
    pub(super) fn within_unit(
        &mut self,
        decimal: &Fraction,
        exact: &Fraction,
        digits: usize,
    ) -> Compared {
        self.within(decimal, exact, digits, &RBig::ONE)
    }

    pub(super) fn rounds_to(
        &mut self,
        decimal: &Fraction,
        exact: &Fraction,
        digits: usize,
    ) -> Compared {
        let half = RBig::ONE / whole(2);
        self.within(decimal, exact, digits, &half)
    }

    pub(super) fn within(
        &mut self,
        decimal: &Fraction,
        exact: &Fraction,
        digits: usize,
        units: &RBig,
    ) -> Compared {
        let Some(decimal) = decimal.as_rational() else {
            return Ok(false);
        };
        if decimal.is_zero() {
            return Ok(false);
        }
        let size = if is_negative(&decimal) {
            -decimal.clone()
        } else {
            decimal.clone()
        };
        // One unit of the digit: a power of ten.
        let mut unit = RBig::ONE;
        let ten = whole(10);
        let mut rounds = 0;
        while size < unit {
            unit /= &ten;
            rounds += 1;
            self.budget.spend(1 + rounds / 64)?;
        }
        while size >= &unit * &ten {
            unit *= &ten;
            rounds += 1;
            self.budget.spend(1 + rounds / 64)?;
        }
        for _ in 1..digits {
            unit /= &ten;
            self.budget.spend(1)?;
        }
        let bound = unit * units;
        match exact.as_rational() {
            Some(exact) => {
                let difference = decimal - exact;
                let difference = if is_negative(&difference) {
                    -difference
                } else {
                    difference
                };
                Ok(difference <= bound)
            }
            None => numeric::is_within(exact, &decimal, &bound, self.budget),
        }
    }

    pub(super) fn percent(&mut self, percent: &Fraction, other: &Fraction) -> Compared {
        if self.same(percent, other)? {
            return Ok(true);
        }
        let hundredfold = other.multiply(&Fraction::whole(100), self.budget)?;
        self.same(percent, &hundredfold)
    }

    pub(super) fn quantities(
        &mut self,
        a: &Value,
        unit: &Unit,
        b: &Value,
        other: &Unit,
    ) -> Compared {
        if unit == other {
            return self.values(a, b);
        }
        if unit.dimensions != other.dimensions {
            return Ok(false);
        }
        let (Value::Scalar(a), Value::Scalar(b)) = (a, b) else {
            return Ok(false);
        };
        let a = a
            .value
            .multiply(&Fraction::rational(unit.scale.clone()), self.budget)?;
        let b = b
            .value
            .multiply(&Fraction::rational(other.scale.clone()), self.budget)?;
        self.same(&a, &b)
    }

    /// Equal as ratios: all pairs of terms in proportion.
    pub(super) fn ratios(&mut self, a: &[Fraction], b: &[Fraction]) -> Compared {
        if a.len() != b.len() || a.iter().chain(b).any(Fraction::is_zero) {
            return Ok(false);
        }
        for i in 1..a.len() {
            let left = a[0].multiply(&b[i], self.budget)?;
            let right = b[0].multiply(&a[i], self.budget)?;
            if !self.same(&left, &right)? {
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

    /// Seconds since midnight; a whole number of hours is a time where the half of the day is said.
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
