//! Jinja as set up by transformers. Corrects the differences between minijinja and Jinja2.
//!
//! Independent of messages and models.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

mod python;

/// The limit of steps that a template may take; the largest known take a few thousand for one
/// message.
const FUEL: u64 = 1_000_000;

/// An environment with everything that transformers provides to chat templates. With `clock`, this
/// includes `strftime_now`.
pub(super) fn environment<'source>(clock: bool) -> Result<Environment<'source>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(python::method);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    if clock {
        environment.add_function("strftime_now", strftime);
    }
    environment.add_filter("tojson", tojson);
    // Python's strings and dictionaries have a length and items by index, which is what this test
    // checks.
    environment.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::String | ValueKind::Map
        )
    });
    environment.add_test("iterable", |value: &Value| {
        value.is_undefined()
            || matches!(
                value.kind(),
                ValueKind::Seq | ValueKind::String | ValueKind::Map | ValueKind::Iterable
            )
    });
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    // A value that is not a number becomes 0, or the given default.
    environment.add_filter("int", |value: &Value, default: Option<Value>| {
        let text = value.as_str().map(str::trim);
        let whole = match text {
            Some(text) => text.parse::<i64>().ok(),
            None => i64::try_from(value.clone()).ok(),
        };
        let number = whole.or_else(|| match text {
            Some(text) => text.parse::<f64>().ok().map(|number| number as i64),
            None if value.kind() == ValueKind::Bool => Some(i64::from(value.is_true())),
            None => f64::try_from(value.clone())
                .ok()
                .map(|number| number as i64),
        });
        number.map_or_else(|| default.unwrap_or_else(|| Value::from(0)), Value::from)
    });
    environment.add_filter("wordcount", |text: String| text.split_whitespace().count());
    Ok(environment)
}

/// Prepares a template's source for minijinja: with Jinja2's line endings, Python's string
/// literals, and equivalents of transformers' own tags.
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = next_tag(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (open, inner) = rest.split_at(2);
        let taken = match open {
            "{#" => inner.find("#}").map(|end| (inner[..end].to_owned(), end)),
            "{{" => code(inner, "}}"),
            _ => code(inner, "%}"),
        };
        let Some((body, length)) = taken else {
            // It is unterminated, which the parser will report.
            break;
        };
        let close = &inner[length..length + 2];
        rest = &inner[length + 2..];
        let tag = body.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let replaced = match (open, tag) {
            // It marks the text that a model is trained on and prints its content, in its own
            // scope.
            ("{%", "generation") => Some("with"),
            ("{%", "endgeneration") => Some("endwith"),
            _ => None,
        };
        out.push_str(open);
        match replaced {
            Some(tag_name) => out.push_str(&body.replace(tag, tag_name)),
            None => out.push_str(&body),
        }
        out.push_str(close);
        if (open, tag) == ("{%", "raw") {
            let end = end_of_raw(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

/// The position of the next expression, tag or comment.
fn next_tag(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(2)
        .position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// The position of the tag that ends a raw block.
fn end_of_raw(text: &str) -> usize {
    text.match_indices("{%")
        .find_map(|(at, _)| {
            let tag = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
            tag.starts_with("endraw").then_some(at)
        })
        .unwrap_or(text.len())
}

/// Copies code up to its end, with its string literals rewritten. Returns it and its length in the
/// source; `None` if it is unterminated.
fn code(text: &str, end: &str) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if depth == 0 && rest.starts_with(end) {
            return Some((out, at));
        }
        let next = rest.chars().next()?;
        if matches!(next, '"' | '\'') {
            let mut value = String::new();
            // Adjacent literals are concatenated.
            loop {
                let length = literal(&text[at..], &mut value)?;
                at += length;
                let white = text[at..].len() - text[at..].trim_start().len();
                match text[at + white..].starts_with(['"', '\'']) {
                    true => at += white,
                    false => break,
                }
            }
            out.push('"');
            for c in value.chars() {
                if matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
            continue;
        }
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        out.push(next);
        at += next.len_utf8();
    }
}

/// Appends the value of a string literal at the beginning of a text, by Python's rules. Returns the
/// literal's length; `None` if it is unterminated.
fn literal(text: &str, value: &mut String) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + 1);
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, escaped) = chars.next()?;
        let mut digits = |most: usize, radix: u32, first: &str| {
            let rest = chars.as_str();
            let count = rest
                .chars()
                .take(most)
                .take_while(|c| c.is_digit(radix))
                .count();
            let digits = [first, &rest[..count]].concat();
            (0..count).for_each(|_| {
                chars.next();
            });
            u32::from_str_radix(&digits, radix)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        match escaped {
            '\n' => {}
            '\\' | '\'' | '"' => value.push(escaped),
            'a' => value.push('\u{7}'),
            'b' => value.push('\u{8}'),
            'f' => value.push('\u{c}'),
            'n' => value.push('\n'),
            'r' => value.push('\r'),
            't' => value.push('\t'),
            'v' => value.push('\u{b}'),
            'x' => value.push(digits(2, 16, "")),
            'u' => value.push(digits(4, 16, "")),
            'U' => value.push(digits(8, 16, "")),
            '0'..='7' => value.push(digits(2, 8, escaped.encode_utf8(&mut [0; 4]))),
            _ => value.extend(['\\', escaped]),
        }
    }
    None
}

