//! Reads a JSON object's fields, with errors that name the file and the field.

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// Parses a JSON file whose top level is an object.
pub(in crate::model) fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::new(
            ErrorKind::Model,
            format!("{file}: not a JSON object"),
        )),
        Err(error) => Err(
            Error::new(ErrorKind::Model, format!("{file}: not valid JSON: {error}"))
                .with_source(error),
        ),
    }
}

/// A JSON object and its file.
pub(in crate::model) struct Fields<'a> {
    pub(in crate::model) file: &'a str,
    pub(in crate::model) map: &'a Map<String, Value>,
}

impl Fields<'_> {
    pub(in crate::model) fn error(&self, field: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Model,
            format!("{}: `{field}` {reason}", self.file),
        )
    }

    pub(in crate::model) fn unsupported(
        &self,
        field: &str,
        reason: impl std::fmt::Display,
    ) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!("{}: `{field}` {reason}", self.file),
        )
    }

    pub(in crate::model) fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(in crate::model) fn size(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| self.error(field, format!("is {value}; expected a whole number")))
    }

    /// A size: `default` if the field is missing, `None` if it is null.
    pub(in crate::model) fn size_unless_null(
        &self,
        field: &str,
        default: Option<usize>,
    ) -> Result<Option<usize>> {
        match self.map.contains_key(field) {
            true => self.size(field),
            false => Ok(default),
        }
    }

    /// The width of a sliding window: `default` if the field is missing, `None` if it is null.
    pub(in crate::model) fn window(&self, default: Option<usize>) -> Result<Option<usize>> {
        const FIELD: &str = "sliding_window";
        match self.size_unless_null(FIELD, default)? {
            Some(0) => Err(self.error(FIELD, "is 0")),
            window => Ok(window),
        }
    }

    pub(in crate::model) fn size_or(&self, field: &str, default: usize) -> Result<usize> {
        Ok(self.size(field)?.unwrap_or(default))
    }

    pub(in crate::model) fn number(&self, field: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value
            .as_f64()
            .filter(|n| n.is_finite())
            .map(Some)
            .ok_or_else(|| self.error(field, format!("is {value}; expected a number")))
    }

    pub(in crate::model) fn positive(&self, field: &str) -> Result<Option<f64>> {
        match self.number(field)? {
            Some(n) if n <= 0.0 => Err(self.error(field, format!("is {n}; it must be above 0"))),
            other => Ok(other),
        }
    }

    pub(in crate::model) fn required(&self, field: &str) -> Result<f64> {
        self.positive(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    pub(in crate::model) fn flag_or(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.error(field, format!("is {value}; expected true or false"))),
        }
    }

    pub(in crate::model) fn text(&self, field: &str) -> Result<Option<&str>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.error(field, format!("is {value}; expected a string"))),
        }
    }

    pub(in crate::model) fn object<'b>(&'b self, field: &str) -> Result<Option<Fields<'b>>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                file: self.file,
                map,
            })),
            Some(_) => Err(self.error(field, "is not an object")),
        }
    }
}
