//! Checks of the tokenizer and the template: text to tokens and back.

use super::report::Check;
use crate::Result;
use crate::engine::Engine;
use crate::model::{Prompt, Tokenizer};

/// Texts that round-trip through every vocabulary that can spell bytes. They are in composed
/// Unicode (NFC), because some tokenizers normalize every text to it.
const TEXTS: [&str; 10] = [
    "Tom has 3 apples and buys 4 more. How many has he now?",
    "Let $x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$, so \\boxed{\\frac{3}{4}}.",
    "1234567890 3.14159 1,000,000 007 12345678901234567890 2^10",
    "a  b   c    d\t\te  \n\n\nf \r\n g",
    "naïve café, Łódź, Москва, Αθήνα, 東京, 서울, हिन्दी, العربية",
    "∑_{i=1}^{∞} 1/i² = π²/6 ≈ 1.645; ∀x∈ℝ: x ≤ |x|, ¬(a ∧ b) ⇔ ¬a ∨ ¬b",
    "🙂👩‍👧🏳️‍🌈 𝔸𝒷 \u{200b}\u{feff}",
    "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\n\nprint([f(i) for i in range(10)])\n",
    "I'm, you're, it's, we'll; \"quoted\" — and… ‘so’ “on”",
    "<think>\nIs 7 prime? Yes.\n</think>\n\n**Answer:** 7",
];

/// Runs the checks of the tokenizer alone.
pub(super) fn checks(engine: &Engine, question: &str) -> Vec<Check> {
    let tokenizer = engine.model().tokenizer();
    vec![
        round_trips(tokenizer, question),
        incremental(tokenizer, question),
        specials(tokenizer),
        vocabulary(engine),
        ends(engine),
    ]
}

/// The question, followed by the test texts if the vocabulary can spell any text.
fn texts<'a>(tokenizer: &Tokenizer, question: &'a str) -> Vec<&'a str> {
    let more = TEXTS.iter().filter(|_| tokenizer.spells_bytes());
    std::iter::once(question).chain(more.copied()).collect()
}

fn round_trips(tokenizer: &Tokenizer, question: &str) -> Check {
    let texts = texts(tokenizer, question);
    let back =
        |text: &str| -> Result<String> { tokenizer.decode(&tokenizer.encode_blind(text, false)?) };
    let is_changed = |text: &&&str| tokenizer.unicode_form(text) != **text;
    let changed = texts.iter().filter(is_changed).count();
    let complaints: Vec<String> = texts
        .iter()
        .filter_map(|text| match back(text) {
            Ok(found) if found == *text || found == tokenizer.unicode_form(text) => None,
            Ok(found) => Some(format!("{text:?} comes back as {found:?}")),
            Err(error) => Some(format!("{text:?}: {error}")),
        })
        .collect();
    Check::of(
        "tokenizer round trip",
        &complaints,
        match (texts.len(), changed) {
            (1, _) => "the question comes back; other texts the vocabulary cannot spell".to_owned(),
            (count, 0) => format!("{count} texts come back as they are"),
            (count, changed) => format!(
                "{count} texts come back, {changed} of them in the form of Unicode that the tokenizer's \
                 normalizer makes of them"
            ),
        },
    )
}

fn incremental(tokenizer: &Tokenizer, question: &str) -> Check {
    let texts = texts(tokenizer, question);
    let differs = |text: &&&str| -> Result<bool> {
        let tokens = tokenizer.encode_blind(text, false)?;
        let mut stream = tokenizer.stream();
        let mut joined = String::new();
        for &token in &tokens {
            joined.push_str(stream.push(token)?);
        }
        joined.push_str(&stream.finish()?);
        Ok(joined != tokenizer.decode(&tokens)?)
    };
    let complaints: Vec<String> = texts
        .iter()
        .filter_map(|text| match differs(&text) {
            Ok(false) => None,
            Ok(true) => Some(format!("{text:?} decodes otherwise token by token")),
            Err(error) => Some(format!("{text:?}: {error}")),
        })
        .collect();
    let well = format!("{} texts are the same token by token", texts.len());
    Check::of("incremental detokenization", &complaints, well)
}

/// Checks that special tokens are recognized in a text and decode to no text.
fn specials(tokenizer: &Tokenizer) -> Check {
    let specials = tokenizer.specials();
    let complaint = |(text, id): &(String, u32)| {
        let found = tokenizer.encode(text, false);
        let shown = text.escape_debug();
        match found {
            Ok(tokens) if tokens == [*id] => {}
            Ok(tokens) => return Some(format!("`{shown}` is tokens {tokens:?}, not {id}")),
            Err(error) => return Some(format!("`{shown}`: {error}")),
        }
        match tokenizer.decode(&[*id]) {
            Ok(text) if text.is_empty() => None,
            Ok(text) => Some(format!("{id} `{shown}` decodes to {text:?}")),
            Err(error) => Some(format!("{id} `{shown}`: {error}")),
        }
    };
    let complaints: Vec<String> = specials.iter().filter_map(complaint).collect();
    let well = format!("{} are tokens of their own, without text", specials.len());
    Check::of("special tokens", &complaints, well)
}

/// Checks that the model has an embedding for every token.
fn vocabulary(engine: &Engine) -> Check {
    let (tokens, rows) = (
        engine.model().tokenizer().vocab_size(),
        engine.model().config().vocab_size,
    );
    let detail = format!("the tokenizer has {tokens} tokens, the model {rows}");
    match tokens > rows {
        true => Check::failed("vocabulary", detail),
        false => Check::passed("vocabulary", detail),
    }
}

/// Checks that a completion can end: there is a stop token or a stop string.
fn ends(engine: &Engine) -> Check {
    let (tokens, strings) = (
        &engine.rules.stop_tokens,
        engine.rules.stop_strings.strings(),
    );
    match tokens.is_empty() && strings.is_empty() {
        true => Check::failed(
            "stop rules",
            "no token and no string ends a completion: each would run to its limit (give one, as a \
             stop string)",
        ),
        false => Check::passed(
            "stop rules",
            format!("tokens {tokens:?}, strings {strings:?}"),
        ),
    }
}

/// Checks that a prompt contains the question, and that it does not fill the context.
pub(super) fn prompt(engine: &Engine, question: &str, prompt: &Prompt) -> Check {
    const NAME: &str = "prompt";
    let context = engine.rules.context_length;
    if prompt.tokens.len() >= context {
        let length = prompt.tokens.len();
        let reason = format!("its {length} tokens fill the model's context of {context}");
        return Check::failed(NAME, reason);
    }
    let tokenizer = engine.model().tokenizer();
    let is_said = |text: &str| {
        text.contains(question.trim()) || text.contains(&tokenizer.unicode_form(question.trim()))
    };
    match tokenizer.decode(&prompt.tokens) {
        Ok(text) if is_said(&text) => Check::passed(
            NAME,
            format!("{} tokens, the question among them", prompt.tokens.len()),
        ),
        Ok(text) => Check::failed(NAME, format!("its tokens say {text:?}, not the question")),
        Err(error) => Check::failed(NAME, error),
    }
}
