//! Models from a local hub server: downloads, cache, token and errors, without a network.

mod environment;
mod server;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dart_math::model::{HubProgress, Model, ModelBuilder, ModelSource};
use dart_math::{Error, ErrorKind};
use serde_json::json;

use crate::logged::warnings;
use crate::tiny;
use server::{Asked, COMMIT, Fault, Hub, Served, etag};

const WEIGHTS: &str = "model.safetensors";

fn builder(source: &str, url: &str, cache: &Path) -> ModelBuilder {
    Model::builder(ModelSource::parse(source).unwrap())
        .device("cpu".parse().unwrap())
        .endpoint(url)
        .cache_dir(cache)
}

fn load(source: &str, url: &str, cache: &Path) -> Result<Model, Error> {
    builder(source, url, cache).load()
}

/// An address without a server.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Checks the error of a load that must fail. It must contain all these texts.
fn refused(result: Result<Model, Error>, kind: ErrorKind, said: &[&str]) -> Error {
    let error = result.expect_err(said[0]);
    assert_eq!(error.kind(), kind, "{error}");
    for words in said {
        assert!(error.detail().contains(words), "`{words}` in: {error}");
    }
    error
}

/// A hub, and a cache that contains its model.
fn filled() -> (Served, tempfile::TempDir, String) {
    let hub = Hub::new().serve();
    let cache = tempfile::tempdir().unwrap();
    let model = load("org/tiny", &hub.url, cache.path()).unwrap();
    hub.requests();
    hub.asked();
    (hub, cache, model.fingerprint().to_owned())
}

fn repository(cache: &Path) -> PathBuf {
    cache.join("models--org--tiny")
}

fn snapshot(cache: &Path, file: &str) -> PathBuf {
    repository(cache).join("snapshots").join(COMMIT).join(file)
}

#[test]
fn a_repository_is_downloaded_once_and_then_cached() {
    let hub = Hub::new().serve();
    let cache = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let record = seen.clone();
    let model = builder("org/tiny@v1", &hub.url, cache.path())
        .progress(Arc::new(move |progress: HubProgress| {
            assert!(progress.bytes <= progress.total);
            record.fetch_max(progress.bytes, Ordering::SeqCst);
        }))
        .load()
        .unwrap();
    assert_eq!(model.name(), format!("org/tiny@{COMMIT}"));
    assert_eq!(model.stop_tokens(), [7, tiny::EOS]);
    let mut downloads: Vec<String> = hub.asked().into_iter().map(|asked| asked.file).collect();
    downloads.sort();
    let wanted = [
        "config.json",
        "generation_config.json",
        WEIGHTS,
        "tokenizer.json",
    ];
    assert_eq!(downloads, wanted);
    assert_eq!(seen.load(Ordering::SeqCst), hub.files[WEIGHTS].len() as u64);
    // The second load uses the cache.
    builder("org/tiny", &hub.url, cache.path())
        .revision("v1")
        .load()
        .unwrap();
    assert_eq!(hub.asked(), []);
    // The third load works without the server.
    let (offline, warned) = warnings(|| load("org/tiny@v1", &nobody(), cache.path()).unwrap());
    assert_eq!(offline.fingerprint(), model.fingerprint());
    assert!(warned.contains(COMMIT), "{warned}");
}

#[test]
fn sharded_weights_are_all_brought() {
    let (a, b): (Vec<_>, Vec<_>) = tiny::tensors()
        .into_iter()
        .partition(|(name, _)| name.contains("mlp"));
    let mut map = serde_json::Map::new();
    let mut shards = Vec::new();
    for (number, tensors) in [(1, a), (2, b)] {
        let file = format!("model-{number:05}-of-00002.safetensors");
        for (name, _) in &tensors {
            map.insert(name.clone(), json!(file));
        }
        shards.push((
            file,
            tiny::safetensors(&tensors.into_iter().collect(), "F32"),
        ));
    }
    let index = json!({"weight_map": map}).to_string().into_bytes();
    let sharded = |index: Option<Vec<u8>>| {
        let mut hub = Hub::new();
        hub.files.remove(WEIGHTS);
        hub.files.extend(shards.clone());
        if let Some(index) = index {
            hub.files
                .insert("model.safetensors.index.json".to_owned(), index);
        }
        hub
    };
    // Shards are found by their index or by their names alone.
    for index in [Some(index.clone()), None] {
        let hub = sharded(index).serve();
        let cache = tempfile::tempdir().unwrap();
        load("org/tiny", &hub.url, cache.path()).unwrap();
        load("org/tiny", &nobody(), cache.path()).unwrap();
    }
    let mut hub = sharded(Some(index.clone()));
    hub.files.remove("model-00002-of-00002.safetensors");
    let hub = hub.serve();
    let cache = tempfile::tempdir().unwrap();
    let said = ["org/tiny", "model-00002-of-00002.safetensors", "missing"];
    refused(
        load("org/tiny", &hub.url, cache.path()),
        ErrorKind::Model,
        &said,
    );
    assert!(
        hub.asked()
            .iter()
            .all(|asked| !asked.file.starts_with("model-"))
    );
    // A leftover index beside a whole file downloads no shards.
    let mut hub = Hub::new();
    hub.files
        .insert("model.safetensors.index.json".to_owned(), index);
    let hub = hub.serve();
    let cache = tempfile::tempdir().unwrap();
    load("org/tiny", &hub.url, cache.path()).unwrap();
}

