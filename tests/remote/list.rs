//! A source that wants a list of trials, and records what is delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dart_math::remote::{OpenAi, OpenAiBuilder, Prompt, Retries, Timeouts};
use dart_math::{Completion, Next, Offer, Problem, Request, Source, TrialId, trial_seed};

use crate::server::{Server, text, tokens};

#[derive(Default)]
pub(crate) struct List {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    left: Vec<Request>,
    unwanted: BTreeSet<TrialId>,
    delivered: BTreeMap<TrialId, Vec<Completion>>,
    seeds: BTreeMap<TrialId, u64>,
    max_offered: usize,
}

pub(crate) fn problem(index: u32) -> Arc<Problem> {
    Arc::new(Problem::new(format!("question {index}?"), "right").with_id(format!("p{index}")))
}

impl List {
    /// Wants this many trials of each of this many problems, in turn.
    pub(crate) fn new(problems: u32, trials: u32) -> Self {
        let of = |number| (0..problems).map(move |problem| TrialId { problem, number });
        let all: Vec<TrialId> = (0..trials).flat_map(of).collect();
        let request = |&trial: &TrialId| Request {
            trial,
            problem: problem(trial.problem),
            seed: trial_seed(3, &format!("p{}", trial.problem), trial.number),
        };
        let left: Vec<Request> = all.iter().rev().map(request).collect();
        let seeds = left
            .iter()
            .map(|request| (request.trial, request.seed))
            .collect();
        let state = State {
            left,
            seeds,
            ..State::default()
        };
        List {
            state: Mutex::new(state),
        }
    }

    /// Returns the only completion of each trial.
    pub(crate) fn completions(&self) -> BTreeMap<TrialId, Completion> {
        let state = self.state.lock().unwrap();
        let one = |(&trial, all): (&TrialId, &Vec<Completion>)| {
            assert_eq!(all.len(), 1, "{trial:?} was delivered {} times", all.len());
            (trial, all[0].clone())
        };
        state.delivered.iter().map(one).collect()
    }

    /// Checks that every trial was delivered once, with the server's response to its seed.
    pub(crate) fn check_all(&self) {
        let completions = self.completions();
        let state = self.state.lock().unwrap();
        assert_eq!(completions.len(), state.seeds.len());
        for (trial, completion) in completions {
            let seed = sent(state.seeds[&trial]);
            assert_eq!(completion.text, text(seed), "{trial:?}");
            assert_eq!(completion.token_count(), tokens(seed));
        }
    }

    pub(crate) fn seeds(&self) -> BTreeSet<u64> {
        self.state
            .lock()
            .unwrap()
            .seeds
            .values()
            .copied()
            .map(sent)
            .collect()
    }

    pub(crate) fn max_offered(&self) -> usize {
        self.state.lock().unwrap().max_offered
    }

    pub(crate) fn no_longer_wants(&self, trials: impl IntoIterator<Item = TrialId>) {
        self.state.lock().unwrap().unwanted.extend(trials);
    }
}

/// Returns the part of a seed that is sent to servers.
pub(crate) fn sent(seed: u64) -> u64 {
    seed & ((1 << 53) - 1)
}

impl Source for List {
    fn next(&self, offer: Offer<'_>) -> Next {
        assert!(offer.free > 0);
        let mut state = self.state.lock().unwrap();
        state.max_offered = state.max_offered.max(offer.free);
        let from = state.left.len().saturating_sub(offer.free);
        let requests: Vec<Request> = state.left.drain(from..).rev().collect();
        match requests.is_empty() {
            true => Next::Done,
            false => Next::Requests(requests),
        }
    }

    fn wanted(&self, trial: TrialId) -> bool {
        !self.state.lock().unwrap().unwanted.contains(&trial)
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        self.state
            .lock()
            .unwrap()
            .delivered
            .entry(trial)
            .or_default()
            .push(completion);
    }
}

/// Short timeouts for tests.
pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(5),
        first_byte: Duration::from_secs(10),
        silence: Duration::from_secs(10),
        request: Duration::from_secs(60),
    }
}

pub(crate) fn retries() -> Retries {
    Retries {
        first_wait: Duration::from_millis(5),
        max_wait: Duration::from_millis(100),
        all_away: Duration::from_secs(20),
        ..Retries::default()
    }
}

pub(crate) fn builder(servers: &[&Server]) -> OpenAiBuilder {
    let builder = OpenAi::builder()
        .prompt(Prompt::text("Q: {problem}\nA:").unwrap())
        .timeouts(timeouts())
        .retries(retries())
        .max_tokens(32);
    servers
        .iter()
        .fold(builder, |builder, server| builder.endpoint(server.url()))
}
