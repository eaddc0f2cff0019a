//! The bytes of tokens, for vocabularies whose decoding only concatenates them.

use serde_json::json;

/// The spelling of tokens that a pipeline's decoder reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's: one character per byte.
    ByteLevel,
    /// SentencePiece's: text with `▁` for spaces, and bytes as `<0xHH>`.
    SentencePiece,
}

/// The bytes of each token of a vocabulary.
pub(super) struct ByteTable {
    bytes: Vec<u8>,
    /// Token `id` has the bytes from `ends[id - 1]` (0 for the first) to `ends[id]`.
    ends: Vec<usize>,
    spelling: Spelling,
    /// Whether a leading space of a text is dropped.
    strips_space: bool,
}

impl ByteTable {
    /// Reads the vocabulary. Special tokens and holes have no bytes. Returns `None` if decoding
    /// does more than concatenate.
    pub(super) fn new(pipeline: &tokenizers::Tokenizer, vocab_size: usize) -> Option<Self> {
        let (spelling, strips_space) = match pipeline.get_decoder()? {
            tokenizers::DecoderWrapper::ByteLevel(_) => (Spelling::ByteLevel, false),
            decoder => (Spelling::SentencePiece, sentencepiece(decoder)?),
        };
        let added = pipeline.get_added_tokens_decoder();
        let of = byte_of();
        let mut table = ByteTable {
            bytes: Vec::new(),
            ends: Vec::with_capacity(vocab_size),
            spelling,
            strips_space,
        };
        for id in 0..vocab_size as u32 {
            let special = added.get(&id).is_some_and(|token| token.special);
            if !special && let Some(token) = pipeline.id_to_token(id) {
                match spelling {
                    Spelling::ByteLevel => push_byte_level(&token, &of, &mut table.bytes),
                    Spelling::SentencePiece => push_sentencepiece(&token, &mut table.bytes),
                }
            }
            table.ends.push(table.bytes.len());
        }
        Some(table)
    }

    /// Whether every byte of ordinary text is a token, so that every such text can be tokenized.
    pub(super) fn has_all_bytes(&self) -> bool {
        let mut found = [false; 256];
        for id in 0..self.ends.len() as u32 {
            if let &[byte] = self.get(id) {
                found[usize::from(byte)] = true;
            }
        }
        // Vocabularies omit control characters, bytes that never occur in UTF-8, and the lead bytes
        // of characters beyond the second plane (SmolLM2's omits both kinds).
        let in_texts = |byte: usize| match byte {
            0x09 | 0x0A | 0x0D => true,
            0x00..0x20 | 0x7F | 0xC0 | 0xC1 | 0xF1.. => false,
            _ => true,
        };
        (0..256)
            .filter(|&byte| in_texts(byte))
            .all(|byte| found[byte])
    }

    /// A token's bytes; empty for an id outside the vocabulary.
    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else {
            return &[];
        };
        let start = match id {
            0 => 0,
            _ => self.ends[id - 1],
        };
        &self.bytes[start..end]
    }

    /// Decodes tokens to text.
    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let mut state = Decoding::default();
        let mut text = String::new();
        for &id in ids {
            self.take_bytes(&mut state, id);
        }
        self.take_text(&mut state, &mut text);
        self.finish(&mut state, &mut text);
        text
    }

    /// Takes the next token and appends the text that is certain with it.
    pub(super) fn push(&self, state: &mut Decoding, id: u32, text: &mut String) {
        self.take_bytes(state, id);
        self.take_text(state, text);
    }

    fn take_bytes(&self, state: &mut Decoding, id: u32) {
        let bytes = self.get(id);
        let bytes = match bytes.split_first() {
            Some((b' ', rest)) if self.strips_space && !state.begun => rest,
            _ => bytes,
        };
        state.begun |= !self.get(id).is_empty();
        state.pending.extend_from_slice(bytes);
    }

    /// Moves complete characters from the pending bytes to `text`, and U+FFFD for bytes that no
    /// further byte can make valid. An incomplete character stays pending.
    fn take_text(&self, state: &mut Decoding, text: &mut String) {
        let pending = &mut state.pending;
        let mut taken = 0;
        for chunk in pending.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let ends_here = taken + invalid.len() == pending.len();
            if ends_here && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) {
                break;
            }
            self.replace(invalid, text);
            taken += invalid.len();
        }
        pending.drain(..taken);
    }

    /// Appends what is left, and resets the state.
    pub(super) fn finish(&self, state: &mut Decoding, text: &mut String) {
        if !state.pending.is_empty() {
            self.replace(&state.pending, text);
        }
        *state = Decoding::default();
    }

    /// Appends U+FFFD for invalid bytes: one per sequence or, as in SentencePiece, one per byte.
    fn replace(&self, invalid: &[u8], text: &mut String) {
        let count = match self.spelling {
            Spelling::ByteLevel => 1,
            Spelling::SentencePiece => invalid.len(),
        };
        text.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, count));
    }
}

/// The state of a text being decoded.
#[derive(Default)]
pub(super) struct Decoding {
    /// Bytes that are not text yet.
    pending: Vec<u8>,
    /// Whether there were any bytes.
    begun: bool,
}

/// Whether a decoder of a SentencePiece vocabulary drops a leading space; `None` for other
/// decoders.
fn sentencepiece(decoder: &tokenizers::DecoderWrapper) -> Option<bool> {
    let steps = serde_json::to_value(decoder).ok()?;
    let steps = steps.get("decoders")?.as_array()?;
    let (usual, rest) = steps.split_at_checked(3)?;
    let expected = [
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    if usual != expected {
        return None;
    }
    match rest {
        [] => Some(false),
        [step] if *step == strip => Some(true),
        _ => None,
    }
}

fn push_byte_level(token: &str, of: &[Option<u8>], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for c in token.chars() {
        match of.get(c as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => {
                // Added tokens are spelled literally, not with byte characters.
                bytes.truncate(start);
                bytes.extend_from_slice(token.as_bytes());
                break;
            }
        }
    }
}

fn push_sentencepiece(token: &str, bytes: &mut Vec<u8>) {
    let hex = token
        .strip_prefix("<0x")
        .and_then(|rest| rest.strip_suffix('>'))
        .filter(|hex| hex.len() == 2);
    match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => bytes.push(byte),
        None => bytes.extend_from_slice(token.replace('▁', " ").as_bytes()),
    }
}

/// GPT-2's spelling of bytes as printable characters, from character to byte. Visible Latin-1
/// characters stand for themselves; the other bytes take the characters from U+0100 on, in order.
fn byte_of() -> Vec<Option<u8>> {
    let mut of = vec![None; 0x200];
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let visible = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let character = if visible {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        of[character] = Some(byte);
    }
    of
}
