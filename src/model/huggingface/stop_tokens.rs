//! The tokens that end a response, which both configuration files may list.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::Result;

/// The token ids of `eos_token_id`: one number or a list.
pub(in crate::model) fn stop_tokens(file: &str, map: &Map<String, Value>) -> Result<Vec<u32>> {
    let fields = Fields { file, map };
    let id = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| fields.error("eos_token_id", format!("has {value}; expected token ids")))
    };
    match fields.get("eos_token_id") {
        None => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}
