//! Prints a tree as canonical LaTeX. Parsing the output gives the same tree.

use super::tree::{BigOperator, Domain, Kind, Literal, Node, Relation};
use super::words::{self, Run};
use crate::answer::budget::{Budget, EvalError};

/// Returns a tree as LaTeX.
///
/// # Errors
///
/// Returns [`EvalError::LimitExceeded`] if the tree is too deep or has too many nodes.
pub(crate) fn print(node: &Node, budget: &mut Budget) -> Result<String, EvalError> {
    let mut printer = Printer {
        out: String::new(),
        budget,
    };
    printer.node(node)?;
    Ok(printer.out)
}

struct Printer<'b> {
    out: String,
    budget: &'b mut Budget,
}

type Printed = Result<(), EvalError>;

impl Printer<'_> {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn node(&mut self, node: &Node) -> Printed {
        self.budget.enter()?;
        let printed = self.kind(&node.kind);
        self.budget.leave();
        printed
    }

    fn between(&mut self, open: &str, node: &Node, close: &str) -> Printed {
        self.put(open);
        self.node(node)?;
        self.put(close);
        Ok(())
    }

    fn joined(&mut self, items: &[Node], separator: &str) -> Printed {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.put(separator);
            }
            self.node(item)?;
        }
        Ok(())
    }

    /// Prints a power, index or bound. The parser removes one pair of brackets, so bracketed content gets another
    /// pair.
    fn script(&mut self, mark: &str, node: &Node) -> Printed {
        self.put(mark);
        match &node.kind {
            Kind::Group(_) => self.between("{(", node, ")}"),
            Kind::Set(items) if items.len() == 1 => self.between("{(", node, ")}"),
            _ => self.between("{", node, "}"),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Printed {
        match kind {
            Kind::Number(literal) => self.literal(literal),
            Kind::Symbol(name) => self.name(name),
            Kind::Infinity => self.put("\\infty "),
            Kind::Ellipsis => self.put("\\ldots "),
            Kind::Text(text) => {
                self.put("\\text{");
                self.put(text);
                self.put("}");
            }
            Kind::Neg(inner) => self.between("-", inner, "")?,
            Kind::PlusMinus(left, right, inverted) => {
                if let Some(left) = left {
                    self.node(left)?;
                }
                let sign = if *inverted { " \\mp " } else { " \\pm " };
                self.between(sign, right, "")?;
            }
            Kind::Add(terms) => {
                for (index, term) in terms.iter().enumerate() {
                    match &term.kind {
                        Kind::Neg(inner) if index > 0 => self.between(" - ", inner, "")?,
                        _ if index > 0 => self.between(" + ", term, "")?,
                        _ => self.node(term)?,
                    }
                }
            }
            Kind::Mul(factors) => self.joined(factors, " \\cdot ")?,
            Kind::Div(top, bottom) => {
                self.between("\\frac{", top, "}{")?;
                self.between("", bottom, "}")?;
            }
            Kind::Mixed(whole, fraction) => {
                self.literal(whole);
                self.between(" ", fraction, "")?;
            }
            Kind::Pow(base, exponent) => {
                self.node(base)?;
                self.script("^", exponent)?;
            }
            Kind::Root(index, radicand) => {
                let square = matches!(&index.kind, Kind::Number(literal)
                    if literal.is_whole() && literal.whole == "2");
                if square {
                    self.put("\\sqrt");
                } else {
                    self.between("\\sqrt[", index, "]")?;
                }
                self.between("{", radicand, "}")?;
            }
            Kind::Call(name, arguments) => self.call(name, arguments)?,
            Kind::Factorial(inner) => self.between("", inner, "!")?,
            Kind::Degree(inner) => self.between("", inner, "^{\\circ}")?,
            Kind::Percent(inner) => self.between("", inner, "\\%")?,
            Kind::Unit(inner, unit) => {
                self.node(inner)?;
                if unit.bytes().all(|b| b == b'\'') {
                    self.put(unit);
                } else {
                    self.unit(unit);
                }
            }
            Kind::Radix(digits, base) => {
                self.put(digits);
                self.put(&format!("_{{{base}}}"));
            }
            Kind::Chain(sides, relations) => {
                for (index, side) in sides.iter().enumerate() {
                    if let Some(relation) = index.checked_sub(1).and_then(|i| relations.get(i)) {
                        let whole =
                            matches!(sides[0].kind, Kind::Chain(..) | Kind::List(_) | Kind::Or(_));
                        if whole && *relation == Relation::Other("iff") {
                            // An inequality and the same set as an interval.
                            self.put(" : ");
                        } else {
                            self.put(&relation_sign(*relation));
                        }
                    }
                    self.node(side)?;
                }
            }
            Kind::Congruence(left, right, modulus) => {
                if matches!(left.kind, Kind::Ellipsis) {
                    self.between("", right, " ")?;
                } else {
                    self.node(left)?;
                    self.between(" \\equiv ", right, " ")?;
                }
                self.between("\\pmod{", modulus, "}")?;
            }
            Kind::List(items) => self.joined(items, ", ")?,
            Kind::Or(parts) => self.joined(parts, " \\text{ or } ")?,
            Kind::Rows(items) => self.joined(items, "; ")?,
            Kind::Group(inner) => self.between("(", inner, ")")?,
            Kind::Bracket(open, close, items) => {
                self.put(match open {
                    '⟨' => "\\langle ",
                    '[' => "[",
                    _ => "(",
                });
                let nested = items.iter().any(|item| matches!(item.kind, Kind::List(_)));
                self.joined(items, if nested { "; " } else { ", " })?;
                self.put(match close {
                    '⟩' => "\\rangle ",
                    ']' => "]",
                    _ => ")",
                });
            }
            Kind::Set(items) if items.is_empty() => self.put("\\emptyset "),
            Kind::Set(items) => {
                self.put("\\{");
                self.joined(items, ", ")?;
                self.put("\\}");
            }
            Kind::Builder(left, condition) => {
                self.between("\\{", left, " \\mid ")?;
                self.between("", condition, "\\}")?;
            }
            Kind::SetOp(operator, left, right) => {
                self.node(left)?;
                let sign = match operator {
                    '∪' => " \\cup ",
                    '∩' => " \\cap ",
                    _ => " \\setminus ",
                };
                self.between(sign, right, "")?;
            }
            Kind::Matrix(rows) => self.rows("pmatrix", rows)?,
            Kind::Cases(rows) => self.rows("cases", rows)?,
            Kind::Ratio(terms) => self.joined(terms, " : ")?,
            Kind::Derivative(above, below) => {
                self.put("\\frac{d");
                if !above.is_empty() {
                    self.put(" ");
                    self.name(above);
                }
                self.put("}{d ");
                self.name(below);
                self.put("}");
            }
            Kind::BigOperator(big) => self.big(big)?,
            Kind::ForAll(inner, name, domain) => {
                self.between("", inner, ", ")?;
                self.name(name);
                self.put(match domain {
                    Domain::Integers => " \\in \\mathbb{Z}",
                    Domain::Naturals => " \\in \\mathbb{N}",
                    Domain::Reals => " \\in \\mathbb{R}",
                });
            }
        }
        Ok(())
    }

    fn literal(&mut self, literal: &Literal) {
        self.put(&literal.whole);
        if !literal.fraction.is_empty() || !literal.repeat.is_empty() {
            self.put(".");
            self.put(&literal.fraction);
        }
        if !literal.repeat.is_empty() {
            self.put(&format!("\\overline{{{}}}", literal.repeat));
        }
        if literal.exponent != 0 {
            self.put(&format!("e{}", literal.exponent));
        }
    }

    /// Prints a name with its decorations, indices and primes.
    fn name(&mut self, name: &str) {
        let cut = name.find(['_', '\'']).unwrap_or(name.len());
        let (stem, mut rest) = name.split_at(cut);
        match stem.split_once(' ') {
            Some((accent, letters)) => {
                self.put(&format!("\\{accent}{{"));
                if letters.contains(' ') {
                    self.name(letters);
                } else {
                    self.put(letters);
                }
                self.put("}");
            }
            None => {
                let mut letters = stem.chars();
                let single = letters.next().filter(|_| letters.next().is_none());
                match single {
                    Some('π') => self.put("\\pi "),
                    Some(c) if c.is_ascii_alphabetic() => self.put(stem),
                    None if words::read_run(stem) == Run::Name => self.put(stem),
                    None if words::is_symbol(stem) => self.put(&format!("\\{stem} ")),
                    // A literal in another base.
                    None if stem.starts_with('0') => self.put(stem),
                    None if words::is_text(stem) => self.put(&format!("\\text{{{stem}}}")),
                    _ => self.put(&format!("\\{stem} ")),
                }
            }
        }
        while !rest.is_empty() {
            if let Some(more) = rest.strip_prefix('\'') {
                self.put("'");
                rest = more;
                continue;
            }
            let index = rest.strip_prefix('_').unwrap_or(rest);
            let end = index.find('_').unwrap_or(index.len());
            let (index, more) = index.split_at(end);
            let (index, primes) = {
                let bare = index.trim_end_matches('\'');
                index.split_at(bare.len())
            };
            self.put("_{");
            for (i, word) in index.split(' ').enumerate() {
                if i > 0 {
                    self.put(" ");
                }
                if word.len() > 1 && word.bytes().all(|b| b.is_ascii_alphabetic()) {
                    self.put(&format!("\\text{{{word}}}"));
                } else {
                    self.put(&word.replace('‿', "_").replace('′', "'"));
                }
            }
            self.put("}");
            self.put(primes);
            rest = more;
        }
    }

    fn call(&mut self, name: &str, arguments: &[Node]) -> Printed {
        match (name, arguments) {
            ("mod", [left, right]) => {
                self.node(left)?;
                return self.between(" \\bmod ", right, "");
            }
            ("binom", [top, bottom]) => {
                self.between("\\binom{", top, "}{")?;
                return self.between("", bottom, "}");
            }
            ("derivative", [function, order]) => {
                self.node(function)?;
                return self.between("^{(", order, ")}");
            }
            ("divergence", items) => return self.joined(items, " \\cdot "),
            ("cross", items) => return self.joined(items, " \\times "),
            ("product of sets", items) => return self.joined(items, " \\times "),
            ("power of a set", [set, power]) => {
                self.node(set)?;
                return self.script("^", power);
            }
            ("dimensions", items) => return self.joined(items, " \\cdot "),
            ("circ", items) => return self.joined(items, " \\circ "),
            ("wedge", items) => return self.joined(items, " \\wedge "),
            ("vee", items) => return self.joined(items, " \\vee "),
            ("double factorial", [inner]) => return self.between("", inner, "!!"),
            ("norm", [inner]) => return self.between("\\Vert ", inner, "\\Vert "),
            ("from above", [inner]) => return self.between("", inner, "^{+}"),
            ("from below", [inner]) => return self.between("", inner, "^{-}"),
            _ => {}
        }
        let mut arguments = arguments;
        if let ("log_base", [base, rest @ ..]) = (name, arguments) {
            self.put("\\log");
            self.script("_", base)?;
            arguments = rest;
        } else if words::is_function(name) {
            self.put(&format!("\\operatorname{{{name}}}"));
        } else {
            self.name(name);
        }
        self.put("(");
        self.joined(arguments, ", ")?;
        self.put(")");
        Ok(())
    }

    /// Prints a unit's words, with their powers and slashes.
    fn unit(&mut self, unit: &str) {
        let mut word = String::new();
        let mut parts = unit.chars().peekable();
        while let Some(c) = parts.next() {
            match c {
                '/' | '$' | '€' | '£' | '¥' | '₹' | '￥' | '¢' | '^' => {
                    self.unit_word(&mut word);
                    match c {
                        '$' => self.put("\\$"),
                        '^' => {
                            self.put("^{");
                            while let Some(d) = parts.next_if(|d| d.is_ascii_digit() || *d == '-') {
                                self.out.push(d);
                            }
                            self.put("}");
                        }
                        _ => self.out.push(c),
                    }
                }
                c => word.push(c),
            }
        }
        self.unit_word(&mut word);
    }

    fn unit_word(&mut self, word: &mut String) {
        if !word.is_empty() {
            self.put(&format!("\\text{{{}}}", word.trim()));
            word.clear();
        }
    }

    fn rows(&mut self, environment: &str, rows: &[Vec<Node>]) -> Printed {
        self.put(&format!("\\begin{{{environment}}}"));
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                self.put(" \\\\ ");
            }
            self.joined(row, " & ")?;
        }
        self.put(&format!("\\end{{{environment}}}"));
        Ok(())
    }

    fn big(&mut self, big: &BigOperator) -> Printed {
        self.put(&format!("\\{}", big.operator));
        if let Some(below) = &big.below {
            self.script("_", below)?;
        }
        if let Some(above) = &big.above {
            self.script("^", above)?;
        }
        self.between(" ", &big.body, "")
    }
}

