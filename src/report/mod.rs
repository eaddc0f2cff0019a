//! A run as a person reads it: tables.
//!
//! Knows the records of [`dars`](crate::dars).
