//! StarCoder2. Candle's output head is the embedding, and its windows are not the model's: the context
//! ends with the window.

use candle_core::{Result as CandleResult, Tensor};
use candle_transformers::models::starcoder2::{Config, Model};
use serde_json::json;

use super::load::Described;
use super::network::{CacheSize, Growth, Network, copies};
use super::settings::{
    Defaults, activation, activation_name, cut_context, deserialised, epsilon, must_be, must_equal,
    sizes, sliding_window, whole_rope,
};
use crate::Result;
use crate::model::huggingface::Fields;

impl Network for Model {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> CandleResult<Tensor> {
        Model::forward(self, tokens, position)
    }

    /// The cache grows by concatenation.
    fn fork(&self) -> Option<Box<dyn Network>> {
        Some(Box::new(self.clone()))
    }
}

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 49_152,
        hidden_size: 3_072,
        intermediate_size: 12_288,
        layers: 30,
        heads: 24,
        kv_heads: Some(2),
        head_dim: None,
        positions: 4_096,
        epsilon: 1e-5,
    };
    let mut config = sizes(fields, "StarCoder2", "norm_epsilon", &defaults)?;
    let shared = config.hidden_size / config.heads;
    must_equal(fields, "head_dim", config.head_dim, shared)?;
    must_be(fields, "tie_word_embeddings", true, true)?;
    cut_context(fields, &mut config, sliding_window(fields, None)?);
    let act = activation(fields, "hidden_act", "gelu_pytorch_tanh")?;
    let candle: Config = deserialised(
        fields,
        json!({
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "hidden_act": activation_name(act),
            "max_position_embeddings": config.context_length,
            "norm_epsilon": epsilon(fields, "norm_epsilon", defaults.epsilon)?,
            "rope_theta": whole_rope(fields, 10_000.0)?,
            "use_bias": fields.flag_or("use_bias", true)?,
            "sliding_window": null,
        }),
    )?;
    Ok(Described {
        cache: CacheSize::default().with(
            2 * config.layers * config.kv_heads * config.head_dim,
            Growth::Exact,
        ),
        config,
        build: Box::new(move |weights| Ok(copies(Model::new(&candle, weights)?))),
    })
}
