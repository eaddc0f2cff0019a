//! Determines the next operator and its precedence.

use super::Parser;
use crate::answer::latex::lexer::{Tok, Token};
use crate::answer::latex::tree::Relation;
use crate::answer::latex::words::{is_function, is_greek, relation};

/// Binding powers, from loosest to tightest.
pub(super) mod power {
    pub(in crate::answer::latex) const ROWS: u8 = 1;
    pub(in crate::answer::latex) const LIST: u8 = 3;
    pub(in crate::answer::latex) const CHAIN: u8 = 5;
    pub(in crate::answer::latex) const RATIO: u8 = 7;
    pub(in crate::answer::latex) const SETS: u8 = 9;
    pub(in crate::answer::latex) const SUM: u8 = 11;
    /// `-a mod b` is `(-a) mod b`.
    pub(in crate::answer::latex) const MODULO: u8 = 12;
    pub(in crate::answer::latex) const PRODUCT: u8 = 13;
    pub(in crate::answer::latex) const NEGATION: u8 = 14;
    pub(in crate::answer::latex) const TIGHT: u8 = 17;
}

/// An infix or postfix operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Infix {
    Row,
    Item,
    Relation(Relation),
    Congruence,
    Ratio,
    SetOp,
    Sum,
    Times,
    Compose,
    Over,
    Modulo,
    Stacked,
    Beside,
    Unit,
    Postfix,
}

impl Infix {
    /// Returns whether the result nests the left side one level deeper. `±` also does; its parser function
    /// counts it.
    pub(super) fn nests(self) -> bool {
        !matches!(
            self,
            Infix::Row
                | Infix::Item
                | Infix::Relation(_)
                | Infix::Ratio
                | Infix::Sum
                | Infix::Times
                | Infix::Compose
                | Infix::Beside
        )
    }

    pub(super) fn power(self) -> u8 {
        match self {
            Infix::Row => power::ROWS,
            Infix::Stacked => power::LIST - 1,
            Infix::Item => power::LIST,
            Infix::Relation(_) | Infix::Congruence => power::CHAIN,
            Infix::Ratio => power::RATIO,
            Infix::SetOp => power::SETS,
            Infix::Sum => power::SUM,
            Infix::Modulo => power::MODULO,
            Infix::Times | Infix::Over | Infix::Beside | Infix::Unit => power::PRODUCT,
            Infix::Postfix | Infix::Compose => power::TIGHT,
        }
    }
}

impl Parser<'_, '_> {
    /// Returns the next operator without consuming it.
    pub(super) fn infix(&self) -> Option<Infix> {
        let tok = self.peek()?;
        Some(match tok {
            Tok::Symbol(c) => match c {
                ';' => Infix::Row,
                ',' => Infix::Item,
                '=' => Infix::Relation(Relation::Equal),
                '<' => Infix::Relation(Relation::Less),
                '>' => Infix::Relation(Relation::Greater),
                ':' if !self.builder => Infix::Ratio,
                '+' | '-' => Infix::Sum,
                '*' => Infix::Times,
                '/' if self.is_rate() => Infix::Unit,
                '/' => Infix::Over,
                '^' | '_' | '!' | '\'' => Infix::Postfix,
                '"' if self.is_inches() => Infix::Postfix,
                '[' if self.reversed => return None,
                '(' if matches!(self.peek_at(1), Some(Tok::Command(name)) if name == "mod") => {
                    Infix::Congruence
                }
                '(' | '[' | '{' => Infix::Beside,
                '|' if self.bars == 0 && !self.builder => Infix::Beside,
                _ => return None,
            },
            Tok::Command(name) => match name.as_str() {
                "le" => Infix::Relation(Relation::LessEqual),
                "ge" => Infix::Relation(Relation::GreaterEqual),
                "ne" => Infix::Relation(Relation::NotEqual),
                "approx" => Infix::Relation(Relation::Approximately),
                "in" => Infix::Relation(Relation::In),
                "equiv" => Infix::Relation(Relation::Equivalent),
                "colon" if !self.builder => Infix::Ratio,
                "cup" | "cap" | "setminus" => Infix::SetOp,
                "pm" | "mp" => Infix::Sum,
                "cdot" | "times" => Infix::Times,
                "circ" if self.is_composition() => Infix::Compose,
                "div" => Infix::Over,
                "mod" => Infix::Modulo,
                "over" => Infix::Stacked,
                "choose" => Infix::Stacked,
                "pmod" => Infix::Congruence,
                "%" | "circ" => Infix::Postfix,
                "}" | "rfloor" | "rceil" | "rangle" | "Vert" | "rvert" => return None,
                // `5 \frac{\text{km}}{\text{h}}`.
                "frac"
                    if matches!(self.peek_at(1), Some(Tok::Symbol('{')))
                        && matches!(self.peek_at(2), Some(Tok::Text(_))) =>
                {
                    Infix::Unit
                }
                "wedge" | "vee" => Infix::Item,
                name => match relation(name) {
                    Some(name) => Infix::Relation(Relation::Other(name)),
                    None => Infix::Beside,
                },
            },
            // `3 to 4` as the whole text.
            Tok::Word(word) | Tok::Text(word)
                if word == "to" && self.at == 1 && self.tokens.len() == 3 =>
            {
                Infix::Ratio
            }
            Tok::Word(word) => match word.to_ascii_lowercase().as_str() {
                "and" | "or" | "和" | "或" => Infix::Item,
                "to" | "if" | "is" | "are" | "for" | "when" | "where" => return None,
                _ => Infix::Unit,
            },
            Tok::Text(_) if self.is_infix_choice() => Infix::Postfix,
            Tok::Text(text) => match connective(text) {
                Some(true) => Infix::Item,
                Some(false) => return None,
                None => Infix::Unit,
            },
            Tok::Currency(_) => Infix::Unit,
            Tok::Letter('x') if self.is_times() => Infix::Times,
            Tok::Letter(_) if self.is_lettered_unit() => Infix::Unit,
            Tok::Letter(_) if self.is_infix_choice() => Infix::Postfix,
            // `A1B2` and `5 R 2` are codes, or a quotient with its remainder. A number after a letter is a
            // factor only if it is a base (`N2^{-N}`).
            Tok::Number(_)
                if self.is_behind_letter() && self.peek_at(1) != Some(&Tok::Symbol('^')) =>
            {
                return None;
            }
            Tok::Number(_) | Tok::Letter(_) | Tok::Name(_) | Tok::Begin(_) => Infix::Beside,
            Tok::NewLine | Tok::End(_) | Tok::Unknown(_) => return None,
        })
    }

