//! An operator-precedence (Pratt) parser from tokens to a syntax tree. Except for final punctuation and a few
//! introductory phrases, every token becomes part of the tree or the whole text is rejected.

mod apply;
mod bars;
mod command;
mod function;
mod infix;
mod notation;
mod operand;
mod postfix;
mod vectors;
mod whole;

use smol_str::SmolStr;

pub(crate) use infix::connective;
use infix::{Infix, power};

use super::lexer::{Tok, Token};
use super::tree::{Kind, Node, Relation, Span};
use crate::answer::budget::{Budget, EvalError};

/// Parses a whole answer.
///
/// # Errors
///
/// Returns [`EvalError::Unsupported`] if the text is not known mathematics, and [`EvalError::LimitExceeded`] if
/// the budget is exceeded.
pub(crate) fn tree(tokens: &[Token], budget: &mut Budget) -> Result<Node, EvalError> {
    let mut end = tokens.len();
    // Final punctuation and final line breaks are not part of the answer.
    while end > 0
        && matches!(
            tokens[end - 1].tok,
            Tok::Symbol('.' | ',' | ';' | ':') | Tok::NewLine
        )
    {
        end -= 1;
    }
    let mut start = 0;
    while start < end && matches!(tokens[start].tok, Tok::NewLine | Tok::Symbol(':')) {
        start += 1;
    }
    let tokens = &tokens[start..end];
    if tokens.is_empty() {
        return Err(EvalError::Unsupported);
    }
    if let Some((end, name, domain)) = whole::clause(tokens, budget)? {
        let read = budget.attempt(|budget| parse(&tokens[..end], budget))?;
        if let Some(inner) = read {
            let span = inner.span.start..tokens[tokens.len() - 1].span.end;
            let kind = Kind::ForAll(Box::new(inner), SmolStr::from_iter([name]), domain);
            return Ok(Node::new(kind, span));
        }
    }
    if let Some(colon) = whole::restatement(tokens) {
        let left = parse(&tokens[..colon], budget)?;
        let right = parse(&tokens[colon + 1..], budget)?;
        let same = vec![Relation::Other("iff")];
        return Ok(collect(vec![left, right], |sides| Kind::Chain(sides, same)));
    }
    if let Some(start) = whole::we_have(tokens)
        && let Some(mut node) = budget.attempt(|budget| parse(&tokens[start..], budget))?
    {
        node.span.start = tokens[0].span.start;
        return Ok(node);
    }
    if let Some(node) = budget.attempt(|budget| parse(tokens, budget))? {
        return Ok(node);
    }
    if let Some(start) = whole::introduction(tokens) {
        let mut node = parse(&tokens[start..], budget)?;
        node.span.start = tokens[0].span.start;
        return Ok(node);
    }
    if let Some(tokens) = bars::directed(tokens)
        && let Some(node) = budget.attempt(|budget| parse(&tokens, budget))?
    {
        return Ok(node);
    }
    whole::fallback(tokens)
}

/// Parses a sentence with formulas into its parts: words as texts, and a tree for each formula.
///
/// # Errors
///
/// Returns [`EvalError::Unsupported`] if the sentence has no words or no formulas, is too long, or has a
/// formula that cannot be parsed.
pub(crate) fn statement(tokens: &[Token], budget: &mut Budget) -> Result<Vec<Node>, EvalError> {
    let mut parts = Vec::new();
    let mut words = 0;
    for (range, is_text) in whole::segments(tokens).ok_or(EvalError::Unsupported)? {
        let part = &tokens[range];
        if is_text {
            let text = whole::words(part).ok_or(EvalError::Unsupported)?;
            words += part.len();
            parts.push(text);
        } else {
            parts.push(parse(part, budget)?);
        }
    }
    if words > whole::MAX_WORDS {
        return Err(EvalError::Unsupported);
    }
    Ok(parts)
}

/// Parses tokens that are one expression.
fn parse(tokens: &[Token], budget: &mut Budget) -> Parsed {
    let mut parser = Parser {
        tokens,
        at: 0,
        bars: 0,
        builder: false,
        cells: 0,
        reversed: false,
        integrals: 0,
        budget,
    };
    let node = parser.expression(0)?;
    if parser.at == parser.tokens.len() {
        Ok(node)
    } else {
        Err(EvalError::Unsupported)
    }
}

struct Parser<'t, 'b> {
    tokens: &'t [Token],
    at: usize,
    /// The number of open `|`. If it is not zero, the next `|` closes.
    bars: usize,
    /// Inside `{ x | … }`, before its bar.
    builder: bool,
    /// Inside a matrix, where `&` and `\\` end a cell.
    cells: usize,
    /// Inside `]…`, where `[` closes.
    reversed: bool,
    /// The number of integral signs that await their differentials.
    integrals: u32,
    budget: &'b mut Budget,
}

type Parsed = Result<Node, EvalError>;

