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
