//! Completions from scripted local servers with faults. Tests with real servers are in tests/external/llama.

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
