//! Runs whose source issues trials over time: every request is delivered once.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use dart_math::engine::{CompletionRequest, EngineGroup, Event, Sampling};
use dart_math::model::Prompt;
use dart_math::{
    Completion, ErrorKind, Finish, Generator, Next, Offer, Philox, Problem, Request, Source,
    TrialId,
};

use crate::device;

use super::{CONTEXT, assert_same, builder, prompt, requests, requests_of, smallest};

/// Issues a list of trials in random portions, waits at random, and stops wanting some of them.
struct Schedule {
    random: Philox,
    state: Mutex<State>,
    /// After how many questions a trial is no longer wanted.
    wanted_for: BTreeMap<TrialId, u32>,
}

struct State {
    calls: u64,
    queue: Vec<Request>,
    asked: BTreeMap<TrialId, u32>,
    delivered: BTreeMap<TrialId, Completion>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Schedule {
    fn new(key: u64, requests: Vec<Request>) -> Self {
        let random = Philox::new(key);
        let wanted_for = requests
            .iter()
            .enumerate()
            .filter(|(i, _)| random.below(1000 + *i as u64, 3) == 0)
            .map(|(i, request)| (request.trial, random.below(2000 + i as u64, 30) as u32))
            .collect();
        Schedule {
            random,
            wanted_for,
            state: Mutex::new(State {
                calls: 1_000_000,
                queue: requests,
                asked: BTreeMap::new(),
                delivered: BTreeMap::new(),
                in_flight: 0,
                most_in_flight: 0,
            }),
        }
    }
}

impl Source for Schedule {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut state = self.state.lock().unwrap();
        assert!(offer.free > 0);
        assert!(offer.resident.is_sorted());
        state.calls += 1;
        let portion = self.random.below(state.calls, offer.free as u64 + 1) as usize;
        let portion = portion.min(state.queue.len());
        if portion > 0 {
            // Any order is possible.
            let pick = self
                .random
                .below(state.calls + (1 << 40), state.queue.len() as u64);
            state.queue.rotate_left(pick as usize);
            state.in_flight += portion;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
            Next::Requests(state.queue.drain(..portion).collect())
        } else if state.queue.is_empty() && state.in_flight == 0 {
            Next::Done
        } else {
            Next::Wait
        }
    }

    fn wanted(&self, trial: TrialId) -> bool {
        let mut state = self.state.lock().unwrap();
        assert!(!state.delivered.contains_key(&trial));
        let asked = state.asked.entry(trial).or_default();
        *asked += 1;
        self.wanted_for
            .get(&trial)
            .is_none_or(|most| *asked <= *most)
    }

    fn deliver(&self, trial: TrialId, completion: Completion) {
        let mut state = self.state.lock().unwrap();
        state.in_flight -= 1;
        let before = state.delivered.insert(trial, completion);
        assert!(before.is_none(), "{trial:?} was delivered twice");
    }
}

pub(crate) fn random_schedules_deliver_every_trial_once_and_the_same() {
    let all = requests(7, 9);
    let reference = Schedule {
        wanted_for: BTreeMap::new(),
        ..Schedule::new(0, all.clone())
    };
    builder().slots(1).build().unwrap().run(&reference).unwrap();
    let reference = reference.state.into_inner().unwrap().delivered;
    assert_eq!(reference.len(), 63);
    let mut cancelled = 0;
    let mut schedules = 0;
    let machines = [(1, 0), (2, 1), (5, 2), (64, 16)];
    for (slots, idle) in machines.into_iter().step_by(device::STRIDE.min(3)) {
        let engine = builder().slots(slots).prefix_cache(idle).build().unwrap();
        for key in (1..6).step_by(device::STRIDE) {
            schedules += 1;
            let schedule = Schedule::new(key, all.clone());
            engine.run(&schedule).unwrap();
            let state = schedule.state.into_inner().unwrap();
            // A slot may be refilled before its issued steps have arrived.
            assert!(state.most_in_flight <= slots * (1 + device::STEPS_AHEAD));
            assert_eq!(state.delivered.len(), all.len());
            for (trial, completion) in &state.delivered {
                let whole = &reference[trial];
                if completion.finish == Finish::Cancelled {
                    cancelled += 1;
                    assert!(schedule.wanted_for.contains_key(trial));
                    assert!(whole.tokens.starts_with(&completion.tokens));
                    assert!(whole.text.starts_with(&completion.text));
                } else {
                    assert_same(
                        std::slice::from_ref(completion),
                        std::slice::from_ref(whole),
                    );
                }
            }
        }
    }
    assert!(cancelled > 4 * schedules, "only {cancelled} were cancelled");
}

