//! The request bodies, and the settings that completions depend on.

use serde_json::{Map, Value, json};

use super::prompt::Prompt;
use super::server::{Server, Software};
use crate::{Error, ErrorKind, Result, Sampling, Settings};

/// Fields that are determined by other settings.
const OWN_FIELDS: [&str; 12] = [
    "model",
    "prompt",
    "messages",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "seed",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
];
/// The low bits of a trial's seed that are sent: integers that every JSON reader represents exactly.
const SEED_BITS: u32 = 53;
/// Assumed to exceed the context of a server that does not state it.
const MAX_CONTEXT: usize = 1 << 17;

/// The contents of requests.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) model: String,
    pub(super) prompt: Prompt,
    pub(super) sampling: Sampling,
    pub(super) max_tokens: u32,
    pub(super) stop: Vec<String>,
    pub(super) extra: Map<String, Value>,
    pub(super) logprobs: bool,
    pub(super) stream: bool,
}

impl Plan {
    pub(super) fn validate(&self) -> Result<()> {
        let refused = |reason: String| Err(Error::new(ErrorKind::Settings, reason));
        self.prompt.check()?;
        self.sampling.validate()?;
        if self.max_tokens == 0 {
            return refused("max_tokens is 0, but must be at least 1".into());
        }
        if self.stop.iter().any(String::is_empty) {
            return refused(
                "a stop string is empty, and would stop everything before it begins".into(),
            );
        }
        match OWN_FIELDS
            .iter()
            .find(|&&name| self.extra.contains_key(name))
        {
            Some(name) => refused(format!(
                "extra field `{name}`: a setting of its own decides it"
            )),
            None => Ok(()),
        }
    }

    /// Checks that the server is known to support the sampling settings.
    ///
    /// # Errors
    ///
    /// Returns the unsupported setting and a workaround.
    pub(super) fn suits(&self, software: Software) -> Result<(), String> {
        let d = Sampling::default();
        let s = &self.sampling;
        let asked = [
            ("top_k", s.top_k.is_some()),
            ("min_p", s.min_p != d.min_p),
            (
                "repetition_penalty",
                s.repetition_penalty != d.repetition_penalty,
            ),
        ];
        match asked
            .into_iter()
            .find(|&(_, asked)| asked && software == Software::Other)
        {
            Some((name, _)) => Err(format!(
                "{name} is no field of OpenAI's, and the server is none whose name for it is known (vLLM, SGLang, \
                 llama.cpp); an extra field sends it as it is"
            )),
            None => Ok(()),
        }
    }

    /// Refuses a context that `max_tokens` fills, whatever the prompt.
    ///
    /// # Errors
    ///
    /// Both numbers.
    pub(super) fn fits(&self, context: Option<usize>) -> Result<(), String> {
        let new = self.max_tokens;
        match context.filter(|&context| new as usize >= context) {
            Some(context) => Err(format!(
                "max_tokens is {new}, but the model's context is {context} tokens"
            )),
            None => Ok(()),
        }
    }

    /// Returns whether a server's log-probabilities are those of the model's own distribution.
    pub(super) fn has_raw_logprobs(&self, software: Software) -> bool {
        self.logprobs && matches!(software, Software::Vllm | Software::LlamaCpp)
    }

