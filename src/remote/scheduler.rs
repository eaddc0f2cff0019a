//! Schedules a run over endpoints: which request goes where and when, what is retried, and what is abandoned.
//!
//! One thread decides, calls the source and delivers. Each request in flight has a thread that waits for its
//! response and reports it. The scheduler identifies a request by its trial, and reports by the number of the
//! attempt. Reports of abandoned attempts are dropped, so nothing is delivered twice.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use super::endpoint::{Endpoint, EndpointStatistics, Health, Known};
use super::failure::{Failure, Kind};
use super::generator::Setup;
use super::http::Exchange;
use super::response::Response;
use crate::{Completion, Error, ErrorKind, Finish, Next, Offer, Request, Result, Source};

/// How long the scheduler waits for a report.
const TICK: Duration = Duration::from_millis(10);
/// How often, in seconds, it checks whether trials in flight are still wanted.
const WANTED_EVERY: f64 = 0.05;
/// The stack of a thread that waits for a response: several times what TLS and JSON need.
const STACK: usize = 512 << 10;

/// A report of a thread.
enum Report {
    Try(u64, Result<(), Failure>),
    Probe(usize, Result<Known, Failure>),
}

/// A request being answered.
struct Flight {
    waiting: Waiting,
    endpoint: usize,
    known: Arc<Known>,
    exchange: Exchange,
    /// The part of the stream that has arrived.
    partial: Arc<Mutex<Response>>,
    /// When data last arrived, in milliseconds of the run; 0 if none has.
    heard: Arc<AtomicU64>,
    sent: f64,
    /// The endpoint's number of completed requests at that time.
    completed: u64,
}

impl Flight {
    /// Takes the part of the response that has arrived.
    fn arrived(&self) -> Response {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *partial)
    }
}

/// A request to be sent.
struct Waiting {
    request: Request,
    due: f64,
    tries: u32,
    /// The number of failures attributed to the request itself.
    failures: u32,
    /// The endpoint where it failed last.
    avoids: Option<usize>,
}

/// The state of a run.
pub(super) struct Scheduler<'s, 'scope, 'env> {
    setup: &'env Setup,
    source: &'s dyn Source,
    scope: &'scope Scope<'scope, 'env>,
    begun: Instant,
    endpoints: Vec<Endpoint>,
    flights: HashMap<u64, Flight>,
    waiting: VecDeque<Waiting>,
    reports: Receiver<Report>,
    reporter: Sender<Report>,
    /// Endpoints being probed.
    probes: HashMap<usize, Exchange>,
    tries: u64,
    is_done: bool,
    asked_wanted: f64,
}

impl<'s, 'scope, 'env> Scheduler<'s, 'scope, 'env> {
    pub(super) fn new(
        setup: &'env Setup,
        source: &'s dyn Source,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Self {
        let (reporter, reports) = channel();
        let endpoint = |target: &super::generator::Target| {
            let known = target
                .server
                .get()
                .map(|server| Arc::new(setup.known(*server)));
            Endpoint::new(&target.url, target.bound, known)
        };
        Scheduler {
            setup,
            source,
            scope,
            begun: Instant::now(),
            endpoints: setup.targets.iter().map(endpoint).collect(),
            flights: HashMap::new(),
            waiting: VecDeque::new(),
            reports,
            reporter,
            probes: HashMap::new(),
            tries: 0,
            is_done: false,
            asked_wanted: 0.0,
        }
    }

    /// Returns the statistics of the endpoints.
    pub(super) fn statistics(&self) -> impl Iterator<Item = EndpointStatistics> {
        self.endpoints
            .iter()
            .map(|endpoint| endpoint.statistics.clone())
    }

