//! Parses postfix notation: powers, indices, primes, signs and units.

use smol_str::format_smolstr;

use super::{Parsed, Parser, connective, notation, vectors};
use crate::answer::budget::EvalError;
use crate::answer::latex::lexer::Tok;
use crate::answer::latex::tree::{Kind, Node, Span};

impl Parser<'_, '_> {
    pub(super) fn postfix(&mut self, left: Node) -> Parsed {
        let span = left.span.start..self.span().end;
        match self.peek() {
            Some(Tok::Letter(_) | Tok::Text(_)) => self.infix_choice(left),
            Some(Tok::Symbol('^')) => self.raised(left, span),
            Some(Tok::Symbol('_')) => self.indexed(left),
            Some(Tok::Symbol('!')) => self.factorial(left, span),
            Some(Tok::Symbol('\'')) => {
                let mut primes = 0;
                while self.eat('\'') {
                    self.budget.spend(1)?;
                    primes += 1;
                }
                self.primed(left, primes, span)
            }
            Some(Tok::Symbol('"')) => {
                self.at += 1;
                self.primed(left, 2, span)
            }
            Some(Tok::Command(name)) if name == "%" => {
                self.at += 1;
                Ok(Node::new(Kind::Percent(Box::new(left)), span))
            }
            Some(Tok::Command(name)) if name == "circ" => {
                self.at += 1;
                Ok(Node::new(Kind::Degree(Box::new(left)), span))
            }
            _ => Err(EvalError::Unsupported),
        }
    }

    /// Parses a power, or another superscript.
    #[inline(never)]
    fn raised(&mut self, left: Node, span: Span) -> Parsed {
        if let Some(Tok::Command(name)) = self.peek_at(1)
            && name == "circ"
        {
            self.at += 2;
            return Ok(Node::new(Kind::Degree(Box::new(left)), span));
        }
        if let (Some(Tok::Symbol('{')), Some(Tok::Command(name)), Some(Tok::Symbol('}'))) =
            (self.peek_at(1), self.peek_at(2), self.peek_at(3))
            && name == "circ"
        {
            self.at += 4;
            return Ok(Node::new(Kind::Degree(Box::new(left)), span));
        }
        // `y^{\prime\prime}` and `y^\prime`.
        let mut ahead = 1;
        let braced = matches!(self.peek_at(1), Some(Tok::Symbol('{')));
        ahead += usize::from(braced);
        let mut primes = 0;
        while matches!(self.peek_at(ahead), Some(Tok::Symbol('\''))) {
            self.budget.spend(1)?;
            primes += 1;
            ahead += 1;
        }
        if primes > 0 {
            if braced {
                if !matches!(self.peek_at(ahead), Some(Tok::Symbol('}'))) {
                    return Err(EvalError::Unsupported);
                }
                ahead += 1;
            }
            self.at += ahead;
            return self.primed(left, primes, span);
        }
        if let Some((side, len)) = self.one_sided() {
            self.at += len;
            let kind = Kind::Call(side.into(), vec![left]);
            return Ok(Node::new(kind, span));
        }
        if let Some((order, len)) = self.derivative_order(&left) {
            self.at += len;
            let kind = Kind::Call("derivative".into(), vec![left, order]);
            return Ok(Node::new(kind, span));
        }
        // `2^3^2` is ambiguous.
        if self.is_bracketed_power(&left) || matches!(left.kind, Kind::Pow(..)) {
            return Err(EvalError::Unsupported);
        }
        self.at += 1;
        let exponent = self.script()?;
        // In `AB^T`, the power applies to B alone if both are matrices.
        let is_pair = matches!(&left.kind, Kind::Symbol(name)
            if name.len() > 1 && name.bytes().all(|b| b.is_ascii_uppercase()));
        if is_pair && !matches!(exponent.kind, Kind::Number(_)) {
            return Err(EvalError::Unsupported);
        }
        if vectors::is_set(&left) {
            return Ok(vectors::power_of_set(left, exponent, span));
        }
        // `x^2_1`: the index belongs to the name.
        if self.is_symbol('_') && matches!(left.kind, Kind::Symbol(_)) {
            let named = self.indexed(left)?;
            if let Kind::Symbol(name) = &named.kind
                && let Some(choice) = notation::indexed_choice(name, &exponent)
            {
                return Ok(choice);
            }
            let kind = Kind::Pow(Box::new(named), Box::new(exponent));
            return Ok(Node::new(kind, span));
        }
        if let Kind::Symbol(name) = &left.kind
            && let Some(choice) = notation::indexed_choice(name, &exponent)
        {
            return Ok(choice);
        }
        if let Some(place) = notation::place(&left, &exponent) {
            return Ok(Node::new(place, span));
        }
        Ok(Node::new(
            Kind::Pow(Box::new(left), Box::new(exponent)),
            span,
        ))
    }

