//! Answers in sentences: behind "the answer is", in a line of their own, and, where asked, the
//! last formula or number of the text.

/// Phrases that an answer follows, in lower case.
const PHRASES: &[&str] = &[
    "answer is",
    "answers are",
    "answer:",
    "answer :",
    "answer**:",
    "answer:**",
    "answer =",
    "final answer",
    "####",
    "答案是",
    "答案为",
    "答案：",
    "答案:",
    "故选",
];

/// Phrases that follow an answer.
const BEHIND: &[&str] = &["is the answer", "is our answer", "is the final answer"];

/// The answer behind the last marker of a text.
pub(super) fn marked(text: &str, lenient: bool) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let mut best: Option<(usize, usize)> = None; // start and end of the marker
    let mut consider = |start: usize, end: usize| {
        if best.is_none_or(|(_, other)| end > other) {
            best = Some((start, end));
        }
    };
    for phrase in PHRASES {
        let mut from = lower.len();
        while let Some(at) = lower[..from].rfind(phrase) {
            let end = at + phrase.len();
            // "final answer" alone marks only as a heading or before a colon.
            let is_heading = *phrase == "final answer" && {
                let after = text[end..].trim_start_matches(['*', '#', ' ']);
                after.starts_with('\n') || after.starts_with(':')
            };
            if *phrase != "final answer" || is_heading {
                consider(at, end);
                break;
            }
            from = at;
        }
    }
    // A line `A: 42`.
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if trimmed.starts_with("A: ") {
            let start = offset + line.len() - trimmed.len();
            consider(start, start + 2);
        }
        offset += line.len();
    }
    let mut found = best.and_then(|(_, end)| Some((end, segment(&text[end..], lenient)?)));
    for phrase in BEHIND {
        if let Some(at) = lower.rfind(phrase)
            && found.as_ref().is_none_or(|(end, _)| at > *end)
            && let Some(answer) = before(&text[..at])
        {
            found = Some((at, answer));
        }
    }
    found.map(|(_, answer)| answer)
}

/// The formula or number right before a phrase.
fn before(text: &str) -> Option<String> {
    let text = text.trim_end();
    let sentence = text
        .rfind(". ")
        .or_else(|| text.rfind('\n'))
        .map_or(text, |at| &text[at + 1..]);
    if sentence.ends_with(['$', ')', ']'])
        && let Some(formula) = formulas(sentence).pop()
        && formula.end + 1 >= sentence.trim_end().len()
    {
        return Some(formula.content.to_owned());
    }
    let word = sentence.rsplit(char::is_whitespace).next()?;
    let word = word.trim_matches('*');
    word.contains(|c: char| c.is_ascii_digit())
        .then(|| word.to_owned())
}

/// The answer at the start of what follows a marker.
fn segment(after: &str, lenient: bool) -> Option<String> {
    let text = after.trim_start_matches(|c: char| {
        c.is_whitespace() || matches!(c, ':' | '：' | '*' | '"' | '“' | '\'' | '=' | '#')
    });
    let text = text
        .strip_prefix("\\text{")
        .filter(|rest| !rest.contains('}'))
        .unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    if let Some(answer) = leading_formulas(text) {
        return Some(answer);
    }
    let sentence = &text[..sentence_end(text)];
    let sentence = sentence
        .trim()
        .trim_end_matches(['.', '*', '"', '”', '。', ' ', ':', ';', ',', '\''])
        .trim();
    if sentence.is_empty() {
        return None;
    }
    // "The volume of the prism is 120".
    let is_word = |text: &str| {
        let letters = text.chars().take_while(|c| c.is_alphabetic()).count();
        letters >= 2 && !text.starts_with("pi")
    };
    if is_word(sentence) {
        for verb in [" is ", " are ", " equals ", " = "] {
            if let Some(at) = sentence.rfind(verb) {
                let tail = sentence[at + verb.len()..].trim();
                let tail = tail
                    .strip_prefix("approximately ")
                    .or_else(|| tail.strip_prefix("equal to "))
                    .unwrap_or(tail);
                if let Some(answer) = leading_formulas(tail) {
                    return Some(answer);
                }
                if tail.contains(|c: char| c.is_ascii_digit()) || verb != " = " {
                    return Some(tail.to_owned());
                }
            }
        }
        if let Some(formula) = formulas(sentence).pop() {
            return Some(formula.content.to_owned());
        }
        if lenient
            && sentence.split_whitespace().count() > 2
            && let Some(answer) = last_formula_or_number(sentence)
        {
            return Some(answer);
        }
    }
    Some(sentence.to_owned())
}

/// Where the first sentence of a text ends: at a line's end, or at a full stop that is no
/// decimal point, outside of braces.
fn sentence_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let environment = text.find("\\begin").unwrap_or(text.len());
    let mut depth = 0i32;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            '\n' if depth <= 0 && at < environment => return at,
            '。' => return at,
            '.' if depth <= 0 => {
                let next = bytes.get(at + 1);
                let ends = next.is_none_or(|b| b.is_ascii_whitespace());
                // `p.m.`, `a.m.` and single letters are abbreviations.
                let letter = at >= 1 && bytes[at - 1].is_ascii_alphabetic();
                let abbreviation = letter && at >= 2 && matches!(bytes[at - 2], b'.');
                if ends && !abbreviation {
                    return at;
                }
            }
            _ => {
                if depth <= 0 && text[at..].starts_with(" I hope") {
                    return at;
                }
            }
        }
    }
    text.len()
}

/// A formula between delimiters.
struct Formula<'a> {
    content: &'a str,
    end: usize,
}

