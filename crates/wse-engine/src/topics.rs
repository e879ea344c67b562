//! Which connections want which topic.
//!
//! The registry knows names; a topic keeps one list of slots for each shard, which only that shard changes.
//! A topic exists while somebody holds it or is about to, or while its log has anything to remember. Bounded by
//! subscriptions, 1 024 a connection, and by the budget of logs.

mod globs;
mod hearers;

use crate::groups::{Group, Groups};
use crate::logs::Logs;
use crate::policy::{Policies, Policy};
use crate::presence::Presence;
use crate::pressure::{Brake, Pressure};
use crate::recovery::{Log, Ring};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, RwLock};
use globs::Globs;
pub use globs::{Marks, Matching};
use hashbrown::HashSet;
pub use hearers::Hearers;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use wse_protocol::glob::is_glob;
use wse_protocol::topic;

/// Topics that one connection may hold (PROTOCOL §8).
pub const MAX_SUBSCRIPTIONS: usize = 1_024;

/// One topic and those who hold it.
#[derive(Debug)]
pub struct Topic {
    name: Box<str>,
    policy: Arc<Policy>,
    brake: Brake,
    /// Those who hold it, by shard; behind them those who share it in groups, which are only counted.
    shards: Box<[Members]>,
    /// Those who share its publications.
    groups: OnceLock<Groups>,
    /// The group that it stands for: what a member of one holds in place of the topic.
    group: Option<Box<Group>>,
    /// Who is present, from the first one on.
    members: OnceLock<Box<Mutex<Presence>>>,
    log: Option<Log>,
}

#[derive(Debug, Default)]
struct Members {
    /// Subscriptions held or asked for: a publisher skips the shard at zero.
    interest: AtomicUsize,
    slots: Mutex<Vec<u32>>,
    /// The number of the last logged publication that the shard has carried out.
    seen: AtomicU64,
}

impl Topic {
    fn new(name: &str, shards: usize, policy: Arc<Policy>, brake: Brake) -> Self {
        let shards = (0..shards).map(|_| Members::default()).collect();
        let (groups, members) = (OnceLock::new(), OnceLock::new());
        Self { name: name.into(), policy, brake, shards, groups, group: None, log: None, members }
    }

    /// What the members of `group` hold, by the name of its topic.
    pub fn of_group(group: Group) -> Self {
        let parent = group.parent();
        let topic = Self::new(parent.name(), 0, Arc::clone(&parent.policy), Brake::default());
        Self { group: Some(Box::new(group)), ..topic }
    }

    /// The group that it stands for.
    pub fn group(&self) -> Option<&Group> {
        self.group.as_deref()
    }

    /// The groups that share its publications, if it has ever had one.
    pub fn groups(&self) -> Option<&Groups> {
        self.groups.get()
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether both go by one name: the registry may have forgotten the older one.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.name == other.name
    }

    /// How its publications wait.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What holds its publishers up.
    pub fn brake(&self) -> &Brake {
        &self.brake
    }

    /// Who is present, for somebody who is to be.
    pub fn members(&self) -> &Mutex<Presence> {
        self.members.get_or_init(Box::default)
    }

    /// Who is present; `None`: nobody ever was.
    pub fn present(&self) -> Option<&Mutex<Presence>> {
        self.members.get().map(|members| &**members)
    }

    /// Whether anyone on `shard` holds the topic, or is about to.
    pub fn is_wanted(&self, shard: usize) -> bool {
        self.shards[shard].interest.load(Relaxed) > 0
    }

    /// What was published to it last, if that is kept.
    pub fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// Whether `shard` gets the publication that was appended to the log last.
    pub fn feeds(&self, ring: &mut Ring, shard: usize, is_wanted: bool) -> bool {
        ring.feeds(shard, is_wanted, &self.shards[shard].seen)
    }

    /// The number of the last logged publication that `shard` has carried out: all who hold the topic there have had
    /// it, or left off at one before.
    pub fn seen(&self, shard: usize) -> u64 {
        self.shards[shard].seen.load(Relaxed)
    }

    /// The shard carries out the logged publication `index`; `false`: it came before anyone there wanted the topic.
    pub fn see(&self, shard: usize, index: u64) -> bool {
        self.shards[shard].seen.fetch_max(index, Relaxed) < index
    }

    /// The slots on `shard` that hold the topic, under the topic's lock.
    pub fn for_each(&self, shard: usize, visit: impl FnMut(u32)) {
        self.shards[shard].slots.lock().iter().copied().for_each(visit);
    }
}

