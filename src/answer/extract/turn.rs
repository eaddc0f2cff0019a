//! Finds the solution in a response: after the reasoning, before a next problem or turn. One pass over the line
//! breaks and the angle and square brackets of the text.

use memchr::memchr3_iter;

use crate::contract::reasoning::reasoning_tag;

/// Returns the solution in a response, or `None` if it contains only reasoning.
///
/// - `<think>…</think>` is skipped. A lone `</think>` closes reasoning that the prompt's template opened.
/// - If nothing follows the reasoning, or if it is never closed, the text before `<think>` is the solution.
///   Without such text there is none.
/// - A control token of a chat template ends the solution. So does a line that opens a next problem or turn, if
///   a solution precedes it.
pub(super) fn solution(response: &str) -> Option<&str> {
    let says_something = |text: &&str| !text.trim_ascii().is_empty();
    let bytes = response.as_bytes();
    let mut start = 0;
    // The text before the last closed reasoning.
    let mut before_closed = None;
    let mut reasoning = None;
    let mut tags = 0;
    let mut next = None;
    let mut end = bytes.len();
    for at in memchr3_iter(b'\n', b'<', b'[', bytes) {
        if at < start {
            continue;
        }
        let rest = &bytes[at..];
        if rest[0] == b'\n' {
            let ends = || {
                opens_next(&response[at + 1..]) && !is_introduction(&response[start..at])
                    || is_marked_end(&response[start..], at - start)
            };
            if next.is_none() && reasoning.is_none() && ends() {
                next = Some(at);
            }
            continue;
        }
        if let Some(len) = control(rest) {
            if response[start..at].trim_ascii().is_empty() {
                // The token opens this turn.
                start = at + len;
                continue;
            }
            end = at;
            break;
        }
        let Some(tag) = reasoning_tag(rest) else {
            continue;
        };
        if tag.opens {
            // Reasoning after the first line of the next turn belongs to that turn.
            if next.is_some() {
                break;
            }
            tags += 1;
            reasoning.get_or_insert(at);
        } else {
            if reasoning.is_none() && tags > 0 && next.is_some() {
                break;
            }
            tags += 1;
            // The text before a closing tag is reasoning, even without an opening tag, including any restated
            // problem.
            let before = &response[start..reasoning.unwrap_or(start)];
            before_closed = match before_closed {
                // Reasoning right after reasoning.
                Some(earlier) if reasoning.is_some() && !says_something(&before) => Some(earlier),
                _ => Some(before),
            };
            next = None;
            reasoning = None;
            start = at + tag.len;
        }
    }
    if let Some(from) = reasoning {
        return Some(&response[start..from]).filter(says_something);
    }
    let text = &response[start..next.unwrap_or(end)];
    match before_closed {
        Some(before) if !says_something(&text) => Some(before).filter(says_something),
        _ => Some(text),
    }
}

/// Tokens of chat templates that open or end a turn.
const CONTROL: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|eos|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
    "<s>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "[INST]",
    "[/INST]",
];

/// Returns the length of the control token that a text starts with.
fn control(text: &[u8]) -> Option<usize> {
    // Most brackets belong to mathematics; the second byte rules those out.
    if !matches!(text.get(1), Some(b'|' | b'/' | b'e' | b's' | b'I' | 0xEF)) {
        return None;
    }
    CONTROL
        .iter()
        .find(|token| text.starts_with(token.as_bytes()))
        .map(|token| token.len())
}

/// The start of a line that opens a next problem or turn.
struct Opener {
    word: &'static str,
    /// Whether it may be a heading without a colon, such as `### Instruction`.
    heading: bool,
    /// Whether it counts only as a heading.
    only: bool,
    /// Whether it counts only with a number: `Example: …` illustrates something, but `Example 2:` is another
    /// problem.
    numbered: bool,
}

const fn opener(word: &'static str, heading: bool, only: bool) -> Opener {
    Opener {
        word,
        heading,
        only,
        numbered: false,
    }
}

