//! Problem files in, data sets out.
//!
//! Knows the contract only.

pub mod arithmetic;
