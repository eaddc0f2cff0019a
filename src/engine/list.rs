//! A list of prompts as a source, so that completing a list is a run like any other.
//!
//! Knows the contract and prompts; nothing of how they are run.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Prompt;
use crate::{Completion, Next, Offer, Problem, Request, Source, TrialId, trial_seed};

/// What takes completions, each with its prompt's place in the list, and says whether to go on.
pub(super) type Each<'a> = &'a mut (dyn FnMut(usize, Completion) -> ControlFlow<()> + Send);

/// A list of prompts as a source: one distinct prompt after the other.
pub(super) struct List<'a> {
    prompts: &'a [Prompt],
    /// For each distinct prompt, where it stands in the list.
    places: Vec<Vec<usize>>,
    /// The most tokens of each completion, in the prompts' order, where there are such limits.
    limits: Option<&'a [usize]>,
    seed: u64,
    state: Mutex<ListState<'a>>,
}

struct ListState<'a> {
    /// Places in the order in which they are sampled, what is left of them.
    queue: std::vec::IntoIter<TrialId>,
    each: Each<'a>,
    stopped: bool,
}

impl<'a> List<'a> {
    pub(super) fn new(
        prompts: &'a [Prompt],
        limits: Option<&'a [usize]>,
        seed: u64,
        each: Each<'a>,
    ) -> Self {
        let mut known: HashMap<(&str, &[u32]), usize> = HashMap::new();
        let mut places: Vec<Vec<usize>> = Vec::new();
        for (place, prompt) in prompts.iter().enumerate() {
            let index = *known
                .entry((&prompt.text, &prompt.tokens))
                .or_insert(places.len());
            match places.get_mut(index) {
                Some(places) => places.push(place),
                None => places.push(vec![place]),
            }
        }
        let queue: Vec<TrialId> = (0..)
            .zip(&places)
            .flat_map(|(problem, places)| {
                (0..places.len() as u32).map(move |number| TrialId { problem, number })
            })
            .collect();
        List {
            prompts,
            places,
            limits,
            seed,
            state: Mutex::new(ListState {
                queue: queue.into_iter(),
                each,
                stopped: false,
            }),
        }
    }

    fn place(&self, trial: TrialId) -> usize {
        self.places[trial.problem as usize][trial.number as usize]
    }

    pub(super) fn prompt(&self, trial: TrialId) -> &Prompt {
        &self.prompts[self.place(trial)]
    }

    /// The most tokens of a completion.
    pub(super) fn limit(&self, trial: TrialId) -> usize {
        self.limits
            .map_or(usize::MAX, |limits| limits[self.place(trial)])
    }

    fn request(&self, trial: TrialId) -> Request {
        // The problem only gives a name to errors: the prompt is there already.
        let name = format!("{} of the list", self.place(trial) + 1);
        Request {
            trial,
            problem: Arc::new(Problem::new("", "").with_id(name)),
            seed: trial_seed(self.seed, &self.prompt(trial).text, trial.number),
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
        Next::Requests(trials.map(|trial| self.request(trial)).collect())
    }

    fn wanted(&self, _: TrialId) -> bool {
        !self.state().stopped
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let mut state = self.state();
        if !state.stopped {
            state.stopped = (state.each)(self.place(trial), completion).is_break();
        }
    }
}