/// A topic in the registry, found by its name without a second copy of it.
#[derive(Debug)]
struct Named(Arc<Topic>);

impl Borrow<str> for Named {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.name.hash(hasher);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

/// All topics that anyone holds.
#[derive(Debug)]
pub struct Topics {
    topics: RwLock<HashSet<Named>>,
    globs: Globs,
    policies: Arc<Policies>,
    pressure: Arc<Pressure>,
    logs: Option<Logs>,
    shards: usize,
}

impl Topics {
    /// An empty registry for `shards` shards. `logs` keeps what is published.
    pub fn new(shards: usize, logs: Option<Logs>, policies: Arc<Policies>, pressure: Arc<Pressure>) -> Self {
        Self { topics: RwLock::default(), globs: Globs::default(), logs, policies, pressure, shards }
    }

    /// The topic, when anyone wants it.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).map(|Named(topic)| Arc::clone(topic))
    }

    /// A topic that nobody holds, and that nothing was published to.
    fn unheld(&self, name: &str) -> Topic {
        let log = self.logs.as_ref().filter(|_| !is_glob(name) && self.has_log(name));
        let log = log.map(|logs| logs.make(name, self.shards));
        let policy = self.policies.of(name);
        let brake = if policy.is_firm() { Brake::new(name, &self.pressure) } else { Brake::default() };
        Topic { log, ..Topic::new(name, self.shards + 1, policy, brake) }
    }

    /// Who holds globs that match `name`; `None`: nobody.
    pub fn matching(&self, name: &str) -> Option<Arc<Matching>> {
        self.globs.matching(name, || self.unheld(name))
    }

    /// Whether anyone holds a glob.
    pub fn has_globs(&self) -> bool {
        self.globs.len() > 0
    }

    /// The topic, made if nobody wants it: for a publication that is kept. `note` is called before anyone else can
    /// forget it.
    fn make(&self, name: &str, note: impl Fn(&Topic)) -> Arc<Topic> {
        if let Some(Named(topic)) = self.topics.read().get(name) {
            note(topic);
            return Arc::clone(topic);
        }
        let mut topics = self.topics.write();
        let topic = match topics.get(name) {
            Some(Named(topic)) => Arc::clone(topic),
            None => {
                let topic = Arc::new(self.unheld(name));
                topics.insert(Named(Arc::clone(&topic)));
                topic
            }
        };
        note(&topic);
        topic
    }

    /// Who gets a publication to `name`; `None`: nobody wants it, and nothing of it is kept.
    pub fn hearers(&self, name: &str) -> Option<Hearers> {
        let matching = self.matching(name);
        let is_kept = || self.has_log(name) && topic::validate_name(name).is_ok();
        let kept = || is_kept().then(|| self.make(name, |_| {}));
        let unheld = || matching.as_ref().map(|matching| Arc::clone(&matching.topic));
        let topic = self.get(name).or_else(kept).or_else(unheld)?;
        Some(Hearers { topic, matching })
    }

    /// Whether a topic of this name has a log.
    pub fn has_log(&self, name: &str) -> bool {
        let Some(logs) = &self.logs else { return false };
        let policy = self.policies.of(name);
        policy.allows_log() && policy.recovery.unwrap_or_else(|| logs.has(name))
    }

    /// The logs of topics that have one.
    pub fn logs(&self) -> Option<&Logs> {
        self.logs.as_ref()
    }

    /// Announces a subscription on `shard`: from now on publications reach that shard.
    ///
    /// To be followed by [`Topics::hold`] or [`Topics::release`].
    pub fn want(&self, name: &str, shard: usize) -> Arc<Topic> {
        if is_glob(name) {
            return self.globs.want(name, shard, || self.unheld(name));
        }
        let topic = self.make(name, |topic| {
            topic.shards[shard].interest.fetch_add(1, Relaxed);
        });
        if let Some(log) = &topic.log {
            log.lock().feed(shard, &topic.shards[shard].seen);
        }
        topic
    }

    /// Announces a member of the group `group` of the topic `name`: from now on the group gets its publications.
    ///
    /// Returns what the member holds; to be followed by [`Topics::leave`] or [`Topics::release`].
    pub fn want_in_group(&self, name: &str, group: &str) -> Arc<Topic> {
        let topic = self.want(name, self.shards);
        topic.groups.get_or_init(Groups::default).want(group, &topic)
    }

    /// Makes `slot` of `shard`, which announced itself, a holder.
    pub fn hold(&self, topic: &Topic, shard: usize, slot: usize) {
        topic.shards[shard].slots.lock().push(slot as u32);
    }

