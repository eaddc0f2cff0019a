//! Detects an endpoint's server software and model from its list of models.

use serde::Deserialize;

use super::failure::{Failure, Kind};
use super::http::{Client, Exchange};

/// Servers whose additional fields are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Software {
    Vllm,
    Sglang,
    LlamaCpp,
    /// Any other server, with OpenAI's own fields only.
    Other,
}

/// The server of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) software: Software,
    /// The maximum number of tokens of a prompt and its completion, if the server states it.
    pub(super) context: Option<usize>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    #[serde(default)]
    max_model_len: Option<usize>,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    n_ctx: Option<usize>,
}

/// Queries the server at a base URL. Returns the server and its model's name: the requested one, or the only
/// one served.
pub(super) fn ask(
    client: &Client,
    exchange: &Exchange,
    url: &str,
    model: Option<&str>,
) -> Result<(Server, String), Failure> {
    let refused = |reason: String| Failure::new(Kind::Refused, reason);
    let body = match (client.get(exchange, &format!("{url}/models")), model) {
        // A server without a list is assumed to serve the requested model.
        (Err(failure), Some(model)) if failure.message.starts_with("status 404") => {
            let server = Server {
                software: Software::Other,
                context: None,
            };
            return Ok((server, model.to_owned()));
        }
        (body, _) => body?,
    };
    let list: List = serde_json::from_slice(&body).map_err(|error| {
        let reason = crate::error::json_reason(&error);
        Failure::broken(format!("its list of models is not one: {reason}"))
    })?;
    let names = || {
        let names: Vec<String> = list
            .data
            .iter()
            .map(|model| format!("`{}`", model.id))
            .collect();
        names.join(", ")
    };
    let found = match model {
        Some(name) => list
            .data
            .iter()
            .find(|model| model.id == name)
            .ok_or_else(|| {
                refused(format!(
                    "it does not serve the model `{name}`, but {}",
                    names()
                ))
            })?,
        None => match &list.data[..] {
            [model] => model,
            [] => return Err(refused("it serves no model".into())),
            _ => {
                return Err(refused(format!(
                    "it serves several models, of which one must be named: {}",
                    names()
                )));
            }
        },
    };
    let software = match found.owned_by.as_deref() {
        Some("vllm") => Software::Vllm,
        Some("sglang") => Software::Sglang,
        Some("llamacpp") => Software::LlamaCpp,
        _ => Software::Other,
    };
    let context = found
        .max_model_len
        .or(found.meta.as_ref().and_then(|meta| meta.n_ctx));
    Ok((Server { software, context }, found.id.clone()))
}
