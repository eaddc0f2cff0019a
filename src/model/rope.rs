//! RoPE: the angle per position of each pair of elements, with scaling.
//!
//! Contains the formulas only; configuration files and GGUF metadata are read elsewhere.

use std::f64::consts::TAU;
use std::fmt;

/// A scaling of the frequencies that extends a model's context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum RopeScaling {
    /// No scaling.
    None,
    /// No scaling up to the context that the model was trained for, to which sequences are limited
    /// here.
    Dynamic { factor: f64 },
    /// All frequencies divided by one factor (position interpolation, arXiv 2306.15595).
    Linear { factor: f64 },
    /// Low frequencies divided by a factor, high ones unchanged, those between interpolated (Llama
    /// 3.1, section 3.1 of arXiv 2407.21783 and the reference code published with it).
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// Pairs with few rotations within the original context divided by a factor, those with many
    /// unchanged, those between interpolated (YaRN, sections 3.2 to 3.4 of arXiv 2309.00071).
    Yarn(Yarn),
}

/// The settings of YaRN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Yarn {
    pub(super) factor: f64,
    pub(super) original_context: f64,
    /// Pairs with at least this many rotations are unchanged.
    pub(super) beta_fast: f64,
    /// Pairs with at most this many rotations are divided by the factor.
    pub(super) beta_slow: f64,
    /// Whether the bounds of the interpolated pairs are rounded to integers.
    pub(super) truncate: bool,
    /// The factor of cosines and sines.
    pub(super) attention_factor: f64,
}

impl Yarn {
    /// The two numbers of rotations that the authors chose for Llama.
    pub(super) const BETA_FAST: f64 = 32.0;
    pub(super) const BETA_SLOW: f64 = 1.0;

    /// The factor that sharpens attention for a longer context: `0.1 · scale · ln(factor) + 1`
    /// (equation 22 of the paper for a scale of 1).
    pub(super) fn attention_factor(factor: f64, scale: f64) -> f64 {
        match factor > 1.0 {
            true => 0.1 * scale * factor.ln() + 1.0,
            false => 1.0,
        }
    }

