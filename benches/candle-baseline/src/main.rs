//! Tokens per second of this crate's engine and of candle-transformers' Llama, on the same machine in the same run:
//! greedy sampling, several sequences of one prompt.
//!
//! ```text
//! cargo run --release --manifest-path benches/candle-baseline/Cargo.toml -- SmolLM2-135M-Instruct.Q4_1.gguf
//! ```
//!
//! candle-transformers is measured as its users would run it: `quantized_llama` on the file's blocks, and `llama` on
//! the same weights dequantized to f32. `quantized_llama` cannot process a batch of prompts, because its view of the
//! last position is not contiguous, which quantized products refuse. So it gets these prompts token by token.
//! Generation is not affected.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama};
use candle_transformers::models::quantized_llama::ModelWeights;
use clap::Parser;
use dart_math::candle::quantized::gguf_file;
use dart_math::candle::{self, D, DType, Device, Tensor};
use dart_math::engine::{Engine, Sampling};
use dart_math::model::{DtypeChoice, Matrix, Model, ModelSource, Prompt};

/// The prompt is a prefix of this text.
const TEXT: &str = "Question: A farmer has 17 sheep and buys 3 pens of 12 sheep each. Every sheep \
    gives 4 kg of wool a year, and a kilogram sells for 2 dollars. How much does the farmer earn \
    from wool in a year? Let us think step by step.\nAnswer: ";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Compare the engine with candle-transformers on a Llama in a GGUF file.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// GGUF file of a Llama.
    model: PathBuf,
    /// Length of the prompt in tokens.
    #[arg(long, default_value_t = 100)]
    prompt_tokens: usize,
    /// Tokens to generate for each sequence.
    #[arg(long, default_value_t = 128)]
    new_tokens: usize,
    /// Numbers of concurrent sequences to measure.
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    batches: Vec<usize>,
    /// Threads of this crate's engine. For candle, set RAYON_NUM_THREADS.
    #[arg(long)]
    threads: Option<usize>,
    /// Number of measurements of each engine, in turn. The fastest counts.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// One measurement.
#[derive(Clone)]
struct Measured {
    prompt_seconds: f64,
    generation_seconds: f64,
    /// CPU time of all threads, if the system reports it.
    generation_cpu_seconds: Option<f64>,
    /// Tokens of the first sequence.
    tokens: Vec<u32>,
}

/// CPU time of this process so far. Other work on the machine disturbs it less than the wall time. Linux reports it in
/// hundredths of a second.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may contain any character.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) / 100.0)
}

/// CPU time since an earlier reading.
fn cpu_since(earlier: Option<f64>) -> Option<f64> {
    Some(cpu_seconds()? - earlier?)
}

/// A decoder for a batch of rows of equal length at one position.
trait Rows {
    const NAME: &'static str;

    /// Whether a batch may have more than one token per row.
    const BATCHED_PROMPT: bool;

    /// Returns the logits `[batch, vocab]` after the last of the tokens `[batch, length]`, which start at `position`.
    /// Position 0 begins new sequences.
    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle::Result<Tensor>;
}

struct Quantized(ModelWeights);

impl Rows for Quantized {
    const NAME: &'static str = "candle-transformers quantized_llama";
    const BATCHED_PROMPT: bool = false;

    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle::Result<Tensor> {
        self.0.forward(tokens, position)
    }
}

struct Dense {
    model: Llama,
    config: Config,
    cache: Cache,
}

impl Rows for Dense {
    const NAME: &'static str = "candle-transformers llama, f32";
    const BATCHED_PROMPT: bool = true;

    fn forward(&mut self, tokens: &Tensor, position: usize) -> candle::Result<Tensor> {
        if position == 0 {
            self.cache = Cache::new(true, DType::F32, &self.config, tokens.device())?;
        }
        self.model.forward(tokens, position, &mut self.cache)
    }
}