    /// Returns the body of a request without question and seed. Everything for which a server or the model's
    /// files have a default is stated explicitly.
    pub(super) fn body(&self, server: Server) -> Map<String, Value> {
        let Server { software, context } = server;
        let mut body = Map::new();
        let mut set = |name: &str, value: Value| {
            body.insert(name.into(), value);
        };
        let mut sampling = self.sampling.settings();
        let mut of = |name: &str| sampling.remove(name).unwrap_or_default();
        set("model", self.model.clone().into());
        set("temperature", of("temperature"));
        set("top_p", of("top_p"));
        set("max_tokens", self.max_tokens.into());
        if !self.stop.is_empty() {
            set("stop", self.stop.clone().into());
        }
        let top_k = self.sampling.top_k;
        match software {
            Software::Vllm | Software::Sglang => {
                set("top_k", top_k.map_or(json!(-1), Value::from));
                set("min_p", of("min_p"));
                set("repetition_penalty", of("repetition_penalty"));
            }
            Software::LlamaCpp => {
                set("top_k", top_k.map_or(json!(0), Value::from));
                set("min_p", of("min_p"));
                set("repeat_penalty", of("repetition_penalty"));
                if self.sampling.repetition_penalty != 1.0 {
                    // The default is 64 tokens. No value for "all" works in every version.
                    set("repeat_last_n", context.unwrap_or(MAX_CONTEXT).into());
                }
                // By default it truncates before it applies the temperature.
                let order = ["penalties", "temperature", "top_k", "top_p", "min_p"];
                set("samplers", json!(order));
            }
            Software::Other => {}
        }
        if self.has_raw_logprobs(software) {
            // In vLLM, 0 returns only the drawn token's; in llama.cpp it returns none.
            let most = u8::from(software == Software::LlamaCpp);
            match self.prompt.is_chat() {
                true => {
                    set("logprobs", true.into());
                    set("top_logprobs", most.into());
                }
                false => set("logprobs", most.into()),
            }
        }
        set("stream", self.stream.into());
        if self.stream {
            let mut options = json!({"include_usage": true});
            if matches!(software, Software::Vllm | Software::Sglang) {
                options["continuous_usage_stats"] = true.into();
            }
            set("stream_options", options);
        }
        body.extend(self.extra.clone());
        body
    }

    /// Returns the body of a trial's request.
    pub(super) fn request(
        &self,
        body: &Map<String, Value>,
        software: Software,
        question: &str,
        seed: u64,
    ) -> String {
        let mut body = body.clone();
        body.insert("seed".into(), sent_seed(software, seed).into());
        self.prompt.fill(question, &mut body);
        Value::from(body).to_string()
    }

    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        settings.insert("server".into(), "openai".into());
        settings.insert("model".into(), self.model.clone().into());
        self.prompt.settings(&mut settings);
        settings.append(&mut self.sampling.settings());
        settings.insert("max_new_tokens".into(), self.max_tokens.into());
        settings.insert("stop".into(), self.stop.clone().into());
        settings.insert("seed_bits".into(), SEED_BITS.into());
        settings.insert("logprobs".into(), self.logprobs.into());
        if !self.extra.is_empty() {
            settings.insert("extra".into(), self.extra.clone().into());
        }
        settings
    }
}

