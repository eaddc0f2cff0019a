//! Runs tests whose needs may be missing on a machine. Such tests are reported as ignored, with what is missing. (The
//! standard harness can only ignore tests at compile time.)
//!
//! The environment variable `DART_MATH_REQUIRED` is a comma-separated list of needs that must be met, or `all`. If
//! such a need is missing, its tests fail.
#![allow(dead_code)] // Each test program uses a part.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

/// The real models' files.
const MODELS: &str = "SmolLM2-135M-Instruct.Q4_1.gguf and qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

/// Labelled answers and published problems.
const SHARED: &str = "problems/{gsm8k_train,math_2500}.jsonl and answers/{gold_answers,dart_math,\
    gsm8k_solutions,issues,latex2sympy2_extended,math_verify,mutations,probes,qwen_grader,\
    reflexive}.jsonl";

/// A test and its name.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

/// Lists test functions of the current module.
macro_rules! tests {
    ($($(#[$attribute:meta])* $function:ident),+ $(,)?) => {
        &[$($(#[$attribute])* $crate::harness::Test {
            name: concat!(module_path!(), "::", stringify!($function)),
            run: $function,
        }),+]
    };
}
pub(crate) use tests;

/// A need of tests: its name in `DART_MATH_REQUIRED`, and what is missing.
pub(crate) struct Need {
    name: &'static str,
    missing: Option<String>,
}

impl Need {
    pub(crate) fn new(name: &'static str, missing: Option<String>) -> Self {
        Need { name, missing }
    }

    /// The need of tests that run everywhere.
    pub(crate) fn nothing() -> Self {
        Need::new("nothing", None)
    }

    /// A directory named by an environment variable. `content` describes its contents.
    fn directory(
        name: &'static str,
        variable: &str,
        directory: Option<PathBuf>,
        content: &str,
    ) -> Self {
        let missing = match directory {
            None => Some(format!("{variable} names no directory with {content}")),
            Some(path) if !path.is_dir() => Some(format!(
                "{variable}: no directory {} with {content}",
                path.display()
            )),
            Some(_) => None,
        };
        Need::new(name, missing)
    }

    /// The real models.
    pub(crate) fn models() -> Self {
        let directory = std::env::var_os("DART_MATH_MODELS").map(PathBuf::from);
        Need::directory("models", "DART_MATH_MODELS", directory, MODELS)
    }

    /// Labelled answers and published problem sets.
    pub(crate) fn shared() -> Self {
        Need::directory("shared", "DART_MATH_SHARED", shared_directory(), SHARED)
    }

    /// A program that must be executable.
    pub(crate) fn program(name: &'static str) -> Self {
        let ran = Command::new(name)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let works = ran.is_ok_and(|status| status.success());
        Need::new(name, (!works).then(|| format!("no {name}")))
    }

    /// A Python package, installed or on PYTHONPATH.
    pub(crate) fn python_package(name: &'static str, package: &str) -> Self {
        let look = format!(
            "import importlib.util, sys; sys.exit(importlib.util.find_spec({package:?}) is None)"
        );
        let ran = Command::new("python3")
            .args(["-c", &look])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let is_there = ran.is_ok_and(|status| status.success());
        Need::new(
            name,
            (!is_there).then(|| format!("no python3 with the package {package}")),
        )
    }

    /// The binary of an example. `cargo test` builds it unless test targets are selected.
    pub(crate) fn example(name: &str) -> Self {
        let missing = !example(name).exists();
        let missing = missing.then(|| format!("not built: cargo build --example {name}"));
        Need::new("examples", missing)
    }

    /// Combines two needs.
    pub(crate) fn and(self, other: Need) -> Need {
        match self.missing {
            None => other,
            Some(_) => self,
        }
    }

    fn is_required(&self) -> bool {
        let required = std::env::var("DART_MATH_REQUIRED").unwrap_or_default();
        let mut names = required.split(',').map(str::trim);
        names.any(|name| name == "all" || name == self.name)
    }
}

/// The directory named by `DART_MATH_SHARED`, or else `shared` beside the checkout.
fn shared_directory() -> Option<PathBuf> {
    let beside = || {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = checkout.parent()?.join("shared");
        directory.is_dir().then_some(directory)
    };
    let named = std::env::var_os("DART_MATH_SHARED").map(PathBuf::from);
    named.or_else(beside)
}

/// The path of a file in the shared directory.
pub(crate) fn shared(file: &str) -> PathBuf {
    let directory = shared_directory().expect("DART_MATH_SHARED names no directory");
    directory.join(file)
}

/// The path of an example's binary.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    profile.join("examples").join(file)
}

/// The path of a file or directory in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs the tests selected on the command line.
pub(crate) fn run(groups: impl IntoIterator<Item = (Need, &'static [Test])>) -> ExitCode {
    let mut trials = Vec::new();
    let mut said = Vec::new();
    for (need, tests) in groups {
        let required = need.is_required();
        if let Some(missing) = need.missing.as_ref().filter(|_| !required)
            && !said.contains(missing)
        {
            // Print each message only once: in a list of tests, this output precedes every name.
            println!("ignored where it says `needs {}`: {missing}", need.name);
            said.push(missing.clone());
        }
        for test in tests {
            let name = test
                .name
                .split_once("::")
                .map_or(test.name, |(_, name)| name);
            let run = test.run;
            let refused = need.missing.clone().filter(|_| required);
            let trial = Trial::test(name, move || match refused {
                Some(missing) => Err(Failed::from(format!(
                    "required by DART_MATH_REQUIRED, but {missing}"
                ))),
                None => {
                    run();
                    Ok(())
                }
            });
            let trial = match need.missing.as_ref().filter(|_| !required) {
                Some(_) => trial
                    .with_kind(format!("needs {}", need.name))
                    .with_ignored_flag(true),
                None => trial,
            };
            trials.push(trial);
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
