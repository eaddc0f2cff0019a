//! Attention with candle operations, in f32: causal over packed prompts, and of single tokens over
//! a shared prefix and each sequence's own suffix.
//!
//! The sequences of a prompt form a group. Their suffixes are in one padded tensor per layer,
//! `[kv_heads, slots, capacity, head_dim]`, so that a group's attention is a few batched GEMMs.
//! Positions beyond a sequence's length, and slots that feed no token, are masked. A masked score
//! is so low that its weight is exactly 0.
//!
//! Candle's fused attention for Metal (`candle_nn::ops::sdpa`) cannot be used. It does not return
//! the log-sum-exp, without which attention over prefix and suffix cannot be merged, and it ignores
//! the mask for a single query, which is the decode case.

use candle_core::{DType, Device, Result, Tensor};

use super::Qkv;
use super::operands::{product, rows_at};
use crate::model::DecoderConfig;

/// The suffix capacity grows by this many positions.
const GROWTH: usize = 64;
/// The number of queries of a prompt per chunk, which bounds the memory of the scores.
const QUERY_CHUNK: usize = 256;

/// The KV cache of a prompt and of the sequences that continue it.
pub(super) struct Group {
    prefix_len: usize,
    /// Per layer, K and V `[kv_heads, prefix_len, head_dim]`.
    prefix: Vec<(Tensor, Tensor)>,
    /// Per layer, K and V `[kv_heads, slots, capacity, head_dim]`; empty before the first
    /// token.
    suffix: Vec<(Tensor, Tensor)>,
    /// The suffix length of each slot; `None` if the slot is free.
    lengths: Vec<Option<usize>>,
}

impl Group {
    pub(super) fn new(prefix_len: usize) -> Self {
        Group {
            prefix_len,
            prefix: Vec::new(),
            suffix: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// Occupies a slot, with an empty suffix.
    pub(super) fn occupy(&mut self) -> usize {
        let free = self.lengths.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.lengths.push(None);
            self.lengths.len() - 1
        });
        self.lengths[slot] = Some(0);
        slot
    }

    /// Frees a slot, and all suffix memory with the last one.
    pub(super) fn vacate(&mut self, slot: usize) {
        self.lengths[slot] = None;
        while self.lengths.last() == Some(&None) {
            self.lengths.pop();
        }
        if self.lengths.is_empty() {
            self.suffix.clear();
        }
    }

    /// The position of a slot's next token.
    pub(super) fn position(&self, slot: usize) -> usize {
        self.prefix_len + self.lengths[slot].unwrap_or(0)
    }

