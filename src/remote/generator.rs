//! The generator: endpoints and their requests.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use super::OpenAiBuilder;
use super::endpoint::{EndpointStatistics, Known};
use super::failure::{Failure, Kind};
use super::fit;
use super::http::{Client, Exchange};
use super::plan::Plan;
use super::retry::{Retries, Timeouts};
use super::scheduler::Scheduler;
use super::server::{self, Server};
use crate::{Error, Generator, Problem, Rejection, Result, Settings, Source};

/// The configuration of an endpoint.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: String,
    /// The maximum number of concurrent requests.
    pub(super) bound: usize,
    /// Its server, once it has answered.
    pub(super) server: OnceLock<Server>,
}

/// The configuration of a run.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
    pub(super) client: Client,
    pub(super) targets: Vec<Target>,
    pub(super) timeouts: Timeouts,
    pub(super) retries: Retries,
}

impl Setup {
    /// Returns what is needed to send requests to a server.
    pub(super) fn known(&self, server: Server) -> Known {
        Known {
            software: server.software,
            body: self.plan.body(server),
        }
    }

    /// Queries an endpoint's server and checks that it serves the model.
    pub(super) fn ask(&self, exchange: &Exchange, index: usize) -> Result<Known, Failure> {
        let target = &self.targets[index];
        let (server, _) = server::ask(&self.client, exchange, &target.url, Some(&self.plan.model))?;
        let suits = self.plan.suits(server.software);
        let suits = suits.and_then(|()| self.plan.fits(server.context));
        suits.map_err(|reason| Failure::new(Kind::Refused, reason))?;
        let _ = target.server.set(server);
        Ok(self.known(server))
    }
}

/// A generator that gets completions from OpenAI-compatible servers. See the [module](super).
pub struct OpenAi {
    setup: Setup,
    statistics: Mutex<Vec<EndpointStatistics>>,
}

impl OpenAi {
    /// Returns a builder.
    pub fn builder() -> OpenAiBuilder {
        OpenAiBuilder::default()
    }

    pub(super) fn new(setup: Setup) -> Self {
        let statistics = setup.targets.iter().map(|target| EndpointStatistics {
            url: target.url.clone(),
            ..EndpointStatistics::default()
        });
        OpenAi {
            statistics: Mutex::new(statistics.collect()),
            setup,
        }
    }

    /// Returns the name of the model.
    pub fn model(&self) -> &str {
        &self.setup.plan.model
    }

    /// Returns the statistics of each endpoint, over the runs that have ended.
    pub fn statistics(&self) -> Vec<EndpointStatistics> {
        self.statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Generator for OpenAi {
    fn run(&self, source: &dyn Source) -> Result<()> {
        let statistics = thread::scope(|scope| {
            let mut scheduler = Scheduler::new(&self.setup, source, scope);
            let worked = scheduler.work();
            (worked, scheduler.statistics().collect::<Vec<_>>())
        });
        let (worked, of_run) = statistics;
        let mut all = self
            .statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (sum, of_run) in all.iter_mut().zip(of_run) {
            sum.add(of_run);
        }
        tracing::debug!(statistics = ?*all, "run finished");
        worked
    }

    /// Tries the prompts that may be too long, the longest first, until they are accepted. If the server
    /// states its context, only prompts whose bytes exceed it are tried (a token has at least one byte);
    /// otherwise all are candidates.
    fn check(&self, problems: &[Arc<Problem>]) -> Result<Vec<Rejection>> {
        fit::check(&self.setup, problems)
    }

    fn is_greedy(&self) -> bool {
        let sampling = &self.setup.plan.sampling;
        sampling.is_greedy() || sampling.top_k == Some(1)
    }

    /// Returns the model, the prompt and the sampling, but not the servers' addresses, number or software.
    fn settings(&self) -> Settings {
        self.setup.plan.settings()
    }
}

impl std::fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<&str> = self
            .setup
            .targets
            .iter()
            .map(|target| target.url.as_str())
            .collect();
        f.debug_struct("OpenAi")
            .field("model", &self.setup.plan.model)
            .field("endpoints", &urls)
            .finish_non_exhaustive()
    }
}

/// Makes an error that names an endpoint.
pub(super) fn at(url: &str, failure: &Failure) -> Error {
    let mut reason = format!("{url}: {}", failure.message);
    if failure.message.starts_with("status 404") && !url.ends_with("/v1") {
        reason += " (the base URLs of most servers end in /v1)";
    }
    Error::new(crate::ErrorKind::Server, reason)
}
