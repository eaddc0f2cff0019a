//! For tests: tiny random decoders of every variant, and a reference decoder as plain loops in f64
//! over one sequence.

use candle_core::{Device, Tensor};

use crate::Philox;
use crate::model::{Architecture, DecoderConfig, LayerWeights, Linear, Matrix, Weights};

/// A small shape with grouped heads, a head dimension other than `hidden / heads`, and widths that
/// are no multiple of any vector register.
pub(crate) fn tiny(architecture: Architecture) -> DecoderConfig {
    let head_dim = 12;
    DecoderConfig {
        architecture,
        hidden_size: 40,
        intermediate_size: 54,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim,
        vocab_size: 99,
        context_length: 64,
        rms_norm_eps: 1e-5,
        rope_frequencies: (0..head_dim / 2)
            .map(|i| 10_000f32.powf(-(2.0 * i as f32) / head_dim as f32))
            .collect(),
        rope_attention_factor: match architecture {
            Architecture::Qwen2 => 1.125,
            _ => 1.0,
        },
        sliding_windows: match architecture {
            Architecture::Mistral => vec![Some(5), None, Some(20)],
            _ => vec![None; 3],
        },
    }
}

/// A shape of every architecture, and one without grouped heads.
pub(crate) fn variants() -> Vec<DecoderConfig> {
    let mut ungrouped = tiny(Architecture::Llama);
    ungrouped.kv_heads = ungrouped.heads;
    vec![
        tiny(Architecture::Llama),
        tiny(Architecture::Mistral),
        tiny(Architecture::Qwen2),
        tiny(Architecture::Qwen3),
        ungrouped,
    ]
}

/// Random weights of a shape, on the CPU in f32.
pub(crate) fn random_weights(config: &DecoderConfig, seed: u64) -> Weights {
    let random = Philox::new(seed);
    let mut counter = 0;
    let mut tensor = |shape: &[usize], centre: f64, spread: f64| {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count)
            .map(|_| {
                counter += 1;
                (centre + spread * (2.0 * random.uniform(counter) - 1.0)) as f32
            })
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let c = config;
    let heads = c.heads * c.head_dim;
    let qkv = heads + 2 * c.kv_heads * c.head_dim;
    let biased = c.architecture == Architecture::Qwen2;
    let normed = c.architecture == Architecture::Qwen3;
    let mut linear = |out: usize, inner: usize, bias: bool| Linear {
        weight: Matrix::Dense(tensor(&[out, inner], 0.0, 2.5 / (inner as f64).sqrt())),
        bias: bias.then(|| tensor(&[out], 0.0, 0.5)),
    };
    let linears: Vec<[Linear; 4]> = (0..c.layers)
        .map(|_| {
            [
                linear(qkv, c.hidden_size, biased),
                linear(c.hidden_size, heads, false),
                linear(2 * c.intermediate_size, c.hidden_size, false),
                linear(c.hidden_size, c.intermediate_size, false),
            ]
        })
        .collect();
    let mut norm = |width: usize| tensor(&[width], 1.0, 0.3);
    let layers = linears
        .into_iter()
        .map(|[qkv, attention_output, gate_up, down]| LayerWeights {
            attention_norm: norm(c.hidden_size),
            qkv,
            query_norm: normed.then(|| norm(c.head_dim)),
            key_norm: normed.then(|| norm(c.head_dim)),
            attention_output,
            ffn_norm: norm(c.hidden_size),
            gate_up,
            down,
        })
        .collect();
    let output_norm = norm(c.hidden_size);
    let embedding = Matrix::Dense(tensor(&[c.vocab_size, c.hidden_size], 0.0, 1.0));
    let head = if c.architecture == Architecture::Llama {
        embedding.clone()
    } else {
        Matrix::Dense(tensor(&[c.vocab_size, c.hidden_size], 0.0, 0.4))
    };
    Weights {
        embedding,
        layers,
        output_norm,
        head,
    }
}

/// Random tokens.
pub(crate) fn random_tokens(config: &DecoderConfig, seed: u64, length: usize) -> Vec<u32> {
    let random = Philox::new(seed);
    (0..length as u64)
        .map(|i| random.below(i, config.vocab_size as u64) as u32)
        .collect()
}

/// Returns the logits `[vocab]` after the last token of one sequence.
pub(crate) fn naive_logits(config: &DecoderConfig, weights: &Weights, tokens: &[u32]) -> Vec<f64> {
    naive_logits_keeping(config, weights, tokens, |x| x)
}

