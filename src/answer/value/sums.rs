//! Sums and products over an index. They are written out if both bounds are numbers, in closed form if they are
//! geometric series, and otherwise atoms of their parts.

use super::fraction::Fraction;
use super::functions::{call, sign};
use super::scalar::{Binding, Bindings, depth, scalar};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{BigOperator, Kind, Node, Relation};

/// The maximum number of terms of a sum or product that is written out.
const MAX_RANGE: i64 = 400;

/// Returns the index and the bounds of a large operator, as in `\sum_{k=1}^{n}`.
pub(super) fn range(big: &BigOperator) -> Option<(&str, &Node, &Node)> {
    let (below, above) = (big.below.as_ref()?, big.above.as_ref()?);
    let Kind::Chain(sides, relations) = &below.kind else {
        return None;
    };
    match (sides.as_slice(), relations.as_slice()) {
        ([index, from], [Relation::Equal]) => match &index.kind {
            Kind::Symbol(name) => Some((name, from, above)),
            _ => None,
        },
        _ => None,
    }
}

/// Returns a sum, or else a product, over the integers between two bounds.
pub(super) fn series(
    big: &BigOperator,
    is_sum: bool,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let (name, from, above) = range(big).ok_or(EvalError::Unsupported)?;
    let term = |value: Fraction, budget: &mut Budget| {
        let binding = Binding {
            name,
            value,
            outer: bound,
        };
        scalar(&big.body, Some(&binding), budget)
    };
    let from = scalar(from, bound, budget)?;
    let infinite = matches!(above.kind, Kind::Infinity);
    let to = match infinite {
        true => Fraction::symbol("infinity"),
        false => scalar(above, bound, budget)?,
    };
    if let (Some(low), Some(high)) = (from.as_small(), to.as_small()) {
        if high.saturating_sub(low) > MAX_RANGE {
            return Err(EvalError::LimitExceeded);
        }
        let mut total = Fraction::whole(i64::from(!is_sum));
        for k in low..=high {
            let term = term(Fraction::whole(k), budget)?;
            total = match is_sum {
                true => total.add(&term, budget)?,
                false => total.multiply(&term, budget)?,
            };
        }
        return Ok(total);
    }
    let body = term(Fraction::symbol(&format!("bound {}", depth(bound))), budget)?;
    if infinite
        && is_sum
        && let Some(sum) = geometric(&body, &from, depth(bound), budget)?
    {
        return Ok(sum);
    }
    Ok(call(&big.operator, vec![body, from, to]))
}

/// Returns the infinite sum from `from` on, if the ratio of successive terms is constant and between -1 and 1.
fn geometric(
    body: &Fraction,
    from: &Fraction,
    depth: usize,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let name = format!("bound {depth}");
    if !body.depends_on(&name) {
        return Ok(None);
    }
    let next = Fraction::symbol(&name).add(&Fraction::whole(1), budget)?;
    let first = budget.attempt(|budget| body.substitute(&name, from, budget))?;
    let ratio =
        budget.attempt(|budget| body.substitute(&name, &next, budget)?.divide(body, budget))?;
    let (Some(first), Some(ratio)) = (first, ratio) else {
        return Ok(None);
    };
    let one = Fraction::whole(1);
    let rest = one.subtract(&ratio, budget)?;
    let converges = !ratio.depends_on(&name)
        && sign(&rest, budget)? == Some(1)
        && sign(&one.add(&ratio, budget)?, budget)? == Some(1);
    if !converges {
        return Ok(None);
    }
    Ok(Some(first.divide(&rest, budget)?))
}
