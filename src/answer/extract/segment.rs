//! Extracts the answer right after or before a marker from its sentence.

use memchr::memchr_iter;

use super::continuation::{continued, is_retracted};
use super::formula::{Formula, formula_at, formulas};
use super::sentence::{MAX_SENTENCE, head, said, sentence_end, tail, tidy};
use super::{Answer, offset};

/// Returns the answer at the start of the text after a marker.
pub(super) fn after(text: &str, lenient: bool) -> Option<Answer<'_>> {
    let whole = head(text, MAX_SENTENCE);
    let answer = within(whole, lenient)?;
    (!is_retracted(whole, &answer)).then(|| continued(whole, answer))
}

/// Returns the answer in the first sentence, or in the first items of a list.
fn within(whole: &str, lenient: bool) -> Option<Answer<'_>> {
    let text = opening(whole);
    if whole[..offset(whole, text)].contains('\n')
        && let Some(answer) = items(text, lenient)
    {
        return Some(answer);
    }
    // A `\text{` that was opened around the marker.
    let text = text
        .strip_prefix("\\text{")
        .filter(|rest| !rest.contains('}'))
        .unwrap_or(text);
    if let Some(answer) = leading(text, lenient) {
        return Some(answer);
    }
    prose(&text[..sentence_end(text)], lenient)
}

/// The maximum number of items in a list.
const MAX_ITEMS: usize = 50;

/// Returns the answers in the list of items, one per line, that a text starts with: `- $x = 1$`, `1. 5`.
fn items(text: &str, lenient: bool) -> Option<Answer<'_>> {
    let mut answers: Vec<Answer<'_>> = Vec::new();
    let mut numbered = false;
    for line in text.lines().take(2 * MAX_ITEMS) {
        let line = line.trim_start();
        if line.is_empty() {
            continue;
        }
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let bullet = ["- ", "* ", "• "];
        let item = match bullet.iter().find_map(|bullet| line.strip_prefix(bullet)) {
            Some(item) => item.trim_start(),
            None if digits > 0 => {
                let rest = line[digits..].strip_prefix(['.', ')']);
                let Some(item) = rest.and_then(|rest| rest.strip_prefix(' ')) else {
                    break;
                };
                numbered = true;
                item.trim_start()
            }
            None => break,
        };
        let answer = leading(item, lenient).or_else(|| prose(&item[..sentence_end(item)], lenient));
        answers.push(answer?);
    }
    match &answers[..] {
        [] => None,
        // `5. It follows` alone is a number at the end of a sentence.
        [answer] if numbered && !begins_mathematics(&answer.text) => None,
        [_] => answers.pop(),
        [first, .., last] => {
            let start = offset(text, first.place);
            let end = offset(text, last.place) + last.place.len();
            let texts: Vec<&str> = answers.iter().map(|answer| &*answer.text).collect();
            Some(Answer::list(texts.join(", "), &text[start..end]))
        }
    }
}

/// Words between a marker and its answer that do not affect the value.
const FILLERS: &[&str] = &[
    "about",
    "actually",
    "also",
    "approximately",
    "around",
    "equal to",
    "exactly",
    "given by",
    "hence",
    "indeed",
    "only",
    "just",
    "now",
    "roughly",
    "simply",
    "then",
    "therefore",
    "thus",
];

/// Returns the text after a marker from the answer on.
fn opening(text: &str) -> &str {
    let mut text = text;
    loop {
        let before = text.len();
        text = text.trim_start_matches(|c: char| {
            c.is_whitespace() || matches!(c, ':' | '：' | ',' | '，' | '"' | '“' | '=' | '#' | '•')
        });
        // A brace that was opened around the marker.
        text = text.strip_prefix('}').unwrap_or(text);
        // Bold type that ends here. Bold type that begins here is read with its end.
        if text.starts_with('*') && bold_at(text).is_none() {
            text = text.trim_start_matches('*');
        }
        if text.starts_with(|c: char| c.is_ascii_lowercase()) {
            let filler = FILLERS.iter().find_map(|filler| {
                let rest = text.strip_prefix(filler)?;
                let rest = rest.strip_prefix(',').unwrap_or(rest);
                rest.starts_with([' ', ':']).then_some(rest)
            });
            text = filler.unwrap_or(text);
        }
        if let Some(letter) = named_choice(text) {
            text = letter;
        }
        if text.len() == before {
            return text;
        }
    }
}

