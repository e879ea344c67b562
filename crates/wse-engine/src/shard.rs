//! A shard: its connections, and what happens to them in one turn.
//!
//! A plain state machine over sockets, a clock and a source of randomness, all of which it is given: a driver
//! says which sockets are ready and when a turn ends. It never waits, and nothing of it is shared.

use crate::auth::Decision;
use crate::command::Command;
use crate::connection::{Connection, Handshake, Phase, Socket};
use crate::core::{COSTLY_READS, Core};
use crate::drain::Drain;
use crate::expiry::Expiry;
use crate::farewell::ABNORMAL;
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::log::{Event, Overload};
use crate::metrics::count;
use crate::rate_limit::RateLimit;
use crate::shared::Shared;
use crate::slab::Slab;
use crate::speech::Speech;
use crate::turn::Pending;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::codes::close;
use wse_protocol::frame::FrameReader;

/// One moment: milliseconds since the engine started (never zero), and Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub millis: u64,
    /// For people.
    pub unix_ms: u64,
}

/// Bytes read at once, parsed in place.
pub const READ_BUFFER: usize = 64 << 10;
/// Frames taken from the mailbox in one turn: a slice that joins well and does not keep readers waiting.
const SLICE_FRAMES: usize = 256;
/// Bytes of such a slice.
const SLICE_BYTES: usize = 64 << 10;
/// Frames of replies after which a turn writes without waiting for its end.
const TURN_FRAMES: usize = 4_096;
/// Commands for which there stays room when there are none.
const SPARE_COMMANDS: usize = 512;
/// Names of finished handshakes that may stay among those of unfinished ones.
const SPARE_NAMES: usize = 64;
/// Connections that are worth a trim of the memory once they have left.
const CROWD: usize = 256;

/// A shard with its connections.
pub struct Shard<S> {
    pub(crate) slab: Slab<Connection<S>>,
    pub(crate) core: Core,
    inbox: VecDeque<Command>,
    room: Vec<Command>,
    buffer: Box<[u8]>,
    joined: Vec<u8>,
    pub(crate) is_closing: bool,
    /// Since the engine began to send everyone away.
    pub(crate) drain: Option<Drain>,
    /// The most connections since memory was last trimmed.
    peak: usize,
}

impl<S: Socket> Shard<S> {
    /// An empty shard.
    pub fn new(index: usize, shared: Arc<Shared>, random: fastrand::Rng, now: Now) -> Self {
        let slab = Slab::new(shared.desks[index].seats.capacity());
        let core = Core::new(index, shared, random, now);
        Self {
            slab,
            core,
            inbox: VecDeque::new(),
            room: Vec::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            joined: Vec::new(),
            is_closing: false,
            drain: None,
            peak: 0,
        }
    }

    /// Sets the moment for all that follows.
    pub fn set_now(&mut self, now: Now) {
        self.core.now = now;
        self.core.share = self.core.shared.inbound_share();
    }

