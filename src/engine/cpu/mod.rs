//! The decoder on the crate's own CPU kernels. Weights are packed once and quantized weights stay
//! in blocks. Arithmetic is f32, or int8 if requested. Rows are computed independently of one
//! another.
//!
//! The logits of a sequence are a bit-exact function of its tokens. Every sum has a fixed order
//! that does not depend on the batch, on the number of threads, or on where the prompt ends and the
//! sequence's own tokens begin.

mod aligned;
mod attention;
mod blocks;
mod cache;
mod dot4;
mod formats;
mod gemm;
mod int8_gemm;
mod lanes;
mod matrix;
mod parallel;
mod peak;
mod q8_activations;
mod rows;
mod simd;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use self::attention::{Attention, BufferPool, Place, pieces};
use self::cache::{KvShape, PAGE, Prefix, Suffix};
use self::matrix::{Packed, Projection, vector};
pub use self::peak::fma_peak;
use self::q8_activations::Q8Activations;
use self::rows::{add, add_rms_norm, rms_norm, rms_norm_in_place, rotate, swiglu};
pub(super) use self::simd::Level;
use super::backend::{PrefixId, SequenceId};
use super::decoder::{Decoder, bad_sequence, check_named_once, device_error, rotary_tables};
use super::inspect::{PROJECTIONS, is_finite, is_tied};
use super::kernel_settings::{ActivationType, KernelSettings};
use super::steps::Spent;
use crate::model::{DecoderConfig, Matrix, Weights};
use crate::{Error, ErrorKind, Result};

/// The number of rows per prefill chunk: large enough that weights are rarely read from memory,
/// small enough that activations stay in cache.
const PREFILL_ROWS: usize = 256;

/// The decoder on a CPU. See the [module](self).
pub(super) struct Cpu {
    config: DecoderConfig,
    shape: KvShape,
    level: Level,
    embedding: Embedding,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    head: Packed,
    prefixes: BTreeMap<PrefixId, Prefix>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next_id: u64,
    workspace: Workspace,
}

enum Embedding {
    /// Tied: the rows of the output head.
    Head,
    /// `[vocab, hidden]`, shared with its loader.
    Table(Tensor),
    /// `[vocab, hidden]`, quantized.
    Packed(Packed),
}

struct Layer {
    attention_norm: Vec<f32>,
    qkv: Projection,
    query_norm: Option<Vec<f32>>,
    key_norm: Option<Vec<f32>>,
    attention_output: Projection,
    ffn_norm: Vec<f32>,
    gate_up: Projection,
    down: Projection,
    window: Option<usize>,
}

struct Sequence {
    prefix: PrefixId,
    suffix: Suffix,
}

/// Activations of the rows in flight, reused from step to step.
#[derive(Default)]
struct Workspace {
    /// The residual stream, `[rows, hidden]`.
    x: Vec<f32>,
    /// Normalized rows, `[rows, hidden]`.
    normed: Vec<f32>,
    /// `[rows, (heads + 2 · kv_heads) · head_dim]`.
    qkv: Vec<f32>,
    /// `[rows, heads · head_dim]`.
    attended: Vec<f32>,
    /// A layer's contribution to the residual stream, `[rows, hidden]`.
    update: Vec<f32>,
    /// `[rows, 2 · intermediate]`.
    gate_up: Vec<f32>,
    /// `[rows, intermediate]`.
    gated: Vec<f32>,
    /// The quantized rows of a product, if activations are quantized.
    q8: Option<Q8Activations>,
    buffers: BufferPool,
    /// Time spent so far.
    spent: Spent,
}

/// Runs `work` and adds its duration to `total`.
fn timed(total: &mut Duration, work: impl FnOnce()) {
    let clock = Instant::now();
    work();
    *total += clock.elapsed();
}

/// A row in flight: the index of its owner and its position in the sequence.
#[derive(Clone, Copy)]
struct Row {
    owner: usize,
    position: usize,
}

/// The KV cache of the rows in flight.
enum Cache<'a> {
    /// The rows belong to prompts that are being prefilled.
    Prompts(&'a mut [Prefix]),
    /// The rows belong to sequences.
    Sequences {
        prefixes: &'a [&'a Prefix],
        suffixes: &'a mut [Suffix],
    },
}

