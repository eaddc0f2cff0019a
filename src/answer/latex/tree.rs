//! The syntax tree of an answer, before evaluation.

use std::ops::Range;

use smol_str::SmolStr;

use crate::answer::budget::{Budget, EvalError};

/// The byte range of the text from which a node was parsed.
pub(crate) type Span = Range<usize>;

/// A node of the tree and its span.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// A number as written: `whole.fraction`, followed by endless repetitions of `repeat`, times ten to the power
/// of `exponent`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Literal {
    pub(crate) whole: String,
    pub(crate) fraction: String,
    pub(crate) repeat: String,
    pub(crate) exponent: i32,
}

impl Literal {
    /// Returns whether it consists of digits only.
    pub(crate) fn is_whole(&self) -> bool {
        self.fraction.is_empty() && self.repeat.is_empty() && self.exponent == 0
    }

    /// Returns the number as digits with a point.
    pub(crate) fn plain(&self) -> String {
        let mut text = self.whole.clone();
        if !self.fraction.is_empty() || !self.repeat.is_empty() {
            text.push('.');
            text.push_str(&self.fraction);
        }
        if !self.repeat.is_empty() {
            text.push_str(&format!("({})", self.repeat));
        }
        if self.exponent != 0 {
            text.push_str(&format!("e{}", self.exponent));
        }
        text
    }
}

/// A relation between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Relation {
    Equal,
    Approximately,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    Equivalent,
    Other(&'static str),
}

/// The kind of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Number(Box<Literal>),
    /// A variable or a named constant; accents and indices are part of the name.
    Symbol(SmolStr),
    Infinity,
    Neg(Box<Node>),
    /// `±a` if the first operand is absent, else `a ± b`. The flag means `∓`.
    PlusMinus(Option<Box<Node>>, Box<Node>, bool),
    Add(Vec<Node>),
    Mul(Vec<Node>),
    Div(Box<Node>, Box<Node>),
    /// An integer next to a fraction of integers: `3\frac12`.
    Mixed(Box<Literal>, Box<Node>),
    Pow(Box<Node>, Box<Node>),
    /// Index and radicand.
    Root(Box<Node>, Box<Node>),
    /// A named function and its arguments.
    Call(SmolStr, Vec<Node>),
    Factorial(Box<Node>),
    Degree(Box<Node>),
    Percent(Box<Node>),
    /// A quantity and its unit as written.
    Unit(Box<Node>, String),
    /// Digits with a base as index.
    Radix(String, u32),
    /// The sides, one more than relations.
    Chain(Vec<Node>, Vec<Relation>),
    /// `left ≡ right (mod modulus)`.
    Congruence(Box<Node>, Box<Node>, Box<Node>),
    /// Items separated by commas, `and`, `or`.
    List(Vec<Node>),
    /// Alternative statements. A list among them holds as a whole.
    Or(Vec<Node>),
    /// Items separated by semicolons.
    Rows(Vec<Node>),
    /// One item in round or square brackets.
    Group(Box<Node>),
    /// Items in brackets: a tuple, a list or an interval.
    Bracket(char, char, Vec<Node>),
    Set(Vec<Node>),
    /// `{ left | right }`.
    Builder(Box<Node>, Box<Node>),
    /// `∪`, `∩` or `\`.
    SetOp(char, Box<Node>, Box<Node>),
    Matrix(Vec<Vec<Node>>),
    /// Values with their conditions.
    Cases(Vec<Vec<Node>>),
    Ratio(Vec<Node>),
    /// `d left / d right`.
    Derivative(SmolStr, SmolStr),
    /// A sum, product, integral, limit or union.
    BigOperator(Box<BigOperator>),
    Ellipsis,
    /// A statement that holds for every value of the named parameter in the domain.
    ForAll(Box<Node>, SmolStr, Domain),
    Text(SmolStr),
}

/// The domain of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    Integers,
    Naturals,
    Reals,
}

/// A large operator and its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BigOperator {
    pub(crate) operator: SmolStr,
    /// The part below, if any, such as `k=1` or `x \to 0`.
    pub(crate) below: Option<Node>,
    /// The part above, if any.
    pub(crate) above: Option<Node>,
    pub(crate) body: Node,
}

impl Node {
    /// Creates a node.
    pub(crate) fn new(kind: Kind, span: Span) -> Self {
        Node { kind, span }
    }

    /// Removes spans and brackets that only group. Two notations of the same expression have this form in
    /// common.
    pub(crate) fn plain(mut self) -> Node {
        let mut open = vec![&mut self];
        while let Some(next) = open.pop() {
            while let Kind::Group(inner) = &mut next.kind {
                let inner = std::mem::replace(&mut inner.kind, Kind::Ellipsis);
                next.kind = inner;
            }
            next.span = 0..0;
            open.extend(next.children_mut());
        }
        self
    }

    /// Returns the direct children.
    pub(crate) fn children_mut(&mut self) -> Vec<&mut Node> {
        match &mut self.kind {
            Kind::Number(_)
            | Kind::Symbol(_)
            | Kind::Infinity
            | Kind::Radix(..)
            | Kind::Derivative(..)
            | Kind::Ellipsis
            | Kind::Text(_) => Vec::new(),
            Kind::Neg(a)
            | Kind::Mixed(_, a)
            | Kind::Factorial(a)
            | Kind::Degree(a)
            | Kind::Percent(a)
            | Kind::Unit(a, _)
            | Kind::Group(a)
            | Kind::ForAll(a, ..) => vec![a],
            Kind::PlusMinus(a, b, _) => a.iter_mut().map(|a| &mut **a).chain([&mut **b]).collect(),
            Kind::Div(a, b)
            | Kind::Pow(a, b)
            | Kind::Root(a, b)
            | Kind::Builder(a, b)
            | Kind::SetOp(_, a, b) => vec![a, b],
            Kind::Congruence(a, b, c) => vec![a, b, c],
            Kind::Add(items)
            | Kind::Mul(items)
            | Kind::Call(_, items)
            | Kind::Chain(items, _)
            | Kind::List(items)
            | Kind::Or(items)
            | Kind::Rows(items)
            | Kind::Bracket(_, _, items)
            | Kind::Set(items)
            | Kind::Ratio(items) => items.iter_mut().collect(),
            Kind::Matrix(rows) | Kind::Cases(rows) => rows.iter_mut().flatten().collect(),
            Kind::BigOperator(big) => [&mut big.below, &mut big.above]
                .into_iter()
                .flatten()
                .chain([&mut big.body])
                .collect(),
        }
    }

    /// Returns the tree with one variable renamed.
    pub(crate) fn renamed(
        &self,
        from: &str,
        to: &str,
        budget: &mut Budget,
    ) -> Result<Node, EvalError> {
        let mut node = self.clone();
        let mut open = vec![&mut node];
        while let Some(next) = open.pop() {
            budget.spend(1)?;
            if let Kind::Symbol(name) = &mut next.kind
                && name == from
            {
                *name = SmolStr::new(to);
            }
            open.extend(next.children_mut());
        }
        Ok(node)
    }
}
