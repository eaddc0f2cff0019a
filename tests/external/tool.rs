//! The examples' binaries, run as a user runs them.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::harness::example;

/// An example's binary. `cargo test` builds it with the tests.
pub(crate) struct Tool(PathBuf);

/// The result of a call.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Tool {
    pub(crate) fn new(name: &str) -> Tool {
        Tool(example(name))
    }

    /// Returns the binary's path.
    #[allow(dead_code)]
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.fed(args, b"")
    }

    /// Runs it with these bytes as stdin.
    pub(crate) fn fed(&self, args: &[&str], stdin: &[u8]) -> Ran {
        self.writing(args, stdin, Stdio::piped())
    }

    /// Runs it with this stdout.
    pub(crate) fn writing(&self, args: &[&str], stdin: &[u8], stdout: Stdio) -> Ran {
        let mut command = Command::new(&self.0);
        command.args(args).stdin(Stdio::piped()).stdout(stdout);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A program that refuses its arguments does not read stdin.
                let _ = input.write_all(stdin);
            });
            child.wait_with_output().unwrap()
        });
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        Ran {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Runs it with a stdout that cannot be written. A closed pipe ends it quietly; a full disk is an error.
    pub(crate) fn cannot_write(&self, args: &[&str], stdin: &[u8]) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = self.writing(args, stdin, writer.into());
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(!ran.err.contains("error"), "{}", ran.err);

        if let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") {
            let ran = self.writing(args, stdin, full.into());
            assert_eq!(ran.code, Some(1), "{}", ran.err);
            assert!(ran.err.contains("error: stdout: "), "{}", ran.err);
        }
    }
}
