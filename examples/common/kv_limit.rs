//! What is said where the KV cache may not be as large as it must.

use dart_math::Error;

/// An error of the engine that the limit of the KV cache is too low, by the name of its flag, with what
/// it takes at least; any other error as it is.
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
