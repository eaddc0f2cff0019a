//! A list of requests as a source, so that completing a list is an ordinary run.
//!
//! Depends on the contract and requests, but not on how they are run.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{CompletionRequest, Event};
use crate::{Completion, Error, ErrorKind, Next, Offer, Problem, Request, Result, Source, TrialId};

/// A callback for events, which says whether to continue.
pub(super) type OnEvent<'a> = &'a mut (dyn FnMut(Event<'_>) -> ControlFlow<()> + Send);

/// A list of requests as a source, grouped by distinct prompt.
pub(super) struct List<'a> {
    requests: &'a [CompletionRequest],
    /// For each distinct prompt, the indexes of its requests.
    indexes: Vec<Vec<usize>>,
    state: Mutex<ListState<'a>>,
}

struct ListState<'a> {
    /// The remaining requests, in the order in which they are sampled.
    queue: std::vec::IntoIter<TrialId>,
    on_event: OnEvent<'a>,
    stopped: bool,
}

impl<'a> List<'a> {
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if a request has a limit of 0 or sampling settings out of range.
    pub(super) fn new(requests: &'a [CompletionRequest], on_event: OnEvent<'a>) -> Result<Self> {
        for (index, request) in requests.iter().enumerate() {
            let named = |error: Error| error.context(format_args!("request {}", index + 1));
            if request.max_new_tokens == Some(0) {
                let reason = "max_new_tokens is 0, but must be at least 1";
                return Err(named(Error::new(ErrorKind::Settings, reason)));
            }
            if let Some(sampling) = &request.sampling {
                sampling.validate().map_err(named)?;
            }
        }
        let mut known: HashMap<(&str, &[u32]), usize> = HashMap::new();
        let mut indexes: Vec<Vec<usize>> = Vec::new();
        for (index, CompletionRequest { prompt, .. }) in requests.iter().enumerate() {
            let problem = *known
                .entry((&prompt.text, &prompt.tokens))
                .or_insert(indexes.len());
            match indexes.get_mut(problem) {
                Some(indexes) => indexes.push(index),
                None => indexes.push(vec![index]),
            }
        }
        let queue: Vec<TrialId> = (0..)
            .zip(&indexes)
            .flat_map(|(problem, indexes)| {
                (0..indexes.len() as u32).map(move |number| TrialId { problem, number })
            })
            .collect();
        Ok(List {
            requests,
            indexes,
            state: Mutex::new(ListState {
                queue: queue.into_iter(),
                on_event,
                stopped: false,
            }),
        })
    }

    fn index(&self, trial: TrialId) -> usize {
        self.indexes[trial.problem as usize][trial.number as usize]
    }

    /// The request behind a trial of the run.
    pub(super) fn request(&self, trial: TrialId) -> &CompletionRequest {
        &self.requests[self.index(trial)]
    }

    /// Reports a token.
    pub(super) fn token(&self, trial: TrialId, token: u32, logprob: f64, text: &str) {
        let request = self.index(trial);
        self.notify(Event::Token {
            request,
            token,
            logprob,
            text,
        });
    }

    fn notify(&self, event: Event<'_>) {
        let mut state = self.state();
        if !state.stopped {
            state.stopped = (state.on_event)(event).is_break();
        }
    }

    fn trial(&self, trial: TrialId) -> Request {
        // The problem only names the request in errors: the prompt exists already.
        let name = format!("{} of the list", self.index(trial) + 1);
        Request {
            trial,
            problem: Arc::new(Problem::new("", "").with_id(name)),
            seed: self.request(trial).seed,
        }
    }

    fn state(&self) -> MutexGuard<'_, ListState<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for List<'_> {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut state = self.state();
        if state.stopped || state.queue.len() == 0 {
            return Next::Done;
        }
        let trials = state.queue.by_ref().take(offer.free);
        Next::Requests(trials.map(|trial| self.trial(trial)).collect())
    }

    fn wanted(&self, _: TrialId) -> bool {
        !self.state().stopped
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let request = self.index(trial);
        self.notify(Event::Completed {
            request,
            completion,
        });
    }
}
