//! Values with units: a unit after a value, one unit for a whole sum, and compound quantities.

use dashu_ratio::RBig;

use super::Value;
use super::calendar;
use super::evaluate::one;
use super::fraction::Fraction;
use super::modifiers::multiplier;
use super::number;
use super::number_words;
use super::scalar::scalar;
use super::units::Unit;
use super::written::Scalar;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Node};

/// Evaluates a value followed by a unit.
pub(super) fn quantity(inner: &Node, unit: &str, budget: &mut Budget) -> Result<Value, EvalError> {
    if matches!(unit.trim(), "st" | "nd" | "rd" | "th") {
        return match &inner.kind {
            Kind::Number(literal) if literal.is_whole() => place(&literal.whole),
            _ => Err(EvalError::Unsupported),
        };
    }
    // `4 \text{ July}`.
    if let Kind::Number(literal) = &inner.kind
        && literal.is_whole()
        && calendar::month(unit.trim()).is_some()
    {
        let date = calendar::date(&format!("{} {}", literal.whole, unit.trim()));
        return date.map(Value::Date).ok_or(EvalError::Unsupported);
    }
    let (factor, unit) = multiplier(unit);
    let value = multiplied(one(inner, budget)?, factor, budget)?;
    if unit.is_empty() {
        return Ok(value);
    }
    match value {
        // `32^\circ \mathrm{F}`.
        Value::Degrees(value) => {
            let mut degrees =
                Unit::read(&format!("degree-{unit}")).ok_or(EvalError::Unsupported)?;
            // Other words could change the meaning of the angle.
            let scales = ["c", "f", "celsius", "fahrenheit", "centigrade"];
            let is_scale = scales.contains(&unit.trim().to_lowercase().as_str());
            degrees.is_plain &= is_scale || Unit::read(unit).is_some_and(|unit| unit.is_plain);
            Ok(Value::Quantity(Box::new(Value::Scalar(value)), degrees))
        }
        value @ (Value::Scalar(_)
        | Value::Clock(_)
        | Value::Percent(_)
        | Value::Infinite(_)
        | Value::Quantity(..)) => {
            if let Value::Quantity(value, inner) = value {
                // A currency sign before a number and words after it: `$18 per day`. The other side may have
                // either.
                let words = unit.trim();
                let mut joined = Unit::read(words).ok_or(EvalError::Unsupported)?;
                let is_rate = |unit: &Unit| unit.dimensions.values().all(|power| *power < 0);
                let unknown = !joined.is_plain || !inner.is_plain;
                if is_rate(&joined) || is_rate(&inner) || unknown {
                    joined.multiply(&inner);
                }
                return Ok(Value::Quantity(value, joined));
            }
            let unit = Unit::read(unit).ok_or(EvalError::Unsupported)?;
            Ok(Value::Quantity(Box::new(value), unit))
        }
        _ => Err(EvalError::Unsupported),
    }
}

/// Returns an ordinal, from its figures. It is not a number, and equals only the same ordinal.
fn place(figures: &str) -> Result<Value, EvalError> {
    let place = figures.parse().map_err(|_| EvalError::Unsupported)?;
    Ok(Value::Text(number_words::figures_of_place(place)))
}

/// Multiplies a number or an amount of money by a dozen, a thousand, a million and so on.
fn multiplied(value: Value, factor: u64, budget: &mut Budget) -> Result<Value, EvalError> {
    if factor == 1 {
        return Ok(value);
    }
    match value {
        Value::Scalar(scalar) => {
            let factor = Fraction::rational(factor.into());
            Ok(Value::Scalar(scalar.multiply(&factor, budget)?))
        }
        Value::Quantity(value, unit) if matches!(*value, Value::Scalar(_)) => {
            let value = multiplied(*value, factor, budget)?;
            Ok(Value::Quantity(Box::new(value), unit))
        }
        _ => Err(EvalError::Unsupported),
    }
}

/// Evaluates `5 feet 3 inches`, which was parsed as a product followed by the last unit.
pub(super) fn leading_quantity(
    inner: &Node,
    unit: &str,
    budget: &mut Budget,
) -> Result<Option<Value>, EvalError> {
    let Kind::Mul(factors) = &inner.kind else {
        return Ok(None);
    };
    let [first, second] = factors.as_slice() else {
        return Ok(None);
    };
    if !matches!(first.kind, Kind::Unit(..)) || !matches!(second.kind, Kind::Number(_)) {
        return Ok(None);
    }
    let parts = vec![one(first, budget)?, quantity(second, unit, budget)?];
    let sum = compound(&parts, budget)?;
    // `4 ft × 12 ft`: the lengths of two sides, not their product.
    Ok(Some(sum.unwrap_or(Value::List(parts))))
}

