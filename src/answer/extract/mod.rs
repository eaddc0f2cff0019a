//! From a response to the text of its final answer and where it stood. Knows markers, sentences
//! and the delimiters of mathematics, but gives nothing a value.
//!
//! First the solution is cut out of the response: behind the reasoning, before a next problem or
//! turn. Then what is marked as the answer is looked for, in order of trust; of several marks of
//! the same trust the last one counts.
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
//! A box (or a tag) that is cut off at the end is no answer, and neither is anything before it. An empty
//! last box is a mention of the command and says that the answer was not understood: no answer.
//! Where the lines right behind an answer are mathematics, the answer goes on in them.
//! Prose around an answer is cut, but a word that changes what a number means ("at least 5",
//! "5 or more") stays, for the reader of mathematics to refuse.
//!
//! The work is linear in the text: a few scans for rare bytes, then a look at a bounded stretch
//! around what they find. Nothing is copied unless an answer is put together from several places.

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

/// The final answer of a response: its text, what marked it, and where it stood.
///
/// [`extract`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extracted<'a> {
    /// The answer's text: a part of the response, or several parts as one list.
    pub text: Cow<'a, str>,
    /// What marked it as the answer.
    pub marker: Marker,
    /// The bytes of the response that it stood in; of a list from its first member to its last.
    pub span: Range<usize>,
}

/// What marked a text as the final answer, by falling trust.
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
    /// "final answer", before a colon, a verb or as a heading.
    FinalAnswer,
    /// "the answer is", "answer:", `A:`, "is the answer", 答案 and their like.
    Answer,
    /// "the correct option is", "option B is correct".
    Choice,
    /// The sentence before "I hope it is correct".
    Minerva,
    /// The last sentence's "therefore", "so x = …".
    Conclusion,
    /// Nothing: the last formula, number or choice letter, where asked.
    Last,
}

impl Marker {
    /// How much it is trusted: the lower, the more.
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
    /// The last box, or tag, has no end: the response was cut off in it.
    CutOff,
    /// The last box has nothing inside.
    EmptyBox,
    /// The last box is a part of a formula: `\frac{\boxed{5}}{6}`.
    Part,
    /// The response is reasoning (`<think>`) that never ends, or that nothing follows.
    Unfinished,
    /// Nothing is marked as an answer.
    Unmarked,
}

impl NoAnswer {
    /// The reason in words.
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

/// An answer as it stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer<'a> {
    text: Cow<'a, str>,
    /// The part of the text from its first piece to its last.
    place: &'a str,
}

impl<'a> Answer<'a> {
    /// One piece of the text.
    fn piece(piece: &'a str) -> Self {
        Answer {
            text: Cow::Borrowed(piece),
            place: piece,
        }
    }

    /// Several pieces, joined to `text`, that stand in `place`.
    fn list(text: String, place: &'a str) -> Self {
        Answer {
            text: Cow::Owned(text),
            place,
        }
    }
}

/// Where a part of a text starts in it.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// Finds the final answer of a response; with `lenient`, in a response without any marker, its
/// last formula or number.
///
/// See the [`Marker`]s for what counts, by falling trust. What follows the solution (a next
/// problem, another turn) is not read, and neither is reasoning in `<think>…</think>`.
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

/// The answer in a text that is an answer already: a box is opened and a marker read where there
/// is one, else the whole text is the answer.
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