    /// The share of interpolation of a pair's frequency: 0 for pairs up to one index, 1 from
    /// another on, linear between them.
    fn share(&self, pair: usize, head_dim: usize, theta: f64) -> f64 {
        // The pair with this many rotations within the original context, as a real number.
        let pair_of = |turns: f64| {
            let longest = self.original_context / (turns * TAU);
            head_dim as f64 * longest.ln() / (2.0 * theta.ln())
        };
        let (mut low, mut high) = (pair_of(self.beta_fast), pair_of(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let low = low.max(0.0);
        let high = high.min(head_dim as f64 - 1.0);
        let width = if low == high { 0.001 } else { high - low };
        ((pair as f64 - low) / width).clamp(0.0, 1.0)
    }
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rope {
    /// The angle per position of each pair.
    pub(super) frequencies: Vec<f32>,
    /// The factor of cosines and sines.
    pub(super) attention_factor: f32,
    /// A description of the base and the scaling.
    pub(super) described: String,
}

impl Rope {
    /// Computes the scaled frequencies `theta^(-2i / head_dim)` of `head_dim / 2` pairs.
    ///
    /// Computed in `f64` and rounded once, so that the angle at a position of some ten thousand is
    /// still correct to the last bits of an `f32`.
    pub(super) fn new(head_dim: usize, theta: f64, scaling: RopeScaling) -> Self {
        let frequency = |pair: usize| {
            let plain = theta.powf(-((2 * pair) as f64) / head_dim as f64);
            // The divisor of the frequency, and the share to which it applies.
            let (factor, share) = match scaling {
                RopeScaling::None | RopeScaling::Dynamic { .. } => (1.0, 0.0),
                RopeScaling::Linear { factor } => (factor, 1.0),
                RopeScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_context,
                } => {
                    // The number of rotations of the pair within the original context.
                    let turns = original_context * plain / TAU;
                    let kept = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (factor, 1.0 - kept.clamp(0.0, 1.0))
                }
                RopeScaling::Yarn(yarn) => (yarn.factor, yarn.share(pair, head_dim, theta)),
            };
            plain / factor * share + plain * (1.0 - share)
        };
        Rope {
            frequencies: (0..head_dim / 2)
                .map(|pair| frequency(pair) as f32)
                .collect(),
            attention_factor: match scaling {
                RopeScaling::Yarn(yarn) => yarn.attention_factor as f32,
                _ => 1.0,
            },
            described: format!("theta {theta}, {scaling}"),
        }
    }
}

impl fmt::Display for RopeScaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RopeScaling::None => f.write_str("not scaled"),
            RopeScaling::Dynamic { factor } => write!(
                f,
                "dynamic by {factor}, which changes nothing within the model's context"
            ),
            RopeScaling::Linear { factor } if *factor == 1.0 => f.write_str("not scaled"),
            RopeScaling::Linear { factor } => write!(f, "scaled linearly by {factor}"),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => write!(
                f,
                "scaled as Llama 3's by {factor} from {original_context} positions (frequency factors \
                 {low_freq_factor} and {high_freq_factor})"
            ),
            RopeScaling::Yarn(yarn) => write!(
                f,
                "YaRN by {} from {} positions (beta {} and {}, attention factor {:.4})",
                yarn.factor,
                yarn.original_context,
                yarn.beta_fast,
                yarn.beta_slow,
                yarn.attention_factor
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_are_a_geometric_row() {
        let row = Rope::new(8, 10_000.0, RopeScaling::None).frequencies;
        for (got, want) in row.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((got - want).abs() < 1e-7 * want, "{got} {want}");
        }
        assert_eq!(row.len(), 4);
    }

    #[test]
    fn linear_scaling_divides() {
        let plain = Rope::new(16, 10_000.0, RopeScaling::None).frequencies;
        let scaled = Rope::new(16, 10_000.0, RopeScaling::Linear { factor: 4.0 }).frequencies;
        for (p, s) in plain.iter().zip(&scaled) {
            assert_eq!(*s, p / 4.0);
        }
    }

    /// The ends are exact by definition. The middle is checked at a pair whose number of rotations
    /// was computed by hand: with head dimension 64 and theta 500,000, pair 16 makes
    /// 8192/(2π·√500000) = 1.843848 rotations, so that the share 0.843848/3 of it is unchanged.
    #[test]
    fn llama3_scaling_keeps_high_and_divides_low_frequencies() {
        let plain = Rope::new(64, 500_000.0, RopeScaling::None).frequencies;
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        };
        let scaled = Rope::new(64, 500_000.0, scaling).frequencies;
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
        let kept = 0.843848 / 3.0;
        let want = (1.0 - kept) * f64::from(plain[16]) / 8.0 + kept * f64::from(plain[16]);
        assert!((f64::from(scaled[16]) - want).abs() < 1e-5 * want);
    }

    /// With head dimension 128, theta 1,000,000 and 32,768 positions, pair 23.6 makes 32 rotations
    /// and pair 39.65 makes one. Pairs up to 23 are unchanged, those from 40 on are divided, and
    /// pair 30 is interpolated by 7/17.
    #[test]
    fn yarn_keeps_what_turns_often_and_divides_what_turns_rarely() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 32_768.0,
            beta_fast: Yarn::BETA_FAST,
            beta_slow: Yarn::BETA_SLOW,
            truncate: true,
            attention_factor: Yarn::attention_factor(4.0, 1.0),
        };
        let plain = Rope::new(128, 1e6, RopeScaling::None).frequencies;
        let scaled = Rope::new(128, 1e6, RopeScaling::Yarn(yarn));
        assert_eq!(scaled.frequencies.len(), 64);
        for (pair, (plain, scaled)) in plain.iter().zip(&scaled.frequencies).enumerate() {
            let share = match pair {
                0..=23 => 0.0,
                24..=39 => (pair as f64 - 23.0) / 17.0,
                _ => 1.0,
            };
            let (want, got) = (f64::from(*plain) * (1.0 - share * 0.75), f64::from(*scaled));
            assert!((got - want).abs() < 1e-6 * want, "{pair}: {got} {want}");
        }
        assert!((scaled.attention_factor - 1.138_629_4).abs() < 1e-6);
        assert_eq!(Yarn::attention_factor(1.0, 1.0), 1.0);
    }
}
