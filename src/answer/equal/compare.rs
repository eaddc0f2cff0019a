//! Comparison of values, kind by kind.

use dashu_ratio::RBig;

use super::collections::{distinct_names, one_by_one, stripped};
use crate::answer::budget::{Budget, Stop};
use crate::answer::numeric;
use crate::answer::value::{
    Equation, Fraction, Unit, Value, as_reals, components, is_negative, seconds, word_number,
};

/// How far a decimal may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tolerance {
    /// Not at all, but for decimals of 12 significant digits and more, which went through
    /// floating point.
    Exact,
    /// By so much of the reference's size.
    Relative(f64),
    /// By what rounding to the reference's digits takes away.
    ReferenceDigits,
}

/// What a comparison may overlook.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    /// How far a decimal may be off.
    pub(crate) tolerance: Tolerance,
    /// Whether an additive constant of integration may be missing or have another name.
    pub(crate) constant_of_integration: bool,
}

/// One comparison: reference on the left, answer on the right.
pub(super) struct Comparison<'a> {
    pub(super) options: Options,
    pub(super) budget: &'a mut Budget,
    rule: &'static str,
    /// Whether enclosures had the last word on two numbers or expressions.
    pub(super) numeric: bool,
    /// How deep in the answers the values stand that are compared now.
    level: u32,
}

pub(super) type Compared = Result<bool, Stop>;

impl<'a> Comparison<'a> {
    pub(super) fn new(options: Options, budget: &'a mut Budget) -> Self {
        Comparison {
            options,
            budget,
            rule: "kind",
            numeric: false,
            level: 0,
        }
    }

