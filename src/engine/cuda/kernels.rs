//! The kernels' names, and how they are launched. Their sources are in `kernels/` and document what
//! each computes. `scripts/ptx.sh` compiles them to the PTX in `ptx/`.
//!
//! Addresses are of device memory; the stream orders their use.

use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaModule, CudaStream, LaunchConfig, PushKernelArg};

use super::driver::{Device, Doing, Precision};
use super::weights::DeviceLayer;
use crate::{Error, ErrorKind, Result};

/// The number of positions in a page of the KV cache.
pub(super) const PAGE: usize = 64;

/// The number of a sequence's own positions that one block of the suffix attention processes. It is
/// fixed, so that the order of summation does not depend on the batch.
pub(super) const SPLIT: usize = 512;

/// The number of pairs (row, query head of a KV head) in a tile of the prefix attention.
pub(super) const TILE: usize = 64;

/// The head dimensions that the attention kernels support.
pub(super) const HEAD_DIMS: [usize; 3] = [32, 64, 128];

/// The largest head dimension that the f32 attention kernels support.
const MAX_PLAIN_HEAD_DIM: usize = 256;

/// The width of bf16 rows must be a multiple of this: they are read 16 bytes at a time.
pub(super) const WIDTH_STEP: usize = 8;

/// The largest number of query heads per KV head: the rows of a tensor core's tile.
pub(super) const MAX_GROUP: usize = 16;

/// The largest vocabulary that the sampler supports.
pub(super) const MAX_VOCABULARY: usize = 1 << 18;

/// Dynamic shared memory of the sampler: `sizeof(Shared)` of `sampler.cu`.
const SAMPLER_SHARED: usize = 48 << 10;

/// The number of warps in a block of 256 threads; each warp processes one head.
const WARPS: usize = 8;

/// The number of threads in the sampler's block.
const SAMPLER_THREADS: u32 = 1024;

/// A tile of the prefix attention: 64 pairs of a row and a query head, on one prefix.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PrefixTile {
    /// The index in `prefix_pages` where the prefix's pages begin.
    pub(super) pages: i32,
    /// The number of tokens in the prefix.
    pub(super) length: i32,
    /// The first row of the step that continues the prefix, and the number of such rows.
    pub(super) first_row: i32,
    pub(super) rows: i32,
    /// The index of the first pair.
    pub(super) first_query: i32,
}

/// A row of the sampler.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct SampleRow {
    /// The address of the row's logits.
    pub(super) logits: u64,
    pub(super) key: u64,
    pub(super) position: u64,
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) min_p: f32,
    pub(super) penalty: f32,
    /// 0 for no limit.
    pub(super) top_k: i32,
    /// The slot that receives the token.
    pub(super) slot: i32,
    /// 0 if nothing is drawn.
    pub(super) draw: i32,
    pub(super) padding: i32,
}

impl SampleRow {
    /// A row that draws nothing.
    pub(super) const NONE: SampleRow = SampleRow {
        logits: 0,
        key: 0,
        position: 0,
        temperature: 0.0,
        top_p: 0.0,
        min_p: 0.0,
        penalty: 0.0,
        top_k: 0,
        slot: -1,
        draw: 0,
        padding: 0,
    };
}

/// The sampler's result for a row.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SampleDraw {
    pub(super) token: u32,
    pub(super) logit: f32,
    pub(super) max: f32,
    pub(super) finite: u32,
    pub(super) mass: u64,
    pub(super) normaliser: u64,
}

// SAFETY: numbers without padding; every bit pattern is valid.
unsafe impl super::driver::Plain for PrefixTile {}
// SAFETY: as above.
unsafe impl super::driver::Plain for SampleRow {}
// SAFETY: as above.
unsafe impl super::driver::Plain for SampleDraw {}

/// The shape of an attention layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionShape {
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) window: Option<usize>,
}

impl AttentionShape {
    /// The number of query heads per KV head.
    pub(super) fn group(self) -> usize {
        self.heads / self.kv_heads
    }

