//! A short name for a model's contents, so that a run is only resumed with the model it began
//! with.

use sha2::{Digest, Sha256};

use super::config::DecoderConfig;

/// Bytes taken at each sampled place of a tensor.
const WINDOW: usize = 64;
/// Sampled places of a tensor.
const WINDOWS: usize = 16;

/// SHA-256 over the decoder's shape, the text side's files, and of every tensor its name, type,
/// shape and bytes at evenly spread places (all of them would take seconds a gigabyte).
pub(super) struct Fingerprint {
    hash: Sha256,
}

impl Fingerprint {
    pub(super) fn new(config: &DecoderConfig) -> Self {
        let mut fingerprint = Fingerprint {
            hash: Sha256::new(),
        };
        fingerprint.add("config", format!("{config:?}").as_bytes());
        fingerprint
    }

    /// Adds named bytes. Lengths go in too, so that no two sequences of calls give the same bytes.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    /// Adds a tensor.
    pub(super) fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        self.add(name, format!("{dtype} {shape:?}").as_bytes());
        if bytes.len() <= WINDOW * WINDOWS {
            self.hash.update(bytes);
            return;
        }
        let span = bytes.len() - WINDOW;
        for place in 0..WINDOWS {
            let start = span / (WINDOWS - 1) * place;
            self.hash.update(&bytes[start..start + WINDOW]);
        }
    }

    /// The first 128 bits in hexadecimal.
    pub(super) fn finish(self) -> String {
        crate::contract::hex(&self.hash.finalize()[..16])
    }
}
