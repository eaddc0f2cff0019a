//! From tokens to a syntax tree, by operator precedence (Pratt). Every token ends up in the tree
//! or the whole text is refused: nothing is dropped in silence.

use super::lexer::{Tok, Token};
use super::tree::{Big, Kind, Node, Relation, Span};
use super::words::is_function;
use crate::answer::budget::{Budget, Stop};

/// Binding powers, from the loosest to the tightest.
mod power {
    pub(super) const ROWS: u8 = 1;
    pub(super) const LIST: u8 = 3;
    pub(super) const CHAIN: u8 = 5;
    pub(super) const RATIO: u8 = 7;
    pub(super) const SETS: u8 = 9;
    pub(super) const SUM: u8 = 11;
    /// `-a mod b` is `(-a) mod b`.
    pub(super) const MODULO: u8 = 12;
    pub(super) const PRODUCT: u8 = 13;
    pub(super) const NEGATION: u8 = 14;
    pub(super) const TIGHT: u8 = 17;
}

/// The tree of a whole answer.
///
/// # Errors
///
/// [`Stop::Unknown`] where the text is no mathematics that is known here.
pub(crate) fn tree(tokens: &[Token], budget: &mut Budget) -> Result<Node, Stop> {
    let mut end = tokens.len();
    // A sentence's full stop, and line ends after everything, are no part of the answer.
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
    let mut parser = Parser {
        tokens: &tokens[start..end],
        at: 0,
        bars: 0,
        builder: false,
        cells: 0,
        reversed: false,
        wrapped: 0,
        budget,
    };
    if parser.tokens.is_empty() {
        return Err(Stop::Unknown);
    }
    let node = parser.expression(0)?;
    if parser.at == parser.tokens.len() {
        Ok(node)
    } else {
        Err(Stop::Unknown)
    }
}

struct Parser<'t, 'b> {
    tokens: &'t [Token],
    at: usize,
    /// Open `|`: one more closes instead of opening.
    bars: usize,
    /// Inside `{ x | … }` before its bar.
    builder: bool,
    /// Inside a matrix: `&` and `\\` end a cell.
    cells: usize,
    /// Inside `]…`: a `[` closes.
    reversed: bool,
    /// Operators read so far that wrap what stands before them.
    wrapped: u32,
    budget: &'b mut Budget,
}

/// Most such operators in one text: a bound on the depth of its tree.
const MAX_WRAPPED: u32 = 600;

