//! Models with random weights.

use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device};
use rayon::prelude::*;

use super::assemble::{self, Element, Layout, Naming, Part, Plan, Target, TensorSource};
use super::config::{Architecture, DecoderConfig};
use super::device::{DtypeChoice, Place};
use super::files::{Files, MAX_JSON};
use super::fingerprint::{Contents, Fingerprint};
use super::huggingface;
use super::loaded::{Model, Parts};
use super::tokenizer::Tokenizer;
use super::weights::{Matrix, RandomPart};
use crate::{Error, ErrorKind, Philox, Result, trial_seed};

const DEVIATION: f64 = 0.02;

/// Creates a model with random weights.
pub(super) fn model(
    config: DecoderConfig,
    seed: u64,
    device: &Device,
    dtype: DType,
) -> Result<Model> {
    let layout = Layout {
        qkv_bias: config.architecture == Architecture::Qwen2,
        output_bias: false,
        mlp_bias: false,
        qk_norm: config.architecture == Architecture::Qwen3,
        tied: false,
    };
    let target = Target {
        device: device.clone(),
        cuda: None,
        dtype,
        quantized: false,
    };
    build(config, layout, seed, target)
}

/// Creates a model with the shape in a configuration file.
pub(super) fn model_like(
    path: &Path,
    seed: u64,
    place: Place,
    dtype: DtypeChoice,
) -> Result<Model> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let files = Files::Directory(directory.unwrap_or(Path::new(".")).to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let label = path.display().to_string();
    let bytes = files
        .read(&name, MAX_JSON)?
        .ok_or_else(|| Error::new(ErrorKind::Io, format!("{label}: no such file")))?;
    let parsed = huggingface::parse(&label, &huggingface::object(&label, &bytes)?)?;
    let target = Target {
        dtype: dtype.compute(&place)?,
        quantized: dtype == DtypeChoice::Quantized,
        device: place.device,
        cuda: place.cuda,
    };
    build(parsed.config, parsed.layout, seed, target)
}

fn build(config: DecoderConfig, layout: Layout, seed: u64, target: Target) -> Result<Model> {
    config.validate()?;
    let plan = Plan::new(&config, layout, Naming::HuggingFace);
    let on_device = target.cuda.is_some();
    let weights = plan.build(&Noise { seed, on_device }, &target)?;
    let tokenizer = tokenizer(config.vocab_size)?;
    let mut numbers = Fingerprint::default();
    numbers.add("seed", &seed.to_le_bytes());
    Ok(Model::new(Parts {
        name: format!("random-{seed}"),
        weights,
        #[cfg(feature = "transformers")]
        transformers: None,
        tokenizer,
        stop_tokens: Vec::new(),
        chat_template: None,
        parameters: plan.parameters(),
        quantized: target.quantized,
        device: target.device,
        cuda: target.cuda,
        dtype: target.dtype,
        facts: Vec::new(),
        contents: Contents::new(&config, Fingerprint::default(), numbers),
        config,
    }))
}

/// A source that has every tensor.
struct Noise {
    seed: u64,
    /// Whether the device generates the matrices' numbers.
    on_device: bool,
}

impl TensorSource for Noise {
    fn label(&self, _name: &str) -> String {
        "random weights".to_owned()
    }

    fn shape(&self, _name: &str) -> Option<&[usize]> {
        None
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn matrix(&self, parts: &[Part], target: &Target) -> Result<Matrix> {
        if !self.on_device {
            return self.stored_matrix(parts, target);
        }
        let parts = parts.iter().map(|part| RandomPart {
            rows: part.rows,
            columns: part.columns.unwrap_or_default(),
            key: trial_seed(self.seed, &part.name, 0),
            deviation: DEVIATION as f32,
        });
        Ok(Matrix::Random(parts.collect()))
    }

    /// Generates matrices in 4-bit blocks.
    fn blocks(&self, parts: &[Part], device: &Device) -> Result<Option<Vec<Arc<QTensor>>>> {
        let quantized = |part: &Part| {
            let columns = part.columns.unwrap_or_default();
            if !columns.is_multiple_of(GgmlDType::Q4_0.block_size()) {
                return Err(Error::new(
                    ErrorKind::Model,
                    format!(
                        "{} has rows of {columns}, which cannot be cut into blocks of 32",
                        self.tensor_label(&part.name)
                    ),
                ));
            }
            let wide = self.dense_of::<f32>(std::slice::from_ref(part), &part.shape(), device)?;
            QTensor::quantize(&wide, GgmlDType::Q4_0)
                .map(Arc::new)
                .map_err(|error| assemble::device_error(&self.tensor_label(&part.name), error))
        };
        let blocks = parts.iter().map(quantized).collect::<Result<_>>()?;
        Ok(Some(blocks))
    }

    fn stored(&self) -> Box<dyn Iterator<Item = (String, usize, String)> + '_> {
        Box::new(std::iter::empty())
    }

    fn fill<T: Element>(&self, part: &Part, out: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 14;
        if part.columns.is_none() && part.name.ends_with("weight") {
            out.fill(T::from_f32(1.0));
            return Ok(());
        }
        // Each tensor has its own key; each block of random bits gives two numbers.
        let random = Philox::new(trial_seed(self.seed, &part.name, 0));
        out.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(chunk, out)| {
                for (index, pair) in out.chunks_mut(2).enumerate() {
                    let block = random.block((chunk * CHUNK / 2 + index) as u64);
                    for (out, normal) in pair.iter_mut().zip(normal_pair(block)) {
                        *out = T::from_f32((normal * DEVIATION) as f32);
                    }
                }
            });
        Ok(())
    }
}

/// Two independent standard normal numbers (Box and Muller, 1958).
fn normal_pair(block: [u32; 4]) -> [f64; 2] {
    const UNIT: f64 = 1.0 / (1u64 << 32) as f64;
    // In (0, 1), so that the logarithm is finite.
    let u = (f64::from(block[0]) + 0.5) * UNIT;
    let v = f64::from(block[1]) * UNIT;
    let radius = (-2.0 * u.ln()).sqrt();
    let angle = std::f64::consts::TAU * v;
    [radius * angle.cos(), radius * angle.sin()]
}

/// Creates a tokenizer with the tokens `<0>`, `<1>`, …; any other text becomes `<0>`s.
fn tokenizer(vocab_size: usize) -> Result<Tokenizer> {
    let failed = |error: tokenizers::Error| {
        Error::new(ErrorKind::Model, format!("tokenizer: {error}")).with_source(error)
    };
    let vocab = (0..vocab_size as u32).map(|id| (format!("<{id}>"), id));
    let words = tokenizers::models::wordlevel::WordLevel::builder()
        .vocab(vocab.collect())
        .unk_token("<0>".to_owned())
        .build()
        .map_err(failed)?;
    let mut pipeline = tokenizers::Tokenizer::new(words);
    let pattern = tokenizers::pre_tokenizers::split::SplitPattern::Regex("<[0-9]+>".to_owned());
    let split = tokenizers::pre_tokenizers::split::Split::new(
        pattern,
        tokenizers::SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(failed)?;
    pipeline.with_pre_tokenizer(Some(tokenizers::PreTokenizerWrapper::from(split)));
    pipeline.with_decoder(Some(tokenizers::DecoderWrapper::from(
        tokenizers::decoders::fuse::Fuse::new(),
    )));
    Tokenizer::new(pipeline, Some(Vec::new()))
}