    /// The rule that decided on the outermost values.
    pub(super) fn rule(&self) -> &'static str {
        self.rule
    }

    /// Whether the decision, or a part of it, came from enclosures.
    pub(super) fn is_numeric(&self) -> bool {
        self.numeric
    }

    /// Whether two values are equal.
    pub(super) fn values(&mut self, left: &Value, right: &Value) -> Compared {
        self.budget.enter()?;
        self.level += 1;
        let (result, rule) = self.dispatch(left, right)?;
        self.level -= 1;
        self.rule = rule;
        self.budget.leave();
        Ok(result)
    }

    fn dispatch(&mut self, left: &Value, right: &Value) -> Result<(bool, &'static str), Stop> {
        use Value::{
            Based, Cases, Clock, Congruence, Date, Degrees, Either, Equation as Eq, Family,
            Inequalities, Infinite, List, Matrix, Percent, Quantity, Ratio, Reals, Scalar as Sc,
            Set, Square, Statement, Text, Tuple,
        };
        Ok(match (left, right) {
            // A whole answer that is a set of one thing is that thing, as a set of several is a
            // list; inside of others it is not.
            (Set(a), b) | (b, Set(a))
                if a.len() == 1
                    && self.level == 1
                    && !matches!(b, Set(_) | Reals(..) | Inequalities(_) | List(_)) =>
            {
                (self.values(&a[0], b)?, "set")
            }
            (Sc(a), Sc(b)) => {
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
                (same, rule)
            }
            (Eq(a), Eq(b)) => (self.equations(a, b)?, "equation"),
            (Eq(a), _) if a.name.is_some() && !a.negated && !matches!(right, List(_)) => {
                (self.values(&a.value, right)?, "equation")
            }
            (_, Eq(b)) if b.name.is_some() && !b.negated && !matches!(left, List(_)) => {
                (self.values(left, &b.value)?, "equation")
            }
            (Eq(a), List(b)) | (List(b), Eq(a)) if one_by_one(a).is_some() => {
                let a = one_by_one(a).unwrap_or_default();
                (self.lists(&a, b)?, "equation")
            }
            (Percent(a), Percent(b)) => (self.same(a, b)?, "percent"),
            (Percent(a), Sc(b)) => (self.percent(a, &b.value)?, "percent"),
            (Sc(a), Percent(b)) => (self.percent(b, &a.value)?, "percent"),
            (Degrees(a), Degrees(b)) => (self.same(a, b)?, "degrees"),
            (Degrees(a), Sc(b)) | (Sc(b), Degrees(a)) => {
                let radians = a
                    .multiply(&Fraction::symbol("π"), self.budget)?
                    .divide(&Fraction::whole(180), self.budget)?;
                let same = self.same(a, &b.value)? || self.same(&radians, &b.value)?;
                (same, "degrees")
            }
            (Quantity(a, unit), Quantity(b, other)) if unit.half_of_day().is_some() => {
                let half = other.half_of_day();
                let (a, b) = (self.moment(a, unit), self.moment(b, other));
                (half.is_some() && a.is_some() && a == b, "time")
            }
            (Quantity(a, unit), b @ Clock(_)) | (b @ Clock(_), Quantity(a, unit))
                if unit.half_of_day().is_some() =>
            {
                // The half of the day on one side only: the same figures, or the 24-hour clock.
                let plain = self.moment(b, &Unit::default());
                let same = plain.is_some()
                    && (plain == self.moment(a, unit) || plain == self.moment(a, &Unit::default()));
                (same, "time")
            }
            (Quantity(a, unit), Quantity(b, other)) => {
                (self.quantities(a, unit, b, other)?, "unit")
            }
            (Quantity(a, _), b @ (Sc(_) | Clock(_))) | (b @ (Sc(_) | Clock(_)), Quantity(a, _)) => {
                // `18 dollars` = `18`, but a percentage keeps its sign.
                (!matches!(**a, Percent(_)) && self.values(a, b)?, "unit")
            }
            (Quantity(a, _), b @ Percent(_)) | (b @ Percent(_), Quantity(a, _)) => {
                (matches!(**a, Percent(_)) && self.values(a, b)?, "unit")
            }
            (Quantity(a, unit), Degrees(b)) | (Degrees(b), Quantity(a, unit))
                if unit.is_radian() =>
            {
                let Sc(a) = &**a else {
                    return Ok((false, "degrees"));
                };
                let half_turn = Fraction::symbol("π");
                let radians = b
                    .multiply(&half_turn, self.budget)?
                    .divide(&Fraction::whole(180), self.budget)?;
                (self.same(&a.value, &radians)?, "degrees")
            }
            (Quantity(a, unit), b @ Degrees(_)) | (b @ Degrees(_), Quantity(a, unit)) => {
                (unit.is_temperature() && self.values(a, b)?, "unit")
            }
            (Infinite(a), Infinite(b)) => (a == b, "infinity"),
            (Infinite(a), Quantity(b, _)) | (Quantity(b, _), Infinite(a)) => {
                (matches!(&**b, Infinite(b) if a == b), "infinity")
            }
            (Based(a, base), Based(b, other)) => {
                let number = |digits: &str, base| dashu_int::UBig::from_str_radix(digits, base);
                let (Ok(a), Ok(b)) = (number(a, *base), number(b, *other)) else {
                    return Err(Stop::Unknown);
                };
                (a == b, "base")
            }
            (Based(digits, _), Sc(other)) | (Sc(other), Based(digits, _)) => {
                let number = dashu_int::UBig::from_str_radix(digits, 10);
                let number = number.map_err(|_| Stop::Unknown)?;
                let same = other.value.as_rational() == Some(RBig::from(number));
                (same, "base")
            }
            (Clock(a), Clock(b)) => (seconds(a, None) == seconds(b, None), "time"),
            (Date(a), Date(b)) => (a == b, "date"),
            (Ratio(a), Ratio(b)) => (self.ratios(a, b)?, "ratio"),
            (Ratio(a), Clock(b)) | (Clock(b), Ratio(a)) => {
                let b: Vec<Fraction> = b.iter().map(|&x| Fraction::whole(x.into())).collect();
                (self.ratios(a, &b)?, "ratio")
            }
            (Congruence(a, r, m), Congruence(b, s, n)) => {
                let unsaid = Fraction::symbol("…");
                let same = (*a == unsaid || *b == unsaid || self.same(a, b)?) && self.same(m, n)?;
                (same && self.congruent(r, s, m)?, "congruence")
            }
            (Matrix(a), Matrix(b)) => (self.matrices(a, b)?, "matrix"),
            (Matrix(rows), Tuple(items) | List(items) | Square(items))
            | (Tuple(items) | List(items) | Square(items), Matrix(rows)) => {
                let is_column = rows.iter().all(|row| row.len() == 1);
                if !is_column || rows.len() != items.len() {
                    (false, "matrix")
                } else {
                    let mut same = true;
                    for (row, item) in rows.iter().zip(items) {
                        same = same && self.values(&Value::scalar(row[0].clone()), item)?;
                    }
                    (same, "matrix")
                }
            }
            (Sc(vector), Tuple(items)) | (Tuple(items), Sc(vector)) => {
                let components = components(&vector.value, items.len(), self.budget)?;
                (self.each(components, items)?, "vector")
            }
            (Sc(vector), Matrix(rows)) | (Matrix(rows), Sc(vector)) => {
                let column = rows.iter().all(|row| row.len() == 1);
                let items: Vec<Value> = match rows.as_slice() {
                    rows if column => rows.iter().flatten().cloned().map(Value::scalar).collect(),
                    [row] => row.iter().cloned().map(Value::scalar).collect(),
                    _ => Vec::new(),
                };
                let components = components(&vector.value, items.len(), self.budget)?;
                (self.each(components, &items)?, "vector")
            }
            (Tuple(a), Tuple(b)) => (self.in_order(a, b)?, "tuple"),
            (Square(a), Square(b)) => (self.in_order(a, b)?, "interval"),
            (List(a), List(b)) | (Either(a), Either(b)) => (self.lists(a, b)?, "list"),
            // Braces do not say how the statements in them belong together.
            (Set(a), Set(b)) | (Set(a), Either(b)) | (Either(a), Set(b)) => {
                (self.sets(a, b)?, "set")
            }
            // `x = 2, y = 1` tells more than the set of the numbers.
            (Set(a), List(b)) | (List(b), Set(a)) if b.len() > 1 && distinct_names(b) => {
                (distinct_names(a) && self.sets(a, b)?, "set")
            }
            (Set(a), List(b)) | (List(b), Set(a)) => (self.sets(a, &stripped(b))?, "set"),
            (List(a), Tuple(b)) | (Tuple(b), List(a)) if distinct_names(a) => {
                (self.in_order(&stripped(a), b)?, "tuple")
            }
            (Family(a, low, high), Family(b, first, last)) => {
                let ends = self.same_end(low, first)? && self.same_end(high, last)?;
                (ends && self.values(a, b)?, "family")
            }
            (Cases(a), Cases(b)) => (self.cases(a, b)?, "piecewise"),
            (Inequalities(a), Inequalities(b)) => (self.inequalities(a, b)?, "inequality"),
            (
                Reals(..) | Inequalities(_) | Tuple(_) | Square(_) | Set(_) | Eq(_),
                Reals(..) | Inequalities(_) | Tuple(_) | Square(_) | Set(_) | Eq(_),
            ) => (self.reals(left, right)?, "interval"),
            (Value::Builder(name, a), Value::Builder(other, b)) => {
                (name == other && self.values(a, b)?, "set")
            }
            (Statement(a), Statement(b)) => (self.in_order(a, b)?, "statement"),
            (Text(text), other) | (other, Text(text)) => match (word_number(text), other) {
                (Some(number), Sc(scalar)) => (self.same(&scalar.value, &number)?, "number word"),
                (number, Text(other)) => {
                    let folded = |text: &str| -> Vec<String> {
                        text.split_whitespace().map(str::to_lowercase).collect()
                    };
                    let same = number.is_some() && number == word_number(other);
                    (same || folded(text) == folded(other), "text")
                }
                _ => (false, "text"),
            },
            _ => (false, "kind"),
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

    /// The same constraints up to positive factors, or the same set of numbers for the same
    /// variable.
    fn inequalities(&mut self, a: &[(Fraction, bool)], b: &[(Fraction, bool)]) -> Compared {
        if a.len() == b.len() {
            let mut taken = vec![false; b.len()];
            let mut all = true;
            'next: for (x, closed) in a {
                for ((y, other), taken) in b.iter().zip(&mut taken) {
                    if *taken || closed != other {
                        continue;
                    }
                    let sign = match x.proportional(y, self.budget)? {
                        Some(ratio) => Some(if is_negative(&ratio) { -1 } else { 1 }),
                        None => numeric::proportional(x, y, self.budget)?,
                    };
                    if sign == Some(1) {
                        *taken = true;
                        continue 'next;
                    }
                }
                all = false;
                break;
            }
            if all {
                return Ok(true);
            }
        }
        let left = as_reals(&Value::Inequalities(a.to_vec()), self.budget)?;
        let right = as_reals(&Value::Inequalities(b.to_vec()), self.budget)?;
        match (left, right) {
            (Some((left, x)), Some((right, y))) if x == y => left.same(&right, self.budget),
            _ => Ok(false),
        }
    }

    fn reals(&mut self, a: &Value, b: &Value) -> Compared {
        match (as_reals(a, self.budget)?, as_reals(b, self.budget)?) {
            (Some((left, x)), Some((right, y))) => {
                if x.is_some() && y.is_some() && x != y {
                    return Ok(false);
                }
                left.same(&right, self.budget)
            }
            _ => Ok(false),
        }
    }
}

/// Names that mean the same left side; `f(x)` and `y` are both the value of a function.
fn same_name(left: &str, right: &str) -> bool {
    let is_function = |name: &str| name.len() == 4 && name.ends_with("(x)");
    // `N(t)` and N, a function of t.
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
