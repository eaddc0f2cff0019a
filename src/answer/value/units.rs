//! Units of quantities with their conversions, and number words.

use std::collections::BTreeMap;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// A product of powers of base units, and how many of them one is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    /// Base units (or words that are their own unit) with their powers.
    pub(crate) dimensions: BTreeMap<String, i32>,
    /// How many of the base units.
    pub(crate) scale: RBig,
}

/// Base unit and size of a known unit as numerator and denominator.
fn known(word: &str) -> Option<(&'static str, u32, u32)> {
    Some(match word {
        "mm" | "millimeter" | "millimetre" => ("m", 1, 1000),
        "cm" | "centimeter" | "centimetre" => ("m", 1, 100),
        "dm" | "decimeter" | "decimetre" => ("m", 1, 10),
        "m" | "meter" | "metre" => ("m", 1, 1),
        "km" | "kilometer" | "kilometre" => ("m", 1000, 1),
        "in" | "inch" | "inche" => ("ft", 1, 12),
        "ft" | "foot" | "feet" => ("ft", 1, 1),
        "yd" | "yard" => ("ft", 3, 1),
        "mi" | "mile" => ("ft", 5280, 1),
        "mg" | "milligram" => ("g", 1, 1000),
        "g" | "gram" => ("g", 1, 1),
        "kg" | "kilogram" => ("g", 1000, 1),
        "oz" | "ounce" => ("oz", 1, 1),
        "lb" | "pound" => ("oz", 16, 1),
        "s" | "sec" | "second" => ("s", 1, 1),
        "min" | "minute" => ("s", 60, 1),
        "h" | "hr" | "hour" => ("s", 3600, 1),
        "day" => ("s", 86_400, 1),
        "week" => ("s", 604_800, 1),
        "ml" | "mL" | "milliliter" | "millilitre" => ("L", 1, 1000),
        "l" | "L" | "liter" | "litre" => ("L", 1, 1),
        "$" | "dollar" | "usd" => ("$", 1, 1),
        "¢" | "cent" => ("$", 1, 100),
        "€" | "euro" => ("€", 1, 1),
        "£" => ("£", 1, 1),
        "¥" | "yuan" | "元" => ("¥", 1, 1),
        "unit" => ("unit", 1, 1),
        _ => return None,
    })
}

/// Words that change a number's meaning, so that what holds them is no unit.
const TELLING: &[&str] = &[
    "hundred",
    "hundreds",
    "thousand",
    "thousands",
    "million",
    "millions",
    "billion",
    "billions",
    "trillion",
    "dozen",
    "dozens",
    "half",
    "third",
    "quarter",
    "plus",
    "minus",
    "times",
    "over",
    "divided",
    "multiplied",
    "root",
    "mod",
    "modulo",
    "factorial",
    "less",
    "more",
    "fewer",
    "than",
    "least",
    "most",
    "not",
    "no",
    "negative",
    "positive",
    "choose",
    "remainder",
    "to",
    "or",
    "and",
    "but",
    "about",
    "approximately",
    "between",
    "up",
    "if",
    "when",
    "base",
];

