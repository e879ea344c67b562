//! How fast one connection may send.
//!
//! A token bucket in twelve bytes of plain numbers, with a hand-held clock; it decides and never acts.

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
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    tokens: f32,
    refilled_at: u64,
    told_at: u64,
    excess_since: u64,
}

impl RateLimit {
    /// A full bucket at `now` (milliseconds).
    pub fn new(rate: Rate, now: u64) -> Self {
        Self { tokens: rate.burst as f32, refilled_at: now, told_at: 0, excess_since: 0 }
    }

    /// Takes one token for a message that arrived at `now` (milliseconds, never zero).
    pub fn take(&mut self, rate: Rate, now: u64) -> Verdict {
        let elapsed = now.saturating_sub(self.refilled_at);
        if elapsed > 0 {
            let refill = elapsed as f32 * rate.per_second as f32 / SECOND_MS as f32;
            self.tokens = (self.tokens + refill).min(rate.burst as f32);
            self.refilled_at = now;
        }
        let may_tell = self.told_at == 0 || now - self.told_at >= SECOND_MS;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            if self.tokens >= rate.burst as f32 * 0.2 {
                // A bucket that filled up again ended the excess.
                self.excess_since = 0;
                return Verdict::Pass;
            }
            if !may_tell {
                return Verdict::Pass;
            }
            self.told_at = now;
            return Verdict::Warn { remaining: self.tokens as u32 };
        }
        if self.excess_since == 0 {
            self.excess_since = now;
            self.told_at = now;
            return Verdict::Drop { tell: true };
        }
        if now - self.excess_since >= EXCESS_MS {
            return Verdict::Close;
        }
        if may_tell {
            self.told_at = now;
        }
        Verdict::Drop { tell: may_tell }
    }
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
        assert_eq!(limit.take(RATE, 1), Verdict::Warn { remaining: 1 });
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
    fn a_bucket_that_fills_up_again_ends_the_excess() {
        let mut limit = RateLimit::new(RATE, 1);
        while !matches!(limit.take(RATE, 1), Verdict::Drop { .. }) {}
        assert_eq!(limit.take(RATE, 4_000), Verdict::Pass);
        while !matches!(limit.take(RATE, 4_000), Verdict::Drop { .. }) {}
        assert_ne!(limit.take(RATE, 6_000), Verdict::Close, "the excess began anew at 4 s");
    }
}
