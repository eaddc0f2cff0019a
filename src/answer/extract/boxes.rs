//! Boxes: `\boxed{…}` and `\fbox{…}`, including several in one sentence. One pass over the text from its first
//! box on.

use memchr::{memchr3, memmem};

use super::continuation::takes_back;
use super::marker::is_denied;
use super::part::{Around, around, is_made_another};
use super::qualifier::qualifier;
use super::sentence::{head, tail};
use super::{Answer, offset};

/// The result of searching a text for boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Boxes<'a> {
    /// The content of the last box, or of the list of boxes that it ends.
    Found(Answer<'a>),
    /// The last box is not closed.
    CutOff,
    /// The last box is a part of a formula.
    Part,
    /// The last box is empty: a mention of the command.
    Empty,
    None,
}

/// A box: its extent from the backslash to after the closing brace, and its content.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    start: usize,
    end: usize,
    content: &'a str,
}

impl Place<'_> {
    /// Unwraps boxes inside the content that contain all of it.
    fn opened(&self) -> Self {
        Place {
            content: unboxed(self.content),
            ..*self
        }
    }
}

/// The maximum number of nested boxes that are unwrapped.
const MAX_OPENED: usize = 4;

/// The maximum length of text between two boxes of one list, in bytes.
const MAX_GAP: usize = 60;

/// The maximum length of a box's content without braces, in bytes.
const MAX_BARE: usize = 1024;

/// The maximum number of boxes in a list.
const MAX_LIST: usize = 100;

/// Words after which a sentence corrects, restates or concludes. The box that follows is another answer, not
/// another member of a list.
const TURNS: &[&str] = &[
    "about",
    "actually",
    "answer",
    "approximately",
    "becomes",
    "but",
    "equals",
    "equivalently",
    "gives",
    "hence",
    "instead",
    "namely",
    "no",
    "not",
    "rather",
    "simplifies",
    "so",
    "then",
    "therefore",
    "thus",
    "wait",
    "which",
];

/// Returns the last box, together with earlier boxes that belong to the same list.
pub(super) fn last(text: &str) -> Boxes<'_> {
    let Some(first) = first_command(text.as_bytes()) else {
        return Boxes::None;
    };
    let (places, unclosed) = places(text, first);
    let Some(last) = places.last().map(Place::opened) else {
        return match unclosed {
            Some(_) => Boxes::CutOff,
            None => Boxes::None,
        };
    };
    // An unclosed box that starts inside the last complete box is part of its content.
    let holds_last = |start: usize| text.get(start..last.start).is_some_and(holds);
    if unclosed.is_some_and(|start| start >= last.end || holds_last(start)) {
        return Boxes::CutOff;
    }
    if last.content.is_empty() {
        return Boxes::Empty;
    }
    let behind = text[last.end..].trim_start_matches(['$', ' ', '\\', ')', ']', '*']);
    if DENIALS.iter().any(|denial| behind.starts_with(denial))
        || takes_back(head(behind, MAX_GAP))
        || is_corrected(behind, last.content)
        || is_denied_before(&text[..last.start])
    {
        return Boxes::None;
    }
    if is_made_another(tail(&text[..last.start], MAX_GAP)) {
        return Boxes::Part;
    }
    let mut members = 1;
    for pair in places.windows(2).rev() {
        if !joins(&text[pair[0].end..pair[1].start]) {
            break;
        }
        members += 1;
    }
    if members == 1 {
        // Text between two close boxes belongs to both; only the last box counts.
        let before = match places.len().checked_sub(2).and_then(|at| places.get(at)) {
            Some(other) if last.start - other.end < 12 => "",
            _ => &text[..last.start],
        };
        return match around(before, &text[last.end..]) {
            Around::Nothing => Boxes::Found(with_unit(text, &last)),
            Around::Minus if text[last.start..last.end].ends_with('}') => {
                let at = before.rfind(['-', '−']).unwrap_or(last.start);
                let sign = before[at..].chars().next().unwrap_or('-');
                let negative = format!("{sign}{{{}}}", last.content);
                Boxes::Found(Answer::list(negative, &text[at..last.end]))
            }
            Around::Minus => Boxes::Part,
            Around::Formula => Boxes::Part,
        };
    }
    if members > MAX_LIST {
        return Boxes::CutOff;
    }
    let members = places[places.len() - members..].iter().map(Place::opened);
    Boxes::Found(list(text, &members.collect::<Vec<_>>()))
}

