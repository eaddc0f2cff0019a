//! The tags around what models that think aloud write, in texts. Knows nothing of tokens or answers.

pub(crate) const OPENING: [&str; 2] = ["<think>", "<thinking>"];
pub(crate) const CLOSING: [&str; 2] = ["</think>", "</thinking>"];
/// Bytes of the longest tag.
const MAX_TAG: usize = 11;

/// Whether a prompt ends with a tag that opens the reasoning, which white space may follow.
pub(crate) fn opens(prompt: &str) -> bool {
    OPENING.iter().any(|tag| prompt.trim_end().ends_with(tag))
}

/// Whether the last tag that ends in a text from byte `new` on opens the reasoning; `None` where there is
/// no tag.
pub(crate) fn last_tag(text: &str, new: usize) -> Option<bool> {
    let bytes = text.as_bytes();
    let from = new.saturating_sub(MAX_TAG - 1);
    let tag = |at: usize| {
        let rest = &bytes[from + at..];
        let begins = |tags: [&str; 2]| tags.iter().any(|tag| rest.starts_with(tag.as_bytes()));
        match (begins(OPENING), begins(CLOSING)) {
            (false, false) => None,
            (opens, _) => Some(opens),
        }
    };
    memchr::memrchr_iter(b'<', &bytes[from..]).find_map(tag)
}
