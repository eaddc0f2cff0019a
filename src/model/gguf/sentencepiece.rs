//! SentencePiece's BPE (Llama 1 and 2, Mistral to v0.3) as a BPE pipeline, set up like
//! transformers.
//!
//! SentencePiece joins the two neighbors that make the piece with the best score. Here, each
//! piece's pairs become merges, ordered by the piece's score, which is equivalent.

use std::cmp::Reverse;
use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Prepend, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::container::Gguf;
use super::vocabulary::{Kind, Tokens};
use crate::{ErrorKind, Result};

/// The name of such vocabularies in `tokenizer.ggml.model`.
pub(super) const MODEL: &str = "llama";

const SPACE: char = '▁';
const SCORES: &str = "tokenizer.ggml.scores";
/// The longest piece that is merged from others, in bytes. SentencePiece's default limit is 16
/// characters per piece. Every split of a piece into two is tried.
const MAX_PIECE: usize = 1024;

/// Builds the pipeline of a file's vocabulary. `unknown` is the token for text outside the
/// vocabulary, if the file names one.
pub(super) fn tokenizer(
    file: &Gguf,
    tokens: &Tokens<'_>,
    unknown: Option<u32>,
) -> Result<tokenizers::Tokenizer> {
    let fail = |reason: String| tokens.error(ErrorKind::Model, reason);
    let failed = |error: tokenizers::Error| fail(format!("its vocabulary: {error}"));
    normalizes_nothing(file, tokens)?;
    if !tokens.has_kinds() {
        return Err(fail(
            "no `tokenizer.ggml.tokens` with `tokenizer.ggml.token_type`".to_owned(),
        ));
    }
    let scores = scores(file, tokens)?;
    let unknown = unknown
        .and_then(|id| tokens.text(id))
        .or_else(|| first(tokens, |_, kind| kind == Kind::Unknown))
        .or_else(|| {
            first(tokens, |text, kind| {
                kind == Kind::Control && text == "<unk>"
            })
        });
    let bytes = bytes(tokens)?;
    if bytes < 256 && unknown.is_none() {
        return Err(fail(format!(
            "its vocabulary has {bytes} of the 256 bytes and no token for what is unknown"
        )));
    }
    let merges = merges(tokens, scores)?;
    let mut bpe = BPE::builder()
        .vocab_and_merges(tokens.vocab(), merges)
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(unknown) = unknown {
        bpe = bpe.unk_token(unknown.to_owned());
    }
    let mut tokenizer = tokenizers::Tokenizer::new(bpe.build().map_err(failed)?);

    let prefix = file
        .flag("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if prefix && one_prefix(tokens) {
        let metaspace = Metaspace::new(SPACE, PrependScheme::First, false);
        tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(metaspace)));
    } else {
        if prefix {
            normalizers.push(Prepend::new(SPACE.to_string()).into());
        }
        normalizers.push(Replace::new(" ", SPACE.to_string()).map_err(failed)?.into());
        let normalizers = NormalizerWrapper::from(Normalizers::new(normalizers));
        tokenizer
            .with_normalizer(Some(normalizers))
            .map_err(failed)?;
    }
    let mut decoders: Vec<DecoderWrapper> = vec![
        Replace::new(SPACE.to_string(), " ").map_err(failed)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if prefix {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(DecoderWrapper::from(Decoders::new(decoders))));
    tokenizer
        .add_special_tokens(tokens.added())
        .map_err(failed)?;
    Ok(tokenizer)
}

/// Whether only the beginning of a text gets SentencePiece's space prefix. Otherwise text after a
/// special token also gets one, as in the tokenizers of Llama 2 and Mistral v0.1 and v0.2.
/// Mistral's third vocabulary has tokens for its turns, and its tokenizer does not prefix text
/// after them.
fn one_prefix(tokens: &Tokens<'_>) -> bool {
    tokens.text(3) == Some("[INST]") && tokens.kind(3) == Kind::Control
}