    /// Takes a new socket. `head` is what was read of it already, `decision` what the host knows.
    ///
    /// The key is what the driver calls [`Shard::ready`] with; `None`: there was no place, the socket is closed.
    pub fn accept(
        &mut self,
        socket: S,
        peer: IpAddr,
        head: Vec<u8>,
        decision: Decision,
    ) -> Option<(ConnectionKey, &mut S)> {
        let slot = self.slab.vacant()?;
        let generation = self.core.shared.desks[self.core.index].seats.reserve(slot);
        let key = ConnectionKey::new(self.core.index, slot, generation);
        let now = self.core.now.millis;
        let config = &self.core.shared.config;
        let rate = RateLimit::new(config.rate.unwrap_or_default(), now);
        let has_head = !head.is_empty();
        let handshake = Handshake { received: head, began: now, peer, decision, upgrade: None, look: None };
        let conn = Connection {
            socket,
            key,
            high: 0,
            phase: Phase::Handshake(Box::new(handshake)),
            reader: FrameReader::new(),
            unread: None,
            pending: Pending::NONE,
            backlog: None,
            replay: None,
            topics: Vec::new(),
            access: None,
            caller: None,
            speech: Speech::default(),
            secrecy: None,
            expiry: Expiry::default(),
            pass: None,
            deflate: None,
            last_seen: now,
            last_ping: 0,
            page: 0,
            rate,
            last_event: 0,
            waiting: 0,
            is_silent: false,
            is_parked: false,
            is_member: false,
            is_known: false,
            is_debugger: false,
            said_hello: false,
            is_stalled: false,
            is_held: false,
            is_read_closed: false,
            is_ended: false,
        };
        let conn = self.slab.insert(slot, conn);
        self.core.schedule(conn);
        self.core.unfinished += 1;
        self.core.handshakes.push_back(key);
        if has_head && catch_unwind(AssertUnwindSafe(|| self.core.read_head(conn, &[]))).is_err() {
            self.core.failed(Some(key), &mut self.slab);
        }
        self.drop_oldest_handshakes(peer);
        let conn = self
            .slab
            .get_mut(slot)
            .expect("it was inserted above, and nothing is removed before the turn ends");
        Some((key, &mut conn.socket))
    }

    /// Over the caps, the oldest unfinished handshake gives way, so that a good client still gets in.
    fn drop_oldest_handshakes(&mut self, peer: IpAddr) {
        let config = &self.core.shared.config;
        let cap = config.max_handshakes.div_ceil(config.shards);
        // Behind a trusted proxy all have its address until their head is read.
        let of_address = if config.trusted_proxies == 0 { config.max_handshakes_per_address } else { 0 };
        if cap != 0 && self.core.unfinished > cap {
            self.drop_handshake(|_| true);
        }
        if of_address != 0 {
            let slab = &mut self.slab;
            let is_unfinished = |key: &&ConnectionKey| {
                slab.find(**key).is_some_and(|conn| conn.handshake_peer() == Some(peer))
            };
            if self.core.handshakes.iter().filter(is_unfinished).count() > of_address {
                self.drop_handshake(|from| from == peer);
            }
        }
        // Finished ones are only names; they must not pile up behind one that is stuck.
        if self.core.handshakes.len() > 2 * self.core.unfinished + SPARE_NAMES {
            let slab = &mut self.slab;
            self.core
                .handshakes
                .retain(|key| slab.find(*key).is_some_and(|conn| conn.handshake_peer().is_some()));
        }
    }

    fn drop_handshake(&mut self, is_victim: impl Fn(IpAddr) -> bool) {
        let slab = &mut self.slab;
        let victim = self.core.handshakes.iter().find(|key| {
            slab.find(**key)
                .is_some_and(|conn| !conn.is_ended && conn.handshake_peer().is_some_and(&is_victim))
        });
        if let Some(conn) = victim.copied().and_then(|key| self.slab.find(key)) {
            count(&self.core.shared.metrics.handshakes_dropped_total, 1);
            self.core.note(conn, Event::Overload(Overload::Handshakes));
            self.core.end(conn);
        }
    }

    /// A socket is ready. A panic while serving it ends this connection alone.
    pub fn ready(&mut self, key: ConnectionKey, is_readable: bool, is_writable: bool, is_read_closed: bool) {
        let Some(conn) = self.slab.find(key) else { return };
        let (core, buffer, joined) = (&mut self.core, &mut self.buffer, &mut self.joined);
        core.share = core.shared.inbound_share();
        let served = catch_unwind(AssertUnwindSafe(|| {
            conn.is_read_closed |= is_read_closed;
            if is_writable {
                core.writable(conn, joined);
            }
            if is_readable && !conn.is_stalled {
                core.read(conn, buffer);
            }
        }));
        if served.is_err() {
            self.core.failed(Some(key), &mut self.slab);
        }
        if self.core.turn.len() > TURN_FRAMES {
            self.write();
        }
    }

