//! The log of one topic: what was published last, for clients that were away (PROTOCOL §9).
//!
//! A ring of shared frames, each with a number that counts on for the life of the topic. On the wire a number is an
//! offset in an epoch, which begins anew when the log is lost. Never knows who reads it.

use crate::budget::Charge;
use crate::config::Recovery;
use crate::frame::{Frame, Payload, Stamp};
use crate::idempotency::Keys;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a log weighs beside its publications, in bytes: itself, its topic, and its place in the order of use.
const LOG_WEIGHT: usize = 512 + size_of::<Log>();

/// The same for each shard.
const SHARD_WEIGHT: usize = 64;

/// Epochs that a log remembers beside its own: one that is further behind is taken for one of the oldest.
const EPOCHS: usize = 8;

/// A place in a log, as clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The epoch: eight hex digits on the wire.
    pub epoch: u32,
    /// The offset of a publication, from 1; zero: before the first.
    pub offset: u64,
}

/// The log of a topic, behind the lock that fixes the order of its publications.
#[derive(Debug)]
pub struct Log {
    ring: Mutex<Ring>,
    /// The most bytes that a stamp takes.
    stamp_room: usize,
}

/// A log, locked.
#[derive(Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the last publication.
    head: u64,
    /// The number behind which the epoch began.
    base: u64,
    epoch: u32,
    /// The same of the epochs before, of which somebody may still be under way; the last [`EPOCHS`] of them.
    before: Vec<(u64, u32)>,
    /// How an envelope of this epoch begins.
    opening: String,
    /// Shards that get each publication.
    fed: Box<[bool]>,
    /// When it was last published to or read, in milliseconds.
    pub(crate) used: u64,
    /// Where it stands in the order of use.
    pub(crate) listed: Option<(u64, u64)>,
    /// Its topic has left the registry: who publishes looks there again.
    is_gone: bool,
    keys: Option<Box<Keys>>,
    bytes: usize,
    /// What it weighs beside its publications, from the first one on: a topic that nobody publishes to takes nothing from
    /// others.
    weight: usize,
    /// What of its bytes no publication holds against the memory budget itself.
    own: Charge,
    /// The bytes of all logs.
    total: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Entry {
    frame: Frame,
    at: u64,
}

/// What an entry weighs beside its publication, in bytes.
const ENTRY_WEIGHT: usize = size_of::<Entry>();

/// How an envelope of `topic` and `epoch` begins, up to its offset.
fn opening(topic: &str, epoch: u32) -> String {
    let name = serde_json::Value::from(topic);
    format!("{{\"tp\":{name},\"e\":\"{epoch:08x}\",\"o\":")
}

impl Log {
    /// An empty log of `topic`, for `shards` shards. What it weighs is added to `total`, and as far as publications have
    /// not been charged for it, to `own`.
    pub fn new(topic: &str, epoch: u32, shards: usize, own: Charge, total: Arc<AtomicUsize>) -> Self {
        // Epochs are written in as many digits, all of them.
        let opening = opening(topic, epoch);
        let stamp_room = Stamp::room(opening.len());
        let ring = Ring {
            entries: VecDeque::new(),
            head: 0,
            base: 0,
            epoch,
            before: Vec::new(),
            opening,
            fed: vec![false; shards].into(),
            used: 0,
            listed: None,
            is_gone: false,
            keys: None,
            bytes: 0,
            weight: LOG_WEIGHT + 2 * topic.len() + shards * SHARD_WEIGHT,
            own,
            total,
        };
        Self { ring: Mutex::new(ring), stamp_room }
    }

    /// The most bytes that a stamp takes in place of an envelope's brace.
    pub fn stamp_room(&self) -> usize {
        self.stamp_room
    }

    /// The log, for as long as its order must stand still.
    pub fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock()
    }
}

impl Ring {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether its topic has left the registry.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Its topic leaves the registry: nothing may be appended from here on.
    pub fn leave(&mut self) {
        self.is_gone = true;
    }

    /// Whether it was never published to, in this epoch.
    pub fn is_blank(&self) -> bool {
        self.head == self.base && self.keys.is_none()
    }

    /// The number of the last publication.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The number of the oldest publication that is there, or of the next one.
    fn first(&self) -> u64 {
        self.head + 1 - self.entries.len() as u64
    }

    /// Where the publication `index` stands for a client.
    pub fn position(&self, index: u64) -> Position {
        let (base, epoch) = self.epoch_from(|base| base <= index);
        Position { epoch, offset: index.saturating_sub(base) }
    }

    /// The newest epoch with a good beginning, or the oldest one.
    fn epoch_from(&self, is_good: impl Fn(u64) -> bool) -> (u64, u32) {
        let own = (self.base, self.epoch);
        let newest = self.before.iter().chain([&own]).rev().find(|(base, _)| is_good(*base));
        newest.or(self.before.first()).copied().unwrap_or(own)
    }

    /// The epoch of the publication `index`, and the number before which it began.
    pub fn epoch_of(&self, index: u64) -> (u64, u32) {
        self.epoch_from(|base| base < index)
    }