/// Refuses vocabularies with text normalization, which no supported model has.
fn normalizes_nothing(file: &Gguf, tokens: &Tokens<'_>) -> Result<()> {
    let refuse = |key: &str, does: &str| {
        Err(tokens.error(
            ErrorKind::Unsupported,
            format!(
                "`{key}` says that {does}, which is not supported; put the model's tokenizer.json \
                 beside the file"
            ),
        ))
    };
    const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";
    const SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
    if file.get(CHARSMAP).is_some() {
        return refuse(CHARSMAP, "characters are replaced");
    }
    if file.flag(SPACES)? == Some(true) {
        return refuse(SPACES, "repeated spaces are left out");
    }
    Ok(())
}

fn first<'a>(tokens: &Tokens<'a>, is: impl Fn(&str, Kind) -> bool) -> Option<&'a str> {
    tokens
        .used()
        .find(|&(_, text, kind)| is(text, kind))
        .map(|(_, text, _)| text)
}

fn scores<'a>(file: &'a Gguf, tokens: &Tokens<'_>) -> Result<&'a [f32]> {
    let fail = |reason: String| Err(tokens.error(ErrorKind::Model, reason));
    let Some(scores) = file.floats(SCORES)? else {
        return fail(format!("no `{SCORES}`"));
    };
    if scores.len() != tokens.len() {
        let (found, expected) = (scores.len(), tokens.len());
        return fail(format!(
            "`{SCORES}` has {found} entries for {expected} tokens"
        ));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(id) => fail(format!("`{SCORES}` is {} of token {id}", scores[id])),
        None => Ok(scores),
    }
}

/// The number of byte tokens in the vocabulary, each spelled as in SentencePiece.
fn bytes(tokens: &Tokens<'_>) -> Result<usize> {
    let mut seen = [false; 256];
    for (id, text, kind) in tokens.used() {
        if kind != Kind::Byte {
            continue;
        }
        match byte(text) {
            Some(byte) => seen[usize::from(byte)] = true,
            None => {
                return Err(tokens.error(
                    ErrorKind::Model,
                    format!(
                        "token {id} is a byte by its type, but is spelled `{}`, not <0xHH>",
                        text.escape_debug()
                    ),
                ));
            }
        }
    }
    Ok(seen.into_iter().filter(|&seen| seen).count())
}

fn byte(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let upper = |c: u8| matches!(c, b'0'..=b'9' | b'A'..=b'F');
    (hex.len() == 2 && hex.bytes().all(upper))
        .then(|| u8::from_str_radix(hex, 16).ok())
        .flatten()
}

/// The merges, best first: by score, then by the longer left half, like transformers. Only normal
/// pieces are merged, and only from normal pieces.
fn merges(tokens: &Tokens<'_>, scores: &[f32]) -> Result<Vec<(String, String)>> {
    let normal = || tokens.used().filter(|&(_, _, kind)| kind == Kind::Normal);
    let pieces: HashMap<&str, u32> = normal().map(|(id, text, _)| (text, id)).collect();
    let mut merges: Vec<Merge<'_>> = Vec::new();
    for (id, piece, _) in normal() {
        if piece.len() > MAX_PIECE {
            return Err(tokens.error(
                ErrorKind::Unsupported,
                format!(
                    "token {id} has {} bytes; pieces of up to {MAX_PIECE} are read",
                    piece.len()
                ),
            ));
        }
        let score = scores.get(id as usize).copied().unwrap_or_default();
        let characters = piece.chars().count();
        for (left_characters, (at, _)) in piece.char_indices().enumerate().skip(1) {
            let (left, right) = piece.split_at(at);
            if pieces.contains_key(left) && pieces.contains_key(right) {
                merges.push(Merge {
                    left,
                    right,
                    score,
                    lengths: (left_characters, characters - left_characters),
                    id,
                });
            }
        }
    }
    merges.sort_by(|a, b| {
        let order = |merge: &Merge<'_>| (Reverse(merge.lengths), merge.id);
        // Scores are finite, and the best is often a negative zero.
        b.score
            .partial_cmp(&a.score)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then_with(|| order(a).cmp(&order(b)))
    });
    Ok(merges
        .into_iter()
        .map(|merge| (merge.left.to_owned(), merge.right.to_owned()))
        .collect())
}

/// Two pieces that merge into another.
struct Merge<'a> {
    left: &'a str,
    right: &'a str,
    /// The score of the merged piece.
    score: f32,
    /// The lengths of both pieces, in characters.
    lengths: (usize, usize),
    id: u32,
}
