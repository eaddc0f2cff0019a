//! Reads Unicode mathematics as LaTeX.

use super::{Lexer, Literal, Tok, Token};

impl Lexer<'_> {
    pub(super) fn unicode(&mut self, c: char, len: usize) {
        if let Some((unit, len)) = self.sign_of_unit(c) {
            self.push(Tok::Word(unit.into()), self.at + len);
            return;
        }
        let folded = match c {
            '，' => ',',
            '＄' => '$',
            '＂' => '"',
            '−' | '–' | '—' | '‐' | '‑' | '﹣' => '-',
            '、' => ',',
            '’' | '′' | '‘' => '\'',
            '“' | '”' => '"',
            '∗' => '*',
            '∕' | '⁄' => '/',
            '∶' => ':',
            '∣' => '|',
            '。' => '.',
            '〈' | '⟨' => {
                self.command("langle", len);
                return;
            }
            '〉' | '⟩' => {
                self.command("rangle", len);
                return;
            }
            _ => c,
        };
        if folded.is_ascii_punctuation() {
            match folded {
                '%' => self.command("%", len),
                '$' => self.push(Tok::Currency('$'), self.at + len),
                '#' | '@' | '\\' | '~' => self.push(Tok::Unknown(c), self.at + len),
                _ => self.symbol(folded, len),
            }
            return;
        }
        let command = match c {
            'π' => "pi",
            '∞' => "infty",
            '≤' | '⩽' | '≦' => "le",
            '≥' | '⩾' | '≧' => "ge",
            '≠' => "ne",
            '≈' | '≃' => "approx",
            '≡' => "equiv",
            '×' => "times",
            '·' | '⋅' | '∙' | '•' => "cdot",
            '÷' => "div",
            '℃' | '℉' => {
                self.push(Tok::Symbol('^'), self.at);
                self.command("circ", len);
                let scale = if c == '℃' { 'C' } else { 'F' };
                self.push(Tok::Letter(scale), self.at);
                return;
            }
            '≔' => {
                self.symbol('=', len);
                return;
            }
            '±' => "pm",
            '∓' => "mp",
            '√' => "sqrt",
            '∛' => "cbrt",
            '°' | '˚' | 'º' => {
                self.push(Tok::Symbol('^'), self.at);
                self.command("circ", len);
                return;
            }
            '∪' | '⋃' => "cup",
            '∩' | '⋂' => "cap",
            '∖' => "setminus",
            '∈' => "in",
            '∉' => "notin",
            '∅' | 'Ø' | 'ø' => "emptyset",
            '…' | '⋯' => "ldots",
            'α' => "alpha",
            'β' => "beta",
            'γ' => "gamma",
            'δ' => "delta",
            'ε' | 'ϵ' => "epsilon",
            'ζ' => "zeta",
            'η' => "eta",
            'θ' => "theta",
            'κ' => "kappa",
            'λ' => "lambda",
            'μ' | 'µ' => "mu",
            'ν' => "nu",
            'ξ' => "xi",
            'ρ' => "rho",
            'σ' => "sigma",
            'τ' => "tau",
            'φ' | 'ϕ' => "phi",
            'χ' => "chi",
            'ψ' => "psi",
            'ω' => "omega",
            'Γ' => "Gamma",
            'Δ' | '∆' => "Delta",
            'Θ' => "Theta",
            'Λ' => "Lambda",
            'Ξ' => "Xi",
            'Π' => "Pi",
            'Σ' => "Sigma",
            'Φ' => "Phi",
            'Ψ' => "Psi",
            'Ω' => "Omega",
            '→' => "to",
            '⇒' => "implies",
            '⇔' => "iff",
            '⌊' => "lfloor",
            '⌋' => "rfloor",
            '⌈' => "lceil",
            '⌉' => "rceil",
            '∫' => "int",
            '∑' => "sum",
            '∏' => "prod",
            '∂' => "partial",
            'ℝ' | 'ℤ' | 'ℚ' | 'ℕ' | 'ℂ' => {
                let letter = match c {
                    'ℝ' => 'R',
                    'ℤ' => 'Z',
                    'ℚ' => 'Q',
                    'ℕ' => 'N',
                    _ => 'C',
                };
                self.command("mathbb", len);
                self.out.push(Token {
                    tok: Tok::Letter(letter),
                    span: self.at..self.at,
                    spaced: false,
                    wide: false,
                });
                return;
            }
            '①'..='⑳' => {
                let number = c as u32 - '①' as u32 + 1;
                self.command("textcircled", len);
                for tok in [
                    Tok::Symbol('{'),
                    Tok::Number(Literal {
                        whole: number.to_string(),
                        ..Literal::default()
                    }),
                    Tok::Symbol('}'),
                ] {
                    self.out.push(Token {
                        tok,
                        span: self.at..self.at,
                        spaced: false,
                        wide: false,
                    });
                }
                return;
            }
            '€' | '£' | '¥' | '₹' | '￥' | '¢' => {
                self.push(Tok::Currency(c), self.at + len);
                return;
            }
            _ => "",
        };
        if !command.is_empty() {
            self.command(command, len);
        } else if superscript(c).is_some() {
            self.scripts(superscript, '^');
        } else if subscript(c).is_some() {
            self.scripts(subscript, '_');
        } else if let Some((top, bottom)) = vulgar_fraction(c) {
            self.command("frac", len);
            for digits in [top, bottom] {
                let literal = Literal {
                    whole: digits.to_owned(),
                    ..Literal::default()
                };
                self.out.push(Token {
                    tok: Tok::Number(literal),
                    span: self.at..self.at,
                    spaced: false,
                    wide: false,
                });
            }
        } else if c.is_alphabetic() {
            let rest = self.rest();
            let end = rest
                .find(|c: char| !c.is_alphabetic() || c.is_ascii())
                .unwrap_or(rest.len());
            let word = rest[..end].to_owned();
            self.push(Tok::Word(word.into()), self.at + end);
        } else {
            self.push(Tok::Unknown(c), self.at + len);
        }
    }

    /// Reads a run of superscript or subscript characters as `^{…}` or `_{…}`.
    pub(super) fn scripts(&mut self, of: fn(char) -> Option<char>, operator: char) {
        let run: Vec<char> = self.rest().chars().map_while(of).collect();
        let len: usize = self
            .rest()
            .chars()
            .take(run.len())
            .map(char::len_utf8)
            .sum();
        let mut token = |tok| {
            self.out.push(Token {
                tok,
                span: self.at..self.at + len,
                spaced: false,
                wide: false,
            });
        };
        token(Tok::Symbol(operator));
        token(Tok::Symbol('{'));
        let mut run = run.into_iter().peekable();
        while let Some(c) = run.next() {
            if c.is_ascii_digit() {
                let mut whole = String::from(c);
                while let Some(c) = run.next_if(char::is_ascii_digit) {
                    whole.push(c);
                }
                token(Tok::Number(Literal {
                    whole,
                    ..Literal::default()
                }));
            } else if c.is_ascii_alphabetic() {
                token(Tok::Letter(c));
            } else {
                token(Tok::Symbol(c));
            }
        }
        token(Tok::Symbol('}'));
        self.spaced = false;
        self.at += len;
    }
}

fn superscript(c: char) -> Option<char> {
    Some(match c {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴' => '4',
        '⁵' => '5',
        '⁶' => '6',
        '⁷' => '7',
        '⁸' => '8',
        '⁹' => '9',
        '⁻' => '-',
        '⁺' => '+',
        'ⁿ' => 'n',
        _ => return None,
    })
}

fn subscript(c: char) -> Option<char> {
    let digit = (c as u32).checked_sub('₀' as u32).filter(|&d| d < 10)?;
    char::from_digit(digit, 10)
}

fn vulgar_fraction(c: char) -> Option<(&'static str, &'static str)> {
    Some(match c {
        '½' => ("1", "2"),
        '⅓' => ("1", "3"),
        '⅔' => ("2", "3"),
        '¼' => ("1", "4"),
        '¾' => ("3", "4"),
        '⅕' => ("1", "5"),
        '⅖' => ("2", "5"),
        '⅗' => ("3", "5"),
        '⅘' => ("4", "5"),
        '⅙' => ("1", "6"),
        '⅚' => ("5", "6"),
        '⅛' => ("1", "8"),
        '⅜' => ("3", "8"),
        '⅝' => ("5", "8"),
        '⅞' => ("7", "8"),
        _ => return None,
    })
}
