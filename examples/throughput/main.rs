//! Tokens per second for a load of a given shape, as one line of JSON.
//!
//! ```sh
//! cargo run --release --example throughput -- --model SmolLM2-135M-Instruct.Q4_1.gguf --samples-per-prompt 32 --slots 32
//! cargo run --release --example throughput -- --random-weights config.json --dtype bf16 --temperature 1.6 --top-p 0.95
//! ```
//!
//! Prompts are random tokens, and weights may be random too: the cost does not depend on the tokens.
//! `tokens_per_second` is generated tokens over the total time, including prefill and sampling but not
//! loading the model.
//!
//! `occupancy` is the mean share of busy slots over all steps. `occupancy_before_drain` is the same over the
//! steps before the last samples drain, while work was left to fill free slots. `weight_bytes` is the size of
//! the weights in the engine's layout, `peak_kv_bytes` the peak size of the KV cache, `kv_bytes` its limit,
//! and `peak_bytes` the peak memory of the process, including pages of the mapped model file. With several
//! devices, counts and bytes are sums, `slots` and `kv_bytes` are per device, and step times are over all
//! steps.

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
/// Exit status: 0 if the measurement succeeded, 1 if something failed, 2 for invalid arguments.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    model: Which,
    /// Device: auto, cpu, cuda, cuda:N or metal; or several CUDA devices, each with a copy of the model and
    /// this many slots: cuda:0,cuda:1 and so on, or cuda:all
    #[arg(long, default_value = "auto", value_parser = setting::<DeviceList>)]
    device: DeviceList,
    /// Type of the weights: auto, f32, f16, bf16 or quantized
    #[arg(long, default_value = "auto", value_parser = setting::<DtypeChoice>)]
    dtype: DtypeChoice,

    /// Number of distinct prompts
    #[arg(long, default_value = "1", value_name = "N", value_parser = count::<usize>)]
    prompt_count: usize,
    /// Number of completions of each prompt
    #[arg(long, default_value = "32", value_name = "N", value_parser = count::<usize>)]
    samples_per_prompt: usize,
    /// Number of tokens of each prompt
    #[arg(long, default_value = "100", value_name = "N", value_parser = count::<usize>)]
    prompt_tokens: usize,
    /// Number of tokens of each completion; stop tokens are ignored
    #[arg(long, default_value = "128", value_name = "N", value_parser = count::<usize>)]
    new_tokens: usize,
    /// `fixed`: all completions have that many tokens; `spread`: from a third of it to three times as many
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
    /// Seed of the random numbers
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,

    /// Number of sequences run at a time
    #[arg(long, default_value = "32", value_name = "N", value_parser = count::<usize>)]
    slots: usize,
    /// Maximum memory for the KV cache, in MiB [default: no limit]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    kv_mib: Option<usize>,
    /// Type of the KV cache: f32 or f16
    #[arg(long, default_value = "f32", value_parser = setting::<KvType>, value_name = "TYPE")]
    kv_type: KvType,
    /// Type of the activations multiplied with quantized weights: f32 or int8
    #[arg(long, default_value = "f32", value_parser = setting::<ActivationType>, value_name = "TYPE")]
    activation_type: ActivationType,
    /// Vector instructions of the CPU kernels: portable, avx2, avx512, neon, or widest, the widest that the
    /// processor supports
    #[arg(long, default_value = "widest", value_parser = setting::<Instructions>, value_name = "SET")]
    instructions: Instructions,
    /// On a GPU: use the same number of rows in every step, so that logits do not depend on the batch
    #[arg(long)]
    deterministic: bool,
    /// Number of compute threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    threads: Option<usize>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Model: `abacus` (built in), a directory, a GGUF file, or a repository id of the hub
    #[arg(long, value_name = "ID|DIR|FILE.gguf")]
    model: Option<String>,
    /// A config.json: use a model of its shape with random weights
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
    /// A larger number of completions is certainly a typo.
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
