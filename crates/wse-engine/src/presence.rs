//! Who is in a topic: its members by user, and what of them its holders have yet to be told (PROTOCOL §10).
//!
//! A plain state machine that says what changed. Never tells anybody; see `attendance.rs`.

use crate::budget::Charge;
use crate::id::ConnectionKey;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wse_protocol::message::PresenceKind;

/// With more members than this, what changes is gathered.
pub const LARGE: usize = 100;
/// How long changes are gathered: those of a large topic, and those of one user that go on.
pub const GATHER_MS: u64 = 1_000;
/// How often what was left behind is looked for.
pub const SWEEP_MS: u64 = 30_000;
/// Members of one page at most, and when nobody says how many.
pub const MAX_PAGE: usize = 1_000;
/// See [`MAX_PAGE`].
pub const DEFAULT_PAGE: usize = 100;
/// What a member weighs beside its id and its data: its place in the tree, and one connection.
const MEMBER_WEIGHT: usize = 192;

/// What a member may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceLimits {
    /// Bytes of a member's data as JSON; zero: as much as fits into a message.
    pub max_data_bytes: usize,
    /// Members of one topic; zero: any number.
    pub max_members: usize,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self { max_data_bytes: 4_096, max_members: 0 }
    }
}

/// All topics together. Topics count themselves in and out.
#[derive(Debug, Default)]
pub struct PresenceTotals {
    /// Topics with a member.
    pub topics: AtomicUsize,
    /// Members, each counted in each of its topics.
    pub users: AtomicUsize,
    /// Bytes that they take, a part of the memory budget.
    pub bytes: AtomicUsize,
    /// Joins and leaves so far.
    pub revision: AtomicU64,
}

/// One connection of a member, with the upper half of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tab {
    /// The connection.
    pub key: ConnectionKey,
    /// The upper half of its id.
    pub high: u64,
}

/// A user, and what is known of it.
#[derive(Debug)]
struct Member {
    data: Arc<RawValue>,
    tabs: Vec<Tab>,
    /// Bytes against the memory budget, until it is dropped.
    charge: Charge,
}

/// What happened to a user.
#[derive(Debug, Clone)]
pub struct Change {
    /// What.
    pub kind: PresenceKind,
    /// To whom.
    pub user: Arc<str>,
    /// What is known of the user, or was.
    pub data: Arc<RawValue>,
}

/// Why a user is not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The topic has as many members as it may have.
    Members,
    /// The memory budget is used up.
    Memory,
}

/// Some of a topic's members, in the order of their ids.
#[derive(Debug, Default)]
pub struct Page {
    /// Id, data, and how many connections.
    pub members: Vec<(Arc<str>, Arc<RawValue>, usize)>,
    /// Whether there are more behind them.
    pub has_more: bool,
    /// Members of the topic.
    pub total: usize,
}

/// The members of one topic. As many as there are connections with presence, each charged to the memory budget.
#[derive(Debug, Default)]
pub struct Presence {
    by_user: BTreeMap<Arc<str>, Member>,
    connections: usize,
    bytes: usize,
    /// Who changed since the holders were last told. Nobody is in it who came and went meanwhile, so it is no longer
    /// than the topic had members in that time.
    gathered: BTreeMap<Arc<str>, Gathered>,
    /// Whom the holders were told of while it gathers, and what: the same again waits. As long as `gathered`.
    told: BTreeSet<(Arc<str>, PresenceKind)>,
    /// Whether it gathers: an end is set to that.
    is_gathering: bool,
    /// Whether everything waits, because the topic is large, or was.
    is_large: bool,
}

#[derive(Debug)]
struct Gathered {
    /// Whether the holders know the user.
    is_known: bool,
    data: Arc<RawValue>,
}

impl Presence {
    /// Users.
    pub fn users(&self) -> usize {
        self.by_user.len()
    }