/// Units that are recognized after a box by their word alone. `in` and single letters are not.
const UNITS: &[&str] = &[
    "%",
    "\\%",
    "percent",
    "mm",
    "cm",
    "dm",
    "km",
    "mg",
    "kg",
    "ml",
    "mL",
    "mph",
    "inch",
    "inches",
    "feet",
    "foot",
    "ft",
    "yard",
    "yards",
    "mile",
    "miles",
    "meter",
    "meters",
    "metre",
    "metres",
    "centimeter",
    "centimeters",
    "kilometer",
    "kilometers",
    "gram",
    "grams",
    "kilogram",
    "kilograms",
    "pound",
    "pounds",
    "ounce",
    "ounces",
    "liter",
    "liters",
    "litre",
    "litres",
    "second",
    "seconds",
    "minute",
    "minutes",
    "hour",
    "hours",
    "day",
    "days",
    "week",
    "weeks",
    "dollar",
    "dollars",
    "cent",
    "cents",
    "euro",
    "euros",
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    // Words that are not units but change the number; the comparison takes them into account.
    "lakh",
    "lakhs",
    "crore",
    "crores",
    "quadrillion",
    "googol",
    "squared",
    "cubed",
    "repeating",
    "recurring",
    "fold",
    "halves",
    "thirds",
    "quarters",
    "fourths",
    "fifths",
    "sixths",
    "eighths",
    "tenths",
    "hundredths",
    "thousandths",
    "k",
    "BC",
];

/// Returns whether a word is a unit. Case is significant in units of one or two letters only.
fn is_unit(word: &str) -> bool {
    UNITS.contains(&word) || word.len() > 2 && UNITS.contains(&word.to_lowercase().as_str())
}

/// Returns a box's content with the unit that follows the box: a number with "cm" does not equal one in metres.
fn with_unit<'a>(text: &'a str, place: &Place<'a>) -> Answer<'a> {
    if let Some(behind) = qualifier(&text[place.end..]) {
        let start = offset(text, place.content);
        let shown = behind
            .replace("\\$", "\u{0}")
            .replace('$', "")
            .replace('\u{0}', "\\$");
        let joined = format!("{}{shown}", place.content);
        return Answer::list(joined, &text[start..place.end + behind.len()]);
    }
    let is_number = place
        .content
        .ends_with(|c: char| c.is_ascii_digit() || c == '}')
        && !["text", "mbox", "mathrm", "\\%", "="]
            .iter()
            .any(|unit| place.content.contains(unit));
    let behind = head(&text[place.end..], 80);
    let rest = behind.trim_start_matches(['$', ' ', '~']);
    let rest = rest
        .strip_prefix("\\)")
        .or_else(|| rest.strip_prefix("\\]"))
        .unwrap_or(rest)
        .trim_start_matches(' ');
    let group = rest
        .trim_start_matches(['\\', ',', ' ', ';'])
        .strip_prefix("text{")
        .or_else(|| rest.strip_prefix("\\mathrm{"))
        .and_then(|group| group.split_once('}'));
    let (word, len) = match group {
        Some((word, behind)) => (word.trim(), rest.len() - behind.len()),
        None => {
            let len = rest
                .find(|c: char| !(c.is_alphabetic() || matches!(c, '%' | '\\')))
                .unwrap_or(rest.len());
            (&rest[..len], len)
        }
    };
    if !is_number || !is_unit(word) {
        return Answer::piece(place.content);
    }
    // The rest of the unit: `cm^2`, `miles per hour`, `feet/s`.
    let mut end = len;
    let power = &rest[len..];
    if power.starts_with(['^', '²', '³', '/']) {
        end += power
            .find(|c: char| c.is_whitespace() || matches!(c, '.' | ',' | '$' | ')'))
            .unwrap_or(power.len());
    } else if let Some(of) = power.strip_prefix(" per ") {
        end += 5 + of.find(|c: char| !c.is_alphabetic()).unwrap_or(of.len());
    } else if power.starts_with(" squared") || power.starts_with(" cubed") {
        end += power[1..]
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(power.len() - 1)
            + 1;
    }
    // `5 ft 6 in`, `5 hours and 30 minutes`: the smaller unit and its number belong to the answer.
    let smaller = rest[end..].trim_start_matches(' ');
    let smaller = smaller.strip_prefix("and ").unwrap_or(smaller);
    let digits = smaller.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        let named = smaller[digits..].trim_start_matches(' ');
        let word = named
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(named.len());
        end = offset(rest, named) + word;
    }
    let unit = &rest[..end];
    let start = offset(text, place.content);
    let stop = offset(text, unit) + unit.len();
    Answer::list(format!("{} {unit}", place.content), &text[start..stop])
}

