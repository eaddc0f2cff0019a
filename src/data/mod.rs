//! Problem files in, data sets out.
//!
//! Knows the contract only.

pub mod arithmetic;
mod array;
pub mod dataset;
mod decode;
pub mod lines;
pub mod pass_rates;
pub mod problems;

pub use dataset::DataSet;