    /// Parses a factorial or double factorial.
    #[inline(never)]
    fn factorial(&mut self, left: Node, span: Span) -> Parsed {
        let mut times = 0;
        while self.eat('!') {
            self.budget.spend(1)?;
            times += 1;
        }
        match times {
            // Two signs are a double factorial, not a factorial of a factorial.
            2 => {
                let kind = Kind::Call("double factorial".into(), vec![left]);
                Ok(Node::new(kind, span))
            }
            1..=8 => {
                for _ in 1..times {
                    self.budget.enter()?;
                }
                Ok((0..times).fold(left, |node, _| {
                    Node::new(Kind::Factorial(Box::new(node)), span.clone())
                }))
            }
            // Numbers never have that many signs.
            _ => Err(EvalError::LimitExceeded),
        }
    }

    /// Reads the order of a derivative after a function name, `y^{(4)}`. Returns it with the number of tokens.
    fn derivative_order(&self, left: &Node) -> Option<(Node, usize)> {
        let is_function = matches!(&left.kind, Kind::Symbol(name)
            if matches!(name.as_str(), "f" | "g" | "h" | "y" | "u" | "v" | "w" | "F" | "G"));
        let braces = [
            Tok::Symbol('{'),
            Tok::Symbol('('),
            Tok::Symbol(')'),
            Tok::Symbol('}'),
        ];
        let found = [1, 2, 4, 5].map(|ahead| self.peek_at(ahead));
        if !is_function || found != braces.each_ref().map(Some) {
            return None;
        }
        let kind = match self.peek_at(3)? {
            Tok::Number(literal) => Kind::Number(Box::new(literal.clone())),
            Tok::Letter(c) => Kind::Symbol(smol_str::SmolStr::from_iter([*c])),
            _ => return None,
        };
        let span = self.tokens.get(self.at + 3)?.span.clone();
        Some((Node::new(kind, span), 6))
    }

    /// Returns whether the power of a variable is only a bracketed number or letter, `x^{(3)}`. It may be a
    /// rising power, a derivative or an index.
    fn is_bracketed_power(&self, left: &Node) -> bool {
        let is_variable = matches!(&left.kind, Kind::Symbol(name)
            if !matches!(name.as_str(), "e" | "π" | "i"));
        let [open, bracket, inner, close, end] = [1, 2, 3, 4, 5].map(|ahead| self.peek_at(ahead));
        let bracketed = matches!(
            (bracket, close),
            (Some(Tok::Symbol('(')), Some(Tok::Symbol(')')))
                | (Some(Tok::Symbol('[')), Some(Tok::Symbol(']')))
        );
        is_variable
            && bracketed
            && open == Some(&Tok::Symbol('{'))
            && end == Some(&Tok::Symbol('}'))
            && matches!(inner, Some(Tok::Number(_) | Tok::Letter(_)))
    }

    /// Reads `^+`, `^-`, `^{+}` or `^{-}` without an operand. Returns the direction of the limit and the number
    /// of tokens.
    fn one_sided(&self) -> Option<(&'static str, usize)> {
        let braced = matches!(self.peek_at(1), Some(Tok::Symbol('{')));
        let sign = self.peek_at(1 + usize::from(braced));
        let side = match sign {
            Some(Tok::Symbol('+')) => "from above",
            Some(Tok::Symbol('-')) => "from below",
            _ => return None,
        };
        match (braced, self.peek_at(2 + usize::from(braced))) {
            (true, Some(Tok::Symbol('}'))) => Some((side, 4)),
            (false, Some(Tok::Symbol('}'))) => Some((side, 2)),
            _ => None,
        }
    }

    pub(super) fn primed(&mut self, left: Node, primes: usize, span: Span) -> Parsed {
        let marks = "'".repeat(primes.min(8));
        match left.kind {
            Kind::Symbol(name) => Ok(Node::new(
                Kind::Symbol(format_smolstr!("{name}{marks}")),
                span,
            )),
            // Minutes and seconds of arc, or feet and inches.
            Kind::Number(_) if primes <= 2 => {
                Ok(Node::new(Kind::Unit(Box::new(left), marks), span))
            }
            _ => Err(EvalError::Unsupported),
        }
    }

