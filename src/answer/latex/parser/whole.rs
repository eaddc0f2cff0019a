//! Rules that apply to a whole text: the domain of a parameter after the answer, rows of numbers, and sentences
//! of only words.

use super::{Node, collect};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::lexer::{Tok, Token};
use crate::answer::latex::tree::{Domain, Kind};

/// The maximum number of tokens of a clause such as `, where k is any integer`.
const MAX_CLAUSE: usize = 14;

/// The words of such a clause, apart from the name and the domain.
const CLAUSE: &[&str] = &[
    "any",
    "all",
    "every",
    "each",
    "is",
    "an",
    "a",
    "some",
    "arbitrary",
    "being",
    "for",
    "where",
    "with",
];

/// Finds a final clause that gives the domain of a parameter. Returns the end of the answer before it, the
/// parameter and its domain.
pub(super) fn clause(
    tokens: &[Token],
    budget: &mut Budget,
) -> Result<Option<(usize, char, Domain)>, EvalError> {
    let first = tokens.len().saturating_sub(MAX_CLAUSE).max(1);
    for start in first..tokens.len() {
        budget.spend(1)?;
        let opens = match &tokens[start].tok {
            Tok::Symbol(c) => matches!(c, ',' | ';' | '('),
            Tok::Word(word) | Tok::Text(word) => word
                .split_whitespace()
                .next()
                .is_some_and(|word| matches!(word.trim_matches(','), "for" | "where" | "with")),
            _ => false,
        };
        if !opens {
            continue;
        }
        let Some((name, domain)) = read_clause(&tokens[start..], budget)? else {
            continue;
        };
        let used = tokens[..start]
            .iter()
            .any(|token| token.tok == Tok::Letter(name));
        if used {
            return Ok(Some((start, name, domain)));
        }
    }
    Ok(None)
}

