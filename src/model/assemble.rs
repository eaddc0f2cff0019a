//! Assembles a decoder's weights from the named tensors of a file.
//!
//! All sources share one plan: which tensors must exist, and their shapes. It is checked completely
//! before anything is allocated; then tensors are joined layer by layer. Depends on the tensor
//! names of both file formats; each source converts bytes to numbers itself.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::config::DecoderConfig;
use super::safetensors::SafeTensors;
use super::weights::{LayerWeights, Linear, Matrix, Weights};
use crate::{Error, ErrorKind, Result};

/// The optional tensors that a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Biases of Q, K and V.
    pub(super) qkv_bias: bool,
    /// A bias of the attention output.
    pub(super) output_bias: bool,
    /// Biases of the feed-forward layer.
    pub(super) mlp_bias: bool,
    /// Norms over query and key heads.
    pub(super) qk_norm: bool,
    /// The output head is tied to the embedding.
    pub(super) tied: bool,
}

impl Layout {
    /// Returns this layout with a separate output head if the files have one that differs from the
    /// embedding although the configuration ties them: transformers ties them only if they are
    /// equal.
    pub(super) fn with_own_head(self, tensors: &SafeTensors) -> Result<Self> {
        let naming = Naming::HuggingFace;
        let weight = |module: &str| format!("{module}.weight");
        let (head, embedding) = (weight(naming.head()), weight(naming.embedding()));
        let differs =
            self.tied && tensors.shape(&head).is_some() && !tensors.equal(&head, &embedding)?;
        Ok(Layout {
            tied: self.tied && !differs,
            ..self
        })
    }
}

/// The naming scheme of a file's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    HuggingFace,
    /// `interleaved`: rows of queries and keys are stored for RoPE pairs `(2i, 2i + 1)`.
    Gguf {
        interleaved: bool,
    },
}

