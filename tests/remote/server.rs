//! A scripted local server. It lists a model, completes requests, and injects faults if the script says so. The
//! completion is a function of the seed alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dart_math::Philox;
use serde_json::{Value, json};

/// A request for a completion.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    pub(crate) seed: u64,
    /// How often this seed was requested before.
    pub(crate) before: usize,
    /// The number of requests being answered, including this one.
    pub(crate) at_work: usize,
    pub(crate) at: Instant,
}

/// The reaction to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A completion, with this pause before each part.
    Good(Duration),
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// The first bytes of a completion, then the end of the connection.
    Cut(usize),
    /// The first bytes of a completion, then silence.
    Stall(usize),
    /// A completion, one byte at a time.
    Trickle(Duration),
    /// A reset of the connection.
    Reset,
    /// A completion followed by a second response that nobody requested.
    Twice,
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) asked: Vec<Asked>,
    /// Seeds whose completions were sent whole.
    pub(crate) completed: Vec<u64>,
    /// Connections that the client closed before the end of a response.
    pub(crate) closed: usize,
    pub(crate) lists: usize,
    pub(crate) most_at_work: usize,
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

struct Shared {
    port: u16,
    script: Box<Script>,
    models: Value,
    log: Mutex<Log>,
    at_work: AtomicUsize,
    is_alive: AtomicBool,
    is_over: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

pub(crate) struct Server {
    shared: Arc<Shared>,
    accepts: Option<JoinHandle<()>>,
}

/// The model's response to a seed. Two fifths of the responses are right.
pub(crate) fn text(seed: u64) -> String {
    let answer = if Philox::new(seed).uniform(0) < 0.4 {
        "right"
    } else {
        "wrong"
    };
    format!("{seed:x} so it is {answer}")
}

/// The number of tokens in the response.
pub(crate) fn tokens(seed: u64) -> u32 {
    text(seed).split_inclusive(' ').count() as u32
}

impl Server {
    pub(crate) fn new(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Server::serving(&["tiny"], "vllm", script)
    }

    pub(crate) fn good() -> Self {
        Server::new(|_| Reply::Good(Duration::ZERO))
    }

    /// Starts a server whose model has a context of this many tokens.
    pub(crate) fn of_context(
        context: usize,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Server::listing(&["tiny"], "vllm", context, script)
    }

    /// Starts a server with these models and this software name.
    pub(crate) fn serving(
        names: &[&str],
        software: &str,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Server::listing(names, software, 100, script)
    }

    fn listing(
        names: &[&str],
        software: &str,
        context: usize,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let models = names
            .iter()
            .map(|name| json!({"id": name, "object": "model", "owned_by": software, "max_model_len": context}));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let shared = Arc::new(Shared {
            port: listener.local_addr().unwrap().port(),
            script: Box::new(script),
            models: json!({"object": "list", "data": models.collect::<Vec<_>>()}),
            log: Mutex::default(),
            at_work: AtomicUsize::new(0),
            is_alive: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepts = {
            let shared = shared.clone();
            thread::spawn(move || accept(&shared, listener))
        };
        Server {
            shared,
            accepts: Some(accepts),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.shared.port)
    }

    pub(crate) fn log<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.shared.log.lock().unwrap())
    }

    pub(crate) fn requests(&self) -> usize {
        self.log(|log| log.asked.len())
    }

