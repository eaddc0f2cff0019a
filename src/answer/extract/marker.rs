//! What marks an answer in prose, tags and JSON: "the final answer is", `**Answer:**`, `####`,
//! `A:`, `<answer>`, `{"answer": …}`, 答案是. What a marker marks is read by [`segment`].

use memchr::{memmem, memrchr2_iter};

use super::sentence::{MAX_SENTENCE, head, sentence_end, tail};
use super::{Answer, Marker, json, segment};

/// Most markers of which the answer is read until one has any.
const MAX_TRIES: usize = 8;

/// Most "answer"s of a text that are looked at, from the last one on.
const MAX_WORDS: usize = 500;

/// The last places of many, from the last one on.
pub(super) fn last_places(places: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
    let mut ring = [None; MAX_TRIES];
    let mut count = 0;
    for place in places {
        ring[count % MAX_TRIES] = Some(place);
        count += 1;
    }
    (1..=MAX_TRIES.min(count)).filter_map(move |back| ring[(count - back) % MAX_TRIES])
}

/// The best of what was found.
struct Best<'a> {
    found: Option<(Answer<'a>, Marker, usize)>,
    tries: usize,
    /// Whether behind all that was found a tag opens that is never closed.
    cut_off: bool,
}

impl<'a> Best<'a> {
    /// Whether a marker at a place would be better than what was found: of more trust, or of the
    /// same and later.
    fn takes(&self, marker: Marker, at: usize) -> bool {
        match &self.found {
            None => true,
            Some((_, other, place)) => {
                marker.rank() < other.rank() || marker.rank() == other.rank() && at > *place
            }
        }
    }

    /// Reads what a marker marks, if it is better.
    fn offer(&mut self, marker: Marker, at: usize, read: impl FnOnce() -> Option<Answer<'a>>) {
        if self.tries < MAX_TRIES && self.takes(marker, at) {
            self.tries += 1;
            if let Some(answer) = read() {
                self.found = Some((answer, marker, at));
            }
        }
    }
}

/// What a text's markers come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marked<'a> {
    /// The answer behind (or before) the most trusted one.
    Found(Answer<'a>, Marker),
    /// The last one is a tag without an end.
    CutOff,
    None,
}

/// The answer that a text's markers mark.
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

/// `#### 5`, but no heading of the fourth level.
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

/// Whether what follows `####` is an answer: mathematics that is not a heading's number, or
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

/// Every "answer" of a text, from the last one on.
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
        // An object that does not end, with nothing behind it.
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
        // "5 is the answer"; but "here is the answer: 5".
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

/// Longest content of a tag, in bytes.
const MAX_TAGGED: usize = 4 * MAX_SENTENCE;

/// What the word is as a tag's name.
enum Tag<'a> {
    /// What stands in `<answer>…</answer>` or `[ANSWER]…[/ANSWER]`.
    Closed(&'a str),
    /// A tag that opens and is not closed: like a box that is cut off.
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

/// What follows the name of a JSON field such as `"answer"` or `"final_answer"`.
fn field<'a>(before: &str, behind: &'a str) -> Option<&'a str> {
    let value = behind.strip_prefix(['"', '\''])?;
    let object = before.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '_');
    // `"wrong_answer"` and `"student_answer"` are others.
    let is_other = before[object.len()..].split('_').any(|word| {
        let is = |known: &&str| word.eq_ignore_ascii_case(known);
        VETOES.iter().any(is) || ["old", "student", "user", "alternative"].iter().any(is)
    });
    let is_field = object.ends_with(['"', '\'']) && value.trim_ascii_start().starts_with(':');
    (is_field && !is_other).then_some(value)
}

/// What the words before "answer" say.
#[derive(Default)]
struct LookBack {
    /// "final" is one of them.
    is_final: bool,
    /// They say that it is no answer ("the wrong answer", "if the answer").
    vetoed: bool,
    /// Nothing else stands in the line before them.
    starts_line: bool,
    /// "my" or "your" is one of them: what such an answer was, it is no more.
    is_own: bool,
    /// Where the text ends that "is the answer" follows.
    is_at: Option<usize>,
}

/// Words before "answer" that say nothing of whether it is one.
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

/// Words before "answer" with which it is none.
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
            // The problem's answer, but not a student's.
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

/// How far before a statement is looked for what denies it, in bytes.
const MAX_DENIAL: usize = 80;

/// What is named before a colon where an answer follows that is wrong.
const MISTAKES: &[&str] = &[
    "mistake",
    "error",
    "misconception",
    "pitfall",
    "trap",
    "temptation",
];

/// Whether a clause goes on to deny what is stated behind it: "I don't think", "it is false that".
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
        // ("There is no doubt that" is none.)
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
        // What others think.
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

/// Verbs between "answer" and what it is.
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

/// Words behind "answer is" after which no answer follows.
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

/// Words behind "answer" that go on to a verb later in the sentence.
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

/// How far behind "answer" a verb is looked for, in bytes.
const MAX_CONNECTION: usize = 160;

/// Where what is marked starts behind "answer", if anything is. `again` is how often words such
/// as "choice" may still be passed.
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

/// The length of the phrase, as whole words, that a text starts with.
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

/// A line `A: 5`, unless it is the first of several choices.
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

/// 答案是, 答案为, 答案：, 故选.
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
