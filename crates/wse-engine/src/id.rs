//! The names of a connection: two integers inside, a UUIDv7 outside.
//!
//! The public id carries the internal one, scrambled by a key of the process, so that neither side keeps a
//! table from one to the other: looking a connection up is arithmetic.

use std::fmt;
use uuid::Uuid;

/// A connection inside the process: where it sits, and which of the place's occupants it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// The shard in the upper 8 bits, the slot of its slab in the lower 24.
    pub place: u32,
    /// Odd; grows with each occupant of the slot, so that a stale key finds nothing.
    pub generation: u32,
}

impl ConnectionKey {
    /// The key of `slot` in `shard`.
    pub fn new(shard: usize, slot: usize, generation: u32) -> Self {
        Self { place: (shard as u32) << 24 | slot as u32, generation }
    }

    /// The shard that owns the connection.
    pub fn shard(self) -> usize {
        (self.place >> 24) as usize
    }

    /// The slot within the shard.
    pub fn slot(self) -> usize {
        (self.place & 0xff_ffff) as usize
    }
}

/// A connection's UUIDv7 as applications and clients see it (PROTOCOL §7, `connection_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub Uuid);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A message's id: a UUIDv7 of this moment (PROTOCOL §6).
pub fn message_id(unix_ms: u64, random: &mut fastrand::Rng) -> Uuid {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &bytes).into_uuid()
}

/// Turns keys into ids and back. The same key and `high` half always give the same id.
#[derive(Debug, Clone, Copy)]
pub struct IdKey([u32; 4]);

impl IdKey {
    /// What the epochs of this engine's logs count from.
    pub fn first_epoch(&self) -> u32 {
        // Of the key itself nothing leaves.
        self.scramble(ConnectionKey { place: u32::MAX, generation: u32::MAX }) as u32
    }

    /// A key from two random words.
    pub fn new(a: u64, b: u64) -> Self {
        Self([a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32])
    }

    /// The upper half of a new id: the moment in Unix milliseconds, the version, and random bits.
    ///
    /// Two of the twelve bits of `rand_a` belong to the scrambled key; the caller keeps this half.
    pub fn high(&self, unix_ms: u64, random: u64, key: ConnectionKey) -> u64 {
        let scrambled = self.scramble(key);
        unix_ms << 16 | 0x7000 | (random & 0x3ff) << 2 | scrambled >> 62
    }

    /// The id of the connection `key` whose upper half is `high`.
    pub fn id(&self, high: u64, key: ConnectionKey) -> ConnectionId {
        let low = 0b10 << 62 | self.scramble(key) & (u64::MAX >> 2);
        ConnectionId(Uuid::from_u64_pair(high, low))
    }

    /// The key inside `id`, and its upper half, which the caller compares with the one that it kept.
    pub fn key(&self, id: ConnectionId) -> (ConnectionKey, u64) {
        let (high, low) = id.0.as_u64_pair();
        (self.unscramble((high & 0b11) << 62 | low & (u64::MAX >> 2)), high)
    }

    // A four-round Feistel network: a bijection whatever the round function is.
    fn scramble(&self, key: ConnectionKey) -> u64 {
        let (mut left, mut right) = (key.place, key.generation);
        for round in self.0 {
            (left, right) = (right, left ^ mix(right ^ round));
        }
        u64::from(left) << 32 | u64::from(right)
    }

    fn unscramble(&self, word: u64) -> ConnectionKey {
        let (mut left, mut right) = ((word >> 32) as u32, word as u32);
        for round in self.0.iter().rev() {
            (left, right) = (right ^ mix(left ^ round), left);
        }
        ConnectionKey { place: left, generation: right }
    }
}

fn mix(word: u32) -> u32 {
    let word = (word ^ word >> 16).wrapping_mul(0x7feb_352d);
    let word = (word ^ word >> 15).wrapping_mul(0x846c_a68b);
    word ^ word >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_leads_back_to_its_key(a: u64, b: u64, place: u32, generation: u32, random: u64, at in 0u64..1 << 47) {
            let ids = IdKey::new(a, b);
            let key = ConnectionKey { place, generation };
            let high = ids.high(at, random, key);
            let id = ids.id(high, key);
            prop_assert_eq!(id.0.get_version_num(), 7);
            prop_assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(ids.key(id), (key, high));
        }
    }
}
