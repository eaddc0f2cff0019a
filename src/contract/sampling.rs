//! The settings that choose the next token, and their valid ranges.
//!
//! The arithmetic on logits is implemented by the sampler: the engine's or a server's.

use serde_json::Value;

use super::Settings;
use crate::{Error, ErrorKind, Result};

/// How the next token is drawn from the logits.
///
/// The steps are applied in the order of the fields: repetition penalty, temperature, top-k, top-p, min-p,
/// each over the whole vocabulary. Tokens with equal logits are ranked by token id.
///
/// ```
/// use dart_math::Sampling;
///
/// let sampling = Sampling { top_k: Some(50), ..Sampling::default() };
/// assert!(sampling.validate().is_ok());
/// assert!(Sampling { top_p: 1.5, ..sampling }.validate().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides positive logits, and multiplies negative ones, of tokens in the prompt or generated before
    /// (Keskar et al., "CTRL", 2019, in the signed form of Hugging Face transformers). 1 changes nothing.
    pub repetition_penalty: f32,
    /// Divides the logits. 0 takes the most probable token (the lowest id among equal logits).
    pub temperature: f32,
    /// Keeps the k most probable tokens.
    pub top_k: Option<usize>,
    /// Keeps the nucleus: the smallest set of most probable tokens whose mass reaches p, among the tokens
    /// that remain (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020). 1 keeps all.
    pub top_p: f32,
    /// Keeps the tokens at least this many times as probable as the most probable one. 0 keeps
    /// all.
    pub min_p: f32,
}

impl Default for Sampling {
    /// The model's own distribution: temperature 1, no truncation.
    fn default() -> Self {
        Sampling {
            repetition_penalty: 1.0,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
        }
    }
}

impl Sampling {
    /// Always takes the most probable token.
    #[must_use]
    pub fn greedy() -> Self {
        Sampling {
            temperature: 0.0,
            ..Sampling::default()
        }
    }

    /// The settings of the DART-Math paper (arXiv 2407.13690): temperature 1.6, top-p 0.95.
    #[must_use]
    pub fn dart() -> Self {
        Sampling {
            temperature: 1.6,
            top_p: 0.95,
            ..Sampling::default()
        }
    }

    /// Returns whether the most probable token is always taken.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks every setting against its range.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Settings`], naming the setting, its value and its range.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, name: &str, value: &dyn std::fmt::Display, range: &str| {
            if good {
                Ok(())
            } else {
                Err(Error::new(
                    ErrorKind::Settings,
                    format!("{name} is {value}, but must be {range}"),
                ))
            }
        };
        let t = self.temperature;
        check(
            t.is_finite() && t >= 0.0,
            "temperature",
            &t,
            "a finite number from 0 up",
        )?;
        let p = self.top_p;
        check(p > 0.0 && p <= 1.0, "top_p", &p, "above 0 and at most 1")?;
        let k = self.top_k.unwrap_or(1);
        check(k > 0, "top_k", &k, "at least 1")?;
        let m = self.min_p;
        check((0.0..1.0).contains(&m), "min_p", &m, "from 0 to below 1")?;
        let r = self.repetition_penalty;
        check(
            r.is_finite() && r > 0.0,
            "repetition_penalty",
            &r,
            "a finite number above 0",
        )
    }

    /// Returns the settings by name, for a manifest.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        settings.insert("temperature".into(), as_written(self.temperature));
        settings.insert("top_p".into(), as_written(self.top_p));
        settings.insert("top_k".into(), self.top_k.into());
        settings.insert("min_p".into(), as_written(self.min_p));
        let penalty = as_written(self.repetition_penalty);
        settings.insert("repetition_penalty".into(), penalty);
        settings
    }
}

/// Writes a number as the shortest decimal that identifies it, as a person would: 0.95, not the
/// 0.949999988079071 that the f32 becomes as f64.
fn as_written(number: f32) -> Value {
    let shortest = number.to_string();
    // The text of a finite number always parses. JSON writes `null` for other numbers.
    shortest.parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_as_they_were_written() {
        let sampling = Sampling {
            repetition_penalty: 1.1,
            temperature: 0.7,
            top_k: None,
            top_p: 0.95,
            min_p: 1e-7,
        };
        assert_eq!(
            serde_json::to_string(&sampling.settings()).unwrap(),
            r#"{"temperature":0.7,"top_p":0.95,"top_k":null,"min_p":1e-7,"repetition_penalty":1.1}"#
        );
        // No two settings have the same text.
        for bits in (1..0x7f80_0000).step_by(65_537) {
            let number = f32::from_bits(bits);
            let shown = as_written(number).to_string();
            assert_eq!(shown.parse::<f32>(), Ok(number), "{shown}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let d = Sampling::default();
        let bad = [
            (
                "temperature",
                Sampling {
                    temperature: -0.1,
                    ..d
                },
            ),
            (
                "temperature",
                Sampling {
                    temperature: f32::NAN,
                    ..d
                },
            ),
            (
                "temperature",
                Sampling {
                    temperature: f32::INFINITY,
                    ..d
                },
            ),
            ("top_p", Sampling { top_p: 0.0, ..d }),
            ("top_p", Sampling { top_p: 1.01, ..d }),
            (
                "top_p",
                Sampling {
                    top_p: f32::NAN,
                    ..d
                },
            ),
            (
                "top_k",
                Sampling {
                    top_k: Some(0),
                    ..d
                },
            ),
            ("min_p", Sampling { min_p: 1.0, ..d }),
            ("min_p", Sampling { min_p: -0.5, ..d }),
            (
                "min_p",
                Sampling {
                    min_p: f32::NAN,
                    ..d
                },
            ),
            (
                "repetition_penalty",
                Sampling {
                    repetition_penalty: 0.0,
                    ..d
                },
            ),
            (
                "repetition_penalty",
                Sampling {
                    repetition_penalty: f32::NAN,
                    ..d
                },
            ),
        ];
        for (name, sampling) in bad {
            let error = sampling.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.detail().starts_with(name), "{error}");
        }
        for good in [d, Sampling::greedy(), Sampling::dart()] {
            good.validate().unwrap();
        }
    }
}
