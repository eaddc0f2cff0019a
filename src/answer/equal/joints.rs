//! `and` and `or` between conditions: where a value has lost which of them was written, it is not
//! compared.

use crate::answer::budget::Stop;
use crate::answer::latex::{Tok, Token};
use crate::answer::value::{Equation, Value};

/// Whether a list of conditions was read without regard to the words that join them: an
/// intersection though `or` was written, a union though `and` was, or several solutions for several
/// unknowns in one list.
pub(super) fn lost(tokens: &[Token], value: &Result<Value, Stop>) -> bool {
    let Ok(value) = value else { return false };
    if !matches!(
        value,
        Value::Inequalities(_) | Value::Reals(..) | Value::List(_)
    ) {
        return false;
    }
    let (mut and, mut or, mut settled) = (false, false, false);
    for token in tokens {
        match &token.tok {
            Tok::Word(word) | Tok::Text(word) => {
                and |= word.eq_ignore_ascii_case("and");
                or |= word.eq_ignore_ascii_case("or");
            }
            Tok::Command(name) => {
                and |= name == "wedge";
                or |= name == "vee";
                // Sets are joined by their own signs, and `≠` leaves two pieces by itself.
                settled |= matches!(name.as_str(), "cup" | "cap" | "setminus" | "ne");
            }
            _ => {}
        }
    }
    match value {
        Value::Inequalities(_) => or,
        Value::Reals(reals, _) => !settled && and && (or || reals.pieces.len() > 1),
        Value::List(items) => or && several_solutions(items),
        _ => false,
    }
}

/// Whether a list holds more than one equation for one of several unknowns: which belong together
/// is not known any more.
fn several_solutions(items: &[Value]) -> bool {
    let mut names: Vec<&String> = Vec::new();
    for item in items {
        if let Value::Equation(Equation {
            name: Some(name), ..
        }) = item
        {
            names.push(name);
        }
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    names.len() > 1 && names.len() < count
}
