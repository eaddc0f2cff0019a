//! Finds prompts that do not fit into the model's context. Only the servers can count their tokens.

use std::sync::Arc;
use std::thread;

use super::failure::{Failure, Kind};
use super::generator::{Setup, Target, at};
use super::server::Server;
use crate::{Error, ErrorKind, Problem, Rejection, Result};

/// The number of prompts tried at a time. If all of them are accepted, shorter ones are assumed to fit.
const BATCH: usize = 8;
/// The number of attempts at a failing server.
const TRIES: u32 = 3;

/// Returns the problems whose prompts a server refuses as too long. Those missed here (a shorter prompt with
/// more tokens, a failing server) are detected when they are sampled.
pub(super) fn check(setup: &Setup, problems: &[Arc<Problem>]) -> Result<Vec<Rejection>> {
    let mut up: Vec<(&Target, Server)> = setup
        .targets
        .iter()
        .filter_map(|target| Some((target, *target.server.get()?)))
        .collect();
    let context = up.iter().map(|(_, server)| server.context).min().flatten();
    setup
        .plan
        .fits(context)
        .map_err(|reason| Error::new(ErrorKind::Settings, reason))?;
    if context.is_some() {
        // What does not fit there would be refused or not by chance.
        up.retain(|(_, server)| server.context == context);
    }
    let new = setup.plan.max_tokens as usize;
    let bytes = |problem: &Problem| setup.plan.prompt.max_tokens_of(&problem.question);
    let may_not_fit =
        |problem: &Problem| context.is_none_or(|context| bytes(problem) + new > context);
    let mut order: Vec<usize> = (0..problems.len())
        .filter(|&i| may_not_fit(&problems[i]))
        .collect();
    order.sort_by_key(|&index| std::cmp::Reverse(bytes(&problems[index])));
    let mut rejected = Vec::new();
    for batch in order.chunks(BATCH) {
        let results: Vec<Result<Option<String>>> = thread::scope(|scope| {
            let asked = batch.iter().enumerate().map(|(nth, &index)| {
                let (up, question) = (&up, &problems[index].question);
                scope.spawn(move || refusal(setup, up, nth, question))
            });
            let asked: Vec<_> = asked.collect();
            let joined = asked.into_iter().map(|thread| thread.join());
            joined.map(|result| result.unwrap_or(Ok(None))).collect()
        });
        let before = rejected.len();
        for (&index, result) in batch.iter().zip(results) {
            let named =
                |error: Error| error.context(format_args!("problem {:?}", problems[index].id));
            if let Some(reason) = result.map_err(named)? {
                rejected.push(Rejection {
                    problem: index,
                    reason,
                });
            }
        }
        if rejected.len() == before {
            break;
        }
    }
    rejected.sort_by_key(|rejection| rejection.problem);
    Ok(rejected)
}

/// Returns why a question's prompt is too long, if it is.
fn refusal(
    setup: &Setup,
    up: &[(&Target, Server)],
    nth: usize,
    question: &str,
) -> Result<Option<String>> {
    let ask = |(target, server): &(&Target, Server)| -> Result<(), Failure> {
        let mut body = setup.known(*server).body;
        if !setup.plan.stream {
            // Without streaming, nothing arrives before the whole response, so request a short one.
            body.insert("max_tokens".into(), 1.into());
        }
        let body = setup.plan.request(&body, server.software, question, 0);
        let url = format!("{}{}", target.url, setup.plan.prompt.path());
        setup
            .client
            .is_accepted(&url, &body, setup.timeouts.first_byte)
    };
    for tried in 0..TRIES {
        let Some(endpoint) = up.get((nth + tried as usize) % up.len().max(1)) else {
            break;
        };
        match ask(endpoint) {
            Ok(()) => return Ok(None),
            Err(failure) => match failure.kind {
                Kind::Context => return Ok(Some(failure.message)),
                Kind::Refused => return Err(at(&endpoint.0.url, &failure)),
                _ => thread::sleep(setup.retries.wait(tried + 1, nth as u64)),
            },
        }
    }
    Ok(None)
}