/// Formats 26 July 2024, 00:00:00, like Python's `strftime` in the C locale. This is the default
/// date of Llama 3's own templates. A prompt must not change over time.
fn strftime(format: String) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut code = chars.next();
        // Without padding.
        let without_padding = code == Some('-');
        if without_padding {
            code = chars.next();
        }
        let (unpadded, text) = match code {
            Some('a') => ("Fri", "Fri"),
            Some('A') => ("Friday", "Friday"),
            Some('b' | 'h') => ("Jul", "Jul"),
            Some('B') => ("July", "July"),
            Some('c') => ("Fri Jul 26 00:00:00 2024", "Fri Jul 26 00:00:00 2024"),
            Some('d' | 'e') => ("26", "26"),
            Some('D' | 'x') => ("07/26/24", "07/26/24"),
            Some('f') => ("000000", "000000"),
            Some('F') => ("2024-07-26", "2024-07-26"),
            Some('G' | 'Y') => ("2024", "2024"),
            Some('H' | 'M' | 'S') => ("0", "00"),
            Some('I') => ("12", "12"),
            Some('j') => ("208", "208"),
            Some('m') => ("7", "07"),
            Some('p') => ("AM", "AM"),
            Some('r') => ("12:00:00 AM", "12:00:00 AM"),
            Some('R') => ("00:00", "00:00"),
            Some('T' | 'X') => ("00:00:00", "00:00:00"),
            Some('u' | 'w') => ("5", "5"),
            Some('U') => ("29", "29"),
            Some('V' | 'W') => ("30", "30"),
            Some('y') => ("24", "24"),
            Some('z' | 'Z') => ("", ""),
            Some('n') => ("\n", "\n"),
            Some('t') => ("\t", "\t"),
            Some('%') => ("%", "%"),
            Some(other) => {
                out.push('%');
                out.push(other);
                continue;
            }
            None => ("%", "%"),
        };
        out.push_str(if without_padding { unpadded } else { text });
    }
    out
}

/// JSON like Python's `json.dumps`, with the options of transformers.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match separators.as_deref() {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson: separators are two texts",
            ));
        }
    };
    let mut json = Json {
        indent,
        item,
        key,
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        out: String::new(),
    };
    options.assert_all_used()?;
    json.value(value, 0)?;
    Ok(Value::from(json.out))
}

/// A JSON writer.
struct Json {
    indent: Option<usize>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
    out: String,
}

impl Json {
    /// The deepest nesting that is written.
    const MAX_DEPTH: usize = 100;
    /// The longest output, in bytes.
    const MAX_LENGTH: usize = 1 << 24;

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > Self::MAX_DEPTH || self.out.len() > Self::MAX_LENGTH {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson: nested too deep, or too long",
            ));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool | ValueKind::Number => self.out.push_str(&scalar(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.all('[', ']', depth, &items, |json, item| {
                    json.value(item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    let name = match key.as_str() {
                        Some(text) => text.to_owned(),
                        None if key.is_none() => "null".to_owned(),
                        None => scalar(&key),
                    };
                    entries.push((name, item));
                }
                if self.sort_keys {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.all('{', '}', depth, &entries, |json, (name, item)| {
                    json.string(name);
                    json.out.push_str(&json.key.clone());
                    json.value(item, depth + 1)
                })?;
            }
            kind => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("tojson: {kind} is not JSON"),
                ));
            }
        }
        Ok(())
    }

    /// Writes the items between two brackets.
    fn all<T>(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push_str(&self.item.clone());
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..'\x20' => self.escape(c),
                _ if self.ensure_ascii && !c.is_ascii_graphic() && c != ' ' => self.escape(c),
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

/// A number or Boolean as JSON.
fn scalar(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool if value.is_true() => "true".to_owned(),
        ValueKind::Bool => "false".to_owned(),
        _ if value.is_integer() => value.to_string(),
        _ => f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float),
    }
}

/// A float in Python's notation.
fn float(number: f64) -> String {
    if !number.is_finite() {
        return match number {
            _ if number.is_nan() => "NaN",
            _ if number > 0.0 => "Infinity",
            _ => "-Infinity",
        }
        .to_owned();
    }
    let text = format!("{number:?}");
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
    }
}

#[cfg(test)]
mod tests;
