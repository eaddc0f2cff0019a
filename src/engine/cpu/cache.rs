//! Keys and values in memory: an immutable segment for a prompt, and pages for what each sequence
//! adds.
//!
//! Both are segments of the same layout. Per layer and key head, keys lie in panels of sixteen
//! positions, `[capacity / 16][head_dim][16]`, so that scores are a product with panels; values lie
//! as `[capacity][padded head_dim]`, so that weighted sums are.

use super::aligned::Aligned;
use super::lanes::WIDTH;
use crate::model::DecoderConfig;

/// Positions in a page.
pub(super) const PAGE: usize = 64;

/// What segments need to know of a decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct KvShape {
    pub(super) layers: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl KvShape {
    pub(super) fn new(config: &DecoderConfig) -> Self {
        KvShape {
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Bytes of a segment for so many positions.
    pub(super) fn bytes(&self, positions: usize) -> usize {
        let numbers = positions.next_multiple_of(WIDTH) * (self.head_dim + self.value_width());
        // A segment's positions are a whole number of cache lines.
        self.layers * self.kv_heads * numbers * size_of::<f32>()
    }

    /// Width of a row of values: a whole number of panels.
    pub(super) fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(WIDTH)
    }
}

/// Keys and values of `capacity` positions, all layers.
pub(super) struct Segment {
    capacity: usize,
    data: Aligned<f32>,
}

/// Keys and values of one head in one layer.
#[derive(Clone, Copy)]
pub(super) struct HeadView<'a> {
    /// `[capacity / 16][head_dim][16]`.
    pub(super) keys: &'a [f32],
    /// `[capacity][value_width]`.
    pub(super) values: &'a [f32],
}

impl Segment {
    /// Room for at least `positions`.
    pub(super) fn new(shape: KvShape, positions: usize) -> Self {
        let capacity = positions.next_multiple_of(WIDTH);
        let head = capacity * (shape.head_dim + shape.value_width());
        Segment {
            capacity,
            data: Aligned::zeroed(shape.layers * shape.kv_heads * head),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.bytes()
    }

    fn start(&self, shape: KvShape, layer: usize, head: usize) -> usize {
        (layer * shape.kv_heads + head) * self.capacity * (shape.head_dim + shape.value_width())
    }

    /// Keeps the keys and values of all heads, `[kv_heads · head_dim]` each, at a position of this
    /// segment.
    pub(super) fn write(
        &mut self,
        shape: KvShape,
        layer: usize,
        position: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        let heads = keys
            .chunks_exact(shape.head_dim)
            .zip(values.chunks_exact(shape.head_dim));
        for (head, (key, value)) in heads.enumerate() {
            let start = self.start(shape, layer, head);
            let panel = start + position / WIDTH * WIDTH * shape.head_dim + position % WIDTH;
            for (to, &from) in self.data[panel..].iter_mut().step_by(WIDTH).zip(key) {
                *to = from;
            }
            let row = start + self.capacity * shape.head_dim + position * shape.value_width();
            self.data[row..][..shape.head_dim].copy_from_slice(value);
        }
    }

    pub(super) fn head(&self, shape: KvShape, layer: usize, head: usize) -> HeadView<'_> {
        let start = self.start(shape, layer, head);
        let keys = self.capacity * shape.head_dim;
        let values = self.capacity * shape.value_width();
        HeadView {
            keys: &self.data[start..][..keys],
            values: &self.data[start + keys..][..values],
        }
    }
}

/// A prompt's keys and values.
pub(super) struct Prefix {
    pub(super) len: usize,
    pub(super) segment: Segment,
}

impl Prefix {
    pub(super) fn new(shape: KvShape, len: usize) -> Self {
        Prefix {
            len,
            segment: Segment::new(shape, len),
        }
    }
}

/// What a sequence added to its prefix.
#[derive(Default)]
pub(super) struct Suffix {
    pub(super) len: usize,
    pub(super) pages: Vec<Segment>,
}

impl Suffix {
    /// Whether one more position needs another page.
    pub(super) fn is_full(&self) -> bool {
        self.len == self.pages.len() * PAGE
    }

    /// Makes room for one more position.
    pub(super) fn reserve(&mut self, shape: KvShape) {
        if self.is_full() {
            self.pages.push(Segment::new(shape, PAGE));
        }
    }

    /// Keeps the keys and values of all heads at a position of the suffix.
    pub(super) fn write(
        &mut self,
        shape: KvShape,
        layer: usize,
        position: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        self.pages[position / PAGE].write(shape, layer, position % PAGE, keys, values);
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.iter().map(Segment::bytes).sum()
    }
}