/// Returns the text after "option" or "choice" if it is a choice letter.
fn named_choice(text: &str) -> Option<&str> {
    let len = ["option", "choice", "letter"]
        .iter()
        .find(|word| {
            text.get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
        })?
        .len();
    let rest = text[len..].trim_start_matches(|c: char| c.is_whitespace() || c == ':' || c == '*');
    let is_letter = begins_choice(rest.trim_start_matches('$')) || rest.starts_with("$\\text");
    (rest.len() < text.len() - len && is_letter).then_some(rest)
}

/// A formula, bold type or code between delimiters.
#[derive(Debug, Clone, Copy)]
struct Span<'a> {
    content: &'a str,
    end: usize,
    /// Whether it is a formula, as opposed to words that may contain one.
    is_formula: bool,
}

/// Returns the span that a text starts with.
fn span_at(text: &str) -> Option<Span<'_>> {
    if let Some(Formula { content, end }) = formula_at(text) {
        return Some(Span {
            content,
            end,
            is_formula: true,
        });
    }
    bold_at(text).or_else(|| code_at(text))
}

/// Returns the bold (or italic) text at the start, unless it is a label: `**5**`.
fn bold_at(text: &str) -> Option<Span<'_>> {
    let stars = text.bytes().take_while(|b| *b == b'*').count();
    if !(1..=3).contains(&stars) || text[stars..].starts_with(char::is_whitespace) {
        return None;
    }
    let line = head(text, 512).lines().next()?;
    let close = line[stars..].find(&text[..stars])? + stars;
    let content = line[stars..close].trim();
    if content.is_empty() || content.ends_with([':', '：']) {
        return None;
    }
    let whole = formula_at(content).filter(|formula| formula.end == content.len());
    Some(Span {
        content: whole.map_or(content, |formula| formula.content),
        end: close + stars,
        is_formula: whole.is_some(),
    })
}

/// Returns code in backticks: inline, or in a block of one line.
fn code_at(text: &str) -> Option<Span<'_>> {
    let (content, end) = if let Some(rest) = text.strip_prefix("```") {
        let close = rest.find("```")?;
        // The first line of the block names its language.
        let content = rest[..close].split_once('\n').map_or("", |(_, rest)| rest);
        (content.trim(), close + 6)
    } else {
        let rest = text.strip_prefix('`')?;
        let close = rest.find('`')?;
        (rest[..close].trim(), close + 2)
    };
    let whole = formula_at(content).filter(|formula| formula.end == content.len());
    (!content.is_empty() && !content.contains('\n')).then_some(Span {
        content: whole.map_or(content, |formula| formula.content),
        end,
        is_formula: whole.is_some(),
    })
}

/// Separators of the members of a list.
const CONJUNCTIONS: &[&str] = &[
    ", and ", "and ", ", or ", "or ", ", ", ",", "；", "、", "，", "或", "和", "及", "与",
];

