//! Parses operands: numbers, names, brackets, sets, and commands with their arguments.

use smol_str::{SmolStr, format_smolstr};

use super::{Parsed, Parser, connective, plain_name, power};
use crate::answer::budget::EvalError;
use crate::answer::latex::lexer::{Tok, Token};
use crate::answer::latex::tree::{Kind, Node, Span};

impl<'t> Parser<'t, '_> {
    pub(super) fn prefix(&mut self) -> Parsed {
        let span = self.span();
        let Some(tok) = self.peek() else {
            return Err(EvalError::Unsupported);
        };
        let node = |kind| Node::new(kind, span.clone());
        if matches!(tok, Tok::Symbol('{' | '_' | '^'))
            && let Some(choice) = self.scripted_choice()?
        {
            return Ok(choice);
        }
        match tok {
            Tok::Number(literal) => {
                self.at += 1;
                Ok(node(Kind::Number(Box::new(literal.clone()))))
            }
            Tok::Letter(c) => {
                self.at += 1;
                self.applied(letter(*c), span)
            }
            Tok::Name(name) | Tok::Word(name) | Tok::Text(name) => self.phrase(tok, name, span),
            Tok::Currency(sign) => self.money(*sign, span),
            Tok::Symbol(c) => match c {
                '-' => self.negative(span),
                '+' => {
                    self.at += 1;
                    self.expression(power::NEGATION - 1)
                }
                '(' | '[' | '{' | ']' => self.bracket(*c),
                '|' => self.between_bars(span),
                '"' | '\'' => self.quoted(*c, span),
                '=' | '<' | '>' if self.at == 0 => {
                    // `=5`, `>5`: the left side is omitted.
                    if *c != '=' {
                        return Err(EvalError::Unsupported);
                    }
                    self.at += 1;
                    self.expression(power::CHAIN)
                }
                _ => Err(EvalError::Unsupported),
            },
            Tok::Command(name) => self.command(name, span),
            Tok::Begin(environment) => self.environment(environment, false),
            Tok::NewLine | Tok::End(_) | Tok::Unknown(_) => Err(EvalError::Unsupported),
        }
    }

    /// Parses a name of several letters, or consecutive words.
    #[inline(never)]
    fn phrase(&mut self, tok: &Tok, name: &SmolStr, span: Span) -> Parsed {
        let is_text = !matches!(tok, Tok::Name(_));
        if is_text && connective(name) == Some(false) {
            return Err(EvalError::Unsupported);
        }
        self.at += 1;
        if !is_text {
            return Ok(Node::new(Kind::Symbol(name.clone()), span));
        }
        // Consecutive words are one text.
        let mut words = name.to_string();
        let mut end = span.end;
        loop {
            self.budget.spend(1)?;
            match self.peek() {
                Some(Tok::Word(more) | Tok::Text(more)) if connective(more).is_none() => {
                    words.push(' ');
                    words.push_str(more);
                    end = self.span().end;
                    self.at += 1;
                }
                _ => match self.inside_word() {
                    Some(more) => {
                        words.push_str(&more);
                        self.at += 2;
                        end = self.tokens[self.at - 1].span.end;
                    }
                    None => break,
                },
            }
        }
        Ok(Node::new(Kind::Text(words.into()), span.start..end))
    }

    /// Parses an expression between bars, from the first bar on.
    #[inline(never)]
    fn between_bars(&mut self, span: Span) -> Parsed {
        self.at += 1;
        self.bars += 1;
        let inner = self.expression(power::CHAIN + 1)?;
        self.bars -= 1;
        self.expect('|')?;
        // Bars around a matrix are its determinant.
        let function = match inner.kind {
            Kind::Matrix(_) => "det",
            _ => "abs",
        };
        Ok(Node::new(Kind::Call(function.into(), vec![inner]), span))
    }

    /// Parses a quoted expression.
    #[inline(never)]
    fn quoted(&mut self, quote: char, span: Span) -> Parsed {
        self.at += 1;
        let inner = self.expression(power::LIST + 1)?;
        self.expect(quote)?;
        Ok(Node::new(Kind::Group(Box::new(inner)), span))
    }

    /// Parses an amount of money, from its sign on.
    #[inline(never)]
    fn money(&mut self, sign: char, span: Span) -> Parsed {
        self.at += 1;
        let amount = self.expression(power::PRODUCT)?;
        let unit = sign.to_string();
        Ok(Node::new(Kind::Unit(Box::new(amount), unit), span))
    }

    /// Parses the operand of a minus sign.
    #[inline(never)]
    fn negative(&mut self, span: Span) -> Parsed {
        self.at += 1;
        let inner = self.expression(power::NEGATION - 1)?;
        Ok(Node::new(Kind::Neg(Box::new(inner)), span))
    }

    /// Returns the continuation of a word after punctuation inside it: `first-aid`, `Lisa's`, `sq. inches`. It
    /// has two tokens.
    pub(super) fn inside_word(&self) -> Option<String> {
        let (sign, next) = (self.tokens.get(self.at)?, self.tokens.get(self.at + 1)?);
        let Tok::Symbol(mark) = sign.tok else {
            return None;
        };
        if sign.spaced {
            return None;
        }
        let word = match &next.tok {
            Tok::Word(word) if connective(word).is_none() => word.as_str(),
            Tok::Letter('s') if mark == '\'' => "s",
            _ => return None,
        };
        match mark {
            '-' | '\'' if !next.spaced => Some(format!("{mark}{word}")),
            // A full stop after a longer word ends a sentence.
            '.' if next.spaced && self.is_short_word_before() => Some(format!(". {word}")),
            _ => None,
        }
    }

    fn is_short_word_before(&self) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        matches!(before, Some(token) if matches!(&token.tok, Tok::Word(word) if word.len() <= 3))
    }

    /// Parses a name, and the brackets after it if it may be a function: `f(x)`, `f'(x)`.
    pub(super) fn applied(&mut self, mut name: SmolStr, span: Span) -> Parsed {
        if matches!(name.as_str(), "f" | "g" | "F" | "G" | "W") {
            let letter = name.clone();
            let before = self.at;
            while self.eat('\'') {
                self.budget.spend(1)?;
                name = format_smolstr!("{name}'");
            }
            if self.is_symbol('_') && matches!(self.peek_at(2), Some(Tok::Symbol('('))) {
                self.at += 1;
                let index = self.index()?;
                name = format_smolstr!("{name}_{index}");
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
                    _ => return Err(EvalError::Unsupported),
                };
                return Ok(Node::new(Kind::Call(name, arguments), span));
            }
            self.at = before;
            name = letter;
        }
        Ok(Node::new(Kind::Symbol(name), span))
    }

    /// Parses a pair of brackets of any kind, from the opening bracket on.
    pub(super) fn bracket(&mut self, open: char) -> Parsed {
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

    pub(super) fn bracket_inner(&mut self, open: char, start: usize) -> Parsed {
        if open == '{' && self.eat('}') {
            return Ok(Node::new(Kind::Set(Vec::new()), start..start + 2));
        }
        let inner = self.expression(0)?;
        self.closed(open, start, inner)
    }

    /// Builds the node for the content of a pair of brackets.
    #[inline(never)]
    fn closed(&mut self, open: char, start: usize, inner: Node) -> Parsed {
        let close = match self.peek() {
            Some(Tok::Symbol(c @ (')' | ']' | '}'))) => *c,
            Some(Tok::Symbol('[')) if open == ']' => '[',
            _ => return Err(EvalError::Unsupported),
        };
        let end = self.span().end;
        self.at += 1;
        if (open == '{') != (close == '}') {
            return Err(EvalError::Unsupported);
        }
        let span = start..end;
        let items = match inner.kind {
            Kind::List(items) => items,
            // `[1, 2; 3, 4]`: rows of a matrix.
            Kind::Rows(rows) if (open, close) == ('[', ']') && is_table(&rows, false) => {
                return Ok(Node::new(Kind::Matrix(rows_of(rows)), span));
            }
            // `(0;0;0)`: semicolons instead of commas. A mixture is rejected: `[1;2,3]` is a continued
            // fraction.
            Kind::Rows(items)
                if open == '[' && items.iter().any(|item| matches!(item.kind, Kind::List(_))) =>
            {
                return Err(EvalError::Unsupported);
            }
            Kind::Rows(items) if open != '{' => items,
            kind => {
                let inner = Box::new(Node::new(kind, inner.span));
                return match (open, close) {
                    ('(', ')') | ('[', ']') | ('{', '}') => Ok(Node::new(Kind::Group(inner), span)),
                    _ => Err(EvalError::Unsupported),
                };
            }
        };
        if open == '{' {
            return Ok(Node::new(Kind::Set(self.inner_sets(items)), span));
        }
        let (open, close) = match (open, close) {
            // The French notation: `]0,1[`.
            (']', '[') => ('(', ')'),
            (']', ']') => ('(', ']'),
            pair => pair,
        };
        // `[[1, 2], [3, 4]]`.
        if (open, close) == ('[', ']') && is_table(&items, true) {
            return Ok(Node::new(Kind::Matrix(rows_of(items)), span));
        }
        Ok(Node::new(Kind::Bracket(open, close, items), span))
    }

    /// Turns the items of a set in plain braces into sets if every item is itself in braces: `{{1},{2}}`.
    fn inner_sets(&self, items: Vec<Node>) -> Vec<Node> {
        let in_braces = |item: &Node| {
            let at = self
                .tokens
                .partition_point(|token| token.span.start < item.span.start);
            matches!(item.kind, Kind::Group(_) | Kind::Set(_))
                && matches!(self.tokens.get(at), Some(token) if token.tok == Tok::Symbol('{'))
        };
        if !items.iter().all(in_braces) {
            return items;
        }
        items
            .into_iter()
            .map(|item| match item.kind {
                Kind::Group(inner) => Node::new(Kind::Set(vec![*inner]), item.span),
                kind => Node::new(kind, item.span),
            })
            .collect()
    }

    /// Parses `\{ … \}`, after its opening brace.
    pub(super) fn set(&mut self, start: usize) -> Parsed {
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
                // `\{x = 1 or x = 2\}`: a set of the statements.
                Kind::Or(parts) => Kind::Set(parts.into_iter().flat_map(listed).collect()),
                kind => Kind::Set(vec![Node::new(kind, inner.span)]),
            }
        };
        (self.bars, self.builder, self.cells) = outer;
        let end = self.span().end;
        if !self.eat_command("}") {
            return Err(EvalError::Unsupported);
        }
        Ok(Node::new(node, start..end))
    }

    /// Parses a decorated name. Around a number, the decoration has no meaning.
    pub(super) fn accent(&mut self, name: &str, span: Span) -> Parsed {
        let inner = self.argument()?;
        let inner = match inner.kind {
            Kind::Group(inner) => *inner,
            _ => inner,
        };
        match (name, &inner.kind) {
            ("mathbf" | "boldsymbol" | "bm" | "mathit" | "pmb", Kind::Number(_)) => Ok(inner),
            ("mathbf", Kind::Symbol(letter)) if self.is_number_set(letter) => Ok(Node::new(
                Kind::Symbol(format_smolstr!("mathbb {letter}")),
                span,
            )),
            (_, Kind::Symbol(_) | Kind::Mul(_) | Kind::Text(_) | Kind::Number(_)) => {
                let letters = plain_name(&inner).ok_or(EvalError::Unsupported)?;
                Ok(Node::new(
                    Kind::Symbol(format_smolstr!("{name} {letters}")),
                    span,
                ))
            }
            _ => Err(EvalError::Unsupported),
        }
    }

    /// Returns whether a bold letter is the name of a number set. On each side, it must have a set operator
    /// such as `\in`, a comma, or nothing.
    fn is_number_set(&self, letter: &str) -> bool {
        let joins = |tok: Option<&Tok>| match tok {
            None => true,
            Some(Tok::Command(name)) => matches!(
                name.as_str(),
                "in" | "notin" | "cup" | "cap" | "setminus" | "subset" | "subseteq" | "}"
            ),
            Some(Tok::Symbol(c)) => *c == ',',
            _ => false,
        };
        let back = |token: &&Token| !matches!(token.tok, Tok::Symbol('{' | '}') | Tok::Letter(_));
        let mut before = self.tokens[..self.at].iter().rev().filter(back);
        let bold = before
            .next()
            .is_some_and(|token| token.tok == Tok::Command("mathbf".into()));
        bold && matches!(letter, "N" | "Z" | "Q" | "R" | "C")
            && joins(before.next().map(|token| &token.tok))
            && joins(self.peek())
    }

    /// Reads `\frac{dy}{dx}` as one name, if it comes next.
    pub(super) fn derivative(&mut self) -> Option<Kind> {
        let is_open = |ahead| matches!(self.peek_at(ahead), Some(Tok::Symbol('{')));
        let is_close = |ahead| matches!(self.peek_at(ahead), Some(Tok::Symbol('}')));
        let is_d = |ahead| match self.peek_at(ahead) {
            Some(Tok::Letter('d')) => true,
            Some(Tok::Command(name)) => name == "partial",
            _ => false,
        };
        let name = |ahead| match self.peek_at(ahead) {
            Some(Tok::Letter(c)) => Some(letter(*c)),
            Some(Tok::Command(name)) if name != "partial" => Some(name.clone()),
            _ => None,
        };
        if !(is_open(0) && is_d(1)) {
            return None;
        }
        if is_close(2) && is_open(3) && is_d(4) && is_close(6) {
            // `\frac{d}{dx}` before its operand.
            let below = name(5)?;
            self.at += 7;
            return Some(Kind::Derivative(SmolStr::default(), below));
        }
        if is_close(3) && is_open(4) && is_d(5) && is_close(7) {
            let (above, below) = (name(2)?, name(6)?);
            self.at += 8;
            return Some(Kind::Derivative(above, below));
        }
        None
    }

    /// Parses the argument of `\frac`, `\sqrt` and similar: a group, a single token, or one digit of a number.
    pub(super) fn argument(&mut self) -> Parsed {
        self.nested(Self::argument_inside)
    }

    fn argument_inside(&mut self) -> Parsed {
        match self.peek() {
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
                Ok(Node::new(Kind::Number(Box::new(literal.clone())), span))
            }
            Some(Tok::Letter(_) | Tok::Name(_) | Tok::Text(_) | Tok::Word(_)) => {
                let span = self.span();
                let kind = match self.peek() {
                    Some(Tok::Letter(c)) => Kind::Symbol(letter(*c)),
                    Some(Tok::Name(name)) => Kind::Symbol(name.clone()),
                    Some(Tok::Text(text) | Tok::Word(text)) => Kind::Text(text.clone()),
                    _ => return Err(EvalError::Unsupported),
                };
                self.at += 1;
                Ok(Node::new(kind, span))
            }
            Some(Tok::Command(name)) => {
                let span = self.span();
                self.command(name, span)
            }
            _ => Err(EvalError::Unsupported),
        }
    }

    /// Parses a power or an index: a group or a single token, with its sign.
    pub(super) fn script(&mut self) -> Parsed {
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
            // `x^{\left{3+1\right}}`: the braces were meant for grouping.
            Kind::Set(mut items) if items.len() == 1 => match items.pop() {
                Some(item) => item,
                None => return Err(EvalError::Unsupported),
            },
            kind => Node::new(kind, node.span),
        })
    }

    /// Reads the index of a name as text: the content of braces, or one token with its sign. The tokens have no
    /// meaning of their own here.
    pub(super) fn index(&mut self) -> Result<String, EvalError> {
        let mut text = String::new();
        let mut open = 0usize;
        loop {
            self.budget.spend(1)?;
            let tok = self.peek().ok_or(EvalError::Unsupported)?;
            self.at += 1;
            let word = match tok {
                Tok::Symbol('{') => {
                    open += 1;
                    continue;
                }
                Tok::Symbol('}') => {
                    open = open.checked_sub(1).ok_or(EvalError::Unsupported)?;
                    if open == 0 {
                        break;
                    }
                    continue;
                }
                Tok::Number(literal) => literal.plain(),
                Tok::Letter(c) | Tok::Symbol(c) => c.to_string(),
                Tok::Name(name) | Tok::Word(name) | Tok::Text(name) | Tok::Command(name) => {
                    name.to_string()
                }
                _ => return Err(EvalError::Unsupported),
            };
            // Names are later split at their own marks, so marks inside the index are replaced.
            let word = word.replace('_', "‿").replace('\'', "′");
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&word);
            if open == 0 && word != "-" && word != "+" {
                break;
            }
        }
        if text.is_empty() {
            return Err(EvalError::Unsupported);
        }
        Ok(text)
    }
}

/// Returns the items of a list, or the node itself as the only item.
fn listed(node: Node) -> Vec<Node> {
    match node.kind {
        Kind::List(items) => items,
        _ => vec![node],
    }
}

/// Returns whether items, either bracketed or lists, are at least two rows of the same length, at least two.
fn is_table(items: &[Node], bracketed: bool) -> bool {
    let width = |item: &Node| match &item.kind {
        Kind::Bracket('[', ']', cells) if bracketed => cells.len(),
        Kind::List(cells) if !bracketed => cells.len(),
        _ => 0,
    };
    let [first, rest @ ..] = items else {
        return false;
    };
    !rest.is_empty() && width(first) > 1 && rest.iter().all(|row| width(row) == width(first))
}

/// Returns the cells of such rows.
fn rows_of(items: Vec<Node>) -> Vec<Vec<Node>> {
    let cells = |item: Node| match item.kind {
        Kind::Bracket(_, _, cells) | Kind::List(cells) => cells,
        kind => vec![Node::new(kind, item.span)],
    };
    items.into_iter().map(cells).collect()
}

/// Returns a letter as a name.
fn letter(c: char) -> SmolStr {
    SmolStr::from_iter([c])
}
