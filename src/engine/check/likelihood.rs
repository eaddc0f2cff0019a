//! The probability that a model gives a plain text. It is far above that of guessing if the weights and
//! the tokenizer belong together.

use super::report::Check;
use crate::engine::Engine;

/// With a smaller vocabulary, guessing cannot be distinguished from a small or random model.
const MIN_VOCABULARY: usize = 1000;
/// By how much a token of a text has to be more probable than by guessing, as a logarithm: shuffled tokens
/// of a trained model come out within a fraction of that of guessing, the smallest models far above.
const MIN_GAIN: f64 = 1.0;
/// A text that every model of mathematics finds likely.
const KNOWN_TEXT: &str = "The sum of the numbers from 1 to 10 is 55, because 1 + 2 + 3 + 4 + 5 + 6 + 7 \
                          + 8 + 9 + 10 = 55.";

/// How likely the model finds a plain text, where its vocabulary can spell it.
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
    // So written that what is no number fails, too.
    match mean > guess + MIN_GAIN {
        true => Check::passed(NAME, detail),
        false => Check::failed(
            NAME,
            format!("{detail}: weights and tokens are not of one model, or it was never trained"),
        ),
    }
}
