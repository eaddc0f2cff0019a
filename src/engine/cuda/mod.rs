//! The decoder and the sampler on an NVIDIA GPU, with the crate's own kernels and cuBLAS.
//!
//! No part of a step waits for the host. Tokens are drawn on the device and fed to the next step
//! there, the arrays that describe a step are copied in advance, and draws are read once the next
//! step is queued. A step's launches depend only on its bucket of rows and its number of splits, so
//! that they are captured in a CUDA graph once and replayed.
//!
//! A prompt's KV cache is computed once and shared. Attention over it is one GEMM for all rows that
//! continue it, attention over a row's own tokens reads the row's own pages, and the two are merged
//! by their log-sum-exp.

mod arrays;
mod driver;
mod kernels;
mod launches;
mod memory;
mod pool;
mod prefill;
mod weights;

use std::collections::{BTreeSet, HashMap, VecDeque};

use cudarc::driver::CudaEvent;

use self::arrays::{Arrays, Layout, RowData, Staging};
use self::driver::{Buffer, Device, Doing, Pinned};
use self::kernels::{
    AttentionShape, Kernels, MAX_VOCABULARY, PAGE, SPLIT, SampleDraw, SampleRow, WIDTH_STEP,
};
use self::launches::{Activations, StepGraph, rope_tables};
use self::memory::{PrefixLogits, kv_pages};
use self::pool::{Pool, SCRATCH_PAGE};
use self::weights::DeviceWeights;
use super::Sampling;
use super::backend::{Backend, Drawn, Input, PrefixId, SequenceId, StepRow, non_finite};
use super::decoder::{bad_sequence, check_token};
use super::sampler::weight_bits;
use super::steps::Spent;
use crate::model::{DecoderConfig, Weights};
use crate::{Error, ErrorKind, Philox, Result};

pub(crate) use self::driver::{Precision, check_device, count_devices};

/// The number of prompt rows in a prefill chunk.
const PREFILL_ROWS: usize = 2048;

/// The largest number of concurrent sequences that is accepted.
const MAX_SLOTS: usize = 1 << 16;

/// The number of steps in flight before the host waits for the oldest.
const LAG: usize = 1;

/// The settings of a [`Cuda`] backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CudaSettings {
    /// The device's ordinal.
    pub(crate) ordinal: usize,
    pub(crate) precision: Precision,
    /// The number of concurrent sequences.
    pub(crate) slots: usize,
    /// The number of unused prompts that are kept.
    pub(crate) prefix_cache: usize,
    /// The largest number of tokens of a completion.
    pub(crate) max_new_tokens: usize,
    /// The limit of the KV cache in bytes.
    pub(crate) kv_bytes: Option<usize>,
    /// Whether a sequence's logits must not depend on its batch.
    pub(crate) deterministic: bool,
}

/// The CUDA backend. See the [module](self).
pub(crate) struct Cuda {
    // Fields drop in this order: work in flight, graphs, memory, the device.
    in_flight: VecDeque<InFlight>,
    graphs: HashMap<(usize, usize), StepGraph>,
    deterministic: bool,
    config: DecoderConfig,
    shape: AttentionShape,
    kernels: Kernels,
    weights: DeviceWeights,
    pool: Pool,
    /// The KV cache, `[layers][pages][2][kv_heads][PAGE][head_dim]`.
    kv: Buffer,
    /// Bytes of a page in one layer.
    layer_page_bytes: usize,
    step: Arrays,
    prefill: Arrays,
    activations: Activations,
    /// Cosines and sines, `[context][head_dim / 2]` each.
    rope: (Buffer, Buffer),
    /// The token drawn last, by slot.
    tokens: Buffer,
    /// The draws of a step, followed by those from prefixes' logits.
    draws: Buffer,
    /// A bitmap per slot of the tokens it has seen, if a repetition penalty needs it.
    seen: Option<Buffer>,
    prefix_logits: PrefixLogits,
    free_slots: Vec<usize>,
    /// Sequences whose seen tokens are not on the device yet.
    unseen: BTreeSet<SequenceId>,
    idle_transfers: Vec<Transfer>,
    idle_staging: Vec<(Staging, CudaEvent)>,
    bits: u32,
    device: Device,
}

/// Host memory for a step's input arrays and its draws.
struct Transfer {
    staging: Staging,
    draws: Pinned,
}

/// A queued step.
struct InFlight {
    transfer: Transfer,
    done: CudaEvent,
    /// The index of each drawing row's draw, in the order of these rows.
    places: Vec<usize>,
}

