//! Candle operations whose Metal kernels require more of their operands than the CPU's.
//!
//! No machine that tests this crate has Metal. The requirements are from the sources of candle
//! 0.11.1 (candle-metal-kernels: `kernels/mlx_gemm.rs`, `metal_src/indexing.metal`; candle-core:
//! `quantized/metal.rs`). Debug builds assert on every device that the operands meet them.

use candle_core::quantized::QMatMul;
use candle_core::{Module, Result, Tensor};

/// `lhs · rhs`, for matrices or batches of matrices.
///
/// Metal steps between matrices by the stride of the last batch dimension, even if it has only one
/// element, whose stride may be anything. `contiguous` does not change such a tensor; `reshape`
/// does.
pub(super) fn product(lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
    debug_assert!(packed_batch(lhs), "{:?}", lhs.layout());
    debug_assert!(packed_batch(rhs), "{:?}", rhs.layout());
    lhs.matmul(rhs)
}

/// `rows · weightᵀ`, with quantized blocks.
///
/// With several rows, Metal reads from the beginning of their storage and ignores their offset.
pub(super) fn quantized_product(weight: &QMatMul, rows: &Tensor) -> Result<Tensor> {
    debug_assert!(rows.layout().start_offset() == 0, "{:?}", rows.layout());
    weight.forward(rows)
}

/// Selects rows of the first dimension by index.
///
/// Metal misreads a source that is not contiguous.
pub(super) fn rows_at(source: &Tensor, indices: &Tensor) -> Result<Tensor> {
    debug_assert!(source.is_contiguous(), "{:?}", source.layout());
    source.index_select(indices, 0)
}

/// Whether the last two dimensions are a matrix without gaps, or the transpose of one, and the
/// stride of the last batch dimension enumerates all batch dimensions.
fn packed_batch(tensor: &Tensor) -> bool {
    let ([batch @ .., rows, columns], [batch_strides @ .., row, column]) =
        (tensor.dims(), tensor.stride())
    else {
        return false;
    };
    let packed = |(rows, row): (&usize, &usize), (columns, column): (&usize, &usize)| {
        (*column == 1 || *columns == 1) && (row == columns || *rows == 1)
    };
    (packed((rows, row), (columns, column)) || packed((columns, column), (rows, row)))
        && (1..batch.len()).all(|inner| {
            batch[inner - 1] == 1 || batch_strides[inner - 1] == batch[inner] * batch_strides[inner]
        })
}
