//! A decoder's weights on the device.
//!
//! Matrices are uploaded one by one, in the compute type, and each is freed on the host after its
//! upload. Vectors (norms and biases) stay in f32.

use candle_core::{CpuStorage, DType, Storage, Tensor};
use half::bf16;

use super::driver::{Buffer, Device, Precision};
use super::kernels::Kernels;
use crate::engine::decoder::device_error;
use crate::engine::inspect::{PROJECTIONS, is_tied};
use crate::model::{DecoderConfig, LayerWeights, Linear, Matrix, Weights};
use crate::{Error, ErrorKind, Result};

/// A linear layer: addresses of its matrix and bias (0: none).
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceLinear {
    pub(super) weight: u64,
    pub(super) bias: u64,
}

/// One decoder layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceLayer {
    pub(super) attention_norm: u64,
    pub(super) qkv: DeviceLinear,
    /// 0: none.
    pub(super) query_norm: u64,
    pub(super) key_norm: u64,
    pub(super) attention_output: DeviceLinear,
    pub(super) ffn_norm: u64,
    pub(super) gate_up: DeviceLinear,
    pub(super) down: DeviceLinear,
    pub(super) window: Option<usize>,
}

/// All weights of a decoder.
pub(super) struct DeviceWeights {
    pub(super) embedding: u64,
    pub(super) layers: Vec<DeviceLayer>,
    pub(super) output_norm: u64,
    pub(super) head: u64,
    pub(super) bytes: usize,
    /// Owns the memory behind the addresses.
    buffers: Vec<Buffer>,
}

/// Bytes that a decoder's weights take on the device.
pub(super) fn weight_bytes(config: &DecoderConfig, tied: bool, precision: Precision) -> usize {
    let c = config;
    let attention = c.hidden_size * (c.qkv_size() + c.heads * c.head_dim);
    let layer = attention + 3 * c.hidden_size * c.intermediate_size;
    let tables = c.vocab_size * c.hidden_size * if tied { 1 } else { 2 };
    (c.layers * layer + tables) * precision.bytes()
}

impl DeviceWeights {
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if they do not fit; names what would.
    pub(super) fn upload(
        device: &Device,
        kernels: &Kernels,
        config: &DecoderConfig,
        weights: Weights,
    ) -> Result<Self> {
        let tied = is_tied(&weights);
        let needed = weight_bytes(config, tied, kernels.precision());
        let free = device.free_bytes()?;
        if needed > free {
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "the weights take {:.1} GB as {}, and {:.1} GB of the device's memory are free: \
                     a card with more memory, or a smaller model, is needed",
                    needed as f64 / 1e9,
                    kernels.precision().suffix(),
                    free as f64 / 1e9,
                ),
            ));
        }
        let mut upload = Upload {
            device,
            kernels,
            buffers: Vec::new(),
        };
        let Weights {
            embedding,
            layers,
            output_norm,
            head,
        } = weights;
        let embedding = upload.matrix(embedding)?;
        let head = match tied {
            true => embedding,
            false => upload.matrix(head)?,
        };
        let layers = layers.into_iter().zip(&config.sliding_windows);
        let layers = layers
            .map(|(layer, &window)| upload.layer(layer, window))
            .collect::<Result<Vec<_>>>()?;
        let output_norm = upload.vector(&output_norm)?;
        Ok(DeviceWeights {
            embedding,
            layers,
            output_norm,
            head,
            bytes: upload.buffers.iter().map(|buffer| buffer.bytes).sum(),
            buffers: upload.buffers,
        })
    }

    /// The name of the first tensor with a non-finite value after rounding for the device; `None`
    /// if it cannot be determined. Reads all weights back.
    pub(super) fn non_finite(&self, device: &Device, precision: Precision) -> Option<String> {
        let bytes_of = |at: u64| {
            let buffer = self.buffers.iter().find(|buffer| buffer.address == at);
            buffer.map_or(0, |buffer| buffer.bytes)
        };
        let found = |(name, at): (String, u64), precision: Precision| {
            let bad = match precision {
                Precision::F32 => holds(device, at, bytes_of(at), |x: &f32| !x.is_finite()),
                Precision::Bf16 => holds(device, at, bytes_of(at), |x: &bf16| !x.is_finite()),
            };
            bad.then_some(name)
        };
        let (vectors, matrices) = self.named();
        let vector = vectors
            .into_iter()
            .find_map(|vector| found(vector, Precision::F32));
        vector.or_else(|| {
            matrices
                .into_iter()
                .find_map(|matrix| found(matrix, precision))
        })
    }

    /// All vectors, then all matrices, with their names for messages.
    fn named(&self) -> (Named, Named) {
        let mut vectors = vec![("output norm".to_owned(), self.output_norm)];
        let mut matrices = vec![
            ("embedding".to_owned(), self.embedding),
            ("output head".to_owned(), self.head),
        ];
        for (index, layer) in self.layers.iter().enumerate() {
            vectors.extend(
                [
                    ("attention norm", layer.attention_norm),
                    ("query norm", layer.query_norm),
                    ("key norm", layer.key_norm),
                    ("feed-forward norm", layer.ffn_norm),
                ]
                .map(|(name, at)| (format!("{name} of layer {index}"), at)),
            );
            let linears = [layer.qkv, layer.attention_output, layer.gate_up, layer.down];
            for (name, linear) in PROJECTIONS.iter().zip(linears) {
                matrices.push((format!("{name} of layer {index}"), linear.weight));
                vectors.push((format!("bias of the {name} of layer {index}"), linear.bias));
            }
        }
        (vectors, matrices)
    }
}

