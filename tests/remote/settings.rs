//! What is sent to servers, what is refused before sending, and what is shown.

use std::time::{Duration, Instant};

use dart_math::remote::{OpenAi, OpenAiBuilder, Prompt};
use dart_math::{Error, ErrorKind, Generator, Sampling};
use serde_json::json;

use crate::list::{List, builder, timeouts};
use crate::logged::warnings;
use crate::server::{Reply, Server};

const SECRET: &str = "sk-very-secret-0123456789";

fn good(names: &[&str], software: &str) -> Server {
    Server::serving(names, software, |_| Reply::Good(Duration::ZERO))
}

fn refusal(builder: OpenAiBuilder, kind: ErrorKind, parts: &[&str]) -> Error {
    let error = builder.connect().unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.detail().contains(part), "no {part} in: {error}");
    }
    error
}

#[test]
fn the_model_is_the_one_that_all_serve() {
    let (tiny, large, both) = (
        good(&["tiny"], "vllm"),
        good(&["large"], "vllm"),
        good(&["tiny", "large"], "vllm"),
    );
    assert_eq!(builder(&[&tiny]).connect().unwrap().model(), "tiny");
    assert_eq!(
        builder(&[&tiny, &both])
            .model("tiny")
            .connect()
            .unwrap()
            .model(),
        "tiny"
    );
    let (a, b) = (tiny.url(), large.url());
    refusal(
        builder(&[&tiny, &large]),
        ErrorKind::Settings,
        &["different models", &a, "`tiny`", &b, "`large`"],
    );
    refusal(
        builder(&[&both]),
        ErrorKind::Server,
        &["several models", "`tiny`, `large`"],
    );
    refusal(
        builder(&[&tiny, &large]).model("tiny"),
        ErrorKind::Server,
        &[&b, "does not serve the model `tiny`, but `large`"],
    );
    refusal(
        builder(&[&good(&[], "vllm")]),
        ErrorKind::Server,
        &["it serves no model"],
    );
}

#[test]
fn an_endpoint_that_is_away_joins_later() {
    let (here, away) = (good(&["tiny"], "vllm"), good(&["tiny"], "vllm"));
    away.die();
    std::thread::sleep(Duration::from_millis(20));
    let (here_url, away_url) = (here.url(), away.url());
    refusal(
        builder(&[&away]),
        ErrorKind::Server,
        &["no endpoint answers", &away_url],
    );
    // It is waited for where that is asked for, but not beyond the time.
    let begun = Instant::now();
    let short = Duration::from_millis(300);
    refusal(
        builder(&[&away]).wait(short),
        ErrorKind::Server,
        &["no endpoint answers"],
    );
    assert!(begun.elapsed() >= short && begun.elapsed() < Duration::from_secs(10));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(short);
            away.come_back();
        });
        let (waits, warnings) =
            warnings(|| builder(&[&away]).wait(10 * timeouts().connect).connect());
        waits.unwrap();
        assert_eq!(
            warnings.matches("no endpoint answers yet").count(),
            1,
            "{warnings}"
        );
    });
    away.die();
    std::thread::sleep(Duration::from_millis(20));
    let generator = builder(&[])
        .endpoint_with(here_url, 1)
        .endpoint(away_url)
        .connect()
        .unwrap();
    away.come_back();
    std::thread::sleep(Duration::from_millis(20));
    let list = List::new(5, 100);
    generator.run(&list).unwrap();
    list.check_all();
    assert!(away.requests() > 0);
}

#[test]
fn an_endpoint_that_returns_with_another_model_gets_nothing() {
    let (here, away, other) = (
        good(&["tiny"], "vllm"),
        good(&["tiny"], "vllm"),
        good(&["other"], "vllm"),
    );
    away.die();
    let generator = builder(&[&here, &other]).model("tiny").connect();
    assert!(generator.is_err());
    // It is down at the first check, and serves another model at the second.
    let later = good(&["other"], "vllm");
    later.die();
    std::thread::sleep(Duration::from_millis(20));
    let generator = builder(&[&here, &later]).connect().unwrap();
    later.come_back();
    let list = List::new(5, 60);
    generator.run(&list).unwrap();
    list.check_all();
    assert_eq!(later.requests(), 0);
    let error = generator.statistics()[1].last_error.clone().unwrap();
    assert!(error.contains("does not serve the model `tiny`"), "{error}");
}