/// Fails unless rows of bf16 have widths that the kernels support.
fn check_widths(config: &DecoderConfig, precision: Precision) -> Result<()> {
    let widths = [
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
    ];
    let odd = widths
        .iter()
        .find(|(_, width)| !width.is_multiple_of(WIDTH_STEP));
    match (precision, odd) {
        (Precision::Bf16, Some((name, width))) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{name} is {width}: the CUDA kernels for bf16 need a multiple of {WIDTH_STEP} (those \
                 for f32, slow ones, do not)"
            ),
        )),
        _ => Ok(()),
    }
}

/// Rounds a number of rows up to the number that a step is computed with.
fn bucket(rows: usize) -> usize {
    let step = match rows {
        0..=4 => return rows.next_power_of_two(),
        5..=32 => 8,
        33..=128 => 16,
        129..=512 => 32,
        _ => 128,
    };
    rows.next_multiple_of(step)
}

impl Cuda {
    /// Opens the device, uploads the weights and allocates the KV cache.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a shape that the kernels do not support,
    /// [`ErrorKind::Settings`] for a KV cache that is too small, [`ErrorKind::Device`] for a
    /// missing or old driver or too little memory.
    pub(crate) fn new(
        config: &DecoderConfig,
        weights: Weights,
        settings: CudaSettings,
    ) -> Result<Self> {
        let c = config;
        if c.vocab_size > MAX_VOCABULARY {
            let reason = format!(
                "a vocabulary of {}: the CUDA sampler takes up to {MAX_VOCABULARY}",
                c.vocab_size
            );
            return Err(Error::new(ErrorKind::Unsupported, reason));
        }
        let precision = settings.precision;
        check_widths(config, precision)?;
        if settings.slots > MAX_SLOTS {
            let slots = settings.slots;
            let reason =
                format!("slots is {slots}, but the CUDA backend takes at most {MAX_SLOTS}");
            return Err(Error::new(ErrorKind::Settings, reason));
        }
        let device = Device::open(settings.ordinal)?;
        let shape = AttentionShape {
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            window: None,
        };
        let kernels = Kernels::load(&device, precision, shape)?;
        let weights = DeviceWeights::upload(&device, &kernels, config, weights)?;

        let rows = bucket(settings.slots);
        let prefill_rows = PREFILL_ROWS
            .min(c.context_length.next_multiple_of(8) * rows)
            .max(rows);
        let longest = settings.max_new_tokens.min(c.context_length);
        let table_width = longest.div_ceil(PAGE);
        let activations = Activations::new(
            &device,
            config,
            precision.bytes(),
            (rows, prefill_rows),
            max_splits(longest),
        )?;
        let rope = rope_tables(&device, config)?;
        let draws = 2 * rows * size_of::<SampleDraw>();
        let draws = Buffer::new(device.stream(), draws, "the draws of a step")?;
        let tokens = Buffer::new(device.stream(), rows * 4, "the last tokens")?;
        device.clear(tokens.address, tokens.bytes)?;

        let layer_page_bytes = 2 * c.kv_heads * PAGE * c.head_dim * precision.bytes();
        let page_bytes = layer_page_bytes * c.layers;
        let pages = kv_pages(&device, config, &settings, page_bytes)?;
        let kv = Buffer::new(device.stream(), pages * page_bytes, "the KV cache")?;
        let group = shape.group();
        let step = Arrays::new(&device, Layout::new(rows, table_width, group, pages))?;
        let prefill = Layout::new(prefill_rows, 0, group, pages);
        let prefill = Arrays::new(&device, prefill)?;
        tracing::info!(
            device = device.name(),
            weight_bytes = weights.bytes,
            kv_bytes = (pages - 1) * page_bytes,
            pages,
            "CUDA engine",
        );
        Ok(Cuda {
            in_flight: VecDeque::new(),
            graphs: HashMap::new(),
            deterministic: settings.deterministic,
            shape,
            kernels,
            weights,
            pool: Pool::new(pages),
            kv,
            layer_page_bytes,
            step,
            prefill,
            activations,
            rope,
            tokens,
            draws,
            seen: None,
            prefix_logits: PrefixLogits::new(c.vocab_size),
            free_slots: (0..rows).rev().collect(),
            unseen: BTreeSet::new(),
            idle_transfers: Vec::new(),
            idle_staging: Vec::new(),
            bits: weight_bits(c.vocab_size),
            config: config.clone(),
            device,
        })
    }

    /// Bytes of a page in all layers.
    fn page_bytes(&self) -> usize {
        self.layer_page_bytes * self.config.layers
    }