    /// Connections of users.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Adds a connection of `user`, whose data is `data` from now on; what that changes, if anything.
    ///
    /// `charge` holds bytes against the memory budget. What is refused leaves everything as it was.
    pub fn join(
        &mut self,
        (user, tab): (&Arc<str>, Tab),
        data: &Arc<RawValue>,
        max_members: usize,
        charge: impl FnOnce(usize) -> Option<Charge>,
    ) -> Result<Option<Change>, Refused> {
        let is_full = max_members != 0 && self.by_user.len() >= max_members;
        match self.by_user.get_mut(user) {
            Some(member) => {
                let change = member.set(&mut self.bytes, user, data, charge)?;
                if !member.tabs.iter().any(|known| known.key == tab.key) {
                    member.tabs.push(tab);
                    self.connections += 1;
                }
                Ok(change)
            }
            None if is_full => Err(Refused::Members),
            None => {
                let charge = charge(weight(user, data)).ok_or(Refused::Memory)?;
                let member = Member { data: Arc::clone(data), tabs: vec![tab], charge };
                self.bytes += weight(user, data);
                self.by_user.insert(Arc::clone(user), member);
                self.connections += 1;
                Ok(Some(Change::new(PresenceKind::Join, user, data)))
            }
        }
    }

    /// Sets the data of `user`, if `key` is one of its connections here: `None` when it is not, else what that changes.
    pub fn update(
        &mut self,
        user: &Arc<str>,
        key: ConnectionKey,
        data: &Arc<RawValue>,
        charge: impl FnOnce(usize) -> Option<Charge>,
    ) -> Option<Result<Option<Change>, Refused>> {
        let member = self.by_user.get_mut(user)?;
        let is_its = member.tabs.iter().any(|tab| tab.key == key);
        is_its.then(|| member.set(&mut self.bytes, user, data, charge))
    }

    /// Takes a connection away; the change, if it was the user's last one.
    pub fn leave(&mut self, user: &Arc<str>, key: ConnectionKey) -> Option<Change> {
        let member = self.by_user.get_mut(user)?;
        let place = member.tabs.iter().position(|tab| tab.key == key)?;
        member.tabs.swap_remove(place);
        self.connections -= 1;
        if !member.tabs.is_empty() {
            return None;
        }
        let member = self.by_user.remove(user)?;
        self.bytes -= weight(user, &member.data);
        Some(Change::new(PresenceKind::Leave, user, &member.data))
    }

    /// Whether `change` is told now, else later, with others or never; and whether an end is to be set to the gathering.
    ///
    /// Of a large topic everything waits, and whatever follows it. Else what was told of the user already: its data
    /// changes and it comes once a second at most. Where it goes nothing waits any more.
    pub fn gather(&mut self, change: &Change) -> (bool, bool) {
        let Change { kind, user, data } = change;
        self.is_large |= self.by_user.len() > LARGE;
        if !self.is_large && *kind == PresenceKind::Leave {
            return (self.gathered.remove(user).is_none_or(|gathered| gathered.is_known), false);
        }
        let begins = !std::mem::replace(&mut self.is_gathering, true);
        let waits = self.is_large || self.gathered.contains_key(user);
        if !waits && self.told.insert((Arc::clone(user), *kind)) {
            return (true, begins);
        }
        let is_known = *kind != PresenceKind::Join;
        let gathered = self.gathered.entry(Arc::clone(user));
        let gathered = gathered.or_insert_with(|| Gathered { is_known, data: Arc::clone(data) });
        gathered.data = Arc::clone(data);
        if *kind == PresenceKind::Leave && !gathered.is_known {
            self.gathered.remove(user);
        }
        (false, begins)
    }

    /// What the holders have yet to be told: how those who changed differ from what they know; and whether it is of a
    /// large topic. What is told now counts for the next second, see [`Presence::is_gathering`].
    pub fn take_gathered(&mut self) -> (Vec<Change>, bool) {
        let was_large = std::mem::take(&mut self.is_large);
        let gathered = std::mem::take(&mut self.gathered).into_iter();
        let changes = gathered.map(|(user, Gathered { is_known, data })| {
            let kind = match (is_known, self.by_user.contains_key(&user)) {
                (_, false) => PresenceKind::Leave,
                (false, true) => PresenceKind::Join,
                (true, true) => PresenceKind::Update,
            };
            Change { kind, user, data }
        });
        let changes = changes.collect::<Vec<_>>();
        let told = changes.iter().filter(|_| !was_large);
        self.told = told.map(|change| (Arc::clone(&change.user), change.kind)).collect();
        self.is_gathering = !self.told.is_empty();
        (changes, was_large)
    }

    /// Whether it gathers: to be taken in [`GATHER_MS`].
    pub fn is_gathering(&self) -> bool {
        self.is_gathering
    }

