//! Options of the tools that sample: the model, sampling settings and devices.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use dart_math::engine::{ActivationType, Engine, EngineBuilder, EngineGroup, KvType, Sampling};
use dart_math::model::{
    DeviceChoice, DeviceList, DtypeChoice, Model, ModelBuilder, ModelSource, NamedTemplate,
    Template,
};
use dart_math::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::count::count;
use super::kv_limit::explain_kv_limit;
use super::setting::setting;
use super::tool::{Failure, Usage, say};

/// The options for the model and for sampling.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// Model: `abacus` (built in), a directory, a GGUF file, or a repository id of the hub
    #[arg(
        long,
        default_value = "abacus",
        value_name = "ID|DIR|FILE.gguf",
        help_heading = "Model"
    )]
    pub(crate) model: String,
    /// Branch, tag or commit of a repository of the hub
    #[arg(long, value_name = "REV", help_heading = "Model")]
    pub(crate) revision: Option<String>,
    /// Directory of the hub's files
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Device: auto, cpu, cuda, cuda:N or metal; or several CUDA devices, each with a copy of the model:
    /// cuda:0,cuda:1 and so on, or cuda:all
    #[arg(long, default_value = "auto", value_parser = setting::<DeviceList>, help_heading = "Model")]
    pub(crate) device: DeviceList,
    /// Type of the weights: auto, f32, f16, bf16 or quantized
    #[arg(long, default_value = "auto", value_parser = setting::<DtypeChoice>, help_heading = "Model")]
    pub(crate) dtype: DtypeChoice,
    #[arg(long, value_name = "NAME|chat|STRING|@FILE", help = template_help(), help_heading = "Model")]
    pub(crate) template: Option<String>,

    /// Variable of the model's chat template, such as `enable_thinking=false` (may be repeated). JSON values
    /// (true, false, null, numbers, strings, lists, objects) are parsed; anything else is a string
    #[arg(long, value_name = "NAME=VALUE", value_parser = template_arg, help_heading = "Model")]
    pub(crate) template_arg: Vec<(String, Value)>,

    /// Settings of a paper, unless other flags override them: `dart` is temperature 1.6, top-p 0.95 and 2,048
    /// new tokens, and for synthesize the values that --k, --trials, --max-trials and --pilot list as the
    /// preset's. The model and the template are not part of it
    #[arg(long, help_heading = "Sampling")]
    pub(crate) preset: Option<Preset>,
    /// Always take the most probable token
    #[arg(long, help_heading = "Sampling", conflicts_with_all = ["temperature", "top_p", "top_k", "min_p"])]
    pub(crate) greedy: bool,
    /// Divides the logits; 0 is greedy [default: 1.0]
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "T",
        help_heading = "Sampling"
    )]
    pub(crate) temperature: Option<f32>,
    /// Keep the most probable tokens whose mass reaches P [default: 0.95]
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "P",
        help_heading = "Sampling"
    )]
    pub(crate) top_p: Option<f32>,
    /// Keep the N most probable tokens
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Sampling")]
    pub(crate) top_k: Option<usize>,
    /// Keep the tokens at least P times as probable as the most probable one
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "P",
        help_heading = "Sampling"
    )]
    pub(crate) min_p: Option<f32>,
    /// Make tokens that occurred before less probable; 1 changes nothing
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "R",
        help_heading = "Sampling"
    )]
    pub(crate) repetition_penalty: Option<f32>,
    /// Maximum number of tokens of a completion [default: 1024]
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Sampling")]
    pub(crate) max_new_tokens: Option<usize>,
    /// Also stop at this text (may be repeated)
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    pub(crate) stop: Vec<String>,
    /// Do not cut off completions that repeat themselves endlessly
    #[arg(long, help_heading = "Sampling")]
    pub(crate) no_loop_detection: bool,

    /// Number of sequences run at a time [default: 32 on a CPU; 256 on an NVIDIA GPU with the crate's own
    /// CUDA backend, 64 on a GPU with candle's operations; 4 for an architecture from candle-transformers]
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Machine")]
    pub(crate) slots: Option<usize>,
    /// Maximum memory for the KV cache, in MiB [default: no limit]
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Machine")]
    pub(crate) kv_mib: Option<usize>,
    /// Type of the KV cache: f32, or f16 for half the memory (CPU only)
    #[arg(
        long,
        default_value = "f32",
        value_parser = setting::<KvType>,
        value_name = "TYPE",
        help_heading = "Machine"
    )]
    pub(crate) kv_type: KvType,
    /// Type of the activations multiplied with quantized weights: f32, or int8, which is faster (CPU only)
    #[arg(
        long,
        default_value = "f32",
        value_parser = setting::<ActivationType>,
        value_name = "TYPE",
        help_heading = "Machine"
    )]
    pub(crate) activation_type: ActivationType,
    /// Number of compute threads [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Machine")]
    pub(crate) threads: Option<usize>,
}

/// Named sets of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// The settings of the DART-Math paper.
    Dart,
}

impl EngineArgs {
    /// Creates an engine for each device, each configured by `change` after the common settings.
    pub(crate) fn group(
        &self,
        change: impl Fn(EngineBuilder) -> Result<EngineBuilder>,
    ) -> Result<EngineGroup, Failure> {
        let devices = self.device.devices()?;
        let engine = |device| Ok(change(self.builder(device)?)?.build()?);
        let engines: Result<Vec<Engine>, Failure> = devices.into_iter().map(engine).collect();
        Ok(EngineGroup::new(engines?)?)
    }

