//! Times of single deliveries, taken from the payloads.
//!
//! A payload that is to be timed holds `@` and nineteen digits: the monotonic clock, in nanoseconds,
//! when the application published it.

use crate::clock;
use serde::Serialize;

/// Marks the time in a payload.
const MARK: u8 = b'@';
const DIGITS: usize = 19;
/// How far into a payload the mark is looked for: an envelope may stand in front of it.
const REACH: usize = 256;

/// The delivery times seen since the last reset.
#[derive(Default)]
pub struct Latency {
    nanoseconds: Vec<u64>,
}

/// Percentiles of delivery times, in microseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    count: usize,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Latency {
    /// Records the age of `payload`, if it tells its time.
    pub fn record(&mut self, payload: &[u8]) {
        if let Some(sent) = sent_at(payload) {
            self.nanoseconds.push(clock::now().saturating_sub(sent));
        }
    }

    /// The percentiles of everything recorded; forgets it.
    pub fn take(&mut self) -> Option<Percentiles> {
        let mut all = std::mem::take(&mut self.nanoseconds);
        all.sort_unstable();
        let last = all.len().checked_sub(1)?;
        let at = |share: f64| all[(last as f64 * share).round() as usize] as f64 / 1000.0;
        Some(Percentiles {
            count: all.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        })
    }
}

fn sent_at(payload: &[u8]) -> Option<u64> {
    let mark = payload.iter().take(REACH).position(|&byte| byte == MARK)?;
    let digits = payload.get(mark + 1..mark + 1 + DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_found_behind_an_envelope() {
        assert_eq!(sent_at(br#"{"v":2,"p":{"at":"@0000000000000000042"}}"#), Some(42));
        assert_eq!(sent_at(b"@42"), None);
    }

    #[test]
    fn percentiles_are_taken_once() {
        let mut latency = Latency { nanoseconds: (1..=101).map(|n| n * 1000).collect() };
        let percentiles = latency.take().expect("101 samples");
        assert_eq!((percentiles.p50_us, percentiles.max_us), (51.0, 101.0));
        assert!(latency.take().is_none());
    }
}
