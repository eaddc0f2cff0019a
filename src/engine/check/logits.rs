//! Compares the engine's logits with a reference, within a tolerance.

use candle_core::DType;

use super::report::Check;
use crate::Completion;
use crate::engine::candle::layerwise_logits;
use crate::engine::{ActivationType, Engine, KvType};
use crate::model::{LayerReader, ModelBuilder, Prompt};

const NAME: &str = "logits against the CPU reference";
/// The largest number of tokens (prompt and completion) and of rows of logits that are compared.
const MAX_TOKENS: usize = 256;
const MAX_ROWS: usize = 16;

/// The largest differences from a reference that are accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    /// The root mean square of the differences, as a share of the logits' standard deviation.
    mean: f64,
    /// The largest difference, as a share of the largest logit.
    pub(super) maximum: f64,
    /// The cause of the rounding.
    why: &'static str,
}

/// The tolerance for the number types that the engine computes with.
pub(super) fn tolerance(engine: &Engine) -> Tolerance {
    let model = engine.model();
    let on_cpu = model.cuda().is_none() && model.device().is_cpu();
    let of = |mean, maximum, why| Tolerance { mean, maximum, why };
    // Two to five times the differences measured for the smallest model (SmolLM2-135M).
    match model.dtype() {
        _ if model.is_quantized() && (engine.is_candle || rounds(engine)) => {
            of(0.5, 0.2, "activations rounded to 8 bits")
        }
        DType::BF16 => of(0.2, 0.15, "bf16"),
        DType::F16 => of(0.03, 0.02, "f16"),
        _ if engine.kernels.kv_type == KvType::F16 => of(0.02, 0.01, "a KV cache of f16"),
        _ if !on_cpu => of(5e-3, 5e-3, "f32 on a device"),
        _ => of(1e-3, 1e-3, "f32"),
    }
}

fn rounds(engine: &Engine) -> bool {
    engine.kernels.activation_type != ActivationType::F32
}

/// The differences between rows of logits and a reference.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Difference {
    rows: usize,
    /// The largest difference, in logits.
    largest: f64,
    /// The largest shares over all rows (see [`Tolerance`]).
    mean: f64,
    maximum: f64,
    /// The number of rows whose largest logit belongs to the same token in both.
    same_top: usize,
}

impl Difference {
    /// Compares rows of logits with the same number of reference rows.
    pub(super) fn between(found: &[Vec<f32>], reference: &[Vec<f32>]) -> Self {
        let mut whole = Difference::default();
        for (found, reference) in found.iter().zip(reference) {
            let count = reference.len().max(1) as f64;
            let mean = reference.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let (mut spread, mut squares, mut largest, mut scale) = (0.0, 0.0, 0.0f64, 0.0f64);
            for (&found, &reference) in found.iter().zip(reference) {
                let (found, reference) = (f64::from(found), f64::from(reference));
                let difference = (found - reference).abs();
                spread += (reference - mean).powi(2);
                squares += difference.powi(2);
                largest = largest.max(difference);
                scale = scale.max(reference.abs());
            }
            // NaN counts as infinitely far off; `max` would skip it. It is also the result if all
            // logits are equal, in which case nothing was compared.
            let share = |part: f64, whole: f64| match part / whole {
                share if share.is_nan() => f64::INFINITY,
                share => share,
            };
            whole.rows += 1;
            whole.largest = whole.largest.max(largest);
            whole.mean = whole.mean.max(share(squares.sqrt(), spread.sqrt()));
            whole.maximum = whole.maximum.max(share(largest, scale));
            whole.same_top += usize::from(top(found) == top(reference));
        }
        whole
    }

    /// Checks the differences against a tolerance.
    pub(super) fn judge(&self, name: &str, tolerance: Tolerance) -> Check {
        let Tolerance { mean, maximum, why } = tolerance;
        let detail = format!(
            "{} rows: largest difference {:.1e}, {:.1e} of the largest logit (at most {maximum} for {why}); \
             root mean square {:.1e} of the logits' standard deviation (at most {mean}); the same most \
             probable token in {} of {} rows",
            self.rows, self.largest, self.maximum, self.mean, self.same_top, self.rows
        );
        match self.rows > 0 && self.mean <= mean && self.maximum <= maximum {
            true => Check::passed(name, detail),
            false => Check::failed(name, detail),
        }
    }
}

fn top(row: &[f32]) -> Option<usize> {
    let larger = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    row.iter().enumerate().max_by(larger).map(|(at, _)| at)
}

/// The tokens of a prompt and its completion, up to [`MAX_TOKENS`].
pub(super) fn text(prompt: &Prompt, completion: &Completion) -> Vec<u32> {
    let fed = completion
        .tokens
        .split_last()
        .map_or(&[][..], |(_, fed)| fed);
    let tokens = prompt.tokens.iter().chain(fed).copied();
    tokens.take(MAX_TOKENS).collect()
}

/// The comparison with the reference, if there is one.
pub(super) fn reference(
    engine: &Engine,
    files: Option<&ModelBuilder>,
    prompt: &Prompt,
    completion: &Completion,
) -> Check {
    let Some(files) = files else {
        return Check::skipped(NAME, "the model's files are not known");
    };
    let reader = match LayerReader::open(files, engine.model()) {
        Ok(Some(reader)) => reader,
        Ok(None) => {
            let reason =
                "candle-transformers computes this architecture, and there is no other here";
            return Check::skipped(NAME, reason);
        }
        Err(error) => return Check::failed(NAME, error),
    };
    let tokens = text(prompt, completion);
    let count = tokens.len().min(MAX_ROWS);
    let (head, fed) = tokens.split_at(tokens.len() - count + 1);
    tracing::info!(
        "the reference takes {} MiB of memory at a time",
        reader.largest_part() >> 20
    );
    let compared = engine.logits(head, fed).and_then(|found| {
        let reference = engine
            .pool
            .install(|| layerwise_logits(&reader, &tokens, count))?;
        Ok(Difference::between(&found, &reference))
    });
    match compared {
        Ok(difference) => difference.judge(NAME, tolerance(engine)),
        Err(error) => Check::failed(NAME, error),
    }
}
