//! Answers as text: the same tokens, the same words, choice letters.

use super::{Decision, is_stop};
use crate::answer::latex::{Tok, Token};

/// Tokens without the punctuation that ends a sentence.
fn trimmed(tokens: &[Token]) -> &[Token] {
    let mut end = tokens.len();
    while end > 0 && is_stop(&tokens[end - 1]) {
        end -= 1;
    }
    &tokens[..end]
}

/// Whether two texts are the same tokens.
pub(super) fn identical(left: &[Token], right: &[Token]) -> bool {
    let (left, right) = (trimmed(left), trimmed(right));
    !left.is_empty()
        && left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| a.tok == b.tok)
}

/// Whether two texts are the same words and tokens, case folded in words.
pub(super) fn same_words(left: &[Token], right: &[Token]) -> bool {
    let (left, right) = (words(left), words(right));
    !left.is_empty() && (left == right || alias(&left).is_some() && alias(&left) == alias(&right))
}

/// Whether a text is one run of letters, which may be a word.
pub(super) fn is_run(tokens: &[Token]) -> bool {
    let tokens = trimmed(tokens);
    tokens.len() > 2
        && tokens.iter().enumerate().all(|(index, token)| {
            matches!(token.tok, Tok::Letter(_)) && (index == 0 || !token.spaced)
        })
}

/// What words say that are known under several spellings: yes or no, that a value is missing.
fn alias(words: &[String]) -> Option<&'static str> {
    let words: Vec<&str> = words.iter().take(4).map(String::as_str).collect();
    match words.as_slice() {
        ["yes" | "true"] => Some("yes"),
        ["no" | "false"] => Some("no"),
        ["dne" | "DNE"] | ["does", "not", "exist"] => Some("does not exist"),
        _ => None,
    }
}

/// The words of a text; other tokens stand for themselves.
fn words(tokens: &[Token]) -> Vec<String> {
    let mut words = Vec::new();
    let mut glued = String::new();
    for token in trimmed(tokens) {
        let letters = match &token.tok {
            Tok::Letter(c) => Some(c.to_string()),
            Tok::Name(run) | Tok::Word(run) => Some(run.to_string()),
            _ => None,
        };
        match letters {
            // A word that was read as a product of letters.
            Some(letters) if !token.spaced && !glued.is_empty() => glued.push_str(&letters),
            Some(letters) => {
                flush(&mut glued, &mut words);
                glued = letters;
            }
            None => {
                flush(&mut glued, &mut words);
                match &token.tok {
                    Tok::Text(text) => {
                        for word in text.split_whitespace() {
                            let word = word.trim_matches(|c: char| matches!(c, ',' | '.' | '"'));
                            // (A letter's case tells units apart.)
                            if word.chars().nth(1).is_some() {
                                words.push(word.to_lowercase());
                            } else if !word.is_empty() {
                                words.push(word.to_owned());
                            }
                        }
                    }
                    Tok::Symbol('"' | '`') => {}
                    Tok::Symbol(c) => words.push(c.to_string()),
                    Tok::Number(literal) => words.push(format!("{literal:?}")),
                    other => words.push(format!("{other:?}")),
                }
            }
        }
    }
    flush(&mut glued, &mut words);
    words
}

fn flush(glued: &mut String, words: &mut Vec<String>) {
    if glued.is_empty() {
        return;
    }
    // The case of a single letter tells variables apart.
    let word = if glued.chars().count() == 1 {
        glued.clone()
    } else {
        glued.to_lowercase()
    };
    words.push(word);
    glued.clear();
}

/// A choice letter and whether anything stands behind it.
fn letter(tokens: &[Token]) -> Option<(char, bool)> {
    let upper = |c: char| ('A'..='J').contains(&c).then_some(c);
    let mut tokens = trimmed(tokens);
    // `Option B`.
    if let [first, rest @ ..] = tokens
        && matches!(&first.tok, Tok::Word(word) if is_choice_word(word))
        && !rest.is_empty()
    {
        tokens = rest;
    }
    match tokens {
        [] => None,
        [token] => match &token.tok {
            Tok::Letter(c) => upper(*c).map(|c| (c, false)),
            Tok::Text(text) => letter_of_text(text),
            _ => None,
        },
        [first, second, third, rest @ ..]
            if first.tok == Tok::Symbol('(') && third.tok == Tok::Symbol(')') =>
        {
            match &second.tok {
                Tok::Letter(c) => upper(*c).map(|c| (c, !rest.is_empty())),
                Tok::Text(text) => letter_of_text(text).map(|(c, _)| (c, !rest.is_empty())),
                _ => None,
            }
        }
        [first, rest @ ..] => match (&first.tok, &rest[0].tok) {
            (Tok::Text(_), Tok::Symbol('+' | '-' | '=' | '^' | '_' | ',' | '/')) => None,
            (Tok::Text(text), _) if text.starts_with('(') => {
                letter_of_text(text).map(|(c, _)| (c, true))
            }
            (Tok::Letter(c), Tok::Symbol('.' | ':')) if rest.len() > 1 && rest[1].spaced => {
                upper(*c).map(|c| (c, true))
            }
            _ => None,
        },
    }
}

/// A word in front of a choice letter.
fn is_choice_word(word: &str) -> bool {
    ["option", "choice"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

fn letter_of_text(text: &str) -> Option<(char, bool)> {
    let text = match text.trim().split_once(' ') {
        Some((word, rest)) if is_choice_word(word) => rest.trim(),
        _ => text.trim(),
    };
    let (inner, rest) = match text.strip_prefix('(') {
        Some(tail) => tail.split_once(')')?,
        None => match text.split_once(['.', ':', ')']) {
            Some((inner, rest)) => (inner, rest),
            None => (text, ""),
        },
    };
    let mut chars = inner.trim().chars();
    let letter = chars.next().filter(char::is_ascii_uppercase)?;
    if chars.next().is_some() || !('A'..='J').contains(&letter) {
        return None;
    }
    Some((letter, !rest.trim().is_empty()))
}

/// The decision where one side is a choice letter alone and the other begins with one.
pub(super) fn choice(reference: &[Token], answer: &[Token]) -> Option<Decision> {
    let (left, more) = letter(reference)?;
    let (right, even_more) = letter(answer)?;
    if more && even_more {
        return None;
    }
    Some(if left == right {
        Decision::yes("choice")
    } else {
        Decision::no("choice", "another letter")
    })
}
