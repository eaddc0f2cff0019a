//! Numbers with their separators, repeating decimals and powers of ten.

use super::{Lexer, Literal, Tok, Token};

impl Lexer<'_> {
    pub(super) fn number(&mut self) {
        let text = self.text;
        let mut literal = Literal::default();
        let start = self.at;
        let digits = |at: usize| -> usize {
            text.as_bytes()[at..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let mut at = start;
        if self.hexadecimal() || self.prefixed() {
            return;
        }
        let n = digits(at);
        // `\frac12` takes one digit for each part.
        let is_frac = |back: usize| {
            let token = self
                .out
                .len()
                .checked_sub(back)
                .and_then(|n| self.out.get(n));
            matches!(token, Some(Token { tok: Tok::Command(name), .. })
                if name == "frac" || name == "binom")
        };
        let is_digit = matches!(
            self.out.last(),
            Some(Token {
                tok: Tok::Number(_),
                ..
            })
        );
        if n > 1 && (is_frac(1) || is_frac(2) && is_digit) {
            literal.whole.push_str(&text[at..at + 1]);
            self.push(Tok::Number(literal), at + 1);
            return;
        }
        literal.whole.push_str(&text[at..at + n]);
        at += n;
        if (1..=3).contains(&n) {
            // Groups of three digits after separators of the same kind.
            for separator in Separator::ALL {
                if let Some((whole, end)) = self.groups(separator, at) {
                    if matches!(separator, Separator::Comma) && self.brackets > 0 {
                        continue;
                    }
                    if matches!(separator, Separator::Comma | Separator::Space)
                        && literal.whole.starts_with('0')
                    {
                        continue;
                    }
                    literal.whole.push_str(&whole);
                    at = end;
                    break;
                }
            }
        }
        if text[at..].starts_with('.') {
            let n = digits(at + 1);
            let after = &text[at + 1 + n..];
            let repeat = repeating(after).or_else(|| {
                // `0.1(6)` is a product unless it is the whole text.
                let alone = start == 0 || n == 0;
                bracketed(after).filter(|(_, len)| n == 0 || alone && after.len() == *len)
            });
            // `3./2`: the point only ends the number.
            if n == 0 && after.starts_with(['/', '*', '^']) {
                at += 1;
            } else if n > 0 || repeat.is_some() {
                literal.fraction.push_str(&text[at + 1..at + 1 + n]);
                at += 1 + n;
                if let Some((digits, len)) = repeat {
                    literal.repeat = digits;
                    at += len;
                } else if let Some((repeat, len)) =
                    endless(&literal.fraction, text.get(at..).unwrap_or(""))
                {
                    literal.repeat = repeat;
                    at += len;
                } else {
                    at += overlined(&mut literal, text.get(at..).unwrap_or(""));
                }
            }
        }
        if literal.whole.is_empty() {
            literal.whole.push('0');
        }
        if let Some((exponent, len)) = exponent(&text[at..]) {
            literal.exponent = exponent;
            at += len;
        }
        self.push(Tok::Number(literal), at);
    }

    /// Reads digits with letters before a base above 10 as a name in capital letters: `2A_{16}`.
    pub(super) fn hexadecimal(&mut self) -> bool {
        let rest = self.rest();
        let run = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let figures = &rest[..run];
        let tail = &rest[run..];
        let based = ["_{16}", "_16", "_{12}", "_12", "_{11}", "_11"]
            .iter()
            .any(|base| tail.starts_with(base));
        if !based || !figures.bytes().any(|b| b.is_ascii_alphabetic()) {
            return false;
        }
        let name = figures.to_ascii_uppercase();
        self.push(Tok::Name(name.into()), self.at + run);
        true
    }

    /// Reads a literal in another base, as in programming languages, as one name: `0x1F`.
    fn prefixed(&mut self) -> bool {
        let rest = self.rest();
        let fits: fn(&u8) -> bool = match rest.as_bytes() {
            [b'0', b'x' | b'X', ..] => u8::is_ascii_hexdigit,
            [b'0', b'o' | b'O', ..] => |b| (b'0'..=b'7').contains(b),
            [b'0', b'b' | b'B', ..] => |b| matches!(b, b'0' | b'1'),
            _ => return false,
        };
        let run = rest.bytes().skip(2).take_while(fits).count();
        let ends = !rest[2 + run..].starts_with(|c: char| c.is_ascii_alphanumeric());
        if run == 0 || !ends {
            return false;
        }
        let name = rest[..2 + run].to_ascii_uppercase();
        self.push(Tok::Name(name.into()), self.at + 2 + run);
        true
    }

    /// Returns the digits of the groups of three after `separator`, and their end.
    fn groups(&self, separator: Separator, mut at: usize) -> Option<(String, usize)> {
        let mut digits = String::new();
        loop {
            let rest = &self.text[at..];
            let Some(len) = separator.len(rest) else {
                break;
            };
            let group = rest.as_bytes().get(len..len + 3)?;
            if !group.iter().all(u8::is_ascii_digit) {
                // `1,2345` or `1, x`: not a separator after all.
                return None;
            }
            if rest.as_bytes().get(len + 3).is_some_and(u8::is_ascii_digit) {
                return None;
            }
            digits.push_str(&rest[len..len + 3]);
            at += len + 3;
        }
        (!digits.is_empty()).then_some((digits, at))
    }
}

/// A separator between groups of three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Comma,
    /// `,\!`, `{,}`, `\,` and thin spaces, which never separate list items.
    Thin,
    Space,
}

