//! TLS: a relay (`tls_relay.py`) in front of a local server, with certificates made by openssl.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dart_math::remote::{OpenAi, OpenAiBuilder};
use dart_math::{Error, ErrorKind, Generator};

use crate::list::{List, builder};
use crate::server::{Reply, Server};

/// Returns whether the required programs exist, and prints the missing one. LibreSSL's openssl cannot sign in one
/// step.
fn is_possible() -> bool {
    let missing = [
        ("openssl", "version", "OpenSSL"),
        ("python3", "--version", "Python"),
    ]
    .into_iter()
    .find(|(program, argument, name)| {
        let ran = Command::new(program).arg(argument).output();
        !ran.is_ok_and(|ran| ran.status.success() && ran.stdout.starts_with(name.as_bytes()))
    });
    if let Some((program, ..)) = missing {
        println!("ignored: no {program}");
    }
    missing.is_none()
}

/// A certificate authority of the test and its certificate for `localhost`.
struct Authority(PathBuf);

impl Authority {
    fn new(directory: &Path, name: &str) -> Self {
        let authority = Authority(directory.join(name));
        std::fs::create_dir(&authority.0).unwrap();
        authority.openssl(
            "ca",
            &[
                "-subj",
                "/CN=an authority",
                "-addext",
                "keyUsage=keyCertSign",
            ],
        );
        let (certificate, key) = (authority.path("ca.pem"), authority.path("ca.key"));
        let signed = ["-subj", "/CN=a server", "-CA", &certificate, "-CAkey", &key];
        let localhost = [
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=CA:FALSE",
        ];
        authority.openssl("server", &[&signed[..], &localhost].concat());
        authority
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, name: &str, arguments: &[&str]) {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-noenc",
                "-days",
                "2",
            ])
            .args([
                "-out",
                &self.path(&certificate),
                "-keyout",
                &self.path(&key),
            ])
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}

struct Relay {
    process: Child,
    port: u16,
}

impl Relay {
    fn start(authority: &Authority, server: &Server) -> Self {
        let url = server.url();
        let behind = url.strip_suffix("/v1").unwrap().rsplit(':').next().unwrap();
        let mut process = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/remote/tls_relay.py"))
            .args([
                &authority.path("server.pem"),
                &authority.path("server.key"),
                behind,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        lines.read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap();
        Relay { process, port }
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/v1", self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn refusal(builder: OpenAiBuilder) -> Error {
    builder.connect().map(|_: OpenAi| ()).unwrap_err()
}

#[test]
fn a_run_over_tls_with_an_authority_of_its_own() {
    if !is_possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [ours, other] = ["ours", "other"].map(|name| Authority::new(directory.path(), name));
    let server = Server::new(|_| Reply::Good(Duration::from_millis(5)));
    let relay = Relay::start(&ours, &server);
    let at = |host: &str| builder(&[]).endpoint(relay.url(host));
    let generator = at("localhost")
        .ca_file(ours.path("ca.pem"))
        .connect()
        .unwrap();
    let list = List::new(6, 10);
    generator.run(&list).unwrap();
    list.check_all();

    let asked = || server.log(|log| (log.asked.len(), log.lists));
    let before = asked();
    // The secret is sent only to a server with a valid certificate.
    let refused = [
        at("localhost"),
        at("localhost").ca_file(other.path("ca.pem")),
        at("127.0.0.1").ca_file(ours.path("ca.pem")),
    ];
    for builder in refused {
        let error = refusal(builder.api_key("secret"));
        assert_eq!(error.kind(), ErrorKind::Server);
        assert!(
            error.detail().contains("invalid peer certificate"),
            "{error}"
        );
    }
    assert_eq!(asked(), before);

    let absent = directory.path().join("absent.pem");
    let error = refusal(at("localhost").ca_file(&absent));
    assert!(error.to_string().contains("absent.pem"), "{error}");
    for (text, reason) in [
        ("no certificate\n", "no certificate in it"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "bad.pem",
        ),
    ] {
        let bad = directory.path().join("bad.pem");
        std::fs::write(&bad, text).unwrap();
        let error = refusal(at("localhost").ca_file(&bad));
        assert_eq!(error.kind(), ErrorKind::Settings, "{error}");
        assert!(
            error.to_string().contains("bad.pem: ") && error.to_string().contains(reason),
            "{error}"
        );
    }
}

#[test]
fn a_connection_with_tls_is_closed_when_its_trial_is_not_wanted() {
    if !is_possible() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ours");
    crate::cancel::drops_what_is_no_longer_wanted(|server, builder| {
        let relay = Relay::start(&authority, server);
        let builder = builder
            .endpoint(relay.url("localhost"))
            .ca_file(authority.path("ca.pem"));
        (relay, builder)
    });
}
