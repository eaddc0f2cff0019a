//! Checks a decoder's weights: their shapes against the configuration, and whether they are finite.
//!
//! Depends on the weights' names for messages, but not on how they are used.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Tensor};

use crate::model::{DecoderConfig, LayerWeights, Linear, Matrix, Weights};
use crate::{Error, ErrorKind, Result};

/// Names of a layer's linear projections, for messages.
pub(super) const PROJECTIONS: [&str; 4] = [
    "query, key and value projection",
    "attention output projection",
    "gate and up projection",
    "down projection",
];

/// All matrices of a decoder with their names for messages.
pub(super) fn matrices(weights: &Weights) -> impl Iterator<Item = (String, &Matrix)> {
    let layers = weights
        .layers
        .iter()
        .enumerate()
        .flat_map(|(i, layer)| linears(i, layer).map(|(name, linear)| (name, &linear.weight)));
    [
        ("embedding".to_string(), &weights.embedding),
        ("output head".to_string(), &weights.head),
    ]
    .into_iter()
    .chain(layers)
}

fn linears(index: usize, layer: &LayerWeights) -> impl Iterator<Item = (String, &Linear)> {
    let linears = [
        &layer.qkv,
        &layer.attention_output,
        &layer.gate_up,
        &layer.down,
    ];
    PROJECTIONS
        .into_iter()
        .zip(linears)
        .map(move |(name, linear)| (format!("{name} of layer {index}"), linear))
}

/// All vectors of a decoder with their names for messages.
fn vectors(weights: &Weights) -> impl Iterator<Item = (String, &Tensor)> {
    let layers = weights.layers.iter().enumerate().flat_map(|(i, layer)| {
        let norms = [
            ("attention norm", Some(&layer.attention_norm)),
            ("query norm", layer.query_norm.as_ref()),
            ("key norm", layer.key_norm.as_ref()),
            ("feed-forward norm", Some(&layer.ffn_norm)),
        ]
        .into_iter()
        .filter_map(move |(name, tensor)| Some((format!("{name} of layer {i}"), tensor?)));
        let biases = linears(i, layer).filter_map(|(name, linear)| {
            Some((format!("bias of the {name}"), linear.bias.as_ref()?))
        });
        norms.chain(biases)
    });
    std::iter::once(("output norm".to_string(), &weights.output_norm)).chain(layers)
}

/// Bytes of a decoder's weights. A tied output head is not counted again.
pub(super) fn stored_bytes(weights: &Weights) -> usize {
    let tensor = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
    let matrix = |matrix: &Matrix| match matrix {
        Matrix::Dense(dense) => tensor(dense),
        Matrix::Quantized(parts) => parts.iter().map(|part| part.storage_size_in_bytes()).sum(),
        // Random weights are not stored yet.
        Matrix::Random(_) => 0,
    };
    let all: usize = matrices(weights).map(|(_, weight)| matrix(weight)).sum();
    let shared = match is_tied(weights) {
        true => matrix(&weights.head),
        false => 0,
    };
    all - shared
        + vectors(weights)
            .map(|(_, vector)| tensor(vector))
            .sum::<usize>()
}

/// Whether the output head is tied to the embedding.
pub(super) fn is_tied(weights: &Weights) -> bool {
    match (&weights.embedding, &weights.head) {
        (Matrix::Dense(embedding), Matrix::Dense(head)) => embedding.id() == head.id(),
        (Matrix::Random(embedding), Matrix::Random(head)) => embedding == head,
        (Matrix::Quantized(embedding), Matrix::Quantized(head)) => {
            embedding.len() == head.len()
                && embedding
                    .iter()
                    .zip(head)
                    .all(|(embedding, head)| Arc::ptr_eq(embedding, head))
        }
        _ => false,
    }
}

/// Whether all values of a tensor are finite; `true` if this cannot be determined.
pub(super) fn is_finite(tensor: &Tensor) -> bool {
    // A finite number times 0 is 0; infinity and NaN give NaN.
    let sum = |tensor: &Tensor| -> candle_core::Result<f32> {
        let zero = tensor.to_dtype(DType::F32)?.affine(0.0, 0.0)?;
        zero.sum_all()?.to_scalar()
    };
    sum(tensor).map_or(true, |sum| sum == 0.0)
}

