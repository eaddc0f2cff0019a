//! Renders a model's own chat template like transformers, with bounded resources.
//!
//! Depends on the variables that templates expect, but not on tokens.

use std::collections::BTreeMap;

use minijinja::context;
use minijinja::value::Value;

use super::jinja;
use super::template::{Place, Rendered};
use crate::{Error, ErrorKind, Result, Settings};

/// The longest accepted template, in bytes; the largest known have some 20 kB.
const MAX_TEMPLATE: usize = 1 << 20;
/// The longest prompt that a template may render, in bytes beyond the question.
const MAX_GROWTH: usize = 1 << 20;

/// A model's chat template and the special tokens that it may use.
///
/// Its syntax is checked when it is used: a model whose template cannot be rendered can still be
/// used with another template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Its file, for messages.
    label: String,
    /// Its name, if the file has several.
    variant: Option<String>,
    /// The reason why it cannot be used, if any.
    refused: Option<String>,
    source: String,
    /// The preprocessed source, which is parsed.
    prepared: String,
    /// The named special tokens (`bos_token`, …) that templates may use.
    special_tokens: Vec<(&'static str, String)>,
}

impl ChatTemplate {
    pub(super) fn new(
        label: String,
        source: String,
        special_tokens: Vec<(&'static str, String)>,
    ) -> Self {
        ChatTemplate {
            label,
            variant: None,
            refused: None,
            prepared: jinja::prepare(&source),
            source,
            special_tokens,
        }
    }

    /// Creates a template that transformers would not accept. Using it is an error with this
    /// reason.
    pub(super) fn refused(label: String, reason: String) -> Self {
        ChatTemplate {
            refused: Some(reason),
            ..Self::new(label, String::new(), Vec::new())
        }
    }

    /// This template as one of several, selected by the name `variant`.
    pub(super) fn named(self, variant: String) -> Self {
        ChatTemplate {
            variant: Some(variant),
            ..self
        }
    }

    /// A short description.
    pub(super) fn described(&self) -> String {
        match (&self.refused, &self.variant) {
            (Some(reason), _) => format!("none that can be used: {reason}"),
            (None, variant) => format!(
                "{} characters{}",
                self.source.chars().count(),
                variant.as_deref().unwrap_or_default()
            ),
        }
    }

    /// Fails if it cannot be used.
    pub(super) fn check(&self) -> Result<()> {
        match &self.refused {
            None => Ok(()),
            Some(reason) => Err(Error::new(
                ErrorKind::Model,
                format!("{}: {reason}; another template can be given", self.label),
            )),
        }
    }

    /// Its file.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the source contains a name as a whole word.
    pub(super) fn names(&self, name: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let source = &self.source;
        !name.is_empty()
            && source.match_indices(name).any(|(at, _)| {
                !source[..at].ends_with(is_word) && !source[at + name.len()..].starts_with(is_word)
            })
    }

    /// Everything that a prompt depends on, for a fingerprint.
    pub(super) fn parts(&self) -> Vec<&str> {
        let tokens = self.special_tokens.iter();
        std::iter::once(self.source.as_str())
            .chain(tokens.flat_map(|(name, text)| [*name, text.as_str()]))
            .collect()
    }

    /// Renders the prompt for a question, which ends where the assistant's answer begins.
    pub(super) fn render(
        &self,
        system: Option<&str>,
        arguments: &Settings,
        question: &str,
    ) -> Result<Rendered> {
        // Private-use characters around a name, which no template looks for.
        const STAND_IN: &str = "\u{E000}question\u{E001}";
        self.check()?;
        if self.source.len() > MAX_TEMPLATE {
            return Err(Error::new(
                ErrorKind::Model,
                format!(
                    "{}: chat template of {} bytes",
                    self.label,
                    self.source.len()
                ),
            ));
        }
        // A prompt must not change over time. Templates that test for a clock have their own
        // default date; the others get a fixed date.
        let clock = !self.source.contains("strftime_now is defined");
        let environment = jinja::environment(clock).map_err(|error| self.failed(&error))?;
        let template = environment
            .template_from_str(&self.prepared)
            .map_err(|error| self.failed(&error))?;
        let tokens = self.special_tokens.iter();
        let mut variables: BTreeMap<&str, Value> = tokens
            .map(|(name, text)| (*name, Value::from(text.as_str())))
            .collect();
        let given = arguments.iter();
        variables.extend(given.map(|(name, value)| (name.as_str(), of_json(value))));
        let variables = Value::from(variables);
        let render = |question: &str| -> Result<String> {
            let mut messages = Vec::new();
            if let Some(system) = system {
                messages.push(context! { role => "system", content => system });
            }
            messages.push(context! { role => "user", content => question });
            let text = template
                .render(context! {
                    messages,
                    add_generation_prompt => true,
                    tools => (),
                    documents => (),
                    ..variables.clone()
                })
                .map_err(|error| self.failed(&error))?;
            if text.len() > question.len().saturating_mul(4).saturating_add(MAX_GROWTH) {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!(
                        "{}: chat template made a prompt of {} bytes",
                        self.label,
                        text.len()
                    ),
                ));
            }
            Ok(text)
        };
        let text = render(question)?;
        // Rendering a stand-in shows where the question went.
        let pattern = render(STAND_IN)?;
        let questions = [question, question.trim()]
            .into_iter()
            .find_map(|question| {
                let mut ranges = Vec::new();
                let mut rebuilt = String::new();
                for (index, part) in pattern.split(STAND_IN).enumerate() {
                    if index > 0 {
                        ranges.push(rebuilt.len()..rebuilt.len() + question.len());
                        rebuilt.push_str(question);
                    }
                    rebuilt.push_str(part);
                }
                (rebuilt == text && !ranges.is_empty()).then_some(ranges)
            });
        Ok(Rendered {
            text,
            question: match questions {
                Some(ranges) => Place::At(ranges),
                None => Place::Changed(pattern),
            },
        })
    }

    fn failed(&self, error: &minijinja::Error) -> Error {
        let line = error
            .line()
            .map(|line| format!(" (line {line})"))
            .unwrap_or_default();
        let detail = error.detail().map_or_else(
            || error.kind().to_string(),
            |detail| format!("{}: {detail}", error.kind()),
        );
        Error::new(
            ErrorKind::Model,
            format!("{}: chat template: {detail}{line}", self.label),
        )
    }
}

