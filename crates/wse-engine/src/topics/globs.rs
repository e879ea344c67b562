//! Globs that connections hold, and which of them a name matches.
//!
//! A glob is a topic with holders like others, but a registry of names never finds it and nothing is published to it.
//! Globs are found by what they begin with, so those of other users cost nothing; those that begin with a wildcard are
//! looked at one by one, once for each name and change of the globs.

use super::{Members, Topic, Topics};
use crate::sync::{AtomicUsize, RwLock};
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::glob::{is_glob, matches, prefix};
use wse_protocol::topic::validate;

/// Names whose globs are remembered; over it all are forgotten.
const KNOWN_NAMES: usize = 4_096;

/// Who gets what is published to a name beside those who hold it.
#[derive(Debug)]
pub struct Matching {
    /// The name as a topic, for when nobody holds it.
    pub topic: Arc<Topic>,
    /// The globs that match it.
    pub globs: Box<[Arc<Topic>]>,
}

impl Matching {
    /// Whether anyone on `shard` holds one of the globs, or is about to.
    pub fn is_wanted(&self, shard: usize) -> bool {
        self.globs.iter().any(|glob| glob.is_wanted(shard))
    }
}

/// All globs that anyone holds. Bounded by those of a connection.
#[derive(Debug, Default)]
pub(super) struct Globs {
    /// How many there are: without any, a publication looks at nothing else here.
    held: AtomicUsize,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_prefix: HashMap<Box<str>, Vec<Arc<Topic>>>,
    by_name: HashMap<Box<str>, Option<Arc<Matching>>>,
}

impl Globs {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// The glob, when anyone wants it.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        let known = self.known.read();
        known.by_prefix.get(prefix(name))?.iter().find(|glob| glob.name() == name).map(Arc::clone)
    }

    /// Announces a subscription, see [`super::Topics::want`]; `make` makes the glob.
    pub(super) fn want(&self, name: &str, shard: usize, make: impl FnOnce() -> Topic) -> Arc<Topic> {
        let Known { by_prefix, by_name } = &mut *self.known.write();
        let alike = by_prefix.entry(prefix(name).into()).or_default();
        let glob = match alike.iter().find(|glob| glob.name() == name) {
            Some(glob) => Arc::clone(glob),
            None => {
                let glob = Arc::new(make());
                alike.push(Arc::clone(&glob));
                by_name.clear();
                self.held.fetch_add(1, Relaxed);
                glob
            }
        };
        glob.shards[shard].interest.fetch_add(1, Relaxed);
        glob
    }

    /// Forgets a glob that nobody wants.
    pub(super) fn forget(&self, glob: &Arc<Topic>) {
        let Known { by_prefix, by_name } = &mut *self.known.write();
        // Looked at again under the lock that announcing takes.
        if glob.shards.iter().any(|members: &Members| members.interest.load(Relaxed) > 0) {
            return;
        }
        let Some(alike) = by_prefix.get_mut(prefix(glob.name())) else { return };
        let Some(at) = alike.iter().position(|held| Arc::ptr_eq(held, glob)) else { return };
        alike.swap_remove(at);
        if alike.is_empty() {
            by_prefix.remove(prefix(glob.name()));
            if by_prefix.capacity() > 1_024 && by_prefix.len() < by_prefix.capacity() / 8 {
                by_prefix.shrink_to_fit();
            }
        }
        if self.held.fetch_sub(1, Relaxed) == 1 {
            *by_name = HashMap::new();
        }
        by_name.clear();
    }

    /// The globs that match `name`; `None`: none does, or it is no topic. `make` makes it one that nobody holds.
    pub(super) fn matching(&self, name: &str, make: impl FnOnce() -> Topic) -> Option<Arc<Matching>> {
        if self.held.load(Relaxed) == 0 {
            return None;
        }
        if let Some(known) = self.known.read().by_name.get(name) {
            return known.clone();
        }
        if validate(name).is_err() || is_glob(name) {
            return None;
        }
        let Known { by_prefix, by_name } = &mut *self.known.write();
        let beginnings = name.char_indices().map(|(end, _)| &name[..end]).chain([name]);
        let alike = beginnings.filter_map(|beginning| by_prefix.get(beginning)).flatten();
        let globs = alike.filter(|glob| matches(glob.name(), name)).map(Arc::clone).collect::<Box<[_]>>();
        let matching = (!globs.is_empty()).then(|| Arc::new(Matching { topic: Arc::new(make()), globs }));
        if by_name.len() >= KNOWN_NAMES {
            by_name.clear();
        }
        by_name.insert(name.into(), matching.clone());
        matching
    }
}

