//! Numbers in words: `minus five`, `two thirds`, `three and a half`, `twenty-first`.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;
use smol_str::{SmolStr, format_smolstr};

use super::Value;
use super::fraction::Fraction;
use super::modifiers::multiplier;
use super::units::Unit;

/// The maximum length of a text that is examined.
const MAX_TEXT: usize = 160;

/// Returns the value of a text in words: a number, an ordinal, or a number with a unit.
pub(crate) fn spoken(text: &str) -> Option<Value> {
    let first = text.bytes().next()?;
    if text.len() > MAX_TEXT {
        return None;
    }
    if let Some(thing) = thing_at_place(text) {
        return Some(thing);
    }
    if first.is_ascii_digit() {
        return ordinal_figures(text);
    }
    if text.eq_ignore_ascii_case("noon") || text.eq_ignore_ascii_case("midnight") {
        let twelve = Box::new(Value::Clock(vec![12, 0]));
        return Some(Value::Quantity(twelve, Unit::read(&text.to_lowercase())?));
    }
    if !first.is_ascii_alphabetic() || !may_begin(text) {
        return None;
    }
    let words = words(text);
    if words == ["dozen"] {
        return Some(scalar(RBig::from(12)));
    }
    if let Some(number) = number(&words) {
        return Some(scalar(number));
    }
    if let Some(number) = ordinal(&words) {
        return Some(Value::Text(figures_of_place(number)));
    }
    // The longest number at the start, followed by a unit. `a dozen` counts as one dozen.
    for end in (1..words.len().min(12)).rev() {
        let behind = words[end..].join(" ");
        let (factor, unit) = multiplier(&behind);
        let number = match number(&words[..end]) {
            Some(number) => number,
            None if factor > 1 && words[..end] == ["a"] => RBig::ONE,
            None if factor > 1 && words[..end] == ["half", "a"] => RBig::ONE / RBig::from(2),
            None => continue,
        };
        let value = scalar(number * RBig::from(factor));
        if unit.is_empty() {
            return Some(value);
        }
        if let (true, Value::Scalar(hundredths)) = (is_percent(unit), &value) {
            return Some(Value::Percent(hundredths.clone()));
        }
        return Some(Value::Quantity(Box::new(value), Unit::read(unit)?));
    }
    None
}

fn is_percent(words: &str) -> bool {
    matches!(words, "percent" | "per cent" | "pct" | "%")
}

/// Returns the number that a text spells, if it contains nothing else.
pub(crate) fn word_number(text: &str) -> Option<Fraction> {
    if text.len() > MAX_TEXT || !may_begin(text) {
        return None;
    }
    number(&words(text)).map(Fraction::rational)
}

/// Returns whether the first word may begin a number. This quickly excludes most texts.
fn may_begin(text: &str) -> bool {
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let word = &text[..end];
    if !(3..=11).contains(&word.len()) {
        return word.eq_ignore_ascii_case("a");
    }
    let word = word.to_ascii_lowercase();
    matches!(word.as_str(), "half" | "negative" | "minus" | "dozen")
        || single_cardinal(&word).is_some()
        || single_ordinal(&word).is_some()
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn scalar(value: RBig) -> Value {
    Value::scalar(Fraction::rational(value))
}

/// Returns an ordinal in figures: `21st`. It is not a number, so `5` and `fifth` differ.
pub(super) fn figures_of_place(number: i64) -> SmolStr {
    format_smolstr!("{number}{}", suffix(number))
}

/// Returns the suffix of an ordinal in figures.
fn suffix(number: i64) -> &'static str {
    match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

/// Reads an ordinal and the thing at that position: `the fifth`, `the 60th caller`.
fn thing_at_place(text: &str) -> Option<Value> {
    let (article, rest) = text.split_at_checked(4)?;
    if !article.eq_ignore_ascii_case("the ") {
        return None;
    }
    let (place, thing) = rest.split_once(' ').unwrap_or((rest, ""));
    let place = place.trim_end_matches('.').to_lowercase();
    let figures = match ordinal(std::slice::from_ref(&place)) {
        Some(number) => figures_of_place(number),
        None => match ordinal_figures(&place)? {
            Value::Text(figures) => figures,
            _ => return None,
        },
    };
    let thing = thing.trim_end_matches('.').to_lowercase();
    if thing.is_empty() {
        return Some(Value::Text(figures));
    }
    let plain = thing.chars().all(|c| c.is_ascii_alphabetic() || c == ' ');
    plain.then(|| Value::Text(format_smolstr!("{figures} {thing}")))
}

/// Reads `21st`, `3rd`.
fn ordinal_figures(text: &str) -> Option<Value> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (figures, behind) = text.split_at(digits);
    if figures.len() > 9 {
        return None;
    }
    let number: i64 = figures.parse().ok()?;
    let fits = behind.eq_ignore_ascii_case(suffix(number));
    fits.then(|| Value::Text(figures_of_place(number)))
}