impl Cache<'_> {
    /// Applies RoPE to the queries and keys of all rows with `apply_rope`, and writes the KV cache.
    /// The `stride` numbers of a row are `queries` numbers of queries, then keys, then values.
    fn write_kv(
        &mut self,
        (shape, layer): (KvShape, usize),
        rows: &[Row],
        (qkv, stride): (&mut [f32], usize),
        queries: usize,
        apply_rope: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        let split = |qkv: &[f32]| -> (Range<usize>, Range<usize>) {
            let values = (queries + qkv.len()) / 2;
            (queries..values, values..qkv.len())
        };
        match self {
            Cache::Prompts(prompts) => {
                parallel::for_each_chunk(qkv, stride, apply_rope);
                for (row, qkv) in rows.iter().zip(qkv.chunks_exact(stride)) {
                    let (keys, values) = split(qkv);
                    let segment = &mut prompts[row.owner].segment;
                    segment.write(shape, layer, row.position, &qkv[keys], &qkv[values]);
                }
            }
            // One row per sequence, in the same order: the thread that applies RoPE to a row also
            // writes it. Writing dominates, because a key is scattered over as many cache lines as
            // it has numbers.
            Cache::Sequences { prefixes, suffixes } => {
                parallel::for_each_pair(suffixes, 1, qkv, stride, |index, suffix, qkv| {
                    apply_rope(index, qkv);
                    let (keys, values) = split(qkv);
                    let position = rows[index].position - prefixes[index].len;
                    suffix[0].write(shape, layer, position, &qkv[keys], &qkv[values]);
                });
            }
        }
    }

    fn place(&self, row: Row) -> Place<'_> {
        match self {
            Cache::Prompts(prompts) => Place {
                prefix: &prompts[row.owner],
                suffix: None,
                position: row.position,
            },
            Cache::Sequences { prefixes, suffixes } => Place {
                prefix: prefixes[row.owner],
                suffix: Some(&suffixes[row.owner]),
                position: row.position,
            },
        }
    }
}

