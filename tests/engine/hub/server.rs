//! A local hub server for tests, which can inject faults.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::tiny;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A fault that replaces an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// Another status, without a body.
    Status(&'static str),
    /// Silence on an open connection.
    Silence,
    /// The first bytes of the answer, then the end of the connection.
    Cut(usize),
    /// The first bytes of the answer, then silence.
    Stall(usize),
    /// The whole file, whatever range was requested.
    Whole,
    /// Another body with another length.
    Other,
}

/// The requests that meet a fault.
#[derive(Clone, Debug)]
struct Rule {
    method: &'static str,
    path: &'static str,
    fault: Fault,
    left: usize,
}

/// A request for a file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) file: String,
    /// The first byte of the requested range, if there was one.
    pub(crate) from: Option<usize>,
}

/// A hub that answers the requests of downloads.
pub(crate) struct Hub {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The required token, if any.
    pub(crate) token: Option<String>,
    /// The commit of all branches.
    pub(crate) commit: Mutex<String>,
    /// Whether a 404 says what is missing, as the real hub does.
    pub(crate) says_what: bool,
    rules: Mutex<Vec<Rule>>,
    asked: Mutex<Vec<Asked>>,
    requests: Mutex<usize>,
    stop: AtomicBool,
}

struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

impl Hub {
    /// A repository with the tiny model, and files that are never requested.
    pub(crate) fn new() -> Self {
        let files = [
            ("config.json", tiny::config_json().to_string().into_bytes()),
            (
                "tokenizer.json",
                tiny::tokenizer_json().to_string().into_bytes(),
            ),
            (
                "generation_config.json",
                b"{\"eos_token_id\": [7]}".to_vec(),
            ),
            (
                "model.safetensors",
                tiny::safetensors(&tiny::tensors(), "F32"),
            ),
            ("pytorch_model.bin", vec![0; 1000]),
            ("README.md", vec![0; 1000]),
        ];
        Hub {
            files: files
                .into_iter()
                .map(|(name, bytes)| (name.to_owned(), bytes))
                .collect(),
            token: None,
            commit: Mutex::new(COMMIT.to_owned()),
            says_what: true,
            rules: Mutex::default(),
            asked: Mutex::default(),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub(crate) fn serve(self) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let hub = Arc::new(self);
        let served = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.stop.load(Ordering::SeqCst) {
                    break;
                }
                let hub = served.clone();
                std::thread::spawn(move || hub.answer(stream.unwrap()));
            }
        });
        Served {
            hub,
            url: format!("http://{address}"),
        }
    }

    /// Lets the next `left` requests with this in their path meet a fault.
    pub(crate) fn spoil(
        &self,
        method: &'static str,
        path: &'static str,
        fault: Fault,
        left: usize,
    ) {
        self.rules.lock().unwrap().push(Rule {
            method,
            path,
            fault,
            left,
        });
    }

    /// Removes all faults.
    pub(crate) fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// Returns the files requested since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// Returns the number of requests since the last call.
    pub(crate) fn requests(&self) -> usize {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn fault(&self, method: &str, path: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.left > 0 && rule.method == method && path.contains(rule.path))?;
        rule.left -= 1;
        Some(rule.fault)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        *self.requests.lock().unwrap() += 1;
        let mut authorised = self.token.is_none();
        let mut range = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) < 3 {
                break;
            }
            let line = line.trim();
            let lower = line.to_ascii_lowercase();
            if let Some(token) = &self.token
                && lower.starts_with("authorization:")
            {
                authorised = line.ends_with(&format!("Bearer {token}"));
            }
            if let Some(part) = lower.strip_prefix("range: bytes=") {
                let (from, to) = part.split_once('-').unwrap();
                range = Some((from.parse().unwrap(), to.parse().unwrap()));
            }
        }
        let mut words = request.split(' ');
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let fault = self.fault(method, path);
        if matches!(fault, Some(Fault::Whole)) {
            range = None;
        }
        let mut answer = match fault {
            Some(Fault::Status(status)) => Answer::new(status, ""),
            Some(Fault::Other) => Answer::new("200 OK", "something else"),
            Some(Fault::Silence) => {
                std::thread::sleep(Duration::from_secs(60));
                return;
            }
            _ => self.content(method, path, authorised, range),
        };
        answer
            .headers
            .push(("X-Repo-Commit", self.commit.lock().unwrap().clone()));
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        // The client may have closed the connection.
        let _ = stream.write_all(head.as_bytes());
        if method == "HEAD" {
            return;
        }
        let sent = match fault {
            Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes.min(answer.body.len()),
            _ => answer.body.len(),
        };
        let _ = stream.write_all(&answer.body[..sent]);
        if let Some(Fault::Stall(_)) = fault {
            std::thread::sleep(Duration::from_secs(60));
        }
    }

    fn nothing(&self, code: &str) -> Answer {
        let mut answer = Answer::new("404 Not Found", "");
        if self.says_what {
            answer.headers.push(("X-Error-Code", code.to_owned()));
        }
        answer
    }

    fn content(
        &self,
        method: &str,
        path: &str,
        authorised: bool,
        range: Option<(usize, usize)>,
    ) -> Answer {
        if !authorised {
            return Answer::new("401 Unauthorized", "{\"error\":\"gated\"}");
        }
        if path == "/api/models/org/tiny" {
            return Answer::new("200 OK", json!({"id": "org/tiny"}).to_string());
        }
        if let Some(rest) = path.strip_prefix("/api/models/org/tiny/") {
            let commit = self.commit.lock().unwrap().clone();
            let tree: Vec<_> = self
                .files
                .iter()
                .map(|(path, bytes)| json!({"type": "file", "oid": "0", "size": bytes.len(), "path": path}))
                .collect();
            return match rest.split_once('/') {
                Some(("revision", revision)) if ["main", "v1", &commit].contains(&revision) => {
                    let info = json!({"id": "org/tiny", "sha": commit});
                    Answer::new("200 OK", info.to_string())
                }
                Some(("tree", _)) => Answer::new("200 OK", json!(tree).to_string()),
                _ => self.nothing("RevisionNotFound"),
            };
        }
        let Some(rest) = path.strip_prefix("/org/tiny/resolve/") else {
            return self.nothing("RepoNotFound");
        };
        let file = rest
            .split_once('/')
            .and_then(|(_, file)| self.files.get_key_value(file));
        let Some((name, bytes)) = file else {
            return self.nothing("EntryNotFound");
        };
        if method == "GET" {
            self.asked.lock().unwrap().push(Asked {
                file: name.clone(),
                from: range.map(|(from, _)| from),
            });
        }
        let mut answer = match range {
            Some((from, to)) => {
                let end = bytes.len().min(to + 1);
                let mut part = Answer::new("206 Partial Content", &bytes[from..end]);
                let of = format!("bytes {from}-{}/{}", end - 1, bytes.len());
                part.headers.push(("Content-Range", of));
                part
            }
            None => Answer::new("200 OK", bytes.clone()),
        };
        answer
            .headers
            .push(("ETag", format!("\"{}\"", etag(bytes))));
        answer
    }
}

/// The name of a file's blob in the cache: its hash, as for files in Git LFS.
pub(crate) fn etag(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A hub that is served until this is dropped.
pub(crate) struct Served {
    hub: Arc<Hub>,
    pub(crate) url: String,
}

impl std::ops::Deref for Served {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}
