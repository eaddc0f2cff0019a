//! Trains the built-in model from scratch on arithmetic word problems, on the CPU, and writes it as a Hugging
//! Face model directory.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release --example train_abacus -- --out DIR
//! ```
//!
//! The model in `assets/abacus` was trained in two phases. The second starts with the weights of the first
//! (`--from`); see the README there.
//!
//! A batch is divided into shards whose gradients are computed in parallel and added in a fixed order, so the
//! weights depend on the options but not on the number of threads. They are bit-identical only on processors
//! for which matrix multiplication uses the same blocks. (Shards use the cores better: `RAYON_NUM_THREADS=1`
//! prevents further division of the products.)

#[path = "../common/count.rs"]
mod count;
mod decoder;
mod ops;
mod rates;
mod slips;
#[path = "../common/tool.rs"]
mod tool;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use clap::Parser;
use count::count;
use dart_math::data::arithmetic::{Asked, Exercise, LEVELS, Split, exercise};
use dart_math::{Philox, trial_seed};
use decoder::{Batch, Decoder};
use tokenizers::Tokenizer;
use tool::{Usage, say};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Train the built-in model.
///
/// Exit status: 0 if everything was done, 1 if something failed, 2 for invalid arguments.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Directory for the model's files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of optimiser steps
    #[arg(long, default_value_t = 1600, value_name = "N")]
    steps: usize,
    /// Exercises per step
    #[arg(long, default_value = "32", value_name = "N", value_parser = count::<usize>)]
    batch: usize,
    /// Number of shards of a batch, whose gradients are computed separately
    #[arg(long, default_value = "4", value_name = "N", value_parser = count::<usize>)]
    shards: usize,
    /// Number of threads that compute shards
    #[arg(long, default_value = "2", value_name = "N", value_parser = count::<usize>)]
    threads: usize,
    /// Peak learning rate: reached after the warm-up, then decreasing as a cosine to 0
    #[arg(long, default_value = "3e-3", value_name = "X", value_parser = not_negative)]
    learning_rate: f64,
    /// Share of the steps in which the learning rate rises
    #[arg(long, default_value = "0.05", value_name = "P", value_parser = share)]
    warm_up: f64,
    /// Maximum norm of a step's gradient; longer ones are scaled down
    #[arg(long, default_value = "1.0", value_name = "X", value_parser = not_negative)]
    clip: f64,
    /// Weights of the levels, from 1, in the training mixture
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "X,X,...",
        default_value = "12,12,10,7,4,2,0.8,0.3",
        value_parser = not_negative
    )]
    mixture: Vec<f64>,
    /// Share of the exercises that ask for the last value only
    #[arg(long, default_value = "0.15", value_name = "P", value_parser = share)]
    last_value_share: f64,
    /// Start with the weights of the model in this directory, made by this example, instead of random ones
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Probability that a step of a level-2 exercise forgets a carry; twice that at level 3, three times at
    /// level 4, and so on
    #[arg(long, default_value = "0.0", value_name = "P", value_parser = share)]
    slips: f64,
    /// Seed of the random numbers, for weights and exercises
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Steps between log lines
    #[arg(long, default_value = "50", value_name = "N", value_parser = count::<usize>)]
    log_every: usize,
    /// Steps between measurements by level; each also saves the model
    #[arg(long, default_value = "200", value_name = "N", value_parser = count::<usize>)]
    save_every: usize,
    /// Problems per level in such a measurement
    #[arg(long, default_value = "40", value_name = "N", value_parser = count::<u64>)]
    problems: u64,
    /// Responses to each of 200 problems per level in the final tables, and in each round of them
    #[arg(long, default_value = "4", value_name = "N", value_parser = count::<usize>)]
    samples: usize,
    /// Only make the final tables, for the model in the directory
    #[arg(long)]
    table_only: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (0.0..=1.0).contains(&x) => Ok(x),
        _ => Err("it must be a number from 0 to 1".into()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (0.0..f64::INFINITY).contains(&x) => Ok(x),
        _ => Err("it must be a number of at least 0".into()),
    }
}

fn main() -> ExitCode {
    tool::show_log();
    let run = run(&Options::parse());
    tool::exit(
        run.map(|()| ExitCode::SUCCESS)
            .map_err(|error| error as tool::Failure),
    )
}