/// Returns the formulas that a text starts with, joined if `and`, `or` or commas join them, and with the unit
/// after them.
fn leading(text: &str, lenient: bool) -> Option<Answer<'_>> {
    let first = span_at(text)?;
    let mut members = Vec::new();
    let mut last = first;
    let mut end = first.end;
    loop {
        let rest = text[end..].trim_start();
        let next = CONJUNCTIONS.iter().find_map(|conjunction| {
            let member = rest.strip_prefix(conjunction)?.trim_start();
            Some((member, span_at(member)?))
        });
        let Some((member, span)) = next else { break };
        if members.is_empty() {
            members.push(first.content);
        }
        members.push(span.content);
        end = offset(text, member) + span.end;
        last = span;
    }
    let rest = &text[end..];
    // A full stop inside the last formula ends the sentence.
    let ends = last.content.ends_with('.') && !last.content.ends_with("..");
    if members.is_empty()
        && !ends
        && let Some(answer) = predicate(rest)
    {
        return Some(answer);
    }
    let first_answer = if first.is_formula || !members.is_empty() {
        Answer::piece(first.content)
    } else {
        prose(first.content, lenient)?
    };
    let unit = if ends { "" } else { unit(rest) };
    if members.is_empty() && unit.is_empty() {
        return Some(first_answer);
    }
    let mut joined = if members.is_empty() {
        first_answer.text.into_owned()
    } else {
        members.join(", ")
    };
    let stop = if unit.is_empty() {
        last.content
    } else {
        if rest.starts_with(char::is_whitespace) {
            joined.push(' ');
        }
        joined.push_str(unit);
        unit
    };
    let start = offset(text, first.content);
    Some(Answer::list(
        joined,
        &text[start..offset(text, stop) + stop.len()],
    ))
}

/// Returns what a sentence says a formula is: ` is 5` after `$x$`.
fn predicate(rest: &str) -> Option<Answer<'_>> {
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let rest = ["is equal to ", "is ", "are ", "equals ", "= "]
        .iter()
        .find_map(|verb| rest.strip_prefix(verb))?;
    let rest = opening(rest);
    begins_mathematics(rest).then(|| after(rest, false))?
}

/// Returns whether a text begins with a formula or a number.
pub(super) fn begins_mathematics(text: &str) -> bool {
    let bare = text.trim_start_matches(['*', '(', '-', '+', '−', '±', '[', '{', '`']);
    bare.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '$' | '\\' | '√' | 'π' | '.'))
}

/// Words after a formula that begin something other than its unit.
const NOT_UNITS: &[&str] = &[
    "above",
    "after",
    "are",
    "as",
    "at",
    "because",
    "below",
    "by",
    "due",
    "for",
    "from",
    "hence",
    "here",
    "is",
    "on",
    "since",
    "so",
    "that",
    "there",
    "therefore",
    "thus",
    "using",
    "was",
    "were",
    "where",
    "which",
    "with",
];

/// Words after "and" or "or" that begin a new clause or a restatement.
const CLAUSES: &[&str] = &[
    "about",
    "approximately",
    "equivalently",
    "hence",
    "it",
    "roughly",
    "simply",
    "so",
    "that",
    "the",
    "therefore",
    "this",
    "thus",
    "we",
];

/// Returns the text after a formula that belongs to it: a unit or a percent sign, but also "or more", which the
/// parser then rejects.
fn unit(rest: &str) -> &str {
    let sentence = &rest[..sentence_end(rest)];
    let piece = tidy(said(sentence)).trim_start_matches(['*', '`']);
    let piece = piece.trim_start();
    let word = |text: &str| -> usize {
        text.find(|c: char| !c.is_alphabetic())
            .unwrap_or(text.len())
    };
    let known = |words: &[&str], text: &str| words.contains(&&text[..word(text)]);
    if let Some(behind) = piece.strip_prefix([',', ';', '，', ')', '"', '”', ']']) {
        let behind = behind.trim_start();
        let more = behind
            .strip_prefix("and ")
            .or_else(|| behind.strip_prefix("or "))
            .unwrap_or(behind);
        // A member that is not a formula: `$3$, 4`.
        return if begins_mathematics(more) { piece } else { "" };
    }
    if known(NOT_UNITS, piece) {
        return "";
    }
    if known(&["in"], piece)
        && !piece[2..]
            .trim_start_matches(['.', '^', '2', '3'])
            .is_empty()
    {
        return "";
    }
    if let Some(clause) = piece
        .strip_prefix("and ")
        .or_else(|| piece.strip_prefix("or "))
        && known(CLAUSES, clause)
    {
        return "";
    }
    piece
}

