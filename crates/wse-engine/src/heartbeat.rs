//! When a silent connection is asked whether it lives, and when it is given up (PROTOCOL §14).
//!
//! A plain state machine: the shard's calendar asks, and acts on the answer.

/// The two times, in milliseconds; zero switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// Silence after which the server pings. Default: 25 000.
    pub interval_ms: u64,
    /// Silence after which the connection is closed with 4408. Default: 60 000, more than two heartbeats, so
    /// that one lost packet on a phone changes nothing.
    pub idle_timeout_ms: u64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_ms: 25_000, idle_timeout_ms: 60_000 }
    }
}

/// What is due for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Ping it now.
    Ping,
    /// It was silent for too long.
    Close,
    /// Nothing before this moment.
    At(u64),
    /// Nothing, ever: both times are off.
    Never,
}

impl Heartbeat {
    /// Decides at `now` for a connection last heard at `last_seen` and last pinged at `last_ping`. `is_steady`: it is
    /// pinged whether it was silent or not, because its own idle timer counts on it.
    pub fn due(&self, last_seen: u64, last_ping: u64, is_steady: bool, now: u64) -> Due {
        let close_at = (self.idle_timeout_ms > 0).then(|| last_seen + self.idle_timeout_ms);
        let since = if is_steady { last_ping } else { last_seen.max(last_ping) };
        let ping_at = (self.interval_ms > 0).then(|| since + self.interval_ms);
        if close_at.is_some_and(|at| now >= at) {
            return Due::Close;
        }
        if ping_at.is_some_and(|at| now >= at) {
            return Due::Ping;
        }
        match (close_at, ping_at) {
            (Some(close), Some(ping)) => Due::At(close.min(ping)),
            (Some(at), None) | (None, Some(at)) => Due::At(at),
            (None, None) => Due::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_after_silence_and_closes_after_more() {
        let times = Heartbeat::default();
        assert_eq!(times.due(0, 0, false, 10_000), Due::At(25_000));
        assert_eq!(times.due(0, 0, false, 25_000), Due::Ping);
        assert_eq!(times.due(0, 25_000, false, 25_000), Due::At(50_000));
        assert_eq!(times.due(0, 50_000, false, 50_000), Due::At(60_000));
        assert_eq!(times.due(0, 50_000, false, 60_000), Due::Close);
        assert_eq!(times.due(59_000, 50_000, false, 60_000), Due::At(84_000));
    }

    #[test]
    fn pings_steadily_whoever_counts_on_it() {
        let times = Heartbeat::default();
        assert_eq!(times.due(20_000, 0, true, 25_000), Due::Ping);
        assert_eq!(times.due(25_000, 25_000, true, 49_999), Due::At(50_000));
        assert_eq!(times.due(0, 50_000, true, 60_000), Due::Close);
    }

    #[test]
    fn zero_switches_a_time_off() {
        assert_eq!(Heartbeat { interval_ms: 0, idle_timeout_ms: 0 }.due(0, 0, false, 1 << 40), Due::Never);
        assert_eq!(Heartbeat { interval_ms: 10, idle_timeout_ms: 0 }.due(0, 0, false, 1 << 40), Due::Ping);
    }
}
