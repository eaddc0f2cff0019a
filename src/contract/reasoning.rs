//! Reasoning tags: `<think>`, `</think>` and their variants, between which reasoning models write their
//! thoughts.
//!
//! The generators and the answer extraction share this definition.

/// Tags that open a reasoning block.
pub(crate) const OPENING: [&str; 2] = ["<think>", "<thinking>"];
/// Tags that close a reasoning block.
pub(crate) const CLOSING: [&str; 2] = ["</think>", "</thinking>"];

/// A reasoning tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReasoningTag {
    /// Whether it opens a reasoning block.
    pub(crate) opens: bool,
    /// Its length in bytes.
    pub(crate) len: usize,
}

/// Returns the tag that a text begins with. Longer words such as `<thinker>` or `<think_step>` are not tags.
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

/// Returns whether a prompt ends with an opening tag, optionally followed by white space.
#[cfg(any(feature = "engine", feature = "openai"))]
pub(crate) fn opens(prompt: &str) -> bool {
    OPENING.iter().any(|tag| prompt.trim_end().ends_with(tag))
}

/// Returns whether a response ended within its reasoning, or with only white space after it. `text` excludes
/// the text that a stop string cut off. The result is the same whether the closing tag is text, a stop string
/// or a stop token. `is_opened`: whether the prompt opened a reasoning block. `special`: tags that have no
/// text, each with the length of the text before it and whether it opens a block.
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
