//! Difficulty-aware rejection sampling of mathematical solutions.
//!
//! A language model samples solutions in-process ([`engine`], from a [`model`]'s files). A checker decides
//! whether their final answers equal the reference ([`answer`]). A run gives every problem as many trials as
//! its difficulty requires ([`dars`]). The result is a difficulty-balanced data set ([`data`], [`report`]).
//! The parts are connected by three traits, [`Generator`], [`Source`] and [`Grader`], and each can be
//! replaced.
//!
//! ```
//! use dart_math::dars::{Prop2Diff, Run};
//! use dart_math::{answer::Checker, data::arithmetic};
//! # #[cfg(feature = "engine")] {
//! use dart_math::{engine::Engine, model::Model};
//!
//! let engine = Engine::builder(Model::built_in()?).slots(16).build()?;
//! let outcome = Run::builder(arithmetic::problems(1..=2, 3, 0))
//!     .strategy(Prop2Diff::with_pilot(4, 4))
//!     .build()?
//!     .run(&engine, &Checker::default())?;
//! assert!(outcome.finished());
//! # }
//! # Ok::<(), dart_math::Error>(())
//! ```
//!
//! # Features
//!
//! - `engine` (default): models, decoder, sampler and continuous batching, based on [candle](mod@candle).
//! - `hub`: models by repository id. It doubles the dependency tree and the time of the first build.
//! - `transformers`: seven more architectures from candle-transformers, one sequence at a time.
//! - `cuda`, `metal`: NVIDIA and Apple GPUs. `candle-cuda`: NVIDIA GPUs with candle's own operations (needs
//!   nvcc).
//! - `openai`: completions from OpenAI-compatible servers (vLLM, SGLang, llama.cpp) instead of the engine.
//! - `parquet`: data sets in Parquet in addition to JSON Lines.
//! - `mkl`, `accelerate`: Intel's and Apple's matrix multiplication for plain dense operations on the CPU.
//!   The crate's own kernels do not use them.
//!
//! Without default features, the traits, the checker, runs and JSONL files remain: a small dependency tree
//! without candle.
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
#[cfg(feature = "openai")]
#[cfg_attr(docsrs, doc(cfg(feature = "openai")))]
pub mod remote;
pub mod report;
mod words;

#[cfg(feature = "engine")]
#[cfg_attr(docsrs, doc(cfg(feature = "engine")))]
pub use candle_core as candle;

pub use contract::{
    Completion, Equivalence, Finish, Futility, Generator, Grader, Next, Offer, Philox, Pilot,
    Problem, ProblemRecord, Rejection, Request, Sampling, Settings, Source, StopReason, Tally,
    Trial, TrialId, Verdict, trial_seed,
};
pub use error::{Error, ErrorKind, Result};

#[cfg(all(doctest, feature = "engine"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/strategies.md")]
struct Strategies;
