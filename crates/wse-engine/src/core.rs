//! All of a shard but its connections: what it reads, and what the application hears of it.
//!
//! The other files of a connection's life add to [`Core`]: `admission` the beginning, `session` what is said,
//! `delivery` what leaves, `deadlines` what is due, `farewell` the end.

use crate::access::{Held, Source};
use crate::calendar::Calendar;
use crate::connection::{Closing, Connection, Phase, Socket};
use crate::decoding::Decoder;
use crate::deflate::Pool;
use crate::encoding::Codecs;
use crate::groups::Given;
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::inbound::{Arrivals, Entry, Kind};
use crate::log::{Event, Overload};
use crate::metrics::count;
use crate::shard::Now;
use crate::shared::Shared;
use crate::topics::{Marks, Topic};
use crate::turn::Turn;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::envelope::Timestamp;
use wse_protocol::frame::FrameReader;
use wse_protocol::rules::Rules;

/// Reads of one connection in one turn: 256 KiB, then others have theirs.
const READS: usize = 4;
/// Reads in one turn that may cost as much as a handshake: a crowd of them must not hold up who is here.
pub(crate) const COSTLY_READS: usize = 8;
/// The least that is read at once.
const LEAST_READ: usize = 4 << 10;

/// All of a shard but its connections.
pub struct Core {
    /// Which shard this is.
    pub index: usize,
    /// What all shards share.
    pub shared: Arc<Shared>,
    /// Who may have which topic.
    pub rules: Arc<Rules>,
    /// The moment of this turn.
    pub now: Now,
    /// What leaves in this turn.
    pub turn: Turn,
    /// What arrived in this turn.
    pub arrivals: Arrivals,
    /// Messages that were read in this turn: counted once at its end.
    pub heard: u64,
    /// Randomness.
    pub random: fastrand::Rng,
    /// What encodes for those who do not speak JSON in v2.
    pub(crate) codecs: Codecs,
    /// What opens the binary messages of clients.
    pub(crate) decoder: Decoder,
    /// What permessage-deflate needs, except for connections that keep their windows.
    pub(crate) deflate: Pool,
    /// Bytes that came out of compressed messages in this read.
    pub(crate) inflated: usize,
    /// Bytes that were sealed in this turn.
    pub(crate) sealed: usize,
    /// Who has had a publication that globs match.
    pub(crate) marks: Marks,
    pub(crate) dirty: Vec<u32>,
    pub(crate) ended: Vec<u32>,
    pub(crate) stalled: Vec<ConnectionKey>,
    pub(crate) again: Vec<ConnectionKey>,
    pub(crate) parked: Vec<ConnectionKey>,
    /// Who is behind and pulls in this turn or the next.
    pub(crate) pulling: Vec<ConnectionKey>,
    /// How many requests for topics have waited for what was left for the shard.
    pub(crate) visits: u64,
    pub(crate) calendar: Calendar,
    /// What members of groups were given in this turn.
    pub(crate) given: Vec<Given>,
    /// What members were given before, and has begun to leave.
    pub(crate) begun: Vec<Given>,
    pub(crate) handshakes: VecDeque<ConnectionKey>,
    /// Large topics whose changes this shard tells, in the order of when.
    pub(crate) gatherings: VecDeque<(u64, Arc<Topic>)>,
    /// When members that were left behind were looked for last, in milliseconds.
    pub(crate) swept_at: u64,
    pub(crate) unfinished: usize,
    /// Connections that are open.
    pub(crate) open: usize,
    pub(crate) has_replies: bool,
    /// Costly reads that are left until others have had their turn.
    pub(crate) costly: usize,
    /// Bytes that one connection may have waiting for the application.
    pub(crate) share: usize,
    /// The shard's part of what all messages whose end has not come may take; bytes.
    partial_part: usize,
}

impl Core {
    /// The core of shard `index`.
    pub(crate) fn new(index: usize, shared: Arc<Shared>, random: fastrand::Rng, now: Now) -> Self {
        let config = &shared.config;
        // The buffer of one message grows to at most twice its length, so one alone never is too much.
        let partial_part = match config.inbound.max_bytes {
            0 => usize::MAX,
            all => (all / shared.desks.len()).max(2 * config.frame.max_message_bytes),
        };
        let codecs = Codecs::new(config.compression.unwrap_or_default(), config.frame.max_message_bytes);
        Self {
            index,
            codecs,
            decoder: Decoder::default(),
            rules: shared.rules(),
            marks: Marks::default(),
            shared,
            now,
            turn: Turn::default(),
            arrivals: Arrivals::default(),
            heard: 0,
            random,
            deflate: Pool::default(),
            inflated: 0,
            sealed: 0,
            dirty: Vec::new(),
            ended: Vec::new(),
            stalled: Vec::new(),
            again: Vec::new(),
            parked: Vec::new(),
            pulling: Vec::new(),
            visits: 0,
            calendar: Calendar::default(),
            given: Vec::new(),
            begun: Vec::new(),
            handshakes: VecDeque::new(),
            gatherings: VecDeque::new(),
            swept_at: now.millis,
            unfinished: 0,
            open: 0,
            has_replies: false,
            costly: COSTLY_READS,
            share: usize::MAX,
            partial_part,
        }
    }

