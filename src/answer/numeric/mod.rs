//! Certified numerics: ball arithmetic decides comparisons that canonical forms leave open.
//!
//! A number is computed as a ball: a midpoint and a radius that bounds all errors ([`ball`], [`elementary`],
//! [`complex`]). Constants whose balls are disjoint are proved to differ. Constants are considered equal if
//! their balls still overlap at a precision of 200 bits *beyond* any distance by which numbers of their size
//! could differ by coincidence ([`decide`]). Everything else is undecided and therefore not equal. Expressions
//! with variables are compared in the same way at points of their common domain ([`points`]).
//!
//! Uses values in canonical form and the budget, but does not create such values. Independent of the machine's
//! floating point.

mod ball;
mod calls;
mod complex;
mod decide;
mod digits;
mod elementary;
mod evaluate;
mod magnitude;
mod pieces;
mod points;
#[cfg(test)]
mod tests;

pub(super) use decide::{
    Numeric, compare, floor, is_near, is_within, near_twelfth, proportional, sign,
};

/// Why a value cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fail {
    /// The value is undefined: a division by zero, or the logarithm of a number that is not positive.
    Undefined,
    /// A higher precision may decide: the operand may be zero, or on either side of a branch cut.
    Unclear,
    /// The function or size is not supported.
    Unknown,
    /// The budget is exhausted.
    Limit,
}
