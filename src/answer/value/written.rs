//! Numbers with the precision to which they were written: the rounding of decimals, wherever in a value they
//! occur.

use dashu_int::UBig;
use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::number;
use super::plus_minus;
use super::poly::{Atom, Monomial, Poly};
use super::scalar::scalar;
use super::vectors::is_axis;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Literal, Node};

/// A number or expression, with the precision of its decimals.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) value: Fraction,
    /// The place of the last digit, as a power of ten, if the value is a single decimal.
    place: Option<i64>,
    /// For other values: the cofactors of decimals, each with one unit of the decimal's last digit (π with a
    /// hundredth for `0.67\pi`).
    steps: Vec<(Monomial, RBig)>,
}

/// A coordinate of a value: the part that belongs to one unit vector, to the imaginary unit, or to neither.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    axis: Option<Atom>,
    pub(crate) value: Fraction,
    /// The cofactor of its only decimal, and one unit of the decimal's last digit.
    pub(crate) step: Option<(Fraction, RBig)>,
}

impl From<Fraction> for Scalar {
    fn from(value: Fraction) -> Self {
        Scalar {
            value,
            place: None,
            steps: Vec::new(),
        }
    }
}

impl Scalar {
    /// Reads a literal as written.
    pub(super) fn literal(literal: &Literal, budget: &mut Budget) -> Result<Scalar, EvalError> {
        Ok(Scalar {
            value: Fraction::rational(number::literal(literal, budget)?),
            place: last_place(literal),
            steps: Vec::new(),
        })
    }

    /// Evaluates a tree, with the precision of its decimals.
    pub(super) fn read(node: &Node, budget: &mut Budget) -> Result<Scalar, EvalError> {
        let value = scalar(node, None, budget)?;
        let steps = match holds_decimal(node, budget)? {
            true => budget.attempt(|budget| steps(node, budget))?,
            false => None,
        };
        Ok(Scalar {
            value,
            place: None,
            steps: steps.unwrap_or_default(),
        })
    }

    /// Returns the cofactors of decimals, each with one unit of the last digit.
    fn steps(&self, budget: &mut Budget) -> Result<Vec<(Monomial, RBig)>, EvalError> {
        Ok(match self.place {
            Some(place) => vec![(Monomial::new(), power_of_ten(place, budget)?)],
            None => self.steps.clone(),
        })
    }

    pub(crate) fn negate(&self) -> Scalar {
        Scalar {
            value: self.value.negate(),
            place: self.place,
            steps: self.steps.clone(),
        }
    }

    pub(crate) fn multiply(
        &self,
        factor: &Fraction,
        budget: &mut Budget,
    ) -> Result<Scalar, EvalError> {
        Ok(Scalar {
            value: self.value.multiply(factor, budget)?,
            place: None,
            steps: scaled(&self.steps(budget)?, factor, budget)?.unwrap_or_default(),
        })
    }

    pub(crate) fn subtract(
        &self,
        other: &Scalar,
        budget: &mut Budget,
    ) -> Result<Scalar, EvalError> {
        self.add(&other.negate(), budget)
    }

    pub(crate) fn add(&self, other: &Scalar, budget: &mut Budget) -> Result<Scalar, EvalError> {
        let mut steps = self.steps(budget)?;
        for (monomial, step) in other.steps(budget)? {
            coarsest(&mut steps, &monomial, &step, budget)?;
        }
        Ok(Scalar {
            value: self.value.add(&other.value, budget)?,
            place: None,
            steps,
        })
    }

    /// Returns the zero of an expression that is linear in a variable with the given slope, with the precision
    /// of its constant term.
    pub(super) fn zero(&self, zero: Fraction, slope: &RBig) -> Scalar {
        let constant = |(monomial, step): &(Monomial, RBig)| {
            let term = Poly::term(monomial.clone(), step.clone());
            let step = step / slope;
            let size = if number::is_negative(&step) {
                -step
            } else {
                step
            };
            term.is_constant().then(|| (monomial.clone(), size))
        };
        // A single decimal contains no variable.
        let steps: Option<Vec<_>> = self.steps.iter().map(constant).collect();
        Scalar {
            value: zero,
            place: None,
            steps: steps.unwrap_or_default(),
        }
    }

    /// Returns whether it contains decimals that determine its precision.
    pub(crate) fn is_decimal(&self) -> bool {
        self.place.is_some() || !self.steps.is_empty()
    }