/// Returns a trial's seed as it is sent to a server.
fn sent_seed(software: Software, seed: u64) -> u64 {
    match software {
        // It keeps 32 bits, and draws its own seed if all of them are set.
        Software::LlamaCpp => u64::from((seed as u32).min(u32::MAX - 1)),
        _ => seed & ((1 << SEED_BITS) - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            model: "m".into(),
            prompt: Prompt::text("Q: {problem}\nA:").unwrap(),
            sampling: Sampling {
                temperature: 0.7,
                top_p: 0.95,
                ..Sampling::default()
            },
            max_tokens: 64,
            stop: vec!["Q:".into()],
            extra: Map::new(),
            logprobs: true,
            stream: true,
        }
    }

    #[test]
    fn every_server_gets_its_own_fields() {
        let plan = plan();
        let of = |software| {
            let body = plan.body(Server {
                software,
                context: None,
            });
            plan.request(&body, software, "1 + 1?", u64::MAX)
        };
        assert_eq!(
            of(Software::Vllm),
            r#"{"model":"m","temperature":0.7,"top_p":0.95,"max_tokens":64,"stop":["Q:"],"top_k":-1,"min_p":0.0,"repetition_penalty":1.0,"logprobs":0,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"seed":9007199254740991,"prompt":"Q: 1 + 1?\nA:"}"#
        );
        assert_eq!(
            of(Software::LlamaCpp),
            r#"{"model":"m","temperature":0.7,"top_p":0.95,"max_tokens":64,"stop":["Q:"],"top_k":0,"min_p":0.0,"repeat_penalty":1.0,"samplers":["penalties","temperature","top_k","top_p","min_p"],"logprobs":1,"stream":true,"stream_options":{"include_usage":true},"seed":4294967294,"prompt":"Q: 1 + 1?\nA:"}"#
        );
        assert_eq!(
            of(Software::Other),
            r#"{"model":"m","temperature":0.7,"top_p":0.95,"max_tokens":64,"stop":["Q:"],"stream":true,"stream_options":{"include_usage":true},"seed":9007199254740991,"prompt":"Q: 1 + 1?\nA:"}"#
        );
        assert!(!of(Software::Sglang).contains("logprobs"));
    }

    #[test]
    fn a_penalty_looks_at_all_tokens() {
        let sampling = Sampling {
            repetition_penalty: 1.1,
            ..Sampling::default()
        };
        let plan = Plan { sampling, ..plan() };
        let server = Server {
            software: Software::LlamaCpp,
            context: Some(4096),
        };
        let body = plan.body(server);
        assert_eq!(
            (&body["repeat_penalty"], &body["repeat_last_n"]),
            (&json!(1.1), &json!(4096))
        );
    }

    #[test]
    fn a_chat_is_messages() {
        let plan = Plan {
            prompt: Prompt::chat().with_system("Be brief."),
            stream: false,
            ..plan()
        };
        let body = plan.body(Server {
            software: Software::Vllm,
            context: None,
        });
        let request = plan.request(&body, Software::Vllm, "1 + 1?", 5);
        let request: Value = serde_json::from_str(&request).unwrap();
        assert_eq!(
            request["messages"],
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}])
        );
        assert_eq!(
            (&request["seed"], &request["stream"]),
            (&json!(5), &json!(false))
        );
        assert_eq!(
            (&request["logprobs"], &request["top_logprobs"]),
            (&json!(true), &json!(0))
        );
        assert_eq!(request.get("stream_options"), None);
    }

    #[test]
    fn what_a_server_is_not_known_to_do_is_refused_by_name() {
        let d = Sampling::default();
        for (name, sampling) in [
            (
                "top_k",
                Sampling {
                    top_k: Some(5),
                    ..d
                },
            ),
            ("min_p", Sampling { min_p: 0.1, ..d }),
            (
                "repetition_penalty",
                Sampling {
                    repetition_penalty: 1.1,
                    ..d
                },
            ),
        ] {
            let plan = Plan { sampling, ..plan() };
            assert!(plan.suits(Software::Other).unwrap_err().starts_with(name));
            for software in [Software::Vllm, Software::Sglang, Software::LlamaCpp] {
                assert_eq!(plan.suits(software), Ok(()));
            }
        }
        assert_eq!(plan().suits(Software::Other), Ok(()));
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let named = |plan: Plan, name: &str| {
            let error = plan.validate().unwrap_err();
            assert!(error.detail().contains(name), "{error}");
        };
        named(
            Plan {
                max_tokens: 0,
                ..plan()
            },
            "max_tokens",
        );
        named(
            Plan {
                stop: vec![String::new()],
                ..plan()
            },
            "stop string",
        );
        named(
            Plan {
                prompt: Prompt::Text("x".into()),
                ..plan()
            },
            "{problem}",
        );
        let extra = Map::from_iter([("seed".to_owned(), json!(1))]);
        named(Plan { extra, ..plan() }, "`seed`");
        let sampling = Sampling {
            top_p: 0.0,
            ..Sampling::default()
        };
        named(Plan { sampling, ..plan() }, "top_p");
        plan().validate().unwrap();
    }
}