impl Separator {
    const ALL: [Separator; 3] = [Separator::Thin, Separator::Comma, Separator::Space];

    fn len(self, rest: &str) -> Option<usize> {
        match self {
            Separator::Comma | Separator::Space => {
                let sign = if self == Separator::Comma { ',' } else { ' ' };
                let tail = rest.strip_prefix(sign)?;
                tail.starts_with(|c: char| c.is_ascii_digit()).then_some(1)
            }
            Separator::Thin => {
                for thin in [
                    "{,}\\!", "{,}", "{, }", " {, }", " {,}", ",\\!", "\\,", "\\!", "\\ ",
                    "\u{2009}", "\u{202f}", "\u{a0}",
                ] {
                    if let Some(tail) = rest.strip_prefix(thin) {
                        let spaces = tail.bytes().take_while(|&b| b == b' ').count();
                        let digit = tail[spaces..].starts_with(|c: char| c.is_ascii_digit());
                        return digit.then_some(thin.len() + spaces);
                    }
                }
                None
            }
        }
    }
}

/// Returns the digits under a bar or between dots, and the length of the notation.
fn repeating(rest: &str) -> Option<(String, usize)> {
    for command in ["\\overline", "\\bar", "\\dot"] {
        let Some(tail) = rest.strip_prefix(command) else {
            continue;
        };
        let (mut digits, mut len) = marked(tail)?;
        len += command.len();
        if command == "\\dot" {
            // `0.\dot{1}4285\dot{7}`: dots over the first and the last digit.
            let between = rest[len..].bytes().take_while(u8::is_ascii_digit).count();
            let last = rest[len + between..].strip_prefix(command).and_then(marked);
            if let Some((last, more)) = last {
                digits.push_str(&rest[len..len + between]);
                digits.push_str(&last);
                len += between + command.len() + more;
            }
        }
        return Some((digits, len));
    }
    None
}

/// Returns digits in braces, or a single digit, and the length.
fn marked(tail: &str) -> Option<(String, usize)> {
    let (digits, len) = match tail.strip_prefix('{') {
        Some(tail) => {
            let close = tail.find('}')?;
            (&tail[..close], close + 2)
        }
        None => (tail.get(..1)?, 1),
    };
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| (digits.to_owned(), len))
}

/// Returns the digits in `(3)`, and the length.
fn bracketed(rest: &str) -> Option<(String, usize)> {
    let tail = rest.strip_prefix('(')?;
    let close = tail.find(')')?;
    let digits = &tail[..close];
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| (digits.to_owned(), close + 2))
}

/// The maximum length of a repeating block before dots.
const MAX_PERIOD: usize = 60;

/// Reads digits that occur three times before dots as repeating: `0.1666...`. Fewer occurrences are only the
/// beginning of a decimal.
fn endless(fraction: &str, rest: &str) -> Option<(String, usize)> {
    let spaces = rest.len() - rest.trim_start_matches(' ').len();
    let dots = ["...", "…", "\\ldots", "\\dots", "\\cdots"];
    let mark = dots
        .iter()
        .find(|mark| rest[spaces..].starts_with(**mark))?;
    let bytes = fraction.as_bytes();
    (1..=(bytes.len() / 3).min(MAX_PERIOD)).find_map(|period| {
        let tail = &bytes[bytes.len() - 3 * period..];
        let block = &tail[..period];
        let thrice = tail[period..2 * period] == *block && tail[2 * period..] == *block;
        thrice.then(|| {
            (
                fraction[fraction.len() - period..].to_owned(),
                spaces + mark.len(),
            )
        })
    })
}

/// Reads digits that each carry a combining overline. The last digit already read is the first of them. Moves
/// them to the repeating part and returns the length read.
fn overlined(literal: &mut Literal, rest: &str) -> usize {
    const LINE: char = '\u{305}';
    let Some(mut tail) = rest.strip_prefix(LINE) else {
        return 0;
    };
    literal.repeat.extend(literal.fraction.pop());
    loop {
        let mut chars = tail.chars();
        match (chars.next(), chars.next()) {
            (Some(digit), Some(LINE)) if digit.is_ascii_digit() => {
                literal.repeat.push(digit);
                tail = chars.as_str();
            }
            _ => return rest.len() - tail.len(),
        }
    }
}

/// Returns the exponent after `e` or `E`, and its length.
fn exponent(rest: &str) -> Option<(i32, usize)> {
    let tail = rest.strip_prefix(['e', 'E'])?;
    let (negative, tail, sign) = match tail.as_bytes().first()? {
        b'-' => (true, &tail[1..], 1),
        b'+' => (false, &tail[1..], 1),
        _ => (false, tail, 0),
    };
    let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > 6 || tail[digits..].starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let value: i32 = tail[..digits].parse().ok()?;
    Some((if negative { -value } else { value }, 1 + sign + digits))
}
