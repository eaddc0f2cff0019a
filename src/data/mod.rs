//! Reads problem files, writes data sets, and reads them back.
//!
//! Depends on the contract only.

pub mod arithmetic;
mod array;
pub mod dataset;
mod decode;
pub mod decontaminate;
mod draft;
mod format;
pub mod lines;
mod majority;
#[cfg(feature = "parquet")]
mod parquet;
pub mod pass_rates;
mod pretty;
mod problem_row;
pub mod problems;
mod read;
mod solutions;
mod table;

pub use dataset::{DataSet, DataSetFiles, MakeFigures, WriteOptions};
pub use format::{Format, Pair};
pub use problem_row::ProblemRow;
pub use read::{Records, read_pairs, read_problems_table, read_trials};
pub use solutions::{SolutionCounts, Solutions};
pub use table::dataset_info;
