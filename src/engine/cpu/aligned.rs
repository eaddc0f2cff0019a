//! Memory that starts at a cache line, so that a load of sixteen elements touches one line.

use half::{bf16, f16};

/// A number: every bit pattern of its size is one, zeros are 0.
///
/// # Safety
///
/// That, and an alignment of no more than a cache line.
pub(super) unsafe trait Element: Copy + Send + Sync + 'static {}

// SAFETY: 4 bytes of any value, aligned to 4.
unsafe impl Element for f32 {}
// SAFETY: 2 bytes of any value, aligned to 2.
unsafe impl Element for f16 {}
// SAFETY: as above.
unsafe impl Element for bf16 {}

// SAFETY: 1 byte of any value.
unsafe impl Element for u8 {}

/// A fixed number of elements, zero at first.
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
        // SAFETY: the lines are at least `len` elements of initialised memory, aligned for more
        // than any `T`, and every bit pattern is a `T`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Element> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