    pub(super) fn indexed(&mut self, left: Node) -> Parsed {
        let span = left.span.start..self.span().end;
        self.at += 1;
        match left.kind {
            Kind::Symbol(name) => {
                let index = self.index()?;
                Ok(Node::new(
                    Kind::Symbol(format_smolstr!("{name}_{index}")),
                    span,
                ))
            }
            Kind::Text(name) => {
                let index = self.index()?;
                Ok(Node::new(
                    Kind::Symbol(format_smolstr!("{name}_{index}")),
                    span,
                ))
            }
            Kind::Number(literal) if literal.is_whole() => self.based(literal.whole, span),
            // `(1011)_2`.
            Kind::Group(inner) => match inner.kind {
                Kind::Number(literal) if literal.is_whole() => self.based(literal.whole, span),
                _ => Err(EvalError::Unsupported),
            },
            _ => Err(EvalError::Unsupported),
        }
    }

    /// Parses digits followed by their base as an index, in figures or as a word.
    fn based(&mut self, digits: String, span: Span) -> Parsed {
        let base = match self.script()?.kind {
            Kind::Number(base) if base.is_whole() => {
                base.whole.parse().map_err(|_| EvalError::Unsupported)?
            }
            Kind::Text(word) => match word.as_str() {
                "two" => 2,
                "three" => 3,
                "four" => 4,
                "five" => 5,
                "six" => 6,
                "seven" => 7,
                "eight" => 8,
                "nine" => 9,
                "ten" => 10,
                _ => return Err(EvalError::Unsupported),
            },
            _ => return Err(EvalError::Unsupported),
        };
        let is_digit = |c: char| c.is_digit(base);
        if !(2..=36).contains(&base) || !digits.chars().all(is_digit) {
            return Err(EvalError::Unsupported);
        }
        Ok(Node::new(Kind::Radix(digits, base), span))
    }

    /// Reads words and powers between braces.
    fn unit_group(&mut self, unit: &mut String) -> Result<(), EvalError> {
        self.expect('{')?;
        let mut is_first = true;
        while !self.eat('}') {
            self.budget.spend(1)?;
            match self.peek() {
                Some(Tok::Word(word) | Tok::Text(word)) => {
                    self.at += 1;
                    if !is_first {
                        unit.push(' ');
                    }
                    unit.push_str(word);
                }
                Some(Tok::Symbol('^')) if !is_first => {
                    self.at += 1;
                    match self.script()?.kind {
                        Kind::Number(literal) if literal.is_whole() => {
                            unit.push('^');
                            unit.push_str(&literal.whole);
                        }
                        _ => return Err(EvalError::Unsupported),
                    }
                }
                _ => return Err(EvalError::Unsupported),
            }
            is_first = false;
        }
        Ok(())
    }

    /// Returns whether a slash is followed by the letter of a unit that nothing continues.
    fn is_letter_below(&self) -> bool {
        let fits = match self.peek_at(1) {
            Some(Tok::Letter(c)) => matches!(c, 'h' | 's' | 'm' | 'g' | 'd' | 'L' | 'l'),
            Some(Tok::Command(name)) => name == "min",
            _ => false,
        };
        fits && match self.tokens.get(self.at + 2) {
            None => true,
            Some(token) => {
                token.spaced || !matches!(token.tok, Tok::Letter(_) | Tok::Symbol('(' | '{' | '/'))
            }
        }
    }

    /// Returns whether a slash is between a number and a word: `5/hour`.
    pub(super) fn is_rate(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        matches!(before.map(|token| &token.tok), Some(Tok::Number(_)))
            && match self.peek_at(1) {
                Some(Tok::Word(word) | Tok::Text(word)) => {
                    word.len() > 1 && connective(word).is_none()
                }
                _ => false,
            }
    }

