//! Compares answers as text: the same tokens or the same words.

use super::is_stop;
use crate::answer::latex::{Tok, Token};

/// Removes the punctuation at the end of a sentence.
pub(super) fn trimmed(tokens: &[Token]) -> &[Token] {
    let mut end = tokens.len();
    while end > 0 && is_stop(&tokens[end - 1]) {
        end -= 1;
    }
    &tokens[..end]
}

/// Returns whether two texts have the same tokens.
pub(super) fn identical(left: &[Token], right: &[Token]) -> bool {
    let (left, right) = (trimmed(left), trimmed(right));
    !left.is_empty()
        && left.len() == right.len()
        && left.iter().zip(right).all(|(a, b)| a.tok == b.tok)
}

/// Returns whether two texts have the same words and tokens, ignoring the case of words.
pub(super) fn same_words(left: &[Token], right: &[Token]) -> bool {
    let (left, right) = (words(left), words(right));
    !left.is_empty() && (left == right || alias(&left).is_some() && alias(&left) == alias(&right))
}

/// Returns whether a text is one run of letters, which may be a word.
pub(super) fn is_run(tokens: &[Token]) -> bool {
    let tokens = trimmed(tokens);
    tokens.len() > 2 && tokens.iter().enumerate().all(|(index, token)| {
        // Capital letters may be separated by spaces: a sequence.
        matches!(token.tok, Tok::Letter(c) if index == 0 || !token.spaced || c.is_ascii_uppercase())
    })
}

/// Returns the meaning of words with several spellings: yes, no, or that no value exists.
fn alias(words: &[String]) -> Option<&'static str> {
    let words: Vec<&str> = words.iter().take(4).map(String::as_str).collect();
    match words.as_slice() {
        ["yes" | "true"] => Some("yes"),
        ["no" | "false"] => Some("no"),
        ["dne" | "DNE"] | ["does", "not", "exist"] => Some("does not exist"),
        _ => None,
    }
}

/// Returns the words of a text. Other tokens stand for themselves.
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
            // A word that was lexed as a product of letters.
            Some(letters) if !token.spaced && !glued.is_empty() => glued.push_str(&letters),
            Some(letters) => {
                flush(&mut glued, &mut words);
                glued = letters;
            }
            None => {
                flush(&mut glued, &mut words);
                match &token.tok {
                    Tok::Text(text) => {
                        // `x-axis`, whether or not its hyphen is in upright text.
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
    // `a square` has the same meaning as `square`.
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

/// Normalizes the case of a word. Case is kept in single letters, where it distinguishes variables and units,
/// and in mixed-case and two-letter words, where it has meaning (`AaBb`, `Tt`).
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
