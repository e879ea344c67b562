//! Whether publishers wait for room, and when they are told that there is some.
//!
//! Holds flags and nothing else: who waits is the facade's to know, and in which order.

use crate::sync::{AtomicBool, AtomicUsize};
use crate::topics::Topic;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// What a publication has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// The memory of all queues.
    Memory,
    /// A reader of its topic has, and nothing of the topic may be given up.
    Reader,
}

/// Publishers that wait, seen from the shards.
#[derive(Debug, Default)]
pub struct Pressure {
    for_memory: AtomicBool,
    for_reader: AtomicBool,
    /// A reader has room again, or is gone.
    has_caught_up: AtomicBool,
}

impl Pressure {
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

/// A topic's readers that are behind, where its publishers wait for them.
#[derive(Debug, Default)]
pub struct Brake {
    readers: AtomicUsize,
    pressure: Arc<Pressure>,
}

impl Brake {
    /// A brake that nobody holds.
    pub fn new(pressure: &Arc<Pressure>) -> Self {
        Self { readers: AtomicUsize::new(0), pressure: Arc::clone(pressure) }
    }

    /// Whether publishers wait.
    pub fn is_on(&self) -> bool {
        self.readers.load(SeqCst) > 0
    }
}

/// A reader that publishers of a topic wait for, until this is dropped.
#[derive(Debug)]
pub struct Blocked(Arc<Topic>);

impl Blocked {
    /// Holds the brake of `topic`.
    pub fn new(topic: &Arc<Topic>) -> Self {
        topic.brake().readers.fetch_add(1, SeqCst);
        Self(Arc::clone(topic))
    }

    /// Whether it is about `topic`.
    pub fn is_of(&self, topic: &Arc<Topic>) -> bool {
        Arc::ptr_eq(&self.0, topic)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let brake = self.0.brake();
        brake.readers.fetch_sub(1, SeqCst);
        brake.pressure.catch_up();
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
