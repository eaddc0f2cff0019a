//! The builder of a generator: checks the settings and queries the servers.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::failure::{Failure, Kind};
use super::generator::{OpenAi, Setup, Target, at};
use super::http::{Client, Key, Trust};
use super::plan::Plan;
use super::prompt::Prompt;
use super::retry::{Retries, Timeouts};
use super::server::{self, Server};
use crate::{Error, ErrorKind, Result, Sampling};

/// The maximum number of concurrent requests over all endpoints. Each has a thread.
const MAX_IN_FLIGHT: usize = 1024;
/// The default maximum number of concurrent requests of an endpoint.
const BOUND: usize = 256;
/// The time between two queries of endpoints that do not answer yet.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A builder for an [`OpenAi`] generator.
#[must_use]
#[derive(Debug, Clone)]
pub struct OpenAiBuilder {
    endpoints: Vec<(String, Option<usize>)>,
    model: Option<String>,
    key: Option<Key>,
    ca_file: Option<PathBuf>,
    wait: Duration,
    prompt: Option<Prompt>,
    sampling: Sampling,
    max_tokens: u32,
    stop: Vec<String>,
    extra: Map<String, Value>,
    logprobs: bool,
    stream: bool,
    timeouts: Timeouts,
    retries: Retries,
}

impl Default for OpenAiBuilder {
    fn default() -> Self {
        OpenAiBuilder {
            endpoints: Vec::new(),
            model: None,
            key: None,
            ca_file: None,
            wait: Duration::ZERO,
            prompt: None,
            sampling: Sampling::default(),
            max_tokens: 1024,
            stop: Vec::new(),
            extra: Map::new(),
            logprobs: false,
            stream: true,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
        }
    }
}

