//! The indices of the open problems. Problems only leave the set.

/// A set of indices with a binary indexed tree (Fenwick, "A new data structure for cumulative frequency
/// tables", 1994), which finds the n-th index in logarithmic time.
#[derive(Debug)]
pub(super) struct OpenSet {
    open: Vec<bool>,
    /// `sums[i]`: the number of open ones among the `lowest bit of i` indices before `i`.
    sums: Vec<u32>,
    count: usize,
}

impl OpenSet {
    /// The set of the indices with `true`.
    pub(super) fn new(open: Vec<bool>) -> Self {
        let mut sums = vec![0; open.len() + 1];
        for (at, &is_open) in (1..).zip(&open) {
            sums[at] += u32::from(is_open);
            let next = at + lowest_bit(at);
            if next < sums.len() {
                sums[next] += sums[at];
            }
        }
        OpenSet {
            count: open.iter().filter(|open| **open).count(),
            open,
            sums,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn remove(&mut self, index: u32) {
        if !std::mem::take(&mut self.open[index as usize]) {
            return;
        }
        self.count -= 1;
        let mut at = index as usize + 1;
        while at < self.sums.len() {
            self.sums[at] -= 1;
            at += lowest_bit(at);
        }
    }

    /// Returns the n-th lowest index, from 0.
    pub(super) fn nth(&self, n: usize) -> Option<u32> {
        if n >= self.count {
            return None;
        }
        let mut left = n as u32;
        let mut at = 0;
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            let next = at + step;
            if next < self.sums.len() && self.sums[next] <= left {
                left -= self.sums[next];
                at = next;
            }
            step /= 2;
        }
        u32::try_from(at).ok()
    }

    /// Iterates over the indices in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let open = (0..).zip(&self.open);
        open.filter(|(_, open)| **open).map(|(index, _)| index)
    }
}

fn lowest_bit(at: usize) -> usize {
    at & at.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_same_as_a_search_from_the_start() {
        for size in [0_usize, 1, 2, 3, 31, 32, 33, 100] {
            let mut set = OpenSet::new((0..size).map(|index| index % 7 != 3).collect());
            for removed in 0..size {
                let all: Vec<u32> = set.iter().collect();
                assert_eq!((set.len(), set.is_empty()), (all.len(), all.is_empty()));
                for n in 0..=size {
                    assert_eq!(set.nth(n), all.get(n).copied(), "{n} of {all:?}");
                }
                let index = (removed * 17 % size) as u32;
                set.remove(index);
                set.remove(index);
                assert!(!set.iter().any(|open| open == index));
            }
        }
    }
}
