//! Timeouts for calls of the hub's client, which has none, and the calls' progress.

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

/// By which a call says that something came.
pub(super) struct Beat(Box<dyn Fn() -> bool + Send + Sync>);

impl Beat {
    /// Whether anybody still waits for the call.
    fn notify(&self) -> bool {
        (self.0)()
    }
}

/// Makes a call that must say something within `first`, and then again within every `silence`.
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

/// How much of some files is there, for the user's callback.
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

    /// Bytes of a file that were last heard of.
    pub(super) fn of(&self, file: &str) -> u64 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.files.get(file).copied().unwrap_or(0)
    }

    /// Changes the state and says whether anything is different now.
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

    /// Calls the user back.
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

/// Hears the client's events for a meter.
pub(super) struct Relay {
    pub(super) meter: Arc<Meter>,
    pub(super) beat: Beat,
    /// Where in the file the call began.
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
