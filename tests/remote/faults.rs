//! Faults of a server or of the connection to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dart_math::remote::{Retries, Timeouts};
use dart_math::{ErrorKind, Finish, Generator, TrialId};
use serde_json::json;

use crate::list::{List, builder, problem, retries, timeouts};
use crate::server::{Asked, Reply, Server};

const NOW: Duration = Duration::ZERO;

fn status(status: u16) -> Reply {
    Reply::Status(
        status,
        vec![],
        r#"{"error":{"message":"as scripted"}}"#.into(),
    )
}

/// A body sent as an event stream.
pub(crate) fn events(body: &str) -> Reply {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
    Reply::Raw(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

fn json_body(body: &str) -> Reply {
    Reply::Status(200, vec![], body.into())
}

/// All faults after which a request is retried.
fn faults() -> Vec<Reply> {
    let half = r#"{"choices":[{"index":0,"text":"half a resp","finish_reason":null}]}"#;
    vec![
        status(500),
        status(502),
        status(503),
        status(408),
        Reply::Status(429, vec![("Retry-After", "0".into())], String::new()),
        Reply::Reset,
        Reply::Raw(b"".to_vec()),
        Reply::Raw(b"HTTP/1.1 200".to_vec()),
        Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        Reply::Cut(60),
        Reply::Cut(200),
        Reply::Cut(250),
        json_body(""),
        json_body("<html>"),
        json_body(r#"{"choices":"#),
        json_body(r#"{"choices":[{"text":17}]}"#),
        json_body("[1, 2]"),
        json_body(r#"{"choices":[]}"#),
        json_body(half),
        json_body(&half.replace("null", "\"abort\"")),
        events(&format!("data: {half}\n\n")),
        events(&format!("data: {half}\n\ndata: [DONE]\n\n")),
        events(&format!(
            "data: {half}\n\ndata: {{\"error\":{{\"message\":\"dead\",\"code\":500}}}}\n\n"
        )),
        events("data: {\n\n"),
        events(""),
        events(include_str!("recorded/vllm_engine_death.sse")),
    ]
}

#[test]
fn every_fault_is_tried_again_and_every_trial_delivered_once() {
    for stream in [true, false] {
        let all = faults();
        let count = all.len() as u32;
        // Each seed meets two faults, and each fault two seeds. Then all requests succeed.
        let next = AtomicUsize::new(0);
        let script = move |asked: &Asked| match asked.before {
            0 | 1 => all[next.fetch_add(1, Ordering::Relaxed) % all.len()].clone(),
            _ => Reply::Good(NOW),
        };
        let server = Server::new(script);
        let again = Retries {
            endpoint_failures: 1000,
            ..retries()
        };
        let generator = builder(&[&server])
            .stream(stream)
            .retries(again)
            .connect()
            .unwrap();
        let list = List::new(1, count);
        generator.run(&list).unwrap();
        list.check_all();
        assert_eq!(server.requests() as u32, 3 * count);
        let statistics = &generator.statistics()[0];
        assert_eq!(statistics.requests, u64::from(3 * count));
        assert_eq!(statistics.completed, u64::from(count));
        assert_eq!(
            (statistics.failures, statistics.retries),
            (u64::from(2 * count), u64::from(2 * count))
        );
        assert!(statistics.last_error.is_some());
    }
}

#[test]
fn what_a_server_sends_beyond_a_response_is_nobodys() {
    for stream in [true, false] {
        let server = Server::new(|_| Reply::Twice);
        let generator = builder(&[&server]).stream(stream).connect().unwrap();
        let list = List::new(3, 10);
        generator.run(&list).unwrap();
        list.check_all();
        assert_eq!(server.requests(), 30);
    }
}

#[test]
fn bodies_without_end_are_refused() {
    let endless = "data: ".to_owned() + &"x".repeat(5 << 20);
    let huge = " ".repeat(65 << 20);
    let server = Server::new(move |asked| match asked.before {
        0 => events(&endless),
        1 => json_body(&huge),
        _ => Reply::Good(NOW),
    });
    let generator = builder(&[&server]).connect().unwrap();
    let list = List::new(1, 1);
    generator.run(&list).unwrap();
    list.check_all();
    assert_eq!(
        (server.requests(), generator.statistics()[0].failures),
        (3, 2)
    );
}

#[test]
fn silence_is_noticed_and_slowness_is_not() {
    let server = Server::new(|asked| match asked.before {
        0 => Reply::Stall(0),
        1 => Reply::Stall(250),
        // At a byte per millisecond, the response takes longer than any timeout for silence.
        _ => Reply::Trickle(Duration::from_millis(1)),
    });
    let short = Timeouts {
        first_byte: Duration::from_millis(400),
        silence: Duration::from_millis(400),
        ..timeouts()
    };
    let generator = builder(&[&server]).timeouts(short).connect().unwrap();
    let list = List::new(1, 2);
    let begun = Instant::now();
    generator.run(&list).unwrap();
    list.check_all();
    assert!(begun.elapsed() > Duration::from_millis(1200));
    assert_eq!(server.requests(), 6);
    // Without streaming, only the whole response has a timeout.
    let server = Server::new(|asked| match asked.before {
        0 => Reply::Stall(0),
        _ => Reply::Good(Duration::from_millis(600)),
    });
    let limits = Timeouts {
        request: Duration::from_millis(900),
        ..timeouts()
    };
    let generator = builder(&[&server])
        .stream(false)
        .timeouts(limits)
        .connect()
        .unwrap();
    let list = List::new(1, 1);
    generator.run(&list).unwrap();
    list.check_all();
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_refusal_is_an_error_at_once() {
    for (code, message) in [
        (400, "Extra inputs are not permitted: min_p"),
        (401, "Incorrect API key"),
        (403, "no"),
        (404, "no such route"),
        (422, "top_p must be in (0, 1]"),
        (307, "elsewhere"),
    ] {
        let body = json!({"error": {"message": message}}).to_string();
        let elsewhere = Server::good();
        let location = vec![("Location", elsewhere.url() + "/completions")];
        let server = Server::new(move |_| Reply::Status(code, location.clone(), body.clone()));
        let generator = builder(&[&server]).connect().unwrap();
        let list = List::new(1, 1);
        let error = generator.run(&list).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Server);
        let expected = format!(
            "{}: trial 0 of problem \"p0\": status {code}: {message}",
            server.url()
        );
        assert_eq!(error.detail(), expected);
        assert!(list.completions().is_empty());
        assert_eq!((server.requests(), elsewhere.requests()), (1, 0));
    }
}

#[test]
fn a_pause_that_a_server_asks_for_is_kept() {
    let server = Server::new(|asked| match asked.before {
        0 => Reply::Status(429, vec![("Retry-After", "1".into())], String::new()),
        _ => Reply::Good(NOW),
    });
    let generator = builder(&[&server]).connect().unwrap();
    let list = List::new(1, 1);
    generator.run(&list).unwrap();
    list.check_all();
    let waited = server.log(|log| log.asked[1].at - log.asked[0].at);
    assert!(waited >= Duration::from_millis(990), "{waited:?}");
}

#[test]
fn one_request_that_always_fails_ends_the_run_and_what_was_delivered_stays() {
    let poison = dart_math::trial_seed(3, "p1", 2) & ((1 << 53) - 1);
    let server = Server::new(move |asked| match asked.seed == poison {
        true => status(500),
        false => Reply::Good(Duration::from_millis(1)),
    });
    let few = Retries {
        failures: 3,
        ..retries()
    };
    let generator = builder(&[&server]).retries(few).connect().unwrap();
    let list = List::new(2, 200);
    let error = generator.run(&list).unwrap_err();
    let expected = "trial 2 of problem \"p1\" failed 3 times; status 500: as scripted";
    assert!(error.detail().ends_with(expected), "{error}");
    assert!(list.completions().len() > 3);
    assert!(!list.completions().contains_key(&TrialId {
        problem: 1,
        number: 2
    }));
}

#[test]
fn endpoints_that_stay_away_end_the_run_by_name() {
    let (first, second) = (Server::good(), Server::new(|_| status(503)));
    let short = Retries {
        all_away: Duration::from_millis(700),
        ..retries()
    };
    let generator = builder(&[&first, &second])
        .retries(short)
        .connect()
        .unwrap();
    first.die();
    let begun = Instant::now();
    let error = generator.run(&List::new(1, 5)).unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(690));
    assert!(begun.elapsed() < Duration::from_secs(5));
    let detail = error.detail();
    assert!(
        detail.starts_with("no endpoint has answered for 0.7 s; "),
        "{detail}"
    );
    assert!(
        detail.contains(&format!("{}: Connection refused", first.url())),
        "{detail}"
    );
    assert!(
        detail.contains(&format!("{}: status 503: as scripted", second.url())),
        "{detail}"
    );
}

#[test]
fn a_prompt_that_is_too_long_is_left_out() {
    let too_long = "This model's maximum context length is 100 tokens";
    let body = json!({"error": {"message": too_long}}).to_string();
    let server = Server::new(move |asked| {
        let prompt = asked.body["prompt"].as_str().unwrap();
        match prompt.len() > 150 {
            true => Reply::Status(400, vec![], body.clone()),
            false => Reply::Good(NOW),
        }
    });
    let generator = builder(&[&server]).connect().unwrap();
    let with_question = |index, length| {
        let question = "x".repeat(length);
        std::sync::Arc::new(dart_math::Problem {
            question,
            ..(*problem(index)).clone()
        })
    };
    let short: Vec<_> = (0..20).map(|index| with_question(index, 10)).collect();
    assert_eq!(generator.check(&short).unwrap(), []);
    // 10 bytes and the template certainly fit into 100 tokens beside 32 new ones.
    assert_eq!(server.requests(), 0);
    let mut mixed = short;
    mixed.insert(3, with_question(90, 400));
    mixed.push(with_question(91, 500));
    mixed.push(with_question(92, 90));
    let rejected = generator.check(&mixed).unwrap();
    let places: Vec<usize> = rejected.iter().map(|rejection| rejection.problem).collect();
    assert_eq!(places, [3, 21]);
    assert_eq!(rejected[0].reason, format!("status 400: {too_long}"));

    // If the server only refuses it later, the response is empty.
    let server = Server::new(
        move |asked| match asked.body["prompt"] == "Q: question 1?\nA:" {
            true => Reply::Status(
                400,
                vec![],
                json!({"error": {"message": too_long}}).to_string(),
            ),
            false => Reply::Good(NOW),
        },
    );
    let generator = builder(&[&server]).connect().unwrap();
    let list = List::new(2, 3);
    generator.run(&list).unwrap();
    for (trial, completion) in list.completions() {
        let is_long = trial.problem == 1;
        assert_eq!(completion.finish == Finish::Length, is_long);
        assert_eq!(
            (completion.text.is_empty(), completion.token_count() == 0),
            (is_long, is_long)
        );
    }
    assert_eq!(generator.statistics()[0].beyond_context, 3);
}