    /// Runs until the source is done and everything is delivered.
    pub(super) fn work(&mut self) -> Result<()> {
        loop {
            self.time_out()?;
            self.drop_unwanted();
            let now = self.now();
            self.endpoints
                .iter_mut()
                .for_each(|endpoint| endpoint.look(now));
            self.probe()?;
            self.ask();
            self.send()?;
            if self.flights.is_empty() && self.waiting.is_empty() {
                if self.is_done {
                    return Ok(());
                }
            } else {
                self.check_away()?;
            }
            self.receive()?;
        }
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Waits briefly for a report and handles all available ones.
    fn receive(&mut self) -> Result<()> {
        let mut report = self.reports.recv_timeout(TICK).ok();
        while let Some(some) = report {
            match some {
                Report::Try(number, result) => self.finished(number, result)?,
                Report::Probe(index, result) => self.probed(index, result),
            }
            report = self.reports.try_recv().ok();
        }
        Ok(())
    }

    /// Asks the source for as many requests as can be sent at once.
    fn ask(&mut self) {
        if self.is_done {
            return;
        }
        let now = self.now();
        let all: usize = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.free(now))
            .sum();
        let is_idle = self.flights.is_empty() && self.waiting.is_empty();
        // If nothing is in flight, only the source knows whether the run continues.
        let free = all
            .saturating_sub(self.waiting.len())
            .max(usize::from(is_idle));
        if free == 0 {
            return;
        }
        let with_room = self
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.free(now) > 0);
        let mut resident: Vec<u32> = with_room.flat_map(Endpoint::resident).collect();
        resident.sort_unstable();
        resident.dedup();
        match self.source.next(Offer {
            free,
            resident: &resident,
        }) {
            Next::Requests(requests) => {
                let waiting = |request| Waiting {
                    request,
                    due: now,
                    tries: 0,
                    failures: 0,
                    avoids: None,
                };
                self.waiting.extend(requests.into_iter().map(waiting));
            }
            Next::Wait => {}
            Next::Done => self.is_done = true,
        }
    }

    /// Sends due requests to endpoints with free capacity.
    fn send(&mut self) -> Result<()> {
        let now = self.now();
        let mut left = VecDeque::new();
        let mut result = Ok(());
        while let Some(waiting) = self.waiting.pop_front() {
            let endpoint = match waiting.due <= now && result.is_ok() {
                true => self.choose(&waiting, now),
                false => None,
            };
            match endpoint {
                Some((endpoint, known)) => {
                    if let Err((waiting, error)) = self.start(waiting, endpoint, known) {
                        left.push_back(waiting);
                        result = Err(error);
                    }
                }
                None => left.push_back(waiting),
            }
        }
        self.waiting = left;
        result
    }

    /// Chooses the endpoint for a request: preferably not the one where it failed, then one that has the
    /// problem's prompt cached, then the one with the lowest load.
    fn choose(&self, waiting: &Waiting, now: f64) -> Option<(usize, Arc<Known>)> {
        let problem = waiting.request.trial.problem;
        let with_room = self
            .endpoints
            .iter()
            .enumerate()
            .filter(|(_, e)| e.free(now) > 0);
        let better = |&(a, x): &(usize, &Endpoint), &(b, y): &(usize, &Endpoint)| {
            let avoided = |index| waiting.avoids == Some(index);
            let residents = y.has(problem).cmp(&x.has(problem));
            avoided(a)
                .cmp(&avoided(b))
                .then(residents)
                .then(x.load().total_cmp(&y.load()))
        };
        let (index, endpoint) = with_room.min_by(better)?;
        Some((index, endpoint.known.clone()?))
    }

    fn start(
        &mut self,
        mut waiting: Waiting,
        index: usize,
        known: Arc<Known>,
    ) -> Result<(), (Waiting, Error)> {
        let setup = self.setup;
        let Request {
            trial,
            problem,
            seed,
        } = &waiting.request;
        let plan = &setup.plan;
        let body = plan.request(&known.body, known.software, &problem.question, *seed);
        // Longer than the timeout, which the scheduler itself enforces.
        let most = setup
            .timeouts
            .request
            .saturating_add(Duration::from_secs(5));
        let exchange = setup.client.exchange(most);
        let partial = Arc::new(Mutex::new(Response::default()));
        let heard = Arc::new(AtomicU64::new(0));
        let endpoint = &mut self.endpoints[index];
        self.tries += 1;
        let (number, begun) = (self.tries, self.begun);
        let work = {
            let (exchange, partial, heard) = (exchange.clone(), partial.clone(), heard.clone());
            let (arrived, reporter) = (endpoint.arrived.clone(), self.reporter.clone());
            let url = format!("{}{}", endpoint.statistics.url, plan.prompt.path());
            move || {
                let mut counted = 0;
                let mut count = |tokens: u32| {
                    let more = tokens.saturating_sub(counted);
                    arrived.fetch_add(u64::from(more), Ordering::Relaxed);
                    counted += more;
                };
                let result = setup
                    .client
                    .complete(&exchange, &url, &body, &partial, |tokens| {
                        let milliseconds = begun.elapsed().as_millis() as u64;
                        heard.store(milliseconds.max(1), Ordering::Relaxed);
                        count(tokens);
                    });
                if result.is_ok() {
                    // If the server reports no tokens, its responses are counted.
                    count(1);
                }
                // If the run has failed, nobody receives the report.
                let _ = reporter.send(Report::Try(number, result));
            }
        };
        let named = format!("trial {}/{}", trial.problem, trial.number);
        let spawned = Builder::new()
            .name(named)
            .stack_size(STACK)
            .spawn_scoped(self.scope, work);
        if let Err(error) = spawned {
            // Continue with fewer threads, if there are any.
            endpoint
                .concurrency
                .overloaded(self.begun.elapsed().as_secs_f64(), f64::INFINITY);
            if self.flights.is_empty() {
                let reason = "threads for requests cannot be started";
                return Err((
                    waiting,
                    Error::new(ErrorKind::Settings, reason).with_source(error),
                ));
            }
            waiting.due = self.now() + 1.0;
            self.waiting.push_back(waiting);
            return Ok(());
        }
        waiting.tries += 1;
        endpoint.statistics.retries += u64::from(waiting.tries > 1);
        endpoint.sent(trial.problem);
        let flight = Flight {
            endpoint: index,
            known,
            exchange,
            partial,
            heard,
            sent: begun.elapsed().as_secs_f64(),
            completed: endpoint.statistics.completed,
            waiting,
        };
        self.flights.insert(number, flight);
        Ok(())
    }

    /// Removes an attempt from the flights, if it is still among them.
    fn take(&mut self, number: u64) -> Option<Flight> {
        let flight = self.flights.remove(&number)?;
        self.endpoints[flight.endpoint].in_flight -= 1;
        Some(flight)
    }

    fn finished(&mut self, number: u64, result: Result<(), Failure>) -> Result<()> {
        let Some(flight) = self.take(number) else {
            return Ok(());
        };
        match result {
            Ok(()) => {
                let response = flight.arrived();
                self.completed(flight, response);
                Ok(())
            }
            Err(failure) => self.failed(flight, failure),
        }
    }

    fn completed(&mut self, flight: Flight, response: Response) {
        let endpoint = &mut self.endpoints[flight.endpoint];
        endpoint.succeeded();
        endpoint.statistics.tokens += u64::from(response.tokens());
        let request = &flight.waiting.request;
        if let Some(reason) = response.odd_finish() {
            endpoint.statistics.odd_finishes += 1;
            let (endpoint, problem) = (&endpoint.statistics.url, &request.problem.id);
            tracing::warn!(
                endpoint,
                problem,
                reason,
                "a response ended for an odd reason"
            );
        }
        let plan = &self.setup.plan;
        if response.is_cut_short(plan.max_tokens) {
            let before = endpoint.statistics.cut_short;
            endpoint.statistics.cut_short += 1;
            if before == 0 {
                let (endpoint, problem) = (&endpoint.statistics.url, &request.problem.id);
                let (tokens, max_tokens) = (response.tokens(), plan.max_tokens);
                tracing::warn!(
                    endpoint,
                    problem,
                    tokens,
                    max_tokens,
                    "a response was cut before max_tokens: the model's context was full, or the server has a limit of its own"
                );
            }
        }
        let opened = plan.prompt.opens_reasoning(&request.problem.question);
        let raw = plan.has_raw_logprobs(flight.known.software);
        self.source
            .deliver(request.trial, response.into_completion(opened, raw));
    }

    fn failed(&mut self, flight: Flight, failure: Failure) -> Result<()> {
        let now = self.now();
        let arrived = flight.arrived();
        let Flight {
            mut waiting,
            endpoint: index,
            sent,
            completed,
            ..
        } = flight;
        let endpoint = &mut self.endpoints[index];
        endpoint.statistics.tokens += u64::from(arrived.tokens());
        let Request {
            trial,
            problem,
            seed,
        } = &waiting.request;
        let of_trial = || format!("trial {} of problem {:?}", trial.number, problem.id);
        match failure.kind {
            Kind::Context => {
                endpoint.succeeded();
                endpoint.statistics.beyond_context += 1;
                let (problem, reason) = (&problem.id, &failure.message);
                tracing::warn!(
                    problem,
                    reason,
                    "a prompt does not fit into the model's context"
                );
                let nothing = Completion {
                    finish: Finish::Length,
                    counted_tokens: Some(0),
                    ..Completion::text("")
                };
                self.source.deliver(*trial, nothing);
                return Ok(());
            }
            Kind::Refused => {
                let reason = format!(
                    "{}: {}: {}",
                    endpoint.statistics.url,
                    of_trial(),
                    failure.message
                );
                return Err(Error::new(ErrorKind::Server, reason));
            }
            Kind::Broken | Kind::TimedOut | Kind::Overloaded(_) => {}
        }
        endpoint.failed(&failure, now, sent, &self.setup.retries);
        let url = &endpoint.statistics.url;
        tracing::debug!(
            endpoint = url,
            problem = problem.id,
            error = failure.message,
            "a request failed"
        );
        // If an endpoint answers no request at all, its failures say nothing about this one.
        let is_of_request = arrived.has_begun() || endpoint.statistics.completed > completed;
        waiting.failures +=
            u32::from(is_of_request && !matches!(failure.kind, Kind::Overloaded(_)));
        if waiting.failures >= self.setup.retries.failures {
            let times = waiting.failures;
            let reason = format!(
                "{url}: {} failed {times} times; {}",
                of_trial(),
                failure.message
            );
            return Err(Error::new(ErrorKind::Server, reason));
        }
        waiting.due = now + self.setup.retries.wait(waiting.tries, *seed).as_secs_f64();
        waiting.avoids = Some(index);
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Abandons requests that take too long.
    fn time_out(&mut self) -> Result<()> {
        let (now, timeouts) = (self.now(), self.setup.timeouts);
        let is_streamed = self.setup.plan.stream;
        let late = |flight: &Flight| {
            let heard = flight.heard.load(Ordering::Relaxed) as f64 / 1000.0;
            let over = |since: f64, most: Duration| now - since > most.as_secs_f64();
            if over(flight.sent, timeouts.request) {
                Some("the response took too long")
            } else if is_streamed && heard == 0.0 && over(flight.sent, timeouts.first_byte) {
                Some("no response in time")
            } else if is_streamed && heard > 0.0 && over(heard, timeouts.silence) {
                Some("the response stopped half-way")
            } else {
                None
            }
        };
        let late: Vec<(u64, &str)> = self
            .flights
            .iter()
            .filter_map(|(&number, flight)| Some((number, late(flight)?)))
            .collect();
        for (number, reason) in late {
            if let Some(flight) = self.take(number) {
                flight.exchange.interrupt();
                self.failed(flight, Failure::new(Kind::TimedOut, reason))?;
            }
        }
        Ok(())
    }

    /// Stops requests that are no longer wanted and delivers their partial responses.
    fn drop_unwanted(&mut self) {
        let now = self.now();
        if now - self.asked_wanted < WANTED_EVERY {
            return;
        }
        self.asked_wanted = now;
        let source = self.source;
        let unwanted = |request: &Request| !source.wanted(request.trial);
        let numbers: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| unwanted(&flight.waiting.request))
            .map(|(&number, _)| number)
            .collect();
        for number in numbers {
            let Some(flight) = self.take(number) else {
                continue;
            };
            flight.exchange.interrupt();
            let partial = flight.arrived();
            let endpoint = &mut self.endpoints[flight.endpoint].statistics;
            endpoint.cancelled += 1;
            endpoint.tokens += u64::from(partial.tokens());
            let request = &flight.waiting.request;
            let opened = self
                .setup
                .plan
                .prompt
                .opens_reasoning(&request.problem.question);
            source.deliver(request.trial, cancelled(partial, opened));
        }
        self.waiting.retain(|waiting| {
            let unwanted = unwanted(&waiting.request);
            if unwanted {
                source.deliver(waiting.request.trial, cancelled(Response::default(), false));
            }
            !unwanted
        });
    }

    /// Probes endpoints whose pause is over.
    fn probe(&mut self) -> Result<()> {
        let now = self.now();
        let setup = self.setup;
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let Health::Resting(until) = endpoint.health else {
                continue;
            };
            if now < until {
                continue;
            }
            endpoint.health = Health::Probed;
            let reporter = self.reporter.clone();
            let exchange = setup.client.asking();
            self.probes.insert(index, exchange.clone());
            let work = move || {
                let result = setup.ask(&exchange, index);
                let _ = reporter.send(Report::Probe(index, result));
            };
            let spawned = Builder::new()
                .stack_size(STACK)
                .spawn_scoped(self.scope, work);
            spawned.map_err(|error| {
                Error::new(
                    ErrorKind::Settings,
                    "threads for requests cannot be started",
                )
                .with_source(error)
            })?;
        }
        Ok(())
    }

    fn probed(&mut self, index: usize, result: Result<Known, Failure>) {
        let now = self.now();
        self.probes.remove(&index);
        let endpoint = &mut self.endpoints[index];
        match result {
            Ok(known) => {
                endpoint.known = Some(Arc::new(known));
                if endpoint.health == Health::Probed {
                    endpoint.come_back();
                }
            }
            // A response arrived in the meantime, which is a stronger sign of life.
            Err(_) if endpoint.health == Health::Up => {}
            Err(failure) => endpoint.stayed_away(&failure, now, &self.setup.retries),
        }
    }

    /// Returns an error if no endpoint has answered for too long.
    fn check_away(&self) -> Result<()> {
        let all = self.setup.retries.all_away.as_secs_f64();
        let now = self.now();
        let is_away =
            |endpoint: &Endpoint| endpoint.failing().is_some_and(|since| now - since > all);
        if !self.endpoints.iter().all(is_away) {
            return Ok(());
        }
        let said = |endpoint: &Endpoint| {
            let error = endpoint
                .statistics
                .last_error
                .as_deref()
                .unwrap_or("no answer yet");
            format!("{}: {error}", endpoint.statistics.url)
        };
        let each: Vec<String> = self.endpoints.iter().map(said).collect();
        let reason = format!("no endpoint has answered for {all} s; {}", each.join("; "));
        Err(Error::new(ErrorKind::Server, reason))
    }
}

impl Drop for Scheduler<'_, '_, '_> {
    /// Interrupts requests left by an error or a panic of the source, so that nobody waits for them.
    fn drop(&mut self) {
        let of_flights = self.flights.values().map(|flight| &flight.exchange);
        let exchanges = of_flights.chain(self.probes.values());
        exchanges.for_each(Exchange::interrupt);
    }
}

/// Returns the partial completion of a response that is no longer wanted.
fn cancelled(partial: Response, opened: bool) -> Completion {
    Completion {
        finish: Finish::Cancelled,
        ..partial.into_completion(opened, false)
    }
}
