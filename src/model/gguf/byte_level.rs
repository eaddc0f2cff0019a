//! Byte-level BPE, with known pre-tokenizers.
//!
//! Maps the names that llama.cpp's converters give to pre-tokenizers to the pipelines of the models
//! that they were made for. Any other name is refused, because a guess would silently give wrong
//! tokens. llama.cpp's own patterns are written for a more limited regex engine; these are the
//! models' own.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

use super::container::Gguf;
use super::vocabulary::Tokens;
use crate::{ErrorKind, Result};

/// The pre-tokenization of a kind of model.
pub(super) struct Pipeline {
    /// Whether text is normalized to composed Unicode (NFC).
    composed: bool,
    /// Patterns that split text one after another, each match being a piece. Empty for GPT-2's own
    /// pattern.
    cuts: &'static [&'static str],
    /// Whether each digit is a piece: split before GPT-2's pattern, or after `cuts`.
    single_digits: bool,
    /// Whether words in the vocabulary become one token without applying merges.
    whole_words: bool,
    /// Whether texts begin with the BOS token if the file does not say.
    pub(super) add_bos: bool,
}

const GPT2: Pipeline = Pipeline {
    composed: false,
    cuts: &[],
    single_digits: false,
    whole_words: false,
    add_bos: false,
};

/// GPT-4's pattern; digits in groups of three.
const LLAMA_3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// The same with single digits.
const QWEN_2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// The same with combining marks as parts of words.
const QWEN_3_5: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Splits words where a capital follows a lowercase letter.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|",
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
);
const SEED_CODER: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const LINE_BREAKS: &str = r"[\r\n]";
const EAST_ASIAN: &str = "[一-龥ࠀ-一가-퟿]+";
/// Letters of alphabets with two cases. Letters that Unicode normalization changes are written as
/// escapes; a range must not begin or end with another.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ",
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼ",
    "ℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤ",
    "Ⳬ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
);

/// The pre-tokenizer with a name that converters write. llama.cpp's flags for them (`clean_spaces`)
/// only affect how text is displayed, and are ignored here.
pub(super) fn pipeline(name: &str) -> Option<Pipeline> {
    let llama_3 = Pipeline {
        cuts: &[LLAMA_3],
        ..GPT2
    };
    Some(match name {
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
        | "exaone4" | "gigachat" | "a.x-4.0" | "mellum" => GPT2,
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => Pipeline {
            single_digits: true,
            ..GPT2
        },
        // DeepSeek's distilled models have Qwen's vocabulary with other special tokens.
        "qwen2" | "deepseek-r1-qwen" => Pipeline {
            composed: true,
            cuts: &[QWEN_2],
            ..GPT2
        },
        "qwen35" => Pipeline {
            cuts: &[QWEN_3_5],
            ..GPT2
        },
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" => Pipeline {
            whole_words: true,
            add_bos: true,
            ..llama_3
        },
        "dbrx" | "smaug-bpe" => llama_3,
        "tekken" => Pipeline {
            cuts: &[TEKKEN],
            whole_words: true,
            add_bos: true,
            ..GPT2
        },
        // Includes DeepSeekMath.
        "deepseek-llm" => Pipeline {
            cuts: &[
                LINE_BREAKS,
                DEEPSEEK_LETTERS,
                r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
                r"\s+$",
                EAST_ASIAN,
            ],
            single_digits: true,
            ..GPT2
        },
        "deepseek-coder" => Pipeline {
            cuts: &[LINE_BREAKS, r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN],
            single_digits: true,
            ..GPT2
        },
        "deepseek-v3" => Pipeline {
            cuts: &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK_V3],
            ..GPT2
        },
        "seed-coder" => Pipeline {
            cuts: &[SEED_CODER],
            ..GPT2
        },
        _ => return None,
    })
}

/// The most important names, for messages.
pub(super) const KNOWN: &str = "gpt-2, smollm, qwen2, llama-bpe, tekken, deepseek-llm, \
                                deepseek-coder, deepseek-v3 and those of llama.cpp that are the same";

/// Builds the pipeline of a file's vocabulary.
pub(super) fn tokenizer(
    file: &Gguf,
    tokens: &Tokens<'_>,
    pipeline: &Pipeline,
) -> Result<tokenizers::Tokenizer> {
    const MERGES: &str = "tokenizer.ggml.merges";
    let fail = |reason: String| tokens.error(ErrorKind::Model, reason);
    let failed = |error: tokenizers::Error| fail(format!("its vocabulary: {error}"));
    let Some(merges) = file.texts(MERGES)? else {
        return Err(fail(format!("no `{MERGES}`")));
    };
    let merges = merges
        .iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| {
                    let merge = merge.escape_debug();
                    fail(format!("`{MERGES}` has `{merge}`, which is not a pair"))
                })
        })
        .collect::<Result<Vec<_>>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(tokens.vocab(), merges)
        .ignore_merges(pipeline.whole_words)
        .build()
        .map_err(failed)?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    if pipeline.composed {
        tokenizer
            .with_normalizer(Some(NormalizerWrapper::from(NFC)))
            .map_err(failed)?;
    }
    let space = file
        .flag("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(false);
    let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
    for cut in pipeline.cuts {
        let pattern = SplitPattern::Regex((*cut).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
        steps.push(split.into());
    }
    if pipeline.single_digits {
        steps.push(Digits::new(true).into());
    }
    steps.push(ByteLevel::new(space, false, pipeline.cuts.is_empty()).into());
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(Sequence::new(steps))));
    tokenizer.with_decoder(Some(DecoderWrapper::from(ByteLevel::default())));
    tokenizer
        .add_special_tokens(tokens.added())
        .map_err(failed)?;
    Ok(tokenizer)
}
