//! The KV cache: an immutable segment per prompt, and pages for the tokens that each sequence adds.
//!
//! Both are segments of the same layout. For each layer and KV head, keys are in panels of sixteen
//! positions, `[capacity / 16][head_dim][16]`, so that scores are a GEMM with panels. Values are
//! `[capacity][padded head_dim]`, so that weighted sums are a GEMM, too.
//!
//! The cache is f32, or rounded to f16 when it is written and converted back when it is read. A
//! reader sees the same numbers in either kind of segment.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::aligned::{Aligned, Element};
use super::lanes::{WIDTH, f16_to_f32};
use super::simd::Level;
use crate::engine::kernel_settings::KvType;
use crate::model::DecoderConfig;

/// The number of positions in a page.
pub(super) const PAGE: usize = 64;

/// The shape of a decoder's KV cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct KvShape {
    pub(super) layers: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) kv_type: KvType,
}

impl KvShape {
    pub(super) fn new(config: &DecoderConfig, kv_type: KvType) -> Self {
        KvShape {
            kv_type,
            layers: config.layers,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Bytes of a segment for `positions` positions.
    pub(super) fn bytes(&self, positions: usize) -> usize {
        let numbers = positions.next_multiple_of(WIDTH) * (self.head_dim + self.value_width());
        // Whole panels are whole cache lines, so that alignment adds no bytes.
        self.layers * self.kv_heads * numbers * self.kv_type.bytes()
    }

    /// The width of a row of values, padded to whole panels.
    pub(super) fn value_width(&self) -> usize {
        self.head_dim.next_multiple_of(WIDTH)
    }
}

/// A storage type of the KV cache.
trait Kept: Element {
    const ZERO: Self;

    /// Rounds at most sixteen numbers to the type.
    fn round_into(from: &[f32], to: &mut [Self]);
}

impl Kept for f32 {
    const ZERO: Self = 0.0;

    fn round_into(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl Kept for f16 {
    const ZERO: Self = f16::ZERO;

    fn round_into(from: &[f32], to: &mut [Self]) {
        const LARGEST: f32 = 65504.0;
        let mut near = [0f32; WIDTH];
        let near = &mut near[..from.len()];
        for (near, from) in near.iter_mut().zip(from) {
            // Saturate instead of overflowing to infinity; NaN stays NaN.
            *near = from.clamp(-LARGEST, LARGEST);
        }
        to.convert_from_f32_slice(near);
    }
}

/// Numbers of either storage type.
#[derive(Clone, Copy)]
pub(super) enum Numbers<F32, F16> {
    F32(F32),
    F16(F16),
}

/// A borrowed view of numbers.
pub(super) type View<'a> = Numbers<&'a [f32], &'a [f16]>;

impl<'a> View<'a> {
    /// Prefetches the numbers. A page is too short, and too far from the previous one, for the
    /// hardware prefetcher. (Measured: attention takes three quarters of the time, and about half
    /// with f16 pages.)
    pub(super) fn fetch(self) {
        match self {
            Numbers::F32(numbers) => fetch(numbers),
            Numbers::F16(numbers) => fetch(numbers),
        }
    }

    /// Returns a range of whole lanes as f32, converted into `converted` if necessary.
    pub(super) fn to_f32(
        self,
        level: Level,
        range: Range<usize>,
        converted: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        match self {
            Numbers::F32(numbers) => &numbers[range],
            Numbers::F16(numbers) => {
                converted.resize(range.len(), 0.0);
                f16_to_f32(level, &numbers[range], converted);
                converted
            }
        }
    }
}

/// Prefetches some numbers.
fn fetch<T: Element>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(64 / size_of::<T>()) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is within the numbers.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// The KV cache of `capacity` positions for all layers.
pub(super) struct Segment {
    capacity: usize,
    data: Numbers<Aligned<f32>, Aligned<f16>>,
}

/// The KV cache of one head in one layer.
#[derive(Clone, Copy)]
pub(super) struct HeadView<'a> {
    /// `[capacity / 16][head_dim][16]`.
    pub(super) keys: View<'a>,
    /// `[capacity][value_width]`.
    pub(super) values: View<'a>,
}

impl Segment {
    /// Allocates a segment for at least `positions`.
    pub(super) fn new(shape: KvShape, positions: usize) -> Self {
        let capacity = positions.next_multiple_of(WIDTH);
        let head = capacity * (shape.head_dim + shape.value_width());
        let count = shape.layers * shape.kv_heads * head;
        let data = match shape.kv_type {
            KvType::F32 => Numbers::F32(Aligned::zeroed(count)),
            KvType::F16 => Numbers::F16(Aligned::zeroed(count)),
        };
        Segment { capacity, data }
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.data {
            Numbers::F32(data) => data.bytes(),
            Numbers::F16(data) => data.bytes(),
        }
    }

    /// The offsets of a head's K and V.
    fn start(&self, shape: KvShape, layer: usize, head: usize) -> (usize, usize) {
        let index = layer * shape.kv_heads + head;
        let keys = index * self.capacity * (shape.head_dim + shape.value_width());
        (keys, keys + self.capacity * shape.head_dim)
    }

    /// Writes K and V of all heads, `[kv_heads · head_dim]` each, at a position of this
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
            let (keys, values) = self.start(shape, layer, head);
            let panel = keys + position / WIDTH * WIDTH * shape.head_dim + position % WIDTH;
            let row = values + position * shape.value_width();
            match &mut self.data {
                Numbers::F32(data) => write(data, (panel, key), (row, value)),
                Numbers::F16(data) => write(data, (panel, key), (row, value)),
            }
        }
    }

    pub(super) fn head(&self, shape: KvShape, layer: usize, head: usize) -> HeadView<'_> {
        let (keys, values) = self.start(shape, layer, head);
        let end = values + self.capacity * shape.value_width();
        let view = |range: Range<usize>| match &self.data {
            Numbers::F32(data) => Numbers::F32(&data[range]),
            Numbers::F16(data) => Numbers::F16(&data[range]),
        };
        HeadView {
            keys: view(keys..values),
            values: view(values..end),
        }
    }
}

