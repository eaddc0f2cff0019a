//! Prefill: packs the rows of prompts, runs them through the decoder and keeps the logits after
//! each last token.

use super::Cuda;
use super::arrays::{RowData, Staging};
use super::driver::Doing;
use super::kernels::PAGE;
use super::pool::SCRATCH_PAGE;
use crate::Result;
use crate::engine::backend::PrefixId;

impl Cuda {
    /// Returns staging memory for the rows of a prefill that no queued work reads any more.
    fn prefill_staging(&mut self) -> Result<Staging> {
        /// The largest number of copies that may be queued.
        const MAX_WAITING: usize = 4;
        let done = self
            .idle_staging
            .iter()
            .position(|(_, read)| read.is_complete());
        if let Some(index) = done {
            return Ok(self.idle_staging.swap_remove(index).0);
        }
        if self.idle_staging.len() < MAX_WAITING {
            return self.prefill.staging(&self.device);
        }
        let (staging, read) = self.idle_staging.remove(0);
        read.synchronize().doing("a prefill failed")?;
        Ok(staging)
    }

    /// Prefills some rows. `ids` are the prompts' ids; a row is the index of its prompt and its
    /// position there.
    fn prefill_rows(&mut self, ids: &[PrefixId], rows: &[(usize, usize)]) -> Result<()> {
        let mut staging = self.prefill_staging()?;
        staging.clear();
        let mut finished = Vec::new();
        for segment in rows.chunk_by(|a, b| a.0 == b.0) {
            let id = ids[segment[0].0];
            let Some(prefix) = self.pool.prefix(id) else {
                continue;
            };
            let end = segment[segment.len() - 1].1 + 1;
            let begin = staging.prefix(&prefix.pages);
            let first_row = staging.rows();
            for &(_, position) in segment {
                let data = RowData {
                    input: prefix.tokens[position] as i32,
                    slot: 0,
                    position,
                    length: 0,
                    write: (prefix.pages[position / PAGE], position % PAGE),
                    pages: &[],
                };
                if position + 1 == prefix.tokens.len() {
                    staging.mark(staging.rows());
                    finished.push(prefix.logits);
                }
                staging.row(&data, (begin, end));
            }
            staging.tiles((begin, end), first_row, segment.len(), self.shape.group());
        }
        let most = self.step.layout.rows;
        if self.deterministic {
            while staging.rows() < self.prefill.layout.rows {
                staging.row(&RowData::padding(SCRATCH_PAGE), (0, 0));
            }
            staging.pad_marks(most);
        }
        self.prefill.upload(&self.device, &staging)?;
        let read = self.device.record()?;
        let (count, marked) = (staging.rows(), staging.marked());
        self.idle_staging.push((staging, read));
        let arrays = self.prefill.addresses();
        self.forward(&arrays, count, None)?;
        // In groups of as many prompts as there is memory for logits.
        let width = 4 * self.config.vocab_size;
        for first in (0..marked).step_by(most) {
            let part = most.min(marked - first);
            let rows = match self.deterministic {
                true => most.min(count - first),
                false => part,
            };
            self.logits(arrays.index + 4 * first as u64, rows)?;
            for (row, &to) in finished[first..first + part].iter().enumerate() {
                let from = self.activations.logits.address + (row * width) as u64;
                self.device.copy(to, from, width)?;
            }
        }
        Ok(())
    }

    /// Prefills prompts whose pages are allocated, in chunks of as many rows as there is memory
    /// for.
    pub(super) fn prefill_all(&mut self, ids: &[PrefixId], prompts: &[&[u32]]) -> Result<()> {
        let rows: Vec<(usize, usize)> = prompts
            .iter()
            .enumerate()
            .flat_map(|(prompt, tokens)| (0..tokens.len()).map(move |at| (prompt, at)))
            .collect();
        let most = self.prefill.layout.rows;
        rows.chunks(most)
            .try_for_each(|rows| self.prefill_rows(ids, rows))
    }
}
