//! Tiny random models of the architectures that candle-transformers computes, compared with Hugging Face transformers:
//! logits at every position and greedy tokens. Sequences do not affect each other, and unsupported settings are
//! refused by name.
//!
//! `scripts/golden_transformers.py` makes the fixtures.

#[cfg(feature = "transformers")]
mod computed;
#[cfg(feature = "transformers")]
mod refused;

/// The names of all fixtures, without `transformers_`.
const NAMES: &[&str] = &[
    "deepseek_v2",
    "deepseek_v2_queries",
    "gemma2",
    "gemma3",
    "gemma3_single_key",
    "glm4",
    "mixtral",
    "phi3",
    "starcoder2",
];

/// Every fixture has its tests.
#[test]
fn all_fixtures_are_listed() {
    let entries = std::fs::read_dir(crate::golden::fixtures()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names
        .filter_map(|name| Some(name.strip_prefix("transformers_")?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
}

/// Without the feature, the error names it.
#[cfg(not(feature = "transformers"))]
#[test]
fn the_feature_is_named() {
    use dart_math::ErrorKind;
    use dart_math::model::{DeviceChoice, Model, ModelSource};
    for name in NAMES {
        let directory = crate::golden::fixtures().join(format!("transformers_{name}"));
        let loaded = Model::builder(ModelSource::Directory(directory))
            .device(DeviceChoice::Cpu)
            .load();
        let error = loaded.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.contains("config.json: `architectures` is"), "{text}");
        assert!(
            text.contains("build with the feature `transformers`"),
            "{text}"
        );
    }
}
