//! Markers of an answer in prose, tags and JSON: "the final answer is", `**Answer:**`, `####`, `A:`,
//! `<answer>`, `{"answer": …}`, 答案是. The marked answer is read by [`segment`].

use memchr::{memmem, memrchr2_iter};

use super::sentence::{MAX_SENTENCE, head, sentence_end, tail};
use super::{Answer, Marker, json, segment};

/// The maximum number of markers for which an answer is read.
const MAX_TRIES: usize = 8;

/// The maximum number of occurrences of "answer" that are examined, from the last one backwards.
const MAX_WORDS: usize = 500;

/// Returns the last few of many places, from the last one backwards.
pub(super) fn last_places(places: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    let mut ring = [None; MAX_TRIES];
    let mut count = 0;
    for place in places {
        ring[count % MAX_TRIES] = Some(place);
        count += 1;
    }
    (1..=MAX_TRIES.min(count)).filter_map(move |back| ring[(count - back) % MAX_TRIES])
}

/// The best answer found so far.
struct Best<'a> {
    found: Option<(Answer<'a>, Marker, usize)>,
    tries: usize,
    /// Whether an unclosed tag opens after every answer found.
    cut_off: bool,
}

impl<'a> Best<'a> {
    /// Returns whether a marker at `at` would be better than the one found: more trusted, or equally trusted
    /// and later.
    fn takes(&self, marker: Marker, at: usize) -> bool {
        match &self.found {
            None => true,
            Some((_, other, place)) => {
                marker.rank() < other.rank() || marker.rank() == other.rank() && at > *place
            }
        }
    }

    /// Reads the answer of a marker if it would be better.
    fn offer(&mut self, marker: Marker, at: usize, read: impl FnOnce() -> Option<Answer<'a>>) {
        if self.tries < MAX_TRIES && self.takes(marker, at) {
            self.tries += 1;
            if let Some(answer) = read() {
                self.found = Some((answer, marker, at));
            }
        }
    }
}

/// The result of searching a text for markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marked<'a> {
    /// The answer after (or before) the most trusted marker.
    Found(Answer<'a>, Marker),
    /// The last marker is an unclosed tag.
    CutOff,
    None,
}

/// Returns the answer that is marked in a text.
pub(super) fn marked(text: &str, lenient: bool) -> Marked<'_> {
    let mut best = Best {
        found: None,
        tries: 0,
        cut_off: false,
    };
    hashes(text, lenient, &mut best);
    words(text, lenient, &mut best);
    if best.cut_off {
        return Marked::CutOff;
    }
    if best.takes(Marker::Answer, text.len()) {
        best.tries = 0;
        line(text, lenient, &mut best);
        if !text.is_ascii() {
            chinese(text, lenient, &mut best);
        }
    }
    match best.found {
        Some((answer, marker, _)) => Marked::Found(answer, marker),
        None => Marked::None,
    }
}

/// Offers `#### 5`, except fourth-level headings.
fn hashes<'a>(text: &'a str, lenient: bool, best: &mut Best<'a>) {
    let bytes = text.as_bytes();
    let last = last_places(memmem::find_iter(bytes, b"####")).find(|&at| {
        let is_start = at == 0 || bytes[at - 1] != b'#';
        is_start && bytes.get(at + 4) != Some(&b'#') && marks_answer(&text[at + 4..])
    });
    if let Some(at) = last {
        best.offer(Marker::Hashes, at, || {
            segment::after(&text[at + 4..], lenient)
        });
    }
}

/// Returns whether the text after `####` is an answer: mathematics that is not the number of a heading, or
/// anything that ends the text.
fn marks_answer(text: &str) -> bool {
    let text = head(text, 400).trim_start_matches([' ', '*']);
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let is_numbered = digits > 0
        && line[digits..].starts_with(['.', ')'])
        && line[digits + 1..].starts_with([' ', '*']);
    if is_numbered || line.trim().is_empty() {
        return false;
    }
    !line.starts_with(char::is_alphabetic) || rest.trim().is_empty()
}