    /// Takes an announced subscription back; forgets the topic with the last one, and the group. Returns how many
    /// messages waited for that group, which nobody will get.
    pub fn release(&self, topic: &Arc<Topic>, shard: usize) -> usize {
        if let Some(group) = topic.group() {
            let parent = group.parent();
            let lost = parent.groups().map_or(0, |groups| groups.release(group));
            return lost + self.release(parent, self.shards);
        }
        if topic.shards[shard].interest.fetch_sub(1, Relaxed) > 1 {
            return 0;
        }
        if is_glob(topic.name()) {
            self.globs.forget(topic);
        } else if topic.log.as_ref().is_none_or(|log| log.lock().is_blank()) {
            self.forget(topic);
        }
        0
    }

    /// Forgets a topic that nobody wants, unless it remembers what was told of its members in this second: whoever
    /// comes and goes all the time would be told of as often to those who hold a glob.
    pub fn forget(&self, topic: &Arc<Topic>) {
        let mut topics = self.topics.write();
        // Looked at again under the lock that announcing takes; by now the name may belong to a newer topic.
        let is_current = topics.get(topic.name()).is_some_and(|Named(current)| Arc::ptr_eq(current, topic));
        let is_wanted = topic.shards.iter().any(|members| members.interest.load(Relaxed) > 0);
        if !is_current || is_wanted || topic.present().is_some_and(|members| members.lock().is_gathering()) {
            return;
        }
        if let Some(log) = &topic.log {
            let mut ring = log.lock();
            if !ring.is_blank() {
                return;
            }
            ring.leave();
        }
        topics.remove(topic.name());
        if topics.capacity() > 1024 && topics.len() < topics.capacity() / 8 {
            topics.shrink_to_fit();
        }
    }

    /// Ends a held subscription. Returns what [`Topics::release`] does.
    pub fn leave(&self, topic: &Arc<Topic>, shard: usize, slot: usize) -> usize {
        if let Some(group) = topic.group() {
            group.leave(shard, slot);
            return self.release(topic, shard);
        }
        let mut slots = topic.shards[shard].slots.lock();
        // A linear search of packed integers: 10 000 holders take about a microsecond.
        if let Some(index) = slots.iter().position(|held| *held == slot as u32) {
            slots.swap_remove(index);
            if slots.capacity() > 64 && slots.len() < slots.capacity() / 4 {
                slots.shrink_to_fit();
            }
        }
        drop(slots);
        self.release(topic, shard)
    }

    /// Subscriptions to exactly `name`, a topic or a glob, on all shards; those in groups included.
    pub fn subscribers(&self, name: &str) -> usize {
        self.get(name)
            .or_else(|| self.globs.get(name))
            .map_or(0, |topic| topic.shards.iter().map(|members| members.interest.load(Relaxed)).sum())
    }

    /// The topics where somebody is present, or was.
    pub fn present(&self) -> Vec<Arc<Topic>> {
        let topics = self.topics.read();
        let present = topics.iter().filter(|Named(topic)| topic.present().is_some());
        present.map(|Named(topic)| Arc::clone(topic)).collect()
    }

    /// How many topics and globs there are.
    pub fn len(&self) -> usize {
        self.topics.read().len() + self.globs.len()
    }

    /// Whether nobody holds any topic.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(shards: usize) -> Topics {
        Topics::new(shards, None, Arc::default(), Arc::default())
    }

    fn held(topic: &Topic, shard: usize) -> Vec<u32> {
        let mut slots = Vec::new();
        topic.for_each(shard, |slot| slots.push(slot));
        slots
    }

    #[test]
    fn a_topic_lives_as_long_as_anyone_wants_it() {
        let topics = topics(2);
        let news = topics.want("news", 1);
        assert!(news.is_wanted(1) && !news.is_wanted(0));
        topics.hold(&news, 1, 42);
        assert_eq!(held(&news, 1), [42]);
        assert_eq!(topics.subscribers("news"), 1);
        topics.want("news", 0);
        topics.leave(&news, 1, 42);
        assert!(topics.get("news").is_some(), "the other shard still announces itself");
        topics.release(&news, 0);
        assert!(topics.is_empty());
    }

    #[test]
    fn shrinks_after_a_crowd_has_left() {
        let topics = topics(1);
        let held = (0..4_000).map(|n| topics.want(&n.to_string(), 0)).collect::<Vec<_>>();
        for (slot, topic) in held.iter().enumerate() {
            topics.hold(topic, 0, slot);
            topics.leave(topic, 0, slot);
        }
        assert!(topics.topics.read().capacity() <= 1024);
    }
}