/// Converts a JSON value to a template value.
fn of_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(values) => values.iter().map(of_json).collect(),
        serde_json::Value::Object(map) => {
            let pairs = map.iter();
            Value::from_pairs(pairs.map(|(name, value)| (name.as_str(), of_json(value))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let tokens = vec![
            ("bos_token", "<s>".to_owned()),
            ("eos_token", "</s>".to_owned()),
        ];
        ChatTemplate::new("t.jinja".into(), source.to_owned(), tokens)
    }

    fn text(source: &str, question: &str) -> String {
        template(source)
            .render(None, &Settings::new(), question)
            .unwrap()
            .text
    }

    /// A chat template like Qwen2.5's: trims whitespace, tests tools, indexes messages.
    const CHATML: &str = "{%- if tools %}\n    {{- 'tools' }}\n{%- else %}\n    \
        {%- if messages[0]['role'] == 'system' %}\n        \
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n    \
        {%- else %}\n        {{- '<|im_start|>system\\nHelp.<|im_end|>\\n' }}\n    \
        {%- endif %}\n{%- endif %}\n{%- for message in messages %}\n    \
        {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) %}\n        \
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    \
        {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    \
        {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n";

    #[test]
    fn chatml_renders_as_transformers_does() {
        assert_eq!(
            text(CHATML, "1+1?"),
            "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        let with_system = template(CHATML)
            .render(Some("Be brief."), &Settings::new(), "1+1?")
            .unwrap();
        assert_eq!(
            with_system.text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        let Place::At(ranges) = with_system.question else {
            panic!("not found");
        };
        assert_eq!(&with_system.text[ranges[0].clone()], "1+1?");
    }

    #[test]
    fn templates_may_use_what_transformers_gives_them() {
        let q = "{{ messages[0]['content']";
        for (source, expected) in [
            (
                "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
                "<s>a b</s>",
            ),
            // Blocks on their own lines leave no text.
            (
                "{% if true %}\n  {% set x = 1 %}\nyes\n{% endif %}\nend",
                "yes\nend",
            ),
            (&format!("{q}.upper() }}}}"), "A B"),
            (&format!("{q}.split(' ')[-1] }}}}"), "b"),
            (&format!("{q}.strip().startswith('a') }}}}"), "True"),
            (&format!("{q} | trim | length }}}}"), "3"),
            (
                "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "01",
            ),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "1",
            ),
            ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f('y') }}", "[y]"),
            (
                "{{ {'a': [1, 'é<&'], 'b': none} | tojson }}",
                r#"{"a": [1, "é<&"], "b": null}"#,
            ),
            ("{% generation %}x{% endgeneration %}", "x"),
            ("a {%- generation -%} b {%- endgeneration %} c", "ab c"),
            ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
            (
                "{% if strftime_now is defined %}clock{% else %}none{% endif %}",
                "none",
            ),
            (
                "{{ messages is iterable and messages is not mapping }}",
                "True",
            ),
            (
                "{{ undefined_thing is defined }}{{ undefined_thing }}",
                "False",
            ),
        ] {
            assert_eq!(text(source, "a b"), expected, "{source}");
        }
    }

    #[test]
    fn failures_say_why() {
        for (source, reason) in [
            ("{{ raise_exception('no system role') }}", "no system role"),
            ("\n{% for %}", "line 2"),
            ("{{ 1/0 }}", "t.jinja"),
            ("{% include 'x' %}", "t.jinja"),
        ] {
            let error = template(source)
                .render(None, &Settings::new(), "q")
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Model);
            assert!(error.detail().contains(reason), "{error}");
        }
    }

    /// Without bounds, each of these would run forever or exhaust memory.
    #[test]
    fn templates_are_bounded() {
        let deep = format!("{{{{ {} }}}}", "(".repeat(100_000));
        let nested = "{% if 1 %}".repeat(50_000);
        for source in [
            deep.as_str(),
            nested.as_str(),
            "{% for i in range(99999999) %}{% for j in range(99999999) %}{% endfor %}{% endfor %}",
            "{{ 'x' * 9999999999 }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99999) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "{% for i in range(9000) %}{{ 'y' * 9000 }}{% endfor %}",
        ] {
            assert!(
                template(source)
                    .render(None, &Settings::new(), "q")
                    .is_err(),
                "{source}"
            );
        }
    }

    #[test]
    fn a_question_is_found_in_the_text_or_not_at_all() {
        let found = |source: &str, question: &str| {
            let rendered = template(source)
                .render(None, &Settings::new(), question)
                .unwrap();
            match rendered.question {
                Place::At(ranges) => Some(
                    ranges
                        .into_iter()
                        .map(|range| rendered.text[range].to_owned())
                        .collect::<Vec<_>>(),
                ),
                Place::Changed(_) => None,
            }
        };
        let plain = "user: {{ messages[0].content }}!";
        assert_eq!(found(plain, "user"), Some(vec!["user".into()]));
        assert_eq!(found(plain, ""), Some(vec!["".into()]));
        let trimmed = "{{ messages[0].content | trim }} {{ messages[0].content.strip() }}";
        assert_eq!(found(trimmed, " q\n"), Some(vec!["q".into(), "q".into()]));
        let changed = "{{ messages[0].content | upper }}";
        assert_eq!(found(changed, "q"), None);
        assert_eq!(found("nothing", "q"), None);
    }
}