#[test]
fn a_repository_without_readable_weights_lists_what_it_has() {
    let without = |names: &[&str], with: &[&str]| {
        let mut hub = Hub::new();
        for name in names {
            hub.files.remove(*name);
        }
        for name in with {
            hub.files.insert((*name).to_owned(), vec![0; 10]);
        }
        hub.serve()
    };
    for (names, with, said) in [
        (
            &["config.json", "tokenizer.json", WEIGHTS][..],
            &["tiny.Q4_K_M.gguf", "tiny.Q8_0.gguf"][..],
            &["tiny.Q4_K_M.gguf, tiny.Q8_0.gguf", "hf download org/tiny"][..],
        ),
        (&[WEIGHTS], &[], &["pytorch_model.bin", "save_pretrained"]),
        (
            &[WEIGHTS],
            &["adapter_config.json"],
            &["adapter_config.json", "merge_and_unload"],
        ),
        (
            &["tokenizer.json"],
            &["tokenizer.model"],
            &["tokenizer.json", "tokenizer.model", "AutoTokenizer"],
        ),
    ] {
        let hub = without(names, with);
        let cache = tempfile::tempdir().unwrap();
        let error = refused(
            load("org/tiny", &hub.url, cache.path()),
            ErrorKind::Unsupported,
            said,
        );
        assert!(error.detail().contains("org/tiny"), "{error}");
        assert!(hub.asked().iter().all(|asked| asked.file != WEIGHTS));
    }
}

#[test]
fn a_gated_repository_wants_its_token() {
    let mut hub = Hub::new();
    hub.token = Some("secret".to_owned());
    let hub = hub.serve();
    let cache = tempfile::tempdir().unwrap();
    for (wrong, said) in [(None, "needs a token"), (Some("other"), "is not accepted")] {
        let mut builder = builder("org/tiny", &hub.url, cache.path());
        if let Some(token) = wrong {
            builder = builder.token(token);
            assert!(
                !format!("{builder:?}").contains(token),
                "tokens are not shown"
            );
        }
        let said = ["org/tiny", "401", "token", said];
        refused(builder.load(), ErrorKind::Hub, &said);
    }
    let bad = builder("org/tiny", &hub.url, cache.path()).token("se cret");
    refused(bad.load(), ErrorKind::Settings, &["token"]);
    builder("org/tiny", &hub.url, cache.path())
        .token("secret\n")
        .load()
        .unwrap();
}

#[test]
fn what_a_hub_does_not_have_is_said_of_the_right_thing() {
    for says_what in [true, false] {
        let mut hub = Hub::new();
        hub.says_what = says_what;
        let hub = hub.serve();
        let cache = tempfile::tempdir().unwrap();
        for source in ["org/other", "org/other@v1"] {
            let said = ["org/other", "no such repository"];
            let error = refused(load(source, &hub.url, cache.path()), ErrorKind::Hub, &said);
            assert!(!error.detail().contains("branch"), "{error}");
        }
        let nowhere = "f".repeat(40);
        for revision in ["v9", &nowhere] {
            let source = format!("org/tiny@{revision}");
            let said = ["org/tiny", "no branch, tag or commit", revision];
            let error = refused(load(&source, &hub.url, cache.path()), ErrorKind::Hub, &said);
            assert!(!error.detail().contains("no such repository"), "{error}");
        }
    }
}