/// Words before a number or formula that change what it means.
const HEDGES: &[&str] = &[
    "almost", "below", "between", "exceed", "exceeds", "fewer", "half", "least", "less", "minus",
    "more", "most", "nearly", "negative", "no", "not", "over", "plus", "than", "times", "to",
    "under", "without",
];

/// Returns whether a text ends in a word that changes the meaning of what follows.
fn hedges(text: &str) -> bool {
    let text = text.trim_end();
    let len: usize = text
        .bytes()
        .rev()
        .take_while(|b| b.is_ascii_alphabetic())
        .count();
    let word = &text[text.len() - len..];
    HEDGES.iter().any(|hedge| word.eq_ignore_ascii_case(hedge))
}

/// Returns the answer in a sentence: the whole sentence if it begins with mathematics; else the text after its
/// verb, its formulas or its bold type; else the whole sentence.
fn prose(sentence: &str, lenient: bool) -> Option<Answer<'_>> {
    let sentence = tidy(said(sentence));
    if sentence.is_empty() {
        return None;
    }
    if let Some(word) = bracketed_choice(sentence).or_else(|| yes_or_no(sentence)) {
        return Some(Answer::piece(word));
    }
    if let Some(list) = chinese_list(sentence) {
        return Some(list);
    }
    let letters = sentence.chars().take_while(|c| c.is_alphabetic()).count();
    if letters < 2 || sentence.starts_with("pi") {
        return Some(Answer::piece(sentence));
    }
    if let Some((rest, is_sign)) = behind_verb(sentence) {
        let rest = opening(rest);
        if let Some(answer) = leading(rest, lenient) {
            return Some(answer);
        }
        if !rest.is_empty() && (!is_sign || rest.contains(|c: char| c.is_ascii_digit())) {
            return Some(Answer::piece(tidy(rest)));
        }
    }
    let mut inside = formulas(sentence);
    if let Some((start, first)) = inside.next() {
        let count = 1 + inside.count();
        if !hedges(&sentence[..start]) {
            if count == 1 && unit(&sentence[start + first.end..]).is_empty() {
                return Some(Answer::piece(first.content));
            }
            let answer = leading(&sentence[start..], lenient)?;
            let end = offset(sentence, answer.place) + answer.place.len();
            if formulas(&sentence[end..]).next().is_none() {
                return Some(answer);
            }
        }
    }
    // "The ball costs **5 cents": the sentence ended inside the bold type.
    let mut types = sentence.split("**");
    if let (Some(before), Some(bold), None) = (types.next(), types.next(), types.next())
        && !hedges(before)
        && !bold.trim().is_empty()
    {
        return Some(Answer::piece(bold.trim()));
    }
    if lenient
        && sentence.split_whitespace().count() > 2
        && let Some(answer) = last_formula_or_number(sentence)
    {
        return Some(answer);
    }
    Some(Answer::piece(sentence))
}

/// Returns the letter of `B) 12`.
fn bracketed_choice(sentence: &str) -> Option<&str> {
    let bytes = sentence.as_bytes();
    let is_choice = bytes.len() > 1 && bytes[0].is_ascii_uppercase() && bytes[1] == b')';
    // `B) or C)` chooses both or neither.
    let is_only = || {
        let rest = sentence[2..].trim_start();
        let behind = ["or ", "and ", "& ", ", ", "/"]
            .iter()
            .find_map(|conjunction| rest.strip_prefix(conjunction));
        let next = behind.map(|rest| {
            rest.trim_start()
                .trim_start_matches("or ")
                .trim_start_matches('(')
        });
        let mut next = next.unwrap_or("").chars();
        let letter = next.next().is_some_and(|c| c.is_ascii_uppercase());
        !(letter && next.next().is_none_or(|c| !c.is_alphanumeric()))
    };
    (is_choice && is_only()).then(|| &sentence[..1])
}

