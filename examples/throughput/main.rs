//! Tokens per second for a load of a given shape, as one line of JSON.
//!
//! ```sh
//! cargo run --release --example throughput -- --model SmolLM2-135M-Instruct.Q4_1.gguf --samples-per-prompt 32 --slots 32
//! cargo run --release --example throughput -- --random-weights config.json --dtype bf16 --temperature 1.6 --top-p 0.95
//! ```
//!
//! Prompts are random tokens and weights may be, too: what tokens are does not change the cost.
//! `tokens_per_second` counts generated tokens over the time of everything, prefill and sampling
//! included; loading the model is not.
//!
//! `occupancy` is the share of the slots that were busy in the mean step; `occupancy_before_drain`
//! that of the steps before nothing was left to fill a free slot with, when the last samples drain.
//! `weight_bytes` are the weights in the engine's layout, `peak_kv_bytes` the most that the KV
//! cache held at a time, `kv_bytes` the limit that was set for it, and `peak_bytes` the most that
//! the process held in all, pages of the mapped model file included. Of several devices, counts and bytes
//! are sums, `slots` and `kv_bytes` are each one's, and step times are of all steps.

#[path = "../common/count.rs"]
mod count;
#[path = "../common/kv_limit.rs"]
mod kv_limit;
mod load;
#[path = "../common/setting.rs"]
mod setting;
#[path = "../common/tool.rs"]
mod tool;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, ValueEnum};
use dart_math::Result;
use dart_math::engine::{ActivationType, EngineGroup, Instructions, KvType};
use dart_math::model::{DeviceChoice, DeviceList, DtypeChoice, Model, ModelSource};

use count::count;
use kv_limit::explain_kv_limit;
use load::{Lengths, Load, measure};
use setting::setting;
use tool::{Failure, Stdout, Usage, say};

/// Measure an engine's tokens per second for a load of a given shape.
///
/// Exit status: 0 if it was measured, 1 if something failed, 2 if the arguments make no sense.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    model: Which,
    /// What computes: auto, cpu, cuda, cuda:N or metal; or several CUDA devices, each with the whole model
    /// and so many slots: cuda:0,cuda:1 and so on, or cuda:all
    #[arg(long, default_value = "auto", value_parser = setting::<DeviceList>)]
    device: DeviceList,
    /// Type of the weights: auto, f32, f16, bf16 or quantized
    #[arg(long, default_value = "auto", value_parser = setting::<DtypeChoice>)]
    dtype: DtypeChoice,

    /// Distinct prompts
    #[arg(long, default_value = "1", value_name = "N", value_parser = count::<usize>)]
    prompt_count: usize,
    /// Completions of each prompt
    #[arg(long, default_value = "32", value_name = "N", value_parser = count::<usize>)]
    samples_per_prompt: usize,
    /// Tokens of each prompt
    #[arg(long, default_value = "100", value_name = "N", value_parser = count::<usize>)]
    prompt_tokens: usize,
    /// Tokens of each completion; stop tokens are ignored
    #[arg(long, default_value = "128", value_name = "N", value_parser = count::<usize>)]
    new_tokens: usize,
    /// `fixed`: all completions have that many tokens; `spread`: from a third of it to three times
    /// as many
    #[arg(long, default_value = "fixed")]
    lengths: LengthsChoice,
    /// Divides the logits; 0 is greedy
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "T",
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Keep the most probable tokens whose mass reaches P
    #[arg(
        long,
        default_value_t = 1.0,
        value_name = "P",
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Key of the random numbers
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// How many sequences run at a time
    #[arg(long, default_value = "32", value_name = "N", value_parser = count::<usize>)]
    slots: usize,
    /// The most memory for the KV cache, in MiB [default: no limit]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    kv_mib: Option<usize>,
    /// Type in which the KV cache is kept: f32 or f16
    #[arg(long, default_value = "f32", value_parser = setting::<KvType>, value_name = "TYPE")]
    kv_type: KvType,
    /// Type of the numbers that quantised weights are multiplied with: f32 or int8
    #[arg(long, default_value = "f32", value_parser = setting::<ActivationType>, value_name = "TYPE")]
    activation_type: ActivationType,
    /// Vector instructions of the CPU kernels: portable, avx2, avx512, neon, or widest, which is the
    /// widest of these that the processor has
    #[arg(long, default_value = "widest", value_parser = setting::<Instructions>, value_name = "SET")]
    instructions: Instructions,
    /// On a GPU: every step with the same number of rows, so that logits do not depend on the batch
    #[arg(long)]
    deterministic: bool,
    /// How many threads compute [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    threads: Option<usize>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Model: `abacus` (built in), a directory, a GGUF file, or a repository id of the hub
    #[arg(long, value_name = "ID|DIR|FILE.gguf")]
    model: Option<String>,
    /// A config.json: a model of its shape with random weights
    #[arg(long, value_name = "CONFIG.json")]
    random_weights: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LengthsChoice {
    Fixed,
    Spread,
}

fn main() -> ExitCode {
    tool::show_log();
    tool::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> std::result::Result<ExitCode, Failure> {
    let load = Load {
        prompts: arguments.prompt_count,
        samples: arguments.samples_per_prompt,
        prompt_tokens: arguments.prompt_tokens,
        new_tokens: arguments.new_tokens,
        lengths: match arguments.lengths {
            LengthsChoice::Fixed => Lengths::Fixed,
            LengthsChoice::Spread => Lengths::Spread,
        },
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        slots: arguments.slots,
        kv_bytes: arguments.kv_mib.map(|mib| mib.saturating_mul(1 << 20)),
        kv_type: arguments.kv_type,
        activation_type: arguments.activation_type,
        instructions: arguments.instructions,
        seed: arguments.seed,
    };
    /// More completions than any measurement has are a typo.
    const MAX_COMPLETIONS: usize = 1 << 24;
    match load.prompts.checked_mul(load.samples) {
        Some(count) if count <= MAX_COMPLETIONS => {}
        _ => {
            let reason = format!("more than {MAX_COMPLETIONS} completions");
            return Err(Usage(reason).into());
        }
    }
    let longest = load.limits().into_iter().max().unwrap_or_default();
    let needed = load.prompt_tokens.saturating_add(longest);
    let mut engines = Vec::new();
    for device in arguments.device.devices()? {
        let model = open(arguments, device)?;
        let context = model.config().context_length;
        if needed > context {
            let reason = format!(
                "{needed} tokens of a prompt and its longest completion, but the model's context \
                 holds {context}"
            );
            return Err(Usage(reason).into());
        }
        let mut builder = load.engine(model)?.deterministic(arguments.deterministic);
        if let Some(threads) = arguments.threads {
            builder = builder.threads(threads);
        }
        engines.push(builder.build()?);
    }
    let group = EngineGroup::new(engines)?;
    let report = measure(&group, &load);
    let report = report.map_err(|error| explain_kv_limit(error, arguments.kv_mib))?;
    for statistics in group.statistics() {
        say!("{statistics}");
    }
    let line = serde_json::Value::Object(report);
    writeln!(std::io::stdout(), "{line}").map_err(Stdout)?;
    Ok(ExitCode::SUCCESS)
}

fn open(arguments: &Arguments, device: DeviceChoice) -> Result<Model> {
    let dtype = arguments.dtype;
    if let Some(config) = &arguments.model.random_weights {
        return Model::random_like(config, arguments.seed, device, dtype);
    }
    let name = arguments.model.model.as_deref().unwrap_or_default();
    Model::builder(ModelSource::parse(name)?)
        .device(device)
        .dtype(dtype)
        .load()
}
