//! `and` and `or`: between conditions that cannot hold at once `and` may have been meant as `or`, so
//! that the value is not compared; between names they do not say the same.

use crate::answer::budget::EvalError;
use crate::answer::latex::{Tok, Token};
use crate::answer::value::Value;

/// Whether conditions with `and` between them were read as the parts of a union.
pub(super) fn contradict(tokens: &[Token], value: &Result<Value, EvalError>) -> bool {
    let Ok(Value::Reals(reals, _)) = value else {
        return false;
    };
    let (mut and, mut settled) = (false, false);
    for token in tokens {
        match &token.tok {
            Tok::Word(word) | Tok::Text(word) => and |= word.eq_ignore_ascii_case("and"),
            Tok::Command(name) => {
                and |= name == "wedge";
                // Sets are joined by their own signs, and `≠` leaves two pieces by itself.
                settled |= matches!(name.as_str(), "cup" | "cap" | "setminus" | "ne");
            }
            _ => {}
        }
    }
    and && !settled && reals.pieces.len() > 1
}

/// Whether one text joins names with `and` and the other with `or`: of numbers both give the values,
/// of names and words they do not say the same.
pub(super) fn differ(left: (&[Token], &Value), right: (&[Token], &Value)) -> bool {
    let named = |value: &Value| match value {
        Value::List(items) => items.iter().all(|item| match item {
            Value::Scalar(scalar) => !scalar.value.is_constant(),
            Value::Text(_) => true,
            _ => false,
        }),
        _ => false,
    };
    let joined = |tokens: &[Token], conjunction: &str| {
        tokens.iter().any(|token| match &token.tok {
            Tok::Word(word) | Tok::Text(word) => word.eq_ignore_ascii_case(conjunction),
            _ => false,
        })
    };
    named(left.1)
        && named(right.1)
        && (joined(left.0, "and") && joined(right.0, "or")
            || joined(left.0, "or") && joined(right.0, "and"))
}