/// Returns the first word of `No, it is not possible`.
fn yes_or_no(sentence: &str) -> Option<&str> {
    let len = sentence.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (word, rest) = sentence.split_at(len);
    let is_known = ["yes", "no", "true", "false"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known));
    (is_known && rest.starts_with([',', ';', ':', '，'])).then_some(word)
}

/// Returns the members of `5或6` and `1、2`.
fn chinese_list(sentence: &str) -> Option<Answer<'_>> {
    if sentence.is_ascii() {
        return None;
    }
    let members: Vec<&str> = sentence
        .split(['或', '和', '、', '及', '与'])
        .map(str::trim)
        .collect();
    let is_list = members.len() > 1
        && members
            .iter()
            .all(|member| begins_mathematics(member) || begins_choice(member));
    is_list.then(|| Answer::list(members.join(", "), sentence))
}

/// Returns the text after the last verb of a sentence, outside formulas, and whether that verb is an equals
/// sign.
pub(super) fn behind_verb(sentence: &str) -> Option<(&str, bool)> {
    let mut verb = None;
    let mut sign = None;
    let mut skip = 0;
    let mut inside = formulas(sentence).peekable();
    for at in memchr_iter(b' ', sentence.as_bytes()) {
        while let Some((start, formula)) = inside.next_if(|(start, _)| *start < at) {
            skip = start + formula.end;
        }
        if at < skip {
            continue;
        }
        let rest = &sentence[at + 1..];
        let found = ["is ", "are ", "be ", "equals "]
            .iter()
            .find_map(|verb| rest.strip_prefix(verb));
        if found.is_some() {
            verb = found;
        } else if let Some(rest) = rest.strip_prefix("= ") {
            sign = Some(rest);
        }
    }
    match (verb, sign) {
        (Some(verb), _) => Some((verb, false)),
        (None, Some(sign)) => Some((sign, true)),
        (None, None) => None,
    }
}

/// Returns the answer right before a phrase: one or more formulas, a choice letter, or mathematics without
/// delimiters.
pub(super) fn before(text: &str) -> Option<Answer<'_>> {
    let text = tail(text, MAX_SENTENCE).trim_end();
    let text = text.strip_suffix(',').unwrap_or(text);
    if let Some((content, start)) = span_before(text) {
        let mut members = vec![content];
        let mut rest = text[..start].trim_end();
        loop {
            let conjunction = rest
                .strip_suffix("and")
                .or_else(|| rest.strip_suffix("or"))
                .unwrap_or(rest);
            let conjunction = conjunction.trim_end();
            let conjunction = conjunction.strip_suffix(',').unwrap_or(conjunction);
            if conjunction.len() == rest.len() {
                break;
            }
            let Some((content, start)) = span_before(conjunction.trim_end()) else {
                break;
            };
            members.push(content);
            rest = text[..start].trim_end();
        }
        if hedges(rest) {
            return None;
        }
        members.reverse();
        let first = offset(text, members[0]);
        let place = &text[first..offset(text, content) + content.len()];
        return Some(if members.len() == 1 {
            Answer::piece(content)
        } else {
            Answer::list(members.join(", "), place)
        });
    }
    if let Some(letter) = choice_before(text) {
        return Some(Answer::piece(letter));
    }
    trailing_mathematics(text).map(Answer::piece)
}

/// Returns the formula or bold text that a text ends with, and its start.
fn span_before(text: &str) -> Option<(&str, usize)> {
    let (open, len) = [
        ("$$", "$$"),
        ("$", "$"),
        ("\\(", "\\)"),
        ("\\[", "\\]"),
        ("**", "**"),
    ]
    .iter()
    .find_map(|(open, close)| Some((open, text.strip_suffix(close)?.len())))?;
    let start = text[..len].rfind(open)?;
    let content = text[start + open.len()..len].trim();
    (!content.is_empty() && !content.contains('\n') || open.starts_with('\\'))
        .then_some((content, start))
}

