//! The formats of data set rows, as expected by fine-tuning tools.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The format of the rows of `dataset.jsonl`.
///
/// ```
/// use dart_math::data::Format;
///
/// let row = |format: Format| serde_json::to_string(&format.row("1 + 1?", "2"));
/// assert_eq!(row(Format::Pairs)?, r#"{"query":"1 + 1?","response":"2"}"#);
/// assert_eq!(row(Format::Alpaca)?, r#"{"instruction":"1 + 1?","input":"","output":"2"}"#);
/// let chat = row(Format::Chat)?;
/// assert!(chat.starts_with(r#"{"messages":[{"role":"user","content":"1 + 1?"},{"role":"assistant""#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `query` and `response`, the columns of the published DART-Math data sets.
    #[default]
    Pairs,
    /// `messages`: the question as the user's message, the response as the assistant's.
    Chat,
    /// `instruction` (the question), `input` (empty) and `output` (the response).
    Alpaca,
}

impl Format {
    /// Returns the name in manifests and on the command line, such as `chat`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Pairs => "pairs",
            Format::Chat => "chat",
            Format::Alpaca => "alpaca",
        }
    }

    /// Returns a question and a response as a row.
    pub fn row<'a>(self, query: &'a str, response: &'a str) -> impl Serialize + use<'a> {
        let message = |role: &'static str, content| Message {
            role: Cow::Borrowed(role),
            content: Cow::Borrowed(content),
        };
        match self {
            Format::Pairs => Row::Pair { query, response },
            Format::Chat => Row::Chat {
                messages: [message("user", query), message("assistant", response)],
            },
            Format::Alpaca => Row::Alpaca {
                instruction: query,
                input: "",
                output: response,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Pair {
        query: &'a str,
        response: &'a str,
    },
    Chat {
        messages: [Message<'a>; 2],
    },
    Alpaca {
        instruction: &'a str,
        input: &'static str,
        output: &'a str,
    },
}

#[derive(Serialize, Deserialize)]
struct Message<'a> {
    role: Cow<'a, str>,
    content: Cow<'a, str>,
}

/// A training pair: a row of a data set, independent of its format.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// The question.
    pub query: String,
    /// The response.
    pub response: String,
}

impl Pair {
    /// Reads a row of any [`Format`]. The error says why it is not a pair.
    pub(super) fn of_row(mut row: Map<String, Value>) -> Result<Self, String> {
        if let Some(messages) = row.remove("messages") {
            let messages: Vec<Message<'_>> = serde_json::from_value(messages)
                .map_err(|error| format!("`messages`: {}", crate::error::json_reason(&error)))?;
            return match <[Message<'_>; 2]>::try_from(messages) {
                Ok([user, assistant]) if user.role == "user" && assistant.role == "assistant" => {
                    Ok(Pair {
                        query: user.content.into_owned(),
                        response: assistant.content.into_owned(),
                    })
                }
                _ => Err("`messages` are not one of a user and one of an assistant".into()),
            };
        }
        if row.contains_key("instruction") {
            if row.get("input").is_some_and(|input| input != "") {
                return Err("`input` is not empty, and a pair has no place for it".into());
            }
            return Ok(Pair {
                query: text(&mut row, "instruction")?,
                response: text(&mut row, "output")?,
            });
        }
        if !row.contains_key("query") {
            return Err("no `query`, `messages` or `instruction`".into());
        }
        Ok(Pair {
            query: text(&mut row, "query")?,
            response: text(&mut row, "response")?,
        })
    }
}

fn text(row: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match row.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` is not a text")),
        None => Err(format!("no `{name}`")),
    }
}