    fn qkv_stride(self) -> i32 {
        ((self.heads + 2 * self.kv_heads) * self.head_dim) as i32
    }

    fn window(self) -> i32 {
        self.window
            .and_then(|window| i32::try_from(window).ok())
            .unwrap_or(i32::MAX)
    }

    /// The factor of the scores, for a softmax in base 2.
    fn scale_of_base_2(self) -> f32 {
        (std::f64::consts::LOG2_E / (self.head_dim as f64).sqrt()) as f32
    }
}

/// The device addresses of a step's row data: arrays over the rows unless stated otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowArrays {
    /// The token to feed; -1 for the token drawn last.
    pub(super) inputs: u64,
    /// The sequence's slot; -1 for padding.
    pub(super) slots: u64,
    /// The fed token's position in prompt and completion.
    pub(super) positions: u64,
    /// The number of the sequence's own tokens, including the fed one; 0 in a prefill.
    pub(super) lengths: u64,
    /// The page and the offset in the KV cache that the token is written to.
    pub(super) write_pages: u64,
    pub(super) write_offsets: u64,
    /// The offset of the row's prefix in `prefix_pages`, and its number of tokens.
    pub(super) prefix_offsets: u64,
    pub(super) prefix_lengths: u64,
    /// The rows whose logits a prefill computes.
    pub(super) index: u64,
    /// A single number: the number of tiles.
    pub(super) tile_count: u64,
    /// Array of [`PrefixTile`].
    pub(super) tiles: u64,
    /// The pages of all prefixes of the step.
    pub(super) prefix_pages: u64,
    /// The block table of the rows' own tokens, `[rows][table_width]`.
    pub(super) tables: u64,
    pub(super) table_width: usize,
}

/// The memory that a layer's attention reads and writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionMemory {
    /// Q, K and V of the rows.
    pub(super) qkv: u64,
    /// The layer's part of the KV cache.
    pub(super) pool: u64,
    /// `[rows, heads · head_dim]`.
    pub(super) out: u64,
}

/// All kernels for a precision and a head dimension, loaded.
pub(super) struct Kernels {
    stream: Arc<CudaStream>,
    precision: Precision,
    multiprocessors: usize,
    shape: AttentionShape,
    embed: CudaFunction,
    add_rms_norm: CudaFunction,
    qkv_rope: CudaFunction,
    silu_mul: CudaFunction,
    add_bias: CudaFunction,
    attention: AttentionKernels,
    sample_rows: CudaFunction,
    seen_tokens: CudaFunction,
    fill_random: CudaFunction,
}

enum AttentionKernels {
    TensorCores {
        prefill: CudaFunction,
        decode: CudaFunction,
        merge: CudaFunction,
    },
    Plain(CudaFunction),
}

fn block(grid: (usize, usize, usize), threads: u32, shared: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid.0 as u32, grid.1 as u32, grid.2 as u32),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: shared as u32,
    }
}

/// Launches a kernel.
macro_rules! launch {
    ($stream:expr, $kernel:expr, $config:expr, $($argument:expr),* $(,)?) => {{
        let mut builder = $stream.launch_builder(&$kernel);
        launch!(@push builder, $($argument),*);
        // SAFETY: the arguments have the kernel's types (the tests compare their sizes with the
        // source's), and the addresses are those of buffers that are large enough for the grid.
        unsafe { builder.launch($config) }.doing("a kernel could not be launched")?;
    }};
    (@push $builder:ident, $first:expr $(, $rest:expr)*) => {
        let argument = $first;
        $builder.arg(&argument);
        launch!(@push $builder $(, $rest)*);
    };
    (@push $builder:ident, $($rest:expr),+) => { launch!(@push $builder $(, $rest)+) };
    (@push $builder:ident $(,)?) => {};
}

