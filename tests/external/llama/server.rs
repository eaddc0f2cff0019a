//! llama.cpp servers in child processes (`scripts/llama_server.py`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::repository;

/// A tiny random model that llama.cpp reads, with a context of 256 tokens. Its tokens are bytes.
const MODEL: &str = "tests/fixtures/golden/gguf_llama/model.gguf";

pub(super) struct Llama {
    process: Child,
    url: String,
    slots: usize,
}

impl Llama {
    /// Starts a server with four slots on a free port.
    pub(super) fn start() -> Self {
        Llama::of_slots(4)
    }

    /// Starts a server with this many slots.
    pub(super) fn of_slots(slots: usize) -> Self {
        let (process, url) = launch(0, slots).unwrap();
        Llama {
            process,
            url,
            slots,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Kills the server (SIGKILL).
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Restarts a killed server on the same port.
    pub(super) fn restart(&mut self) {
        let port = self.port();
        let begun = Instant::now();
        let (process, url) = loop {
            match launch(port, self.slots) {
                Ok(launched) => break launched,
                // The system may keep the port occupied for a while.
                Err(reason) => assert!(begun.elapsed() < Duration::from_secs(60), "{reason}"),
            }
        };
        assert_eq!(url, self.url);
        self.process = process;
    }

    /// Returns the number of tokens sampled since the start.
    pub(super) fn sampled(&self) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let name = "llamacpp:tokens_predicted_total ";
        let line = response.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {name}in: {response}"))
    }

    fn port(&self) -> u16 {
        let port = self.url.strip_suffix("/v1").unwrap().rsplit(':').next();
        port.unwrap().parse().unwrap()
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a server and waits until it answers. Returns its process and base URL, or its error output.
fn launch(port: u16, slots: usize) -> Result<(Child, String), String> {
    let mut process = Command::new("python3")
        .arg(repository("scripts/llama_server.py"))
        .arg(repository(MODEL))
        .args(["--port", &port.to_string()])
        .args(["--slots", &slots.to_string()])
        // The server exits when this pipe closes, so it never outlives this process.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = process.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let lines: Vec<String> = BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    });
    let mut line = String::new();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    if line.trim_end().is_empty() {
        let _ = process.kill();
        let _ = process.wait();
        return Err(log.join().unwrap());
    }
    Ok((process, line.trim_end().to_owned()))
}
