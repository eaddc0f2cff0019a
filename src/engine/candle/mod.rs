//! The decoder with candle operations, on any device and in any type. It is the reference for
//! faster backends, and the fallback where there is none.
//!
//! Rows are flat: `[tokens, hidden]` with one position per row, from any sequences. Only attention
//! depends on sequences. It is computed in f32.

mod attention;
mod layerwise;
mod linear;
mod operands;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};

use self::attention::{DecodePlan, Group, PrefillPlan};
use self::linear::{Embedding, Projection};
use self::operands::rows_at;
use super::backend::{PrefixId, SequenceId};
use super::decoder::{Decoder, bad_sequence, device_error, rotary_tables};
use super::inspect::{non_finite_weight, stored_bytes};
use super::steps::Spent;
use crate::Result;
use crate::model::{DecoderConfig, LayerWeights, Linear, Weights};
pub(super) use layerwise::layerwise_logits;

/// The number of rows in a prefill chunk. A longer prompt is one chunk.
const PREFILL_ROWS: usize = 2048;

/// The decoder with candle operations. See the [module](self).
pub(super) struct CandleDecoder {
    config: DecoderConfig,
    /// The weights as given, to find the cause of non-finite results.
    weights: Weights,
    device: Device,
    embedding: Embedding,
    layers: Vec<Layer>,
    output_norm: Tensor,
    head: Projection,
    dtype: DType,
    groups: BTreeMap<PrefixId, Group>,
    sequences: BTreeMap<SequenceId, Place>,
    next_id: u64,
}

/// The location of a sequence's suffix.
#[derive(Clone, Copy)]
struct Place {
    prefix: PrefixId,
    slot: usize,
}

struct Layer {
    attention_norm: Tensor,
    qkv: Projection,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    attention_output: Projection,
    ffn_norm: Tensor,
    gate_up: Projection,
    down: Projection,
    window: Option<usize>,
}

/// Q, K and V of rows in f32, with RoPE applied and queries scaled: `[rows, heads, head_dim]`, and
/// twice `[rows, kv_heads, head_dim]`.
struct Qkv {
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
}

/// Cosines and sines of the rows' positions, `[rows, 1, head_dim / 2]` each.
struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    fn new(
        config: &DecoderConfig,
        positions: &[usize],
        device: &Device,
    ) -> candle_core::Result<Self> {
        let (cos, sin) = rotary_tables(config, positions);
        let shape = (positions.len(), 1, config.head_dim / 2);
        let table = |values| Tensor::from_vec(values, shape, device);
        Ok(Rotary {
            cos: table(cos)?,
            sin: table(sin)?,
        })
    }
}

impl Layer {
    fn new(
        weights: &LayerWeights,
        window: Option<usize>,
        dtype: DType,
    ) -> candle_core::Result<Self> {
        let f32_vector = |tensor: &Option<Tensor>| {
            let cast = |tensor: &Tensor| tensor.to_dtype(DType::F32);
            tensor.as_ref().map(cast).transpose()
        };
        let projection =
            |linear: &Linear| Projection::new(&linear.weight, linear.bias.as_ref(), dtype);
        Ok(Layer {
            attention_norm: weights.attention_norm.to_dtype(dtype)?,
            qkv: projection(&weights.qkv)?,
            query_norm: f32_vector(&weights.query_norm)?,
            key_norm: f32_vector(&weights.key_norm)?,
            attention_output: projection(&weights.attention_output)?,
            ffn_norm: weights.ffn_norm.to_dtype(dtype)?,
            gate_up: projection(&weights.gate_up)?,
            down: projection(&weights.down)?,
            window,
        })
    }

    /// Runs rows through the layer. `attend` computes the attention, in the rows' type.
    fn forward(
        &self,
        c: &DecoderConfig,
        x: Tensor,
        rotary: &Rotary,
        attend: impl FnOnce(Qkv) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let normed = candle_nn::ops::rms_norm(&x, &self.attention_norm, c.rms_norm_eps)?;
        let qkv = self.split_heads(c, &self.qkv.forward(&normed)?, rotary)?;
        let x = (x + self.attention_output.forward(&attend(qkv)?)?)?;
        let normed = candle_nn::ops::rms_norm(&x, &self.ffn_norm, c.rms_norm_eps)?;
        let gated = candle_nn::ops::swiglu(&self.gate_up.forward(&normed)?)?;
        x + self.down.forward(&gated)?
    }

