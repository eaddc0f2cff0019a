//! A synthetic load on an engine, and its measurements. Used by the example and the benchmark.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use dart_math::engine::{
    ActivationType, CompletionRequest, Engine, EngineBuilder, EngineGroup, Event, Instructions,
    KvType, Sampling, Statistics, StepTimes, fma_peak,
};
use dart_math::model::{Architecture, DecoderConfig, Model, Prompt, Template};
use dart_math::{Completion, Generator, Philox, Result, trial_seed};
use serde_json::{Map, Value, json};

/// The distribution of completion lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// All equal.
    Fixed,
    /// From 1/√10 to √10 times the given number, uniform on a logarithmic scale.
    Spread,
}

/// The parameters of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) prompts: usize,
    pub(crate) samples: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) new_tokens: usize,
    pub(crate) lengths: Lengths,
    /// 0 is greedy.
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) slots: usize,
    /// The maximum size of the KV cache in bytes.
    pub(crate) kv_bytes: Option<usize>,
    pub(crate) kv_type: KvType,
    pub(crate) activation_type: ActivationType,
    pub(crate) instructions: Instructions,
    pub(crate) seed: u64,
}

impl Load {
    /// Configures an engine for this load. Only the length limit ends a completion.
    pub(crate) fn engine(&self, model: Model) -> Result<EngineBuilder> {
        let longest = self.limits().into_iter().max().unwrap_or(1);
        let builder = Engine::builder(model)
            .template(Template::parse("{problem}")?)
            .sampling(Sampling {
                temperature: self.temperature,
                top_p: self.top_p,
                ..Sampling::default()
            })
            .max_new_tokens(longest)
            .ignore_eos(true)
            .loop_detection(false)
            .slots(self.slots)
            .kv_type(self.kv_type)
            .activation_type(self.activation_type)
            .instructions(self.instructions)
            .record_steps(true);
        Ok(match self.kv_bytes {
            Some(limit) => builder.kv_bytes(limit),
            None => builder,
        })
    }

    /// Returns the length of each completion, grouped by prompt.
    pub(crate) fn limits(&self) -> Vec<usize> {
        let random = Philox::new(trial_seed(self.seed, "lengths", 0));
        let length = |index: usize| match self.lengths {
            Lengths::Fixed => self.new_tokens,
            Lengths::Spread => {
                let factor = 10f64.powf(random.uniform(index as u64) - 0.5);
                ((self.new_tokens as f64 * factor).round() as usize).max(1)
            }
        };
        (0..self.prompts * self.samples).map(length).collect()
    }

    /// Returns prompts of random tokens, each repeated once per sample.
    pub(crate) fn prompts(&self, vocab: usize) -> Vec<Prompt> {
        let prompt = |index: usize| {
            let text = format!("prompt {index}");
            let random = Philox::new(trial_seed(self.seed, &text, 0));
            let token = |position| random.below(position, vocab as u64) as u32;
            let tokens = (0..self.prompt_tokens as u64).map(token).collect();
            Prompt { text, tokens }
        };
        (0..self.prompts)
            .flat_map(|index| std::iter::repeat_n(prompt(index), self.samples))
            .collect()
    }
}

/// Returns the sums over all engines. (Slots are per engine.)
fn total(group: &EngineGroup) -> Statistics {
    let mut engines = group.statistics().into_iter();
    let mut total = engines.next().unwrap_or_default();
    for one in engines {
        total.generated_tokens += one.generated_tokens;
        total.recomputed_tokens += one.recomputed_tokens;
        total.preemptions += one.preemptions;
        total.prompts += one.prompts;
        total.prompt_tokens += one.prompt_tokens;
        total.steps += one.steps;
        total.busy_slots += one.busy_slots;
        total.peak_kv_bytes += one.peak_kv_bytes;
        total.prefill_time += one.prefill_time;
    }
    total
}

