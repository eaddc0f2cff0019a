//! Lines that an answer goes on in: what stands right behind it, up to an empty line, and is
//! nothing but mathematics; and words that take it back. Without them `3⏎/4` would be read as 3, and `5⏎6` as 5.

use super::segment::{begins_choice, is_mathematics};
use super::{Answer, offset};

/// What delimits formulas, bold type and code at the ends of a line.
const DELIMITERS: &[&str] = &["$", "*", "`", "\\(", "\\)", "\\[", "\\]", " ", "\t", "\r"];

/// What takes back an answer right behind it.
const RETRACTIONS: &[&str] = &[
    "wait",
    "but wait",
    "actually,",
    "oops",
    "hmm",
    "sorry",
    "correction",
    "scratch that",
    "no, ",
    "no wait",
    "that is wrong",
    "that's wrong",
    "that is not right",
    "that's not right",
    "i made a mistake",
];

/// Whether what follows an answer takes it back.
pub(super) fn is_retracted(text: &str, answer: &Answer<'_>) -> bool {
    let end = offset(text, answer.place) + answer.place.len();
    let behind = text[end..].trim_start_matches([
        '.', '…', ',', ';', '-', '–', '—', '(', '*', '$', ')', ']', ' ', '\n', '?', '!', '\\',
    ]);
    RETRACTIONS.iter().any(|words| {
        behind
            .get(..words.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(words))
    })
}

/// An answer with the lines that it goes on in. `text` is what it was cut out of.
pub(super) fn continued<'a>(text: &'a str, answer: Answer<'a>) -> Answer<'a> {
    let end = offset(text, answer.place) + answer.place.len();
    let behind = without_delimiters(&text[end..]);
    let behind = behind
        .strip_prefix([',', ';'])
        .unwrap_or(behind)
        .trim_start_matches(' ');
    if !behind.starts_with('\n') || !is_formula(&answer.text) || begins_choice(&answer.text) {
        return answer;
    }
    let mut joined: Option<String> = None;
    let mut last = answer.place;
    for line in behind[1..].lines() {
        let inside = trimmed(line);
        if !goes_on(inside) {
            break;
        }
        let text = joined.get_or_insert_with(|| answer.text.clone().into_owned());
        text.push_str(if is_open(text) || begins_with_operator(inside) {
            " "
        } else {
            ", "
        });
        text.push_str(inside);
        last = inside;
    }
    match joined {
        Some(joined) => {
            let start = offset(text, answer.place);
            Answer::list(joined, &text[start..offset(text, last) + last.len()])
        }
        None => answer,
    }
}

fn without_delimiters(mut text: &str) -> &str {
    while let Some(rest) = DELIMITERS
        .iter()
        .find_map(|delimiter| text.strip_prefix(delimiter))
    {
        text = rest;
    }
    text
}

/// A line without the delimiters around it.
fn trimmed(line: &str) -> &str {
    let mut line = without_delimiters(line);
    while let Some(rest) = DELIMITERS
        .iter()
        .find_map(|delimiter| line.strip_suffix(delimiter))
    {
        line = rest;
    }
    line
}

/// Whether a text is nothing but mathematics.
fn is_formula(text: &str) -> bool {
    text.contains('\\') || text.split_whitespace().all(is_mathematics)
}

/// Whether an answer goes on in a line: mathematics that says something, and no tag.
fn goes_on(line: &str) -> bool {
    let is_tag = line.starts_with("</")
        || line.starts_with('<') && line[1..].starts_with(|c: char| c.is_ascii_alphabetic());
    let says = line.contains(char::is_alphanumeric) || matches!(line, "%" | "\\%" | "!");
    !is_tag && says && line.split_whitespace().all(is_mathematics)
}

/// Operators and what else cannot begin a formula, or end one.
const OPERATORS: &[char] = &[
    '+', '-', '−', '*', '/', '^', '=', '<', '>', '≤', '≥', '≈', '×', '·', '÷', '%',
];

fn begins_with_operator(line: &str) -> bool {
    line.starts_with(OPERATORS)
        || line.starts_with([')', ']', '}', '!', ','])
        || [
            "\\times", "\\cdot", "\\div", "\\le", "\\ge", "\\approx", "\\%",
        ]
        .iter()
        .any(|command| line.starts_with(command))
}

/// Whether a text ends where something must follow.
fn is_open(text: &str) -> bool {
    text.ends_with(OPERATORS) && !text.ends_with('%')
        || text.ends_with([',', '(', '[', '{'])
        || ["\\times", "\\cdot", "\\div", "\\\\"]
            .iter()
            .any(|command| text.ends_with(command))
}
