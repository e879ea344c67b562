//! Whether publishers wait for room, and when they are told that there is some.
//!
//! Holds flags and counts: who waits is the facade's to know, and in which order.

use crate::config::OutboundLimits;
use crate::sync::{AtomicBool, AtomicUsize, Mutex};
use crate::topics::Topic;
use hashbrown::HashMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};

/// What a publication has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// The memory of all queues.
    Memory,
    /// A reader of its topic has, or soon may have when what is on its way arrives, and nothing of the topic may be given
    /// up.
    Reader,
}

/// Publishers that wait, seen from the shards.
#[derive(Debug, Default)]
pub struct Pressure {
    for_memory: AtomicBool,
    for_reader: AtomicBool,
    /// A reader has room again or is gone, or a shard has.
    has_caught_up: AtomicBool,
    /// The brakes of topics that somebody has in hand. Locked while topics are made and dropped.
    brakes: Mutex<HashMap<Box<str>, Weak<Behind>>>,
    /// What is on its way of topics that have a brake, by shard.
    in_flight: Box<[InFlight]>,
    /// The bounds of a reader's queue.
    limits: OutboundLimits,
}

/// What was published and one shard has not carried out.
#[derive(Debug, Default)]
struct InFlight {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Pressure {
    /// Nobody waits yet for readers, on so many `shards`, whose queues have these bounds.
    pub fn new(shards: usize, limits: &OutboundLimits) -> Self {
        let in_flight = (0..shards).map(|_| InFlight::default()).collect();
        Self { in_flight, limits: *limits, ..Self::default() }
    }

    /// Whether as much is on its way to a shard as a queue may hold: a reader that was not seen to be full holds twice its
    /// bound when that has arrived.
    fn is_crowded(&self) -> bool {
        self.in_flight.iter().any(|shard| {
            self.are_many(shard.messages.load(SeqCst)) || self.are_large(shard.bytes.load(SeqCst))
        })
    }

    fn are_many(&self, messages: usize) -> bool {
        self.limits.max_messages != 0 && messages >= self.limits.max_messages
    }

    /// From half of the bound on: the last publication may go beyond that.
    fn are_large(&self, bytes: usize) -> bool {
        self.limits.max_bytes != 0 && bytes >= self.limits.max_bytes.div_ceil(2)
    }

    /// Somebody waits until [`Pressure::take_room`]. What was lacking must be looked at once more afterwards.
    pub fn wait_for(&self, lacking: Lacking) {
        match lacking {
            Lacking::Memory => self.for_memory.store(true, SeqCst),
            Lacking::Reader => self.for_reader.store(true, SeqCst),
        }
    }

    /// A reader that held publishers up does so no more.
    pub fn catch_up(&self) {
        self.has_caught_up.store(true, SeqCst);
    }

    /// Whether those who wait should try again, once for each time that they wait: at the end of a turn, which is what
    /// makes room. `used` of `limit` bytes are in queues: below nine tenths, so that not every message wakes them.
    pub fn take_room(&self, used: impl FnOnce() -> usize, limit: usize) -> bool {
        let has_memory =
            self.for_memory.load(SeqCst) && used() <= limit / 10 * 9 && self.for_memory.swap(false, SeqCst);
        let has_reader = self.for_reader.load(SeqCst)
            && self.has_caught_up.swap(false, SeqCst)
            && self.for_reader.swap(false, SeqCst);
        has_memory || has_reader
    }
}

/// The readers of one topic that are behind, where its publishers wait for them: one brake for each name, however often
/// the registry makes a topic of it anew. Default: of a topic whose publishers never wait.
#[derive(Debug, Clone, Default)]
pub struct Brake(Option<Arc<Behind>>);

#[derive(Debug)]
struct Behind {
    topic: Box<str>,
    readers: AtomicUsize,
    pressure: Arc<Pressure>,
}

impl Brake {
    /// The brake of the topic `name`.
    pub fn new(name: &str, pressure: &Arc<Pressure>) -> Self {
        let mut brakes = pressure.brakes.lock();
        let known = brakes.get(name).and_then(Weak::upgrade);
        let behind = known.unwrap_or_else(|| {
            let (readers, pressure) = (AtomicUsize::new(0), Arc::clone(pressure));
            let behind = Arc::new(Behind { topic: name.into(), readers, pressure });
            brakes.insert(name.into(), Arc::downgrade(&behind));
            behind
        });
        Self(Some(behind))
    }

