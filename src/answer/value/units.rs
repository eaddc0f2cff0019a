//! Units of quantities and their conversions.

use std::collections::BTreeMap;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::calendar::Half;
use super::lexicon;
use super::modifiers;

/// A product of powers of base units, with a scale.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unit {
    /// Base units, or words that are their own unit, with their powers.
    pub(crate) dimensions: BTreeMap<String, i32>,
    /// The number of base units in one unit.
    pub(crate) scale: RBig,
    /// Whether every word is known to be a unit or to name things. A number without a unit then equals the same
    /// number with it.
    pub(crate) is_plain: bool,
}

/// A unit as powers of base units, with its scale: numerator, denominator and a power of ten.
type Size = (&'static [(&'static str, i32)], u64, u64, i32);

const LENGTH: &[(&str, i32)] = &[("m", 1)];
const AREA: &[(&str, i32)] = &[("m", 2)];
const VOLUME: &[(&str, i32)] = &[("m", 3)];
const MASS: &[(&str, i32)] = &[("g", 1)];
const TIME: &[(&str, i32)] = &[("s", 1)];
const MONTHS: &[(&str, i32)] = &[("month", 1)];
const SPEED: &[(&str, i32)] = &[("m", 1), ("s", -1)];
const FORCE: &[(&str, i32)] = &[("g", 1), ("m", 1), ("s", -2)];
const PRESSURE: &[(&str, i32)] = &[("g", 1), ("m", -1), ("s", -2)];
const ENERGY: &[(&str, i32)] = &[("g", 1), ("m", 2), ("s", -2)];
const POWER: &[(&str, i32)] = &[("g", 1), ("m", 2), ("s", -3)];
const CALORIES: &[(&str, i32)] = &[("cal", 1)];
const GALLONS: &[(&str, i32)] = &[("gal", 1)];
const VOLTAGE: &[(&str, i32)] = &[("g", 1), ("m", 2), ("s", -3), ("A", -1)];
const RESISTANCE: &[(&str, i32)] = &[("g", 1), ("m", 2), ("s", -3), ("A", -2)];
const CAPACITANCE: &[(&str, i32)] = &[("g", -1), ("m", -2), ("s", 4), ("A", 2)];
const CHARGE: &[(&str, i32)] = &[("A", 1), ("s", 1)];
const FREQUENCY: &[(&str, i32)] = &[("s", -1)];
const DOLLARS: &[(&str, i32)] = &[("$", 1)];
const EUROS: &[(&str, i32)] = &[("€", 1)];
const POUNDS: &[(&str, i32)] = &[("£", 1)];
const YUAN: &[(&str, i32)] = &[("¥", 1)];
const RUPEES: &[(&str, i32)] = &[("₹", 1)];
const ANGLE: &[(&str, i32)] = &[("rad", 1)];

/// Returns the unit with a symbol. Case distinguishes `m` from `M`.
fn symbol(word: &str) -> Option<Size> {
    Some(match word {
        "m" => (LENGTH, 1, 1, 0),
        "g" => (MASS, 1, 1, 0),
        "t" => (MASS, 1, 1, 6),
        "s" => (TIME, 1, 1, 0),
        "h" => (TIME, 3600, 1, 0),
        "d" => (TIME, 86_400, 1, 0),
        "l" | "L" | "ℓ" => (VOLUME, 1, 1, -3),
        "cc" => (VOLUME, 1, 1, -6),
        "N" => (FORCE, 1, 1, 3),
        "J" => (ENERGY, 1, 1, 3),
        "W" => (POWER, 1, 1, 3),
        "Pa" => (PRESSURE, 1, 1, 3),
        "V" => (VOLTAGE, 1, 1, 3),
        "A" => (&[("A", 1)], 1, 1, 0),
        "C" => (CHARGE, 1, 1, 0),
        "Hz" => (FREQUENCY, 1, 1, 0),
        "K" => (&[("K", 1)], 1, 1, 0),
        "Ω" => (RESISTANCE, 1, 1, 3),
        "F" => (CAPACITANCE, 1, 1, -3),
        "u" => (&[("unit", 1)], 1, 1, 0),
        "eV" => (ENERGY, 1_602_176_634, 1, -25),
        "Wh" => (ENERGY, 36, 1, 5),
        "ha" => (AREA, 1, 1, 4),
        "mol" => (&[("mol", 1)], 1, 1, 0),
        "cal" => (CALORIES, 1, 1, 0),
        "$" => (DOLLARS, 1, 1, 0),
        "¢" => (DOLLARS, 1, 1, -2),
        "€" => (EUROS, 1, 1, 0),
        "£" => (POUNDS, 1, 1, 0),
        "¥" | "￥" | "元" => (YUAN, 1, 1, 0),
        "₹" => (RUPEES, 1, 1, 0),
        _ => return None,
    })
}

