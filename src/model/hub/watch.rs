//! Timeouts for calls of the hub's client, which has none, and their progress.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hf_hub::HFResult;
use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};

use super::HubProgress;
use super::failure::Failure;
use crate::model::load;

enum Message<T> {
    SomethingCame,
    Over(HFResult<T>),
}

/// A call's signal that data arrived.
pub(super) struct Beat(Box<dyn Fn() -> bool + Send + Sync>);

impl Beat {
    /// Signals progress. Returns whether anything still waits for the call.
    fn notify(&self) -> bool {
        (self.0)()
    }
}

/// Makes a call that must signal progress within `first`, and then within every `silence`.
///
/// The client cannot be cancelled: an abandoned call keeps its thread until its connection ends,
/// and its result is dropped.
pub(super) fn within<T: Send + 'static>(
    first: Duration,
    silence: Duration,
    call: impl FnOnce(Beat) -> HFResult<T> + Send + 'static,
) -> Result<T, Failure> {
    let (sender, receiver) = mpsc::channel();
    let beats = sender.clone();
    let beat = Beat(Box::new(move || beats.send(Message::SomethingCame).is_ok()));
    std::thread::Builder::new()
        .name("hub".to_owned())
        .spawn(move || {
            let result = call(beat);
            // After a timeout there is no receiver.
            let _ = sender.send(Message::Over(result));
        })
        .map_err(|error| Failure::Local(format!("no thread could be started: {error}")))?;
    let mut limit = first;
    loop {
        match receiver.recv_timeout(limit) {
            Ok(Message::Over(result)) => return result.map_err(Failure::from),
            Ok(Message::SomethingCame) => limit = silence,
            Err(RecvTimeoutError::Timeout) => return Err(Failure::Silent(limit)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Local("the hub's client gave up".to_owned()));
            }
        }
    }
}

/// Tracks the progress of a download for the user's callback.
pub(super) struct Meter {
    callback: Option<load::Progress>,
    total: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, u64>,
    batch: u64,
}

impl Meter {
    pub(super) fn new(callback: Option<load::Progress>, total: u64) -> Arc<Self> {
        Arc::new(Meter {
            callback,
            total,
            state: Mutex::default(),
        })
    }

    /// The last known number of bytes of a file.
    pub(super) fn of(&self, file: &str) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.files.get(file).copied().unwrap_or(0)
    }

    /// Changes the state and returns whether the progress changed.
    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |state: &State| (state.files.values().sum::<u64>(), state.batch);
        let before = sum(&state);
        change(&mut state);
        sum(&state) != before
    }

    pub(super) fn set(&self, file: &str, bytes: u64) {
        self.change(|state| {
            state.files.insert(file.to_owned(), bytes);
        });
    }

    /// Calls the user's callback.
    pub(super) fn show(&self) {
        let Some(callback) = &self.callback else {
            return;
        };
        let bytes = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // The client reports large files as one batch, others one by one, and some in both
            // ways.
            state.files.values().sum::<u64>().max(state.batch)
        };
        callback(HubProgress {
            bytes: bytes.min(self.total),
            total: self.total,
        });
    }
}

/// Forwards the client's events to a meter.
pub(super) struct Relay {
    pub(super) meter: Arc<Meter>,
    pub(super) beat: Beat,
    /// The offset in the file at which the call began.
    pub(super) offset: u64,
}

impl ProgressHandler for Relay {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else {
            return;
        };
        let changed = match event {
            DownloadEvent::Progress { files } => self.meter.change(|state| {
                for file in files {
                    let bytes = self.offset + file.bytes_completed;
                    state.files.insert(file.filename.clone(), bytes);
                }
            }),
            DownloadEvent::AggregateProgress {
                bytes_completed, ..
            } => self.meter.change(|state| state.batch = *bytes_completed),
            DownloadEvent::Start { .. } | DownloadEvent::Complete => false,
        };
        if changed && self.beat.notify() {
            self.meter.show();
        }
    }
}