fn generate<R: Rows>(
    rows: &mut R,
    prompt: &[u32],
    batch: usize,
    new_tokens: usize,
) -> candle::Result<Measured> {
    let device = Device::Cpu;
    let start = Instant::now();
    let mut logits = None;
    let step = if batch == 1 || R::BATCHED_PROMPT {
        prompt.len()
    } else {
        1
    };
    for (index, part) in prompt.chunks(step).enumerate() {
        let tokens = Tensor::new(part, &device)?.repeat((batch, 1))?;
        logits = Some(rows.forward(&tokens, index * step)?);
    }
    let Some(mut logits) = logits else {
        candle::bail!("the prompt is empty")
    };
    let prompt_seconds = start.elapsed().as_secs_f64();

    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut first = Vec::with_capacity(new_tokens);
    for position in prompt.len()..prompt.len() + new_tokens {
        let tokens = logits.argmax(D::Minus1)?;
        first.push(tokens.get(0)?.to_scalar::<u32>()?);
        // The logits after the last token are not needed.
        if first.len() < new_tokens {
            logits = rows.forward(&tokens.unsqueeze(1)?, position)?;
        }
    }
    let generation_seconds = start.elapsed().as_secs_f64();
    Ok(Measured {
        prompt_seconds,
        generation_seconds,
        generation_cpu_seconds: cpu_since(cpu),
        tokens: first,
    })
}

fn quantized(path: &Path) -> Outcome<Quantized> {
    let mut file = File::open(path)?;
    let content = gguf_file::Content::read(&mut file)?;
    Ok(Quantized(ModelWeights::from_gguf(
        content,
        &mut file,
        &Device::Cpu,
    )?))
}

/// candle-transformers' Llama with the weights of this crate's model.
fn dense(model: &Model, rope_theta: f32) -> Outcome<Dense> {
    let ours = model.config();
    let weights = model.weights();
    let mut tensors = HashMap::new();
    let mut put = |name: String, matrix: &Matrix, start: usize, rows: usize| -> Outcome<()> {
        let Matrix::Dense(tensor) = matrix else {
            return Err(format!("{name} is not dense").into());
        };
        tensors.insert(name, tensor.narrow(0, start, rows)?);
        Ok(())
    };
    let (q, kv) = (ours.heads * ours.head_dim, ours.kv_heads * ours.head_dim);
    put(
        "model.embed_tokens.weight".into(),
        &weights.embedding,
        0,
        ours.vocab_size,
    )?;
    put("lm_head.weight".into(), &weights.head, 0, ours.vocab_size)?;
    for (index, layer) in weights.layers.iter().enumerate() {
        if layer.qkv.bias.is_some() {
            return Err("this Llama has biases, which candle-transformers' has not".into());
        }
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        put(name("self_attn.q_proj"), &layer.qkv.weight, 0, q)?;
        put(name("self_attn.k_proj"), &layer.qkv.weight, q, kv)?;
        put(name("self_attn.v_proj"), &layer.qkv.weight, q + kv, kv)?;
        put(
            name("self_attn.o_proj"),
            &layer.attention_output.weight,
            0,
            ours.hidden_size,
        )?;
        put(
            name("mlp.gate_proj"),
            &layer.gate_up.weight,
            0,
            ours.intermediate_size,
        )?;
        put(
            name("mlp.up_proj"),
            &layer.gate_up.weight,
            ours.intermediate_size,
            ours.intermediate_size,
        )?;
        put(
            name("mlp.down_proj"),
            &layer.down.weight,
            0,
            ours.hidden_size,
        )?;
    }
    for (index, layer) in weights.layers.iter().enumerate() {
        let name = |part: &str| format!("model.layers.{index}.{part}.weight");
        tensors.insert(name("input_layernorm"), layer.attention_norm.clone());
        tensors.insert(name("post_attention_layernorm"), layer.ffn_norm.clone());
    }
    tensors.insert("model.norm.weight".into(), weights.output_norm.clone());

    let config = Config {
        hidden_size: ours.hidden_size,
        intermediate_size: ours.intermediate_size,
        vocab_size: ours.vocab_size,
        num_hidden_layers: ours.layers,
        num_attention_heads: ours.heads,
        num_key_value_heads: ours.kv_heads,
        use_flash_attn: false,
        rms_norm_eps: f64::from(ours.rms_norm_eps),
        rope_theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: ours.context_length,
        tie_word_embeddings: false,
    };
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let model = Llama::load(builder, &config)?;
    let cache = Cache::new(true, DType::F32, &config, &Device::Cpu)?;
    Ok(Dense {
        model,
        config,
        cache,
    })
}

