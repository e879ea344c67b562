//! Who comes to a topic and who leaves it: what connections do with presence, and who is told (PROTOCOL §10).
//!
//! A change and the commands that tell of it are made under the lock of the topic's members, so that everybody hears
//! of changes in the order in which they happened. Nothing else is locked meanwhile but a mailbox at a time, and before
//! them the registry of globs, which knows of no members: who asks for a page then misses no change behind it.

use crate::access::Held;
use crate::command::Command;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::inbound::Kind;
use crate::metrics::count;
use crate::news::News;
use crate::presence::{
    Change, DEFAULT_PAGE, GATHER_MS, MAX_PAGE, Presence, PresenceLimits, Refused, SWEEP_MS, Tab, weight,
};
use crate::shard::Shard;
use crate::sync::MutexGuard;
use crate::topics::{Hearers, Topic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::codes::Code;
use wse_protocol::glob::{is_glob, matches};
use wse_protocol::message::{Error, PresenceKind, PresenceMember, PresenceResponse};
use wse_protocol::request::{RequestError, correlation};
use wse_protocol::scan::Inbound;

/// Bytes of one delta, batch or page at most.
const MAX_BYTES: usize = 256 << 10;
/// What a message has beside the members that it names, at most: its envelope, its topic, a signature.
const MESSAGE_WEIGHT: usize = 1_024;
/// Bytes of a page, or of a member's data, that count as one message against the rate of the client.
const BYTES_OF_A_MESSAGE: usize = 1_024;

/// Why a user who came is not tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Untracked {
    TooLarge,
    Refused(Refused),
}

/// What the application hears of a user who came or went.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PresenceEvent<'a> {
    topic: &'a str,
    user_id: &'a str,
    data: &'a RawValue,
    /// Later ones have a larger one, whatever shards they come from.
    revision: u64,
}

/// A client's question who is there.
#[derive(Deserialize)]
struct PresenceRequest {
    topic: String,
    #[serde(default)]
    limit: Option<usize>,
    #[serde(default)]
    after: Option<String>,
}

impl Core {
    /// What a connection brings along where it asks for topics: a JSON object, if presence is on and it has a user.
    pub(crate) fn presence_of<S>(
        &self,
        conn: &Connection<S>,
        presence: Option<&RawValue>,
    ) -> Result<Option<Arc<RawValue>>, ()> {
        let Some(presence) = presence.filter(|presence| presence.get() != "null") else { return Ok(None) };
        if self.shared.config.presence.is_none() || conn.user().is_none() {
            return Ok(None);
        }
        if !presence.get().starts_with('{') {
            return Err(());
        }
        Ok(Some(Arc::from(presence.to_owned())))
    }

