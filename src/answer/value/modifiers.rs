//! Words after a number that say more than what is counted. They multiply it, make it an ordinal or fraction,
//! give it a direction or sign, compare, deny, or lead to another number. A phrase with such a word is not a
//! unit and is not ignored if the other side has no unit.

use super::number_words::{single_cardinal, single_ordinal};

/// Multiples and parts that are not number words: several of them may be meant.
const MULTIPLES: &[&str] = &[
    "gross",
    "lakh",
    "crore",
    "half",
    "halves",
    "quarter",
    "quarters",
    "doubled",
    "tripled",
    "halved",
    "twice",
    "thrice",
    "dozen",
    "dozens",
    "trillion",
    "trillions",
    "ppm",
    "ppb",
    "bps",
    "basis",
    "permille",
    "permil",
    "千",
    "分之",
    "成",
    "折",
    "rev",
    "bn",
    "mn",
    "mln",
    "mil",
];

/// Operations on a number, and their results.
const OPERATIONS: &[&str] = &[
    "plus",
    "minus",
    "over",
    "divided",
    "multiplied",
    "root",
    "roots",
    "mod",
    "modulo",
    "factorial",
    "choose",
    "remainder",
    "inverse",
    "reciprocal",
    "opposite",
    "conjugate",
    "raised",
    "imaginary",
    "complex",
    "base",
    "percentile",
    "pi",
    "infinity",
];

/// Words that compare a number with the one that is meant.
const COMPARISONS: &[&str] = &[
    "less",
    "more",
    "fewer",
    "greater",
    "smaller",
    "than",
    "least",
    "most",
    "above",
    "below",
    "under",
    "too",
    "about",
    "approximately",
    "approx",
    "roughly",
    "around",
    "nearly",
    "almost",
    "between",
    "up",
    "max",
    "maximum",
    "minimum",
    "tops",
    "ish",
    "or",
    "and",
    "but",
    "to",
    "exclusive",
    "inclusive",
    "左右",
];

/// Signs and directions.
const DIRECTIONS: &[&str] = &[
    "negative",
    "positive",
    "loss",
    "deficit",
    "debt",
    "short",
    "north",
    "south",
    "east",
    "west",
    "northeast",
    "northwest",
    "southeast",
    "southwest",
    "northward",
    "southward",
    "eastward",
    "westward",
    "ne",
    "nw",
    "se",
    "sw",
    "nne",
    "ene",
    "ese",
    "sse",
    "ssw",
    "wsw",
    "wnw",
    "nnw",
    "clockwise",
    "counterclockwise",
    "anticlockwise",
    "upward",
    "upwards",
    "downward",
    "downwards",
    "down",
    "backward",
    "backwards",
    "ago",
    "before",
    "earlier",
    "bc",
    "bce",
];

/// Words that say whether, or under which condition, the number is the answer.
const DENIALS: &[&str] = &[
    "is",
    "are",
    "not",
    "no",
    "never",
    "cannot",
    "false",
    "invalid",
    "wrong",
    "incorrect",
    "rejected",
    "extraneous",
    "impossible",
    "undefined",
    "if",
    "when",
    "unless",
    "except",
];

/// Words that change a number only if they are the only word after it. Before other words, they are part of a
/// name (`fifth graders`, `power plants`, `pairs of shoes`).
const ALONE: &[&str] = &[
    "power",
    "powers",
    "prime",
    "square",
    "fold",
    "score",
    "point",
    "pair",
    "pairs",
    "axis",
    "intercept",
    "coordinate",
    "gon",
    "sided",
    "direction",
];

/// Returns whether words after a number change it in a way that a unit does not.
pub(super) fn modifies(words: &str) -> bool {
    let first = words.split(|c: char| !c.is_alphabetic());
    let mut all = first.filter(|word| !word.is_empty());
    let alone = match (all.next(), all.next()) {
        (Some(first), None) => {
            let first = first.to_lowercase();
            ALONE.contains(&first.as_str()) || is_place(&first)
        }
        _ => false,
    };
    alone || labels_more(words)
}