impl Cpu {
    /// Packs the weights and frees each one once it is packed. A dense embedding that is not tied
    /// to the output head is kept as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for instructions that the processor lacks; otherwise errors of
    /// reading the weights.
    pub(super) fn new(
        config: &DecoderConfig,
        weights: Weights,
        kernels: KernelSettings,
    ) -> Result<Self> {
        let KernelSettings {
            kv_type,
            activation_type,
            instructions,
        } = kernels;
        let level = Level::of(instructions).ok_or_else(|| {
            let reason = format!("this processor has no {instructions} instructions");
            Error::new(ErrorKind::Settings, reason)
        })?;
        let tied = is_tied(&weights);
        let layers = weights
            .layers
            .into_iter()
            .zip(&config.sliding_windows)
            .map(|(layer, &window)| {
                Ok(Layer {
                    attention_norm: vector(&layer.attention_norm)?,
                    qkv: Projection::new(layer.qkv)?,
                    query_norm: layer.query_norm.as_ref().map(vector).transpose()?,
                    key_norm: layer.key_norm.as_ref().map(vector).transpose()?,
                    attention_output: Projection::new(layer.attention_output)?,
                    ffn_norm: vector(&layer.ffn_norm)?,
                    gate_up: Projection::new(layer.gate_up)?,
                    down: Projection::new(layer.down)?,
                    window,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let embedding = match weights.embedding {
            _ if tied => Embedding::Head,
            Matrix::Dense(embedding) => Embedding::Table(embedding),
            embedding => Embedding::Packed(Packed::new(embedding)?),
        };
        Ok(Cpu {
            config: config.clone(),
            shape: KvShape::new(config, kv_type),
            level,
            embedding,
            layers,
            output_norm: vector(&weights.output_norm)?,
            head: Packed::new(weights.head)?,
            prefixes: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next_id: 0,
            workspace: Workspace {
                q8: (activation_type == ActivationType::Int8).then(Q8Activations::default),
                ..Workspace::default()
            },
        })
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn embed(&self, tokens: &[u32], x: &mut Vec<f32>) -> Result<()> {
        let hidden = self.config.hidden_size;
        x.resize(tokens.len() * hidden, 0.0);
        let copy = |table: &Packed, x: &mut [f32]| {
            for (&token, row) in tokens.iter().zip(x.chunks_exact_mut(hidden)) {
                table.row(self.level, token as usize, row);
            }
        };
        match &self.embedding {
            Embedding::Head => copy(&self.head, x),
            Embedding::Packed(table) => copy(table, x),
            Embedding::Table(table) => {
                let select = || -> candle_core::Result<Vec<f32>> {
                    let tokens = Tensor::new(tokens, &Device::Cpu)?;
                    let rows = table.index_select(&tokens, 0)?.to_dtype(DType::F32)?;
                    rows.flatten_all()?.to_vec1()
                };
                x.copy_from_slice(&select().map_err(device_error)?);
            }
        }
        Ok(())
    }

    /// Runs rows through all layers. The residual stream is left in `workspace.x`.
    fn forward(
        &self,
        tokens: &[u32],
        rows: &[Row],
        cache: &mut Cache<'_>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let (c, level, count) = (&self.config, self.level, rows.len());
        let hidden = c.hidden_size;
        let Workspace {
            x,
            normed,
            qkv,
            attended,
            update,
            gate_up,
            gated,
            q8,
            buffers,
            spent,
        } = workspace;
        self.embed(tokens, x)?;
        normed.resize(count * hidden, 0.0);
        attended.resize(count * c.heads * c.head_dim, 0.0);
        update.resize(count * hidden, 0.0);
        gate_up.resize(count * 2 * c.intermediate_size, 0.0);
        gated.resize(count * c.intermediate_size, 0.0);
        let queries = c.heads * c.head_dim;
        let keys = c.kv_heads * c.head_dim;
        let stride = queries + 2 * keys;
        qkv.resize(count * stride, 0.0);
        let positions: Vec<usize> = rows.iter().map(|row| row.position).collect();
        let (cos, sin) = rotary_tables(c, &positions);
        let pieces = {
            let places: Vec<Place<'_>> = rows.iter().map(|&row| cache.place(row)).collect();
            pieces(&places, c.heads, c.kv_heads)
        };
        for (index, layer) in self.layers.iter().enumerate() {
            match index {
                0 => self.norm(x, &layer.attention_norm, normed),
                _ => self.add_norm(x, update, &layer.attention_norm, normed),
            }
            timed(&mut spent.linear, || {
                layer.qkv.forward(level, normed, q8.as_mut(), qkv)
            });
            let apply_rope = |row: usize, qkv: &mut [f32]| {
                let angles = c.head_dim / 2;
                let angles = row * angles..(row + 1) * angles;
                let (queries, keys) = qkv[..queries + keys].split_at_mut(queries);
                for (heads, norm) in [(queries, &layer.query_norm), (keys, &layer.key_norm)] {
                    for head in heads.chunks_exact_mut(c.head_dim) {
                        if let Some(norm) = norm {
                            rms_norm_in_place(level, head, norm, c.rms_norm_eps);
                        }
                        rotate(level, head, &cos[angles.clone()], &sin[angles.clone()]);
                    }
                }
            };
            cache.write_kv(
                (self.shape, index),
                rows,
                (qkv, stride),
                queries,
                apply_rope,
            );
            let places: Vec<Place<'_>> = rows.iter().map(|&row| cache.place(row)).collect();
            let attention = Attention {
                level,
                shape: self.shape,
                heads: c.heads,
                layer: index,
                window: layer.window,
                queries: qkv,
                stride,
            };
            timed(&mut spent.attention, || {
                attention.forward(&places, &pieces, buffers, attended);
            });
            timed(&mut spent.linear, || {
                let q8 = q8.as_mut();
                layer.attention_output.forward(level, attended, q8, update);
            });
            self.add_norm(x, update, &layer.ffn_norm, normed);
            timed(&mut spent.linear, || {
                layer.gate_up.forward(level, normed, q8.as_mut(), gate_up);
            });
            let width = c.intermediate_size;
            parallel::for_each_chunk(gated, width, |row, gated| {
                let gate_up = &gate_up[row * 2 * width..][..2 * width];
                swiglu(level, &gate_up[..width], &gate_up[width..], gated);
            });
            timed(&mut spent.linear, || {
                layer.down.forward(level, gated, q8.as_mut(), update)
            });
        }
        self.add(x, update);
        Ok(())
    }

    fn norm(&self, x: &[f32], weight: &[f32], normed: &mut [f32]) {
        let hidden = self.config.hidden_size;
        parallel::for_each_chunk(normed, hidden, |row, normed| {
            let x = &x[row * hidden..][..hidden];
            rms_norm(self.level, x, weight, self.config.rms_norm_eps, normed);
        });
    }

    /// Adds an update to the residual stream and normalizes the sum.
    fn add_norm(&self, x: &mut [f32], update: &[f32], weight: &[f32], normed: &mut [f32]) {
        let hidden = self.config.hidden_size;
        parallel::for_each_pair(x, hidden, normed, hidden, |row, x, normed| {
            let update = &update[row * hidden..][..hidden];
            add_rms_norm(
                self.level,
                x,
                update,
                weight,
                self.config.rms_norm_eps,
                normed,
            );
        });
    }

    fn add(&self, x: &mut [f32], update: &[f32]) {
        let hidden = self.config.hidden_size;
        parallel::for_each_chunk(x, hidden, |row, x| {
            add(self.level, x, &update[row * hidden..][..hidden]);
        });
    }

    /// Computes the logits of some rows of the residual stream; row `i` of the result belongs to
    /// row `rows[i]`.
    fn logits(&self, rows: &[usize], workspace: &mut Workspace, logits: &mut Vec<f32>) {
        let hidden = self.config.hidden_size;
        let normed = &mut workspace.normed[..rows.len() * hidden];
        for (&row, normed) in rows.iter().zip(normed.chunks_exact_mut(hidden)) {
            let x = &workspace.x[row * hidden..][..hidden];
            rms_norm(
                self.level,
                x,
                &self.output_norm,
                self.config.rms_norm_eps,
                normed,
            );
        }
        logits.resize(rows.len() * self.config.vocab_size, 0.0);
        timed(&mut workspace.spent.linear, || {
            let q8 = workspace.q8.as_mut();
            self.head.multiply(self.level, normed, q8, logits);
        });
    }

    /// Prefills prompts in chunks of rows, and returns the logits `[vocab]` of each.
    fn prefill_all(
        &self,
        prompts: &[&[u32]],
        workspace: &mut Workspace,
    ) -> Result<Vec<(Prefix, Vec<f32>)>> {
        let mut prefixes: Vec<Prefix> = prompts
            .iter()
            .map(|prompt| Prefix::new(self.shape, prompt.len()))
            .collect();
        let tokens = prompts.concat();
        let rows: Vec<Row> = prompts
            .iter()
            .enumerate()
            .flat_map(|(owner, prompt)| {
                (0..prompt.len()).map(move |position| Row { owner, position })
            })
            .collect();
        let mut all_logits = Vec::with_capacity(prompts.len());
        let mut logits = Vec::new();
        for first in (0..rows.len()).step_by(PREFILL_ROWS) {
            let part: Range<usize> = first..rows.len().min(first + PREFILL_ROWS);
            let rows = &rows[part.clone()];
            let cache = &mut Cache::Prompts(&mut prefixes);
            self.forward(&tokens[part], rows, cache, workspace)?;
            let is_last = |row: &Row| row.position + 1 == prompts[row.owner].len();
            let last: Vec<usize> = (0..rows.len()).filter(|&i| is_last(&rows[i])).collect();
            if !last.is_empty() {
                self.logits(&last, workspace, &mut logits);
                let vocab = self.config.vocab_size;
                all_logits.extend(logits.chunks_exact(vocab).map(<[f32]>::to_vec));
            }
        }
        Ok(prefixes.into_iter().zip(all_logits).collect())
    }

    /// Feeds tokens to sequences. `order` lists the rows of the result by prefix.
    fn decode_all(
        &self,
        order: &[(PrefixId, usize)],
        tokens: &[u32],
        suffixes: &mut [Suffix],
        workspace: &mut Workspace,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let prefixes: Vec<&Prefix> = order
            .iter()
            .filter_map(|(prefix, _)| self.prefixes.get(prefix))
            .collect();
        let rows: Vec<Row> = prefixes
            .iter()
            .zip(suffixes.iter())
            .enumerate()
            .map(|(owner, (prefix, suffix))| Row {
                owner,
                position: prefix.len + suffix.len,
            })
            .collect();
        for suffix in suffixes.iter_mut() {
            suffix.reserve(self.shape);
        }
        let mut cache = Cache::Sequences {
            prefixes: &prefixes,
            suffixes,
        };
        self.forward(tokens, &rows, &mut cache, workspace)?;
        for suffix in suffixes.iter_mut() {
            suffix.len += 1;
        }
        let mut sources = vec![0; order.len()];
        for (source, &(_, row)) in order.iter().enumerate() {
            sources[row] = source;
        }
        self.logits(&sources, workspace, logits);
        Ok(())
    }
}

impl Decoder for Cpu {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>> {
        let mut workspace = std::mem::take(&mut self.workspace);
        let computed = self.prefill_all(prompts, &mut workspace);
        self.workspace = workspace;
        Ok(computed?
            .into_iter()
            .map(|(prefix, logits)| {
                let id = PrefixId(self.next_id());
                self.prefixes.insert(id, prefix);
                (id, logits)
            })
            .collect())
    }

    fn fork(&mut self, prefix: PrefixId) -> SequenceId {
        let id = SequenceId(self.next_id());
        if self.prefixes.contains_key(&prefix) {
            let suffix = Suffix::default();
            self.sequences.insert(id, Sequence { prefix, suffix });
        }
        id
    }

    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()> {
        check_named_once(rows.iter().map(|&(sequence, _)| sequence))?;
        // Rows that share a prefix must be adjacent.
        let mut order = Vec::with_capacity(rows.len());
        for (row, (id, _)) in rows.iter().enumerate() {
            let sequence = self.sequences.get(id);
            let sequence = sequence.ok_or_else(|| bad_sequence(*id, "is unknown"))?;
            order.push((sequence.prefix, row));
        }
        order.sort_unstable();
        let tokens: Vec<u32> = order.iter().map(|&(_, row)| rows[row].1).collect();
        let mut suffixes: Vec<Suffix> = order
            .iter()
            .filter_map(|&(_, row)| {
                let sequence = self.sequences.get_mut(&rows[row].0)?;
                Some(std::mem::take(&mut sequence.suffix))
            })
            .collect();
        let mut workspace = std::mem::take(&mut self.workspace);
        let result = self.decode_all(&order, &tokens, &mut suffixes, &mut workspace, logits);
        self.workspace = workspace;
        for (&(_, row), suffix) in order.iter().zip(suffixes) {
            if let Some(sequence) = self.sequences.get_mut(&rows[row].0) {
                sequence.suffix = suffix;
            }
        }
        result
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        self.prefixes.remove(&prefix);
        self.sequences
            .retain(|_, sequence| sequence.prefix != prefix);
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn kv_bytes(&self) -> usize {
        let prefixes = self.prefixes.values().map(|p| p.segment.bytes());
        let suffixes = self.sequences.values().map(|s| s.suffix.bytes());
        prefixes.chain(suffixes).sum()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        let known = sequences.iter().filter_map(|id| self.sequences.get(id));
        let full = known.filter(|sequence| sequence.suffix.is_full()).count();
        self.kv_bytes() + full * self.shape.bytes(PAGE)
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        self.shape.bytes(tokens)
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE) * self.shape.bytes(PAGE)
    }

    fn weight_bytes(&self) -> usize {
        let vectors = self.layers.iter().flat_map(|layer| {
            [
                Some(&layer.attention_norm),
                layer.query_norm.as_ref(),
                layer.key_norm.as_ref(),
                Some(&layer.ffn_norm),
            ]
        });
        let vectors = vectors.flatten().chain([&self.output_norm]);
        let projections = self.layers.iter().flat_map(|layer| {
            [
                &layer.qkv,
                &layer.attention_output,
                &layer.gate_up,
                &layer.down,
            ]
        });
        let embedding = match &self.embedding {
            Embedding::Head => 0,
            Embedding::Table(table) => table.elem_count() * table.dtype().size_in_bytes(),
            Embedding::Packed(table) => table.bytes(),
        };
        vectors
            .map(|vector| size_of_val(vector.as_slice()))
            .sum::<usize>()
            + projections.map(Projection::bytes).sum::<usize>()
            + self.head.bytes()
            + embedding
    }

    fn spent(&self) -> Option<Spent> {
        Some(self.workspace.spent)
    }

    fn non_finite_weight(&self) -> Option<String> {
        let vector = |name: &str, vector: Option<&Vec<f32>>| {
            let finite = vector.is_none_or(|vector| vector.iter().all(|x| x.is_finite()));
            (!finite).then(|| name.to_string())
        };
        let in_layer = |(index, layer): (usize, &Layer)| {
            let norms = [
                ("attention norm", Some(&layer.attention_norm)),
                ("query norm", layer.query_norm.as_ref()),
                ("key norm", layer.key_norm.as_ref()),
                ("feed-forward norm", Some(&layer.ffn_norm)),
            ];
            let projections = [
                &layer.qkv,
                &layer.attention_output,
                &layer.gate_up,
                &layer.down,
            ];
            let norm = norms.iter().find_map(|(name, norm)| vector(name, *norm));
            let projection = || {
                let named = PROJECTIONS.iter().zip(projections);
                let mut bad = named.filter(|(_, projection)| !projection.is_finite());
                bad.next().map(|(name, _)| (*name).to_string())
            };
            let name = norm.or_else(projection)?;
            Some(format!("{name} of layer {index}"))
        };
        let embedding = || {
            let finite = match &self.embedding {
                Embedding::Head => true,
                Embedding::Table(table) => is_finite(table),
                Embedding::Packed(table) => table.is_finite(),
            };
            (!finite).then(|| "embedding".to_string())
        };
        let head = || (!self.head.is_finite()).then(|| "output head".to_string());
        vector("output norm", Some(&self.output_norm))
            .or_else(|| self.layers.iter().enumerate().find_map(in_layer))
            .or_else(embedding)
            .or_else(head)
    }
}

#[cfg(test)]
mod tests;
