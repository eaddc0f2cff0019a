//! The generator: one engine per device in this process, or servers.

use dart_math::Generator;
use dart_math::engine::EngineGroup;

use crate::Args;
use crate::common::engine::say_statistics;
use crate::common::tool::Failure;
#[cfg(not(feature = "openai"))]
use crate::common::tool::Usage;

/// The generator of trials.
pub(crate) enum Sampler {
    Engines(EngineGroup),
    #[cfg(feature = "openai")]
    Servers(Box<dart_math::remote::OpenAi>),
}

impl Sampler {
    /// Loads the model, or queries the servers for theirs.
    pub(crate) fn new(args: &Args) -> Result<Self, Failure> {
        if args.server.is_empty() {
            return Ok(Sampler::Engines(args.engine.group(Ok)?));
        }
        #[cfg(feature = "openai")]
        return Ok(Sampler::Servers(Box::new(servers::connect(args)?)));
        #[cfg(not(feature = "openai"))]
        return Err(Usage(
            "--server needs a build with the feature openai: cargo run --release --features openai \
             --example synthesize -- --server …"
                .into(),
        )
        .into());
    }

    pub(crate) fn generator(&self) -> &dyn Generator {
        match self {
            Sampler::Engines(engines) => engines,
            #[cfg(feature = "openai")]
            Sampler::Servers(servers) => &**servers,
        }
    }

    pub(crate) fn say_statistics(&self) {
        match self {
            Sampler::Engines(engines) => say_statistics("sampled: ", engines),
            #[cfg(feature = "openai")]
            Sampler::Servers(servers) => servers::say_statistics(servers),
        }
    }
}

#[cfg(feature = "openai")]
mod servers {
    use dart_math::model::NamedTemplate;
    use dart_math::remote::{OpenAi, Prompt};
    use dart_math::{Error, Result};

    use crate::Args;
    use crate::common::tool::{Failure, Usage, say};

    /// The default of `--model`.
    const BUILT_IN: &str = "abacus";
    /// The default maximum number of tokens of a response.
    const MAX_NEW_TOKENS: usize = 1024;

    pub(super) fn connect(args: &Args) -> Result<OpenAi, Failure> {
        let engine = &args.engine;
        for (flag, given) in [
            ("--revision", engine.revision.is_some()),
            ("--cache-dir", engine.cache_dir.is_some()),
            ("--template-arg", !engine.template_arg.is_empty()),
            ("--slots", engine.slots.is_some()),
            ("--kv-mib", engine.kv_mib.is_some()),
            ("--threads", engine.threads.is_some()),
            ("--no-loop-detection", engine.no_loop_detection),
        ] {
            if given {
                let reason = format!("{flag} is of the engine in this process, not of --server");
                return Err(Usage(reason).into());
            }
        }
        let (prompt, stop) = prompt(engine.template.as_deref())?;
        let most = engine.max_new_tokens().unwrap_or(MAX_NEW_TOKENS);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let mut builder = OpenAi::builder()
            .api_key_from_env()
            .prompt(prompt)
            .sampling(engine.sampling())
            .max_tokens(most)
            .stop(stop.into_iter().chain(engine.stop.clone()).collect());
        if engine.model != BUILT_IN {
            builder = builder.model(&engine.model);
        }
        if let Some(wait) = args.server_wait {
            builder = builder.wait(wait);
        }
        if let Some(file) = &args.server_ca {
            builder = builder.ca_file(file);
        }
        for server in &args.server {
            builder = builder.endpoint(server);
        }
        Ok(builder.connect()?)
    }

    /// Returns the prompt of a template and its stop strings.
    fn prompt(template: Option<&str>) -> Result<(Prompt, Vec<String>)> {
        let Some(text) = template.filter(|text| *text != "chat") else {
            return Ok((Prompt::chat(), Vec::new()));
        };
        if let Some(path) = text.strip_prefix('@') {
            let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
            let prompt = Prompt::text(text).map_err(|error| error.context(path))?;
            return Ok((prompt, Vec::new()));
        }
        if let Some(named) = NamedTemplate::ALL.iter().find(|named| named.name == text) {
            let text = format!("{}{{problem}}{}", named.before, named.after);
            let stop = named.stop.iter().map(ToString::to_string).collect();
            return Ok((Prompt::text(text)?, stop));
        }
        Ok((Prompt::text(text.replace("\\n", "\n"))?, Vec::new()))
    }

    pub(super) fn say_statistics(servers: &OpenAi) {
        for endpoint in servers.statistics() {
            say!(
                "{}: {} requests, {} completed, {} cancelled, {} tried again, {} failed; {} tokens; up to {} at \
                 a time",
                endpoint.url,
                endpoint.requests,
                endpoint.completed,
                endpoint.cancelled,
                endpoint.retries,
                endpoint.failures,
                endpoint.tokens,
                endpoint.max_in_flight
            );
        }
    }
}
