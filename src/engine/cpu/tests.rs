//! Compares the CPU kernels with loops in f64 and with the candle backend, and their bits across
//! batches, thread counts and splits.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

use super::super::BackendChoice;
use super::super::backend::SequenceId;
use super::super::decoder::{Decoder, decoder_for};
use super::super::kernel_settings::{Instructions, KernelSettings, KvType};
use super::super::reference::{
    assert_close, naive_logits, naive_logits_keeping, random_tokens, random_weights, tiny, variants,
};
use super::Cpu;
use crate::ErrorKind;
use crate::model::{Architecture, DecoderConfig, Matrix, Weights};

const KV_TYPES: [KvType; 2] = [KvType::F32, KvType::F16];

fn kernels(kv_type: KvType, instructions: Instructions) -> KernelSettings {
    KernelSettings {
        kv_type,
        instructions,
        ..KernelSettings::default()
    }
}

fn kept_as(kv_type: KvType) -> KernelSettings {
    kernels(kv_type, Instructions::default())
}

/// Returns the logits after each of `tokens`, fed one by one to a single sequence.
fn alone(backend: &mut dyn Decoder, prompt: &[u32], tokens: &[u32]) -> Vec<Vec<f32>> {
    let (prefix, first) = backend.prefill(&[prompt]).unwrap().remove(0);
    let sequence = backend.fork(prefix);
    let mut all = vec![first];
    for &token in tokens {
        let mut logits = Vec::new();
        backend.decode(&[(sequence, token)], &mut logits).unwrap();
        all.push(logits);
    }
    backend.release_sequence(sequence);
    backend.release_prefix(prefix);
    all
}

/// The tokens fed to one sequence, and the step at which it starts.
struct Script {
    prompt: usize,
    tokens: Vec<u32>,
    start: usize,
}

/// Prompts of several lengths, and sequences of several lengths that start at several steps.
fn scripts(config: &DecoderConfig, count: usize) -> (Vec<Vec<u32>>, Vec<Script>) {
    let prompts: Vec<Vec<u32>> = [21, 1, 16, 40]
        .iter()
        .map(|&length| random_tokens(config, 100 + length as u64, length))
        .collect();
    let scripts = (0..count)
        .map(|index| Script {
            prompt: index * index % 4,
            tokens: random_tokens(config, 200 + index as u64, 1 + index * 13 % 37),
            start: index * 5 % 11,
        })
        .collect();
    (prompts, scripts)
}

/// Runs all scripts together. Returns for each the logits after the prompt and after each token.
fn together(
    backend: &mut dyn Decoder,
    prompts: &[Vec<u32>],
    scripts: &[Script],
) -> Vec<Vec<Vec<f32>>> {
    let views: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let prefixes = backend.prefill(&views).unwrap();
    let mut all: Vec<Vec<Vec<f32>>> = scripts
        .iter()
        .map(|script| vec![prefixes[script.prompt].1.clone()])
        .collect();
    let mut sequences: Vec<Option<SequenceId>> = vec![None; scripts.len()];
    let last = scripts.iter().map(|s| s.start + s.tokens.len()).max();
    for step in 0..last.unwrap() {
        let mut rows = Vec::new();
        let mut owners = Vec::new();
        for (index, script) in scripts.iter().enumerate() {
            if step == script.start {
                sequences[index] = Some(backend.fork(prefixes[script.prompt].0));
            }
            let token = step.checked_sub(script.start);
            let token = token.and_then(|token| script.tokens.get(token));
            match (sequences[index], token) {
                (Some(sequence), Some(&token)) => {
                    rows.push((sequence, token));
                    owners.push(index);
                }
                (Some(sequence), None) => {
                    backend.release_sequence(sequence);
                    sequences[index] = None;
                }
                _ => {}
            }
        }
        let mut logits = Vec::new();
        backend.decode(&rows, &mut logits).unwrap();
        for (owner, logits) in owners
            .into_iter()
            .zip(logits.chunks_exact(backend.vocab_size()))
        {
            all[owner].push(logits.to_vec());
        }
    }
    sequences
        .into_iter()
        .flatten()
        .for_each(|sequence| backend.release_sequence(sequence));
    for (prefix, _) in prefixes {
        backend.release_prefix(prefix);
    }
    assert_eq!(backend.kv_bytes(), 0);
    all
}

