//! The nonces of signatures that held, for as long as their time would be believed.

use std::collections::{BTreeSet, VecDeque};

use super::{NONCE_LEN, TOLERANCE};
use crate::envelope::Timestamp;
use crate::error::SignError;

/// Nonces for which there stays room when there are none.
const SPARE: usize = 1_024;

/// A bounded window of nonces.
///
/// One for everybody who has the keys: what was sent over one connection is a repetition on another too.
#[derive(Debug)]
pub struct Nonces {
    seen: BTreeSet<[u8; NONCE_LEN]>,
    /// In the order of arrival, each with the last moment at which its signature could be believed.
    order: VecDeque<(Timestamp, [u8; NONCE_LEN])>,
    capacity: usize,
}

impl Nonces {
    /// A window that remembers `capacity` nonces, about 64 bytes each.
    ///
    /// At the bound new signatures are refused until old ones may be forgotten, after two minutes at most:
    /// to forget one earlier is to let it be repeated.
    pub const fn new(capacity: usize) -> Self {
        Self { seen: BTreeSet::new(), order: VecDeque::new(), capacity }
    }

    /// How many nonces are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Remembers `nonce`, whose signature is believed at `now`; an error: it has been seen, or there is no room.
    pub fn insert(&mut self, nonce: [u8; NONCE_LEN], now: Timestamp) -> Result<(), SignError> {
        while let Some((_, old)) = self.order.front().filter(|(last, _)| *last < now) {
            self.seen.remove(old);
            self.order.pop_front();
        }
        if self.order.capacity() > SPARE && self.order.len() < self.order.capacity() / 4 {
            self.order.shrink_to(SPARE);
        }
        if self.seen.contains(&nonce) {
            return Err(SignError::Replayed);
        }
        if self.order.len() >= self.capacity {
            return Err(SignError::WindowFull);
        }
        self.seen.insert(nonce);
        // The signature's own time is at most one tolerance from now, and good for one more after that.
        let last = Timestamp(now.0 + 2 * TOLERANCE.as_millis() as u64);
        self.order.push_back((last, nonce));
        Ok(())
    }
}
