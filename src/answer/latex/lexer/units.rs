//! Recognizes units by their position: symbols and letters after a number that are otherwise names of
//! functions, variables or operators.

use super::{Lexer, Tok, Token, braces, letters_of, words};

impl Lexer<'_> {
    /// Returns whether a number directly precedes.
    fn is_behind_number(&self) -> bool {
        matches!(
            self.out.last(),
            Some(Token {
                tok: Tok::Number(_),
                ..
            })
        )
    }

    /// Returns whether a dollar sign before a digit has no partner and therefore means money.
    pub(super) fn is_money(&self) -> bool {
        let behind = &self.rest()[1..];
        let amount = behind.strip_prefix('.').unwrap_or(behind);
        amount.starts_with(|c: char| c.is_ascii_digit())
            && !behind.contains('$')
            && !self.text[..self.at].contains('$')
    }

    /// Returns the length of `a.m.` or `p.m.` after a number.
    pub(super) fn half_of_day(&self) -> Option<usize> {
        let rest = self.rest().as_bytes();
        let is = |at: usize, options: &[u8]| rest.get(at).is_some_and(|b| options.contains(b));
        let fits = is(0, b"aApP") && is(1, b".") && is(2, b"mM");
        (fits && self.is_behind_number()).then(|| if is(3, b".") { 4 } else { 3 })
    }

    /// Returns the length of `per cent` after a number.
    pub(super) fn per_cent(&self) -> Option<usize> {
        let rest = self.rest();
        let cent = rest.strip_prefix("per ")?.trim_start_matches(' ');
        let behind = cent.strip_prefix("cent")?;
        let ends = !behind.starts_with(|c: char| c.is_ascii_alphanumeric());
        (ends && self.is_behind_number()).then(|| rest.len() - behind.len())
    }

    /// Returns whether `max` or `min` is a word in a sentence: `local max at x = 1`.
    pub(super) fn is_said(&self, run: &str, end: usize) -> bool {
        if !matches!(run, "max" | "min") {
            return false;
        }
        let next = self.text[end..].strip_prefix(' ').unwrap_or("");
        let word = letters_of(next);
        let before_word = word.len() > 1 && word != "at" && words::bare_command(word).is_none();
        let behind_word = self.spaced
            && matches!(
                self.out.last(),
                Some(Token {
                    tok: Tok::Word(_) | Tok::Text(_),
                    ..
                })
            );
        before_word || behind_word
    }

    /// Returns a unit after a number that is or starts with a Greek letter, and its end: `10\ \Omega`,
    /// `5\,\mu\text{m}`.
    pub(super) fn unit_behind(&self, name: &str, end: usize) -> Option<(String, usize)> {
        let last = self.out.last()?;
        match name {
            "Omega" => {
                let rest = self.text[end..].trim_start_matches([' ', '$', '.', ',', '}']);
                match &last.tok {
                    // Without a space after the number, it is a factor.
                    Tok::Number(_) if self.spaced && rest.is_empty() => Some(("Ω".into(), end)),
                    _ => None,
                }
            }
            "mu" if matches!(last.tok, Tok::Number(_)) => {
                let rest = self.text[end..].trim_start();
                let start = self.text.len() - rest.len();
                let command = ["\\text", "\\mathrm", "\\textrm"]
                    .iter()
                    .find(|command| rest.starts_with(**command))?;
                let (inside, close) = braces(self.text, start + command.len())?;
                let symbol = inside.trim();
                let fits = matches!(symbol, "m" | "g" | "s" | "L" | "l" | "F" | "A" | "V" | "C")
                    || symbol == "mol";
                fits.then(|| (format!("μ{symbol}"), close))
            }
            _ => None,
        }
    }

    /// Returns the currency symbol for a currency code before a number at the start of the text: `USD 12.50`.
    pub(super) fn currency_before(&self, run: &str, end: usize) -> Option<char> {
        let sign = match run {
            "USD" => '$',
            "EUR" => '€',
            "GBP" => '£',
            "RMB" | "CNY" => '¥',
            "INR" => '₹',
            _ => return None,
        };
        let amount = self.text[end..].trim_start_matches([' ', '~']);
        (self.out.is_empty() && amount.starts_with(|c: char| c.is_ascii_digit())).then_some(sign)
    }

    /// Returns upright text after a number as plain text if it is `am` or `pm` or a unit with Greek letters:
    /// `\text{pm}`, `\mathrm{k\Omega}`.
    pub(super) fn upright_unit(&self, plain: &str) -> Option<String> {
        if !self.is_behind_number() {
            return None;
        }
        if matches!(plain, "am" | "pm" | "AM" | "PM") {
            return Some(plain.to_owned());
        }
        if !plain.contains('\\') {
            return None;
        }
        let unit = plain.replace("\\mu ", "μ").replace("\\mu", "μ");
        let unit = unit.replace("\\Omega", "Ω");
        let fits = unit.chars().all(|c| c.is_alphabetic() || c == '/');
        (fits && !unit.is_empty()).then_some(unit)
    }

    /// Returns a unit after a number that starts with a Unicode symbol, and its length: `5 μm`, `10 Ω`.
    pub(super) fn sign_of_unit(&self, c: char) -> Option<(&'static str, usize)> {
        const SIGNS: &[(&str, &str)] = &[
            ("Ω", "Ω"),
            ("Ω", "Ω"),
            ("㎝", "cm"),
            ("㎜", "mm"),
            ("㎞", "km"),
            ("㎏", "kg"),
            ("㎎", "mg"),
            ("㎡", "m^2"),
            ("㎥", "m^3"),
            ("㎠", "cm^2"),
            ("㎤", "cm^3"),
            ("μmol", "μmol"),
            ("µmol", "μmol"),
            ("μm", "μm"),
            ("µm", "μm"),
            ("μg", "μg"),
            ("µg", "μg"),
            ("μs", "μs"),
            ("µs", "μs"),
            ("μL", "μL"),
            ("µL", "μL"),
            ("μF", "μF"),
            ("µF", "μF"),
            ("μA", "μA"),
            ("µA", "μA"),
            ("μV", "μV"),
            ("µV", "μV"),
        ];
        if c.is_ascii() || !self.is_behind_number() {
            return None;
        }
        let rest = self.rest();
        let (sign, unit) = SIGNS.iter().find(|(sign, _)| {
            rest.strip_prefix(sign)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })?;
        // Without a space after the number, `Ω` is a factor.
        (*unit != "Ω" || self.spaced).then_some((unit, sign.len()))
    }

    /// Returns whether upright letters that also name a function or relation are a unit here:
    /// `12 \mathrm{~min}`, `\mathrm{ft}/\mathrm{sec}`, `3 \text{ in}`.
    pub(super) fn is_unit(&self, name: &str, end: usize) -> bool {
        if !matches!(name, "min" | "sec" | "in" | "deg" | "cup" | "times") {
            return false;
        }
        let last = self.out.last().map(|token| &token.tok);
        if matches!(last, Some(Tok::Text(_) | Tok::Symbol('/'))) {
            return true;
        }
        let behind_quantity = matches!(last, Some(Tok::Number(_) | Tok::Symbol('}' | ')' | '(')))
            || matches!(last, Some(Tok::Command(name)) if name == "pi");
        let next = self.text[end..].trim_start_matches([' ', '~']);
        let next = next.trim_end_matches(['$', '.']);
        // `14 \text{ times}` is a unit; before a number, `times` multiplies.
        if name == "times" {
            return behind_quantity && (next.is_empty() || next.starts_with(')'));
        }
        let applied = next
            .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '(' | '\\' | '{'))
            && !next.starts_with("\\text")
            && !next.starts_with("\\mathrm")
            && !next.starts_with("\\)")
            && !next.starts_with("\\]");
        behind_quantity && !applied && (name == "in" || !next.starts_with(['^', '_']))
    }
}

/// Returns whether upright text is a compound unit with powers and slashes: `m/s^2`, `kg m^{-1}`.
pub(super) fn is_compound_unit(text: &str) -> bool {
    text.contains('^')
        && text.starts_with(|c: char| c.is_ascii_alphabetic() && c != 'e')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '^' | '{' | '}' | '-' | ' '))
}
