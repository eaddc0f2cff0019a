//! What an answer means: exact numbers and expressions in normal form, and the structures that
//! answers are made of. Knows the syntax tree; does not compare.

mod antiderivative;
mod application;
mod calendar;
mod conditions;
mod evaluate;
mod fraction;
mod functions;
mod integrals;
mod lexicon;
mod limits;
mod matrix;
mod modifiers;
mod number;
mod number_words;
mod plus_minus;
mod poly;
mod power;
mod progressions;
mod quadratic;
mod quantities;
mod reals;
mod relation;
mod scalar;
mod sets;
mod substitute;
mod sums;
mod trig;
mod units;
mod vectors;
mod written;

pub(super) use calendar::{date, seconds};
pub(super) use evaluate::{bare, evaluate, statement};
pub(super) use fraction::Fraction;
pub(super) use number::{is_negative, power, whole};
pub(super) use number_words::{spoken, word_number};
pub(super) use poly::{Atom, Base, Monomial, Poly};
pub(super) use progressions::same_progression;
pub(super) use reals::{Piece, Reals};
pub(super) use sets::as_reals;
pub(super) use substitute::differ_by_constant;
pub(super) use units::Unit;
pub(super) use vectors::components;
pub(super) use written::{Part, Scalar, digits};

use smol_str::SmolStr;

/// What an answer means.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    /// So many hundredths.
    Percent(Scalar),
    /// So many degrees.
    Degrees(Scalar),
    Quantity(Box<Value>, Unit),
    /// Positive infinity, or negative where the flag is set.
    Infinite(bool),
    /// Digits in a base.
    Radix(String, u32),
    /// Items in any order, repeats counted.
    List(Vec<Value>),
    /// Statements about several unknowns of which one holds.
    AnyOf(Vec<Value>),
    /// Items in order: round or angle brackets, or the entries of a column.
    Tuple(Vec<Value>),
    /// Items in square brackets: a list in order, or a closed interval.
    Bracketed(Vec<Value>),
    /// Items in any order, repeats not counted.
    Set(Vec<Value>),
    /// A set of real numbers, with the variable that it was stated for.
    Reals(Reals, Option<String>),
    /// Constraints that all hold: each expression is above zero (or may be zero).
    Inequalities(Vec<(Scalar, bool)>),
    Equation(Equation),
    Matrix(Vec<Vec<Scalar>>),
    Ratio(Vec<Scalar>),
    /// Hours, minutes and maybe seconds as written.
    Clock(Vec<u32>),
    /// Year, month, day as written; 0 where one is not said.
    Date([u32; 3]),
    /// Residue and modulus, with what is congruent.
    Congruence(Fraction, Fraction, Fraction),
    /// Values with conditions.
    Cases(Vec<Vec<Value>>),
    /// A union over a whole number (named by the body's bound variable) from one end to the
    /// other; an absent end is infinite.
    Family(Box<Value>, Option<Fraction>, Option<Fraction>),
    Text(SmolStr),
    /// All that a name stands for where a condition holds, of a kind that is no set of reals.
    Builder(String, Box<Value>),
    /// Words and formulas by turns.
    Statement(Vec<Value>),
}

/// Two sides that are equal, or are not.
#[derive(Debug, Clone)]
pub(crate) struct Equation {
    /// What the left side names, where it is no more than a name.
    pub(crate) name: Option<String>,
    /// The right side.
    pub(crate) value: Box<Value>,
    /// Left minus right, where both are expressions.
    pub(crate) difference: Option<Fraction>,
    /// Stated with ≠.
    pub(crate) negated: bool,
}

impl Value {
    /// An expression that was not written as a decimal.
    pub(crate) fn scalar(value: Fraction) -> Value {
        Value::Scalar(value.into())
    }

    /// Whether it is a number, maybe with a name or a unit.
    pub(crate) fn is_constant(&self) -> bool {
        match self {
            Value::Scalar(scalar) => scalar.value.is_constant(),
            Value::Equation(Equation {
                name: Some(_),
                value,
                negated: false,
                ..
            }) => matches!(&**value, Value::Scalar(scalar) if scalar.value.is_constant()),
            Value::Quantity(value, _) => value.is_constant(),
            _ => false,
        }
    }

    /// In a word, for reasons.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Scalar(scalar) if scalar.value.is_constant() => "a number",
            Value::Scalar(_) => "an expression",
            Value::Percent(_) => "a percentage",
            Value::Degrees(_) => "degrees",
            Value::Quantity(..) => "a quantity",
            Value::Infinite(_) => "infinity",
            Value::Radix(..) => "a number in a base",
            Value::List(_) => "a list",
            Value::AnyOf(_) => "statements of which one holds",
            Value::Tuple(_) => "a tuple",
            Value::Bracketed(_) => "a bracketed list",
            Value::Set(_) => "a set",
            Value::Reals(..) => "a set of reals",
            Value::Inequalities(_) => "an inequality",
            Value::Equation(_) => "an equation",
            Value::Matrix(_) => "a matrix",
            Value::Ratio(_) => "a ratio",
            Value::Clock(_) => "a time",
            Value::Date(_) => "a date",
            Value::Congruence(..) => "a congruence",
            Value::Cases(_) => "a piecewise value",
            Value::Family(..) => "a family of sets",
            Value::Text(_) => "text",
            Value::Builder(..) => "a set by its condition",
            Value::Statement(_) => "a statement",
        }
    }
}
