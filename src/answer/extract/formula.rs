//! The delimiters of formulas in a text, and text between dollar signs that is not a formula.

use memchr::{memchr, memchr2};

/// A formula between delimiters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Formula<'a> {
    /// The text between the delimiters, trimmed.
    pub(super) content: &'a str,
    /// The end of the formula, including its delimiter, relative to the start of the text.
    pub(super) end: usize,
}

/// The maximum length of a formula, in bytes.
const MAX_FORMULA: usize = 4096;

/// Returns the formula that a text starts with.
///
/// The search for its end stops where another formula would begin, so a text of nothing but opening delimiters
/// takes linear time.
pub(super) fn formula_at(text: &str) -> Option<Formula<'_>> {
    let bytes = text.as_bytes();
    let (open, close) = match (bytes.first()?, bytes.get(1)?) {
        (b'$', b'$') => (2, double_dollar(bytes)?),
        (b'$', _) => (1, single_dollar(bytes)?),
        (b'\\', b'(') => (2, backslash(bytes, b')')?),
        (b'\\', b'[') => (2, backslash(bytes, b']')?),
        _ => return None,
    };
    let content = text.get(open..close)?;
    let end = close + open;
    if content.trim().is_empty() || open == 1 && is_money(content, bytes.get(end)) {
        return None;
    }
    Some(Formula {
        content: content.trim(),
        end,
    })
}

/// Returns the position of the next unescaped dollar sign from `from` on.
fn dollar(bytes: &[u8], mut from: usize) -> Option<usize> {
    let window = &bytes[..bytes.len().min(MAX_FORMULA)];
    loop {
        let at = from + memchr(b'$', window.get(from..)?)?;
        if bytes[at - 1] != b'\\' {
            return Some(at);
        }
        from = at + 1;
    }
}

fn single_dollar(bytes: &[u8]) -> Option<usize> {
    dollar(bytes, 1)
}

fn double_dollar(bytes: &[u8]) -> Option<usize> {
    let mut from = 2;
    loop {
        let at = dollar(bytes, from)?;
        if bytes.get(at + 1) == Some(&b'$') {
            return Some(at);
        }
        from = at + 1;
    }
}

fn backslash(bytes: &[u8], close: u8) -> Option<usize> {
    let window = &bytes[..bytes.len().min(MAX_FORMULA)];
    let mut from = 2;
    loop {
        let at = from + memchr(b'\\', window.get(from..)?)?;
        match bytes.get(at + 1) {
            Some(b) if *b == close => return Some(at),
            Some(b'(' | b'[') | None => return None,
            Some(_) => from = at + 2,
        }
    }
}

/// Returns whether the text between two dollar signs is prose: `$5 and another $`, `$5 to $7`.
fn is_money(content: &str, behind: Option<&u8>) -> bool {
    if !content.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    if behind.is_some_and(u8::is_ascii_digit) && content.ends_with(char::is_whitespace) {
        return true;
    }
    let mut escaped = false;
    let mut run = 0;
    for c in content.bytes() {
        if c == b'\\' {
            escaped = true;
            run = 0;
        } else if c.is_ascii_alphabetic() {
            if !escaped {
                run += 1;
                if run >= 3 {
                    return true;
                }
            }
        } else {
            if c == b'{' && escaped {
                // `\text{…}`.
                return false;
            }
            escaped = false;
            run = 0;
        }
    }
    false
}

/// Returns the formulas of a text in order, each with its start.
pub(super) fn formulas(text: &str) -> impl Iterator<Item = (usize, Formula<'_>)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += memchr2(b'$', b'\\', bytes.get(at..)?)?;
            if let Some(formula) = text.get(at..).and_then(formula_at) {
                let start = at;
                at += formula.end;
                return Some((start, formula));
            }
            // Skip an escaped character together with its backslash.
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
    })
}
