//! Downloads the files of one commit into the cache until it is complete.
//!
//! The client downloads whole files. This module resumes interrupted files, checks sizes against
//! those that the hub reports, and waits for other processes.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hf_hub::progress::Progress;
use hf_hub::repository::RepoTypeModel;
use hf_hub::{HFError, HFRepositorySync};
use sha2::{Digest, Sha256};

use super::cache::{self, Cache, Partial};
use super::failure::Failure;
use super::settings::Settings;
use super::watch::{Meter, Relay, within};
use crate::model::load;

/// Length of the prefix that identifies the file of a partial download.
const HEAD: u64 = 64 << 10;
/// A partial download shorter than this is restarted.
const WORTH_KEEPING: u64 = 4 << 10;
/// Bytes per request when a download is resumed; fewer after each failure.
const PART: u64 = 64 << 20;
const SMALLEST_PART: u64 = 1 << 20;
/// The name of the lock of a repository's downloads.
const DOWNLOAD_LOCK: &str = "dart-math-download";
/// The number of attempts without progress before a download fails, and the number of attempts in
/// all.
const FRUITLESS: u32 = 3;
const TRIES: u32 = 100;

/// A file of the repository, as the hub lists it.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) size: u64,
}

/// Downloads a commit's files.
pub(super) struct Fetch<'a> {
    pub(super) repository: HFRepositorySync<RepoTypeModel>,
    pub(super) commit: &'a str,
    pub(super) cache: &'a Cache,
    pub(super) settings: &'a Settings,
    pub(super) progress: Option<load::Progress>,
}

