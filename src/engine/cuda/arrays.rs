//! The per-row arrays that a step's kernels read. The host writes them and copies them to the
//! device in one or two pieces before the step.

use super::driver::{Buffer, Device, Pinned};
use super::kernels::{PrefixTile, RowArrays, SampleRow, TILE};
use crate::Result;

/// Where each array begins, in 4-byte words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The capacity in rows.
    pub(super) rows: usize,
    /// The capacity in pages of a row's own tokens: the width of the block table.
    pub(super) table_width: usize,
    samples: usize,
    starts: usize,
    inputs: usize,
    slots: usize,
    positions: usize,
    lengths: usize,
    write_pages: usize,
    write_offsets: usize,
    prefix_offsets: usize,
    prefix_lengths: usize,
    index: usize,
    tile_count: usize,
    tiles: usize,
    prefix_pages: usize,
    tables: usize,
    words: usize,
}

impl Layout {
    /// Lays out arrays for `rows` rows with up to `table_width` pages each, `group` query heads per
    /// KV head, and `prefix_pages` pages of prefixes in all.
    pub(super) fn new(rows: usize, table_width: usize, group: usize, prefix_pages: usize) -> Self {
        let mut words = 0;
        let mut take = |count: usize| {
            let at = words;
            // Each array is aligned to 16 bytes.
            words += count.next_multiple_of(4);
            at
        };
        let sample = size_of::<SampleRow>() / 4;
        Layout {
            rows,
            table_width,
            samples: take(rows * sample),
            starts: take(rows * sample),
            inputs: take(rows),
            slots: take(rows),
            positions: take(rows),
            lengths: take(rows),
            write_pages: take(rows),
            write_offsets: take(rows),
            prefix_offsets: take(rows),
            prefix_lengths: take(rows),
            index: take(rows),
            tile_count: take(1),
            tiles: take(Self::max_tiles(rows, group) * size_of::<PrefixTile>() / 4),
            prefix_pages: take(prefix_pages),
            tables: take(rows * table_width),
            words,
        }
    }

    /// The largest number of tiles of the prefix attention: every row has its own prefix.
    fn max_tiles(rows: usize, group: usize) -> usize {
        (rows * group).div_ceil(TILE) + rows
    }
}

/// The arrays on the device.
pub(super) struct Arrays {
    pub(super) layout: Layout,
    buffer: Buffer,
}

impl Arrays {
    pub(super) fn new(device: &Device, layout: Layout) -> Result<Self> {
        let buffer = Buffer::new(device.stream(), layout.words * 4, "the rows of a step")?;
        Ok(Arrays { layout, buffer })
    }

    fn at(&self, word: usize) -> u64 {
        self.buffer.address + 4 * word as u64
    }

    pub(super) fn addresses(&self) -> RowArrays {
        let l = &self.layout;
        RowArrays {
            inputs: self.at(l.inputs),
            slots: self.at(l.slots),
            positions: self.at(l.positions),
            lengths: self.at(l.lengths),
            write_pages: self.at(l.write_pages),
            write_offsets: self.at(l.write_offsets),
            prefix_offsets: self.at(l.prefix_offsets),
            prefix_lengths: self.at(l.prefix_lengths),
            index: self.at(l.index),
            tile_count: self.at(l.tile_count),
            tiles: self.at(l.tiles),
            prefix_pages: self.at(l.prefix_pages),
            tables: self.at(l.tables),
            table_width: l.table_width,
        }
    }

    /// The address of the rows that draw after a step.
    pub(super) fn samples(&self) -> u64 {
        self.at(self.layout.samples)
    }

    /// The address of the rows that draw from their prefixes' logits.
    pub(super) fn starts(&self) -> u64 {
        self.at(self.layout.starts)
    }

    /// Allocates page-locked memory in which the host writes such arrays.
    pub(super) fn staging(&self, device: &Device) -> Result<Staging> {
        let memory = device.pinned(self.layout.words * 4)?;
        Ok(Staging {
            layout: self.layout,
            memory,
            rows: 0,
            starts: 0,
            tiles: 0,
            pages: 0,
            last: 0,
        })
    }

    /// Queues the copy of the written arrays.
    pub(super) fn upload(&self, device: &Device, staging: &Staging) -> Result<()> {
        let l = &self.layout;
        let used = l.prefix_pages + staging.pages;
        device.upload(self.buffer.address, &staging.memory, used * 4, 0)?;
        let tables = staging.rows * l.table_width * 4;
        match tables {
            0 => Ok(()),
            bytes => device.upload(self.at(l.tables), &staging.memory, bytes, l.tables * 4),
        }
    }
}

/// The arrays of a step while the host writes them.
pub(super) struct Staging {
    layout: Layout,
    memory: Pinned,
    rows: usize,
    starts: usize,
    tiles: usize,
    pages: usize,
    /// The number of rows marked with [`mark`](Self::mark).
    last: usize,
}

