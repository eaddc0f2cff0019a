//! What stands for many numbers at once: `a + bk` for every whole number `k`.

use super::fraction::Fraction;
use crate::answer::budget::{Budget, Stop};

/// The name of a parameter that may be any integer, whatever it was called.
pub(crate) const ANY_INTEGER: &str = "any integer";

/// Whether two expressions go through the same numbers while their parameters go through the
/// integers: steps that are equal up to their sign, and starts that whole steps lie between.
pub(crate) fn same_progression(
    left: &Fraction,
    right: &Fraction,
    budget: &mut Budget,
) -> Result<bool, Stop> {
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
) -> Result<Option<(Fraction, Fraction)>, Stop> {
    if !value.depends_on(ANY_INTEGER) {
        return Ok(None);
    }
    let at = |k: i64, budget: &mut Budget| {
        budget.attempt(|budget| value.substitute(ANY_INTEGER, &Fraction::whole(k), budget))
    };
    let (Some(start), Some(next)) = (at(0, budget)?, at(1, budget)?) else {
        return Ok(None);
    };
    let step = next.subtract(&start, budget)?;
    let line = step
        .multiply(&Fraction::symbol(ANY_INTEGER), budget)?
        .add(&start, budget)?;
    let linear = !step.is_zero() && !step.depends_on(ANY_INTEGER) && line.same(value, budget)?;
    Ok(linear.then_some((start, step)))
}
