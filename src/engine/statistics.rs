//! What an engine has done so far, in numbers.

use std::time::Duration;

/// Counts and times of an engine's work since it was built, over all its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// How many sequences the engine runs at a time.
    pub slots: usize,
    /// Completions delivered, but for cancelled ones.
    pub completions: u64,
    /// Completions that were no longer wanted, and delivered as far as they were.
    pub cancelled: u64,
    /// Tokens of completions, those of cancelled ones included.
    pub generated_tokens: u64,
    /// Tokens drawn after the end of their completion, because steps are issued before the draws of
    /// earlier ones have arrived. None where the backend computes a step when it is issued, as on a
    /// CPU.
    pub discarded_tokens: u64,
    /// Prompts prefilled: each counts once for all its samples, unless it was evicted between.
    pub prompts: u64,
    /// Tokens of these prompts.
    pub prompt_tokens: u64,
    /// Decoding steps: each feeds one token to every busy slot.
    pub steps: u64,
    /// Sum over the steps of the busy slots.
    pub busy_slots: u64,
    /// How often a sequence was preempted: lost its KV cache because the limit left too little for
    /// all.
    pub preemptions: u64,
    /// Tokens fed to the model again after preemptions.
    pub recomputed_tokens: u64,
    /// The most bytes that the KV cache has held after a step.
    pub peak_kv_bytes: usize,
    /// Wall-clock time of the runs, waiting for their sources included.
    pub time: Duration,
    /// Of it, time in prefilling.
    pub prefill_time: Duration,
    /// Of it, time in decoding: in issuing steps and in waiting for their draws.
    pub decode_time: Duration,
    /// Of it, time in sampling tokens, if the backend measures it separately from decoding.
    pub sampling_time: Duration,
    /// Of it, time asleep because the source had nothing yet and nothing was in flight.
    pub idle_time: Duration,
}

impl Statistics {
    /// Generated tokens per second of the runs.
    #[must_use]
    pub fn tokens_per_second(&self) -> f64 {
        ratio(self.generated_tokens as f64, self.time.as_secs_f64())
    }

    /// Share of the slots that were busy in the mean decoding step, from 0 to 1.
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