/// The data of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowData<'a> {
    /// The token to feed; -1 for the token drawn last.
    pub(super) input: i32,
    /// The sequence's slot; -1 for padding.
    pub(super) slot: i32,
    pub(super) position: usize,
    /// The sequence's own tokens, including this one.
    pub(super) length: usize,
    pub(super) write: (i32, usize),
    pub(super) pages: &'a [i32],
}

impl RowData<'_> {
    /// A padding row, whose result is discarded.
    pub(super) fn padding(scratch: i32) -> Self {
        RowData {
            input: 0,
            slot: -1,
            position: 0,
            length: 0,
            write: (scratch, 0),
            pages: &[],
        }
    }
}

impl Staging {
    /// Begins a step.
    pub(super) fn clear(&mut self) {
        (self.rows, self.starts, self.tiles, self.pages, self.last) = (0, 0, 0, 0, 0);
        self.set(self.layout.tile_count, 0);
    }

    fn set(&mut self, word: usize, value: i32) {
        self.memory.as_mut::<i32>()[word] = value;
    }

    /// The number of rows so far.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds the pages of a prefix. Returns where they begin.
    pub(super) fn prefix(&mut self, pages: &[i32]) -> usize {
        let begin = self.pages;
        let at = self.layout.prefix_pages + begin;
        self.memory.as_mut::<i32>()[at..at + pages.len()].copy_from_slice(pages);
        self.pages += pages.len();
        begin
    }

    /// Adds a row with its prefix (where its pages begin, and its number of tokens).
    pub(super) fn row(&mut self, data: &RowData<'_>, prefix: (usize, usize)) {
        let (l, row) = (self.layout, self.rows);
        let numbers = [
            (l.inputs, data.input),
            (l.slots, data.slot),
            (l.positions, data.position as i32),
            (l.lengths, data.length as i32),
            (l.write_pages, data.write.0),
            (l.write_offsets, data.write.1 as i32),
            (l.prefix_offsets, prefix.0 as i32),
            (l.prefix_lengths, prefix.1 as i32),
        ];
        let words = self.memory.as_mut::<i32>();
        for (at, number) in numbers {
            words[at + row] = number;
        }
        let table = l.tables + row * l.table_width;
        if l.table_width > 0 {
            words[table..table + data.pages.len()].copy_from_slice(data.pages);
        }
        self.rows += 1;
    }

    /// Adds the tiles with which rows of the step attend to a prefix.
    pub(super) fn tiles(
        &mut self,
        prefix: (usize, usize),
        first_row: usize,
        rows: usize,
        group: usize,
    ) {
        for first_query in (0..rows * group).step_by(TILE) {
            let tile = PrefixTile {
                pages: prefix.0 as i32,
                length: prefix.1 as i32,
                first_row: first_row as i32,
                rows: rows as i32,
                first_query: first_query as i32,
            };
            let at = self.layout.tiles * 4;
            let bytes = &mut self.memory.as_mut::<u8>()[at..];
            // SAFETY: tiles are plain words, and their array is aligned for them.
            let (_, tiles, _) = unsafe { bytes.align_to_mut::<PrefixTile>() };
            tiles[self.tiles] = tile;
            self.tiles += 1;
        }
        self.set(self.layout.tile_count, self.tiles as i32);
    }

    /// Marks a row whose logits a prefill computes.
    pub(super) fn mark(&mut self, row: usize) {
        self.set(self.layout.index + self.last, row as i32);
        self.last += 1;
    }

    /// Adds empty marks up to a multiple of `count`.
    pub(super) fn pad_marks(&mut self, count: usize) {
        let end = self.last.next_multiple_of(count).min(self.layout.rows);
        for at in self.last..end {
            self.set(self.layout.index + at, -1);
        }
    }

    /// The number of marked rows.
    pub(super) fn marked(&self) -> usize {
        self.last
    }

    /// Sets the draw after row `row`.
    pub(super) fn sample(&mut self, row: usize, sample: SampleRow) {
        let at = self.layout.samples * 4;
        self.samples_at(at)[row] = sample;
    }

    /// Adds a draw from a prefix's logits. Returns its index.
    pub(super) fn start(&mut self, sample: SampleRow) -> usize {
        let (at, index) = (self.layout.starts * 4, self.starts);
        self.samples_at(at)[index] = sample;
        self.starts += 1;
        index
    }

    /// The number of draws from prefixes' logits.
    pub(super) fn starts(&self) -> usize {
        self.starts
    }

    fn samples_at(&mut self, byte: usize) -> &mut [SampleRow] {
        let rows = self.layout.rows;
        let bytes = &mut self.memory.as_mut::<u8>()[byte..][..rows * size_of::<SampleRow>()];
        // SAFETY: rows are plain numbers, and their array is aligned for them.
        let (_, samples, _) = unsafe { bytes.align_to_mut::<SampleRow>() };
        samples
    }
}