/// Phrases after a box that say that it is not the answer.
const DENIALS: &[&str] = &[
    "is wrong",
    "is incorrect",
    "is not correct",
    "is not right",
    "is not the answer",
    "is not the correct",
    "cannot be right",
    "cannot be correct",
    "format",
    "notation",
    "would be a mistake",
    "would be wrong",
    "is impossible",
    "is rejected",
    "is invalid",
    "is extraneous",
    "does not work",
    "doesn't work",
    "fails",
];

/// Returns whether a box is followed by another answer: `The correct answer is 6`.
fn is_corrected(behind: &str, content: &str) -> bool {
    let behind = head(behind, MAX_GAP).trim_start_matches(['.', '\n', ' ', '*', '$']);
    let behind = ["Actually, ", "However, ", "But "]
        .iter()
        .find_map(|word| behind.strip_prefix(word))
        .unwrap_or(behind);
    let answer = [
        "The correct answer is ",
        "the correct answer is ",
        "the answer is ",
    ]
    .iter()
    .find_map(|words| behind.strip_prefix(words));
    answer.is_some_and(|answer| {
        let answer = answer.trim_start_matches(['$', '*', ' ', '(', ':', '\\']);
        let bare = content.trim_start_matches(['\\', '(', ' ']);
        // A restatement does not take the box back, and only a value is another answer.
        let end = answer
            .find([' ', '.', ',', '$', '*', ')', '\n'])
            .unwrap_or(answer.len());
        let value = &answer[..end];
        value.starts_with(|c: char| c.is_ascii_digit())
            && !bare.contains(value)
            && !value.is_empty()
    })
}

/// Returns whether the words before a box say that it is not the answer: "is definitely not", "cannot be", "I
/// don't think the answer is".
fn is_denied_before(before: &str) -> bool {
    let before = tail(before, MAX_GAP);
    let clause = before
        .trim_end_matches(['$', '*', ' ', '(', '[', '\\', '\n'])
        .rsplit(['.', ',', ';', ':', '\n'])
        .next()
        .unwrap_or("");
    let clause_words = clause.trim_end().to_ascii_lowercase();
    if [
        "rather than",
        "instead of",
        "rule out",
        "reject",
        "discard",
        "exclude",
    ]
    .iter()
    .any(|words| clause_words.ends_with(words))
    {
        return true;
    }
    let words = clause
        .rsplit(|c: char| !(c.is_alphabetic() || matches!(c, '\'' | '’')))
        .filter(|word| !word.is_empty());
    let denies = |word: &str| {
        let word = word.to_ascii_lowercase();
        word.ends_with("n't")
            || word.ends_with("n’t")
            || matches!(&*word, "not" | "cannot" | "never")
    };
    let mut last = words.take(2);
    // A negation two words before the box counts only in a clause with "answer".
    last.next().is_some_and(denies)
        || clause
            .rfind("answer")
            .is_some_and(|at| last.next().is_some_and(denies) || is_denied(&clause[..at]))
}

