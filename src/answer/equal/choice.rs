//! Choice letters: a single letter, a letter followed by its content, or several letters as a set.

use super::{Decision, text::trimmed};
use crate::answer::latex::{Tok, Token};

/// The maximum number of tokens of a text that is read as a choice.
const MAX_TOKENS: usize = 200;

/// How a text that begins with a choice letter continues.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reading {
    /// Only letters.
    Letters(Letters),
    /// One letter, followed by the content of the choice.
    Chosen(u8),
    /// A letter in a sentence about it: `(A) is wrong`.
    Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Letters {
    /// The distinct letters in alphabetical order.
    letters: Vec<u8>,
    /// Whether they are joined by `or`: any one of them, not a set.
    either: bool,
    /// Whether brackets or full stops mark them as choices; else they may be names.
    marked: bool,
    /// Whether they are written as one word: `AC`.
    run: bool,
}

/// Returns the decision if both sides begin with choice letters and at least one has only letters.
pub(super) fn choice(reference: &[Token], answer: &[Token]) -> Option<Decision> {
    // Most texts do not begin with a choice letter: check this first.
    if !may_begin(reference) || !may_begin(answer) {
        return None;
    }
    let equal = match (read(reference)?, read(answer)?) {
        (Reading::Letters(left), Reading::Letters(right)) => {
            let single = left.letters.len() == 1 && right.letters.len() == 1;
            let fits = |one: &Letters, other: &Letters| {
                !one.run || other.marked && other.letters.len() > 1
            };
            let known = (left.marked || right.marked) && fits(&left, &right) && fits(&right, &left);
            if !single && !known {
                return None;
            }
            left.letters == right.letters && left.either == right.either
        }
        (Reading::Letters(letters), Reading::Chosen(chosen))
        | (Reading::Chosen(chosen), Reading::Letters(letters)) => letters.letters == [chosen],
        (Reading::Letters(_), Reading::Said) | (Reading::Said, Reading::Letters(_)) => {
            return Some(Decision::no("choice", "more is said than a letter"));
        }
        _ => return None,
    };
    Some(if equal {
        Decision::yes("choice")
    } else {
        Decision::no("choice", "another letter")
    })
}

/// Returns the contents of two answers that choose the same letter.
pub(super) fn chosen<'t>(
    reference: &'t [Token],
    answer: &'t [Token],
) -> Option<(&'t [Token], &'t [Token])> {
    if !may_begin(reference) || !may_begin(answer) {
        return None;
    }
    match (read(reference)?, read(answer)?) {
        (Reading::Chosen(a), Reading::Chosen(b)) if a == b => {
            Some((content(reference)?, content(answer)?))
        }
        _ => None,
    }
}

/// Returns the content after the letter of a choice.
fn content(tokens: &[Token]) -> Option<&[Token]> {
    let end = match tokens {
        [open, letter, close, ..]
            if open.tok == Tok::Symbol('(')
                && matches!(letter.tok, Tok::Letter(_))
                && close.tok == Tok::Symbol(')') =>
        {
            3
        }
        [letter, mark, ..]
            if matches!(letter.tok, Tok::Letter(_))
                && matches!(mark.tok, Tok::Symbol('.' | ':' | ')')) =>
        {
            2
        }
        // `\textbf{(A)}`.
        [letter, ..] if matches!(letter.tok, Tok::Text(_)) => 1,
        _ => return None,
    };
    tokens.get(end..).filter(|rest| !rest.is_empty())
}

/// Returns whether the first token may begin a choice.
fn may_begin(tokens: &[Token]) -> bool {
    match tokens {
        [] => false,
        [first, ..] => match &first.tok {
            Tok::Letter(c) => ('A'..='J').contains(c),
            Tok::Symbol('(') => matches!(
                tokens.get(1).map(|token| &token.tok),
                Some(Tok::Letter('A'..='J') | Tok::Text(_))
            ),
            Tok::Text(_) => true,
            Tok::Word(word) => is_choice_word(word),
            Tok::Name(run) => run.bytes().all(|b| (b'A'..=b'J').contains(&b)),
            _ => false,
        },
    }
}

