//! Who sits where: what other threads may know about a shard's connections without asking it.
//!
//! The shard writes, but for the messages to one connection alone, which their senders number and count; everyone reads. A
//! seat says whether its connection is open, which occupant it is and whose, and how it does: nothing else about a
//! connection is shared. Atomics, beside one lock for whose it is.

use crate::id::ConnectionKey;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use wse_protocol::envelope::Dialect;
use wse_protocol::priority::Priority;

/// A model has one seat: each is many things to keep track of.
const ROW: usize = if cfg!(loom) { 1 } else { 1024 };

/// Who an open connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user; `None`: anonymous.
    pub user: Option<Arc<str>>,
    /// The client's address.
    pub address: IpAddr,
}

#[derive(Debug, Default)]
struct Seat {
    /// The upper half of the connection's id.
    high: AtomicU64,
    /// Odd while its connection is open.
    generation: AtomicU32,
    /// How many of the five importances its outbound queue refuses, from the least.
    refuses: AtomicU8,
    silent: AtomicBool,
    /// When the connection's token ends, in Unix milliseconds; zero: it has none.
    expires: AtomicU64,
    /// Unicast messages so far.
    sequence: AtomicU64,
    /// Messages that were refused before the shard heard of them, and that its client has not been told of.
    refused: AtomicU32,
    /// Messages that its client did not get because its queue was full, told or not.
    missed: AtomicU32,
    /// Topics that it holds.
    topics: AtomicU32,
    /// Bytes that the kernel has refused.
    waiting: AtomicUsize,
    is_v1: AtomicBool,
    /// Locked when a connection opens, when it leaves, and when somebody asks.
    caller: Mutex<Option<Arc<Caller>>>,
}

/// The seats of one shard, in rows that are made when they are first needed.
#[derive(Debug)]
pub struct Seats {
    rows: Box<[OnceLock<Box<[Seat]>>]>,
    reached: AtomicUsize,
}

impl Seats {
    /// Room for `capacity` connections.
    pub fn new(capacity: usize) -> Self {
        let rows = capacity.div_ceil(ROW);
        Self { rows: (0..rows).map(|_| OnceLock::new()).collect(), reached: AtomicUsize::new(0) }
    }

    /// How many seats there are: the slab never hands out a higher slot.
    pub fn capacity(&self) -> usize {
        self.rows.len() * ROW
    }

    fn seat(&self, slot: usize) -> Option<&Seat> {
        self.rows.get(slot / ROW)?.get()?.get(slot % ROW)
    }

    /// The generation of the next occupant of `slot`: odd, and higher than all before it.
    pub fn reserve(&self, slot: usize) -> u32 {
        let row = self.rows[slot / ROW].get_or_init(|| (0..ROW).map(|_| Seat::default()).collect());
        self.reached.fetch_max(slot + 1, Ordering::Relaxed);
        row[slot % ROW].generation.load(Ordering::Relaxed).wrapping_add(1)
    }

    /// The connection is open: others may now send to it.
    pub fn open(&self, key: ConnectionKey, high: u64, caller: Arc<Caller>) {
        if let Some(seat) = self.seat(key.slot()) {
            *seat.caller.lock() = Some(caller);
            seat.high.store(high, Ordering::Relaxed);
            seat.refuses.store(0, Ordering::Relaxed);
            seat.silent.store(false, Ordering::Relaxed);
            seat.expires.store(0, Ordering::Relaxed);
            seat.sequence.store(0, Ordering::Relaxed);
            seat.refused.store(0, Ordering::Relaxed);
            seat.missed.store(0, Ordering::Relaxed);
            seat.topics.store(0, Ordering::Relaxed);
            seat.waiting.store(0, Ordering::Relaxed);
            seat.is_v1.store(false, Ordering::Relaxed);
            seat.generation.store(key.generation, Ordering::Release);
        }
    }

