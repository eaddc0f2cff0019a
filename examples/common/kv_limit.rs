//! The message for a KV cache limit that is too low.

use dart_math::Error;

/// If an error of the engine is due to the KV cache limit, adds the name of the flag and the required
/// minimum. Other errors are unchanged.
pub(crate) fn explain_kv_limit(error: Error, kv_mib: Option<usize>) -> Error {
    let needed = || {
        let (_, detail) = error.detail().split_once("kv_bytes is ")?;
        let bytes = detail.strip_suffix(" bytes")?.rsplit(' ').next()?;
        Some(bytes.parse::<u64>().ok()?.div_ceil(1 << 20))
    };
    match (kv_mib, needed()) {
        (Some(mib), Some(needed)) => error.context(format!(
            "--kv-mib {mib} is too little, at least {needed} is needed"
        )),
        _ => error,
    }
}