/// Offers every "answer" of a text, from the last one backwards.
fn words<'a>(text: &'a str, lenient: bool, best: &mut Best<'a>) {
    let bytes = text.as_bytes();
    let mut looks = 0;
    for middle in memrchr2_iter(b'w', b'W', bytes) {
        let Some(at) = middle.checked_sub(3) else {
            break;
        };
        let Some(word) = bytes.get(at..at + 6) else {
            continue;
        };
        if !word.eq_ignore_ascii_case(b"answer") {
            continue;
        }
        looks += 1;
        if !best.takes(Marker::FinalAnswer, at) || best.tries >= MAX_TRIES || looks > MAX_WORDS {
            break;
        }
        offer_word(text, at, lenient, best);
        if best.cut_off {
            break;
        }
    }
}

fn offer_word<'a>(text: &'a str, at: usize, lenient: bool, best: &mut Best<'a>) {
    let (before, behind) = (&text[..at], &text[at + 6..]);
    match tag(before, behind) {
        Tag::Closed(content) => {
            best.offer(Marker::Tag, at, || segment::after(content, lenient));
            return;
        }
        Tag::Open => {
            best.cut_off = !matches!(&best.found, Some((_, _, place)) if *place > at);
            return;
        }
        Tag::None => {}
    }
    if let Some(value) = field(before, behind) {
        best.offer(Marker::Json, at, || json::value(value));
        // An object that is not closed, and no other answer was found.
        best.cut_off = best.found.is_none() && !head(value, MAX_TAGGED).contains('}');
        return;
    }
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        return;
    }
    let behind = behind.strip_prefix(['s', 'S']).unwrap_or(behind);
    if behind.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return;
    }
    let look = look_back(before);
    if look.vetoed || look.is_own && starting(&["was"], behind.trim_start()).is_some() {
        return;
    }
    let marker = if look.is_final {
        Marker::FinalAnswer
    } else {
        Marker::Answer
    };
    if let Some(end) = look.is_at {
        // "5 is the answer", but also "here is the answer: 5".
        best.offer(marker, at, || {
            segment::before(&text[..end]).or_else(|| {
                let behind = behind.trim_start_matches('*').strip_prefix([':', '：'])?;
                segment::after(behind, lenient)
            })
        });
    } else if let Some(start) = follow(behind, look.starts_line, 1) {
        best.offer(marker, at, || segment::after(&behind[start..], lenient));
    }
}

/// The maximum length of a tag's content, in bytes.
const MAX_TAGGED: usize = 4 * MAX_SENTENCE;

/// What "answer" is as the name of a tag.
enum Tag<'a> {
    /// The content of `<answer>…</answer>` or `[ANSWER]…[/ANSWER]`.
    Closed(&'a str),
    /// A tag that is not closed. It is treated like a box that is cut off.
    Open,
    None,
}

fn tag<'a>(before: &str, behind: &'a str) -> Tag<'a> {
    let open = before.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    let (content, close) = match open.as_bytes().last() {
        Some(b'<') => (behind.strip_prefix('>'), "</"),
        Some(b'[') => (behind.strip_prefix(']'), "[/"),
        _ => return Tag::None,
    };
    let Some(content) = content else {
        return Tag::None;
    };
    match head(content, MAX_TAGGED).split_once(close) {
        Some((content, _)) => Tag::Closed(content.trim()),
        None => Tag::Open,
    }
}

/// Returns the text after the name of a JSON field such as `"answer"` or `"final_answer"`.
fn field<'a>(before: &str, behind: &'a str) -> Option<&'a str> {
    let value = behind.strip_prefix(['"', '\''])?;
    let object = before.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    // `"wrong_answer"` and `"student_answer"` are other fields.
    let is_other = before[object.len()..].split('_').any(|word| {
        let is = |known: &&str| word.eq_ignore_ascii_case(known);
        VETOES.iter().any(is) || ["old", "student", "user", "alternative"].iter().any(is)
    });
    let is_field = object.ends_with(['"', '\'']) && value.trim_ascii_start().starts_with(':');
    (is_field && !is_other).then_some(value)
}

