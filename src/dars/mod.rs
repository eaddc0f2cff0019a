//! Difficulty-aware rejection sampling: from problems to balanced, graded trials.
//!
//! A [`Run`] draws trials from a [`Generator`](crate::Generator), has a [`Grader`](crate::Grader) grade them,
//! and continues with each problem until its [`Strategy`] needs no more trials or a limit is reached. Three
//! rules make the result a function of the problems, the settings and the seed alone, independent of the
//! number of slots and threads and of interruptions:
//!
//! - A trial is drawn with its own random numbers ([`trial_seed`](crate::trial_seed)).
//! - Only the contiguous prefix of a problem's settled trials counts. The data set consists of the first
//!   correct responses by trial number, not by finishing time, which would favour short ones. If duplicates
//!   are left out ([`RunBuilder::dedup`]), the one with the lowest number is kept.
//! - Strategies and limits in trials depend on that prefix only.
//!
//! A run records these spans of `tracing`:
//!
//! | span | level | fields | parent | covers |
//! |---|---|---|---|---|
//! | `run` | info | `problems` (count), `seed` | | [`Run::run`] or [`Run::select`] from beginning to end |
//! | `journal` | info | `path` | `run` | opening the journal and reading its trials |
//! | `sample` | info | | `run` | the generator |
//! | `grade` | debug | `problem` (id), `trial` (number) | `run` | grading one completion, on a grading thread; [`Run::regrade`] records it without a run |
//!
//! Depends on the contract only, not on how completions are sampled or answers compared.
//!
//! ```
//! use dart_math::dars::{Run, Uniform};
//! use dart_math::{Completion, Generator, Next, Offer, Problem, Result, Source, Verdict};
//!
//! /// Guesses a digit.
//! struct Dice;
//!
//! impl Generator for Dice {
//!     fn run(&self, source: &dyn Source) -> Result<()> {
//!         loop {
//!             match source.next(Offer { free: 4, resident: &[] }) {
//!                 Next::Requests(requests) => {
//!                     for request in requests {
//!                         let digit = dart_math::Philox::new(request.seed).below(0, 10);
//!                         source.deliver(request.trial, Completion::text(digit.to_string()));
//!                     }
//!                 }
//!                 Next::Wait => std::thread::yield_now(),
//!                 Next::Done => return Ok(()),
//!             }
//!         }
//!     }
//! }
//!
//! let problems = vec![Problem::new("3 + 4?", "7"), Problem::new("1 + 1?", "2")];
//! let grader = |problem: &Problem, completion: &Completion| {
//!     Verdict::new(completion.text == problem.reference, "verbatim")
//! };
//! let outcome = Run::builder(problems)
//!     .strategy(Uniform { k: 3 })
//!     .seed(1)
//!     .build()?
//!     .run(&Dice, &grader)?;
//! assert_eq!(outcome.totals.kept, 6);
//! # Ok::<(), dart_math::Error>(())
//! ```

mod allocator;
mod builder;
mod duplicates;
mod estimate;
mod exclude;
mod forecast;
mod journal;
mod limits;
mod near;
mod observe;
mod occupancy;
mod open_set;
mod outcome;
mod problem_state;
mod rules;
mod run;
mod session;
mod similar;
mod source;
mod store;
mod strategy;
mod summary;
mod sure;

pub use builder::{RunBuilder, SURE};
pub use forecast::{Basis, Costs, Expected, Forecast, ForecastRow, Known};
pub use journal::{JournalTrials, Merged, Regraded};
pub use limits::{Limits, RunStop};
pub use observe::{CancelHandle, Observer, Progress, Remaining};
pub use occupancy::Occupancy;
pub use outcome::{Outcome, Totals};
pub use run::Run;
pub use session::Session;
pub use store::{Keep, Trials};
pub use strategy::{Goal, Prefix, Prop2Diff, Strategy, Uniform, Vanilla};

use crate::Problem;
