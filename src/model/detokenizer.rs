//! Incremental decoding, in whole characters.

use super::byte_table::Decoding;
use super::tokenizer::Tokenizer;
use crate::Result;

/// Converts tokens to text one at a time, in whole characters: an incomplete character waits for
/// the next tokens.
///
/// The concatenation of everything that [`push`](Self::push) and then [`finish`](Self::finish)
/// return equals [`Tokenizer::decode`] of all tokens. Vocabularies that are neither byte-level nor
/// SentencePiece's are an exception: if the tokens' bytes are not UTF-8, `decode` may show more
/// U+FFFD.
pub struct Detokenizer {
    tokenizer: Tokenizer,
    /// The state for vocabularies whose tokens are bytes.
    decoding: Decoding,
    /// For other vocabularies: tokens whose text is not settled yet, after the tokens that it
    /// depends on.
    window: Vec<u32>,
    /// The number of tokens of the window whose text was returned already.
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

    /// Takes the next token and returns the new complete text; an empty string within a character.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<&str> {
        self.text.clear();
        match self.tokenizer.byte_table() {
            Some(table) => table.push(&mut self.decoding, id, &mut self.text),
            None => self.push_window(id)?,
        }
        Ok(&self.text)
    }

    /// Other decoders depend on neighboring tokens (they drop a leading space or join bytes). The
    /// new text is therefore the difference between decoding the window with and without the new
    /// tokens.
    fn push_window(&mut self, id: u32) -> Result<()> {
        /// A character has at most four bytes; anything incomplete for longer stays so.
        const MAX_UNFINISHED: usize = 8;
        /// The number of tokens without text that are kept as context.
        const MAX_CONTEXT: usize = 16;
        if self.tokenizer.is_special(id) || self.tokenizer.token(id).is_none() {
            return Ok(());
        }
        self.window.push(id);
        let before = self.tokenizer.decode_chain(&self.window[..self.given])?;
        let after = self.tokenizer.decode_chain(&self.window)?;
        let unfinished = self.window.len() - self.given;
        if after.ends_with('\u{FFFD}') && unfinished < MAX_UNFINISHED {
            // Possibly within a character: wait.
            return Ok(());
        }
        let new = self.new_text(&before, &after)?;
        self.text.push_str(&new);
        if !new.is_empty() {
            // The text that was just returned is enough context for the following text.
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
            // Such decoders may replace valid characters next to invalid bytes. Characters that
            // were returned already stay.
            None => self.tokenizer.decode_chain(&self.window[self.given..]),
        }
    }

    /// Returns the remaining text, with U+FFFD for an incomplete character, and resets the
    /// detokenizer.
    ///
    /// # Errors
    ///
    /// As for [`Tokenizer::decode`].
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
