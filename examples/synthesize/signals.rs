//! Handles Ctrl-C and other signals that end a run cleanly.

use std::time::{Duration, Instant};

use dart_math::dars::CancelHandle;
use indicatif::ProgressBar;

use crate::common::tool::{Failure, say};

/// Signals this soon after the first one are the same request: `timeout -s INT`, for example, signals its
/// child and then the child's group.
const SAME_REQUEST: Duration = Duration::from_millis(200);

/// Ends a run cleanly at the first signal, and immediately at the second. `has_journal`: whether the latter
/// keeps everything that was graded.
pub(crate) fn end_in_order(
    run: CancelHandle,
    bar: ProgressBar,
    has_journal: bool,
) -> Result<(), Failure> {
    let mut first: Option<Instant> = None;
    on_interrupt(move || match first {
        None => {
            first = Some(Instant::now());
            run.cancel();
            bar.suspend(|| {
                say!("interrupted: ends with what is complete; once more quits at once")
            });
        }
        Some(at) if at.elapsed() < SAME_REQUEST => {}
        Some(_) => {
            // The second signal ends the process at once; a journal is consistent at any time.
            let left = match has_journal {
                true => "what was graded is in the journal, and the same command goes on from it",
                false => "nothing is kept",
            };
            bar.suspend(|| say!("quit at once: {left}"));
            std::process::exit(130);
        }
    })
}

/// Calls a function on Ctrl-C, on a termination request and when the terminal is closed. Signals that the
/// parent process ignores, as `nohup` does, are left alone.
fn on_interrupt(act: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    let ignored = ignored();
    ctrlc::set_handler(act)?;
    ignore(&ignored);
    Ok(())
}

/// Returns the signals that this process inherited as ignored.
#[cfg(unix)]
fn ignored() -> Vec<libc::c_int> {
    let is_ignored = |signal: &libc::c_int| {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: without a new action the call only writes the present one, where it succeeds.
        unsafe {
            libc::sigaction(*signal, std::ptr::null(), action.as_mut_ptr()) == 0
                && action.assume_init().sa_sigaction == libc::SIG_IGN
        }
    };
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP]
        .into_iter()
        .filter(is_ignored)
        .collect()
}

#[cfg(unix)]
fn ignore(signals: &[libc::c_int]) {
    for &signal in signals {
        // SAFETY: to ignore a signal needs no handler that could be run.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

#[cfg(not(unix))]
fn ignored() {}

#[cfg(not(unix))]
fn ignore((): &()) {}
