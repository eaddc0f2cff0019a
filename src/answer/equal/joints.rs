//! `and` between conditions that cannot hold at once: it may have been meant as `or`, so that the
//! value is not compared.

use crate::answer::budget::Stop;
use crate::answer::latex::{Tok, Token};
use crate::answer::value::Value;

/// Whether conditions with `and` between them were read as the parts of a union.
pub(super) fn contradict(tokens: &[Token], value: &Result<Value, Stop>) -> bool {
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
