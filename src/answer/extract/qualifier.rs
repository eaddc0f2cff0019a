//! Words right after a box that change the number in it: `or more`, `and a half`, `R 2`, or another value after
//! `or`.

use super::segment::begins_mathematics;
use super::sentence::head;

/// The maximum length of text that is searched for a qualifier, in bytes.
const MAX_BEHIND: usize = 80;

/// Phrases that change the preceding number, whatever follows.
const PHRASES: &[&str] = &[
    "and a half",
    "and a quarter",
    "and a third",
    "and above",
    "and below",
    "and one half",
    "and one third",
    "and one-half",
    "and three quarters",
    "and two thirds",
    "and up",
    "above zero",
    "below zero",
    "or above",
    "or below",
    "or fewer",
    "or greater",
    "or higher",
    "or larger",
    "or less",
    "or lower",
    "or more",
    "or smaller",
];

/// Phrases that change it if a number follows.
const WITH_NUMBER: &[&str] = &[
    "divided by",
    "fewer than",
    "greater than",
    "less than",
    "minus",
    "more than",
    "multiplied by",
    "or",
    "plus",
    "r",
    "rem",
    "remainder",
    "rest",
    "times",
    "to",
    "with remainder",
    "with a remainder of",
];

/// Spacing, and delimiters of formulas and upright text.
const SPACING: &[&str] = &[
    "$",
    " ",
    "~",
    "\\(",
    "\\)",
    "\\,",
    "\\;",
    "\\ ",
    "\\text{",
    "\\mathrm{",
    "{",
    "}",
    "*",
];

/// Returns the text right after a box, starting at its end, that belongs to the number in it.
pub(super) fn qualifier(behind: &str) -> Option<&str> {
    let behind = head(behind, MAX_BEHIND);
    let rest = unspaced(behind);
    if rest.len() == behind.len() && rest.starts_with(|c: char| c.is_ascii()) {
        return None;
    }
    let qualifies = PHRASES.iter().any(|phrase| {
        behind_words(rest, phrase).is_some_and(|more| {
            // `or more precisely` and `and up to` only describe how the number is written.
            let next = more.trim_start();
            let word = next
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(next.len());
            !next[..word].ends_with("ly") && !next.starts_with("to ")
        })
    }) || WITH_NUMBER
        .iter()
        .any(|word| behind_words(rest, word).is_some_and(|more| begins_value(unspaced(more))))
        || is_fraction(rest);
    let end = sentence_end(behind);
    let qualifies =
        qualifies && !is_of_writing(&behind[..end]) || another_value(rest) || in_chinese(rest);
    qualifies.then_some(&behind[..end])
}

/// Returns whether a text says how the number is written: `to 2 significant figures`.
fn is_of_writing(text: &str) -> bool {
    [
        "significant",
        "decimal",
        "place",
        "digit",
        "nearest",
        "d.p",
        "s.f",
    ]
    .iter()
    .any(|word| text.contains(word))
}

/// Returns whether a text is `and 6` with nothing after it: another value.
fn another_value(rest: &str) -> bool {
    behind_words(rest, "and").is_some_and(|more| {
        let value = unspaced(more);
        let words = value.chars().filter(|c| c.is_alphabetic()).count();
        begins_value(value) && words == 0 && !value[..sentence_end(value)].contains('=')
    })
}

/// Recognizes Chinese qualifiers: multiples, bounds, another value after `或` or `和`.
fn in_chinese(rest: &str) -> bool {
    const CHANGES: &[&str] = &[
        "万", "亿", "千", "百", "倍", "以上", "以下", "半", "个半", "多", "余", "成", "折", "次方",
    ];
    let joined = ["或", "和", "与", "及", "、"]
        .iter()
        .find_map(|word| rest.strip_prefix(word));
    CHANGES.iter().any(|change| rest.starts_with(change))
        && !["千米", "千克", "千瓦", "百分", "多少"]
            .iter()
            .any(|unit| rest.starts_with(unit))
        || joined.is_some_and(|more| begins_value(unspaced(more)))
}

/// Removes leading spacing.
fn unspaced(mut text: &str) -> &str {
    while let Some(rest) = SPACING.iter().find_map(|space| text.strip_prefix(space)) {
        text = rest;
    }
    text
}

/// Returns the text after whole words that a text starts with, ignoring ASCII case.
fn behind_words<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(words.len())?;
    let is_same = start.eq_ignore_ascii_case(words);
    (is_same && !rest.starts_with(char::is_alphanumeric)).then_some(rest)
}

fn begins_value(text: &str) -> bool {
    let ends = text.starts_with('.') && !text[1..].starts_with(|c: char| c.is_ascii_digit());
    begins_mathematics(text) && !ends
}

/// Returns whether a text starts with `1/2` or `\frac12`, which makes the preceding integer a mixed number.
fn is_fraction(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let bar = text[digits..].strip_prefix('/');
    let plain =
        digits > 0 && bar.is_some_and(|below| below.starts_with(|c: char| c.is_ascii_digit()));
    plain
        || ["\\frac", "\\tfrac", "\\dfrac"]
            .iter()
            .any(|command| text.starts_with(command))
}

/// Returns where the sentence or clause at the start of a text ends.
fn sentence_end(text: &str) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let next = characters.peek().map(|(_, c)| *c);
        match c {
            '\n' | ';' | '?' | '。' | '，' => return at,
            '.' | ',' | ':' if !next.is_some_and(|next| next.is_ascii_digit()) => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::qualifier;

    #[test]
    fn words_that_change_a_number_are_distinguished_from_remarks() {
        for behind in [
            " or 6.",
            "$ or $6$ apples",
            " or more.",
            " and a half hours",
            "\\text{ or }6",
            " R 2",
            " remainder 3",
            " times 3",
            " 1/2",
            "$ $\\frac{1}{2}$",
            " below zero",
            " and 6.",
            "万",
            "或6",
            "以上",
        ] {
            assert!(qualifier(behind).is_some(), "{behind}");
        }
        for behind in [
            "",
            ".",
            " or equivalently 0.5",
            " or more precisely 5.0",
            " and so on",
            " times.",
            " rows",
            "\n1/2",
            " red apples and 3 pears",
            ", or 6",
            " apples or more",
            " times as many apples as Tom.",
            " to 2 significant figures",
            " and 3 apples are left over.",
            "$ and $2^2+1=5$ confirms it.",
            " and over the course of a year",
            "千米",
            "个苹果",
        ] {
            assert!(qualifier(behind).is_none(), "{behind}");
        }
    }
}
