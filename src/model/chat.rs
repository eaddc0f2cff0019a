//! A model's own chat template: Jinja, as transformers renders it, within bounds.
//!
//! Knows Jinja and the variables that templates expect; nothing of tokens.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind as JinjaKind, context};

use super::template::{Place, Rendered};
use crate::{Error, ErrorKind, Result};

/// Steps that a template may take; the largest known take a few thousand for one message.
const FUEL: u64 = 1_000_000;
/// Longest template, in bytes; the largest known have some 20 kB.
const MAX_TEMPLATE: usize = 1 << 20;
/// Longest prompt that a template may make of a question, beyond the question itself.
const MAX_GROWTH: usize = 1 << 20;

/// A model's chat template and the tokens that it may name.
///
/// Its syntax is looked at when it is used: a model whose template cannot be run here can still be
/// used with another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplate {
    /// The file that it came from, for messages.
    label: String,
    source: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    pub(super) fn new(label: String, source: &str, bos: String, eos: String) -> Self {
        ChatTemplate {
            label,
            // A tag of transformers' own, which marks what a model is trained on and prints
            // nothing.
            source: without_tag(&without_tag(source, "generation"), "endgeneration"),
            bos,
            eos,
        }
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All that a prompt depends on, for a fingerprint.
    pub(super) fn parts(&self) -> [&str; 3] {
        [&self.source, &self.bos, &self.eos]
    }

    fn environment(&self) -> Result<Environment<'_>> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| self.failed(&error))?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function(
            "raise_exception",
            |message: String| -> Result<Value, minijinja::Error> {
                Err(minijinja::Error::new(JinjaKind::InvalidOperation, message))
            },
        );
        environment.add_filter("tojson", tojson);
        // A prompt must be the same tomorrow. Templates that ask whether there is a clock have a
        // date of their own where there is none; the others get that same date.
        if !self.source.contains("strftime_now is defined") {
            environment.add_function("strftime_now", strftime);
        }
        Ok(environment)
    }

    /// The prompt for a question, ending where the assistant's answer begins.
    pub(super) fn render(&self, system: Option<&str>, question: &str) -> Result<Rendered> {
        // Private-use characters around a name: nothing that a template would look for.
        const STAND_IN: &str = "\u{E000}question\u{E001}";
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
        let environment = self.environment()?;
        let template = environment
            .template_from_str(&self.source)
            .map_err(|error| self.failed(&error))?;
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
                    bos_token => self.bos.as_str(),
                    eos_token => self.eos.as_str(),
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
        // Where the question went is seen by putting something else in its place.
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

/// Takes `{% tag %}` out of a source, keeping the marks that trim white space beside it.
fn without_tag(source: &str, tag: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let after = &rest[start + 2..];
        let Some(end) = after.find("%}") else {
            break;
        };
        let inside = &after[..end];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || c == '-');
        out.push_str(&rest[..start]);
        if name == tag {
            // An empty block that sets nothing: trimming on either side stays as it was.
            let left = if inside.starts_with('-') { "-" } else { "" };
            let right = if inside.ends_with('-') { "-" } else { "" };
            out.push_str(&format!("{{%{left} set _ = 0 {right}%}}"));
        } else {
            out.push_str("{%");
            out.push_str(inside);
            out.push_str("%}");
        }
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    out
}

/// The date that templates get who insist on a clock: the one that Llama 3's own templates fall
/// back to.
fn strftime(format: String) -> String {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("26"),
            Some('m') => out.push_str("07"),
            Some('b') => out.push_str("Jul"),
            Some('B') => out.push_str("July"),
            Some('Y') => out.push_str("2024"),
            Some('y') => out.push_str("24"),
            Some('A') => out.push_str("Friday"),
            Some('a') => out.push_str("Fri"),
            Some('H' | 'M' | 'S') => out.push_str("00"),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    out
}

/// JSON as Python's `json.dumps` writes it. minijinja's own filter does, apart from escaping a few
/// characters for HTML, which is undone here.
fn tojson(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    // Python's other options (`ensure_ascii`, `separators`, `sort_keys`) change nothing here.
    let indent: Option<Value> = options.get("indent")?;
    let json = minijinja::filters::tojson(
        &value,
        indent,
        std::iter::empty::<(String, Value)>().collect(),
    )?;
    Ok(Value::from_safe_string(without_html_escapes(
        json.as_str().unwrap_or_default(),
    )))
}

fn without_html_escapes(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let plain = [
            ("\\u003c", '<'),
            ("\\u003e", '>'),
            ("\\u0026", '&'),
            ("\\u0027", '\''),
        ]
        .into_iter()
        .find(|(escaped, _)| escape.starts_with(escaped));
        let length = match plain {
            Some((escaped, c)) => {
                out.push(c);
                escaped.len()
            }
            // The character after a backslash belongs to it, another backslash above all.
            None => {
                let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&escape[..length]);
                length
            }
        };
        rest = &escape[length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new("t.jinja".into(), source, "<s>".into(), "</s>".into())
    }

    fn text(source: &str, question: &str) -> String {
        template(source).render(None, question).unwrap().text
    }

    /// The chat template of Qwen2.5's shape: trims white space, tests tools, indexes messages.
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
        let with_system = template(CHATML).render(Some("Be brief."), "1+1?").unwrap();
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
            // Blocks on lines of their own leave nothing behind.
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
            let error = template(source).render(None, "q").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Model);
            assert!(error.detail().contains(reason), "{error}");
        }
    }

    /// Each of these would run for ever, or fill memory, were it not bounded.
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
            assert!(template(source).render(None, "q").is_err(), "{source}");
        }
    }

    #[test]
    fn a_question_is_found_in_the_text_or_not_at_all() {
        let found = |source: &str, question: &str| {
            let rendered = template(source).render(None, question).unwrap();
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
