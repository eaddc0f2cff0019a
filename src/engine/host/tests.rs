//! Tests steps, sequences and draws of the host-sampled backend on tiny models with random weights.

use candle_core::{DType, Device};

use super::super::BackendChoice;
use super::super::decoder::decoder_for;
use super::super::kernel_settings::KernelSettings;
use super::super::reference::{random_weights, tiny};
use super::super::sampler::weight_bits;
use super::*;
use crate::Philox;
use crate::model::{Architecture, DecoderConfig, Matrix, Weights};

fn backend(config: &DecoderConfig, weights: &Weights, choice: BackendChoice) -> Box<dyn Backend> {
    let kernels = KernelSettings::default();
    let weights = weights.clone();
    let decoder = decoder_for(config, weights, &Device::Cpu, DType::F32, choice, kernels);
    Box::new(HostSampled::new(decoder.unwrap(), 2))
}

fn row(sequence: SequenceId, input: Input, draw: Option<u64>) -> StepRow {
    StepRow {
        sequence,
        input,
        draw: draw.map(|position| (Philox::new(3), position)),
    }
}

/// Tokens fed back as drawn, and the same tokens recomputed, lead to the same draws, each with the
/// probability that the logits give. Rows of one step use their own settings.
#[test]
fn drawn_and_recomputed_tokens_lead_to_the_same_draws() {
    let config = tiny(Architecture::Llama);
    let weights = random_weights(&config, 4);
    let mut backend = backend(&config, &weights, BackendChoice::Auto);
    let prefix = backend.prefill(&[&[1, 2, 3]]).unwrap()[0];
    let penalised = Sampling {
        repetition_penalty: 1.5,
        ..Sampling::default()
    };
    let settings = [Sampling::greedy(), Sampling::dart(), penalised];
    let sequences = settings.map(|sampling| backend.fork(prefix, &sampling));
    let mut drawn: Vec<Vec<Drawn>> = vec![Vec::new(); settings.len()];
    for position in 0..12 {
        let input = match position {
            0 => Input::Prefix,
            _ => Input::Drawn,
        };
        let rows = sequences.map(|sequence| row(sequence, input, Some(position)));
        backend.issue(&rows).unwrap();
        let draws = backend.collect().unwrap();
        drawn
            .iter_mut()
            .zip(draws)
            .for_each(|(all, one)| all.push(one));
    }
    for ((sequence, sampling), drawn) in sequences.into_iter().zip(settings).zip(&drawn) {
        backend.release_sequence(sequence);
        let again = backend.fork(prefix, &sampling);
        let tokens: Vec<u32> = drawn.iter().map(|drawn| drawn.token).collect();
        for (position, &token) in tokens[..11].iter().enumerate() {
            let last = (position == 10).then_some(11);
            backend
                .issue(&[row(again, Input::Token(token), last)])
                .unwrap();
            let draws = backend.collect().unwrap();
            assert_eq!(draws, drawn[11..][..usize::from(last.is_some())]);
        }
        backend.release_sequence(again);
        let mut at = 0;
        let mut show = |logits: &[f32]| {
            let max = logits.iter().fold(f32::MIN, |a, &b| a.max(b));
            let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
            let one = drawn[at];
            let logit = logits[one.token as usize];
            assert_eq!((one.logit, one.max, one.finite), (logit, max, true));
            let exact = f64::from(logit - max) - sum.ln();
            let logprob = one.logprob(weight_bits(logits.len()));
            assert!((logprob - exact).abs() < 1e-6, "{logprob} {exact}");
            at += 1;
        };
        backend
            .follow(&[1, 2, 3], &tokens[..11], &mut show)
            .unwrap();
        assert_eq!(at, 12);
    }
    backend.release_prefix(prefix);
    assert_eq!(backend.kv_bytes(), 0);
}

#[test]
fn bad_steps_are_errors() {
    let config = tiny(Architecture::Llama);
    let weights = random_weights(&config, 5);
    for choice in [BackendChoice::Auto, BackendChoice::Candle] {
        let mut backend = backend(&config, &weights, choice);
        let kind = |result: Result<()>| result.unwrap_err().kind();
        let error = backend.prefill(&[&[1], &[]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        let prefix = backend.prefill(&[&[1, 2]]).unwrap()[0];
        let sampling = Sampling::default();
        let one = backend.fork(prefix, &sampling);
        let unknown = backend.fork(PrefixId(u64::MAX), &sampling);
        let start = row(one, Input::Prefix, Some(0));
        for (rows, expected) in [
            (&[start, start][..], ErrorKind::Settings),
            (&[row(unknown, Input::Prefix, Some(0))], ErrorKind::Settings),
            (&[row(one, Input::Drawn, Some(0))], ErrorKind::Settings),
            (&[row(one, Input::Token(99), None)], ErrorKind::Data),
        ] {
            assert_eq!(kind(backend.issue(rows)), expected, "{rows:?}");
        }
        // None of them is in flight.
        assert!(backend.collect().is_err());
        backend.issue(&[start]).unwrap();
        backend.release_sequence(one);
        // The draws of a released sequence still arrive.
        assert_eq!(backend.collect().unwrap().len(), 1);
        assert!(backend.issue(&[row(one, Input::Drawn, None)]).is_err());
    }
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let config = tiny(Architecture::Llama);
    let mut weights = random_weights(&config, 9);
    let dense = weights.clone();
    if let Matrix::Dense(tensor) = &mut weights.layers[2].down.weight {
        *tensor = tensor.affine(f64::INFINITY, 0.0).unwrap();
    }
    for choice in [BackendChoice::Auto, BackendChoice::Candle] {
        let mut backend = backend(&config, &weights, choice);
        let error = backend.follow(&[1, 2], &[3], &mut |_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFinite);
        let cause = "down projection of layer 2";
        assert!(error.detail().contains(cause), "{error}");
        let prefix = backend.prefill(&[&[1, 2]]).unwrap()[0];
        let sequence = backend.fork(prefix, &Sampling::default());
        backend
            .issue(&[row(sequence, Input::Prefix, Some(0))])
            .unwrap();
        assert!(!backend.collect().unwrap()[0].finite);
        backend.release_sequence(sequence);
        backend.release_prefix(prefix);
        assert_eq!(backend.kv_bytes(), 0);
    }
    let mut backend = backend(&config, &dense, BackendChoice::Auto);
    assert!(backend.follow(&[1, 2], &[3], &mut |_| ()).is_ok());
}
