//! Candle operations whose Metal kernels take more for granted of their operands than the CPU's.
//!
//! No machine that tests this crate has Metal. Candle 0.11.1's sources say what its kernels read
//! (candle-metal-kernels: `kernels/mlx_gemm.rs`, `metal_src/indexing.metal`; candle-core:
//! `quantized/metal.rs`); debug builds assert on every device that the operands are so laid out.

use candle_core::quantized::QMatMul;
use candle_core::{Module, Result, Tensor};

/// `lhs · rhs`, of matrices or of a batch of them.
///
/// Metal steps from one matrix to the next by the stride of the last batch dimension alone, even if
/// that dimension has one element, whose stride may be any: `contiguous` leaves such a tensor as it
/// is, `reshape` does not.
pub(super) fn product(lhs: &Tensor, rhs: &Tensor) -> Result<Tensor> {
    debug_assert!(packed_batch(lhs), "{:?}", lhs.layout());
    debug_assert!(packed_batch(rhs), "{:?}", rhs.layout());
    lhs.matmul(rhs)
}

/// `rows · weightᵀ`, of quantised blocks.
///
/// Metal reads several rows from the beginning of their storage, wherever they begin.
pub(super) fn quantized_product(weight: &QMatMul, rows: &Tensor) -> Result<Tensor> {
    debug_assert!(rows.layout().start_offset() == 0, "{:?}", rows.layout());
    weight.forward(rows)
}

/// The rows of the first dimension with these indices.
///
/// Metal reads beyond the strides of a source that is not contiguous.
pub(super) fn rows_at(source: &Tensor, indices: &Tensor) -> Result<Tensor> {
    debug_assert!(source.is_contiguous(), "{:?}", source.layout());
    source.index_select(indices, 0)
}

/// Whether the last two dimensions are a matrix without gaps, or the transpose of one, and all
/// before them can be counted by the last one's stride.
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
