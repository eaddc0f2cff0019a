//! Tests `synthesize --server`.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dart_math::dars::JournalTrials;
use dart_math::data::read_trials;

use super::server::Llama;
use crate::harness::{Test, tests};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![a_server_that_is_killed_and_restarted_is_used_again];

const PROBLEMS: usize = 10;
const TRIALS: usize = 120;

fn a_server_that_is_killed_and_restarted_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("problems.jsonl");
    let row = |index| {
        format!(
            "{{\"question\": \"What is {index} + 1?\", \"answer\": \"{}\"}}\n",
            index + 1
        )
    };
    fs::write(&file, (0..PROBLEMS).map(row).collect::<String>()).unwrap();
    let out = directory.path().join("run");
    let (mut first, second) = (Llama::start(), Llama::start());
    let mut process = Command::new(Tool::new("synthesize").path())
        .args(["--server", first.url(), "--server", second.url()])
        .args(["--template", "Q: {problem}\\nA:", "--max-new-tokens", "200"])
        .args(["--strategy", "vanilla", "--trials", &TRIALS.to_string()])
        .arg("--problems")
        .arg(&file)
        .arg("--out")
        .arg(&out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = out.join("journal/000001.jsonl");
    let rows = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    let mut wait_for = |count: usize| {
        let begun = Instant::now();
        while rows() < count {
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < Duration::from_secs(120),
                "{ended:?} after {} rows",
                rows()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for(TRIALS);
    first.kill();
    wait_for(2 * TRIALS);
    first.restart();
    let before = second.sampled();
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(first.sampled() > 0 && second.sampled() > before, "{said}");

    let mut written = BTreeMap::new();
    for trial in JournalTrials::open(out.join("journal")).unwrap() {
        let trial = trial.unwrap();
        let before = written.insert((trial.problem, trial.number), ());
        assert_eq!(before, None, "a trial is in the journal twice");
    }
    let mut numbers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for trial in read_trials(out.join("trials.jsonl")).unwrap() {
        let trial = trial.unwrap();
        numbers.entry(trial.problem).or_default().push(trial.number);
    }
    assert_eq!(
        (numbers.len(), written.len()),
        (PROBLEMS, PROBLEMS * TRIALS)
    );
    for numbers in numbers.values() {
        assert!(numbers.iter().copied().eq(0..TRIALS as u32), "{numbers:?}");
    }
}