/// Reads the parameter and domain, if all tokens form such a clause.
fn read_clause(tokens: &[Token], budget: &mut Budget) -> Result<Option<(char, Domain)>, EvalError> {
    let mut name = None;
    let mut domain = None;
    let mut rest = tokens.iter().map(|token| &token.tok).peekable();
    let mut is_first = true;
    while let Some(tok) = rest.next() {
        budget.spend(1)?;
        match tok {
            Tok::Symbol(',' | ';') if is_first => {}
            Tok::Symbol('(') if is_first || name.is_none() => {}
            Tok::Symbol(')') if rest.peek().is_none() => {}
            Tok::Letter(c) if name.is_none() => name = Some(*c),
            Tok::Word(text) | Tok::Text(text) => {
                for word in text.split_whitespace() {
                    let word = word.trim_matches(',').to_lowercase();
                    match word.as_str() {
                        "integer" | "integers" if domain.is_none() => {
                            domain = Some(Domain::Integers);
                        }
                        "real" | "reals" if domain.is_none() => domain = Some(Domain::Reals),
                        "number" | "numbers" if domain == Some(Domain::Reals) => {}
                        "" => {}
                        word if CLAUSE.contains(&word) => {}
                        _ => return Ok(None),
                    }
                }
            }
            Tok::Command(command) if command == "in" && name.is_some() && domain.is_none() => {
                if matches!(rest.peek(), Some(Tok::Command(c)) if c == "mathbb" || c == "mathbf") {
                    rest.next();
                }
                let braced = matches!(rest.peek(), Some(Tok::Symbol('{')));
                if braced {
                    rest.next();
                }
                domain = match rest.next() {
                    Some(Tok::Letter('Z')) => Some(Domain::Integers),
                    Some(Tok::Letter('N')) => Some(Domain::Naturals),
                    Some(Tok::Letter('R')) => Some(Domain::Reals),
                    _ => return Ok(None),
                };
                if braced && rest.next() != Some(&Tok::Symbol('}')) {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
        is_first = false;
    }
    Ok(name.zip(domain))
}

/// The maximum number of tokens of an introduction such as `By Cramer's rule, we have`.
const MAX_INTRODUCTION: usize = 12;

/// Returns the start of the answer after words that end in `we have`, if only words precede them.
pub(super) fn we_have(tokens: &[Token]) -> Option<usize> {
    let word = |token: &Token, options: &[&str]| match &token.tok {
        Tok::Word(word) | Tok::Text(word) => options
            .iter()
            .any(|option| word.eq_ignore_ascii_case(option)),
        _ => false,
    };
    let at = tokens
        .windows(2)
        .take(MAX_INTRODUCTION)
        .position(|pair| word(&pair[0], &["we"]) && word(&pair[1], &["have", "get", "obtain"]))?;
    let said = |token: &Token| {
        matches!(
            token.tok,
            Tok::Word(_) | Tok::Text(_) | Tok::Letter(_) | Tok::Name(_) | Tok::Symbol(',' | '\'')
        )
    };
    let start = at + 2;
    (tokens[..at].iter().all(said) && start < tokens.len()).then_some(start)
}

/// Returns the start of the answer after introductory words: `Solution is: …`.
pub(super) fn introduction(tokens: &[Token]) -> Option<usize> {
    let mut at = 0;
    let mut word = |options: &[&str]| {
        let found = matches!(tokens.get(at).map(|token| &token.tok), Some(Tok::Word(word))
            if options.iter().any(|option| word.eq_ignore_ascii_case(option)));
        at += usize::from(found);
        found
    };
    word(&["the"]);
    if !word(&["solution", "solutions", "answer", "answers", "result"]) {
        return None;
    }
    let verb = word(&["is", "are"]);
    let colon = tokens.get(at).map(|token| &token.tok) == Some(&Tok::Symbol(':'));
    at += usize::from(colon);
    let follows = (verb || colon) && at < tokens.len();
    follows.then_some(at)
}

/// Returns the position of the colon in `x < -7 : (-∞, -7)`: an inequality, and the same set as an interval.
pub(super) fn restatement(tokens: &[Token]) -> Option<usize> {
    let colon = tokens
        .iter()
        .position(|token| token.tok == Tok::Symbol(':'))?;
    let nested = tokens[..colon].iter().any(|token| match &token.tok {
        Tok::Symbol(c) => matches!(c, '(' | '[' | '{' | '|'),
        Tok::Command(name) => name == "{",
        _ => false,
    });
    if nested {
        return None;
    }
    let inequality = tokens[..colon].iter().any(|token| match &token.tok {
        Tok::Symbol(c) => matches!(c, '<' | '>'),
        Tok::Command(name) => matches!(name.as_str(), "le" | "ge"),
        _ => false,
    });
    let bracket = matches!(
        tokens.get(colon + 1).map(|token| &token.tok),
        Some(Tok::Symbol('(' | '['))
    );
    (inequality && bracket).then_some(colon)
}

/// Reads a text that is not an expression: numbers in a row, or only words.
pub(super) fn fallback(tokens: &[Token]) -> Result<Node, EvalError> {
    numbers(tokens)
        .or_else(|| words(tokens))
        .ok_or(EvalError::Unsupported)
}

/// Reads `4 3 -1`: numbers separated by spaces, each sign attached to its number.
fn numbers(tokens: &[Token]) -> Option<Node> {
    let mut items = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if at > 0 && !token.spaced {
            return None;
        }
        let start = token.span.start;
        let negative = token.tok == Tok::Symbol('-');
        at += usize::from(negative);
        let number = tokens.get(at)?;
        let Tok::Number(literal) = &number.tok else {
            return None;
        };
        if negative && number.spaced {
            return None;
        }
        at += 1;
        let node = Node::new(Kind::Number(Box::new(literal.clone())), number.span.clone());
        items.push(if negative {
            Node::new(Kind::Neg(Box::new(node)), start..number.span.end)
        } else {
            node
        });
    }
    (items.len() > 1).then(|| collect(items, Kind::List))
}

/// The maximum numbers of parts and of words in a sentence with formulas.
const MAX_SEGMENTS: usize = 12;
pub(super) const MAX_WORDS: usize = 40;

/// Splits tokens into alternating words (`true`) and formulas (`false`), without the punctuation between them.
/// Returns `None` unless both occur, or if there are too many.
pub(super) fn segments(tokens: &[Token]) -> Option<Vec<(std::ops::Range<usize>, bool)>> {
    let spoken = |at: usize| {
        let token = tokens.get(at).map(|token| &token.tok);
        matches!(token, Some(Tok::Word(_) | Tok::Text(_)))
    };
    // `\min at $x = 1$`: the command stands for the word.
    let is_word = |at: usize| match &tokens[at].tok {
        Tok::Command(name) => matches!(name.as_str(), "min" | "max") && spoken(at + 1),
        _ => spoken(at),
    };
    let is_mark =
        |token: &Token| matches!(token.tok, Tok::Symbol('.' | ',' | ';' | ':') | Tok::NewLine);
    let mut segments: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
    for at in 0..tokens.len() {
        let word = is_word(at);
        match segments.last_mut() {
            Some((range, text)) if *text == word => range.end = at + 1,
            _ => segments.push((at..at + 1, word)),
        }
        if segments.len() > MAX_SEGMENTS {
            return None;
        }
    }
    for (range, text) in &mut segments {
        while !*text && range.end > range.start && is_mark(&tokens[range.end - 1]) {
            range.end -= 1;
        }
        while !*text && range.end > range.start && is_mark(&tokens[range.start]) {
            range.start += 1;
        }
    }
    segments.retain(|(range, _)| !range.is_empty());
    let both = segments.iter().any(|(_, text)| *text) && segments.iter().any(|(_, text)| !*text);
    both.then_some(segments)
}

/// Reads a sentence or phrase without mathematics.
pub(super) fn words(tokens: &[Token]) -> Option<Node> {
    let mut text = String::new();
    let mut real = false;
    for token in tokens {
        if token.spaced && !text.is_empty() {
            text.push(' ');
        }
        match &token.tok {
            Tok::Word(word) | Tok::Text(word) => {
                if matches!(token.tok, Tok::Text(_)) && !text.is_empty() && !text.ends_with(' ') {
                    text.push(' ');
                }
                real = true;
                text.push_str(word);
            }
            Tok::Name(word) => text.push_str(word),
            Tok::Command(word) if matches!(word.as_str(), "min" | "max") => text.push_str(word),
            Tok::Letter(c) => text.push(*c),
            Tok::Symbol(c @ ('.' | ',' | '\'' | '-' | ';' | ':' | '?' | '"')) => text.push(*c),
            _ => return None,
        }
    }
    let (first, last) = (tokens.first()?, tokens.last()?);
    real.then(|| Node::new(Kind::Text(text.into()), first.span.start..last.span.end))
}
