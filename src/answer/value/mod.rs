//! The values of answers: exact numbers and expressions in canonical form, and the structures that contain
//! them. Depends on the syntax tree; does not compare answers.

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

/// The value of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    /// A number of hundredths.
    Percent(Scalar),
    /// A number of degrees.
    Degrees(Scalar),
    Quantity(Box<Value>, Unit),
    /// Infinity; negative if the flag is set.
    Infinite(bool),
    /// Digits in a base.
    Radix(String, u32),
    /// Items in any order, counting repeats.
    List(Vec<Value>),
    /// Alternative statements about several unknowns.
    AnyOf(Vec<Value>),
    /// Items in order: in round or angle brackets, or the entries of a column.
    Tuple(Vec<Value>),
    /// Items in square brackets: an ordered list or a closed interval.
    Bracketed(Vec<Value>),
    /// Items in any order, ignoring repeats.
    Set(Vec<Value>),
    /// A set of real numbers, and the variable for which it was stated.
    Reals(Reals, Option<String>),
    /// Constraints that all hold: each expression is positive (or nonnegative if the flag is set).
    Inequalities(Vec<(Scalar, bool)>),
    Equation(Equation),
    Matrix(Vec<Vec<Scalar>>),
    Ratio(Vec<Scalar>),
    /// Hours, minutes and optional seconds as written.
    Clock(Vec<u32>),
    /// Year, month and day as written. A missing part is 0.
    Date([u32; 3]),
    /// The left side, the residue and the modulus.
    Congruence(Fraction, Fraction, Fraction),
    /// Values with their conditions.
    Cases(Vec<Vec<Value>>),
    /// A union over an integer (a bound variable in the body) between two bounds. A missing bound is infinite.
    Family(Box<Value>, Option<Fraction>, Option<Fraction>),
    Text(SmolStr),
    /// All values of a name for which a condition holds, if they are not a set of reals.
    Builder(String, Box<Value>),
    /// Alternating words and formulas.
    Statement(Vec<Value>),
}

/// An equation or inequation.
#[derive(Debug, Clone)]
pub(crate) struct Equation {
    /// The name on the left side, if that is only a name.
    pub(crate) name: Option<String>,
    /// The right side.
    pub(crate) value: Box<Value>,
    /// Left minus right, if both are expressions.
    pub(crate) difference: Option<Fraction>,
    /// Whether it is stated with ≠.
    pub(crate) negated: bool,
}

impl Value {
    /// Creates the value of an expression without decimals.
    pub(crate) fn scalar(value: Fraction) -> Value {
        Value::Scalar(value.into())
    }

    /// Returns whether it is a number, possibly with a name or unit.
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

    /// Returns the kind in words, for the reasons of verdicts.
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
