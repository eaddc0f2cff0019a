//! Methods of Python's strings and lists.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

/// The longest padded text.
const MAX_PADDED: usize = 1 << 16;

/// Calls a method that minijinja lacks: one of its companion crate, or one implemented here.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {}
        known => return known,
    }
    match value.kind() {
        ValueKind::String => of_string(value.as_str().unwrap_or_default(), method, args),
        ValueKind::Seq if method == "index" => {
            let (wanted,): (Value,) = from_args(args)?;
            let at = value.try_iter()?.position(|item| item == wanted);
            at.map(Value::from).ok_or_else(|| invalid("no such item"))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn invalid(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn of_string(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let one = || from_args::<(&str,)>(args).map(|(one,)| one);
    Ok(match method {
        "index" => {
            let at = text.find(one()?).ok_or_else(|| invalid("no such text"))?;
            Value::from(text[..at].chars().count())
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most = most.and_then(|most| usize::try_from(most).ok());
            rsplit(text, separator, most)?
        }
        "partition" => {
            let separator = one()?;
            let (before, found, after) = match text.split_once(separator) {
                Some((before, after)) => (before, separator, after),
                None => (text, "", ""),
            };
            Value::from_iter([before, found, after])
        }
        "rpartition" => {
            let separator = one()?;
            let (before, found, after) = match text.rsplit_once(separator) {
                Some((before, after)) => (before, separator, after),
                None => ("", "", text),
            };
            Value::from_iter([before, found, after])
        }
        "removeprefix" => Value::from(text.strip_prefix(one()?).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(one()?).unwrap_or(text)),
        "swapcase" => text
            .chars()
            .flat_map(|c| -> Vec<char> {
                match c.is_uppercase() {
                    true => c.to_lowercase().collect(),
                    false => c.to_uppercase().collect(),
                }
            })
            .collect::<String>()
            .into(),
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let missing = missing(text, width)?;
            Value::from([sign, &"0".repeat(missing), digits].concat())
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            let (fill, missing) = (fill.unwrap_or(" "), missing(text, width)?);
            let left = match method {
                "ljust" => 0,
                "rjust" => missing,
                // Python puts the extra character on the left if the width is odd.
                _ => missing / 2 + (missing & width & 1),
            };
            Value::from([&fill.repeat(left), text, &fill.repeat(missing - left)].concat())
        }
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            Value::from(expandtabs(text, size.unwrap_or(8))?)
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// The number of characters that a text lacks to a width.
fn missing(text: &str, width: usize) -> Result<usize, Error> {
    match width <= MAX_PADDED {
        true => Ok(width.saturating_sub(text.chars().count())),
        false => Err(invalid("padded too wide")),
    }
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Result<Value, Error> {
    let most = most.unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text;
    match separator {
        Some("") => return Err(invalid("an empty separator")),
        Some(separator) => {
            while parts.len() < most
                && let Some((before, after)) = rest.rsplit_once(separator)
            {
                parts.push(after);
                rest = before;
            }
            parts.push(rest);
        }
        None => {
            rest = rest.trim_end();
            while parts.len() < most
                && let Some((before, after)) = rest.rsplit_once(char::is_whitespace)
            {
                parts.push(after);
                rest = before.trim_end();
            }
            if !rest.is_empty() {
                parts.push(rest);
            }
        }
    }
    parts.reverse();
    Ok(Value::from_iter(parts))
}

fn expandtabs(text: &str, size: usize) -> Result<String, Error> {
    if size > MAX_PADDED {
        return Err(invalid("tabs too wide"));
    }
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\t' => {}
            _ => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') {
                    0
                } else {
                    column + 1
                };
            }
        }
    }
    Ok(out)
}