/// Measures this crate's engine: once for the prompt and one token, once for everything.
fn ours(engines: &[Engine; 2], prompt: &Prompt, batch: usize) -> Outcome<Measured> {
    let prompts = vec![prompt.clone(); batch];
    let (start, cpu) = (Instant::now(), cpu_seconds());
    engines[0].generate(&prompts, 0)?;
    let (prompt_seconds, prompt_cpu) = (start.elapsed().as_secs_f64(), cpu_since(cpu));
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let completions = engines[1].generate(&prompts, 0)?;
    let (all, all_cpu) = (start.elapsed().as_secs_f64(), cpu_since(cpu));
    let first = completions.first().ok_or("no completion")?;
    if let Some(other) = completions
        .iter()
        .find(|other| other.tokens != first.tokens)
    {
        return Err(format!("sequences differ: {:?}", other.tokens).into());
    }
    let generation_seconds = (all - prompt_seconds).max(f64::MIN_POSITIVE);
    Ok(Measured {
        prompt_seconds,
        generation_seconds,
        generation_cpu_seconds: all_cpu.zip(prompt_cpu).map(|(all, prompt)| all - prompt),
        tokens: first.tokens.clone(),
    })
}

/// The faster of two measurements.
fn better(best: Option<Measured>, new: Measured) -> Option<Measured> {
    match best {
        Some(best) if best.generation_seconds <= new.generation_seconds => Some(best),
        _ => Some(new),
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let path = &arguments.model;
    if arguments.new_tokens < 2 || arguments.prompt_tokens == 0 {
        return Err("a prompt and at least two new tokens are needed".into());
    }
    let content = gguf_file::Content::read(&mut File::open(path)?)?;
    let rope_theta = match content.metadata.get("llama.rope.freq_base") {
        Some(value) => value.to_f32()?,
        None => 10_000.0,
    };
    let model = Model::builder(ModelSource::Gguf(path.clone())).load()?;
    let mut tokens = Vec::new();
    while tokens.len() < arguments.prompt_tokens {
        tokens.extend(model.raw_prompt(TEXT)?.tokens);
    }
    tokens.truncate(arguments.prompt_tokens);
    let prompt = Prompt {
        text: TEXT.to_owned(),
        tokens,
    };
    let mut quantized = quantized(path)?;
    let wide = Model::builder(ModelSource::Gguf(path.clone())).dtype(DtypeChoice::F32);
    let mut dense = dense(&wide.load()?, rope_theta)?;

    println!(
        "{}: prompt of {} tokens, {} new tokens",
        model.name(),
        arguments.prompt_tokens,
        arguments.new_tokens,
    );
    println!(
        "| engine | sequences | prompt, s | generation, tok/s | all, tok/s \
         | generation, tok per CPU second | same tokens |"
    );
    println!("|---|---|---|---|---|---|---|");
    for &batch in &arguments.batches {
        let engine = |new_tokens| {
            let builder = Engine::builder(model.clone());
            let builder = match arguments.threads {
                Some(threads) => builder.threads(threads),
                None => builder,
            };
            builder
                .sampling(Sampling::greedy())
                .max_new_tokens(new_tokens)
                .ignore_eos(true)
                .loop_detection(false)
                .slots(batch)
                .build()
        };
        let engines = [engine(1)?, engine(arguments.new_tokens)?];
        let mut best = [None, None, None];
        for _ in 0..arguments.rounds.max(1) {
            let new_tokens = arguments.new_tokens;
            let [own, blocks, f32] = &mut best;
            *own = better(own.take(), ours(&engines, &prompt, batch)?);
            *blocks = better(
                blocks.take(),
                generate(&mut quantized, &prompt.tokens, batch, new_tokens)?,
            );
            *f32 = better(
                f32.take(),
                generate(&mut dense, &prompt.tokens, batch, new_tokens)?,
            );
        }
        let names = ["dart-math", Quantized::NAME, Dense::NAME];
        let expected = best[0]
            .as_ref()
            .map(|own| own.tokens.clone())
            .unwrap_or_default();
        for (name, measured) in names.iter().zip(best.iter().flatten()) {
            let count = batch * arguments.new_tokens;
            let agree = expected
                .iter()
                .zip(&measured.tokens)
                .take_while(|(a, b)| a == b)
                .count();
            // The first new token comes from the prompt's step.
            let generated = (count - batch) as f64;
            let per_cpu_second = match measured.generation_cpu_seconds {
                Some(seconds) => format!("{:.1}", generated / seconds),
                None => "unknown".to_owned(),
            };
            println!(
                "| {name} | {batch} | {:.2} | {:.1} | {:.1} | {per_cpu_second} | {agree} of {} |",
                measured.prompt_seconds,
                generated / measured.generation_seconds,
                count as f64 / (measured.prompt_seconds + measured.generation_seconds),
                expected.len(),
            );
        }
    }
    Ok(())
}
