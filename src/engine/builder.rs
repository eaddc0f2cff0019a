//! The engine's settings, checked and put together.
//!
//! Knows the model, and what an engine is made of; nothing of runs.

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

/// More threads than any machine runs at once are a typo.
const MAX_THREADS: usize = 1024;
/// The most tokens of a completion where nothing is said.
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

    /// How tokens are drawn. By default from the model's own distribution.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// The template that puts a problem's question into a prompt, and whose markers stop a
    /// completion. By default the one that [`Template::default_for`] the model is.
    pub fn template(mut self, template: Template) -> Self {
        self.template = Some(template);
        self
    }

    /// How many sequences run at a time. By default 32 on a CPU, 256 with the crate's own CUDA
    /// backend and 64 on other devices; 4 where candle-transformers computes.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// The size of the prefix cache: how many prompts are kept in memory with their KV cache while
    /// none of their trials is being sampled; beyond that, the least recently used are evicted. By
    /// default 16.
    pub fn prefix_cache(mut self, prompts: usize) -> Self {
        self.prefix_cache = prompts;
        self
    }

    /// The most bytes that the KV cache may take, that of prompts included. By default there is no
    /// limit but what the device holds.
    ///
    /// Where it runs out, the samples that were started last are preempted: they later go on where
    /// they were after their own tokens are recomputed, to the same tokens, bit for bit on a CPU. A
    /// sample is started when one of the length that samples have had on average fits. A prompt of
    /// which a single sample might not fit, should it become as long as it may, is an error of the
    /// run. (While plain operations grow the cache, one layer's is there twice.)
    pub fn kv_bytes(mut self, limit: usize) -> Self {
        self.kv_bytes = Some(limit);
        self
    }

    /// The type in which the KV cache is kept. By default f32. Another type needs the crate's own
    /// CPU kernels, and is one of the settings that tokens depend on.
    pub fn kv_type(mut self, kv_type: KvType) -> Self {
        self.kernels.kv_type = kv_type;
        self
    }

    /// The type of the numbers that the crate's own CPU kernels multiply quantized weights with. By
    /// default f32. Another type needs these kernels and quantized weights, and is one of the settings
    /// that tokens depend on.
    pub fn activation_type(mut self, activation_type: ActivationType) -> Self {
        self.kernels.activation_type = activation_type;
        self
    }

    /// The vector instructions that the crate's own CPU kernels compute with. By default the widest
    /// that the processor has.
    pub fn instructions(mut self, instructions: Instructions) -> Self {
        self.kernels.instructions = instructions;
        self
    }

    /// How many threads compute. By default as many as the machine runs at once.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The most tokens of a completion; it ends as [`Finish::Length`](crate::Finish::Length) when
    /// it has so many, or when the model's context is full. By default 1,024.
    pub fn max_new_tokens(mut self, max_new_tokens: usize) -> Self {
        self.max_new_tokens = Some(max_new_tokens);
        self
    }

    /// Treats stop tokens like any others, so that completions reach their full length (for
    /// measurements).
    pub fn ignore_eos(mut self, ignore_eos: bool) -> Self {
        self.ignore_eos = ignore_eos;
        self
    }

    /// Further strings that stop a completion, besides those of the template; its text is cut before
    /// them. A special token's text stands for that token, which then ends a response as the model's own
    /// stop tokens do.
    pub fn stop(mut self, strings: Vec<String>) -> Self {
        self.stop = strings;
        self
    }

    /// Whether a completion that repeats itself without end is cut off as
    /// [`Finish::Loop`](crate::Finish::Loop): its last tokens are a block of at most 128 tokens, at
    /// least six times in a row and over at least 128 tokens in all. On by default.
    pub fn loop_detection(mut self, loop_detection: bool) -> Self {
        self.loop_detection = loop_detection;
        self
    }

    /// Whether the logits of a sequence must not depend, to the last bit, on the batch that it is in.
    /// With the crate's own CPU kernels they never do. On a CUDA device every step is then computed
    /// with as many rows as there are slots, and every prefill with its full number, so that the same
    /// kernels compute them: a cost where not all slots are busy, and the slots are then a setting that
    /// tokens depend on. Off by default.
    pub fn deterministic(mut self, deterministic: bool) -> Self {
        self.deterministic = deterministic;
        self
    }

    /// What computes the logits.
    pub fn backend(mut self, backend: BackendChoice) -> Self {
        self.backend = backend;
        self
    }

    /// Keeps the times of every decoding step for [`Engine::step_times`]: about 100 bytes a step,
    /// for as long as the engine lives. Off by default.
    pub fn record_steps(mut self, record_steps: bool) -> Self {
        self.record_steps = record_steps;
        self
    }

    /// Checks the settings, starts the threads and lays out the weights.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Settings`] for a setting out of its range or one that the device or processor
    /// cannot serve; otherwise what the device says.
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
            // Each sequence is computed by itself, and more at a time only take memory.
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
        // Elsewhere than on a CPU weights are not what is wrong with it: the backend says what is.
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
        // A prompt of one token and its first completion's token, which is drawn without feeding any.
        capacity.check(&*backend, 1, 0)?;
        Ok(Engine {
            weight_bytes: backend.weight_bytes(),
            plain: self.backend == BackendChoice::Plain || !model.device().is_cpu(),
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

/// The special token that a stop string spells out: it stands for no text, so that no text would ever
/// end there.
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
