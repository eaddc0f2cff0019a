//! Attention of rows over a shared prefix and each row's own suffix.
//!
//! The scores of all rows that share a prefix are one GEMM with its keys; each row's suffix follows
//! separately. A row's scores are ordered by position, one softmax covers all of them, and every
//! weighted sum runs through the positions in order. A row's result therefore depends only on its
//! own KV cache, not on the split into prefix and suffix or on other rows.

use std::ops::Range;
use std::sync::Mutex;

use super::cache::{HeadView, KvShape, PAGE, Prefix, Segment, Suffix};
use super::gemm::{Output, Panels, Rows, multiply};
use super::lanes::WIDTH;
use super::parallel;
use super::rows::{scale, softmax_weights};
use super::simd::Level;

/// The approximate number of query rows in a piece of work (batch rows times query heads that share
/// a KV head). It is large enough to reuse the part of the KV cache that was loaded into the
/// processor's cache.
const QUERIES: usize = 48;

/// The number of prefix positions processed at a time. Their keys or values stay in the L1 cache
/// for all rows of a piece.
const CHUNK: usize = 128;

const _: () = assert!(CHUNK.is_multiple_of(WIDTH) && PAGE.is_multiple_of(WIDTH));

/// A row of the batch: its position and the KV cache it attends to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) prefix: &'a Prefix,
    /// `None` during prefill, while the prefix itself is computed.
    pub(super) suffix: Option<&'a Suffix>,
    /// The row's own position. It attends to all positions up to and including this one.
    pub(super) position: usize,
}

/// The shape of an attention layer, and the location of its queries.
#[derive(Clone, Copy)]
pub(super) struct Attention<'a> {
    pub(super) level: Level,
    pub(super) shape: KvShape,
    pub(super) heads: usize,
    pub(super) layer: usize,
    /// The sliding window: the number of latest positions that are attended to.
    pub(super) window: Option<usize>,
    /// Queries of row `r` at `r · stride`, `[heads · head_dim]`, with RoPE applied.
    pub(super) queries: &'a [f32],
    pub(super) stride: usize,
}

