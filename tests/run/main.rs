//! Runs without a model: reading problems, allocating trials, the journal, and writing data sets.

mod changes;
mod damage;
mod data_set;
mod exclude;
mod failures;
#[path = "../shared/files.rs"]
mod files;
mod forecast;
mod limits;
mod near;
mod observers;
mod occupancy;
mod pass_rates;
mod pool;
mod problems;
mod regrade;
mod report;
mod resume;
mod run;
mod schedules;
mod scripted;
mod solutions;
mod spans;
