//! Who gets what is said to a topic: those who hold it, and those who hold a glob that matches it.
//!
//! Finds each of them once. Never looks at a connection.

use super::{Marks, Matching, Topic};
use std::sync::Arc;

/// Those who hold a topic, or a glob that matches it.
#[derive(Debug)]
pub struct Hearers {
    /// The topic.
    pub topic: Arc<Topic>,
    /// The globs that match its name; `None`: nobody holds one.
    pub matching: Option<Arc<Matching>>,
}

impl Hearers {
    /// Whether anyone on `shard` is one of them, or is about to be.
    pub fn is_wanted(&self, shard: usize) -> bool {
        self.topic.is_wanted(shard) || self.matching.as_ref().is_some_and(|globs| globs.is_wanted(shard))
    }

    /// Their slots on `shard`, each once, under the lock of what it holds.
    pub fn for_each(&self, shard: usize, marks: &mut Marks, mut visit: impl FnMut(u32)) {
        let Some(matching) = &self.matching else { return self.topic.for_each(shard, visit) };
        marks.begin();
        for held in std::iter::once(&self.topic).chain(&matching.globs) {
            held.for_each(shard, |slot| {
                if marks.is_first(slot) {
                    visit(slot);
                }
            });
        }
    }
}
