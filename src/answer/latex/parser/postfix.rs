//! What stands behind an operand: powers, indices, primes, signs and units.

use smol_str::format_smolstr;

use super::{Parsed, Parser, connective};
use crate::answer::budget::Stop;
use crate::answer::latex::lexer::Tok;
use crate::answer::latex::tree::{Kind, Node, Span};

impl Parser<'_, '_> {
    pub(super) fn postfix(&mut self, left: Node) -> Parsed {
        let span = left.span.start..self.span().end;
        match self.peek() {
            Some(Tok::Symbol('^')) => {
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
                            return Err(Stop::Unknown);
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
                self.at += 1;
                let exponent = self.script()?;
                // `x^2_1`: the index belongs to the name.
                if self.is_symbol('_') && matches!(left.kind, Kind::Symbol(_)) {
                    let named = self.indexed(left)?;
                    let kind = Kind::Pow(Box::new(named), Box::new(exponent));
                    return Ok(Node::new(kind, span));
                }
                Ok(Node::new(
                    Kind::Pow(Box::new(left), Box::new(exponent)),
                    span,
                ))
            }
            Some(Tok::Symbol('_')) => self.indexed(left),
            Some(Tok::Symbol('!')) => {
                let mut times = 0;
                while self.eat('!') {
                    self.budget.spend(1)?;
                    times += 1;
                }
                match times {
                    // No factorial of a factorial.
                    2 => {
                        let kind = Kind::Call("double factorial".into(), vec![left]);
                        Ok(Node::new(kind, span))
                    }
                    1..=8 => Ok((0..times).fold(left, |node, _| {
                        Node::new(Kind::Factorial(Box::new(node)), span.clone())
                    })),
                    // So many signs are no number's.
                    _ => Err(Stop::Limit),
                }
            }
            Some(Tok::Symbol('\'')) => {
                let mut primes = 0;
                while self.eat('\'') {
                    self.budget.spend(1)?;
                    primes += 1;
                }
                self.primed(left, primes, span)
            }
            Some(Tok::Command(name)) if name == "%" => {
                self.at += 1;
                Ok(Node::new(Kind::Percent(Box::new(left)), span))
            }
            Some(Tok::Command(name)) if name == "circ" => {
                self.at += 1;
                Ok(Node::new(Kind::Degree(Box::new(left)), span))
            }
            _ => Err(Stop::Unknown),
        }
    }

    /// `^+`, `^-`, `^{+}` or `^{-}` with nothing behind the sign: the side that a limit comes from,
    /// and how many tokens it takes.
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
            // Minutes and seconds of an angle, or feet and inches.
            Kind::Number(_) if primes <= 2 => {
                Ok(Node::new(Kind::Unit(Box::new(left), marks), span))
            }
            _ => Err(Stop::Unknown),
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
                _ => Err(Stop::Unknown),
            },
            _ => Err(Stop::Unknown),
        }
    }

    /// Digits with the base that stands next, in figures or as a word.
    fn based(&mut self, digits: String, span: Span) -> Parsed {
        let base = match self.script()?.kind {
            Kind::Number(base) if base.is_whole() => {
                base.whole.parse().map_err(|_| Stop::Unknown)?
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
                _ => return Err(Stop::Unknown),
            },
            _ => return Err(Stop::Unknown),
        };
        Ok(Node::new(Kind::Based(digits, base), span))
    }

    /// The words and powers between braces.
    fn unit_group(&mut self, unit: &mut String) -> Result<(), Stop> {
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
                        _ => return Err(Stop::Unknown),
                    }
                }
                _ => return Err(Stop::Unknown),
            }
            is_first = false;
        }
        Ok(())
    }

    /// A unit behind a quantity: words, their powers, and words after a slash.
    pub(super) fn unit(&mut self, left: Node) -> Parsed {
        let start = self.at;
        let mut unit = String::new();
        loop {
            self.budget.spend(1)?;
            match self.peek() {
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
                            _ => return Err(Stop::Unknown),
                        },
                        _ => return Err(Stop::Unknown),
                    }
                }
                Some(Tok::Symbol('/'))
                    if self.at > start
                        && matches!(self.peek_at(1), Some(Tok::Word(_) | Tok::Text(_))) =>
                {
                    self.at += 1;
                    unit.push('/');
                }
                // `N-m`, newton metres.
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
            return Err(Stop::Unknown);
        }
        let end = self.tokens[self.at - 1].span.end;
        let span = left.span.start..end;
        Ok(Node::new(Kind::Unit(Box::new(left), unit), span))
    }
}
