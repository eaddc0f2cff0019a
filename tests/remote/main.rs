//! Completions from servers: of the test's own, which misbehave by script, and a real one where the
//! environment names it.

mod cancel;
mod concurrency;
mod faults;
mod list;
mod llama;
mod runs;
mod server;
mod settings;
