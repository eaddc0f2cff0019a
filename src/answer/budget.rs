//! Limits the work of one comparison. Steps, bits and depth are counted, not time, so a verdict is the same on
//! any machine. Independent of what the steps are spent on.

/// The maximum length, in bytes, of a text that is parsed as mathematics. Longer texts are only compared
/// verbatim.
pub(super) const MAX_INPUT: usize = 8 * 1024;

/// The maximum depth of a tree, of a value, or of nested evaluations.
pub(super) const MAX_DEPTH: u32 = 64;

/// The maximum length of an integer in computations, in bits (about 12,000 decimal digits).
pub(super) const MAX_BITS: usize = 40_000;

/// The maximum number of steps of one comparison. A step is about one token, tree node or product of two terms.
pub(super) const MAX_STEPS: u32 = 28_000;

/// Why a computation ended without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvalError {
    /// The limit of steps, bits or depth was reached.
    LimitExceeded,
    /// The mathematics is not supported, or has no value (`1/0`).
    Unsupported,
}

/// The remaining budget.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    left: u32,
    depth: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            left: MAX_STEPS,
            depth: 0,
        }
    }
}

impl Budget {
    /// Spends `steps` steps.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), EvalError> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(EvalError::LimitExceeded)
            }
        }
    }

    /// Spends the steps of an operation on integers of `bits` bits; fails if they are too long. Fractions are
    /// kept in lowest terms, and computing a greatest common divisor takes quadratic time.
    pub(super) fn spend_bits(&mut self, bits: usize) -> Result<(), EvalError> {
        if bits > MAX_BITS {
            return Err(EvalError::LimitExceeded);
        }
        let blocks = bits / 512;
        self.spend(1 + bits / 2048 + blocks * blocks)
    }

    /// Runs `work` one level deeper. Every recursion goes through here, so none exceeds the maximum depth.
    pub(super) fn nested<T>(
        &mut self,
        work: impl FnOnce(&mut Budget) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        self.enter()?;
        let result = work(self);
        self.leave();
        result
    }

    /// Enters a level, for callers that cannot pass a closure. [`leave`](Self::leave) leaves it.
    pub(super) fn enter(&mut self) -> Result<(), EvalError> {
        self.spend(1)?;
        if self.depth >= MAX_DEPTH {
            return Err(EvalError::LimitExceeded);
        }
        self.depth += 1;
        Ok(())
    }

    /// Returns the current depth.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns to an outer depth.
    pub(super) fn come_back_to(&mut self, depth: u32) {
        self.depth = self.depth.min(depth);
    }

    /// Runs `work`; returns `None` and restores the depth if it is unsupported.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Budget) -> Result<T, EvalError>,
    ) -> Result<Option<T>, EvalError> {
        let depth = self.depth;
        match work(self) {
            Ok(value) => Ok(Some(value)),
            Err(EvalError::Unsupported) => {
                self.depth = depth;
                Ok(None)
            }
            Err(EvalError::LimitExceeded) => Err(EvalError::LimitExceeded),
        }
    }

    /// Leaves a level.
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}
