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
            // Groups of three digits behind separators of one kind.
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
            let repeat = repeating(after);
            // `3./2`: a point that only ends its number.
            if n == 0 && after.starts_with(['/', '*', '^']) {
                at += 1;
            } else if n > 0 || repeat.is_some() {
                literal.fraction.push_str(&text[at + 1..at + 1 + n]);
                at += 1 + n;
                if let Some((digits, len)) = repeat {
                    literal.repeat = digits;
                    at += len;
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

    /// Digits of the groups of three behind `separator`, and where they end.
    fn groups(&self, separator: Separator, mut at: usize) -> Option<(String, usize)> {
        let mut digits = String::new();
        loop {
            let rest = &self.text[at..];
            let Some(len) = separator.len(rest) else {
                break;
            };
            let group = rest.as_bytes().get(len..len + 3)?;
            if !group.iter().all(u8::is_ascii_digit) {
                // `1,2345` or `1, x`: no number with separators after all.
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

/// What stands between groups of three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Comma,
    /// `,\!`, `{,}`, `\,` and thin spaces: never a list.
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
                    "{,}\\!", "{,}", "{, }", " {, }", " {,}", ",\\!", "\\,", "\\!", "\u{2009}",
                    "\u{202f}", "\u{a0}",
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

/// The digits under a bar or dots, and the length of what was read.
fn repeating(rest: &str) -> Option<(String, usize)> {
    for command in ["\\overline", "\\bar", "\\dot"] {
        if let Some(tail) = rest.strip_prefix(command) {
            let (digits, len) = match tail.strip_prefix('{') {
                Some(tail) => {
                    let close = tail.find('}')?;
                    (&tail[..close], command.len() + close + 2)
                }
                None => {
                    let digit = tail.get(..1)?;
                    (digit, command.len() + 1)
                }
            };
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            return Some((digits.to_owned(), len));
        }
    }
    None
}

/// A power of ten behind `e` or `E`, and its length.
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
