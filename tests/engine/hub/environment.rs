//! The hub's environment variables. Each test uses a child process, because an environment belongs to a whole process.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dart_math::model::{Model, ModelSource};

use super::server::{COMMIT, Fault, Hub};
use super::{WEIGHTS, filled, nobody, repository};

const SOURCE: &str = "DART_MATH_TEST_SOURCE";

/// Loads a model. The other tests run this in processes with another environment.
#[test]
#[ignore = "run by the other tests, with a model's name in the environment"]
fn load_in_this_environment() {
    let Ok(source) = std::env::var(SOURCE) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let loaded = Model::builder(ModelSource::parse(&source).unwrap())
        .device("cpu".parse().unwrap())
        .load();
    match loaded {
        Ok(model) => println!("loaded {}", model.fingerprint()),
        Err(error) => println!("failed {error}"),
    }
}

/// Starts a load in an environment with these variables and no others of the hub's.
fn begin(source: &str, home: &Path, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("HF_") || name.starts_with("HUGGING") || name.starts_with("XDG_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--exact", "hub::environment::load_in_this_environment"])
        .args(["--ignored", "--nocapture"])
        .env("HOME", home)
        .env(SOURCE, source)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a load. Returns the line with its result, and its warnings.
fn end(child: Child) -> (String, String) {
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let outcome = out
        .lines()
        .find_map(|line| {
            let at = line.find("loaded ").or_else(|| line.find("failed "))?;
            Some(line[at..].to_owned())
        })
        .unwrap_or_else(|| panic!("{out}"));
    (outcome, String::from_utf8(output.stderr).unwrap())
}

fn run(source: &str, home: &Path, variables: &[(&str, &str)]) -> (String, String) {
    end(begin(source, home, variables))
}

#[test]
fn address_token_and_cache_come_from_the_environment() {
    let mut hub = Hub::new();
    hub.token = Some("secret".to_owned());
    let hub = hub.serve();
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("my-token");
    std::fs::write(&token, "secret\n").unwrap();
    let endpoint = ("HF_ENDPOINT", hub.url.as_str());
    let token = ("HF_TOKEN_PATH", token.to_str().unwrap());
    let given = ("HF_TOKEN", "secret");
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[given], ".cache/huggingface/hub"),
        (&[given, ("XDG_CACHE_HOME", "~/xdg")], "xdg/huggingface/hub"),
        (&[given, ("HF_HOME", "~/hf")], "hf/hub"),
        (&[token, ("HF_HOME", "$HOME/hf2")], "hf2/hub"),
        (
            &[
                ("HF_TOKEN", ""),
                token,
                ("HF_HOME", "~/hf"),
                ("HF_HUB_CACHE", "~/hub"),
            ],
            "hub",
        ),
    ];
    for (variables, place) in cases {
        let variables = [variables, &[endpoint]].concat();
        let (outcome, _) = run("org/tiny", home.path(), &variables);
        assert!(outcome.starts_with("loaded"), "{variables:?}: {outcome}");
        let cache = home.path().join(place);
        assert!(repository(&cache).is_dir(), "{variables:?}: {place}");
        std::fs::remove_dir_all(cache).unwrap();
    }
    // The login command stores the token in the hub's home directory.
    let stored = home.path().join("hf3");
    std::fs::create_dir(&stored).unwrap();
    std::fs::write(stored.join("token"), "secret").unwrap();
    let at = ("HF_HOME", stored.to_str().unwrap());
    let (outcome, _) = run("org/tiny", home.path(), &[endpoint, at]);
    assert!(outcome.starts_with("loaded"), "{outcome}");
    std::fs::remove_dir_all(stored.join("hub")).unwrap();
    for variables in [
        &[endpoint, at, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")][..],
        &[endpoint, at, ("HF_TOKEN_PATH", "/no/such/token")],
        &[endpoint, at, ("HF_TOKEN", "wrong")],
    ] {
        let (outcome, _) = run("org/tiny", home.path(), variables);
        assert!(outcome.starts_with("failed"), "{variables:?}: {outcome}");
        assert!(
            outcome.contains("401") && outcome.contains("token"),
            "{outcome}"
        );
    }
}

