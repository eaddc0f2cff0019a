//! Difficulty-aware rejection sampling: from problems to balanced, graded trials.
//!
//! A [`Run`] draws trials from a [`Generator`](crate::Generator), has each judged by a
//! [`Grader`](crate::Grader), and goes on with every problem until its [`Strategy`] is content or a
//! limit is reached. Three rules make the result a function of the problems, the settings and the
//! seed alone, whatever the number of slots and threads and however often the run was resumed:
//!
//! - A trial is drawn from random numbers of its own ([`trial_seed`](crate::trial_seed)).
//! - Only the contiguous prefix of a problem's settled trials counts. The data are the first
//!   correct responses by number of trial, not by finishing time, which would favour short ones.
//!   Where duplicates are left out ([`RunBuilder::dedup`]), the one with the lower number is kept.
//! - Strategies and limits in trials look at that prefix only.
//!
//! What a run does is recorded in spans of `tracing`:
//!
//! | span | level | fields | within | is |
//! |---|---|---|---|---|
//! | `run` | info | `problems` (how many), `seed` | | [`Run::run`] or [`Run::select`] from its beginning to its end |
//! | `journal` | info | `path` | `run` | the journal is opened and its trials are taken |
//! | `sample` | info | | `run` | the generator runs |
//! | `grade` | debug | `problem` (id), `trial` (number) | `run` | the grader judges a completion, on a thread for grading; [`Run::regrade`] has it without a run |
//!
//! Knows the contract only: neither who samples nor how answers are compared.
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
