//! Answers without the word "answer": "the correct option is (B)", the sentence before "I hope it is correct",
//! and a concluding last sentence: "therefore x = 5".

use memchr::{memmem, memrchr3_iter};

use super::marker::last_places;
use super::sentence::{head, said, sentence_end, tail, tidy};
use super::{Answer, Marker, offset, segment};

/// The length of the end of a text that is searched for a conclusion, in bytes.
const MAX_END: usize = 1500;

/// Returns the answer of a text in which no "answer" is marked.
pub(super) fn concluded(text: &str) -> Option<(Answer<'_>, Marker)> {
    let bytes = text.as_bytes();
    if let Some(answer) = correct_choice(text) {
        return Some((answer, Marker::Choice));
    }
    if let Some(at) = memmem::find_iter(bytes, b"I hope it is correct").last() {
        let sentence = last_sentence(&text[..at]);
        let body = behind_conclusion(sentence).unwrap_or(sentence);
        return reading(body).map(|answer| (answer, Marker::Minerva));
    }
    let end = tail(text, MAX_END);
    let body = behind_conclusion(end)?;
    let answer = reading(body)?;
    // A sentence that continues with mathematics has not concluded.
    let behind = offset(body, answer.place) + answer.place.len();
    let rest = body[behind..].trim_start_matches(['$', '*', ' ', '`']);
    let rest = rest
        .strip_prefix("\\)")
        .or_else(|| rest.strip_prefix("\\]"))
        .unwrap_or(rest);
    let goes_on = rest
        .bytes()
        .any(|b| b.is_ascii_digit() || matches!(b, b'$' | b'\\' | b'='));
    (!goes_on).then_some((answer, Marker::Conclusion))
}

/// Reads "The correct option is (B)", "option B is correct", or a last sentence that ends in "option (B)".
fn correct_choice(text: &str) -> Option<Answer<'_>> {
    let bytes = text.as_bytes();
    for at in last_places(memmem::find_iter(bytes, b"orrect")) {
        // `correct`, but not `incorrect`.
        let Some(start) = at.checked_sub(1) else {
            continue;
        };
        if !matches!(bytes[start], b'c' | b'C')
            || start > 0 && bytes[start - 1].is_ascii_alphabetic()
        {
            continue;
        }
        let behind = text[at + "orrect".len()..].trim_start_matches(' ');
        let before = text[..start].trim_end();
        let named = ["option", "choice", "letter", "statement"]
            .iter()
            .find_map(|word| behind.strip_prefix(word));
        let marked = named.and_then(|rest| {
            let rest = rest.trim_start_matches(['*', ' ']);
            ["is", "would be", "should be", "must be", ":"]
                .iter()
                .find_map(|verb| rest.strip_prefix(verb))
        });
        if let Some(marked) = marked {
            let answer = segment::after(marked, false)?;
            let is_choice = segment::begins_choice(answer.text.trim_start_matches(['$', '*']))
                || segment::begins_mathematics(&answer.text);
            if is_choice {
                return Some(answer);
            }
            continue;
        }
        let before = before.strip_suffix("the").map_or(before, str::trim_end);
        if let Some(subject) = before.strip_suffix(" is")
            && let Some(letter) = segment::choice_before(subject)
        {
            return Some(Answer::piece(letter));
        }
    }
    // "This is option (B)."
    let end = tail(text.trim_end(), 24);
    if !end.contains("option") && !end.contains("choice") {
        return None;
    }
    let sentence = tidy(last_sentence(text));
    let letter = segment::choice_before(sentence)?;
    let name = sentence[..offset(sentence, letter)].trim_end_matches(['(', ' ', '*']);
    let is_named = name.ends_with("option") || name.ends_with("choice");
    let denied = sentence.contains("not ") || sentence.contains("n't ");
    (is_named && !denied).then(|| Answer::piece(letter))
}

/// Returns the last non-empty sentence of a text.
fn last_sentence(text: &str) -> &str {
    let text = tail(text.trim_end(), MAX_END);
    let mut rest = text;
    let mut last = "";
    while !rest.is_empty() {
        let end = sentence_end(rest);
        let sentence = rest[..end].trim();
        if sentence.bytes().any(|b| b.is_ascii_alphanumeric()) || !sentence.is_ascii() {
            last = sentence;
        }
        // Skips the stop, whatever its length.
        let step = rest[end..].chars().next().map_or(0, char::len_utf8);
        rest = rest[end + step..].trim_start_matches(['*', ' ', '\n', '\r', '\t']);
    }
    last
}

