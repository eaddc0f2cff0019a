//! Answers as trees. They can be written in many ways, evaluated in floating point, and changed slightly. Shared by
//! the property tests and the fuzz targets.

/// An expression.
#[derive(Debug, Clone)]
pub(crate) enum Expression {
    Whole(u32),
    /// The integer part and the digits after the decimal point.
    Decimal(u32, u32),
    Symbol(&'static str),
    Negative(Box<Expression>),
    Sum(Box<Expression>, Box<Expression>),
    Difference(Box<Expression>, Box<Expression>),
    Product(Box<Expression>, Box<Expression>),
    /// Division by a nonzero integer.
    Quotient(Box<Expression>, u32),
    Over(Box<Expression>, Box<Expression>),
    Power(Box<Expression>, u32),
    /// Square root.
    Root(Box<Expression>),
    /// e to the power of the expression.
    Exponential(Box<Expression>),
    /// A function, named by its LaTeX command.
    Call(&'static str, Box<Expression>),
}

use Expression as E;

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Bare(Expression),
    Assigned(&'static str, Expression),
    Measured(u32, &'static str),
    Percent(u32),
    Degrees(u32),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Set(Vec<Expression>),
    /// The lower end, the length, and whether each end is closed.
    Interval(i32, u32, bool, bool),
    From(&'static str, Expression),
}

/// The points at which expressions are evaluated, as `x`, `y`, `n`, `a`.
pub(crate) const POINTS: [[f64; 4]; 3] = [
    [0.737, 1.913, 2.371, 0.291],
    [3.119, 0.457, 1.203, 2.618],
    [-1.373, 2.219, -0.611, -1.907],
];

/// A floating-point value and the largest magnitude of all intermediate values, which bounds the rounding error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounded {
    pub(crate) value: f64,
    pub(crate) scale: f64,
}

impl Rounded {
    fn over(value: f64, parts: &[Rounded]) -> Self {
        let scale = parts
            .iter()
            .map(|part| part.scale)
            .fold(value.abs(), f64::max);
        Rounded { value, scale }
    }
}

impl Expression {
    /// The value at a point, or NaN if any part has no real value.
    pub(crate) fn value(&self, point: &[f64; 4]) -> Rounded {
        let at = |inner: &Expression| inner.value(point);
        let one = |inner: &Expression, function: &dyn Fn(f64) -> f64| {
            let inner = at(inner);
            Rounded::over(function(inner.value), &[inner])
        };
        let two = |a: &Expression, b: &Expression, function: &dyn Fn(f64, f64) -> f64| {
            let (a, b) = (at(a), at(b));
            Rounded::over(function(a.value, b.value), &[a, b])
        };
        match self {
            E::Whole(value) => Rounded::over(f64::from(*value), &[]),
            E::Decimal(whole, part) => {
                let value = format!("{whole}.{part}").parse().unwrap_or(f64::NAN);
                Rounded::over(value, &[])
            }
            E::Symbol(name) => {
                let value = match *name {
                    "x" => point[0],
                    "y" => point[1],
                    "n" => point[2],
                    "a" => point[3],
                    _ => std::f64::consts::PI,
                };
                Rounded::over(value, &[])
            }
            E::Negative(inner) => one(inner, &|x| -x),
            E::Sum(a, b) => two(a, b, &|a, b| a + b),
            E::Difference(a, b) => two(a, b, &|a, b| a - b),
            E::Product(a, b) => two(a, b, &|a, b| a * b),
            E::Quotient(a, b) => one(a, &|x| x / f64::from(*b)),
            E::Over(a, b) => two(a, b, &|a, b| a / b),
            E::Power(base, exponent) => one(base, &|x| x.powi(*exponent as i32)),
            E::Root(inner) => one(inner, &f64::sqrt),
            E::Exponential(inner) => one(inner, &f64::exp),
            E::Call(name, inner) => match *name {
                "\\sin" => one(inner, &f64::sin),
                "\\cos" => one(inner, &f64::cos),
                "\\ln" => one(inner, &f64::ln),
                "\\arctan" => one(inner, &f64::atan),
                _ => Rounded::over(f64::NAN, &[]),
            },
        }
    }

    /// A copy whose `at`-th node is changed slightly.
    pub(crate) fn nudged(&self, at: usize, change: u8) -> Expression {
        let mut copy = self.clone();
        copy.nudge(&mut { at }, change);
        copy
    }

    fn nudge(&mut self, at: &mut usize, change: u8) {
        if *at == 0 {
            *at = usize::MAX;
            let before = std::mem::replace(self, E::Whole(0));
            *self = match (before, change % 4) {
                (E::Whole(value), 0) => E::Whole(value + 1),
                (E::Whole(value), 1) => E::Whole(value.saturating_mul(10)),
                (E::Decimal(whole, part), 0) => E::Decimal(whole + 1, part),
                (E::Decimal(whole, part), 1) => E::Decimal(whole, part + 1),
                (E::Symbol("x"), 0) => E::Symbol("y"),
                (E::Sum(a, b), 0) => E::Difference(a, b),
                (E::Sum(a, b), 1) => E::Product(a, b),
                (E::Difference(a, b), 0) => E::Difference(b, a),
                (E::Product(a, b), 0) => E::Sum(a, b),
                (E::Product(a, b), 1) => E::Over(a, b),
                (E::Over(a, b), 0) => E::Over(b, a),
                (E::Quotient(a, b), 0) => E::Quotient(a, b + 1),
                (E::Power(a, b), 0) => E::Power(a, b + 1),
                (E::Root(a), 0 | 1) => *a,
                (E::Negative(a), 0 | 1) => *a,
                (E::Call("\\sin", a), 0) => E::Call("\\cos", a),
                (other, 2) => E::Root(Box::new(other)),
                (other, _) => E::Negative(Box::new(other)),
            };
            return;
        }
        *at -= 1;
        match self {
            E::Whole(_) | E::Decimal(..) | E::Symbol(_) => {}
            E::Negative(a)
            | E::Quotient(a, _)
            | E::Power(a, _)
            | E::Root(a)
            | E::Exponential(a)
            | E::Call(_, a) => a.nudge(at, change),
            E::Sum(a, b) | E::Difference(a, b) | E::Product(a, b) | E::Over(a, b) => {
                a.nudge(at, change);
                if *at != usize::MAX {
                    b.nudge(at, change);
                }
            }
        }
    }
}

/// Returns a point at which two expressions differ by more than rounding errors, if there is one.
pub(crate) fn differ(left: &Expression, right: &Expression) -> Option<[f64; 4]> {
    POINTS.into_iter().find(|point| {
        let (a, b) = (left.value(point), right.value(point));
        let scale = a.scale.max(b.scale);
        scale < 1e9 && (a.value - b.value).abs() > 1e-5 * (1e-3 + scale)
    })
}

/// Chooses how to write an answer, from a repeated list of random numbers. With an empty list, the first way is always
/// chosen.
pub(crate) struct Pen<'a> {
    choices: &'a [u8],
    at: usize,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(choices: &'a [u8]) -> Self {
        Pen { choices, at: 0 }
    }

    fn choose<'w>(&mut self, ways: &[&'w str]) -> &'w str {
        ways[self.below(ways.len())]
    }

    fn below(&mut self, bound: usize) -> usize {
        if self.choices.is_empty() {
            return 0;
        }
        self.at += 1;
        usize::from(self.choices[self.at % self.choices.len()]) % bound
    }

    /// Optional space where it has no meaning.
    fn space(&mut self) -> &'static str {
        self.choose(&["", "", " ", "  ", "\\,", "\\;", "~", "\\!", "\\ "])
    }

    fn brackets(&mut self, inner: &str) -> String {
        let (open, close) = [
            ("(", ")"),
            ("\\left(", "\\right)"),
            ("\\bigl(", "\\bigr)"),
            ("\\big (", "\\big )"),
            ("\\left (", "\\right )"),
        ][self.below(5)];
        format!("{open}{}{inner}{}{close}", self.space(), self.space())
    }

    fn braces(&mut self, inner: &str) -> String {
        let (before, after) = ([("", ""), (" ", " "), ("{", "}")])[self.below(3)];
        format!("{{{before}{inner}{after}}}")
    }

    fn fraction(&mut self, above: &str, below: &str) -> String {
        let command = self.choose(&["\\frac", "\\dfrac", "\\tfrac", "\\cfrac"]);
        let is_digit = |text: &str| text.len() == 1 && text.as_bytes()[0].is_ascii_digit();
        if is_digit(above) && is_digit(below) && self.below(2) == 1 {
            return format!("{command}{above}{below}");
        }
        let gap = self.choose(&["", "", " "]);
        format!("{command}{}{gap}{}", self.braces(above), self.braces(below))
    }

    pub(crate) fn expression(&mut self, expression: &Expression) -> String {
        match expression {
            E::Whole(value) => value.to_string(),
            E::Decimal(whole, part) => {
                let zeros = self.choose(&["", "0", "00"]);
                format!("{whole}.{part}{zeros}")
            }
            E::Symbol(name) => (*name).to_owned(),
            E::Negative(inner) => {
                let inner = self.factor(inner);
                format!("-{}{inner}", self.space())
            }
            E::Sum(a, b) => {
                let (a, b) = (self.term(a), self.term(b));
                // Spaces stand only next to the sign: `3+\frac12` is no mixed number, and `3 + 1 2` would be no sum.
                format!("{a}{}+{}{b}", self.space(), self.space())
            }
            E::Difference(a, b) => {
                let (a, b) = (self.term(a), self.term(b));
                let minus = self.choose(&["-", "-", "−"]);
                format!("{a}{}{minus}{}{b}", self.space(), self.space())
            }
            E::Product(a, b) => {
                let (a, b) = (self.factor(a), self.factor(b));
                let times = self.choose(&["\\cdot ", "\\times ", "\\cdot{}", "*", "·", "×"]);
                let times = if times == "\\cdot{}" {
                    "\\cdot "
                } else {
                    times
                };
                format!("{a}{}{times}{}{b}", self.space(), self.space())
            }
            E::Quotient(above, below) => {
                let above = self.expression(above);
                self.fraction(&above, &below.to_string())
            }
            E::Over(above, below) => {
                let (above, below) = (self.expression(above), self.expression(below));
                self.fraction(&above, &below)
            }
            E::Power(base, exponent) => {
                let base = self.atom(base);
                match self.below(3) {
                    0 => format!("{base}^{exponent}"),
                    1 => format!("{base}^{{{exponent}}}"),
                    _ => format!("{base} ^ {{ {exponent} }}"),
                }
            }
            E::Root(inner) => {
                let inner = self.expression(inner);
                format!("\\sqrt{}", self.braces(&inner))
            }
            E::Exponential(inner) => {
                let inner = self.expression(inner);
                match self.below(3) {
                    0 => format!("e^{{{inner}}}"),
                    1 => format!("\\mathrm{{e}}^{}", self.braces(&inner)),
                    _ => format!("\\exp{}", self.brackets(&inner)),
                }
            }
            E::Call(name, inner) => {
                let inner = self.expression(inner);
                format!("{name}{}", self.brackets(&inner))
            }
        }
    }

    /// An operand of a sum, in brackets if necessary.
    fn term(&mut self, expression: &Expression) -> String {
        match expression {
            E::Negative(_) | E::Sum(..) | E::Difference(..) => {
                let inner = self.expression(expression);
                self.brackets(&inner)
            }
            _ => self.expression(expression),
        }
    }

    /// An operand of a product, in brackets if necessary.
    fn factor(&mut self, expression: &Expression) -> String {
        match expression {
            E::Negative(_) | E::Sum(..) | E::Difference(..) | E::Call(..) => {
                let inner = self.expression(expression);
                self.brackets(&inner)
            }
            _ => self.expression(expression),
        }
    }

    /// A base of a power, in brackets if necessary.
    fn atom(&mut self, expression: &Expression) -> String {
        match expression {
            E::Whole(_) | E::Symbol(_) => self.expression(expression),
            _ => {
                let inner = self.expression(expression);
                self.brackets(&inner)
            }
        }
    }

    fn items(&mut self, items: &[Expression]) -> String {
        let items: Vec<String> = items.iter().map(|item| self.expression(item)).collect();
        // A space always follows the comma, because `1,234` would be a number.
        items.join(self.choose(&[", ", ",  ", ",\\ ", ",~ "]))
    }

    pub(crate) fn answer(&mut self, answer: &Answer) -> String {
        let text = match answer {
            Answer::Bare(value) => self.expression(value),
            Answer::Assigned(name, value) => {
                let value = self.expression(value);
                format!("{name}{}={}{value}", self.space(), self.space())
            }
            Answer::Measured(value, unit) => {
                let way = self.below(6);
                match way {
                    0 => format!("{value}\\text{{ {unit}}}"),
                    1 => format!("{value} \\text{{{unit}}}"),
                    2 => format!("{value}\\mathrm{{{unit}}}"),
                    3 => format!("{value}\\,\\mathrm{{{unit}}}"),
                    4 => format!("{value}~\\text{{{unit}}}"),
                    _ => format!("{value} {unit}"),
                }
            }
            Answer::Percent(value) => {
                let sign = self.choose(&["\\%", "%", " \\%", "\\,\\%", " percent"]);
                format!("{value}{sign}")
            }
            Answer::Degrees(value) => {
                let sign = self.choose(&["^\\circ", "^{\\circ}", "°", " degrees", "^ \\circ"]);
                format!("{value}{sign}")
            }
            Answer::List(items) => self.items(items),
            Answer::Tuple(items) => {
                let items = self.items(items);
                self.brackets(&items)
            }
            Answer::Set(items) => {
                let items = self.items(items);
                let (open, close) = self.pair("\\{", "\\}");
                format!("{open}{items}{close}")
            }
            Answer::Interval(from, size, left, right) => {
                let (open, _) = self.pair(if *left { "[" } else { "(" }, "");
                let (_, close) = self.pair("", if *right { "]" } else { ")" });
                let to = i64::from(*from) + i64::from(*size);
                // Both brackets are plain or both are sized, because a single `\left` is invalid LaTeX.
                let (open, close) = match (open.starts_with('\\'), close.starts_with('\\')) {
                    (a, b) if a == b => (open, close),
                    _ => (
                        if *left { "[" } else { "(" }.to_owned(),
                        if *right { "]" } else { ")" }.to_owned(),
                    ),
                };
                format!("{open}{from},{}{to}{close}", self.space())
            }
            Answer::From(relation, value) => {
                let value = self.expression(value);
                format!("k {relation} {value}")
            }
        };
        let plain = matches!(
            answer,
            Answer::Measured(..) | Answer::Percent(_) | Answer::Degrees(_)
        );
        match self.below(8) {
            0..=2 => text,
            3 => format!("${text}$"),
            4 => format!("\\({text}\\)"),
            5 => format!("\\boxed{{{text}}}"),
            6 if !plain => format!("$\\displaystyle {text}$"),
            _ => format!("{text}."),
        }
    }

    fn pair(&mut self, open: &str, close: &str) -> (String, String) {
        if self.below(2) == 0 {
            (open.to_owned(), close.to_owned())
        } else {
            (format!("\\left{open}"), format!("\\right{close}"))
        }
    }
}