    /// Loads the model, showing downloads, and configures its engine.
    pub(crate) fn builder(&self, device: DeviceChoice) -> Result<EngineBuilder, Failure> {
        // Validate settings before loading anything.
        let sampling = self.sampling();
        sampling.validate()?;
        self.source()?;
        let template = self.template()?;
        let mut builder = Engine::builder(self.load(device)?)
            .sampling(sampling)
            .stop(self.stop.clone())
            .kv_type(self.kv_type)
            .activation_type(self.activation_type)
            .loop_detection(!self.no_loop_detection);
        if let Some(tokens) = self.max_new_tokens() {
            builder = builder.max_new_tokens(tokens);
        }
        if let Some(template) = template {
            builder = builder.template(template);
        }
        if let Some(slots) = self.slots {
            builder = builder.slots(slots);
        }
        if let Some(mib) = self.kv_mib {
            builder = builder.kv_bytes(mib.saturating_mul(1 << 20));
        }
        if let Some(threads) = self.threads {
            builder = builder.threads(threads);
        }
        Ok(builder)
    }

    /// Adds the name of the flag that resolves an error of the engine.
    pub(crate) fn explain(&self, error: Error) -> Error {
        explain_kv_limit(error, self.kv_mib)
    }

    /// Returns the requested template, if any.
    fn template(&self) -> Result<Option<Template>, Failure> {
        let given = self.template.as_deref().map(template).transpose()?;
        if self.template_arg.is_empty() {
            return Ok(given);
        }
        for (index, (name, _)) in self.template_arg.iter().enumerate() {
            if self.template_arg[..index]
                .iter()
                .any(|(other, _)| other == name)
            {
                let reason = format!("--template-arg {}: given twice", name.escape_debug());
                return Err(Usage(reason).into());
            }
        }
        // Arguments are for chat templates, so use the model's own.
        let template = given.unwrap_or_else(Template::chat);
        let arguments = self.template_arg.iter().cloned().collect();
        Ok(Some(template.with_arguments(arguments)?))
    }

    /// Returns the location of the model. Fails if hub flags are given but do not apply.
    fn source(&self) -> Result<ModelSource, Failure> {
        let source = ModelSource::parse(&self.model)?;
        let given = [
            ("--revision", self.revision.is_some()),
            ("--cache-dir", self.cache_dir.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) if !matches!(source, ModelSource::Hub { .. }) => {
                let reason =
                    format!("{flag} does not apply to `{source}`, which is not of the hub");
                Err(Usage(reason).into())
            }
            _ => Ok(source),
        }
    }

    /// Configures where and how the model is loaded.
    pub(crate) fn model(&self, device: DeviceChoice) -> Result<ModelBuilder, Failure> {
        let mut builder = Model::builder(self.source()?)
            .device(device)
            .dtype(self.dtype);
        if let Some(revision) = &self.revision {
            builder = builder.revision(revision);
        }
        if let Some(dir) = &self.cache_dir {
            builder = builder.cache_dir(dir);
        }
        Ok(builder)
    }

    fn load(&self, device: DeviceChoice) -> Result<Model, Failure> {
        let builder = self.model(device)?;
        let bar = ProgressBar::no_length().with_style(
            ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {eta} to go")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let shown = bar.clone();
        let model = builder
            .progress(Arc::new(move |progress| {
                shown.set_length(progress.total);
                shown.set_position(progress.bytes);
            }))
            .load();
        bar.finish_and_clear();
        Ok(model?)
    }

    pub(crate) fn sampling(&self) -> Sampling {
        let base = match (self.greedy, self.preset) {
            (true, _) => Sampling::greedy(),
            (false, Some(Preset::Dart)) => Sampling::dart(),
            (false, None) => Sampling {
                top_p: 0.95,
                ..Sampling::default()
            },
        };
        Sampling {
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
        }
    }

    /// Returns the maximum number of tokens of a completion, if set.
    pub(crate) fn max_new_tokens(&self) -> Option<usize> {
        self.max_new_tokens
            .or_else(|| self.preset.map(|Preset::Dart| 2048))
    }
}

/// Prints each engine's statistics after the given text.
pub(crate) fn say_statistics(words: &str, group: &EngineGroup) {
    for (engine, statistics) in group.engines().iter().zip(group.statistics()) {
        match engine.model().cuda() {
            Some(number) if group.engines().len() > 1 => say!("{words}cuda:{number}: {statistics}"),
            _ => say!("{words}{statistics}"),
        }
    }
}

fn template_help() -> String {
    let names: Vec<&str> = NamedTemplate::ALL.iter().map(|named| named.name).collect();
    format!(
        "Prompt template: `chat` (the model's own), a name ({}), a text with {{problem}} in which \
         every `\\n` is a line break, or @ and a file with such a text, which is taken as it is \
         [default: the model's own, or else {}]",
        names.join(", "),
        NamedTemplate::DEEPSEEKMATH.name
    )
}

/// Parses a variable of a chat template.
fn template_arg(text: &str) -> Result<(String, Value), String> {
    let parted = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parted.ok_or("expected NAME=VALUE")?;
    let plain = value.trim();
    let value = match (serde_json::from_str(value), plain) {
        (Ok(value), _) => value,
        (_, "True" | "False" | "None") => {
            let json = match plain {
                "None" => "null".to_owned(),
                other => other.to_ascii_lowercase(),
            };
            return Err(format!(
                "`{plain}` is Python's word; JSON's is {json} (for the text, \"{plain}\" in quotes)"
            ));
        }
        (Err(error), _) if plain.starts_with(['[', '{', '"']) => {
            return Err(format!("begins as JSON, and is none: {error}"));
        }
        (Err(_), _) => value.into(),
    };
    Ok((name.to_owned(), value))
}

/// Parses the template of a flag.
fn template(text: &str) -> Result<Template> {
    let Some(path) = text.strip_prefix('@') else {
        return Template::parse(&text.replace("\\n", "\n"));
    };
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    Template::custom(text).map_err(|error| error.context(path))
}