fn run(options: &Options) -> Result<(), Error> {
    if options.table_only {
        return tables(options);
    }
    if options.mixture.iter().all(|&weight| weight == 0.0) {
        return Err(Usage("--mixture: one weight at least must be more than 0".into()).into());
    }
    std::fs::create_dir_all(&options.out)?;
    let json = vocabulary::tokenizer_json(options.seed)?;
    let text = serde_json::to_string_pretty(&json)?;
    std::fs::write(options.out.join("tokenizer.json"), &text)?;
    let tokenizer = Tokenizer::from_bytes(text)?;
    let vocabulary = tokenizer.get_vocab_size(true);
    let decoder = Decoder::random(vocabulary, options.seed)?;
    if let Some(directory) = &options.from {
        decoder.load(&directory.join("model.safetensors"))?;
    }
    write_configuration(&options.out, vocabulary)?;
    train(options, &tokenizer, &decoder)?;
    tables(options)
}

fn tables(options: &Options) -> Result<(), Error> {
    rates::print(&options.out, options.threads, options.samples)
}

fn train(options: &Options, tokenizer: &Tokenizer, decoder: &Decoder) -> Result<(), Error> {
    let variables = decoder.variables();
    let trained: usize = variables.iter().map(|var| var.elem_count()).sum();
    let total: usize = decoder.named()?.iter().map(|(_, t)| t.elem_count()).sum();
    say!(
        "{total} parameters, of which {trained} are trained (norms stay ones), {} tokens in the vocabulary",
        tokenizer.get_vocab_size(true)
    );
    let mut optimizer = AdamW::new(
        variables.clone(),
        ParamsAdamW {
            lr: 0.0,
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            weight_decay: 0.01,
        },
    )?;
    let started = Instant::now();
    let mut window = Window::default();
    for step in 0..options.steps {
        optimizer.set_learning_rate(learning_rate(options, step));
        let (loss, norm, tokens) = train_step(options, tokenizer, decoder, &mut optimizer, step)?;
        window.add(loss, norm, tokens);
        if (step + 1) % options.log_every == 0 {
            say!(
                "step {:5}  loss {:.4}  gradient {:.2}  {:.0} tokens/s  {:.0} s",
                step + 1,
                window.loss / window.steps,
                window.norm / window.steps,
                window.tokens / window.since.elapsed().as_secs_f64(),
                started.elapsed().as_secs_f64(),
            );
            window = Window::default();
        }
        if (step + 1) % options.save_every == 0 || step + 1 == options.steps {
            save(decoder, &options.out)?;
            for (asked, name) in [
                (Asked::EveryValue, "every value"),
                (Asked::LastValue, "last value"),
            ] {
                let rates = measure(options, tokenizer, decoder, asked)?;
                let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.3}")).collect();
                say!("reference solutions by level, {name}: {}", rates.join(" "));
            }
            window = Window::default();
        }
    }
    Ok(())
}

/// Sums since the last log line.
struct Window {
    since: Instant,
    steps: f64,
    loss: f64,
    norm: f64,
    tokens: f64,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            since: Instant::now(),
            steps: 0.0,
            loss: 0.0,
            norm: 0.0,
            tokens: 0.0,
        }
    }
}

impl Window {
    fn add(&mut self, loss: f64, norm: f64, tokens: usize) {
        self.steps += 1.0;
        self.loss += loss;
        self.norm += norm;
        self.tokens += tokens as f64;
    }
}

fn learning_rate(options: &Options, step: usize) -> f64 {
    let done = (step as f64 + 0.5) / options.steps as f64;
    if done < options.warm_up {
        options.learning_rate * done / options.warm_up
    } else {
        let rest = (done - options.warm_up) / (1.0 - options.warm_up);
        options.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * rest).cos())
    }
}

