//! Launches a step or a prefill: the decoder's layers, the output head and the sampler. Captures
//! steps in CUDA graphs and replays them.
//!
//! Depends on memory, kernels and weights, but not on the owners of pages.

use cudarc::driver::{CudaGraph, sys};
use rayon::prelude::*;

use super::Cuda;
use super::driver::{Buffer, Device, Doing, Product};
use super::kernels::{AttentionMemory, RowArrays};
use super::weights::DeviceLinear;
use crate::engine::decoder::rotary_tables;
use crate::model::DecoderConfig;
use crate::{Error, ErrorKind, Result};

/// Buffers for the rows of a step, `[rows, …]` each.
pub(super) struct Activations {
    /// The residual stream, `[hidden]`, f32.
    pub(super) x: Buffer,
    /// `[hidden]`.
    pub(super) normed: Buffer,
    /// `[(heads + 2 · kv_heads) · head_dim]`.
    pub(super) qkv: Buffer,
    /// `[heads · head_dim]`.
    pub(super) attended: Buffer,
    /// A layer's contribution to the residual stream, `[hidden]`.
    pub(super) update: Buffer,
    /// `[2 · intermediate]`.
    pub(super) gate_up: Buffer,
    /// `[intermediate]`.
    pub(super) gated: Buffer,
    /// Partial results of attention, `[parts][rows][heads][head_dim]`, f32.
    pub(super) parts: Buffer,
    /// Their log-sum-exps, `[parts][rows][heads]`, f32.
    pub(super) lse: Buffer,
    /// `[vocab]`, f32, of a step's rows.
    pub(super) logits: Buffer,
}

impl Activations {
    pub(super) fn new(
        device: &Device,
        config: &DecoderConfig,
        bytes: usize,
        (step_rows, prefill_rows): (usize, usize),
        splits: usize,
    ) -> Result<Self> {
        let c = config;
        let rows = step_rows.max(prefill_rows);
        let parts = step_rows * c.heads * (1 + splits);
        let new = |size: usize| Buffer::new(device.stream(), size, "the activations of a step");
        Ok(Activations {
            x: new(rows * c.hidden_size * 4)?,
            normed: new(rows * c.hidden_size * bytes)?,
            qkv: new(rows * c.qkv_size() * bytes)?,
            attended: new(rows * c.heads * c.head_dim * bytes)?,
            update: new(rows * c.hidden_size * bytes)?,
            gate_up: new(rows * 2 * c.intermediate_size * bytes)?,
            gated: new(rows * c.intermediate_size * bytes)?,
            parts: new(parts * c.head_dim * 4)?,
            lse: new(parts * 4)?,
            logits: new(step_rows * c.vocab_size * 4)?,
        })
    }
}

/// Computes cosines and sines of all positions, `[context][head_dim / 2]` each.
pub(super) fn rope_tables(device: &Device, config: &DecoderConfig) -> Result<(Buffer, Buffer)> {
    let positions: Vec<usize> = (0..config.context_length).collect();
    let (cos, sin): (Vec<Vec<f32>>, Vec<Vec<f32>>) = positions
        .par_chunks(1024)
        .map(|positions| rotary_tables(config, positions))
        .unzip();
    let upload = |table: Vec<Vec<f32>>| device.buffer_of(&table.concat(), "the rotary tables");
    Ok((upload(cos)?, upload(sin)?))
}

/// The state of a step's launches for a bucket of rows and a number of splits.
pub(super) enum StepGraph {
    /// Ran once, launch by launch, so that all kernels are loaded.
    Warm,
    Captured(Replay),
    /// Cannot be captured.
    Eager,
}

/// A captured CUDA graph.
pub(super) struct Replay(CudaGraph);

// SAFETY: any thread may use a graph, one at a time.
unsafe impl Send for Replay {}

fn launch(graph: &Replay) -> Result<()> {
    graph.0.launch().doing("a step failed")
}

