//! Groups problems by difficulty, in order: by the `level` in their metadata, or by pass rate.

use serde_json::{Map, Value};

/// A group. The order is that of the rows: by number if the level has one; problems without a level come
/// last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Numbered(u64, String),
    Named(String),
    None,
}

/// Returns a problem's level as text.
pub(super) fn level(metadata: &Map<String, Value>) -> Option<String> {
    match metadata.get("level")? {
        Value::String(level) => Some(level.clone()),
        Value::Number(level) => Some(level.to_string()),
        _ => None,
    }
}

impl Key {
    /// Returns the group of a level. "Level 10" comes after "Level 9".
    pub(super) fn of_level(level: Option<String>) -> Self {
        let Some(level) = level else {
            return Key::None;
        };
        let digits = level.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit());
        match digits[..end.unwrap_or(digits.len())].parse() {
            Ok(number) => Key::Numbered(number, level),
            Err(_) => Key::Named(level),
        }
    }

    /// Returns the group of a pass rate: fifths, the easiest first, and a separate group for problems never
    /// solved.
    pub(super) fn of_rate(rate: Option<f64>, correct: u32) -> Self {
        match rate {
            None => Key::None,
            Some(_) if correct == 0 => Key::Numbered(5, "0".into()),
            Some(rate) => {
                let fifth = ((rate * 5.0).ceil() as u64).clamp(1, 5);
                let name = format!("{:.1}-{:.1}", (fifth - 1) as f64 / 5.0, fifth as f64 / 5.0);
                Key::Numbered(5 - fifth, name)
            }
        }
    }

    /// Returns the name for tables.
    pub(super) fn name(self, by_level: bool) -> String {
        match self {
            Key::Numbered(_, name) | Key::Named(name) => name,
            Key::None if by_level => "none".into(),
            Key::None => "untried".into(),
        }
    }
}
