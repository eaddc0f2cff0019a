//! Checks the commands, configurations and flags in docs/running.md and the README.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Test, repository, tests};
#[cfg(feature = "engine")]
use crate::tool::Tool;

/// Tests that need bash.
pub(crate) const SCRIPTS: &[Test] =
    tests![shell_commands_parse, the_slurm_script_shards_by_its_array];

/// Tests that need Python's YAML.
pub(crate) const YAML: &[Test] = tests![the_kubernetes_job_is_one];

/// Tests that need the examples.
#[cfg(feature = "engine")]
pub(crate) const FLAGS: &[Test] = tests![every_flag_exists];

fn text(document: &str) -> String {
    fs::read_to_string(repository(document)).unwrap()
}

/// Returns the fenced blocks of a language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = text(document);
    let mut parts = text.split("```");
    parts.next();
    let fenced: Vec<&str> = parts.step_by(2).collect();
    let blocks = fenced.iter().filter_map(|block| {
        let (head, code) = block.split_once('\n')?;
        (head.trim() == language).then(|| code.to_owned())
    });
    let blocks: Vec<String> = blocks.collect();
    assert!(!blocks.is_empty(), "{document} has no block of {language}");
    blocks
}

/// Runs bash on a script. Returns its success, stdout and stderr. With `-n`, bash only parses the script.
fn bash(args: &[&str], script: &str) -> (bool, String, String) {
    let mut shell = Command::new("bash")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let written = shell.stdin.take().unwrap().write_all(script.as_bytes());
    let ended = shell.wait_with_output().unwrap();
    written.unwrap();
    let [out, err] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (ended.status.success(), out, err)
}

fn slurm() -> String {
    let blocks = blocks("docs/running.md", "sh");
    let slurm = blocks.into_iter().find(|block| block.contains("#SBATCH"));
    slurm.unwrap()
}

fn shell_commands_parse() {
    for document in ["README.md", "docs/running.md"] {
        for block in blocks(document, "sh") {
            let (parses, _, err) = bash(&["-n"], &block);
            assert!(parses && err.is_empty(), "{document}: {err}{block}");
        }
    }
    // bash reports a syntax error.
    assert!(!bash(&["-n"], "if true; then").0);
}

/// Each job of the array runs its own shard, one shard per job, into its own directory.
fn the_slurm_script_shards_by_its_array() {
    let script = slurm();
    assert!(script.starts_with("#!/bin/bash\n#SBATCH"), "{script}");
    let array = script
        .lines()
        .find_map(|line| line.strip_prefix("#SBATCH --array=0-"));
    let last: u32 = array.unwrap().parse().unwrap();
    let count = last + 1;
    let job = format!(
        "srun() {{ printf '%s\\n' \"$@\"; }}; SLURM_ARRAY_TASK_COUNT={count} SLURM_ARRAY_TASK_ID={last}\n{script}"
    );
    let (fine, out, err) = bash(&["-u", "-s"], &job);
    assert!(fine, "{err}");
    let words: Vec<&str> = out.lines().collect();
    let value = |flag| {
        let at = words.iter().position(|word| *word == flag);
        words[at.unwrap() + 1]
    };
    assert_eq!(words[0], "synthesize");
    assert_eq!(value("--shard"), format!("/{count}"));
    assert_eq!(value("--out"), format!("shards/{last}"));
}

fn the_kubernetes_job_is_one() {
    let blocks = blocks("docs/running.md", "yaml");
    let mut python = Command::new("python3")
        .args([
            "-c",
            "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(blocks[0].as_bytes())
        .unwrap();
    let read = python.wait_with_output().unwrap();
    assert!(read.status.success(), "{}", blocks[0]);
    let job: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(
        (&job["apiVersion"], &job["kind"]),
        (&"batch/v1".into(), &"Job".into())
    );
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    let pod = &spec["template"]["spec"];
    // Kubernetes requires these for a limit of restarts per index.
    assert!(spec["backoffLimitPerIndex"].is_u64() && pod["restartPolicy"] == "Never");
    let container = &pod["containers"][0];
    let names = |list: &Value| -> BTreeSet<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&container["volumeMounts"]), names(&pod["volumes"]));
    let args = container["args"].as_array().unwrap();
    let [command] = &args[..] else {
        panic!("one script: {args:?}")
    };
    let command = command.as_str().unwrap();
    assert!(bash(&["-n"], command).0, "{command}");
    let shard = format!("--shard /{} ", spec["completions"]);
    assert!(command.contains(&shard), "no {shard}in {command}");
}

/// Returns the flags in a text: two hyphens followed by a lower-case letter, at the start of a word.
#[cfg(feature = "engine")]
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let flags = words.filter(|word| {
        word.strip_prefix("--")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    });
    flags.map(str::to_owned).collect()
}

#[cfg(feature = "engine")]
fn every_flag_exists() {
    let of = |tool| {
        let help = Tool::new(tool).run(&["--help"]);
        assert_eq!(help.code, Some(0), "{}", help.err);
        flags(&help.out)
    };
    let own = of("synthesize");
    let tools = ["generate", "throughput", "grade", "report"]
        .into_iter()
        .flat_map(of)
        .collect::<BTreeSet<_>>();
    let others = [
        ("cargo", "--example --features --release --test"),
        (
            "sbatch",
            "--array --gres --job-name --requeue --signal --time",
        ),
        (
            "vllm",
            "--data-parallel-size --enforce-eager --max-num-batched-tokens --port",
        ),
        ("llama-server", "--no-cache-prompt --parallel"),
        ("sglang", "--enable-deterministic-inference"),
    ];
    let mut used = BTreeSet::new();
    for document in ["README.md", "docs/running.md"] {
        let text = text(document);
        for flag in flags(&text) {
            let is_other = |(_, flags): &(_, &str)| flags.split(' ').any(|other| other == flag);
            let is_known = own.contains(&flag) || tools.contains(&flag);
            assert!(
                is_known || others.iter().any(is_other),
                "{document}: no program has {flag}"
            );
            used.insert(flag);
        }
        // Every flag passed to `synthesize` is one of its own.
        let calls = text.split("synthesize ").skip(1);
        for call in calls.map(|rest| rest.replace("\\\n", " ")) {
            let call = call
                .split(['\n', '`', '#', '&', '|'])
                .next()
                .unwrap_or_default();
            let call = call.strip_prefix("-- ").unwrap_or(call);
            for flag in flags(call) {
                assert!(
                    own.contains(&flag),
                    "{document}: {flag} in: synthesize {call}"
                );
            }
        }
    }
    for (program, flags) in others {
        for flag in flags.split(' ') {
            assert!(used.contains(flag), "{flag} of {program} is not used");
        }
    }
}