    /// Whether publishers wait.
    pub fn is_on(&self) -> bool {
        let is_on = |behind: &Arc<Behind>| behind.readers.load(SeqCst) > 0 || behind.pressure.is_crowded();
        self.0.as_ref().is_some_and(is_on)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let mut brakes = self.pressure.brakes.lock();
        // By now the name may have another one.
        if brakes.get(&self.topic).is_some_and(|behind| behind.strong_count() == 0) {
            brakes.remove(&self.topic);
            if brakes.capacity() > 1024 && brakes.len() < brakes.capacity() / 8 {
                brakes.shrink_to_fit();
            }
        }
    }
}

/// A reader that publishers of a topic wait for, until this is dropped.
#[derive(Debug)]
pub struct Blocked(Option<Arc<Behind>>);

impl Blocked {
    /// Holds the brake of `topic`.
    pub fn new(topic: &Topic) -> Self {
        let behind = topic.brake().0.clone();
        if let Some(behind) = &behind {
            behind.readers.fetch_add(1, SeqCst);
        }
        Self(behind)
    }

    /// Whether it is about `topic`.
    pub fn is_of(&self, topic: &Topic) -> bool {
        let (own, other) = (self.0.as_ref(), topic.brake().0.as_ref());
        own.zip(other).is_some_and(|(own, other)| Arc::ptr_eq(own, other))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(behind) = &self.0 {
            behind.readers.fetch_sub(1, SeqCst);
            behind.pressure.catch_up();
        }
    }
}

/// A publication on its way to a shard, until this is dropped. Counts where publishers of its topic wait for readers:
/// who has not been seen to be full must have room for it.
#[derive(Debug)]
pub struct Flight(Option<(Arc<Pressure>, usize, usize)>);

impl Flight {
    /// So many `bytes` of `topic` set off to `shard`.
    pub fn new(topic: &Topic, shard: usize, bytes: usize) -> Self {
        let pressure = topic.brake().0.as_ref().map(|behind| &behind.pressure);
        if let Some(in_flight) = pressure.and_then(|pressure| pressure.in_flight.get(shard)) {
            in_flight.messages.fetch_add(1, SeqCst);
            in_flight.bytes.fetch_add(bytes, SeqCst);
        }
        Self(pressure.map(|pressure| (Arc::clone(pressure), shard, bytes)))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some((pressure, shard, bytes)) = &self.0 else { return };
        let Some(in_flight) = pressure.in_flight.get(*shard) else { return };
        let messages = in_flight.messages.fetch_sub(1, SeqCst);
        let held = in_flight.bytes.fetch_sub(*bytes, SeqCst);
        let has_room = pressure.are_many(messages) && !pressure.are_many(messages - 1)
            || pressure.are_large(held) && !pressure.are_large(held - bytes);
        if has_room {
            pressure.catch_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_once_and_only_of_what_was_lacking() {
        let pressure = Pressure::default();
        let has_room = |used| pressure.take_room(|| used, 100);
        assert!(!has_room(0), "nobody waits");
        pressure.wait_for(Lacking::Memory);
        pressure.catch_up();
        assert!(!has_room(91));
        assert!(has_room(90) && !has_room(90));
        pressure.wait_for(Lacking::Reader);
        assert!(has_room(100), "a reader caught up before it was asked");
        pressure.wait_for(Lacking::Reader);
        assert!(!has_room(0));
        pressure.catch_up();
        assert!(has_room(0));
    }
}