    /// Returns whether it has coordinates: terms with a unit vector or the imaginary unit.
    pub(crate) fn has_coordinates(&self) -> bool {
        let mut atoms = self.value.numerator.0.iter().flat_map(|(term, _)| term);
        atoms.any(|(atom, _)| is_coordinate(atom))
    }

    /// Returns the coordinates by unit vector and imaginary unit, sorted. A value that is not linear in these
    /// is a single coordinate.
    pub(crate) fn parts(&self, budget: &mut Budget) -> Result<Vec<Part>, EvalError> {
        let axis_of = |monomial: &Monomial| -> Option<(Option<Atom>, Monomial)> {
            let mut axes = monomial.iter().filter(|(atom, _)| is_coordinate(atom));
            let axis = match (axes.next(), axes.next()) {
                (None, _) => return Some((None, monomial.clone())),
                (Some((atom, power)), None) if power.is_one() => atom.clone(),
                _ => return None,
            };
            let rest = monomial.iter().filter(|(atom, _)| *atom != axis);
            Some((Some(axis.clone()), rest.cloned().collect()))
        };
        let denominator = Fraction::from(self.value.denominator.clone());
        let mut parts: Vec<Part> = Vec::new();
        for (monomial, coefficient) in &self.value.numerator.0 {
            budget.spend(1 + monomial.len() + parts.len())?;
            let Some((axis, rest)) = axis_of(monomial) else {
                parts.clear();
                break;
            };
            let term = Fraction::from(Poly::term(rest, coefficient.clone()));
            let term = term.divide(&denominator, budget)?;
            match parts.iter_mut().find(|part| part.axis == axis) {
                Some(part) => part.value = part.value.add(&term, budget)?,
                None => parts.push(Part {
                    axis,
                    value: term,
                    step: None,
                }),
            }
        }
        if parts.is_empty() {
            parts.push(Part {
                axis: None,
                value: self.value.clone(),
                step: None,
            });
        }
        let all = self.steps(budget)?;
        for (monomial, step) in &all {
            budget.spend(1)?;
            let Some((axis, rest)) = axis_of(monomial) else {
                continue;
            };
            let mut steps = all.iter().filter_map(|(other, _)| axis_of(other));
            let several = steps.by_ref().filter(|(other, _)| *other == axis).count() > 1;
            if let Some(part) = parts.iter_mut().find(|part| part.axis == axis)
                && !several
            {
                let rest = Fraction::from(Poly::term(rest, RBig::ONE));
                part.step = Some((rest, step.clone()));
            }
        }
        parts.sort_by(|a, b| a.axis.cmp(&b.axis));
        Ok(parts)
    }
}

impl From<Part> for Scalar {
    fn from(part: Part) -> Self {
        let step = part.step.and_then(|(rest, step)| {
            let (monomial, one) = rest.numerator.as_term()?;
            one.is_one().then(|| (monomial.clone(), step))
        });
        Scalar {
            value: part.value,
            place: None,
            steps: step.into_iter().collect(),
        }
    }
}

impl Part {
    /// Returns the unit vector or imaginary unit.
    pub(super) fn axis(&self) -> Option<&Atom> {
        self.axis.as_ref()
    }

    /// Returns the zero coordinate for the same unit.
    pub(crate) fn zero(&self) -> Part {
        Part {
            axis: self.axis.clone(),
            value: Fraction::whole(0),
            step: None,
        }
    }

    /// Returns whether two coordinates belong to the same unit.
    pub(crate) fn same_axis(&self, other: &Part) -> bool {
        self.axis == other.axis
    }
}

/// Returns whether an atom is the unit of a coordinate.
fn is_coordinate(atom: &Atom) -> bool {
    match atom {
        Atom::Imaginary => true,
        Atom::Symbol(name) => is_axis(name),
        _ => false,
    }
}

/// Returns the place of the last digit of a decimal literal, as a power of ten.
fn last_place(literal: &Literal) -> Option<i64> {
    let is_decimal = !literal.fraction.is_empty() && literal.repeat.is_empty();
    let digits = i64::try_from(literal.fraction.len()).ok();
    digits
        .filter(|_| is_decimal)
        .map(|digits| i64::from(literal.exponent) - digits)
}