/// Which connections of a shard have had a publication, where one may get it in several ways. Four bytes a slot, while
/// globs are held.
#[derive(Debug, Default)]
pub struct Marks {
    marks: Vec<u32>,
    current: u32,
}

impl Marks {
    /// Begins with another publication, which nobody has had.
    pub fn begin(&mut self) {
        self.current = self.current.checked_add(1).unwrap_or_else(|| {
            self.marks.fill(0);
            1
        });
    }

    /// Gives its memory back when nobody holds a glob any more.
    pub fn forget(&mut self, topics: &Topics) {
        if !self.marks.is_empty() && !topics.has_globs() {
            *self = Self::default();
        }
    }

    /// Whether `slot` has not had the publication yet. From now on it has.
    pub fn is_first(&mut self, slot: u32) -> bool {
        let slot = slot as usize;
        if self.marks.len() <= slot {
            self.marks.resize((slot + 1).next_power_of_two(), 0);
        }
        std::mem::replace(&mut self.marks[slot], self.current) != self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(topics: &Topics, name: &str) -> Vec<String> {
        let matching = topics.matching(name);
        let mut globs =
            matching.iter().flat_map(|it| &it.globs).map(|it| it.name().to_owned()).collect::<Vec<_>>();
        globs.sort();
        globs
    }

    #[test]
    fn a_name_finds_the_globs_that_match_it_as_long_as_anyone_wants_them() {
        let topics = topics();
        let held = ["news:*", "*", "news:?port", "user:7:*", "n*"].map(|glob| topics.want(glob, 0));
        for _ in 0..2 {
            assert_eq!(matching(&topics, "news:sport"), ["*", "n*", "news:*", "news:?port"]);
        }
        assert_eq!(matching(&topics, "é"), ["*"]);
        assert!(topics.matching("news:*").is_none() && topics.matching("").is_none(), "those are no topics");
        assert!(topics.get("news:*").is_none(), "nobody publishes to a glob");
        assert_eq!(topics.subscribers("news:*"), 1);
        for glob in held {
            topics.release(&glob, 0);
        }
        assert!(topics.is_empty() && topics.matching("news:sport").is_none());
    }

    #[test]
    fn a_glob_that_is_wanted_again_is_not_forgotten() {
        let topics = topics();
        let first = topics.want("a*", 0);
        assert!(
            matching(&topics, "ab") == ["a*"] && topics.matching("ab").is_some_and(|it| !it.is_wanted(1))
        );
        let second = topics.want("a*", 1);
        topics.release(&first, 0);
        assert!(topics.matching("ab").is_some_and(|it| it.is_wanted(1) && !it.is_wanted(0)));
        topics.leave(&second, 1, 3);
        assert!(topics.matching("ab").is_none());
    }

    #[test]
    fn no_more_names_are_remembered_than_there_is_room_for() {
        let topics = topics();
        topics.want("*", 0);
        for name in 0..2 * KNOWN_NAMES {
            assert!(topics.matching(&name.to_string()).is_some());
        }
        assert!(topics.globs.known.read().by_name.len() <= KNOWN_NAMES);
    }

    #[test]
    fn a_slot_is_marked_once_for_each_publication() {
        let mut marks = Marks { current: u32::MAX - 2, ..Marks::default() };
        for _ in 0..5 {
            marks.begin();
            assert!(marks.is_first(9) && marks.is_first(0) && !marks.is_first(9) && !marks.is_first(0));
        }
    }

    fn topics() -> Topics {
        Topics::new(2, None, Arc::default(), Arc::default())
    }
}
