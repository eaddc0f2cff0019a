//! Parses commands with their arguments.

use super::{Parsed, Parser, power};
use crate::answer::budget::EvalError;
use crate::answer::latex::lexer::Tok;
use crate::answer::latex::tree::{Kind, Literal, Node, Span};
use crate::answer::latex::words::{is_function, is_symbol};

impl<'t> Parser<'t, '_> {
    /// Parses what a command begins, starting at its name. Each command has a function of its own, to keep the
    /// stack frame of the recursive function small.
    pub(super) fn command(&mut self, name: &'t str, span: Span) -> Parsed {
        self.at += 1;
        let node = |kind| Ok(Node::new(kind, span.clone()));
        match name {
            "pi" => node(Kind::Symbol("π".into())),
            "e" | "i" => node(Kind::Symbol(name.into())),
            "infty" => node(Kind::Infinity),
            "emptyset" => node(Kind::Set(Vec::new())),
            "ldots" => node(Kind::Ellipsis),
            "frac" => self.fraction(span),
            "binom" => self.binomial(span),
            "sqrt" => self.root(span),
            "pm" | "mp" => self.plus_minus(name, span),
            "{" => match self.peek() {
                // `\left\{\begin{array} … \right.`: a brace that is not closed.
                Some(Tok::Begin(environment))
                    if matches!(environment.as_str(), "array" | "aligned" | "matrix")
                        && !self.closes_set() =>
                {
                    self.environment(environment, true)
                }
                _ => self.set(span.start),
            },
            "lfloor" | "lceil" => self.rounded(name, span),
            "lvert" => self.absolute(span),
            "Vert" => self.norm(span),
            "langle" => self.angle_brackets(span),
            "mathbf" | "boldsymbol" | "bm" | "vec" | "hat" | "bar" | "tilde" | "overline"
            | "overrightarrow" | "dot" | "ddot" | "mathbb" | "mathcal" | "mathfrak" | "mathscr"
            | "mathit" | "widehat" | "widetilde" | "pmb" | "mathring" | "overarc" | "angle"
            | "triangle" | "textcircled" => self.accent(name, span),
            "boxed" | "fbox" => self.argument(),
            "sum" | "prod" | "int" | "iint" | "oint" | "lim" | "bigcup" | "bigcap" => {
                self.big(name, span)
            }
            "approx" if self.at == 1 => self.expression(power::CHAIN),
            "therefore" | "because" => Err(EvalError::Unsupported),
            "%" | "circ" | "}" | "rfloor" | "rceil" | "rangle" | "cup" | "cap" | "cdot"
            | "times" | "div" | "le" | "ge" | "ne" | "approx" | "in" | "over" | "choose"
            | "pmod" | "mod" | "overset" | "underset" | "underbrace" | "tag" | "hline" | "to"
            | "implies" | "iff" | "forall" | "exists" | "wedge" | "vee" | "neg" | "not" => {
                Err(EvalError::Unsupported)
            }
            _ if is_function(name) => self.function(name, span),
            _ if is_symbol(name) && !self.is_symbol('{') => node(Kind::Symbol(name.into())),
            // An unknown command may be a relation or take arguments, so it cannot be interpreted.
            _ => Err(EvalError::Unsupported),
        }
    }

    /// Parses the arguments of `\frac`.
    #[inline(never)]
    fn fraction(&mut self, span: Span) -> Parsed {
        if let Some(derivative) = self.derivative() {
            return Ok(Node::new(derivative, span));
        }
        let top = self.argument()?;
        let bottom = self.argument()?;
        let span = span.start..bottom.span.end;
        let kind = Kind::Div(Box::new(top), Box::new(bottom));
        Ok(Node::new(kind, span))
    }

    /// Parses the arguments of `\sqrt`.
    #[inline(never)]
    fn root(&mut self, span: Span) -> Parsed {
        let index = if self.is_symbol('[') {
            match self.bracket('[')?.kind {
                Kind::Group(inner) => Some(*inner),
                _ => return Err(EvalError::Unsupported),
            }
        } else {
            None
        };
        let radicand = self.argument()?;
        let index = index.unwrap_or_else(|| {
            let two = Literal {
                whole: "2".into(),
                ..Default::default()
            };
            Node::new(Kind::Number(Box::new(two)), span.clone())
        });
        let span = span.start..radicand.span.end;
        Ok(Node::new(
            Kind::Root(Box::new(index), Box::new(radicand)),
            span,
        ))
    }

    /// Parses a floor or ceiling.
    #[inline(never)]
    fn rounded(&mut self, name: &str, span: Span) -> Parsed {
        let (close, function) = if name == "lfloor" {
            ("rfloor", "floor")
        } else {
            ("rceil", "ceil")
        };
        let inner = self.expression(power::CHAIN + 1)?;
        if !self.eat_command(close) {
            return Err(EvalError::Unsupported);
        }
        Ok(Node::new(Kind::Call(function.into(), vec![inner]), span))
    }

    /// Parses items in angle brackets.
    #[inline(never)]
    fn angle_brackets(&mut self, span: Span) -> Parsed {
        let inner = self.expression(power::LIST)?;
        if !self.eat_command("rangle") {
            return Err(EvalError::Unsupported);
        }
        let items = match inner.kind {
            Kind::List(items) => items,
            _ => return Err(EvalError::Unsupported),
        };
        Ok(Node::new(Kind::Bracket('⟨', '⟩', items), span))
    }

    /// Parses an absolute value between directed bars.
    #[inline(never)]
    fn absolute(&mut self, span: Span) -> Parsed {
        let inner = self.expression(power::CHAIN + 1)?;
        if !self.eat_command("rvert") {
            return Err(EvalError::Unsupported);
        }
        Ok(Node::new(Kind::Call("abs".into(), vec![inner]), span))
    }

    /// Parses a norm.
    #[inline(never)]
    fn norm(&mut self, span: Span) -> Parsed {
        let inner = self.expression(power::CHAIN + 1)?;
        if !self.eat_command("Vert") {
            return Err(EvalError::Unsupported);
        }
        Ok(Node::new(Kind::Call("norm".into(), vec![inner]), span))
    }

    /// Parses a `±` or `∓` prefix.
    #[inline(never)]
    fn plus_minus(&mut self, name: &str, span: Span) -> Parsed {
        let inner = self.expression(power::NEGATION - 1)?;
        Ok(Node::new(
            Kind::PlusMinus(None, Box::new(inner), name == "mp"),
            span,
        ))
    }

    /// Parses a binomial coefficient.
    #[inline(never)]
    fn binomial(&mut self, span: Span) -> Parsed {
        let top = self.argument()?;
        let bottom = self.argument()?;
        Ok(Node::new(
            Kind::Call("binom".into(), vec![top, bottom]),
            span,
        ))
    }
}
