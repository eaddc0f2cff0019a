//! Values of flags that the library reads.

use std::str::FromStr;

use dart_math::Error;

/// A flag's value, or why it is none; the flag itself is named by who asks.
pub(crate) fn setting<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|error: Error| error.detail().to_owned())
}
