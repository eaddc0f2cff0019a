//! Refuses weights that `config.json` declares as quantized, and names the method.

use serde_json::Value;

use super::fields::Fields;
use crate::Result;
use crate::model::refusals;

/// Refuses a configuration of quantized safetensors.
pub(in crate::model) fn refuse_quantized(fields: &Fields<'_>) -> Result<()> {
    // The second field was compressed-tensors', the third is MLX's.
    for field in ["quantization_config", "compression_config", "quantization"] {
        let Some(value) = fields.get(field) else {
            continue;
        };
        return Err(fields.unsupported(
            field,
            format!(
                "says that the weights are quantized by {}; {}: take the unquantized model, or a \
                 GGUF file of it",
                method(field, value),
                refusals::READ
            ),
        ));
    }
    Ok(())
}

/// The method and its number of bits, as far as the configuration names them.
fn method(field: &str, value: &Value) -> String {
    let flag = |name: &str| value.get(name).and_then(Value::as_bool) == Some(true);
    let bits = ["bits", "w_bit"]
        .iter()
        .find_map(|name| value.get(name)?.as_u64())
        .or_else(|| flag("load_in_4bit").then_some(4))
        .or_else(|| flag("load_in_8bit").then_some(8))
        .map_or_else(String::new, |bits| format!(" ({bits} bits)"));
    let name = match value.get("quant_method").and_then(Value::as_str) {
        Some("awq") => "AWQ".to_owned(),
        Some("gptq") => "GPTQ".to_owned(),
        Some("fp8") => "FP8".to_owned(),
        Some("mxfp4") => "MXFP4".to_owned(),
        // Others, such as bitsandbytes and compressed-tensors, keep their own spelling.
        Some(other) => other.escape_debug().to_string(),
        None if flag("load_in_4bit") || flag("load_in_8bit") => "bitsandbytes".to_owned(),
        None if field == "compression_config" => "compressed-tensors".to_owned(),
        None if field == "quantization" => "MLX".to_owned(),
        None => "a method that it does not name".to_owned(),
    };
    name + &bits
}
