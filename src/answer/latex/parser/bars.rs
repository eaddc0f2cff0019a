//! Determines which vertical bars open and which close: `||x||y||` is `| |x| |y| |`.

use crate::answer::latex::lexer::{Tok, Token};

/// The maximum number of bars for which directions are determined.
const MAX_BARS: usize = 12;

/// Returns the tokens with each bar marked as opening or closing. A bar closes where it can, and opens if the
/// remaining bars could not be paired otherwise.
pub(super) fn directed(tokens: &[Token]) -> Option<Vec<Token>> {
    let bars: Vec<usize> = (0..tokens.len())
        .filter(|&at| tokens[at].tok == Tok::Symbol('|'))
        .collect();
    if bars.len() < 4 || bars.len() > MAX_BARS || bars.len() % 2 == 1 {
        return None;
    }
    let mut opens = Vec::with_capacity(bars.len());
    if !search(tokens, &bars, 0, &mut opens) {
        return None;
    }
    let mut directed = tokens.to_vec();
    for (&at, &opening) in bars.iter().zip(&opens) {
        let name = if opening { "lvert" } else { "rvert" };
        directed[at].tok = Tok::Command(name.into());
    }
    Some(directed)
}

/// Determines the bars from the `opens.len()`-th on by backtracking. `level` is the number of open bars.
fn search(tokens: &[Token], bars: &[usize], level: usize, opens: &mut Vec<bool>) -> bool {
    let index = opens.len();
    let Some(&at) = bars.get(index) else {
        return level == 0;
    };
    if level > bars.len() - index {
        return false;
    }
    let before = at.checked_sub(1).map(|at| &tokens[at].tok);
    // A preceding bar has its direction already.
    let after_operand = match before {
        Some(Tok::Symbol('|')) => opens.last() == Some(&false),
        Some(Tok::Symbol(c)) => matches!(c, ')' | ']' | '}' | '!' | '\''),
        Some(Tok::Number(_) | Tok::Letter(_) | Tok::Name(_) | Tok::Text(_)) => true,
        Some(Tok::Command(name)) => {
            matches!(name.as_str(), "}" | "pi" | "infty" | "circ" | "%")
                || crate::answer::latex::words::is_symbol(name)
        }
        _ => false,
    };
    let before_operand = match tokens.get(at + 1).map(|token| &token.tok) {
        Some(Tok::Symbol(c)) => matches!(c, '(' | '[' | '{' | '|' | '-' | '+'),
        Some(Tok::Number(_) | Tok::Letter(_) | Tok::Name(_) | Tok::Command(_)) => true,
        _ => false,
    };
    if after_operand && level > 0 {
        opens.push(false);
        if search(tokens, bars, level - 1, opens) {
            return true;
        }
        opens.pop();
    }
    if before_operand {
        opens.push(true);
        if search(tokens, bars, level + 1, opens) {
            return true;
        }
        opens.pop();
    }
    false
}
