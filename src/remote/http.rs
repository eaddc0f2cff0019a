//! One HTTP request: sent, answered, read, or interrupted from another thread.
//!
//! Handles HTTP and the API key. Independent of the contents and of retries.

use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Response as HttpResponse;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, Error as HttpError};

use super::failure::Failure;
use super::response::Response;
use super::sse::Events;

/// The maximum size of a response in bytes, enough for the log-probabilities of a hundred thousand tokens.
const MAX_BODY: u64 = 64 << 20;
/// The maximum number of bytes read of an error's body.
const MAX_ERROR: u64 = 64 << 10;

/// The API key. It is never displayed.
#[derive(Clone)]
pub(super) struct Key(pub(super) String);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The trusted certificates.
#[derive(Debug, Clone)]
pub(super) struct Trust(RootCerts);

impl Default for Trust {
    /// Mozilla's list.
    fn default() -> Self {
        Trust(RootCerts::WebPki)
    }
}

impl Trust {
    /// Only the certificates in a PEM text.
    pub(super) fn from_pem(text: &[u8]) -> std::result::Result<Self, String> {
        let mut certificates: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(text) {
            // (A file may also contain the key.)
            if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
                certificates.push(certificate);
            }
        }
        match certificates.is_empty() {
            true => Err("no certificate in it (PEM is expected)".into()),
            false => Ok(Trust(RootCerts::new_with_certs(&certificates))),
        }
    }
}

/// The timeout for querying what an endpoint serves.
const ASK: Duration = Duration::from_secs(30);

/// Sends requests, each over its own connection. Surplus data of a response can then never be mistaken for
/// the next response, and a connection closed by the server is never reused.
#[derive(Debug, Clone)]
pub(super) struct Client {
    key: Option<Key>,
    connect: Duration,
    trust: Trust,
}

/// A request that can be interrupted.
#[derive(Debug, Clone)]
pub(super) struct Exchange(Agent);

impl Exchange {
    /// Closes the connection. A waiting thread continues with an error.
    pub(super) fn interrupt(&self) {
        self.0.clone().shutdown();
    }
}

impl Client {
    /// A client with a connection timeout.
    pub(super) fn new(key: Option<Key>, connect: Duration, trust: Trust) -> Self {
        Client {
            key,
            connect,
            trust,
        }
    }

    /// Prepares one request with a response timeout.
    pub(super) fn exchange(&self, most: Duration) -> Exchange {
        let Trust(roots) = self.trust.clone();
        let config = Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .timeout_connect(Some(self.connect))
            .timeout_global(Some(most))
            // A redirect would send the key and the problems elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .proxy(None)
            .no_delay(true)
            .user_agent(concat!("dart-math/", env!("CARGO_PKG_VERSION")))
            .build();
        Exchange(config.new_agent())
    }

    /// Prepares a query of the list of models.
    pub(super) fn asking(&self) -> Exchange {
        self.exchange(ASK)
    }

    /// Returns the body of a GET request.
    pub(super) fn get(&self, Exchange(agent): &Exchange, url: &str) -> Result<Vec<u8>, Failure> {
        let mut request = agent.get(url);
        if let Some(Key(key)) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = request.call().map_err(|error| self.broken(&error))?;
        let mut answer = self.succeeded(answer)?;
        let body = answer.body_mut().with_config().limit(MAX_BODY);
        body.read_to_vec().map_err(|error| self.broken(&error))
    }

    fn post(
        &self,
        Exchange(agent): &Exchange,
        url: &str,
        body: &str,
    ) -> Result<HttpResponse<Body>, Failure> {
        let mut request = agent.post(url).header("Content-Type", "application/json");
        if let Some(Key(key)) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = request.send(body).map_err(|error| self.broken(&error))?;
        self.succeeded(answer)
    }

    /// Sends a request and closes the connection as soon as the server has accepted it, within the timeout
    /// `most`.
    pub(super) fn is_accepted(&self, url: &str, body: &str, most: Duration) -> Result<(), Failure> {
        let exchange = self.exchange(most);
        let result = self.post(&exchange, url, body).map(drop);
        exchange.interrupt();
        result
    }

    /// Sends a request and reads its response, complete or as a stream of events, into a shared partial
    /// response. `grown` receives its number of tokens.
    pub(super) fn complete(
        &self,
        exchange: &Exchange,
        url: &str,
        body: &str,
        response: &Mutex<Response>,
        mut grown: impl FnMut(u32),
    ) -> Result<(), Failure> {
        let answer = self.post(exchange, url, body)?;
        let is_stream = answer.body().mime_type() == Some("text/event-stream");
        let mut take = |json: &[u8]| {
            let mut response = response.lock().unwrap_or_else(PoisonError::into_inner);
            response.take(json)?;
            grown(response.tokens());
            Ok(())
        };
        let read = match is_stream {
            true => self.read_events(answer, take),
            false => self.read_whole(answer).and_then(|json| take(&json)),
        };
        let response = response.lock().unwrap_or_else(PoisonError::into_inner);
        read.and_then(|()| response.check())
            .map_err(|failure| self.scrubbed(failure))
    }

    fn read_whole(&self, mut answer: HttpResponse<Body>) -> Result<Vec<u8>, Failure> {
        let body = answer.body_mut().with_config().limit(MAX_BODY);
        body.read_to_vec().map_err(|error| self.broken(&error))
    }

    fn read_events(
        &self,
        mut answer: HttpResponse<Body>,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut reader = answer.body_mut().with_config().limit(MAX_BODY).reader();
        let mut events = Events::default();
        let mut buffer = [0; 8192];
        loop {
            let length = reader
                .read(&mut buffer)
                .map_err(|error| Failure::broken(format!("the response was cut: {error}")))?;
            let goes_on = events.push::<Failure>(&buffer[..length], |data| {
                if data == b"[DONE]" {
                    return Ok(false);
                }
                take(data).map(|()| true)
            })?;
            if length == 0 || !goes_on {
                return Ok(());
            }
        }
    }

    fn succeeded(&self, mut answer: HttpResponse<Body>) -> Result<HttpResponse<Body>, Failure> {
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let header = answer.headers().get("retry-after");
        let retry_after = header
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut body = Vec::new();
        // A partial body suffices.
        let _ = answer
            .body_mut()
            .as_reader()
            .take(MAX_ERROR)
            .read_to_end(&mut body);
        let failure = Failure::of_status(status, retry_after.as_deref(), &body);
        Err(self.scrubbed(failure))
    }

    fn broken(&self, error: &HttpError) -> Failure {
        let message = match error {
            HttpError::Io(error) => error.to_string(),
            other => other.to_string(),
        };
        self.scrubbed(Failure::broken(message))
    }

    /// Removes the key, which servers often repeat, from a failure.
    fn scrubbed(&self, mut failure: Failure) -> Failure {
        if let Some(Key(key)) = &self.key {
            failure.message = failure.message.replace(key.as_str(), "…");
        }
        failure
    }
}

impl From<&'static str> for Failure {
    fn from(message: &'static str) -> Self {
        Failure::broken(message)
    }
}
