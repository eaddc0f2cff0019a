//! Distributes indexed pieces of work over the current rayon pool.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Calls `work` once for each index below `count`, on all threads of the pool. Each thread takes
/// indexes one by one from its own range, for locality, and then steals from the other ranges: a
/// thread that loses its core delays only its current piece. Threads do not spin; one that starts
/// late finds no work and returns.
pub(super) fn for_each(count: usize, work: impl Fn(usize) + Sync) {
    let workers = rayon::current_num_threads().min(count);
    if workers <= 1 {
        (0..count).for_each(work);
        return;
    }
    let start = |range: usize| range * count / workers;
    let next: Vec<AtomicUsize> = (0..workers).map(|w| AtomicUsize::new(start(w))).collect();
    let run = |worker: usize| {
        for range in (worker..workers).chain(0..worker) {
            let end = start(range + 1);
            loop {
                let index = next[range].fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                work(index);
            }
        }
    };
    let run = &run;
    rayon::scope(|scope| {
        for worker in 1..workers {
            scope.spawn(move |_| run(worker));
        }
        run(0);
    });
}

/// The number of elements that one thread processes in about the time that it takes to wake
/// another.
const WORTH_WAKING: usize = 1 << 14;

/// Calls `work` with each chunk of `size` elements and its index, in parallel if the data is large
/// enough.
pub(super) fn for_each_chunk<T: Send>(
    data: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if data.len() < 2 * WORTH_WAKING {
        for (index, chunk) in data.chunks_mut(size).enumerate() {
            work(index, chunk);
        }
    } else {
        data.par_chunks_mut(size)
            .with_min_len(WORTH_WAKING.div_ceil(size))
            .enumerate()
            .for_each(|(index, chunk)| work(index, chunk));
    }
}

/// Calls `work` with each pair of chunks, of `first_size` and `second_size` elements, and its
/// index, in parallel if the second is large enough. Its size counts twice, because work on pairs
/// takes about twice as long.
pub(super) fn for_each_pair<A: Send, B: Send>(
    first: &mut [A],
    first_size: usize,
    second: &mut [B],
    second_size: usize,
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    if second.len() < WORTH_WAKING {
        let pairs = first
            .chunks_mut(first_size)
            .zip(second.chunks_mut(second_size));
        for (index, (first, second)) in pairs.enumerate() {
            work(index, first, second);
        }
    } else {
        first
            .par_chunks_mut(first_size)
            .zip(second.par_chunks_mut(second_size))
            .with_min_len(WORTH_WAKING.div_ceil(2 * second_size))
            .enumerate()
            .for_each(|(index, (first, second))| work(index, first, second));
    }
}