const fn numbered(word: &'static str) -> Opener {
    Opener {
        word,
        heading: false,
        only: false,
        numbered: true,
    }
}

const OPENERS: &[Opener] = &[
    opener("Problem", true, false),
    opener("Next problem", true, false),
    opener("New problem", true, false),
    opener("Question", true, false),
    opener("Next question", true, false),
    opener("New question", true, false),
    opener("Exercise", true, false),
    numbered("Example"),
    numbered("Task"),
    opener("Similar problem", true, false),
    opener("Another problem", true, false),
    opener("Here's another problem", true, false),
    opener("Here is another problem", true, false),
    opener("Q", false, false),
    opener("Human", true, false),
    opener("User", true, false),
    opener("Assistant", true, false),
    opener("Instructions", true, false),
    opener("Instruction", true, false),
    opener("Input", true, true),
    opener("问题", true, false),
    opener("题目", true, false),
    opener("用户", true, false),
    opener("下一题", true, false),
    opener("例题", true, false),
    numbered("例"),
    opener("练习", true, false),
];

/// Returns whether a line opens a next problem or turn: `Problem:`, `**Question 2.**`, `### Instruction`,
/// `Human:`.
fn opens_next(line: &str) -> bool {
    let bytes = line.as_bytes();
    let decorations = bytes
        .iter()
        .take_while(|b| matches!(b, b'#' | b'*' | b'>' | b' '))
        .count();
    let plain = &line[decorations..];
    // Rules out most lines by their first byte.
    if !matches!(
        plain.as_bytes().first(),
        Some(b'A' | b'E' | b'H' | b'I' | b'N' | b'P' | b'Q' | b'S' | b'T' | b'U' | 0xE4..=0xE9)
    ) {
        return false;
    }
    let is_heading = matches!(bytes[0], b'#' | b'*');
    OPENERS.iter().any(|opener| {
        let Some((word, rest)) = plain.split_at_checked(opener.word.len()) else {
            return false;
        };
        if !word.eq_ignore_ascii_case(opener.word) || opener.only && !is_heading {
            return false;
        }
        let rest = rest.trim_start_matches(' ');
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let numbered = after.len() < rest.len();
        if opener.numbered && !numbered {
            return false;
        }
        let bold = after.starts_with("**") && is_heading && numbered;
        let after = after.trim_start_matches(['*', ' ']);
        match after.chars().next() {
            Some(':' | '：') => true,
            Some('.' | ')' | '．' | '、') => numbered,
            // `**Problem 2** Find …`.
            Some(_) if bold => true,
            Some('\n' | '\r') | None => is_heading && opener.heading,
            _ => false,
        }
    })
}

/// Returns whether a line break ends a line of `####` and a number that is followed by an empty line. This ends
/// a solution in the format of GSM8K, whatever follows.
fn is_marked_end(text: &str, at: usize) -> bool {
    if !text[at..].starts_with("\n\n") {
        return false;
    }
    let start = text[..at].rfind('\n').map_or(0, |before| before + 1);
    let number = text[start..at].trim_end().strip_prefix("#### ");
    number.is_some_and(|number| {
        let digits = |c: char| c.is_ascii_digit() || matches!(c, ',' | '.' | '-' | '$' | '%');
        number.ends_with(|c: char| c.is_ascii_digit() || c == '%') && number.chars().all(digits)
    })
}

/// The maximum length of an introduction, in bytes.
const MAX_INTRODUCTION: usize = 200;

/// Returns whether a text is only an introduction: one short line without mathematics and without an answer. A
/// problem after it is the problem to solve, restated.
fn is_introduction(text: &str) -> bool {
    if text.len() > MAX_INTRODUCTION {
        return false;
    }
    let text = text.trim_ascii();
    let says_something = text.bytes().any(|b| {
        b.is_ascii_digit() || matches!(b, b'\\' | b'$' | b'=' | b'\n' | b'*') || !b.is_ascii()
    });
    !says_something && !text.to_ascii_lowercase().contains("answer")
}
