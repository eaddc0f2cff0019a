//! Finds the end of a sentence without cutting mathematics, and removes the explanation at its end.

use memchr::memchr_iter;

use super::formula::formula_at;

/// The maximum length of a sentence, in bytes.
pub(super) const MAX_SENTENCE: usize = 4096;

/// Returns the start of a text, at most `limit` bytes.
pub(super) fn head(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Returns the end of a text, at most `limit` bytes.
pub(super) fn tail(text: &str, limit: usize) -> &str {
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

/// Abbreviations whose full stop does not end the sentence if the next word starts with a lower-case letter or
/// a digit.
const ABBREVIATIONS: &[&str] = &[
    "approx", "sq", "cu", "ft", "in", "no", "dr", "mr", "mrs", "ms", "st", "vs", "etc", "eq", "fig",
];

/// Returns the end of the first sentence of a text, outside braces, formulas and environments. A sentence ends
/// at the end of a line, at a full stop that is neither a decimal point nor part of an abbreviation, at the end
/// of bold type, or before "I hope".
pub(super) fn sentence_end(text: &str) -> usize {
    let text = head(text, MAX_SENTENCE);
    let bytes = text.as_bytes();
    let mut braces = 0usize;
    let mut environments = 0usize;
    let mut at = 0;
    while at < bytes.len() {
        let outside = braces == 0 && environments == 0;
        match bytes[at] {
            b'\\' | b'$' => {
                let rest = &text[at..];
                if let Some(formula) = formula_at(rest) {
                    at += formula.end;
                    continue;
                }
                if rest.starts_with("\\begin") {
                    environments += 1;
                } else if rest.starts_with("\\end") {
                    environments = environments.saturating_sub(1);
                } else if bytes[at] == b'\\' && bytes.get(at + 1).is_some_and(u8::is_ascii) {
                    // An escaped brace does not count.
                    at += 1;
                }
            }
            b'{' => braces += 1,
            b'}' => braces = braces.saturating_sub(1),
            b'\n' if outside => return at,
            b'\n' if environments == 0 && text[at + 1..].starts_with('\n') => return at,
            b'.' if outside => match stop(text, at) {
                Stop::No => {}
                Stop::Before => return at,
                Stop::Behind => return at + 1,
            },
            b'*' if outside && ends_bold(bytes, at) => return at,
            b' ' if outside && text[at..].starts_with(" I hope") => return at,
            b'<' if text[at..].starts_with("</") => return at,
            0xE3 if text[at..].starts_with('。') => return at,
            0xEF if text[at..].starts_with(['；', '．']) => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The role of a full stop.
enum Stop {
    /// It belongs to a number, an abbreviation or a name.
    No,
    /// It ends the sentence and is not part of it.
    Before,
    /// It ends the sentence and is part of an abbreviation.
    Behind,
}

fn stop(text: &str, at: usize) -> Stop {
    let bytes = text.as_bytes();
    let Some(&next) = bytes.get(at + 1) else {
        return if is_dotted(bytes, at) {
            Stop::Behind
        } else {
            Stop::Before
        };
    };
    if next.is_ascii_uppercase() && bytes.get(at + 2).is_some_and(u8::is_ascii_lowercase) {
        return if at > 0 && bytes[at - 1].is_ascii_digit() {
            Stop::Before
        } else {
            Stop::No
        };
    }
    let closes = next.is_ascii_whitespace()
        || matches!(next, b'"' | b')' | b'*' | b']' | b'<')
        || text[at + 1..].starts_with('”');
    if !closes {
        return Stop::No;
    }
    let following = text[at + 1..].trim_start_matches([' ', '\t']);
    let goes_on =
        following.starts_with(|c: char| c.is_lowercase() || c.is_ascii_digit() || c == '(');
    if is_dotted(bytes, at) {
        return if goes_on { Stop::No } else { Stop::Behind };
    }
    let word = bytes[..at]
        .iter()
        .rev()
        .take_while(|b| b.is_ascii_alphabetic())
        .count();
    let word = &text[at - word..at];
    if goes_on
        && ABBREVIATIONS
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known))
    {
        return Stop::No;
    }
    // `B. 12`: a choice and its content.
    let is_choice = at == 1 && bytes[0].is_ascii_uppercase();
    if is_choice
        && following
            .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '$' | '\\' | '-' | '('))
    {
        return Stop::No;
    }
    Stop::Before
}

/// Returns whether a full stop is the last one of an abbreviation such as `p.m.` or `e.g.`.
fn is_dotted(bytes: &[u8], at: usize) -> bool {
    at >= 2 && bytes[at - 1].is_ascii_alphabetic() && bytes[at - 2] == b'.'
}

/// Returns whether two asterisks end bold type: after a word, before a space or punctuation.
fn ends_bold(bytes: &[u8], at: usize) -> bool {
    bytes.get(at + 1) == Some(&b'*')
        && at > 0
        && !bytes[at - 1].is_ascii_whitespace()
        && bytes
            .get(at + 2)
            .is_none_or(|b| b.is_ascii_whitespace() || b.is_ascii_punctuation())
}

/// Words that open an explanation after a space or a comma.
const EXPLANATIONS: &[&str] = &[
    "because",
    "since",
    "which",
    "so that",
    "as required",
    "as desired",
    "as shown",
];

/// Words that open an explanation only after a comma.
const ASIDES: &[&str] = &[
    "is", "so", "as", "where we", "and we", "and this", "and so", "but we", "i.e.", "that is",
    "not",
];

/// Words that begin a separate statement after a semicolon.
const STATEMENTS: &[&str] = &[
    "my ",
    "your ",
    "that ",
    "this ",
    "it ",
    "we ",
    "i ",
    "I ",
    "so ",
    "thus ",
    "hence ",
    "therefore ",
    "note ",
];

/// Removes the explanation at the end of a sentence: ` because …`, `, which …`, ` (since …)`.
pub(super) fn said(sentence: &str) -> &str {
    let bytes = sentence.as_bytes();
    for at in memchr_iter(b' ', bytes) {
        let rest = sentence[at + 1..].trim_start_matches('(');
        if !rest.starts_with(['a', 'b', 'i', 'n', 's', 't', 'w', '—']) {
            continue;
        }
        let opens = |phrases: &[&str]| {
            phrases.iter().any(|phrase| {
                rest.strip_prefix(phrase)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
            })
        };
        let comma = at > 0 && bytes[at - 1] == b',';
        // A restatement in another base: either could be the answer.
        if comma && rest.starts_with("that is ") && sentence[..at].contains(" base ") {
            continue;
        }
        if rest.starts_with("— ") || opens(EXPLANATIONS) || comma && opens(ASIDES) {
            return &sentence[..at];
        }
    }
    for (at, _) in sentence.match_indices("; ") {
        if STATEMENTS
            .iter()
            .any(|words| sentence[at + 2..].starts_with(words))
        {
            return &sentence[..at];
        }
    }
    for (at, _) in sentence.match_indices('，') {
        let rest = &sentence[at + '，'.len_utf8()..];
        if [
            "因为", "所以", "因此", "故", "即", "其中", "选", "这", "不", "而",
        ]
        .iter()
        .any(|word| rest.starts_with(word))
        {
            return &sentence[..at];
        }
    }
    sentence
}

/// Removes punctuation, quotes and markup around a piece of a sentence.
pub(super) fn tidy(piece: &str) -> &str {
    let mut piece = piece.trim();
    loop {
        let before = piece;
        piece = piece
            .trim_end_matches([' ', '"', '”', '。', ':', ';', ',', '，', '、', '`', '’'])
            .trim_end();
        if piece.ends_with('.') && !is_dotted(piece.as_bytes(), piece.len() - 1) {
            piece = &piece[..piece.len() - 1];
        }
        if piece.ends_with("**") || piece.ends_with('*') && !piece[..piece.len() - 1].contains('*')
        {
            piece = piece.trim_end_matches('*');
        }
        // `(the answer is 5)`.
        if piece.ends_with(')') {
            let count = |set: [u8; 2]| piece.bytes().filter(|b| set.contains(b)).count();
            if count([b'(', b'[']) < count([b')', b']']) {
                piece = &piece[..piece.len() - 1];
            }
        }
        // `\text{the answer is 5}`.
        if piece.ends_with('}') {
            let count = |brace: u8| piece.bytes().filter(|b| *b == brace).count();
            if count(b'{') < count(b'}') {
                piece = &piece[..piece.len() - 1];
            }
        }
        // `yes!`, but not `5!` or `n!`.
        if piece.ends_with('!')
            && piece
                .bytes()
                .rev()
                .skip(1)
                .take(2)
                .filter(u8::is_ascii_lowercase)
                .count()
                == 2
        {
            piece = &piece[..piece.len() - 1];
        }
        if piece.len() == before.len() {
            return piece;
        }
    }
}
