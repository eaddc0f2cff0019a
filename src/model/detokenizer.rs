//! Decoding token by token, in whole characters.

use super::byte_table::Decoding;
use super::tokenizer::Tokenizer;
use crate::Result;

/// Turns tokens into text one at a time. Text comes out in whole characters: what a token leaves
/// unfinished waits for the next one. All that was pushed, and then what [`finish`](Self::finish)
/// gives, joined, is what [`Tokenizer::decode`] gives for all tokens (vocabularies that are neither
/// byte-level nor SentencePiece's: unless the tokens' bytes are not UTF-8, which `decode` may show by
/// more U+FFFD).
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// Where tokens are bytes.
    decoding: Decoding,
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
            decoding: Decoding::default(),
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
            Some(table) => table.push(&mut self.decoding, id, &mut self.text),
            None => self.push_window(id)?,
        }
        Ok(&self.text)
    }

    /// Decoders of other kinds look at neighbours (a leading space is cut, bytes are joined), so
    /// the new text is the difference between decoding the window with and without the new tokens.
    fn push_window(&mut self, id: u32) -> Result<()> {
        /// A character has at most four bytes; what is unfinished for longer stays so.
        const MAX_UNFINISHED: usize = 8;
        /// Tokens without text that are context enough.
        const MAX_CONTEXT: usize = 16;
        if self.tokenizer.is_special(id) || self.tokenizer.token(id).is_none() {
            return Ok(());
        }
        self.window.push(id);
        let before = self.tokenizer.decode_chain(&self.window[..self.given])?;
        let after = self.tokenizer.decode_chain(&self.window)?;
        let unfinished = self.window.len() - self.given;
        if after.ends_with('\u{FFFD}') && unfinished < MAX_UNFINISHED {
            // Perhaps the middle of a character: wait.
            return Ok(());
        }
        let new = self.new_text(&before, &after)?;
        self.text.push_str(&new);
        if !new.is_empty() {
            // What has just come out is enough context for what follows.
            self.window.drain(..self.given);
        } else if self.window.len() > MAX_CONTEXT {
            self.window.drain(..1);
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
            Some(table) => {
                let mut rest = String::new();
                table.finish(&mut self.decoding, &mut rest);
                rest
            }
            None => {
                let before = self.tokenizer.decode_chain(&self.window[..self.given])?;
                let after = self.tokenizer.decode_chain(&self.window)?;
                self.new_text(&before, &after)?
            }
        };
        self.window.clear();
        self.given = 0;
        Ok(rest)
    }
}
