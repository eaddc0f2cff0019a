//! Words that may follow a number without changing it: units, counted things, and the words that may accompany
//! their names. An unknown word could mean anything, so units that contain one must not be omitted.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Names of things, in lower case, singular and sorted. Irregular plurals are listed separately.
static NOUNS: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("nouns.txt").split_whitespace().collect());

/// Words before a name that say which things are counted, not how many.
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

/// Words that join one name to another.
const LINKS: &str = "of per in on for from with at by the a an each every his her its their s";

/// Words that may follow a name.
const TRAILERS: &str = "left total altogether overall all old older tall taller long longer wide wider \
    high deep heavier farther further faster away each apiece daily weekly monthly yearly annually \
    today tomorrow later late early squared cubed";

/// Words that open a relative clause about the named things.
const CLAUSES: &str = "that which who whose";

static WORDS: LazyLock<[HashSet<&str>; 4]> = LazyLock::new(|| {
    [MODIFIERS, LINKS, TRAILERS, CLAUSES].map(|words| words.split_whitespace().collect())
});

/// Chinese measure words, and units that are written without a space before the counted things.
const MEASURES: &str = "个只本人岁天年月日次种条张支枝块头匹辆台件套双名位棵朵颗粒页周班组根把间座艘架盒箱袋\
    瓶杯碗盘包盆篮桶排行列元角克吨米升秒度里尺寸斤盏幅首场步层级题道点句字词户家所份枚串束盒";

/// Returns whether every word of a phrase after a number is known to be a unit or to name what is counted.
pub(super) fn is_plain(phrase: &str, is_unit: impl Fn(&str) -> bool) -> bool {
    if let Some(first) = phrase.trim().chars().next().filter(|c| !c.is_ascii()) {
        return is_unit(phrase.trim()) || is_measured(first, phrase);
    }
    if is_unit(phrase) {
        return true;
    }
    let [modifiers, links, trailers, clauses] = &*WORDS;
    // Whether a name was read, and whether another one must follow.
    let (mut named, mut wanted) = (false, true);
    // The latest link, and whether the preceding word was the name of a person or place.
    let (mut link, mut proper) = (String::new(), false);
    // Whether the preceding word was one letter. Before a name, it is not a unit: `5 K people`.
    let mut is_letter = false;
    let phrase = phrase
        .replace('/', " per ")
        .replace(['(', ')', ',', '-', '\'', '~'], " ");
    for word in phrase.split_whitespace() {
        let word = word.split_once('^').map_or(word, |(word, _)| word);
        let trimmed = word.trim_matches('.');
        let folded = trimmed.to_lowercase();
        let folded = folded.as_str();
        let behind_proper = std::mem::replace(&mut proper, is_proper(trimmed));
        let behind_letter = std::mem::replace(&mut is_letter, trimmed.chars().nth(1).is_none());
        if clauses.contains(folded) && named && !wanted {
            return true;
        }
        if !wanted && trailers.contains(folded) {
            continue;
        }
        if links.contains(folded) && (named || folded == "per") {
            // `in total`, `in all` and `each` may end a phrase.
            wanted = folded != "s";
            link = folded.to_owned();
            if matches!(folded, "each" | "in") {
                wanted = folded == "in";
            }
            continue;
        }
        if wanted && named && matches!(folded, "total" | "all") {
            wanted = false;
            continue;
        }
        if behind_letter && named && !wanted && (is_noun(folded) || is_unit(trimmed)) {
            return false;
        }
        if is_noun(folded) || is_unit(word) || trimmed != word && is_unit(trimmed) {
            (named, wanted) = (true, false);
        } else if modifiers.contains(folded) || is_adjective(folded) {
            wanted = true;
        } else if is_proper(trimmed) && wanted {
            // A person or place. Before a name, it says which things are meant; after a link, what they belong
            // to, except after `per`, which requires a unit.
            if named && link == "per" {
                return false;
            }
            wanted = !named;
        } else if is_proper(trimmed) && named && behind_proper {
            // A name of several words.
        } else {
            return false;
        }
    }
    named && !wanted
}

