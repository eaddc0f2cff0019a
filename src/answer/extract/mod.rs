//! Finds the final answer of a response: its text and its position. Recognizes markers, sentences and the
//! delimiters of mathematics, but does not evaluate anything.
//!
//! The solution is cut out of the response first: it starts after the reasoning and ends before a next problem
//! or turn. The answer is then searched for by its markers, in order of trust. Of several markers of the same
//! trust, the last one counts.
//!
//! | trust | [`Marker`] | forms |
//! |---|---|---|
//! | 1 | `Box` | the last `\boxed{…}` or `\fbox{…}`, or those that one sentence joins to a list; `\boxed 5` |
//! | 2 | `Tag` | `<answer>…</answer>` |
//! | 2 | `Json` | `{"answer": …}`, also `"final_answer"` and the like |
//! | 2 | `Hashes` | `#### 5` |
//! | 2 | `FinalAnswer` | "the final answer is 5", `**Final answer:** 5`, `## Final Answer` with the answer below |
//! | 3 | `Answer` | "the answer is 5", `Answer: 5`, `**Answer**` with the answer below, a line `A: 5`, 答案是 5, 答案：5, 故选 B |
//! | 3 | `Answer` | "5 is the answer", "$6$ is our answer" |
//! | 4 | `Choice` | "the correct option is (B)", "option B is correct" |
//! | 5 | `Minerva` | the sentence before "I hope it is correct" |
//! | 6 | `Conclusion` | the last sentence, where it begins with therefore, hence, thus or so (所以, 因此, 故) and ends in mathematics: "so x = 5", "therefore the area is $5$ cm" |
//! | 7 | `Last` | only where asked: the last formula or number, failing both a choice letter |
//!
//! If the last box (or tag) is cut off, the response has no answer, whatever precedes it. An empty last box
//! mentions the command without giving an answer, so the response has no answer either. An answer continues in
//! the following lines if they are mathematics. Prose around an answer is removed, but words that change the
//! meaning of a number ("at least 5", "5 or more") are kept, so that the parser can reject them.
//!
//! The work is linear in the length of the text: a few scans for rare bytes, then a look at a bounded stretch
//! around each hit. Nothing is copied unless an answer is joined from several places.

mod boxes;
mod conclusion;
mod continuation;
mod formula;
mod json;
mod marker;
mod part;
mod qualifier;
mod segment;
mod sentence;
mod turn;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// The final answer of a response: its text, its marker and its position. Returned by [`extract`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extracted<'a> {
    /// The text of the answer: a part of the response, or several parts joined to a list.
    pub text: Cow<'a, str>,
    /// The marker of the answer.
    pub marker: Marker,
    /// The byte range of the answer in the response. For a list: from its first member to its last.
    pub span: Range<usize>,
}

/// How an answer was marked as final, from the most to the least trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Marker {
    /// `\boxed{…}` or `\fbox{…}`.
    Box,
    /// `<answer>…</answer>`.
    Tag,
    /// `{"answer": …}`.
    Json,
    /// `####`.
    Hashes,
    /// "final answer" before a colon or a verb, or as a heading.
    FinalAnswer,
    /// "the answer is", "answer:", `A:`, "is the answer", 答案 and similar.
    Answer,
    /// "the correct option is", "option B is correct".
    Choice,
    /// The sentence before "I hope it is correct".
    Minerva,
    /// The last sentence, if it concludes: "therefore", "so x = …".
    Conclusion,
    /// No marker: the last formula, number or choice letter, if requested.
    Last,
}

impl Marker {
    /// Returns the rank. A lower rank is more trusted.
    fn rank(self) -> u8 {
        match self {
            Marker::Box => 1,
            Marker::Tag | Marker::Json | Marker::Hashes | Marker::FinalAnswer => 2,
            Marker::Answer => 3,
            Marker::Choice => 4,
            Marker::Minerva => 5,
            Marker::Conclusion => 6,
            Marker::Last => 7,
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Marker::Box => "box",
            Marker::Tag => "tag",
            Marker::Json => "json",
            Marker::Hashes => "hashes",
            Marker::FinalAnswer => "final answer",
            Marker::Answer => "answer",
            Marker::Choice => "choice",
            Marker::Minerva => "hope",
            Marker::Conclusion => "conclusion",
            Marker::Last => "last",
        })
    }
}

