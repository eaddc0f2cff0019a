//! Prompt templates: from a question to the text that the model continues.
//!
//! Defines wordings; independent of tokens.

use std::ops::Range;

use super::chat::ChatTemplate;
use super::fingerprint::Fingerprint;
use crate::{Error, ErrorKind, Result, Settings};

/// The placeholder for the question in a custom template.
const MARK: &str = "{problem}";
/// The variables that every chat template receives.
const RESERVED: [&str; 4] = ["messages", "add_generation_prompt", "tools", "documents"];

/// A fixed, named wording around a question.
///
/// The wordings are those of the DART-Math paper's code, with which the models were trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedTemplate {
    /// The name.
    pub name: &'static str,
    /// The text before the question.
    pub before: &'static str,
    /// The text after the question.
    pub after: &'static str,
    /// Texts that end a response: the markers of a next question or answer.
    pub stop: &'static [&'static str],
}

const ALPACA: &str = "Below is an instruction that describes a task. Write a response that \
                      appropriately completes the request.\n\n### Instruction:\n";

impl NamedTemplate {
    /// DeepSeekMath's wording: the default for models without a chat template.
    pub const DEEPSEEKMATH: NamedTemplate = NamedTemplate {
        name: "deepseekmath",
        before: "User: ",
        after: "\nPlease reason step by step, and put your final answer within \\boxed{}.\
                \n\nAssistant:",
        stop: &["User:", "Assistant:"],
    };

    /// All named templates.
    pub const ALL: &'static [NamedTemplate] = &[
        Self::DEEPSEEKMATH,
        NamedTemplate {
            name: "alpaca",
            before: ALPACA,
            after: "\n\n### Response:",
            stop: &["### Instruction:", "### Response:"],
        },
        NamedTemplate {
            name: "wizardmath-cot",
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
            name: "xwinmath",
            before: "A chat between a curious user and an artificial intelligence assistant. The \
                     assistant gives helpful, detailed, and polite answers to the user's \
                     questions. USER: ",
            after: " Give your solution in detail. In the end, write your final answer in the \
                    format of 'The answer is: <ANSWER>.'.  ASSISTANT:",
            stop: &["USER:", "ASSISTANT:"],
        },
        NamedTemplate {
            name: "mammoth2-cot",
            before: "You are supposed to provide a solution to a given problem.\n\n\nProblem:\n",
            after: "\nSolution: Let's think step by step.",
            stop: &["Problem:", "Solution:"],
        },
    ];

    /// Finds a template by name.
    pub fn find(name: &str) -> Option<&'static NamedTemplate> {
        Self::ALL.iter().find(|template| template.name == name)
    }
}

/// The template that renders a question into a prompt.
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
        /// A system message, which replaces the template's own default.
        system: Option<String>,
        /// Additional variables of the template, such as `enable_thinking`.
        arguments: Settings,
    },
    /// A fixed wording.
    Named(&'static NamedTemplate),
    /// A text with at least one `{problem}` placeholder for the question.
    Custom(String),
}

/// A rendered prompt, and the location of the question in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) question: Place,
}

/// The location of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// These byte ranges, in ascending order.
    At(Vec<Range<usize>>),
    /// Unknown, because a chat template changed the question. Holds the text that the template
    /// renders for a question without special tokens.
    Changed(String),
}

