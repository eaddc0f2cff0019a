//! The tokenizer in a GGUF file's metadata: byte-level BPE with the pre-tokenizers that are known
//! for sure.
//!
//! Knows the keys of llama.cpp's converters and the pipelines of the models that they were made
//! for; anything else is refused by name, because a guess gives wrong tokens silently.

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior,
};

use super::container::Gguf;
use crate::{Error, ErrorKind, Result};

/// What a file says about its tokens.
#[derive(Debug)]
pub(in crate::model) struct Vocabulary {
    /// The tokenizer without its special first token, or why it cannot be built from the file.
    pub(in crate::model) tokenizer: Result<tokenizers::Tokenizer>,
    /// Whether a text is to begin with `bos`.
    pub(in crate::model) add_bos: Option<bool>,
    pub(in crate::model) bos: Option<u32>,
    pub(in crate::model) eos: Option<u32>,
    pub(in crate::model) stop_tokens: Vec<u32>,
    pub(in crate::model) chat_template: Option<String>,
}

/// Control tokens that end a turn or a text whatever a file's own list says, which in many files
/// names one of several only (llama.cpp treats them likewise).
const ENDS: [&str; 8] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|EOT|>",
    "<｜end▁of▁sentence｜>",
];

const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;

/// How a kind of model cuts text before byte-pair encoding.
struct Pipeline {
    /// Unicode normalisation to composed characters.
    composed: bool,
    /// Patterns that cut text one after another, each match a piece by itself; none for GPT-2's
    /// own pattern of words.
    cuts: &'static [&'static str],
    /// Each digit by itself: before words for GPT-2's pattern, after the cuts else.
    single_digits: bool,
    /// Words that are tokens as a whole are taken without looking at merges.
    whole_words: bool,
    /// Whether texts begin with the special token where the file does not say.
    add_bos: bool,
}

const GPT2: Pipeline = Pipeline {
    composed: false,
    cuts: &[],
    single_digits: false,
    whole_words: false,
    add_bos: false,
};

const LINE_BREAKS: &str = r"[\r\n]";
const EAST_ASIAN: &str = "[一-龥ࠀ-一가-퟿]+";
/// Letters of alphabets with two cases. Those written as escapes are the ones that Unicode
/// normalisation makes other letters of; a range must not begin or end with another.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ",
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼ",
    "ℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤ",
    "Ⳬ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
);

/// The pre-tokenizers that are known, by the names that converters write.
fn pipeline(name: &str) -> Option<Pipeline> {
    Some(match name {
        "gpt-2" => GPT2,
        "smollm" => Pipeline {
            single_digits: true,
            ..GPT2
        },
        "qwen2" => Pipeline {
            composed: true,
            cuts: &[concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
                r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            )],
            ..GPT2
        },
        "llama-bpe" | "llama3" | "llama-v3" => Pipeline {
            cuts: &[concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
                r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            )],
            whole_words: true,
            add_bos: true,
            ..GPT2
        },
        // DeepSeekMath among them.
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
        _ => return None,
    })
}

/// The names that [`pipeline`] knows, for messages.
const KNOWN: &str = "gpt-2, smollm, qwen2, llama-bpe, deepseek-llm and deepseek-coder";

/// Reads a file's vocabulary, chat template and special tokens.
pub(in crate::model) fn vocabulary(file: &Gguf) -> Result<Vocabulary> {
    let tokens = file.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let kinds = file.numbers("tokenizer.ggml.token_type")?;
    let id = |key: &str| -> Result<Option<u32>> {
        match file.size(key)? {
            // Some files write -1 or all ones for "none"; a negative number is an error above.
            Some(id) if id == u32::MAX as usize => Ok(None),
            Some(id) if !tokens.is_empty() && id >= tokens.len() => Err(Error::new(
                ErrorKind::Model,
                format!(
                    "{}: `{key}` is {id} with a vocabulary of {}",
                    file.label(),
                    tokens.len()
                ),
            )),
            Some(id) => Ok(u32::try_from(id).ok()),
            None => Ok(None),
        }
    };
    let eos = id("tokenizer.ggml.eos_token_id")?;
    let mut stop_tokens: Vec<u32> = [
        eos,
        id("tokenizer.ggml.eot_token_id")?,
        id("tokenizer.ggml.eom_token_id")?,
    ]
    .into_iter()
    .flatten()
    .collect();
    for (index, token) in tokens.iter().enumerate() {
        let kind = kinds.and_then(|kinds| kinds.get(index).copied());
        if kind == Some(CONTROL) && ENDS.contains(&token.as_str()) {
            stop_tokens.extend(u32::try_from(index).ok());
        }
    }
    let pre = file.text("tokenizer.ggml.pre")?;
    let known = pre.and_then(pipeline);
    Ok(Vocabulary {
        tokenizer: tokenizer(file, tokens, kinds, pre, known.as_ref()),
        add_bos: file
            .flag("tokenizer.ggml.add_bos_token")?
            .or(known.map(|known| known.add_bos)),
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos,
        stop_tokens,
        chat_template: file.text("tokenizer.chat_template")?.map(str::to_owned),
    })
}

