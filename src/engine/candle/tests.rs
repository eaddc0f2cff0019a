//! Compares the candle backend with loops in f64, for every variant.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device};

use super::super::BackendChoice;
use super::super::backend::SequenceId;
use super::super::decoder::{Decoder, decoder_for};
use super::super::kernel_settings::KernelSettings;
use super::super::reference::{
    assert_close, naive_logits, random_tokens, random_weights, tiny, variants,
};
use crate::ErrorKind;
use crate::model::{Architecture, DecoderConfig, Linear, Matrix, Weights};

fn decoder_of(config: &DecoderConfig, weights: &Weights, dtype: DType) -> Box<dyn Decoder> {
    decoder_for(
        config,
        weights.clone(),
        &Device::Cpu,
        dtype,
        BackendChoice::Candle,
        KernelSettings::default(),
    )
    .unwrap()
}

/// Compares ragged prompts, ragged suffixes, and sequences that come and go with each sequence
/// alone.
fn agrees_with_the_reference(
    config: &DecoderConfig,
    weights: &Weights,
    dtype: DType,
    tolerance: f64,
) {
    let mut backend = decoder_of(config, weights, dtype);
    let prompts: Vec<Vec<u32>> = [7, 1, 30]
        .iter()
        .map(|&length| random_tokens(config, length as u64, length))
        .collect();
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let prefixes = backend.prefill(&views).unwrap();
    for ((_, logits), prompt) in prefixes.iter().zip(&prompts) {
        let expected = naive_logits(config, weights, prompt);
        assert_close(logits, &expected, tolerance, "prompt");
    }
    let mut live: Vec<(SequenceId, Vec<u32>)> = Vec::new();
    let mut logits = Vec::new();
    let mut step = 0;
    let feed = |backend: &mut Box<dyn Decoder>,
                live: &mut Vec<(SequenceId, Vec<u32>)>,
                logits: &mut Vec<f32>,
                step: &mut u64,
                skipped: Option<usize>| {
        *step += 1;
        let tokens = random_tokens(config, 1000 + *step, live.len());
        let mut rows = Vec::new();
        let mut fed = Vec::new();
        for (index, ((id, history), token)) in live.iter_mut().zip(tokens).enumerate() {
            if Some(index) != skipped {
                history.push(token);
                rows.push((*id, token));
                fed.push(history.clone());
            }
        }
        backend.decode(&rows, logits).unwrap();
        for (logits, history) in logits.chunks_exact(config.vocab_size).zip(&fed) {
            let expected = naive_logits(config, weights, history);
            assert_close(logits, &expected, tolerance, "sequence");
        }
        assert_eq!(logits.len(), fed.len() * config.vocab_size);
    };
    for index in [2, 0, 1, 0, 2] {
        let id = backend.fork(prefixes[index].0);
        live.push((id, prompts[index].clone()));
        feed(&mut backend, &mut live, &mut logits, &mut step, None);
    }
    feed(&mut backend, &mut live, &mut logits, &mut step, Some(3));
    backend.release_sequence(live.remove(1).0);
    feed(&mut backend, &mut live, &mut logits, &mut step, None);
    let id = backend.fork(prefixes[0].0);
    live.insert(0, (id, prompts[0].clone()));
    for skipped in [Some(0), None, None] {
        feed(&mut backend, &mut live, &mut logits, &mut step, skipped);
    }
    let held = backend.kv_bytes();
    for (id, _) in live {
        backend.release_sequence(id);
    }
    assert!(backend.kv_bytes() < held);
    for (prefix, _) in prefixes {
        backend.release_prefix(prefix);
    }
    assert_eq!(backend.kv_bytes(), 0);
}

#[test]
fn every_variant_agrees_with_the_reference() {
    for (seed, config) in variants().iter().enumerate() {
        let weights = random_weights(config, seed as u64);
        agrees_with_the_reference(config, &weights, DType::F32, 1e-4);
    }
}

#[test]
fn suffixes_longer_than_their_first_capacity() {
    let config = tiny(Architecture::Mistral);
    let weights = random_weights(&config, 5);
    let mut backend = decoder_of(&config, &weights, DType::F32);
    let mut history = random_tokens(&config, 1, 3);
    let prefix = backend.prefill(&[&history]).unwrap()[0].0;
    let (first, second) = (backend.fork(prefix), backend.fork(prefix));
    let mut logits = Vec::new();
    for token in random_tokens(&config, 2, 70) {
        history.push(token);
        backend.decode(&[(first, token)], &mut logits).unwrap();
    }
    assert_close(
        &logits,
        &naive_logits(&config, &weights, &history),
        1e-4,
        "long",
    );
    backend.decode(&[(second, 4)], &mut logits).unwrap();
    let short = [&history[..3], &[4]].concat();
    assert_close(
        &logits,
        &naive_logits(&config, &weights, &short),
        1e-4,
        "short",
    );
}