impl Template {
    /// Parses `chat`, the name of a [`NamedTemplate`], or a text with `{problem}`, which is used
    /// literally.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for anything else; lists the names.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "chat" {
            Ok(Template::chat())
        } else if let Some(named) = NamedTemplate::find(text) {
            Ok(Template::Named(named))
        } else {
            Template::custom(text).map_err(|_| {
                let names: Vec<&str> = NamedTemplate::ALL.iter().map(|t| t.name).collect();
                Error::new(
                    ErrorKind::Settings,
                    format!(
                        "template `{}`: expected chat, {} or a text with {MARK}",
                        text.escape_debug(),
                        names.join(", ")
                    ),
                )
            })
        }
    }

    /// Returns the template that uses the model's own chat template.
    pub fn chat() -> Self {
        Template::Chat {
            system: None,
            arguments: Settings::new(),
        }
    }

    /// Adds variables for a chat template, such as `enable_thinking` of Qwen3's.
    ///
    /// ```
    /// use dart_math::{Settings, model::Template};
    ///
    /// let mut arguments = Settings::new();
    /// arguments.insert("enable_thinking".into(), false.into());
    /// let chat = Template::chat().with_arguments(arguments.clone())?;
    /// assert!(Template::parse("alpaca")?.with_arguments(arguments).is_err());
    /// # Ok::<(), dart_math::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for other templates, and for the names of variables that every
    /// template receives.
    pub fn with_arguments(mut self, more: Settings) -> Result<Self> {
        let refused = |reason: String| Err(Error::new(ErrorKind::Settings, reason));
        if let Some(name) = more.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return refused(format!(
                "template argument `{name}`: it is set by the question"
            ));
        }
        match &mut self {
            Template::Chat { arguments, .. } => arguments.extend(more),
            _ if more.is_empty() => {}
            other => {
                return refused(format!(
                    "template `{}` takes no arguments: chat templates do",
                    other.name().escape_debug()
                ));
            }
        }
        Ok(self)
    }

    /// Fails if the model's chat template cannot be used, or if it does not use an argument.
    pub(crate) fn check(&self, chat: Option<&ChatTemplate>) -> Result<()> {
        let (Template::Chat { arguments, .. }, Some(chat)) = (self, chat) else {
            return Ok(());
        };
        chat.check()?;
        match arguments.keys().find(|name| !chat.names(name)) {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "template argument `{}`: the chat template in {} does not ask for it",
                    name.escape_debug(),
                    chat.label()
                ),
            )),
        }
    }

    /// The additional variables of a chat template, if any.
    pub fn arguments(&self) -> Option<&Settings> {
        match self {
            Template::Chat { arguments, .. } if !arguments.is_empty() => Some(arguments),
            _ => None,
        }
    }

    /// Creates a template from a text with `{problem}` for the question, which is used literally.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if the text does not contain `{problem}`.
    pub fn custom(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        match text.contains(MARK) {
            true => Ok(Template::Custom(text)),
            false => Err(no_mark()),
        }
    }

    /// Texts that end a response.
    pub fn stop_strings(&self) -> Vec<String> {
        match self {
            Template::Named(named) => named.stop.iter().map(|&stop| stop.to_owned()).collect(),
            Template::Chat { .. } | Template::Custom(_) => Vec::new(),
        }
    }

    /// The name; for a custom template, its text.
    pub fn name(&self) -> &str {
        match self {
            Template::Chat { .. } => "chat",
            Template::Named(named) => named.name,
            Template::Custom(text) => text,
        }
    }

    /// The system message of a chat template, if set.
    pub fn system_prompt(&self) -> Option<&str> {
        match self {
            Template::Chat { system, .. } => system.as_deref(),
            Template::Named(_) | Template::Custom(_) => None,
        }
    }

    /// A hash of all text around a question. `chat` is the model's own template.
    pub(crate) fn fingerprint(&self, chat: Option<&ChatTemplate>) -> String {
        let mut fingerprint = Fingerprint::default();
        let parts: Vec<&str> = match self {
            Template::Chat { .. } => chat.map_or(Vec::new(), ChatTemplate::parts),
            Template::Named(named) => vec![named.before, named.after],
            Template::Custom(text) => vec![text],
        };
        for part in parts {
            fingerprint.add("text", part.as_bytes());
        }
        fingerprint.finish()
    }

    /// Renders a question. `chat` is the model's own template.
    pub(super) fn render(&self, question: &str, chat: Option<&ChatTemplate>) -> Result<Rendered> {
        match self {
            Template::Chat { system, arguments } => match chat {
                Some(chat) => chat.render(system.as_deref(), arguments, question),
                None => Err(Error::new(
                    ErrorKind::Settings,
                    "template `chat`: the model has no chat template; use another",
                )),
            },
            Template::Named(named) => {
                let start = named.before.len();
                Ok(Rendered {
                    text: [named.before, question, named.after].concat(),
                    question: Place::At(std::iter::once(start..start + question.len()).collect()),
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
                    return Err(no_mark());
                }
                Ok(Rendered {
                    text,
                    question: Place::At(questions),
                })
            }
        }
    }
}

fn no_mark() -> Error {
    Error::new(ErrorKind::Settings, format!("template: no {MARK} in it"))
}

impl std::str::FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Template::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(rendered: &Rendered) -> &[Range<usize>] {
        match &rendered.question {
            Place::At(ranges) => ranges,
            Place::Changed(_) => panic!("not found"),
        }
    }

    fn rendered(template: &str, question: &str) -> Rendered {
        Template::parse(template)
            .unwrap()
            .render(question, None)
            .unwrap()
    }

    /// The texts equal those of the paper's code for the same names.
    #[test]
    fn named_templates_render_their_wording() {
        for (name, expected) in [
            (
                "deepseekmath",
                "User: 1+1?\nPlease reason step by step, and put your final answer within \
                 \\boxed{}.\n\nAssistant:",
            ),
            (
                "alpaca",
                "Below is an instruction that describes a task. Write a response that \
                 appropriately completes the request.\n\n### Instruction:\n1+1?\n\n### Response:",
            ),
            (
                "wizardmath-cot",
                "Below is an instruction that describes a task. Write a response that \
                 appropriately completes the request.\n\n### Instruction:\n1+1?\n\n### Response: \
                 Let's think step by step.",
            ),
            ("qa", "User:\n1+1?\n\nAssistant:"),
            (
                "mammoth2-cot",
                "You are supposed to provide a solution to a given problem.\n\n\nProblem:\n1+1?\n\
                 Solution: Let's think step by step.",
            ),
        ] {
            let rendered = rendered(name, "1+1?");
            assert_eq!(rendered.text, expected, "{name}");
            let range = ranges(&rendered)[0].clone();
            assert_eq!(&rendered.text[range], "1+1?");
            let stops = Template::parse(name).unwrap().stop_strings();
            assert!(stops.iter().all(|stop| expected.contains(stop.as_str())));
            assert_eq!(stops.len(), 2);
        }
    }

    #[test]
    fn a_text_of_ones_own_takes_the_question_wherever_it_asks() {
        let rendered = rendered("{problem}\n({problem})", "q {problem}");
        assert_eq!(rendered.text, "q {problem}\n(q {problem})");
        assert_eq!(ranges(&rendered), [0..11, 13..24]);
    }

    #[test]
    fn a_text_of_ones_own_keeps_its_backslashes() {
        let rendered = rendered("{problem} ($a \\neq \\nu$)\n", "q");
        assert_eq!(rendered.text, "q ($a \\neq \\nu$)\n");
    }

    #[test]
    fn a_chat_needs_a_chat_template() {
        let error = Template::parse("chat")
            .unwrap()
            .render("q", None)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        let error = Template::Custom("none".into())
            .render("q", None)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        let error = Template::parse("alpacca").unwrap_err();
        assert!(error.detail().contains("alpaca"), "{error}");
    }
}