/// Returns the unit with a name, in lower case and singular.
fn named(word: &str) -> Option<Size> {
    Some(match word {
        "meter" | "metre" | "米" => (LENGTH, 1, 1, 0),
        "厘米" => (LENGTH, 1, 1, -2),
        "千米" | "公里" => (LENGTH, 1, 1, 3),
        "in" | "inch" | "inche" => (LENGTH, 254, 1, -4),
        "ft" | "foot" | "feet" => (LENGTH, 3048, 1, -4),
        "yd" | "yard" => (LENGTH, 9144, 1, -4),
        "mi" | "mile" => (LENGTH, 1_609_344, 1, -3),
        "gram" | "gramme" => (MASS, 1, 1, 0),
        "千克" | "公斤" => (MASS, 1, 1, 3),
        "tonne" => (MASS, 1, 1, 6),
        "oz" | "ounce" => (MASS, 45_359_237, 16, -5),
        "lb" | "pound" => (MASS, 45_359_237, 1, -5),
        "sec" | "second" | "秒" => (TIME, 1, 1, 0),
        "min" | "minute" | "分钟" => (TIME, 60, 1, 0),
        "hr" | "hour" | "小时" => (TIME, 3600, 1, 0),
        "day" | "天" => (TIME, 86_400, 1, 0),
        "week" | "wk" => (TIME, 604_800, 1, 0),
        "fortnight" => (TIME, 1_209_600, 1, 0),
        "month" => (MONTHS, 1, 1, 0),
        "year" | "yr" => (MONTHS, 12, 1, 0),
        "decade" => (MONTHS, 120, 1, 0),
        "century" | "centurie" => (MONTHS, 1200, 1, 0),
        "liter" | "litre" => (VOLUME, 1, 1, -3),
        "gal" | "gallon" => (GALLONS, 1, 1, 0),
        "qt" | "quart" => (GALLONS, 1, 4, 0),
        "pt" | "pint" => (GALLONS, 1, 8, 0),
        "cup" => (GALLONS, 1, 16, 0),
        "tbsp" | "tablespoon" => (GALLONS, 1, 256, 0),
        "tsp" | "teaspoon" => (GALLONS, 1, 768, 0),
        "acre" => (AREA, 40_468_564_224, 1, -7),
        "hectare" => (AREA, 1, 1, 4),
        "knot" => (SPEED, 1852, 3600, 0),
        "mph" => (SPEED, 1_609_344, 3600, -3),
        "kph" | "kmh" | "kmph" => (SPEED, 1000, 3600, 0),
        "mps" => (SPEED, 1, 1, 0),
        "newton" => (FORCE, 1, 1, 3),
        "joule" => (ENERGY, 1, 1, 3),
        "watt" => (POWER, 1, 1, 3),
        "pascal" => (PRESSURE, 1, 1, 3),
        "bar" => (PRESSURE, 1, 1, 8),
        "atm" | "atmosphere" => (PRESSURE, 101_325, 1, 3),
        "ohm" => (RESISTANCE, 1, 1, 3),
        "farad" => (CAPACITANCE, 1, 1, -3),
        "volt" => (VOLTAGE, 1, 1, 3),
        "ampere" | "amp" => (&[("A", 1)], 1, 1, 0),
        "coulomb" => (CHARGE, 1, 1, 0),
        "hertz" => (FREQUENCY, 1, 1, 0),
        "kelvin" => (&[("K", 1)], 1, 1, 0),
        "mole" => (&[("mol", 1)], 1, 1, 0),
        "calorie" => (CALORIES, 1, 1, 0),
        "erg" => (ENERGY, 1, 1, -4),
        "dollar" | "usd" | "buck" => (DOLLARS, 1, 1, 0),
        "cent" => (DOLLARS, 1, 1, -2),
        "euro" | "eur" => (EUROS, 1, 1, 0),
        "gbp" => (POUNDS, 1, 1, 0),
        "yuan" | "rmb" | "cny" => (YUAN, 1, 1, 0),
        "rupee" | "inr" | "rs" => (RUPEES, 1, 1, 0),
        "rad" | "radian" => (ANGLE, 1, 1, 0),
        "unit" => (&[("unit", 1)], 1, 1, 0),
        _ => return None,
    })
}

