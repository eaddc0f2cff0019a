//! A model of candle-transformers, as the engine uses it.
//!
//! Depends on tensors and the size of a KV cache, but not on files.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

/// A model of candle-transformers with its internal KV cache.
pub(crate) trait Network: Send + Sync {
    /// Feeds tokens `[1, count]` after the `position` tokens in the cache. Returns the logits after
    /// the last one; they may have additional dimensions of size 1.
    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor>;

    /// Creates a network with the same weights and its own copy of the cache; `None` if the copies
    /// would share memory that candle updates in place.
    fn fork(&self) -> Option<Box<dyn Network>>;
}

/// Implements [`Network`] for a candle model whose KV cache grows by concatenation, so that a copy
/// has its own cache.
macro_rules! copied_network {
    ($model:ty) => {
        impl $crate::model::transformers::network::Network for $model {
            fn forward(
                &mut self,
                tokens: &candle_core::Tensor,
                position: usize,
            ) -> candle_core::Result<candle_core::Tensor> {
                <$model>::forward(self, tokens, position)
            }

            fn fork(&self) -> Option<Box<dyn $crate::model::transformers::network::Network>> {
                Some(Box::new(self.clone()))
            }
        }
    };
}
pub(super) use copied_network;

/// Creates a network with an empty cache. All networks share the same weights.
pub(super) type Fresh = Box<dyn Fn() -> Result<Box<dyn Network>> + Send + Sync>;

/// Creates copies of a network that was never fed.
pub(super) fn copies<N: Network + Clone + 'static>(network: N) -> Fresh {
    Box::new(move || Ok(Box::new(network.clone())))
}

/// The number of elements of a network's KV cache.
#[derive(Debug, Clone, Default)]
pub(super) struct CacheSize(Vec<(usize, Growth)>);

/// The number of positions for which some layers' caches allocate memory.
#[derive(Debug, Clone, Copy)]
pub(super) enum Growth {
    /// Exactly the current number.
    Exact,
    /// The next multiple of this.
    Steps(usize),
    /// This many from the first position on.
    Fixed(usize),
}

impl CacheSize {
    /// Adds layers whose KV cache takes `numbers` elements per position.
    pub(super) fn with(mut self, numbers: usize, growth: Growth) -> Self {
        self.0.push((numbers, growth));
        self
    }

    fn bytes(&self, positions: usize) -> usize {
        let capacity = |growth| match growth {
            _ if positions == 0 => 0,
            Growth::Exact => positions,
            Growth::Steps(step) => positions.next_multiple_of(step),
            Growth::Fixed(capacity) => capacity,
        };
        let numbers = self
            .0
            .iter()
            .map(|&(numbers, growth)| numbers * capacity(growth));
        numbers.sum::<usize>() * DType::F32.size_in_bytes()
    }
}

/// The weights of a model that candle-transformers computes.
#[derive(Clone)]
pub(crate) struct TransformersModel {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) fresh: Fresh,
    pub(super) cache: CacheSize,
    pub(super) vocab_size: usize,
    pub(super) device: Device,
    /// All weights by name.
    pub(super) tensors: Vec<(String, Tensor)>,
}

impl fmt::Debug for TransformersModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransformersModel")
            .field("tensors", &self.inner.tensors.len())
            .finish_non_exhaustive()
    }
}

/// A network and the number of tokens in its cache.
pub(crate) struct Held {
    network: Box<dyn Network>,
    length: usize,
}

impl TransformersModel {
    /// Returns a network that was fed a prompt, and the logits after its last token.
    pub(crate) fn prefill(&self, prompt: &[u32]) -> Result<(Held, Vec<f32>)> {
        let mut held = Held {
            network: (self.inner.fresh)()?,
            length: 0,
        };
        let logits = self.feed(&mut held, prompt)?;
        Ok((held, logits))
    }

    /// Feeds tokens. Returns the logits after the last one.
    pub(crate) fn feed(&self, held: &mut Held, tokens: &[u32]) -> Result<Vec<f32>> {
        let input = Tensor::new(tokens, &self.inner.device)?.unsqueeze(0)?;
        let logits = held.network.forward(&input, held.length)?;
        held.length += tokens.len();
        logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }

    /// The vocabulary size, which is the length of a row of logits.
    pub(crate) fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// Whether the model runs on the CPU.
    pub(crate) fn is_on_cpu(&self) -> bool {
        self.inner.device.is_cpu()
    }

    /// Bytes of a KV cache with this many positions.
    pub(crate) fn cache_bytes(&self, positions: usize) -> usize {
        self.inner.cache.bytes(positions)
    }

    /// All weights by name.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let tensors = self.inner.tensors.iter();
        tensors.map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl Held {
    /// Copies the network and its cache; `None` if that requires feeding the tokens again.
    pub(crate) fn fork(&self) -> Option<Held> {
        Some(Held {
            network: self.network.fork()?,
            length: self.length,
        })
    }

    /// The number of tokens in the cache.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}
