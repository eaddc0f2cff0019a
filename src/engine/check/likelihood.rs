//! The probability that a model assigns to a plain text. If the weights and the tokenizer belong
//! together, it is far higher than that of guessing.

use super::report::Check;
use crate::engine::Engine;

/// With a smaller vocabulary, guessing cannot be distinguished from a small or random model.
const MIN_VOCABULARY: usize = 1000;
/// The smallest gain of a token's mean log-probability over guessing. Trained models given shuffled
/// tokens stay within a fraction of it; even the smallest models given the right tokens are far
/// above it.
const MIN_GAIN: f64 = 1.0;
/// A text that every mathematical model finds likely.
const KNOWN_TEXT: &str = "The sum of the numbers from 1 to 10 is 55, because 1 + 2 + 3 + 4 + 5 + 6 + 7 \
                          + 8 + 9 + 10 = 55.";

/// Checks how likely the model finds a plain text, if its vocabulary can spell the text.
pub(super) fn check(engine: &Engine) -> Check {
    const NAME: &str = "log-probability of a plain text";
    let model = engine.model();
    let size = model.config().vocab_size;
    if !model.tokenizer().spells_bytes() {
        return Check::skipped(NAME, "the vocabulary does not spell any text");
    }
    if size < MIN_VOCABULARY {
        let reason = format!("not conclusive with a vocabulary of {size} tokens");
        return Check::skipped(NAME, reason);
    }
    let scores = model.raw_prompt(KNOWN_TEXT).and_then(|prompt| {
        let (first, rest) = prompt.tokens.split_at(prompt.tokens.len().min(1));
        engine.score(first, rest)
    });
    let scores = match scores {
        Ok(scores) => scores,
        Err(error) => return Check::failed(NAME, error),
    };
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    let guess = -(size as f64).ln();
    let detail = format!("{mean:.2} a token of `{KNOWN_TEXT}`; guessing has {guess:.2}");
    // NaN fails this comparison, as it should.
    match mean > guess + MIN_GAIN {
        true => Check::passed(NAME, detail),
        false => Check::failed(
            NAME,
            format!("{detail}: weights and tokens are not of one model, or it was never trained"),
        ),
    }
}
