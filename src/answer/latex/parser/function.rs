//! Parses functions with their arguments, environments such as matrices, and large operators.

use smol_str::{SmolStr, format_smolstr};

use super::{Infix, Parsed, Parser, connective, mixed, power, product};
use crate::answer::budget::EvalError;
use crate::answer::latex::lexer::{Tok, Token};
use crate::answer::latex::tree::{BigOperator, Kind, Node, Relation, Span};
use crate::answer::latex::words::{is_function, is_greek};

impl Parser<'_, '_> {
    /// Parses a function after its name: power, index and argument.
    pub(super) fn function(&mut self, name: &str, span: Span) -> Parsed {
        let mut base = None;
        let mut exponent = None;
        loop {
            if self.is_symbol('_') && base.is_none() {
                self.at += 1;
                base = Some(self.script()?);
            } else if self.is_symbol('^') && exponent.is_none() {
                self.at += 1;
                exponent = Some(self.script()?);
            } else {
                break;
            }
        }
        // `\max at x = 1`: the position of an extremum.
        if matches!(name, "max" | "min")
            && base.is_none()
            && exponent.is_none()
            && matches!(self.peek(), Some(Tok::Word(word) | Tok::Text(word)) if word == "at")
        {
            return self.placed(name, span);
        }
        let start = self.at;
        let arguments = self.function_argument()?;
        self.called(name, span, [base, exponent], arguments, start)
    }

    /// Builds a function call with index, power and arguments. The arguments begin at token `start`.
    #[inline(never)]
    fn called(
        &mut self,
        name: &str,
        span: Span,
        [base, exponent]: [Option<Node>; 2],
        mut arguments: Vec<Node>,
        start: usize,
    ) -> Parsed {
        // `max 5`, `\min f(x)`: the word describes a value; it is not a function of one number.
        if matches!(name, "max" | "min" | "gcd" | "lcm") && arguments.len() == 1 {
            let read = self.tokens.get(start..self.at).unwrap_or_default();
            let bracketed = matches!(read.first().map(|token| &token.tok), Some(Tok::Symbol(_)));
            let named = |token: &Token| !matches!(token.tok, Tok::Number(_) | Tok::Symbol(_));
            if !bracketed || read.iter().any(named) {
                return Err(EvalError::Unsupported);
            }
        }
        let mut name = SmolStr::new(name);
        if let Some(base) = base {
            if name != "log" {
                return Err(EvalError::Unsupported);
            }
            name = "log_base".into();
            arguments.insert(0, base);
        }
        let mut inverse = false;
        if let Some(power) = &exponent {
            let minus_one = matches!(&power.kind, Kind::Neg(inner) if matches!(&inner.kind,
                Kind::Number(literal) if literal.is_whole() && literal.whole == "1"));
            if minus_one {
                let arc = match name.as_str() {
                    "sin" | "cos" | "tan" | "cot" | "sec" | "csc" | "sinh" | "cosh" | "tanh" => {
                        format_smolstr!("arc{name}")
                    }
                    _ => return Err(EvalError::Unsupported),
                };
                name = arc;
                inverse = true;
            }
        }
        let end = arguments
            .last()
            .map_or(span.end, |argument| argument.span.end);
        let call = Node::new(Kind::Call(name, arguments), span.start..end);
        Ok(match exponent {
            Some(power) if !inverse => {
                let span = call.span.clone();
                Node::new(Kind::Pow(Box::new(call), Box::new(power)), span)
            }
            _ => call,
        })
    }

    /// Parses `\max at x = 1` from the word `at` on.
    #[inline(never)]
    fn placed(&mut self, name: &str, span: Span) -> Parsed {
        self.at += 1;
        let place = self.expression(power::CHAIN)?;
        let end = place.span.end;
        let at = Node::new(Kind::Text(format_smolstr!("{name} at")), span.clone());
        let (mut sides, mut relations) = match place.kind {
            Kind::Chain(sides, relations) => (sides, relations),
            kind => (vec![Node::new(kind, place.span)], Vec::new()),
        };
        sides.insert(0, at);
        relations.insert(0, Relation::Equal);
        Ok(Node::new(Kind::Chain(sides, relations), span.start..end))
    }

    pub(super) fn function_argument(&mut self) -> Result<Vec<Node>, EvalError> {
        match self.peek() {
            // `\min\{3, 5\}`.
            Some(Tok::Command(name)) if name == "{" => {
                let inner = self.argument()?;
                Ok(match inner.kind {
                    Kind::Set(items) if !items.is_empty() => items,
                    kind => vec![Node::new(kind, inner.span)],
                })
            }
            Some(Tok::Symbol('(' | '[' | '{')) => self.bracketed_arguments(),
            _ => self.argument_beside(),
        }
    }

    /// Parses arguments in brackets.
    #[inline(never)]
    fn bracketed_arguments(&mut self) -> Result<Vec<Node>, EvalError> {
        let open = if self.is_symbol('(') {
            '('
        } else if self.is_symbol('[') {
            '['
        } else {
            '{'
        };
        let inner = self.bracket(open)?;
        Ok(match inner.kind {
            // `\ln{\left(x\right)}`: brackets inside braces.
            Kind::Group(inner) => match inner.kind {
                Kind::Group(inner) if open == '{' => vec![*inner],
                Kind::Bracket('(', ')', items) if open == '{' => items,
                kind => vec![Node::new(kind, inner.span)],
            },
            Kind::Bracket(_, _, items) | Kind::Set(items) => items,
            kind => vec![Node::new(kind, inner.span)],
        })
    }

