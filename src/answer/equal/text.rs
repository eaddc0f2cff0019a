//! Answers as text: the same tokens, the same words.

use super::is_stop;
use crate::answer::latex::{Tok, Token};

/// Tokens without the punctuation that ends a sentence.
pub(super) fn trimmed(tokens: &[Token]) -> &[Token] {
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
    tokens.len() > 2 && tokens.iter().enumerate().all(|(index, token)| {
        // (Capital letters may have spaces between them: a sequence.)
        matches!(token.tok, Tok::Letter(c) if index == 0 || !token.spaced || c.is_ascii_uppercase())
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
                        // `x-axis`, whether its hyphen was written in upright text or not.
                        let spaced = text.replace('-', " - ");
                        for word in spaced.split_whitespace() {
                            let word = word.trim_matches(|c: char| matches!(c, ',' | '.' | '"'));
                            if !word.is_empty() {
                                words.push(fold(word));
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
    // `a square` is named no more than `square`.
    if let [article, named, ..] = words.as_slice()
        && matches!(article.as_str(), "a" | "an" | "the")
        && named.len() > 2
        && named.chars().all(char::is_alphabetic)
    {
        words.remove(0);
    }
    words
}

fn flush(glued: &mut String, words: &mut Vec<String>) {
    if glued.is_empty() {
        return;
    }
    let word = fold(glued);
    words.push(word);
    glued.clear();
}

/// A word without the case that sentences give it. Case is kept in a single letter, where it distinguishes
/// variables and units, and in mixed capitals and words of two letters, where it has meaning (`AaBb`, `Tt`).
pub(super) fn fold(word: &str) -> String {
    const SHORT: &[&str] = &[
        "am", "an", "as", "at", "be", "by", "he", "in", "is", "it", "no", "of", "ok", "on", "or",
        "pm", "so", "to", "up", "we",
    ];
    let lower = word.to_lowercase();
    let mut letters = word.chars();
    let Some(_) = letters.next() else {
        return lower;
    };
    let inside = letters.as_str();
    let plain = inside == inside.to_lowercase() || word == word.to_uppercase();
    let long = inside.chars().nth(1).is_some();
    match plain && (long || SHORT.contains(&lower.as_str()) || word == lower) {
        true => lower,
        false => word.to_owned(),
    }
}