/// What the words before "answer" say about it.
#[derive(Default)]
struct LookBack {
    /// Whether "final" is one of the words.
    is_final: bool,
    /// Whether the words say that it is not the answer ("the wrong answer", "if the answer").
    vetoed: bool,
    /// Whether the words start the line.
    starts_line: bool,
    /// Whether "my" or "your" is one of the words. "My answer was" refers to an answer that is no longer valid.
    is_own: bool,
    /// The position of "is" in "is the answer": the answer ends there.
    is_at: Option<usize>,
}

/// Words before "answer" that do not tell whether it is one.
const NEUTRAL: &[&str] = &[
    "the",
    "our",
    "my",
    "your",
    "this",
    "that",
    "correct",
    "right",
    "exact",
    "required",
    "desired",
    "numerical",
    "numeric",
    "simplified",
    "complete",
    "overall",
    "actual",
    "true",
    "best",
    "only",
    "possible",
    "resulting",
    "an",
    "a",
];

/// Words before "answer" that rule it out.
const VETOES: &[&str] = &[
    "wrong",
    "incorrect",
    "previous",
    "earlier",
    "initial",
    "first",
    "common",
    "mistaken",
    "tempting",
    "intuitive",
    "naive",
    "partial",
    "intermediate",
    "another",
    "other",
    "his",
    "her",
    "their",
    "if",
    "whether",
    "suppose",
    "supposing",
    "assume",
    "assuming",
    "unless",
    "maybe",
    "perhaps",
    "say",
    "guess",
    "not",
    "t",
    "no",
    "would",
    "could",
    "what",
];

fn look_back(before: &str) -> LookBack {
    let mut look = LookBack::default();
    let mut rest = tail(before, 100);
    let cut = before.len() - rest.len();
    for _ in 0..6 {
        rest = rest.trim_end_matches([' ', '\t', '*', '_', '"', '“', '`', '(', '>', '\\']);
        let marks = rest.trim_end_matches(['#', ' ', '*']);
        if marks.is_empty() && cut == 0 || marks.ends_with('\n') {
            look.starts_line = true;
            return look;
        }
        let len = rest
            .bytes()
            .rev()
            .take_while(|b| b.is_ascii_alphabetic())
            .count();
        let word = &rest[rest.len() - len..];
        let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
        if is(&["final"]) {
            look.is_final = true;
        } else if is(&["is", "are"]) {
            look.is_at = Some(cut + rest.len() - len);
            return look;
        } else if is(VETOES) {
            look.vetoed = true;
            return look;
        } else if is(&["s"]) {
            // The problem's answer counts, but a student's does not.
            let owner = rest[..rest.len() - len].trim_end_matches(['\'', '’']);
            look.vetoed = !owner.ends_with("problem") && !owner.ends_with("question");
            return look;
        } else if len == 0 || !is(NEUTRAL) {
            look.vetoed = is_denied(rest);
            return look;
        }
        look.is_own |= is(&["my", "your"]);
        rest = rest[..rest.len() - len].trim_end_matches(['\'', '’']);
    }
    look
}

/// The length of text before a statement that is searched for a denial, in bytes.
const MAX_DENIAL: usize = 80;

/// Words before a colon that announce a wrong answer.
const MISTAKES: &[&str] = &[
    "mistake",
    "error",
    "misconception",
    "pitfall",
    "trap",
    "temptation",
];

