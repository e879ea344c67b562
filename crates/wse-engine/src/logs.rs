//! All logs of an engine: what they may take together, and which of them gives way (PROTOCOL §9).
//!
//! Over the budget a topic that has more than its share shortens its own log; otherwise the log that was used longest
//! ago goes, and its next publication opens a new epoch. Locks the order of use, then one log; never the other way
//! round.

use crate::budget::{Budget, Charge};
use crate::config::Recovery;
use crate::recovery::Log;
use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Mutex};
use crate::topics::{Topic, Topics};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::glob::matches;

/// A log that holds more than one in so many bytes of the budget gives way to others itself.
const SHARES: usize = 16;
/// Logs that one sweep looks at, so that it holds nobody up.
const SWEPT: usize = 256;
/// The least time between two sweeps, in milliseconds.
const SWEEP_MS: u64 = 1_000;

/// The logs of an engine.
#[derive(Debug)]
pub struct Logs {
    limits: Recovery,
    bytes: Arc<AtomicUsize>,
    /// The memory that they are a part of.
    memory: Arc<Budget>,
    /// The first epoch, and how many logs were lost: a topic that was never published to needs no memory for its epoch.
    first_epoch: u32,
    lost: AtomicU32,
    order: Mutex<Order>,
    /// When somebody has to look again, in milliseconds; zero: nobody.
    due: AtomicU64,
}

/// Logs that were published to, by when they were used, as far as that is known: who finds one looks.
#[derive(Debug, Default)]
struct Order {
    topics: BTreeMap<(u64, u64), Arc<Topic>>,
    next: u64,
    /// What this round of the sweep has looked at.
    swept: (u64, u64),
}

impl Logs {
    /// No logs, in an epoch that no other engine has had.
    pub fn new(limits: Recovery, first_epoch: u32, memory: &Arc<Budget>) -> Self {
        Self {
            limits,
            bytes: Arc::default(),
            memory: Arc::clone(memory),
            first_epoch,
            lost: AtomicU32::new(0),
            order: Mutex::default(),
            due: AtomicU64::new(0),
        }
    }

    /// What bounds them.
    pub fn limits(&self) -> &Recovery {
        &self.limits
    }

    /// Bytes of all logs, all of them held against the memory budget.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Whether they hold more than they may.
    pub fn is_over(&self) -> bool {
        self.limits.budget_bytes != 0 && self.bytes() > self.limits.budget_bytes
    }

    /// Topics that were published to and whose log is known.
    pub fn len(&self) -> usize {
        self.order.lock().topics.len()
    }

    /// Whether there is no log of anything published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the topic `name` has a log, as far as nothing else is said of it.
    pub fn has(&self, name: &str) -> bool {
        self.limits.topics.iter().any(|glob| matches(glob, name))
    }

    /// The epoch of a log that begins now.
    pub fn epoch(&self) -> u32 {
        self.first_epoch.wrapping_add(self.lost.load(Relaxed))
    }

    /// A log for the topic `name`.
    pub fn make(&self, name: &str, shards: usize) -> Log {
        Log::new(name, self.epoch(), shards, Charge::nothing(&self.memory), Arc::clone(&self.bytes))
    }

    /// The log of `topic` was appended to: keeps all of them within their budget. With no lock of a log held.
    pub fn settle(&self, topics: &Topics, topic: &Arc<Topic>) {
        self.list(topic);
        let budget = self.limits.budget_bytes;
        while self.is_over() {
            let has_shortened = topic.log().is_some_and(|log| {
                let mut ring = log.lock();
                ring.bytes() > budget / SHARES && ring.shorten()
            });
            if !has_shortened && !self.lose_oldest(topics) {
                return;
            }
        }
    }

    fn list(&self, topic: &Arc<Topic>) {
        let mut order = self.order.lock();
        let Some(log) = topic.log() else { return };
        let mut ring = log.lock();
        // It may have been lost again since.
        if ring.listed.is_none() && !ring.is_blank() {
            let key = (ring.used, order.next);
            order.next += 1;
            order.topics.insert(key, Arc::clone(topic));
            ring.enlist(key);
            // A sweep that is due is not put off by newcomers.
            let _ = self.due.compare_exchange(0, ring.used + self.sweep_ms(), Relaxed, Relaxed);
        }
    }

    /// Loses the log that was used longest ago; `false`: there is none.
    pub fn lose_oldest(&self, topics: &Topics) -> bool {
        let mut order = self.order.lock();
        let topic = loop {
            let Some((key, topic)) = order.topics.pop_first() else { return false };
            let Some(log) = topic.log() else { continue };
            let mut ring = log.lock();
            if ring.used > key.0 {
                let key = (ring.used, key.1);
                ring.listed = Some(key);
                drop(ring);
                order.topics.insert(key, topic);
                continue;
            }
            let lost = self.lost.fetch_add(1, Relaxed) + 1;
            ring.lose(topic.name(), self.first_epoch.wrapping_add(lost));
            drop(ring);
            break topic;
        };
        drop(order);
        topics.forget(&topic);
        true
    }

    fn sweep_ms(&self) -> u64 {
        (self.limits.ttl_ms / 8).max(SWEEP_MS)
    }

    /// When [`Logs::sweep`] is due, in milliseconds.
    pub fn due(&self) -> Option<u64> {
        Some(self.due.load(Relaxed)).filter(|due| *due != 0)
    }

    /// Empties logs that nobody has used for so long that everything in them has had its time.
    pub fn sweep(&self, now: u64) {
        let Some(until) = now.checked_sub(self.limits.ttl_ms).filter(|_| self.limits.ttl_ms != 0) else {
            return self.due.store(if self.limits.ttl_ms == 0 { 0 } else { now + self.sweep_ms() }, Relaxed);
        };
        let mut order = self.order.lock();
        let Order { topics, swept, .. } = &mut *order;
        let behind = (Bound::Excluded(*swept), Bound::Included((until, u64::MAX)));
        let found = if *swept < (until, u64::MAX) { Some(topics.range(behind)) } else { None };
        let found = found.into_iter().flatten().take(SWEPT).map(|(key, _)| *key).collect::<Vec<_>>();
        for key in &found {
            let Some(topic) = topics.remove(key) else { continue };
            let mut used = key.0;
            if let Some(log) = topic.log() {
                let mut ring = log.lock();
                used = ring.used;
                ring.trim(now, &self.limits);
                ring.listed = Some((used, key.1));
            }
            topics.insert((used, key.1), topic);
        }
        // Those that were looked at may have been used since, so the next round looks at all of them again.
        let is_all = found.len() < SWEPT;
        *swept = found.last().copied().filter(|_| !is_all).unwrap_or_default();
        let next = if topics.is_empty() { 0 } else { now + if is_all { self.sweep_ms() } else { 1 } };
        self.due.store(next, Relaxed);
    }
}