    /// Returns whether the next letters can only be a unit after a number: `m/s` and `m/s^2` at the end, or a
    /// letter over a word (`g/mL`, `g/cm^3`).
    pub(super) fn is_lettered_unit(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        if !matches!(before.map(|token| &token.tok), Some(Tok::Number(_))) {
            return false;
        }
        let (Some(Tok::Letter(above)), Some(Tok::Symbol('/'))) = (self.peek(), self.peek_at(1))
        else {
            return false;
        };
        match self.peek_at(2) {
            Some(Tok::Command(name)) => *above == 'L' && name == "min",
            Some(Tok::Word(word)) => {
                matches!(above, 'm' | 'g' | 'L' | 'N' | 'J') && connective(word).is_none()
            }
            Some(Tok::Letter('s')) if *above == 'm' => {
                let rest = self.tokens.get(self.at + 3..).unwrap_or_default();
                match rest {
                    [] => true,
                    [power, two] => {
                        power.tok == Tok::Symbol('^')
                            && matches!(&two.tok, Tok::Number(two) if two.is_whole() && two.whole == "2")
                    }
                    [power, open, two, close] => {
                        power.tok == Tok::Symbol('^')
                            && open.tok == Tok::Symbol('{')
                            && matches!(&two.tok, Tok::Number(two) if two.is_whole() && two.whole == "2")
                            && close.tok == Tok::Symbol('}')
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Parses a unit after a quantity: words, their powers, and words after a slash.
    pub(super) fn unit(&mut self, left: Node) -> Parsed {
        // `1101 base 2`.
        if let Some((base, len)) = self.base(0) {
            let Kind::Number(literal) = left.kind else {
                return Err(EvalError::Unsupported);
            };
            if !literal.is_whole() {
                return Err(EvalError::Unsupported);
            }
            self.at += len;
            return Ok(Node::new(Kind::Radix(literal.whole, base), left.span));
        }
        let start = self.at;
        let mut unit = String::new();
        loop {
            self.budget.spend(1)?;
            match self.peek() {
                Some(Tok::Letter(c)) if unit.ends_with('/') || unit.ends_with(" per") => {
                    if !matches!(c, 'h' | 's' | 'm' | 'g' | 'd' | 'L' | 'l' | 'J' | 'N') {
                        return Err(EvalError::Unsupported);
                    }
                    if !unit.ends_with('/') {
                        unit.push(' ');
                    }
                    unit.push(*c);
                    self.at += 1;
                }
                Some(Tok::Letter(c)) if self.at == start && self.is_lettered_unit() => {
                    unit.push(*c);
                    self.at += 1;
                }
                Some(Tok::Command(name)) if name == "min" && unit.ends_with('/') => {
                    unit.push_str("min");
                    self.at += 1;
                }
                Some(Tok::Word(word) | Tok::Text(word)) if connective(word).is_none() => {
                    if !unit.is_empty() && !unit.ends_with('/') {
                        unit.push(' ');
                    }
                    unit.push_str(word);
                    self.at += 1;
                    while let Some(more) = self.inside_word() {
                        self.budget.spend(1)?;
                        unit.push_str(&more);
                        self.at += 2;
                    }
                }
                Some(Tok::Command(name)) if name == "frac" && self.at == start => {
                    self.at += 1;
                    self.unit_group(&mut unit)?;
                    unit.push('/');
                    self.unit_group(&mut unit)?;
                    break;
                }
                Some(Tok::Currency(sign)) if unit.is_empty() => {
                    unit.push(*sign);
                    self.at += 1;
                }
                Some(Tok::Symbol('^')) if self.at > start => {
                    self.at += 1;
                    let power = self.script()?;
                    unit.push('^');
                    match power.kind {
                        Kind::Number(literal) if literal.is_whole() => {
                            unit.push_str(&literal.whole);
                        }
                        Kind::Neg(inner) => match inner.kind {
                            Kind::Number(literal) if literal.is_whole() => {
                                unit.push('-');
                                unit.push_str(&literal.whole);
                            }
                            _ => return Err(EvalError::Unsupported),
                        },
                        _ => return Err(EvalError::Unsupported),
                    }
                }
                Some(Tok::Symbol('/'))
                    if (self.at > start || self.is_rate())
                        && (matches!(self.peek_at(1), Some(Tok::Word(_) | Tok::Text(_)))
                            || self.is_letter_below()) =>
                {
                    self.at += 1;
                    unit.push('/');
                }
                // `N-m`: newton metres.
                Some(Tok::Symbol('-'))
                    if self.at > start
                        && matches!(self.peek_at(1), Some(Tok::Text(_)))
                        && !self.tokens[self.at + 1].spaced =>
                {
                    self.at += 1;
                }
                Some(Tok::Command(name))
                    if matches!(name.as_str(), "cdot" | "times")
                        && self.at > start
                        && matches!(self.peek_at(1), Some(Tok::Word(_) | Tok::Text(_))) =>
                {
                    self.at += 1;
                }
                _ => break,
            }
        }
        if self.at == start {
            return Err(EvalError::Unsupported);
        }
        let end = self.tokens[self.at - 1].span.end;
        let span = left.span.start..end;
        Ok(Node::new(Kind::Unit(Box::new(left), unit), span))
    }
}
