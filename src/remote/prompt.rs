//! How a question is put to a server: as a text that the model continues, or as the messages of a chat.

use serde_json::{Map, Value, json};

use crate::contract::reasoning::opens;
use crate::{Error, ErrorKind, Result, Settings};

/// The mark that a question replaces.
const MARK: &str = "{problem}";

/// How a question is put to a server.
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
    /// A text with `{problem}` where the question belongs, continued by `/v1/completions`. The server
    /// adds what its tokenizer begins a text with; a special token that a question spells out is that
    /// token to most servers.
    Text(String),
    /// Messages, continued by `/v1/chat/completions` with the chat template that the server has.
    Chat {
        /// A system message before the question.
        system: Option<String>,
        /// The user's message, with `{problem}` where the question belongs.
        user: String,
        /// Whether the server's chat template ends with an opened `<think>`, which a response then does
        /// not begin with.
        opens_reasoning: bool,
    },
}

impl Prompt {
    /// A text with `{problem}` where the question belongs, at least once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] where there is none.
    pub fn text(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        check(&text)?;
        Ok(Prompt::Text(text))
    }

    /// A chat with the question as the user's message.
    pub fn chat() -> Self {
        Prompt::Chat {
            system: None,
            user: MARK.to_owned(),
            opens_reasoning: false,
        }
    }

    /// A chat with this system message. A text stays as it is.
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

    /// The path behind an endpoint's base URL.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Prompt::Text(_) => "/completions",
            Prompt::Chat { .. } => "/chat/completions",
        }
    }

    pub(super) fn is_chat(&self) -> bool {
        matches!(self, Prompt::Chat { .. })
    }

    /// Puts a question into a request's body.
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

    /// The most tokens that a question's prompt may have: a token is a byte at least, but for those that
    /// a tokenizer or a chat template adds, which this allows for.
    pub(super) fn max_tokens_of(&self, question: &str) -> usize {
        match self {
            Prompt::Text(text) => text.replace(MARK, question).len() + 16,
            Prompt::Chat { system, user, .. } => {
                let system = system.as_ref().map_or(0, String::len);
                system + user.replace(MARK, question).len() + 1024
            }
        }
    }

    /// Whether a response to a question begins within a reasoning.
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