/// Returns whether words before an equals sign do more than name the value: `not = 5`, `loss = 5`, `at most`.
pub(super) fn changes(words: &str) -> bool {
    let mut words = words
        .split(|c: char| !c.is_alphabetic())
        .map(str::to_lowercase);
    words.any(|word| {
        let word = word.as_str();
        let denied = DENIALS.contains(&word) && !matches!(word, "is" | "are");
        let signed = matches!(
            word,
            "negative" | "loss" | "deficit" | "debt" | "minus" | "opposite"
        );
        let compared = matches!(
            word,
            "least" | "most" | "than" | "under" | "above" | "below" | "about"
        );
        denied
            || signed
            || compared
            || matches!(word, "half" | "twice" | "double" | "root" | "mistake")
    })
}

/// Returns whether a label after a number, in brackets or not, changes the number. The label of `41 (pairs)`
/// does not: it names what is counted.
pub(super) fn labels_more(words: &str) -> bool {
    let lower = words.to_lowercase();
    // `14 times` is a count; `14 times 3` is a product.
    if lower.trim() == "times" {
        return false;
    }
    let mut words = lower
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty());
    let Some(first) = words.next() else {
        return false;
    };
    // `5 in` is a length; `5 in the hole` and `5 in base 6` are not.
    let placed = first == "in" && matches!(words.clone().next(), Some("the" | "a" | "an" | "base"));
    placed
        || single_cardinal(first).is_some()
        || is_suffix(first)
        || first
            .strip_suffix("fold")
            .is_some_and(is_ordinal_or_cardinal)
        || std::iter::once(first).chain(words).any(|word| {
            word == "times"
                || word.starts_with(['万', '亿', '百', '十', '余', '多', '以', '约', '半', '的'])
                || is_multiple(word)
                || [MULTIPLES, OPERATIONS, COMPARISONS, DIRECTIONS, DENIALS]
                    .iter()
                    .any(|words| words.contains(&word))
        })
}

fn is_ordinal_or_cardinal(word: &str) -> bool {
    single_cardinal(word).is_some() || single_ordinal(word).is_some()
}

/// Returns whether a word is an ordinal. `second` is excluded, because it is also a unit of time.
fn is_place(word: &str) -> bool {
    word != "second" && single_ordinal(word).is_some()
}

/// Returns whether a word is the suffix of an ordinal in figures.
fn is_suffix(word: &str) -> bool {
    matches!(word, "st" | "nd" | "rd" | "th")
}

/// Returns whether a word is a multiple or part that a number counts: hundreds and thousands, tenths and
/// thirds.
fn is_multiple(word: &str) -> bool {
    if matches!(single_cardinal(word), Some((_, false))) {
        return true;
    }
    match word.strip_suffix('s') {
        Some("second" | "one") | None => false,
        Some(singular) => is_ordinal_or_cardinal(singular),
    }
}

/// Returns the factor that the words after a number denote, and the remaining words: `million people`.
pub(super) fn multiplier(words: &str) -> (u64, &str) {
    let mut rest = words.trim();
    let mut factor: u64 = 1;
    loop {
        let (mut word, mut behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        // `万元`: Chinese words are not separated by spaces.
        if word.starts_with(['万', '亿']) {
            let len = word.chars().next().map_or(0, char::len_utf8);
            (word, behind) = rest.split_at(len);
        }
        // `M` is also a unit of chemistry, and `K` one of temperature.
        let times = match word {
            "k" => 1_000,
            "万" => 10_000,
            "亿" => 100_000_000,
            _ => match word.to_ascii_lowercase().as_str() {
                "dozen" | "dozens" => 12,
                "hundred" => 100,
                "thousand" => 1_000,
                "million" => 1_000_000,
                "billion" | "bn" => 1_000_000_000,
                "trillion" => 1_000_000_000_000,
                _ => return (factor, rest),
            },
        };
        let Some(product) = factor.checked_mul(times) else {
            return (factor, rest);
        };
        (factor, rest) = (product, behind.trim_start());
    }
}