impl Kernels {
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] for a shape that the kernels do not support;
    /// [`ErrorKind::Device`] if they cannot be loaded.
    pub(super) fn load(
        device: &Device,
        precision: Precision,
        shape: AttentionShape,
    ) -> Result<Self> {
        let dim = shape.head_dim;
        if precision == Precision::F32 && dim > MAX_PLAIN_HEAD_DIM {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "heads of width {dim}: the CUDA kernels for f32 take up to {MAX_PLAIN_HEAD_DIM}"
                ),
            ));
        }
        if precision == Precision::Bf16 && !HEAD_DIMS.contains(&dim) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("heads of width {dim}: the CUDA kernels are made for 32, 64 and 128"),
            ));
        }
        if precision == Precision::Bf16 && shape.group() > MAX_GROUP {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} query heads share a key head: the CUDA kernels are made for {MAX_GROUP}",
                    shape.group()
                ),
            ));
        }
        let elementwise = device.load(include_str!("ptx/elementwise.ptx"))?;
        let attention = device.load(include_str!("ptx/attention.ptx"))?;
        let sampler = device.load(include_str!("ptx/sampler.ptx"))?;
        let random = device.load(include_str!("ptx/random.ptx"))?;
        let function = |module: &Arc<CudaModule>, name: &str| {
            module
                .load_function(name)
                .doing(&format!("kernel {name} could not be loaded"))
        };
        let typed = |module: &Arc<CudaModule>, name: &str| {
            function(module, &format!("{name}_{}", precision.suffix()))
        };
        let attention = match precision {
            Precision::F32 => AttentionKernels::Plain(function(&attention, "plain_attention_f32")?),
            Precision::Bf16 => {
                let sized = |name: &str| function(&attention, &format!("{name}_{dim}"));
                let (prefill, decode) = (sized("prefill_attention")?, sized("decode_attention")?);
                Device::allow_shared(&prefill, prefill_shared(dim))?;
                Device::allow_shared(&decode, decode_shared(dim))?;
                AttentionKernels::TensorCores {
                    prefill,
                    decode,
                    merge: sized("merge_parts")?,
                }
            }
        };
        let sample_rows = function(&sampler, "sample_rows")?;
        Device::allow_shared(&sample_rows, SAMPLER_SHARED)?;
        Ok(Kernels {
            stream: device.stream().clone(),
            precision,
            multiprocessors: device.multiprocessors,
            shape,
            embed: typed(&elementwise, "embed")?,
            add_rms_norm: typed(&elementwise, "add_rms_norm")?,
            qkv_rope: typed(&elementwise, "qkv_rope")?,
            silu_mul: typed(&elementwise, "silu_mul")?,
            add_bias: typed(&elementwise, "add_bias")?,
            attention,
            sample_rows,
            seen_tokens: function(&sampler, "seen_tokens")?,
            fill_random: typed(&random, "fill_random")?,
        })
    }

    /// Copies embedding rows into the residual stream.
    pub(super) fn embed(
        &self,
        table: u64,
        arrays: &RowArrays,
        tokens: u64,
        x: u64,
        (rows, width): (usize, usize),
    ) -> Result<()> {
        let config = block((rows, 1, 1), 256, 0);
        let (inputs, slots) = (arrays.inputs, arrays.slots);
        launch!(
            self.stream,
            self.embed,
            config,
            table,
            inputs,
            slots,
            tokens,
            x,
            width as i32
        );
        Ok(())
    }

    /// Adds an update (address 0: none) to the residual stream and normalizes it. `index` (0: the
    /// first rows) selects its rows.
    pub(super) fn add_rms_norm(
        &self,
        (x, update): (u64, u64),
        weight: u64,
        out: u64,
        index: u64,
        (rows, width): (usize, usize),
        eps: f32,
    ) -> Result<()> {
        let config = block((rows, 1, 1), 256, 0);
        let width = width as i32;
        launch!(
            self.stream,
            self.add_rms_norm,
            config,
            x,
            update,
            weight,
            out,
            index,
            width,
            eps
        );
        Ok(())
    }

    /// Applies biases, per-head norms and RoPE, and writes the KV cache to the pool.
    pub(super) fn qkv_rope(
        &self,
        layer: &DeviceLayer,
        (cos, sin): (u64, u64),
        memory: AttentionMemory,
        arrays: &RowArrays,
        rows: usize,
        eps: f32,
    ) -> Result<()> {
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.shape;
        let parts = (heads + 2 * kv_heads).div_ceil(WARPS);
        let config = block((rows, parts, 1), 256, 0);
        let (pages, offsets) = (arrays.write_pages, arrays.write_offsets);
        launch!(
            self.stream,
            self.qkv_rope,
            config,
            memory.qkv,
            layer.qkv.bias,
            layer.query_norm,
            layer.key_norm,
            cos,
            sin,
            arrays.positions,
            memory.pool,
            pages,
            offsets,
            heads as i32,
            kv_heads as i32,
            head_dim as i32,
            eps,
        );
        Ok(())
    }

    pub(super) fn silu_mul(
        &self,
        gate_up: u64,
        out: u64,
        (rows, width): (usize, usize),
    ) -> Result<()> {
        let config = block((rows, width.div_ceil(8 * 256), 1), 256, 0);
        launch!(
            self.stream,
            self.silu_mul,
            config,
            gate_up,
            out,
            width as i32
        );
        Ok(())
    }

    pub(super) fn add_bias(&self, x: u64, bias: u64, (rows, width): (usize, usize)) -> Result<()> {
        let config = block((rows, 1, 1), 256, 0);
        launch!(self.stream, self.add_bias, config, x, bias, width as i32);
        Ok(())
    }

    /// Computes the causal attention of prompts that are being prefilled, over their own pages.
    pub(super) fn prefill_attention(
        &self,
        memory: AttentionMemory,
        arrays: &RowArrays,
        rows: usize,
        window: Option<usize>,
    ) -> Result<()> {
        let shape = AttentionShape {
            window,
            ..self.shape
        };
        match &self.attention {
            AttentionKernels::Plain(kernel) => {
                self.plain_attention(kernel, memory, arrays, rows, shape)
            }
            AttentionKernels::TensorCores { prefill, .. } => {
                let blocks = self.max_prefix_work(rows).min(2 * self.multiprocessors);
                launch!(
                    self.stream,
                    *prefill,
                    block((blocks, 1, 1), 128, prefill_shared(shape.head_dim)),
                    memory.qkv,
                    shape.qkv_stride(),
                    memory.pool,
                    arrays.tiles,
                    arrays.tile_count,
                    arrays.prefix_pages,
                    arrays.positions,
                    memory.out,
                    rows as i32,
                    shape.heads as i32,
                    shape.kv_heads as i32,
                    shape.window(),
                    shape.scale_of_base_2(),
                );
                Ok(())
            }
        }
    }

    /// The largest number of work items of the prefix attention: at least one tile per row, if
    /// every row has its own prefix.
    fn max_prefix_work(&self, rows: usize) -> usize {
        ((rows * self.shape.group()).div_ceil(TILE) + rows) * self.shape.kv_heads
    }

    /// Computes the attention of new tokens over their prefixes and their own pages. `parts` and
    /// `lse` must have space for one more part than there are splits.
    pub(super) fn decode_attention(
        &self,
        memory: AttentionMemory,
        arrays: &RowArrays,
        (parts, lse): (u64, u64),
        (rows, splits): (usize, usize),
        window: Option<usize>,
    ) -> Result<()> {
        let shape = AttentionShape {
            window,
            ..self.shape
        };
        let AttentionShape {
            heads,
            kv_heads,
            head_dim,
            ..
        } = shape;
        let (decode, merge) = match &self.attention {
            AttentionKernels::Plain(kernel) => {
                return self.plain_attention(kernel, memory, arrays, rows, shape);
            }
            AttentionKernels::TensorCores { decode, merge, .. } => (decode, merge),
        };
        // Enough blocks to keep every multiprocessor busy with prefixes, for any number of
        // prefixes; the rest of the grid processes own tokens.
        let prefix_blocks = self.max_prefix_work(rows).min(self.multiprocessors);
        let blocks = prefix_blocks + rows * kv_heads * splits;
        launch!(
            self.stream,
            *decode,
            block((blocks, 1, 1), 128, decode_shared(head_dim)),
            memory.qkv,
            shape.qkv_stride(),
            memory.pool,
            arrays.tiles,
            arrays.tile_count,
            arrays.prefix_pages,
            arrays.positions,
            arrays.tables,
            arrays.table_width as i32,
            arrays.lengths,
            parts,
            lse,
            rows as i32,
            heads as i32,
            kv_heads as i32,
            SPLIT as i32,
            prefix_blocks as i32,
            shape.window(),
            shape.scale_of_base_2(),
        );
        launch!(
            self.stream,
            *merge,
            block((rows, heads.div_ceil(WARPS), 1), 256, 0),
            parts,
            lse,
            memory.out,
            arrays.slots,
            rows as i32,
            heads as i32,
            (1 + splits) as i32,
        );
        Ok(())
    }

    fn plain_attention(
        &self,
        kernel: &CudaFunction,
        memory: AttentionMemory,
        arrays: &RowArrays,
        rows: usize,
        shape: AttentionShape,
    ) -> Result<()> {
        launch!(
            self.stream,
            *kernel,
            block((rows, shape.heads, 1), 128, 0),
            memory.qkv,
            shape.qkv_stride(),
            memory.pool,
            arrays.prefix_offsets,
            arrays.prefix_lengths,
            arrays.prefix_pages,
            arrays.tables,
            arrays.table_width as i32,
            arrays.lengths,
            arrays.positions,
            memory.out,
            shape.heads as i32,
            shape.kv_heads as i32,
            shape.head_dim as i32,
            shape.window(),
            (1.0 / (shape.head_dim as f64).sqrt()) as f32,
        );
        Ok(())
    }

    /// Draws a token for each row that requests one.
    pub(super) fn sample(
        &self,
        vocabulary: usize,
        rows: (u64, usize),
        tokens: u64,
        draws: u64,
        seen: u64,
        bits: u32,
    ) -> Result<()> {
        let config = block((rows.1, 1, 1), SAMPLER_THREADS, SAMPLER_SHARED);
        let kernel = &self.sample_rows;
        let (n, bits) = (vocabulary as i32, bits as i32);
        launch!(
            self.stream,
            *kernel,
            config,
            n,
            rows.0,
            tokens,
            draws,
            seen,
            bits
        );
        Ok(())
    }

    /// Adds tokens to the slot's seen tokens, which are cleared first if `clear`.
    pub(super) fn see(
        &self,
        seen: u64,
        list: (u64, usize),
        slot: usize,
        vocabulary: usize,
        clear: bool,
    ) -> Result<()> {
        let kernel = &self.seen_tokens;
        let config = block((1, 1, 1), 256, 0);
        let (count, slot, n) = (list.1 as i32, slot as i32, vocabulary as i32);
        launch!(
            self.stream,
            *kernel,
            config,
            seen,
            list.0,
            count,
            slot,
            n,
            i32::from(clear)
        );
        Ok(())
    }

    /// Fills memory with normally distributed random numbers.
    pub(super) fn fill_random(
        &self,
        out: u64,
        count: usize,
        key: u64,
        deviation: f32,
    ) -> Result<()> {
        let blocks = (count.div_ceil(2 * 256)).clamp(1, 16 * self.multiprocessors);
        let config = block((blocks, 1, 1), 256, 0);
        launch!(
            self.stream,
            self.fill_random,
            config,
            out,
            count as u64,
            key,
            deviation
        );
        Ok(())
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }
}

/// Bytes of shared memory of the prefill attention: a tile of queries, and two stages of the KV
/// cache.
fn prefill_shared(head_dim: usize) -> usize {
    (TILE * head_dim + 2 * 2 * PAGE * head_dim) * 2
}

/// Bytes of shared memory of the decode attention: 4 warps with 3 stages of 16 positions of the KV
/// cache. This exceeds what prefixes need.
fn decode_shared(head_dim: usize) -> usize {
    4 * 3 * 2 * 16 * head_dim * 2
}