#[test]
fn an_endpoint_that_joins_later_with_too_small_a_context_gets_nothing() {
    let here = good(&["tiny"], "vllm");
    let later = Server::of_context(32, |_| Reply::Good(Duration::ZERO));
    later.die();
    std::thread::sleep(Duration::from_millis(20));
    let generator = builder(&[&here, &later]).connect().unwrap();
    later.come_back();
    std::thread::sleep(Duration::from_millis(20));
    let list = List::new(5, 60);
    generator.run(&list).unwrap();
    list.check_all();
    assert_eq!(later.requests(), 0);
    let error = generator.statistics()[1].last_error.clone().unwrap();
    assert_eq!(
        error,
        "max_tokens is 32, but the model's context is 32 tokens"
    );
}

#[test]
fn a_base_url_without_its_end_is_named() {
    let server = good(&["tiny"], "vllm");
    let base = server.url().trim_end_matches("/v1").to_owned();
    let error = refusal(builder(&[]).endpoint(&base), ErrorKind::Server, &[]);
    let hint = "status 404: Not Found (the base URLs of most servers end in /v1)";
    assert_eq!(error.detail(), format!("{base}: {hint}"));
}

#[test]
fn endpoints_are_base_urls() {
    let refused = |url: &str, part: &str| {
        let builder = OpenAi::builder().prompt(Prompt::chat()).endpoint(url);
        refusal(builder, ErrorKind::Settings, &[part]).to_string()
    };
    refused("localhost:8000", "localhost:8000");
    refused("ftp://host/v1", "ftp://host/v1");
    refused("https://", "base URL");
    refused("http://host/v1?key=1", "without user or query");
    let shown = refused("http://me:secret@host/v1", "without user or query");
    assert!(!shown.contains("secret"), "{shown}");
    let prompted = OpenAi::builder().prompt(Prompt::chat());
    refusal(
        prompted.clone(),
        ErrorKind::Settings,
        &["an endpoint is needed"],
    );
    refusal(
        prompted
            .clone()
            .endpoint("http://h/v1")
            .endpoint("http://h/v1/"),
        ErrorKind::Settings,
        &["twice"],
    );
    refusal(
        prompted.clone().endpoint_with("http://h/v1", 0),
        ErrorKind::Settings,
        &["no request at a time"],
    );
    refusal(
        prompted.clone().endpoint_with("http://h/v1", 2000),
        ErrorKind::Settings,
        &["1024"],
    );
    refusal(
        OpenAi::builder().endpoint("http://h/v1"),
        ErrorKind::Settings,
        &["a prompt is needed"],
    );
    refusal(
        prompted.endpoint("http://h/v1").api_key("two words"),
        ErrorKind::Settings,
        &["API key"],
    );
}

#[test]
fn the_key_is_sent_and_shown_nowhere() {
    // A server that repeats the key, as OpenAI's does.
    let body =
        json!({"error": {"message": format!("Incorrect API key provided: {SECRET}.")}}).to_string();
    let server = Server::new(move |_| Reply::Status(401, vec![], body.clone()));
    let builder = builder(&[&server]).api_key(SECRET);
    let shown = format!("{builder:?}");
    let generator = builder.connect().unwrap();
    let error = generator.run(&List::new(1, 1)).unwrap_err();
    assert!(
        error
            .detail()
            .ends_with("status 401: Incorrect API key provided: …."),
        "{error}"
    );
    let settings = serde_json::to_string(&generator.settings()).unwrap();
    let all = format!(
        "{shown} {error} {error:?} {generator:?} {settings} {:?}",
        generator.statistics()
    );
    assert!(!all.contains(SECRET), "{all}");
    let header = server.log(|log| log.asked[0].headers["authorization"].clone());
    assert_eq!(header, format!("Bearer {SECRET}"));
}