fn relation_sign(relation: Relation) -> String {
    let sign = match relation {
        Relation::Equal => "=",
        Relation::Approximately => "\\approx",
        Relation::NotEqual => "\\ne",
        Relation::Less => "<",
        Relation::LessEqual => "\\le",
        Relation::Greater => ">",
        Relation::GreaterEqual => "\\ge",
        Relation::In => "\\in",
        Relation::Equivalent => "\\equiv",
        Relation::Other(name) => return format!(" \\{name} "),
    };
    format!(" {sign} ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::extract;
    use crate::answer::latex::{tokens, tree};
    use std::path::Path;

    fn read(text: &str) -> Option<Node> {
        let mut budget = Budget::default();
        let tokens = tokens(text, &mut budget).ok()?;
        tree(&tokens, &mut budget).ok()
    }

    /// Removes the spans of a tree.
    fn placeless(mut node: Node) -> Node {
        let mut open = vec![&mut node];
        while let Some(next) = open.pop() {
            next.span = 0..0;
            open.extend(next.children_mut());
        }
        node
    }

    /// Returns what is wrong with the tree of a text: tokens that no node covers, or output that parses
    /// differently.
    fn fault(text: &str) -> Option<String> {
        let mut budget = Budget::default();
        let tokens = tokens(text, &mut budget).ok()?;
        let root = tree(&tokens, &mut budget).ok()?;
        let uncovered = tokens.iter().find(|token| {
            let stop = matches!(
                token.tok,
                crate::answer::latex::Tok::Symbol('.' | ',' | ';' | ':')
                    | crate::answer::latex::Tok::NewLine
            );
            !stop && (token.span.start < root.span.start || token.span.end > root.span.end)
        });
        if let Some(token) = uncovered {
            return Some(format!("{text}: {token:?} is in no node ({:?})", root.span));
        }
        let printed = match print(&root, &mut Budget::default()) {
            Ok(printed) => printed,
            Err(stop) => return Some(format!("{text}: not printed: {stop:?}")),
        };
        let root = placeless(root);
        match read(&printed).map(placeless) {
            Some(again) if again == root => None,
            Some(again) => Some(format!(
                "{text}\n  printed {printed}\n  {root:?}\n  {again:?}"
            )),
            None => Some(format!("{text}\n  printed {printed}\n  which is not read")),
        }
    }

    #[test]
    fn what_is_printed_reads_as_the_same_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(root.join("tests/fixtures/answer")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                for line in std::fs::read_to_string(path).unwrap().lines() {
                    let sides = line.split_once(" ≡ ").or_else(|| line.split_once(" ≢ "));
                    if let Some((left, right)) = sides.filter(|_| !line.starts_with('#')) {
                        texts.extend([left.to_owned(), right.to_owned()]);
                    }
                }
            }
        }
        assert!(texts.len() > 500, "{}", texts.len());
        let answers = root.join("../shared/answers/gold_answers.jsonl");
        match std::fs::read_to_string(answers) {
            Ok(lines) => texts.extend(lines.lines().map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                extract::from_answer(row["reference"].as_str().unwrap()).into_owned()
            })),
            Err(_) => println!("without the real answers, which are not here"),
        }
        let faults: Vec<String> = texts.iter().filter_map(|text| fault(text)).collect();
        assert!(
            faults.is_empty(),
            "{} of {}:\n{}",
            faults.len(),
            texts.len(),
            faults[..faults.len().min(30)].join("\n")
        );
    }
}