    /// Stamps an envelope as the next publication and keeps it. What is beyond the bounds of the log goes.
    pub fn append(&mut self, payload: Payload, now: u64, limits: &Recovery) -> Frame {
        self.head += 1;
        let stamp = Stamp { opening: &self.opening, offset: self.head - self.base, index: self.head };
        let frame = payload.into_stamped(stamp);
        self.trim(now, limits);
        if self.entries.len() >= limits.slots {
            self.forget_oldest();
        }
        self.entries.push_back(Entry { frame: frame.clone(), at: now });
        self.hold(ENTRY_WEIGHT);
        self.count(frame.weight());
        self.used = now;
        frame
    }

    /// Forgets what has had its time.
    pub fn trim(&mut self, now: u64, limits: &Recovery) {
        let ttl = limits.ttl_ms;
        while ttl != 0 && self.entries.front().is_some_and(|oldest| oldest.at + ttl <= now) {
            self.forget_oldest();
        }
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
        if let Some(keys) = &mut self.keys {
            let before = keys.bytes();
            let is_empty = keys.expire(now);
            let freed = before - if is_empty { 0 } else { keys.bytes() };
            if is_empty {
                self.keys = None;
            }
            self.free(freed);
        }
    }

    /// Forgets the oldest publication; `false`: there is none but the newest.
    pub fn shorten(&mut self) -> bool {
        let may = self.entries.len() > 1;
        if may {
            self.forget_oldest();
        }
        may
    }

    /// It has a place in the order of use, from its first publication on.
    pub(crate) fn enlist(&mut self, key: (u64, u64)) {
        self.listed = Some(key);
        self.hold(self.weight);
    }

    /// Loses everything, keys included: the next publication is the first of `epoch`.
    pub fn lose(&mut self, topic: &str, epoch: u32) {
        self.entries = VecDeque::new();
        self.keys = None;
        self.discount(self.bytes - self.own.bytes());
        self.free(self.own.bytes());
        if self.before.len() == EPOCHS {
            self.before.remove(0);
        }
        self.before.push((self.base, self.epoch));
        self.base = self.head;
        self.epoch = epoch;
        self.opening = opening(topic, epoch);
        self.listed = None;
    }

    /// The number of the publication behind `position`; `None`: it is no position of this log.
    pub fn locate(&self, position: Position) -> Option<u64> {
        let index = self.base.checked_add(position.offset)?;
        (position.epoch == self.epoch && index <= self.head).then_some(index + 1)
    }

    /// Whether everything from the publication `next` on is there, and no more than one replay may have.
    pub fn reaches(&mut self, next: u64, now: u64, limits: &Recovery) -> bool {
        self.trim(now, limits);
        self.used = now;
        let most = limits.max_messages.max(limits.slots) as u64;
        next >= self.first() && self.head + 1 - next <= most
    }

    /// The number from which on the last `most` publications up to `head` are.
    pub fn last(&mut self, most: usize, head: u64, now: u64, limits: &Recovery) -> u64 {
        self.trim(now, limits);
        self.used = now;
        self.first().max((head + 1).saturating_sub(most as u64)).min(head + 1)
    }

    /// Publications from number `next` up to `until`: `most_frames` of them, or fewer when they have `most_bytes`.
    /// `None`: the first of them is gone.
    pub fn read(&self, next: u64, until: u64, most_frames: usize, most_bytes: usize) -> Option<Vec<Frame>> {
        let skipped = next.checked_sub(self.first())? as usize;
        let wanted = (until + 1).saturating_sub(next).min(most_frames as u64) as usize;
        let mut bytes = 0;
        let there = self.entries.iter().skip(skipped).take(wanted);
        let taken = there.take_while(|entry| {
            let has_room = bytes < most_bytes;
            bytes += entry.frame.bytes().len();
            has_room
        });
        Some(taken.map(|entry| entry.frame.clone()).collect())
    }

    /// Someone on `shard` wants the topic from now on. `seen` is the last publication that the shard has carried out:
    /// one that was not fed has seen everything so far.
    pub fn feed(&mut self, shard: usize, seen: &AtomicU64) {
        if !std::mem::replace(&mut self.fed[shard], true) {
            seen.fetch_max(self.head, Relaxed);
        }
    }

    /// Whether `shard` gets the publication that was appended last: when someone there wants it. `seen` as above.
    pub fn feeds(&mut self, shard: usize, is_wanted: bool, seen: &AtomicU64) -> bool {
        if is_wanted && !self.fed[shard] {
            seen.fetch_max(self.head - 1, Relaxed);
        }
        self.fed[shard] = is_wanted;
        is_wanted
    }

    /// The position of the publication that had `key`, if that is remembered.
    pub fn recall(&self, key: &str, now: u64) -> Option<Position> {
        self.keys.as_ref()?.get(key, now).map(|index| self.position(index))
    }

    /// Remembers the key of the last publication.
    pub fn remember(&mut self, key: &str, now: u64) {
        let keys = self.keys.get_or_insert_default();
        let before = keys.bytes();
        keys.insert(key, self.head, now);
        let grown = keys.bytes() - before;
        self.hold(grown);
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.free(ENTRY_WEIGHT);
            self.discount(oldest.frame.weight());
        }
    }

    /// Something of its own takes `bytes` more.
    fn hold(&mut self, bytes: usize) {
        self.own.grow(bytes);
        self.count(bytes);
    }

    /// Something of its own takes so much less.
    fn free(&mut self, bytes: usize) {
        self.discount(bytes);
        self.own.shrink(bytes);
    }

    fn count(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.total.fetch_add(bytes, Relaxed);
    }

    fn discount(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.total.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}