    /// Ends a turn: carries out a slice of the mailbox and what is due, writes, hands events over.
    ///
    /// Returns whether there is more to do at once.
    pub fn turn(&mut self) -> bool {
        self.carry_out();
        self.sweep_logs();
        self.look_at_due();
        self.look_at_presence();
        self.tell_wave();
        self.make_room();
        // Who was put off has its share beside who comes next.
        self.core.costly = COSTLY_READS;
        self.read_again();
        self.core.costly = COSTLY_READS;
        self.pull();
        self.write();
        if self.let_go() {
            self.write();
        }
        self.note_longest();
        self.remove_ended();
        self.report_drained();
        let core = &mut self.core;
        let shared = &core.shared;
        count(&shared.metrics.messages_received_total, std::mem::take(&mut core.heard));
        if core.arrivals.deliver(&shared.desks[core.index].inbound) {
            shared.wake_for_events();
        }
        let queued =
            || shared.budget.used().saturating_sub(shared.topics.logs().map_or(0, |logs| logs.bytes()));
        if shared.pressure.take_room(queued, shared.budget.limit()) {
            shared.reply(Reply::Room);
            core.has_replies = true;
        }
        if std::mem::take(&mut core.has_replies) {
            shared.wake_for_replies();
        }
        !self.inbox.is_empty() || !core.again.is_empty() || !core.pulling.is_empty()
    }

