//! A run as a person reads it: tables.
//!
//! Knows the contract only: a run's records.

mod levels;

pub use crate::error::{counted, printable};
pub use levels::{Level, LevelTable};
