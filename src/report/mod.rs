//! A run as a person reads it: tables, and a page of a finished directory.
//!
//! Knows the contract (a run's records), the reader of rows, and the strategies that a page compares.

mod groups;
pub mod html;
mod levels;

pub use crate::error::{counted, printable};
pub use levels::{Level, LevelTable};