type Parsed = Result<Node, Stop>;

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

    fn expect(&mut self, symbol: char) -> Result<(), Stop> {
        if self.eat(symbol) {
            Ok(())
        } else {
            Err(Stop::Unknown)
        }
    }

    fn joined(from: &Node, to: &Node) -> Span {
        from.span.start..to.span.end.max(from.span.end)
    }

    fn expression(&mut self, least: u8) -> Parsed {
        self.budget.enter()?;
        let mut left = self.prefix()?;
        loop {
            self.budget.spend(1)?;
            let Some(infix) = self.infix() else { break };
            if infix.power() < least {
                break;
            }
            if infix.nests() {
                // Operators that wrap what stands before them deepen the tree without recursion.
                self.wrapped += 1;
                if self.wrapped > MAX_WRAPPED {
                    return Err(Stop::Limit);
                }
            }
            left = self.apply(left, infix)?;
        }
        self.budget.leave();
        Ok(left)
    }

    /// The operator that stands next, without reading it.
    fn infix(&self) -> Option<Infix> {
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
                '/' => Infix::Over,
                '^' | '_' | '!' | '\'' => Infix::Postfix,
                '[' if self.reversed => return None,
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
                "to" => Infix::Relation(Relation::Other("to")),
                "implies" => Infix::Relation(Relation::Other("implies")),
                "iff" => Infix::Relation(Relation::Other("iff")),
                "sim" => Infix::Relation(Relation::Other("sim")),
                "cong" => Infix::Relation(Relation::Other("cong")),
                "propto" => Infix::Relation(Relation::Other("propto")),
                "parallel" => Infix::Relation(Relation::Other("parallel")),
                "perp" => Infix::Relation(Relation::Other("perp")),
                "notin" => Infix::Relation(Relation::Other("notin")),
                "subset" => Infix::Relation(Relation::Other("subset")),
                "subseteq" => Infix::Relation(Relation::Other("subseteq")),
                "colon" if !self.builder => Infix::Ratio,
                "cup" | "cap" | "setminus" => Infix::SetOp,
                "pm" | "mp" => Infix::Sum,
                "cdot" => Infix::Times,
                "div" => Infix::Over,
                "mod" => Infix::Modulo,
                "over" => Infix::Stacked,
                "choose" => Infix::Stacked,
                "pmod" => Infix::Congruence,
                "%" | "circ" => Infix::Postfix,
                "}" | "rfloor" | "rceil" | "rangle" | "Vert" => return None,
                "wedge" | "vee" => Infix::Item,
                _ => Infix::Beside,
            },
            Tok::Word(word) => match word.to_ascii_lowercase().as_str() {
                "and" | "or" => Infix::Item,
                "to" | "if" | "is" | "are" | "for" | "when" | "where" => return None,
                _ => Infix::Unit,
            },
            Tok::Text(text) => match connective(text) {
                Some(true) => Infix::Item,
                Some(false) => return None,
                None => Infix::Unit,
            },
            Tok::Currency(_) => Infix::Unit,
            Tok::Number(_) | Tok::Letter(_) | Tok::Name(_) | Tok::Begin(_) => Infix::Beside,
            Tok::NewLine | Tok::End(_) | Tok::Unknown(_) => return None,
        })
    }

    fn apply(&mut self, left: Node, infix: Infix) -> Parsed {
        match infix {
            Infix::Row => {
                let mut rows = vec![left];
                while self.eat(';') {
                    if self.ends_here() {
                        break;
                    }
                    rows.push(self.expression(power::ROWS + 1)?);
                }
                Ok(collect(rows, Kind::Rows))
            }
            Infix::Item => {
                let mut items = vec![left];
                while let Some(Infix::Item) = self.infix() {
                    // `, and` is one separator.
                    while let Some(Infix::Item) = self.infix() {
                        self.at += 1;
                        self.budget.spend(1)?;
                    }
                    if self.ends_here() {
                        break;
                    }
                    items.push(self.expression(power::LIST + 1)?);
                }
                Ok(collect(items, Kind::List))
            }
            Infix::Relation(first) => {
                let mut sides = vec![left];
                let mut relations = Vec::new();
                let mut next = Some(Infix::Relation(first));
                while let Some(Infix::Relation(relation)) = next {
                    self.at += 1;
                    relations.push(relation);
                    sides.push(self.expression(power::CHAIN + 1)?);
                    next = self.infix();
                }
                Ok(collect(sides, |sides| Kind::Chain(sides, relations)))
            }
            Infix::Congruence => {
                // `x \equiv a \pmod m`: the left side is a chain of one equivalence.
                self.at += 1;
                let modulus = self.argument()?;
                let span = Self::joined(&left, &modulus);
                match left.kind {
                    Kind::Chain(mut sides, relations)
                        if relations == [Relation::Equivalent] && sides.len() == 2 =>
                    {
                        let right = sides.pop().ok_or(Stop::Unknown)?;
                        let left = sides.pop().ok_or(Stop::Unknown)?;
                        let parts = (Box::new(left), Box::new(right), Box::new(modulus));
                        Ok(Node::new(Kind::Congruence(parts.0, parts.1, parts.2), span))
                    }
                    _ => Err(Stop::Unknown),
                }
            }
            Infix::Ratio => {
                let mut terms = vec![left];
                while let Some(Infix::Ratio) = self.infix() {
                    self.at += 1;
                    terms.push(self.expression(power::RATIO + 1)?);
                }
                Ok(collect(terms, Kind::Ratio))
            }
            Infix::SetOp => {
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
            Infix::Sum => self.sum(left),
            Infix::Times => {
                self.at += 1;
                let right = self.expression(power::PRODUCT + 1)?;
                Ok(product(left, right))
            }
            Infix::Beside => {
                let right = self.expression(power::PRODUCT + 1)?;
                if let Some(mixed) = mixed(&left, &right) {
                    return Ok(mixed);
                }
                if is_number(&right) && is_number(last_factor(&left)) {
                    // `3 1/2` is a mixed number, `1 2` is nothing.
                    if self.is_symbol('/') && matches!(self.peek_at(1), Some(Tok::Number(_))) {
                        self.at += 1;
                        let bottom = self.expression(power::TIGHT)?;
                        let span = Self::joined(&right, &bottom);
                        let kind = Kind::Div(Box::new(right), Box::new(bottom));
                        return mixed(&left, &Node::new(kind, span)).ok_or(Stop::Unknown);
                    }
                    return Err(Stop::Unknown);
                }
                Ok(product(left, right))
            }
            Infix::Over => {
                self.at += 1;
                let right = self.expression(power::PRODUCT + 1)?;
                let span = Self::joined(&left, &right);
                Ok(Node::new(Kind::Div(Box::new(left), Box::new(right)), span))
            }
            Infix::Modulo => {
                self.at += 1;
                let right = self.expression(power::PRODUCT + 1)?;
                let span = Self::joined(&left, &right);
                Ok(Node::new(Kind::Call("mod".into(), vec![left, right]), span))
            }
            Infix::Stacked => {
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
            Infix::Unit => self.unit(left),
            Infix::Postfix => self.postfix(left),
        }
    }

    fn sum(&mut self, left: Node) -> Parsed {
        let sign = self.peek().cloned();
        self.at += 1;
        let right = self.expression(power::SUM + 1)?;
        let span = Self::joined(&left, &right);
        let right = match sign {
            Some(Tok::Symbol('-')) => {
                let span = right.span.clone();
                Node::new(Kind::Neg(Box::new(right)), span)
            }
            Some(Tok::Command(name)) => {
                let kind = Kind::PlusMinus(Some(Box::new(left)), Box::new(right), name == "mp");
                return Ok(Node::new(kind, span));
            }
            _ => right,
        };
        let mut terms = match left.kind {
            Kind::Add(terms) => terms,
            kind => vec![Node::new(kind, left.span)],
        };
        terms.push(right);
        Ok(Node::new(Kind::Add(terms), span))
    }

    /// Whether a list may end where the next token stands.
    fn ends_here(&self) -> bool {
        match self.peek() {
            None | Some(Tok::NewLine | Tok::End(_)) => true,
            Some(Tok::Symbol(c)) => matches!(c, ')' | ']' | '}' | '&' | '.'),
            Some(Tok::Command(c)) => matches!(c.as_str(), "}" | "rangle"),
            _ => false,
        }
    }

    fn prefix(&mut self) -> Parsed {
        let span = self.span();
        let Some(tok) = self.peek() else {
            return Err(Stop::Unknown);
        };
        let node = |kind| Node::new(kind, span.clone());
        match tok {
            Tok::Number(literal) => {
                self.at += 1;
                Ok(node(Kind::Number(literal.clone())))
            }
            Tok::Letter(c) => {
                self.at += 1;
                self.applied(c.to_string(), span)
            }
            Tok::Name(name) | Tok::Word(name) | Tok::Text(name) => {
                let is_text = !matches!(tok, Tok::Name(_));
                if is_text && connective(name) == Some(false) {
                    return Err(Stop::Unknown);
                }
                self.at += 1;
                if !is_text {
                    return Ok(node(Kind::Symbol(name.clone())));
                }
                // Words up to the next token that is no word are one text.
                let mut words = name.clone();
                let mut end = span.end;
                while let Some(Tok::Word(more) | Tok::Text(more)) = self.peek() {
                    if connective(more).is_some() {
                        break;
                    }
                    self.budget.spend(1)?;
                    words.push(' ');
                    words.push_str(more);
                    end = self.span().end;
                    self.at += 1;
                }
                Ok(Node::new(Kind::Text(words), span.start..end))
            }
            Tok::Currency(sign) => {
                self.at += 1;
                let amount = self.expression(power::PRODUCT)?;
                let unit = sign.to_string();
                Ok(node(Kind::Unit(Box::new(amount), unit)))
            }
            Tok::Symbol(c) => match c {
                '-' => {
                    self.at += 1;
                    let inner = self.expression(power::NEGATION - 1)?;
                    Ok(node(Kind::Neg(Box::new(inner))))
                }
                '+' => {
                    self.at += 1;
                    self.expression(power::NEGATION - 1)
                }
                '(' | '[' | '{' | ']' => self.bracket(*c),
                '|' => {
                    self.at += 1;
                    self.bars += 1;
                    let inner = self.expression(power::CHAIN + 1)?;
                    self.bars -= 1;
                    self.expect('|')?;
                    Ok(node(Kind::Call("abs".into(), vec![inner])))
                }
                '"' | '\'' => {
                    // Quotes around the whole.
                    let quote = *c;
                    self.at += 1;
                    let inner = self.expression(power::ROWS)?;
                    self.expect(quote)?;
                    Ok(inner)
                }
                '=' | '<' | '>' if self.at == 0 => {
                    // `=5`, `>5`: the left side went without saying.
                    if *c != '=' {
                        return Err(Stop::Unknown);
                    }
                    self.at += 1;
                    self.expression(power::CHAIN)
                }
                _ => Err(Stop::Unknown),
            },
            Tok::Command(name) => self.command(name, span),
            Tok::Begin(environment) => self.environment(environment, false),
            Tok::NewLine | Tok::End(_) | Tok::Unknown(_) => Err(Stop::Unknown),
        }
    }

    /// A name that may be a function of what follows in brackets: `f(x)`, `f'(x)`.
    fn applied(&mut self, mut name: String, span: Span) -> Parsed {
        if matches!(name.as_str(), "f" | "g" | "F" | "G" | "W") {
            let letter = name.clone();
            let before = self.at;
            while self.eat('\'') {
                self.budget.spend(1)?;
                name.push('\'');
            }
            if self.is_symbol('_') && matches!(self.peek_at(2), Some(Tok::Symbol('('))) {
                self.at += 1;
                let index = self.index()?;
                name.push('_');
                name.push_str(&index);
            }
            let braced = self.is_symbol('{') && matches!(self.peek_at(1), Some(Tok::Symbol('(')));
            if self.is_symbol('(') || braced {
                let inner = self.bracket(if braced { '{' } else { '(' })?;
                let inner = match inner.kind {
                    Kind::Group(inner) if braced => *inner,
                    _ => inner,
                };
                let arguments = match inner.kind {
                    Kind::Group(inner) => vec![*inner],
                    Kind::Bracket(_, _, items) => items,
                    _ => return Err(Stop::Unknown),
                };
                return Ok(Node::new(Kind::Call(name, arguments), span));
            }
            self.at = before;
            name = letter;
        }
        Ok(Node::new(Kind::Symbol(name), span))
    }

    /// A pair of brackets of any kind from its opening, which stands next.
    fn bracket(&mut self, open: char) -> Parsed {
        let start = self.span().start;
        self.at += 1;
        let outer = (
            std::mem::take(&mut self.bars),
            std::mem::take(&mut self.builder),
            std::mem::take(&mut self.cells),
            std::mem::replace(&mut self.reversed, open == ']'),
        );
        let result = self.bracket_inner(open, start);
        (self.bars, self.builder, self.cells, self.reversed) = outer;
        result
    }

    fn bracket_inner(&mut self, open: char, start: usize) -> Parsed {
        if open == '{' && self.eat('}') {
            return Ok(Node::new(Kind::Set(Vec::new()), start..start + 2));
        }
        let inner = self.expression(0)?;
        let close = match self.peek() {
            Some(Tok::Symbol(c @ (')' | ']' | '}'))) => *c,
            Some(Tok::Symbol('[')) if open == ']' => '[',
            _ => return Err(Stop::Unknown),
        };
        let end = self.span().end;
        self.at += 1;
        if (open == '{') != (close == '}') {
            return Err(Stop::Unknown);
        }
        let span = start..end;
        let items = match inner.kind {
            Kind::List(items) => items,
            // `(0;0;0)`: semicolons instead of commas.
            Kind::Rows(items) if open != '{' => items,
            kind => {
                let inner = Box::new(Node::new(kind, inner.span));
                return match (open, close) {
                    ('(', ')') | ('[', ']') | ('{', '}') => Ok(Node::new(Kind::Group(inner), span)),
                    _ => Err(Stop::Unknown),
                };
            }
        };
        if open == '{' {
            return Ok(Node::new(Kind::Set(items), span));
        }
        let (open, close) = match (open, close) {
            // The French way: `]0,1[`.
            (']', '[') => ('(', ')'),
            (']', ']') => ('(', ']'),
            pair => pair,
        };
        Ok(Node::new(Kind::Bracket(open, close, items), span))
    }

    /// `\{ … \}` from behind its opening.
    fn set(&mut self, start: usize) -> Parsed {
        if self.eat_command("}") {
            return Ok(Node::new(Kind::Set(Vec::new()), start..start + 4));
        }
        let outer = (
            std::mem::take(&mut self.bars),
            std::mem::replace(&mut self.builder, true),
            std::mem::take(&mut self.cells),
        );
        let inner = self.expression(0)?;
        let node = if self.eat('|') || self.eat(':') || self.eat_command("colon") {
            self.builder = false;
            let condition = self.expression(0)?;
            Kind::Builder(Box::new(inner), Box::new(condition))
        } else {
            match inner.kind {
                Kind::List(items) | Kind::Rows(items) => Kind::Set(items),
                kind => Kind::Set(vec![Node::new(kind, inner.span)]),
            }
        };
        (self.bars, self.builder, self.cells) = outer;
        let end = self.span().end;
        if !self.eat_command("}") {
            return Err(Stop::Unknown);
        }
        Ok(Node::new(node, start..end))
    }

    fn command(&mut self, name: &'t str, span: Span) -> Parsed {
        self.at += 1;
        let node = |kind| Ok(Node::new(kind, span.clone()));
        match name {
            "pi" => node(Kind::Symbol("π".into())),
            "e" | "i" => node(Kind::Symbol(name.into())),
            "infty" => node(Kind::Infinity),
            "emptyset" => node(Kind::Set(Vec::new())),
            "ldots" => node(Kind::Ellipsis),
            "frac" => {
                if let Some(derivative) = self.derivative() {
                    return node(derivative);
                }
                let top = self.argument()?;
                let bottom = self.argument()?;
                let span = span.start..bottom.span.end;
                let kind = Kind::Div(Box::new(top), Box::new(bottom));
                Ok(Node::new(kind, span))
            }
            "binom" => {
                let top = self.argument()?;
                let bottom = self.argument()?;
                node(Kind::Call("binom".into(), vec![top, bottom]))
            }
            "sqrt" => {
                let index = if self.is_symbol('[') {
                    match self.bracket('[')?.kind {
                        Kind::Group(inner) => Some(*inner),
                        _ => return Err(Stop::Unknown),
                    }
                } else {
                    None
                };
                let radicand = self.argument()?;
                let index = index.unwrap_or_else(|| {
                    let two = super::tree::Literal {
                        whole: "2".into(),
                        ..Default::default()
                    };
                    Node::new(Kind::Number(two), span.clone())
                });
                let span = span.start..radicand.span.end;
                Ok(Node::new(
                    Kind::Root(Box::new(index), Box::new(radicand)),
                    span,
                ))
            }
            "pm" | "mp" => {
                let inner = self.expression(power::NEGATION - 1)?;
                node(Kind::PlusMinus(None, Box::new(inner), name == "mp"))
            }
            "{" => match self.peek() {
                // `\left\{\begin{array} … \right.`: a brace that only opens.
                Some(Tok::Begin(environment))
                    if matches!(environment.as_str(), "array" | "aligned" | "matrix")
                        && !self.closes_set() =>
                {
                    self.environment(environment, true)
                }
                _ => self.set(span.start),
            },
            "lfloor" | "lceil" => {
                let (close, function) = if name == "lfloor" {
                    ("rfloor", "floor")
                } else {
                    ("rceil", "ceil")
                };
                let inner = self.expression(power::CHAIN + 1)?;
                if !self.eat_command(close) {
                    return Err(Stop::Unknown);
                }
                node(Kind::Call(function.into(), vec![inner]))
            }
            "Vert" => {
                let inner = self.expression(power::CHAIN + 1)?;
                if !self.eat_command("Vert") {
                    return Err(Stop::Unknown);
                }
                node(Kind::Call("norm".into(), vec![inner]))
            }
            "langle" => {
                let inner = self.expression(power::LIST)?;
                if !self.eat_command("rangle") {
                    return Err(Stop::Unknown);
                }
                let items = match inner.kind {
                    Kind::List(items) => items,
                    _ => return Err(Stop::Unknown),
                };
                node(Kind::Bracket('⟨', '⟩', items))
            }
            "mathbf" | "boldsymbol" | "bm" | "vec" | "hat" | "bar" | "tilde" | "overline"
            | "overrightarrow" | "dot" | "ddot" | "mathbb" | "mathcal" | "mathfrak" | "mathscr"
            | "mathit" | "widehat" | "widetilde" | "pmb" | "mathring" | "overarc" | "angle"
            | "triangle" => self.accent(name, span),
            "boxed" | "fbox" => self.argument(),
            "sum" | "prod" | "int" | "iint" | "oint" | "lim" | "bigcup" | "bigcap" => {
                self.big(name, span)
            }
            "approx" if self.at == 1 => self.expression(power::CHAIN),
            "therefore" | "because" => Err(Stop::Unknown),
            "%" | "circ" | "}" | "rfloor" | "rceil" | "rangle" | "cup" | "cap" | "cdot" | "div"
            | "le" | "ge" | "ne" | "approx" | "in" | "over" | "choose" | "pmod" | "mod"
            | "overset" | "underset" | "underbrace" | "tag" | "hline" | "to" | "implies"
            | "iff" | "forall" | "exists" | "wedge" | "vee" | "neg" | "not" => Err(Stop::Unknown),
            _ if is_function(name) => self.function(name, span),
            // Greek letters and every other command without arguments are names.
            _ => {
                if self.is_symbol('{') {
                    // An unknown command with braces: its meaning is not known.
                    return Err(Stop::Unknown);
                }
                node(Kind::Symbol(name.into()))
            }
        }
    }

    /// An accented or decorated name; around a number the decoration has no meaning.
    fn accent(&mut self, name: &str, span: Span) -> Parsed {
        let inner = self.argument()?;
        let inner = match inner.kind {
            Kind::Group(inner) => *inner,
            _ => inner,
        };
        match (name, &inner.kind) {
            ("mathbf" | "boldsymbol" | "bm" | "mathit" | "pmb", Kind::Number(_)) => Ok(inner),
            (_, Kind::Symbol(_) | Kind::Mul(_) | Kind::Text(_) | Kind::Number(_)) => {
                let letters = plain_name(&inner).ok_or(Stop::Unknown)?;
                Ok(Node::new(Kind::Symbol(format!("{name} {letters}")), span))
            }
            _ => Err(Stop::Unknown),
        }
    }

    /// `\frac{dy}{dx}` as one name, where that is what stands next.
    fn derivative(&mut self) -> Option<Kind> {
        let is_open = |ahead| matches!(self.peek_at(ahead), Some(Tok::Symbol('{')));
        let is_close = |ahead| matches!(self.peek_at(ahead), Some(Tok::Symbol('}')));
        let is_d = |ahead| match self.peek_at(ahead) {
            Some(Tok::Letter('d')) => true,
            Some(Tok::Command(name)) => name == "partial",
            _ => false,
        };
        let name = |ahead| match self.peek_at(ahead) {
            Some(Tok::Letter(c)) => Some(c.to_string()),
            Some(Tok::Command(name)) if name != "partial" => Some(name.clone()),
            _ => None,
        };
        if !(is_open(0) && is_d(1)) {
            return None;
        }
        if is_close(2) && is_open(3) && is_d(4) && is_close(6) {
            // `\frac{d}{dx}` in front of what it acts on.
            let below = name(5)?;
            self.at += 7;
            return Some(Kind::Derivative(String::new(), below));
        }
        if is_close(3) && is_open(4) && is_d(5) && is_close(7) {
            let (above, below) = (name(2)?, name(6)?);
            self.at += 8;
            return Some(Kind::Derivative(above, below));
        }
        None
    }

    /// A function from behind its name: power, index and argument.
    fn function(&mut self, name: &str, span: Span) -> Parsed {
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
        let mut arguments = self.function_argument()?;
        let mut name = name.to_owned();
        if let Some(base) = base {
            if name != "log" {
                return Err(Stop::Unknown);
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
                        format!("arc{name}")
                    }
                    _ => return Err(Stop::Unknown),
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

    fn function_argument(&mut self) -> Result<Vec<Node>, Stop> {
        match self.peek() {
            Some(Tok::Symbol('(' | '[' | '{')) => {
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
            _ => {
                // A product written side by side, up to the next function or operator.
                let mut argument = self.expression(power::TIGHT)?;
                let first_is_call = matches!(argument.kind, Kind::Call(..));
                while !first_is_call {
                    self.budget.spend(1)?;
                    let Some(Infix::Beside) = self.infix() else {
                        break;
                    };
                    match self.peek() {
                        Some(Tok::Command(name)) if is_function(name) => break,
                        Some(Tok::Symbol('(' | '[' | '|')) => break,
                        _ => {}
                    }
                    let next = self.expression(power::TIGHT)?;
                    argument = mixed(&argument, &next).unwrap_or_else(|| product(argument, next));
                }
                Ok(vec![argument])
            }
        }
    }

    /// What `\frac`, `\sqrt` and their like take: a group, a single token, or one digit of a
    /// number.
    fn argument(&mut self) -> Parsed {
        self.budget.enter()?;
        let result = match self.peek() {
            Some(Tok::Symbol('{')) => {
                let node = self.bracket('{')?;
                match node.kind {
                    Kind::Group(inner) => Ok(*inner),
                    _ => Ok(node),
                }
            }
            Some(Tok::Symbol('(')) => self.bracket('('),
            Some(Tok::Number(literal)) => {
                let span = self.span();
                self.at += 1;
                Ok(Node::new(Kind::Number(literal.clone()), span))
            }
            Some(Tok::Letter(_) | Tok::Name(_) | Tok::Text(_) | Tok::Word(_)) => {
                let span = self.span();
                let kind = match self.peek() {
                    Some(Tok::Letter(c)) => Kind::Symbol(c.to_string()),
                    Some(Tok::Name(name)) => Kind::Symbol(name.clone()),
                    Some(Tok::Text(text) | Tok::Word(text)) => Kind::Text(text.clone()),
                    _ => return Err(Stop::Unknown),
                };
                self.at += 1;
                Ok(Node::new(kind, span))
            }
            Some(Tok::Command(name)) => {
                let span = self.span();
                self.command(name, span)
            }
            _ => Err(Stop::Unknown),
        };
        self.budget.leave();
        result
    }

    /// A power or an index: a group or a single token, with its sign.
    fn script(&mut self) -> Parsed {
        if self.is_symbol('-') {
            let span = self.span();
            self.at += 1;
            let inner = self.argument()?;
            return Ok(Node::new(Kind::Neg(Box::new(inner)), span));
        }
        if self.eat('+') {
            return self.argument();
        }
        let node = self.argument()?;
        Ok(match node.kind {
            Kind::Group(inner) => *inner,
            _ => node,
        })
    }

    /// An index as text, for a name.
    fn index(&mut self) -> Result<String, Stop> {
        let start = self.at;
        self.script()?;
        let mut text = String::new();
        for token in &self.tokens[start..self.at] {
            self.budget.spend(1)?;
            match &token.tok {
                Tok::Number(literal) => text.push_str(&literal.whole),
                Tok::Letter(c) => text.push(*c),
                Tok::Symbol('{' | '}') => {}
                Tok::Symbol(c) => text.push(*c),
                Tok::Name(name) | Tok::Word(name) | Tok::Text(name) | Tok::Command(name) => {
                    text.push_str(name);
                }
                _ => return Err(Stop::Unknown),
            }
            if !matches!(token.tok, Tok::Symbol('{' | '}')) {
                text.push(' ');
            }
        }
        Ok(text.trim_end().to_owned())
    }

    fn postfix(&mut self, left: Node) -> Parsed {
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
                self.at += 1;
                Ok(Node::new(Kind::Factorial(Box::new(left)), span))
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

    fn primed(&mut self, left: Node, primes: usize, span: Span) -> Parsed {
        let marks = "'".repeat(primes.min(8));
        match left.kind {
            Kind::Symbol(name) => Ok(Node::new(Kind::Symbol(name + &marks), span)),
            _ => Err(Stop::Unknown),
        }
    }

    fn indexed(&mut self, left: Node) -> Parsed {
        let span = left.span.start..self.span().end;
        self.at += 1;
        match left.kind {
            Kind::Symbol(name) => {
                let index = self.index()?;
                Ok(Node::new(Kind::Symbol(format!("{name}_{index}")), span))
            }
            Kind::Text(name) => {
                let index = self.index()?;
                Ok(Node::new(Kind::Symbol(format!("{name}_{index}")), span))
            }
            Kind::Number(literal) if literal.is_whole() => {
                let index = self.script()?;
                match index.kind {
                    Kind::Number(base) if base.is_whole() => {
                        let base: u32 = base.whole.parse().map_err(|_| Stop::Unknown)?;
                        Ok(Node::new(Kind::Based(literal.whole, base), span))
                    }
                    _ => Err(Stop::Unknown),
                }
            }
            _ => Err(Stop::Unknown),
        }
    }

    /// A unit behind a quantity: words, their powers, and words after a slash.
    fn unit(&mut self, left: Node) -> Parsed {
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
                }
                Some(Tok::Currency(sign)) => {
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
                Some(Tok::Command(name))
                    if name == "cdot"
                        && self.at > start
                        && matches!(self.peek_at(1), Some(Tok::Word(_) | Tok::Text(_))) =>
                {
                    self.at += 1;
                    unit.push(' ');
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

    /// Whether a closing `\}` stands anywhere ahead.
    fn closes_set(&self) -> bool {
        let ahead = self.tokens.get(self.at..).unwrap_or(&[]);
        ahead
            .iter()
            .any(|token| matches!(&token.tok, Tok::Command(name) if name == "}"))
    }

    fn environment(&mut self, environment: &str, cases: bool) -> Parsed {
        let start = self.span().start;
        self.at += 1;
        let is_cases = cases || matches!(environment, "cases" | "dcases" | "rcases");
        let is_matrix = is_cases
            || matches!(
                environment,
                "pmatrix" | "bmatrix" | "matrix" | "smallmatrix" | "vmatrix" | "array" | "Bmatrix"
            );
        if !is_matrix {
            return Err(Stop::Unknown);
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
                Some(Tok::Word(word) | Tok::Text(word))
                    if is_cases && connective(word) == Some(false) =>
                {
                    self.at += 1;
                }
                Some(_) => {
                    let least = if is_cases { power::LIST + 1 } else { 0 };
                    row.push(self.expression(least)?);
                }
                None => return Err(Stop::Unknown),
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

    /// A sum, product, integral, limit or union over an index.
    fn big(&mut self, name: &str, span: Span) -> Parsed {
        let mut below = None;
        let mut above = None;
        loop {
            if self.is_symbol('_') && below.is_none() {
                self.at += 1;
                below = Some(self.script()?);
            } else if self.is_symbol('^') && above.is_none() {
                self.at += 1;
                above = Some(self.script()?);
            } else {
                break;
            }
        }
        let least = match name {
            "int" | "iint" | "oint" => power::SUM,
            "bigcup" | "bigcap" => power::SETS,
            _ => power::PRODUCT,
        };
        let body = self.expression(least)?;
        let end = body.span.end;
        let big = Big {
            operator: name.to_owned(),
            below,
            above,
            body,
        };
        Ok(Node::new(Kind::Big(Box::new(big)), span.start..end))
    }
}

/// An operator between two things, or behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Infix {
    Row,
    Item,
    Relation(Relation),
    Congruence,
    Ratio,
    SetOp,
    Sum,
    Times,
    Over,
    Modulo,
    Stacked,
    Beside,
    Unit,
    Postfix,
}

impl Infix {
    /// Whether the result holds the left side one level deeper.
    fn nests(self) -> bool {
        !matches!(
            self,
            Infix::Row
                | Infix::Item
                | Infix::Relation(_)
                | Infix::Ratio
                | Infix::Times
                | Infix::Beside
        )
    }

    fn power(self) -> u8 {
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
            Infix::Postfix => power::TIGHT,
        }
    }
}

/// Whether a word joins items (`and`: yes) or opens a condition (`if`: no); other words are
/// neither.
pub(crate) fn connective(word: &str) -> Option<bool> {
    let word = word.trim_matches(|c: char| c == ',' || c.is_whitespace());
    match word.to_ascii_lowercase().as_str() {
        "and" | "or" | "" | "and also" | "&" | "or also" | "和" | "或" => Some(true),
        "if" | "for" | "when" | "where" | "with" | "such that" | "otherwise" | "for all" | "is"
        | "are" | "while" | "iff" | "only if" => Some(false),
        _ => None,
    }
}

fn collect(items: Vec<Node>, kind: impl FnOnce(Vec<Node>) -> Kind) -> Node {
    let start = items.first().map_or(0, |item| item.span.start);
    let end = items.last().map_or(start, |item| item.span.end);
    Node::new(kind(items), start..end)
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

/// A whole number right before a fraction of whole numbers.
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

/// The letters of a name, where a node is no more than that.
fn plain_name(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Symbol(name) | Kind::Text(name) => Some(name.clone()),
        Kind::Number(literal) if literal.is_whole() => Some(literal.whole.clone()),
        Kind::Mul(factors) => factors.iter().map(plain_name).collect(),
        _ => None,
    }
}
