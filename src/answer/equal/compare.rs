//! Comparison of values, kind by kind.

use dashu_ratio::RBig;

use super::collections::{distinct_names, one_by_one, stripped};
use super::text::fold;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::numeric;
use crate::answer::value::{
    Equation, Fraction, Piece, Scalar, Unit, Value, as_reals, components, is_negative, seconds,
    word_number,
};

/// How far a number may differ from the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tolerance {
    /// Not at all, except that decimals of at least 12 significant digits are assumed to be rounded by
    /// floating-point arithmetic.
    Exact,
    /// By at most this fraction of the reference.
    Relative(f64),
    /// By at most the rounding error of the reference's digits.
    ReferenceDigits,
}

/// The options of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    /// How far a number may differ from the reference.
    pub(crate) tolerance: Tolerance,
    /// Whether an additive constant of integration may be missing or have a different name.
    pub(crate) constant_of_integration: bool,
}

/// A comparison of a reference with an answer.
pub(super) struct Comparison<'a> {
    pub(super) options: Options,
    pub(super) budget: &'a mut Budget,
    rule: &'static str,
    /// Whether ball arithmetic decided the last comparison of numbers or expressions.
    pub(super) numeric: bool,
    /// The nesting depth of the values being compared.
    level: u32,
    /// Whether the left side belongs to the answer and the right side to the reference.
    is_swapped: bool,
}

pub(super) type Compared = Result<bool, EvalError>;

impl<'a> Comparison<'a> {
    pub(super) fn new(options: Options, budget: &'a mut Budget) -> Self {
        Comparison {
            options,
            budget,
            rule: "kind",
            numeric: false,
            level: 0,
            is_swapped: false,
        }
    }

