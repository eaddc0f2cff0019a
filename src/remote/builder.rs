//! Settings of a generator, checked, and the servers asked what they are.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use serde_json::{Map, Value};

use super::failure::{Failure, Kind};
use super::generator::{OpenAi, Setup, Target, at};
use super::http::{Client, Key, Trust};
use super::plan::Plan;
use super::prompt::Prompt;
use super::retry::{Retries, Timeouts};
use super::server::{self, Server};
use crate::{Error, ErrorKind, Result, Sampling};

/// The most requests at a time over all endpoints: each has a thread.
const MAX_IN_FLIGHT: usize = 1024;
/// The most requests at a time of an endpoint that was given no bound.
const BOUND: usize = 256;

/// Settings of an [`OpenAi`].
#[must_use]
#[derive(Debug, Clone)]
pub struct OpenAiBuilder {
    endpoints: Vec<(String, Option<usize>)>,
    model: Option<String>,
    key: Option<Key>,
    ca_file: Option<PathBuf>,
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
    /// Adds an endpoint by its base URL, such as `http://localhost:8000/v1`. At least one is needed; all
    /// serve the same model. It has up to 256 requests at a time.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push((url.into(), None));
        self
    }

    /// Adds an endpoint that has up to so many requests at a time. The bounds of all endpoints make 1,024
    /// at most.
    pub fn endpoint_with(mut self, url: impl Into<String>, max_in_flight: usize) -> Self {
        self.endpoints.push((url.into(), Some(max_in_flight)));
        self
    }

    /// The model's name as the servers list it. By default the only one that they serve.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// The key that the servers ask for. It is sent to every endpoint, and shown nowhere.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(Key(key.into()));
        self
    }

    /// The key in the environment variable `OPENAI_API_KEY`, if it is set.
    pub fn api_key_from_env(mut self) -> Self {
        let key = std::env::var("OPENAI_API_KEY")
            .ok()
            .filter(|key| !key.is_empty());
        self.key = key.map(Key).or(self.key);
        self
    }

    /// A file of certificates (PEM) that servers reached by `https` are trusted by, in place of Mozilla's list: that
    /// of the authority that issued theirs, as many a cluster has one of its own, or a self-signed one.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// How a question is put to the servers. Required.
    pub fn prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// How tokens are drawn. By default from the model's own distribution, whatever defaults the servers
    /// or the model's files have. Other than temperature and top-p it takes a server that is known to be
    /// vLLM, SGLang or llama.cpp by what it says of its model.
    ///
    /// The order is the crate's own with SGLang and llama.cpp; vLLM applies min-p before top-k and top-p.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// The most tokens of a completion. By default 1,024. Prompts that leave fewer of the context are refused by
    /// some servers, llama.cpp and earlier versions of vLLM among them; others (vLLM 0.32) cut their responses at its
    /// end, of which there is a warning ([`EndpointStatistics::cut_short`](super::EndpointStatistics::cut_short)).
    pub fn max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Strings that stop a completion; servers cut its text before them. Some take four at most.
    pub fn stop(mut self, strings: Vec<String>) -> Self {
        self.stop = strings;
        self
    }

    /// A further field of every request, as it is, such as `chat_template_kwargs`. It takes the place of
    /// a field of the same name that depends on the kind of server (`top_k`).
    pub fn extra(mut self, name: impl Into<String>, value: Value) -> Self {
        self.extra.insert(name.into(), value);
        self
    }

    /// Whether servers are asked for log-probabilities. They are recorded where the server is one whose
    /// documentation says that they are of the model's own distribution, before temperature and cuts (vLLM
    /// in its default `--logprobs-mode`, llama.cpp), and gives one for every token that it counts; those of
    /// other servers are not asked for (SGLang's come after the temperature), and trials have none. Off by
    /// default, for they cost servers time.
    pub fn logprobs(mut self, logprobs: bool) -> Self {
        self.logprobs = logprobs;
        self
    }

    /// Whether responses are streamed. On by default: what is no longer wanted is then kept as far as it
    /// came, tokens are measured as they arrive, and a server that has stopped is noticed. Either way the
    /// connection of what is no longer wanted is closed, at which vLLM, SGLang and llama.cpp stop sampling.
    pub fn stream(mut self, stream: bool) -> Self {
        self.stream = stream;
        self
    }

    /// How long servers may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How what failed is tried again.
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Checks the settings and asks every endpoint what it serves. One that does not answer is asked again
    /// later, if another does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for a setting that makes no sense, and for endpoints that serve different
    /// models; [`ErrorKind::Io`] for a file of certificates that cannot be read; [`ErrorKind::Server`] where no
    /// endpoint answers, or one refuses.
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
        plan.model = ask_all(&client, &plan, self.model, &targets)?;
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
    // Those without a bound share what the others leave.
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
        // A password would end up in messages.
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

/// The model that all endpoints serve. Each that answers is known from here on.
fn ask_all(
    client: &Client,
    plan: &Plan,
    model: Option<String>,
    targets: &[Target],
) -> Result<String> {
    let answers: Vec<Result<(Server, String), Failure>> = thread::scope(|scope| {
        let asked = targets.iter().map(|target| {
            let model = model.as_deref();
            scope.spawn(move || server::ask(client, &client.asking(), &target.url, model))
        });
        let asked: Vec<_> = asked.collect();
        let gone = || Err(Failure::broken("the thread that asked it failed"));
        let joined = asked.into_iter().map(|thread| thread.join());
        joined
            .map(|answer| answer.unwrap_or_else(|_| gone()))
            .collect()
    });
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
