//! Checks the engine's settings and builds the engine.
//!
//! Depends on the model and on the engine's parts, but not on runs.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use rayon::ThreadPoolBuilder;

use super::choice::{BackendChoice, BackendSettings, backend_for};
use super::kernel_settings::{ActivationType, Instructions, KernelSettings, KvType};
use super::reasoning::ReasoningTags;
use super::scheduler::Capacity;
use super::stop::StopStrings;
use super::trial::Rules;
use super::{Engine, Sampling, Statistics};
use crate::model::{Architecture, Model, Template};
use crate::{Error, ErrorKind, Result};

/// A larger number of threads is taken for a typo.
const MAX_THREADS: usize = 1024;
/// The default limit of a completion, in tokens.
const MAX_NEW_TOKENS: usize = 1024;

/// Settings of an [`Engine`].
#[must_use]
pub struct EngineBuilder {
    model: Model,
    sampling: Sampling,
    template: Option<Template>,
    slots: Option<usize>,
    prefix_cache: usize,
    kv_bytes: Option<usize>,
    kernels: KernelSettings,
    threads: Option<usize>,
    max_new_tokens: Option<usize>,
    ignore_eos: bool,
    stop: Vec<String>,
    loop_detection: bool,
    backend: BackendChoice,
    record_steps: bool,
    deterministic: bool,
}

impl EngineBuilder {
    pub(super) fn new(model: Model) -> Self {
        EngineBuilder {
            model,
            sampling: Sampling::default(),
            template: None,
            slots: None,
            prefix_cache: 16,
            kv_bytes: None,
            kernels: KernelSettings::default(),
            threads: None,
            max_new_tokens: None,
            ignore_eos: false,
            stop: Vec::new(),
            loop_detection: true,
            backend: BackendChoice::default(),
            record_steps: false,
            deterministic: false,
        }
    }

