//! Parses operators with their right operands.

use super::infix::{Infix, power};
use super::{
    Parsed, Parser, collect, disjunction, is_number, last_factor, mixed, notation, product, vectors,
};
use crate::answer::budget::EvalError;
use crate::answer::latex::lexer::Tok;
use crate::answer::latex::tree::{Kind, Node, Relation};

impl Parser<'_, '_> {
    /// Parses an operator and its right operand. Each operator has a function of its own, to keep the stack
    /// frame of the recursive function small.
    pub(super) fn apply(&mut self, left: Node, infix: Infix) -> Parsed {
        match infix {
            Infix::Row => self.rows(left),
            Infix::Item => self.items(left),
            Infix::Relation(first) => self.relations(left, first),
            Infix::Congruence => self.congruence(left),
            Infix::Ratio => self.ratio(left),
            Infix::SetOp => self.set_operation(left),
            Infix::Sum => self.sum(left),
            Infix::Times => self.times(left),
            Infix::Compose => self.composition(left),
            Infix::Beside => self.beside(left),
            Infix::Over => self.over(left),
            Infix::Modulo => self.modulo(left),
            Infix::Stacked => self.stacked(left),
            Infix::Unit => self.unit(left),
            Infix::Postfix => self.postfix(left),
        }
    }

    /// Parses items separated by semicolons.
    #[inline(never)]
    fn rows(&mut self, left: Node) -> Parsed {
        let mut rows = vec![left];
        while self.eat(';') {
            if self.ends_here() {
                break;
            }
            rows.push(self.expression(power::ROWS + 1)?);
        }
        Ok(collect(rows, Kind::Rows))
    }