/// Runs a load on unused engines and returns the measurements.
pub(crate) fn measure(group: &EngineGroup, load: &Load) -> Result<Map<String, Value>> {
    let count = group.engines().len();
    let engine = &group.engines()[0];
    let config = engine.model().config();
    let on_cpu = engine.model().device().is_cpu() && engine.model().cuda().is_none();
    let prompts = load.prompts(config.vocab_size);
    // Operations are counted only for the crate's own architectures.
    let counted = !matches!(config.architecture, Architecture::Transformers(_));
    let peak_before = (on_cpu && counted).then(|| fma_peak(engine.threads()));
    let clock = Instant::now();
    let mut requests = CompletionRequest::list(&prompts, load.seed);
    for (request, limit) in requests.iter_mut().zip(load.limits()) {
        request.max_new_tokens = Some(limit);
    }
    let mut completions = vec![None; requests.len()];
    group.complete(&requests, |event| {
        if let Event::Completed {
            request,
            completion,
        } = event
        {
            completions[request] = Some(completion);
        }
        ControlFlow::Continue(())
    })?;
    let completions: Vec<Completion> = completions.into_iter().flatten().collect();
    let seconds = clock.elapsed().as_secs_f64();
    // Other processes lower both measurements, so use the higher one.
    let peak = peak_before.map(|before| before.max(fma_peak(engine.threads())));

    let statistics = total(group);
    let steps: Vec<StepTimes> = group
        .engines()
        .iter()
        .flat_map(Engine::step_times)
        .collect();
    let stepped: usize = steps.iter().map(|step| step.rows).sum();
    let new = stepped as u64 - statistics.recomputed_tokens;
    let in_steps: Duration = steps.iter().map(|step| step.total).sum();
    let operations = operations(config, &statistics, stepped);
    let linear: Option<Duration> = steps.iter().map(|step| step.linear).sum();
    let decoding = head_and_layers(config) * stepped as f64;
    let share =
        |operations: f64, seconds: f64| peak.map(|peak| rounded(operations / seconds / peak, 4));

    let report = json!({
        "model": engine.model().name(),
        "settings": engine.settings(),
        "devices": count,
        "threads": engine.threads(),
        "instructions": load.instructions.to_string(),
        "slots": load.slots,
        "kv_bytes": load.kv_bytes,
        "prompt_count": load.prompts,
        "samples_per_prompt": load.samples,
        "prompt_tokens": load.prompt_tokens,
        "new_tokens": load.new_tokens,
        "lengths": match load.lengths {
            Lengths::Fixed => "fixed",
            Lengths::Spread => "spread",
        },
        "temperature": written(load.temperature),
        "top_p": written(load.top_p),
        "seconds": rounded(seconds, 6),
        "generated_tokens": statistics.generated_tokens,
        "recomputed_tokens": statistics.recomputed_tokens,
        "preemptions": statistics.preemptions,
        "tokens_per_second": rounded(statistics.generated_tokens as f64 / seconds, 2),
        "decode_tokens_per_second": rate(new as f64, in_steps / count as u32),
        // On a GPU, prefill is launched asynchronously, so its time is not measured.
        "prefill_tokens_per_second": match engine.model().cuda() {
            Some(_) => None,
            None => rate(statistics.prompt_tokens as f64, statistics.prefill_time),
        },
        "steps": steps.len(),
        "step_ms": {
            "total": spread_of(&steps, |step| Some(step.total)),
            "linear": spread_of(&steps, |step| step.linear),
            "attention": spread_of(&steps, |step| step.attention),
            "sampling": spread_of(&steps, |step| Some(step.sampling)),
            "other": spread_of(&steps, |step| Some(step.other())),
        },
        "occupancy": rounded(statistics.occupancy(), 4),
        "occupancy_before_drain": occupancy_before_drain(&steps, load.slots),
        "peak_bytes": peak_bytes(),
        "weight_bytes": group.engines().iter().map(Engine::weight_bytes).sum::<usize>(),
        "peak_kv_bytes": statistics.peak_kv_bytes,
        "fma_peak": peak.map(f64::round),
        "fma_peak_share": share(operations, seconds),
        "fma_peak_share_in_linear_layers":
            linear.and_then(|linear| share(decoding, linear.as_secs_f64())),
        "tokens_digest": digest(&completions),
    });
    match report {
        Value::Object(report) => Ok(report),
        _ => Ok(Map::new()),
    }
}

/// Returns the floating-point operations per token in the linear layers of the decoder's layers.
fn layers(config: &DecoderConfig) -> f64 {
    let attention = config.hidden_size * (config.qkv_size() + config.heads * config.head_dim);
    let feed_forward = 3 * config.hidden_size * config.intermediate_size;
    2.0 * (config.layers * (attention + feed_forward)) as f64
}

/// Returns the operations of a token whose logits are computed.
fn head_and_layers(config: &DecoderConfig) -> f64 {
    layers(config) + 2.0 * (config.vocab_size * config.hidden_size) as f64
}

/// Returns the operations of a whole run. A prompt needs logits only after its last token.
fn operations(config: &DecoderConfig, statistics: &Statistics, stepped: usize) -> f64 {
    let head = head_and_layers(config) - layers(config);
    layers(config) * statistics.prompt_tokens as f64
        + head * statistics.prompts as f64
        + head_and_layers(config) * stepped as f64
}

/// Returns a count per second.
fn rate(count: f64, time: Duration) -> Option<f64> {
    (time > Duration::ZERO).then(|| rounded(count / time.as_secs_f64(), 2))
}

/// Rounds a number to this many decimals; further ones are noise.
fn rounded(x: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (x * scale).round() / scale
}

/// Converts a setting as it is written, not to the f64 of its nearest f32.
fn written(x: f32) -> Option<f64> {
    x.to_string().parse().ok()
}

/// Returns the median and tenth percentile over the steps, in milliseconds; null if a time is unknown.
fn spread_of(steps: &[StepTimes], time: impl Fn(&StepTimes) -> Option<Duration>) -> Value {
    let times: Option<Vec<Duration>> = steps.iter().map(time).collect();
    let Some(mut times) = times.filter(|times| !times.is_empty()) else {
        return Value::Null;
    };
    times.sort_unstable();
    let at = |share: usize| {
        rounded(
            times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3,
            4,
        )
    };
    json!({ "median": at(50), "p10": at(10) })
}

/// Returns the mean share of busy slots in the steps before the drain, while work was left to fill free
/// slots. `None` if there was no such step.
fn occupancy_before_drain(steps: &[StepTimes], slots: usize) -> Option<f64> {
    let before: Vec<_> = steps.iter().filter(|step| !step.draining).collect();
    let busy: usize = before.iter().map(|step| step.rows).sum();
    (!before.is_empty()).then(|| rounded(busy as f64 / (before.len() as f64 * slots as f64), 4))
}

/// Returns the peak resident memory of this process, including pages of mapped files, if the system reports
/// it (Linux).
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Returns a digest that depends only on the tokens, not on slots or threads.
fn digest(completions: &[Completion]) -> String {
    let tokens = completions.iter().flat_map(|completion| {
        let length = completion.tokens.len() as u32;
        std::iter::once(length).chain(completion.tokens.iter().copied())
    });
    let key = tokens.fold(0, |key, token| Philox::new(key).bits(u64::from(token)));
    format!("{key:016x}")
}
