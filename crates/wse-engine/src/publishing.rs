//! How a publication reaches its topic: made, stamped, kept and handed to the shards, or not at all (PROTOCOL §13).
//!
//! Called from any thread. Never waits for a shard, and never touches a connection.

use crate::command::Command;
use crate::content::Content;
use crate::error::EngineError;
use crate::frame::{FRAME_WEIGHT, Frame, Payload};
use crate::log::{Event, Overload, Subject};
use crate::metrics::count;
use crate::pressure::{Flight, Lacking};
use crate::recovery::{Log, Position};
use crate::shard::Now;
use crate::shared::Shared;
use crate::topics::{Hearers, Topic};
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;
use wse_protocol::envelope::Timestamp;
use wse_protocol::topic;

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is on its way, and where it stands in the log of its topic, if it has one.
    Queued(Option<Position>),
    /// There was no room for it: nothing was queued.
    Refused(Lacking),
}

/// How something is published.
#[derive(Debug, Clone, Copy, Default)]
pub struct Publishing<'a> {
    /// Its own key: a publication that its topic has had is not published again. Needs a log.
    pub key: Option<&'a str>,
    /// How long it may wait for a reader, in milliseconds, in place of what the policy of its topic says. Excludes a log.
    pub deadline_ms: Option<NonZeroU64>,
    /// Whether the publisher waits where there is no room, and is told when it should try again.
    pub waits: bool,
}

/// What a shard where somebody wants the topic is told.
fn publish(hearers: &Hearers, frame: &Frame, shard: usize) -> Command {
    let Hearers { topic, matching } = hearers;
    let flight = Flight::new(topic, shard, frame.bytes().len());
    Command::Publish(Arc::clone(topic), frame.clone(), matching.clone(), flight)
}

impl Shared {
    /// Publishes to everyone who holds the topic `name`. With a key that a publication to the topic had before, it
    /// is that one: nothing is published. Shards learn of it when they are woken.
    pub fn publish(
        &self,
        name: &str,
        content: Content<'_>,
        publishing: Publishing<'_>,
        now: Now,
        id: impl Fn() -> Uuid,
    ) -> Result<Published, EngineError> {
        loop {
            let Some(hearers) = self.topics.hearers(name) else {
                topic::validate_name(name)?;
                content.payload(&self.config, Timestamp(now.unix_ms), id)?;
                return publishing.key.map_or(Ok(Published::Queued(None)), |_| Err(EngineError::Unlogged));
            };
            let published = self.publish_to(&hearers, content, publishing, now, &id);
            if hearers.topic.log().is_some() && !matches!(published, Ok(Some(Published::Queued(Some(_))))) {
                // It may have been made for this alone.
                self.topics.forget(&hearers.topic);
            }
            if let Some(published) = published? {
                return Ok(published);
            }
            // The topic was forgotten since it was found: the next one of its name takes it.
        }
    }

    /// The same to a topic that was found; `None`: it has left the registry meanwhile.
    fn publish_to(
        &self,
        hearers: &Hearers,
        content: Content<'_>,
        publishing: Publishing<'_>,
        now: Now,
        id: impl Fn() -> Uuid,
    ) -> Result<Option<Published>, EngineError> {
        let at = Timestamp(now.unix_ms);
        let topic = &hearers.topic;
        let Publishing { key, deadline_ms, waits } = publishing;
        if self.is_held_up(topic, waits) {
            // A mistake is an error whatever there is room for.
            content.payload(&self.config, at, id)?;
            // What is on its way may be what it waits for.
            self.desks.iter().for_each(|desk| desk.mailbox.wake());
            return Ok(Some(Published::Refused(Lacking::Reader)));
        }
        let Some(log) = topic.log() else {
            if key.is_some() {
                return Err(EngineError::Unlogged);
            }
            let payload = content.payload(&self.config, at, id)?;
            let Some(payload) = self.charged(payload, waits) else {
                return Ok(Some(Published::Refused(Lacking::Memory)));
            };
            let payload = self.config.policies.stand(topic.policy(), payload, deadline_ms, now.millis);
            self.hand_out(hearers, &payload.into_frame(None).0);
            return Ok(Some(Published::Queued(None)));
        };
        if deadline_ms.is_some() {
            return Err(EngineError::Logged);
        }
        let payload = content.logged_payload(log.stamp_room(), &self.config, at, id)?;
        if payload.is_envelope() {
            self.vouch(&payload)?;
        } else if key.is_some() {
            return Err(EngineError::Unlogged);
        }
        let Some(payload) = self.charged(payload, waits) else {
            return Ok(Some(Published::Refused(Lacking::Memory)));
        };
        Ok(self.log(hearers, log, payload, key, now))
    }