/// The name of the first tensor with a non-finite value.
pub(super) fn non_finite_weight(weights: &Weights) -> Option<String> {
    let all_finite = |matrix: &Matrix| match matrix {
        Matrix::Dense(tensor) => is_finite(tensor),
        Matrix::Random(_) => true,
        Matrix::Quantized(parts) => parts.iter().all(|part| {
            let dense = part.dequantize(&part.device());
            dense.map_or(true, |dense| is_finite(&dense))
        }),
    };
    vectors(weights)
        .find(|(_, tensor)| !is_finite(tensor))
        .map(|(name, _)| name)
        .or_else(|| {
            matrices(weights)
                .find(|(_, matrix)| !all_finite(matrix))
                .map(|(name, _)| name)
        })
}

/// Fails unless every weight has the configured shape, so that kernels need not check again.
pub(super) fn check_shapes(config: &DecoderConfig, weights: &Weights) -> Result<()> {
    let c = config;
    let bad = |reason: String| Err(Error::new(ErrorKind::Model, reason));
    if c.heads == 0 || c.kv_heads == 0 || !c.heads.is_multiple_of(c.kv_heads) {
        return bad(format!(
            "{} query heads cannot share {} key and value heads",
            c.heads, c.kv_heads
        ));
    }
    if c.head_dim == 0 || c.head_dim != 2 * c.rope_frequencies.len() {
        return bad(format!(
            "a head of width {} cannot be rotated by {} frequencies",
            c.head_dim,
            c.rope_frequencies.len()
        ));
    }
    if [c.hidden_size, c.intermediate_size, c.vocab_size].contains(&0) {
        return bad("a decoder cannot have a width of 0".to_string());
    }
    if weights.layers.len() != c.layers || c.sliding_windows.len() != c.layers {
        return bad(format!(
            "{} layers configured, {} given, attention windows for {}",
            c.layers,
            weights.layers.len(),
            c.sliding_windows.len()
        ));
    }
    if c.sliding_windows.contains(&Some(0)) {
        return bad("a sliding window of 0 positions".to_string());
    }
    let heads = c.heads * c.head_dim;
    let qkv = heads + 2 * c.kv_heads * c.head_dim;
    let mut expected = vec![(c.vocab_size, c.hidden_size), (c.vocab_size, c.hidden_size)];
    for _ in 0..c.layers {
        expected.extend([
            (qkv, c.hidden_size),
            (c.hidden_size, heads),
            (2 * c.intermediate_size, c.hidden_size),
            (c.hidden_size, c.intermediate_size),
        ]);
    }
    for ((name, matrix), (rows, columns)) in matrices(weights).zip(expected) {
        let shape = match matrix {
            Matrix::Dense(tensor) => tensor.dims().to_vec(),
            Matrix::Random(parts) if parts.iter().all(|part| part.columns == columns) => {
                vec![parts.iter().map(|part| part.rows).sum(), columns]
            }
            Matrix::Random(_) => return bad(format!("parts of the {name} do not fit together")),
            Matrix::Quantized(parts) => match stacked_shape(parts) {
                Some((rows, columns)) => vec![rows, columns],
                None => return bad(format!("parts of the {name} do not fit together")),
            },
        };
        if shape != [rows, columns] {
            return bad(format!("{name} is {shape:?}, not [{rows}, {columns}]"));
        }
    }
    for (i, layer) in weights.layers.iter().enumerate() {
        for ((name, linear), rows) in
            linears(i, layer).zip([qkv, c.hidden_size, 2 * c.intermediate_size, c.hidden_size])
        {
            if let Some(bias) = &linear.bias
                && bias.dims() != [rows]
            {
                return bad(format!(
                    "bias of the {name} is {:?}, not [{rows}]",
                    bias.dims()
                ));
            }
        }
        for (name, norm, width) in [
            ("attention", Some(&layer.attention_norm), c.hidden_size),
            ("feed-forward", Some(&layer.ffn_norm), c.hidden_size),
            ("query", layer.query_norm.as_ref(), c.head_dim),
            ("key", layer.key_norm.as_ref(), c.head_dim),
        ] {
            if let Some(norm) = norm
                && norm.dims() != [width]
            {
                return bad(format!(
                    "{name} norm of layer {i} is {:?}, not [{width}]",
                    norm.dims()
                ));
            }
        }
    }
    if weights.output_norm.dims() != [c.hidden_size] {
        return bad(format!(
            "output norm is {:?}, not [{}]",
            weights.output_norm.dims(),
            c.hidden_size
        ));
    }
    Ok(())
}

fn stacked_shape(parts: &[Arc<QTensor>]) -> Option<(usize, usize)> {
    let mut stacked: Option<(usize, usize)> = None;
    for part in parts {
        let (rows, columns) = part.shape().dims2().ok()?;
        stacked = match stacked {
            None => Some((rows, columns)),
            Some((above, width)) if width == columns => Some((above + rows, columns)),
            Some(_) => return None,
        };
    }
    stacked
}
