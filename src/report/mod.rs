//! A run as a person reads it: tables, and the card of its data set.
//!
//! Knows the contract only: a run's records.

mod card;
mod levels;

pub use crate::error::counted;
pub use card::Card;
pub use levels::{Level, LevelTable};
