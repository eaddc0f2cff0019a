//! Memory aligned to cache lines, so that a load of sixteen elements touches one line.

use half::{bf16, f16};

/// A plain number type. All-zero bits are 0.
///
/// # Safety
///
/// Every bit pattern must be a valid value, and the alignment must not exceed a cache line.
pub(super) unsafe trait Element: Copy + Send + Sync + 'static {}

// SAFETY: 4 bytes, every pattern valid, aligned to 4.
unsafe impl Element for f32 {}
// SAFETY: 2 bytes, every pattern valid, aligned to 2.
unsafe impl Element for f16 {}
// SAFETY: as above.
unsafe impl Element for bf16 {}

// SAFETY: 1 byte, every pattern valid.
unsafe impl Element for u8 {}

/// A fixed number of elements, initialized to zero.
pub(super) struct Aligned<T> {
    lines: Vec<Line>,
    len: usize,
    element: std::marker::PhantomData<T>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl<T: Element> Aligned<T> {
    pub(super) fn zeroed(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        Aligned {
            lines: vec![Line([0; 64]); lines],
            len,
            element: std::marker::PhantomData,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

impl<T: Element> std::ops::Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least `len` elements of initialized memory, their alignment is
        // larger than that of any `T`, and every bit pattern is a valid `T`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Element> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
