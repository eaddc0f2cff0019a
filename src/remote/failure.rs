//! Failed requests: whether they are retried, and the server's message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// The maximum number of characters of a server's message in errors.
const MAX_MESSAGE: usize = 600;
/// The maximum pause accepted from a server's `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// How a failure is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server or the connection is broken: retry, and pause the endpoint after repeated failures.
    Broken,
    /// The server is overloaded and may have stated a pause: retry with fewer concurrent requests.
    Overloaded(Option<Duration>),
    /// No answer in time: treated as both broken and overloaded.
    TimedOut,
    /// The prompt and its completion do not fit into the model's context.
    Context,
    /// The request is refused, and a retry would not help.
    Refused,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn broken(message: impl Into<String>) -> Self {
        Failure::new(Kind::Broken, message)
    }

    /// Classifies a response with an error status.
    pub(super) fn of_status(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let said = message(body);
        let kind = match status {
            408 => Kind::TimedOut,
            425 | 429 | 503 => Kind::Overloaded(retry_after.and_then(pause)),
            500.. => Kind::Broken,
            400 | 413 | 422 if is_of_context(body) => Kind::Context,
            _ => Kind::Refused,
        };
        let text = match said.is_empty() {
            true => format!("status {status}"),
            false => format!("status {status}: {said}"),
        };
        Failure::new(kind, text)
    }

    /// Classifies an error in a stream, which has no HTTP status.
    pub(super) fn of_event(error: &Value) -> Self {
        let code = error.get("code").or_else(|| error.get("status"));
        let status = code
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok());
        let body = serde_json::json!({ "error": error }).to_string();
        match status {
            Some(status @ 400..=599) => Failure::of_status(status, None, body.as_bytes()),
            _ => Failure::broken(format!(
                "an error within the stream: {}",
                message(body.as_bytes())
            )),
        }
    }
}

/// Returns the message of an error in one of the usual formats, or the beginning of the body.
fn message(body: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let said = parsed.as_ref().and_then(|value| {
        let inner = [
            value.pointer("/error/message"),
            value.get("message"),
            value.get("detail"),
            value.get("error"),
        ];
        inner.into_iter().flatten().next()
    });
    let text = match said {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.trim().chars().map(plain).take(MAX_MESSAGE).collect();
    if text.trim().chars().nth(MAX_MESSAGE).is_some() {
        short.push('…');
    }
    short
}

/// Returns whether a refusal is due to a prompt that is too long: by the codes of OpenAI and llama.cpp, and
/// the messages of vLLM and SGLang. A refusal of `max_tokens` itself, whatever the prompt, is not.
fn is_of_context(body: &[u8]) -> bool {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let field = parsed
        .as_ref()
        .and_then(|value| value.pointer("/error/param"));
    if field.and_then(Value::as_str) == Some("max_tokens") {
        return false;
    }
    let text = String::from_utf8_lossy(body).to_lowercase();
    let signs = [
        "context_length_exceeded",
        "exceed_context_size",
        "context length",
        "context size",
        "maximum model length",
        "max_model_len",
    ];
    signs.iter().any(|sign| text.contains(sign))
}

/// Parses a `Retry-After`: seconds or a date.
fn pause(text: &str) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()?
                .as_secs_f64();
            date(text)? as f64 - now
        }
    };
    let pause = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    Some(pause.min(MAX_RETRY_AFTER))
}

/// Parses a date such as `Sun, 06 Nov 1994 08:49:37 GMT` to seconds since 1970.
fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|&name| name == month)? as i64 + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<i64> = time
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [hours, minutes, seconds] = clock[..] else {
        return None;
    };
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days of the proleptic Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_met_each_in_its_way() {
        let kind = |status, body: &str| Failure::of_status(status, None, body.as_bytes()).kind;
        assert_eq!(kind(500, ""), Kind::Broken);
        assert_eq!(kind(502, "<html>"), Kind::Broken);
        assert_eq!(kind(429, ""), Kind::Overloaded(None));
        assert_eq!(kind(503, ""), Kind::Overloaded(None));
        assert_eq!(kind(408, ""), Kind::TimedOut);
        for status in [301, 400, 401, 403, 404, 422] {
            assert_eq!(kind(status, "{}"), Kind::Refused, "{status}");
        }
        let vllm = r#"{"error":{"message":"This model's maximum context length is 4096 tokens."}}"#;
        assert_eq!(kind(400, vllm), Kind::Context);
        // As vLLM 0.32 said them.
        let vllm = r#"{"error":{"message":"This model's maximum context length is 288 tokens. However, your prompt contains at least 289 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=289)","type":"BadRequestError","param":"input_tokens","code":400}}"#;
        assert_eq!(kind(400, vllm), Kind::Context);
        let vllm = r#"{"error":{"message":"max_tokens=500 cannot be greater than max_model_len=288. Please request fewer output tokens. (parameter=max_tokens, value=500)","type":"BadRequestError","param":"max_tokens","code":400}}"#;
        assert_eq!(kind(400, vllm), Kind::Refused);
        let llama = r#"{"error":{"type":"exceed_context_size_error","message":"too long"}}"#;
        assert_eq!(kind(400, llama), Kind::Context);
        assert_eq!(kind(500, llama), Kind::Broken);
    }

    #[test]
    fn messages_are_found_in_every_form() {
        for body in [
            r#"{"error":{"message":"no such model"}}"#,
            r#"{"message":"no such model"}"#,
            r#"{"detail":"no such model"}"#,
            r#"{"error":"no such model"}"#,
            "no such\nmodel",
        ] {
            assert_eq!(message(body.as_bytes()), "no such model", "{body}");
        }
        assert_eq!(
            message("x".repeat(5000).as_bytes()).chars().count(),
            MAX_MESSAGE + 1
        );
    }

    #[test]
    fn pauses_are_seconds_or_dates() {
        assert_eq!(pause("2"), Some(Duration::from_secs(2)));
        assert_eq!(pause(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(pause("-3"), Some(Duration::ZERO));
        assert_eq!(pause("1e300"), None);
        assert_eq!(pause("99999"), Some(MAX_RETRY_AFTER));
        assert_eq!(pause("soon"), None);
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(date("Thu, 01 Foo 1970 00:00:00 GMT"), None);
    }

    #[test]
    fn errors_within_a_stream_are_met_by_their_code() {
        let of = |error: Value| Failure::of_event(&error).kind;
        assert_eq!(
            of(serde_json::json!({"message": "m", "code": 400})),
            Kind::Refused
        );
        assert_eq!(
            of(serde_json::json!({"message": "m", "code": 503})),
            Kind::Overloaded(None)
        );
        assert_eq!(of(serde_json::json!({"message": "m"})), Kind::Broken);
        assert_eq!(of(serde_json::json!("m")), Kind::Broken);
    }
}