/// Returns whether a clause denies the statement that follows it: "I don't think", "it is false that".
pub(super) fn is_denied(before: &str) -> bool {
    let before = tail(before, MAX_DENIAL);
    let start = before.rfind(['.', ',', ';', ':', '!', '?', '\n']);
    // `A common mistake: the answer is 5`.
    if let Some(at) = start
        && before[at..].trim_end() == ":"
        && MISTAKES
            .iter()
            .any(|mistake| before[..at].to_ascii_lowercase().ends_with(mistake))
    {
        return true;
    }
    let clause = start.map_or(before, |at| &before[at + 1..]);
    let mut words = clause
        .rsplit(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .skip_while(|word| matches!(word.as_str(), "that" | "the" | "a"));
    match words.next().as_deref() {
        Some(
            "deny" | "denies" | "disagree" | "false" | "untrue" | "wrong" | "incorrect"
            | "impossible" | "unlikely" | "doubtful" | "nonsense",
        ) => true,
        // "There is no doubt that" is not a denial.
        Some("doubt" | "doubts") => !matches!(words.next().as_deref(), Some("no" | "without")),
        Some(
            "think" | "believe" | "suppose" | "claim" | "say" | "mean" | "agree" | "accept"
            | "conclude" | "sure" | "true" | "case" | "certain" | "convinced" | "correct" | "right"
            | "clear" | "likely" | "possible" | "expect" | "imply" | "implies",
        ) if words.clone().any(|word| {
            matches!(
                word.as_str(),
                "not" | "t" | "never" | "cannot" | "hardly" | "nobody" | "no" | "neither"
            )
        }) =>
        {
            true
        }
        // An opinion of others.
        Some(
            "think" | "thinks" | "believe" | "believes" | "suppose" | "guess" | "expect" | "assume"
            | "assumes" | "answer" | "claim",
        ) => words.any(|word| {
            matches!(
                word.as_str(),
                "might"
                    | "may"
                    | "could"
                    | "students"
                    | "people"
                    | "many"
                    | "some"
                    | "mistakenly"
                    | "incorrectly"
                    | "wrongly"
                    | "naively"
                    | "tempting"
            )
        }),
        _ => false,
    }
}

/// Verbs between "answer" and its value.
const VERBS: &[&str] = &[
    "is",
    "are",
    "was",
    "equals",
    "becomes",
    "will be",
    "would be",
    "should be",
    "must be",
    "has to be",
    "must therefore be",
    "must then be",
    "should therefore be",
    "should then be",
    "will then be",
    "would then be",
    "can only be",
    "comes out to be",
    "comes out to",
    "comes to",
    "turns out to be",
    "works out to",
    "simplifies to",
    "then is",
    "therefore is",
    "thus is",
];

/// Words after "answer is" that are not followed by an answer.
const REMARKS: &[&str] = &[
    "not",
    "correct",
    "right",
    "wrong",
    "incorrect",
    "reasonable",
    "verified",
    "valid",
    "consistent",
    "unique",
    "clear",
    "found",
    "obtained",
    "expressed",
    "written",
    "based",
    "supposed",
    "expected",
    "asked",
    "requested",
    "needed",
    "required",
    "still",
    "never",
    "in",
    "an integer",
    "the same",
    "to be",
    "confirmed",
];

/// Words after "answer" that lead to a verb later in the sentence.
const CONNECTIVES: &[&str] = &[
    "to",
    "for",
    "of",
    "in",
    "from",
    "that",
    "we",
    "i",
    "you",
    "as",
    "after",
    "using",
    "then",
    "therefore",
    "thus",
    "here",
    "rounded",
];

/// The length of text after "answer" that is searched for a verb, in bytes.
const MAX_CONNECTION: usize = 160;

/// Returns the position after "answer" at which the marked text starts. `again` is how many more words such as
/// "choice" may be skipped.
fn follow(behind: &str, starts_line: bool, again: usize) -> Option<usize> {
    let rest = behind.trim_start_matches(['*', '_', '"', '”', '`', ' ', '\t', '}']);
    let at = behind.len() - rest.len();
    let first = rest.chars().next();
    match first {
        None => return None,
        Some('\n' | '\r') if starts_line => return Some(at),
        Some(':' | '：') => return Some(at + first.map_or(1, char::len_utf8)),
        Some('=') if !rest.starts_with("==") => return Some(at + 1),
        _ => {}
    }
    let rest = rest.trim_start();
    let at = behind.len() - rest.len();
    if let Some(len) = starting(VERBS, rest) {
        let said = rest[len..].trim_start();
        // "is definitely not".
        let said = match said.split_once(' ') {
            Some((adverb, rest)) if adverb.ends_with("ly") => rest,
            _ => said,
        };
        let is_marked = rest[len..].starts_with([':', '：', '*']);
        return (is_marked || starting(REMARKS, said).is_none()).then_some(at + len);
    }
    if again > 0
        && let Some(len) = starting(&["choice", "option", "value", "key"], rest)
    {
        return follow(&rest[len..], starts_line, again - 1).map(|start| at + len + start);
    }
    // `Answer $9$`, `Answer (B)`.
    let bare = rest.trim_start_matches("**");
    if starts_line && at > 0 && (segment::begins_mathematics(bare) || segment::begins_choice(bare))
    {
        return Some(at);
    }
    // "The answer, 8, is even".
    if let Some(aside) = rest.strip_prefix(',')
        && segment::begins_mathematics(aside.trim_start())
    {
        return Some(at + 1);
    }
    if !rest.starts_with([',', '(']) && starting(CONNECTIVES, rest).is_none() {
        return None;
    }
    let clause = head(rest, MAX_CONNECTION);
    let clause = &clause[..sentence_end(clause)];
    let first = |verbs: &[&str]| {
        let ends = verbs
            .iter()
            .filter_map(|verb| Some(clause.find(verb)? + verb.len()));
        ends.min()
    };
    first(&[" is ", " is:", " is\n", ":", "："])
        .or_else(|| first(&[" are ", " = "]))
        .filter(|end| starting(REMARKS, clause[*end..].trim_start()).is_none())
        .map(|end| at + end)
}

/// Returns the length of the phrase that a text starts with, as whole words.
fn starting(phrases: &[&str], text: &str) -> Option<usize> {
    let first = text.as_bytes().first()?.to_ascii_lowercase();
    phrases
        .iter()
        .find(|phrase| {
            phrase.as_bytes()[0] == first
                && text
                    .get(..phrase.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(phrase))
                && !text[phrase.len()..].starts_with(|c: char| c.is_ascii_alphanumeric())
        })
        .map(|phrase| phrase.len())
}

/// Offers a line `A: 5`, unless it is the first of several choices.
fn line<'a>(text: &'a str, lenient: bool, best: &mut Best<'a>) {
    let bytes = text.as_bytes();
    let last = last_places(memmem::find_iter(bytes, b"A:")).find(|&at| {
        let before = tail(&text[..at], 16).trim_end_matches([' ', '*']);
        let starts_line = before.is_empty() || before.ends_with('\n');
        let behind = head(&text[at + 2..], 400);
        let (line, next) = behind.split_once('\n').unwrap_or((behind, ""));
        let is_choice =
            line.contains("B:") || next.trim_start_matches(['\n', ' ', '*']).starts_with("B:");
        starts_line && line.starts_with([' ', '*']) && !is_choice
    });
    if let Some(at) = last {
        best.offer(Marker::Answer, at, || {
            segment::after(&text[at + 2..], lenient)
        });
    }
}

