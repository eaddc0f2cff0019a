//! Text for HTML and SVG: escaping, and readable numbers.

/// Escapes a text for an element or an attribute. Markup is escaped. Invisible characters that affect the
/// display (control characters, direction marks) are shown by name, so that a response appears as it is and
/// cannot inject anything into the page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            // The Unicode symbols for control characters.
            '\0'..='\u{1F}' => escaped.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7F}' => escaped.push('\u{2421}'),
            _ if is_hidden(c) => escaped.push_str(&format!("[U+{:04X}]", u32::from(c))),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Returns whether a character is a C1 control, a direction mark, invisible or a noncharacter. Joiners, which
/// some scripts need, are not included.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9F}'
        | '\u{61C}'
        | '\u{200B}'
        | '\u{200E}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FDD0}'..='\u{FDEF}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}'
        | '\u{E0000}'..='\u{E007F}')
        || u32::from(c) & 0xFFFE == 0xFFFE
}

/// Cuts a text to `most` characters, and marks the cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Formats an integer with thousands separators: `12,345`.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a number with this many decimals.
pub(super) fn decimal(number: f64, decimals: usize) -> String {
    // A number rounded to zero has no sign.
    let text = format!("{number:.decimals$}");
    match text.trim_start_matches(['-', '0', '.']).is_empty() {
        true => text.trim_start_matches('-').to_owned(),
        false => text,
    }
}

/// Formats a share in percent: `12.3 %`; a dash if the total is 0.
pub(super) fn percent(part: f64, of: f64) -> String {
    match of > 0.0 {
        true => format!("{} %", decimal(100.0 * part / of, 1)),
        false => "–".into(),
    }
}

/// Formats a number for an axis: short, with `k` for thousands and `M` for millions.
pub(super) fn tick(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = decimal(scaled, 3);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_is_left() {
        let text = "</script><b a='1' c=\"2\">&amp;\u{0}\u{1B}\u{7F}\u{85}\u{202E}x\u{FFFF}\n\té−";
        assert_eq!(
            escape(text),
            "&lt;/script&gt;&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;amp;␀␛␡[U+0085][U+202E]x[U+FFFF]\n\té−"
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0, 7, 999, 1000, 1_234_567].map(whole),
            ["0", "7", "999", "1,000", "1,234,567"]
        );
        assert_eq!(decimal(-0.0001, 2), "0.00");
        assert_eq!(decimal(-0.5, 1), "-0.5");
        assert_eq!(percent(1.0, 8.0), "12.5 %");
        assert_eq!(percent(1.0, 0.0), "–");
        assert_eq!(
            [0.0, 0.25, 40.0, 2048.0, 12_000.0, 2.5e6].map(tick),
            ["0", "0.25", "40", "2048", "12k", "2.5M"]
        );
        assert_eq!(cut("añb", 2), "añ…");
        assert_eq!(cut("añb", 3), "añb");
    }
}
