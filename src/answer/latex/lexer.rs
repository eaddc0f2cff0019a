//! From text to tokens: LaTeX commands under one spelling, numbers with their separators, words,
//! and Unicode mathematics as if it were LaTeX. Formatting that carries no meaning (`\left`, `$`,
//! thin spaces, colours) makes no token; everything else makes one.

use super::tree::{Literal, Span};
use super::words::{self, Run};
use crate::answer::budget::{Budget, Stop};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tok {
    Number(Literal),
    /// A command by its canonical name, without the backslash.
    Command(String),
    /// A one-letter variable.
    Letter(char),
    /// A name of several letters, such as `AB`.
    Name(String),
    /// A word in plain text.
    Word(String),
    /// Upright text from `\text{…}` and its like, trimmed.
    Text(String),
    /// Punctuation and operators.
    Symbol(char),
    /// A currency sign.
    Currency(char),
    /// `\\`.
    NewLine,
    Begin(String),
    End(String),
    /// A character that no mathematics is written with.
    Unknown(char),
}

/// A token, where it stood, and whether space came before it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) span: Span,
    pub(crate) spaced: bool,
}

/// Tokens of a text, one step each.
pub(crate) fn tokens(text: &str, budget: &mut Budget) -> Result<Vec<Token>, Stop> {
    let mut lexer = Lexer {
        text,
        at: 0,
        out: Vec::new(),
        brackets: 0,
        environments: 0,
        spaced: false,
    };
    lexer.run(budget, 0)?;
    Ok(without_unary_plus(lexer.out))
}

