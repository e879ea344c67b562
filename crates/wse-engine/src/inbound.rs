//! What waits for the application: events of all connections of one shard, in batches.
//!
//! The shard writes, the host takes whole batches; neither waits for the other. Text is joined, so that a
//! batch crosses into JavaScript as one string and one table. Never decides who is read: it answers how much
//! of a connection's credit is used, and the shard stops reading.

use crate::id::ConnectionKey;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex};
use std::collections::VecDeque;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A connection without a user is open; its text is the request as JSON.
    Connect = 0,
    /// A connection with a user is open; its text is `{"userId","claims"}`.
    AuthConnect = 1,
    /// A JSON object arrived.
    Message = 2,
    /// Other text arrived.
    Raw = 3,
    /// Bytes arrived.
    Binary = 4,
    /// A connection ended; its text is the close code, a space, and the reason.
    Disconnect = 5,
    /// A message arrived whose type the application handles; its text is `[userId, message]`.
    Request = 6,
    /// A user is present in a topic; its text is `{"topic","userId","data","revision"}`.
    PresenceJoin = 7,
    /// A user is present no longer; its text is the same.
    PresenceLeave = 8,
}

impl Kind {
    /// Whether the event begins or ends a connection: such events have reserved room and are never lost.
    pub fn is_lifecycle(self) -> bool {
        matches!(self, Self::Connect | Self::AuthConnect | Self::Disconnect)
    }
}

/// One event of a batch: the bytes between the previous entry's end and its own.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What happened.
    pub kind: Kind,
    /// Whether its bytes are in [`Batch::text`] (ASCII) or in [`Batch::bytes`].
    pub is_ascii: bool,
    /// Whose it is.
    pub key: ConnectionKey,
    /// The upper half of its id, which outlives it.
    pub high: u64,
    /// Where its bytes end.
    pub end: u32,
}

/// Events in order, with their texts joined.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events.
    pub entries: Vec<Entry>,
    /// Their ASCII texts, one behind the other.
    pub text: Vec<u8>,
    /// Everything else: binary, and UTF-8 that is not ASCII.
    pub bytes: Vec<u8>,
    /// How many of the events begin or end a connection.
    pub lifecycle: u64,
}

/// Events of one batch at most: the size of the host's table.
pub const BATCH_EVENTS: usize = 2_048;
/// Bytes of one batch, about. A slice of its string keeps all of it alive, and JavaScript's heap maps and unmaps
/// pages for each object of 128 KiB or more: measured at a fifth of the cost of a message.
pub const BATCH_BYTES: usize = 64 << 10;
/// Emptied batches that are kept for the shard to fill again.
const SPARE: usize = 2;

impl Batch {
    fn push(&mut self, kind: Kind, (key, high): (ConnectionKey, u64), payload: &[u8]) {
        let is_ascii = kind != Kind::Binary && payload.is_ascii();
        let joined = if is_ascii { &mut self.text } else { &mut self.bytes };
        joined.extend_from_slice(payload);
        self.lifecycle += u64::from(kind.is_lifecycle());
        self.entries.push(Entry { kind, is_ascii, key, high, end: joined.len() as u32 });
    }

    fn size(&self) -> usize {
        self.text.len() + self.bytes.len()
    }

    /// Bytes that it holds in memory: its texts and its entries.
    fn weight(&self) -> usize {
        self.size() + self.entries.len() * size_of::<Entry>()
    }

    fn has_room_for(&self, events: usize, bytes: usize) -> bool {
        self.entries.is_empty()
            || self.entries.len() + events <= BATCH_EVENTS && self.size() + bytes <= BATCH_BYTES
    }

    /// Appends `other`, whose offsets move.
    fn append(&mut self, other: &Self) {
        let (text, bytes) = (self.text.len() as u32, self.bytes.len() as u32);
        self.entries.extend(
            other
                .entries
                .iter()
                .map(|entry| Entry { end: entry.end + if entry.is_ascii { text } else { bytes }, ..*entry }),
        );
        self.text.extend_from_slice(&other.text);
        self.bytes.extend_from_slice(&other.bytes);
        self.lifecycle += other.lifecycle;
    }

    fn clear(&mut self) {
        self.lifecycle = 0;
        self.entries.clear();
        self.text.clear();
        self.bytes.clear();
        // What one large message needed is not kept for ever.
        self.text.shrink_to(BATCH_BYTES);
        self.bytes.shrink_to(BATCH_BYTES);
    }
}

/// The batches of one shard that wait for the host.
#[derive(Debug, Default)]
pub struct Inbound {
    batches: Mutex<VecDeque<Batch>>,
    spare: Mutex<Vec<Batch>>,
    /// Events ever queued, and ever taken.
    produced: AtomicU64,
    consumed: AtomicU64,
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// The shard has stopped reading some connection and wants to know when events are taken.
    is_stalled: AtomicBool,
}

