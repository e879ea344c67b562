//! The twin of `engine.rs`: what an application asks of a world's shard, and what it is told.
//!
//! Leaves commands and takes events; they are carried out when the world takes a turn.

use crate::client::Client;
use crate::world::{World, identity};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use uuid::Uuid;
use wse_engine::answer::Start;
use wse_engine::command::Command;
use wse_engine::content::Content;
use wse_engine::drain::Pace;
use wse_engine::frame::Payload;
use wse_engine::inbound::{Batch, Entry, Kind};
use wse_engine::publishing::{Published, Publishing};
use wse_engine::topics::Topic;
use wse_engine::{ConnectionKey, Reply};
use wse_protocol::envelope::Timestamp;

/// An event as the application sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub key: ConnectionKey,
    pub payload: Vec<u8>,
}

impl World {
    /// Leaves a command for the shard of a connection.
    fn tell(&self, key: ConnectionKey, command: Command) {
        let mailbox = &self.shared.desks[key.shard()].mailbox;
        mailbox.push(command);
        mailbox.wake();
    }

    /// Leaves a command for every shard.
    fn tell_all(&self, command: impl Fn() -> Command) {
        for desk in self.shared.manned_desks() {
            desk.mailbox.push(command());
            desk.mailbox.wake();
        }
    }

    /// What the engine makes of `content`; `None`: over the memory budget.
    fn payload(&self, content: Content<'_>) -> Option<Payload> {
        let payload = content.payload(&self.shared.config, Timestamp(1), || Uuid::from_u128(1));
        let payload = payload.expect("it is no larger than a message may be");
        self.shared.budget.charge(payload.capacity()).map(|charge| payload.charged(charge))
    }

    /// Publishes `text`; `false`: over the memory budget.
    pub fn publish(&self, topic: &str, text: &str) -> bool {
        self.publish_content(topic, Content::Text(text))
    }

    /// Publishes text or bytes; `false`: over the memory budget.
    pub fn publish_content(&self, topic: &str, content: Content<'_>) -> bool {
        matches!(self.publish_as(topic, content, Publishing::default()), Published::Queued(_))
    }

    /// The same in some way; what became of it.
    pub fn publish_as(&self, topic: &str, content: Content<'_>, publishing: Publishing<'_>) -> Published {
        let published = self.shared.publish(topic, content, publishing, self.now(), || Uuid::from_u128(1));
        self.shared.manned_desks().for_each(|desk| desk.mailbox.wake());
        published.expect("it is good")
    }

    /// Publishes an envelope of the type `topic` that carries `n`, with `padding` bytes more.
    pub fn publish_number(&self, topic: &str, n: u64, padding: usize) -> bool {
        self.publish(topic, &numbered(topic, n, padding))
    }

    /// Sends `text` to every connection; `false`: over the memory budget.
    pub fn publish_all(&self, text: &str) -> bool {
        let Some(payload) = self.payload(Content::Text(text)) else { return false };
        let frame = payload.into_frame(None).0;
        self.tell_all(|| Command::Everyone(frame.clone()));
        true
    }

    /// Sends an envelope to one connection; its number, or `None` when it is refused.
    pub fn send(&self, key: ConnectionKey, text: &str) -> Option<u64> {
        let seats = &self.shared.desks[key.shard()].seats;
        seats.high(key)?;
        let seq = seats.next_sequence(key);
        let payload = self.payload(Content::Text(text))?;
        if seats.refuses(key, payload.standing.priority) {
            return None;
        }
        let (frame, _) = payload.into_frame(Some(seq));
        self.tell(key, Command::Send(key, frame));
        Some(seq)
    }

    /// Subscribes a connection by the application's wish; the request's number.
    pub fn subscribe(&mut self, key: ConnectionKey, topic: &str) -> u32 {
        self.subscribe_from(key, &[(topic, Start::Now)])
    }

    /// The same for topics that it begins where each says; the request's number.
    pub fn subscribe_from(&mut self, key: ConnectionKey, topics: &[(&str, Start)]) -> u32 {
        let wanted = topics.iter().map(|(name, start)| (self.shared.topics.want(name, key.shard()), *start));
        let wanted = wanted.collect();
        self.ask_for(key, wanted)
    }

    /// Makes a connection a member of a group; the request's number.
    pub fn join_group(&mut self, key: ConnectionKey, topic: &str, group: &str) -> u32 {
        let topics = vec![(self.shared.topics.want_in_group(topic, group), Start::Now)];
        self.ask_for(key, topics)
    }

