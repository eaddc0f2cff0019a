//! A growing completion: its tokens, its text, and the rules that end it.
//!
//! Depends on the detokenizer, but not on slots, caches or other trials.

use crate::model::Detokenizer;
use crate::{Completion, Finish, Philox, Request, Result};

use super::Sampling;
use super::reasoning::{Reasoning, ReasoningTags};
use super::stop::{LoopDetector, StopStrings};

/// The rules that end a completion, shared by all trials of an engine.
#[derive(Debug)]
pub(super) struct Rules {
    /// Tokens that end it. They count as its last token but add no text.
    pub(super) stop_tokens: Vec<u32>,
    /// Strings that end it. The text is cut before them.
    pub(super) stop_strings: StopStrings,
    /// The largest number of tokens of a completion.
    pub(super) max_new_tokens: usize,
    /// Whether the user set this number.
    pub(super) is_length_given: bool,
    /// The largest number of tokens of a prompt and its completion together.
    pub(super) context_length: usize,
    /// Whether a completion that repeats itself endlessly is ended.
    pub(super) loop_detection: bool,
    /// Special tokens that open or close a reasoning.
    pub(super) reasoning: ReasoningTags,
}

impl Rules {
    /// The largest number of completion tokens for a prompt of `prompt` tokens and a requested
    /// limit of `wanted`.
    pub(super) fn limit(&self, prompt: usize, wanted: usize) -> usize {
        let left = self.context_length.saturating_sub(prompt);
        self.max_new_tokens.min(left).min(wanted)
    }
}

/// A completion that is being sampled.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) request: Request,
    sampling: Sampling,
    /// The largest number of tokens that it may have.
    limit: usize,
    tokens: Vec<u32>,
    logprob: f64,
    text: String,
    /// The number of bytes of the text that were streamed.
    streamed: usize,
    /// Whether the text was cut before a stop string.
    cut: bool,
    detokenizer: Detokenizer,
    loops: Option<LoopDetector>,
    reasoning: Reasoning,
}

impl Trial {
    /// Creates a completion without tokens and with at most `limit` tokens. `reasoning` says
    /// whether the prompt has opened a reasoning.
    pub(super) fn new(
        request: Request,
        sampling: Sampling,
        limit: usize,
        detokenizer: Detokenizer,
        reasoning: bool,
        rules: &Rules,
    ) -> Self {
        Trial {
            request,
            sampling,
            limit,
            tokens: Vec::new(),
            logprob: 0.0,
            text: String::new(),
            streamed: 0,
            cut: false,
            detokenizer,
            loops: rules.loop_detection.then(LoopDetector::new),
            reasoning: Reasoning::new(reasoning),
        }
    }

    /// The trial's random numbers.
    pub(super) fn random(&self) -> Philox {
        Philox::new(self.request.seed)
    }

    /// The trial's sampling settings.
    pub(super) fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The number of tokens so far.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The largest number of tokens that it may have.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The token at a position.
    pub(super) fn token(&self, position: usize) -> Option<u32> {
        self.tokens.get(position).copied()
    }

    /// Takes the next token and its log-probability. Returns the reason if the completion ends with
    /// it. The precedence is: stop token, stop string, loop, length.
    pub(super) fn push(
        &mut self,
        token: u32,
        logprob: f64,
        rules: &Rules,
    ) -> Result<Option<Finish>> {
        self.tokens.push(token);
        self.logprob += logprob;
        let before = self.text.len();
        self.reasoning.push_token(token, before, &rules.reasoning);
        if rules.stop_tokens.contains(&token) {
            return Ok(Some(Finish::Stop));
        }
        let new = self.text.len();
        self.text.push_str(self.detokenizer.push(token)?);
        if self.cut_at_stop(new, rules) {
            return Ok(Some(Finish::Stop));
        }
        if let Some(loops) = &mut self.loops
            && loops.push(&self.tokens)
        {
            return Ok(Some(Finish::Loop));
        }
        Ok((self.tokens.len() >= self.limit).then_some(Finish::Length))
    }

    /// The text that became certain since the last call.
    pub(super) fn stream(&mut self, rules: &Rules) -> &str {
        let certain = match self.cut {
            true => self.text.len(),
            false => rules.stop_strings.certain(&self.text),
        };
        let from = self.streamed;
        self.streamed = certain.max(from);
        &self.text[from..self.streamed]
    }

    /// Ends the completion.
    pub(super) fn finish(mut self, mut finish: Finish, rules: &Rules) -> Result<Completion> {
        // The detokenizer may still hold the bytes of an incomplete character.
        if !self.cut {
            let new = self.text.len();
            let rest = self.detokenizer.finish()?;
            self.text.push_str(&rest);
            if self.cut_at_stop(new, rules) && finish != Finish::Cancelled {
                finish = Finish::Stop;
            }
        }
        Ok(Completion {
            unfinished_reasoning: self.reasoning.is_unfinished(&self.text),
            text: self.text,
            tokens: self.tokens,
            counted_tokens: None,
            finish,
            logprob: Some(self.logprob),
        })
    }