/// Prefixes of symbols and their powers of ten.
const SYMBOL_PREFIXES: &[(&str, i32)] = &[
    ("da", 1),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("h", 2),
    ("d", -1),
    ("c", -2),
    ("m", -3),
    ("µ", -6),
    ("μ", -6),
    ("u", -6),
    ("n", -9),
    ("p", -12),
];

/// Prefixes of names and their powers of ten.
const NAME_PREFIXES: &[(&str, i32)] = &[
    ("tera", 12),
    ("giga", 9),
    ("mega", 6),
    ("kilo", 3),
    ("hecto", 2),
    ("deci", -1),
    ("centi", -2),
    ("milli", -3),
    ("micro", -6),
    ("nano", -9),
    ("pico", -12),
];

/// Returns whether a unit takes prefixes.
fn is_metric(word: &str) -> bool {
    matches!(
        word,
        "m" | "g"
            | "s"
            | "l"
            | "L"
            | "N"
            | "J"
            | "W"
            | "Pa"
            | "V"
            | "A"
            | "C"
            | "Hz"
            | "eV"
            | "Wh"
            | "mol"
            | "cal"
            | "K"
            | "Ω"
            | "F"
            | "ohm"
            | "farad"
            | "t"
            | "meter"
            | "metre"
            | "gram"
            | "gramme"
            | "second"
            | "liter"
            | "litre"
            | "newton"
            | "joule"
            | "watt"
            | "pascal"
            | "volt"
            | "ampere"
            | "amp"
            | "hertz"
            | "mole"
            | "calorie"
            | "coulomb"
            | "tonne"
    )
}

/// Reads a word as a unit: a symbol, or a name in any case, with an optional prefix.
fn known(word: &str) -> Option<(&'static [(&'static str, i32)], RBig)> {
    let folded = fold(word);
    let word = word.trim_matches('.');
    if matches!(folded.as_str(), "am" | "pm") {
        return None;
    }
    let sized = |(base, numerator, denominator, tens): Size, more: i32| {
        let power = |tens: i32| UBig::from(10u8).pow(tens.unsigned_abs() as usize);
        let tens = tens + more;
        let ratio = RBig::from_parts(IBig::from(numerator), UBig::from(denominator));
        let scale = if tens < 0 {
            ratio / RBig::from(power(tens))
        } else {
            ratio * RBig::from(power(tens))
        };
        (base, scale)
    };
    if let Some(size) = symbol(word).or_else(|| named(&folded)) {
        return Some(sized(size, 0));
    }
    // Symbols of prefixes are case-sensitive: `m` is milli, `M` is mega.
    for (prefix, tens) in SYMBOL_PREFIXES {
        if let Some(rest) = word.strip_prefix(prefix)
            && is_metric(rest)
            && let Some(size) = symbol(rest)
        {
            return Some(sized(size, *tens));
        }
    }
    for (prefix, tens) in NAME_PREFIXES {
        if let Some(rest) = folded.strip_prefix(prefix)
            && is_metric(rest)
            && let Some(size) = named(rest)
        {
            return Some(sized(size, *tens));
        }
    }
    // `KG`, `Cm`, `KM`: symbols in the wrong case that denote no other unit.
    match folded.as_str() {
        "kg" => Some(sized((MASS, 1, 1, 3), 0)),
        "km" => Some(sized((LENGTH, 1, 1, 3), 0)),
        "cm" => Some(sized((LENGTH, 1, 1, -2), 0)),
        "ml" => Some(sized((VOLUME, 1, 1, -6), 0)),
        "kwh" => Some(sized((ENERGY, 36, 1, 8), 0)),
        _ => None,
    }
}

