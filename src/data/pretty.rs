//! Human-readable JSON: one member of an object per line, a list of numbers on one line.

use std::io::{self, Write};

use serde_json::Value;

use crate::Settings;

/// Writes an object with indented members.
pub(super) fn object(object: &Settings, out: &mut impl Write) -> io::Result<()> {
    members(object, 0, out)
}

fn members(object: &Settings, depth: usize, out: &mut impl Write) -> io::Result<()> {
    let members = object.iter();
    items("{}", members, depth, out, |(key, value), out| {
        serde_json::to_writer(&mut *out, key)?;
        out.write_all(b": ")?;
        write(value, depth + 1, out)
    })
}

fn write(value: &Value, depth: usize, out: &mut impl Write) -> io::Result<()> {
    match value {
        Value::Object(object) => members(object, depth, out),
        Value::Array(list) if !list.iter().all(Value::is_number) => {
            items("[]", list.iter(), depth, out, |value, out| {
                write(value, depth + 1, out)
            })
        }
        value => Ok(serde_json::to_writer(out, value)?),
    }
}

/// Writes items between brackets, one per line.
fn items<I, W: Write>(
    brackets: &str,
    items: impl Iterator<Item = I>,
    depth: usize,
    out: &mut W,
    each: impl Fn(I, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    let (open, close) = brackets.split_at(1);
    out.write_all(open.as_bytes())?;
    let mut is_empty = true;
    for item in items {
        let separator = if is_empty { "\n" } else { ",\n" };
        out.write_all(separator.as_bytes())?;
        out.write_all("  ".repeat(depth + 1).as_bytes())?;
        each(item, out)?;
        is_empty = false;
    }
    if !is_empty {
        write!(out, "\n{}", "  ".repeat(depth))?;
    }
    out.write_all(close.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_numbers_is_a_line_and_nothing_else_differs_from_serde_json() {
        let value = json!({
            "a": {"b": [{"c": null, "d": []}, {}], "e \"": "\n"}, "f": ["x", 1], "g": true, "h": {}
        });
        let text = |value: &Value| {
            let mut text = Vec::new();
            object(value.as_object().unwrap(), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        assert_eq!(text(&value), serde_json::to_string_pretty(&value).unwrap());
        let value = json!({"a": [{"b": [1, 2.5, -3.0]}]});
        let expected = "{\n  \"a\": [\n    {\n      \"b\": [1,2.5,-3.0]\n    }\n  ]\n}";
        assert_eq!(text(&value), expected);
    }
}