    /// Parses a product of adjacent factors, up to the next function or operator.
    #[inline(never)]
    fn argument_beside(&mut self) -> Result<Vec<Node>, EvalError> {
        let mut argument = self.expression(power::TIGHT)?;
        let first_is_call = matches!(argument.kind, Kind::Call(..));
        loop {
            self.budget.spend(1)?;
            if first_is_call || self.infix() != Some(Infix::Beside) {
                break;
            }
            match self.peek() {
                Some(Tok::Command(name)) if is_function(name) => break,
                Some(Tok::Symbol('(' | '[' | '|')) => break,
                // `\int \sin x dx`: the differential is not part of the argument.
                Some(Tok::Letter('d')) if self.integrals > 0 && self.is_differential() => {
                    break;
                }
                _ => {}
            }
            let next = self.expression(power::TIGHT)?;
            argument = mixed(&argument, &next).unwrap_or_else(|| product(argument, next));
        }
        Ok(vec![argument])
    }

    /// Returns whether a `d` at this position is followed by a variable.
    fn is_differential(&self) -> bool {
        match self.peek_at(1) {
            Some(Tok::Letter(_)) => true,
            Some(Tok::Command(name)) => is_greek(name),
            _ => false,
        }
    }

    /// Returns whether a closing `\}` occurs anywhere ahead.
    pub(super) fn closes_set(&self) -> bool {
        let ahead = self.tokens.get(self.at..).unwrap_or(&[]);
        ahead
            .iter()
            .any(|token| matches!(&token.tok, Tok::Command(name) if name == "}"))
    }

    pub(super) fn environment(&mut self, environment: &str, cases: bool) -> Parsed {
        let start = self.span().start;
        self.at += 1;
        let is_cases = cases || matches!(environment, "cases" | "dcases" | "rcases");
        let is_matrix = is_cases
            || matches!(
                environment,
                "pmatrix" | "bmatrix" | "matrix" | "smallmatrix" | "vmatrix" | "array" | "Bmatrix"
            );
        if !is_matrix {
            return Err(EvalError::Unsupported);
        }
        let outer = (
            std::mem::take(&mut self.bars),
            std::mem::take(&mut self.builder),
            self.cells,
        );
        self.cells += 1;
        let mut rows = Vec::new();
        let mut row = Vec::new();
        loop {
            self.budget.spend(1)?;
            match self.peek() {
                Some(Tok::End(name)) if name == environment => {
                    self.at += 1;
                    if !row.is_empty() {
                        rows.push(row);
                    }
                    break;
                }
                Some(Tok::NewLine) => {
                    self.at += 1;
                    if !row.is_empty() {
                        rows.push(std::mem::take(&mut row));
                    }
                }
                Some(Tok::Symbol('&')) => self.at += 1,
                Some(Tok::Command(name)) if name == "hline" => self.at += 1,
                Some(Tok::Symbol(',' | ';')) if is_cases => self.at += 1,
                // The full stop of the sentence that ends with the cases.
                Some(Tok::Symbol('.'))
                    if is_cases && matches!(self.peek_at(1), Some(Tok::End(_))) =>
                {
                    self.at += 1;
                }
                Some(Tok::Word(word) | Tok::Text(word))
                    if is_cases && connective(word) == Some(false) =>
                {
                    self.at += 1;
                }
                Some(_) => {
                    let least = if is_cases { power::LIST + 1 } else { 0 };
                    row.push(self.expression(least)?);
                }
                None => return Err(EvalError::Unsupported),
            }
        }
        (self.bars, self.builder, self.cells) = outer;
        let span = start..self.tokens[self.at - 1].span.end;
        let kind = match environment {
            "vmatrix" => Kind::Call(
                "det".into(),
                vec![Node::new(Kind::Matrix(rows), span.clone())],
            ),
            _ if is_cases => Kind::Cases(rows),
            _ => Kind::Matrix(rows),
        };
        Ok(Node::new(kind, span))
    }

    /// Parses a sum, product, integral, limit or union with an index.
    pub(super) fn big(&mut self, name: &str, span: Span) -> Parsed {
        let mut below = None;
        let mut above = None;
        let (mut low, mut high) = (false, false);
        loop {
            let script = if self.is_symbol('_') && !low {
                low = true;
                &mut below
            } else if self.is_symbol('^') && !high {
                high = true;
                &mut above
            } else {
                break;
            };
            self.at += 1;
            // `\int_{}^{} x dx` has no bounds.
            let is_empty = self.is_symbol('{') && matches!(self.peek_at(1), Some(Tok::Symbol('}')));
            if is_empty {
                self.at += 2;
            } else {
                *script = Some(self.script()?);
            }
        }
        let is_integral = matches!(name, "int" | "iint" | "oint");
        let least = match name {
            "int" | "iint" | "oint" => power::SUM,
            "bigcup" | "bigcap" => power::SETS,
            _ => power::PRODUCT,
        };
        self.integrals += u32::from(is_integral);
        let body = self.expression(least)?;
        self.integrals -= u32::from(is_integral);
        let end = body.span.end;
        let big = BigOperator {
            operator: name.into(),
            below,
            above,
            body,
        };
        Ok(Node::new(Kind::BigOperator(Box::new(big)), span.start..end))
    }
}