impl Unit {
    /// Reads a unit: words, powers after `^`, `per` or `/`, `square`, `cubic`. Returns `None` if the words
    /// change the number in a way that a unit does not.
    pub(crate) fn read(text: &str) -> Option<Unit> {
        if modifiers::modifies(text) {
            return None;
        }
        Unit::label(text)
    }

    /// Reads a unit in brackets, which names what is counted.
    pub(crate) fn label(text: &str) -> Option<Unit> {
        // Minutes of arc, or feet.
        if text.contains('\'') && !text.contains(char::is_alphabetic) {
            return None;
        }
        if modifiers::labels_more(text) {
            return None;
        }
        // `13 (DS games)`: these are games.
        if is_name(text.trim()) && known(text.trim()).is_none() {
            return None;
        }
        let mut unit = Unit {
            dimensions: BTreeMap::new(),
            scale: RBig::ONE,
            is_plain: lexicon::is_plain(text, is_unit),
        };
        let spaced = text.replace('/', " per ").replace(['(', ')', ','], " ");
        // `5\text{ feet 2 inches}`: names with numbers of their own are not factors.
        let mut words = spaced.split_whitespace();
        if words.any(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
            return None;
        }
        let mut sign = 1;
        let mut next_power = 1;
        let mut in_degrees = false;
        let mut last: Option<(String, i32)> = None;
        for word in spaced.split_whitespace() {
            // A hyphen joins both parts to one name (`n-gon`, `x-axis`), except for units: `5-inch`.
            let word = match word.strip_prefix('-') {
                Some(word) => {
                    known(word)?;
                    word
                }
                None => word,
            };
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
                    // Without a preceding unit, it is a power of the number.
                    let (word, times) = last.take()?;
                    let more = times * if folded == "squared" { 1 } else { 2 };
                    match known(&word) {
                        Some((base, scale)) => {
                            unit.scaled(&scale, more);
                            for (name, times) in base {
                                unit.times(name, more * times);
                            }
                        }
                        None => unit.times(&fold(&word), more),
                    }
                }
                // `degrees Celsius` is the same unit as °C.
                "degree" => in_degrees = true,
                _ => {
                    let joined = format!("degree-{word}");
                    let word = if std::mem::take(&mut in_degrees) {
                        joined.as_str()
                    } else {
                        word
                    };
                    let folded = fold(word);
                    let power = power * next_power * sign;
                    next_power = 1;
                    let size = known(word);
                    // A letter that is not the symbol of a unit may be a factor, a number or a name.
                    if size.is_none() && is_lone_letter(word) {
                        return None;
                    }
                    match size {
                        Some((base, scale)) => {
                            unit.scaled(&scale, power);
                            for (name, times) in base {
                                unit.times(name, power * times);
                            }
                            last = Some((word.to_owned(), power));
                        }
                        None => {
                            unit.times(&folded, power);
                            last = Some((word.to_owned(), power));
                        }
                    }
                }
            }
        }
        if in_degrees {
            unit.times("degree", sign);
        }
        // `5 square` without a unit is a power of the number.
        (next_power == 1).then_some(unit)
    }

    /// Returns whether two units are the same.
    pub(crate) fn same(&self, other: &Unit) -> bool {
        self.dimensions == other.dimensions && self.scale == other.scale
    }

    /// Returns how many of `other` one unit is, if both are of the same kind.
    pub(crate) fn ratio(&self, other: &Unit) -> Option<RBig> {
        let same = !self.dimensions.is_empty() && self.dimensions == other.dimensions;
        same.then(|| &self.scale / &other.scale)
    }

    /// Returns the half of the day, if the unit is `a.m.` or `p.m.`.
    pub(crate) fn half_of_day(&self) -> Option<Half> {
        let mut names = self.dimensions.keys();
        match (names.next().map(String::as_str), names.next()) {
            (Some("am"), None) => Some(Half::Morning),
            (Some("pm" | "noon"), None) => Some(Half::Afternoon),
            (Some("midnight"), None) => Some(Half::Morning),
            _ => None,
        }
    }

    /// Returns whether it is the radian.
    pub(crate) fn is_radian(&self) -> bool {
        self.dimensions.len() == 1 && self.dimensions.get("rad") == Some(&1)
    }

    /// Returns whether it is a unit of degrees, such as °F.
    pub(crate) fn is_temperature(&self) -> bool {
        self.dimensions
            .keys()
            .all(|name| name.starts_with("degree"))
            && !self.dimensions.is_empty()
    }

    /// Multiplies by another unit.
    pub(super) fn multiply(&mut self, other: &Unit) {
        for (name, power) in &other.dimensions {
            self.times(name, *power);
        }
        self.scale *= &other.scale;
        self.is_plain &= other.is_plain;
    }

    fn times(&mut self, name: &str, power: i32) {
        let total = self.dimensions.entry(name.to_owned()).or_insert(0);
        *total += power;
        if *total == 0 {
            self.dimensions.remove(name);
        }
    }

    fn scaled(&mut self, scale: &RBig, power: i32) {
        for _ in 0..power.unsigned_abs().min(27) {
            if power > 0 {
                self.scale *= scale;
            } else {
                self.scale /= scale;
            }
        }
    }
}

