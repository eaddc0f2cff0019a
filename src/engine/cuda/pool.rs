//! Allocates the pages of the KV cache.
//!
//! Prompts and sequences share one pool. A page holds [`PAGE`] positions of every layer, under the
//! same index in each layer's part of the memory.

use std::collections::BTreeMap;

use super::kernels::PAGE;
use crate::engine::Sampling;
use crate::engine::backend::{PrefixId, SequenceId};
use crate::{Error, ErrorKind, Result};

/// The page that padding rows write to; it is never read.
pub(super) const SCRATCH_PAGE: i32 = 0;

/// The free pages, and the pages that prompts and sequences hold.
pub(super) struct Pool {
    pages: usize,
    /// A stack: the last page is allocated next.
    free: Vec<i32>,
    prefixes: BTreeMap<PrefixId, Prefix>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next_id: u64,
}

/// A prompt's pages.
pub(super) struct Prefix {
    pub(super) tokens: Vec<u32>,
    pub(super) pages: Vec<i32>,
    /// The address of the logits after its last token.
    pub(super) logits: u64,
}

/// A sequence's pages.
pub(super) struct Sequence {
    pub(super) prefix: PrefixId,
    pub(super) slot: usize,
    pub(super) sampling: Sampling,
    /// The number of its own tokens in the KV cache.
    pub(super) len: usize,
    pub(super) pages: Vec<i32>,
}

impl Pool {
    /// Creates a pool of `pages` pages, one of which is reserved for padding.
    pub(super) fn new(pages: usize) -> Self {
        Pool {
            pages,
            free: (1..pages as i32).rev().collect(),
            prefixes: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// The number of pages that can be held.
    pub(super) fn capacity(&self) -> usize {
        self.pages - 1
    }

    /// The number of pages that are held.
    pub(super) fn held(&self) -> usize {
        self.capacity() - self.free.len()
    }

    fn take(&mut self, count: usize) -> Result<Vec<i32>> {
        if count > self.free.len() {
            return Err(Error::new(
                ErrorKind::Device,
                format!(
                    "the KV cache is full: {count} more pages of {PAGE} tokens are needed, {} of \
                     {} are free",
                    self.free.len(),
                    self.capacity()
                ),
            ));
        }
        Ok(self.free.split_off(self.free.len() - count))
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Allocates pages for a prompt.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if too few pages are free.
    pub(super) fn add_prefix(&mut self, tokens: &[u32], logits: u64) -> Result<PrefixId> {
        let pages = self.take(tokens.len().div_ceil(PAGE))?;
        let id = PrefixId(self.next_id());
        let tokens = tokens.to_vec();
        self.prefixes.insert(
            id,
            Prefix {
                tokens,
                pages,
                logits,
            },
        );
        Ok(id)
    }

    /// Adds a sequence without pages.
    pub(super) fn add_sequence(
        &mut self,
        prefix: PrefixId,
        slot: usize,
        sampling: Sampling,
    ) -> SequenceId {
        let id = SequenceId(self.next_id());
        let (len, pages) = (0, Vec::new());
        self.sequences.insert(
            id,
            Sequence {
                prefix,
                slot,
                sampling,
                len,
                pages,
            },
        );
        id
    }

    pub(super) fn prefix(&self, id: PrefixId) -> Option<&Prefix> {
        self.prefixes.get(&id)
    }

    pub(super) fn sequence(&self, id: SequenceId) -> Option<&Sequence> {
        self.sequences.get(&id)
    }

    /// Reserves one more token of a sequence. Returns its page and the offset in the page.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Device`] if no page is free.
    pub(super) fn grow(&mut self, id: SequenceId) -> Result<(i32, usize)> {
        let full = |sequence: &Sequence| sequence.len == sequence.pages.len() * PAGE;
        if self.sequences.get(&id).is_some_and(full) {
            let new = self.take(1)?;
            if let Some(sequence) = self.sequences.get_mut(&id) {
                sequence.pages.extend(new);
            }
        }
        let Some(sequence) = self.sequences.get_mut(&id) else {
            return Err(crate::engine::decoder::bad_sequence(id, "is unknown"));
        };
        let at = sequence.len;
        sequence.len += 1;
        Ok((sequence.pages[at / PAGE], at % PAGE))
    }

    /// The number of new pages that one more token for each of these sequences takes.
    pub(super) fn pages_to_grow(&self, sequences: &[SequenceId]) -> usize {
        let known = sequences.iter().filter_map(|id| self.sequences.get(id));
        known
            .filter(|sequence| sequence.len == sequence.pages.len() * PAGE)
            .count()
    }

    /// Removes a sequence. Returns its slot, which is free now.
    pub(super) fn remove_sequence(&mut self, id: SequenceId) -> Option<usize> {
        let sequence = self.sequences.remove(&id)?;
        self.free.extend(sequence.pages);
        Some(sequence.slot)
    }

    /// Removes a prompt and its remaining sequences. Returns the address of its logits, and the
    /// slots that are free now.
    pub(super) fn remove_prefix(&mut self, id: PrefixId) -> Option<(u64, Vec<usize>)> {
        let prefix = self.prefixes.remove(&id)?;
        self.free.extend(prefix.pages);
        let own = |(sequence, of): (&SequenceId, &Sequence)| (of.prefix == id).then_some(*sequence);
        let orphans: Vec<SequenceId> = self.sequences.iter().filter_map(own).collect();
        let slots = orphans
            .into_iter()
            .filter_map(|orphan| self.remove_sequence(orphan));
        let slots = slots.collect();
        Some((prefix.logits, slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_held_once_and_comes_back() {
        let mut pool = Pool::new(8);
        assert_eq!((pool.capacity(), pool.held()), (7, 0));
        let prefix = pool.add_prefix(&[1; 65], 0).unwrap();
        let first = pool.add_sequence(prefix, 0, Sampling::default());
        let second = pool.add_sequence(prefix, 1, Sampling::default());
        let mut places = Vec::new();
        for _ in 0..PAGE + 1 {
            places.push(pool.grow(first).unwrap());
        }
        assert_eq!(places[PAGE - 1].1, PAGE - 1);
        assert_eq!(places[PAGE].1, 0);
        assert_ne!(places[0].0, places[PAGE].0);
        assert_eq!(pool.held(), 4);
        assert_eq!(pool.pages_to_grow(&[first, second]), 1);
        pool.grow(second).unwrap();
        let mut all: Vec<i32> = pool.prefix(prefix).unwrap().pages.clone();
        all.extend(&pool.sequence(first).unwrap().pages);
        all.extend(&pool.sequence(second).unwrap().pages);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5);
        assert!(!all.contains(&SCRATCH_PAGE));
        // A failed allocation changes nothing.
        let error = pool.add_prefix(&[1; 3 * PAGE], 0).unwrap_err();
        assert!(error.to_string().contains("3 more pages"), "{error}");
        assert_eq!(pool.held(), 5);
        assert_eq!(pool.remove_sequence(first), Some(0));
        assert_eq!(pool.remove_sequence(first), None);
        assert_eq!(pool.held(), 3);
        assert_eq!(pool.remove_prefix(prefix), Some((0, vec![1])));
        assert_eq!(pool.held(), 0);
        assert!(pool.grow(second).is_err());
    }
}
