//! Converts full-width characters, as in Chinese and Japanese texts, to ASCII.

/// A text with its full-width characters folded, and the mapping to the original.
pub(super) struct Narrow {
    pub(super) text: String,
    /// The ends of folded characters, in the folded text and in the original.
    ends: Vec<(usize, usize)>,
}

impl Narrow {
    /// Returns the folded text, if there is anything to fold.
    pub(super) fn of(text: &str) -> Option<Narrow> {
        memchr::memchr(0xEF, text.as_bytes())?;
        let mut narrow = Narrow {
            text: String::with_capacity(text.len()),
            ends: Vec::new(),
        };
        let mut before = None;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, next)| *next);
            match folded(c, before, next) {
                Some(ascii) => {
                    narrow.text.push(ascii);
                    narrow.ends.push((narrow.text.len(), at + c.len_utf8()));
                }
                None => narrow.text.push(c),
            }
            before = Some(c);
        }
        (!narrow.ends.is_empty()).then_some(narrow)
    }

    /// Maps a position in the folded text to the original.
    pub(super) fn original(&self, at: usize) -> usize {
        let folded = self.ends.partition_point(|(end, _)| *end <= at);
        match folded.checked_sub(1).and_then(|last| self.ends.get(last)) {
            Some((end, original)) => original + (at - end),
            None => at,
        }
    }
}

/// Returns what a full-width character stands for. A full-width comma is a thousands separator only between
/// full-width digits; elsewhere it is punctuation.
fn folded(c: char, before: Option<char>, next: Option<char>) -> Option<char> {
    let is_figure = |c: Option<char>| c.is_some_and(|c| ('０'..='９').contains(&c));
    match c {
        '，' if !(is_figure(before) && is_figure(next)) => None,
        // Characters with another meaning, or none, in LaTeX.
        '～' | '＼' | '＃' | '＠' | '＄' | '｀' | '＂' => None,
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0),
        _ => None,
    }
}
