//! The tags of a reasoning: what models that think aloud write between `<think>` and `</think>`.
//!
//! One place says which texts are tags, for who samples and for who looks for an answer.

/// Tags that open a reasoning.
pub(crate) const OPENING: [&str; 2] = ["<think>", "<thinking>"];
/// Tags that close one.
pub(crate) const CLOSING: [&str; 2] = ["</think>", "</thinking>"];

/// A tag of a reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReasoningTag {
    /// Whether it opens one.
    pub(crate) opens: bool,
    /// Its bytes.
    pub(crate) len: usize,
}

/// The tag that a text begins with: exactly that, not a longer word as `<thinker>` or `<think_step>`.
pub(crate) fn reasoning_tag(text: &[u8]) -> Option<ReasoningTag> {
    let find = |tags: [&str; 2]| {
        let tag = tags.iter().find(|tag| text.starts_with(tag.as_bytes()));
        tag.map(|tag| tag.len())
    };
    match (find(OPENING), find(CLOSING)) {
        (Some(len), _) => Some(ReasoningTag { opens: true, len }),
        (None, Some(len)) => Some(ReasoningTag { opens: false, len }),
        (None, None) => None,
    }
}

/// Whether a prompt ends with a tag that opens the reasoning, which white space may follow.
#[cfg(any(feature = "engine", feature = "openai"))]
pub(crate) fn opens(prompt: &str) -> bool {
    OPENING.iter().any(|tag| prompt.trim_end().ends_with(tag))
}

/// Whether a response of this text, without what a stop string cut off, ended within its reasoning or with
/// nothing but white space behind it. However the tag that closes it was the end, as a text, a stop string or a
/// stop token, it is the same. `is_opened`: whether the prompt opened one; `special`: tags that have no text, with
/// how much text stands before each, and whether it opens.
#[cfg(any(feature = "engine", feature = "openai"))]
pub(crate) fn is_unfinished(text: &str, is_opened: bool, special: &[(usize, bool)]) -> bool {
    let bytes = text.as_bytes();
    let spelled = memchr::memchr_iter(b'<', bytes).filter_map(|at| {
        let tag = reasoning_tag(&bytes[at..])?;
        Some((at + tag.len, tag.opens))
    });
    let mut tags: Vec<(usize, bool)> = spelled.collect();
    tags.extend(special.iter().filter(|(at, _)| *at <= text.len()));
    tags.sort_by_key(|&(end, _)| end);
    match tags.last() {
        None => is_opened,
        Some((_, true)) => true,
        Some(&(end, false)) => text[end..].trim().is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_exactly_one_of_four() {
        for (text, expected) in [
            ("<think>so", Some((true, 7))),
            ("<thinking>", Some((true, 10))),
            ("</think>", Some((false, 8))),
            ("</thinking> 4", Some((false, 11))),
            ("<thinker>", None),
            ("<think_step>", None),
            ("<think", None),
            ("</thinker>", None),
            ("< think>", None),
            ("", None),
        ] {
            let found = reasoning_tag(text.as_bytes()).map(|tag| (tag.opens, tag.len));
            assert_eq!(found, expected, "{text}");
        }
    }
}