/// Performs one step. Returns its mean loss per token, the norm of the gradient and the number of tokens.
fn train_step(
    options: &Options,
    tokenizer: &Tokenizer,
    decoder: &Decoder,
    optimizer: &mut AdamW,
    step: usize,
) -> Result<(f64, f64, usize), Error> {
    let total: f64 = options.mixture.iter().sum();
    let random = Philox::new(trial_seed(options.seed, "abacus mixture", 0));
    let kinds = Philox::new(trial_seed(options.seed, "abacus asked", 0));
    let batch = options.batch;
    let mut examples = Vec::with_capacity(batch);
    for number in (step * batch) as u64..((step + 1) * batch) as u64 {
        let mut drawn = random.uniform(number) * total;
        let mut level = 1;
        for weight in &options.mixture {
            if drawn < *weight {
                break;
            }
            drawn -= weight;
            level += 1;
        }
        let asked = match kinds.uniform(number) < options.last_value_share {
            true => Asked::LastValue,
            false => Asked::EveryValue,
        };
        let mut exercise = exercise(asked, Split::Training, level, number, options.seed);
        let rate = (options.slips * f64::from(level - 1)).min(1.0);
        let slips = Philox::new(trial_seed(options.seed, &exercise.problem.id, 0));
        exercise.solution = slips::forget_carries(&exercise.solution, rate, slips)
            .ok_or("a solution that is none")?;
        examples.push(Example::new(tokenizer, &exercise)?);
    }
    let tokens = examples.iter().map(|example| example.tokens.len()).sum();
    let counted: usize = examples.iter().map(Example::solution_length).sum();
    // Group sequences of similar length, to reduce padding.
    examples.sort_by_key(|example| example.tokens.len());
    let shards: Vec<&[Example]> = examples.chunks(batch.div_ceil(options.shards)).collect();
    let results = in_parallel(options.threads, shards.len(), |shard| {
        let batch = collate(shards[shard])?;
        let logprobs = decoder.forward(&batch)?;
        let chosen = logprobs.gather(&batch.targets.unsqueeze(1)?, 1)?;
        let loss = (chosen.sum_all()? * (-1.0 / counted as f64))?;
        let gradients = loss.backward()?;
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    })?;
    let loss = results.iter().map(|(loss, _)| loss).sum();
    let (gradients, norm) = add_gradients(
        &decoder.variables(),
        results
            .into_iter()
            .map(|(_, gradients)| gradients)
            .collect(),
        options.clip,
    )?;
    optimizer.step(&gradients)?;
    Ok((loss, norm, tokens))
}

/// Sums the shards' gradients in order and scales the sum down to the norm `clip`. Returns the original norm.
fn add_gradients(
    variables: &[Var],
    mut shards: Vec<GradStore>,
    clip: f64,
) -> Result<(GradStore, f64), Error> {
    let mut sums = Vec::with_capacity(variables.len());
    let mut square = 0.0;
    for var in variables {
        let mut sum: Option<Tensor> = None;
        for gradients in &mut shards {
            if let Some(gradient) = gradients.remove(var) {
                sum = Some(match sum {
                    Some(sum) => (sum + gradient)?,
                    None => gradient,
                });
            }
        }
        let sum = sum.ok_or("a weight has no gradient")?;
        square += f64::from(sum.sqr()?.sum_all()?.to_scalar::<f32>()?);
        sums.push(sum);
    }
    let norm = square.sqrt();
    let factor = if norm > clip { clip / norm } else { 1.0 };
    let mut gradients = shards.swap_remove(0);
    for (var, sum) in variables.iter().zip(sums) {
        gradients.insert(var, (sum * factor)?);
    }
    Ok((gradients, norm))
}