    /// Closes its port and all connections.
    pub(crate) fn die(&self) {
        self.shared.is_alive.store(false, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Reopens its port.
    pub(crate) fn come_back(&self) {
        self.shared.is_alive.store(true, Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.die();
        if let Some(accepts) = self.accepts.take() {
            let _ = accepts.join();
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: TcpListener) {
    let mut listener = Some(listener);
    while !shared.is_over.load(Ordering::SeqCst) {
        if !shared.is_alive.load(Ordering::SeqCst) {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind((Ipv4Addr::LOCALHOST, shared.port)).ok();
        }
        let accepted = listener.as_ref().map(|listener| {
            listener.set_nonblocking(true).unwrap();
            listener.accept()
        });
        let Some(Ok((stream, _))) = accepted else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        shared
            .streams
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let shared = shared.clone();
        thread::spawn(move || {
            // Errors of the connection are expected.
            let _ = serve(&shared, &stream);
            let _ = stream.shutdown(Shutdown::Both);
            let peer = stream.peer_addr().ok();
            shared
                .streams
                .lock()
                .unwrap()
                .retain(|other| other.peer_addr().ok() != peer);
        });
    }
}

fn serve(shared: &Shared, stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None => break,
        };
    }
    if path == "/v1/models" {
        shared.log.lock().unwrap().lists += 1;
        return write_json(stream, 200, &[], &shared.models.to_string());
    }
    if path.ends_with("/models") {
        return write_json(stream, 404, &[], r#"{"detail":"Not Found"}"#);
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let seed = body["seed"].as_u64().unwrap();
    let at_work = shared.at_work.fetch_add(1, Ordering::SeqCst) + 1;
    let asked = {
        let mut log = shared.log.lock().unwrap();
        let before = log.asked.iter().filter(|asked| asked.seed == seed).count();
        let at = Instant::now();
        let asked = Asked {
            path,
            headers,
            body,
            seed,
            before,
            at_work,
            at,
        };
        log.most_at_work = log.most_at_work.max(at_work);
        log.asked.push(asked.clone());
        asked
    };
    let replied = reply(shared, stream, &asked);
    shared.at_work.fetch_sub(1, Ordering::SeqCst);
    replied
}

fn reply(shared: &Shared, mut stream: &TcpStream, asked: &Asked) -> std::io::Result<()> {
    let parts = parts(asked);
    let whole = parts.concat();
    match (shared.script)(asked) {
        Reply::Good(pause) => {
            for part in &parts {
                if !wait(shared, stream, pause) {
                    return Ok(());
                }
                stream.write_all(part)?;
            }
            shared.log.lock().unwrap().completed.push(asked.seed);
            Ok(())
        }
        Reply::Status(status, headers, body) => write_json(stream, status, &headers, &body),
        Reply::Raw(bytes) => stream.write_all(&bytes),
        Reply::Cut(length) => stream.write_all(&whole[..length.min(whole.len() - 1)]),
        Reply::Stall(length) => {
            stream.write_all(&whole[..length.min(whole.len() - 1)])?;
            wait(shared, stream, Duration::from_secs(60));
            Ok(())
        }
        Reply::Trickle(pause) => {
            for byte in whole {
                thread::sleep(pause);
                stream.write_all(&[byte])?;
            }
            Ok(())
        }
        Reply::Reset => {
            // Closing a socket with zero linger time resets the connection.
            #[cfg(unix)]
            {
                use std::os::fd::AsRawFd;
                let linger = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                let size = size_of::<libc::linger>() as libc::socklen_t;
                // SAFETY: the pointer is to a `linger` of that size, which the call only reads.
                unsafe {
                    let pointer = (&raw const linger).cast();
                    libc::setsockopt(
                        stream.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_LINGER,
                        pointer,
                        size,
                    );
                }
            }
            Ok(())
        }
        Reply::Twice => {
            let strange =
                json!({"choices": [{"index": 0, "text": "nobody's", "finish_reason": "stop"}]});
            let strange = strange.to_string();
            stream.write_all(&whole)?;
            write_json(stream, 200, &[], &strange)?;
            wait(shared, stream, Duration::from_millis(300));
            Ok(())
        }
    }
}

/// Waits this long or until the client closes the connection. Returns whether it is still open.
fn wait(shared: &Shared, stream: &TcpStream, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || shared.is_over.load(Ordering::SeqCst) {
            return true;
        }
        stream
            .set_read_timeout(Some(left.min(Duration::from_millis(20))))
            .unwrap();
        match stream.peek(&mut [0]) {
            Ok(0) => {
                shared.log.lock().unwrap().closed += 1;
                return false;
            }
            Ok(_) => thread::sleep(Duration::from_millis(1)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                shared.log.lock().unwrap().closed += 1;
                return false;
            }
            Err(_) => {}
        }
    }
}

fn write_json(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&'static str, String)],
    body: &str,
) -> std::io::Result<()> {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}Content-Type: application/json\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes())
}

/// The parts of a response: the header and one event per token, or all at once without streaming.
fn parts(asked: &Asked) -> Vec<Vec<u8>> {
    let text = text(asked.seed);
    let is_chat = asked.path.ends_with("/chat/completions");
    let usage = json!({"completion_tokens": tokens(asked.seed)});
    let logprobs = asked.body.get("logprobs").is_some();
    let choice = |part: &str, finish: Value, streamed: bool| {
        let mut choice = json!({"index": 0, "finish_reason": finish});
        match (is_chat, streamed) {
            (true, true) => choice["delta"] = json!({"content": part}),
            (true, false) => choice["message"] = json!({"role": "assistant", "content": part}),
            (false, _) => choice["text"] = part.into(),
        }
        if logprobs && !part.is_empty() {
            let each: Vec<f64> = part.split_inclusive(' ').map(|_| -0.5).collect();
            choice["logprobs"] = json!({"token_logprobs": each});
        }
        choice
    };
    if asked.body["stream"] != true {
        let body =
            json!({"choices": [choice(&text, "stop".into(), false)], "usage": usage}).to_string();
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\r\n"
        );
        return vec![(head + &body).into_bytes()];
    }
    let mut data: Vec<String> = text
        .split_inclusive(' ')
        .map(|part| json!({"choices": [choice(part, Value::Null, true)]}).to_string())
        .collect();
    data.push(json!({"choices": [choice("", "stop".into(), true)]}).to_string());
    data.push(json!({"choices": [], "usage": usage}).to_string());
    data.push("[DONE]".into());
    let chunk = |data: String| {
        let event = format!("data: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
    };
    let head =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n";
    let mut parts = vec![head.as_bytes().to_vec()];
    parts.extend(data.into_iter().map(chunk));
    // The last event is the last one that the client waits for.
    parts.last_mut().unwrap().extend(b"0\r\n\r\n");
    parts
}