/// Offers 答案是, 答案为, 答案：, 故选.
fn chinese<'a>(text: &'a str, lenient: bool, best: &mut Best<'a>) {
    let mut tries = 0;
    let bytes = text.as_bytes();
    for name in ["答案", "选"] {
        for at in memmem::rfind_iter(bytes, name.as_bytes()) {
            tries += 1;
            if tries > 3 * MAX_TRIES {
                return;
            }
            if !best.takes(Marker::Answer, at) {
                break;
            }
            let behind = text[at + name.len()..].trim_start_matches(['*', ' ']);
            // 不选 B.
            if text[..at].ends_with(['不', '别', '非', '勿', '未', '误', '错']) {
                continue;
            }
            let marked = if name == "选" {
                let letter = behind.trim_start_matches(['择', '：', ':', ' ', '*', '$']);
                let several = letter
                    .bytes()
                    .take_while(|b| (b'A'..=b'J').contains(b))
                    .count();
                let ends = !letter[several..].starts_with(|c: char| c.is_ascii_alphanumeric());
                (segment::begins_choice(letter) || several > 0 && ends).then_some(letter)
            } else {
                [
                    "应该是",
                    "应该为",
                    "应是",
                    "应为",
                    "就是",
                    "是",
                    "为",
                    "】",
                    "：",
                    ":",
                ]
                .iter()
                .find_map(|verb| behind.strip_prefix(verb))
            };
            let Some(marked) = marked else { continue };
            best.offer(Marker::Answer, at, || segment::after(marked, lenient));
        }
    }
}
