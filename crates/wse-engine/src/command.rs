//! What other threads ask of a shard, and how it carries that out.
//!
//! Commands are carried out in the order in which they were left. Never decides what is asked for.

use crate::access::Source;
use crate::answer::{Asker, Start};
use crate::auth::Identity;
use crate::connection::{Phase, Socket};
use crate::delivery::Publication;
use crate::drain::Pace;
use crate::frame::Frame;
use crate::handshake::Refusal;
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::news::News;
use crate::pressure::Flight;
use crate::shard::Shard;
use crate::topics::{Hearers, Matching, Topic};
use serde_json::value::RawValue;
use std::sync::Arc;
use wse_protocol::codes::{Code, close};
use wse_protocol::rules::Rules;

/// A wish of another thread, carried out by the shard that owns the connection.
#[derive(Debug)]
pub enum Command {
    /// To everyone on the shard who holds the topic, or a glob that matches it.
    Publish(Arc<Topic>, Frame, Option<Arc<Matching>>, Flight),
    /// Of the members of a topic, to everyone on the shard who holds it.
    Presence(Arc<News>),
    /// To everyone on the shard.
    Everyone(Frame),
    /// To one connection.
    Send(ConnectionKey, Frame),
    /// To a member of a queue group, that its group has chosen.
    Deliver {
        /// The connection.
        key: ConnectionKey,
        /// What members of the group hold.
        topic: Arc<Topic>,
        /// The message.
        frame: Frame,
    },
    /// Something waits for the groups that a connection is in.
    Feed(ConnectionKey),
    /// Everything that was left for the shard before this has been carried out, which an answer of this connection waits
    /// for.
    Settle(ConnectionKey, u64),
    /// Makes a connection hold topics that were announced (see [`Topics::want`]).
    Subscribe {
        /// The connection.
        key: ConnectionKey,
        /// Announced topics, and where the connection begins to read each.
        topics: Vec<(Arc<Topic>, Start)>,
        /// What was refused already.
        refused: Vec<String>,
        /// What its user is present with there.
        presence: Option<Arc<RawValue>>,
        /// The request's number, for the reply.
        request: u32,
    },
    /// Sets the data that a connection's user is present with.
    UpdatePresence {
        /// The connection.
        key: ConnectionKey,
        /// A JSON object.
        data: Arc<RawValue>,
        /// The request's number, for the reply.
        request: u32,
    },
    /// Ends subscriptions; `None`: all.
    Unsubscribe {
        /// The connection.
        key: ConnectionKey,
        /// Topics by name.
        topics: Option<Vec<String>>,
    },
    /// Closes a connection.
    Disconnect {
        /// The connection.
        key: ConnectionKey,
        /// The close code.
        code: u16,
        /// The close reason.
        reason: String,
        /// An `error` that precedes the close, by code.
        error: Option<Code>,
    },
    /// Stops reading a connection, or goes on.
    HoldBack {
        /// The connection.
        key: ConnectionKey,
        /// Whether it is not read.
        is_held: bool,
    },
    /// The answer to [`Reply::Authenticate`]; `None`: refused.
    Decide(ConnectionKey, Option<Identity>),
    /// The answer to [`Reply::UnknownKey`].
    Looked {
        /// The number of the look.
        look: u32,
        /// Whether what can be had is known now.
        is_done: bool,
    },
    /// The answer to [`Reply::Authorize`].
    Authorized {
        /// The connection.
        key: ConnectionKey,
        /// The number of the question.
        number: u32,
        /// The topics that are granted.
        granted: Vec<String>,
    },
    /// Other rules say from now on who may have which topic.
    Rules(Arc<Rules>),
    /// The engine drains: everyone is sent away, in waves.
    Drain(Pace),
    /// The engine closes: everyone is told, and the shard ends.
    Close,
}

impl Command {
    /// The connection that it is about, if it is one.
    pub fn key(&self) -> Option<ConnectionKey> {
        match self {
            Self::Publish(..) | Self::Presence(_) | Self::Everyone(_) | Self::Looked { .. } => None,
            Self::Rules(_) | Self::Drain(_) | Self::Close => None,
            Self::Send(key, _) | Self::Settle(key, _) | Self::Decide(key, _) | Self::Feed(key) => Some(*key),
            Self::Deliver { key, .. }
            | Self::Subscribe { key, .. }
            | Self::UpdatePresence { key, .. }
            | Self::Unsubscribe { key, .. }
            | Self::Disconnect { key, .. }
            | Self::HoldBack { key, .. }
            | Self::Authorized { key, .. } => Some(*key),
        }
    }
}