    /// Makes a connection present in topics that it holds. `true`: what it hears of that is on its way, and an
    /// answer has to wait for it.
    ///
    /// A topic where it cannot be tracked is named by an `error`; the subscription stands.
    pub(crate) fn attend<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        topics: &[Arc<Topic>],
        data: &Arc<RawValue>,
    ) -> bool {
        let Some(limits) = self.shared.config.presence else { return false };
        let (mut too_large, mut refused) = (Vec::new(), Vec::new());
        // A glob is no place to be.
        for topic in topics.iter().filter(|topic| !is_glob(topic.name())) {
            match self.come(conn, topic, data, limits) {
                Ok(()) => {}
                Err(Untracked::TooLarge) => too_large.push(topic.name()),
                Err(Untracked::Refused(_)) => refused.push(topic.name()),
            }
        }
        count(&self.shared.metrics.presence_refused_total, (too_large.len() + refused.len()) as u64);
        for (code, message, topics) in [
            (Code::PresenceTooLarge, "the presence data is too large: nobody sees it", too_large),
            (Code::Overloaded, "there is no room for more members: nobody sees this one", refused),
        ] {
            if !topics.is_empty() {
                let error = Error::new(code, message, self.timestamp()).with_recovery();
                self.say(conn, &error.with_topics(&topics));
            }
        }
        true
    }

    fn come<S>(
        &mut self,
        conn: &mut Connection<S>,
        topic: &Arc<Topic>,
        data: &Arc<RawValue>,
        limits: PresenceLimits,
    ) -> Result<(), Untracked> {
        let Some(user) = conn.user().cloned() else { return Ok(()) };
        if !self.fits(limits, &user, data) {
            return Err(Untracked::TooLarge);
        }
        let shared = Arc::clone(&self.shared);
        let mut members = topic.members().lock();
        let tab = Tab { key: conn.key, high: conn.high };
        let charge = |bytes| shared.budget.charge(bytes);
        let work = |members: &mut Presence| members.join((&user, tab), data, limits.max_members, charge);
        let change = shared.presence.count(&mut members, work).map_err(Untracked::Refused)?;
        let event = self.changed(topic, members, change);
        self.announce(conn, event);
        Ok(())
    }

    /// Whether nobody would be told more than a message may have.
    fn fits(&self, limits: PresenceLimits, user: &str, data: &RawValue) -> bool {
        let most = self.shared.config.frame.max_message_bytes;
        let is_small = limits.max_data_bytes == 0 || data.get().len() <= limits.max_data_bytes;
        is_small && (most == 0 || weight(user, data) + MESSAGE_WEIGHT <= most)
    }

    /// Ends what a connection has of presence in a topic that it lets go of.
    pub(crate) fn go<S>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>) {
        let Some(members) = topic.present() else { return };
        let Some(user) = conn.user().cloned() else { return };
        let shared = Arc::clone(&self.shared);
        let mut members = members.lock();
        let change = shared.presence.count(&mut members, |members| members.leave(&user, conn.key));
        let event = self.changed(topic, members, change);
        self.announce(conn, event);
    }

    /// Ends what is left in a topic of a connection that does not hold it any more.
    fn forget(&mut self, topic: &Arc<Topic>, user: &Arc<str>, tab: Tab) {
        let shared = Arc::clone(&self.shared);
        count(&shared.metrics.presence_swept_total, 1);
        let mut members = topic.members().lock();
        let change = shared.presence.count(&mut members, |members| members.leave(user, tab.key));
        if let Some((kind, json)) = self.changed(topic, members, change) {
            self.arrivals.push(&shared.desks[self.index].inbound, kind, (tab.key, tab.high), &json);
        }
    }

    /// Sets the data of a connection's user wherever that connection is present; in how many topics it is, unless the
    /// memory budget is used up there.
    pub(crate) fn update_presence<S>(&mut self, conn: &mut Connection<S>, data: &Arc<RawValue>) -> usize {
        let Some(limits) = self.shared.config.presence else { return 0 };
        let Some(user) = conn.user().cloned().filter(|user| self.fits(limits, user, data)) else { return 0 };
        let shared = Arc::clone(&self.shared);
        let mut updated = 0;
        for topic in conn.topics.clone() {
            let Some(members) = topic.present() else { continue };
            let mut members = members.lock();
            let charge = |bytes| shared.budget.charge(bytes);
            let work = |members: &mut Presence| members.update(&user, conn.key, data, charge);
            match shared.presence.count(&mut members, work) {
                Some(Ok(change)) => {
                    updated += 1;
                    let event = self.changed(&topic, members, change);
                    self.announce(conn, event);
                }
                Some(Err(_)) => count(&shared.metrics.presence_refused_total, 1),
                None => {}
            }
        }
        updated
    }

    /// Tells the holders of a change that was made under the lock of `members`; what the application is to hear.
    fn changed(
        &mut self,
        topic: &Arc<Topic>,
        mut members: MutexGuard<'_, Presence>,
        change: Option<Change>,
    ) -> Option<(Kind, Vec<u8>)> {
        let change = change?;
        let kind = match change.kind {
            PresenceKind::Join => Some(Kind::PresenceJoin),
            PresenceKind::Leave => Some(Kind::PresenceLeave),
            PresenceKind::Update => None,
        };
        let event = kind.map(|kind| {
            // Under the lock, so that a topic's numbers grow as its members change.
            let revision = self.shared.presence.revision.fetch_add(1, Relaxed) + 1;
            let (topic, user_id, data) = (topic.name(), &*change.user, &*change.data);
            let json = serde_json::to_vec(&PresenceEvent { topic, user_id, data, revision });
            (kind, json.expect("plain structs are written to memory without fail"))
        });
        let (is_told, begins) = members.gather(&change);
        if begins {
            self.gatherings.push_back((self.now.millis + GATHER_MS, Arc::clone(topic)));
        }
        if is_told {
            self.tell_holders(topic, vec![change], members.users(), false);
        }
        event
    }

    fn announce<S>(&mut self, conn: &mut Connection<S>, event: Option<(Kind, Vec<u8>)>) {
        if let Some((kind, json)) = event {
            self.event(conn, kind, &json);
        }
    }

    /// Leaves a command with each shard where somebody holds the topic. The caller has the lock of its members.
    fn tell_holders(&self, topic: &Arc<Topic>, changes: Vec<Change>, total: usize, is_gathered: bool) {
        let matching = self.shared.topics.matching(topic.name());
        let hearers = Hearers { topic: Arc::clone(topic), matching };
        let news = Arc::new(News::new(hearers, changes, total, is_gathered));
        for (shard, desk) in self.shared.desks.iter().enumerate() {
            if news.hearers.is_wanted(shard) {
                desk.mailbox.push(Command::Presence(Arc::clone(&news)));
                desk.mailbox.wake();
            }
        }
    }

    /// When something of presence is due, in milliseconds; `None`: never.
    pub(crate) fn presence_due(&self) -> Option<u64> {
        let gathered = self.gatherings.front().map(|(due, _)| *due);
        let sweep = self.shared.config.presence.map(|_| self.swept_at + SWEEP_MS);
        gathered.into_iter().chain(sweep).min()
    }

    /// Tells the holders of topics what was gathered for a second.
    pub(crate) fn tell_gathered(&mut self) {
        let now = self.now.millis;
        while self.gatherings.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, topic)) = self.gatherings.pop_front() else { return };
            let mut members = topic.members().lock();
            let (changes, was_large) = members.take_gathered();
            if !changes.is_empty() {
                self.tell_holders(&topic, changes, members.users(), was_large);
            }
            let gathers_on = members.is_gathering();
            drop(members);
            if gathers_on {
                self.gatherings.push_back((now + GATHER_MS, topic));
            } else {
                self.shared.topics.forget(&topic);
            }
        }
    }

    /// Answers who is there, to a connection that holds the topic.
    pub(crate) fn answer_presence<S: Socket>(&mut self, conn: &mut Connection<S>, message: &Inbound<'_>) {
        let cid = correlation(message.json);
        let request =
            message.payload.and_then(|payload| serde_json::from_str::<PresenceRequest>(payload).ok());
        let request =
            request.filter(|request| request.limit.is_none_or(|limit| (1..=MAX_PAGE).contains(&limit)));
        let Some(PresenceRequest { topic: name, limit, after }) = request else {
            return self.refuse_request(conn, RequestError::NoPresence, message);
        };
        let covers = |held: &Held| match held.group() {
            // A member of a group is not told of changes either.
            Some(_) => false,
            None => held.name() == name || is_glob(held.name()) && matches(held.name(), &name),
        };
        if !conn.topics.iter().any(covers) {
            let message = "members are told to those who hold the topic";
            let error = Error::new(Code::SubscriptionFailed, message, self.timestamp());
            self.respond(conn, &error.with_topics(&[&name]), cid);
            return;
        }
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        let topic = self.shared.topics.get(&name);
        let members = topic.as_ref().and_then(|topic| topic.present());
        let page = members.map(|members| members.lock().page(after.as_deref(), limit, self.member_bytes()));
        let page = page.unwrap_or_default();
        let bytes = page.members.iter().map(|(user, data, _)| weight(user, data)).sum::<usize>();
        if !self.is_within_rate_for(conn, bytes) {
            return;
        }
        // A page can be had again: it leaves no hole, and must not pass the memory budget.
        let Some(room) = self.shared.budget.charge(bytes) else {
            let error = Error::new(Code::Overloaded, "there is no room for an answer", self.timestamp());
            self.respond(conn, &error.with_recovery(), cid);
            return;
        };
        drop(room);
        let members = page.members.iter().map(|(user, data, _)| PresenceMember { user_id: user, data });
        let next = page.members.last().filter(|_| page.has_more).map(|(user, ..)| &**user);
        let answer = PresenceResponse { topic: &name, members: members.collect(), next, total: page.total };
        self.respond(conn, &answer, cid);
    }

    /// Counts bytes of presence against the rate of a client; whether it is within it.
    pub(crate) fn is_within_rate_for<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: usize) -> bool {
        (0..bytes / BYTES_OF_A_MESSAGE).all(|_| self.is_within_rate(conn))
    }

    /// Bytes of members that one message may name.
    pub(crate) fn member_bytes(&self) -> usize {
        match self.shared.config.frame.max_message_bytes {
            0 => MAX_BYTES,
            most => MAX_BYTES.min(most.saturating_sub(MESSAGE_WEIGHT)),
        }
    }
}

impl<S: Socket> Shard<S> {
    /// Does what is due of presence.
    pub(crate) fn look_at_presence(&mut self) {
        self.core.tell_gathered();
        let is_on = self.core.shared.config.presence.is_some();
        if is_on && self.core.now.millis >= self.core.swept_at + SWEEP_MS {
            self.core.swept_at = self.core.now.millis;
            self.sweep();
        }
    }

    /// Looks for connections of this shard that are members of a topic that they do not hold any more, and ends that.
    /// There should be none.
    fn sweep(&mut self) {
        let Self { slab, core, .. } = self;
        for topic in core.shared.topics.present() {
            let stale = topic.members().lock().stale(|key| {
                key.shard() == core.index && !slab.find_open(key).is_some_and(|conn| conn.holds(&topic))
            });
            for (user, tab) in stale {
                core.forget(&topic, &user, tab);
            }
        }
    }
}