impl OpenAiBuilder {
    /// Adds an endpoint by its base URL, such as `http://localhost:8000/v1`. At least one is required, and
    /// all must serve the same model. It gets up to 256 concurrent requests.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push((url.into(), None));
        self
    }

    /// Adds an endpoint with up to `max_in_flight` concurrent requests. The sum over all endpoints may be at
    /// most 1,024.
    pub fn endpoint_with(mut self, url: impl Into<String>, max_in_flight: usize) -> Self {
        self.endpoints.push((url.into(), Some(max_in_flight)));
        self
    }

    /// Sets the model's name as listed by the servers. The default is the only model that they serve.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Sets the API key. It is sent to every endpoint and never displayed.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Key(key.into()));
        self
    }

    /// Sets the API key from the environment variable `OPENAI_API_KEY`, if it is set.
    pub fn api_key_from_env(mut self) -> Self {
        let key = std::env::var("OPENAI_API_KEY")
            .ok()
            .filter(|key| !key.is_empty());
        self.key = key.map(Key).or(self.key);
        self
    }

    /// Sets a file of certificates (PEM) to trust for `https` instead of Mozilla's list. It contains the
    /// certificate of the issuing authority, such as a cluster's own, or a self-signed one.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Sets how long [`connect`](Self::connect) waits until an endpoint answers, for servers that are still
    /// loading their model. The default is zero: an endpoint must answer at once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets how questions are posed to the servers. Required.
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// Sets how tokens are sampled. The default is the model's own distribution, whatever the defaults of the
    /// servers or of the model's files. Settings other than temperature and top-p require a server that
    /// identifies itself as vLLM, SGLang or llama.cpp in its list of models.
    ///
    /// SGLang and llama.cpp apply the steps in the crate's order. vLLM applies min-p before top-k and top-p.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets the maximum number of tokens of a completion. The default is 1,024. Some servers, including llama.cpp
    /// and earlier versions of vLLM, refuse prompts that leave fewer tokens of the context. Others (vLLM 0.32) cut
    /// the response at the end of the context, which is warned of and counted
    /// ([`EndpointStatistics::cut_short`](super::EndpointStatistics::cut_short)).
    pub fn max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Sets the strings that stop a completion. Servers cut the text before them. Some servers accept at most
    /// four.
    pub fn stop(mut self, strings: Vec<String>) -> Self {
        self.stop = strings;
        self
    }

    /// Adds a field to every request, unchanged, such as `chat_template_kwargs`. It replaces a field of the
    /// same name that depends on the kind of server (`top_k`).
    pub fn extra(mut self, name: impl Into<String>, value: Value) -> Self {
        self.extra.insert(name.into(), value);
        self
    }

    /// Sets whether to request log-probabilities. Off by default, because they cost servers time. They are
    /// recorded only if the server documents them as those of the model's own distribution, before
    /// temperature and truncation (vLLM in its default `--logprobs-mode`, llama.cpp), and returns one for
    /// every token that it counts. Other servers are not asked for them (SGLang's are after the temperature),
    /// and their trials have none.
    pub fn logprobs(mut self, logprobs: bool) -> Self {
        self.logprobs = logprobs;
        self
    }

    /// Sets whether responses are streamed. On by default. With streaming, the partial text of an unwanted
    /// response is kept, tokens are measured as they arrive, and a stalled server is noticed. In both modes
    /// the connection of an unwanted response is closed, upon which vLLM, SGLang and llama.cpp stop sampling.
    pub fn stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// Sets the timeouts of requests.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets how failed requests are retried.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Validates the settings and queries every endpoint. An endpoint that does not answer is queried again
    /// later, if another one answers.
    ///
    /// # Errors
    ///
    /// Returns [`ErrorKind::Settings`] for an invalid setting or if endpoints serve different models,
    /// [`ErrorKind::Io`] if the certificate file cannot be read, and [`ErrorKind::Server`] if no endpoint
    /// answers or one refuses.
    pub fn connect(self) -> Result<OpenAi> {
        let refused = |reason: String| Error::new(ErrorKind::Settings, reason);
        let prompt = self
            .prompt
            .ok_or_else(|| refused("a prompt is needed".into()))?;
        let mut plan = Plan {
            model: String::new(),
            prompt,
            sampling: self.sampling,
            max_tokens: self.max_tokens,
            stop: self.stop,
            extra: self.extra,
            logprobs: self.logprobs,
            stream: self.stream,
        };
        plan.validate()?;
        self.timeouts.validate()?;
        self.retries.validate()?;
        if let Some(Key(key)) = &self.key
            && (key.is_empty() || key.bytes().any(|byte| !(0x21..0x7f).contains(&byte)))
        {
            return Err(refused(
                "the API key is empty, or has characters that no key has".into(),
            ));
        }
        let targets = targets(self.endpoints)?;
        let trust = match &self.ca_file {
            None => Trust::default(),
            Some(path) => {
                let text = std::fs::read(path).map_err(|error| Error::io(path, error))?;
                let trust = Trust::from_pem(&text);
                trust.map_err(|reason| refused(format!("{}: {reason}", path.display())))?
            }
        };
        let client = Client::new(self.key, self.timeouts.connect, trust);
        let answers = wait_for_answers(&client, self.model.as_deref(), &targets, self.wait);
        plan.model = common_model(&plan, &targets, answers)?;
        Ok(OpenAi::new(Setup {
            plan,
            client,
            targets,
            timeouts: self.timeouts,
            retries: self.retries,
        }))
    }
}

fn targets(endpoints: Vec<(String, Option<usize>)>) -> Result<Vec<Target>> {
    let refused = |reason: String| Err(Error::new(ErrorKind::Settings, reason));
    if endpoints.is_empty() {
        return refused("an endpoint is needed, such as http://localhost:8000/v1".into());
    }
    // Endpoints without a bound share what the others leave.
    let given: usize = endpoints.iter().filter_map(|(_, bound)| *bound).sum();
    let open = endpoints
        .iter()
        .filter(|(_, bound)| bound.is_none())
        .count();
    let share = MAX_IN_FLIGHT.saturating_sub(given) / open.max(1);
    if given > MAX_IN_FLIGHT || (open > 0 && share == 0) {
        return refused(format!(
            "the endpoints may have more than {MAX_IN_FLIGHT} requests at a time"
        ));
    }
    let mut targets: Vec<Target> = Vec::new();
    for (url, bound) in endpoints {
        let url = url.trim_end_matches('/').to_owned();
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        // A password would appear in messages.
        let is_plain = |rest: &str| !rest.is_empty() && !rest.contains(['@', '?', '#', ' ']);
        if !rest.is_some_and(is_plain) {
            let shown = url.split_once('@').map_or(url.as_str(), |(_, host)| host);
            return refused(format!(
                "endpoint `{}`: expected a base URL such as http://localhost:8000/v1, without user or query",
                shown.escape_debug()
            ));
        }
        if bound == Some(0) {
            return refused(format!("endpoint {url}: it may have no request at a time"));
        }
        if targets.iter().any(|target| target.url == url) {
            return refused(format!("endpoint {url} is there twice"));
        }
        targets.push(Target {
            url,
            bound: bound.unwrap_or(share.min(BOUND)),
            server: OnceLock::new(),
        });
    }
    Ok(targets)
}

