//! Computes logits in f32 on the CPU with one layer in memory at a time: a reference for models
//! whose f32 weights would not fit.

use candle_core::{DType, Device, Tensor};

use super::attention::{Group, PrefillPlan};
use super::linear::{Embedding, Projection};
use super::operands::rows_at;
use super::{Layer, Rotary};
use crate::Result;
use crate::engine::decoder::device_error;
use crate::model::LayerReader;

/// Returns the logits `[vocab]` after each of the last `count` of `tokens`.
pub(in crate::engine) fn layerwise_logits(
    reader: &LayerReader,
    tokens: &[u32],
    count: usize,
) -> Result<Vec<Vec<f32>>> {
    let (c, device) = (reader.config(), Device::Cpu);
    let embedding = reader.embedding()?;
    let mut x = (|| {
        let tokens = Tensor::new(tokens, &device)?;
        Embedding::new(&embedding, DType::F32)?.rows(&tokens)
    })()
    .map_err(device_error)?;
    drop(embedding);
    let positions: Vec<usize> = (0..tokens.len()).collect();
    let rotary = Rotary::new(c, &positions, &device).map_err(device_error)?;
    let plan = PrefillPlan::new(c, &[tokens], &device).map_err(device_error)?;
    for (index, &window) in c.sliding_windows.iter().enumerate() {
        let weights = reader.layer(index)?;
        // For this layer only: nothing is decoded after the tokens.
        let mut groups = [Group::new(tokens.len())];
        x = Layer::new(&weights, window, DType::F32)
            .and_then(|layer| {
                layer.forward(c, x, &rotary, |qkv| plan.attend(&mut groups, window, &qkv))
            })
            .map_err(device_error)?;
    }
    let norm = reader.output_norm()?;
    let head = reader.head()?;
    let first = tokens.len().saturating_sub(count);
    let last: Vec<u32> = (first as u32..tokens.len() as u32).collect();
    let logits = (|| {
        let x = rows_at(&x, &Tensor::new(last, &device)?)?;
        let x = candle_nn::ops::rms_norm(&x, &norm, c.rms_norm_eps)?;
        Projection::new(&head, None, DType::F32)?
            .forward(&x)?
            .to_vec2()
    })();
    logits.map_err(device_error)
}
