//! Words that may stand behind a number without changing it: names of units and of things that are
//! counted, with what may stand around a name. A word that is not known here may say anything, so
//! that what holds it is not left out.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Names of things in small letters and the singular, in order; plurals that no rule forms stand
/// for themselves.
static NOUNS: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("nouns.txt").split_whitespace().collect());

/// What may stand in front of a name and says which things are counted, not how many.
const MODIFIERS: &str = "acute additional american annual antique available baked big black blue \
    boiled british bronze brown canadian chinese circular clean cold colored coloured complete \
    congruent consecutive cooked cool copper cotton cubic cu curved daily deep diced different \
    digital dirty distinct domestic dry dutch electric empty english equal equilateral even extra \
    favorable favourable female flat fluid foreign free french fresh fried frozen full german given \
    gold golden grated gray green grey grilled hardcover heavy hexagonal high hollow hot huge indian \
    individual iron isosceles italian japanese korean large light linear little local long low male \
    married math metric mexican minced monthly narrow natural nautical new normal obtuse odd old \
    orange ordered ordinary paid peeled perfect pink plastic possible power prime private public \
    purple rare raw rectangular red regular remaining ripe roasted rotten round rubber salty second \
    scrambled separate sharp short silk silver similar single sliced small sour spanish special \
    spicy sq square standard straight stuffed successful sweet tall thin thick third first fourth \
    fifth sixth seventh eighth ninth tenth tiny toy triangular unique unordered unpaid used valid \
    warm weekly wet white whole wide wild wooden woolen yearly yellow young";

/// What joins one name to another.
const LINKS: &str = "of per in on for from with at by the a an each every his her its their s";

/// What may stand behind a name.
const TRAILERS: &str = "left total altogether overall all old older tall taller long longer wide wider \
    high deep heavier farther further faster away each apiece daily weekly monthly yearly annually \
    today tomorrow later late early squared cubed";

/// What opens a clause on the things that were named.
const CLAUSES: &str = "that which who whose";

static WORDS: LazyLock<[HashSet<&str>; 4]> = LazyLock::new(|| {
    [MODIFIERS, LINKS, TRAILERS, CLAUSES].map(|words| words.split_whitespace().collect())
});

/// Measure words of Chinese and units that are written without a space before what is counted.
const MEASURES: &str = "个只本人岁天年月日次种条张支枝块头匹辆台件套双名位棵朵颗粒页周班组根把间座艘架盒箱袋\
    瓶杯碗盘包盆篮桶排行列元角克吨米升秒度里尺寸斤盏幅首场步层级题道点句字词户家所份枚串束盒";

/// Whether every word of a phrase behind a number is known to be a unit or to name what is
/// counted.
pub(super) fn is_plain(phrase: &str, is_unit: impl Fn(&str) -> bool) -> bool {
    if let Some(first) = phrase.trim().chars().next().filter(|c| !c.is_ascii()) {
        return is_unit(phrase.trim()) || is_measured(first, phrase);
    }
    if is_unit(phrase) {
        return true;
    }
    let [modifiers, links, trailers, clauses] = &*WORDS;
    // Whether a name was read, and whether one still has to come.
    let (mut named, mut wanted) = (false, true);
    let phrase = phrase
        .replace('/', " per ")
        .replace(['(', ')', ',', '-', '\'', '~'], " ");
    for word in phrase.split_whitespace() {
        let word = word.split_once('^').map_or(word, |(word, _)| word);
        let bare = word.trim_matches('.');
        let folded = bare.to_lowercase();
        let folded = folded.as_str();
        if clauses.contains(folded) && named && !wanted {
            return true;
        }
        if !wanted && trailers.contains(folded) {
            continue;
        }
        if links.contains(folded) && (named || folded == "per") {
            // `in total`, `in all`, `each` may end a phrase.
            wanted = folded != "s";
            if matches!(folded, "each" | "in") {
                wanted = folded == "in";
            }
            continue;
        }
        if wanted && named && matches!(folded, "total" | "all") {
            wanted = false;
            continue;
        }
        if is_noun(folded) || is_unit(word) || bare != word && is_unit(bare) {
            (named, wanted) = (true, false);
        } else if modifiers.contains(folded) || is_adjective(folded) {
            wanted = true;
        } else if is_proper(bare) {
            // A person or place; in front of a name it says which things.
            wanted &= !named;
        } else {
            return false;
        }
    }
    named && !wanted
}

