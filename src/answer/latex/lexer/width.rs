//! Full-width forms, as Chinese and Japanese texts write figures and signs, as the ASCII that they
//! stand for.

/// A text with its full-width forms folded, and where each piece came from.
pub(super) struct Narrow {
    pub(super) text: String,
    /// Where folded characters end: in the folded text, and in the original.
    ends: Vec<(usize, usize)>,
}

impl Narrow {
    /// The folded text, where there is anything to fold.
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

    /// The place in the original of a place in the folded text.
    pub(super) fn original(&self, at: usize) -> usize {
        let folded = self.ends.partition_point(|(end, _)| *end <= at);
        match folded.checked_sub(1).and_then(|last| self.ends.get(last)) {
            Some((end, original)) => original + (at - end),
            None => at,
        }
    }
}

/// What a full-width form stands for. A comma is one of thousands only between full-width figures:
/// elsewhere it is a sentence's.
fn folded(c: char, before: Option<char>, next: Option<char>) -> Option<char> {
    let is_figure = |c: Option<char>| c.is_some_and(|c| ('０'..='９').contains(&c));
    match c {
        '，' if !(is_figure(before) && is_figure(next)) => None,
        // Signs that mean something else in LaTeX, or nothing at all.
        '～' | '＼' | '＃' | '＠' | '＄' | '｀' | '＂' => None,
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0),
        _ => None,
    }
}