impl Naming {
    fn embedding(self) -> &'static str {
        match self {
            Naming::HuggingFace => "model.embed_tokens",
            Naming::Gguf { .. } => "token_embd",
        }
    }

    fn output_norm(self) -> &'static str {
        match self {
            Naming::HuggingFace => "model.norm",
            Naming::Gguf { .. } => "output_norm",
        }
    }

    fn head(self) -> &'static str {
        match self {
            Naming::HuggingFace => "lm_head",
            Naming::Gguf { .. } => "output",
        }
    }

    fn in_layer(self, layer: usize, module: Module) -> String {
        let (hf, gguf) = match module {
            Module::AttentionNorm => ("input_layernorm", "attn_norm"),
            Module::Query => ("self_attn.q_proj", "attn_q"),
            Module::Key => ("self_attn.k_proj", "attn_k"),
            Module::Value => ("self_attn.v_proj", "attn_v"),
            Module::QueryNorm => ("self_attn.q_norm", "attn_q_norm"),
            Module::KeyNorm => ("self_attn.k_norm", "attn_k_norm"),
            Module::Output => ("self_attn.o_proj", "attn_output"),
            Module::FfnNorm => ("post_attention_layernorm", "ffn_norm"),
            Module::Gate => ("mlp.gate_proj", "ffn_gate"),
            Module::Up => ("mlp.up_proj", "ffn_up"),
            Module::Down => ("mlp.down_proj", "ffn_down"),
        };
        match self {
            Naming::HuggingFace => format!("model.layers.{layer}.{hf}"),
            Naming::Gguf { .. } => format!("blk.{layer}.{gguf}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Module {
    AttentionNorm,
    Query,
    Key,
    Value,
    QueryNorm,
    KeyNorm,
    Output,
    FfnNorm,
    Gate,
    Up,
    Down,
}

/// A tensor that a plan requires: a matrix `[rows, columns]`, or a vector `[rows]`.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) rows: usize,
    /// `None` for a vector.
    pub(super) columns: Option<usize>,
    /// The head dimension, if the rows are stored for interleaved RoPE pairs and must be reordered
    /// to half-split order.
    pub(super) interleaved_head: Option<usize>,
}

impl Part {
    pub(super) fn shape(&self) -> Vec<usize> {
        match self.columns {
            Some(columns) => vec![self.rows, columns],
            None => vec![self.rows],
        }
    }

    /// The index of the stored row that belongs at `row`.
    ///
    /// In half-split order, the first elements of all pairs of a head precede the second ones; in
    /// interleaved order, the two elements of each pair are adjacent.
    pub(super) fn stored_row(&self, row: usize) -> usize {
        match self.interleaved_head {
            None => row,
            Some(width) => {
                let (head, within) = (row / width, row % width);
                let (second, pair) = (within / (width / 2), within % (width / 2));
                head * width + 2 * pair + second
            }
        }
    }
}

/// A source of tensors: their shapes and their numbers. All other steps are the same for all
/// sources.
pub(super) trait TensorSource {
    /// The name of the file that holds a tensor, or that should.
    fn label(&self, name: &str) -> String;

    /// The shape of a tensor; `None` if it does not exist.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// The names of all tensors.
    fn names(&self) -> Vec<&str>;

    /// All tensors as stored: the type of each, its number of bytes and its file.
    fn stored(&self) -> Box<dyn Iterator<Item = (String, usize, String)> + '_>;

    /// Writes a part's numbers, row by row, to a slice of exactly that length.
    fn fill<T: Element>(&self, part: &Part, out: &mut [T]) -> Result<()>;

    /// The parts' blocks as stored; `None` if no part is stored in blocks.
    fn blocks(&self, _parts: &[Part], _device: &Device) -> Result<Option<Vec<Arc<QTensor>>>> {
        Ok(None)
    }

    /// The name of a tensor for errors.
    fn tensor_label(&self, name: &str) -> String {
        format!("{}: tensor `{name}`", self.label(name))
    }

    /// The error for a tensor that the plan requires and the file lacks.
    fn missing(&self, name: &str) -> Error {
        Error::new(
            ErrorKind::Model,
            format!("{}: no tensor `{name}`", self.label(name)),
        )
    }

    /// The parts, stacked along their rows.
    fn matrix(&self, parts: &[Part], target: &Target) -> Result<Matrix> {
        self.stored_matrix(parts, target)
    }

    /// The parts' numbers or blocks, stacked along their rows.
    fn stored_matrix(&self, parts: &[Part], target: &Target) -> Result<Matrix> {
        if target.quantized
            && let Some(blocks) = self.blocks(parts, &target.device)?
        {
            return Ok(Matrix::Quantized(blocks));
        }
        let columns = parts.first().and_then(|part| part.columns);
        self.dense(parts, &[rows(parts), columns.unwrap_or_default()], target)
            .map(Matrix::Dense)
    }

    /// The parts, concatenated.
    fn vector(&self, parts: &[Part], target: &Target) -> Result<Tensor> {
        self.dense(parts, &[rows(parts)], target)
    }

    /// The parts' numbers in the target's type.
    fn dense(&self, parts: &[Part], shape: &[usize], target: &Target) -> Result<Tensor> {
        match target.dtype {
            DType::F32 => self.dense_of::<f32>(parts, shape, &target.device),
            DType::F16 => self.dense_of::<f16>(parts, shape, &target.device),
            DType::BF16 => self.dense_of::<bf16>(parts, shape, &target.device),
            other => Err(Error::new(
                ErrorKind::Settings,
                format!("weights cannot be held as {}", other.as_str()),
            )),
        }
    }

    /// The parts' numbers as `T`.
    fn dense_of<T: Element>(
        &self,
        parts: &[Part],
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor> {
        let name = parts.first().map_or("", |part| part.name.as_str());
        let label = self.tensor_label(name);
        let mut numbers = buffer::<T>(shape.iter().product(), &label)?;
        let mut rest = numbers.as_mut_slice();
        for part in parts {
            let (out, after) = rest.split_at_mut(part.rows * part.columns.unwrap_or(1));
            rest = after;
            self.fill(part, out)?;
        }
        if let Some(at) = numbers.iter().position(|number| number.overflowed()) {
            refuse_overflow::<T>(self, parts, at)?;
        }
        Tensor::from_vec(numbers, shape, device).map_err(|error| device_error(&label, error))
    }
}

/// Fails if the infinite number at an index of the parts is finite in the file: the weights' type
/// is too narrow for it.
fn refuse_overflow<T: Element>(
    source: &(impl TensorSource + ?Sized),
    parts: &[Part],
    mut at: usize,
) -> Result<()> {
    for part in parts {
        let columns = part.columns.unwrap_or(1);
        let count = part.rows * columns;
        if at >= count {
            at -= count;
            continue;
        }
        let label = source.tensor_label(&part.name);
        let mut wide = buffer::<f32>(count, &label)?;
        source.fill(part, &mut wide)?;
        let Some(&number) = wide.get(at).filter(|number| number.is_finite()) else {
            return Ok(());
        };
        return Err(Error::new(
            ErrorKind::Settings,
            format!(
                "{label} has {number:e} in row {}, which {} cannot hold (its largest number is {:e}): \
                 take dtype bf16 or f32",
                at / columns,
                T::DTYPE.as_str(),
                T::LARGEST,
            ),
        ));
    }
    Ok(())
}

fn rows(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.rows).sum()
}

/// The destination of tensors.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) device: Device,
    /// The CUDA device to which an engine uploads them from there.
    pub(super) cuda: Option<usize>,
    pub(super) dtype: DType,
    /// Whether quantized blocks are kept.
    pub(super) quantized: bool,
}