    /// Counts a token fed to each of these slots.
    pub(super) fn advance(&mut self, slots: &[usize]) {
        for &slot in slots {
            if let Some(length) = &mut self.lengths[slot] {
                *length += 1;
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.prefix
            .iter()
            .chain(&self.suffix)
            .map(|(keys, values)| 4 * (keys.elem_count() + values.elem_count()))
            .sum()
    }

    /// Bytes of the KV cache of `positions` positions in all layers.
    pub(super) fn bytes_of(config: &DecoderConfig, positions: usize) -> usize {
        2 * config.layers * config.kv_heads * config.head_dim * positions * size_of::<f32>()
    }

    /// Bytes of a single suffix of `tokens` tokens.
    pub(super) fn suffix_bytes(config: &DecoderConfig, tokens: usize) -> usize {
        Self::bytes_of(config, tokens.next_multiple_of(GROWTH))
    }

    /// Bytes that the group will hold after it is fed a token.
    pub(super) fn bytes_after(&self, config: &DecoderConfig) -> usize {
        let held = match self.suffix.first().map(|(keys, _)| keys.dims()) {
            Some(&[_, slots, capacity, _]) => (slots, capacity),
            _ => (0, 0),
        };
        let (slots, capacity) = self.reserved(held);
        Self::bytes_of(config, self.prefix_len + slots * capacity)
    }

    /// The slots and capacity that hold every sequence and one more token of each, given the
    /// current ones.
    fn reserved(&self, (old_slots, old_capacity): (usize, usize)) -> (usize, usize) {
        let needed = 1 + self.lengths.iter().flatten().max().unwrap_or(&0);
        let slots = self.lengths.len();
        // Shrink only if it is worth the copy.
        let shrink = 2 * slots <= old_slots;
        (
            if shrink { slots } else { slots.max(old_slots) },
            old_capacity.max(needed.next_multiple_of(GROWTH)),
        )
    }

    /// Resizes the suffix tensors for every slot and one more token of each.
    fn reserve(&mut self, config: &DecoderConfig, device: &Device) -> Result<(usize, usize)> {
        if self.suffix.is_empty() {
            let (slots, capacity) = self.reserved((0, 0));
            let shape = (config.kv_heads, slots, capacity, config.head_dim);
            let zeros = || Tensor::zeros(shape, DType::F32, device);
            self.suffix = (0..config.layers)
                .map(|_| Ok((zeros()?, zeros()?)))
                .collect::<Result<_>>()?;
        }
        let (_, old_slots, old_capacity, _) = self.suffix[0].0.dims4()?;
        let (slots, capacity) = self.reserved((old_slots, old_capacity));
        if (slots, capacity) != (old_slots, old_capacity) {
            let resize = |tensor: &Tensor| -> Result<Tensor> {
                let tensor = if slots < old_slots {
                    tensor.narrow(1, 0, slots)?
                } else {
                    tensor.pad_with_zeros(1, 0, slots - old_slots)?
                };
                tensor
                    .pad_with_zeros(2, 0, capacity - old_capacity)?
                    .contiguous()
            };
            for (keys, values) in &mut self.suffix {
                *keys = resize(keys)?;
                *values = resize(values)?;
            }
        }
        Ok((slots, capacity))
    }
}

/// State that the layers of a prefill share.
pub(super) struct PrefillPlan {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    lengths: Vec<usize>,
    /// Additive masks `[queries, keys]` per window, for the chunks of the longest prompt.
    masks: Vec<(Option<usize>, Vec<Tensor>)>,
}

impl PrefillPlan {
    pub(super) fn new(config: &DecoderConfig, prompts: &[&[u32]], device: &Device) -> Result<Self> {
        let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let masks = distinct_windows(config)
            .into_iter()
            .map(|window| {
                let chunks = (0..longest).step_by(QUERY_CHUNK).map(|start| {
                    let end = longest.min(start + QUERY_CHUNK);
                    let mask = (start..end)
                        .flat_map(|q| (0..end).map(move |k| masked(k <= q && within(window, q, k))))
                        .collect::<Vec<f32>>();
                    Tensor::from_vec(mask, (end - start, end), device)
                });
                Ok((window, chunks.collect::<Result<Vec<_>>>()?))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(PrefillPlan {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            lengths,
            masks,
        })
    }

    /// Computes one layer's attention over the packed prompts and adds K and V to the
    /// groups. Returns `[rows, heads · head_dim]`.
    pub(super) fn attend(
        &self,
        groups: &mut [Group],
        window: Option<usize>,
        qkv: &Qkv,
    ) -> Result<Tensor> {
        let mut outputs = Vec::new();
        let mut start = 0;
        for (group, &length) in groups.iter_mut().zip(&self.lengths) {
            let heads_first =
                |x: &Tensor| x.narrow(0, start, length)?.transpose(0, 1)?.contiguous();
            let (keys, values) = (heads_first(&qkv.keys)?, heads_first(&qkv.values)?);
            for chunk in 0..length.div_ceil(QUERY_CHUNK) {
                let first = chunk * QUERY_CHUNK;
                let queries = QUERY_CHUNK.min(length - first);
                let queries = qkv.queries.narrow(0, start + first, queries)?;
                outputs.push(self.attend_chunk(&queries, &keys, &values, chunk, window)?);
            }
            group.prefix.push((keys, values));
            start += length;
        }
        Tensor::cat(&outputs, 0)
    }

    fn attend_chunk(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        chunk: usize,
        window: Option<usize>,
    ) -> Result<Tensor> {
        let (kv_heads, head_dim) = (self.kv_heads, self.head_dim);
        let shared = self.heads / kv_heads;
        let count = queries.dim(0)?;
        let end = chunk * QUERY_CHUNK + count;
        let queries = queries
            .reshape((count, kv_heads, shared, head_dim))?
            .permute((1, 2, 0, 3))?
            .reshape((kv_heads, shared * count, head_dim))?;
        let keys = keys.narrow(1, 0, end)?;
        let values = values.narrow(1, 0, end)?;
        let scores = product(&queries, &keys.transpose(1, 2)?)?;
        let scores = scores.reshape((kv_heads * shared, count, end))?;
        let mask = mask_of(&self.masks, window)
            .and_then(|chunks| chunks.get(chunk))
            .ok_or_else(|| candle_core::Error::msg("no mask for this window"))?;
        let mask = mask.narrow(0, 0, count)?.narrow(1, 0, end)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores.broadcast_add(&mask)?)?;
        let weights = weights.reshape((kv_heads, shared * count, end))?;
        product(&weights, &values)?
            .reshape((kv_heads, shared, count, head_dim))?
            .permute((2, 0, 1, 3))?
            .reshape((count, self.heads * head_dim))
    }
}

/// State that the layers of a decoding step share, for one group.
pub(super) struct DecodePlan {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    slots: usize,
    capacity: usize,
    /// For each slot, the group's row that feeds it (any row if none does), and for each row its
    /// slot. `None` if both are the identity.
    maps: Option<(Tensor, Tensor)>,
    /// The position of each slot's new key and value: `[kv_heads, slots, 1, head_dim]`.
    write: Tensor,
    /// Additive masks `[1, slots, 1, prefix + capacity]` per window.
    masks: Vec<(Option<usize>, Tensor)>,
}

impl DecodePlan {
    /// Plans one token for each of `fed`, ascending slots of the group.
    pub(super) fn new(
        config: &DecoderConfig,
        group: &mut Group,
        fed: &[usize],
        device: &Device,
    ) -> Result<Self> {
        let (slots, capacity) = group.reserve(config, device)?;
        let identity = fed.len() == slots;
        let maps = if identity {
            None
        } else {
            let mut rows = vec![0u32; slots];
            for (row, &slot) in fed.iter().enumerate() {
                rows[slot] = row as u32;
            }
            let fed = fed.iter().map(|&slot| slot as u32).collect::<Vec<_>>();
            let count = fed.len();
            Some((
                Tensor::from_vec(rows, slots, device)?,
                Tensor::from_vec(fed, count, device)?,
            ))
        };
        // A slot that feeds no token writes where its next token will overwrite it.
        let length = |slot: usize| group.lengths.get(slot).copied().flatten().unwrap_or(0);
        let write = (0..slots).map(|slot| length(slot) as u32).collect();
        let write = Tensor::from_vec(write, (1, slots, 1, 1), device)?
            .broadcast_as((config.kv_heads, slots, 1, config.head_dim))?
            .contiguous()?;
        let prefix = group.prefix_len;
        let masks = distinct_windows(config)
            .into_iter()
            .map(|window| {
                let mask = (0..slots)
                    .flat_map(|slot| {
                        let query = prefix + length(slot);
                        (0..prefix + capacity)
                            .map(move |key| masked(key <= query && within(window, query, key)))
                    })
                    .collect::<Vec<f32>>();
                let mask = Tensor::from_vec(mask, (1, slots, 1, prefix + capacity), device)?;
                Ok((window, mask))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(DecodePlan {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            slots,
            capacity,
            maps,
            write,
            masks,
        })
    }

    /// Computes one layer's attention: writes the rows' K and V to the group's suffixes and
    /// returns `[rows, heads · head_dim]`.
    pub(super) fn attend(
        &self,
        group: &mut Group,
        layer: usize,
        window: Option<usize>,
        qkv: &Qkv,
    ) -> Result<Tensor> {
        let (kv_heads, head_dim, slots) = (self.kv_heads, self.head_dim, self.slots);
        let shared = self.heads / kv_heads;
        let prefix = group.prefix_len;
        let by_slot = |x: &Tensor| match &self.maps {
            Some((rows, _)) => rows_at(x, rows),
            None => Ok(x.clone()),
        };
        let (keys, values) = &group.suffix[layer];
        for (cache, new) in [(keys, &qkv.keys), (values, &qkv.values)] {
            let new = by_slot(new)?.transpose(0, 1)?.contiguous()?;
            cache.scatter_set(&self.write, &new.unsqueeze(2)?, 2)?;
        }
        let queries = by_slot(&qkv.queries)?
            .reshape((slots, kv_heads, shared, head_dim))?
            .transpose(0, 1)?
            .reshape((kv_heads, slots, shared, head_dim))?;
        let together = |x: &Tensor, width| x.reshape((kv_heads, slots * shared, width));
        let apart = |x: Tensor, width| x.reshape((kv_heads, slots, shared, width));

        let (prefix_keys, prefix_values) = &group.prefix[layer];
        let over_prefix = together(&queries, head_dim)?;
        let over_prefix = product(&over_prefix, &prefix_keys.transpose(1, 2)?)?;
        let over_suffix = product(&queries, &keys.transpose(2, 3)?)?;
        let scores = Tensor::cat(&[apart(over_prefix, prefix)?, over_suffix], 3)?;
        let mask = mask_of(&self.masks, window)
            .ok_or_else(|| candle_core::Error::msg("no mask for this window"))?;
        let weights = candle_nn::ops::softmax_last_dim(&scores.broadcast_add(mask)?)?;
        let over_prefix = weights.narrow(3, 0, prefix)?.contiguous()?;
        let over_suffix = weights.narrow(3, prefix, self.capacity)?.contiguous()?;
        let over_prefix = product(&together(&over_prefix, prefix)?, prefix_values)?;
        let over_suffix = product(&over_suffix, values)?;
        let output = (apart(over_prefix, head_dim)? + over_suffix)?
            .transpose(0, 1)?
            .reshape((slots, self.heads * head_dim))?;
        match &self.maps {
            Some((_, fed)) => rows_at(&output, fed),
            None => Ok(output),
        }
    }
}

fn mask_of<T>(masks: &[(Option<usize>, T)], window: Option<usize>) -> Option<&T> {
    masks
        .iter()
        .find(|(other, _)| *other == window)
        .map(|(_, mask)| mask)
}

fn distinct_windows(config: &DecoderConfig) -> Vec<Option<usize>> {
    let mut windows = config.sliding_windows.clone();
    windows.sort_unstable();
    windows.dedup();
    windows
}

/// Whether a key is in the query's sliding window.
fn within(window: Option<usize>, query: usize, key: usize) -> bool {
    window.is_none_or(|window| query < key + window)
}

/// The additive mask. It is finite, because candle compiles Metal kernels with fast math, which may
/// not respect infinities.
fn masked(visible: bool) -> f32 {
    if visible { 0.0 } else { -1e30 }
}
