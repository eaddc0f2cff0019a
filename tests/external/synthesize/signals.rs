//! Interrupted runs, and directories that another process uses.

use std::fs;
use std::path::Path;

use super::{SHORT, rows};
use crate::harness::{Test, tests};
use crate::tool::Tool;

pub(crate) const TESTS: &[Test] = tests![
    an_interrupted_run_says_what_is_kept_and_how_it_goes_on,
    signals_that_were_ignored_stay_ignored,
    two_signals_at_once_are_one,
    a_later_signal_quits_at_once,
    a_directory_of_a_run_that_goes_on_is_left_alone,
];

/// A run in progress. It is killed if its test fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a run that does not end by itself and waits until it samples. It ignores only these signals.
fn start(synthesize: &Tool, ignored: &'static [libc::c_int], out: &Path) -> Running {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    let mut command = Command::new(synthesize.path());
    command
        .args([
            "--limit",
            "8",
            "--strategy",
            "vanilla",
            "--trials",
            "100000",
            "--out",
        ])
        .arg(out)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec, only the async-signal-safe `signal` is called.
    // The test process may itself ignore signals, which a shell cannot undo.
    unsafe {
        command.pre_exec(move || {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                let action = match ignored.contains(&signal) {
                    true => libc::SIG_IGN,
                    false => libc::SIG_DFL,
                };
                libc::signal(signal, action);
            }
            Ok(())
        });
    }
    let child = Running(command.spawn().unwrap());
    let journal = out.join("journal/000001.jsonl");
    within_two_minutes("nothing is sampled", || {
        fs::metadata(&journal).is_ok_and(|meta| meta.len() > 20_000)
    });
    child
}

fn within_two_minutes(otherwise: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed().as_secs() < 120, "{otherwise}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Waits for a run and returns its exit code and stderr.
fn end(mut run: Running) -> (Option<i32>, String) {
    let mut said = String::new();
    let mut code = None;
    within_two_minutes("it goes on after a signal", || {
        let status = run.0.try_wait().unwrap();
        code = status.and_then(|status| status.code());
        status.is_some()
    });
    let mut err = run.0.stderr.take().unwrap();
    std::io::Read::read_to_string(&mut err, &mut said).unwrap();
    (code, said)
}

fn signal(run: &Running, name: &str) {
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), &run.0.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn an_interrupted_run_says_what_is_kept_and_how_it_goes_on() {
    let synthesize = Tool::new("synthesize");
    for name in ["INT", "TERM", "HUP"] {
        let directory = tempfile::tempdir().unwrap();
        let child = start(&synthesize, &[], directory.path());
        signal(&child, name);
        let (code, err) = end(child);
        assert_eq!(code, Some(130), "{name}: {err}");
        let kept = rows(&directory.path().join("dataset.jsonl")).len();
        assert!(kept > 0);
        let said =
            format!("the run was interrupted: kept so far: {kept} responses; not done: 8 problems");
        assert!(err.contains(&said), "{err}");
        assert!(err.contains("the same command goes on from there"), "{err}");
        assert!(err.contains("; once more quits at once"), "{err}");
        assert!(!err.contains("-0"), "{err}");
    }
}

fn signals_that_were_ignored_stay_ignored() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    // Like `nohup`.
    let mut child = start(&synthesize, &[libc::SIGHUP], directory.path());
    for _ in 0..3 {
        signal(&child, "HUP");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    assert!(
        child.0.try_wait().unwrap().is_none(),
        "it went with its terminal"
    );
    signal(&child, "INT");
    assert_eq!(end(child).0, Some(130));
}

/// `timeout -s INT` signals its child, and then the process group, which contains the child again.
fn two_signals_at_once_are_one() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let child = start(&synthesize, &[], directory.path());
    let id = libc::pid_t::try_from(child.0.id()).unwrap();
    for _ in 0..2 {
        // SAFETY: the child has not been waited for, so its id is valid.
        assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (code, err) = end(child);
    assert_eq!(code, Some(130), "{err}");
    assert_eq!(err.matches("once more quits at once").count(), 1, "{err}");
    assert!(!err.contains("quit at once: "), "{err}");
    assert!(err.contains("the run was interrupted: "), "{err}");
    assert!(directory.path().join("manifest.json").exists(), "{err}");
}

/// A run that hangs because it cannot write its data set is ended by another signal.
fn a_later_signal_quits_at_once() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(&synthesize, &[], directory.path());
    let pipe = directory.path().join(".dataset.jsonl.draft");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    within_two_minutes("signals do not end it", || {
        // It may have ended since the last check.
        let _ = std::process::Command::new("kill")
            .args(["-INT", &child.0.id().to_string()])
            .status();
        std::thread::sleep(std::time::Duration::from_millis(400));
        child.0.try_wait().unwrap().is_some()
    });
    let (code, err) = end(child);
    assert_eq!(code, Some(130), "{err}");
    let quit = "quit at once: what was graded is in the journal";
    assert!(err.contains(quit), "{err}");
    assert!(!directory.path().join("manifest.json").exists());
}

/// A directory in use by another process is neither resumed nor replaced, and the message does not suggest it.
fn a_directory_of_a_run_that_goes_on_is_left_alone() {
    let synthesize = Tool::new("synthesize");
    let directory = tempfile::tempdir().unwrap();
    let child = start(&synthesize, &[], directory.path());
    let out = directory.path().to_str().unwrap();
    for more in [&[][..], &["--fresh"]] {
        let ran = synthesize.run(&[&SHORT[..], &["--out", out], more].concat());
        assert_eq!(ran.code, Some(1), "{}", ran.err);
        assert!(
            ran.err.contains("journal: another process holds it"),
            "{}",
            ran.err
        );
        assert!(!ran.err.contains("--fresh"), "{}", ran.err);
    }
    signal(&child, "INT");
    assert_eq!(end(child).0, Some(130));
}