#[test]
fn a_complete_cache_is_enough_whatever_the_hub_answers() {
    let (hub, cache, fingerprint) = filled();
    for status in [
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
    ] {
        // Either of the two requests may get this status.
        for path in ["/revision/", "/tree/"] {
            hub.heal();
            hub.spoil("GET", path, Fault::Status(status), usize::MAX);
            let (model, warned) = warnings(|| load("org/tiny", &hub.url, cache.path()).unwrap());
            assert_eq!(model.fingerprint(), fingerprint, "{status}");
            assert!(warned.contains(COMMIT), "{status}: {warned}");
            let reason = match (&status[..3], path) {
                ("404", "/revision/") => "no branch, tag or commit",
                (code, _) => code,
            };
            assert!(warned.contains(reason), "{status}: {warned}");
        }
    }
    hub.heal();
    let (_, warned) = warnings(|| load("org/tiny", &hub.url, cache.path()).unwrap());
    assert_eq!(warned, "");
}

#[test]
fn without_a_cache_the_hubs_answer_is_the_error() {
    let hub = Hub::new().serve();
    let cache = tempfile::tempdir().unwrap();
    for (status, said) in [
        ("401 Unauthorized", "needs a token"),
        ("403 Forbidden", "terms"),
        ("429 Too Many Requests", "too many requests"),
        ("500 Internal Server Error", "answers 500"),
        ("503 Service Unavailable", "answers 503"),
    ] {
        hub.heal();
        hub.spoil("GET", "/revision/", Fault::Status(status), usize::MAX);
        let said = ["org/tiny", &hub.url, &status[..3], said];
        refused(
            load("org/tiny", &hub.url, cache.path()),
            ErrorKind::Hub,
            &said,
        );
    }
    let said = ["org/tiny", "refused"];
    refused(
        load("org/tiny", &nobody(), cache.path()),
        ErrorKind::Hub,
        &said,
    );
}

/// If a new commit cannot be downloaded, the old one is used with a warning.
#[test]
fn a_cache_that_cannot_be_written_is_enough() {
    let (hub, cache, fingerprint) = filled();
    *hub.commit.lock().unwrap() = "f".repeat(40);
    // A file blocks the directory of locks, whatever the user's permissions.
    let locks = cache.path().join(".locks");
    std::fs::remove_dir_all(&locks).unwrap();
    std::fs::write(&locks, "").unwrap();
    // The new commit's blobs are not in the cache.
    for blob in std::fs::read_dir(repository(cache.path()).join("blobs")).unwrap() {
        let blob = blob.unwrap().path();
        let renamed = blob.with_extension("old");
        for file in std::fs::read_dir(snapshot(cache.path(), "")).unwrap() {
            let link = file.unwrap().path();
            if link.canonicalize().unwrap() == blob.canonicalize().unwrap() {
                std::fs::remove_file(&link).unwrap();
                std::fs::hard_link(&blob, &link).unwrap();
            }
        }
        std::fs::rename(&blob, renamed).unwrap();
    }
    let (model, warned) = warnings(|| load("org/tiny", &hub.url, cache.path()).unwrap());
    assert_eq!(model.fingerprint(), fingerprint);
    assert!(warned.contains(COMMIT), "{warned}");
    assert!(warned.contains(cache.path().to_str().unwrap()), "{warned}");
}

#[test]
fn a_download_that_was_cut_is_gone_on_with() {
    let hub = Hub::new().serve();
    let cache = tempfile::tempdir().unwrap();
    hub.spoil("GET", WEIGHTS, Fault::Cut(80_000), 1);
    let (model, warned) = warnings(|| load("org/tiny", &hub.url, cache.path()).unwrap());
    assert_eq!(model.stop_tokens(), [7, tiny::EOS]);
    assert!(warned.contains("cut"), "{warned}");
    let parts: Vec<_> = hub
        .asked()
        .into_iter()
        .filter(|asked| asked.file == WEIGHTS)
        .map(|asked| asked.from)
        .collect();
    // The whole file, then its beginning to identify the partial file, then the rest.
    let [None, Some(0), Some(from)] = parts[..] else {
        panic!("{parts:?}");
    };
    assert!((4096..=80_000).contains(&from), "{from}");
    let bytes = std::fs::read(snapshot(cache.path(), WEIGHTS)).unwrap();
    assert_eq!(bytes, hub.files[WEIGHTS]);
}