impl<S: Socket> Shard<S> {
    /// Carries out a command; returns the bytes that it puts into the turn.
    pub(crate) fn execute(&mut self, command: Command) -> usize {
        let Self { slab, core, .. } = self;
        match command {
            Command::Publish(topic, frame, matching, _flight) => {
                return self.publish(&Hearers { topic, matching }, frame);
            }
            Command::Presence(news) => return self.tell_news(&news),
            Command::Everyone(frame) => {
                let bytes = frame.bytes().len();
                let mut publication = Publication::new(frame, None);
                for slot in slab.slots() {
                    if let Some(conn) = slab.get_mut(slot).filter(|conn| conn.is_open()) {
                        core.publish(conn, &mut publication);
                    }
                }
                return bytes;
            }
            Command::Send(key, frame) => {
                let Some(conn) = slab.find_open(key) else { return 0 };
                let bytes = frame.bytes().len();
                core.publish(conn, &mut Publication::new(frame, None));
                return bytes;
            }
            Command::Deliver { key, topic, frame } => {
                let bytes = frame.bytes().len();
                core.deliver(slab.find(key), &topic, frame);
                return bytes;
            }
            Command::Feed(key) => {
                if let Some(conn) = slab.find(key) {
                    core.feed(conn);
                }
            }
            Command::Settle(key, visit) => {
                if let Some(conn) = slab.find(key) {
                    core.settle(conn, visit);
                }
            }
            Command::UpdatePresence { key, data, request } => {
                let topics = slab.find_open(key).map_or(0, |conn| core.update_presence(conn, &data));
                core.reply(Reply::PresenceUpdated { request, topics });
            }
            Command::Subscribe { key, topics, refused, presence, request } => {
                self.subscribe(key, topics, refused, presence.as_ref(), request);
            }
            Command::Unsubscribe { key, topics } => {
                if let Some(conn) = slab.find(key) {
                    core.forget_granted(conn, topics.as_deref());
                    core.ask_anew(conn, topics.as_deref());
                    match topics {
                        None => core.leave_topics(conn),
                        Some(names) => names.iter().for_each(|name| {
                            core.unsubscribe(conn, name);
                        }),
                    }
                }
            }
            Command::Disconnect { key, code, reason, error } => {
                if let Some(conn) = slab.find_open(key) {
                    match error {
                        Some(error) => core.close_for(conn, (error, &reason), code, &reason),
                        None => core.close(conn, code, &reason),
                    }
                }
            }
            Command::HoldBack { key, is_held } => {
                if let Some(conn) = slab.find_open(key) {
                    core.hold_back(conn, is_held);
                }
            }
            Command::Decide(key, identity) => {
                if let Some(conn) = slab.find(key) {
                    core.decided(conn, identity);
                    core.again.push(key);
                }
            }
            Command::Looked { look, is_done } => {
                for key in core.handshakes.clone() {
                    if let Some(conn) = slab.find(key) {
                        core.looked(conn, look, is_done);
                    }
                }
            }
            Command::Authorized { key, number, granted } => {
                if let Some(conn) = slab.find(key) {
                    core.authorized(conn, number, granted);
                }
            }
            Command::Rules(rules) => {
                core.rules = rules;
                for slot in slab.slots() {
                    if let Some(conn) = slab.get_mut(slot).filter(|conn| conn.is_open()) {
                        core.review(conn);
                    }
                }
            }
            Command::Drain(pace) => self.drain(pace),
            Command::Close => self.close(),
        }
        0
    }

    /// Hands a publication to those on the shard who hear of its topic; returns its bytes.
    fn publish(&mut self, hearers: &Hearers, frame: Frame) -> usize {
        let Self { slab, core, .. } = self;
        if frame.index() != 0 && !hearers.topic.see(core.index, frame.index()) {
            return 0;
        }
        let bytes = frame.bytes().len();
        let mut publication = Publication::new(frame, Some(Arc::clone(&hearers.topic)));
        let mut marks = std::mem::take(&mut core.marks);
        hearers.for_each(core.index, &mut marks, |slot| {
            if let Some(conn) = slab.get_mut(slot as usize) {
                core.offer(conn, &mut publication);
            }
        });
        core.marks = marks;
        bytes
    }

    /// Makes a connection hold those of the announced `topics` that it may; the others, or where it is gone all, are
    /// released.
    fn subscribe(
        &mut self,
        key: ConnectionKey,
        topics: Vec<(Arc<Topic>, Start)>,
        refused: Vec<String>,
        presence: Option<&Arc<RawValue>>,
        request: u32,
    ) {
        let Self { slab, core, .. } = self;
        let conn = slab.find_open(key);
        let may = |topic: &Topic| conn.as_ref().is_some_and(|conn| core.may_be_given(conn, topic.name()));
        let (given, denied): (Vec<_>, Vec<_>) = topics.into_iter().partition(|(topic, _)| may(topic));
        let denied = denied.into_iter().map(|(topic, _)| {
            core.shared.release(&topic, core.index);
            topic.name().to_owned()
        });
        let refused = denied.chain(refused).collect();
        let Some(conn) = conn else {
            return core.reply(Reply::Subscribed { request, refused, stands: Vec::new() });
        };
        let wanted = given.into_iter().map(|(topic, start)| (topic, start, Source::Application)).collect();
        core.take_up(conn, Asker::Application(request), wanted, refused, presence);
    }

    /// Says goodbye to everyone; the shard ends when nobody is left.
    fn close(&mut self) {
        self.is_closing = true;
        let Self { slab, core, .. } = self;
        for slot in slab.slots() {
            let Some(conn) = slab.get_mut(slot) else { continue };
            match conn.phase {
                Phase::Open => core.close(conn, close::RESTART, "the server is closing"),
                Phase::Handshake(_) => core.refuse(conn, Refusal::Closing),
                Phase::Closing(_) => {}
            }
        }
    }
}