/// Reads a number with its sign: an integer, a fraction, a mixed number or a decimal.
fn number(words: &[String]) -> Option<RBig> {
    let (first, rest) = words.split_first()?;
    if matches!(first.as_str(), "negative" | "minus") {
        // `minus 7`.
        let figures = |word: &String| word.parse::<u32>().ok().map(RBig::from);
        let value = match rest {
            [word] => positive(rest).or_else(|| figures(word)),
            _ => positive(rest),
        };
        return value.map(|value| -value);
    }
    positive(words)
}

fn positive(words: &[String]) -> Option<RBig> {
    let whole = |value: i64| RBig::from(IBig::from(value));
    if let Some(value) = cardinal(words) {
        return Some(whole(value));
    }
    if let Some(value) = fraction(words) {
        return Some(value);
    }
    // `three and a half`.
    if let Some(at) = words.iter().rposition(|word| word == "and")
        && let (Some(value), Some(part)) = (cardinal(&words[..at]), fraction(&words[at + 1..]))
        && part < RBig::ONE
    {
        return Some(whole(value) + part);
    }
    // `two point five`.
    let at = words.iter().position(|word| word == "point")?;
    let mut value = whole(cardinal(&words[..at])?);
    let digits = &words[at + 1..];
    if digits.is_empty() {
        return None;
    }
    let mut unit = RBig::ONE;
    for digit in digits {
        let digit = cardinal(std::slice::from_ref(digit)).filter(|digit| *digit < 10)?;
        unit /= whole(10);
        value += whole(digit) * &unit;
    }
    Some(value)
}

/// Reads `half`, `one half`, `a third`, `two thirds`.
fn fraction(words: &[String]) -> Option<RBig> {
    let (last, count) = words.split_last()?;
    let (bottom, plural) = match last.as_str() {
        "half" => (2, false),
        "halves" => (2, true),
        "quarter" => (4, false),
        "quarters" => (4, true),
        word => match word.strip_suffix('s') {
            Some(singular) => (single_ordinal(singular).filter(|n| *n > 2)?, true),
            None => (single_ordinal(word).filter(|n| *n > 2)?, false),
        },
    };
    let top = match count {
        [] if last == "half" => 1,
        [] => return None,
        [article] if article == "a" || article == "an" => 1,
        count => cardinal(count)?,
    };
    // `twenty fifth` is an ordinal, `twenty fifths` is a number.
    if plural != (top != 1) {
        return None;
    }
    Some(RBig::from_parts(
        IBig::from(top),
        UBig::from(u32::try_from(bottom).ok()?),
    ))
}

/// Reads `third`, `twenty-first`, `one hundredth`.
fn ordinal(words: &[String]) -> Option<i64> {
    let (last, before) = words.split_last()?;
    let value = single_ordinal(last)?;
    if before.is_empty() {
        return Some(value);
    }
    if value >= 10 {
        return None;
    }
    let tens = cardinal(before)?;
    (tens % 10 == 0 && (tens % 100 != 10)).then_some(tens + value)
}