/// Returns whether a phrase is a measure word, optionally followed by the name of a thing.
fn is_measured(first: char, phrase: &str) -> bool {
    const UNITS: &[&str] = &[
        "平方米",
        "平方厘米",
        "平方分米",
        "平方毫米",
        "平方千米",
        "平方公里",
        "平方英",
        "立方米",
        "立方厘米",
        "立方分米",
        "立方毫米",
        "立方英",
        "小时",
        "分钟",
        "毫米",
        "毫升",
        "毫克",
        "厘米",
        "厘升",
        "千米",
        "千克",
        "千瓦",
        "千卡",
        "公里",
        "公斤",
        "公顷",
        "公分",
        "公尺",
        "公升",
        "分米",
        "海里",
    ];
    /// Words after a measure word that change the number or only bound it.
    const CHANGES: &[&str] = &[
        "半", "两", "几", "无", "减", "減", "缺", "欠", "余", "多", "负", "不", "亏", "百", "千",
        "万", "亿", "以", "左右", "上下", "前", "后", "次方", "方根", "分之", "分点", "倍", "错",
        "非", "零",
    ];
    const DIGITS: &str = "一二三四五六七八九十〇";
    let phrase = phrase.trim();
    let rest = match UNITS.iter().find_map(|unit| phrase.strip_prefix(unit)) {
        Some(rest) => rest,
        None if MEASURES.contains(first) => &phrase[first.len_utf8()..],
        None => return false,
    };
    // `5次方`, `5次幂`, `5个平方`: a power.
    if rest.ends_with("平方") || first == '次' && matches!(rest, "方" | "幂") {
        return false;
    }
    !rest.contains(|c: char| DIGITS.contains(c) || c.is_numeric())
        && !CHANGES.iter().any(|change| rest.contains(change))
}

/// Returns whether a word is an adjective by its ending. Known exceptions change the number.
fn is_adjective(word: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "ic", "al", "ous", "ful", "ish", "able", "ible", "ive", "ent", "ant", "ular",
    ];
    const NOT: &[&str] = &[
        "decimal",
        "duodecimal",
        "equivalent",
        "exponent",
        "exponential",
        "factorial",
        "fractional",
        "hexadecimal",
        "infinitesimal",
        "logarithmic",
        "negative",
        "nonnegative",
        "octal",
        "partial",
        "percent",
        "positive",
        "quadratic",
        "reciprocal",
    ];
    word.len() > 4 && !NOT.contains(&word) && ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// Returns whether a word is a proper name: capitalized, not all capitals, and not a word that would change the
/// number in lower case.
fn is_proper(word: &str) -> bool {
    const CHANGES: &[&str] = &[
        "absent",
        "add",
        "baker",
        "below",
        "binary",
        "both",
        "crore",
        "cube",
        "cubed",
        "debit",
        "debt",
        "decimal",
        "decrease",
        "deducted",
        "deficit",
        "double",
        "dozen",
        "drop",
        "each",
        "eight",
        "eighth",
        "either",
        "extra",
        "fall",
        "few",
        "fifth",
        "five",
        "four",
        "fourth",
        "giga",
        "googol",
        "gross",
        "grosse",
        "half",
        "halve",
        "hex",
        "hundred",
        "hundredth",
        "increase",
        "infinite",
        "kilo",
        "lakh",
        "less",
        "log",
        "lost",
        "many",
        "mega",
        "minus",
        "missing",
        "more",
        "myriad",
        "negative",
        "neither",
        "never",
        "nine",
        "ninth",
        "no",
        "none",
        "not",
        "octal",
        "one",
        "only",
        "over",
        "overdue",
        "pair",
        "percent",
        "percentage",
        "plus",
        "power",
        "quadruple",
        "quarter",
        "radian",
        "ratio",
        "recurring",
        "remainder",
        "root",
        "score",
        "seven",
        "seventh",
        "several",
        "short",
        "shortage",
        "six",
        "sixth",
        "some",
        "square",
        "squared",
        "surplus",
        "ten",
        "tenth",
        "third",
        "thousand",
        "thousandth",
        "three",
        "times",
        "triple",
        "twice",
        "two",
        "under",
        "withdrawn",
        "wrong",
        "zero",
    ];
    const ENDINGS: &[&str] = &["illion", "fold", "ed", "ing", "wards", "less"];
    let folded = word.to_ascii_lowercase();
    let singular = folded.strip_suffix('s').unwrap_or(&folded);
    if CHANGES.contains(&folded.as_str())
        || CHANGES.contains(&singular)
        || ENDINGS
            .iter()
            .any(|ending| folded.ends_with(ending) || singular.ends_with(ending))
    {
        return false;
    }
    let mut letters = word.chars();
    letters.next().is_some_and(|c| c.is_ascii_uppercase())
        && word.len() > 2
        && letters.all(|c| c.is_ascii_lowercase())
}

/// Returns whether a word names a thing, in the singular or plural.
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
            "miles from London",
            "books of Mary Smith",
            "个苹果",
            "个小朋友",
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
            "Crores Rupees",
            "Quadrillion dollars",
            "Recurring cm",
            "apples Excluded",
            "apples Threefold",
            "dollars per Hundred",
            "apples Mary",
            "2",
            "feet 2 inches",
            "boys, 6 girls",
            "千人",
            "个半",
            "元五角",
            "个以上",
            "平方",
            "次方根",
            "个百分点",
            "个不对",
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
