//! Prompt templates: from a question to the text that the model continues.
//!
//! Knows the wordings; nothing of tokens.

use std::ops::Range;

use super::chat::ChatTemplate;
use crate::{Error, ErrorKind, Result};

/// The mark that a question replaces in a template of one's own.
const MARK: &str = "{problem}";

/// A fixed wording around a question, known by a name.
///
/// The wordings are those of the DART-Math paper's code, which are those that the models were
/// trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedTemplate {
    /// The name to ask for it by.
    pub name: &'static str,
    /// What comes before the question.
    pub before: &'static str,
    /// What comes after it.
    pub after: &'static str,
    /// Texts that end a response: the markers of a next question or answer.
    pub stop: &'static [&'static str],
}

const ALPACA: &str = "Below is an instruction that describes a task. Write a response that \
                      appropriately completes the request.\n\n### Instruction:\n";

impl NamedTemplate {
    /// All of them.
    pub const ALL: &'static [NamedTemplate] = &[
        NamedTemplate {
            name: "deepseekmath",
            before: "User: ",
            after: "\nPlease reason step by step, and put your final answer within \\boxed{}.\
                    \n\nAssistant:",
            stop: &["User:", "Assistant:"],
        },
        NamedTemplate {
            name: "alpaca",
            before: ALPACA,
            after: "\n\n### Response:",
            stop: &["### Instruction:", "### Response:"],
        },
        NamedTemplate {
            name: "alpaca-cot",
            before: ALPACA,
            after: "\n\n### Response: Let's think step by step.",
            stop: &["### Instruction:", "### Response:"],
        },
        NamedTemplate {
            name: "qa",
            before: "User:\n",
            after: "\n\nAssistant:",
            stop: &["User:", "Assistant:"],
        },
        NamedTemplate {
            name: "mammoth2-cot",
            before: "You are supposed to provide a solution to a given problem.\n\n\nProblem:\n",
            after: "\nSolution: Let's think step by step.",
            stop: &["Problem:", "Solution:"],
        },
    ];

    /// The one of a name.
    pub fn find(name: &str) -> Option<&'static NamedTemplate> {
        Self::ALL.iter().find(|template| template.name == name)
    }
}

/// How a question is put to a model.
///
/// ```
/// use dart_math::model::Template;
///
/// let template = Template::parse("deepseekmath")?;
/// assert_eq!(template.stop_strings(), ["User:", "Assistant:"]);
/// let own = Template::parse("Q: {problem}\nA:")?;
/// assert!(own.stop_strings().is_empty());
/// assert!(Template::parse("no such name").is_err());
/// # Ok::<(), dart_math::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Template {
    /// The model's own chat template, with the question as the user's message.
    Chat {
        /// A system message before it, instead of the template's own default.
        system: Option<String>,
    },
    /// A fixed wording.
    Named(&'static NamedTemplate),
    /// A text with `{problem}` where the question belongs, at least once.
    Custom(String),
}

/// A rendered prompt, and which parts of it are the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    /// Byte ranges in ascending order; `None` where a chat template changed the question so that
    /// it cannot be found again.
    pub(super) questions: Option<Vec<Range<usize>>>,
}

impl Template {
    /// `chat`, the name of a [`NamedTemplate`], or a text with `{problem}`, in which `\n` may be
    /// written for a line break.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for anything else, listing the names.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "chat" {
            Ok(Template::Chat { system: None })
        } else if let Some(named) = NamedTemplate::find(text) {
            Ok(Template::Named(named))
        } else if text.contains(MARK) {
            Ok(Template::Custom(text.replace("\\n", "\n")))
        } else {
            let names: Vec<&str> = NamedTemplate::ALL.iter().map(|t| t.name).collect();
            Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "template `{}`: expected chat, {} or a text with {MARK}",
                    text.escape_debug(),
                    names.join(", ")
                ),
            ))
        }
    }

    /// Texts that end a response.
    pub fn stop_strings(&self) -> Vec<String> {
        match self {
            Template::Named(named) => named.stop.iter().map(|&stop| stop.to_owned()).collect(),
            Template::Chat { .. } | Template::Custom(_) => Vec::new(),
        }
    }

    /// Its name; for a text of one's own, the text.
    pub fn name(&self) -> &str {
        match self {
            Template::Chat { .. } => "chat",
            Template::Named(named) => named.name,
            Template::Custom(text) => text,
        }
    }

    /// The system message of a chat.
    pub fn system_prompt(&self) -> Option<&str> {
        match self {
            Template::Chat { system } => system.as_deref(),
            Template::Named(_) | Template::Custom(_) => None,
        }
    }

    /// Puts a question into the template. `chat` is the model's own template.
    pub(super) fn render(&self, question: &str, chat: Option<&ChatTemplate>) -> Result<Rendered> {
        match self {
            Template::Chat { system } => match chat {
                Some(chat) => chat.render(system.as_deref(), question),
                None => Err(Error::new(
                    ErrorKind::Settings,
                    "template `chat`: the model has no chat template; use another",
                )),
            },
            Template::Named(named) => {
                let start = named.before.len();
                Ok(Rendered {
                    text: [named.before, question, named.after].concat(),
                    questions: Some(vec![start..start + question.len()]),
                })
            }
            Template::Custom(pattern) => {
                let mut text = String::new();
                let mut questions = Vec::new();
                let mut parts = pattern.split(MARK);
                text.push_str(parts.next().unwrap_or_default());
                for part in parts {
                    questions.push(text.len()..text.len() + question.len());
                    text.push_str(question);
                    text.push_str(part);
                }
                if questions.is_empty() {
                    return Err(Error::new(
                        ErrorKind::Settings,
                        format!("template: no {MARK} in it"),
                    ));
                }
                Ok(Rendered {
                    text,
                    questions: Some(questions),
                })
            }
        }
    }
}

impl std::str::FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Template::parse(text)
    }
}
