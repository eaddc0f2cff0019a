//! Divides the device memory that the weights leave between the KV cache and the logits of prompts.

use super::CudaSettings;
use super::driver::{Buffer, Device};
use super::kernels::PAGE;
use crate::model::DecoderConfig;
use crate::{Error, ErrorKind, Result};

/// The share of the free memory, after the weights, that the KV cache takes by default. The rest is
/// for graphs, cuBLAS and other processes on the device.
const KV_SHARE: f64 = 0.9;

/// The largest share that the KV cache and the logits of prompts take together.
const KV_AND_LOGITS_SHARE: f64 = 0.95;

/// The number of prompts for whose logits memory is allocated at a time.
const PREFIX_LOGITS: usize = 16;

/// Rows of logits that belong to prefixes.
pub(super) struct PrefixLogits {
    bytes: usize,
    chunks: Vec<Buffer>,
    free: Vec<u64>,
}

impl PrefixLogits {
    /// Creates an empty pool for a vocabulary of `vocabulary` tokens.
    pub(super) fn new(vocabulary: usize) -> Self {
        PrefixLogits {
            bytes: 4 * vocabulary,
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Takes a free row, and returns its address.
    pub(super) fn take(&mut self, device: &Device) -> Result<u64> {
        if self.free.is_empty() {
            let bytes = PREFIX_LOGITS * self.bytes;
            let chunk = Buffer::new(device.stream(), bytes, "the logits of prompts")?;
            let row = |index: usize| chunk.address + (index * self.bytes) as u64;
            self.free.extend((0..PREFIX_LOGITS).map(row));
            self.chunks.push(chunk);
        }
        self.free
            .pop()
            .ok_or_else(|| Error::new(ErrorKind::Device, "no memory for logits"))
    }

    /// Returns a row to the pool.
    pub(super) fn give_back(&mut self, row: u64) {
        self.free.push(row);
    }
}

/// The number of pages that leave enough memory for the logits of all prompts that may be held.
/// Each prompt has at least one page.
fn pages_beside_logits(
    free: usize,
    config: &DecoderConfig,
    settings: &CudaSettings,
    page_bytes: usize,
) -> usize {
    let row = 4 * config.vocab_size;
    let bytes = (free as f64 * KV_AND_LOGITS_SHARE) as usize;
    // Rows are allocated in chunks.
    let bytes = bytes.saturating_sub(PREFIX_LOGITS * row);
    // Prompts in use, as many that are being started, and those in the prefix cache.
    let prompts = (2 * settings.slots).saturating_add(settings.prefix_cache);
    let beside_all = bytes.saturating_sub(prompts.saturating_mul(row)) / page_bytes;
    beside_all.max(bytes / (page_bytes + row))
}

/// The number of pages of the KV cache: as many as the limit and the free memory allow, and no more
/// than can be used.
pub(super) fn kv_pages(
    device: &Device,
    config: &DecoderConfig,
    settings: &CudaSettings,
    page_bytes: usize,
) -> Result<usize> {
    let longest = settings.max_new_tokens.min(config.context_length);
    let of_use = settings
        .slots
        .saturating_mul(longest.div_ceil(PAGE))
        .saturating_add(
            (settings.slots.saturating_add(settings.prefix_cache))
                .saturating_mul(config.context_length.div_ceil(PAGE)),
        );
    let free = device.free_bytes()?;
    let share = (free as f64 * KV_SHARE) as usize;
    let limit = settings.kv_bytes.unwrap_or(usize::MAX);
    if limit > free && settings.kv_bytes.is_some() && limit / page_bytes <= of_use {
        return Err(Error::new(
            ErrorKind::Device,
            format!(
                "kv_bytes is {limit}, but {free} bytes of the device's memory are free after the \
                 weights"
            ),
        ));
    }
    let (bytes, scratch) = match settings.kv_bytes {
        Some(limit) => (limit, 0),
        None => (share, 1),
    };
    let pages = (bytes / page_bytes).saturating_sub(scratch).min(of_use);
    let pages = pages.min(pages_beside_logits(free, config, settings, page_bytes));
    // One page for a prompt and one for its continuation.
    if pages < 2 {
        let kind = match settings.kv_bytes {
            Some(_) => ErrorKind::Settings,
            None => ErrorKind::Device,
        };
        return Err(Error::new(
            kind,
            format!(
                "{bytes} bytes for the KV cache, of which {PAGE} tokens take {page_bytes}: not even \
                 a short prompt and its completion fit"
            ),
        ));
    }
    Ok(pages + 1)
}
