//! The state of an endpoint in a run: its health, its requests and its statistics.
//!
//! Times are seconds since the start of the run. Independent of threads and sources.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::concurrency::Concurrency;
use super::failure::{Failure, Kind};
use super::retry::Retries;
use super::server::Software;

/// The number of problems whose prompts are assumed to be in an endpoint's prefix cache.
const RESIDENT: usize = 64;

/// The statistics of an endpoint over all runs of a generator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStatistics {
    /// Its base URL.
    pub url: String,
    /// Requests sent to it, including retries.
    pub requests: u64,
    /// Requests that it answered completely.
    pub completed: u64,
    /// Requests that were cancelled because they were no longer wanted.
    pub cancelled: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Requests that were retries after a failure.
    pub retries: u64,
    /// Responses with an unusual finish reason (`tool_calls`, `content_filter`), which were accepted.
    pub odd_finishes: u64,
    /// Prompts that did not fit into the model's context. They count as empty responses.
    pub beyond_context: u64,
    /// Responses that ended for their length with fewer than `max_tokens` tokens: the model's context was full
    /// (vLLM accepts prompts that leave fewer), or the server has its own limit.
    pub cut_short: u64,
    /// Tokens of its responses, including cancelled and failed ones as far as known.
    pub tokens: u64,
    /// The current limit of concurrent requests.
    pub concurrency: usize,
    /// The highest number of concurrent requests.
    pub max_in_flight: usize,
    /// How often it was paused after repeated failures.
    pub rests: u64,
    /// The message of its last failure.
    pub last_error: Option<String>,
}

impl EndpointStatistics {
    /// Adds the statistics of another run.
    pub(super) fn add(&mut self, run: EndpointStatistics) {
        let EndpointStatistics {
            url: _,
            requests,
            completed,
            cancelled,
            failures,
            retries,
            odd_finishes,
            beyond_context,
            cut_short,
            tokens,
            concurrency,
            max_in_flight,
            rests,
            last_error,
        } = run;
        self.requests += requests;
        self.completed += completed;
        self.cancelled += cancelled;
        self.failures += failures;
        self.retries += retries;
        self.odd_finishes += odd_finishes;
        self.beyond_context += beyond_context;
        self.cut_short += cut_short;
        self.tokens += tokens;
        self.concurrency = concurrency;
        self.max_in_flight = self.max_in_flight.max(max_in_flight);
        self.rests += rests;
        self.last_error = last_error.or(self.last_error.take());
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Health {
    Up,
    /// Gets no requests until this time.
    Resting(f64),
    /// Being probed.
    Probed,
}

/// What is needed to send requests to an endpoint, once its server is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) software: Software,
    pub(super) body: Map<String, Value>,
}

/// The state of an endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) known: Option<Arc<Known>>,
    pub(super) health: Health,
    pub(super) concurrency: Concurrency,
    pub(super) in_flight: usize,
    /// Tokens as they arrive, counted by the reading threads.
    pub(super) arrived: Arc<AtomicU64>,
    pub(super) statistics: EndpointStatistics,
    resident: VecDeque<u32>,
    paused: f64,
    failures: u32,
    overloads: u32,
    rests: u32,
    seen: u64,
    /// Since when it has been failing without a sign of life.
    failing: Option<f64>,
}

impl Endpoint {
    pub(super) fn new(url: &str, bound: usize, known: Option<Arc<Known>>) -> Self {
        let concurrency = Concurrency::new(bound);
        Endpoint {
            // An endpoint that has not answered yet is probed first.
            health: if known.is_some() {
                Health::Up
            } else {
                Health::Resting(0.0)
            },
            failing: known.is_none().then_some(0.0),
            known,
            in_flight: 0,
            arrived: Arc::default(),
            statistics: EndpointStatistics {
                url: url.to_owned(),
                concurrency: concurrency.limit(),
                ..EndpointStatistics::default()
            },
            concurrency,
            resident: VecDeque::new(),
            paused: 0.0,
            failures: 0,
            overloads: 0,
            rests: 0,
            seen: 0,
        }
    }

    /// Returns how many requests it can be sent now.
    pub(super) fn free(&self, now: f64) -> usize {
        match self.health {
            Health::Up if now >= self.paused => {
                self.concurrency.limit().saturating_sub(self.in_flight)
            }
            _ => 0,
        }
    }

    /// Returns its requests in flight as a share of its limit.
    pub(super) fn load(&self) -> f64 {
        self.in_flight as f64 / self.concurrency.limit() as f64
    }

    pub(super) fn resident(&self) -> impl Iterator<Item = u32> {
        self.resident.iter().copied()
    }

    pub(super) fn has(&self, problem: u32) -> bool {
        self.resident.contains(&problem)
    }

    pub(super) fn sent(&mut self, problem: u32) {
        self.in_flight += 1;
        self.statistics.requests += 1;
        self.statistics.max_in_flight = self.statistics.max_in_flight.max(self.in_flight);
        self.resident.retain(|&other| other != problem);
        self.resident.push_back(problem);
        if self.resident.len() > RESIDENT {
            self.resident.pop_front();
        }
    }

    /// Evaluates the tokens that have arrived: a sign of life, and a measurement of throughput.
    pub(super) fn look(&mut self, now: f64) {
        let arrived = self.arrived.load(Ordering::Relaxed);
        if arrived > self.seen {
            self.seen = arrived;
            self.failing = None;
        }
        let completed = self.statistics.completed;
        if self
            .concurrency
            .observe(now, self.in_flight, arrived, completed)
        {
            self.changed("more or fewer tokens came of it");
        }
    }

