//! Compares templates and expressions with the Jinja of transformers
//! (`scripts/golden_templates.py`).

use serde::Deserialize;

use crate::Settings;
use crate::model::chat::ChatTemplate;

#[derive(Deserialize)]
struct Golden {
    families: Vec<Family>,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Family {
    name: String,
    source: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    question: String,
    system: Option<String>,
    /// `None` if the template fails.
    text: Option<String>,
}

#[derive(Deserialize)]
struct Part {
    part: String,
    text: Option<String>,
}

fn golden() -> Golden {
    let text = include_str!("../../../tests/fixtures/golden/templates.json");
    serde_json::from_str(text).unwrap()
}

fn template(source: &str) -> ChatTemplate {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let tokens = tokens.map(|(name, text)| (name, text.to_owned()));
    ChatTemplate::new("t.jinja".into(), source.to_owned(), tokens.to_vec())
}

fn difference(
    what: &str,
    expected: &Option<String>,
    found: Result<String, String>,
) -> Option<String> {
    match (expected, &found) {
        (Some(expected), Ok(found)) if expected == found => None,
        (None, Err(_)) => None,
        _ => Some(format!(
            "{what}\n  expected {expected:?}\n  found    {found:?}"
        )),
    }
}

#[test]
fn every_familys_template_renders_as_in_transformers() {
    let mut wrong = Vec::new();
    for family in golden().families {
        for case in family.cases {
            let found = template(&family.source)
                .render(case.system.as_deref(), &Settings::new(), &case.question)
                .map(|rendered| rendered.text)
                .map_err(|error| error.to_string());
            let what = format!("{} {:?} {:?}", family.name, case.system, case.question);
            wrong.extend(difference(&what, &case.text, found));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Features that are refused by name; no published template is known to use them.
const UNSUPPORTED: [&str; 6] = [
    "'%s and %d' % ('x', 3)",
    "'%s' % 'x'",
    "'a long text here' | truncate(8)",
    "'x' | center(5)",
    "cycler('a', 'b').next()",
    "joiner(', ')() ~ 'x'",
];

#[test]
fn every_expression_is_what_it_is_in_jinja2() {
    let mut wrong = Vec::new();
    for Part { part, text } in golden().parts {
        let found = template(&format!("{{{{ {part} }}}}"))
            .render(None, &Settings::new(), "q")
            .map(|rendered| rendered.text)
            .map_err(|error| error.to_string());
        match UNSUPPORTED.contains(&part.as_str()) {
            true => assert!(found.is_err(), "{part} is supported: {found:?}"),
            false => wrong.extend(difference(&part, &text, found)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
