//! Answers that continue in the following lines, up to an empty line, if these are nothing but mathematics; and
//! words that take an answer back. Without continuations, `3⏎/4` would be read as 3, and `5⏎6` as 5.

use super::segment::{begins_choice, begins_mathematics, is_mathematics};
use super::{Answer, offset};

/// Delimiters of formulas, bold type and code at the ends of a line.
const DELIMITERS: &[&str] = &["$", "*", "`", "\\(", "\\)", "\\[", "\\]", " ", "\t", "\r"];

/// Words right after an answer that start to take it back.
const DOUBTS: &[&str] = &[
    "wait",
    "actually,",
    "oops",
    "hmm",
    "sorry",
    "no, ",
    "no wait",
    "hold on",
];

/// Phrases after "but" that lead to another answer.
const CORRECTIONS: &[&str] = &[
    "we need to",
    "we must",
    "we have to",
    "we still",
    "this counts",
    "that counts",
    "this includes",
    "that includes",
];

/// Phrases right after an answer that definitely take it back.
const RETRACTIONS: &[&str] = &[
    "correction",
    "scratch that",
    "actually no",
    "actually it",
    "actually the answer",
    "no it ",
    "no, it ",
    "no, that",
    "no, the answer",
    "on second thought",
    "on reflection",
    "i was wrong",
    "i made a mistake",
    "i made an error",
    "i take that back",
    "i take it back",
    "it should have been",
];

/// Subjects of a sentence that calls the preceding answer wrong.
const SUBJECTS: &[&str] = &[
    "that answer",
    "this answer",
    "the answer",
    "my answer",
    "that",
    "this",
    "it",
    "which",
];
const WRONGS: &[&str] = &[
    "'s wrong",
    "'s incorrect",
    "'s not right",
    "'s not correct",
    " is wrong",
    " is incorrect",
    " is not right",
    " is not correct",
    " isn't right",
    " isn't correct",
    " was wrong",
    " was incorrect",
    " can't be right",
    " cannot be right",
    " can't be correct",
    " cannot be correct",
    " is the wrong answer",
    " is not the answer",
    " contradicts",
];

/// Returns whether the text after an answer takes it back.
pub(super) fn is_retracted(text: &str, answer: &Answer<'_>) -> bool {
    let end = offset(text, answer.place) + answer.place.len();
    let behind = without_stops(&text[end..]);
    let corrected = ["but ", "however, "]
        .iter()
        .find_map(|word| behind_word(behind, word));
    let goes_on = |behind: &str| {
        CORRECTIONS
            .iter()
            .any(|words| behind_word(behind, words).is_some())
    };
    if corrected.is_some_and(goes_on) {
        return true;
    }
    let behind = corrected.unwrap_or(behind);
    // `The answer is D. But D is wrong.`
    let named = behind
        .strip_prefix(&*answer.text)
        .is_some_and(is_called_wrong);
    named
        || DOUBTS
            .iter()
            .any(|words| behind_word(behind, words).is_some())
        || takes_back(behind)
}

/// Returns whether a text definitely takes back what precedes it.
pub(super) fn takes_back(text: &str) -> bool {
    let mut rest = without_stops(text);
    // `5? No.`
    let asked = text[..text.len() - rest.len()].contains('?');
    if asked && behind_word(rest, "no").is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    {
        return true;
    }
    for _ in 0..2 {
        let Some(behind) = [
            "wait",
            "oops",
            "sorry",
            "hmm",
            "but ",
            "actually, ",
            "however, ",
        ]
        .iter()
        .find_map(|word| behind_word(rest, word)) else {
            break;
        };
        rest = without_stops(behind);
    }
    let wrong = SUBJECTS.iter().any(|subject| {
        behind_word(rest, subject).is_some_and(|said| {
            // `It should be noted` takes nothing back.
            let corrected = behind_word(said, " should be ").is_some_and(begins_mathematics);
            corrected || is_called_wrong(said)
        })
    });
    wrong
        || RETRACTIONS
            .iter()
            .any(|words| behind_word(rest, words).is_some())
}

fn is_called_wrong(said: &str) -> bool {
    WRONGS
        .iter()
        .any(|wrong| behind_word(said, wrong).is_some())
}

/// Returns the text after a phrase that a text starts with, ignoring ASCII case.
fn behind_word<'a>(text: &'a str, phrase: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(phrase.len())?;
    start.eq_ignore_ascii_case(phrase).then_some(rest)
}

/// Removes leading punctuation and delimiters.
fn without_stops(text: &str) -> &str {
    text.trim_start_matches([
        '.', '…', ',', ';', '-', '–', '—', '(', '*', '$', ')', ']', ' ', '\n', '?', '!', '\\',
    ])
}

/// Extends an answer by the lines in which it continues. `text` is the text that it was extracted from.
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

/// Removes the delimiters around a line.
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

/// Returns whether a text is nothing but mathematics.
fn is_formula(text: &str) -> bool {
    text.contains('\\') || text.split_whitespace().all(is_mathematics)
}

/// Returns whether an answer continues in a line: mathematics that is not just punctuation, and not a tag.
fn goes_on(line: &str) -> bool {
    let is_tag = line.starts_with("</")
        || line.starts_with('<') && line[1..].starts_with(|c: char| c.is_ascii_alphabetic());
    let says = line.contains(char::is_alphanumeric) || matches!(line, "%" | "\\%" | "!");
    !is_tag && says && line.split_whitespace().all(is_mathematics)
}

/// Operators and other characters that cannot begin or end a formula.
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

/// Returns whether a text ends where something must follow.
fn is_open(text: &str) -> bool {
    text.ends_with(OPERATORS) && !text.ends_with('%')
        || text.ends_with([',', '(', '[', '{'])
        || ["\\times", "\\cdot", "\\div", "\\\\"]
            .iter()
            .any(|command| text.ends_with(command))
}
