//! Parsing of flags whose values are library types.

use std::str::FromStr;

use dart_math::Error;

/// Parses a flag's value. The caller adds the name of the flag to an error.
pub(crate) fn setting<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error: Error| error.detail().to_owned())
}
