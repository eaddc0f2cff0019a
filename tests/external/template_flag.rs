//! The examples' flag `--template`: how a template given as text or as a file reaches the model.

use std::fs;

use crate::harness::{Test, tests};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![
    a_file_is_taken_as_it_is_and_a_text_in_place_has_its_line_breaks_written_out,
    arguments_are_for_chat_templates_that_ask_for_them,
];

/// Runs `synthesize` with a template on one problem. Returns the template in its manifest, or its error message.
fn template(flag: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("set");
    let flags = "--limit 1 --strategy vanilla --trials 1 --max-new-tokens 4 --template";
    let more = [flag, "--out", out.to_str().unwrap()];
    let args: Vec<&str> = flags.split(' ').chain(more).collect();
    let ran = Tool::new("synthesize").run(&args);
    if ran.code != Some(0) {
        return Err(ran.err);
    }
    let manifest = fs::read(out.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let template = manifest["generator"]["template"].as_str().unwrap();
    Ok(template.to_owned())
}

fn arguments_are_for_chat_templates_that_ask_for_them() {
    let flags = "--limit 1 --strategy vanilla --trials 1 --max-new-tokens 4 --template-arg";
    let run = |more: &[&str]| {
        let args: Vec<&str> = flags.split(' ').chain(more.iter().copied()).collect();
        Tool::new("synthesize").run(&args)
    };
    // The built-in model's template does not use `enable_thinking`.
    for (more, reason) in [
        (&["enable_thinking=false"][..], "does not ask for it"),
        (&["messages=[]"], "set by the question"),
        (&["nothing"], "NAME=VALUE"),
        (&["x=1", "--template", "qa"], "takes no arguments"),
        (&["x=False"], "JSON's is false"),
        (&["x=True"], "JSON's is true"),
        (&["x=None"], "JSON's is null"),
        (&["x=[1, 2"], "begins as JSON"),
        (&["x={'a': 1}"], "begins as JSON"),
        (&["x=\"a"], "begins as JSON"),
        (&["x=1", "--template-arg", "x=2"], "given twice"),
    ] {
        let ran = run(more);
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        assert!(ran.err.contains(reason), "{}", ran.err);
    }
}

fn a_file_is_taken_as_it_is_and_a_text_in_place_has_its_line_breaks_written_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("template.txt");
    let flag = format!("@{}", file.to_str().unwrap());
    let latex = "{problem} Note that $a \\neq b$.\nA:\n";
    fs::write(&file, latex).unwrap();
    let found = template(&flag);
    assert_eq!(found.unwrap(), latex);

    let found = template("Q: {problem}\\nAnswer:");
    assert_eq!(found.unwrap(), "Q: {problem}\nAnswer:");

    // A file contains a template, not the name of one.
    fs::write(&file, "qa").unwrap();
    let refused = template(&flag).unwrap_err();
    assert!(refused.contains("template.txt"), "{refused}");
    assert!(refused.contains("no {problem} in it"), "{refused}");
    fs::remove_file(&file).unwrap();
    let refused = template(&flag).unwrap_err();
    assert!(refused.contains("template.txt"), "{refused}");
}