#[test]
fn offline_the_hub_is_not_asked() {
    let (hub, cache, fingerprint) = filled();
    let home = tempfile::tempdir().unwrap();
    let common = [
        ("HF_ENDPOINT", hub.url.as_str()),
        ("HF_HUB_CACHE", cache.path().to_str().unwrap()),
    ];
    let with = |more: &[(&'static str, &'static str)]| -> Vec<_> {
        common.iter().chain(more).copied().collect()
    };
    let commit = format!("org/tiny@{COMMIT}");
    for source in ["org/tiny", "org/tiny@main", &commit] {
        let (outcome, warned) = run(source, home.path(), &with(&[("HF_HUB_OFFLINE", "yes")]));
        assert_eq!(outcome, format!("loaded {fingerprint}"));
        assert!(!warned.contains("WARN"), "{warned}");
    }
    let offline = with(&[("HF_HUB_OFFLINE", "1")]);
    for (source, said) in [
        ("org/other", "holds nothing of it"),
        ("org/tiny@v1", COMMIT),
        (
            "org/tiny@ffffffffffffffffffffffffffffffffffffffff",
            "holds nothing of commit",
        ),
        ("org/tiny@../../x", "does not say"),
    ] {
        let (outcome, _) = run(source, home.path(), &offline);
        assert!(outcome.starts_with("failed"), "{outcome}");
        for words in ["HF_HUB_OFFLINE", source, said] {
            assert!(outcome.contains(words), "{words} in {outcome}");
        }
    }
    std::fs::remove_file(super::snapshot(cache.path(), WEIGHTS)).unwrap();
    let (outcome, _) = run("org/tiny", home.path(), &offline);
    assert!(
        outcome.starts_with("failed") && outcome.contains(WEIGHTS),
        "{outcome}"
    );
    assert_eq!(hub.requests(), 0);
    let (outcome, _) = run("org/tiny", home.path(), &with(&[("HF_HUB_OFFLINE", "0")]));
    assert_eq!(outcome, format!("loaded {fingerprint}"));
    assert_ne!(hub.requests(), 0);
}

#[test]
fn silence_has_an_end() {
    let (hub, cache, fingerprint) = filled();
    let home = tempfile::tempdir().unwrap();
    let full = ("HF_HUB_CACHE", cache.path().to_str().unwrap());
    let variables = [
        ("HF_ENDPOINT", hub.url.as_str()),
        ("HF_HUB_ETAG_TIMEOUT", "1"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "2"),
    ];
    let with = |more| -> Vec<_> { variables.iter().copied().chain([more]).collect() };
    // The hub itself is silent: the cache is used, and without one this is an error.
    hub.spoil("GET", "/revision/", Fault::Silence, usize::MAX);
    let began = Instant::now();
    let (outcome, warned) = run("org/tiny", home.path(), &with(full));
    assert_eq!(outcome, format!("loaded {fingerprint}"));
    assert!(warned.contains("nothing came for 1 s"), "{warned}");
    let empty = tempfile::tempdir().unwrap();
    let empty = ("HF_HUB_CACHE", empty.path().to_str().unwrap());
    let (outcome, _) = run("org/tiny", home.path(), &with(empty));
    assert!(
        outcome.contains("org/tiny") && outcome.contains("nothing came for 1 s"),
        "{outcome}"
    );
    // Silence before a file's first byte.
    hub.heal();
    hub.spoil("GET", WEIGHTS, Fault::Silence, usize::MAX);
    let (outcome, _) = run("org/tiny", home.path(), &with(empty));
    assert!(
        outcome.contains("model.safetensors stopped at byte 0 of"),
        "{outcome}"
    );
    // Silence in the middle of a file: the download continues from there.
    hub.heal();
    hub.spoil("GET", WEIGHTS, Fault::Stall(80_000), 1);
    let (outcome, warned) = run("org/tiny", home.path(), &with(empty));
    assert_eq!(outcome, format!("loaded {fingerprint}"));
    assert!(warned.contains("nothing came for 2 s"), "{warned}");
    let began = began.elapsed();
    assert!(began < Duration::from_secs(50), "{began:?}");
}

#[test]
fn several_processes_may_download_at_once() {
    let hub = Hub::new().serve();
    let home = tempfile::tempdir().unwrap();
    let variables = [("HF_ENDPOINT", hub.url.as_str())];
    let children: Vec<_> = (0..4)
        .map(|_| begin("org/tiny", home.path(), &variables))
        .collect();
    let outcomes: Vec<_> = children.into_iter().map(|child| end(child).0).collect();
    assert!(outcomes[0].starts_with("loaded"), "{}", outcomes[0]);
    assert!(
        outcomes.iter().all(|other| *other == outcomes[0]),
        "{outcomes:?}"
    );
}

#[test]
fn a_bad_variable_is_named() {
    let home = tempfile::tempdir().unwrap();
    let url = nobody();
    for (name, value) in [
        ("HF_ENDPOINT", "mirror.example"),
        ("HF_HUB_ETAG_TIMEOUT", "soon"),
        ("HF_TOKEN", "two words"),
    ] {
        let variables = [("HF_ENDPOINT", url.as_str()), (name, value)];
        let (outcome, _) = run("org/tiny", home.path(), &variables);
        assert!(outcome.starts_with("failed bad settings"), "{outcome}");
        assert!(
            outcome.contains(name) && !outcome.contains("two words"),
            "{outcome}"
        );
    }
}