#[test]
fn a_download_that_fails_says_where_and_goes_on_the_next_time() {
    let hub = Hub::new().serve();
    let cache = tempfile::tempdir().unwrap();
    hub.spoil("GET", WEIGHTS, Fault::Cut(80_000), 1);
    hub.spoil("GET", WEIGHTS, Fault::Cut(0), usize::MAX);
    let size = hub.files[WEIGHTS].len();
    let of = format!("of {size}");
    let said = ["org/tiny", WEIGHTS, "stopped at byte 80000", &of];
    refused(
        load("org/tiny", &hub.url, cache.path()),
        ErrorKind::Hub,
        &said,
    );
    hub.heal();
    hub.asked();
    load("org/tiny", &hub.url, cache.path()).unwrap();
    let asked = hub.asked();
    let rest = Asked {
        file: WEIGHTS.to_owned(),
        from: Some(80_000),
    };
    assert!(asked.contains(&rest), "{asked:?}");
    assert!(asked.iter().all(|asked| asked.from.is_some()), "{asked:?}");
}

#[test]
fn a_part_that_does_not_fit_is_downloaded_again() {
    for (fault, beyond) in [(None, true), (Some(Fault::Whole), false)] {
        let hub = Hub::new().serve();
        let cache = tempfile::tempdir().unwrap();
        let bytes = &hub.files[WEIGHTS];
        let blobs = repository(cache.path()).join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let mut part = bytes[..90_000].to_vec();
        if beyond {
            // This byte is not among those that identify the partial file.
            part[80_000] ^= 1;
        }
        let path = blobs.join(format!("{}.incomplete", etag(bytes)));
        std::fs::write(&path, &part).unwrap();
        if let Some(fault) = fault {
            hub.spoil("GET", WEIGHTS, fault, usize::MAX);
        }
        let (_, warned) = warnings(|| load("org/tiny", &hub.url, cache.path()).unwrap());
        assert_eq!(warned.contains("hash"), beyond, "{warned}");
        let read = std::fs::read(snapshot(cache.path(), WEIGHTS)).unwrap();
        assert_eq!(&read, bytes);
        assert!(!path.exists());
    }
}

#[test]
fn a_file_of_a_wrong_size_does_not_stay_in_the_cache() {
    // A file that was truncated after its download.
    let (hub, cache, fingerprint) = filled();
    let path = snapshot(cache.path(), WEIGHTS).canonicalize().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..1000]).unwrap();
    let (model, warned) = warnings(|| load("org/tiny", &hub.url, cache.path()).unwrap());
    assert_eq!(model.fingerprint(), fingerprint);
    let said = format!("1000 bytes where the hub lists {}", bytes.len());
    assert!(warned.contains(&said), "{warned}");
    // A wrong file from the hub itself, once or always.
    let cache = tempfile::tempdir().unwrap();
    hub.spoil("GET", WEIGHTS, Fault::Other, 1);
    load("org/tiny", &hub.url, cache.path()).unwrap();
    let cache = tempfile::tempdir().unwrap();
    hub.spoil(
        "GET",
        WEIGHTS,
        Fault::Status("503 Service Unavailable"),
        usize::MAX,
    );
    let said = [WEIGHTS, "0 bytes where the hub lists"];
    refused(
        load("org/tiny", &hub.url, cache.path()),
        ErrorKind::Hub,
        &said,
    );
    hub.heal();
    load("org/tiny", &hub.url, cache.path()).unwrap();
}

#[test]
fn a_commit_is_found_in_the_cache_without_its_branch() {
    let (hub, cache, fingerprint) = filled();
    std::fs::remove_dir_all(repository(cache.path()).join("refs")).unwrap();
    // The commit of `main` is unknown, but the cache has one commit.
    let said = ["org/tiny", "refused", COMMIT, "as the revision"];
    refused(
        load("org/tiny", &nobody(), cache.path()),
        ErrorKind::Hub,
        &said,
    );
    let source = format!("org/tiny@{COMMIT}");
    let model = load(&source, &nobody(), cache.path()).unwrap();
    assert_eq!(model.fingerprint(), fingerprint);
    // A commit never changes, so a complete one is loaded without asking the hub.
    load(&source, &hub.url, cache.path()).unwrap();
    assert_eq!(hub.requests(), 0);
}

#[test]
fn a_cache_from_elsewhere_may_lack_files_and_that_is_said() {
    let (_hub, cache, _) = filled();
    std::fs::remove_dir_all(repository(cache.path()).join(".no_exist")).unwrap();
    let (_, warned) = warnings(|| load("org/tiny", &nobody(), cache.path()).unwrap());
    for name in ["tokenizer_config.json", "chat_template.jinja"] {
        assert!(warned.contains(name), "{warned}");
    }
    assert!(!warned.contains("generation_config.json"), "{warned}");
    // A required file that is missing is an error.
    std::fs::remove_file(snapshot(cache.path(), "tokenizer.json")).unwrap();
    load("org/tiny", &nobody(), cache.path()).unwrap_err();
}