    /// The members behind the id `after`: at most `limit`, and no more than `max_bytes` of JSON, but one.
    ///
    /// Whoever asks again behind the last one misses nobody who stays, and sees nobody twice.
    pub fn page(&self, after: Option<&str>, limit: usize, max_bytes: usize) -> Page {
        let from = after.map_or(Unbounded, Excluded);
        let mut behind = self.by_user.range::<str, _>((from, Unbounded)).peekable();
        let (mut members, mut bytes) = (Vec::new(), 0);
        while let Some((user, member)) = behind.peek() {
            bytes += weight(user, &member.data);
            if members.len() == limit || bytes > max_bytes && !members.is_empty() {
                break;
            }
            members.push((Arc::clone(user), Arc::clone(&member.data), member.tabs.len()));
            behind.next();
        }
        Page { members, has_more: behind.peek().is_some(), total: self.by_user.len() }
    }

    /// The connections that `is_gone`, each with its user.
    pub fn stale(&self, mut is_gone: impl FnMut(ConnectionKey) -> bool) -> Vec<(Arc<str>, Tab)> {
        let tabs =
            self.by_user.iter().flat_map(|(user, member)| member.tabs.iter().map(move |tab| (user, tab)));
        tabs.filter(|(_, tab)| is_gone(tab.key)).map(|(user, tab)| (Arc::clone(user), *tab)).collect()
    }
}

impl Member {
    fn set(
        &mut self,
        bytes: &mut usize,
        user: &Arc<str>,
        data: &Arc<RawValue>,
        charge: impl FnOnce(usize) -> Option<Charge>,
    ) -> Result<Option<Change>, Refused> {
        if self.data.get() == data.get() {
            return Ok(None);
        }
        self.charge = charge(weight(user, data)).ok_or(Refused::Memory)?;
        *bytes = *bytes + weight(user, data) - weight(user, &self.data);
        self.data = Arc::clone(data);
        Ok(Some(Change::new(PresenceKind::Update, user, data)))
    }
}

impl Change {
    fn new(kind: PresenceKind, user: &Arc<str>, data: &Arc<RawValue>) -> Self {
        Self { kind, user: Arc::clone(user), data: Arc::clone(data) }
    }

    /// About as many bytes as it takes as JSON.
    pub fn weight(&self) -> usize {
        weight(&self.user, &self.data)
    }
}

/// Bytes of a member in memory, and no less than it takes in a message: escapes make six bytes of one at most.
pub fn weight(user: &str, data: &RawValue) -> usize {
    let escaped = if user.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') { 1 } else { 6 };
    escaped * user.len() + data.get().len() + MEMBER_WEIGHT
}