    fn split_heads(
        &self,
        c: &DecoderConfig,
        qkv: &Tensor,
        rotary: &Rotary,
    ) -> candle_core::Result<Qkv> {
        let rows = qkv.dim(0)?;
        let qkv =
            qkv.to_dtype(DType::F32)?
                .reshape((rows, c.heads + 2 * c.kv_heads, c.head_dim))?;
        let part = |start, heads| qkv.narrow(1, start, heads)?.contiguous();
        let rotate = |x: &Tensor| {
            let x = x.unsqueeze(2)?;
            candle_nn::rotary_emb::rope(&x, &rotary.cos, &rotary.sin)?.squeeze(2)
        };
        let norm = |x: Tensor, weight: &Option<Tensor>| match weight {
            Some(weight) => candle_nn::ops::rms_norm(&x, weight, c.rms_norm_eps),
            None => Ok(x),
        };
        let queries = norm(part(0, c.heads)?, &self.query_norm)?;
        let keys = norm(part(c.heads, c.kv_heads)?, &self.key_norm)?;
        let scale = 1.0 / (c.head_dim as f64).sqrt();
        Ok(Qkv {
            queries: rotate(&queries)?.affine(scale, 0.0)?,
            keys: rotate(&keys)?,
            values: part(c.heads + c.kv_heads, c.kv_heads)?,
        })
    }
}

impl CandleDecoder {
    /// Converts the weights to `dtype` on the device. Weights that have this type already are not
    /// copied.
    pub(super) fn new(
        config: &DecoderConfig,
        weights: Weights,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        Self::build(config, weights, device, dtype).map_err(device_error)
    }

    fn build(
        config: &DecoderConfig,
        weights: Weights,
        device: &Device,
        dtype: DType,
    ) -> candle_core::Result<Self> {
        let layers = weights.layers.iter().zip(&config.sliding_windows);
        let layers = layers
            .map(|(layer, &window)| Layer::new(layer, window, dtype))
            .collect::<candle_core::Result<Vec<_>>>()?;
        Ok(CandleDecoder {
            embedding: Embedding::new(&weights.embedding, dtype)?,
            layers,
            output_norm: weights.output_norm.to_dtype(dtype)?,
            head: Projection::new(&weights.head, None, dtype)?,
            config: config.clone(),
            weights,
            device: device.clone(),
            dtype,
            groups: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next_id: 0,
        })
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Runs rows through all layers. `attend` computes the attention of a layer (by index) from the
    /// rows' Q, K and V: `[rows, heads · head_dim]`, f32.
    fn forward(
        &self,
        tokens: Vec<u32>,
        positions: &[usize],
        mut attend: impl FnMut(usize, Qkv) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let rotary = Rotary::new(&self.config, positions, &self.device)?;
        let tokens = Tensor::new(tokens, &self.device)?;
        let mut x = self.embedding.rows(&tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let attend = |qkv| attend(index, qkv)?.to_dtype(self.dtype);
            x = layer.forward(&self.config, x, &rotary, attend)?;
        }
        Ok(x)
    }

    /// Computes the logits `[rows, vocab]` of rows of the last layer's output, on the host.
    fn logits(&self, x: &Tensor) -> candle_core::Result<Vec<f32>> {
        let x = x.contiguous()?;
        let x = candle_nn::ops::rms_norm(&x, &self.output_norm, self.config.rms_norm_eps)?;
        let logits = self.head.forward(&x)?.to_dtype(DType::F32)?;
        logits.flatten_all()?.to_vec1()
    }

    fn prefill_packed(
        &mut self,
        prompts: &[&[u32]],
    ) -> candle_core::Result<Vec<(Group, Vec<f32>)>> {
        let plans = PrefillPlan::new(&self.config, prompts, &self.device)?;
        let positions: Vec<usize> = prompts.iter().flat_map(|p| 0..p.len()).collect();
        let mut groups: Vec<Group> = prompts.iter().map(|p| Group::new(p.len())).collect();
        let x = self.forward(prompts.concat(), &positions, |layer, qkv| {
            plans.attend(&mut groups, self.layers[layer].window, &qkv)
        })?;
        let last: Vec<u32> = prompts
            .iter()
            .scan(0, |end, prompt| {
                *end += prompt.len() as u32;
                Some(*end - 1)
            })
            .collect();
        let last = Tensor::from_vec(last, prompts.len(), &self.device)?;
        let logits = self.logits(&rows_at(&x, &last)?)?;
        let rows = logits.chunks_exact(self.config.vocab_size);
        Ok(groups.into_iter().zip(rows.map(<[f32]>::to_vec)).collect())
    }
}

impl Decoder for CandleDecoder {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>> {
        let mut computed = Vec::with_capacity(prompts.len());
        let mut rest = prompts;
        while !rest.is_empty() {
            let mut rows = 0;
            let count = rest
                .iter()
                .take_while(|prompt| {
                    rows += prompt.len();
                    rows <= PREFILL_ROWS
                })
                .count()
                .max(1);
            let (now, later) = rest.split_at(count);
            computed.extend(self.prefill_packed(now).map_err(device_error)?);
            rest = later;
        }
        Ok(computed
            .into_iter()
            .map(|(group, logits)| {
                let id = PrefixId(self.next_id());
                self.groups.insert(id, group);
                (id, logits)
            })
            .collect())
    }

