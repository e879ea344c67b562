//! Keys of publications that may come twice, and where the first of each went (PROTOCOL §9).
//!
//! A plain state machine on a clock that it is given; 5 000 keys of a topic for five minutes, beyond which the oldest
//! is forgotten.

use hashbrown::{DefaultHashBuilder, HashMap};
use std::collections::VecDeque;
use std::hash::BuildHasher;

/// Keys that are remembered.
const MOST: usize = 5_000;
/// How long, in milliseconds.
const TTL_MS: u64 = 300_000;
/// What one weighs in map and order, in bytes.
const WEIGHT: usize = 48;

/// The keys of one topic.
#[derive(Debug, Default)]
pub struct Keys {
    /// By a hash of the key, the number of its publication, and when it was. Two keys of one hash are one in 2⁶⁴.
    seen: HashMap<u64, (u64, u64)>,
    order: VecDeque<u64>,
    hasher: DefaultHashBuilder,
}

impl Keys {
    /// The number of the publication that had `key`.
    pub fn get(&self, key: &str, now: u64) -> Option<u64> {
        let (index, at) = self.seen.get(&self.hasher.hash_one(key))?;
        (now < at + TTL_MS).then_some(*index)
    }

    /// Remembers `key`, which is not there, for the publication `index`.
    pub fn insert(&mut self, key: &str, index: u64, now: u64) {
        if self.order.len() == MOST {
            self.forget_oldest();
        }
        let newest = self.order.back().and_then(|hash| self.seen.get(hash));
        // Clocks were looked at before the lock: what came later is not older, or it would be there and have no time left.
        let at = newest.map_or(now, |(_, at)| now.max(*at));
        let hash = self.hasher.hash_one(key);
        self.seen.insert(hash, (index, at));
        self.order.push_back(hash);
    }

    /// Forgets what has had its time; whether nothing is left.
    pub fn expire(&mut self, now: u64) -> bool {
        let is_over = |keys: &Self| {
            let oldest = keys.order.front().and_then(|hash| keys.seen.get(hash));
            oldest.is_some_and(|(_, at)| at + TTL_MS <= now)
        };
        while is_over(self) {
            self.forget_oldest();
        }
        self.order.is_empty()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.order.len() * WEIGHT
    }

    fn forget_oldest(&mut self) {
        if let Some(hash) = self.order.pop_front() {
            self.seen.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_key_for_five_minutes() {
        let mut keys = Keys::default();
        keys.insert("a", 1, 1_000);
        assert_eq!(keys.get("a", 1_000 + TTL_MS - 1), Some(1));
        assert_eq!(keys.get("a", 1_000 + TTL_MS), None);
        assert_eq!(keys.get("b", 1_000), None);
        assert!(!keys.expire(1_000 + TTL_MS - 1) && keys.expire(1_000 + TTL_MS));
    }

    #[test]
    fn a_key_that_came_with_an_earlier_clock_is_forgotten_with_the_one_before_it() {
        let mut keys = Keys::default();
        keys.insert("a", 1, 6);
        // Another thread had looked at its clock, and waited for the lock.
        keys.insert("b", 2, 5);
        for now in [5 + TTL_MS, 6 + TTL_MS] {
            let is_over = keys.expire(now);
            assert_eq!(is_over, keys.get("b", now).is_none(), "what is remembered counts");
        }
        assert_eq!(keys.bytes(), 0);
    }

    #[test]
    fn forgets_the_oldest_of_a_crowd() {
        let mut keys = Keys::default();
        for n in 0..=MOST as u64 {
            keys.insert(&n.to_string(), n, 5);
        }
        assert_eq!((keys.get("0", 5), keys.get("1", 5)), (None, Some(1)));
        assert_eq!(keys.seen.len(), MOST);
        assert_eq!(keys.bytes(), MOST * WEIGHT);
    }
}
