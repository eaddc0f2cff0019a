//! Boxes: `\boxed{…}` and `\fbox{…}`, several in one sentence included. One pass over the text.

/// What a text's boxes come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boxes {
    /// The content of the last one, or of those joined with it.
    Found(String),
    /// The last one has no end.
    CutOff,
    None,
}

/// A box: from its backslash to behind its brace, and what stands inside.
struct Place<'a> {
    start: usize,
    end: usize,
    content: &'a str,
}

/// Longest stretch of text, in bytes, between two boxes of one list.
const MAX_GAP: usize = 60;

/// Words after which a sentence corrects or concludes: what follows is another answer, not another
/// member of a list.
const TURNS: &[&str] = &[
    "actually",
    "answer",
    "but",
    "hence",
    "instead",
    "no",
    "not",
    "rather",
    "so",
    "then",
    "therefore",
    "thus",
    "wait",
];

/// The last box, with those before it that one sentence joins to it.
pub(super) fn last(text: &str) -> Boxes {
    let (mut places, unclosed) = places(text);
    let Some(last) = places.pop() else {
        return if unclosed.is_some() {
            Boxes::CutOff
        } else {
            Boxes::None
        };
    };
    if unclosed.is_some_and(|start| start >= last.end) {
        return Boxes::CutOff;
    }
    let mut contents = vec![last.content.trim()];
    let mut from = last.start;
    while let Some(place) = places.pop() {
        if !text.get(place.end..from).is_some_and(joins) {
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

/// Complete boxes in order, outermost only, and where the last one without an end starts.
fn places(text: &str) -> (Vec<Place<'_>>, Option<usize>) {
    let bytes = text.as_bytes();
    let mut places: Vec<Place<'_>> = Vec::new();
    // Open braces: of a box its start and the start of its content.
    let mut open: Vec<Option<(usize, usize)>> = Vec::new();
    let mut unclosed = None;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => {
                // `\\boxed` of a quoted string counts too; any other escaped character is skipped.
                let name = at + 1 + usize::from(bytes.get(at + 1) == Some(&b'\\'));
                let Some(after) = box_command(bytes, name) else {
                    at += 2;
                    continue;
                };
                let mut brace = after;
                while bytes.get(brace).is_some_and(u8::is_ascii_whitespace) {
                    brace += 1;
                }
                if bytes.get(brace) == Some(&b'{') {
                    open.push(Some((at, brace + 1)));
                    at = brace + 1;
                } else {
                    match bare_word(text, brace) {
                        Some(end) => {
                            places.push(Place {
                                start: at,
                                end,
                                content: text.get(brace..end).unwrap_or(""),
                            });
                        }
                        None => unclosed = Some(at),
                    }
                    at = after;
                }
            }
            b'{' => {
                open.push(None);
                at += 1;
            }
            b'}' => {
                if let Some(Some((start, inside))) = open.pop() {
                    // Boxes inside this one are part of it.
                    while places.last().is_some_and(|place| place.start > start) {
                        places.pop();
                    }
                    if let Some(content) = text.get(inside..at) {
                        places.push(Place {
                            start,
                            end: at + 1,
                            content,
                        });
                    }
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    for start in open.into_iter().flatten().map(|(start, _)| start) {
        unclosed = unclosed.max(Some(start));
    }
    (places, unclosed)
}

/// What follows the name of a box command that starts at `name`.
fn box_command(bytes: &[u8], name: usize) -> Option<usize> {
    let rest = bytes.get(name..)?;
    let len = [&b"boxed"[..], b"fbox"]
        .into_iter()
        .find(|command| rest.starts_with(command))?
        .len();
    // `\boxedfoo` is another command.
    let ends = !rest.get(len).is_some_and(u8::is_ascii_alphabetic);
    ends.then_some(name + len)
}

/// The end of the word that stands for a box's content where it has no braces.
fn bare_word(text: &str, start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, '$' | ',' | ';'))
        .unwrap_or(rest.len());
    let word = rest[..end].trim_end_matches('.');
    (!word.is_empty()).then(|| start + word.len())
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
    let said = |words: &[&str]| {
        plain
            .split(|c: char| !c.is_alphabetic())
            .any(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
    };
    !said(TURNS)
        && (plain.is_empty() || plain.starts_with([',', ';', '、']) || said(&["and", "or"]))
}