/// A measure word, with the name of a thing or nothing behind it.
fn is_measured(first: char, phrase: &str) -> bool {
    const UNITS: &[&str] = &[
        "平方", "立方", "小时", "分钟", "毫", "厘", "千", "公", "分米", "海里",
    ];
    let phrase = phrase.trim();
    MEASURES.contains(first) || UNITS.iter().any(|unit| phrase.starts_with(unit))
}

/// Whether a word is an adjective by its ending: none that multiplies, negates or compares ends so.
fn is_adjective(word: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "ic", "al", "ous", "ful", "ish", "able", "ible", "ive", "ent", "ant", "ular",
    ];
    const NOT: &[&str] = &[
        "fractional",
        "equivalent",
        "negative",
        "positive",
        "reciprocal",
        "nonnegative",
    ];
    word.len() > 4 && !NOT.contains(&word) && ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// A name that is written with a capital and is not all capitals.
fn is_proper(word: &str) -> bool {
    let mut letters = word.chars();
    letters.next().is_some_and(|c| c.is_ascii_uppercase())
        && word.len() > 2
        && letters.all(|c| c.is_ascii_lowercase())
}

/// Whether a word names a thing, in the singular or the plural.
fn is_noun(word: &str) -> bool {
    let is_known = |word: &str| NOUNS.binary_search(&word).is_ok();
    if is_known(word) {
        return true;
    }
    let stem = |ending: &str, instead: &str| {
        let stem = word.strip_suffix(ending)?;
        Some(format!("{stem}{instead}"))
    };
    let sibilant = |stem: &str| {
        let endings = ["s", "x", "z", "ch", "sh", "o"];
        endings.iter().any(|ending| stem.ends_with(ending))
    };
    [
        stem("s", ""),
        stem("es", "").filter(|stem| sibilant(stem)),
        stem("ies", "y"),
        stem("ves", "f"),
        stem("ves", "fe"),
        stem("men", "man"),
    ]
    .into_iter()
    .flatten()
    .any(|stem| stem.len() > 1 && is_known(&stem))
}

#[cfg(test)]
mod tests {
    use super::{NOUNS, is_noun, is_plain};

    fn plain(phrase: &str) -> bool {
        is_plain(phrase, |word| matches!(word, "cm" | "miles" | "hour"))
    }

    #[test]
    fn names_of_things_with_what_stands_around_them() {
        for phrase in [
            "apples",
            "apple",
            "red apples",
            "pairs of shoes",
            "miles per hour",
            "cm",
            "cm^2",
            "square cm",
            "puppies",
            "boxes",
            "knives",
            "firemen",
            "children in total",
            "apples left",
            "Power Ranger stickers",
            "dollars per day",
            "students in the class",
            "books for Mary",
            "numbers that meet the three conditions",
            "个苹果",
            "平方米",
        ] {
            assert!(plain(phrase), "{phrase}");
        }
    }

    #[test]
    fn words_that_are_not_known_may_say_anything() {
        for phrase in [
            "",
            "recurring",
            "repeating",
            "lakh",
            "crores",
            "quadrillion",
            "googol",
            "onwards",
            "excluded",
            "quadrupled",
            "red",
            "of apples",
            "apples of",
            "apples recurring",
            "zillion",
            "Excluded",
            "thereabouts",
            "per",
            "倍",
            "apples short",
        ] {
            assert!(!plain(phrase), "{phrase}");
        }
    }

    #[test]
    fn no_name_of_a_thing_is_a_number() {
        for word in [
            "dozen", "score", "gross", "half", "quarter", "third", "million", "lakh", "crore",
            "googol", "fold", "square", "root", "prime", "zero", "double", "triple", "percent",
            "loss",
        ] {
            assert!(!is_noun(word), "{word}");
        }
        assert!(NOUNS.len() > 2000);
        assert!(NOUNS.is_sorted());
    }
}