    fn ask_for(&mut self, key: ConnectionKey, topics: Vec<(Arc<Topic>, Start)>) -> u32 {
        self.requests += 1;
        let (refused, presence, request) = (Vec::new(), None, self.requests);
        self.tell(key, Command::Subscribe { key, topics, refused, presence, request });
        request
    }

    pub fn unsubscribe(&self, key: ConnectionKey, topics: Option<Vec<String>>) {
        self.tell(key, Command::Unsubscribe { key, topics });
    }

    /// Sets the data of a connection's user; in how many topics.
    pub fn update_presence(&mut self, client: &Client, data: &str) -> usize {
        self.settle();
        let data = RawValue::from_string(data.into()).expect("JSON").into();
        let key = client.key();
        self.tell(key, Command::UpdatePresence { key, data, request: 7 });
        self.settle();
        match self.replies().pop() {
            Some(Reply::PresenceUpdated { request: 7, topics }) => topics,
            other => panic!("not the answer: {other:?}"),
        }
    }

    pub fn disconnect(&self, key: ConnectionKey, code: u16) {
        self.tell(key, Command::Disconnect { key, code, reason: "because".into(), error: None });
    }

    pub fn decide(&self, key: ConnectionKey, user: Option<&str>) {
        self.tell(key, Command::Decide(key, user.map(identity)));
    }

    /// Answers a question of [`Reply::Authorize`].
    pub fn authorize(&mut self, key: ConnectionKey, number: u32, granted: &[&str]) {
        let granted = granted.iter().map(|&topic| topic.into()).collect();
        self.tell(key, Command::Authorized { key, number, granted });
        self.settle();
    }

    /// Reads a connection no longer, or again.
    pub fn hold_back(&self, key: ConnectionKey, is_held: bool) {
        self.tell(key, Command::HoldBack { key, is_held });
    }

    /// Says that newer keys were looked for.
    pub fn looked(&mut self, look: u32, is_done: bool) {
        self.tell_all(|| Command::Looked { look, is_done });
        self.settle();
    }

    /// Sends everyone away.
    pub fn drain(&self, waves: u32, deadline_ms: u64) {
        let shards = self.shared.manned_desks().count();
        assert_eq!(self.shared.drain(Pace { waves, deadline_ms }), shards, "it is drained once");
    }

    /// Closes the engine.
    pub fn close(&self) {
        assert!(self.shared.close(), "it is closed once");
    }

    pub fn replies(&self) -> Vec<Reply> {
        self.shared.take_replies()
    }

    /// Takes the oldest batch of events of the first shard that has one.
    pub fn take_batch(&self) -> Option<Vec<Event>> {
        let (desk, (batch, is_stalled)) =
            self.shared.manned_desks().find_map(|desk| Some((desk, desk.inbound.take()?)))?;
        self.shared.lifecycle_waiting.fetch_sub(batch.lifecycle, Relaxed);
        if is_stalled {
            desk.mailbox.wake();
        }
        let events = read(&batch);
        desk.inbound.recycle(batch);
        Some(events)
    }

    /// Takes all events that wait.
    pub fn take_events(&self) -> Vec<Event> {
        std::iter::from_fn(|| self.take_batch()).flatten().collect()
    }

    /// Says whether somebody takes events.
    pub fn set_consumer(&self, present: bool) {
        self.shared.set_consumer(present);
    }
}

/// The text of [`World::publish_number`].
pub fn numbered(topic: &str, n: u64, padding: usize) -> String {
    let padding = "x".repeat(padding);
    format!(r#"{{"t":"{topic}","p":{{"n":{n},"x":"{padding}"}}}}"#)
}

/// An envelope that says how important it is.
pub fn urgent(envelope: &str, priority: u8) -> String {
    envelope.replacen('{', &format!("{{\"pri\":{priority},"), 1)
}

fn read(batch: &Batch) -> Vec<Event> {
    let (mut text, mut bytes) = (0, 0);
    let event = |entry: &Entry| {
        let (joined, from) =
            if entry.is_ascii { (&batch.text, &mut text) } else { (&batch.bytes, &mut bytes) };
        let to = entry.end as usize;
        let payload = joined[std::mem::replace(from, to)..to].to_vec();
        Event { kind: entry.kind, key: entry.key, payload }
    };
    batch.entries.iter().map(event).collect()
}