/// Returns the choice letter that a text ends with: `(B)`, `option B`.
pub(super) fn choice_before(text: &str) -> Option<&str> {
    let text = text.trim_end().trim_end_matches('*');
    let (letter, rest) = match text.strip_suffix(')') {
        Some(inner) => {
            let letter = inner.get(inner.len().checked_sub(1)?..)?;
            (letter, inner.strip_suffix(letter)?.strip_suffix('(')?)
        }
        None => {
            let letter = text.get(text.len().checked_sub(1)?..)?;
            let rest = text.strip_suffix(letter)?;
            let named = rest.trim_end();
            let len = named
                .bytes()
                .rev()
                .take_while(|b| b.is_ascii_alphabetic())
                .count();
            let word = &named[named.len() - len..];
            let is_named = ["option", "choice", "answer", "letter"]
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name));
            if !is_named || named.len() == rest.len() {
                return None;
            }
            (letter, rest)
        }
    };
    // `f(A)` is not a choice.
    let stands_alone = !rest.ends_with(|c: char| c.is_alphanumeric());
    let is_letter = match letter.as_bytes() {
        [b'A'..=b'J'] => true,
        [b'a'..=b'j'] => text.ends_with(')'),
        _ => false,
    };
    (is_letter && stands_alone).then_some(letter)
}

/// Returns the mathematics without delimiters that a sentence ends with, including a unit of one word: `x = 5`,
/// `3 + 4 = 7`, `5 apples`. Returns `None` if a word before it changes its meaning.
pub(super) fn trailing_mathematics(text: &str) -> Option<&str> {
    let text = tidy(text);
    let line = text.rfind('\n').map_or(text, |at| &text[at + 1..]);
    if let [b'A'..=b'J'] = line.as_bytes() {
        return Some(line);
    }
    let mut start = line.len();
    let mut rest = line;
    let mut units = 0;
    let mut any = false;
    loop {
        rest = rest.trim_end_matches([' ', '\t']);
        let word_start = rest.rfind([' ', '\t']).map_or(0, |at| at + 1);
        let word = rest[word_start..].trim_start_matches('*');
        if word.is_empty() {
            break;
        }
        let ends = word.ends_with('.') || word.ends_with(':') || word.ends_with('!') && any;
        if any && ends {
            break;
        }
        if is_mathematics(word) {
            any = true;
            start = offset(line, word);
        } else if any && matches!(word, "and" | "or") {
            // After a comma, either the list continues or the sentence does.
            let before = rest[..word_start].trim_end();
            let previous = before.rfind([' ', '\t']).map_or(0, |at| at + 1);
            if !is_mathematics(&before[previous..]) {
                break;
            }
        } else if !any && units == 0 && word.chars().all(char::is_alphabetic) {
            units = 1;
        } else {
            break;
        }
        rest = &rest[..word_start];
    }
    let found = &line[start..];
    let number_before_unit = units == 0
        || found
            .split(' ')
            .rev()
            .nth(1)
            .is_some_and(|word| word.bytes().any(|b| b.is_ascii_digit()));
    (any && number_before_unit && !hedges(&line[..start])).then_some(found)
}