/// The parts of one layer.
struct LayerPlan {
    attention_norm: Part,
    qkv: Vec<Part>,
    qkv_bias: Vec<Part>,
    query_norm: Option<Part>,
    key_norm: Option<Part>,
    output: Part,
    output_bias: Option<Part>,
    ffn_norm: Part,
    gate_up: Vec<Part>,
    gate_up_bias: Vec<Part>,
    down: Part,
    down_bias: Option<Part>,
}

fn vector(module: &str, kind: &str, rows: usize) -> Part {
    Part {
        name: format!("{module}.{kind}"),
        rows,
        columns: None,
        interleaved_head: None,
    }
}

fn matrix(module: &str, rows: usize, columns: usize) -> Part {
    Part {
        columns: Some(columns),
        ..vector(module, "weight", rows)
    }
}

fn plan_layer(config: &DecoderConfig, layout: Layout, naming: Naming, layer: usize) -> LayerPlan {
    let name = |module| naming.in_layer(layer, module);
    let hidden = config.hidden_size;
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    let interleaved_head =
        (naming == Naming::Gguf { interleaved: true }).then_some(config.head_dim);
    let projections = [
        (Module::Query, queries, interleaved_head),
        (Module::Key, keys, interleaved_head),
        (Module::Value, keys, None),
    ];
    let halves = [Module::Gate, Module::Up];
    LayerPlan {
        attention_norm: vector(&name(Module::AttentionNorm), "weight", hidden),
        qkv: projections
            .iter()
            .map(|&(module, rows, interleaved_head)| Part {
                interleaved_head,
                ..matrix(&name(module), rows, hidden)
            })
            .collect(),
        qkv_bias: projections
            .iter()
            .filter(|_| layout.qkv_bias)
            .map(|&(module, rows, interleaved_head)| Part {
                interleaved_head,
                ..vector(&name(module), "bias", rows)
            })
            .collect(),
        query_norm: layout
            .qk_norm
            .then(|| vector(&name(Module::QueryNorm), "weight", config.head_dim)),
        key_norm: layout
            .qk_norm
            .then(|| vector(&name(Module::KeyNorm), "weight", config.head_dim)),
        output: matrix(&name(Module::Output), hidden, queries),
        output_bias: layout
            .output_bias
            .then(|| vector(&name(Module::Output), "bias", hidden)),
        ffn_norm: vector(&name(Module::FfnNorm), "weight", hidden),
        gate_up: halves
            .iter()
            .map(|&module| matrix(&name(module), config.intermediate_size, hidden))
            .collect(),
        gate_up_bias: halves
            .iter()
            .filter(|_| layout.mlp_bias)
            .map(|&module| vector(&name(module), "bias", config.intermediate_size))
            .collect(),
        down: matrix(&name(Module::Down), hidden, config.intermediate_size),
        down_bias: layout
            .mlp_bias
            .then(|| vector(&name(Module::Down), "bias", hidden)),
    }
}

