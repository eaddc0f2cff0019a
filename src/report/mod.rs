//! Human-readable reports of a run: tables, the card of its data set, and a page of a finished directory.
//!
//! Depends on the contract (a run's records), the reader of rows, and the strategies that a page compares.

mod card;
mod card_figures;
mod groups;
pub mod html;
mod levels;

pub use crate::error::{counted, printable};
pub use card::Card;
pub use card_figures::{CARD_FIGURES, card_figures};
pub use levels::{Level, LevelTable};
