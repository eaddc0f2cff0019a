//! What vLLM 0.32.0 said on a CPU, recorded word for word, said again by a server of the test's own.

use std::sync::Arc;
use std::time::Duration;

use dart_math::{Completion, Finish, Generator, Problem};

use crate::faults::events;
use crate::list::{List, builder};
use crate::logged::warnings;
use crate::server::{Reply, Server};

/// The end of a context of 288 tokens, of which a prompt left 9 where 32 were asked for.
const CONTEXT_END: &str = include_str!("recorded/vllm_context_end.sse");
const TOO_LONG: &str = include_str!("recorded/vllm_too_long.json");
/// With `"stop": ["=38."]` and log-probabilities: text is held back where it may be the beginning of that, and a part
/// has several tokens where they came faster than they were read.
const STOP_STRING: &str = include_str!("recorded/vllm_stop_string.sse");
/// With `repetition_detection`, and log-probabilities.
const REPETITION: &str = include_str!("recorded/vllm_repetition.sse");

#[test]
fn what_the_context_cuts_is_counted_and_said_once() {
    let server = Server::new(|asked| match asked.body["prompt"] == "Q: question 1?\nA:" {
        true => events(CONTEXT_END),
        false => Reply::Good(Duration::ZERO),
    });
    let generator = builder(&[&server]).connect().unwrap();
    let list = List::new(2, 3);
    let (run, said) = warnings(|| generator.run(&list));
    run.unwrap();
    for (trial, completion) in list.completions() {
        let is_cut = trial.problem == 1;
        assert_eq!(completion.finish == Finish::Length, is_cut);
        if is_cut {
            assert_eq!(
                (completion.text.as_str(), completion.token_count()),
                ("TheTheTheTheTheTheTheTheThe", 9)
            );
        }
    }
    assert_eq!(generator.statistics()[0].cut_short, 3);
    assert_eq!(said.matches("cut before max_tokens").count(), 1, "{said}");

    // What has all the tokens that it was to have is not cut.
    let generator = builder(&[&server]).max_tokens(9).connect().unwrap();
    let (run, said) = warnings(|| generator.run(&List::new(2, 3)));
    run.unwrap();
    assert_eq!(
        (generator.statistics()[0].cut_short, said.as_str()),
        (0, "")
    );
}

/// Of endpoints with different contexts the smallest says what is too long.
#[test]
fn what_is_too_long_for_one_endpoint_is_too_long() {
    let small = Server::new(
        |asked| match asked.body["prompt"].as_str().unwrap().len() > 150 {
            true => Reply::Status(400, vec![], TOO_LONG.into()),
            false => Reply::Good(Duration::ZERO),
        },
    );
    let large = Server::of_context(1000, |_| Reply::Good(Duration::ZERO));
    let generator = builder(&[&large, &small]).connect().unwrap();
    let problem = |length| Arc::new(Problem::new("x".repeat(length), "right"));
    let problems = [400, 10, 500, 450, 90].map(problem);
    let rejected = generator.check(&problems).unwrap();
    let places: Vec<usize> = rejected.iter().map(|rejection| rejection.problem).collect();
    assert_eq!(places, [0, 2, 3]);
    let reason = "status 400: This model's maximum context length is 288 tokens.";
    assert!(rejected[0].reason.starts_with(reason), "{rejected:?}");
    assert_eq!(large.requests(), 0);
}

fn completion(body: &'static str) -> Completion {
    let server = Server::new(move |_| events(body));
    let generator = builder(&[&server]).logprobs(true).connect().unwrap();
    let list = List::new(1, 1);
    generator.run(&list).unwrap();
    list.completions().into_values().next().unwrap()
}

#[test]
fn a_stop_string_and_a_repetition_are_read() {
    let check = |body, text: &str, finish, tokens, logprob: f64| {
        let completion = completion(body);
        assert_eq!(
            (completion.text.as_str(), completion.finish),
            (text, finish)
        );
        assert_eq!(completion.token_count(), tokens);
        let difference = completion.logprob.unwrap() - logprob;
        assert!(difference.abs() < 1e-9, "{completion:?}");
    };
    check(STOP_STRING, "20+18", Finish::Stop, 9, -0.03441791623481549);
    check(REPETITION, ". 666", Finish::Loop, 4, -3.202380657196045);
}