fn tokenizer(
    file: &Gguf,
    tokens: &[String],
    kinds: Option<&[i64]>,
    pre: Option<&str>,
    known: Option<&Pipeline>,
) -> Result<tokenizers::Tokenizer> {
    let fail = |kind, reason: String| Error::new(kind, format!("{}: {reason}", file.label()));
    match file.text("tokenizer.ggml.model")? {
        Some("gpt2") => {}
        None => {
            return Err(fail(
                ErrorKind::Model,
                "no `tokenizer.ggml.model`".to_owned(),
            ));
        }
        Some(other) => {
            return Err(fail(
                ErrorKind::Unsupported,
                format!(
                    "`tokenizer.ggml.model` is `{}`; only byte-level BPE (gpt2) is read from GGUF \
                     files, for others put the model's tokenizer.json beside the file",
                    other.escape_debug()
                ),
            ));
        }
    }
    let Some(pipeline) = known else {
        return Err(fail(
            ErrorKind::Unsupported,
            match pre {
                Some(pre) => format!(
                    "`tokenizer.ggml.pre` is `{}`; known are {KNOWN}, for others put the model's \
                     tokenizer.json beside the file",
                    pre.escape_debug()
                ),
                None => format!(
                    "no `tokenizer.ggml.pre`, so how text is cut is not known; put the model's \
                     tokenizer.json beside the file (known are {KNOWN})"
                ),
            },
        ));
    };
    let Some(merges) = file.texts("tokenizer.ggml.merges")? else {
        return Err(fail(
            ErrorKind::Model,
            "no `tokenizer.ggml.merges`".to_owned(),
        ));
    };
    if tokens.is_empty() {
        return Err(fail(
            ErrorKind::Model,
            "no `tokenizer.ggml.tokens`".to_owned(),
        ));
    }
    if let Some(kinds) = kinds
        && kinds.len() != tokens.len()
    {
        return Err(fail(
            ErrorKind::Model,
            format!(
                "`tokenizer.ggml.token_type` has {} entries for {} tokens",
                kinds.len(),
                tokens.len()
            ),
        ));
    }
    let kind = |index: usize| {
        kinds
            .and_then(|kinds| kinds.get(index).copied())
            .unwrap_or(NORMAL)
    };
    let mut vocab = Vocab::default();
    let mut added = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let kind = kind(index);
        if kind == UNUSED || token.is_empty() {
            // Padding of the embedding: such tokens stand for no text.
            continue;
        }
        let Ok(id) = u32::try_from(index) else {
            break;
        };
        vocab.insert(token.clone(), id);
        if matches!(kind, UNKNOWN | CONTROL | USER_DEFINED) {
            added.push(AddedToken::from(token.clone(), kind != USER_DEFINED).normalized(false));
        }
    }
    let merges = merges
        .iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .ok_or_else(|| {
                    fail(
                        ErrorKind::Model,
                        format!(
                            "`tokenizer.ggml.merges` has `{}`, which is not a pair",
                            merge.escape_debug()
                        ),
                    )
                })
        })
        .collect::<Result<Vec<_>>>()?;
    let failed =
        |error: tokenizers::Error| fail(ErrorKind::Model, format!("its vocabulary: {error}"));
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
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
    tokenizer.add_special_tokens(added).map_err(failed)?;
    Ok(tokenizer)
}