/// Longest formula, in bytes.
const MAX_FORMULA: usize = 4096;

/// Pairs of delimiters.
const DELIMITERS: &[(&str, &str)] = &[("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];

/// The formula that a text starts with.
fn formula_at(text: &str) -> Option<Formula<'_>> {
    for (open, close) in DELIMITERS {
        let Some(rest) = text.strip_prefix(open) else {
            continue;
        };
        let mut window = rest.len().min(MAX_FORMULA);
        while !rest.is_char_boundary(window) {
            window -= 1;
        }
        let rest = &rest[..window];
        let mut from = 0;
        loop {
            let at = from + rest.get(from..)?.find(close)?;
            // `\$` is no delimiter.
            if close.starts_with('$') && rest[..at].ends_with('\\') {
                from = at + 1;
                continue;
            }
            let content = &rest[..at];
            if content.trim().is_empty() || is_money(content, open) {
                return None;
            }
            return Some(Formula {
                content: content.trim(),
                end: open.len() + at + close.len(),
            });
        }
    }
    None
}

/// Whether what stands between two dollar signs is prose: `$5 and another $`.
fn is_money(content: &str, open: &str) -> bool {
    if open != "$" {
        return false;
    }
    let begins_with_digit = content.starts_with(|c: char| c.is_ascii_digit());
    let mut escaped = false;
    let mut run = 0;
    let mut longest = 0;
    for c in content.chars() {
        if c == '\\' {
            escaped = true;
            run = 0;
        } else if c.is_ascii_alphabetic() {
            if !escaped {
                run += 1;
                longest = longest.max(run);
            }
        } else {
            if c == '{' && escaped {
                // `\text{…}`.
                return false;
            }
            escaped = false;
            run = 0;
        }
    }
    begins_with_digit && longest >= 3
}

/// The formulas of a text, in order.
fn formulas(text: &str) -> Vec<Formula<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(['$', '\\']) {
            if let Some(formula) = formula_at(rest) {
                let end = at + formula.end;
                found.push(Formula {
                    content: formula.content,
                    end,
                });
                at = end;
                continue;
            }
            // An escaped character is skipped with its backslash.
            if rest.starts_with('\\') {
                at += 1;
            }
        }
        at += text[at..].chars().next().map_or(1, char::len_utf8);
    }
    found
}

/// The formulas that a text starts with, joined where `and`, `or` or commas join them, with a
/// percent sign behind.
fn leading_formulas(text: &str) -> Option<String> {
    let first = formula_at(text)?;
    let mut answer = first.content.to_owned();
    let mut rest = &text[first.end..];
    loop {
        let trimmed = rest.trim_start();
        let Some(tail) = [", and ", "and ", ", or ", "or ", ", ", ","]
            .iter()
            .find_map(|joint| trimmed.strip_prefix(joint))
        else {
            break;
        };
        let Some(next) = formula_at(tail.trim_start()) else {
            break;
        };
        answer.push_str(", ");
        answer.push_str(next.content);
        rest = &tail.trim_start()[next.end..];
    }
    let trimmed = rest.trim_start();
    if trimmed.starts_with('%') || trimmed.starts_with("\\%") || trimmed.starts_with("percent") {
        answer.push_str("\\%");
    }
    Some(answer)
}

/// The last formula of a text, or its last number where that stands later; failing both, a
/// choice letter.
pub(super) fn last_formula_or_number(text: &str) -> Option<String> {
    let formula = formulas(text).pop();
    let number = last_number(text);
    match (formula, number) {
        (Some(formula), Some((_, end))) if formula.end >= end => Some(formula.content.to_owned()),
        (_, Some((number, _))) => Some(number),
        (Some(formula), None) => Some(formula.content.to_owned()),
        (None, None) => choice(text),
    }
}

/// The last number outside of words, with its sign, fraction and percent sign, and where it
/// ends.
fn last_number(text: &str) -> Option<(String, usize)> {
    let bytes = text.as_bytes();
    let is_part = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'/');
    let mut end = bytes.len();
    while end > 0 {
        let digit = bytes[..end].iter().rposition(u8::is_ascii_digit)?;
        let mut start = digit;
        while start > 0 && is_part(bytes[start - 1]) {
            start -= 1;
        }
        let mut from = start;
        // Separators in front belong to the sentence; a point may open a decimal.
        while from < digit && matches!(bytes[from], b',' | b'/') {
            from += 1;
        }
        let glued = from > 0 && (bytes[from - 1].is_ascii_alphabetic() || bytes[from - 1] == b'_');
        if glued {
            end = start;
            continue;
        }
        let minus = from > 0
            && bytes[from - 1] == b'-'
            && (from == 1 || !bytes[from - 2].is_ascii_alphanumeric());
        let from = from - usize::from(minus);
        let mut number = text.get(from..digit + 1)?.to_owned();
        let mut stop = digit + 1;
        if text[stop..].trim_start().starts_with('%') {
            number.push_str("\\%");
            stop += 1;
        }
        return Some((number, stop));
    }
    None
}

/// A choice letter: `A. …` at the start, else the last capital that stands alone.
fn choice(text: &str) -> Option<String> {
    let is_choice = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        (word.len() == 1 && ("A"..="H").contains(&word)).then(|| word.to_owned())
    };
    let first = text.split_whitespace().next()?;
    if first.ends_with(['.', ':', ')'])
        && let Some(letter) = is_choice(first)
    {
        return Some(letter);
    }
    text.split_whitespace()
        .rev()
        .filter(|word| *word != "A")
        .find_map(is_choice)
}
