//! Hashes of a model's contents, so that a run is resumed only with the model it began with.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::config::{Architecture, DecoderConfig};
use crate::Settings;

/// Bytes of a tensor that one thread hashes.
const CHUNK: usize = 4 << 20;

/// Hashes of everything that determines a model's logits and tokens. Each part has its own hash, so
/// that a change can be attributed to a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contents {
    /// The hash of the decoder's shape and constants.
    pub(super) config: String,
    /// The hash of the tokenizer.
    pub(super) tokenizer: String,
    /// The hash of every tensor: name, type, shape and all bytes.
    pub(super) weights: String,
    /// The hash of all parts.
    pub(super) whole: String,
}

impl Contents {
    pub(super) fn new(
        config: &DecoderConfig,
        tokenizer: Fingerprint,
        weights: Fingerprint,
    ) -> Self {
        let mut shape = Fingerprint::default();
        shape.add("config", format!("{config:?}").as_bytes());
        Self::of(shape, tokenizer, weights)
    }

    /// Combines the hashes of the parts, with a configuration that was hashed by the caller.
    pub(super) fn of(config: Fingerprint, tokenizer: Fingerprint, weights: Fingerprint) -> Self {
        let (config, tokenizer, weights) = (config.finish(), tokenizer.finish(), weights.finish());
        let mut whole = Fingerprint::default();
        for (name, part) in [
            ("config", &config),
            ("tokenizer", &tokenizer),
            ("weights", &weights),
        ] {
            whole.add(name, part.as_bytes());
        }
        Contents {
            config,
            tokenizer,
            weights,
            whole: whole.finish(),
        }
    }
}

/// A SHA-256 hash of named parts, in which a faster hash of its bytes represents a tensor.
#[derive(Default)]
pub(super) struct Fingerprint {
    hash: Sha256,
}

impl Fingerprint {
    /// Adds named bytes. Lengths are hashed, too, so that different sequences of calls never hash
    /// the same bytes.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) {
        for part in [name.as_bytes(), bytes] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    /// Adds a JSON text, ignoring whitespace between tokens.
    pub(super) fn json(&mut self, name: &str, text: &[u8]) {
        let (mut quoted, mut escaped) = (false, false);
        let compact = text.iter().copied().filter(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            quoted || !byte.is_ascii_whitespace()
        });
        self.add(name, &compact.collect::<Vec<u8>>());
    }

    /// Adds a tensor.
    pub(super) fn tensor(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        self.add(
            name,
            format!("{dtype} {shape:?} {}", bytes.len()).as_bytes(),
        );
        let chunks: Vec<[u64; 4]> = bytes.par_chunks(CHUNK).map(lanes).collect();
        for lane in chunks.iter().flatten() {
            self.hash.update(lane.to_le_bytes());
        }
    }

    /// The first 128 bits in hexadecimal.
    pub(super) fn finish(self) -> String {
        crate::contract::hex(&self.hash.finalize()[..16])
    }
}

/// A hash at memory speed. Each step is a bijection of the words, so that no single change goes
/// undetected; it is not collision-resistant.
fn lanes(bytes: &[u8]) -> [u64; 4] {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut lanes = [1, 2, 3, 4];
    let mut step = |block: &[u8; 32]| {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(word);
            let mixed = (*lane ^ u64::from_le_bytes(bytes)).wrapping_mul(FACTOR);
            *lane = mixed ^ (mixed >> 32);
        }
    };
    let (blocks, rest) = bytes.as_chunks::<32>();
    blocks.iter().for_each(&mut step);
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    step(&last);
    lanes
}

/// A decoder's shape and constants by name, for a run's records.
pub(super) fn decoder_settings(config: &DecoderConfig) -> Settings {
    let DecoderConfig {
        architecture,
        hidden_size,
        intermediate_size,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab_size,
        context_length,
        rms_norm_eps,
        rope_frequencies,
        rope_attention_factor,
        sliding_windows,
    } = config;
    let mut settings = Settings::new();
    for (name, value) in [
        ("hidden_size", hidden_size),
        ("intermediate_size", intermediate_size),
        ("layers", layers),
        ("heads", heads),
        ("kv_heads", kv_heads),
        ("head_dim", head_dim),
        ("vocab_size", vocab_size),
        ("context_length", context_length),
    ] {
        settings.insert(name.into(), (*value).into());
    }
    settings.insert("rms_norm_eps".into(), f64::from(*rms_norm_eps).into());
    // Candle reads these itself for other architectures.
    if !matches!(architecture, Architecture::Transformers(_)) {
        let mut rope = Fingerprint::default();
        for frequency in rope_frequencies {
            rope.hash.update(frequency.to_bits().to_le_bytes());
        }
        settings.insert("rope_frequencies".into(), rope.finish().into());
        let factor = f64::from(*rope_attention_factor);
        settings.insert("rope_attention_factor".into(), factor.into());
        let windows = match sliding_windows.iter().any(Option::is_some) {
            true => sliding_windows.clone().into(),
            false => serde_json::Value::Null,
        };
        settings.insert("sliding_windows".into(), windows);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_tensor_counts() {
        let of = |bytes: &[u8]| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.tensor("w", "F32", &[bytes.len()], bytes);
            fingerprint.finish()
        };
        let bytes: Vec<u8> = (0..CHUNK + 77).map(|i| ((i * i) >> 5) as u8).collect();
        let whole = of(&bytes);
        for at in [0, 7, 8, 31, 32, CHUNK - 1, CHUNK, CHUNK + 64, CHUNK + 76] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(of(&changed), whole, "byte {at}");
        }
        // Trailing zeros are not padding.
        assert_ne!(of(&[1, 0]), of(&[1]));
        assert_ne!(of(&[]), of(&[0]));
    }

    #[test]
    fn white_space_counts_within_texts_only() {
        let of = |text: &str| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.json("t", text.as_bytes());
            fingerprint.finish()
        };
        let plain = of(r#"{"a \" b":[1,2]}"#);
        assert_eq!(of("{\n  \"a \\\" b\": [1,\t2]\r\n}\n"), plain);
        assert_ne!(of(r#"{"a \"  b":[1,2]}"#), plain);
        assert_ne!(of(r#"{"a \" b":[12]}"#), plain);
    }
}
