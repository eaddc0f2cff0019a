//! The engine: a model, its settings, and completions for runs or lists of requests.
//!
//! Depends on the model and its templates; the scheduler does the work.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::ThreadPool;
use rayon::prelude::*;

use super::backend::Backend;
use super::cpu::Level;
use super::kernel_settings::KernelSettings;
use super::list::{List, OnEvent};
use super::reasoning::is_opened_by;
use super::scheduler::{Capacity, Log, Scheduler, Texts};
use super::trial::Rules;
use super::{CompletionRequest, EngineBuilder, Event, Sampling, Statistics, StepTimes};
use crate::model::{Model, Prompt, Template};
use crate::{
    Completion, Error, ErrorKind, Generator, Problem, Rejection, Request, Result, Settings, Source,
};

/// How log-probabilities are computed. Part of the recorded settings, because their last digits
/// depend on it.
const LOGPROB: &str = "integer normaliser";

/// Samples completions from a model in this process.
///
/// As a [`Generator`], it serves a run. [`generate`](Engine::generate) completes a list of prompts,
/// and [`complete`](Engine::complete) completes a list of requests with their own settings and
/// reports every token. The same seed gives the same completion, whatever else is being sampled.
/// With the crate's own CPU kernels it is bit-identical for any number of threads; otherwise it is
/// equal up to the rounding of floating-point sums.
///
/// ```
/// use dart_math::engine::{Engine, Sampling};
/// use dart_math::model::Model;
///
/// # fn main() -> dart_math::Result<()> {
/// let engine = Engine::builder(Model::built_in()?)
///     .sampling(Sampling { temperature: 0.7, ..Sampling::default() })
///     .max_new_tokens(64)
///     .build()?;
/// let prompt = engine.prompt("Tom has 3 apples and buys 4 more. How many has he now?")?;
/// for completion in engine.generate(&[prompt.clone(), prompt], 1)? {
///     println!("{} ({:?})", completion.text, completion.finish);
/// }
/// # Ok(())
/// # }
/// ```
pub struct Engine {
    pub(super) model: Model,
    pub(super) template: Template,
    /// Whether the user chose the template.
    pub(super) is_template_given: bool,
    /// Whether the warning about completions cut by the context was logged.
    pub(super) is_cut_reported: AtomicBool,
    pub(super) sampling: Sampling,
    pub(super) rules: Rules,
    pub(super) capacity: Capacity,
    pub(super) ignore_eos: bool,
    pub(super) deterministic: bool,
    pub(super) kernels: KernelSettings,
    pub(super) pool: ThreadPool,
    pub(super) backend: Mutex<Box<dyn Backend>>,
    pub(super) weight_bytes: usize,
    /// Whether candle operations multiply quantized weights.
    pub(super) is_candle: bool,
    pub(super) statistics: Mutex<Statistics>,
    pub(super) steps: Option<Mutex<Vec<StepTimes>>>,
}