    fn fork(&mut self, prefix: PrefixId) -> SequenceId {
        let id = SequenceId(self.next_id());
        if let Some(group) = self.groups.get_mut(&prefix) {
            let slot = group.occupy();
            self.sequences.insert(id, Place { prefix, slot });
        }
        id
    }

    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        if rows.is_empty() {
            return Ok(());
        }
        // Rows of a group must be adjacent, in the order of its slots.
        let mut order = Vec::with_capacity(rows.len());
        for (row, &(sequence, token)) in rows.iter().enumerate() {
            let place = self
                .sequences
                .get(&sequence)
                .ok_or_else(|| bad_sequence(sequence, "is unknown"))?;
            order.push((place.prefix, place.slot, row, token));
        }
        order.sort_unstable();
        for pair in order.windows(2) {
            if (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1) {
                return Err(bad_sequence(rows[pair[1].2].0, "is named twice"));
            }
        }
        let tokens = order.iter().map(|&(.., token)| token).collect();
        let mut fed: Vec<(PrefixId, Vec<usize>)> = Vec::new();
        for &(prefix, slot, ..) in &order {
            match fed.last_mut() {
                Some((last, slots)) if *last == prefix => slots.push(slot),
                _ => fed.push((prefix, vec![slot])),
            }
        }
        let mut groups: Vec<(Group, Vec<usize>, PrefixId)> = Vec::with_capacity(fed.len());
        for (prefix, slots) in fed {
            if let Some(group) = self.groups.remove(&prefix) {
                groups.push((group, slots, prefix));
            }
        }
        let computed = self.decode_groups(tokens, &mut groups);
        for (group, _, prefix) in groups {
            self.groups.insert(prefix, group);
        }
        let computed = computed.map_err(device_error)?;
        let vocab = self.config.vocab_size;
        logits.resize(computed.len(), 0.0);
        for (&(_, _, row, _), computed) in order.iter().zip(computed.chunks_exact(vocab)) {
            logits[row * vocab..][..vocab].copy_from_slice(computed);
        }
        Ok(())
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        if let Some(place) = self.sequences.remove(&sequence)
            && let Some(group) = self.groups.get_mut(&place.prefix)
        {
            group.vacate(place.slot);
        }
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        self.groups.remove(&prefix);
        self.sequences.retain(|_, place| place.prefix != prefix);
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn kv_bytes(&self) -> usize {
        self.groups.values().map(Group::bytes).sum()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        let known = sequences.iter().filter_map(|id| self.sequences.get(id));
        let fed: BTreeSet<PrefixId> = known.map(|place| place.prefix).collect();
        let bytes = |(id, group): (&PrefixId, &Group)| match fed.contains(id) {
            true => group.bytes_after(&self.config),
            false => group.bytes(),
        };
        self.groups.iter().map(bytes).sum()
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        Group::bytes_of(&self.config, tokens)
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        Group::suffix_bytes(&self.config, tokens)
    }

    /// Counts the weights as given. A converted weight is held twice, but counted once.
    fn weight_bytes(&self) -> usize {
        stored_bytes(&self.weights)
    }

    /// Unknown: most devices only queue work when it is requested.
    fn spent(&self) -> Option<Spent> {
        None
    }

    fn non_finite_weight(&self) -> Option<String> {
        non_finite_weight(&self.weights)
    }
}

impl CandleDecoder {
    /// Feeds a token to the given slots of each group. Returns logits in the order of groups and
    /// slots.
    fn decode_groups(
        &self,
        tokens: Vec<u32>,
        groups: &mut [(Group, Vec<usize>, PrefixId)],
    ) -> candle_core::Result<Vec<f32>> {
        let mut plans = Vec::with_capacity(groups.len());
        let mut positions = Vec::with_capacity(tokens.len());
        for (group, slots, _) in groups.iter_mut() {
            positions.extend(slots.iter().map(|&slot| group.position(slot)));
            plans.push(DecodePlan::new(&self.config, group, slots, &self.device)?);
        }
        let x = self.forward(tokens, &positions, |layer, qkv| {
            let mut start = 0;
            let mut outputs = Vec::with_capacity(plans.len());
            for ((group, slots, _), plan) in groups.iter_mut().zip(&plans) {
                let part = |x: &Tensor| x.narrow(0, start, slots.len());
                let qkv = Qkv {
                    queries: part(&qkv.queries)?,
                    keys: part(&qkv.keys)?,
                    values: part(&qkv.values)?,
                };
                outputs.push(plan.attend(group, layer, self.layers[layer].window, &qkv)?);
                start += slots.len();
            }
            Tensor::cat(&outputs, 0)
        })?;
        for (group, slots, _) in groups.iter_mut() {
            group.advance(slots);
        }
        self.logits(&x)
    }
}

#[cfg(test)]
mod tests;