    fn changed(&mut self, why: &str) {
        let concurrency = self.concurrency.limit();
        self.statistics.concurrency = concurrency;
        tracing::debug!(
            endpoint = self.statistics.url,
            concurrency,
            why,
            "concurrency"
        );
    }

    pub(super) fn succeeded(&mut self) {
        self.statistics.completed += 1;
        self.failures = 0;
        self.overloads = 0;
        self.rests = 0;
        self.failing = None;
        if self.health != Health::Up {
            self.come_back();
        }
    }

    /// Marks it as up again.
    pub(super) fn come_back(&mut self) {
        tracing::info!(endpoint = self.statistics.url, "an endpoint is up");
        self.health = Health::Up;
        self.failures = 0;
        self.concurrency.restart();
        self.changed("it came back");
    }

    /// Handles a failure of a request that was sent at `sent`.
    pub(super) fn failed(&mut self, failure: &Failure, now: f64, sent: f64, retries: &Retries) {
        self.statistics.failures += 1;
        self.statistics.last_error = Some(failure.message.clone());
        self.failing.get_or_insert(now);
        let is_overload = matches!(failure.kind, Kind::Overloaded(_) | Kind::TimedOut);
        let is_news = is_overload && self.concurrency.overloaded(now, sent);
        if is_news {
            self.overloads += 1;
            // Log only the 1st, 2nd, 4th, … time: a server under load reports this often.
            if self.overloads.is_power_of_two() {
                tracing::warn!(
                    endpoint = self.statistics.url,
                    error = failure.message,
                    times = self.overloads,
                    "an endpoint is overloaded, or too slow to answer"
                );
            }
            self.changed("it is overloaded");
        }
        if let Kind::Overloaded(pause) = failure.kind {
            let own = is_news.then(|| retries.wait(self.overloads, self.statistics.requests));
            let wait = pause.or(own).unwrap_or_default();
            self.paused = self.paused.max(now + wait.as_secs_f64());
        }
        if matches!(failure.kind, Kind::Broken | Kind::TimedOut) {
            self.failures += 1;
            if self.health == Health::Up && self.failures >= retries.endpoint_failures {
                self.rest(now, retries);
            }
        }
    }

    /// Handles a failed probe.
    pub(super) fn stayed_away(&mut self, failure: &Failure, now: f64, retries: &Retries) {
        self.statistics.last_error = Some(failure.message.clone());
        self.failing.get_or_insert(now);
        self.rest(now, retries);
    }

    fn rest(&mut self, now: f64, retries: &Retries) {
        self.rests += 1;
        self.statistics.rests += 1;
        let wait = retries
            .wait(self.rests + 1, self.statistics.rests)
            .as_secs_f64();
        self.health = Health::Resting(now + wait);
        let error = self.statistics.last_error.as_deref();
        tracing::warn!(
            endpoint = self.statistics.url,
            error,
            seconds = wait,
            "an endpoint rests"
        );
    }

    /// Returns since when it has been failing without a sign of life.
    pub(super) fn failing(&self) -> Option<f64> {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn endpoint() -> Endpoint {
        let known = Known {
            software: Software::Other,
            body: Map::new(),
        };
        Endpoint::new("http://a/v1", 16, Some(Arc::new(known)))
    }

    #[test]
    fn it_rests_after_failures_in_a_row_and_longer_each_time() {
        let retries = Retries::default();
        let mut endpoint = endpoint();
        let broken = Failure::broken("reset");
        endpoint.failed(&broken, 1.0, 0.5, &retries);
        endpoint.failed(&broken, 1.0, 0.5, &retries);
        endpoint.succeeded();
        assert_eq!((endpoint.health, endpoint.failing()), (Health::Up, None));
        let mut longest = 0.0;
        for now in [10.0, 20.0, 30.0] {
            (0..3).for_each(|_| endpoint.failed(&broken, now, now - 1.0, &retries));
            let Health::Resting(until) = endpoint.health else {
                panic!("up")
            };
            assert_eq!(endpoint.free(now), 0);
            // Twice as long, plus or minus a half.
            assert!(until - now > 0.6 * longest);
            longest = until - now;
            endpoint.come_back();
            assert_eq!(endpoint.failing(), Some(10.0));
        }
        assert_eq!(endpoint.statistics.rests, 3);
        endpoint.arrived.store(1, Ordering::Relaxed);
        endpoint.look(40.0);
        assert_eq!(endpoint.failing(), None);
    }

    #[test]
    fn a_pause_that_it_asks_for_is_kept() {
        let mut endpoint = endpoint();
        let failure = Failure::new(Kind::Overloaded(Some(Duration::from_secs(5))), "busy");
        endpoint.failed(&failure, 1.0, 0.5, &Retries::default());
        assert_eq!((endpoint.free(5.9), endpoint.free(6.0)), (0, 2));
        assert_eq!(endpoint.health, Health::Up);
    }

    #[test]
    fn the_last_problems_are_resident() {
        let mut endpoint = endpoint();
        (0..100).for_each(|problem| endpoint.sent(problem));
        assert_eq!(endpoint.resident().count(), RESIDENT);
        assert!(endpoint.has(99) && endpoint.has(36) && !endpoint.has(35));
    }
}