    /// The address of a layer's pages.
    fn layer_pool(&self, layer: usize) -> u64 {
        let pages = self.pool.capacity() + 1;
        self.kv.address + (layer * pages * self.layer_page_bytes) as u64
    }

    fn transfer(&mut self) -> Result<Transfer> {
        if let Some(transfer) = self.idle_transfers.pop() {
            return Ok(transfer);
        }
        Ok(Transfer {
            staging: self.step.staging(&self.device)?,
            draws: self.device.pinned(self.draws.bytes)?,
        })
    }

    /// Describes a sequence's draw from logits at an address.
    fn sample_row(
        &self,
        sequence: SequenceId,
        draw: Option<(Philox, u64)>,
        logits: u64,
    ) -> SampleRow {
        let (Some(known), Some((random, position))) = (self.pool.sequence(sequence), draw) else {
            return SampleRow::NONE;
        };
        let sampling = &known.sampling;
        SampleRow {
            logits,
            key: random.key(),
            position,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            penalty: sampling.repetition_penalty,
            // A value beyond i32 means no limit.
            top_k: sampling
                .top_k
                .and_then(|k| i32::try_from(k).ok())
                .unwrap_or(0),
            slot: known.slot as i32,
            draw: 1,
            padding: 0,
        }
    }

    /// Validates a step's rows before anything changes.
    fn check(&self, rows: &[StepRow]) -> Result<()> {
        let mut named = BTreeSet::new();
        for row in rows {
            let known = self.pool.sequence(row.sequence);
            if known.is_none_or(|known| known.slot == NO_SLOT) {
                return Err(bad_sequence(row.sequence, "is unknown"));
            }
            if !named.insert(row.sequence) {
                return Err(bad_sequence(row.sequence, "is named twice"));
            }
            if let Input::Token(token) = row.input {
                check_token(token, self.config.vocab_size)?;
            }
        }
        if rows.len() > self.step.layout.rows {
            let reason = format!("{} rows, of {}", rows.len(), self.step.layout.rows);
            return Err(Error::new(ErrorKind::Settings, reason));
        }
        Ok(())
    }

    /// Sends the sampler the seen tokens of new sequences, and the tokens fed to the others.
    fn see(&mut self, rows: &[StepRow]) -> Result<()> {
        for row in rows {
            let Some(known) = self.pool.sequence(row.sequence) else {
                continue;
            };
            if known.sampling.repetition_penalty == 1.0 {
                continue;
            }
            let vocabulary = self.config.vocab_size;
            let seen = match &self.seen {
                Some(seen) => seen.address,
                None => {
                    let bytes = self.step.layout.rows * vocabulary.div_ceil(32) * 4;
                    let what = "the tokens that were seen";
                    let buffer = Buffer::new(self.device.stream(), bytes, what)?;
                    // Captured graphs do not use this buffer.
                    self.graphs.clear();
                    self.seen.insert(buffer).address
                }
            };
            let new = self.unseen.remove(&row.sequence);
            let mut list: Vec<u32> = match (new, self.pool.prefix(known.prefix)) {
                (true, Some(prefix)) => prefix.tokens.clone(),
                _ => Vec::new(),
            };
            if let Input::Token(token) = row.input {
                list.push(token);
            }
            if new || !list.is_empty() {
                let buffer = self.device.buffer_of(&list, "the tokens that were seen")?;
                let list = (buffer.address, list.len());
                self.kernels.see(seen, list, known.slot, vocabulary, new)?;
            }
        }
        Ok(())
    }