    /// Returns the rule that decided on the outermost values.
    pub(super) fn rule(&self) -> &'static str {
        self.rule
    }

    /// Returns whether the decision, or a part of it, depends on ball arithmetic.
    pub(super) fn is_numeric(&self) -> bool {
        self.numeric
    }

    /// Returns the reference's side and the answer's side of two compared items.
    pub(super) fn sides<'v, T>(&self, left: &'v T, right: &'v T) -> (&'v T, &'v T) {
        match self.is_swapped {
            false => (left, right),
            true => (right, left),
        }
    }

    /// Runs a comparison with the sides swapped. This must be recorded, because tolerances apply to the
    /// reference.
    pub(super) fn swapped<T>(&mut self, compare: impl FnOnce(&mut Self) -> T) -> T {
        self.is_swapped = !self.is_swapped;
        let result = compare(self);
        self.is_swapped = !self.is_swapped;
        result
    }

    /// Returns whether two values are equal.
    pub(super) fn values(&mut self, left: &Value, right: &Value) -> Compared {
        self.budget.enter()?;
        self.level += 1;
        // The kind of lower rank is put on the left, so each pair of kinds is handled once.
        let result = match rank(left) <= rank(right) {
            true => self.dispatch(left, right),
            false => self.swapped(|this| this.dispatch(right, left)),
        };
        self.level -= 1;
        self.budget.leave();
        let (result, rule) = result?;
        self.rule = rule;
        Ok(result)
    }

    fn dispatch(&mut self, left: &Value, right: &Value) -> Result<(bool, &'static str), EvalError> {
        use Value::{
            AnyOf, Bracketed, Cases, Congruence, Date, Equation as Eq, Family, Inequalities, List,
            Matrix, Percent, Ratio, Reals, Scalar as Sc, Set, Statement, Text, Tuple,
        };
        Ok(match (left, right) {
            // A whole answer that is a set of one item equals that item, as a set of several equals a list.
            // This does not hold for nested sets.
            (Set(a), b)
                if a.len() == 1
                    && self.level == 1
                    && !matches!(b, Set(_) | Reals(..) | Inequalities(_) | List(_)) =>
            {
                (self.values(&a[0], b)?, "set")
            }
            (Sc(a), Sc(b)) => self.numbers(a, b)?,
            (Eq(a), Eq(b)) => (self.equations(a, b)?, "equation"),
            // `x = (1, 2)` is a point, `x ∈ (1, 2)` is not.
            (Eq(a), Reals(_, Some(_))) if is_named(a) => (false, "kind"),
            (Eq(a), b) if is_named(a) && !matches!(b, List(_)) => {
                (self.values(&a.value, b)?, "equation")
            }
            (a, Eq(b)) if is_named(b) => (self.values(a, &b.value)?, "equation"),
            (Eq(a), List(b)) if one_by_one(a).is_some() => {
                let a = one_by_one(a).unwrap_or_default();
                (self.lists(&a, b)?, "equation")
            }
            (Value::Quantity(a, unit), b) => self.quantity(a, unit, b)?,
            (Percent(a), Percent(b)) => (self.scalars(a, b)?, "percent"),
            (Percent(a), Sc(b)) => (self.percent(a, b)?, "percent"),
            (Value::Degrees(a), b) => (self.degrees(a, b)?, "degrees"),
            (Value::Infinite(a), Value::Infinite(b)) => (a == b, "infinity"),
            (Value::Radix(digits, base), b) => (self.based(digits, *base, b)?, "base"),
            (Value::Clock(a), Value::Clock(b)) => (seconds(a, None) == seconds(b, None), "time"),
            (Date(a), Date(b)) => (a == b, "date"),
            (Ratio(a), Ratio(b)) => (self.ratios(a, b)?, "ratio"),
            (Ratio(a), Value::Clock(b)) => {
                let whole = |&x: &u32| Fraction::whole(x.into()).into();
                let b: Vec<Scalar> = b.iter().map(whole).collect();
                (self.ratios(a, &b)?, "ratio")
            }
            (Congruence(a, r, m), Congruence(b, s, n)) => {
                let unsaid = Fraction::symbol("…");
                let same = (*a == unsaid || *b == unsaid || self.same(a, b)?) && self.same(m, n)?;
                (same && self.congruent(r, s, m)?, "congruence")
            }
            (Matrix(a), Matrix(b)) => (self.matrices(a, b)?, "matrix"),
            (Matrix(rows), Tuple(items) | List(items) | Bracketed(items)) => {
                let same = match column(rows) {
                    Some(column) => self.in_order(&column, items)?,
                    None => false,
                };
                (same, "matrix")
            }
            (Sc(vector), Tuple(items)) => {
                let components = components(vector, items.len(), self.budget)?;
                (self.each(components, items)?, "vector")
            }
            (Matrix(rows), Sc(vector)) => {
                let items = column(rows).or_else(|| row(rows)).unwrap_or_default();
                let components = components(vector, items.len(), self.budget)?;
                let same = self.swapped(|this| this.each(components, &items))?;
                (same, "vector")
            }
            (Tuple(a), Tuple(b)) => (self.in_order(a, b)?, "tuple"),
            (Bracketed(a), Bracketed(b)) => (self.in_order(a, b)?, "interval"),
            (List(a), List(b)) | (AnyOf(a), AnyOf(b)) => (self.lists(a, b)?, "list"),
            // Braces do not tell how the statements in them are related.
            (Set(a), Set(b) | AnyOf(b)) => (self.sets(a, b)?, "set"),
            // `x = 2, y = 1` says more than the set of its numbers.
            (Set(a), List(b)) if b.len() > 1 && distinct_names(b) => {
                (distinct_names(a) && self.sets(a, b)?, "set")
            }
            (Set(a), List(b)) => (self.sets(a, &stripped(b))?, "set"),
            (List(a), Tuple(b)) if distinct_names(a) => (self.in_order(&stripped(a), b)?, "tuple"),
            (Family(a, low, high), Family(b, first, last)) => {
                let ends = self.same_end(low, first)? && self.same_end(high, last)?;
                (ends && self.values(a, b)?, "family")
            }
            (Cases(a), Cases(b)) => (self.cases(a, b)?, "piecewise"),
            (Inequalities(a), Inequalities(b)) => (self.inequalities(a, b)?, "inequality"),
            (
                Reals(..) | Inequalities(_) | Tuple(_) | Bracketed(_) | Set(_) | Eq(_),
                Reals(..) | Inequalities(_) | Tuple(_) | Bracketed(_) | Set(_) | Eq(_),
            ) => (self.reals(left, right)?, "interval"),
            (Value::Builder(name, a), Value::Builder(other, b)) => {
                (name == other && self.values(a, b)?, "set")
            }
            (Statement(a), Statement(b)) => (alike(a, b) && self.in_order(a, b)?, "statement"),
            (Text(text), other) => self.text(text, other)?,
            (_, Text(_)) => (false, "text"),
            _ => (false, "kind"),
        })
    }

    /// Compares two numbers or expressions; also returns the rule that decided.
    fn numbers(&mut self, a: &Scalar, b: &Scalar) -> Result<(bool, &'static str), EvalError> {
        let constant = a.value.is_constant() && b.value.is_constant();
        let before = std::mem::take(&mut self.numeric);
        let same = self.scalars(a, b)?;
        let rule = match (constant, self.numeric) {
            (true, false) => "number",
            (true, true) => "number (numeric)",
            (false, false) => "expression",
            (false, true) => "expression (numeric)",
        };
        self.numeric |= before;
        Ok((same, rule))
    }

    /// Compares a value with a unit to another value.
    fn quantity(
        &mut self,
        a: &Value,
        unit: &Unit,
        b: &Value,
    ) -> Result<(bool, &'static str), EvalError> {
        let is_percent = matches!(a, Value::Percent(_));
        Ok(match b {
            Value::Quantity(b, other) if unit.half_of_day().is_some() => {
                let (a, b) = (self.moment(a, unit), self.moment(b, other));
                (
                    other.half_of_day().is_some() && a.is_some() && a == b,
                    "time",
                )
            }
            Value::Clock(_) if unit.half_of_day().is_some() => {
                // If only one side has `a.m.` or `p.m.`, the figures or the 24-hour times must be equal.
                let plain = self.moment(b, &Unit::default());
                let same = plain.is_some()
                    && (plain == self.moment(a, unit) || plain == self.moment(a, &Unit::default()));
                (same, "time")
            }
            Value::Quantity(b, other) => {
                // `20\% of the class` is not `20 of the class`.
                let alike = is_percent == matches!(**b, Value::Percent(_));
                (alike && self.quantities(a, unit, b, other)?, "unit")
            }
            Value::Degrees(b) if unit.is_radian() => match a {
                Value::Scalar(a) => {
                    let radians = self.radians(b)?;
                    (self.scalars(a, &radians)?, "degrees")
                }
                _ => (false, "degrees"),
            },
            Value::Degrees(_) => (
                unit.is_temperature() && unit.is_plain && self.values(a, b)?,
                "unit",
            ),
            Value::Infinite(b) => (
                unit.is_plain && matches!(a, Value::Infinite(a) if a == b),
                "infinity",
            ),
            // `18 dollars` = `18`. A percentage keeps its sign, and unknown words may change the meaning of the
            // number.
            Value::Scalar(_) | Value::Clock(_) | Value::Percent(_) => {
                let fits = unit.is_plain && is_percent == matches!(b, Value::Percent(_));
                (fits && self.values(a, b)?, "unit")
            }
            Value::Text(_) => (false, "text"),
            _ => (false, "kind"),
        })
    }

    /// Compares degrees to another value: as a number of degrees or of radians.
    fn degrees(&mut self, a: &Scalar, b: &Value) -> Compared {
        match b {
            Value::Degrees(b) => self.scalars(a, b),
            Value::Scalar(b) => {
                let radians = self.radians(a)?;
                // `\frac\pi6^\circ` is not `\frac\pi6`.
                let figures = a.value.as_rational().is_some() || !a.value.is_constant();
                Ok(figures && self.scalars(a, b)? || self.scalars(&radians, b)?)
            }
            _ => Ok(false),
        }
    }

    fn radians(&mut self, degrees: &Scalar) -> Result<Scalar, EvalError> {
        let half_turn = Fraction::symbol("π").divide(&Fraction::whole(180), self.budget)?;
        degrees.multiply(&half_turn, self.budget)
    }

    /// Compares digits in a base to another number: the numbers are equal, or the digits are and the other side
    /// omits the base.
    fn based(&mut self, digits: &str, base: u32, other: &Value) -> Compared {
        let number = |digits: &str, base| {
            dashu_int::UBig::from_str_radix(digits, base).map_err(|_| EvalError::Unsupported)
        };
        self.budget.spend(1 + digits.len())?;
        match other {
            Value::Radix(other, other_base) => {
                Ok(number(digits, base)? == number(other, *other_base)?)
            }
            Value::Scalar(other) => {
                let written = RBig::from(number(digits, 10)?);
                Ok(other.value.as_rational() == Some(written))
            }
            _ => Ok(false),
        }
    }

    /// Compares a text to another value: the same words, or a number in words.
    fn text(&mut self, text: &str, other: &Value) -> Result<(bool, &'static str), EvalError> {
        self.budget.spend(1 + text.len() / 8)?;
        Ok(match (word_number(text), other) {
            (Some(number), Value::Scalar(scalar)) => {
                (self.scalars(&number.into(), scalar)?, "number word")
            }
            (number, Value::Text(other)) => {
                let folded =
                    |text: &str| -> Vec<String> { text.split_whitespace().map(fold).collect() };
                let same = number.is_some() && number == word_number(other);
                (same || folded(text) == folded(other), "text")
            }
            _ => (false, "text"),
        })
    }

    fn equations(&mut self, a: &Equation, b: &Equation) -> Compared {
        if a.negated != b.negated {
            return Ok(false);
        }
        if let (Some(left), Some(right)) = (&a.name, &b.name)
            && same_name(left, right)
            && self.values(&a.value, &b.value)?
        {
            return Ok(true);
        }
        if let (Some(left), Some(right)) = (&a.difference, &b.difference) {
            // Equations between constants alone are not compared up to a factor.
            if left.is_constant() || right.is_constant() {
                return Ok(self.same(left, right)? && self.values(&a.value, &b.value)?);
            }
            if left.proportional(right, self.budget)?.is_some() {
                return Ok(true);
            }
            let factor = numeric::proportional(left, right, self.budget)?;
            self.numeric |= factor.is_some();
            return Ok(factor.is_some());
        }
        Ok(false)
    }

    fn same_end(&mut self, a: &Option<Fraction>, b: &Option<Fraction>) -> Compared {
        match (a, b) {
            (None, None) => Ok(true),
            (Some(a), Some(b)) => a.same(b, self.budget),
            _ => Ok(false),
        }
    }

    /// Compares inequalities: the same constraints up to positive factors, or the same set of numbers for the
    /// same variable.
    fn inequalities(&mut self, a: &[(Scalar, bool)], b: &[(Scalar, bool)]) -> Compared {
        let alike = |this: &mut Self, (x, closed): &(Scalar, bool), (y, other): &(Scalar, bool)| {
            this.budget.spend(1)?;
            if closed != other {
                return Ok(false);
            }
            let sign = match x.value.proportional(&y.value, this.budget)? {
                Some(ratio) => Some(if is_negative(&ratio) { -1 } else { 1 }),
                None => numeric::proportional(&x.value, &y.value, this.budget)?,
            };
            Ok(sign == Some(1))
        };
        if self.matched(a, b, |(x, closed)| Some((&x.value, closed)), alike)? {
            return Ok(true);
        }
        self.reals(
            &Value::Inequalities(a.to_vec()),
            &Value::Inequalities(b.to_vec()),
        )
    }

    fn reals(&mut self, a: &Value, b: &Value) -> Compared {
        let named = |value: &Value| matches!(value, Value::Inequalities(_));
        let both_named = named(a) && named(b);
        match (as_reals(a, self.budget)?, as_reals(b, self.budget)?) {
            (Some((left, x)), Some((right, y))) => {
                if x != y && (both_named || x.is_some() && y.is_some()) {
                    return Ok(false);
                }
                match left.comparable(&right, self.budget)? {
                    Some([left, right]) => {
                        self.matched(&left, &right, |_| None::<()>, Self::same_piece)
                    }
                    None => Ok(false),
                }
            }
            _ => Ok(false),
        }
    }

    fn same_piece(&mut self, a: &Piece, b: &Piece) -> Compared {
        let same = |this: &mut Self, a: &Option<Scalar>, b: &Option<Scalar>| match (a, b) {
            (None, None) => Ok(true),
            (Some(a), Some(b)) => this.scalars(a, b),
            _ => Ok(false),
        };
        let closed = a.low_closed == b.low_closed && a.high_closed == b.high_closed;
        Ok(closed && same(self, &a.low, &b.low)? && same(self, &a.high, &b.high)?)
    }
}

