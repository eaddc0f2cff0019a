//! `and` and `or`: between conditions that cannot hold at once `and` may have been meant as `or`, so
//! that the value is not compared; between names they do not say the same.

use super::compare::Comparison;
use crate::answer::budget::EvalError;
use crate::answer::latex::{Tok, Token};
use crate::answer::value::Value;

/// Whether words between parts say something else than what the parts were read as: `and` between
/// the parts of a union, `or` between the parts of one quantity.
pub(super) fn contradict(tokens: &[Token], value: &Result<Value, EvalError>) -> bool {
    match value {
        Ok(Value::Reals(reals, _)) => {
            // Sets are joined by their own signs, and `≠` leaves two pieces by itself.
            let settled = tokens.iter().any(|token| match &token.tok {
                Tok::Command(name) => matches!(name.as_str(), "cup" | "cap" | "setminus" | "ne"),
                _ => false,
            });
            joined(tokens, "and", "wedge") && !settled && reals.pieces.len() > 1
        }
        Ok(Value::Quantity(..)) => joined(tokens, "or", "vee"),
        _ => false,
    }
}

/// Whether a conjunction stands in a text, as a word or as its sign.
fn joined(tokens: &[Token], word: &str, sign: &str) -> bool {
    tokens.iter().any(|token| is(token, word, sign))
}

/// Whether a token is a conjunction, as a word or as its sign.
fn is(token: &Token, word: &str, sign: &str) -> bool {
    match &token.tok {
        Tok::Word(text) | Tok::Text(text) => text.eq_ignore_ascii_case(word),
        Tok::Command(name) => name == sign,
        _ => false,
    }
}

/// What stands between `or`s.
pub(super) fn alternatives(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    tokens.split(|token| is(token, "or", "vee"))
}

/// Whether one text joins names with `and` and the other with `or`: of numbers both give the values,
/// of names, words and amounts of different things they do not say the same.
pub(super) fn differ(left: (&[Token], &Value), right: (&[Token], &Value)) -> bool {
    let named = |value: &Value| match value {
        Value::List(items) => {
            items.iter().all(|item| match item {
                Value::Scalar(scalar) => !scalar.value.is_constant(),
                Value::Text(_) => true,
                _ => false,
            }) || are_of_different_things(items)
        }
        _ => false,
    };
    let and = |tokens| joined(tokens, "and", "wedge");
    let or = |tokens| joined(tokens, "or", "vee");
    named(left.1) && named(right.1) && (and(left.0) && or(right.0) || or(left.0) && and(right.0))
}

/// Whether items are quantities, not all of one unit.
fn are_of_different_things(items: &[Value]) -> bool {
    let unit = |item: &Value| match item {
        Value::Quantity(_, unit) => Some(unit.dimensions.clone()),
        _ => None,
    };
    let units: Option<Vec<_>> = items.iter().map(unit).collect();
    units.is_some_and(|units| units.windows(2).any(|pair| pair[0] != pair[1]))
}

/// Of values with `or` between them that are all the same (`\frac12 or 0.5`) the first.
pub(super) fn alternative<'v>(
    tokens: &[Token],
    value: &'v Value,
    comparison: &mut Comparison<'_>,
) -> &'v Value {
    match value {
        Value::List(items) if joined(tokens, "or", "vee") => match items.as_slice() {
            [first, rest @ ..]
                if rest
                    .iter()
                    .all(|item| matches!(comparison.values(first, item), Ok(true))) =>
            {
                first
            }
            _ => value,
        },
        _ => value,
    }
}
