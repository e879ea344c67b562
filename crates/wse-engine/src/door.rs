//! How many newcomers are let in (PROTOCOL §13): one bucket for all shards, without a lock.
//!
//! Counts on the clock of the day, which all shards share, those too whose own clock stands still with their host.
//! Decides and never answers. Each of its two words is changed by one compare-and-swap, and they need not agree: no
//! interleaving lets in more than the bucket holds.

use crate::rate_limit::Rate;
use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The latest that somebody is told to come back, in seconds; more than fit begin again with the first second.
const LATEST_SECONDS: u64 = 60;
const SECOND_NS: u64 = 1_000_000_000;

/// The door of an engine. Moments are nanoseconds since 1970.
#[derive(Debug)]
pub struct Door {
    /// What one newcomer takes of the time.
    interval: u64,
    /// How far ahead of the clock the bucket may be: a whole burst.
    most: u64,
    /// When the bucket is full again.
    full_at: AtomicU64,
    /// Up to when places are promised to those who were turned away.
    promised: AtomicU64,
}

impl Door {
    /// A door with a full bucket; both numbers are above zero.
    pub fn new(rate: Rate) -> Self {
        let interval = (SECOND_NS / u64::from(rate.per_second)).max(1);
        Self { interval, most: interval * u64::from(rate.burst), full_at: 0.into(), promised: 0.into() }
    }

    /// Lets one in at `unix_ms`, or says after how many seconds it may come back: as many each second as would be
    /// let in, so that who obeys does not come in vain.
    pub fn admit(&self, unix_ms: u64) -> Result<(), u32> {
        let now = unix_ms * 1_000_000;
        let admitted = self.full_at.fetch_update(Relaxed, Relaxed, |full_at| {
            // Further ahead it cannot be, unless the clock was set back; the second is what shards may differ by.
            let is_astray = full_at > now + self.most + SECOND_NS;
            let full_at = if is_astray { now } else { full_at.max(now) } + self.interval;
            (full_at <= now + self.most).then_some(full_at)
        });
        admitted.map(drop).map_err(|_| {
            let promise = |promised: u64| {
                let next = promised.max(now) + self.interval;
                if next > now + LATEST_SECONDS * SECOND_NS { now + self.interval } else { next }
            };
            let before = self.promised.fetch_update(Relaxed, Relaxed, |promised| Some(promise(promised)));
            let (Ok(before) | Err(before)) = before;
            (promise(before) - now).div_ceil(SECOND_NS) as u32
        })
    }

    /// Gives the place of one that was let in to another.
    pub fn give_back(&self) {
        let earlier = |full_at: u64| Some(full_at.saturating_sub(self.interval));
        let (Ok(_) | Err(_)) = self.full_at.fetch_update(Relaxed, Relaxed, earlier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn admitted(door: &Door, visitors: usize, at: u64) -> usize {
        (0..visitors).filter(|_| door.admit(at).is_ok()).count()
    }

    #[test]
    fn lets_a_burst_in_and_then_so_many_a_second() {
        let door = Door::new(Rate { per_second: 100, burst: 20 });
        assert_eq!(admitted(&door, 500, NOW), 20);
        assert_eq!(admitted(&door, 500, NOW + 9), 0);
        assert_eq!(admitted(&door, 500, NOW + 10), 1);
        assert_eq!(admitted(&door, 500, NOW + 60_000), 20, "no more than a burst is saved up");
        let each_ms = (1..=10_000).map(|ms| admitted(&door, 5, NOW + 60_000 + ms)).sum::<usize>();
        assert_eq!(each_ms, 1_000);
    }

    #[test]
    fn lets_another_in_for_each_place_that_is_given_back() {
        let door = Door::new(Rate { per_second: 100, burst: 20 });
        assert_eq!(admitted(&door, 20, NOW), 20);
        (0..3).for_each(|_| door.give_back());
        assert_eq!(admitted(&door, 20, NOW), 3);
        (0..100).for_each(|_| door.give_back());
        assert_eq!(admitted(&door, 500, NOW + 1_000), 20, "no more than a burst");
    }

    #[test]
    fn tells_as_many_to_come_each_second_as_it_will_let_in() {
        let door = Door::new(Rate { per_second: 100, burst: 100 });
        let told = (0..500).filter_map(|_| door.admit(NOW).err()).collect::<Vec<_>>();
        for second in 1..=4 {
            assert_eq!(told.iter().filter(|told| **told == second).count(), 100, "in second {second}");
        }
    }

    #[test]
    fn never_tells_anybody_to_come_later_than_in_a_minute() {
        let door = Door::new(Rate { per_second: 1, burst: 1 });
        let told = (0..601).filter_map(|_| door.admit(NOW).err()).collect::<Vec<_>>();
        assert_eq!((told.iter().min(), told.iter().max()), (Some(&1), Some(&60)));
        assert_eq!(told.iter().filter(|told| **told == 30).count(), 10);
    }

    #[test]
    fn goes_on_when_the_clock_is_set_back() {
        let door = Door::new(Rate { per_second: 100, burst: 20 });
        assert_eq!(admitted(&door, 500, NOW), 20);
        assert_eq!(admitted(&door, 500, NOW - 3_600_000), 20);
        assert_eq!(admitted(&door, 1, NOW - 3_600_000 - 5), 0, "shards may differ a little");
    }
}