    /// Describes the rows that feed tokens, and where their draws go. Returns the number of splits.
    fn describe(
        &mut self,
        rows: &[StepRow],
        staging: &mut Staging,
        places: &mut [usize],
    ) -> Result<usize> {
        let mut order: Vec<(PrefixId, usize)> = Vec::with_capacity(rows.len());
        for (row, fed) in rows.iter().enumerate() {
            if let (true, Some(known)) =
                (fed.input != Input::Prefix, self.pool.sequence(fed.sequence))
            {
                order.push((known.prefix, row));
            }
        }
        // Rows that share a prefix must be adjacent.
        order.sort_unstable();
        let logits = self.activations.logits.address;
        let width = 4 * self.config.vocab_size as u64;
        let mut longest = 1;
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let first_row = staging.rows();
            let Some(prefix) = self.pool.prefix(group[0].0) else {
                continue;
            };
            let prefix = (staging.prefix(&prefix.pages), prefix.tokens.len());
            for &(_, row) in group {
                let StepRow {
                    sequence,
                    input,
                    draw,
                } = rows[row];
                let write = self.pool.grow(sequence)?;
                let Some(known) = self.pool.sequence(sequence) else {
                    continue;
                };
                longest = longest.max(known.len);
                let data = RowData {
                    input: match input {
                        Input::Token(token) => token as i32,
                        Input::Drawn | Input::Prefix => -1,
                    },
                    slot: known.slot as i32,
                    position: prefix.1 + known.len - 1,
                    length: known.len,
                    write,
                    pages: &known.pages,
                };
                let place = staging.rows();
                staging.row(&data, prefix);
                let logits = logits + place as u64 * width;
                staging.sample(place, self.sample_row(sequence, draw, logits));
                places[row] = place;
            }
            staging.tiles(prefix, first_row, group.len(), self.shape.group());
        }
        Ok(max_splits(longest))
    }

    /// Queues a step.
    fn queue(&mut self, rows: &[StepRow], transfer: &mut Transfer) -> Result<Vec<usize>> {
        let Transfer { staging, draws } = transfer;
        staging.clear();
        self.see(rows)?;
        let capacity = self.step.layout.rows;
        let mut places = vec![0; rows.len()];
        for (row, place) in rows.iter().zip(&mut places) {
            if row.input == Input::Prefix {
                let prefix = self.pool.sequence(row.sequence).map(|known| known.prefix);
                let prefix = prefix.and_then(|prefix| self.pool.prefix(prefix));
                let logits = prefix.map_or(0, |prefix| prefix.logits);
                let sample = self.sample_row(row.sequence, row.draw, logits);
                *place = capacity + staging.start(sample);
            }
        }
        let splits = self.describe(rows, staging, &mut places)?;
        let fed = staging.rows();
        let padded = match (fed, self.deterministic) {
            (0, _) => 0,
            (_, true) => capacity,
            (fed, false) => bucket(fed).min(capacity),
        };
        for row in fed..padded {
            staging.row(&RowData::padding(SCRATCH_PAGE), (0, 0));
            staging.sample(row, SampleRow::NONE);
        }
        self.step.upload(&self.device, staging)?;
        let size = size_of::<SampleDraw>();
        if staging.starts() > 0 {
            let first = capacity * size;
            let at = self.draws.address + first as u64;
            self.sample((self.step.starts(), staging.starts()), at)?;
            self.device
                .download(draws, first, at, staging.starts() * size)?;
        }
        if fed > 0 {
            self.run_step(padded, splits)?;
            self.device
                .download(draws, 0, self.draws.address, fed * size)?;
        }
        let drawing = rows
            .iter()
            .zip(places)
            .filter(|(row, _)| row.draw.is_some());
        Ok(drawing.map(|(_, place)| place).collect())
    }

    /// Reads a row of logits. Nothing may be in flight.
    fn read_logits(&self, from: u64) -> Result<Vec<f32>> {
        let mut logits = vec![0f32; self.config.vocab_size];
        self.device.read(from, &mut logits)?;
        match logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(logits),
            false => Err(non_finite(self)),
        }
    }

    fn follow_sequence(
        &mut self,
        prefix: PrefixId,
        sequence: SequenceId,
        tokens: &[u32],
        show: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let logits = self.pool.prefix(prefix).map_or(0, |prefix| prefix.logits);
        show(&self.read_logits(logits)?);
        for &token in tokens {
            let row = StepRow {
                sequence,
                input: Input::Token(token),
                draw: None,
            };
            self.issue(&[row])?;
            self.collect()?;
            show(&self.read_logits(self.activations.logits.address)?);
        }
        Ok(())
    }
}

/// The slot of a sequence that got none.
const NO_SLOT: usize = usize::MAX;

/// The number of splits of a suffix of `tokens` tokens.
fn max_splits(tokens: usize) -> usize {
    tokens.div_ceil(SPLIT).next_power_of_two()
}

impl Backend for Cuda {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<PrefixId>> {
        self.device.bind()?;
        for (index, prompt) in prompts.iter().enumerate() {
            let named = |error: Error| error.context(format_args!("prompt {index}"));
            if prompt.is_empty() {
                return Err(named(Error::new(ErrorKind::Data, "it has no tokens")));
            }
            if prompt.len() > self.config.context_length {
                let reason = format!(
                    "{} tokens, but the model's context holds {}",
                    prompt.len(),
                    self.config.context_length
                );
                return Err(named(Error::new(ErrorKind::Data, reason)));
            }
            prompt
                .iter()
                .try_for_each(|&token| check_token(token, self.config.vocab_size))
                .map_err(named)?;
        }
        let mut ids = Vec::with_capacity(prompts.len());
        let mut run = || -> Result<()> {
            for prompt in prompts {
                let logits = self.prefix_logits.take(&self.device)?;
                match self.pool.add_prefix(prompt, logits) {
                    Ok(id) => ids.push(id),
                    Err(error) => {
                        self.prefix_logits.give_back(logits);
                        return Err(error);
                    }
                }
            }
            self.prefill_all(&ids, prompts)
        };
        match run() {
            Ok(()) => Ok(ids),
            Err(error) => {
                ids.into_iter().for_each(|id| self.release_prefix(id));
                Err(error)
            }
        }
    }

