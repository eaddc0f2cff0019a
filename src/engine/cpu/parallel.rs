//! Spreads numbered pieces of work over the current rayon pool.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Calls `work` once for each number below `count`, on as many threads as the pool has. Each takes
/// numbers one by one from a range of its own, so that what it turns to next lies next to what it had,
/// and then from the others' ranges: a thread whose core is taken away holds up nothing but the piece
/// it is at. Nobody spins: a helper that comes late finds nothing left and goes.
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

/// Elements that one thread goes through in about the time that waking another takes.
const WORTH_WAKING: usize = 1 << 14;

/// Calls `work` with each chunk of `size` elements and its number, in parallel if there is enough
/// in all to be worth it.
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
/// number, in parallel if there is enough of the second to be worth it: it counts twice, for what is
/// done with pairs takes about as much longer.
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