/// Returns `5° 30' 36''` in degrees.
pub(super) fn sexagesimal(
    factors: &[Node],
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let mut sum = Fraction::whole(0);
    for (index, factor) in factors.iter().enumerate() {
        let (inner, parts) = match &factor.kind {
            Kind::Degree(inner) if index == 0 => (inner, 1),
            Kind::Unit(inner, unit) if unit == "'" && index == 1 => (inner, 60),
            Kind::Unit(inner, unit) if unit == "''" && index > 0 => (inner, 3600),
            _ => return Ok(None),
        };
        let part = scalar(inner, None, budget)?.divide(&Fraction::whole(parts), budget)?;
        sum = sum.add(&part, budget)?;
    }
    Ok((factors.len() > 1).then_some(sum))
}

/// Returns whether a term has a unit.
pub(super) fn holds_unit(node: &Node) -> bool {
    match &node.kind {
        Kind::Unit(..) => true,
        Kind::Neg(inner) => holds_unit(inner),
        _ => false,
    }
}

/// Evaluates a sum with units: one for every term, or one after the last term for all.
pub(super) fn quantities(terms: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    let Some((last, rest)) = terms.split_last() else {
        return Err(EvalError::Unsupported);
    };
    if !rest.iter().any(holds_unit) {
        let (plain, unit) = match &last.kind {
            Kind::Unit(inner, unit) => ((**inner).clone(), unit),
            Kind::Neg(negative) => match &negative.kind {
                Kind::Unit(inner, unit) => {
                    let kind = Kind::Neg(inner.clone());
                    (Node::new(kind, last.span.clone()), unit)
                }
                _ => return Err(EvalError::Unsupported),
            },
            _ => return Err(EvalError::Unsupported),
        };
        let mut terms = rest.to_vec();
        let span = terms.first().map_or(0, |term| term.span.start)..plain.span.end;
        terms.push(plain);
        return quantity(&Node::new(Kind::Add(terms), span), unit, budget);
    }
    let mut total: Option<(Scalar, Unit)> = None;
    for term in terms {
        let Value::Quantity(value, unit) = one(term, budget)? else {
            return Err(EvalError::Unsupported);
        };
        let Value::Scalar(value) = *value else {
            return Err(EvalError::Unsupported);
        };
        total = Some(match total {
            None => (value, unit),
            Some((sum, first)) => {
                let ratio = unit.ratio(&first).ok_or(EvalError::Unsupported)?;
                let value = value.multiply(&Fraction::rational(ratio), budget)?;
                (sum.add(&value, budget)?, first)
            }
        });
    }
    let (sum, unit) = total.ok_or(EvalError::Unsupported)?;
    Ok(Value::Quantity(Box::new(Value::Scalar(sum)), unit))
}

/// Combines quantities of one kind in decreasing units: `2 hours 30 minutes`.
pub(super) fn compound(parts: &[Value], budget: &mut Budget) -> Result<Option<Value>, EvalError> {
    let mut total: Option<(Scalar, Unit, Unit)> = None;
    for part in parts {
        let Value::Quantity(value, unit) = part else {
            return Ok(None);
        };
        let Value::Scalar(value) = &**value else {
            return Ok(None);
        };
        let Some(amount) = value.value.as_rational() else {
            return Ok(None);
        };
        total = Some(match total {
            None => (value.clone(), unit.clone(), unit.clone()),
            Some((sum, first, last)) => {
                // Each part must be less than one unit of the preceding part.
                let (Some(step), Some(ratio)) = (unit.ratio(&last), unit.ratio(&first)) else {
                    return Ok(None);
                };
                let share = &step * &amount;
                if step >= RBig::ONE || share >= RBig::ONE || number::is_negative(&amount) {
                    return Ok(None);
                }
                let value = value.multiply(&Fraction::rational(ratio), budget)?;
                (sum.add(&value, budget)?, first, unit.clone())
            }
        });
    }
    Ok(total.map(|(sum, unit, _)| Value::Quantity(Box::new(Value::Scalar(sum)), unit)))
}
