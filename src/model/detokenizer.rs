//! Decoding token by token, in whole characters.

use super::tokenizer::Tokenizer;
use crate::Result;

/// The bytes that each token of a byte-level vocabulary stands for.
pub(super) struct ByteTable {
    bytes: Vec<u8>,
    /// Token `id` has the bytes from `ends[id - 1]` (0 for the first) to `ends[id]`.
    ends: Vec<usize>,
}

impl ByteTable {
    /// Reads the vocabulary; special tokens and holes have no bytes.
    pub(super) fn new(pipeline: &tokenizers::Tokenizer, vocab_size: usize) -> Self {
        let added = pipeline.get_added_tokens_decoder();
        let of = byte_of();
        let mut table = ByteTable {
            bytes: Vec::new(),
            ends: Vec::with_capacity(vocab_size),
        };
        for id in 0..vocab_size as u32 {
            let special = added.get(&id).is_some_and(|token| token.special);
            if !special && let Some(token) = pipeline.id_to_token(id) {
                let start = table.bytes.len();
                for c in token.chars() {
                    match of.get(c as usize).copied().flatten() {
                        Some(byte) => table.bytes.push(byte),
                        None => {
                            // Added tokens are spelled as they are, not by byte characters.
                            table.bytes.truncate(start);
                            table.bytes.extend_from_slice(token.as_bytes());
                            break;
                        }
                    }
                }
            }
            table.ends.push(table.bytes.len());
        }
        table
    }

    /// A token's bytes, none for an id outside the vocabulary.
    pub(super) fn get(&self, id: u32) -> &[u8] {
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
}

/// GPT-2's spelling of bytes by printable characters, from the character to the byte: visible
/// characters of Latin-1 stand for themselves, the other bytes take the characters from U+0100 on
/// in turn.
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

/// Turns tokens into text one at a time. Text comes out in whole characters: what a token leaves
/// unfinished waits for the next one. All that was pushed, and then what [`finish`](Self::finish)
/// gives, joined, is what [`Tokenizer::decode`] gives for all tokens (SentencePiece vocabularies:
/// unless the tokens' bytes are not UTF-8, which `decode` may show by more U+FFFD).
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// Bytes that are not text yet (byte-level vocabularies).
    pending: Vec<u8>,
    /// Tokens whose text is not settled yet, after those that it depends on (other vocabularies).
    window: Vec<u32>,
    /// How many tokens of the window have been given out already.
    given: usize,
    text: String,
}

impl std::fmt::Debug for Detokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detokenizer").finish_non_exhaustive()
    }
}

impl Detokenizer {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        Detokenizer {
            tokenizer,
            pending: Vec::new(),
            window: Vec::new(),
            given: 0,
            text: String::new(),
        }
    }

    /// Takes the next token and gives the text that is complete with it and was not given before;
    /// an empty string in the middle of a character.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<&str> {
        self.text.clear();
        match self.tokenizer.byte_table() {
            Some(table) => {
                self.pending.extend_from_slice(table.get(id));
                take_text(&mut self.pending, &mut self.text);
            }
            None => self.push_window(id)?,
        }
        Ok(&self.text)
    }

    /// Decoders of other kinds look at neighbours (a leading space is cut, bytes are joined), so
    /// the new text is the difference between decoding the window with and without the new tokens.
    fn push_window(&mut self, id: u32) -> Result<()> {
        self.window.push(id);
        let before = self.tokenizer.decode_chain(&self.window[..self.given])?;
        let after = self.tokenizer.decode_chain(&self.window)?;
        if after.ends_with('\u{FFFD}') {
            // Perhaps the middle of a character: wait.
            return Ok(());
        }
        let new = self.new_text(&before, &after)?;
        self.text.push_str(&new);
        if !new.is_empty() {
            // What has just come out is enough context for what follows.
            self.window.drain(..self.given);
        }
        self.given = self.window.len();
        Ok(())
    }

    fn new_text(&self, before: &str, after: &str) -> Result<String> {
        match after.strip_prefix(before) {
            Some(new) => Ok(new.to_owned()),
            // Bytes that are not UTF-8 take whole characters beside them along in such decoders;
            // those have been given out, and stay.
            None => self.tokenizer.decode_chain(&self.window[self.given..]),
        }
    }

    /// The text that is left, with U+FFFD for a character that was never finished. The
    /// detokenizer is then as new.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        let rest = match self.tokenizer.byte_table() {
            Some(_) => String::from_utf8_lossy(&self.pending).into_owned(),
            None => {
                let before = self.tokenizer.decode_chain(&self.window[..self.given])?;
                let after = self.tokenizer.decode_chain(&self.window)?;
                self.new_text(&before, &after)?
            }
        };
        self.pending.clear();
        self.window.clear();
        self.given = 0;
        Ok(rest)
    }
}

/// Moves what is certain of `pending` to `text`: characters, and U+FFFD for each sequence that no
/// further byte can make valid. An unfinished character stays.
fn take_text(pending: &mut Vec<u8>, text: &mut String) {
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
        text.push(char::REPLACEMENT_CHARACTER);
        taken += invalid.len();
    }
    pending.drain(..taken);
}