/// Groups batch rows that share a prefix into pieces `(first, end)`. Each piece is one unit of
/// work per KV head.
pub(super) fn pieces(places: &[Place<'_>], heads: usize, kv_heads: usize) -> Vec<(usize, usize)> {
    let shared = heads / kv_heads;
    let threads = rayon::current_num_threads();
    // Use smaller pieces if there would be fewer than two per thread.
    let fair = (places.len() * kv_heads).div_ceil(2 * threads);
    let most = (QUERIES / shared).min(fair).max(1);
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < places.len() {
        let prefix = places[first].prefix;
        let count = places[first..]
            .iter()
            .take(most)
            .take_while(|place| std::ptr::eq(place.prefix, prefix))
            .count();
        pieces.push((first, first + count));
        first += count;
    }
    pieces
}

/// Buffers of a piece of work, reused for the next.
#[derive(Default)]
pub(super) struct Buffers {
    queries: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    totals: Vec<f32>,
    /// Keys or values converted from a narrower type.
    converted: Vec<f32>,
}

/// Buffers for all pieces that run concurrently.
#[derive(Default)]
pub(super) struct BufferPool(Mutex<Vec<Buffers>>);

impl BufferPool {
    fn take(&self) -> Buffers {
        let pool = self.0.lock();
        pool.ok()
            .and_then(|mut pool| pool.pop())
            .unwrap_or_default()
    }

    fn put(&self, buffers: Buffers) {
        if let Ok(mut pool) = self.0.lock() {
            pool.push(buffers);
        }
    }
}

impl Attention<'_> {
    /// Computes the attention of all rows into `output`, `[rows, heads · head_dim]`.
    pub(super) fn forward(
        &self,
        places: &[Place<'_>],
        pieces: &[(usize, usize)],
        pool: &BufferPool,
        output: &mut [f32],
    ) {
        let kv_heads = self.shape.kv_heads;
        let width = self.heads * self.shape.head_dim;
        let shared = self.heads / kv_heads * self.shape.head_dim;
        let output = Output::new(output, places.len(), width, width);
        parallel::for_each(pieces.len() * kv_heads, |index| {
            let (first, last) = pieces[index / kv_heads];
            let kv_head = index % kv_heads;
            // SAFETY: every piece and head has its own rows and columns and is processed once.
            let mut output =
                unsafe { output.part(first..last, kv_head * shared..(kv_head + 1) * shared) };
            let mut buffers = pool.take();
            self.piece(
                first,
                &places[first..last],
                kv_head,
                &mut buffers,
                &mut output,
            );
            pool.put(buffers);
        });
    }

    /// Computes one KV head for the rows from `first` on, which share a prefix.
    fn piece(
        &self,
        first: usize,
        places: &[Place<'_>],
        kv_head: usize,
        buffers: &mut Buffers,
        output: &mut Output<'_>,
    ) {
        let KvShape { head_dim, .. } = self.shape;
        let (level, value_width) = (self.level, self.shape.value_width());
        let shared = self.heads / self.shape.kv_heads;
        let count = places.len() * shared;
        let prefix = places[0].prefix;

        // Positions start at `begin`, the earliest that any row attends to, rounded down to a whole
        // panel.
        let begin = places
            .iter()
            .map(|place| self.first_visible(place))
            .min()
            .unwrap_or(0)
            / WIDTH
            * WIDTH;
        let end = places
            .iter()
            .map(|place| place.position + 1)
            .max()
            .unwrap_or(0);
        // A row's score of position `p` is at `WIDTH + p - begin`: the panels of a suffix may
        // extend beyond both ends.
        let padded = (end - begin).next_multiple_of(WIDTH);
        let stride = WIDTH + padded + WIDTH;
        let Buffers {
            queries,
            scores,
            sums,
            totals,
            converted,
        } = buffers;
        queries.resize(count * head_dim, 0.0);
        scores.resize(count * stride, 0.0);
        sums.clear();
        sums.resize(count * value_width, 0.0);
        totals.clear();

        let factor = 1.0 / (head_dim as f32).sqrt();
        for (row, to) in queries.chunks_exact_mut(shared * head_dim).enumerate() {
            let from = (first + row) * self.stride + kv_head * shared * head_dim;
            scale(
                level,
                &self.queries[from..][..shared * head_dim],
                factor,
                to,
            );
        }

        // Scores: of all rows over the prefix, then of each row over its own pages.
        let in_prefix = end.min(prefix.len);
        let view = prefix.segment.head(self.shape, self.layer, kv_head);
        for from in (begin..in_prefix).step_by(CHUNK) {
            let to = in_prefix.min(from + CHUNK);
            let panels = key_panels(level, view, head_dim, from..to, converted);
            let queries = rows(queries, head_dim, count);
            let columns = panels.count * WIDTH;
            let scores = &mut scores[WIDTH + from - begin..];
            let mut scores = Output::new(scores, count, stride, columns);
            multiply(level, head_dim, queries, panels, &mut scores, false);
        }
        let own: Vec<(usize, HeadView<'_>, usize)> = places
            .iter()
            .enumerate()
            .flat_map(|(row, place)| {
                pages(place, begin).map(move |(page, position)| {
                    (row, page.head(self.shape, self.layer, kv_head), position)
                })
            })
            .collect();
        for (index, &(row, view, position)) in own.iter().enumerate() {
            if let Some(&(_, next, _)) = own.get(index + 1) {
                next.keys.fetch();
            }
            let filled = PAGE.min(places[row].position + 1 - position);
            let skipped = begin.saturating_sub(position) / WIDTH * WIDTH;
            if skipped < filled {
                let scores = &mut scores[row * shared * stride..];
                let queries = rows(&queries[row * shared * head_dim..], head_dim, shared);
                let panels = key_panels(level, view, head_dim, skipped..filled, converted);
                let columns = panels.count * WIDTH;
                let scores = &mut scores[WIDTH + position + skipped - begin..];
                let mut scores = Output::new(scores, shared, stride, columns);
                multiply(level, head_dim, queries, panels, &mut scores, false);
            }
        }

        for (row, scores) in scores.chunks_exact_mut(stride).take(count).enumerate() {
            let place = &places[row / shared];
            let visible = self.first_visible(place) - begin..place.position + 1 - begin;
            let scores = &mut scores[WIDTH..][..padded];
            totals.push(softmax_weights(level, scores, visible.start, visible.end));
        }

        // Weighted sums of values, in the same two parts.
        for from in (begin..in_prefix).step_by(CHUNK) {
            let to = in_prefix.min(from + CHUNK);
            let weights = rows(&scores[WIDTH + from - begin..], stride, count);
            let panels = value_panels(level, view, value_width, from..to, converted);
            let mut sums = Output::new(sums, count, value_width, value_width);
            multiply(level, to - from, weights, panels, &mut sums, true);
        }
        for (index, &(row, view, position)) in own.iter().enumerate() {
            if let Some(&(_, next, _)) = own.get(index + 1) {
                next.values.fetch();
            }
            let filled = PAGE.min(places[row].position + 1 - position);
            let skipped = begin.saturating_sub(position);
            if skipped < filled {
                let scores = &scores[row * shared * stride..];
                let sums = &mut sums[row * shared * value_width..];
                let weights = &scores[WIDTH + position + skipped - begin..];
                let weights = rows(weights, stride, shared);
                let panels = value_panels(level, view, value_width, skipped..filled, converted);
                let mut sums = Output::new(sums, shared, value_width, value_width);
                multiply(level, filled - skipped, weights, panels, &mut sums, true);
            }
        }

        for (index, (sums, total)) in sums.chunks_exact(value_width).zip(totals).enumerate() {
            let to = &mut output.row(index / shared)[index % shared * head_dim..][..head_dim];
            scale(level, &sums[..head_dim], 1.0 / *total, to);
        }
    }

    /// The first position that a row attends to.
    fn first_visible(&self, place: &Place<'_>) -> usize {
        match self.window {
            Some(window) => (place.position + 1).saturating_sub(window),
            None => 0,
        }
    }
}

/// A row's pages with positions from `begin` to its own, each with the page's first position.
fn pages<'a>(place: &Place<'a>, begin: usize) -> impl Iterator<Item = (&'a Segment, usize)> {
    let (first, last) = (place.prefix.len, place.position);
    let pages = place.suffix.map_or(&[][..], |suffix| &suffix.pages);
    // Pages that the sliding window has passed are neither read nor prefetched.
    let behind = begin.saturating_sub(first) / PAGE;
    pages
        .iter()
        .skip(behind)
        .zip((first + behind * PAGE..).step_by(PAGE))
        .take_while(move |(_, position)| *position <= last)
}

fn rows(data: &[f32], stride: usize, count: usize) -> Rows<'_> {
    Rows {
        data,
        stride,
        count,
    }
}

/// The panels of keys for some positions, which start at a panel boundary.
fn key_panels<'a>(
    level: Level,
    view: HeadView<'a>,
    head_dim: usize,
    positions: Range<usize>,
    converted: &'a mut Vec<f32>,
) -> Panels<'a> {
    let end = positions.end.next_multiple_of(WIDTH);
    let numbers = positions.start * head_dim..end * head_dim;
    Panels {
        data: view.keys.to_f32(level, numbers, converted),
        stride: head_dim * WIDTH,
        step: WIDTH,
        count: (end - positions.start) / WIDTH,
    }
}

/// The values of some positions.
fn value_panels<'a>(
    level: Level,
    view: HeadView<'a>,
    width: usize,
    positions: Range<usize>,
    converted: &'a mut Vec<f32>,
) -> Panels<'a> {
    let numbers = positions.start * width..positions.end * width;
    Panels {
        data: view.values.to_f32(level, numbers, converted),
        stride: WIDTH,
        step: width,
        count: width / WIDTH,
    }
}