impl Inbound {
    /// Events that wait.
    pub fn depth(&self) -> u64 {
        self.produced.load(SeqCst).saturating_sub(self.consumed.load(SeqCst))
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Events ever taken: a connection's events up to its own last one have been taken when this has passed it.
    ///
    /// Sequentially consistent with [`Inbound::stall`]: who announces that it stalls and then finds nothing
    /// consumed is told by the next [`Inbound::take`].
    pub fn consumed(&self) -> u64 {
        self.consumed.load(SeqCst)
    }

    /// Takes the oldest batch. `true` beside it: the shard waits to be told (see [`Inbound::stall`]).
    pub fn take(&self) -> Option<(Batch, bool)> {
        let batch = self.batches.lock().pop_front()?;
        self.waiting.fetch_sub(batch.weight(), Relaxed);
        self.consumed.fetch_add(batch.entries.len() as u64, SeqCst);
        Some((batch, self.is_stalled.swap(false, SeqCst)))
    }

    /// Gives a batch back that has been read, for its memory.
    pub fn recycle(&self, mut batch: Batch) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE {
            batch.clear();
            spare.push(batch);
        }
    }

    /// Asks that the next [`Inbound::take`] says that something was taken.
    pub fn stall(&self) {
        self.is_stalled.store(true, SeqCst);
    }
}

/// The shard's end of an [`Inbound`]: what arrived in this turn.
#[derive(Debug, Default)]
pub struct Arrivals {
    batch: Batch,
    produced: u64,
}

impl Arrivals {
    /// Adds an event of a connection, named by its key and the upper half of its id; returns its number, see [`Inbound::consumed`].
    pub fn push(
        &mut self,
        inbound: &Inbound,
        kind: Kind,
        whose: (ConnectionKey, u64),
        payload: &[u8],
    ) -> u64 {
        if !self.batch.has_room_for(1, payload.len()) {
            self.deliver(inbound);
        }
        self.batch.push(kind, whose, payload);
        self.produced += 1;
        self.produced
    }

    /// Hands this turn's events over; whether there were any.
    pub fn deliver(&mut self, inbound: &Inbound) -> bool {
        if self.batch.entries.is_empty() {
            return false;
        }
        let (events, bytes) = (self.batch.entries.len(), self.batch.size());
        let mut batches = inbound.batches.lock();
        inbound.waiting.fetch_add(self.batch.weight(), Relaxed);
        inbound.produced.fetch_add(events as u64, SeqCst);
        match batches.back_mut() {
            // A host that is behind finds few large batches instead of many small ones.
            Some(last) if last.has_room_for(events, bytes) => {
                last.append(&self.batch);
                drop(batches);
                self.batch.clear();
            }
            _ => {
                let empty = inbound.spare.lock().pop().unwrap_or_default();
                batches.push_back(std::mem::replace(&mut self.batch, empty));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (ConnectionKey, u64) = (ConnectionKey { place: 1, generation: 1 }, 7);

    fn texts(batch: &Batch) -> Vec<String> {
        let (mut text, mut bytes) = (0, 0);
        let piece = |entry: &Entry| {
            let (joined, from) =
                if entry.is_ascii { (&batch.text, &mut text) } else { (&batch.bytes, &mut bytes) };
            let piece = &joined[*from..entry.end as usize];
            *from = entry.end as usize;
            String::from_utf8_lossy(piece).into_owned()
        };
        batch.entries.iter().map(piece).collect()
    }

    #[test]
    fn small_turns_become_one_batch_in_order() {
        let (inbound, mut arrivals) = (Inbound::default(), Arrivals::default());
        for (kind, payload) in
            [(Kind::Raw, "a"), (Kind::Raw, "ä"), (Kind::Binary, "b"), (Kind::Message, "{}")]
        {
            arrivals.push(&inbound, kind, KEY, payload.as_bytes());
            assert!(arrivals.deliver(&inbound));
        }
        assert_eq!(inbound.depth(), 4);
        let (batch, _) = inbound.take().expect("one batch");
        assert_eq!(texts(&batch), ["a", "ä", "b", "{}"]);
        assert!(inbound.take().is_none());
        assert_eq!((inbound.depth(), inbound.bytes(), inbound.consumed()), (0, 0, 4));
    }

    #[test]
    fn no_batch_outgrows_the_table_or_the_string() {
        let (inbound, mut arrivals) = (Inbound::default(), Arrivals::default());
        for _ in 0..3 * BATCH_EVENTS {
            arrivals.push(&inbound, Kind::Raw, KEY, &[b'x'; 200]);
        }
        arrivals.deliver(&inbound);
        let mut events = 0;
        while let Some((batch, _)) = inbound.take() {
            assert!(batch.entries.len() <= BATCH_EVENTS && batch.size() <= BATCH_BYTES);
            events += batch.entries.len();
        }
        assert_eq!(events, 3 * BATCH_EVENTS);
    }
}
