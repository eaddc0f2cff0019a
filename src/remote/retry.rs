//! How long to wait, and how often to try: settings, and the waits that they make.

use std::time::Duration;

use crate::{Error, ErrorKind, Philox, Result};

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included. 10 seconds unless set.
    pub connect: Duration,
    /// For the first of a response, which has waited in the server's queue by then; where responses are
    /// not streamed, it comes with the last. 5 minutes unless set.
    pub first_byte: Duration,
    /// For the next part of a response that is streamed. 2 minutes unless set.
    pub silence: Duration,
    /// For a whole response. An hour unless set.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(300),
            silence: Duration::from_secs(120),
            request: Duration::from_secs(3600),
        }
    }
}

/// How what failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// The wait before a request's second try; it doubles with each further one. A quarter of a second
    /// unless set.
    pub first_wait: Duration,
    /// The longest wait before a try, and of an endpoint that rests. A minute unless set.
    pub max_wait: Duration,
    /// Failures of one request, at endpoints that answer others or had begun to answer it, after which the
    /// run fails. 10 unless set.
    pub failures: u32,
    /// Failures of an endpoint in a row after which it rests, and is asked for a sign of life before it gets
    /// requests again. 3 unless set.
    pub endpoint_failures: u32,
    /// How long all endpoints may fail to answer before the run fails. 10 minutes unless set.
    pub all_away: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            first_wait: Duration::from_millis(250),
            max_wait: Duration::from_secs(60),
            failures: 10,
            endpoint_failures: 3,
            all_away: Duration::from_secs(600),
        }
    }
}

impl Timeouts {
    pub(super) fn validate(&self) -> Result<()> {
        let times = [
            ("connect", self.connect),
            ("first_byte", self.first_byte),
            ("silence", self.silence),
            ("request", self.request),
        ];
        match times.iter().find(|(_, time)| time.is_zero()) {
            Some((name, _)) => Err(zero(name)),
            None => Ok(()),
        }
    }
}

impl Retries {
    pub(super) fn validate(&self) -> Result<()> {
        let named = [
            ("first_wait", self.first_wait.is_zero()),
            ("max_wait", self.max_wait.is_zero()),
            ("failures", self.failures == 0),
            ("endpoint_failures", self.endpoint_failures == 0),
        ];
        match named.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(zero(name)),
            None => Ok(()),
        }
    }

    /// The wait after so many failures (from 1 up): doubled with each, and between half and one and a half
    /// of that, so that those that failed together do not come back together.
    pub(super) fn wait(&self, failures: u32, key: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let wait = self
            .first_wait
            .saturating_mul(1 << doublings)
            .min(self.max_wait);
        wait.mul_f64(0.5 + Philox::new(key).uniform(u64::from(failures)))
    }
}

fn zero(name: &str) -> Error {
    Error::new(
        ErrorKind::Settings,
        format!("{name} is 0, but must be more"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ() {
        let retries = Retries {
            first_wait: Duration::from_millis(100),
            max_wait: Duration::from_secs(2),
            ..Retries::default()
        };
        for (failures, wait) in [
            (1, 0.1),
            (2, 0.2),
            (3, 0.4),
            (5, 1.6),
            (6, 2.0),
            (u32::MAX, 2.0),
        ] {
            let waits: Vec<f64> = (0..200)
                .map(|key| retries.wait(failures, key).as_secs_f64())
                .collect();
            assert!(
                waits
                    .iter()
                    .all(|&w| w >= 0.499 * wait && w <= 1.501 * wait)
            );
            let mean = waits.iter().sum::<f64>() / 200.0;
            assert!((mean / wait - 1.0).abs() < 0.1, "{mean} for {wait}");
        }
    }

    #[test]
    fn nothing_may_be_zero() {
        let d = Timeouts::default();
        let timeouts = Timeouts {
            silence: Duration::ZERO,
            ..d
        };
        assert!(
            timeouts
                .validate()
                .unwrap_err()
                .detail()
                .starts_with("silence")
        );
        let retries = Retries {
            failures: 0,
            ..Retries::default()
        };
        assert!(
            retries
                .validate()
                .unwrap_err()
                .detail()
                .starts_with("failures")
        );
        d.validate().and(Retries::default().validate()).unwrap();
    }
}