    /// Returns whether an `x` at this position multiplies: `3.5 x 10^8`, `4 ft x 12 ft`.
    fn is_times(&self) -> bool {
        let (Some(sign), Some(next)) = (self.tokens.get(self.at), self.tokens.get(self.at + 1))
        else {
            return false;
        };
        let Tok::Number(literal) = &next.tok else {
            return false;
        };
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let power_of_ten = literal.is_whole()
            && literal.whole == "10"
            && matches!(self.peek_at(2), Some(Tok::Symbol('^')));
        match before.map(|token| &token.tok) {
            Some(Tok::Number(_)) => power_of_ten && sign.spaced == next.spaced,
            Some(Tok::Text(_) | Tok::Word(_)) => true,
            _ => false,
        }
    }

    fn is_behind_letter(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let indexed = |back: usize| {
            let at = self.at.checked_sub(back);
            matches!(at.and_then(|at| self.tokens.get(at)), Some(token) if token.tok == Tok::Symbol('_'))
        };
        matches!(
            before.map(|token| &token.tok),
            Some(Tok::Letter(_) | Tok::Name(_))
        ) && !indexed(2)
    }

    /// Returns whether a circle at this position is between two function names: `f \circ g`.
    fn is_composition(&self) -> bool {
        let is_name = |token: Option<&Token>| match token.map(|token| &token.tok) {
            Some(Tok::Letter(_)) => true,
            Some(Tok::Command(name)) => is_function(name) || is_greek(name),
            _ => false,
        };
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        is_name(before) && is_name(self.tokens.get(self.at + 1))
    }

    /// Returns whether a quotation mark at this position denotes the inches in `5'10"`.
    fn is_inches(&self) -> bool {
        let before = |back: usize| {
            let at = self.at.checked_sub(back)?;
            self.tokens.get(at).map(|token| &token.tok)
        };
        matches!(before(1), Some(Tok::Number(_))) && before(2) == Some(&Tok::Symbol('\''))
    }

    /// Returns whether the next token is `or`.
    pub(super) fn is_disjunction(&self) -> bool {
        match self.peek() {
            Some(Tok::Word(word) | Tok::Text(word)) => {
                let word = word.trim_matches(|c: char| c == ',' || c.is_whitespace());
                ["or", "or also", "或"]
                    .iter()
                    .any(|or| word.eq_ignore_ascii_case(or))
            }
            Some(Tok::Command(name)) => name == "vee",
            _ => false,
        }
    }
}

/// Returns `Some(true)` if a word joins items (`and`), `Some(false)` if it opens a condition (`if`), and `None`
/// for other words.
pub(crate) fn connective(word: &str) -> Option<bool> {
    let word = word.trim_matches(|c: char| c == ',' || c.is_whitespace());
    match word.to_ascii_lowercase().as_str() {
        "and" | "or" | "" | "and also" | "&" | "or also" | "和" | "或" => Some(true),
        "if" | "for" | "when" | "where" | "with" | "such that" | "otherwise" | "for all" | "is"
        | "are" | "while" | "iff" | "only if" => Some(false),
        _ => None,
    }
}
