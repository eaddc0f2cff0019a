//! The crate's single error type: a kind to match on, the context, and the cause.
//!
//! All modules may use it. It depends on none of them.

use std::borrow::Cow;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The category of an error. New kinds may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file or stream could not be read or written.
    Io,
    /// Input data (a row, a table, a configuration file) does not match its format.
    Data,
    /// A model's files are damaged, incomplete or inconsistent.
    Model,
    /// The crate does not support the model's architecture, tokenizer or file type.
    Unsupported,
    /// A setting is out of range, or settings contradict each other.
    Settings,
    /// The model computed something that is not a number.
    NonFinite,
    /// A device could not be opened, or an operation on it failed.
    Device,
    /// The model hub could not be reached or refused the request.
    Hub,
    /// A completion server could not be reached or refused the request.
    Server,
    /// A run's journal is damaged or belongs to another configuration.
    Journal,
    /// The caller cancelled the operation before it could begin.
    Interrupted,
}

impl ErrorKind {
    fn describe(self) -> &'static str {
        match self {
            ErrorKind::Io => "input/output failed",
            ErrorKind::Data => "bad input data",
            ErrorKind::Model => "bad model",
            ErrorKind::Unsupported => "not supported",
            ErrorKind::Settings => "bad settings",
            ErrorKind::NonFinite => "not a number",
            ErrorKind::Device => "device failed",
            ErrorKind::Hub => "model hub failed",
            ErrorKind::Server => "server failed",
            ErrorKind::Journal => "journal cannot be used",
            ErrorKind::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// The crate's error. Its [`Display`](fmt::Display) is one line with the file, row or setting and the reason.
/// [`source`](std::error::Error::source) returns the cause.
///
/// ```
/// use dart_math::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Data, "problems.jsonl:3: no `question`");
/// assert_eq!(error.kind(), ErrorKind::Data);
/// assert_eq!(error.to_string(), "bad input data: problems.jsonl:3: no `question`");
/// ```
pub struct Error(Box<Repr>);

struct Repr {
    kind: ErrorKind,
    detail: String,
    source: Option<Source>,
}

impl Error {
    /// Creates an error of a kind with a one-line description of what failed.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Error(Box::new(Repr {
            kind,
            detail: one_line(detail.into()),
            source: None,
        }))
    }

    /// Returns the error with its cause attached.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the error with context prepended to its description, as in `context: description`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.detail = one_line(format!("{context}: {}", self.0.detail));
        self
    }

    /// Returns the kind, to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the description without the kind.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// An error for a failed read or write of `path`. Invalid contents
    /// ([`InvalidData`](std::io::ErrorKind::InvalidData)) give [`ErrorKind::Data`], other errors
    /// [`ErrorKind::Io`].
    pub fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::InvalidData => ErrorKind::Data,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("{}: {source}", path.as_ref().display())).with_source(source)
    }
}

/// Escapes a description for display, since parts of it are often quoted from files.
fn one_line(text: String) -> String {
    match printable(&text) {
        Cow::Owned(escaped) => escaped,
        Cow::Borrowed(_) => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Error");
        s.field("kind", &self.0.kind)
            .field("detail", &self.0.detail);
        if let Some(source) = &self.0.source {
            s.field("source", source);
        }
        s.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Formats a count with its noun, for messages: `1 row`, `2 rows`.
///
/// ```
/// use dart_math::report::counted;
///
/// assert_eq!(counted(1, "bad row"), "1 bad row");
/// assert_eq!(counted(0, "bad row"), "0 bad rows");
/// ```
pub fn counted<N: fmt::Display + PartialEq + From<bool>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(true) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Escapes an untrusted text, such as a model's or a data file's, for display on one line. Characters that
/// would control a terminal or change the text direction are escaped as in Rust literals.
///
/// ```
/// use dart_math::report::printable;
///
/// assert_eq!(printable("a \u{1b}[31mred\n line"), "a \\u{1b}[31mred\\n line");
/// assert_eq!(printable("π ≈ 3"), "π ≈ 3");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true if c.is_control() => out.extend(c.escape_debug()),
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Returns whether a character is a control character, breaks a line, or changes the text direction.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the message of a caught panic.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Returns the reason of a JSON error, without the position, which counts from the text's own beginning.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" at line ") {
        text.truncate(end);
    }
    text
}