    /// The connection is no longer open, or never was: its key finds nothing from now on.
    pub fn leave(&self, key: ConnectionKey) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.generation.store(key.generation.wrapping_add(1), Ordering::Release);
            *seat.caller.lock() = None;
        }
    }

    /// Notes what the connection's outbound queue refuses: newcomers of this importance, and of less.
    pub fn set_refuses(&self, key: ConnectionKey, most: Option<Priority>) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.refuses.store(most.map_or(0, |most| most as u8 + 1), Ordering::Relaxed);
        }
    }

    /// Notes whether the connection owes an answer to a ping.
    pub fn set_silent(&self, key: ConnectionKey, silent: bool) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.silent.store(silent, Ordering::Relaxed);
        }
    }

    /// Whether the connection owes an answer to a ping.
    pub fn is_silent(&self, key: ConnectionKey) -> bool {
        self.seat(key.slot()).is_some_and(|seat| seat.silent.load(Ordering::Relaxed))
    }

    /// Notes how many topics the connection holds.
    pub fn set_topics(&self, key: ConnectionKey, topics: usize) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.topics.store(topics as u32, Ordering::Relaxed);
        }
    }

    /// Notes how many bytes the kernel has refused of what is for the connection.
    pub fn set_waiting(&self, key: ConnectionKey, bytes: usize) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.waiting.store(bytes, Ordering::Relaxed);
        }
    }

    /// Notes the dialect of the connection.
    pub fn set_dialect(&self, key: ConnectionKey, dialect: Dialect) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.is_v1.store(dialect == Dialect::V1, Ordering::Relaxed);
        }
    }

    /// How the connection does: its dialect, the topics that it holds, and the bytes that wait for it.
    pub fn state(&self, key: ConnectionKey) -> Option<(Dialect, u32, usize)> {
        let seat = self.seat(key.slot())?;
        let dialect = if seat.is_v1.load(Ordering::Relaxed) { Dialect::V1 } else { Dialect::V2 };
        let topics = seat.topics.load(Ordering::Relaxed);
        self.high(key).map(|_| (dialect, topics, seat.waiting.load(Ordering::Relaxed)))
    }

    /// Notes when the connection's token ends, in Unix milliseconds.
    pub fn set_expires(&self, key: ConnectionKey, at: Option<u64>) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.expires.store(at.unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// When the token of an open connection ends, in Unix milliseconds.
    pub fn expires(&self, key: ConnectionKey) -> Option<u64> {
        let at = self.seat(key.slot())?.expires.load(Ordering::Relaxed);
        self.high(key).and((at != 0).then_some(at))
    }

    /// The upper half of the id of an open connection.
    pub fn high(&self, key: ConnectionKey) -> Option<u64> {
        let seat = self.seat(key.slot())?;
        let is_open = key.generation % 2 == 1 && seat.generation.load(Ordering::Acquire) == key.generation;
        is_open.then(|| seat.high.load(Ordering::Relaxed))
    }

    /// Who an open connection belongs to.
    pub fn caller(&self, key: ConnectionKey) -> Option<Arc<Caller>> {
        let caller = self.seat(key.slot())?.caller.lock().clone();
        self.high(key).and(caller)
    }

    /// The number of the connection's next unicast message: a number that never arrives is a drop.
    pub fn next_sequence(&self, key: ConnectionKey) -> u64 {
        self.seat(key.slot()).map_or(0, |seat| seat.sequence.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The number of the connection's last unicast message; zero: there was none.
    pub fn sequence(&self, key: ConnectionKey) -> u64 {
        self.seat(key.slot()).map_or(0, |seat| seat.sequence.load(Ordering::Relaxed))
    }

    /// Counts messages that the connection does not get.
    pub fn miss(&self, key: ConnectionKey, messages: u64) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.missed.fetch_add(messages as u32, Ordering::Relaxed);
        }
    }

    /// Messages that the connection did not get.
    pub fn missed(&self, key: ConnectionKey) -> u32 {
        self.seat(key.slot()).map_or(0, |seat| seat.missed.load(Ordering::Relaxed))
    }

    /// Notes a message that was refused because the connection's queue is full.
    pub fn refuse(&self, key: ConnectionKey) {
        if let Some(seat) = self.seat(key.slot()) {
            seat.refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the number of messages that [`Seats::refuse`] noted.
    pub fn take_refused(&self, key: ConnectionKey) -> u64 {
        self.seat(key.slot()).map_or(0, |seat| seat.refused.swap(0, Ordering::Relaxed).into())
    }

    /// Whether the connection's outbound queue refuses newcomers of this importance.
    pub fn refuses(&self, key: ConnectionKey, priority: Priority) -> bool {
        self.seat(key.slot()).is_some_and(|seat| seat.refuses.load(Ordering::Relaxed) > priority as u8)
    }

    /// The open connections of `shard`, which these seats belong to.
    pub fn open_keys(&self, shard: usize) -> impl Iterator<Item = (ConnectionKey, u64)> + '_ {
        (0..self.reached.load(Ordering::Relaxed)).filter_map(move |slot| {
            let generation = self.seat(slot)?.generation.load(Ordering::Acquire);
            let key = ConnectionKey::new(shard, slot, generation);
            self.high(key).map(|high| (key, high))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let seats = Seats::new(10);
        let caller = Arc::new(Caller { user: None, address: [127, 0, 0, 1].into() });
        let first = ConnectionKey::new(0, 3, seats.reserve(3));
        assert_eq!(seats.high(first), None, "not open yet");
        seats.open(first, 77, Arc::clone(&caller));
        assert_eq!(seats.high(first), Some(77));
        assert_eq!(seats.open_keys(0).collect::<Vec<_>>(), [(first, 77)]);
        seats.leave(first);
        assert_eq!(seats.high(first), None);
        let second = ConnectionKey::new(0, 3, seats.reserve(3));
        seats.open(second, 78, caller);
        assert_ne!(first, second);
        assert_eq!((seats.high(first), seats.high(second)), (None, Some(78)));
    }
}