impl Engine {
    /// Returns a builder for an engine with default settings.
    pub fn builder(model: Model) -> EngineBuilder {
        EngineBuilder::new(model)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The template that turns questions into prompts.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Counters of the engine's work since it was built. May be read during a run.
    pub fn statistics(&self) -> Statistics {
        *self
            .statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The times of all decoding steps since the engine was built, in order. Empty without
    /// [`record_steps`](EngineBuilder::record_steps).
    pub fn step_times(&self) -> Vec<StepTimes> {
        let copy = |steps: &Mutex<Vec<StepTimes>>| {
            let steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.clone()
        };
        self.steps.as_ref().map(copy).unwrap_or_default()
    }

    /// Bytes that the weights take in the engine's layout.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    /// The number of compute threads.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Turns a question into a prompt with the engine's template.
    ///
    /// # Errors
    ///
    /// Fails if the template cannot be rendered or its text cannot be tokenized.
    pub fn prompt(&self, question: &str) -> Result<Prompt> {
        self.model.prompt(&self.template, question)
    }

    /// Returns one completion for each prompt, in the order of the prompts.
    ///
    /// A prompt may occur several times. It is prefilled once, and each of its completions draws
    /// its own random numbers. They depend on the seed, on the prompt's text and on how often it
    /// occurred earlier in the list, so that adding or removing other prompts does not change them.
    ///
    /// # Errors
    ///
    /// An empty prompt, a prompt for which [`kv_bytes`](EngineBuilder::kv_bytes) does not allow a
    /// single sample, logits that are not finite, or a failure of the device. A prompt that fills
    /// the model's context is not an error: its completion is empty and ends with
    /// [`Finish::Length`](crate::Finish::Length).
    pub fn generate(&self, prompts: &[Prompt], seed: u64) -> Result<Vec<Completion>> {
        let mut completions = vec![None; prompts.len()];
        let mut take = |event: Event<'_>| {
            if let Event::Completed {
                request,
                completion,
            } = event
            {
                completions[request] = Some(completion);
            }
            ControlFlow::Continue(())
        };
        self.complete_list(&CompletionRequest::list(prompts, seed), &mut take, false)?;
        // A run without error delivers every request.
        Ok(completions.into_iter().flatten().collect())
    }

    /// Completes a list of requests, each with its own seed, limit and sampling settings.
    ///
    /// Tokens and whole completions are reported to `on_event` as soon as they are available. After
    /// [`ControlFlow::Break`], no request is started and no event is reported. Calling this engine
    /// from `on_event` is an error.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use dart_math::engine::{CompletionRequest, Engine, Event, Sampling};
    /// use dart_math::model::Model;
    ///
    /// # fn main() -> dart_math::Result<()> {
    /// let engine = Engine::builder(Model::built_in()?).build()?;
    /// let prompt = engine.prompt("Tom has 3 apples and buys 4 more. How many has he now?")?;
    /// let greedy = CompletionRequest {
    ///     sampling: Some(Sampling::greedy()),
    ///     max_new_tokens: Some(64),
    ///     ..CompletionRequest::new(prompt.clone(), 0)
    /// };
    /// engine.complete(&[greedy, CompletionRequest::new(prompt, 1)], |event| {
    ///     match event {
    ///         Event::Token { request, text, .. } => print!("[{request}]{text}"),
    ///         Event::Completed { completion, .. } => println!(" {:?}", completion.finish),
    ///         _ => {}
    ///     }
    ///     ControlFlow::Continue(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`generate`](Engine::generate), and [`ErrorKind::Settings`] if a request has a limit
    /// of 0 or sampling settings out of range. Events reported before an error are valid.
    pub fn complete(
        &self,
        requests: &[CompletionRequest],
        mut on_event: impl FnMut(Event<'_>) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        self.complete_list(requests, &mut on_event, true)
    }

    /// Completes a list. `stream` says whether to report single tokens.
    fn complete_list(
        &self,
        requests: &[CompletionRequest],
        on_event: OnEvent<'_>,
        stream: bool,
    ) -> Result<()> {
        let list = List::new(requests, on_event)?;
        self.serve(&list, &list, stream)
    }

    /// Completes the requests of a list that `source` hands out.
    pub(super) fn serve(&self, list: &List<'_>, source: &dyn Source, stream: bool) -> Result<()> {
        let of = |request: &Request| list.request(request.trial);
        let on_token = |trial, token, logprob, text: &str| list.token(trial, token, logprob, text);
        let texts = Texts {
            prompt: &|request| Ok(of(request).prompt.tokens.clone()),
            limit: &|request| of(request).max_new_tokens.unwrap_or(usize::MAX),
            sampling: &|request| of(request).sampling.unwrap_or(self.sampling),
            detokenizer: &|| self.model.tokenizer().stream(),
            begins_reasoning: &|prompt| is_opened_by(self.model.tokenizer(), prompt),
            on_token: stream.then_some(&on_token),
        };
        self.execute(source, texts)
    }

    /// The number of tokens of a question's prompt, if it can be completed.
    fn count_tokens(&self, question: &str) -> Result<usize> {
        let tokens = self.prompt(question)?.tokens;
        let vocab = self.model.config().vocab_size;
        let foreign = tokens.iter().find(|&&token| token as usize >= vocab);
        let reason = match (tokens.len(), foreign) {
            (0, _) => "its prompt has no tokens".to_owned(),
            (_, Some(token)) => {
                format!("token {token} of its prompt is outside the vocabulary of {vocab}")
            }
            (length, None) if length >= self.rules.context_length => format!(
                "its prompt of {length} tokens fills the model's context of {}",
                self.rules.context_length
            ),
            (length, None) => return Ok(length),
        };
        Err(Error::new(ErrorKind::Data, reason))
    }

    /// Warns once if prompts of these lengths leave fewer than the explicitly set `max_new_tokens`
    /// of the context.
    fn warn_of_cut(&self, prompts: &[Result<usize>]) {
        let rules = &self.rules;
        let lengths = || prompts.iter().filter_map(|length| length.as_ref().ok());
        let wanted = rules.max_new_tokens;
        let is_cut = |length: &&usize| *length + wanted > rules.context_length;
        let (cut, longest) = (lengths().filter(is_cut).count(), lengths().max());
        let Some(longest) = longest.filter(|_| cut > 0 && rules.is_length_given) else {
            return;
        };
        if !self.is_cut_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{cut} of {} prompts leave less than max_new_tokens ({wanted}) of the model's context of {} \
                 tokens, where completions are cut: the longest has {longest}",
                prompts.len(),
                rules.context_length
            );
        }
    }

    /// Runs the scheduler over a source on the engine's threads.
    fn execute(&self, source: &dyn Source, texts: Texts<'_>) -> Result<()> {
        self.with_backend(|backend| {
            let log = Log {
                statistics: &self.statistics,
                steps: self.steps.as_ref(),
            };
            Scheduler::new(backend, &self.rules, texts, self.capacity, source, log).run()
        })?;
        tracing::debug!(statistics = ?self.statistics(), "run finished");
        Ok(())
    }