/// Returns whether a word is a unit by itself.
fn is_unit(word: &str) -> bool {
    known(word).is_some()
        || matches!(
            fold(word).as_str(),
            "degree" | "am" | "pm" | "noon" | "midnight"
        )
        || matches!(word, "c" | "f" | "C" | "F" | "K" | "q" | "p")
        || is_capital_unit(word)
}

/// Returns whether a word is a single letter that is not a unit, possibly after `degree-`.
fn is_lone_letter(word: &str) -> bool {
    let word = word.strip_prefix("degree-").unwrap_or(word);
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        // Temperature scales, and the coins quarter and penny.
        (Some('c' | 'f' | 'C' | 'F' | 'K' | 'q' | 'p'), None) => false,
        (Some(letter), None) => letter.is_ascii_alphabetic() || ('α'..='ω').contains(&letter),
        _ => false,
    }
}

/// Returns whether a word is two or three capital letters, like the names of segments and triangles, and not a
/// unit in capitals.
fn is_name(word: &str) -> bool {
    (2..=3).contains(&word.len())
        && word.bytes().all(|b| b.is_ascii_uppercase())
        && !is_capital_unit(word)
}

/// Returns whether a word is a unit that is written in capitals.
fn is_capital_unit(word: &str) -> bool {
    const CAPITALS: &[&str] = &[
        "KB", "MB", "GB", "TB", "PB", "HP", "IU", "FT", "IN", "LB", "LBS", "OZ", "MM", "MI", "HR",
        "HRS", "MPH", "KPH", "RPM", "BTU", "FPS", "BPM", "PSI", "AUD", "CAD", "HKD", "SGD", "JPY",
        "KRW", "CHF", "NZD", "AU", "PTS", "PCS", "AM", "PM",
    ];
    CAPITALS.contains(&word)
}

/// Normalizes a unit's word: removes dots and the plural and ignores case, except for symbols of one or two
/// letters.
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
    match lower.as_str() {
        "feet" => return "foot".into(),
        "hrs" | "yrs" | "lbs" | "yds" | "wks" | "kms" | "cms" | "kgs" => {
            return lower.trim_end_matches('s').into();
        }
        "degree-celsius" | "degree-centigrade" => return "degree-c".into(),
        "degree-fahrenheit" => return "degree-f".into(),
        _ => {}
    }
    match lower.strip_suffix('s') {
        Some(singular) if !lower.ends_with("ss") && singular.len() > 2 => singular.into(),
        _ => lower,
    }
}
