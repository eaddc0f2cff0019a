//! Counters and times of an engine's work.

use std::time::Duration;

/// Counters and times of an engine's work since it was built, over all its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// The number of concurrent sequences of the engine.
    pub slots: usize,
    /// Delivered completions, without cancelled ones.
    pub completions: u64,
    /// Completions that were cancelled and delivered incomplete.
    pub cancelled: u64,
    /// Tokens of completions, including cancelled ones.
    pub generated_tokens: u64,
    /// Tokens drawn after the end of their completion, because steps are issued before earlier
    /// draws have arrived. 0 if the backend computes a step when it is issued, as on a CPU.
    pub discarded_tokens: u64,
    /// Prefilled prompts. A prompt counts once for all its samples, unless it was evicted in
    /// between.
    pub prompts: u64,
    /// Tokens of the prefilled prompts.
    pub prompt_tokens: u64,
    /// Decoding steps. Each feeds one token to every busy slot.
    pub steps: u64,
    /// The sum of busy slots over all steps.
    pub busy_slots: u64,
    /// Preemptions: how often a sequence lost its KV cache because of the memory limit.
    pub preemptions: u64,
    /// Tokens that were recomputed after preemptions.
    pub recomputed_tokens: u64,
    /// The largest size of the KV cache after a step, in bytes.
    pub peak_kv_bytes: usize,
    /// Wall-clock time of the runs, including waits for the source.
    pub time: Duration,
    /// Time spent on prefill (part of `time`).
    pub prefill_time: Duration,
    /// Time spent on decoding (part of `time`): issuing steps and waiting for their draws.
    pub decode_time: Duration,
    /// Time spent on sampling (part of `time`), if the backend measures it separately from
    /// decoding.
    pub sampling_time: Duration,
    /// Time asleep (part of `time`) because the source had nothing and nothing was in flight.
    pub idle_time: Duration,
}

impl Statistics {
    /// Generated tokens per second of run time.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        ratio(self.generated_tokens as f64, self.time.as_secs_f64())
    }

    /// The mean share of busy slots in a decoding step, from 0 to 1.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        ratio(
            self.busy_slots as f64,
            self.steps as f64 * self.slots as f64,
        )
    }
}

fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

impl std::fmt::Display for Statistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cancelled = match self.cancelled {
            0 => String::new(),
            count => format!(" and {count} cancelled"),
        };
        write!(
            f,
            "{} completions{cancelled}, {} tokens in {:.1} s ({:.1} tokens/s, {:.0} % of {} slots busy)",
            self.completions,
            self.generated_tokens,
            self.time.as_secs_f64(),
            self.tokens_per_second(),
            100.0 * self.occupancy(),
            self.slots,
        )
    }
}
