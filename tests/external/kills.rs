//! Runs in child processes that are killed repeatedly, or whose disk is full. Their files must equal those of an
//! undisturbed run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dart_math::dars::{Limits, Outcome, Prop2Diff, Run, RunStop};
use dart_math::data::DataSet;
use dart_math::{Completion, Finish, Generator, Next, Offer, Philox, Result, Settings, Source};

use crate::harness::{Test, tests};
use crate::scripted::{complete, grader, problems};

pub(crate) const TESTS: &[Test] = tests![
    a_run_killed_two_hundred_times_leaves_the_same_files,
    a_run_whose_disk_is_full_goes_on_when_it_is_not,
];

/// The environment variable that makes a process such a run. It names the run's directory.
const DIRECTORY: &str = "DART_MATH_KILLED_RUN";
const KILLS: u64 = 200;
/// Small, so that parts are sealed often.
const PART_BYTES: u64 = 6000;

/// Delays each completion, so that a kill falls into the run.
struct Slow(Duration);

impl Generator for Slow {
    fn run(&self, source: &dyn Source) -> Result<()> {
        loop {
            match source.next(Offer {
                free: 8,
                resident: &[],
            }) {
                Next::Requests(requests) => {
                    for request in requests {
                        std::thread::sleep(self.0);
                        let completion = match source.wanted(request.trial) {
                            true => complete(&request),
                            false => Completion {
                                finish: Finish::Cancelled,
                                ..Completion::text("")
                            },
                        };
                        source.deliver(request.trial, completion);
                    }
                }
                Next::Wait => std::thread::yield_now(),
                Next::Done => return Ok(()),
            }
        }
    }

    fn settings(&self) -> Settings {
        Settings::new()
    }
}

fn run(directory: &Path, pause: Duration) -> Outcome {
    let rates: Vec<f64> = (0..40).map(|index| f64::from(index % 9) / 9.0).collect();
    let run = Run::builder(problems(&rates))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(Limits {
            trials_per_problem: Some(50),
            ..Limits::default()
        })
        .seed(5)
        .journal(directory.join("journal"))
        .journal_part_bytes(PART_BYTES)
        .build()
        .unwrap();
    run.run(&Slow(pause), &grader).unwrap()
}

fn publish(outcome: &Outcome, directory: &Path) -> Result<bool> {
    DataSet {
        problems: &outcome.problems,
        manifest: &outcome.manifest(),
    }
    .write(directory.join("out"), outcome.trials())
}

/// If the environment asks for it, performs the run and exits the process.
pub(crate) fn be_one() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let outcome = run(&directory, Duration::from_micros(100));
    let code = match (&outcome.error, outcome.stop) {
        (Some(error), _) => {
            eprintln!("{error}");
            3
        }
        (None, RunStop::Finished) => match publish(&outcome, &directory) {
            Ok(_) => 0,
            Err(error) => {
                eprintln!("{error}");
                4
            }
        },
        (None, _) => 5,
    };
    std::process::exit(code);
}

fn start(directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Returns the contents of all files except the manifest, which contains times.
fn files(directory: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let read = |name| (name, fs::read(directory.join("out").join(name)).unwrap());
    ["dataset.jsonl", "trials.jsonl", "problems.jsonl"]
        .map(read)
        .into()
}

fn undisturbed() -> BTreeMap<&'static str, Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let outcome = run(directory.path(), Duration::ZERO);
    publish(&outcome, directory.path()).unwrap();
    files(directory.path())
}

/// Waits for a process, and kills it (SIGKILL) after a time. Returns whether it was killed.
fn killed_after(child: &mut Child, time: Duration) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

fn a_run_killed_two_hundred_times_leaves_the_same_files() {
    let whole = undisturbed();
    let random = Philox::new(17);
    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        let directory = tempfile::tempdir().unwrap();
        runs += 1;
        let mut own = 0;
        loop {
            let mut child = start(directory.path()).spawn().unwrap();
            // The range of times grows with every kill, so that every run finishes.
            let time = 2 + random.below(kills, 30 + 10 * own);
            if !killed_after(&mut child, Duration::from_millis(time)) {
                break;
            }
            kills += 1;
            own += 1;
        }
        let same = files(directory.path()) == whole;
        assert!(same, "other files after {own} kills ({kills} in all)");
        // Only the run's own files are left.
        for entry in fs::read_dir(directory.path().join("journal")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_part = name.ends_with(".jsonl") || name.ends_with(".jsonl.zst");
            assert!(is_part || name.ends_with(".draft"), "{name}");
        }
    }
    println!("{kills} kills of {runs} runs");
    assert!(runs >= 3, "{runs}");
}

#[cfg(unix)]
fn a_run_whose_disk_is_full_goes_on_when_it_is_not() {
    use std::os::unix::process::CommandExt;

    let whole = undisturbed();
    let mut failures = 0;
    for most in [0, 900, 4000, 5500] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = start(directory.path());
        // Limits the size of files, so that writing beyond it fails as on a full disk.
        let limit = move || {
            let limit = libc::rlimit {
                rlim_cur: most,
                rlim_max: most,
            };
            // SAFETY: these are two system calls, which allocate nothing.
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            }
            Ok(())
        };
        // SAFETY: `limit` only calls functions that are allowed between fork and exec.
        unsafe { command.pre_exec(limit) };
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{most}");
        // The first file that cannot be written is the journal's or one of the data set.
        assert!(said.contains(directory.path().to_str().unwrap()), "{said}");
        assert!(!said.contains("panicked") || most == 0, "{said}");
        failures += 1;

        let outcome = run(directory.path(), Duration::ZERO);
        assert_eq!(outcome.stop, RunStop::Finished);
        publish(&outcome, directory.path()).unwrap();
        assert!(
            files(directory.path()) == whole,
            "other files after a limit of {most}"
        );
    }
    assert_eq!(failures, 4);
}

#[cfg(not(unix))]
fn a_run_whose_disk_is_full_goes_on_when_it_is_not() {}