/// Returns the rank of a value's kind. Names and single-item sets wrap the compared value, units and signs
/// qualify a number, and structures come after their parts.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Set(items) if items.len() == 1 => 0,
        Value::Equation(_) => 1,
        Value::Quantity(..) => 2,
        Value::Percent(_) => 3,
        Value::Degrees(_) => 4,
        Value::Infinite(_) => 5,
        Value::Radix(..) => 6,
        Value::Ratio(_) => 7,
        Value::Matrix(_) => 8,
        Value::Text(_) => 9,
        Value::Scalar(_) => 10,
        Value::Clock(_) => 11,
        Value::Set(_) => 12,
        Value::AnyOf(_) => 13,
        Value::List(_) => 14,
        _ => 15,
    }
}

/// Returns whether the parts of two statements have the same kinds. In a sentence, a sign or a unit must not be
/// missing (`5\% of 20`, `5 of 20`).
fn alike(a: &[Value], b: &[Value]) -> bool {
    let kind = |value: &Value| match value {
        Value::Percent(_) => 1,
        Value::Degrees(_) => 2,
        Value::Quantity(..) => 3,
        Value::Radix(..) => 4,
        _ => 0,
    };
    a.iter().map(kind).eq(b.iter().map(kind))
}

fn is_named(equation: &Equation) -> bool {
    equation.name.is_some() && !equation.negated
}

