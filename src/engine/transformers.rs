//! The decoder with the models of candle-transformers: any of their architectures, one sequence at
//! a time.
//!
//! Depends on how networks are fed and copied, but not on architectures. A network holds the KV
//! cache of one sequence. Each sequence therefore has its own network, which shares its weights
//! with the others. If a cache cannot be copied, the prompt is fed again for each sequence but the
//! first.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::backend::{PrefixId, SequenceId};
use super::decoder::{Decoder, bad_sequence, check_named_once, device_error};
use super::inspect::is_finite;
use super::steps::Spent;
use crate::Result;
use crate::model::{Held, TransformersModel};

/// The decoder with the models of candle-transformers. See the [module](self).
pub(super) struct Transformers {
    model: TransformersModel,
    prefixes: BTreeMap<PrefixId, Prefix>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next_id: u64,
}

struct Prefix {
    tokens: Vec<u32>,
    /// A network that was fed the tokens. A sequence takes it if it cannot be copied.
    held: Option<Held>,
}

struct Sequence {
    prefix: PrefixId,
    /// Present from the sequence's first token on.
    held: Option<Held>,
}

/// A sequence that is being fed.
struct Fed<'a> {
    prompt: &'a [u32],
    held: Option<Held>,
    token: u32,
}

impl Transformers {
    pub(super) fn new(model: TransformersModel) -> Self {
        Transformers {
            model,
            prefixes: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The network for a sequence without fed tokens, or `None` if its prompt must be fed again.
    fn begin(prefix: &mut Prefix) -> Option<Held> {
        let copy = prefix.held.as_ref().and_then(Held::fork);
        copy.or_else(|| prefix.held.take())
    }

    /// The number of positions in the sequence's own cache, and its number of tokens.
    fn lengths(&self, sequence: &Sequence) -> (usize, usize) {
        match &sequence.held {
            Some(held) => (held.length(), held.length()),
            None => {
                let prefix = self.prefixes.get(&sequence.prefix);
                (0, prefix.map_or(0, |prefix| prefix.tokens.len()))
            }
        }
    }

    fn bytes(&self, fed: &[SequenceId]) -> usize {
        let prefixes = self.prefixes.values();
        let prefixes = prefixes.filter_map(|prefix| prefix.held.as_ref());
        let sequences = self.sequences.iter().map(|(id, sequence)| {
            let (held, tokens) = self.lengths(sequence);
            match fed.contains(id) {
                true => tokens + 1,
                false => held,
            }
        });
        let positions = prefixes.map(Held::length).chain(sequences);
        positions.map(|count| self.model.cache_bytes(count)).sum()
    }
}

impl Fed<'_> {
    fn feed(&mut self, model: &TransformersModel) -> candle_core::Result<Vec<f32>> {
        let held = match &mut self.held {
            Some(held) => held,
            None => self.held.insert(model.prefill(self.prompt)?.0),
        };
        model.feed(held, &[self.token])
    }
}

impl Decoder for Transformers {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>> {
        let computed: Vec<(Held, Vec<f32>)> = prompts
            .iter()
            .map(|prompt| self.model.prefill(prompt).map_err(device_error))
            .collect::<Result<_>>()?;
        let prefixes = computed.into_iter().zip(prompts);
        Ok(prefixes
            .map(|((held, logits), prompt)| {
                let id = PrefixId(self.next_id());
                let prefix = Prefix {
                    tokens: prompt.to_vec(),
                    held: Some(held),
                };
                self.prefixes.insert(id, prefix);
                (id, logits)
            })
            .collect())
    }

    fn fork(&mut self, prefix: PrefixId) -> SequenceId {
        let id = SequenceId(self.next_id());
        if self.prefixes.contains_key(&prefix) {
            self.sequences.insert(id, Sequence { prefix, held: None });
        }
        id
    }

    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()> {
        logits.clear();
        check_named_once(rows.iter().map(|&(sequence, _)| sequence))?;
        for &(id, _) in rows {
            let known = self.sequences.get(&id);
            if !known.is_some_and(|sequence| self.prefixes.contains_key(&sequence.prefix)) {
                return Err(bad_sequence(id, "is unknown"));
            }
        }
        let mut begun = Vec::with_capacity(rows.len());
        for &(id, token) in rows {
            let Some(sequence) = self.sequences.get_mut(&id) else {
                continue;
            };
            let held = match sequence.held.take() {
                Some(held) => Some(held),
                None => self
                    .prefixes
                    .get_mut(&sequence.prefix)
                    .and_then(Self::begin),
            };
            begun.push((sequence.prefix, held, token));
        }
        let prompt = |prefix| {
            self.prefixes
                .get(&prefix)
                .map_or(&[][..], |prefix| &prefix.tokens)
        };
        let mut fed: Vec<Fed<'_>> = begun
            .into_iter()
            .map(|(prefix, held, token)| Fed {
                prompt: prompt(prefix),
                held,
                token,
            })
            .collect();
        let model = &self.model;
        let feed = |fed: &mut Fed<'_>| fed.feed(model).map_err(device_error);
        let computed: Vec<Result<Vec<f32>>> = match model.is_on_cpu() {
            true => fed.par_iter_mut().map(feed).collect(),
            false => fed.iter_mut().map(feed).collect(),
        };
        for (&(id, _), fed) in rows.iter().zip(fed) {
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.held = fed.held;
            }
        }
        for row in computed {
            logits.extend(row?);
        }
        Ok(())
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        self.prefixes.remove(&prefix);
        self.sequences
            .retain(|_, sequence| sequence.prefix != prefix);
    }

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn kv_bytes(&self) -> usize {
        self.bytes(&[])
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        self.bytes(sequences)
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        self.model.cache_bytes(tokens)
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        self.model.cache_bytes(tokens)
    }

    /// A sequence that was fed a token caches all its positions.
    fn sequence_bytes(&self, prompt: usize, tokens: usize) -> usize {
        match tokens {
            0 => 0,
            _ => self.model.cache_bytes(prompt + tokens),
        }
    }

    fn weight_bytes(&self) -> usize {
        let tensors = self.model.tensors();
        let bytes = |(_, tensor): (_, &candle_core::Tensor)| {
            tensor.elem_count() * tensor.dtype().size_in_bytes()
        };
        tensors.map(bytes).sum()
    }

    /// Unknown: all time is spent in candle's model.
    fn spent(&self) -> Option<Spent> {
        None
    }

    fn non_finite_weight(&self) -> Option<String> {
        let mut tensors = self.model.tensors();
        let found = tensors.find(|(_, tensor)| !is_finite(tensor));
        found.map(|(name, _)| format!("`{name}`"))
    }
}
