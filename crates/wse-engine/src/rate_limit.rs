//! How fast one connection may send.
//!
//! A token bucket of plain numbers, with a hand-held clock; it decides and never acts.

/// Messages a second and the burst that a connection may save up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub per_second: u32,
    /// Tokens of a full bucket.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 10_000, burst: 100_000 }
    }
}

/// What a message meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// It passes, and fewer than a fifth of the tokens are left: say so, at most once a second.
    Warn {
        /// Tokens left.
        remaining: u32,
        /// Messages a second that passed, on average since the bucket was last full; at least over one second.
        current: u32,
    },
    /// It is over the rate: dropped, and the client told when `tell` is set, once a second.
    Drop {
        /// Whether the client has not been told within the last second.
        tell: bool,
    },
    /// Over the rate for five seconds: the connection is closed with 4429.
    Close,
}

/// How long a connection may go on sending over its rate before it is closed (PROTOCOL §13).
pub const EXCESS_MS: u64 = 5_000;
const SECOND_MS: u64 = 1_000;

/// The bucket of one connection.
#[derive(Debug, Clone)]
pub struct RateLimit {
    tokens: f64,
    refilled_at: u64,
    full_at: u64,
    /// Hardly any connection ever comes near its rate.
    excess: Option<Box<Excess>>,
}

#[derive(Debug, Clone, Default)]
struct Excess {
    told_at: u64,
    since: u64,
    dropped_at: u64,
}

impl RateLimit {
    /// A full bucket at `now` (milliseconds).
    pub fn new(rate: Rate, now: u64) -> Self {
        let tokens = rate.burst.into();
        Self { tokens, refilled_at: now, full_at: now, excess: None }
    }

    /// Messages that may come at once at `now` (milliseconds).
    pub fn remaining(&self, rate: Rate, now: u64) -> u32 {
        let regained = regained(rate, now.saturating_sub(self.refilled_at));
        (self.tokens + regained).min(rate.burst.into()) as u32
    }

    fn refill(&mut self, rate: Rate, now: u64) {
        let elapsed = now.saturating_sub(self.refilled_at);
        if elapsed > 0 {
            self.tokens += regained(rate, elapsed);
            self.refilled_at = now;
            if self.tokens >= rate.burst.into() {
                self.tokens = rate.burst.into();
                self.full_at = now;
            }
        }
    }

    /// What has passed since the bucket was full is what it lacks and what it has regained.
    fn current(&self, rate: Rate, now: u64) -> u32 {
        let elapsed = now.saturating_sub(self.full_at);
        let passed = f64::from(rate.burst) - self.tokens + regained(rate, elapsed);
        (passed * SECOND_MS as f64 / elapsed.max(SECOND_MS) as f64).round() as u32
    }

    /// Takes one token for a message that arrived at `now` (milliseconds, never zero).
    pub fn take(&mut self, rate: Rate, now: u64) -> Verdict {
        self.refill(rate, now);
        let told_at = self.excess.as_ref().map_or(0, |excess| excess.told_at);
        let may_tell = told_at == 0 || now - told_at >= SECOND_MS;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            if self.tokens >= f64::from(rate.burst) * 0.2 || !may_tell {
                return Verdict::Pass;
            }
            self.excess.get_or_insert_default().told_at = now;
            return Verdict::Warn { remaining: self.tokens as u32, current: self.current(rate, now) };
        }
        let excess = self.excess.get_or_insert_default();
        // A second without a drop ended the excess before.
        if excess.dropped_at == 0 || now - excess.dropped_at >= SECOND_MS {
            excess.since = now;
        }
        let is_first = excess.since == now && excess.dropped_at != now;
        excess.dropped_at = now;
        if now - excess.since >= EXCESS_MS {
            return Verdict::Close;
        }
        let tell = is_first || may_tell;
        if tell {
            excess.told_at = now;
        }
        Verdict::Drop { tell }
    }
}

/// Tokens that come back in so many milliseconds.
fn regained(rate: Rate, elapsed: u64) -> f64 {
    elapsed as f64 * f64::from(rate.per_second) / SECOND_MS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 10 };

    #[test]
    fn warns_below_a_fifth_then_drops_then_closes_after_five_seconds_of_excess() {
        let mut limit = RateLimit::new(RATE, 1);
        for _ in 0..8 {
            assert_eq!(limit.take(RATE, 1), Verdict::Pass);
        }
        assert_eq!(limit.take(RATE, 1), Verdict::Warn { remaining: 1, current: 9 });
        assert_eq!(limit.take(RATE, 1), Verdict::Pass);
        assert_eq!(limit.take(RATE, 1), Verdict::Drop { tell: true });
        assert_eq!(limit.take(RATE, 1), Verdict::Drop { tell: false });
        let mut now = 1;
        let closed = loop {
            now += 20;
            if limit.take(RATE, now) == Verdict::Close {
                break now;
            }
        };
        assert!((EXCESS_MS..EXCESS_MS + 40).contains(&closed), "closed at {closed}");
    }

    #[test]
    fn the_rate_of_a_warning_is_what_passed() {
        let rate = Rate { per_second: 100, burst: 1_000 };
        let mut limit = RateLimit::new(rate, 1);
        // Slow for a minute, then 500 a second: the burst was whole until then.
        (0..60).for_each(|second| assert_eq!(limit.take(rate, 1 + second * 1_000), Verdict::Pass));
        let mut now = 60_001;
        let warning = loop {
            now += 2;
            match limit.take(rate, now) {
                Verdict::Pass => {}
                other => break other,
            }
        };
        // Two seconds with a message at either end.
        assert_eq!(warning, Verdict::Warn { remaining: 199, current: 501 });
        assert_eq!(limit.remaining(rate, now + 1_000), 299);
        assert_eq!(limit.remaining(rate, now + 60_000), 1_000);
    }

    #[test]
    fn now_and_then_a_message_too_many_is_no_excess() {
        let mut limit = RateLimit::new(RATE, 1);
        for second in 0..20 {
            while !matches!(limit.take(RATE, 1 + second * 1_000), Verdict::Drop { .. }) {}
        }
    }

    #[test]
    fn a_second_without_a_drop_ends_the_excess() {
        let mut limit = RateLimit::new(RATE, 1);
        while !matches!(limit.take(RATE, 1), Verdict::Drop { .. }) {}
        assert_eq!(limit.take(RATE, 4_000), Verdict::Pass);
        while !matches!(limit.take(RATE, 4_000), Verdict::Drop { .. }) {}
        assert_ne!(limit.take(RATE, 6_000), Verdict::Close, "the excess began anew at 4 s");
    }
}