/// Tokens without `+` signs that open a term: `+\infty` is `\infty`.
fn without_unary_plus(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if token.tok == Tok::Symbol('+') {
            let opens = match out.last().map(|token| &token.tok) {
                None => true,
                Some(Tok::Symbol(c)) => matches!(c, '(' | '[' | '{' | ',' | '=' | '<' | '>' | '&'),
                Some(Tok::Command(name)) => matches!(name.as_str(), "le" | "ge" | "{" | "in"),
                _ => false,
            };
            let before_operand = match tokens.peek().map(|token| &token.tok) {
                Some(Tok::Number(_) | Tok::Letter(_)) => true,
                Some(Tok::Command(name)) => {
                    matches!(name.as_str(), "infty" | "frac" | "sqrt" | "pi")
                }
                _ => false,
            };
            if opens && before_operand {
                continue;
            }
        }
        out.push(token);
    }
    out
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    out: Vec<Token>,
    /// Open round, square and curly brackets: commas inside are never thousands separators.
    brackets: usize,
    environments: usize,
    spaced: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn push(&mut self, tok: Tok, end: usize) {
        self.out.push(Token {
            tok,
            span: self.at..end,
            spaced: std::mem::take(&mut self.spaced),
        });
        self.at = end;
    }

    fn symbol(&mut self, symbol: char, len: usize) {
        match symbol {
            '(' | '[' => self.brackets += 1,
            ')' | ']' => self.brackets = self.brackets.saturating_sub(1),
            _ => {}
        }
        self.push(Tok::Symbol(symbol), self.at + len);
    }

    fn command(&mut self, name: &str, len: usize) {
        self.push(Tok::Command(name.to_owned()), self.at + len);
    }

    fn run(&mut self, budget: &mut Budget, nested: u32) -> Result<(), Stop> {
        while let Some(c) = self.rest().chars().next() {
            budget.spend(1)?;
            let len = c.len_utf8();
            match c {
                _ if c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}') => {
                    self.at += len;
                    self.spaced = true;
                }
                '~' => {
                    self.at += 1;
                    self.spaced = true;
                }
                '$' => {
                    // A sign right before a digit and without a partner is money; every other
                    // dollar delimits mathematics.
                    self.at += 1;
                }
                '\\' => self.backslash(budget, nested)?,
                '0'..='9' => self.number(),
                '.' if self.rest()[1..].starts_with(|d: char| d.is_ascii_digit()) => self.number(),
                '.' if self.rest().starts_with("...") => {
                    let dots = self.rest().bytes().take_while(|&b| b == b'.').count();
                    self.command("ldots", dots);
                }
                'a'..='z' | 'A'..='Z' => self.letters(),
                '*' if self.rest().starts_with("**")
                    && !self.rest()[2..].is_empty()
                    && matches!(
                        self.out.last().map(|t| &t.tok),
                        Some(Tok::Number(_) | Tok::Letter(_) | Tok::Symbol(')'))
                    )
                    && self.rest()[2..].starts_with(|d: char| {
                        d.is_ascii_alphanumeric() || d == '(' || d == '-'
                    }) =>
                {
                    self.symbol_as('^', 2);
                }
                '*' if self.rest().starts_with("**") => {
                    // Bold in Markdown.
                    self.at += 2;
                }
                '<' if self.rest().starts_with("<=") => self.command("le", 2),
                '>' if self.rest().starts_with(">=") => self.command("ge", 2),
                '!' if self.rest().starts_with("!=") => self.command("ne", 2),
                '-' if self.rest().starts_with("->") => self.command("to", 2),
                '{' | '}' | '(' | ')' | '[' | ']' | '+' | '-' | '/' | '^' | '_' | '=' | '<'
                | '>' | '|' | ',' | ';' | ':' | '!' | '\'' | '&' | '*' | '.' | '?' | '"' | '`' => {
                    self.symbol(c, 1);
                }
                '%' => self.command("%", 1),
                _ => self.unicode(c, len),
            }
        }
        Ok(())
    }

    fn symbol_as(&mut self, symbol: char, len: usize) {
        self.push(Tok::Symbol(symbol), self.at + len);
    }

    fn letters(&mut self) {
        let run: &str = {
            let rest = self.rest();
            let end = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            &rest[..end]
        };
        let end = self.at + run.len();
        if let Some(c) = run.chars().next().filter(|_| run.len() == 1) {
            self.push(Tok::Letter(c), end);
        } else if let Some(command) = words::bare_command(run) {
            self.push(Tok::Command(command.to_owned()), end);
        } else {
            // A short run beside a word is a word: `grams of wax`.
            let is_word = |run: &str| words::read_run(run) == Run::Word;
            let behind_word = self.spaced
                && matches!(
                    self.out.last(),
                    Some(Token {
                        tok: Tok::Word(_),
                        ..
                    })
                );
            let before_word = self.text[end..].strip_prefix(' ').is_some_and(|rest| {
                let next = letters_of(rest);
                next.len() > 3 && words::bare_command(next).is_none() && is_word(next)
            });
            let kind = if behind_word || before_word {
                Run::Word
            } else {
                words::read_run(run)
            };
            match kind {
                Run::Word => self.push(Tok::Word(run.to_owned()), end),
                Run::Name => self.push(Tok::Name(run.to_owned()), end),
                Run::Product => {
                    // `2pi r` and `sinx`: a known name in front, then one letter.
                    for name in ["sin", "cos", "tan", "ln", "log", "pi", "sqrt"] {
                        if run.len() == name.len() + 1 && run.starts_with(name) {
                            self.push(Tok::Command(name.to_owned()), self.at + name.len());
                            break;
                        }
                    }
                    while self.at < end {
                        let Some(c) = self.rest().chars().next() else {
                            break;
                        };
                        self.push(Tok::Letter(c), self.at + 1);
                    }
                }
            }
        }
    }

    fn number(&mut self) {
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
            if n > 0 || repeat.is_some() {
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

    fn backslash(&mut self, budget: &mut Budget, nested: u32) -> Result<(), Stop> {
        let rest = self.rest();
        let after = &rest[1..];
        let Some(c) = after.chars().next() else {
            self.push(Tok::Unknown('\\'), self.at + 1);
            return Ok(());
        };
        if c == '\\' {
            // Doubled backslashes of a quoted string: `\\frac` outside any environment.
            let name = letters_of(&after[1..]);
            if self.environments == 0 && is_common(name) {
                self.at += 1;
                return Ok(());
            }
            if self.environments == 0 && after[1..].starts_with(['{', '}', '%', '$', '!']) {
                self.at += 1;
                return Ok(());
            }
            let mut end = self.at + 2;
            // An optional length: `\\[4pt]`.
            if let Some(tail) = self.text[end..].strip_prefix('[')
                && let Some(close) = tail.find(']').filter(|&n| {
                    n < 8 && tail[..n].ends_with(['t', 'm', 'x']) && tail.as_bytes()[0] != b']'
                })
            {
                end += close + 2;
            }
            self.push(Tok::NewLine, end);
            return Ok(());
        }
        if !c.is_ascii_alphabetic() {
            let len = 1 + c.len_utf8();
            match c {
                '$' => self.push(Tok::Currency('$'), self.at + len),
                '%' => self.command("%", len),
                '(' | ')' | '[' | ']' => self.at += len, // delimiters of mathematics
                '&' | '#' | '_' => self.push(Tok::Unknown(c), self.at + len),
                _ => {
                    let name = words::canonical(&after[..c.len_utf8()]).to_owned();
                    if name.is_empty() {
                        self.at += len;
                        self.spaced |= c != '!';
                    } else {
                        self.command(&name, len);
                        match c {
                            '{' => self.brackets += 1,
                            '}' => self.brackets = self.brackets.saturating_sub(1),
                            _ => {}
                        }
                    }
                }
            }
            return Ok(());
        }
        let name = letters_of(after);
        let mut end = self.at + 1 + name.len();
        let mut starred = name.to_owned();
        if self.text[end..].starts_with('*') && matches!(name, "operatorname" | "hspace" | "vspace")
        {
            end += 1;
            starred.push('*');
        }
        if words::is_text_command(&starred) {
            return self.text_command(&starred, end, budget, nested);
        }
        match name {
            "begin" | "end" => {
                if let Some((inside, close)) = braces(self.text, end) {
                    let environment = inside.trim().trim_end_matches('*').to_owned();
                    let mut close = close;
                    if name == "begin" {
                        self.environments += 1;
                        if environment == "array" {
                            // The columns: `{ll}`.
                            if let Some((columns, past)) = braces(self.text, close)
                                && columns
                                    .chars()
                                    .all(|c| matches!(c, 'l' | 'c' | 'r' | '|' | ' '))
                            {
                                close = past;
                            }
                        }
                        self.push(Tok::Begin(environment), close);
                    } else {
                        self.environments = self.environments.saturating_sub(1);
                        self.push(Tok::End(environment), close);
                    }
                    return Ok(());
                }
            }
            "color" | "hspace" | "vspace" | "textcolor" | "phantom" | "hphantom" | "vphantom"
            | "label" => {
                if let Some((_, close)) = braces(self.text, end) {
                    self.at = close;
                    return Ok(());
                }
            }
            "char" => {
                // `\char"000190`, as printed by others for ε.
                if let Some(tail) = self.text[end..].strip_prefix('"') {
                    let digits = tail
                        .bytes()
                        .take_while(u8::is_ascii_hexdigit)
                        .count()
                        .min(6);
                    if u32::from_str_radix(&tail[..digits], 16) == Ok(0x190) {
                        self.command("epsilon", end - self.at + 1 + digits);
                        return Ok(());
                    }
                }
            }
            "left" | "right" | "mleft" | "mright" | "big" | "Big" => {
                // `\left.` and `\right.` are no delimiters at all.
                let past = self.text[end..].trim_start();
                let skip = self.text.len() - end - past.len();
                if past.starts_with('.') && matches!(name, "left" | "right" | "mleft" | "mright") {
                    self.at = end + skip + 1;
                    return Ok(());
                }
                // `\left{` stands for `\left\{` in careless text.
                if let Some(brace) = past.chars().next().filter(|&c| c == '{' || c == '}') {
                    self.at = end + skip;
                    let name = if brace == '{' { "{" } else { "}" };
                    self.command(name, 1);
                    return Ok(());
                }
            }
            _ => {}
        }
        let canonical = words::canonical(name);
        // A Greek letter glued to the command before: `\vertx\vert`.
        if canonical == name && !is_known(name) {
            for known in [
                "lvert", "rvert", "vert", "qquad", "quad", "cdot", "times", "pi", "lbrack",
            ] {
                if name.len() > known.len() && name.starts_with(known) {
                    let len = 1 + known.len();
                    match words::canonical(known) {
                        "" => self.at += len,
                        "|" => self.symbol('|', len),
                        "[" => self.symbol('[', len),
                        "]" => self.symbol(']', len),
                        known => self.command(known, len),
                    }
                    return Ok(());
                }
            }
        }
        match canonical {
            "" => {
                self.at = end;
                self.spaced = true;
            }
            "(" | ")" | "[" | "]" => {
                let symbol = canonical.chars().next().unwrap_or('(');
                self.symbol(symbol, end - self.at);
            }
            "lt" => self.symbol('<', end - self.at),
            "gt" => self.symbol('>', end - self.at),
            "prime" => self.symbol('\'', end - self.at),
            "|" => self.symbol('|', end - self.at),
            "degree" => self.command("circ", end - self.at),
            _ => {
                match canonical {
                    "{" => self.brackets += 1,
                    "}" => self.brackets = self.brackets.saturating_sub(1),
                    _ => {}
                }
                self.command(canonical, end - self.at);
            }
        }
        Ok(())
    }

    fn text_command(
        &mut self,
        name: &str,
        end: usize,
        budget: &mut Budget,
        nested: u32,
    ) -> Result<(), Stop> {
        let Some((inside, close)) = braces(self.text, end) else {
            if name == "rm" || name == "mathrm" || name == "underline" {
                self.at = end;
                return Ok(());
            }
            self.push(Tok::Unknown('\\'), end);
            return Ok(());
        };
        if name == "underline" {
            self.at = end;
            return Ok(());
        }
        let plain = inside
            .replace(['~', '$'], " ")
            .replace("\\ ", " ")
            .replace("\\,", " ");
        let plain = plain.trim();
        let known = words::canonical(plain);
        if name.starts_with("operatorname") || is_known(known) && plain.len() > 1 {
            let command = words::bare_command(plain).unwrap_or(known).to_owned();
            self.push(Tok::Command(command), close);
            return Ok(());
        }
        // Mathematics inside upright text: `\text{13}`, `\mathrm{e}^{2}`, `\textbf{(D)}`.
        let is_mathematics = !plain.is_empty()
            && (plain.contains('\\')
                || plain.contains(['^', '_', '{', '='])
                || !plain.contains(|c: char| c.is_alphabetic()))
            && nested < 4;
        if is_mathematics {
            let inner_start = self.text[end..].find('{').map_or(end, |n| end + n + 1);
            let inner_end = close - 1;
            let mut inner = Lexer {
                text: &self.text[..inner_end],
                at: inner_start,
                out: Vec::new(),
                brackets: self.brackets,
                environments: self.environments,
                spaced: self.spaced,
            };
            inner.run(budget, nested + 1)?;
            self.out.append(&mut inner.out);
            self.at = close;
            self.spaced = true;
            return Ok(());
        }
        let single = plain.chars().next().filter(|_| plain.chars().count() == 1);
        match single {
            Some(c @ ('e' | 'i' | 'd' | 'π')) if name == "mathrm" || name == "rm" => {
                if c == 'π' {
                    self.push(Tok::Command("pi".into()), close);
                } else {
                    self.push(Tok::Letter(c), close);
                }
            }
            _ if plain.is_empty() => {
                self.at = close;
                self.spaced = true;
            }
            _ => {
                self.push(Tok::Text(plain.to_owned()), close);
            }
        }
        Ok(())
    }

    fn unicode(&mut self, c: char, len: usize) {
        let folded = match c {
            // Full-width forms.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
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
        if folded.is_ascii_digit() {
            // Full-width digits: the run becomes one number.
            let digits: String = self
                .rest()
                .chars()
                .map_while(|c| {
                    let c = char::from_u32((c as u32).wrapping_sub(0xfee0))?;
                    c.is_ascii_digit().then_some(c)
                })
                .collect();
            let end = self.at + digits.len() * len;
            let literal = Literal {
                whole: digits,
                ..Literal::default()
            };
            self.push(Tok::Number(literal), end);
            return;
        }
        if folded.is_ascii_alphabetic() {
            self.push(Tok::Letter(folded), self.at + len);
            return;
        }
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
            '×' | '·' | '⋅' | '∙' | '•' => "cdot",
            '÷' => "div",
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
                });
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
                });
            }
        } else if c.is_alphabetic() {
            let rest = self.rest();
            let end = rest
                .find(|c: char| !c.is_alphabetic() || c.is_ascii())
                .unwrap_or(rest.len());
            let word = rest[..end].to_owned();
            self.push(Tok::Word(word), self.at + end);
        } else {
            self.push(Tok::Unknown(c), self.at + len);
        }
    }

    /// A run of raised or lowered digits as `^{…}` or `_{…}`.
    fn scripts(&mut self, of: fn(char) -> Option<char>, operator: char) {
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
                    "{,}\\!", "{,}", ",\\!", "\\,", "\\!", "\u{2009}", "\u{202f}", "\u{a0}",
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

/// What stands in the braces that open at or after `at` (spaces may come first), and where they
/// end. Escaped braces do not count.
fn braces(text: &str, at: usize) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    let mut start = at;
    while bytes.get(start).is_some_and(u8::is_ascii_whitespace) {
        start += 1;
    }
    if bytes.get(start) != Some(&b'{') {
        return None;
    }
    let mut depth = 0usize;
    let mut i = start;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some((text.get(start + 1..i)?, i + 1));
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

fn letters_of(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    &text[..end]
}

/// Commands that a doubled backslash is certainly a quoted form of.
fn is_common(name: &str) -> bool {
    matches!(
        name,
        "frac"
            | "dfrac"
            | "tfrac"
            | "left"
            | "right"
            | "sqrt"
            | "text"
            | "textbf"
            | "mathrm"
            | "pi"
            | "cdot"
            | "times"
            | "boxed"
            | "begin"
            | "end"
            | "infty"
            | "le"
            | "ge"
            | "leq"
            | "geq"
            | "pm"
            | "circ"
            | "cup"
            | "cap"
            | "in"
            | "quad"
            | "ln"
            | "log"
            | "sin"
            | "cos"
            | "tan"
            | "theta"
            | "alpha"
            | "beta"
            | "overline"
            | "mathbf"
            | "neq"
            | "approx"
    )
}

/// Whether a command is one that the parser reads.
fn is_known(name: &str) -> bool {
    words::is_function(name)
        || words::bare_command(name).is_some()
        || is_common(name)
        || matches!(
            name,
            "binom"
                | "|"
                | "Vert"
                | "lfloor"
                | "rfloor"
                | "lceil"
                | "rceil"
                | "langle"
                | "rangle"
                | "circ"
                | "mod"
                | "pmod"
                | "lambda"
                | "phi"
                | "epsilon"
                | "gamma"
                | "delta"
                | "mu"
                | "nu"
                | "prod"
                | "sum"
                | "int"
                | "lim"
                | "partial"
        )
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
