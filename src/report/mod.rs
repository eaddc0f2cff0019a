//! A run as a person reads it: tables.
//!
//! Knows the records of [`dars`](crate::dars).

mod levels;

pub use levels::{Level, LevelTable};
