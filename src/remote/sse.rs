//! Parses server-sent events from a byte stream, however it is divided.
//!
//! Handles the line format (the field `data`, comments, all kinds of line ends). Independent of the data.

/// The maximum size of an event in bytes.
const MAX_EVENT: usize = 4 << 20;

/// Parses a stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    /// Whether the last byte was a carriage return. A following line feed belongs to the same line end.
    after_return: bool,
}

impl Events {
    /// Parses the next bytes and passes the data of each complete event to the callback, until it returns
    /// `false`.
    ///
    /// # Errors
    ///
    /// Returns an error if an event is too long or the callback fails.
    pub(super) fn push<E: From<&'static str>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        for &byte in bytes {
            let goes_on = match byte {
                b'\n' if std::mem::take(&mut self.after_return) => true,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_line(&mut take)?
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                    true
                }
            };
            if !goes_on {
                return Ok(false);
            }
            if self.line.len() + self.data.as_ref().map_or(0, Vec::len) > MAX_EVENT {
                return Err("an event of the stream is too long".into());
            }
        }
        Ok(true)
    }

    fn end_line<E>(&mut self, take: &mut impl FnMut(&[u8]) -> Result<bool, E>) -> Result<bool, E> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return match self.data.take() {
                Some(data) => take(&data),
                None => Ok(true),
            };
        }
        // llama.cpp has sent errors in a field with this name.
        let value = [&b"data:"[..], b"error:"]
            .iter()
            .find_map(|field| line.strip_prefix(*field));
        if let Some(value) = value {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of all events of a stream that arrives in pieces of this size.
    fn events(stream: &str, size: usize) -> Result<Vec<String>, String> {
        let mut events = Events::default();
        let mut found = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            let goes_on = events.push::<Owned>(piece, |data| {
                found.push(String::from_utf8(data.to_vec()).unwrap());
                Ok(data != b"[DONE]")
            });
            match goes_on {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(error.0),
            }
        }
        Ok(found)
    }

    struct Owned(String);
    impl From<&'static str> for Owned {
        fn from(text: &'static str) -> Self {
            Owned(text.into())
        }
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let stream = "\u{feff}: ping\n\ndata: {\"a\":1}\n\ndata:{\"b\": \"é\"}\r\n\r\nevent: x\nid: 3\n\
                      data: one\rdata: two\r\r\n\ndata: cut";
        let whole = ["{\"a\":1}", "{\"b\": \"é\"}", "one\ntwo"];
        for size in 1..stream.len() {
            assert_eq!(events(stream, size).unwrap(), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        for size in [1, 7, 100] {
            let found = events("data: 1\n\ndata: [DONE]\n\ndata: 2\n\n", size).unwrap();
            assert_eq!(found, ["1", "[DONE]"]);
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let long = "data: ".to_owned() + &"x".repeat(MAX_EVENT);
        assert!(events(&long, 4096).is_err());
        let many = "data: xxxxxxxx\n".repeat(MAX_EVENT / 8);
        assert!(events(&many, 4096).is_err());
    }
}
