//! Spreads numbered pieces of work over the current rayon pool.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `work` once for each number below `count`, on as many threads as the pool has. Whoever is
/// free takes the next number, so that a thread whose core is taken away holds up nothing but the
/// piece it is at. Nobody spins: a helper that comes late finds nothing left and goes.
pub(super) fn for_each(count: usize, work: impl Fn(usize) + Sync) {
    let workers = rayon::current_num_threads().min(count);
    if workers <= 1 {
        (0..count).for_each(work);
        return;
    }
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            work(index);
        }
    };
    rayon::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|_| run());
        }
        run();
    });
}

/// Calls `work` with each chunk of `size` elements and its number, in parallel if there is enough
/// in all to be worth it.
pub(super) fn for_each_chunk<T: Send>(
    data: &mut [T],
    size: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    use rayon::prelude::*;

    /// Elements that one thread goes through in about the time that waking another takes.
    const WORTH_WAKING: usize = 1 << 14;
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
