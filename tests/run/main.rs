//! Runs without a model: problem files in, allocation of trials, journal, data sets out.

mod changes;
mod damage;
mod data_set;
mod failures;
mod forecast;
mod limits;
mod observers;
mod pass_rates;
mod pool;
mod problems;
mod regrade;
mod report;
mod resume;
mod run;
mod schedules;
mod scripted;