/// Joins several boxes to one list. Boxes that are equal except for spaces are listed once. Names before the
/// boxes (`x = `, `y = `) are kept if every box has its own.
fn list<'a>(text: &'a str, places: &[Place<'a>]) -> Answer<'a> {
    let mut distinct: Vec<Place<'a>> = Vec::with_capacity(places.len());
    for place in places {
        if !place.content.is_empty()
            && !distinct
                .iter()
                .any(|other| same(other.content, place.content))
        {
            distinct.push(*place);
        }
    }
    if let [place] = distinct[..] {
        return Answer::piece(place.content);
    }
    let names: Vec<&str> = distinct
        .iter()
        .map_while(|place| name_before(text, place.start))
        .collect();
    let named = names.len() == distinct.len()
        && names
            .iter()
            .enumerate()
            .all(|(index, name)| !names[..index].iter().any(|other| same(other, name)));
    let mut joined = String::new();
    for (index, place) in distinct.iter().enumerate() {
        if index > 0 {
            joined.push_str(", ");
        }
        if named {
            joined.push_str(names[index]);
        }
        joined.push_str(place.content);
    }
    let start = if named {
        offset(text, names[0])
    } else {
        distinct[0].start
    };
    let end = distinct.last().map_or(start, |place| place.end);
    Answer::list(joined, &text[start..end])
}

/// Returns whether two texts are the same except for spaces.
fn same(left: &str, right: &str) -> bool {
    let bytes = |text: &str| {
        text.bytes()
            .filter(|b| !b.is_ascii_whitespace())
            .collect::<Vec<u8>>()
    };
    left == right || bytes(left) == bytes(right)
}

/// Returns the name and equals sign, such as `x_1 = `, before a box.
fn name_before(text: &str, box_start: usize) -> Option<&str> {
    let before = text[..box_start].trim_ascii_end().strip_suffix('=')?;
    let before = before.trim_ascii_end();
    let len = before
        .bytes()
        .rev()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'{' | b'}' | b'\\'))
        .count();
    let name = before[before.len() - len..].trim_start_matches(['{', '}']);
    let stem = name.split('_').next()?;
    let is_letter = stem.len() == 1 && stem.as_bytes()[0].is_ascii_alphabetic();
    let is_command = stem.len() > 2
        && stem.starts_with('\\')
        && stem[1..].bytes().all(|b| b.is_ascii_alphabetic());
    (is_letter || is_command).then(|| &text[offset(text, name)..box_start])
}

/// Returns whether the content of an unclosed box continues up to the next box, so that the next box is inside
/// it. If a formula or paragraph ended in between, only a closing brace is missing.
fn holds(between: &str) -> bool {
    !(between.contains('$')
        || between.contains("\\)")
        || between.contains("\\]")
        || between.contains("\n\n"))
}

/// Returns the position of the first box command of a text.
fn first_command(bytes: &[u8]) -> Option<usize> {
    memmem::find_iter(bytes, b"box").find_map(|at| {
        let start = match bytes.get(at.checked_sub(1)?)? {
            b'\\' => at - 1,
            b'f' => at.checked_sub(2).filter(|&start| bytes[start] == b'\\')?,
            _ => return None,
        };
        command(bytes, start + 1).map(|_| start)
    })
}