    /// Cuts the text before the earliest stop string that ends after byte `new`.
    fn cut_at_stop(&mut self, new: usize, rules: &Rules) -> bool {
        if let Some(at) = rules.stop_strings.find(&self.text, new) {
            self.text.truncate(at);
            self.cut = true;
        }
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;
    use std::sync::Arc;

    use super::*;
    use crate::model::Tokenizer;
    use crate::{Problem, TrialId};

    /// One token per byte, as in GPT-2's vocabulary before any merge.
    fn bytes() -> Tokenizer {
        bytes_and(None)
    }

    /// The same with a special token, whose id is [`END`].
    fn bytes_and(special: Option<&str>) -> Tokenizer {
        let mut alphabet: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet()
            .into_iter()
            .collect();
        alphabet.sort_unstable();
        let vocab: serde_json::Map<String, serde_json::Value> = alphabet
            .iter()
            .zip(0..)
            .map(|(c, id)| (c.to_string(), id.into()))
            .collect();
        let byte_level = serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
        });
        let file = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": special.iter().map(|content| serde_json::json!({
                "id": END, "content": content, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })).collect::<Vec<_>>(),
            "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
            "decoder": byte_level,
            "model": { "type": "BPE", "vocab": vocab, "merges": [] },
        });
        let pipeline = tokenizers::Tokenizer::from_str(&file.to_string()).unwrap();
        Tokenizer::new(pipeline, Some(Vec::new())).unwrap()
    }

    const END: u32 = 256;

    fn rules(stop: &[&str]) -> Rules {
        Rules {
            stop_tokens: vec![END, END + 1],
            stop_strings: StopStrings::new(stop.iter().map(|&s| s.to_owned())),
            max_new_tokens: 300,
            is_length_given: true,
            context_length: 1000,
            loop_detection: true,
            reasoning: ReasoningTags::default(),
        }
    }

    fn trial(tokenizer: &Tokenizer, prompt: &[u32], rules: &Rules) -> Trial {
        let request = Request {
            trial: TrialId {
                problem: 0,
                number: 0,
            },
            problem: Arc::new(Problem::new("", "")),
            seed: 1,
        };
        let limit = rules.limit(prompt.len(), usize::MAX);
        let sampling = Sampling::default();
        Trial::new(request, sampling, limit, tokenizer.stream(), false, rules)
    }

    /// Feeds tokens until the trial ends; cancels it if they run out.
    fn complete(tokenizer: &Tokenizer, tokens: &[u32], rules: &Rules) -> Completion {
        let mut trial = trial(tokenizer, &[], rules);
        for &token in tokens {
            if let Some(finish) = trial.push(token, -0.5, rules).unwrap() {
                return trial.finish(finish, rules).unwrap();
            }
        }
        trial.finish(Finish::Cancelled, rules).unwrap()
    }

    #[test]
    fn a_stop_string_is_cut_at_a_characters_last_byte() {
        let tokenizer = bytes();
        let tokens = tokenizer.encode("答えは4。終わり", false).unwrap();
        assert_eq!(tokens.len(), 22);
        let whole = complete(&tokenizer, &tokens, &rules(&[]));
        assert_eq!(whole.text, "答えは4。終わり");
        assert_eq!(whole.finish, Finish::Cancelled);
        let cut = complete(&tokenizer, &tokens, &rules(&["。終", "User:"]));
        assert_eq!(cut.text, "答えは4");
        assert_eq!(cut.finish, Finish::Stop);
        // 9 bytes, 1, 3, and the third byte of the stop string's last character.
        assert_eq!(cut.tokens, tokens[..16]);
        assert_eq!(cut.logprob, Some(-8.0));
    }

    #[test]
    fn a_stop_token_counts_but_has_no_text() {
        let tokenizer = bytes();
        let mut tokens = tokenizer.encode("4 é", false).unwrap();
        tokens.push(END + 1);
        let done = complete(&tokenizer, &tokens, &rules(&[]));
        assert_eq!((done.text.as_str(), done.finish), ("4 é", Finish::Stop));
        assert_eq!(done.tokens, tokens);
        // Ends within a character: the text shows that something is missing.
        tokens.remove(3);
        let done = complete(&tokenizer, &tokens, &rules(&[]));
        assert_eq!(done.text, "4 \u{FFFD}");
        // A stop string that contains the replacement character itself.
        let done = complete(&tokenizer, &tokens, &rules(&[" \u{FFFD}"]));
        assert_eq!((done.text.as_str(), done.finish), ("4", Finish::Stop));
        // Ignored stop tokens do not stop.
        let ignoring = Rules {
            stop_tokens: Vec::new(),
            ..rules(&[])
        };
        let done = complete(&tokenizer, &tokens, &ignoring);
        assert_eq!(done.finish, Finish::Cancelled);
    }

    #[test]
    fn any_text_is_cut_where_its_first_stop_string_stands() {
        let tokenizer = bytes();
        let random = Philox::new(5);
        for case in 0..300u64 {
            let pick = |i: u64| ['a', 'é', '。', '🙂'][random.below(case * 64 + i, 4) as usize];
            let text: String = (0..20).map(pick).collect();
            let stop: String = (30..32 + case % 2).map(pick).collect();
            let tokens = tokenizer.encode(&text, false).unwrap();
            let done = complete(&tokenizer, &tokens, &rules(&[&stop]));
            assert_eq!(done.text, text.split(stop.as_str()).next().unwrap());
            assert_eq!(done.finish == Finish::Stop, text.contains(&stop));
        }
    }

    /// A reasoning that the prompt opened and that the closing tag ends has no answer after it,
    /// whether the tag ends the text, is a stop string, is cut by a stop string, or is a stop
    /// token.
    #[test]
    fn the_end_of_a_reasoning_is_one_end_however_it_stops() {
        let complete = |special: Option<&str>, stop: &[&str], stops: &[u32], text: &str| {
            let tokenizer = bytes_and(special);
            let rules = Rules {
                stop_tokens: stops.to_vec(),
                reasoning: ReasoningTags::new(&tokenizer),
                ..rules(stop)
            };
            let request = trial(&tokenizer, &[], &rules).request;
            let sampling = Sampling::default();
            let mut trial = Trial::new(request, sampling, 99, tokenizer.stream(), true, &rules);
            for token in tokenizer.encode(text, false).unwrap() {
                if let Some(finish) = trial.push(token, 0.0, &rules).unwrap() {
                    return trial.finish(finish, &rules).unwrap();
                }
            }
            trial.finish(Finish::Stop, &rules).unwrap()
        };
        let tag = "</think>";
        let ended = "So 4.</think>";
        for (special, stop, stops, text, rest) in [
            (None, &[][..], &[][..], ended, ended),
            (None, &[], &[], "So 4.</think> \n", "So 4.</think> \n"),
            (None, &[tag], &[], "So 4.</think> It is 4.", "So 4."),
            (None, &["</thi"], &[], "So 4.</think> It is 4.", "So 4."),
            (None, &["think>"], &[], "So 4.</think> It is 4.", "So 4.</"),
            (
                None,
                &["</think> It"],
                &[],
                "So 4.</think> It is 4.",
                "So 4.",
            ),
            (Some(tag), &[], &[], ended, "So 4."),
            (Some(tag), &[], &[END], "So 4.</think> It is 4.", "So 4."),
        ] {
            let done = complete(special, stop, stops, text);
            assert_eq!(done.text, rest);
            assert_eq!(done.finish, Finish::Stop);
            assert!(done.unfinished_reasoning, "{special:?} {stop:?} {text}");
        }
        for special in [None, Some(tag)] {
            let done = complete(special, &["."], &[], "So 4</think> It is 4.");
            assert!(!done.unfinished_reasoning, "{special:?}");
        }
        // Text that a stop string cuts off opens no reasoning.
        let done = complete(None, &["<think>"], &[], "So</think> 4 <think>or 5");
        assert_eq!(done.text, "So</think> 4 ");
        assert!(!done.unfinished_reasoning);
    }

    #[test]
    fn of_several_reasons_the_first_in_rank_counts() {
        let tokenizer = bytes();
        let same = [7; 128];
        let most = |max_new_tokens, loop_detection| Rules {
            max_new_tokens,
            loop_detection,
            ..rules(&[])
        };
        let finish = |tokens: &[u32], rules: &Rules| complete(&tokenizer, tokens, rules).finish;
        assert_eq!(finish(&same, &most(128, true)), Finish::Loop);
        assert_eq!(finish(&same, &most(127, true)), Finish::Length);
        assert_eq!(finish(&same, &most(128, false)), Finish::Length);
        assert_eq!(finish(&[7, END], &most(2, true)), Finish::Stop);
        // The context also ends it: here three tokens after the prompt.
        let tight = Rules {
            context_length: 8,
            ..rules(&[])
        };
        let mut trial = trial(&tokenizer, &[1; 5], &tight);
        let ends: Vec<_> = (0..3)
            .map(|_| trial.push(7, 0.0, &tight).unwrap())
            .collect();
        assert_eq!(ends, [None, None, Some(Finish::Length)]);
    }
}