    /// When the shard wants its next turn, in milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        let sweep =
            self.core.shared.topics.logs().filter(|_| self.core.index == 0).and_then(|logs| logs.due());
        let due = self.core.presence_due().into_iter().chain(self.drain_due());
        self.core.calendar.next().into_iter().chain(sweep).chain(due).min()
    }

    /// Whether the engine is closing and no connection is left.
    pub fn is_done(&self) -> bool {
        self.is_closing && self.slab.is_empty()
    }

    /// How many connections there are, unfinished ones included.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    fn carry_out(&mut self) {
        if self.inbox.is_empty() {
            let mailbox = &self.core.shared.desks[self.core.index].mailbox;
            let mut mail = mailbox.take(std::mem::take(&mut self.room));
            self.inbox.extend(mail.drain(..));
            mail.shrink_to(SPARE_COMMANDS);
            self.room = mail;
        }
        let (mut frames, mut bytes) = (0, 0);
        while frames < SLICE_FRAMES && bytes < SLICE_BYTES {
            let Some(command) = self.inbox.pop_front() else { break };
            let before = self.core.turn.len();
            let key = command.key();
            match catch_unwind(AssertUnwindSafe(|| self.execute(command))) {
                Ok(queued) => bytes += queued,
                Err(_) => self.core.failed(key, &mut self.slab),
            }
            frames += self.core.turn.len() - before;
        }
        if self.inbox.is_empty() {
            self.inbox.shrink_to(SPARE_COMMANDS);
        }
    }

    fn look_at_due(&mut self) {
        while let Some((page, slots)) = self.core.calendar.take_due(self.core.now.millis) {
            for slot in slots {
                let Some(conn) = self.slab.get_mut(slot as usize).filter(|conn| conn.page == page) else {
                    continue;
                };
                conn.page = 0;
                self.core.due(conn);
            }
        }
    }

    /// When messages whose end has not come take more than they may, the connection that has most gives way.
    fn make_room(&mut self) {
        let Self { slab, core, .. } = self;
        while core.is_crowded() {
            let slots = slab.slots().into_iter();
            let bytes = |slot: &usize| slab.get_mut(*slot).map_or(0, |conn| conn.reader.buffered_bytes());
            let most = slots.max_by_key(bytes).and_then(|slot| slab.get_mut(slot));
            let Some(conn) = most.filter(|conn| !conn.reader.is_idle()) else { return };
            core.note(conn, Event::Overload(Overload::Unfinished));
            core.close(conn, close::OVERLOAD, "too many messages are unfinished");
            core.stop_listening(conn, false);
        }
    }

    /// Reads on where a connection had more than its share, or where the application has caught up.
    fn read_again(&mut self) {
        let core = &mut self.core;
        let mut keys = std::mem::take(&mut core.again);
        let inbound = &core.shared.desks[core.index].inbound;
        if !core.stalled.is_empty() {
            // Asked for before looking, so that what is taken in between is not missed.
            inbound.stall();
            let (consumed, has_consumer) = (inbound.consumed(), core.shared.has_consumer());
            let (slab, now) = (&mut self.slab, core.now.millis);
            core.stalled.retain(|key| {
                let Some(conn) = slab.find(*key) else { return false };
                let is_taken = conn.last_event <= consumed && !conn.is_held;
                let is_ready = is_taken || !conn.is_open() || !has_consumer;
                if is_ready {
                    conn.is_stalled = false;
                    // Its silence was ours.
                    conn.last_seen = now;
                    keys.push(*key);
                }
                !is_ready
            });
        }
        for key in keys {
            self.ready(key, true, false, false);
        }
    }

    /// Lets those who are behind read on, until the turn is full.
    fn pull(&mut self) {
        let Self { slab, core, .. } = self;
        let mut keys = std::mem::take(&mut core.pulling);
        let mut left = keys.drain(..);
        while core.turn.len() <= TURN_FRAMES
            && let Some(key) = left.next()
        {
            let Some(conn) = slab.find(key) else { continue };
            if catch_unwind(AssertUnwindSafe(|| core.pull(conn))).is_err() {
                core.failed(Some(key), slab);
            }
        }
        core.pulling.extend(left);
    }

    /// Empties logs whose content has had its time; one shard does it for all.
    fn sweep_logs(&mut self) {
        let core = &self.core;
        if let Some(logs) = core.shared.topics.logs().filter(|_| core.index == 0)
            && logs.due().is_some_and(|due| due <= core.now.millis)
        {
            logs.sweep(core.now.millis);
        }
    }

    fn write(&mut self) {
        let Self { slab, core, .. } = self;
        let mut dirty = std::mem::take(&mut core.dirty);
        for slot in dirty.drain(..) {
            let Some(conn) = slab.get_mut(slot as usize) else { continue };
            core.flush(conn);
        }
        core.dirty = dirty;
        core.sealed = 0;
        core.given.clear();
        core.turn.clear();
    }

    fn note_longest(&mut self) {
        let core = &mut self.core;
        let (mut messages, mut bytes) = (0, 0);
        let slab = &mut self.slab;
        core.parked.retain(|key| {
            let Some(conn) = slab.find(*key) else { return false };
            let waiting = conn.backlog.as_ref().map_or(0, |backlog| backlog.bytes());
            core.shared.desks[core.index].seats.set_waiting(*key, waiting);
            if let Some(backlog) = &conn.backlog {
                messages = messages.max(backlog.len());
                bytes = bytes.max(waiting);
            }
            conn.is_parked = conn.backlog.is_some();
            conn.is_parked
        });
        let longest = &core.shared.desks[core.index].longest;
        longest.messages.store(messages, Relaxed);
        longest.bytes.store(bytes, Relaxed);
    }

    fn remove_ended(&mut self) {
        let mut ended = std::mem::take(&mut self.core.ended);
        for slot in ended.drain(..) {
            if let Some(mut conn) = self.slab.remove(slot as usize) {
                self.core.depart(&mut conn, ABNORMAL, "");
                self.core.hand_down(&mut conn);
                self.core.take_reader(&mut conn);
                if matches!(conn.phase, Phase::Handshake(_)) {
                    self.core.unfinished -= 1;
                }
                self.core.shared.desks[self.core.index].seats.leave(conn.key);
            }
        }
        self.core.ended = ended;
        self.trim_after_crowd();
    }

    /// Has memory returned when three quarters of a crowd have left: what is free by then is scattered over
    /// pages that the allocator would keep.
    fn trim_after_crowd(&mut self) {
        self.peak = self.peak.max(self.slab.len());
        if self.peak >= CROWD && self.slab.len() <= self.peak / 4 {
            self.peak = self.slab.len();
            self.core.shared.trim_memory();
        }
    }
}