/// Words that open a conclusion.
const CONCLUSIONS: &[&str] = &[
    "therefore",
    "thus",
    "hence",
    "so",
    "consequently",
    "in conclusion",
    "it follows that",
    "we conclude that",
];

/// Returns the text after the last conclusion word that starts a sentence or clause.
fn behind_conclusion(text: &str) -> Option<&str> {
    let starts = memrchr3_iter(b'.', b',', b'\n', text.as_bytes()).map(|at| at + 1);
    let english = starts.chain([0]).find_map(|start| {
        let clause = text[start..]
            .trim_start_matches([' ', '*', '\n', '\t', '\r', '#', '-', '$', '\\', ')', ']']);
        CONCLUSIONS.iter().find_map(|word| {
            let (start, rest) = clause.split_at_checked(word.len())?;
            let is_word = start.eq_ignore_ascii_case(word)
                && !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
            is_word.then_some(rest)
        })
    });
    if text.is_ascii() {
        return english;
    }
    let chinese = ["∴", "所以", "因此", "故", "综上"]
        .iter()
        .filter_map(|word| Some(&text[text.rfind(word)? + word.len()..]))
        .min_by_key(|rest| rest.len());
    match (english, chinese) {
        (Some(english), Some(chinese)) if chinese.len() > english.len() => Some(english),
        (english, chinese) => chinese.or(english),
    }
}

/// Returns the answer in a concluding sentence: mathematics, or the text after its verb.
fn reading(body: &str) -> Option<Answer<'_>> {
    let body = body.trim_start_matches([',', '，', ':', '：', ' ', '*', '\n', '\r']);
    let body = [
        "we have",
        "we get",
        "we find",
        "we obtain",
        "we see",
        "we conclude",
        "it follows",
        "it must be",
        "that",
    ]
    .iter()
    .fold(body, |body, phrase| {
        let rest = body.strip_prefix(phrase).unwrap_or(body);
        rest.trim_start_matches([' ', ',', ':', '\n'])
    });
    if segment::begins_formula(body) {
        let answer = segment::after(body, false)?;
        let starts = offset(body, answer.place) <= 3;
        let rest = &body[offset(body, answer.place) + answer.place.len()..];
        let rest = rest.trim_start_matches(['$', '*', ')', ']', '\\', '`', ' ']);
        let is_relation = relates(&answer.text);
        let has_digit = answer.text.bytes().any(|b| b.is_ascii_digit());
        let ends = rest.is_empty() || rest.starts_with(['.', '\n', '。', ',', ';']);
        return (!starts || is_relation || has_digit && ends).then_some(answer);
    }
    let body = head(body, MAX_END);
    let sentence = tidy(said(&body[..sentence_end(body)]));
    if let Some((rest, false)) = segment::behind_verb(sentence) {
        let rest = rest.trim_start();
        let answer = segment::after(rest, false)?;
        let text = &*answer.text;
        return (segment::begins_mathematics(text) || relates(text)).then_some(answer);
    }
    // 所以三角形的面积为 12。
    if let Some(at) = sentence.rfind(['为', '是']) {
        let rest = sentence[at..].trim_start_matches(['为', '是', '：', ' ']);
        return segment::begins_mathematics(rest).then(|| segment::after(rest, false))?;
    }
    let found = segment::trailing_mathematics(sentence)?;
    let found = found.strip_prefix("= ").unwrap_or(found);
    if segment::begins_formula(found) {
        let answer = segment::after(found, false)?;
        return relates(&answer.text).then_some(answer);
    }
    let is_whole = offset(sentence, found) == 0;
    let said_equal = sentence[..offset(sentence, found)].ends_with("= ");
    (is_whole || said_equal || relates(found)).then(|| Answer::piece(found))
}

/// Returns whether a formula is a relation.
fn relates(text: &str) -> bool {
    text.contains(['=', '<', '>', '≤', '≥', '≠', '∈', '≈'])
        || [
            "\\le", "\\ge", "\\lt", "\\gt", "\\ne", "\\in ", "\\approx", "\\equiv",
        ]
        .iter()
        .any(|command| text.contains(command))
}