    pub(crate) fn read<S: Socket>(&mut self, conn: &mut Connection<S>, buffer: &mut [u8]) {
        self.inflated = 0;
        for _ in 0..READS {
            if conn.is_ended || conn.is_stalled || self.is_deciding(conn) || self.owes_echo(conn) {
                return;
            }
            if self.has_inflated_enough() {
                if conn.has_unread() {
                    // It has its next turn already.
                    return;
                }
                break;
            }
            if let Some(mut unread) = conn.unread.take() {
                self.received(conn, &mut unread);
                continue;
            }
            if conn.socket.is_costly() {
                let Some(left) = self.costly.checked_sub(1) else { break };
                self.costly = left;
            }
            // When the room for all is nearly used up, nobody brings in much more.
            let most = self.share.clamp(LEAST_READ, buffer.len());
            match conn.socket.read(&mut buffer[..most]) {
                Ok(0) => return self.read_end(conn),
                Ok(length) => {
                    count(&self.shared.metrics.bytes_received_total, length as u64);
                    self.received(conn, &mut buffer[..length]);
                    if self.is_crowded() {
                        break;
                    }
                    // A short read has emptied the socket; the next bytes, or the end, are told anew.
                    let is_all = length < most && !conn.is_read_closed && conn.socket.is_drained();
                    if is_all && !conn.has_unread() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let is_garbage = error.kind() == ErrorKind::InvalidData;
                    count(&self.shared.metrics.tls_errors_total, u64::from(is_garbage));
                    return self.end(conn);
                }
            }
        }
        self.again.push(conn.key);
    }

    /// Whether messages whose end has not come take more than they may, and those of this shard more than its part:
    /// somebody has to give way.
    pub(crate) fn is_crowded(&self) -> bool {
        let shared = &self.shared;
        shared.desks[self.index].partial.load(Relaxed) > self.partial_part
            && shared.partial_bytes() > shared.config.inbound.max_bytes
    }

    /// Takes a connection's reader away: to feed it, or to forget what it has read.
    pub(crate) fn take_reader<S>(&mut self, conn: &mut Connection<S>) -> FrameReader {
        let reader = std::mem::take(&mut conn.reader);
        self.shared.desks[self.index].partial.fetch_sub(reader.buffered_bytes(), Relaxed);
        reader
    }

    /// Gives a connection its reader back, unless nobody listens to it any more.
    pub(crate) fn keep_reader<S>(&mut self, conn: &mut Connection<S>, reader: FrameReader) {
        if !matches!(conn.phase, Phase::Closing(Closing { is_deaf: true, .. })) {
            self.shared.desks[self.index].partial.fetch_add(reader.buffered_bytes(), Relaxed);
            conn.reader = reader;
        }
    }

