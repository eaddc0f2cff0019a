//! Dates in figures and in words.

/// Year, month and day. A missing part is 0.
pub(crate) type Date = [u32; 3];

/// Reads a date: `2024-01-02`, `January 2, 2024`, `2nd of January 2024`, `2 Jan`, `2024年1月2日`.
pub(crate) fn date(text: &str) -> Option<Date> {
    if text.len() > 40 || text.contains('\\') || !text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    figures(text)
        .or_else(|| chinese(text))
        .or_else(|| words(text))
}

fn checked(year: u32, month: u32, day: u32) -> Option<Date> {
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 29,
        1..=12 => 31,
        _ => return None,
    };
    let fits = day <= days && (year == 0 || (1000..3000).contains(&year));
    // One part alone is not a date.
    (fits && (year > 0 || day > 0)).then_some([year, month, day])
}

/// Reads a date in figures: the year first, or the year last if the day cannot be the month.
fn figures(text: &str) -> Option<Date> {
    let separator = ['-', '/'].into_iter().find(|&c| text.contains(c))?;
    let parts: Vec<&str> = text.split(separator).collect();
    let [first, second, third] = parts.as_slice() else {
        return None;
    };
    let number = |part: &str, length: std::ops::RangeInclusive<usize>| -> Option<u32> {
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        (digits && length.contains(&part.len())).then(|| part.parse().ok())?
    };
    if third.len() == 4 {
        // With the year last, it must be clear which number is the day.
        let (a, b) = (number(first, 1..=2)?, number(second, 1..=2)?);
        let (month, day) = if a > 12 { (b, a) } else { (a, b) };
        if a == 0 || b == 0 || a <= 12 && b <= 12 && a != b {
            return None;
        }
        return checked(number(third, 4..=4)?, month, day);
    }
    let (month, day) = (number(second, 1..=2)?, number(third, 1..=2)?);
    if month == 0 || day == 0 {
        return None;
    }
    checked(number(first, 4..=4)?, month, day)
}

fn chinese(text: &str) -> Option<Date> {
    let mut rest = text;
    let mut part = |mark: char| -> Option<u32> {
        let (digits, after) = rest.split_once(mark)?;
        let number = digits.trim().parse().ok()?;
        rest = after.trim();
        Some(number)
    };
    let year = part('年').unwrap_or(0);
    let month = part('月')?;
    let day = part('日').unwrap_or(0);
    if rest.is_empty() {
        checked(year, month, day)
    } else {
        None
    }
}

/// Returns the month that a word names.
pub(super) fn month(word: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let word = word.trim_end_matches('.').to_ascii_lowercase();
    let index = MONTHS.iter().position(|name| {
        *name == word
            || word.len() == 3 && name.starts_with(&word)
            || word == "sept" && *name == "september"
    })?;
    u32::try_from(index + 1).ok()
}

/// Reads the name of a month with a day, a year, or both.
fn words(text: &str) -> Option<Date> {
    let mut found: [Option<u32>; 3] = [None; 3];
    let mut set = |index: usize, value: u32| -> Option<()> {
        found[index].replace(value).is_none().then_some(())
    };
    for word in text
        .split([' ', ',', '\u{a0}'])
        .filter(|word| !word.is_empty())
    {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (figures, rest) = word.split_at(digits);
        if digits == 0 {
            if let Some(month) = month(word) {
                set(1, month)?;
            } else if !matches!(word, "of" | "the" | "on") {
                return None;
            }
            continue;
        }
        let number: u32 = figures.parse().ok()?;
        match (digits, rest) {
            (4, "" | ".") => set(0, number)?,
            (1 | 2, "" | "st" | "nd" | "rd" | "th" | ".") if number > 0 => set(2, number)?,
            _ => return None,
        }
    }
    checked(found[0].unwrap_or(0), found[1]?, found[2].unwrap_or(0))
}

/// Returns the seconds since midnight of a time with hours, minutes and optional seconds, in the given half of
/// the day if any.
pub(crate) fn seconds(clock: &[u32], half: Option<Half>) -> Option<u32> {
    let [hour, minute, rest @ ..] = clock else {
        return None;
    };
    let hour = match half {
        None => *hour,
        Some(_) if !(1..=12).contains(hour) => return None,
        Some(Half::Morning) => hour % 12,
        Some(Half::Afternoon) => hour % 12 + 12,
    };
    Some(hour * 3600 + minute * 60 + rest.first().copied().unwrap_or(0))
}

/// Before or after noon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Morning,
    Afternoon,
}
