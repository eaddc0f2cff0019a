//! The value of a JSON field: a string with escapes, a number, or a list of either.

use std::borrow::Cow;

use super::Answer;

/// The maximum length of a value, in bytes.
const MAX_VALUE: usize = 4096;

/// The maximum number of members in a list.
const MAX_LIST: usize = 100;

/// Returns the value after a field's name: `: "5"`, `: 5`, `: [1, 2]`.
pub(super) fn value(text: &str) -> Option<Answer<'_>> {
    let text = text.trim_ascii_start().strip_prefix(':')?;
    let text = text.trim_ascii_start();
    let Some(mut rest) = text.strip_prefix('[') else {
        let (value, _) = scalar(text)?;
        return Some(value);
    };
    let mut joined = String::new();
    for _ in 0..MAX_LIST {
        let (member, behind) = scalar(rest.trim_ascii_start())?;
        joined.push_str(&member.text);
        rest = behind.trim_ascii_start();
        match rest.as_bytes().first()? {
            b',' => {
                joined.push_str(", ");
                rest = &rest[1..];
            }
            b']' => {
                let len = text.len() - rest.len() + 1;
                return Some(Answer::list(joined, &text[..len]));
            }
            _ => return None,
        }
    }
    None
}

/// Returns a string or number, and the text after it.
fn scalar(text: &str) -> Option<(Answer<'_>, &str)> {
    let bytes = text.as_bytes();
    let quote = *bytes.first()?;
    if !matches!(quote, b'"' | b'\'') {
        let len = bytes
            .iter()
            .take(MAX_VALUE)
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'))
            .count();
        let value = &text[..len];
        // A value at the very end may be cut off.
        let ends = matches!(
            text[len..].trim_ascii_start().as_bytes().first(),
            Some(b',' | b'}' | b']')
        );
        let is_value = value.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            || matches!(value, "true" | "false" | "True" | "False");
        return (ends && is_value).then(|| (Answer::piece(value), &text[len..]));
    }
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            b if b == quote => break,
            _ => at += 1,
        }
        if at > MAX_VALUE {
            return None;
        }
    }
    let raw = &text[1..at];
    let trimmed = raw.trim();
    if trimmed.is_empty() {
        return None;
    }
    let answer = Answer {
        text: unescaped(trimmed),
        place: trimmed,
    };
    Some((answer, &text[at + 1..]))
}

/// Resolves the escapes of a string. If a backslash is followed by a letter that makes a command (`\frac`,
/// `\pi`), the string was written without escapes and is returned unchanged.
fn unescaped(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let mut chars = escape.chars();
        let Some(c) = chars.next() else {
            return Cow::Borrowed(raw);
        };
        let mut len = c.len_utf8();
        let names = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
        match c {
            '\\' | '"' | '/' | '\'' => text.push(c),
            'n' | 't' | 'r' if !names => text.push(' '),
            'u' => {
                let code = escape
                    .get(1..5)
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let Some(c) = code.and_then(char::from_u32) else {
                    return Cow::Borrowed(raw);
                };
                text.push(c);
                len = 5;
            }
            _ => return Cow::Borrowed(raw),
        }
        rest = &escape[len..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}
