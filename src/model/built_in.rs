//! The files of the model that is part of the crate, as the loader reads them from a directory.

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