/// An endpoint's server and the name of its model.
type Answer = Result<(Server, String), Failure>;

/// Queries all endpoints, and again for up to `wait` while none of them answers.
fn wait_for_answers(
    client: &Client,
    model: Option<&str>,
    targets: &[Target],
    wait: Duration,
) -> Vec<Answer> {
    let begun = Instant::now();
    let mut is_first = true;
    loop {
        let answers = ask_all(client, model, targets);
        let is_away = |answer: &Answer| matches!(answer, Err(it) if it.kind != Kind::Refused);
        let left = wait.saturating_sub(begun.elapsed());
        if left.is_zero() || !answers.iter().all(is_away) {
            return answers;
        }
        if is_first {
            let seconds = wait.as_secs_f64();
            tracing::warn!(seconds, "no endpoint answers yet: waiting");
            is_first = false;
        }
        thread::sleep(ASK_AGAIN.min(left));
    }
}

/// Queries every endpoint once.
fn ask_all(client: &Client, model: Option<&str>, targets: &[Target]) -> Vec<Answer> {
    thread::scope(|scope| {
        let asked = targets.iter().map(|target| {
            scope.spawn(move || server::ask(client, &client.asking(), &target.url, model))
        });
        let asked: Vec<_> = asked.collect();
        let gone = || Err(Failure::broken("the thread that asked it failed"));
        let joined = asked.into_iter().map(|thread| thread.join());
        joined
            .map(|answer| answer.unwrap_or_else(|_| gone()))
            .collect()
    })
}

/// Returns the model that all endpoints serve, and records the server of each endpoint that answered.
fn common_model(plan: &Plan, targets: &[Target], answers: Vec<Answer>) -> Result<String> {
    let mut found: Option<(&str, String)> = None;
    let mut silent = Vec::new();
    for (target, answer) in targets.iter().zip(answers) {
        let (server, name) = match answer {
            Ok(answer) => answer,
            Err(failure) if failure.kind == Kind::Refused => return Err(at(&target.url, &failure)),
            Err(failure) => {
                tracing::warn!(
                    endpoint = target.url,
                    error = failure.message,
                    "an endpoint does not answer"
                );
                silent.push(format!("{}: {}", target.url, failure.message));
                continue;
            }
        };
        if let Some((other, its)) = found.as_ref().filter(|(_, its)| *its != name) {
            let reason = format!(
                "endpoints serve different models: {other} `{its}`, {} `{name}`",
                target.url
            );
            return Err(Error::new(ErrorKind::Settings, reason));
        }
        plan.suits(server.software).map_err(|reason| {
            Error::new(ErrorKind::Settings, format!("{}: {reason}", target.url))
        })?;
        if plan.logprobs && !plan.has_raw_logprobs(server.software) {
            let endpoint = &target.url;
            tracing::warn!(
                endpoint,
                "log-probabilities are not known to be the model's own: none are asked for"
            );
        }
        let _ = target.server.set(server);
        found.get_or_insert((&target.url, name));
    }
    match found {
        Some((_, name)) => Ok(name),
        None => {
            let reason = format!("no endpoint answers; {}", silent.join("; "));
            Err(Error::new(ErrorKind::Server, reason))
        }
    }
}
