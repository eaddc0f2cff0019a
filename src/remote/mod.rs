//! Completions from OpenAI-compatible servers (vLLM, SGLang, llama.cpp and others) in place of the engine's:
//! the same runs, on machines that serve a model already.
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
//!     .journal("journal.jsonl")
//!     .build()?
//!     .run(&servers, &Checker::default())?
//!     .into_result()?;
//! # Ok::<(), dart_math::Error>(())
//! ```
//!
//! # What a trial is
//!
//! The same in every respect but one: its tokens are the server's. Each request has the trial's own seed
//! (its low 53 bits; llama.cpp takes 32 of them), so that a server which honours seeds, as vLLM and
//! llama.cpp do and SGLang where it is started with `--enable-deterministic-inference`, draws the same
//! tokens again as far as its rounding allows, which depends on the batch, and with llama.cpp on how much of the prompt it
//! had computed before ([`extra`](OpenAiBuilder::extra) with `cache_prompt` false turns that off).
//!
//! - Tokens are counted by the server (`usage`); their ids are not known. Where it counts none, the parts
//!   of a stream are counted; of a cancelled trial they are a lower bound with servers that give no
//!   running count.
//! - `finish_reason` `stop` and `length` are [`Stop`](crate::Finish::Stop) and
//!   [`Length`](crate::Finish::Length), vLLM's `repetition` is [`Loop`](crate::Finish::Loop); `abort` and
//!   `error` are failures, and tried again. Anything else (`tool_calls`, `content_filter`) is taken as a
//!   response that ended by itself, with a warning, and counted
//!   ([`EndpointStatistics::odd_finishes`]).
//! - What a server has taken out of a response as its reasoning (`reasoning_content`, `reasoning`) is put
//!   back before it, between `<think>` and `</think>`; a response that is nothing else is unfinished
//!   reasoning.
//! - A problem whose prompt is too long is left out of a run with the server's words, where it is noticed
//!   in [`check`](crate::Generator::check); later it is a response of no text of
//!   [`Finish::Length`](crate::Finish::Length), with a warning. One that leaves fewer than
//!   [`max_tokens`](OpenAiBuilder::max_tokens) of the context is refused by some servers, and accepted by others (vLLM 0.32),
//!   which cut the response there ([`EndpointStatistics::cut_short`]).
//!
//! # What may go wrong
//!
//! Connections that are refused, reset or cut, statuses 429 and 5xx, responses that make no sense and
//! time-outs are tried again after growing waits ([`Retries`]), at another endpoint where there is one. An
//! endpoint that fails several times in a row rests, is asked for a sign of life, and gets requests again.
//! Other statuses (400, 401, 404, …) and redirects are errors at once, with the server's message. An error
//! ends a run; what was delivered before stays, and a journal goes on from it.
//!
//! Every endpoint begins with a few requests at a time, has more as long as more tokens a second come of
//! it, and half as many after 429, 503 or a time-out; a `Retry-After` is kept. Each request has a
//! connection of its own. TLS trusts the certificates of Mozilla's list, or of a file
//! ([`OpenAiBuilder::ca_file`]); proxies are not used.

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