/// The same with a KV cache rounded by `keep`.
pub(crate) fn naive_logits_keeping(
    config: &DecoderConfig,
    weights: &Weights,
    tokens: &[u32],
    keep: impl Fn(f64) -> f64,
) -> Vec<f64> {
    let c = config;
    let embedding = matrix(&weights.embedding);
    let mut rows: Vec<Vec<f64>> = tokens
        .iter()
        .map(|&token| embedding[token as usize].clone())
        .collect();
    for (layer, window) in weights.layers.iter().zip(&c.sliding_windows) {
        let (qkv, output) = (
            matrix(&layer.qkv.weight),
            matrix(&layer.attention_output.weight),
        );
        let (gate_up, down) = (matrix(&layer.gate_up.weight), matrix(&layer.down.weight));
        let bias = layer.qkv.bias.as_ref().map(vector);
        let mut heads: Vec<Vec<Vec<f64>>> = Vec::new();
        for (position, row) in rows.iter().enumerate() {
            let normed = rms_norm(row, &vector(&layer.attention_norm), c.rms_norm_eps);
            let mut joined = product(&qkv, &normed);
            if let Some(bias) = &bias {
                joined.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
            }
            let mut split: Vec<Vec<f64>> = joined.chunks(c.head_dim).map(<[f64]>::to_vec).collect();
            for (index, head) in split.iter_mut().enumerate() {
                let norm = if index < c.heads {
                    &layer.query_norm
                } else {
                    &layer.key_norm
                };
                if index < c.heads + c.kv_heads {
                    if let Some(norm) = norm {
                        *head = rms_norm(head, &vector(norm), c.rms_norm_eps);
                    }
                    rotate(head, position, c);
                }
                if index >= c.heads {
                    head.iter_mut().for_each(|x| *x = keep(*x));
                }
            }
            heads.push(split);
        }
        for query in 0..rows.len() {
            let first = window.map_or(0, |window| (query + 1).saturating_sub(window));
            let mut attended = Vec::new();
            for head in 0..c.heads {
                let key_head = c.heads + head / (c.heads / c.kv_heads);
                let scores: Vec<f64> = (first..=query)
                    .map(|key| {
                        let product = dot(&heads[query][head], &heads[key][key_head]);
                        (product / (c.head_dim as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                let mut sum = vec![0.0; c.head_dim];
                for (score, key) in scores.iter().zip(first..) {
                    let values = &heads[key][key_head + c.kv_heads];
                    sum.iter_mut()
                        .zip(values)
                        .for_each(|(sum, value)| *sum += score / total * value);
                }
                attended.extend(sum);
            }
            add(&mut rows[query], &product(&output, &attended));
        }
        for row in &mut rows {
            let normed = rms_norm(row, &vector(&layer.ffn_norm), c.rms_norm_eps);
            let joined = product(&gate_up, &normed);
            let (gate, up) = joined.split_at(c.intermediate_size);
            let gated: Vec<f64> = gate
                .iter()
                .zip(up)
                .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
                .collect();
            add(row, &product(&down, &gated));
        }
    }
    let last = rms_norm(
        &rows[tokens.len() - 1],
        &vector(&weights.output_norm),
        c.rms_norm_eps,
    );
    product(&matrix(&weights.head), &last)
}

/// Asserts that logits equal the reference within `tolerance` of its spread.
pub(crate) fn assert_close(logits: &[f32], reference: &[f64], tolerance: f64, what: &str) {
    assert_eq!(logits.len(), reference.len(), "{what}: number of logits");
    let spread = reference.iter().fold(0f64, |most, x| most.max(x.abs()));
    for (token, (&logit, expected)) in logits.iter().zip(reference).enumerate() {
        let error = (f64::from(logit) - expected).abs();
        assert!(
            error <= tolerance * spread,
            "{what}: logit {token} is {logit}, not {expected}"
        );
    }
}

fn vector(tensor: &Tensor) -> Vec<f64> {
    let values: Vec<f32> = tensor.to_vec1().unwrap();
    values.into_iter().map(f64::from).collect()
}

fn matrix(matrix: &Matrix) -> Vec<Vec<f64>> {
    let tensor = match matrix {
        Matrix::Dense(tensor) => tensor.clone(),
        Matrix::Random(_) => panic!("random weights are made on a device"),
        Matrix::Quantized(parts) => {
            let parts: Vec<Tensor> = parts
                .iter()
                .map(|part| part.dequantize(&Device::Cpu).unwrap())
                .collect();
            Tensor::cat(&parts, 0).unwrap()
        }
    };
    let rows: Vec<Vec<f32>> = tensor.to_vec2().unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().map(f64::from).collect())
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn product(matrix: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| dot(row, x)).collect()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn rms_norm(x: &[f64], weight: &[f64], eps: f32) -> Vec<f64> {
    let scale = (dot(x, x) / x.len() as f64 + f64::from(eps)).sqrt().recip();
    x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
}

fn rotate(head: &mut [f64], position: usize, config: &DecoderConfig) {
    let half = head.len() / 2;
    let factor = f64::from(config.rope_attention_factor);
    for (i, &frequency) in config.rope_frequencies.iter().enumerate() {
        let (sin, cos) = (position as f64 * f64::from(frequency)).sin_cos();
        let (sin, cos) = (sin * factor, cos * factor);
        let (a, b) = (head[i], head[i + half]);
        head[i] = a * cos - b * sin;
        head[i + half] = a * sin + b * cos;
    }
}