    fn fork(&mut self, prefix: PrefixId, sampling: &Sampling) -> SequenceId {
        let slot = self.free_slots.pop().unwrap_or(NO_SLOT);
        let sequence = self.pool.add_sequence(prefix, slot, *sampling);
        if sampling.repetition_penalty != 1.0 {
            self.unseen.insert(sequence);
        }
        sequence
    }

    fn issue(&mut self, rows: &[StepRow]) -> Result<()> {
        self.device.bind()?;
        self.check(rows)?;
        let mut transfer = self.transfer()?;
        let queued = self.queue(rows, &mut transfer);
        match queued.and_then(|places| Ok((places, self.device.record()?))) {
            Ok((places, done)) => {
                self.in_flight.push_back(InFlight {
                    transfer,
                    done,
                    places,
                });
                Ok(())
            }
            Err(error) => {
                // Queued work may still read from it.
                let _ = self.device.synchronize();
                self.idle_transfers.push(transfer);
                Err(error)
            }
        }
    }

    fn collect(&mut self) -> Result<Vec<Drawn>> {
        self.device.bind()?;
        let Some(InFlight {
            transfer,
            done,
            places,
        }) = self.in_flight.pop_front()
        else {
            return Err(Error::new(ErrorKind::Device, "no step is in flight"));
        };
        let waited = done.synchronize().doing("a step failed");
        let draws = transfer.draws.get::<SampleDraw>();
        let drawn = places.iter().map(|&place| {
            let draw = draws[place];
            Drawn {
                token: draw.token,
                logit: draw.logit,
                max: draw.max,
                normaliser: draw.normaliser,
                finite: draw.finite != 0,
            }
        });
        let drawn = drawn.collect();
        self.idle_transfers.push(transfer);
        waited?;
        Ok(drawn)
    }

    fn lag(&self) -> usize {
        LAG
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.unseen.remove(&sequence);
        let slot = self.pool.remove_sequence(sequence);
        self.free_slots.extend(slot.filter(|&slot| slot != NO_SLOT));
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        if let Some((logits, slots)) = self.pool.remove_prefix(prefix) {
            self.prefix_logits.give_back(logits);
            self.free_slots
                .extend(slots.into_iter().filter(|&slot| slot != NO_SLOT));
        }
    }

    fn follow(
        &mut self,
        prompt: &[u32],
        continuation: &[u32],
        show: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        // Feed as many tokens as a sequence has pages for; then they become part of the prompt.
        let most = self.step.layout.table_width * PAGE;
        let mut tokens = prompt.to_vec();
        let mut rest = continuation;
        loop {
            let (now, later) = rest.split_at(rest.len().min(most));
            let prefixes = self.prefill(&[&tokens])?;
            for prefix in prefixes {
                let sequence = self.fork(prefix, &Sampling::default());
                let fed = if later.is_empty() {
                    now
                } else {
                    &now[..now.len() - 1]
                };
                let done = self.follow_sequence(prefix, sequence, fed, show);
                self.release_sequence(sequence);
                self.release_prefix(prefix);
                done?;
            }
            if later.is_empty() {
                return Ok(());
            }
            tokens.extend(now);
            rest = later;
        }
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn kv_capacity(&self) -> Option<usize> {
        Some(self.pool.capacity() * self.page_bytes())
    }

    fn kv_bytes(&self) -> usize {
        self.pool.held() * self.page_bytes()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        self.kv_bytes() + self.pool.pages_to_grow(sequences) * self.page_bytes()
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE) * self.page_bytes()
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE) * self.page_bytes()
    }

    fn weight_bytes(&self) -> usize {
        self.weights.bytes
    }

    fn spent(&self) -> Option<Spent> {
        None
    }

    fn non_finite_weight(&self) -> Option<String> {
        self.device.bind().ok()?;
        let precision = self.kernels.precision();
        self.weights.non_finite(&self.device, precision)
    }
}

impl Drop for Cuda {
    /// Waits for queued work, which reads from memory that is about to be freed.
    fn drop(&mut self) {
        let _ = self.device.bind().and_then(|()| self.device.synchronize());
    }
}
