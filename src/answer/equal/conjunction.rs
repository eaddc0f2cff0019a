//! `and` and `or`. Between conditions that exclude each other, `and` may have been meant as `or`, so the value
//! is not compared. Between names, the two have different meanings.

use super::compare::Comparison;
use crate::answer::budget::EvalError;
use crate::answer::latex::{Tok, Token};
use crate::answer::value::Value;

/// Returns whether the words between parts contradict how the parts were read: `and` between the parts of a
/// union, `or` between the parts of one quantity.
pub(super) fn contradict(tokens: &[Token], value: &Result<Value, EvalError>) -> bool {
    match value {
        Ok(Value::Reals(reals, _)) => {
            // Sets have their own operators, and `≠` leaves two pieces by itself.
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

/// Returns whether a text contains a conjunction, as a word or symbol.
fn joined(tokens: &[Token], word: &str, sign: &str) -> bool {
    tokens.iter().any(|token| is(token, word, sign))
}

/// Returns whether a token is a conjunction, as a word or symbol.
fn is(token: &Token, word: &str, sign: &str) -> bool {
    match &token.tok {
        Tok::Word(text) | Tok::Text(text) => text.eq_ignore_ascii_case(word),
        Tok::Command(name) => name == sign,
        _ => false,
    }
}

/// Splits tokens at each `or`.
pub(super) fn alternatives(tokens: &[Token]) -> impl Iterator<Item = &[Token]> {
    tokens.split(|token| is(token, "or", "vee"))
}

/// Returns whether one text joins items with `and` and the other with `or`, and this matters. For numbers both
/// list the values; for names, words and quantities of different units they differ in meaning.
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

/// Returns whether items are quantities of different units.
fn are_of_different_things(items: &[Value]) -> bool {
    let unit = |item: &Value| match item {
        Value::Quantity(_, unit) => Some(unit.dimensions.clone()),
        _ => None,
    };
    let units: Option<Vec<_>> = items.iter().map(unit).collect();
    units.is_some_and(|units| units.windows(2).any(|pair| pair[0] != pair[1]))
}

/// Returns the first of several values joined by `or` if all are equal (`\frac12 or 0.5`), else the value
/// itself.
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