impl<'t> Parser<'t, '_> {
    fn peek(&self) -> Option<&'t Tok> {
        self.tokens.get(self.at).map(|token| &token.tok)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'t Tok> {
        self.tokens.get(self.at + ahead).map(|token| &token.tok)
    }

    fn span(&self) -> Span {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(0..0, |token| token.span.clone())
    }

    /// Returns the span from a token to the last consumed one.
    fn span_from(&self, start: usize) -> Span {
        let from = self.tokens.get(start).map_or(0, |token| token.span.start);
        let read = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        from..read.map_or(from, |token| token.span.end)
    }

    fn is_symbol(&self, symbol: char) -> bool {
        matches!(self.peek(), Some(Tok::Symbol(c)) if *c == symbol)
    }

    fn is_command(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Tok::Command(c)) if c == name)
    }

    fn eat(&mut self, symbol: char) -> bool {
        let eaten = self.is_symbol(symbol);
        self.at += usize::from(eaten);
        eaten
    }

    fn eat_command(&mut self, name: &str) -> bool {
        let eaten = self.is_command(name);
        self.at += usize::from(eaten);
        eaten
    }

    fn expect(&mut self, symbol: char) -> Result<(), EvalError> {
        if self.eat(symbol) {
            Ok(())
        } else {
            Err(EvalError::Unsupported)
        }
    }

    fn joined(from: &Node, to: &Node) -> Span {
        from.span.start..to.span.end.max(from.span.end)
    }

    /// Parses one level deeper. Fails if that exceeds the maximum depth.
    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        let depth = self.budget.depth();
        self.budget.enter()?;
        let result = read(self);
        self.budget.come_back_to(depth);
        result
    }

    fn expression(&mut self, least: u8) -> Parsed {
        self.nested(|this| this.operators(least))
    }

    fn operators(&mut self, least: u8) -> Parsed {
        let start = self.at;
        let mut left = self.prefix()?;
        left.span = self.span_from(start);
        loop {
            self.budget.spend(1)?;
            let Some(infix) = self.infix() else { break };
            if infix.power() < least {
                break;
            }
            if infix.nests() {
                // Operators that wrap their left operand deepen the tree without recursion.
                self.budget.enter()?;
            }
            left = self.apply(left, infix)?;
            left.span = self.span_from(start);
        }
        Ok(left)
    }

    /// Returns whether a list may end before the next token.
    fn ends_here(&self) -> bool {
        match self.peek() {
            None | Some(Tok::NewLine | Tok::End(_)) => true,
            Some(Tok::Symbol(c)) => matches!(c, ')' | ']' | '}' | '&' | '.'),
            Some(Tok::Command(c)) => matches!(c.as_str(), "}" | "rangle"),
            _ => false,
        }
    }
}

fn collect(items: Vec<Node>, kind: impl FnOnce(Vec<Node>) -> Kind) -> Node {
    let start = items.first().map_or(0, |item| item.span.start);
    let end = items.last().map_or(start, |item| item.span.end);
    Node::new(kind(items), start..end)
}

/// Groups statements into alternatives that start at `starts`.
fn disjunction(mut items: Vec<Node>, starts: &[usize]) -> Node {
    let mut parts = Vec::with_capacity(starts.len() + 1);
    for &start in starts.iter().rev() {
        parts.push(items.split_off(start));
    }
    parts.push(items);
    parts.reverse();
    let part = |mut items: Vec<Node>| match (items.pop(), items.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            items.extend(last);
            collect(items, Kind::List)
        }
    };
    collect(parts.into_iter().map(part).collect(), Kind::Or)
}

fn product(left: Node, right: Node) -> Node {
    let span = left.span.start..right.span.end;
    let mut factors = match left.kind {
        Kind::Mul(factors) => factors,
        kind => vec![Node::new(kind, left.span)],
    };
    factors.push(right);
    Node::new(Kind::Mul(factors), span)
}

fn is_number(node: &Node) -> bool {
    matches!(node.kind, Kind::Number(_))
}

fn last_factor(node: &Node) -> &Node {
    match &node.kind {
        Kind::Mul(factors) => factors.last().unwrap_or(node),
        _ => node,
    }
}

/// Returns the mixed number of an integer followed by a fraction of integers.
fn mixed(left: &Node, right: &Node) -> Option<Node> {
    let Kind::Number(whole) = &left.kind else {
        return None;
    };
    let Kind::Div(top, bottom) = &right.kind else {
        return None;
    };
    let digits = |node: &Node| match &node.kind {
        Kind::Number(literal) => literal.is_whole(),
        Kind::Group(inner) => matches!(&inner.kind, Kind::Number(literal) if literal.is_whole()),
        _ => false,
    };
    if !(whole.is_whole() && digits(top) && digits(bottom)) {
        return None;
    }
    let span = left.span.start..right.span.end;
    Some(Node::new(
        Kind::Mixed(whole.clone(), Box::new(right.clone())),
        span,
    ))
}

/// Returns the letters of a name, if a node is nothing else.
fn plain_name(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Symbol(name) | Kind::Text(name) => Some(name.to_string()),
        Kind::Number(literal) if literal.is_whole() => Some(literal.whole.clone()),
        // Decorated names do not run together.
        Kind::Mul(factors) => factors
            .iter()
            .map(|factor| plain_name(factor).filter(|name| !name.contains(' ')))
            .collect(),
        _ => None,
    }
}
