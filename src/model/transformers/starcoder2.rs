//! StarCoder2. Candle ties the output head to the embedding, and its sliding windows differ from
//! the model's: the context is limited to the window.

use candle_transformers::models::starcoder2::{Config, Model};
use serde_json::json;

use super::load::Described;
use super::network::{Growth, copied_network};
use super::settings::{
    Defaults, activation, activation_name, cut_context, deserialised, epsilon, heads_share_width,
    must_be, sizes, whole_rope,
};
use crate::Result;
use crate::model::huggingface::Fields;

copied_network!(Model);

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
    heads_share_width(fields, &config)?;
    must_be(fields, "tie_word_embeddings", true, true)?;
    cut_context(fields, &mut config, fields.window(None)?);
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
    Ok(Described::new(config, Growth::Exact, move |weights| {
        Model::new(&candle, weights)
    }))
}