impl PresenceTotals {
    /// Counts what `work` changes of a topic's members.
    pub fn count<T>(&self, members: &mut Presence, work: impl FnOnce(&mut Presence) -> T) -> T {
        let (before, bytes) = (members.users(), members.bytes);
        let done = work(members);
        let after = members.users();
        self.bytes.fetch_add(members.bytes.wrapping_sub(bytes), Relaxed);
        self.users.fetch_add(after.wrapping_sub(before), Relaxed);
        self.topics.fetch_add(usize::from(after > 0).wrapping_sub(usize::from(before > 0)), Relaxed);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use proptest::prelude::*;

    fn data(n: u32) -> Arc<RawValue> {
        Arc::from(RawValue::from_string(format!("{{\"n\":{n}}}")).expect("JSON"))
    }

    fn tab(n: u32) -> Tab {
        Tab { key: ConnectionKey::new(0, n as usize, 1), high: 7 }
    }

    /// A topic with its budget.
    struct Room {
        members: Presence,
        budget: Arc<Budget>,
        totals: PresenceTotals,
    }

    impl Room {
        fn new(limit: usize) -> Self {
            let (members, totals) = Default::default();
            Self { members, totals, budget: Budget::new(limit) }
        }

        fn join(&mut self, user: &str, n: u32, value: u32, most: usize) -> Result<Option<Change>, Refused> {
            let charge = |bytes| self.budget.charge(bytes);
            let work =
                |members: &mut Presence| members.join((&user.into(), tab(n)), &data(value), most, charge);
            self.totals.count(&mut self.members, work)
        }

        fn leave(&mut self, user: &str, n: u32) -> Option<Change> {
            self.totals.count(&mut self.members, |members| members.leave(&user.into(), tab(n).key))
        }
    }

    fn kind(change: Result<Option<Change>, Refused>) -> Option<PresenceKind> {
        change.expect("there is room").map(|change| change.kind)
    }

    #[test]
    fn a_user_comes_with_the_first_connection_and_goes_with_the_last() {
        let mut room = Room::new(0);
        assert_eq!(kind(room.join("ann", 1, 1, 0)), Some(PresenceKind::Join));
        assert_eq!(kind(room.join("ann", 2, 1, 0)), None, "nothing that anybody could see");
        assert_eq!(kind(room.join("ann", 2, 2, 0)), Some(PresenceKind::Update));
        assert_eq!((room.members.users(), room.members.connections()), (1, 2));
        assert!(room.leave("ann", 1).is_none() && room.leave("ann", 1).is_none(), "a connection goes once");
        let left = room.leave("ann", 2).expect("the last one");
        assert_eq!((left.kind, left.data.get()), (PresenceKind::Leave, "{\"n\":2}"));
        assert_eq!((room.budget.used(), room.totals.bytes.load(Relaxed)), (0, 0));
        assert_eq!((room.totals.users.load(Relaxed), room.totals.topics.load(Relaxed)), (0, 0));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut room = Room::new(2 * MEMBER_WEIGHT);
        assert!(room.join("ann", 1, 1, 1).is_ok());
        assert_eq!(room.join("bob", 2, 1, 1).map(drop), Err(Refused::Members));
        assert_eq!(kind(room.join("ann", 3, 1, 1)), None, "a member may have another connection");
        assert_eq!(room.join("bob", 2, 1, 0).map(drop), Err(Refused::Memory));
        assert_eq!((room.members.users(), room.members.connections()), (1, 2));
        assert_eq!(room.budget.used(), room.totals.bytes.load(Relaxed));
    }

    #[test]
    fn pages_miss_nobody_who_stays_and_name_nobody_twice() {
        let mut room = Room::new(0);
        (0..250).for_each(|n| drop(room.join(&format!("{n:03}"), n, n, 0)));
        let (mut after, mut seen) = (None::<Arc<str>>, Vec::new());
        loop {
            let page = room.members.page(after.as_deref(), 100, usize::MAX);
            seen.extend(page.members.iter().map(|(user, ..)| user.to_string()));
            after = page.members.last().map(|(user, ..)| Arc::clone(user));
            if !page.has_more {
                break;
            }
            // Who was named goes, and somebody comes where the page has been.
            room.leave(&seen[seen.len() - 1], seen.len() as u32 - 1);
            drop(room.join("000a", 900, 1, 0));
        }
        assert_eq!(seen, (0..250).map(|n| format!("{n:03}")).collect::<Vec<_>>());
        assert_eq!(room.members.page(None, 1_000, 1).members.len(), 1, "one fits whatever it takes");
    }

    proptest! {
        #[test]
        fn what_is_told_late_and_together_says_the_same(
            steps in prop::collection::vec((0u32..130, 0u32..3, 0u32..4, prop::bool::weighted(0.02)), 1..900),
        ) {
            let mut room = Room::new(0);
            let mut view = BTreeMap::new();
            let mut hear = |change: Change| {
                let (user, data) = (change.user.to_string(), change.data.get().to_owned());
                let is_told = match change.kind {
                    PresenceKind::Join => view.insert(user, data).is_none(),
                    PresenceKind::Update => view.insert(user, data).is_some(),
                    PresenceKind::Leave => view.remove(&user).is_some(),
                };
                assert!(is_told, "only what the holders do not know yet");
            };
            for (user, n, value, is_due) in steps {
                let name = format!("{user:03}");
                let change = match value {
                    0 => room.leave(&name, 3 * user + n),
                    value => room.join(&name, 3 * user + n, value, 0).expect("there is room"),
                };
                if let Some(change) = change && room.members.gather(&change).0 {
                    hear(change);
                }
                if is_due {
                    room.members.take_gathered().0.into_iter().for_each(&mut hear);
                }
            }
            room.members.take_gathered().0.into_iter().for_each(&mut hear);
            let page = room.members.page(None, 1_000, usize::MAX).members.into_iter();
            let there = page.map(|(user, data, _)| (user.to_string(), data.get().to_owned())).collect();
            prop_assert_eq!(view, there);
        }
    }
}