/// Names with addresses.
type Named = Vec<(String, u64)>;

/// Whether a number at an address satisfies `is_such`; `false` if the memory cannot be read.
fn holds<T: Copy + Default>(
    device: &Device,
    at: u64,
    bytes: usize,
    is_such: impl Fn(&T) -> bool,
) -> bool {
    const AT_ONCE: usize = 1 << 22;
    let count = bytes / size_of::<T>();
    let mut numbers = vec![T::default(); count.min(AT_ONCE)];
    (0..count).step_by(AT_ONCE).any(|first| {
        let part = &mut numbers[..AT_ONCE.min(count - first)];
        let from = at + (first * size_of::<T>()) as u64;
        device.read(from, part).is_ok() && part.iter().any(&is_such)
    })
}

struct Upload<'a> {
    device: &'a Device,
    kernels: &'a Kernels,
    buffers: Vec<Buffer>,
}

impl Upload<'_> {
    fn layer(&mut self, layer: LayerWeights, window: Option<usize>) -> Result<DeviceLayer> {
        let mut optional = |vector: Option<&Tensor>| vector.map_or(Ok(0), |v| self.vector(v));
        let query_norm = optional(layer.query_norm.as_ref())?;
        let key_norm = optional(layer.key_norm.as_ref())?;
        Ok(DeviceLayer {
            attention_norm: self.vector(&layer.attention_norm)?,
            qkv: self.linear(layer.qkv)?,
            query_norm,
            key_norm,
            attention_output: self.linear(layer.attention_output)?,
            ffn_norm: self.vector(&layer.ffn_norm)?,
            gate_up: self.linear(layer.gate_up)?,
            down: self.linear(layer.down)?,
            window,
        })
    }

    fn linear(&mut self, linear: Linear) -> Result<DeviceLinear> {
        let bias = match &linear.bias {
            Some(bias) => self.vector(bias)?,
            None => 0,
        };
        Ok(DeviceLinear {
            weight: self.matrix(linear.weight)?,
            bias,
        })
    }

    fn keep(&mut self, buffer: Buffer) -> u64 {
        let address = buffer.address;
        self.buffers.push(buffer);
        address
    }

    fn vector(&mut self, vector: &Tensor) -> Result<u64> {
        let numbers = vector
            .to_dtype(DType::F32)
            .and_then(|vector| vector.to_vec1::<f32>());
        let numbers = numbers.map_err(device_error)?;
        let buffer = self.device.buffer_of(&numbers, "a vector of weights")?;
        Ok(self.keep(buffer))
    }

    fn matrix(&mut self, matrix: Matrix) -> Result<u64> {
        const WHAT: &str = "a matrix of weights";
        let precision = self.kernels.precision();
        let parts = match matrix {
            Matrix::Dense(tensor) => vec![tensor],
            Matrix::Quantized(parts) => {
                let dense = |part: &std::sync::Arc<candle_core::quantized::QTensor>| {
                    part.dequantize(&candle_core::Device::Cpu)
                        .map_err(device_error)
                };
                parts.iter().map(dense).collect::<Result<_>>()?
            }
            Matrix::Random(parts) => {
                let count: usize = parts.iter().map(|part| part.rows * part.columns).sum();
                let stream = self.device.stream();
                let buffer = Buffer::new(stream, count * precision.bytes(), WHAT)?;
                let mut at = buffer.address;
                for part in &parts {
                    let count = part.rows * part.columns;
                    self.kernels
                        .fill_random(at, count, part.key, part.deviation)?;
                    at += (count * precision.bytes()) as u64;
                }
                return Ok(self.keep(buffer));
            }
        };
        let count: usize = parts.iter().map(Tensor::elem_count).sum();
        let buffer = Buffer::new(self.device.stream(), count * precision.bytes(), WHAT)?;
        let mut at = buffer.address;
        for part in parts {
            let count = part.elem_count();
            match precision {
                Precision::Bf16 => self.fill::<bf16>(at, &part, DType::BF16)?,
                Precision::F32 => self.fill::<f32>(at, &part, DType::F32)?,
            }
            at += (count * precision.bytes()) as u64;
        }
        Ok(self.keep(buffer))
    }

    fn fill<T: Stored>(&self, to: u64, tensor: &Tensor, dtype: DType) -> Result<()> {
        let tensor = tensor
            .to_dtype(dtype)
            .and_then(|tensor| tensor.contiguous());
        let tensor = tensor.map_err(device_error)?;
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(Error::new(
                ErrorKind::Device,
                "weights are not in the host's memory",
            ));
        };
        let start = layout.start_offset();
        match T::numbers(storage) {
            Some(numbers) => self
                .device
                .fill(to, &numbers[start..start + tensor.elem_count()]),
            None => Err(Error::new(
                ErrorKind::Device,
                "weights are of another type than said",
            )),
        }
    }
}

/// A storage type of weights.
trait Stored: Copy {
    fn numbers(storage: &CpuStorage) -> Option<&[Self]>;
}

impl Stored for bf16 {
    fn numbers(storage: &CpuStorage) -> Option<&[Self]> {
        match storage {
            CpuStorage::BF16(numbers) => Some(numbers),
            _ => None,
        }
    }
}

impl Stored for f32 {
    fn numbers(storage: &CpuStorage) -> Option<&[Self]> {
        match storage {
            CpuStorage::F32(numbers) => Some(numbers),
            _ => None,
        }
    }
}
