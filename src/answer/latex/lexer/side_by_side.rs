//! Equations separated only by a gap: `x=2 \quad y=3` is `x=2, y=3`, not the chain `x = 2y = 3`.

use super::{Tok, Token};

/// Inserts a comma wherever a gap separates two equations.
pub(super) fn separated(tokens: Vec<Token>) -> Vec<Token> {
    let places = places(&tokens);
    if places.is_empty() {
        return tokens;
    }
    let mut places = places.into_iter().peekable();
    let mut out = Vec::with_capacity(tokens.len() + 4);
    for (at, token) in tokens.into_iter().enumerate() {
        if places.next_if_eq(&at).is_some() {
            out.push(Token {
                tok: Tok::Symbol(','),
                span: token.span.start..token.span.start,
                spaced: false,
                wide: false,
            });
        }
        out.push(token);
    }
    out
}

/// Returns the positions of tokens that begin another equation after a gap.
fn places(tokens: &[Token]) -> Vec<usize> {
    let mut places = Vec::new();
    let (mut depth, mut environments) = (0_usize, 0_usize);
    let mut related = false;
    for (at, token) in tokens.iter().enumerate() {
        if depth == 0 && environments == 0 && related && is_gap(tokens, at) {
            places.push(at);
            related = false;
        }
        match &token.tok {
            Tok::Symbol('(' | '[' | '{') => depth += 1,
            Tok::Symbol(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Tok::Begin(_) => environments += 1,
            Tok::End(_) => environments = environments.saturating_sub(1),
            _ if depth > 0 => {}
            Tok::Symbol(',' | ';') | Tok::NewLine | Tok::Word(_) | Tok::Text(_) => related = false,
            Tok::Symbol('=') => related = true,
            Tok::Command(name) => related |= name == "approx",
            _ => {}
        }
    }
    places
}

/// Returns whether a token follows a complete term and a gap, and begins with a name and an equals sign.
fn is_gap(tokens: &[Token], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before].tok) else {
        return false;
    };
    let is_number = matches!(before, Tok::Number(_));
    let is_complete = match before {
        Tok::Number(_)
        | Tok::Letter(_)
        | Tok::Name(_)
        | Tok::Symbol(')' | ']' | '}' | '\'' | '!') => true,
        Tok::Command(name) => matches!(name.as_str(), "pi" | "infty" | "%" | "circ" | "}"),
        _ => false,
    };
    let token = &tokens[at];
    (token.wide && is_complete || token.spaced && is_number) && names_side(&tokens[at..])
}

/// Returns whether tokens begin with only a name (`x`, `y_1`, `a_{n+1}`, `f(x)`) before an equals sign.
pub(crate) fn names_side(tokens: &[Token]) -> bool {
    const MAX_INDEX: usize = 8;
    let is = |at: usize, symbol: char| matches!(tokens.get(at).map(|token| &token.tok), Some(Tok::Symbol(c)) if *c == symbol);
    match tokens.first().map(|token| &token.tok) {
        Some(Tok::Letter(_) | Tok::Name(_)) => {}
        Some(Tok::Command(name)) if crate::answer::latex::words::is_greek(name) => {}
        _ => return false,
    }
    let closed = |open: usize, close: char| {
        let end = (open + 1..tokens.len().min(open + MAX_INDEX)).find(|at| is(*at, close));
        end.map(|end| end + 1)
    };
    let mut at = 1;
    while is(at, '\'') {
        at += 1;
    }
    if is(at, '_') {
        let end = match is(at + 1, '{') {
            true => closed(at + 1, '}'),
            false => Some(at + 2),
        };
        let Some(end) = end else { return false };
        at = end;
    }
    if is(at, '(') {
        let Some(end) = closed(at, ')') else {
            return false;
        };
        at = end;
    }
    is(at, '=')
        || matches!(tokens.get(at).map(|token| &token.tok), Some(Tok::Command(name)) if name == "approx")
}
