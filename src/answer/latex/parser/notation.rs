//! Notations whose meaning differs from that of their parts: `{}_{10}C_3`, `10C3`, `C_{10}^3`, bases and
//! ordinals in words.

use super::{Parsed, Parser, product};
use crate::answer::budget::EvalError;
use crate::answer::latex::lexer::Tok;
use crate::answer::latex::tree::{Kind, Literal, Node};

/// Combinations or permutations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Combinations,
    Permutations,
}

impl Parser<'_, '_> {
    /// Returns what the letter between two numbers denotes.
    fn choice_at(&self, ahead: usize) -> Option<Choice> {
        match self.peek_at(ahead)? {
            Tok::Letter('C') => Some(Choice::Combinations),
            Tok::Letter('P') => Some(Choice::Permutations),
            Tok::Text(text) if text == "C" => Some(Choice::Combinations),
            Tok::Text(text) if text == "P" => Some(Choice::Permutations),
            _ => None,
        }
    }

    /// Returns whether no space precedes a token.
    fn is_close(&self, ahead: usize) -> bool {
        matches!(self.tokens.get(self.at + ahead), Some(token) if !token.spaced)
    }

    fn whole_at(&self, ahead: usize) -> Option<&Literal> {
        match self.peek_at(ahead) {
            Some(Tok::Number(literal)) if literal.is_whole() => Some(literal),
            _ => None,
        }
    }

    /// Parses `{}_{10}C_{3}`, `_{10}C_3` or `^{10}C_3`. Returns `None`, without consuming anything, if the
    /// tokens are something else.
    pub(super) fn scripted_choice(&mut self) -> Result<Option<Node>, EvalError> {
        let start = self.at;
        if self.is_symbol('{') && matches!(self.peek_at(1), Some(Tok::Symbol('}'))) {
            self.at += 2;
        }
        if self.eat('_') || self.eat('^') {
            let top = self.script()?;
            if let Some(choice) = self.choice_at(0)
                && matches!(self.peek_at(1), Some(Tok::Symbol('_')))
            {
                self.at += 2;
                let bottom = self.script()?;
                return Ok(Some(chosen(choice, top, bottom)));
            }
        }
        self.at = start;
        Ok(None)
    }

    /// Returns whether `C3` or `P3` directly follows a number: `10C3`.
    pub(super) fn is_infix_choice(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        matches!(before.map(|token| &token.tok), Some(Tok::Number(literal)) if literal.is_whole())
            && self.choice_at(0).is_some()
            && self.is_close(0)
            && self.is_close(1)
            && self.whole_at(1).is_some()
            && !matches!(self.peek_at(2), Some(Tok::Symbol('^' | '_')))
    }

    /// Parses `C3` after an integer.
    pub(super) fn infix_choice(&mut self, top: Node) -> Parsed {
        let choice = self.choice_at(0).ok_or(EvalError::Unsupported)?;
        self.at += 1;
        let bottom = self.argument()?;
        Ok(chosen(choice, top, bottom))
    }

    /// Reads `base 2` or `in base 2` at `ahead`. Returns the base and the number of tokens.
    pub(super) fn base(&self, ahead: usize) -> Option<(u32, usize)> {
        let word = |more: usize| match self.peek_at(ahead + more) {
            Some(Tok::Word(word) | Tok::Text(word)) => Some(word.as_str()),
            _ => None,
        };
        let figures = |more: usize| self.whole_at(ahead + more)?.whole.parse().ok();
        let found = match (word(0)?, word(1)) {
            ("in", Some("base")) => (figures(2)?, 3),
            ("base" | "in base", _) => (figures(1)?, 2),
            (text, _) => {
                let text = text.strip_prefix('(').unwrap_or(text);
                let text = text.strip_suffix(')').unwrap_or(text);
                let text = text.strip_prefix("in ").unwrap_or(text);
                (text.strip_prefix("base ")?.trim().parse().ok()?, 1)
            }
        };
        (2..=36).contains(&found.0).then_some(found)
    }
}

fn chosen(choice: Choice, top: Node, bottom: Node) -> Node {
    let span = top.span.start..bottom.span.end;
    let of = |kind| Node::new(kind, span.clone());
    match choice {
        Choice::Combinations => of(Kind::Call("binom".into(), vec![top, bottom])),
        Choice::Permutations => {
            // Permutations are combinations in every order.
            let orders = of(Kind::Factorial(Box::new(bottom.clone())));
            product(of(Kind::Call("binom".into(), vec![top, bottom])), orders)
        }
    }
}

/// Returns `C_{10}^3` as a binomial coefficient if it can be one. `name` includes the index.
pub(super) fn indexed_choice(name: &str, power: &Node) -> Option<Node> {
    let index = name.strip_prefix("C_")?;
    let (top, span) = (index.parse::<u32>(), power.span.clone());
    let number = |digits: String| {
        let whole = Literal {
            whole: digits,
            ..Literal::default()
        };
        Node::new(Kind::Number(Box::new(whole)), span.clone())
    };
    match (top, &power.kind) {
        (Ok(top), Kind::Number(literal)) if literal.is_whole() => {
            let bottom: u32 = literal.whole.parse().ok()?;
            // `C_1^2` is the square of a constant.
            (top > 2 && bottom <= top)
                .then(|| chosen(Choice::Combinations, number(top.to_string()), power.clone()))
        }
        (Err(_), Kind::Symbol(_)) if index == "n" => {
            let top = Node::new(Kind::Symbol("n".into()), span);
            Some(chosen(Choice::Combinations, top, power.clone()))
        }
        _ => None,
    }
}

/// Returns an ordinal, if a power is an ordinal suffix: `5^{\text{th}}`.
pub(super) fn place(base: &Node, power: &Node) -> Option<Kind> {
    match (&base.kind, &power.kind) {
        (Kind::Number(literal), Kind::Text(suffix))
            if literal.is_whole() && matches!(suffix.as_str(), "st" | "nd" | "rd" | "th") =>
        {
            Some(Kind::Unit(Box::new(base.clone()), suffix.to_string()))
        }
        _ => None,
    }
}

/// Returns a mixed number with a sign. The sign after the fraction applies to the whole number: `33\frac13\%`.
pub(super) fn signed_mixed(
    left: &Node,
    right: &Node,
    mixed: impl Fn(&Node, &Node) -> Option<Node>,
) -> Option<Node> {
    let (inner, is_percent) = match &right.kind {
        Kind::Percent(inner) => (inner, true),
        Kind::Degree(inner) => (inner, false),
        _ => return None,
    };
    let whole = Box::new(mixed(left, inner)?);
    let span = left.span.start..right.span.end;
    let kind = if is_percent {
        Kind::Percent(whole)
    } else {
        Kind::Degree(whole)
    };
    Some(Node::new(kind, span))
}