/// Calls `work` for `0..count` on several threads and returns the results in order.
fn in_parallel<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let mut results: Vec<(usize, Result<T, Error>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        // The longest sequences are last: process them first.
                        let taken = next.fetch_add(1, Ordering::Relaxed);
                        if taken >= count {
                            return done;
                        }
                        let item = count - 1 - taken;
                        done.push((item, work(item)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    results.sort_by_key(|(item, _)| *item);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A tokenised exercise.
struct Example {
    tokens: Vec<u32>,
    /// The index at which the solution begins.
    solution: usize,
}

impl Example {
    fn new(tokenizer: &Tokenizer, exercise: &Exercise) -> Result<Self, Error> {
        let question = format!("{}{}", exercise.problem.question, vocabulary::ANSWER);
        let solution = format!("{}{}", exercise.solution, vocabulary::STOP);
        let mut tokens = tokenizer.encode_fast(question, false)?.get_ids().to_vec();
        let at = tokens.len();
        tokens.extend_from_slice(tokenizer.encode_fast(solution, false)?.get_ids());
        if tokens.len() > decoder::CONTEXT {
            return Err(format!("{}: {} tokens", exercise.problem.id, tokens.len()).into());
        }
        Ok(Example {
            tokens,
            solution: at,
        })
    }

    fn solution_length(&self) -> usize {
        self.tokens.len() - self.solution
    }
}

/// Pads examples on the right. Only their solutions count.
fn collate(examples: &[Example]) -> Result<Batch, Error> {
    let length = examples
        .iter()
        .map(|example| example.tokens.len() - 1)
        .max()
        .unwrap_or(0);
    let (mut tokens, mut rows, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for (number, example) in examples.iter().enumerate() {
        let (_, inputs) = example.tokens.split_last().ok_or("an empty example")?;
        tokens.extend_from_slice(inputs);
        tokens.resize((number + 1) * length, 1);
        for at in example.solution..example.tokens.len() {
            rows.push((number * length + at - 1) as u32);
            targets.push(example.tokens[at]);
        }
    }
    let tensor = |values: Vec<u32>| {
        let count = values.len();
        Tensor::from_vec(values, count, &Device::Cpu)
    };
    Ok(Batch {
        sequences: examples.len(),
        tokens: tensor(tokens)?,
        rows: tensor(rows)?,
        targets: tensor(targets)?,
    })
}

/// Returns, by level, the mean probability that a response sampled at temperature 1 is exactly the reference
/// solution.
fn measure(
    options: &Options,
    tokenizer: &Tokenizer,
    decoder: &Decoder,
    asked: Asked,
) -> Result<Vec<f64>, Error> {
    let mut rates = Vec::new();
    for level in LEVELS {
        let examples = (0..options.problems)
            .map(|index| {
                let exercise = exercise(asked, Split::Evaluation, level, index, options.seed);
                Example::new(tokenizer, &exercise)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let shards: Vec<&[Example]> = examples.chunks(10).collect();
        let sums = in_parallel(options.threads, shards.len(), |shard| {
            let batch = collate(shards[shard])?;
            let logprobs = decoder.forward(&batch)?.detach();
            let chosen = logprobs.gather(&batch.targets.unsqueeze(1)?, 1)?;
            let mut chosen = chosen.flatten_all()?.to_vec1::<f32>()?.into_iter();
            let mut sum = 0.0;
            for example in shards[shard] {
                let logprob: f32 = chosen.by_ref().take(example.solution_length()).sum();
                sum += f64::from(logprob).exp();
            }
            Ok(sum)
        })?;
        rates.push(sums.iter().sum::<f64>() / options.problems as f64);
    }
    Ok(rates)
}

/// Writes `model.safetensors` in half precision.
fn save(decoder: &Decoder, directory: &Path) -> Result<(), Error> {
    let tensors = decoder
        .named()?
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F16)?)))
        .collect::<candle_core::Result<std::collections::HashMap<_, _>>>()?;
    candle_core::safetensors::save(&tensors, directory.join("model.safetensors"))?;
    Ok(())
}

fn write_configuration(directory: &Path, vocabulary: usize) -> Result<(), Error> {
    let stop = vocabulary::SPECIAL
        .iter()
        .position(|&token| token == vocabulary::STOP);
    let configuration = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": decoder::WIDTH,
        "intermediate_size": decoder::INNER,
        "num_hidden_layers": decoder::LAYERS,
        "num_attention_heads": decoder::HEADS,
        "num_key_value_heads": decoder::HEADS,
        "head_dim": decoder::HEAD_DIM,
        "vocab_size": vocabulary,
        "max_position_embeddings": decoder::CONTEXT,
        "rms_norm_eps": decoder::EPSILON,
        "rope_theta": decoder::ROPE_BASE,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": null,
        "eos_token_id": stop,
        "pad_token_id": 1,
        "torch_dtype": "float16",
    });
    let generation = serde_json::json!({
        "bos_token_id": null,
        "eos_token_id": [stop],
        "pad_token_id": 1,
        "do_sample": true,
        "temperature": 1.0,
    });
    let tokenizer = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": vocabulary::SPECIAL[0],
        "pad_token": vocabulary::SPECIAL[1],
        "eos_token": vocabulary::STOP,
        "add_bos_token": false,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": decoder::CONTEXT,
        "chat_template": vocabulary::CHAT_TEMPLATE,
    });
    for (name, value) in [
        ("config.json", configuration),
        ("generation_config.json", generation),
        ("tokenizer_config.json", tokenizer),
    ] {
        let mut text = serde_json::to_string_pretty(&value)?;
        text.push('\n');
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}
