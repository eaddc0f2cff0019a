//! Models from a hub: a server of the test's own, so that downloads, cache, token and errors are
//! seen without a network.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::tiny;
use dart_math::ErrorKind;
use dart_math::model::{HubProgress, Model, ModelBuilder, ModelSource};
use serde_json::json;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a hub answers, as far as a download asks.
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// The token that is asked for, if any.
    token: Option<String>,
    downloads: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Hub {
    fn serve(self) -> (Arc<Hub>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
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
        (hub, url)
    }

    fn answer(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        reader.read_line(&mut request).unwrap();
        let mut authorised = self.token.is_none();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) < 3 {
                break;
            }
            if let Some(token) = &self.token
                && line.to_ascii_lowercase().starts_with("authorization:")
            {
                authorised = line.trim().ends_with(&format!("Bearer {token}"));
            }
        }
        let mut words = request.split(' ');
        let method = words.next().unwrap_or_default();
        let path = words.next().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let (status, body) = self.content(method, path, authorised);
        let mut stream = stream;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"{:x}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
             Connection: close\r\n\r\n",
            body.len(),
            body.iter().fold(body.len() as u64, |hash, &b| hash
                .wrapping_mul(31)
                .wrapping_add(u64::from(b))),
        );
        // The other side may have heard enough.
        let _ = stream.write_all(head.as_bytes());
        if method == "GET" {
            let _ = stream.write_all(&body);
        }
    }

    fn content(&self, method: &str, path: &str, authorised: bool) -> (&'static str, Vec<u8>) {
        if !authorised {
            return ("401 Unauthorized", b"{\"error\":\"gated\"}".to_vec());
        }
        if let Some(rest) = path.strip_prefix("/api/models/org/tiny/") {
            let tree: Vec<_> = self
                .files
                .iter()
                .map(|(path, bytes)| json!({"type": "file", "oid": "0", "size": bytes.len(), "path": path}))
                .collect();
            return match rest {
                "revision/main" | "revision/v1" => (
                    "200 OK",
                    json!({"id": "org/tiny", "sha": COMMIT})
                        .to_string()
                        .into_bytes(),
                ),
                _ if rest.starts_with("tree/") => ("200 OK", json!(tree).to_string().into_bytes()),
                _ => ("404 Not Found", Vec::new()),
            };
        }
        let file = path
            .strip_prefix("/org/tiny/resolve/")
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(_, file)| self.files.get_key_value(file));
        match file {
            Some((name, bytes)) => {
                if method == "GET" {
                    self.downloads.lock().unwrap().push(name.clone());
                }
                ("200 OK", bytes.clone())
            }
            None => ("404 Not Found", Vec::new()),
        }
    }
}

fn hub(token: Option<&str>) -> Hub {
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
        // Neither is asked for.
        ("pytorch_model.bin", vec![0; 1000]),
        ("README.md", vec![0; 1000]),
    ];
    Hub {
        files: files
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect(),
        token: token.map(str::to_owned),
        downloads: Mutex::default(),
        stop: AtomicBool::new(false),
    }
}

fn builder(source: &str, url: &str, cache: &tempfile::TempDir) -> ModelBuilder {
    Model::builder(ModelSource::parse(source).unwrap())
        .device("cpu".parse().unwrap())
        .endpoint(url)
        .cache_dir(cache.path())
}

#[test]
fn a_repository_is_downloaded_once_and_then_cached() {
    let (hub, url) = hub(None).serve();
    let cache = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let record = seen.clone();
    let model = builder("org/tiny@v1", &url, &cache)
        .progress(Arc::new(move |progress: HubProgress| {
            assert!(progress.bytes <= progress.total);
            record.fetch_max(progress.bytes, Ordering::SeqCst);
        }))
        .load()
        .unwrap();
    assert_eq!(model.name(), format!("org/tiny@{COMMIT}"));
    assert_eq!(model.stop_tokens(), [7, tiny::EOS]);
    let mut downloads = hub.downloads.lock().unwrap().clone();
    downloads.sort();
    let wanted = [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ];
    assert_eq!(downloads, wanted);
    assert!(seen.load(Ordering::SeqCst) >= hub.files["model.safetensors"].len() as u64);
    // Again: from the cache.
    builder("org/tiny", &url, &cache)
        .revision("v1")
        .load()
        .unwrap();
    assert_eq!(hub.downloads.lock().unwrap().len(), 4);
    // And without the server.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let offline = builder("org/tiny@v1", &format!("http://{nobody}"), &cache)
        .load()
        .unwrap();
    assert_eq!(offline.fingerprint(), model.fingerprint());
    hub.stop.store(true, Ordering::SeqCst);
}

#[test]
fn sharded_weights_are_all_brought() {
    let mut hub = hub(None);
    hub.files.remove("model.safetensors");
    let (a, b): (Vec<_>, Vec<_>) = tiny::tensors()
        .into_iter()
        .partition(|(name, _)| name.contains("mlp"));
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("model-1.safetensors", a), ("model-2.safetensors", b)] {
        for (name, _) in &tensors {
            map.insert(name.clone(), json!(file));
        }
        let bytes = tiny::safetensors(&tensors.into_iter().collect(), "F32");
        hub.files.insert(file.to_owned(), bytes);
    }
    let index = json!({"weight_map": map}).to_string().into_bytes();
    hub.files
        .insert("model.safetensors.index.json".to_owned(), index);
    let (_hub, url) = hub.serve();
    let cache = tempfile::tempdir().unwrap();
    assert!(builder("org/tiny", &url, &cache).load().is_ok());
}

#[test]
fn a_gated_repository_wants_its_token() {
    let (_hub, url) = hub(Some("secret")).serve();
    let cache = tempfile::tempdir().unwrap();
    for wrong in [None, Some("other")] {
        let mut builder = builder("org/tiny", &url, &cache);
        if let Some(token) = wrong {
            builder = builder.token(token);
            assert!(
                !format!("{builder:?}").contains(token),
                "tokens are not shown"
            );
        }
        let error = builder.load().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Hub);
        assert!(error.detail().contains("token"), "{error}");
    }
    builder("org/tiny", &url, &cache)
        .token("secret")
        .load()
        .unwrap();
}

#[test]
fn what_a_hub_does_not_have_is_an_error() {
    let (_hub, url) = hub(None).serve();
    let cache = tempfile::tempdir().unwrap();
    for source in ["org/other", "org/tiny@v9"] {
        let error = builder(source, &url, &cache).load().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Hub, "{error}");
        assert!(error.detail().contains("org/"), "{error}");
    }
}
