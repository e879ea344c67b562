//! When a connection ends because the token ended that opened it (PROTOCOL §3).
//!
//! A plain state machine on the clock of the day: the shard's calendar asks, and acts on the answer. Never reads a
//! token.

use wse_protocol::envelope::Timestamp;

/// How long before the end the client is told, in milliseconds.
const NOTICE_MS: u64 = 60_000;
/// The clock of the day can be set, so the answer "not yet" holds for an hour at most.
pub const LOOK_MS: u64 = 3_600_000;
/// Failed refreshes in a row, the last of which ends the connection.
const MOST_FAILURES: u8 = 3;
/// Tokens of one connection that are looked at in a second: a signature costs as much as a hundred messages.
const MOST_TRIES: u8 = 4;

/// Which connections end with their token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenExpiry {
    /// None.
    Off,
    /// Those of the native dialect: clients of v1 do not come back after 4401.
    #[default]
    Native,
    /// All.
    All,
}

/// What `exp` says, in seconds, as Unix milliseconds; what no date can say is the last one that can be said.
pub fn moment(seconds: f64) -> u64 {
    // The cast stops at the ends of the type.
    ((seconds * 1_000.0) as u64).clamp(1, Timestamp::LAST.0)
}

/// When a token that says `expires` ends: later by `leeway_ms` when that has passed already and was forgiven.
pub fn end(expires: u64, leeway_ms: u64, unix_ms: u64) -> u64 {
    if unix_ms < expires { expires } else { expires.saturating_add(leeway_ms).min(Timestamp::LAST.0) }
}

/// The token's end, and what became of newer ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expiry {
    /// Unix milliseconds; zero: it has none.
    at: u64,
    /// The second in which tokens were last looked at, and how many.
    second: u32,
    tries: u8,
    failures: u8,
    is_told: bool,
}

/// What is due for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// To tell the client that the token ends soon.
    Tell,
    /// To end the connection.
    End,
    /// Nothing for so many milliseconds.
    In(u64),
    /// Nothing, ever: there is no end.
    Never,
}

impl Expiry {
    /// The end of a connection whose token ends at `at` (Unix milliseconds); `None`: it has none.
    pub fn new(at: Option<u64>) -> Self {
        Self { at: at.unwrap_or(0), ..Self::default() }
    }

    /// When the token ends, in Unix milliseconds.
    pub fn at(&self) -> Option<u64> {
        (self.at != 0).then_some(self.at)
    }

    /// Decides at `unix_ms`.
    pub fn due(&self, unix_ms: u64) -> Due {
        let Some(at) = self.at() else { return Due::Never };
        let notice = at.saturating_sub(NOTICE_MS);
        match self.is_told {
            _ if unix_ms >= at => Due::End,
            false if unix_ms >= notice => Due::Tell,
            false => Due::In((notice - unix_ms).min(LOOK_MS)),
            true => Due::In((at - unix_ms).min(LOOK_MS)),
        }
    }

    /// The client has been told of the end.
    pub fn tell(&mut self) {
        self.is_told = true;
    }

    /// Whether one more token is looked at, `millis` after the engine started.
    pub fn may_try(&mut self, millis: u64) -> bool {
        let second = (millis / 1_000) as u32;
        if std::mem::replace(&mut self.second, second) != second {
            self.tries = 0;
        }
        let may = self.tries < MOST_TRIES;
        self.tries += u8::from(may);
        may
    }

    /// A token was refused; whether it was one too many.
    pub fn fail(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= MOST_FAILURES
    }

    /// A newer token ends at `at`.
    pub fn renew(&mut self, at: Option<u64>) {
        *self = Self { second: self.second, tries: self.tries, ..Self::new(at) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_minute_before_the_end_and_once() {
        let mut expiry = Expiry::new(Some(1_000_000));
        assert_eq!(expiry.due(900_000), Due::In(40_000));
        assert_eq!(expiry.due(940_000), Due::Tell);
        assert_eq!(expiry.due(999_999), Due::Tell, "late, but before the end");
        expiry.tell();
        assert_eq!(expiry.due(940_000), Due::In(60_000));
        assert_eq!(expiry.due(1_000_000), Due::End);
        expiry.renew(Some(2_000_000));
        assert_eq!(expiry.due(1_000_000), Due::In(940_000));
        assert_eq!(Expiry::new(None).due(u64::MAX), Due::Never);
    }

    #[test]
    fn looks_at_the_clock_once_an_hour_at_least() {
        let mut far = Expiry::new(Some(moment(f64::MAX)));
        assert_eq!(far.at(), Some(Timestamp::LAST.0));
        assert_eq!(far.due(1), Due::In(LOOK_MS));
        far.tell();
        assert_eq!(far.due(1), Due::In(LOOK_MS));
    }

    #[test]
    fn a_moment_is_one_that_can_be_written_and_never_none() {
        assert_eq!(moment(1.5), 1_500);
        for (seconds, expected) in [(-5.0, 1), (0.0, 1), (f64::INFINITY, Timestamp::LAST.0)] {
            assert_eq!(moment(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn only_a_token_that_was_forgiven_has_the_leeway() {
        assert_eq!(end(1_000, 30, 999), 1_000);
        assert_eq!(end(1_000, 30, 1_000), 1_030);
        assert_eq!(end(Timestamp::LAST.0, u64::MAX, u64::MAX), Timestamp::LAST.0);
    }

    #[test]
    fn three_failures_in_a_row_are_too_many() {
        let mut expiry = Expiry::new(Some(1));
        assert!(!expiry.fail() && !expiry.fail());
        expiry.renew(Some(2));
        assert!(!expiry.fail() && !expiry.fail() && expiry.fail());
    }

    #[test]
    fn a_few_tokens_a_second_are_looked_at() {
        let mut expiry = Expiry::new(Some(1));
        let tries = |expiry: &mut Expiry, millis| (0..10).filter(|_| expiry.may_try(millis)).count();
        assert_eq!(tries(&mut expiry, 5_999), 4);
        expiry.renew(Some(2));
        assert_eq!(tries(&mut expiry, 5_999), 0);
        assert_eq!(tries(&mut expiry, 6_000), 4);
    }
}
