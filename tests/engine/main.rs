//! Models, tokenizers and the engine, with the built-in model and tiny models.
#![cfg(feature = "engine")]

mod abacus;
mod backends;
mod check;
mod device;
mod end_to_end;
#[path = "../shared/files.rs"]
mod files;
#[path = "../golden/mod.rs"]
mod golden;
mod golden_tiny;
mod golden_transformers;
#[cfg(feature = "hub")]
mod hub;
#[path = "../shared/logged.rs"]
mod logged;
mod long_reasoning;
mod model_files;
mod run;
#[path = "../scheduler/mod.rs"]
mod scheduler;
mod scheduler_tests;
mod text;
mod tiny;

/// Returns all trials kept in an outcome.
fn trials(outcome: &dart_math::dars::Outcome) -> Vec<dart_math::Trial> {
    outcome.trials().map(|trial| trial.unwrap()).collect()
}
