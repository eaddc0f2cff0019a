//! From a response to the text of its final answer. Knows markers, sentences and the delimiters
//! of mathematics, but gives nothing a value.
//!
//! Markers in order of trust: the last complete box; then whichever stands last of `####`, "the
//! answer is", "Answer:" and their like, and a line `A: …`; then, only where asked, the last
//! formula or number. A box that is cut off at the end is no answer, and neither is an earlier
//! one.

mod boxes;
mod prose;

/// What was found in a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The answer's text.
    pub(super) text: String,
    /// What marked it.
    pub(super) marker: &'static str,
}

/// The final answer of a response, or why there is none.
pub(super) fn from_response(response: &str, lenient: bool) -> Result<Found, &'static str> {
    let text = solution(response);
    match boxes::last(text) {
        boxes::Boxes::Found(text) => {
            return Ok(Found {
                text,
                marker: "box",
            });
        }
        boxes::Boxes::CutOff => return Err("the last box is cut off"),
        boxes::Boxes::None => {}
    }
    if let Some(text) = prose::marked(text, lenient) {
        return Ok(Found {
            text,
            marker: "marker",
        });
    }
    if lenient && let Some(text) = prose::last_formula_or_number(text) {
        return Ok(Found {
            text,
            marker: "lenient",
        });
    }
    Err("no marker of an answer")
}

/// The answer in a text that is an answer already: a box is opened and a marker read where there
/// is one, else the whole text is the answer.
pub(super) fn from_answer(answer: &str) -> String {
    match boxes::last(answer) {
        boxes::Boxes::Found(text) => return text,
        boxes::Boxes::CutOff | boxes::Boxes::None => {}
    }
    let trimmed = answer.trim();
    prose::marked(trimmed, false).unwrap_or_else(|| trimmed.to_owned())
}

/// The part of a response that is the solution: behind the reasoning, before a next problem or
/// turn.
fn solution(response: &str) -> &str {
    let mut text = response;
    if let Some(at) = text.rfind("</think>") {
        let after = &text[at + "</think>".len()..];
        if !after.trim().is_empty() {
            text = after;
        }
    }
    let start = text.len() - text.trim_start().len();
    let mut end = text.len();
    for marker in NEXT_TURN {
        if let Some(at) = text[start..].find(marker)
            && at > 0
        {
            end = end.min(start + at);
        }
    }
    &text[..end]
}

/// What opens a next turn or a next problem.
const NEXT_TURN: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|user|>",
    "<|end|>",
    "</s>",
    "[INST]",
    "\nProblem:",
    "\nProblem: ",
    "\n**Problem",
    "\n# Problem",
    "\n## Problem",
    "\n### Problem",
    "\nQuestion:",
    "\n**Question",
    "\n### Question",
    "\nQ: ",
    "\nHuman:",
    "\nUser:",
    "\n### Instruction",
    "\n### Human",
    "\n### User",
];
