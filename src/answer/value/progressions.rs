//! What stands for many numbers at once: `a + bk` for every whole number `k`.

use super::fraction::Fraction;
use crate::answer::budget::{Budget, EvalError};

/// The name of a parameter that may be any integer, whatever it was called.
pub(crate) const ANY_INTEGER: &str = "any integer";

/// Whether two expressions go through the same numbers while their parameters go through the
/// integers: steps that are equal up to their sign, and starts that whole steps lie between.
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

/// Start and step of an expression that is linear in such a parameter.
fn progression(
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Option<(Fraction, Fraction)>, EvalError> {
    if !value.depends_on(ANY_INTEGER) {
        return Ok(None);
    }
    value.linear_in(ANY_INTEGER, budget)
}
