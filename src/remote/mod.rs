//! Completions from OpenAI-compatible servers (vLLM, SGLang, llama.cpp and others) instead of the engine, for
//! the same runs on machines that already serve a model.
//!
//! ```no_run
//! use dart_math::answer::Checker;
//! use dart_math::dars::{Limits, Prop2Diff, Run};
//! use dart_math::remote::{OpenAi, Prompt};
//! use dart_math::{Sampling, data::problems};
//!
//! let servers = OpenAi::builder()
//!     .endpoint("http://gpu-1:8000/v1")
//!     .endpoint("http://gpu-2:8000/v1")
//!     .api_key_from_env()
//!     .prompt(Prompt::text("User: {problem}\n\nAssistant:")?)
//!     .stop(vec!["User:".into()])
//!     .sampling(Sampling::dart())
//!     .max_tokens(2048)
//!     .connect()?;
//! let (problems, _) = problems::read("problems.jsonl", problems::OnBadRow::Fail)?;
//! let outcome = Run::builder(problems)
//!     .strategy(Prop2Diff::with_pilot(16, 8))
//!     .limits(Limits { trials_per_problem: Some(64), ..Limits::default() })
//!     .journal("journal")
//!     .build()?
//!     .run(&servers, &Checker::default())?
//!     .into_result()?;
//! # Ok::<(), dart_math::Error>(())
//! ```
//!
//! # Differences to the engine
//!
//! A trial differs in one respect: its tokens are drawn by the server. Each request has the trial's own seed
//! (its low 53 bits; llama.cpp takes 32 of them). A server that honours seeds draws the same tokens again, as
//! far as its rounding allows. vLLM and llama.cpp honour seeds, as does SGLang with
//! `--enable-deterministic-inference`. Rounding depends on the batch and, with llama.cpp, on how much of the
//! prompt it has cached ([`extra`](OpenAiBuilder::extra) with `cache_prompt` false turns that off).
//!
//! - Tokens are counted by the server (`usage`), and their ids are unknown. If the server reports no count,
//!   the chunks of the stream are counted. For a cancelled trial this is a lower bound if the server gives no
//!   running count.
//! - `finish_reason` `stop` and `length` are [`Stop`](crate::Finish::Stop) and
//!   [`Length`](crate::Finish::Length), vLLM's `repetition` is [`Loop`](crate::Finish::Loop). `abort` and
//!   `error` are failures and are retried. Any other reason (`tool_calls`, `content_filter`) is accepted as a
//!   normal end, with a warning, and counted ([`EndpointStatistics::odd_finishes`]).
//! - Reasoning that a server has separated from the response (`reasoning_content`, `reasoning`) is put back
//!   before it, between `<think>` and `</think>`. A response with nothing else is unfinished reasoning.
//! - A problem whose prompt is found too long by [`check`](crate::Generator::check) is left out of a run with
//!   the server's message. If it is found later, it gets an empty response with
//!   [`Finish::Length`](crate::Finish::Length) and a warning. A prompt that leaves fewer than
//!   [`max_tokens`](OpenAiBuilder::max_tokens) of the context is refused by some servers. Others (vLLM 0.32)
//!   accept it and cut the response there ([`EndpointStatistics::cut_short`]).
//!
//! # Failures
//!
//! Refused, reset or broken connections, statuses 429 and 5xx, invalid responses and timeouts are retried
//! after growing waits ([`Retries`]), at another endpoint if possible. An endpoint that fails several times
//! in a row is paused and probed before it gets requests again. Other statuses (400, 401, 404, …) and
//! redirects are immediate errors with the server's message. An error ends a run. Delivered completions are
//! kept, and a journal can be resumed.
//!
//! Every endpoint starts with a few concurrent requests. The number grows as long as throughput grows, and is
//! halved after 429, 503 or a timeout. A `Retry-After` is respected. Each request has its own connection. TLS
//! trusts Mozilla's list of certificates, or a file ([`OpenAiBuilder::ca_file`]). Proxies are not used.

mod builder;
mod concurrency;
mod endpoint;
mod failure;
mod fit;
mod generator;
mod http;
mod plan;
mod prompt;
mod response;
mod retry;
mod scheduler;
mod server;
mod sse;

pub use builder::OpenAiBuilder;
pub use endpoint::EndpointStatistics;
pub use generator::OpenAi;
pub use prompt::Prompt;
pub use retry::{Retries, Timeouts};
