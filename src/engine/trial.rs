//! One completion while it grows: its tokens, its text, and the rules by which it ends.
//!
//! Knows the tokenizer's stream of text; nothing of slots, caches or other trials.

use std::collections::HashSet;

use crate::model::Detokenizer;
use crate::{Completion, Finish, Philox, Request, Result};

use super::sampler::{Draw, Row};
use super::stop::{LoopDetector, StopStrings};

/// By what a completion ends: the same for all of an engine's trials.
#[derive(Debug)]
pub(super) struct Rules {
    /// Tokens that end it; they count as its last token but add no text.
    pub(super) stop_tokens: Vec<u32>,
    /// Strings that end it; the text is cut before them.
    pub(super) stop_strings: StopStrings,
    /// The most tokens of a completion.
    pub(super) max_new_tokens: usize,
    /// The most tokens of a prompt and its completion together.
    pub(super) context_length: usize,
    /// Whether a completion that repeats itself without end is cut off.
    pub(super) loop_detection: bool,
    /// Whether the sampler wants to know which tokens were seen.
    pub(super) penalised: bool,
}

/// A completion that is being sampled.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) request: Request,
    random: Philox,
    /// The most tokens it may have.
    limit: usize,
    tokens: Vec<u32>,
    logprob: f64,
    text: String,
    /// Whether the text was cut before a stop string.
    cut: bool,
    detokenizer: Detokenizer,
    loops: Option<LoopDetector>,
    seen: Seen,
}

impl Trial {
    /// A completion without tokens. The prompt leaves room for at least one in the context.
    pub(super) fn new(
        request: Request,
        prompt: &[u32],
        detokenizer: Detokenizer,
        rules: &Rules,
    ) -> Self {
        let room = rules.context_length.saturating_sub(prompt.len());
        let mut seen = Seen::default();
        if rules.penalised {
            prompt.iter().for_each(|&token| seen.insert(token));
        }
        Trial {
            random: Philox::new(request.seed),
            request,
            limit: rules.max_new_tokens.min(room),
            tokens: Vec::new(),
            logprob: 0.0,
            text: String::new(),
            cut: false,
            detokenizer,
            loops: rules.loop_detection.then(LoopDetector::new),
            seen,
        }
    }

    /// What the next token is drawn from, given the logits after the last one.
    pub(super) fn row<'a>(&'a self, logits: &'a [f32]) -> Row<'a> {
        Row {
            logits,
            seen: &self.seen.tokens,
            random: self.random,
            position: self.tokens.len() as u64,
        }
    }

    /// How many tokens it has.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The last token, which the model has not been fed yet.
    pub(super) fn last(&self) -> Option<u32> {
        self.tokens.last().copied()
    }

    /// Takes the next token, and says whether and why the completion ends with it. Of several
    /// reasons the first counts: a stop token, a stop string, a loop, the length.
    pub(super) fn push(&mut self, draw: Draw, rules: &Rules) -> Result<Option<Finish>> {
        self.tokens.push(draw.token);
        self.logprob += draw.logprob;
        if rules.stop_tokens.contains(&draw.token) {
            return Ok(Some(Finish::Stop));
        }
        let new = self.text.len();
        self.text.push_str(self.detokenizer.push(draw.token)?);
        if self.cut_at_stop(new, rules) {
            return Ok(Some(Finish::Stop));
        }
        if rules.penalised {
            self.seen.insert(draw.token);
        }
        if let Some(loops) = &mut self.loops
            && loops.push(&self.tokens)
        {
            return Ok(Some(Finish::Loop));
        }
        Ok((self.tokens.len() >= self.limit).then_some(Finish::Length))
    }

    /// Ends the completion.
    pub(super) fn finish(mut self, mut finish: Finish, rules: &Rules) -> Result<Completion> {
        // What the detokenizer still holds are the bytes of an unfinished character.
        if !self.cut {
            let new = self.text.len();
            let rest = self.detokenizer.finish()?;
            self.text.push_str(&rest);
            if self.cut_at_stop(new, rules) && finish != Finish::Cancelled {
                finish = Finish::Stop;
            }
        }
        Ok(Completion {
            text: self.text,
            tokens: self.tokens,
            finish,
            logprob: Some(self.logprob),
        })
    }

    /// Cuts the text before a stop string that its end, from byte `new` on, completes.
    fn cut_at_stop(&mut self, new: usize, rules: &Rules) -> bool {
        if let Some(at) = rules.stop_strings.find(&self.text, new) {
            self.text.truncate(at);
            self.cut = true;
        }
        self.cut
    }
}

/// The distinct tokens of a prompt and its completion.
#[derive(Debug, Default)]
struct Seen {
    tokens: Vec<u32>,
    members: HashSet<u32>,
}

impl Seen {
    fn insert(&mut self, token: u32) {
        if self.members.insert(token) {
            self.tokens.push(token);
        }
    }
}