    /// Sets how tokens are sampled. Default: from the model's own distribution.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets the template that turns a problem's question into a prompt. Its markers stop a
    /// completion. Default: [`Template::default_for`] the model.
    pub fn template(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// Sets the number of sequences that run concurrently. Default: 32 on a CPU, 256 with the
    /// crate's own CUDA backend, 64 on other devices, and 4 with candle-transformers.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Sets the size of the prefix cache: the number of prompts whose KV cache stays in memory
    /// while none of their trials is being sampled. The least recently used prompts are evicted
    /// first. Default: 16.
    pub fn prefix_cache(mut self, prompts: usize) -> Self {
        self.prefix_cache = prompts;
        self
    }

    /// Limits the KV cache, including that of prompts, to `limit` bytes. Default: the device's
    /// memory is the only limit.
    ///
    /// When the cache is full, the samples that started last are preempted. They resume later by
    /// recomputing their tokens, and continue with the same tokens (bit for bit on a CPU). A sample
    /// starts when a sample of average length fits. The run fails if a single sample of the largest
    /// allowed length might not fit next to its prompt. (While the candle backend grows the cache,
    /// one layer's cache exists twice.)
    pub fn kv_bytes(mut self, limit: usize) -> Self {
        self.kv_bytes = Some(limit);
        self
    }

    /// Sets the type of the KV cache. Default: f32. Any other type requires the crate's own CPU
    /// kernels. Sampled tokens depend on this setting.
    pub fn kv_type(mut self, kv_type: KvType) -> Self {
        self.kernels.kv_type = kv_type;
        self
    }

    /// Sets the type of the activations that the crate's own CPU kernels multiply with quantized
    /// weights. Default: f32. Any other type requires these kernels and quantized weights. Sampled
    /// tokens depend on this setting.
    pub fn activation_type(mut self, activation_type: ActivationType) -> Self {
        self.kernels.activation_type = activation_type;
        self
    }

    /// Sets the vector instructions that the crate's own CPU kernels use. Default: the widest that
    /// the processor has.
    pub fn instructions(mut self, instructions: Instructions) -> Self {
        self.kernels.instructions = instructions;
        self
    }

    /// Sets the number of compute threads. Default: the machine's available parallelism.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Sets the largest number of tokens of a completion. A completion ends with
    /// [`Finish::Length`](crate::Finish::Length) at this limit or when the model's context is full.
    /// Default: 1,024.
    pub fn max_new_tokens(mut self, max_new_tokens: usize) -> Self {
        self.max_new_tokens = Some(max_new_tokens);
        self
    }

    /// Treats stop tokens like other tokens, so that completions reach their full length (for
    /// benchmarks).
    pub fn ignore_eos(mut self, ignore_eos: bool) -> Self {
        self.ignore_eos = ignore_eos;
        self
    }

    /// Adds strings that stop a completion to those of the template. The completion's text ends
    /// before the stop string. The text of a special token stands for that token, which then ends a
    /// response like the model's own stop tokens.
    pub fn stop(mut self, strings: Vec<String>) -> Self {
        self.stop = strings;
        self
    }

    /// Sets whether a completion that repeats itself endlessly ends with
    /// [`Finish::Loop`](crate::Finish::Loop). A loop is a block of at most 128 tokens that occurs
    /// at least six times in a row, over at least 128 tokens in all. Default: on.
    pub fn loop_detection(mut self, loop_detection: bool) -> Self {
        self.loop_detection = loop_detection;
        self
    }

    /// Sets whether the logits of a sequence must be bit-identical in every batch. With the crate's
    /// own CPU kernels they always are. On a CUDA device, every step is then padded to as many rows
    /// as there are slots, and every prefill to its full size, so that the same kernels compute
    /// them. This costs time when some slots are idle, and sampled tokens then depend on the number
    /// of slots. Default: off.
    pub fn deterministic(mut self, deterministic: bool) -> Self {
        self.deterministic = deterministic;
        self
    }

    /// Sets the backend that computes the logits.
    pub fn backend(mut self, backend: BackendChoice) -> Self {
        self.backend = backend;
        self
    }

    /// Records the times of every decoding step for [`Engine::step_times`]: about 100 bytes a step,
    /// for the lifetime of the engine. Default: off.
    pub fn record_steps(mut self, record_steps: bool) -> Self {
        self.record_steps = record_steps;
        self
    }

    /// Validates the settings, starts the threads and lays out the weights.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] if a setting is out of range or not supported by the device or
    /// processor; otherwise the device's error.
    pub fn build(self) -> Result<Engine> {
        self.sampling.validate()?;
        let positive = |name: &str, value: usize| match value {
            0 => Err(Error::new(
                ErrorKind::Settings,
                format!("{name} is 0, but must be at least 1"),
            )),
            value => Ok(value),
        };
        let mut model = self.model;
        let default_slots = match (model.cuda(), model.device().is_cpu()) {
            // Each sequence is computed separately, so that more of them only take memory.
            _ if matches!(model.config().architecture, Architecture::Transformers(_)) => 4,
            (Some(_), _) => 256,
            (None, true) => 32,
            (None, false) => 64,
        };
        let slots = positive("slots", self.slots.unwrap_or(default_slots))?;
        let threads = match self.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let threads = positive("threads", threads)?;
        if threads > MAX_THREADS {
            return Err(Error::new(
                ErrorKind::Settings,
                format!("threads is {threads}, but must be at most {MAX_THREADS}"),
            ));
        }
        let max_new_tokens = self.max_new_tokens.unwrap_or(MAX_NEW_TOKENS);
        let max_new_tokens = positive("max_new_tokens", max_new_tokens)?;
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::new(
                ErrorKind::Settings,
                "a stop string is empty, and would stop everything before it begins",
            ));
        }
        let is_template_given = self.template.is_some();
        let template = match self.template {
            Some(template) => template,
            None => Template::default_for(&model),
        };
        template.check(model.chat_template())?;
        // On other devices the error is not about the weights; the backend reports it.
        let of_cpu = model.cuda().is_none() && model.device().is_cpu();
        let rounds = self.kernels.activation_type != ActivationType::F32;
        if of_cpu && rounds && !model.is_quantized() {
            return Err(Error::new(
                ErrorKind::Settings,
                format!(
                    "activations of type {} are for quantized weights, and these are not",
                    self.kernels.activation_type
                ),
            ));
        }
        let mut stop_tokens = match self.ignore_eos {
            true => Vec::new(),
            false => model.stop_tokens().to_vec(),
        };
        let mut stop_strings = template.stop_strings();
        for stop in self.stop {
            match special_token(&model, &stop)? {
                Some(token) => stop_tokens.push(token),
                None => stop_strings.push(stop),
            }
        }
        stop_tokens.sort_unstable();
        stop_tokens.dedup();
        let rules = Rules {
            stop_tokens,
            stop_strings: StopStrings::new(stop_strings),
            max_new_tokens,
            is_length_given: self.max_new_tokens.is_some(),
            context_length: model.config().context_length,
            loop_detection: self.loop_detection,
            reasoning: ReasoningTags::new(model.tokenizer()),
        };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("dart-engine-{index}"))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Device, "the engine's threads did not start")
                    .with_source(error)
            })?;
        let computed = model.take_computed();
        let capacity = Capacity {
            slots,
            prefix_cache: self.prefix_cache,
            kv_bytes: self.kv_bytes,
        };
        let settings = BackendSettings {
            config: model.config(),
            device: model.device(),
            cuda: model.cuda(),
            dtype: model.dtype(),
            choice: self.backend,
            kernels: self.kernels,
            threads,
            max_new_tokens,
            capacity,
            deterministic: self.deterministic,
        };
        let backend = pool.install(|| backend_for(&settings, computed))?;
        // A prompt of one token, and the completion's first token, which is drawn without feeding
        // one.
        capacity.check(&*backend, 1, 0)?;
        Ok(Engine {
            weight_bytes: backend.weight_bytes(),
            is_candle: self.backend == BackendChoice::Candle || !model.device().is_cpu(),
            template,
            is_template_given,
            is_cut_reported: AtomicBool::new(false),
            sampling: self.sampling,
            rules,
            capacity,
            ignore_eos: self.ignore_eos,
            deterministic: self.deterministic,
            kernels: self.kernels,
            pool,
            backend: Mutex::new(backend),
            statistics: Mutex::new(Statistics {
                slots,
                ..Statistics::default()
            }),
            steps: self.record_steps.then(Mutex::default),
            model,
        })
    }
}

/// Returns the special token that a stop string spells. A special token has no text, so no text
/// would ever end with it.
fn special_token(model: &Model, stop: &str) -> Result<Option<u32>> {
    let specials = model.tokenizer().specials();
    let spelled = specials.iter().find(|(text, _)| stop.contains(text));
    match spelled {
        None => Ok(None),
        Some((text, id)) if text == stop.trim() => Ok(Some(*id)),
        Some((text, _)) => Err(Error::new(
            ErrorKind::Settings,
            format!(
                "stop string `{}`: the special token `{}` in it stands for no text; give the token \
                 by itself",
                stop.escape_debug(),
                text.escape_debug()
            ),
        )),
    }
}
