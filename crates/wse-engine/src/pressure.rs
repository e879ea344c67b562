//! Whether publishers wait for room, and when they are told that there is some.
//!
//! Holds flags and counts: who waits is the facade's to know, and in which order.

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
    /// The brakes of topics that somebody has in hand. Locked while topics are made and dropped.
    brakes: Mutex<HashMap<Box<str>, Weak<Behind>>>,
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
        self.0.as_ref().is_some_and(|behind| behind.readers.load(SeqCst) > 0)
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
