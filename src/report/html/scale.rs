//! Axes: positions of values, and ticks.

/// Returns a tick step of 1, 2 or 5 times a power of ten that divides `range` into about `count` parts.
pub(super) fn nice_step(range: f64, count: f64) -> f64 {
    if !(range > 0.0 && range.is_finite()) {
        return 1.0;
    }
    let rough = range / count;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.iter().find(|&&step| step * power >= rough * 0.999);
    step.unwrap_or(&10.0) * power
}

/// A linear axis from zero to a tick at or above the maximum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub(super) end: f64,
    step: f64,
}

impl Linear {
    pub(super) fn up_to(most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() {
            most
        } else {
            1.0
        };
        let step = nice_step(most, 5.0);
        Linear {
            end: (most / step - 1e-9).ceil() * step,
            step,
        }
    }

    /// An axis for counts, with integer ticks only.
    pub(super) fn whole(most: u64) -> Self {
        let of = Linear::up_to(most as f64);
        match of.step < 1.0 {
            true => Linear {
                end: most.max(1) as f64,
                step: 1.0,
            },
            false => of,
        }
    }

    /// Returns the position of a value as a share of the axis.
    pub(super) fn at(&self, value: f64) -> f64 {
        (value / self.end).clamp(0.0, 1.0)
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        let count = (self.end / self.step).round() as u32;
        (0..=count)
            .map(|tick| f64::from(tick) * self.step)
            .collect()
    }
}

/// A logarithmic axis from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    end: f64,
}

impl Log {
    pub(super) fn up_to(most: f64) -> Self {
        Log { end: most.max(2.0) }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        (value.max(1.0).ln() / self.end.ln()).clamp(0.0, 1.0)
    }

    /// Returns powers of two as ticks, as many as fit.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let doublings = self.end.log2().floor() as i32;
        let step = doublings / 9 + 1;
        let ticks = (0..=doublings).step_by(step as usize);
        ticks.map(|power| 2f64.powi(power)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_hold_all() {
        assert_eq!(Linear::up_to(1.0).ticks().len(), 6);
        assert_eq!(Linear::up_to(3.4).ticks(), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(Linear::up_to(107.0).end, 150.0);
        assert_eq!(Linear::up_to(0.0).end, 1.0);
        assert_eq!(Linear::up_to(f64::NAN).end, 1.0);
        assert_eq!(Linear::whole(2).ticks(), [0.0, 1.0, 2.0]);
        for most in [1e-9, 0.3, 7.0, 1234.5, 9e12] {
            let axis = Linear::up_to(most);
            assert!(axis.end >= most && axis.ticks().len() < 9, "{most}");
        }
        assert_eq!(Log::up_to(48.0).ticks(), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]);
        assert!(Log::up_to(1e9).ticks().len() < 11);
        assert_eq!(Log::up_to(48.0).at(48.0), 1.0);
    }
}