/// Returns the entries of a matrix with one column.
fn column(rows: &[Vec<Scalar>]) -> Option<Vec<Value>> {
    let entry = |row: &Vec<Scalar>| match row.as_slice() {
        [only] => Some(Value::Scalar(only.clone())),
        _ => None,
    };
    rows.iter().map(entry).collect()
}

/// Returns the entries of a matrix with one row.
fn row(rows: &[Vec<Scalar>]) -> Option<Vec<Value>> {
    match rows {
        [row] => Some(row.iter().cloned().map(Value::Scalar).collect()),
        _ => None,
    }
}

/// Returns whether two names denote the same left side. `f(x)` and `y` are both the value of a function.
fn same_name(left: &str, right: &str) -> bool {
    let is_function = |name: &str| name.len() == 4 && name.ends_with("(x)");
    // `N(t)` and `N`, a function of t.
    let of_letter = |name: &str, stem: &str| match name.strip_prefix(stem) {
        Some(rest) => {
            rest.len() == 3
                && rest.starts_with('(')
                && rest.ends_with(')')
                && rest.as_bytes()[1].is_ascii_lowercase()
        }
        None => false,
    };
    left == right
        || left == "y" && is_function(right)
        || right == "y" && is_function(left)
        || of_letter(left, right)
        || of_letter(right, left)
}
