//! Boxes: `\boxed{…}` and `\fbox{…}`, several in one sentence included.

use crate::answer::latex::braces;

/// What a text's boxes come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boxes {
    /// The content of the last one, or of those joined with it.
    Found(String),
    /// The last one has no end.
    CutOff,
    None,
}

struct Place<'a> {
    start: usize,
    end: usize,
    content: &'a str,
}

/// Longest stretch of text, in bytes, between two boxes of one list.
const MAX_GAP: usize = 60;

/// The last box, with those before it that one sentence joins to it.
pub(super) fn last(text: &str) -> Boxes {
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut at = 0;
    let mut cut_off = false;
    while let Some((start, after)) = next(text, at) {
        match content(text, after) {
            Some((content, end)) => {
                // A box inside a box is part of the outer one.
                places.push(Place {
                    start,
                    end,
                    content,
                });
                cut_off = false;
                at = end;
            }
            None => {
                cut_off = true;
                at = after;
            }
        }
    }
    if cut_off {
        return Boxes::CutOff;
    }
    let Some(last) = places.pop() else {
        return Boxes::None;
    };
    let mut contents = vec![last.content.trim()];
    let mut from = last.start;
    while let Some(place) = places.pop() {
        if !joins(&text[place.end..from]) {
            break;
        }
        contents.push(place.content.trim());
        from = place.start;
    }
    contents.reverse();
    // The same answer said twice is one answer.
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    let first = squeeze(contents[0]);
    if contents.iter().all(|content| squeeze(content) == first) {
        contents.truncate(1);
    }
    Boxes::Found(contents.join(", "))
}

/// Where the next box command starts and what follows it starts.
fn next(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &text[at..];
    let mut best: Option<(usize, usize)> = None;
    for command in ["\\boxed", "\\fbox"] {
        let mut from = 0;
        while let Some(found) = rest[from..].find(command) {
            let start = from + found;
            let after = start + command.len();
            from = after;
            // `\boxedfoo` is another command.
            if rest[after..].starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            if best.is_none_or(|(other, _)| start < other) {
                best = Some((start, after));
            }
            break;
        }
    }
    best.map(|(start, after)| (at + start, at + after))
}

/// The content of a box from behind its command, and where it ends. Without braces it is the
/// next word.
fn content(text: &str, after: usize) -> Option<(&str, usize)> {
    let rest = &text[after..];
    let trimmed = rest.trim_start();
    if trimmed.starts_with('{') {
        return braces(text, after);
    }
    let start = after + rest.len() - trimmed.len();
    let end = trimmed
        .find(|c: char| c.is_whitespace() || matches!(c, '$' | ',' | ';'))
        .unwrap_or(trimmed.len());
    let word = trimmed[..end].trim_end_matches('.');
    (!word.is_empty()).then(|| (&text[start..start + word.len()], start + word.len()))
}

/// Whether what stands between two boxes makes them one list.
fn joins(gap: &str) -> bool {
    if gap.len() > MAX_GAP || gap.contains("\n\n") {
        return false;
    }
    let mut plain = gap.to_owned();
    for delimiter in [
        "$", "\\(", "\\)", "\\[", "\\]", "\\quad", "\\qquad", "\\,", "\\;", "\\ ", "~", "\\text",
        "\\mbox", "{", "}", "*",
    ] {
        plain = plain.replace(delimiter, " ");
    }
    if plain.contains(". ") || plain.contains(".\n") || plain.contains(['?', '!']) {
        return false;
    }
    let plain = plain.trim();
    plain.is_empty()
        || plain.starts_with([',', ';', '、'])
        || plain
            .split(|c: char| !c.is_alphabetic())
            .any(|word| word.eq_ignore_ascii_case("and") || word.eq_ignore_ascii_case("or"))
}