/// Returns the complete outermost boxes in order, and the start of the last unclosed box.
fn places(text: &str, first: usize) -> (Vec<Place<'_>>, Option<usize>) {
    let bytes = text.as_bytes();
    let mut places: Vec<Place<'_>> = Vec::new();
    // Open boxes: the start, the start of the content, and the number of open braces around the content.
    let mut open: Vec<(usize, usize, usize)> = Vec::new();
    let mut depth = 0;
    let mut unclosed = None;
    let mut at = first;
    while let Some(step) = bytes
        .get(at..)
        .and_then(|rest| memchr3(b'\\', b'{', b'}', rest))
    {
        at += step;
        match bytes[at] {
            b'\\' => {
                // `\\boxed` in a quoted string counts too; any other escaped character is skipped.
                let name = at + 1 + usize::from(bytes.get(at + 1) == Some(&b'\\'));
                let Some(after) = command(bytes, name) else {
                    at += 2;
                    continue;
                };
                let mut brace = after;
                while bytes.get(brace).is_some_and(u8::is_ascii_whitespace) {
                    brace += 1;
                }
                if bytes.get(brace) == Some(&b'{') {
                    depth += 1;
                    open.push((at, brace + 1, depth));
                    at = brace + 1;
                } else {
                    let (end, complete) = bare_end(text, brace);
                    if !complete || bytes[brace..].iter().all(u8::is_ascii_whitespace) {
                        unclosed = Some(at);
                        at = after;
                        continue;
                    }
                    if end > brace {
                        places.push(Place {
                            start: at,
                            end,
                            content: &text[brace..end],
                        });
                    }
                    at = end.max(after);
                }
            }
            b'{' => {
                depth += 1;
                at += 1;
            }
            _ => {
                if let Some(&(start, inside, opened)) = open.last()
                    && opened == depth
                {
                    open.pop();
                    // Boxes inside this one are part of it.
                    while places.last().is_some_and(|place| place.start > start) {
                        places.pop();
                    }
                    places.push(Place {
                        start,
                        end: at + 1,
                        content: &text[inside..at],
                    });
                }
                depth = depth.saturating_sub(1);
                at += 1;
            }
        }
    }
    for (start, ..) in open {
        unclosed = unclosed.max(Some(start));
    }
    (places, unclosed)
}

/// Returns a box's content without nested boxes that contain all of it.
fn unboxed(content: &str) -> &str {
    let mut content = content.trim();
    for _ in 0..MAX_OPENED {
        let inner = content
            .strip_prefix("\\boxed")
            .or_else(|| content.strip_prefix("\\fbox"))
            .and_then(|rest| rest.trim_ascii_start().strip_prefix('{'));
        let Some(inner) = inner else { return content };
        match closing_brace(inner) {
            Some(end) if inner[end + 1..].trim().is_empty() => content = inner[..end].trim(),
            _ => return content,
        }
    }
    content
}

/// Returns the position of the brace that closes the one opened just before the text.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        at += memchr3(b'\\', b'{', b'}', bytes.get(at..)?)?;
        match bytes[at] {
            b'\\' => at += 1,
            b'{' => depth += 1,
            _ if depth == 0 => return Some(at),
            _ => depth -= 1,
        }
        at += 1;
    }
}

/// Returns the position after the name of a box command that starts at `name`.
fn command(bytes: &[u8], name: usize) -> Option<usize> {
    let rest = bytes.get(name..)?;
    let len = [&b"boxed"[..], b"fbox"]
        .into_iter()
        .find(|command| rest.starts_with(command))?
        .len();
    // `\boxedfoo` is another command.
    let ends = !rest.get(len).is_some_and(u8::is_ascii_alphabetic);
    ends.then_some(name + len)
}

