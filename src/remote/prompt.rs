//! How a question is posed to a server: as a text to continue, or as chat messages.

use serde_json::{Map, Value, json};

use crate::contract::reasoning::opens;
use crate::{Error, ErrorKind, Result, Settings};

/// The placeholder for the question.
const MARK: &str = "{problem}";

/// How a question is posed to a server.
///
/// ```
/// use dart_math::remote::Prompt;
///
/// let text = Prompt::text("User: {problem}\n\nAssistant:")?;
/// let chat = Prompt::chat().with_system("Put your final answer within \\boxed{}.");
/// assert!(Prompt::text("no place for the question").is_err());
/// # Ok::<(), dart_math::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prompt {
    /// A text with `{problem}` in place of the question, continued by `/v1/completions`. The server adds its
    /// tokenizer's initial tokens. Most servers parse a special token that is written in a question as that
    /// token.
    Text(String),
    /// Messages, continued by `/v1/chat/completions` with the server's chat template.
    Chat {
        /// A system message before the question.
        system: Option<String>,
        /// The user message, with `{problem}` in place of the question.
        user: String,
        /// Whether the server's chat template ends with an opened `<think>`, which is then missing at the
        /// beginning of a response.
        opens_reasoning: bool,
    },
}

impl Prompt {
    /// A text with `{problem}` in place of the question, at least once.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Settings`] if the placeholder is missing.
    pub fn text(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check(&text)?;
        Ok(Prompt::Text(text))
    }

    /// A chat with the question as the user message.
    pub fn chat() -> Self {
        Prompt::Chat {
            system: None,
            user: MARK.to_owned(),
            opens_reasoning: false,
        }
    }

    /// Adds a system message to a chat. A text prompt is unchanged.
    #[must_use]
    pub fn with_system(mut self, message: impl Into<String>) -> Self {
        if let Prompt::Chat { system, .. } = &mut self {
            *system = Some(message.into());
        }
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        match self {
            Prompt::Text(text) | Prompt::Chat { user: text, .. } => check(text),
        }
    }

    /// Returns the path after an endpoint's base URL.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Prompt::Text(_) => "/completions",
            Prompt::Chat { .. } => "/chat/completions",
        }
    }

    pub(super) fn is_chat(&self) -> bool {
        matches!(self, Prompt::Chat { .. })
    }

    /// Inserts a question into a request's body.
    pub(super) fn fill(&self, question: &str, body: &mut Map<String, Value>) {
        match self {
            Prompt::Text(text) => {
                body.insert("prompt".into(), text.replace(MARK, question).into());
            }
            Prompt::Chat { system, user, .. } => {
                let system = system
                    .iter()
                    .map(|text| json!({"role": "system", "content": text}));
                let user = json!({"role": "user", "content": user.replace(MARK, question)});
                let messages: Vec<Value> = system.chain([user]).collect();
                body.insert("messages".into(), messages.into());
            }
        }
    }

    /// Returns an upper bound of the tokens of a question's prompt. A token has at least one byte, except
    /// those added by a tokenizer or chat template, for which this has a margin.
    pub(super) fn max_tokens_of(&self, question: &str) -> usize {
        match self {
            Prompt::Text(text) => text.replace(MARK, question).len() + 16,
            Prompt::Chat { system, user, .. } => {
                let system = system.as_ref().map_or(0, String::len);
                system + user.replace(MARK, question).len() + 1024
            }
        }
    }

    /// Returns whether a response to a question begins inside a reasoning block.
    pub(super) fn opens_reasoning(&self, question: &str) -> bool {
        match self {
            Prompt::Text(text) => opens(&text.replace(MARK, question)),
            Prompt::Chat {
                opens_reasoning, ..
            } => *opens_reasoning,
        }
    }

    pub(super) fn settings(&self, settings: &mut Settings) {
        match self {
            Prompt::Text(text) => {
                settings.insert("interface".into(), "completions".into());
                settings.insert("template_text".into(), text.clone().into());
            }
            Prompt::Chat {
                system,
                user,
                opens_reasoning,
            } => {
                settings.insert("interface".into(), "chat".into());
                settings.insert("template_text".into(), user.clone().into());
                settings.insert("system_prompt".into(), system.clone().into());
                settings.insert("opens_reasoning".into(), (*opens_reasoning).into());
            }
        }
    }
}

fn check(text: &str) -> Result<()> {
    match text.contains(MARK) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Settings,
            format!("the prompt has no {MARK}, where a question belongs"),
        )),
    }
}
