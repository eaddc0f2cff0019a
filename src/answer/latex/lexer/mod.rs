//! Turns text into tokens: commands under canonical names, numbers with separators, words, and Unicode
//! mathematics as LaTeX. Formatting without meaning (`\left`, `$`, thin spaces, colours) gives no token;
//! everything else does.

mod number;
mod side_by_side;
mod unicode;
mod units;
mod width;

pub(in crate::answer::latex) use side_by_side::names_side;
use smol_str::SmolStr;

use super::tree::{Literal, Span};
use super::words::{self, Run};
use crate::answer::budget::{Budget, EvalError};

/// The kind of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tok {
    Number(Literal),
    /// A command by its canonical name, without the backslash.
    Command(SmolStr),
    /// A one-letter variable.
    Letter(char),
    /// A name of several letters, such as `AB`.
    Name(SmolStr),
    /// A word in plain text.
    Word(SmolStr),
    /// Upright text from `\text{…}` and its like, trimmed.
    Text(SmolStr),
    /// Punctuation and operators.
    Symbol(char),
    /// A currency sign.
    Currency(char),
    /// `\\`.
    NewLine,
    Begin(SmolStr),
    End(SmolStr),
    /// A character that does not occur in mathematics.
    Unknown(char),
}

/// A token, its span, and whether space precedes it.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) span: Span,
    pub(crate) spaced: bool,
    /// Whether more than a space precedes it: `\quad`, a line break, or the boundary between two formulas.
    pub(crate) wide: bool,
}

/// Returns the tokens of a text. Each costs one step.
pub(crate) fn tokens(text: &str, budget: &mut Budget) -> Result<Vec<Token>, EvalError> {
    let Some(narrow) = width::Narrow::of(text) else {
        return lexed(text, budget);
    };
    let mut tokens = lexed(&narrow.text, budget)?;
    for token in &mut tokens {
        token.span = narrow.original(token.span.start)..narrow.original(token.span.end);
    }
    Ok(tokens)
}

fn lexed(text: &str, budget: &mut Budget) -> Result<Vec<Token>, EvalError> {
    let mut lexer = Lexer {
        text,
        at: 0,
        out: Vec::new(),
        brackets: 0,
        environments: 0,
        spaced: false,
        wide: false,
        delimited: false,
    };
    lexer.run(budget, 0)?;
    Ok(side_by_side::separated(without_unary_plus(lexer.out)))
}

