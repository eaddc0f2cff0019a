//! Linear layers and the embedding with candle operations, dense or quantized.

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{DType, Result, Tensor};
use std::sync::Arc;

use super::operands::{product, quantized_product, rows_at};
use crate::engine::decoder::NOT_MADE;
use crate::model::Matrix;

/// `y = x · Wᵀ + b` over rows.
pub(super) struct Projection {
    weight: Weight,
    bias: Option<Tensor>,
    dtype: DType,
}

enum Weight {
    /// `[in, out]`: a view of the weight as stored.
    Dense(Tensor),
    /// Parts stacked along the outputs.
    Quantized(Vec<QMatMul>),
}

impl Projection {
    /// Creates a projection for rows of `dtype`. Quantized products convert from and to f32.
    pub(super) fn new(matrix: &Matrix, bias: Option<&Tensor>, dtype: DType) -> Result<Self> {
        let weight = match matrix {
            Matrix::Dense(tensor) => Weight::Dense(tensor.to_dtype(dtype)?.t()?),
            Matrix::Random(_) => candle_core::bail!("{NOT_MADE}"),
            Matrix::Quantized(parts) => {
                let parts = parts.iter().cloned().map(QMatMul::from_arc);
                Weight::Quantized(parts.collect::<Result<_>>()?)
            }
        };
        let bias = bias.map(|bias| bias.to_dtype(dtype)).transpose()?;
        Ok(Projection {
            weight,
            bias,
            dtype,
        })
    }

    /// Maps `[rows, in]` (contiguous) to `[rows, out]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Weight::Dense(weight) => product(x, weight)?,
            Weight::Quantized(parts) => {
                let x = x.to_dtype(DType::F32)?;
                let outputs = parts.iter().map(|part| quantized_product(part, &x));
                let outputs = outputs.collect::<Result<Vec<_>>>()?;
                Tensor::cat(&outputs, 1)?.to_dtype(self.dtype)?
            }
        };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// The token embedding.
pub(super) struct Embedding {
    table: Table,
    dtype: DType,
}

enum Table {
    Dense(Tensor),
    Quantized(Arc<QTensor>),
}

impl Embedding {
    pub(super) fn new(matrix: &Matrix, dtype: DType) -> Result<Self> {
        let table = match matrix {
            Matrix::Dense(tensor) => Table::Dense(tensor.to_dtype(dtype)?),
            Matrix::Random(_) => candle_core::bail!("{NOT_MADE}"),
            Matrix::Quantized(parts) => match parts.as_slice() {
                [part] => Table::Quantized(part.clone()),
                parts => {
                    let parts = parts.iter().map(|part| part.dequantize(&part.device()));
                    let parts = parts.collect::<Result<Vec<_>>>()?;
                    Table::Dense(Tensor::cat(&parts, 0)?.to_dtype(dtype)?)
                }
            },
        };
        Ok(Embedding { table, dtype })
    }

    /// Maps `[tokens]` to `[tokens, hidden]`.
    pub(super) fn rows(&self, tokens: &Tensor) -> Result<Tensor> {
        match &self.table {
            Table::Dense(table) => rows_at(table, tokens),
            Table::Quantized(table) => table.embedding(tokens)?.to_dtype(self.dtype),
        }
    }
}