/// Returns whether a word may precede choice letters.
fn is_choice_word(word: &str) -> bool {
    ["option", "choice", "options", "choices"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

/// Returns the tokens as plain text. Tokens other than letters and symbols become a placeholder.
fn plain(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        let alphabetic = text.ends_with(char::is_alphabetic);
        let start = text.len();
        match &token.tok {
            Tok::Letter(c) | Tok::Symbol(c) => text.push(*c),
            Tok::Name(run) | Tok::Word(run) => text.push_str(run),
            Tok::Text(words) => text.push_str(words),
            Tok::Number(_) => text.push('0'),
            _ => text.push('\u{1}'),
        }
        if token.spaced || alphabetic && text[start..].starts_with(char::is_alphabetic) {
            text.insert(start, ' ');
        }
    }
    text
}

fn read(tokens: &[Token]) -> Option<Reading> {
    let tokens = trimmed(tokens);
    if tokens.len() > MAX_TOKENS {
        return None;
    }
    let is_text = matches!(tokens.first()?.tok, Tok::Text(_));
    let text = plain(tokens);
    let mut text = text.trim();
    if let Some((word, rest)) = text.split_once(' ')
        && is_choice_word(word)
    {
        text = rest.trim_start();
    }
    if text.len() > 1 && text.bytes().all(|b| (b'A'..=b'J').contains(&b)) {
        let rises = text.as_bytes().windows(2).all(|pair| pair[0] < pair[1]);
        return rises.then(|| {
            Reading::Letters(Letters {
                letters: text.bytes().collect(),
                either: false,
                marked: false,
                run: true,
            })
        });
    }
    let (first, bracketed, mut rest) = letter(text)?;
    let mut letters = vec![first];
    let mut marked = bracketed;
    let mut either = false;
    while let Some((joined, or, stop)) = conjunction(rest, bracketed) {
        let Some((next, _, behind)) = letter(joined) else {
            break;
        };
        letters.push(next);
        either |= or;
        marked |= stop;
        rest = behind;
    }
    let behind = rest.trim_start();
    let ended = behind.trim_start_matches(['.', ' ']).is_empty();
    if letters.len() > 1 {
        if !ended {
            return marked.then_some(Reading::Said);
        }
        letters.sort_unstable();
        letters.dedup();
        return Some(Reading::Letters(Letters {
            letters,
            either,
            marked,
            run: false,
        }));
    }
    if ended {
        return Some(Reading::Letters(Letters {
            letters,
            either: false,
            marked,
            run: false,
        }));
    }
    let spaced = behind.len() < rest.len();
    let chosen = if bracketed {
        // `(A)(x + 1)` and `(A)^2` are formulas.
        if !is_text && !spaced && behind.starts_with(|c: char| c == '(' || c.is_alphabetic()) {
            return None;
        }
        behind
    } else {
        let chosen = behind.strip_prefix(['.', ':', ')'])?;
        if !is_text && !chosen.is_empty() && !chosen.starts_with(' ') {
            return None;
        }
        chosen.trim_start()
    };
    if chosen.is_empty() {
        return Some(Reading::Letters(Letters {
            letters,
            either: false,
            marked: true,
            run: false,
        }));
    }
    if chosen.starts_with(['+', '=', '^', '_', '/', '*', '<', '>', '!', '\'']) {
        return None;
    }
    // `(A) -3` is a choice; `(A) - 3` and `(A)-3` are differences.
    if let Some(negative) = chosen.strip_prefix('-')
        && (bracketed && !spaced || negative.starts_with(' '))
    {
        return None;
    }
    Some(if says(chosen) {
        Reading::Said
    } else {
        Reading::Chosen(first)
    })
}

/// Returns whether the text after a letter is not the content of a choice but continues the sentence or lists
/// other letters.
fn says(text: &str) -> bool {
    const GOES_ON: &[&str] = &[
        "and",
        "are",
        "because",
        "but",
        "however",
        "if",
        "incorrect",
        "is",
        "isn",
        "nor",
        "not",
        "or",
        "rather",
        "since",
        "unless",
        "was",
        "wrong",
    ];
    let end = text
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(text.len());
    let first = text.trim_start_matches([':', ',', ' ']);
    let denied = ["incorrect", "wrong", "false"]
        .iter()
        .any(|word| first.len() < text.len() && first.starts_with(word));
    // `D: E`: two letters.
    let letter_again = letter(text.trim_start_matches([':', ' ']))
        .is_some_and(|(_, _, rest)| rest.trim_matches(['.', ' ']).is_empty());
    text.starts_with([',', ';', '&'])
        || GOES_ON.contains(&&text[..end])
        || denied
        || letter_again
        || others(text)
}

/// Returns whether a text names other choices: `12 (E) 13`, `12 E) 13`, `12, E: 13`, `12 or E`.
fn others(text: &str) -> bool {
    text.char_indices().any(|(at, c)| {
        let before = &text[..at];
        // A letter in brackets may follow a number directly.
        if before.ends_with(|b: char| {
            b.is_alphabetic() || matches!(b, '\\' | '_' | '^') || c != '(' && b.is_numeric()
        }) {
            return false;
        }
        let Some((_, bracketed, rest)) = letter(&text[at..]) else {
            return false;
        };
        let joined = || {
            let word = before.trim_end().rsplit(' ').next().unwrap_or("");
            matches!(word, "or" | "and") && rest.trim_matches(['.', ' ']).is_empty()
        };
        c == '(' && bracketed
            || !bracketed && !before.ends_with('(') && rest.starts_with([')', ':'])
            || !bracketed
                && rest.starts_with(". ")
                && before.ends_with(' ')
                && before
                    .trim_end()
                    .ends_with(|c: char| c.is_ascii_digit() || matches!(c, ',' | ';'))
            || joined()
    })
}

/// Returns the choice letter that a text starts with, whether it is in brackets, and the text after it.
fn letter(text: &str) -> Option<(u8, bool, &str)> {
    let is_choice = |b: &u8| (b'A'..=b'J').contains(b);
    if let Some(inner) = text.strip_prefix('(') {
        let inner = inner.trim_start();
        let letter = *inner.as_bytes().first().filter(|b| is_choice(b))?;
        let rest = inner[1..].trim_start().strip_prefix(')')?;
        return Some((letter, true, rest));
    }
    let letter = *text.as_bytes().first().filter(|b| is_choice(b))?;
    let rest = &text[1..];
    (!rest.starts_with(|c: char| c.is_alphanumeric())).then_some((letter, false, rest))
}

/// Returns the text after a conjunction between two letters, whether the conjunction is `or`, and whether a
/// full stop precedes it. Letters in brackets need no conjunction.
fn conjunction(text: &str, bracketed: bool) -> Option<(&str, bool, bool)> {
    let start = text.trim_start();
    let (behind, stop) = match start.strip_prefix([',', ';']) {
        Some(rest) => (rest.trim_start(), false),
        None => match start.strip_prefix('.') {
            Some(rest) => (rest.trim_start(), true),
            None => (start, false),
        },
    };
    let word = [
        ("and", false),
        ("or", true),
        ("&", false),
        ("和", false),
        ("与", false),
        ("及", false),
        ("或", true),
    ]
    .iter()
    .find_map(|(word, or)| {
        let rest = behind.strip_prefix(word)?;
        (!rest.starts_with(|c: char| c.is_ascii_alphabetic())
            || !word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .then_some((rest.trim_start(), *or))
    });
    match word {
        Some((rest, or)) => Some((rest, or, stop)),
        None if stop => None,
        None => (bracketed || behind.len() < start.len()).then_some((behind, false, false)),
    }
}