impl Unit {
    /// A unit as written: words, powers behind `^`, `per` or `/`, `square`, `cubic`. `None` where
    /// the words say more of the number than a unit does.
    pub(crate) fn read(text: &str) -> Option<Unit> {
        let lower = text.to_lowercase();
        // `14 times` counts; `14 times 3` multiplies.
        if lower.trim() != "times"
            && lower
                .split(|c: char| !c.is_alphabetic())
                .any(|word| TELLING.contains(&word))
        {
            return None;
        }
        let mut unit = Unit {
            dimensions: BTreeMap::new(),
            scale: RBig::ONE,
        };
        let spaced = text.replace('/', " per ").replace(['(', ')', ','], " ");
        let mut sign = 1;
        let mut next_power = 1;
        let mut last: Option<(String, RBig, i32)> = None;
        for word in spaced.split_whitespace() {
            let (word, power) = match word.split_once('^') {
                Some((word, power)) => (word, power.parse::<i32>().unwrap_or(1).clamp(-9, 9)),
                None => (word, 1),
            };
            let folded = fold(word);
            match folded.as_str() {
                "" => {}
                "per" => sign = -1,
                "square" | "sq" => next_power = 2,
                "cubic" | "cu" => next_power = 3,
                "squared" | "cubed" => {
                    if let Some((name, scale, times)) = last.take() {
                        let more = if folded == "squared" { 1 } else { 2 };
                        unit.times(&name, &scale, times * more);
                    }
                }
                "mph" => {
                    unit.times("ft", &RBig::from(5280u32), 1);
                    unit.times("s", &RBig::from(3600u32), -1);
                }
                "kph" => {
                    unit.times("m", &RBig::from(1000u32), 1);
                    unit.times("s", &RBig::from(3600u32), -1);
                }
                _ => {
                    let power = power * next_power * sign;
                    next_power = 1;
                    let (name, scale) = match known(&folded) {
                        Some((name, numerator, denominator)) => (
                            name.to_owned(),
                            RBig::from_parts(IBig::from(numerator), UBig::from(denominator)),
                        ),
                        None => (folded.clone(), RBig::ONE),
                    };
                    unit.times(&name, &scale, power);
                    last = Some((name, scale, power));
                }
            }
        }
        Some(unit)
    }

    /// How many of another unit of the same kind one is.
    pub(crate) fn ratio(&self, other: &Unit) -> Option<RBig> {
        let same = !self.dimensions.is_empty() && self.dimensions == other.dimensions;
        same.then(|| &self.scale / &other.scale)
    }

    /// Whether it is one of degrees, such as °F.
    pub(crate) fn is_temperature(&self) -> bool {
        self.dimensions
            .keys()
            .all(|name| name.starts_with("degree"))
            && !self.dimensions.is_empty()
    }

    fn times(&mut self, name: &str, scale: &RBig, power: i32) {
        let total = self.dimensions.entry(name.to_owned()).or_insert(0);
        *total += power;
        if *total == 0 {
            self.dimensions.remove(name);
        }
        for _ in 0..power.unsigned_abs().min(27) {
            if power > 0 {
                self.scale *= scale;
            } else {
                self.scale /= scale;
            }
        }
    }
}

/// A unit's word without case, dots and plural; symbols of one or two letters keep their case.
fn fold(word: &str) -> String {
    let word: String = word
        .chars()
        .filter(|c| !matches!(c, '.' | '\\' | '~'))
        .collect();
    if word.eq_ignore_ascii_case("am") || word.eq_ignore_ascii_case("pm") {
        return word.to_lowercase();
    }
    if word.chars().count() <= 2 {
        return word;
    }
    let lower = word.to_lowercase();
    if lower == "feet" {
        return "foot".into();
    }
    match lower.strip_suffix('s') {
        Some(singular) if !lower.ends_with("ss") && singular.len() > 2 => singular.into(),
        _ => lower,
    }
}

/// The number that words such as `one thousand six hundred twenty-five` spell.
pub(crate) fn word_number(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut group: i64 = 0;
    let mut any = false;
    let mut room = i64::MAX; // what the next word must stay below within its group
    let lower = text.to_lowercase();
    let words = lower
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty());
    for word in words {
        if word == "and" && any {
            continue;
        }
        let (value, is_unit) = match word {
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
        };
        if is_unit {
            if value >= room || value == 0 && any {
                return None;
            }
            group = group.checked_add(value)?;
            // After `twenty` only `one` to `nine`, after those only `hundred` and above.
            room = if value >= 20 { 10 } else { 1 };
        } else if value == 100 {
            if !any || group == 0 || group > 99 {
                return None;
            }
            group = group.checked_mul(100)?;
            room = 100;
        } else {
            if !any || group == 0 || total % (value * 1000) != 0 && total != 0 {
                return None;
            }
            total = total.checked_add(group.checked_mul(value)?)?;
            group = 0;
            room = 1000;
        }
        any = true;
    }
    if any { total.checked_add(group) } else { None }
}
