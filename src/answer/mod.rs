//! From a response to a verdict: the final answer's text, its value, and whether it equals the
//! reference.
//!
//! Knows the contract only. Usable alone, without candle.
