//! Builds a model of candle-transformers from a configuration and tensors.

use std::sync::Arc;

use candle_core::DType;
use candle_nn::VarBuilder;
use serde_json::{Map, Value};

use super::network::{CacheSize, Fresh, Growth, Inner, Network, TransformersModel, copies};
use super::tensors::Tensors;
use super::{READERS, index};
use crate::model::config::DecoderConfig;
use crate::model::device::{DtypeChoice, Place};
use crate::model::huggingface::{Fields, architecture_name, refuse_quantized};
use crate::model::safetensors::SafeTensors;
use crate::{Error, ErrorKind, Result};

/// Reads an architecture's configuration.
pub(super) type Reader = fn(&Fields<'_>) -> Result<Described>;

/// Builds a network from tensors, which checks that they exist in the right shapes.
pub(super) type Build = Box<dyn FnOnce(VarBuilder<'static>) -> candle_core::Result<Fresh>>;

/// A parsed configuration.
pub(in crate::model) struct Described {
    pub(in crate::model) config: DecoderConfig,
    pub(super) cache: CacheSize,
    pub(super) build: Build,
}

impl Described {
    /// Describes a network that candle can copy, with a KV cache of the configuration's heads in
    /// every layer.
    pub(super) fn new<N: Network + Clone + 'static>(
        config: DecoderConfig,
        growth: Growth,
        build: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<N> + 'static,
    ) -> Self {
        let numbers = 2 * config.layers * config.kv_heads * config.head_dim;
        Described {
            cache: CacheSize::default().with(numbers, growth),
            config,
            build: Box::new(move |weights| Ok(copies(build(weights)?))),
        }
    }
}

/// Reads a configuration of one of these architectures; `None` for others.
pub(in crate::model) fn describe(
    file: &str,
    map: &Map<String, Value>,
) -> Result<Option<Described>> {
    let fields = Fields { file, map };
    let (_, name) = architecture_name(&fields)?;
    let Some(read) = index(name).and_then(|index| READERS.get(index)) else {
        return Ok(None);
    };
    refuse_quantized(&fields)?;
    let described = read(&fields)?;
    // The reader may have changed some sizes.
    let valid = described.config.validate_sizes();
    valid.map_err(|error| error.context(file))?;
    Ok(Some(described))
}

/// Refuses devices and types that such a model does not support.
fn check_place(name: &str, place: &Place, dtype: DtypeChoice) -> Result<()> {
    let refused =
        |reason: String| Err(Error::new(ErrorKind::Settings, format!("{name}: {reason}")));
    if let Some(number) = place.cuda {
        return refused(format!(
            "the CUDA backend (cuda:{number}) does not run this architecture, which \
             candle-transformers computes: take the CPU"
        ));
    }
    match dtype {
        DtypeChoice::Auto | DtypeChoice::F32 => Ok(()),
        other => refused(format!(
            "dtype {other}: candle-transformers' models compute positions in the weights' type, so \
             only f32 gives the model's own logits"
        )),
    }
}

/// Reads the weights and builds the model.
pub(in crate::model) fn load(
    name: &str,
    described: Described,
    files: SafeTensors,
    place: &Place,
    dtype: DtypeChoice,
) -> Result<TransformersModel> {
    check_place(name, place, dtype)?;
    let tensors = Tensors::new(files);
    let backend = Box::new(tensors.clone());
    let builder = VarBuilder::from_backend(backend, DType::F32, place.device.clone());
    let fresh = (described.build)(builder).map_err(|error| match tensors.failure() {
        Some(failure) => failure,
        None => Error::new(ErrorKind::Model, format!("{name}: {error}")).with_source(error),
    })?;
    Ok(TransformersModel {
        inner: Arc::new(Inner {
            fresh,
            cache: described.cache,
            vocab_size: described.config.vocab_size,
            device: place.device.clone(),
            tensors: tensors.finish()?,
        }),
    })
}
