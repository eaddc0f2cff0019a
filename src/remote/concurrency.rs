//! Controls the number of concurrent requests of an endpoint: starts low, grows while the throughput grows,
//! and is halved when the endpoint is overloaded.
//!
//! A pure function of the observations and their times. Independent of requests.

/// The initial number of concurrent requests.
const START: usize = 4;
/// The minimum duration of a measurement, in seconds.
const MIN_SECONDS: f64 = 0.1;
/// The duration, in seconds, after which a measurement needs tokens only, not completions.
const SECONDS: f64 = 2.0;
/// The number of measurements between two attempts to raise the limit.
const HOLD_MEASUREMENTS: u32 = 8;

/// The beginning of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    began: f64,
    tokens: u64,
    completions: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// The limit doubles while throughput grows.
    Growing,
    /// The limit is held for this many further measurements.
    Holding(u32),
    /// A slightly higher limit is being tried.
    Trying,
}

/// The concurrency limit of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Concurrency {
    bound: usize,
    limit: usize,
    phase: Phase,
    window: Option<Window>,
    /// Tokens per second at the previous limit.
    best: f64,
    /// The previous limit.
    before: usize,
    /// The time at which the limit was last halved.
    cut: f64,
}

impl Concurrency {
    pub(super) fn new(bound: usize) -> Self {
        let limit = START.min(bound);
        Concurrency {
            bound,
            limit,
            phase: Phase::Growing,
            window: None,
            best: 0.0,
            before: limit,
            cut: f64::NEG_INFINITY,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Evaluates the progress since the last call and returns whether the limit changed. `tokens` and
    /// `completions` are sums since the beginning.
    pub(super) fn observe(
        &mut self,
        now: f64,
        in_flight: usize,
        tokens: u64,
        completions: u64,
    ) -> bool {
        // Measurements are meaningful only while the limit is the bottleneck.
        if in_flight + self.limit.div_ceil(8) < self.limit || in_flight == 0 {
            self.window = None;
            return false;
        }
        let fresh = Window {
            began: now,
            tokens,
            completions,
        };
        let window = *self.window.get_or_insert(fresh);
        let seconds = now - window.began;
        let (tokens, completions) = (tokens - window.tokens, completions - window.completions);
        let limit = self.limit as u64;
        let is_enough = completions >= 2 * limit && seconds >= MIN_SECONDS
            || tokens >= 16 * limit && seconds >= SECONDS;
        if !is_enough {
            return false;
        }
        self.window = None;
        self.measured(tokens as f64 / seconds)
    }

    fn measured(&mut self, speed: f64) -> bool {
        let limit = self.limit;
        match self.phase {
            Phase::Growing if speed > 1.1 * self.best => {
                self.raise(speed, limit);
                if self.limit == limit {
                    self.phase = Phase::Holding(HOLD_MEASUREMENTS);
                }
            }
            Phase::Trying if speed > 1.03 * self.best => self.raise(speed, limit.div_ceil(4)),
            Phase::Growing | Phase::Trying => {
                self.limit = self.before;
                self.phase = Phase::Holding(HOLD_MEASUREMENTS);
            }
            Phase::Holding(0) => {
                self.raise(speed, limit.div_ceil(4));
                self.phase = match self.limit > limit {
                    true => Phase::Trying,
                    false => Phase::Holding(HOLD_MEASUREMENTS),
                };
            }
            Phase::Holding(left) => self.phase = Phase::Holding(left - 1),
        }
        self.limit != limit
    }

    fn raise(&mut self, speed: f64, by: usize) {
        self.best = speed;
        self.before = self.limit;
        self.limit = (self.limit + by).min(self.bound);
    }

    /// Handles an overload reported for a request that was sent at `sent`. Returns whether the limit changed:
    /// requests sent before the last reduction say nothing about the new limit.
    pub(super) fn overloaded(&mut self, now: f64, sent: f64) -> bool {
        if sent < self.cut {
            return false;
        }
        self.limit = (self.limit / 2).max(1);
        self.before = self.limit;
        self.phase = Phase::Holding(HOLD_MEASUREMENTS);
        self.window = None;
        self.cut = now;
        true
    }

    /// Restarts for an endpoint that has come back.
    pub(super) fn restart(&mut self) {
        *self = Concurrency::new(self.bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates an endpoint with all requests that the limit allows, at a speed that depends on their
    /// number. Every completion has ten tokens.
    fn serve(
        concurrency: &mut Concurrency,
        seconds: f64,
        speed: impl Fn(usize) -> f64,
    ) -> Vec<usize> {
        let (mut now, mut tokens) = (0.0, 0.0);
        let mut limits = vec![concurrency.limit()];
        while now < seconds {
            let limit = concurrency.limit();
            tokens += speed(limit) * 0.01;
            now += 0.01;
            if concurrency.observe(now, limit, tokens as u64, (tokens / 10.0) as u64) {
                limits.push(concurrency.limit());
            }
        }
        limits
    }

    #[test]
    fn it_grows_to_where_more_gives_no_more() {
        for knee in [16, 64, 100] {
            let mut concurrency = Concurrency::new(1000);
            let limits = serve(&mut concurrency, 60.0, |n| 100.0 * n.min(knee) as f64);
            assert_eq!(limits[..3], [4, 8, 16], "{limits:?}");
            let limit = concurrency.limit();
            assert!(
                limit >= knee && limit <= 2 * knee,
                "knee {knee}: {limits:?}"
            );
        }
    }

    #[test]
    fn it_never_passes_its_bound() {
        for bound in [1, 3, 4, 50] {
            let mut concurrency = Concurrency::new(bound);
            let limits = serve(&mut concurrency, 60.0, |n| 100.0 * n as f64);
            assert_eq!(limits.iter().max(), Some(&bound), "{limits:?}");
            assert_eq!(concurrency.limit(), bound);
        }
    }

    #[test]
    fn an_overload_halves_it_once() {
        let mut concurrency = Concurrency::new(64);
        serve(&mut concurrency, 20.0, |n| 100.0 * n as f64);
        assert_eq!(concurrency.limit(), 64);
        assert!(concurrency.overloaded(21.0, 20.5));
        // The other requests sent at the same time.
        for _ in 0..63 {
            assert!(!concurrency.overloaded(21.1, 20.6));
        }
        assert_eq!(concurrency.limit(), 32);
        assert!(concurrency.overloaded(22.0, 21.5));
        assert_eq!(concurrency.limit(), 16);
        for n in 0..10 {
            concurrency.overloaded(30.0 + f64::from(n), 29.5 + f64::from(n));
        }
        assert_eq!(concurrency.limit(), 1);
        // And it recovers.
        serve(&mut concurrency, 200.0, |n| 100.0 * n as f64);
        assert!(concurrency.limit() > 16);
    }

    #[test]
    fn what_is_not_busy_says_nothing() {
        let mut concurrency = Concurrency::new(64);
        for second in 0..100_u32 {
            let tokens = u64::from(second) * 1000;
            assert!(!concurrency.observe(f64::from(second), 1, tokens, tokens));
        }
        assert_eq!(concurrency.limit(), START);
    }
}