/// Removes `+` signs that open a term: `+\infty` is `\infty`.
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
    /// The number of open round, square and curly brackets. Commas inside are never thousands separators.
    brackets: usize,
    environments: usize,
    spaced: bool,
    wide: bool,
    /// Whether a dollar sign occurred since the last token.
    delimited: bool,
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
            wide: std::mem::take(&mut self.wide),
        });
        self.delimited = false;
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
        self.push(Tok::Command(name.into()), self.at + len);
    }

    fn run(&mut self, budget: &mut Budget, nested: u32) -> Result<(), EvalError> {
        while let Some(c) = self.rest().chars().next() {
            budget.spend(1)?;
            let len = c.len_utf8();
            match c {
                _ if c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}') => {
                    self.at += len;
                    self.spaced = true;
                    self.wide |= c == '\n';
                }
                '~' => {
                    self.at += 1;
                    self.spaced = true;
                }
                '$' if self.is_money() => self.push(Tok::Currency('$'), self.at + 1),
                // Every other dollar delimits mathematics.
                '$' => {
                    self.at += 1;
                    self.wide |= std::mem::replace(&mut self.delimited, true) && self.spaced;
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
                    // Markdown bold type.
                    self.at += 2;
                }
                '<' if self.rest().starts_with("<=") => self.command("le", 2),
                '>' if self.rest().starts_with(">=") => self.command("ge", 2),
                '!' if self.rest().starts_with("!=") => self.command("ne", 2),
                '-' if self.rest().starts_with("->") => self.command("to", 2),
                // `x := 5` defines a name.
                ':' if self.rest().starts_with(":=") => self.symbol_as('=', 2),
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
        if self.hexadecimal() {
            return;
        }
        if let Some(len) = self.per_cent() {
            self.command("%", len);
            return;
        }
        if let Some(len) = self.half_of_day() {
            let word = &self.text[self.at..self.at + len];
            self.push(Tok::Word(word.into()), self.at + len);
            return;
        }
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
        } else if let Some(sign) = self.currency_before(run, end) {
            self.push(Tok::Currency(sign), end);
        } else if matches!(run, "min" | "sec") && self.is_unit(run, end) {
            self.push(Tok::Word(run.into()), end);
        } else if let Some(command) = words::bare_command(run).filter(|_| !self.is_said(run, end)) {
            self.push(Tok::Command(command.into()), end);
        } else {
            // A short run next to a word is a word: `grams of wax`.
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
            let kind = if behind_word || before_word || words::bare_command(run).is_some() {
                Run::Word
            } else {
                words::read_run(run)
            };
            match kind {
                Run::Word => self.push(Tok::Word(run.into()), end),
                Run::Name => self.push(Tok::Name(run.into()), end),
                Run::Product => {
                    // `2pi r` and `sinx`: a known name followed by one letter.
                    for name in ["sin", "cos", "tan", "ln", "log", "pi", "sqrt"] {
                        if run.len() == name.len() + 1 && run.starts_with(name) {
                            self.push(Tok::Command(name.into()), self.at + name.len());
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

    fn backslash(&mut self, budget: &mut Budget, nested: u32) -> Result<(), EvalError> {
        let rest = self.rest();
        let after = &rest[1..];
        let Some(c) = after.chars().next() else {
            self.push(Tok::Unknown('\\'), self.at + 1);
            return Ok(());
        };
        if c == '\\' {
            // A doubled backslash of a quoted string: `\\frac` outside any environment.
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
                        self.wide |= c == ' ';
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
                let found = braces(self.text, end);
                let read = found.map_or(self.text.len(), |(_, close)| close) - end;
                budget.spend(read / 32)?;
                if let Some((inside, close)) = found {
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
                        self.push(Tok::Begin(environment.into()), close);
                    } else {
                        self.environments = self.environments.saturating_sub(1);
                        self.push(Tok::End(environment.into()), close);
                    }
                    return Ok(());
                }
            }
            "color" | "hspace" | "vspace" | "textcolor" | "phantom" | "hphantom" | "vphantom"
            | "label" => {
                let found = braces(self.text, end);
                let read = found.map_or(self.text.len(), |(_, close)| close) - end;
                budget.spend(read / 32)?;
                if let Some((_, close)) = found {
                    self.at = close;
                    return Ok(());
                }
            }
            "char" => {
                // `\char"000190`, which some software prints for ε.
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
                // `\left.` and `\right.` are empty delimiters.
                let past = self.text[end..].trim_start();
                let skip = self.text.len() - end - past.len();
                if past.starts_with('.') && matches!(name, "left" | "right" | "mleft" | "mright") {
                    self.at = end + skip + 1;
                    return Ok(());
                }
                // The bracket takes the position of its size command, so it follows the preceding token without
                // space.
                if let Some(open) = past.chars().next().filter(|&c| c == '(' || c == '[') {
                    self.symbol(open, end + skip + 1 - self.at);
                    return Ok(());
                }
                // `\left{` is a common mistake for `\left\{`.
                if let Some(brace) = past.chars().next().filter(|&c| c == '{' || c == '}') {
                    self.at = end + skip;
                    let name = if brace == '{' { "{" } else { "}" };
                    self.command(name, 1);
                    return Ok(());
                }
            }
            _ => {}
        }
        if let Some((unit, end)) = self.unit_behind(name, end) {
            self.push(Tok::Text(unit.into()), end);
            return Ok(());
        }
        let canonical = words::canonical(name);
        // Letters attached to the preceding command: `\vertx\vert`.
        if canonical == name && !is_known(name) {
            for known in [
                "lvert", "rvert", "vert", "qquad", "quad", "cdot", "times", "pi", "lbrack",
                "lbrace",
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
                self.wide |= matches!(name, "quad" | "qquad" | "newline" | "par");
                self.at = end;
                self.spaced = true;
            }
            "(" | ")" | "[" | "]" => {
                let symbol = canonical.chars().next().unwrap_or('(');
                self.symbol(symbol, end - self.at);
            }
            "coloneqq" | "coloneq" => self.symbol('=', end - self.at),
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
    ) -> Result<(), EvalError> {
        let found = braces(self.text, end);
        let read = found.map_or(self.text.len(), |(_, close)| close) - end;
        budget.spend(read / 32)?;
        let Some((inside, close)) = found else {
            if name == "rm" || name == "mathrm" {
                self.at = end;
                return Ok(());
            }
            self.push(Tok::Unknown('\\'), end);
            return Ok(());
        };
        if name == "underline" {
            // `a^{\underline{3}}` is a falling power; elsewhere the line has no meaning.
            let mut before = self.out.iter().rev().map(|token| &token.tok);
            let is_power = match before.next() {
                Some(Tok::Symbol('^')) => true,
                Some(Tok::Symbol('{')) => before.next() == Some(&Tok::Symbol('^')),
                _ => false,
            };
            match is_power {
                true => self.command("underline", end - self.at),
                false => self.at = end,
            }
            return Ok(());
        }
        let plain = inside
            .replace(['~', '$'], " ")
            .replace("\\ ", " ")
            .replace("\\,", " ");
        let plain = plain.trim();
        if !name.starts_with("operatorname")
            && let Some(unit) = self.upright_unit(plain)
        {
            self.push(Tok::Text(unit.into()), close);
            return Ok(());
        }
        let known = words::canonical(plain);
        let unit = !name.starts_with("operatorname") && self.is_unit(plain, close);
        if name.starts_with("operatorname") || is_known(known) && plain.len() > 1 && !unit {
            let command = words::bare_command(plain).unwrap_or(known);
            self.push(Tok::Command(command.into()), close);
            return Ok(());
        }
        // `9.8 \mathrm{m/s^2}`: a unit after its number.
        let behind_number = matches!(
            self.out.last().map(|token| &token.tok),
            Some(Tok::Number(_) | Tok::Symbol(')' | '}'))
        );
        if behind_number && units::is_compound_unit(plain) {
            let unit = plain.replace(['{', '}'], "");
            self.push(Tok::Text(unit.into()), close);
            return Ok(());
        }
        // Mathematics inside upright text: `\text{13}`, `\mathrm{e}^{2}`, `\textbf{(D)}`.
        let is_mathematics = !plain.is_empty()
            && (plain.contains('\\')
                || begins_with_number(plain)
                || joins_letters(plain)
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
                wide: self.wide,
                delimited: false,
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
                self.push(Tok::Text(plain.into()), close);
            }
        }
        Ok(())
    }
}

/// Returns whether upright text is choice letters joined by words: `A and C`.
fn joins_letters(text: &str) -> bool {
    let mut letters = 0;
    let parts = text.split([' ', ',']).filter(|part| !part.is_empty());
    let fits = parts.into_iter().all(|part| {
        let letter = part.len() == 1 && part.bytes().all(|b| b.is_ascii_uppercase());
        letters += usize::from(letter);
        letter || matches!(part, "and" | "or")
    });
    fits && letters > 1
}

/// Returns whether upright text begins with a number that is not an ordinal such as `1st`.
fn begins_with_number(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let next = text[digits..].bytes().next();
    digits > 0 && !next.is_some_and(|b| b.is_ascii_alphabetic())
}

/// Returns the text in the braces that open at or after `at`, after optional spaces, and the position after
/// them. Escaped braces do not count.
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

/// Returns whether a doubled backslash before this name certainly comes from a quoted string.
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

/// Returns whether the parser knows a command.
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