/// Returns the end of a box's content without braces, and whether its braces and parentheses are closed there.
/// The content ends at a space, a comma, a full stop or the end of the formula, outside braces and parentheses.
fn bare_end(text: &str, start: usize) -> (usize, bool) {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut depth = 0usize;
    let mut at = start;
    while at < bytes.len() {
        if at - start > MAX_BARE {
            return (at, false);
        }
        match bytes[at] {
            b'$' | b'\n' => break,
            b'\\' => match bytes.get(at + 1) {
                Some(b')' | b']') => break,
                // Another box starts: the brackets of this one are not closed.
                _ if depth > 0 && command(bytes, at + 1).is_some() => return (at, false),
                // `\{1, 2\}`: the next byte is the brace itself.
                Some(b'{' | b'}') => {}
                Some(b) if b.is_ascii() => at += 1,
                _ => {}
            },
            b'{' | b'(' => depth += 1,
            b'}' | b')' if depth == 0 => break,
            b'}' | b')' => depth -= 1,
            b' ' | b'\t' | b'\r' | b';' if depth == 0 => break,
            // A comma inside `1,000` belongs to the number.
            b',' if depth == 0
                && !(at > start
                    && digit(at - 1)
                    && (1..4).all(|next| digit(at + next))
                    && !digit(at + 4)) =>
            {
                break;
            }
            b'.' if depth == 0 && !digit(at + 1) => break,
            0xE3 | 0xEF if text[at..].starts_with(['。', '，', '；', '、']) => break,
            _ => {}
        }
        at += 1;
    }
    (at.min(bytes.len()), depth == 0)
}

/// Returns whether the text between two boxes joins them to one list.
fn joins(gap: &str) -> bool {
    if gap.len() > MAX_GAP {
        return false;
    }
    let bytes = gap.as_bytes();
    let mut first = true;
    let mut said_and = false;
    let mut begins = true;
    let mut at = 0;
    while at < bytes.len() {
        let rest = &gap[at..];
        if rest.starts_with("\n\n") || rest.starts_with(['?', '!']) {
            return false;
        }
        if let Some(len) = spacing(rest) {
            at += len;
            continue;
        }
        let c = rest.chars().next().unwrap_or(' ');
        if c.is_alphabetic() {
            let len = rest
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(rest.len());
            let word = &rest[..len];
            if TURNS.iter().any(|turn| word.eq_ignore_ascii_case(turn)) {
                return false;
            }
            if word.eq_ignore_ascii_case("and")
                || word.eq_ignore_ascii_case("or")
                || matches!(word, "和" | "或" | "与" | "及")
            {
                said_and = true;
            }
            if first {
                begins = false;
            }
            first = false;
            at += len;
            continue;
        }
        match c {
            // A full stop followed by a space, or by nothing but spacing, ends the sentence.
            '.' => {
                let mut next = at + 1;
                let mut spaced = false;
                while let Some(len) = gap.get(next..).filter(|r| !r.is_empty()).and_then(spacing) {
                    spaced |= bytes[next].is_ascii_whitespace();
                    next += len;
                }
                if spaced {
                    return false;
                }
                if first {
                    begins = false;
                }
            }
            '。' => return false,
            ',' | ';' | '、' | '，' | '；' => {}
            _ if first => begins = false,
            _ => {}
        }
        // A box in a computation is not an answer: `\boxed{3} + \boxed{4}`.
        if first && !matches!(c, ',' | ';' | '、' | '，' | '；' | '.') {
            return false;
        }
        first = false;
        at += c.len_utf8();
    }
    begins || said_and
}

/// Returns the length of the spacing or delimiter (or a command for one) that a text starts with.
fn spacing(text: &str) -> Option<usize> {
    const COMMANDS: &[&str] = &[
        "\\(", "\\)", "\\[", "\\]", "\\quad", "\\qquad", "\\,", "\\;", "\\ ", "\\\\", "\\textbf",
        "\\text", "\\mbox", "\\mathrm",
    ];
    match text.as_bytes()[0] {
        b'$' | b'~' | b'{' | b'}' | b'*' | b'&' => Some(1),
        b'\n' if text.starts_with("\n\n") => None,
        b if b.is_ascii_whitespace() => Some(1),
        b'\\' => COMMANDS
            .iter()
            .find(|command| text.starts_with(**command))
            .map(|command| command.len()),
        _ => None,
    }
}