#[test]
fn settings_do_not_say_where_the_servers_are() {
    let (first, second) = (good(&["tiny"], "vllm"), good(&["tiny"], "sglang"));
    let settings = |builder: OpenAiBuilder| builder.connect().unwrap().settings();
    let one = settings(builder(&[&first]));
    assert_eq!(one, settings(builder(&[&second, &first]).api_key(SECRET)));
    assert_eq!(one["model"], "tiny");
    let sampling = Sampling {
        top_k: Some(7),
        ..Sampling::default()
    };
    let others = [
        builder(&[&first]).sampling(sampling),
        builder(&[&first]).max_tokens(33),
        builder(&[&first]).stop(vec!["x".into()]),
        builder(&[&first]).prompt(Prompt::text("{problem}").unwrap()),
        builder(&[&first]).prompt(Prompt::chat()),
        builder(&[&first]).extra("chat_template_kwargs", json!({"enable_thinking": false})),
        builder(&[&first]).logprobs(true),
    ];
    for other in others {
        assert_ne!(settings(other), one);
    }
}

#[test]
fn what_a_server_is_asked_is_what_was_set() {
    let server = good(&["tiny"], "vllm");
    let sampling = Sampling {
        temperature: 0.7,
        top_k: Some(20),
        ..Sampling::dart()
    };
    let generator = builder(&[&server])
        .prompt(Prompt::chat().with_system("Be brief."))
        .sampling(sampling)
        .stop(vec!["###".into()])
        .extra("chat_template_kwargs", json!({"enable_thinking": false}));
    let generator = generator.connect().unwrap();
    let list = List::new(2, 3);
    generator.run(&list).unwrap();
    list.check_all();
    let asked = server.log(|log| log.asked.clone());
    assert_eq!(
        asked
            .iter()
            .map(|asked| asked.seed)
            .collect::<std::collections::BTreeSet<_>>(),
        list.seeds()
    );
    for asked in asked {
        assert_eq!(asked.path, "/v1/chat/completions");
        let body = &asked.body;
        assert_eq!(
            (&body["model"], &body["temperature"], &body["top_p"]),
            (&json!("tiny"), &json!(0.7), &json!(0.95))
        );
        assert_eq!(
            (&body["top_k"], &body["max_tokens"], &body["stop"]),
            (&json!(20), &json!(32), &json!(["###"]))
        );
        assert_eq!(
            body["chat_template_kwargs"],
            json!({"enable_thinking": false})
        );
        assert_eq!(
            body["messages"][0],
            json!({"role": "system", "content": "Be brief."})
        );
        assert_eq!(body["messages"][1]["role"], "user");
    }

    // Fields that only some servers support are refused with other servers.
    let other = good(&["tiny"], "somebody");
    let (url, refused) = (other.url(), builder(&[&other]).sampling(sampling));
    refusal(refused, ErrorKind::Settings, &[&url, "top_k"]);
    let generator = builder(&[&other])
        .extra("top_k", json!(20))
        .connect()
        .unwrap();
    generator.run(&List::new(1, 1)).unwrap();
    assert_eq!(other.log(|log| log.asked[0].body["top_k"].clone()), 20);
    let long = builder(&[&server]).max_tokens(100).connect().unwrap();
    let error = long.check(&[crate::list::problem(0)]).unwrap_err();
    assert_eq!(
        error.detail(),
        "max_tokens is 100, but the model's context is 100 tokens"
    );
}

#[test]
fn log_probabilities_are_recorded_where_they_are_the_models_own() {
    for (software, stream, known) in [
        ("vllm", true, true),
        ("vllm", false, true),
        ("sglang", true, false),
        ("somebody", false, false),
    ] {
        let server = good(&["tiny"], software);
        let generator = builder(&[&server])
            .logprobs(true)
            .stream(stream)
            .connect()
            .unwrap();
        let list = List::new(2, 2);
        generator.run(&list).unwrap();
        for completion in list.completions().values() {
            let expected = known.then(|| -0.5 * f64::from(completion.token_count()));
            assert_eq!(completion.logprob, expected);
        }
    }
}
