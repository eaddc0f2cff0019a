//! Parses a server's response, one JSON object or the chunks of a stream, into a completion.
//!
//! Handles the formats of `/v1/completions` and `/v1/chat/completions`. Independent of HTTP and runs.

use serde::Deserialize;
use serde_json::Value;

use super::failure::Failure;
use crate::contract::reasoning::is_unfinished;
use crate::{Completion, Finish};

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    delta: Option<Message>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    token_logprobs: Option<Vec<Option<f64>>>,
    #[serde(default)]
    content: Option<Vec<TokenLogprob>>,
}

#[derive(Deserialize)]
struct TokenLogprob {
    logprob: f64,
}

/// A response as far as it has arrived.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Response {
    text: String,
    reasoning: String,
    /// The number of chunks with text: a lower bound of the tokens.
    chunks: u32,
    counted: Option<u32>,
    logprob: f64,
    logprobs: u32,
    finish: Option<String>,
}

impl Response {
    /// Adds a complete body or the next chunk of a stream.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a valid response, or if the server reports an error.
    pub(super) fn take(&mut self, json: &[u8]) -> Result<(), Failure> {
        let body: Body = serde_json::from_slice(json).map_err(|error| {
            Failure::broken(format!(
                "the response is not what the interface has: {}",
                crate::error::json_reason(&error)
            ))
        })?;
        if let Some(error) = body.error.filter(|error| !error.is_null()) {
            return Err(Failure::of_event(&error));
        }
        if let Some(tokens) = body.usage.and_then(|usage| usage.completion_tokens) {
            self.counted = Some(tokens);
        }
        for choice in body.choices.unwrap_or_default() {
            // Only one choice is requested, and anything after its end is ignored.
            if choice.index == 0 && self.finish.is_none() {
                self.take_choice(choice);
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: Choice) {
        let message = choice.message.or(choice.delta);
        let (content, reasoning) = message.map_or((None, None), |message| {
            // Some versions of vLLM send the same text under both names.
            let reasoning = message.reasoning_content.or(message.reasoning);
            (message.content, reasoning)
        });
        let text = choice.text.or(content).unwrap_or_default();
        let reasoning = reasoning.unwrap_or_default();
        self.chunks += u32::from(!text.is_empty() || !reasoning.is_empty());
        self.text.push_str(&text);
        self.reasoning.push_str(&reasoning);
        let mut add = |logprob: f64| {
            self.logprob += logprob;
            self.logprobs += 1;
        };
        if let Some(logprobs) = choice.logprobs {
            let listed = logprobs.token_logprobs.unwrap_or_default();
            // If a log-probability is missing, the counts differ and the sum is omitted.
            listed.into_iter().flatten().for_each(&mut add);
            let content = logprobs.content.unwrap_or_default();
            content.into_iter().for_each(|token| add(token.logprob));
        }
        self.finish = choice.finish_reason;
    }

    /// Returns the number of tokens that have arrived, as far as known.
    pub(super) fn tokens(&self) -> u32 {
        self.counted.unwrap_or(self.chunks)
    }

    /// Returns whether any text has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.chunks > 0
    }

    /// Checks that the response is complete.
    ///
    /// # Errors
    ///
    /// Returns an error if it ended without a finish reason or the server aborted it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.finish.as_deref() {
            None => Err(Failure::broken("the response was cut")),
            Some(reason @ ("abort" | "error" | "cancelled")) => Err(Failure::broken(format!(
                "the server gave up: finish_reason {reason}"
            ))),
            Some(_) => Ok(()),
        }
    }

    /// Returns an unusual finish reason (`tool_calls`, `content_filter`), if it has one.
    pub(super) fn odd_finish(&self) -> Option<&str> {
        let finish = self.finish.as_deref()?;
        (!matches!(finish, "stop" | "length" | "repetition")).then_some(finish)
    }

    /// Returns whether it ended for its length with fewer tokens than were asked for.
    pub(super) fn is_cut_short(&self, max_tokens: u32) -> bool {
        let is_short = self.counted.is_some_and(|tokens| tokens < max_tokens);
        is_short && self.finish.as_deref() == Some("length")
    }

    /// Returns the completion. An incomplete one is [`Finish::Cancelled`]. `opened`: whether the prompt
    /// opened a reasoning block. `raw`: whether log-probabilities are those of the model's own distribution.
    pub(super) fn into_completion(self, opened: bool, raw: bool) -> Completion {
        let finish = match self.finish.as_deref() {
            None => Finish::Cancelled,
            Some("length") => Finish::Length,
            Some("repetition") => Finish::Loop,
            Some(_) => Finish::Stop,
        };
        let tokens = self.tokens();
        let whole = finish != Finish::Cancelled && self.counted == Some(self.logprobs);
        let (text, is_open) = match self.reasoning.is_empty() {
            true => {
                let is_open = is_unfinished(&self.text, opened, &[]);
                (self.text, is_open)
            }
            // The server removed the reasoning from the text: put it back with its tags.
            false if self.text.is_empty() => (format!("<think>{}", self.reasoning), true),
            false => (
                format!("<think>{}</think>{}", self.reasoning, self.text),
                false,
            ),
        };
        Completion {
            text,
            tokens: Vec::new(),
            counted_tokens: Some(tokens),
            finish,
            logprob: (raw && whole && self.logprobs > 0).then_some(self.logprob),
            unfinished_reasoning: is_open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::Kind;
    use super::*;

    fn response(chunks: &[&str]) -> Response {
        let mut response = Response::default();
        for chunk in chunks {
            response.take(chunk.as_bytes()).unwrap();
        }
        response
    }

    #[test]
    fn a_stream_and_a_whole_body_are_the_same_completion() {
        let whole = response(&[
            r#"{"choices":[{"index":0,"text":"a b","finish_reason":"stop","logprobs":{"token_logprobs":[-0.5,-0.25]}}],"usage":{"completion_tokens":2}}"#,
        ]);
        let stream = response(&[
            r#"{"choices":[{"index":0,"text":"a","finish_reason":null,"logprobs":{"content":[{"token":"a","logprob":-0.5}]}}]}"#,
            r#"{"choices":[{"index":0,"text":" b","finish_reason":null,"logprobs":{"content":[{"token":" b","logprob":-0.25}]}}],"usage":null}"#,
            r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"completion_tokens":2}}"#,
        ]);
        assert_eq!((whole.check(), stream.check()), (Ok(()), Ok(())));
        let [whole, stream] = [whole, stream].map(|response| response.into_completion(false, true));
        assert_eq!(whole, stream);
        assert_eq!((whole.text.as_str(), whole.finish), ("a b", Finish::Stop));
        assert_eq!((whole.token_count(), whole.logprob), (2, Some(-0.75)));
    }

    #[test]
    fn log_probabilities_are_left_out_where_they_are_not_all_there_or_not_the_models() {
        let body = r#"{"choices":[{"text":"a b","finish_reason":"stop","logprobs":{"token_logprobs":[null,-0.25]}}],"usage":{"completion_tokens":2}}"#;
        assert_eq!(response(&[body]).into_completion(false, true).logprob, None);
        let body = body.replace("null", "-1");
        assert_eq!(
            response(&[&body]).into_completion(false, true).logprob,
            Some(-1.25)
        );
        assert_eq!(
            response(&[&body]).into_completion(false, false).logprob,
            None
        );
    }

    #[test]
    fn reasons_to_end() {
        let of = |reason: &str| {
            let body = format!(r#"{{"choices":[{{"text":"x","finish_reason":{reason}}}]}}"#);
            response(&[&body])
        };
        let finish = |reason| of(reason).into_completion(false, false).finish;
        assert_eq!(finish(r#""stop""#), Finish::Stop);
        assert_eq!(finish(r#""length""#), Finish::Length);
        assert_eq!(finish(r#""repetition""#), Finish::Loop);
        assert_eq!(finish(r#""tool_calls""#), Finish::Stop);
        assert_eq!(finish("null"), Finish::Cancelled);
        assert_eq!(of(r#""tool_calls""#).odd_finish(), Some("tool_calls"));
        assert_eq!(of(r#""stop""#).odd_finish(), None);
        for reason in [r#""abort""#, "null"] {
            assert_eq!(of(reason).check().unwrap_err().kind, Kind::Broken);
        }
    }

    #[test]
    fn a_length_below_the_one_asked_for_is_noticed() {
        let of = |finish: &str, usage: &str| {
            let choice = format!(r#"{{"text":"x","finish_reason":"{finish}"}}"#);
            response(&[&format!(r#"{{"choices":[{choice}],"usage":{usage}}}"#)])
        };
        let counted = r#"{"completion_tokens":7}"#;
        assert!(of("length", counted).is_cut_short(8));
        assert!(!of("length", counted).is_cut_short(7));
        assert!(!of("stop", counted).is_cut_short(8));
        // Parts of a stream are no count.
        assert!(!of("length", "null").is_cut_short(8));
    }

    #[test]
    fn reasoning_is_put_back_before_the_answer() {
        let chat = |message: &str, finish: &str| {
            let body =
                format!(r#"{{"choices":[{{"message":{message},"finish_reason":"{finish}"}}]}}"#);
            let completion = response(&[&body]).into_completion(false, false);
            (completion.text, completion.unfinished_reasoning)
        };
        let both = r#"{"content":"4","reasoning_content":"2+2","reasoning":"2+2"}"#;
        assert_eq!(chat(both, "stop"), ("<think>2+2</think>4".into(), false));
        let cut = r#"{"content":null,"reasoning":"2+"}"#;
        assert_eq!(chat(cut, "length"), ("<think>2+".into(), true));
        let within = r#"{"content":"<think>so</think>4"}"#;
        assert_eq!(chat(within, "stop"), ("<think>so</think>4".into(), false));
        let open = r#"{"content":"<think>so"}"#;
        assert_eq!(chat(open, "length"), ("<think>so".into(), true));
        let opened = |text: &str| {
            let body = format!(r#"{{"choices":[{{"text":"{text}","finish_reason":"stop"}}]}}"#);
            response(&[&body])
                .into_completion(true, false)
                .unfinished_reasoning
        };
        assert!(opened("so"));
        assert!(!opened("so</think>4"));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let of = |json: &str| Response::default().take(json.as_bytes()).unwrap_err();
        for json in ["", "[", "17", r#"{"choices":[{"text":7}]}"#, "\u{0}"] {
            assert_eq!(of(json).kind, Kind::Broken, "{json}");
        }
        assert_eq!(
            of(r#"{"error":{"message":"no","code":400}}"#).kind,
            Kind::Refused
        );
        // Second choices and text after the end are ignored.
        let twice = r#"{"choices":[{"index":0,"text":"a","finish_reason":"stop"},{"index":1,"text":"b","finish_reason":"stop"}]}"#;
        assert_eq!(
            response(&[twice, twice]).into_completion(false, false).text,
            "a"
        );
    }
}