/// Returns the value of an ordinal of one word.
pub(super) fn single_ordinal(word: &str) -> Option<i64> {
    Some(match word {
        "first" => 1,
        "second" => 2,
        "third" => 3,
        "fourth" => 4,
        "fifth" => 5,
        "sixth" => 6,
        "seventh" => 7,
        "eighth" => 8,
        "ninth" => 9,
        "tenth" => 10,
        "eleventh" => 11,
        "twelfth" => 12,
        "thirteenth" => 13,
        "fourteenth" => 14,
        "fifteenth" => 15,
        "sixteenth" => 16,
        "seventeenth" => 17,
        "eighteenth" => 18,
        "nineteenth" => 19,
        "twentieth" => 20,
        "thirtieth" => 30,
        "fortieth" => 40,
        "fiftieth" => 50,
        "sixtieth" => 60,
        "seventieth" => 70,
        "eightieth" => 80,
        "ninetieth" => 90,
        "hundredth" => 100,
        "thousandth" => 1000,
        "millionth" => 1_000_000,
        _ => return None,
    })
}

/// Returns the value of one word of a cardinal, and whether it is added (`twenty`) rather than multiplied with
/// the words before it (`hundred`).
pub(super) fn single_cardinal(word: &str) -> Option<(i64, bool)> {
    Some(match word {
        "zero" => (0, true),
        "one" => (1, true),
        "two" => (2, true),
        "three" => (3, true),
        "four" => (4, true),
        "five" => (5, true),
        "six" => (6, true),
        "seven" => (7, true),
        "eight" => (8, true),
        "nine" => (9, true),
        "ten" => (10, true),
        "eleven" => (11, true),
        "twelve" => (12, true),
        "thirteen" => (13, true),
        "fourteen" => (14, true),
        "fifteen" => (15, true),
        "sixteen" => (16, true),
        "seventeen" => (17, true),
        "eighteen" => (18, true),
        "nineteen" => (19, true),
        "twenty" => (20, true),
        "thirty" => (30, true),
        "forty" => (40, true),
        "fifty" => (50, true),
        "sixty" => (60, true),
        "seventy" => (70, true),
        "eighty" => (80, true),
        "ninety" => (90, true),
        "hundred" => (100, false),
        "thousand" => (1000, false),
        "million" => (1_000_000, false),
        "billion" => (1_000_000_000, false),
        _ => return None,
    })
}

/// Reads `one thousand six hundred twenty-five`.
fn cardinal(words: &[String]) -> Option<i64> {
    let mut total: i64 = 0;
    let mut group: i64 = 0;
    let mut any = false;
    // The upper limit of the next word within its group.
    let mut limit = i64::MAX;
    let mut last = "";
    for (at, word) in words.iter().enumerate() {
        last = word;
        // `a hundred`.
        if at == 0 && word == "a" && words.len() > 1 {
            (group, any, limit) = (1, true, 1);
            continue;
        }
        if word == "and" && any {
            continue;
        }
        let (value, counted) = single_cardinal(word)?;
        if counted {
            if value >= limit || value == 0 && any {
                return None;
            }
            group = group.checked_add(value)?;
            // After `twenty`, only `one` to `nine` may follow; after those, only `hundred` and above.
            limit = if value >= 20 { 10 } else { 1 };
        } else if value == 100 {
            if !any || group == 0 || group > 99 {
                return None;
            }
            group = group.checked_mul(100)?;
            limit = 100;
        } else {
            if !any || group == 0 || total % (value * 1000) != 0 && total != 0 {
                return None;
            }
            total = total.checked_add(group.checked_mul(value)?)?;
            group = 0;
            limit = 1000;
        }
        any = true;
    }
    if !any || last == "and" {
        return None;
    }
    total.checked_add(group)
}
