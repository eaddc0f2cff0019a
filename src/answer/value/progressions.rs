//! Arithmetic progressions: `a + bk` for every integer `k`.

use super::fraction::Fraction;
use crate::answer::budget::{Budget, EvalError};

/// The name that replaces every parameter that may be any integer.
pub(crate) const ANY_INTEGER: &str = "any integer";

/// Returns whether two expressions take the same values as their parameters run through the integers: the steps
/// are equal up to sign, and the starts differ by an integer number of steps.
pub(crate) fn same_progression(
    left: &Fraction,
    right: &Fraction,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    let (Some((start, step)), Some((other, other_step))) =
        (progression(left, budget)?, progression(right, budget)?)
    else {
        return Ok(false);
    };
    let ratio = step.divide(&other_step, budget)?;
    if !matches!(ratio.as_small(), Some(1 | -1)) {
        return Ok(false);
    }
    let steps = start.subtract(&other, budget)?.divide(&step, budget)?;
    Ok(steps.as_rational().is_some_and(|steps| steps.is_int()))
}

/// Returns the start and step of an expression that is linear in such a parameter.
fn progression(
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Option<(Fraction, Fraction)>, EvalError> {
    if !value.depends_on(ANY_INTEGER) {
        return Ok(None);
    }
    value.linear_in(ANY_INTEGER, budget)
}
