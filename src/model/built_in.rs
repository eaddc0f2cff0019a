//! The files of the built-in model, as the loader would read them from a directory.

/// Names and bytes.
pub(super) const FILES: &[(&str, &[u8])] = &[
    (
        "config.json",
        include_bytes!("../../assets/abacus/config.json"),
    ),
    (
        "generation_config.json",
        include_bytes!("../../assets/abacus/generation_config.json"),
    ),
    (
        "model.safetensors",
        include_bytes!("../../assets/abacus/model.safetensors"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../assets/abacus/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../assets/abacus/tokenizer_config.json"),
    ),
];