impl Fetch<'_> {
    /// Downloads the files into the cache. An error comes with the name of the file and the byte at
    /// which it stopped.
    pub(super) fn fetch(&self, files: &[Listed]) -> Result<(), (Failure, Option<String>)> {
        let missing = || self.missing(files).map_err(|failure| (failure, None));
        if missing()?.0.is_empty() {
            return Ok(());
        }
        let _lock = self.download_lock();
        // Another process may have downloaded them meanwhile.
        let (missing, _) = missing()?;
        if missing.is_empty() {
            return Ok(());
        }
        let meter = Meter::new(
            self.progress.clone(),
            missing.iter().map(|file| file.size).sum(),
        );
        let mut state = State::default();
        let mut there = self.cache.blob_bytes();
        for _ in 0..TRIES {
            let failure = match self.once(files, &meter, &mut state) {
                Ok(true) => {
                    for file in &missing {
                        meter.set(&file.name, file.size);
                    }
                    meter.show();
                    return Ok(());
                }
                Ok(false) => Failure::Wrong(format!(
                    "{} lists files that it does not give",
                    self.settings.endpoint
                )),
                Err(failure) => failure,
            };
            let now = self.cache.blob_bytes();
            state.failures = if now > there { 0 } else { state.failures + 1 };
            there = now;
            if matches!(failure, Failure::Silent(_)) {
                state.left_behind = true;
            }
            // After a timeout the client's thread keeps its locks, so that a retry makes sense only
            // for files that can be resumed.
            let hopeless = state.left_behind && self.partials().is_empty();
            if !failure.passes() || state.failures >= FRUITLESS || hopeless {
                let place = match failure {
                    // These already name their file.
                    Failure::Wrong(_) | Failure::Local(_) | Failure::Refused(_) => None,
                    _ => self.place(&missing, &meter),
                };
                return Err((failure, place));
            }
            let reason = failure.reason(self.settings);
            tracing::warn!("a download was cut and is tried again: {reason}");
            std::thread::sleep(Duration::from_millis(100 << state.failures));
        }
        let place = self.place(&missing, &meter);
        Err((Failure::Wrong(format!("cut {TRIES} times")), place))
    }

    /// Waits until no other process downloads files of the repository, as long as its download grows. The
    /// client replaces links that are there already: for a moment, a process that has just found them
    /// would miss them. Without the lock (`None`) a download goes on all the same.
    fn download_lock(&self) -> Option<File> {
        match self.cache.lock(DOWNLOAD_LOCK) {
            Ok(None) => self.wait(&self.cache.lock_path(DOWNLOAD_LOCK)).ok(),
            Ok(lock) => lock,
            Err(error) => {
                tracing::debug!(%error, "no lock of the repository's downloads");
                None
            }
        }
    }

    /// Makes one attempt. Returns whether all files are complete.
    fn once(
        &self,
        files: &[Listed],
        meter: &Arc<Meter>,
        state: &mut State,
    ) -> Result<bool, Failure> {
        let (missing, _) = self.missing(files)?;
        self.resume(&missing, meter, state)?;
        match self.download(&missing, meter) {
            Err(Failure::Client(error)) => match *error {
                // The client waits only ten seconds.
                HFError::CacheLockTimeout { path } => drop(self.wait(&path)?),
                error => return Err(error.into()),
            },
            other => other?,
        }
        match self.missing(files)? {
            (_, Some(wrong)) => Err(Failure::Wrong(wrong)),
            (missing, None) => Ok(missing.is_empty()),
        }
    }

    /// The files that are not in the cache. Removes files whose size differs from the hub's; the
    /// second value describes the last of them.
    fn missing(&self, files: &[Listed]) -> Result<(Vec<Listed>, Option<String>), Failure> {
        let directory = self.cache.snapshot(self.commit);
        let mut missing = Vec::new();
        let mut wrong = None;
        for file in files {
            let path = directory.join(&file.name);
            let length = path.metadata().map(|meta| meta.len()).ok();
            if length == Some(file.size) {
                continue;
            }
            if let Some(length) = length {
                let reason = format!(
                    "{}: {length} bytes where the hub lists {}",
                    path.display(),
                    file.size
                );
                tracing::warn!("{reason}; taken out of the cache");
                wrong = Some(reason);
                self.cache.remove(&path).map_err(HFError::Io)?;
            }
            missing.push(file.clone());
        }
        Ok((missing, wrong))
    }

    /// The place where a download stopped, for a message.
    fn place(&self, files: &[Listed], meter: &Meter) -> Option<String> {
        let directory = self.cache.snapshot(self.commit);
        files
            .iter()
            .filter(|file| !directory.join(&file.name).exists())
            .map(|file| (meter.of(&file.name), file))
            .max_by_key(|&(bytes, _)| bytes)
            .map(|(bytes, file)| format!("{} stopped at byte {bytes} of {}", file.name, file.size))
    }

    /// The client's own download: whole files, several at once.
    fn download(&self, files: &[Listed], meter: &Arc<Meter>) -> Result<(), Failure> {
        let repository = self.repository.clone();
        let commit = self.commit.to_owned();
        let names = files.iter().map(|file| file.name.clone()).collect();
        let meter = meter.clone();
        // Before the first byte come the list, a request per file, and the connection.
        let first = self.settings.answer + self.settings.silence;
        within(first, self.settings.silence, move |beat| {
            let relay = Relay {
                meter,
                beat,
                offset: 0,
            };
            repository
                .snapshot_download()
                .revision(commit)
                .allow_patterns(names)
                .progress(Progress::new(relay))
                .send()
        })
        .map(drop)
    }

    /// The downloads that are worth resuming.
    fn partials(&self) -> Vec<Partial> {
        let mut partials = self.cache.partials();
        partials.retain(|partial| partial.length >= WORTH_KEEPING);
        partials
    }

    /// Resumes partially downloaded files; the client then finds them complete.
    fn resume(
        &self,
        missing: &[Listed],
        meter: &Arc<Meter>,
        state: &mut State,
    ) -> Result<(), Failure> {
        let mut partials = self.partials();
        for file in missing {
            if partials.is_empty() || state.only_whole {
                break;
            }
            // The cache names a partial download by the hash of the whole file, which the client
            // does not expose in advance. The first bytes identify the file, and the hash verifies
            // the result.
            let wanted = HEAD.min(file.size);
            let head = match self.part(file, 0..wanted, None) {
                Ok(head) => head,
                Err(failure) if failure.passes() => return Err(failure),
                Err(failure) => {
                    let reason = failure.reason(self.settings);
                    tracing::debug!("the hub gives no parts of files: {reason}");
                    state.only_whole = true;
                    break;
                }
            };
            if head.len() as u64 != wanted {
                state.only_whole = true;
                break;
            }
            let mut found = None;
            for (at, partial) in partials.iter().enumerate() {
                if partial.length <= file.size && partial.begins_with(&head).map_err(HFError::Io)? {
                    found = Some(at);
                    break;
                }
            }
            if let Some(at) = found {
                self.rest(file, &partials.swap_remove(at), meter, state)?;
            }
        }
        Ok(())
    }

    /// Downloads the rest of a file.
    fn rest(
        &self,
        file: &Listed,
        partial: &Partial,
        meter: &Arc<Meter>,
        state: &State,
    ) -> Result<(), Failure> {
        let lock = self.cache.lock(&partial.sha256).map_err(HFError::Io)?;
        if lock.is_none() && !state.left_behind {
            let path = self.cache.lock_path(&partial.sha256);
            drop(self.wait(&path)?);
            // The holder of the lock has completed the file, or died.
            return Ok(());
        }
        tracing::info!(
            "{}: goes on at byte {} of {}",
            file.name,
            partial.length,
            file.size
        );
        let mut out = File::options()
            .append(true)
            .open(&partial.path)
            .map_err(HFError::Io)?;
        let most = (PART >> (2 * state.failures.min(8))).max(SMALLEST_PART);
        let mut at = partial.length;
        while at < file.size {
            meter.set(&file.name, at);
            let end = file.size.min(at + most);
            let bytes = self.part(file, at..end, Some(meter))?;
            if bytes.is_empty() || bytes.len() as u64 > end - at {
                return Err(Failure::Wrong(format!(
                    "{}: {} bytes came where {} were asked for",
                    file.name,
                    bytes.len(),
                    end - at
                )));
            }
            out.write_all(&bytes).map_err(HFError::Io)?;
            at += bytes.len() as u64;
        }
        meter.set(&file.name, at);
        out.sync_all().map_err(HFError::Io)?;
        let hash = sha256(&partial.path).map_err(HFError::Io)?;
        if hash != partial.sha256 {
            std::fs::remove_file(&partial.path).map_err(HFError::Io)?;
            return Err(Failure::Wrong(format!(
                "{}: its parts do not make up the file of that hash; downloaded again",
                file.name
            )));
        }
        std::fs::rename(&partial.path, self.cache.blob(&hash)).map_err(HFError::Io)?;
        Ok(())
    }

    /// Downloads a range of a file.
    fn part(
        &self,
        file: &Listed,
        range: Range<u64>,
        meter: Option<&Arc<Meter>>,
    ) -> Result<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>, Failure> {
        let repository = self.repository.clone();
        let commit = self.commit.to_owned();
        let name = file.name.clone();
        let meter = match meter {
            Some(meter) => meter.clone(),
            None => Meter::new(None, 0),
        };
        let first = self.settings.answer + self.settings.silence;
        within(first, self.settings.silence, move |beat| {
            let relay = Relay {
                meter,
                beat,
                offset: range.start,
            };
            repository
                .download_file_to_bytes()
                .filename(name)
                .revision(commit)
                .range(range)
                .progress(Progress::new(relay))
                .send()
        })
    }

    /// Waits for the process that holds a lock, as long as its download grows, and takes the lock.
    fn wait(&self, path: &Path) -> Result<File, Failure> {
        tracing::info!("waiting for another process that downloads the same files");
        let mut bytes = self.cache.blob_bytes();
        let mut grown = Instant::now();
        loop {
            if let Some(lock) = cache::lock(path).map_err(HFError::Io)? {
                return Ok(lock);
            }
            let now = self.cache.blob_bytes();
            if now != bytes {
                bytes = now;
                grown = Instant::now();
            } else if grown.elapsed() > self.settings.silence {
                return Err(HFError::CacheLockTimeout {
                    path: path.to_owned(),
                }
                .into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The results of earlier attempts.
#[derive(Default)]
struct State {
    /// The number of successive attempts without progress.
    failures: u32,
    /// Whether a call was abandoned, so that its thread still holds its locks.
    left_behind: bool,
    /// Whether the hub ignores range requests.
    only_whole: bool,
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hash.update(bytes);
    }
    Ok(crate::contract::hex(&hash.finalize()))
}