    /// Runs `work` with the backend on the engine's threads, after its current user has finished.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if called from work of this engine, which would deadlock.
    pub(super) fn with_backend<R: Send>(
        &self,
        work: impl FnOnce(&mut dyn Backend) -> Result<R> + Send,
    ) -> Result<R> {
        if self.pool.current_thread_index().is_some() {
            return Err(Error::new(
                ErrorKind::Settings,
                "an engine cannot be asked for more from within its own run: it does one at a time",
            ));
        }
        let run = || {
            let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
            let backend: &mut dyn Backend = &mut **backend;
            self.pool.install(move || work(backend))
        };
        if rayon::current_thread_index().is_none() {
            return run();
        }
        // While a thread of another rayon pool waits, it runs other work, which may call this
        // engine and wait for the lock that the same thread holds. So a thread outside any pool
        // waits in its place.
        std::thread::scope(|scope| {
            let done = scope.spawn(run).join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// An engine executes one run at a time; other threads wait for it. Starting a run from the
/// source's own methods would deadlock and is an error.
impl Generator for Engine {
    fn run(&self, source: &dyn Source) -> Result<()> {
        let texts = Texts {
            prompt: &|request| Ok(self.prompt(&request.problem.question)?.tokens),
            limit: &|_| usize::MAX,
            sampling: &|_| self.sampling,
            detokenizer: &|| self.model.tokenizer().stream(),
            begins_reasoning: &|prompt| is_opened_by(self.model.tokenizer(), prompt),
            on_token: None,
        };
        self.execute(source, texts)
    }

    /// Tokenizes all prompts, on the engine's threads.
    fn check(&self, problems: &[Arc<Problem>]) -> Result<Vec<Rejection>> {
        let count = |problem: &Arc<Problem>| self.count_tokens(&problem.question);
        let lengths: Vec<Result<usize>> = self
            .pool
            .install(|| problems.par_iter().map(count).collect());
        self.warn_of_cut(&lengths);
        let mut rejected = Vec::new();
        self.with_backend(|backend| {
            for (index, (problem, length)) in problems.iter().zip(lengths).enumerate() {
                let named = |error: Error| error.context(format_args!("problem {:?}", problem.id));
                match length {
                    Ok(length) => {
                        let new = self.rules.limit(length, usize::MAX).saturating_sub(1);
                        self.capacity.check(backend, length, new).map_err(named)?;
                    }
                    Err(error) if error.kind() == ErrorKind::Settings => return Err(named(error)),
                    Err(error) => rejected.push(Rejection {
                        problem: index,
                        reason: error.detail().to_owned(),
                    }),
                }
            }
            Ok(())
        })?;
        Ok(rejected)
    }

    fn is_greedy(&self) -> bool {
        self.sampling.is_greedy() || self.sampling.top_k == Some(1)
    }

    /// The settings that completions depend on. They do not depend on threads, on slots (unless
    /// `deterministic` on CUDA), or on the backend (unless it quantizes activations).
    fn settings(&self) -> Settings {
        let mut settings = self.model.settings();
        settings.insert("template".into(), self.template.name().into());
        let text = self.template.fingerprint(self.model.chat_template());
        settings.insert("template_text".into(), text.into());
        settings.insert("system_prompt".into(), self.template.system_prompt().into());
        if let Some(arguments) = self.template.arguments() {
            settings.insert("template_arguments".into(), arguments.clone().into());
        }
        settings.append(&mut self.sampling.settings());
        settings.insert("logprob".into(), LOGPROB.into());
        settings.insert("max_new_tokens".into(), self.rules.max_new_tokens.into());
        settings.insert("stop".into(), self.rules.stop_strings.strings().into());
        settings.insert("stop_tokens".into(), self.rules.stop_tokens.clone().into());
        settings.insert("ignore_eos".into(), self.ignore_eos.into());
        settings.insert("loop_detection".into(), self.rules.loop_detection.into());
        let on_cuda = self.model.cuda().is_some();
        let dtype = self.model.dtype().as_str();
        let kv_type = match on_cuda {
            true => dtype.to_owned(),
            false => self.kernels.kv_type.to_string(),
        };
        settings.insert("kv_type".into(), kv_type.into());
        let activation_type = match self.is_candle && self.model.is_quantized() {
            _ if on_cuda => dtype.to_owned(),
            // As candle operations quantize them.
            true => "candle".to_owned(),
            false => self.kernels.activation_type.to_string(),
        };
        settings.insert("activation_type".into(), activation_type.into());
        if self.deterministic && on_cuda {
            // The number of rows in a step decides which kernels run, and so how they round.
            settings.insert("deterministic_slots".into(), self.capacity.slots.into());
        }
        // All instruction sets with fused multiply-add give the same tokens.
        let fused = on_cuda || Level::of(self.kernels.instructions).is_some_and(Level::fuses);
        settings.insert("fused_multiply_add".into(), fused.into());
        settings
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.model.name())
            .field("sampling", &self.sampling)
            .field("slots", &self.capacity.slots)
            .finish_non_exhaustive()
    }
}