#[test]
fn every_variant_agrees_with_the_reference_and_with_candle_operations() {
    for (seed, config) in variants().iter().enumerate() {
        let weights = random_weights(config, seed as u64);
        let (prompts, scripts) = scripts(config, 9);
        let device = Device::Cpu;
        let mut plain = decoder_for(
            config,
            weights.clone(),
            &device,
            DType::F32,
            BackendChoice::Candle,
            KernelSettings::default(),
        )
        .unwrap();
        let plain = together(&mut *plain, &prompts, &scripts);
        for instructions in Instructions::available() {
            let kernels = kernels(KvType::F32, instructions);
            let mut cpu = Cpu::new(config, weights.clone(), kernels).unwrap();
            let cpu = together(&mut cpu, &prompts, &scripts);
            for ((script, cpu), plain) in scripts.iter().zip(&cpu).zip(&plain) {
                assert_eq!(cpu.len(), script.tokens.len() + 1);
                for (cpu, plain) in cpu.iter().zip(plain) {
                    let plain: Vec<f64> = plain.iter().map(|&x| f64::from(x)).collect();
                    assert_close(cpu, &plain, 1e-4, "candle operations");
                }
                let history = [&prompts[script.prompt][..], &script.tokens].concat();
                let expected = naive_logits(config, &weights, &history);
                assert_close(cpu.last().unwrap(), &expected, 1e-4, "reference");
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_batch() {
    for config in variants() {
        let weights = random_weights(&config, 11);
        let (prompts, scripts) = scripts(&config, 33);
        let kinds =
            KV_TYPES.map(|kv_type| Instructions::available().map(move |set| (kv_type, set)));
        for (kv_type, set) in kinds.into_iter().flatten() {
            let mut cpu = Cpu::new(&config, weights.clone(), kernels(kv_type, set)).unwrap();
            let batched = together(&mut cpu, &prompts, &scripts);
            for (script, batched) in scripts.iter().zip(&batched) {
                let alone = alone(&mut cpu, &prompts[script.prompt], &script.tokens);
                assert!(alone == *batched, "{:?} {set}", config.architecture);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let config = tiny(Architecture::Mistral);
    let weights = random_weights(&config, 12);
    let (prompts, scripts) = scripts(&config, 20);
    let mut of_types = Vec::new();
    for kv_type in KV_TYPES {
        let results = [1, 2, 7].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let mut cpu = Cpu::new(&config, weights.clone(), kept_as(kv_type)).unwrap();
                together(&mut cpu, &prompts, &scripts)
            })
        });
        assert!(results[0] == results[1] && results[0] == results[2]);
        of_types.extend(results.into_iter().next());
    }
    assert!(of_types[0] != of_types[1], "f16 rounds nothing");
}

/// A sequence that is resumed by prefilling its tokens, or by feeding them again, gets the same
/// logits.
#[test]
fn bits_do_not_depend_on_where_the_prompt_ends() {
    for config in variants() {
        let weights = random_weights(&config, 13);
        let history = random_tokens(&config, 14, 140);
        for kv_type in KV_TYPES {
            let mut cpu = Cpu::new(&config, weights.clone(), kept_as(kv_type)).unwrap();
            let fed = alone(&mut cpu, &history[..1], &history[1..]);
            for split in [2, 15, 16, 17, 64, 79, 129, 139] {
                let (prompt, tokens) = history.split_at(split);
                let resumed = alone(&mut cpu, prompt, tokens);
                assert!(resumed[..] == fed[split - 1..], "{:?}", config.architecture);
            }
        }
    }
}

#[test]
fn long_prompts_and_long_suffixes() {
    let config = tiny(Architecture::Mistral);
    let weights = random_weights(&config, 15);
    let long = random_tokens(&config, 16, 600);
    let mut cpu = Cpu::new(&config, weights.clone(), kept_as(KvType::F32)).unwrap();
    let prompts = [&long[..530], &long[..3], &long[..256]];
    let prefixes = cpu.prefill(&prompts).unwrap();
    for ((_, logits), prompt) in prefixes.iter().zip(prompts) {
        let expected = naive_logits(&config, &weights, prompt);
        assert_close(logits, &expected, 1e-3, "long prompt");
    }
    let logits = alone(&mut cpu, &long[..10], &long[10..200]);
    let expected = naive_logits(&config, &weights, &long[..200]);
    assert_close(logits.last().unwrap(), &expected, 1e-3, "long suffix");
}

/// An f16 KV cache is the reference's, rounded: the result is closer to the reference with a
/// rounded cache than with an f32 one. It takes half the memory.
#[test]
fn a_kv_cache_of_sixteen_bits() {
    let round = |x: f64| half::f16::from_f64(x).to_f64();
    for config in variants() {
        let weights = random_weights(&config, 21);
        let history = random_tokens(&config, 22, 90);
        let whole = naive_logits(&config, &weights, &history);
        let rounded = naive_logits_keeping(&config, &weights, &history, round);
        let mut cpu = Cpu::new(&config, weights.clone(), kept_as(KvType::F16)).unwrap();
        for split in [3, 70] {
            let (prompt, tokens) = history.split_at(split);
            let logits = alone(&mut cpu, prompt, tokens);
            let logits = logits.last().unwrap();
            let distance = |from: &[f64]| {
                let pairs = logits.iter().zip(from);
                pairs.map(|(&x, y)| (f64::from(x) - y).powi(2)).sum::<f64>()
            };
            assert_close(logits, &whole, 1e-2, "whole KV cache");
            // Both round the same numbers, except for a few ties.
            assert_close(logits, &rounded, 1e-3, "a rounded KV cache");
            assert!(2.0 * distance(&rounded) < distance(&whole));
        }
        let bytes = |kv_type| {
            let mut cpu = Cpu::new(&config, weights.clone(), kept_as(kv_type)).unwrap();
            let prefix = cpu.prefill(&[&history]).unwrap()[0].0;
            let sequence = cpu.fork(prefix);
            cpu.decode(&[(sequence, 1)], &mut Vec::new()).unwrap();
            (cpu.kv_bytes(), cpu.prefix_bytes(90) + cpu.suffix_bytes(1))
        };
        let (f32, f16) = (bytes(KvType::F32), bytes(KvType::F16));
        assert_eq!((f32.0, f16.0), (f32.1, f16.1));
        assert_eq!(f32.0, 2 * f16.0);
    }
    // The candle backend ignores the type of the KV cache.
    let config = tiny(Architecture::Llama);
    let weights = random_weights(&config, 21);
    let choice = BackendChoice::Candle;
    let plain = decoder_for(
        &config,
        weights,
        &Device::Cpu,
        DType::F32,
        choice,
        kept_as(KvType::F16),
    );
    assert_eq!(plain.err().unwrap().kind(), ErrorKind::Settings);
}

/// 16-bit weights are used as stored: bit-identical to converting them first.
#[test]
fn sixteen_bit_weights_are_exact() {
    let config = tiny(Architecture::Qwen2);
    for dtype in [DType::F16, DType::BF16] {
        let cast = |matrix: &mut Matrix, dtype| {
            if let Matrix::Dense(tensor) = matrix {
                *tensor = tensor.to_dtype(dtype).unwrap();
            }
        };
        let cast_all = |weights: &mut Weights, dtype| {
            cast(&mut weights.embedding, dtype);
            cast(&mut weights.head, dtype);
            for layer in &mut weights.layers {
                let projections = [
                    &mut layer.qkv,
                    &mut layer.attention_output,
                    &mut layer.gate_up,
                    &mut layer.down,
                ];
                for projection in projections {
                    cast(&mut projection.weight, dtype);
                }
            }
        };
        let mut weights = random_weights(&config, 17);
        cast_all(&mut weights, dtype);
        let (prompts, scripts) = scripts(&config, 5);
        let choice = BackendChoice::Auto;
        let mut half = decoder_for(
            &config,
            weights.clone(),
            &Device::Cpu,
            dtype,
            choice,
            KernelSettings::default(),
        )
        .unwrap();
        let half = together(&mut *half, &prompts, &scripts);
        cast_all(&mut weights, DType::F32);
        let mut single = Cpu::new(&config, weights.clone(), kept_as(KvType::F32)).unwrap();
        assert!(half == together(&mut single, &prompts, &scripts));
    }
}

/// Quantized weights with Q, K and V of different types, and the same weights dequantized.
fn quantized(config: &DecoderConfig, seed: u64) -> (Weights, Weights) {
    let (mut blocks, mut dense) = (random_weights(config, seed), random_weights(config, seed));
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    let halves = [config.intermediate_size; 2];
    let convert = |blocks: &mut Matrix, dense: &mut Matrix, rows: &[usize], types: &[GgmlDType]| {
        let Matrix::Dense(tensor) = &*blocks else {
            panic!("quantized already");
        };
        let mut first = 0;
        let parts: Vec<Arc<QTensor>> = rows
            .iter()
            .zip(types)
            .map(|(&rows, &dtype)| {
                // A copy, because quantization ignores the offset of a view.
                let part = tensor.narrow(0, first, rows).unwrap();
                let part = part.affine(1.0, 0.0).unwrap();
                first += rows;
                Arc::new(QTensor::quantize(&part, dtype).unwrap())
            })
            .collect();
        let wide: Vec<Tensor> = parts
            .iter()
            .map(|part| part.dequantize(&Device::Cpu).unwrap())
            .collect();
        *dense = Matrix::Dense(Tensor::cat(&wide, 0).unwrap());
        *blocks = Matrix::Quantized(parts);
    };
    use GgmlDType::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
    for (blocks, dense) in blocks.layers.iter_mut().zip(&mut dense.layers) {
        let qkv = [queries, keys, keys];
        let (from, to) = (&mut blocks.qkv.weight, &mut dense.qkv.weight);
        convert(from, to, &qkv, &[Q4_0, Q5_0, Q8_0]);
        let (from, to) = (&mut blocks.attention_output, &mut dense.attention_output);
        convert(
            &mut from.weight,
            &mut to.weight,
            &[config.hidden_size],
            &[Q4_1],
        );
        let (from, to) = (&mut blocks.gate_up.weight, &mut dense.gate_up.weight);
        convert(from, to, &halves, &[Q4_1, Q5_1]);
        let (from, to) = (&mut blocks.down.weight, &mut dense.down.weight);
        convert(from, to, &[config.hidden_size], &[Q5_0]);
    }
    let vocab = [config.vocab_size];
    let tied = config.architecture == Architecture::Llama;
    convert(&mut blocks.embedding, &mut dense.embedding, &vocab, &[Q8_0]);
    if tied {
        blocks.head = blocks.embedding.clone();
        dense.head = dense.embedding.clone();
    } else {
        convert(&mut blocks.head, &mut dense.head, &vocab, &[Q4_0]);
    }
    (blocks, dense)
}

/// Blocks are used as stored: bit-identical to dequantizing them first, in every batch, with less
/// memory.
#[test]
fn quantized_weights_are_exact() {
    for architecture in [Architecture::Llama, Architecture::Qwen2] {
        let config = DecoderConfig {
            hidden_size: 64,
            intermediate_size: 96,
            heads: 8,
            ..tiny(architecture)
        };
        let (blocks, dense) = quantized(&config, 19);
        let (prompts, scripts) = scripts(&config, 9);
        let mut cpu = Cpu::new(&config, blocks.clone(), kept_as(KvType::F32)).unwrap();
        let mut wide = Cpu::new(&config, dense.clone(), kept_as(KvType::F32)).unwrap();
        let together_blocks = together(&mut cpu, &prompts, &scripts);
        assert!(together_blocks == together(&mut wide, &prompts, &scripts));
        for (script, together) in scripts.iter().zip(&together_blocks) {
            let alone = alone(&mut cpu, &prompts[script.prompt], &script.tokens);
            assert!(alone == *together);
        }
        let history = [&prompts[scripts[0].prompt][..], &scripts[0].tokens].concat();
        let expected = naive_logits(&config, &dense, &history);
        let last = together_blocks[0].last().unwrap();
        assert_close(last, &expected, 1e-4, "reference");
        assert!(3 * cpu.weight_bytes() < wide.weight_bytes());
        // `Auto` chooses it, with checked output.
        let auto = BackendChoice::Auto;
        let mut auto = decoder_for(
            &config,
            blocks,
            &Device::Cpu,
            DType::F32,
            auto,
            KernelSettings::default(),
        )
        .unwrap();
        assert!(together_blocks == together(&mut *auto, &prompts, &scripts));
        assert_eq!(auto.weight_bytes(), cpu.weight_bytes());
    }
}

#[test]
fn bad_input_is_an_error() {
    let config = tiny(Architecture::Llama);
    let mut weights = random_weights(&config, 18);
    let device = Device::Cpu;
    let auto = |weights: &Weights| {
        decoder_for(
            &config,
            weights.clone(),
            &device,
            DType::F32,
            BackendChoice::Auto,
            KernelSettings::default(),
        )
        .unwrap()
    };
    let mut cpu = auto(&weights);
    let mut logits = Vec::new();
    let prefix = cpu.prefill(&[&[1, 2]]).unwrap()[0].0;
    let sequence = cpu.fork(prefix);
    for (rows, kind) in [
        (&[(sequence, 99)][..], ErrorKind::Data),
        (&[(sequence, 1), (sequence, 2)], ErrorKind::Settings),
        (&[(SequenceId(u64::MAX), 1)], ErrorKind::Settings),
    ] {
        assert_eq!(cpu.decode(rows, &mut logits).unwrap_err().kind(), kind);
    }
    cpu.decode(&[(sequence, 98)], &mut logits).unwrap();
    cpu.decode(&[], &mut logits).unwrap();
    assert!(logits.is_empty());
    assert_eq!(cpu.prefill(&[]).unwrap().len(), 0);

    if let Matrix::Dense(tensor) = &mut weights.layers[2].down.weight {
        *tensor = tensor.affine(f64::INFINITY, 0.0).unwrap();
    }
    let cause = auto(&weights).non_finite_weight().unwrap();
    assert_eq!(cause, "down projection of layer 2");
}