/// Writes a key as a column of the panel that starts at `panel`, and a value as a row that starts
/// at `row`.
fn write<T: Kept>(data: &mut [T], (panel, key): (usize, &[f32]), (row, value): (usize, &[f32])) {
    let rows = data[row..].chunks_mut(WIDTH).zip(value.chunks(WIDTH));
    for (to, value) in rows {
        T::round_into(value, &mut to[..value.len()]);
    }
    let mut places = data[panel..].iter_mut().step_by(WIDTH);
    for key in key.chunks(WIDTH) {
        let mut kept = [T::ZERO; WIDTH];
        T::round_into(key, &mut kept[..key.len()]);
        // `places` comes second, so that `zip` does not consume a place without a number.
        for (&from, to) in kept[..key.len()].iter().zip(places.by_ref()) {
            *to = from;
        }
    }
}

/// A prompt's KV cache.
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

/// The KV cache that a sequence added to its prefix.
#[derive(Default)]
pub(super) struct Suffix {
    pub(super) len: usize,
    pub(super) pages: Vec<Segment>,
}

impl Suffix {
    /// Whether the next position needs a new page.
    pub(super) fn is_full(&self) -> bool {
        self.len == self.pages.len() * PAGE
    }

    /// Reserves one more position.
    pub(super) fn reserve(&mut self, shape: KvShape) {
        if self.is_full() {
            self.pages.push(Segment::new(shape, PAGE));
        }
    }

    /// Writes K and V of all heads at a position of the suffix.
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
        // All pages have the same size, and this is called in every step.
        self.pages.len() * self.pages.first().map_or(0, Segment::bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads return what was written, rounded if the type is f16, at every level; nothing else
    /// changes.
    #[test]
    fn keys_and_values_are_read_as_they_were_written() {
        for kv_type in [KvType::F32, KvType::F16] {
            let shape = KvShape {
                layers: 2,
                kv_heads: 3,
                head_dim: 20,
                kv_type,
            };
            let mut segment = Segment::new(shape, 70);
            assert_eq!(segment.bytes(), shape.bytes(70));
            // Some values exceed the range of f16, and some underflow.
            let number = |layer: usize, position: usize, i: usize| {
                let x = (1 + layer * 1009 + position * 131 + i * 7) as f32;
                x.sin() * 10f32.powi(i as i32 % 14 - 8)
            };
            for layer in 0..2 {
                for position in 0..70 {
                    let row = |from: usize| -> Vec<f32> {
                        (from..from + 60)
                            .map(|i| number(layer, position, i))
                            .collect()
                    };
                    segment.write(shape, layer, position, &row(0), &row(60));
                }
            }
            let kept = |x: f32| match kv_type {
                KvType::F32 => x,
                KvType::F16 => f16::from_f32(x.clamp(-65504.0, 65504.0)).to_f32(),
            };
            for level in Level::available() {
                for (layer, head) in [(0, 0), (0, 2), (1, 0), (1, 1)] {
                    let view = segment.head(shape, layer, head);
                    let (mut first, mut second) = (Vec::new(), Vec::new());
                    let keys = view.keys.to_f32(level, 0..80 * 20, &mut first);
                    let values = view.values.to_f32(level, 0..80 * 32, &mut second);
                    for position in 0..80 {
                        for i in 0..32 {
                            let place = head * 20 + i;
                            let (mut key, mut value) = (0.0, 0.0);
                            if position < 70 && i < 20 {
                                key = kept(number(layer, position, place));
                                value = kept(number(layer, position, 60 + place));
                            }
                            assert_eq!(values[position * 32 + i], value);
                            if i < 20 {
                                let panel = position / WIDTH * WIDTH * 20;
                                let at = panel + i * WIDTH + position % WIDTH;
                                assert_eq!(keys[at], key);
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_f16_does_not_hold_is_kept_apart() {
        let from = [1e9, -1e9, f32::NAN, 65504.0, 1e-9];
        let mut to = [f16::ZERO; 5];
        f16::round_into(&from, &mut to);
        assert_eq!((to[0], to[1], to[3]), (f16::MAX, f16::MIN, f16::MAX));
        assert!(to[2].is_nan() && to[4] == f16::ZERO);
    }
}
