//! Completions from servers of the test's own, which misbehave by script. (Over a real server: tests/external/llama.)

mod cancel;
mod concurrency;
mod faults;
mod list;
#[path = "../shared/logged.rs"]
mod logged;
mod runs;
mod server;
mod settings;
mod tls;
mod vllm;