    /// The peer sends nothing more. What it is owed in answer still leaves.
    pub(crate) fn read_end<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let has_more_to_say = conn.backlog.is_some() || !conn.pending.is_none() || conn.has_unsent();
        match conn.phase {
            Phase::Closing(_) if has_more_to_say => self.stop_listening(conn, true),
            _ => self.end(conn),
        }
    }

    pub(crate) fn is_deciding<S>(&self, conn: &Connection<S>) -> bool {
        matches!(&conn.phase, Phase::Handshake(handshake) if handshake.upgrade.is_some())
    }

    pub(crate) fn received<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: &mut [u8]) {
        match &conn.phase {
            Phase::Handshake(_) => self.read_head(conn, bytes),
            Phase::Open => self.read_frames(conn, bytes),
            Phase::Closing(closing) if !closing.is_deaf => self.read_farewell(conn, bytes),
            Phase::Closing(_) => {}
        }
    }

    /// Leaves a reply for the host.
    pub fn reply(&mut self, reply: Reply) {
        self.shared.reply(reply);
        self.has_replies = true;
    }

    /// Hands an event to the application, or counts it when it may not wait.
    pub fn event<S>(&mut self, conn: &mut Connection<S>, kind: Kind, payload: &[u8]) {
        if self.is_echo() {
            return;
        }
        let shared = &self.shared;
        let inbound = &shared.desks[self.index].inbound;
        if kind.is_lifecycle() {
            // Decided once for each connection: no end without a beginning, no beginning without an end.
            conn.is_known |= kind != Kind::Disconnect && shared.reserve_lifecycle();
        }
        if !conn.is_known {
            return self.unheard(conn);
        }
        if kind.is_lifecycle() {
            conn.last_event = self.arrivals.push(inbound, kind, (conn.key, conn.high), payload);
            return;
        }
        if conn.last_event <= inbound.consumed() {
            conn.waiting = 0;
        }
        let is_over = conn.waiting >= self.share;
        if is_over && !shared.has_consumer() {
            return self.unheard(conn);
        }
        conn.waiting += payload.len() + size_of::<Entry>();
        conn.last_event = self.arrivals.push(inbound, kind, (conn.key, conn.high), payload);
        if is_over && !std::mem::replace(&mut conn.is_stalled, true) {
            self.stalled.push(conn.key);
            inbound.stall();
            // A flood that stalls itself is no overload; that there is little room left for all is.
            let own = shared.config.inbound.max_bytes_per_connection;
            if own == 0 || self.share < own {
                self.note(conn, Event::Overload(Overload::Inbound));
            }
        }
    }

    /// Stops reading a connection of whose events the application has enough, or goes on.
    pub(crate) fn hold_back<S>(&mut self, conn: &mut Connection<S>, is_held: bool) {
        conn.is_held = is_held;
        if is_held && !std::mem::replace(&mut conn.is_stalled, true) {
            self.stalled.push(conn.key);
        }
    }

    /// An event is dropped because nobody takes it.
    fn unheard<S>(&self, conn: &Connection<S>) {
        count(&self.shared.metrics.inbound_dropped_total, 1);
        self.note(conn, Event::Overload(Overload::Unheard));
    }

    /// Makes the connection hold an announced topic by the word of `by`, or of whoever granted it before if that lasts
    /// longer; `false`: it may hold no more.
    pub(crate) fn hold<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        topic: &Arc<Topic>,
        by: Source,
    ) -> bool {
        if let Some(held) = conn.held_mut(topic) {
            held.by = held.by.max(by);
            self.shared.release(topic, self.index);
            return true;
        }
        if topic.group().is_some() || topic.groups().is_some() {
            // A topic is held once: by oneself, or in one of its groups.
            self.unsubscribe(conn, topic.name());
        }
        if !self.has_room(conn, topic) {
            self.shared.release(topic, self.index);
            return false;
        }
        if conn.topics.capacity() == 0 {
            conn.topics.reserve_exact(1);
        }
        // A glob may have brought some of it, and less than the shard has seen.
        let reached = topic.log().map_or(0, |_| self.reached(conn, topic));
        conn.topics.push(Held::new(Arc::clone(topic), by, reached));
        match topic.group() {
            Some(group) => {
                group.join(conn.key);
                conn.is_member = true;
                self.feed(conn);
            }
            None => self.shared.topics.hold(topic, self.index, conn.key.slot()),
        }
        self.count_topics(conn);
        true
    }

    /// Ends a subscription; `false`: it was not held.
    pub fn unsubscribe<S>(&mut self, conn: &mut Connection<S>, name: &str) -> bool {
        let Some(index) = conn.topics.iter().position(|topic| topic.name() == name) else { return false };
        let topic = conn.topics.swap_remove(index);
        self.go(conn, &topic);
        self.shared.leave(&topic, self.index, conn.key.slot());
        self.stop_reading(conn, &topic);
        self.count_topics(conn);
        self.marks.forget(&self.shared.topics);
        true
    }

    pub(crate) fn leave_topics<S>(&mut self, conn: &mut Connection<S>) {
        for topic in std::mem::take(&mut conn.topics) {
            self.go(conn, &topic);
            self.shared.leave(&topic, self.index, conn.key.slot());
            self.stop_reading(conn, &topic);
        }
        self.marks.forget(&self.shared.topics);
        self.count_topics(conn);
    }

    fn count_topics<S>(&self, conn: &Connection<S>) {
        self.shared.desks[self.index].seats.set_topics(conn.key, conn.topics.len());
    }

    /// The time stamp of this turn.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.now.unix_ms)
    }
}