/// Returns whether a word is mathematics: it has a digit, an operator or a command, or is one letter.
pub(super) fn is_mathematics(word: &str) -> bool {
    let bare = word.trim_matches([',', ';', '(', ')']);
    let mut letters = bare.chars();
    if let (Some(letter), None) = (letters.next(), letters.next())
        && letter.is_alphabetic()
    {
        return !matches!(letter, 'a' | 'A' | 'I');
    }
    word.contains(|c: char| {
        c.is_ascii_digit()
            || matches!(
                c,
                '=' | '+'
                    | '*'
                    | '/'
                    | '^'
                    | '<'
                    | '>'
                    | '\\'
                    | '%'
                    | '$'
                    | '€'
                    | '£'
                    | '≤'
                    | '≥'
                    | '≠'
                    | '±'
                    | '√'
                    | 'π'
                    | '≈'
                    | '∞'
                    | '×'
                    | '÷'
                    | '·'
                    | '−'
            )
    }) || matches!(word, "-" | "pi")
}

/// Returns the last formula of a text, or its last number if that comes later, or else a choice letter.
pub(super) fn last_formula_or_number(text: &str) -> Option<Answer<'_>> {
    let formula = formulas(text).last();
    let formula_end = formula.map_or(0, |(start, formula)| start + formula.end);
    match (formula, last_number(text)) {
        (_, Some((number, end))) if end > formula_end => Some(number),
        (Some((_, formula)), _) => Some(Answer::piece(formula.content)),
        (None, Some((number, _))) => Some(number),
        (None, None) => choice(text).map(Answer::piece),
    }
}

/// Returns the last number outside words, with its sign, fraction and percent sign, and its end.
fn last_number(text: &str) -> Option<(Answer<'_>, usize)> {
    let bytes = text.as_bytes();
    let is_part = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'/');
    let mut end = bytes.len();
    while end > 0 {
        let digit = bytes[..end].iter().rposition(u8::is_ascii_digit)?;
        let mut start = digit;
        while start > 0 && is_part(bytes[start - 1]) {
            start -= 1;
        }
        // Leading separators belong to the sentence; a leading point may start a decimal.
        let mut from = start;
        while from < digit && matches!(bytes[from], b',' | b'/') {
            from += 1;
        }
        let glued = from > 0 && (bytes[from - 1].is_ascii_alphabetic() || bytes[from - 1] == b'_');
        if glued {
            end = start;
            continue;
        }
        let minus = from > 0
            && bytes[from - 1] == b'-'
            && (from == 1 || !bytes[from - 2].is_ascii_alphanumeric());
        let from = from - usize::from(minus);
        let number = text.get(from..digit + 1)?;
        let stop = digit + 1;
        let behind = text[stop..].trim_start();
        return Some(if behind.starts_with('%') || behind.starts_with("\\%") {
            let sign = offset(text, behind) + behind.find('%').map_or(0, |at| at + 1);
            let place = &text[from..sign];
            (Answer::piece(place), sign)
        } else {
            (Answer::piece(number), stop)
        });
    }
    None
}

/// Returns a choice letter: `A. …` at the start, else the last capital letter that is a word by itself.
fn choice(text: &str) -> Option<&str> {
    let first = text.split_whitespace().next()?;
    if first.ends_with(['.', ':', ')'])
        && let Some(letter) = lone_capital(first)
    {
        return Some(letter);
    }
    text.split_whitespace()
        .rev()
        .filter(|word| *word != "A")
        .find_map(lone_capital)
}

/// Returns the choice letter of a word that is one apart from punctuation.
fn lone_capital(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    (word.len() == 1 && ("A"..="H").contains(&word)).then_some(word)
}

/// Returns whether a text begins with a separate choice letter: `B`, `(B)`, `B.`, `(b)`.
pub(super) fn begins_choice(text: &str) -> bool {
    let bytes = text.trim_start_matches(['(', '（']).as_bytes();
    match bytes.first() {
        Some(b'A'..=b'J') => !bytes.get(1).is_some_and(u8::is_ascii_alphanumeric),
        Some(b'a'..=b'j') => text.starts_with('(') && bytes.get(1) == Some(&b')'),
        _ => false,
    }
}

/// Returns whether a text begins with a formula between delimiters, bold type or code.
pub(super) fn begins_formula(text: &str) -> bool {
    span_at(text).is_some()
}
