//! Parsing of flags that take a count.

use std::fmt::Display;
use std::str::FromStr;

/// Parses an integer of at least 1.
pub(crate) fn count<T: FromStr + PartialOrd + From<bool>>(text: &str) -> Result<T, String>
where
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(number) if number < T::from(true) => Err("it must be at least 1".into()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}