fn power_of_ten(place: i64, budget: &mut Budget) -> Result<RBig, EvalError> {
    number::power(&number::whole(10), place, budget)
}

/// Returns whether a tree contains a decimal.
fn holds_decimal(node: &Node, budget: &mut Budget) -> Result<bool, EvalError> {
    let is_decimal =
        |kind: &Kind| matches!(kind, Kind::Number(literal) if !literal.fraction.is_empty());
    plus_minus::holds(node, is_decimal, budget)
}

/// Returns the steps of a tree that is linear in its decimals.
///
/// # Errors
///
/// Returns [`EvalError::Unsupported`] if it is not.
fn steps(node: &Node, budget: &mut Budget) -> Result<Vec<(Monomial, RBig)>, EvalError> {
    budget.nested(|budget| match &node.kind {
        Kind::Number(literal) => match last_place(literal) {
            Some(place) => Ok(vec![(Monomial::new(), power_of_ten(place, budget)?)]),
            None => Ok(Vec::new()),
        },
        Kind::Neg(inner) | Kind::Group(inner) => steps(inner, budget),
        Kind::Add(terms) => {
            let mut all = Vec::new();
            for term in terms {
                for (monomial, step) in steps(term, budget)? {
                    coarsest(&mut all, &monomial, &step, budget)?;
                }
            }
            Ok(all)
        }
        Kind::Mul(factors) => {
            let mut found = Vec::new();
            let mut exact = Fraction::whole(1);
            for factor in factors {
                let own = steps(factor, budget)?;
                match (own.is_empty(), found.is_empty()) {
                    (true, _) => exact = exact.multiply(&scalar(factor, None, budget)?, budget)?,
                    (false, true) => found = own,
                    (false, false) => return Err(EvalError::Unsupported),
                }
            }
            scaled(&found, &exact, budget)?.ok_or(EvalError::Unsupported)
        }
        Kind::Div(top, bottom) => {
            let found = steps(top, budget)?;
            if holds_decimal(bottom, budget)? {
                return Err(EvalError::Unsupported);
            }
            if found.is_empty() {
                return Ok(found);
            }
            let bottom = scalar(bottom, None, budget)?;
            let factor = Fraction::whole(1).divide(&bottom, budget)?;
            scaled(&found, &factor, budget)?.ok_or(EvalError::Unsupported)
        }
        _ if holds_decimal(node, budget)? => Err(EvalError::Unsupported),
        _ => Ok(Vec::new()),
    })
}

/// Multiplies steps by a factor. Returns `None` if a product has more than one term.
fn scaled(
    steps: &[(Monomial, RBig)],
    factor: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Vec<(Monomial, RBig)>>, EvalError> {
    let mut all = Vec::with_capacity(steps.len());
    for (monomial, step) in steps {
        let step = Fraction::from(Poly::term(monomial.clone(), step.clone()));
        let product = step.multiply(factor, budget)?;
        match product.numerator.as_term() {
            Some((monomial, step)) if product.denominator_is_one() => {
                let size = if number::is_negative(step) {
                    -step.clone()
                } else {
                    step.clone()
                };
                all.push((monomial.clone(), size));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// Adds a step. If two decimals are added, the coarser one determines the precision.
fn coarsest(
    steps: &mut Vec<(Monomial, RBig)>,
    monomial: &Monomial,
    step: &RBig,
    budget: &mut Budget,
) -> Result<(), EvalError> {
    budget.spend(1 + steps.len())?;
    match steps.iter_mut().find(|(other, _)| other == monomial) {
        Some((_, known)) => {
            if *known < *step {
                *known = step.clone();
            }
        }
        None => steps.push((monomial.clone(), step.clone())),
    }
    Ok(())
}

/// Returns by how many digits a number exceeds a step: the number of significant digits, if the step is one
/// unit of the last one.
pub(crate) fn digits(value: &RBig, step: &RBig, budget: &mut Budget) -> Result<usize, EvalError> {
    let ratio = value / step;
    let size: UBig = if number::is_negative(&ratio) {
        (-ratio).floor().try_into().unwrap_or_default()
    } else {
        ratio.floor().try_into().unwrap_or_default()
    };
    budget.spend_bits(number::bits(&RBig::from(size.clone())))?;
    Ok(match size.is_zero() {
        true => 0,
        false => size.to_string().len(),
    })
}
