//! Difficulty-aware rejection sampling: from problems to balanced, graded trials.
//!
//! Knows the contract only: neither who samples nor how answers are compared.
