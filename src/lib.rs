//! Difficulty-aware rejection sampling of mathematical solutions.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod answer;
mod contract;
pub mod dars;
pub mod data;
#[cfg(feature = "engine")]
#[cfg_attr(docsrs, doc(cfg(feature = "engine")))]
pub mod engine;
mod error;
#[cfg(feature = "engine")]
#[cfg_attr(docsrs, doc(cfg(feature = "engine")))]
pub mod model;
pub mod report;

#[cfg(feature = "engine")]
#[cfg_attr(docsrs, doc(cfg(feature = "engine")))]
pub use candle_core as candle;

pub use contract::{
    Completion, Finish, Generator, Grader, Next, Offer, Philox, Problem, ProblemRecord, Request,
    Settings, Source, StopReason, Tally, Trial, TrialId, Verdict, trial_seed,
};
pub use error::{Error, ErrorKind, Result};
