//! Rotary embedding: the angle per position of each pair of elements, with scaling.
//!
//! Knows the formulas only; configuration files and GGUF metadata are read elsewhere.

use std::f64::consts::TAU;

/// How the frequencies of a model that was made for short contexts are changed for long ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum RopeScaling {
    /// As they are.
    None,
    /// All divided by one factor (position interpolation, arXiv 2306.15595).
    Linear { factor: f64 },
    /// Low frequencies divided by a factor, high ones kept, those between interpolated
    /// (Llama 3.1, section 3.1 of arXiv 2407.21783 and the reference code published with it).
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
}

/// The angle per position of each of `head_dim / 2` pairs: `theta^(-2i / head_dim)`, scaled.
///
/// Computed in `f64` and rounded once, so that the angle at a position of some ten thousand is
/// still right to the last bits of an `f32`.
pub(super) fn frequencies(head_dim: usize, theta: f64, scaling: RopeScaling) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|pair| {
            let plain = theta.powf(-((2 * pair) as f64) / head_dim as f64);
            scale(plain, scaling) as f32
        })
        .collect()
}

fn scale(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let wavelength = TAU / frequency;
            // How often the pair turns within the context that the model was first made for.
            let turns = original_context / wavelength;
            if turns > high_freq_factor {
                frequency
            } else if turns < low_freq_factor {
                frequency / factor
            } else {
                let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_are_a_geometric_row() {
        let row = frequencies(8, 10_000.0, RopeScaling::None);
        for (got, want) in row.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((got - want).abs() < 1e-7 * want, "{got} {want}");
        }
        assert_eq!(row.len(), 4);
    }

    #[test]
    fn linear_scaling_divides() {
        let plain = frequencies(16, 10_000.0, RopeScaling::None);
        let scaled = frequencies(16, 10_000.0, RopeScaling::Linear { factor: 4.0 });
        for (p, s) in plain.iter().zip(&scaled) {
            assert_eq!(*s, p / 4.0);
        }
    }

    /// The ends are exact by definition; the middle is checked at a pair whose number of turns
    /// was worked out by hand: head 64, theta 500,000, pair 16 turns 8192/(2π·√500000) = 1.843848
    /// times, so 0.843848/3 of it is kept.
    #[test]
    fn llama3_scaling_keeps_high_and_divides_low_frequencies() {
        let plain = frequencies(64, 500_000.0, RopeScaling::None);
        let scaled = frequencies(
            64,
            500_000.0,
            RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192.0,
            },
        );
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
        let kept = 0.843848 / 3.0;
        let want = (1.0 - kept) * f64::from(plain[16]) / 8.0 + kept * f64::from(plain[16]);
        assert!((f64::from(scaled[16]) - want).abs() < 1e-5 * want);
    }
}
