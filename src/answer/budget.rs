//! The bound on the work of one comparison: steps, bits and depth are counted, never time, so a
//! verdict is the same on any machine. Knows nothing of what the steps are spent on.

/// Longest text, in bytes, that is read as mathematics; longer ones are only compared verbatim.
pub(super) const MAX_INPUT: usize = 8 * 1024;

/// Deepest nesting of a tree, of a value, or of one evaluation inside another.
pub(super) const MAX_DEPTH: u32 = 64;

/// Longest integer, in bits, that is computed with (about 12,000 decimal digits).
pub(super) const MAX_BITS: usize = 40_000;

/// Steps of one comparison. A step is about one token, tree node or product of two terms.
pub(super) const MAX_STEPS: u32 = 28_000;

/// Why a computation ended without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EvalError {
    /// The steps, bits or depth ran out.
    LimitExceeded,
    /// The mathematics is of a kind that has no value here, or has none at all (`1/0`).
    Unsupported,
}

/// What is left to spend.
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
    /// Pays for `steps` steps.
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

    /// Pays for an operation on integers of so many bits, and refuses those that are too long.
    /// Fractions are kept in lowest terms, and a common divisor takes time by the square.
    pub(super) fn spend_bits(&mut self, bits: usize) -> Result<(), EvalError> {
        if bits > MAX_BITS {
            return Err(EvalError::LimitExceeded);
        }
        let blocks = bits / 512;
        self.spend(1 + bits / 2048 + blocks * blocks)
    }

    /// Works one level down: every recursion goes through here, so that none can go deeper than
    /// the bound.
    pub(super) fn nested<T>(
        &mut self,
        work: impl FnOnce(&mut Budget) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        self.enter()?;
        let result = work(self);
        self.leave();
        result
    }

    /// Goes one level down, for those that hold a budget and are no closure's argument;
    /// [`leave`](Self::leave) comes back.
    pub(super) fn enter(&mut self) -> Result<(), EvalError> {
        self.spend(1)?;
        if self.depth >= MAX_DEPTH {
            return Err(EvalError::LimitExceeded);
        }
        self.depth += 1;
        Ok(())
    }

    /// How many levels down the work is.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Comes back up to a level.
    pub(super) fn come_back_to(&mut self, depth: u32) {
        self.depth = self.depth.min(depth);
    }

    /// Tries something: `None` where it has no value, at the depth of before.
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

    /// Comes back from a level.
    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}
