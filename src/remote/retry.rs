//! Timeouts and retries: their settings, and the waits between attempts.

use std::time::Duration;

use crate::{Error, ErrorKind, Philox, Result};

/// The timeouts of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The timeout for a connection, including TLS. The default is 10 seconds.
    pub connect: Duration,
    /// The timeout for the beginning of a response, including the time in the server's queue. Applies to
    /// streamed responses. The default is 5 minutes.
    pub first_byte: Duration,
    /// The timeout for the next part of a streamed response. The default is 2 minutes.
    pub silence: Duration,
    /// The timeout for a complete response. The default is one hour.
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

/// How failed requests are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// The wait before the first retry of a request. It doubles with each further one. The default is a
    /// quarter of a second.
    pub first_wait: Duration,
    /// The maximum wait before a retry or of a paused endpoint, before jitter of up to a half. The default is
    /// one minute.
    pub max_wait: Duration,
    /// The number of failures of a request after which the run fails. Only failures at endpoints that answer
    /// other requests, or that had begun to answer this one, are counted; overload is not. The default is 10.
    pub failures: u32,
    /// The number of consecutive failures after which an endpoint is paused. It is probed before it gets
    /// requests again. The default is 3.
    pub endpoint_failures: u32,
    /// How long all endpoints may fail to answer before the run fails. The default is 10 minutes.
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

    /// Returns the wait after this many failures (at least 1). It doubles with each failure. Jitter by a
    /// factor from 0.5 to 1.5 keeps requests that failed together from being retried together.
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