    /// Appends a publication and hands it out, in one step; `None`: the topic has left the registry.
    fn log(
        &self,
        hearers: &Hearers,
        log: &Log,
        payload: Payload,
        key: Option<&str>,
        now: Now,
    ) -> Option<Published> {
        let mut ring = log.lock();
        if ring.is_gone() {
            return None;
        }
        let limits = self.topics.logs()?.limits();
        if let Some(known) = key.and_then(|key| ring.recall(key, now.millis)) {
            return Some(Published::Queued(Some(known)));
        }
        if !payload.is_envelope() {
            // What is no envelope has no place in a log, but one among the publications.
            let frame = payload.into_frame(None).0;
            self.hand_out(hearers, &frame);
            return Some(Published::Queued(None));
        }
        let frame = ring.append(payload, now.millis, limits);
        if let Some(key) = key {
            ring.remember(key, now.millis);
        }
        for (shard, desk) in self.desks.iter().enumerate() {
            if hearers.topic.feeds(&mut ring, shard, hearers.is_wanted(shard)) {
                desk.mailbox.push(publish(hearers, &frame, shard));
            }
        }
        let position = ring.position(ring.head());
        let is_listed = ring.listed.is_some();
        drop(ring);
        if let Some(logs) = self.topics.logs()
            && (!is_listed || logs.is_over())
        {
            logs.settle(&self.topics, &hearers.topic);
            if !is_listed {
                // It sweeps the logs, and may have had no reason to look at its clock.
                self.desks[0].mailbox.wake();
            }
        }
        Some(Published::Queued(Some(position)))
    }

    /// Hands a publication that is in no log to the shards where somebody wants it.
    fn hand_out(&self, hearers: &Hearers, frame: &Frame) {
        self.publish_to_groups(&hearers.topic, frame);
        for (shard, desk) in self.desks.iter().enumerate() {
            if hearers.is_wanted(shard) {
                desk.mailbox.push(publish(hearers, frame, shard));
            }
        }
    }

    /// What is kept must reach everyone who asks for it: what cannot be signed is an error here already.
    fn vouch(&self, payload: &Payload) -> Result<(), EngineError> {
        let Some(signing) = &self.config.signing else { return Ok(()) };
        let text = payload.text().unwrap_or_default();
        signing.sign(text, Timestamp(0)).map(drop).map_err(EngineError::Unsigned)
    }

    /// Whether publishers of `topic` wait for a reader. What is looked at before somebody `waits` is looked at once more,
    /// because room that was made in between is told to nobody.
    fn is_held_up(&self, topic: &Topic, waits: bool) -> bool {
        if waits && topic.brake().is_on() {
            self.pressure.wait_for(Lacking::Reader);
        }
        topic.brake().is_on()
    }

    /// The payload, held against the memory budget; `None`: there is no room, and who `waits` is told when there is.
    pub fn charged(&self, payload: Payload, waits: bool) -> Option<Payload> {
        let bytes = payload.capacity() + FRAME_WEIGHT;
        let mut charge = self.charge(bytes);
        if charge.is_none() && waits {
            self.pressure.wait_for(Lacking::Memory);
            charge = self.charge(bytes);
        }
        if charge.is_none() {
            count(&self.metrics.budget_refused_total, 1);
            self.note(Event::Overload(Overload::Memory), Subject::default);
        }
        charge.map(|charge| payload.charged(charge))
    }
}