#[test]
fn prompts_longer_than_a_chunk_of_queries() {
    let config = tiny(Architecture::Mistral);
    let weights = random_weights(&config, 6);
    let mut backend = decoder_of(&config, &weights, DType::F32);
    let long = random_tokens(&config, 3, 530);
    let prompts = [&long[..], &long[..9], &long[..300]];
    for ((_, logits), prompt) in backend.prefill(&prompts).unwrap().iter().zip(prompts) {
        let expected = naive_logits(&config, &weights, prompt);
        assert_close(logits, &expected, 1e-3, "long prompt");
    }
}

/// The same weights in quantized blocks of different types, including the parts of stacked
/// matrices.
#[test]
fn quantized_weights() {
    let mut config = tiny(Architecture::Qwen2);
    (config.hidden_size, config.intermediate_size) = (64, 96);
    (config.heads, config.kv_heads, config.head_dim) = (4, 2, 16);
    config.rope_frequencies = (0..8).map(|i| 0.5f32.powi(i)).collect();
    let mut weights = random_weights(&config, 7);
    let quantize = |matrix: &mut Matrix, types: &[GgmlDType]| {
        let Matrix::Dense(tensor) = &matrix else {
            return;
        };
        let rows = tensor.dim(0).unwrap() / types.len();
        let parts = types.iter().enumerate().map(|(index, &dtype)| {
            let left = tensor.dim(0).unwrap() - index * rows;
            let count = if index + 1 == types.len() { left } else { rows };
            // A copy, because quantization ignores the offset of a view.
            let part = tensor
                .narrow(0, index * rows, count)
                .unwrap()
                .force_contiguous()
                .unwrap();
            QTensor::quantize(&part, dtype).unwrap().into()
        });
        *matrix = Matrix::Quantized(parts.collect());
    };
    use GgmlDType::{F16, Q4_0, Q4_1, Q8_0};
    for layer in &mut weights.layers {
        let quantize =
            |linear: &mut Linear, types: &[GgmlDType]| quantize(&mut linear.weight, types);
        quantize(&mut layer.qkv, &[Q8_0, Q8_0, F16]);
        quantize(&mut layer.attention_output, &[Q8_0]);
        quantize(&mut layer.gate_up, &[Q8_0, Q4_1]);
        quantize(&mut layer.down, &[Q4_0]);
    }
    quantize(&mut weights.embedding, &[Q4_0]);
    quantize(&mut weights.head, &[Q8_0, F16]);
    // Candle rounds the activations of quantized products to 8 bits.
    agrees_with_the_reference(&config, &weights, DType::F32, 0.1);
}

#[test]
fn half_precision() {
    let config = tiny(Architecture::Qwen3);
    let weights = random_weights(&config, 8);
    agrees_with_the_reference(&config, &weights, DType::F16, 0.03);
}

#[test]
fn bad_input_is_an_error() {
    let config = tiny(Architecture::Llama);
    let mut weights = random_weights(&config, 9);
    let mut backend = decoder_of(&config, &weights, DType::F32);
    let mut logits = Vec::new();
    let kind = |result: crate::Result<()>| result.unwrap_err().kind();
    for prompts in [&[&[99u32][..]][..], &[&[1], &[]]] {
        let error = backend.prefill(prompts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert_eq!(backend.kv_bytes(), 0);
    }
    let prefix = backend.prefill(&[&[1, 2]]).unwrap()[0].0;
    let sequence = backend.fork(prefix);
    assert_eq!(
        kind(backend.decode(&[(sequence, 99)], &mut logits)),
        ErrorKind::Data
    );
    let twice = [(sequence, 1), (sequence, 2)];
    assert_eq!(
        kind(backend.decode(&twice, &mut logits)),
        ErrorKind::Settings
    );
    backend.release_sequence(sequence);
    assert_eq!(
        kind(backend.decode(&[(sequence, 1)], &mut logits)),
        ErrorKind::Settings
    );

    let poisoned = weights.layers[1].ffn_norm.affine(f64::NAN, 0.0).unwrap();
    weights.layers[1].ffn_norm = poisoned;
    let cause = decoder_of(&config, &weights, DType::F32).non_finite_weight();
    assert_eq!(cause.unwrap(), "feed-forward norm of layer 1");

    weights.layers[2].ffn_norm = weights.output_norm.narrow(0, 0, 39).unwrap();
    let error = decoder_for(
        &config,
        weights.clone(),
        &Device::Cpu,
        DType::F32,
        BackendChoice::Candle,
        KernelSettings::default(),
    );
    assert!(
        error
            .err()
            .unwrap()
            .detail()
            .contains("feed-forward norm of layer 2")
    );
}