impl Cuda {
    /// Runs the layers over the rows in `arrays`. Leaves the residual stream and its last update.
    /// `splits` is `None` in a prefill.
    pub(super) fn forward(
        &self,
        arrays: &RowArrays,
        rows: usize,
        splits: Option<usize>,
    ) -> Result<()> {
        let c = &self.config;
        let (hidden, eps) = (c.hidden_size, c.rms_norm_eps);
        let queries = c.heads * c.head_dim;
        let a = &self.activations;
        let (x, normed, update) = (a.x.address, a.normed.address, a.update.address);
        let precision = self.kernels.precision();
        let k = &self.kernels;
        let linear = |layer: DeviceLinear, input, output, inputs, outputs| {
            let weight = layer.weight;
            let product = Product {
                weight,
                input,
                output,
                rows,
                inputs,
                outputs,
            };
            self.device.gemm(precision, &product, false)?;
            Ok::<(), Error>(())
        };
        let bias = |layer: DeviceLinear, output, width| match layer.bias {
            0 => Ok(()),
            bias => k.add_bias(output, bias, (rows, width)),
        };
        k.embed(
            self.weights.embedding,
            arrays,
            self.tokens.address,
            x,
            (rows, hidden),
        )?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let residual = (x, if index == 0 { 0 } else { update });
            k.add_rms_norm(
                residual,
                layer.attention_norm,
                normed,
                0,
                (rows, hidden),
                eps,
            )?;
            linear(layer.qkv, normed, a.qkv.address, hidden, c.qkv_size())?;
            let memory = AttentionMemory {
                qkv: a.qkv.address,
                pool: self.layer_pool(index),
                out: a.attended.address,
            };
            let rope = (self.rope.0.address, self.rope.1.address);
            k.qkv_rope(layer, rope, memory, arrays, rows, eps)?;
            match splits {
                None => k.prefill_attention(memory, arrays, rows, layer.window)?,
                Some(splits) => {
                    let parts = (a.parts.address, a.lse.address);
                    let size = (rows, splits);
                    k.decode_attention(memory, arrays, parts, size, layer.window)?;
                }
            }
            linear(layer.attention_output, memory.out, update, queries, hidden)?;
            bias(layer.attention_output, update, hidden)?;
            k.add_rms_norm((x, update), layer.ffn_norm, normed, 0, (rows, hidden), eps)?;
            let width = c.intermediate_size;
            linear(layer.gate_up, normed, a.gate_up.address, hidden, 2 * width)?;
            bias(layer.gate_up, a.gate_up.address, 2 * width)?;
            k.silu_mul(a.gate_up.address, a.gated.address, (rows, width))?;
            linear(layer.down, a.gated.address, update, width, hidden)?;
            bias(layer.down, update, hidden)?;
        }
        Ok(())
    }

    /// Computes the logits of rows of the residual stream. `index` (0: the first rows) selects
    /// them.
    pub(super) fn logits(&self, index: u64, rows: usize) -> Result<()> {
        let c = &self.config;
        let a = &self.activations;
        let residual = (a.x.address, a.update.address);
        let (norm, normed) = (self.weights.output_norm, a.normed.address);
        let size = (rows, c.hidden_size);
        self.kernels
            .add_rms_norm(residual, norm, normed, index, size, c.rms_norm_eps)?;
        let product = Product {
            weight: self.weights.head,
            input: normed,
            output: a.logits.address,
            rows,
            inputs: c.hidden_size,
            outputs: c.vocab_size,
        };
        self.device.gemm(self.kernels.precision(), &product, true)
    }

    /// Launches one decoding step.
    fn step_launches(&self, rows: usize, splits: usize) -> Result<()> {
        let arrays = self.step.addresses();
        self.forward(&arrays, rows, Some(splits))?;
        self.logits(0, rows)?;
        self.sample((self.step.samples(), rows), self.draws.address)
    }

    /// Launches the sampler on the given rows. The draws are written to address `draws`.
    pub(super) fn sample(&self, rows: (u64, usize), draws: u64) -> Result<()> {
        let seen = self.seen.as_ref().map_or(0, |seen| seen.address);
        let (vocabulary, tokens) = (self.config.vocab_size, self.tokens.address);
        self.kernels
            .sample(vocabulary, rows, tokens, draws, seen, self.bits)
    }

    /// Queues a step's launches, as a CUDA graph if one was captured.
    pub(super) fn run_step(&mut self, rows: usize, splits: usize) -> Result<()> {
        let key = (rows, splits);
        match self.graphs.get(&key) {
            Some(StepGraph::Captured(graph)) => return launch(graph),
            Some(StepGraph::Eager) => return self.step_launches(rows, splits),
            None => {
                self.step_launches(rows, splits)?;
                self.graphs.insert(key, StepGraph::Warm);
                return Ok(());
            }
            Some(StepGraph::Warm) => {}
        }
        match self.capture(rows, splits) {
            Ok(graph) => {
                launch(&graph)?;
                self.graphs.insert(key, StepGraph::Captured(graph));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, rows, splits, "no CUDA graph: steps are launched one by one");
                self.graphs.insert(key, StepGraph::Eager);
                self.step_launches(rows, splits)
            }
        }
    }

    fn capture(&self, rows: usize, splits: usize) -> Result<Replay> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let stream = self.device.stream();
        stream
            .begin_capture(mode)
            .doing("a capture could not begin")?;
        let launched = self.step_launches(rows, splits);
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags).doing("a capture failed");
        launched?;
        let graph = graph?.ok_or_else(|| Error::new(ErrorKind::Device, "a capture was empty"))?;
        graph.upload().doing("a graph could not be uploaded")?;
        Ok(Replay(graph))
    }
}
