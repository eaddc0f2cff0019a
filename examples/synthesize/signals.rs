//! Ctrl-C, and what else ends a run in good order.

use crate::common::tool::Failure;

/// Calls a function on Ctrl-C, on a request to terminate and when the terminal goes away; except on
/// those that whoever started the program has it ignore, as `nohup` does.
pub(crate) fn on_interrupt(act: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    let ignored = ignored();
    ctrlc::set_handler(act)?;
    ignore(&ignored);
    Ok(())
}

/// The signals that this program inherited as ignored.
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