/// Why a response has no final answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The last box or tag is not closed: the response was cut off in it.
    CutOff,
    /// The last box is empty.
    EmptyBox,
    /// The last box is part of a formula: `\frac{\boxed{5}}{6}`.
    Part,
    /// The reasoning (`<think>`) never ends, or nothing follows it.
    Unfinished,
    /// No answer is marked.
    Unmarked,
}

impl NoAnswer {
    /// Returns the reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            NoAnswer::CutOff => "the last box or tag is cut off",
            NoAnswer::EmptyBox => "the last box is empty",
            NoAnswer::Part => "the last box is part of a formula",
            NoAnswer::Unfinished => "the reasoning is not finished, or nothing follows it",
            NoAnswer::Unmarked => "no marker of an answer",
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for NoAnswer {}

/// An answer and its position in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer<'a> {
    text: Cow<'a, str>,
    /// The part of the text from the first piece to the last.
    place: &'a str,
}

impl<'a> Answer<'a> {
    /// Creates an answer of one piece of the text.
    fn piece(piece: &'a str) -> Self {
        Answer {
            text: Cow::Borrowed(piece),
            place: piece,
        }
    }

    /// Creates an answer of several pieces in `place`, joined to `text`.
    fn list(text: String, place: &'a str) -> Self {
        Answer {
            text: Cow::Owned(text),
            place,
        }
    }
}

/// Returns the byte offset of a part of a text.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// Finds the final answer of a response. With `lenient`, the last formula or number is taken if the response
/// has no marker.
///
/// See [`Marker`] for the markers, by decreasing trust. Text after the solution (a next problem, another turn)
/// and reasoning in `<think>…</think>` are ignored.
///
/// ```
/// use dart_math::answer::{Marker, NoAnswer, extract};
///
/// let response = r"So $x = 3$ or $x = 4$. The final answer is $\{3, 4\}$. I hope it is correct.";
/// let found = extract(response, false)?;
/// assert_eq!(found.text, r"\{3, 4\}");
/// assert_eq!(found.marker, Marker::FinalAnswer);
/// assert_eq!(&response[found.span], r"\{3, 4\}");
///
/// let found = extract(r"\boxed{3} and \boxed{4}", false)?;
/// assert_eq!(found.text, "3, 4");
///
/// assert_eq!(extract(r"We get \boxed{3", false), Err(NoAnswer::CutOff));
/// assert_eq!(extract("They are 3.", false), Err(NoAnswer::Unmarked));
/// assert_eq!(extract("They are 3.", true)?.text, "3");
/// # Ok::<(), NoAnswer>(())
/// ```
///
/// # Errors
///
/// Returns a [`NoAnswer`] with the reason if the response has no final answer.
pub fn extract(response: &str, lenient: bool) -> Result<Extracted<'_>, NoAnswer> {
    let text = turn::solution(response).ok_or(NoAnswer::Unfinished)?;
    let (answer, marker) = match boxes::last(text) {
        boxes::Boxes::Found(answer) => (answer, Marker::Box),
        boxes::Boxes::CutOff => return Err(NoAnswer::CutOff),
        boxes::Boxes::Part => return Err(NoAnswer::Part),
        boxes::Boxes::Empty => return Err(NoAnswer::EmptyBox),
        boxes::Boxes::None => match marker::marked(text, lenient) {
            marker::Marked::Found(answer, marker) => (answer, marker),
            marker::Marked::CutOff => return Err(NoAnswer::CutOff),
            marker::Marked::None => conclusion::concluded(text)
                .or_else(|| {
                    let last = lenient.then(|| segment::last_formula_or_number(text))??;
                    Some((last, Marker::Last))
                })
                .ok_or(NoAnswer::Unmarked)?,
        },
    };
    let start = offset(response, answer.place);
    Ok(Extracted {
        span: start..start + answer.place.len(),
        text: answer.text,
        marker,
    })
}

/// Returns the answer in a text that is already an answer: the content of a box or the text at a marker, if
/// there is one, else the whole text.
pub(super) fn from_answer(answer: &str) -> Cow<'_, str> {
    if let boxes::Boxes::Found(found) = boxes::last(answer) {
        return found.text;
    }
    let answer = answer.trim();
    match marker::marked(answer, false) {
        marker::Marked::Found(found, _) => found.text,
        _ => Cow::Borrowed(answer),
    }
}