/// An engine may be called from any thread, including threads of another pool, which do other work while they wait.
/// A call from within the engine's own run is an error.
pub(crate) fn an_engine_never_waits_for_itself() {
    use rayon::prelude::*;
    let engine = builder().build().unwrap();
    let expected: Vec<_> = (0..24).map(|i| prompt(i, 3)).collect();
    let expected = engine.generate(&expected, 1).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    let found: Vec<Completion> = pool.build().unwrap().install(|| {
        let one = |i| {
            engine
                .generate(&[prompt(i as u64, 3)], 1)
                .unwrap()
                .remove(0)
        };
        (0..24usize)
            .into_par_iter()
            .with_max_len(1)
            .map(one)
            .collect()
    });
    assert_same(&expected, &found);
    let mut refused = 0;
    let one = prompt(1, 3);
    engine
        .complete(&[CompletionRequest::new(one.clone(), 1)], |event| {
            let Event::Completed { completion, .. } = event else {
                return ControlFlow::Continue(());
            };
            let error = engine.score(&one.tokens, &completion.tokens).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(engine.generate(std::slice::from_ref(&one), 1).is_err());
            assert!(engine.weight_bytes() > 0);
            refused += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(refused, 1);
    assert!(engine.score(&one.tokens, &[1, 2]).is_ok());
}

/// After the consumer stops the list, requests that wait for memory are not started.
pub(crate) fn what_waits_is_not_begun_after_a_break() {
    let prompts: Vec<Prompt> = (0..16).map(|i| prompt(i, 5)).collect();
    let engine = builder()
        .slots(16)
        .ignore_eos(true)
        .loop_detection(false)
        .kv_bytes(120_000)
        .build()
        .unwrap();
    let mut at_break = None;
    engine
        .complete(&CompletionRequest::list(&prompts, 1), |event| {
            if matches!(event, Event::Token { .. }) {
                return ControlFlow::Continue(());
            }
            at_break = Some(engine.statistics());
            ControlFlow::Break(())
        })
        .unwrap();
    let (before, after) = (at_break.unwrap(), engine.statistics());
    assert!(before.prompts < 16, "all were begun before");
    assert_eq!((before.prompts, before.steps), (after.prompts, after.steps));
    // Tokens of steps that were already issued still arrive.
    let late = after.generated_tokens - before.generated_tokens;
    assert!(late <= 16 * device::STEPS_AHEAD as u64, "{late}");
}

/// A source that waits for all of its trials, as a run does for verdicts.
struct Waiting {
    requests: Mutex<Vec<Request>>,
    missing: Mutex<usize>,
}

impl Source for Waiting {
    fn next(&self, offer: Offer<'_>) -> Next {
        let mut requests = self.requests.lock().unwrap();
        match (
            offer.free.min(requests.len()),
            *self.missing.lock().unwrap(),
        ) {
            (0, 0) => Next::Done,
            (0, _) => Next::Wait,
            (count, _) => Next::Requests(requests.drain(..count).collect()),
        }
    }

    fn wanted(&self, _: TrialId) -> bool {
        true
    }

    fn deliver(&self, _: TrialId, _: Completion) {
        *self.missing.lock().unwrap() -= 1;
    }
}

/// If one engine of a group fails, the others end, although its trials are never delivered.
pub(crate) fn a_group_ends_where_one_engine_fails() {
    let whole = builder().slots(2).build().unwrap();
    let one_token = whole.generate(&[prompt(0, 1)], 0);
    assert!(one_token.is_ok());
    // Too small for any of the prompts with its completion.
    let small = smallest().build().unwrap();
    let group = EngineGroup::new(vec![whole, small]).unwrap();
    let source = Waiting {
        requests: Mutex::new(requests_of(4, 3, 80)),
        missing: Mutex::new(12),
    };
    let error = group.run(&source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(
        error.to_string().contains("but the KV cache of a prompt"),
        "{error}"
    );
    // Later calls work as usual.
    let again = group.engines()[0].generate(&[prompt(0, 1)], 0);
    assert_eq!(again.unwrap(), one_token.unwrap());
}

/// A group rejects what its engines reject, and is greedy if they are.
pub(crate) fn a_group_checks_as_its_engines_do() {
    let engine = |sampling| builder().sampling(sampling).build().unwrap();
    let group =
        |sampling: Sampling| EngineGroup::new(vec![engine(sampling), engine(sampling)]).unwrap();
    let problem = |len| Arc::new(Problem::new(prompt(1, len).text, ""));
    let problems = [problem(3), problem(CONTEXT as u64 + 1), problem(5)];
    let sampled = group(Sampling::default());
    let rejected = sampled.check(&problems).unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].problem, 1);
    assert!(
        rejected[0].reason.contains("context"),
        "{}",
        rejected[0].reason
    );
    assert!(!sampled.is_greedy());
    assert!(group(Sampling::greedy()).is_greedy());
}