impl LayerPlan {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        [
            &self.attention_norm,
            &self.output,
            &self.ffn_norm,
            &self.down,
        ]
        .into_iter()
        .chain(&self.qkv)
        .chain(&self.qkv_bias)
        .chain(&self.query_norm)
        .chain(&self.key_norm)
        .chain(&self.output_bias)
        .chain(&self.gate_up)
        .chain(&self.gate_up_bias)
        .chain(&self.down_bias)
    }
}

/// The plan of the whole decoder.
pub(super) struct Plan {
    embedding: Part,
    layers: Vec<LayerPlan>,
    output_norm: Part,
    head: Option<Part>,
}

impl Plan {
    pub(super) fn new(config: &DecoderConfig, layout: Layout, naming: Naming) -> Self {
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        Plan {
            embedding: matrix(naming.embedding(), vocab, hidden),
            layers: (0..config.layers)
                .map(|layer| plan_layer(config, layout, naming, layer))
                .collect(),
            output_norm: vector(naming.output_norm(), "weight", hidden),
            head: (!layout.tied).then(|| matrix(naming.head(), vocab, hidden)),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        [&self.embedding, &self.output_norm]
            .into_iter()
            .chain(&self.head)
            .chain(self.layers.iter().flat_map(LayerPlan::parts))
    }

    /// The number of weights, each tensor counted once.
    pub(super) fn parameters(&self) -> u64 {
        self.parts()
            .map(|part| part.rows as u64 * part.columns.unwrap_or(1) as u64)
            .sum()
    }

    /// Checks that the source has every tensor in its shape and, within the layers, no tensor
    /// unknown to the plan (ignoring a bias would change the result). Returns a remark on other
    /// unknown tensors.
    pub(super) fn check(&self, source: &impl TensorSource) -> Result<Option<String>> {
        let mut missing = Vec::new();
        for part in self.parts() {
            match source.shape(&part.name) {
                None => missing.push(part.name.as_str()),
                Some(shape) if shape == part.shape() => {}
                Some(shape) => {
                    return Err(Error::new(
                        ErrorKind::Model,
                        format!(
                            "{}: tensor `{}` has shape {shape:?}; the configuration asks for {:?}",
                            source.label(&part.name),
                            part.name,
                            part.shape()
                        ),
                    ));
                }
            }
        }
        if let Some(first) = missing.first() {
            return Err(Error::new(
                ErrorKind::Model,
                format!("{}: no tensor {}", source.label(first), listed(&missing)),
            ));
        }
        let known: std::collections::HashSet<&str> =
            self.parts().map(|part| part.name.as_str()).collect();
        let (fatal, harmless): (Vec<&str>, Vec<&str>) = source
            .names()
            .into_iter()
            .filter(|name| !known.contains(name) && !ignorable(name))
            .partition(|name| {
                ["model.", "lm_head.", "blk.", "token_embd", "output"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
            });
        if let Some(first) = fatal.first() {
            return Err(Error::new(
                ErrorKind::Model,
                format!(
                    "{}: the configuration knows no tensor {}",
                    source.label(first),
                    listed(&fatal)
                ),
            ));
        }
        Ok(harmless.first().map(|first| {
            let label = source.label(first);
            format!("{label}: not used: {}", listed(&harmless))
        }))
    }

    /// Reads all weights. Requires a successful [`check`](Self::check).
    pub(super) fn build(&self, source: &impl TensorSource, target: &Target) -> Result<Weights> {
        let embedding = self.embedding(source, target)?;
        let layers = (0..self.layers.len()).map(|index| self.layer(index, source, target));
        Ok(Weights {
            layers: layers.collect::<Result<_>>()?,
            output_norm: self.output_norm(source, target)?,
            head: match &self.head {
                Some(_) => self.head(source, target)?,
                None => embedding.clone(),
            },
            embedding,
        })
    }

    /// Reads the embedding.
    pub(super) fn embedding(&self, source: &impl TensorSource, target: &Target) -> Result<Matrix> {
        source.matrix(std::slice::from_ref(&self.embedding), target)
    }

    /// Reads the norm before the output head.
    pub(super) fn output_norm(
        &self,
        source: &impl TensorSource,
        target: &Target,
    ) -> Result<Tensor> {
        source.vector(std::slice::from_ref(&self.output_norm), target)
    }

    /// Reads the output head, or the embedding if they are tied.
    pub(super) fn head(&self, source: &impl TensorSource, target: &Target) -> Result<Matrix> {
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        source.matrix(std::slice::from_ref(head), target)
    }

    /// Reads one layer.
    pub(super) fn layer(
        &self,
        index: usize,
        source: &impl TensorSource,
        target: &Target,
    ) -> Result<LayerWeights> {
        let Some(plan) = self.layers.get(index) else {
            return Err(Error::new(ErrorKind::Model, format!("no layer {index}")));
        };
        let linear = |parts: &[Part], biases: &[Part]| -> Result<Linear> {
            Ok(Linear {
                weight: source.matrix(parts, target)?,
                bias: match biases {
                    [] => None,
                    biases => Some(source.vector(biases, target)?),
                },
            })
        };
        let one = |part: &Part| source.vector(std::slice::from_ref(part), target);
        Ok(LayerWeights {
            attention_norm: one(&plan.attention_norm)?,
            qkv: linear(&plan.qkv, &plan.qkv_bias)?,
            query_norm: plan.query_norm.as_ref().map(one).transpose()?,
            key_norm: plan.key_norm.as_ref().map(one).transpose()?,
            attention_output: linear(
                std::slice::from_ref(&plan.output),
                plan.output_bias.as_slice(),
            )?,
            ffn_norm: one(&plan.ffn_norm)?,
            gate_up: linear(&plan.gate_up, &plan.gate_up_bias)?,
            down: linear(std::slice::from_ref(&plan.down), plan.down_bias.as_slice())?,
        })
    }
}

/// Tensors in some files that hold nothing beyond the configuration: tables of RoPE frequencies,
/// and a head next to a tied embedding.
fn ignorable(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
        || matches!(name, "lm_head.weight" | "rope_freqs.weight")
        || name.ends_with(".attn_rot_embd.weight")
}

fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{}`", name.escape_debug()))
        .collect();
    if names.len() > SHOWN {
        text.push(format!("and {} more", names.len() - SHOWN));
    }
    text.join(", ")
}

/// A number type that weights are computed in.
pub(super) trait Element: candle_core::WithDType + Send + Sync {
    const ZERO: Self;
    /// The largest finite number.
    const LARGEST: f32;
    fn from_f32(value: f32) -> Self;
    /// Whether it is the result of rounding a number that is too large for the type.
    fn overflowed(&self) -> bool;
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    const LARGEST: f32 = f32::MAX;
    fn from_f32(value: f32) -> Self {
        value
    }
    fn overflowed(&self) -> bool {
        false
    }
}

impl Element for f16 {
    const ZERO: Self = f16::ZERO;
    const LARGEST: f32 = 65_504.0;
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
    fn overflowed(&self) -> bool {
        self.is_infinite()
    }
}

impl Element for bf16 {
    const ZERO: Self = bf16::ZERO;
    const LARGEST: f32 = 3.389_531_4e38;
    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
    fn overflowed(&self) -> bool {
        self.is_infinite()
    }
}

/// Allocates a buffer of zeros; a failed allocation is an error, not a panic.
fn buffer<T: Element>(length: usize, label: &str) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|error| {
        Error::new(
            ErrorKind::Device,
            format!("{label}: no memory for {length} numbers"),
        )
        .with_source(error)
    })?;
    buffer.resize(length, T::ZERO);
    Ok(buffer)
}

/// Converts a candle error that occurred while weights were read.
pub(super) fn device_error(label: &str, error: candle_core::Error) -> Error {
    Error::new(ErrorKind::Device, format!("{label}: {error}")).with_source(error)
}