    /// Parses items separated by commas or conjunctions.
    #[inline(never)]
    fn items(&mut self, left: Node) -> Parsed {
        let mut items = vec![left];
        let mut logical: Option<&str> = None;
        // The first items of further alternatives (after `or`).
        let mut others = Vec::new();
        while let Some(Infix::Item) = self.infix() {
            // `, and` is one separator.
            while let Some(Infix::Item) = self.infix() {
                if self.is_disjunction() && others.last() != Some(&items.len()) {
                    others.push(items.len());
                }
                if let Some(Tok::Command(name)) = self.peek() {
                    if logical.is_some_and(|before| before != name) {
                        return Err(EvalError::Unsupported);
                    }
                    logical = Some(name);
                }
                self.at += 1;
                self.budget.spend(1)?;
            }
            if self.ends_here() {
                // A trailing comma is ignored, but `and` requires another item.
                let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
                if !matches!(before.map(|token| &token.tok), Some(Tok::Symbol(','))) {
                    return Err(EvalError::Unsupported);
                }
                break;
            }
            items.push(self.expression(power::LIST + 1)?);
        }
        // `x < 1 ∨ x > 2` lists statements; between letters, the symbols are operations.
        let statements = items
            .iter()
            .all(|item| matches!(item.kind, Kind::Chain(..)));
        if let Some(name) = logical.filter(|_| !statements) {
            return Ok(collect(items, |items| Kind::Call(name.into(), items)));
        }
        others.retain(|&start| start < items.len());
        if statements && !others.is_empty() {
            return Ok(disjunction(items, &others));
        }
        match (items.pop(), items.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                items.extend(last);
                Ok(collect(items, Kind::List))
            }
        }
    }

    /// Parses a chain of sides and relations.
    #[inline(never)]
    fn relations(&mut self, left: Node, first: Relation) -> Parsed {
        let mut sides = vec![left];
        let mut relations = Vec::new();
        let mut next = Some(Infix::Relation(first));
        while let Some(Infix::Relation(relation)) = next {
            self.at += 1;
            relations.push(relation);
            sides.push(self.expression(power::CHAIN + 1)?);
            next = self.infix();
        }
        // `x \equiv 3 \mod 7`: the sign `≡` applies the modulus to both sides.
        if let ([Relation::Equivalent], [_, right]) = (&*relations, &*sides)
            && let Kind::Call(name, parts) = &right.kind
            && let ("mod", [rest, modulus]) = (name.as_str(), &**parts)
        {
            let (rest, modulus) = (Box::new(rest.clone()), Box::new(modulus.clone()));
            let span = sides[0].span.start..right.span.end;
            let left = Box::new(sides.swap_remove(0));
            return Ok(Node::new(Kind::Congruence(left, rest, modulus), span));
        }
        Ok(collect(sides, |sides| Kind::Chain(sides, relations)))
    }

    /// Parses `\pmod` or `(mod …)` after a congruence.
    #[inline(never)]
    fn congruence(&mut self, left: Node) -> Parsed {
        // `x \equiv a \pmod m`: the left side is a chain of one equivalence.
        let bracket = self.eat('(');
        self.at += 1;
        let modulus = if bracket {
            let modulus = self.expression(power::SUM)?;
            self.expect(')')?;
            modulus
        } else {
            self.argument()?
        };
        let span = Self::joined(&left, &modulus);
        match left.kind {
            Kind::Chain(mut sides, relations)
                if matches!(*relations, [Relation::Equivalent | Relation::Equal])
                    && sides.len() == 2 =>
            {
                let right = sides.pop().ok_or(EvalError::Unsupported)?;
                let left = sides.pop().ok_or(EvalError::Unsupported)?;
                let parts = (Box::new(left), Box::new(right), Box::new(modulus));
                Ok(Node::new(Kind::Congruence(parts.0, parts.1, parts.2), span))
            }
            Kind::Chain(..) | Kind::List(_) => Err(EvalError::Unsupported),
            // `3 \pmod 7`: the left side is omitted.
            kind => {
                let unsaid = Node::new(Kind::Ellipsis, left.span.start..left.span.start);
                let right = Node::new(kind, left.span);
                let parts = (Box::new(unsaid), Box::new(right), Box::new(modulus));
                Ok(Node::new(Kind::Congruence(parts.0, parts.1, parts.2), span))
            }
        }
    }

    /// Parses terms separated by colons.
    #[inline(never)]
    fn ratio(&mut self, left: Node) -> Parsed {
        let mut terms = vec![left];
        while let Some(Infix::Ratio) = self.infix() {
            self.at += 1;
            terms.push(self.expression(power::RATIO + 1)?);
        }
        Ok(collect(terms, Kind::Ratio))
    }

    /// Parses a union, intersection or difference.
    #[inline(never)]
    fn set_operation(&mut self, left: Node) -> Parsed {
        let operator = match self.peek() {
            Some(Tok::Command(name)) if name == "cup" => '∪',
            Some(Tok::Command(name)) if name == "cap" => '∩',
            _ => '∖',
        };
        self.at += 1;
        let right = self.expression(power::SETS + 1)?;
        let span = Self::joined(&left, &right);
        let kind = Kind::SetOp(operator, Box::new(left), Box::new(right));
        Ok(Node::new(kind, span))
    }

    /// Parses a factor after a multiplication sign.
    #[inline(never)]
    fn times(&mut self, left: Node) -> Parsed {
        let is_cross = self.is_command("times");
        self.at += 1;
        let right = self.expression(power::PRODUCT + 1)?;
        if is_cross && (vectors::is_set(&left) || vectors::is_set(&right)) {
            return Ok(vectors::product_of_sets(left, right));
        }
        if is_cross && vectors::is_cross(last_factor(&left), &right) {
            return Ok(vectors::cross(left, right));
        }
        if !is_cross && vectors::is_nabla(last_factor(&left)) {
            return Ok(vectors::divergence(left, right));
        }
        Ok(product(left, right))
    }

    /// Parses functions composed with circles.
    #[inline(never)]
    fn composition(&mut self, left: Node) -> Parsed {
        let mut functions = vec![left];
        while let Some(Infix::Compose) = self.infix() {
            self.at += 1;
            functions.push(self.expression(power::TIGHT)?);
        }
        Ok(collect(functions, |items| Kind::Call("circ".into(), items)))
    }

    /// Parses an adjacent operand: a factor, or a part of a mixed number.
    #[inline(never)]
    fn beside(&mut self, left: Node) -> Parsed {
        // `\mathbb{Z}[x]` is not a product.
        if vectors::is_set(last_factor(&left)) {
            return Err(EvalError::Unsupported);
        }
        // `25^\circ C` at the end of the text.
        if matches!(left.kind, Kind::Degree(_))
            && let Some(Tok::Letter(scale @ ('C' | 'F'))) = self.peek()
            && self.at + 1 == self.tokens.len()
        {
            self.at += 1;
            let span = left.span.clone();
            return Ok(Node::new(
                Kind::Unit(Box::new(left), scale.to_string()),
                span,
            ));
        }
        // `1101 (base 2)`.
        if self.is_symbol('(')
            && let Kind::Number(literal) = &left.kind
            && literal.is_whole()
            && let Some((base, len)) = self.base(1)
            && matches!(self.peek_at(1 + len), Some(Tok::Symbol(')')))
        {
            self.at += len + 2;
            let span = left.span.clone();
            return Ok(Node::new(Kind::Radix(literal.whole.clone(), base), span));
        }
        // `396 (degrees)`: a sign in brackets.
        if self.is_symbol('(')
            && matches!(self.peek_at(1), Some(Tok::Command(name)) if name == "circ" || name == "%")
            && matches!(self.peek_at(2), Some(Tok::Symbol(')')))
        {
            self.at += 1;
            let mut marked = self.postfix(left)?;
            self.expect(')')?;
            marked.span.end = self.tokens[self.at - 1].span.end;
            return Ok(marked);
        }
        let right = self.expression(power::PRODUCT + 1)?;
        let read = mixed(&left, &right);
        if let Some(mixed) = read.or_else(|| notation::signed_mixed(&left, &right, mixed)) {
            return Ok(mixed);
        }
        if is_number(&right) && is_number(last_factor(&left)) {
            // `3 1/2` is a mixed number, `1 2` has no meaning.
            if self.is_symbol('/') && matches!(self.peek_at(1), Some(Tok::Number(_))) {
                self.at += 1;
                let bottom = self.expression(power::TIGHT)?;
                let span = Self::joined(&right, &bottom);
                // A percent or degree sign applies to the whole number.
                let over = |bottom: Box<Node>| {
                    let kind = Kind::Div(Box::new(right), bottom);
                    Box::new(Node::new(kind, span.clone()))
                };
                let right = match bottom.kind {
                    Kind::Percent(bottom) => Kind::Percent(over(bottom)),
                    Kind::Degree(bottom) => Kind::Degree(over(bottom)),
                    _ => over(Box::new(bottom)).kind,
                };
                let right = Node::new(right, span);
                let read = mixed(&left, &right);
                return read
                    .or_else(|| notation::signed_mixed(&left, &right, mixed))
                    .ok_or(EvalError::Unsupported);
            }
            return Err(EvalError::Unsupported);
        }
        Ok(product(left, right))
    }

    /// Parses a quotient with a division sign.
    #[inline(never)]
    fn over(&mut self, left: Node) -> Parsed {
        self.at += 1;
        let right = self.expression(power::PRODUCT + 1)?;
        // A quotient of sets of numbers is not a number.
        if vectors::is_set(last_factor(&left)) || vectors::is_set(last_factor(&right)) {
            return Err(EvalError::Unsupported);
        }
        let span = Self::joined(&left, &right);
        Ok(Node::new(Kind::Div(Box::new(left), Box::new(right)), span))
    }

    /// Parses `a \bmod b`.
    #[inline(never)]
    fn modulo(&mut self, left: Node) -> Parsed {
        self.at += 1;
        let right = self.expression(power::PRODUCT + 1)?;
        let span = Self::joined(&left, &right);
        Ok(Node::new(Kind::Call("mod".into(), vec![left, right]), span))
    }

    /// Parses `a \over b` and `n \choose k`.
    #[inline(never)]
    fn stacked(&mut self, left: Node) -> Parsed {
        let choose = self.is_command("choose");
        self.at += 1;
        let right = self.expression(power::LIST)?;
        let span = Self::joined(&left, &right);
        let kind = if choose {
            Kind::Call("binom".into(), vec![left, right])
        } else {
            Kind::Div(Box::new(left), Box::new(right))
        };
        Ok(Node::new(kind, span))
    }

    #[inline(never)]
    fn sum(&mut self, left: Node) -> Parsed {
        let sign = self.peek();
        self.at += 1;
        let right = self.expression(power::SUM + 1)?;
        if let Some(Tok::Command(_)) = sign {
            self.budget.enter()?;
        }
        Ok(added(left, right, sign))
    }
}

/// Adds two terms with the sign between them.
#[inline(never)]
fn added(left: Node, right: Node, sign: Option<&Tok>) -> Node {
    let span = Parser::joined(&left, &right);
    let right = match sign {
        Some(Tok::Symbol('-')) => {
            let span = right.span.clone();
            Node::new(Kind::Neg(Box::new(right)), span)
        }
        Some(Tok::Command(name)) => {
            let kind = Kind::PlusMinus(Some(Box::new(left)), Box::new(right), name == "mp");
            return Node::new(kind, span);
        }
        _ => right,
    };
    let mut terms = match left.kind {
        Kind::Add(terms) => terms,
        kind => vec![Node::new(kind, left.span)],
    };
    terms.push(right);
    Node::new(Kind::Add(terms), span)
}
