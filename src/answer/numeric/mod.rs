//! Certified numerics: what exact normal forms leave open is decided by enclosures.
//!
//! A number is computed as a ball, a midpoint and a radius that bounds every error on the way
//! ([`ball`], [`elementary`], [`complex`]). Two constants whose balls do not meet are certainly
//! different. Two whose balls still meet when both are known to 200 bits *beyond* anything that
//! numbers of their size could be apart by by accident ([`decide`]) are held to be equal; all
//! else is undecided, and so not equal. Expressions with variables are compared in the same way
//! at points of their common domain ([`points`]).
//!
//! Knows values in normal form and the budget; makes no such values. Nothing here depends on a
//! machine's floating point.

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

/// Why there is no enclosure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fail {
    /// There is no value: a division by zero, a logarithm of what is not positive.
    Undefined,
    /// A higher precision may decide: the operand may be zero, or on either side of a branch cut.
    Unclear,
    /// A function, or a size, that is not computed here.
    Unknown,
    /// The steps ran out.
    Limit,
}
