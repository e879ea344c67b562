//! A shard: its connections, and what happens to them in one turn.
//!
//! A plain state machine over sockets, a clock and a source of randomness, all of which it is given: a driver
//! says which sockets are ready and when a turn ends. It never waits, and nothing of it is shared.

use crate::auth::{Auth, Decision, Identity};
use crate::calendar::Calendar;
use crate::connection::{Closing, Connection, Handshake, Phase, Socket};
use crate::frame::Frame;
use crate::handshake::{self, Answer, Head, Refusal, Upgrade};
use crate::heartbeat::Due;
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::inbound::{Arrivals, Kind};
use crate::metrics::count;
use crate::rate_limit::RateLimit;
use crate::seats::Caller;
use crate::shared::{Command, Shared};
use crate::slab::Slab;
use crate::topics::Topic;
use crate::turn::{Pending, Turn};
use crate::users::{Member, Seat};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wse_protocol::codes::{Code, close};
use wse_protocol::envelope::Timestamp;
use wse_protocol::frame::{FrameReader, OpCode, encode_close};

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
/// Reads of one connection in one turn: 256 KiB, then others have theirs.
const READS: usize = 4;
/// Frames taken from the mailbox in one turn: a slice that joins well and does not keep readers waiting.
const SLICE_FRAMES: usize = 256;
/// Bytes of such a slice.
const SLICE_BYTES: usize = 64 << 10;
/// Frames of replies after which a turn writes without waiting for its end.
const TURN_FRAMES: usize = 4_096;
/// How long a connection that says goodbye may take.
const LINGER_MS: u64 = 2_000;
/// Connections that are worth a trim of the memory once they have left.
const CROWD: usize = 256;
/// The code of a connection that ended without a Close (RFC 6455 §7.4.1); never on the wire.
const ABNORMAL: u16 = 1006;
/// What a backlog writes at once.
const BACKLOG_WRITE: usize = 64 << 10;

/// All of a shard but its connections.
pub struct Core {
    /// Which shard this is.
    pub index: usize,
    /// What all shards share.
    pub shared: Arc<Shared>,
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
    dirty: Vec<u32>,
    ended: Vec<u32>,
    stalled: Vec<ConnectionKey>,
    again: Vec<ConnectionKey>,
    parked: Vec<ConnectionKey>,
    calendar: Calendar,
    handshakes: VecDeque<ConnectionKey>,
    unfinished: usize,
    has_replies: bool,
    /// Bytes that one connection may have waiting for the application.
    share: usize,
}

/// A shard with its connections.
pub struct Shard<S> {
    slab: Slab<Connection<S>>,
    core: Core,
    inbox: VecDeque<Command>,
    room: Vec<Command>,
    buffer: Box<[u8]>,
    joined: Vec<u8>,
    is_closing: bool,
    /// The most connections since memory was last trimmed.
    peak: usize,
}

impl<S: Socket> Shard<S> {
    /// An empty shard.
    pub fn new(index: usize, shared: Arc<Shared>, random: fastrand::Rng, now: Now) -> Self {
        let slab = Slab::new(shared.desks[index].seats.capacity());
        let core = Core {
            index,
            shared,
            now,
            turn: Turn::default(),
            arrivals: Arrivals::default(),
            heard: 0,
            random,
            dirty: Vec::new(),
            ended: Vec::new(),
            stalled: Vec::new(),
            again: Vec::new(),
            parked: Vec::new(),
            calendar: Calendar::default(),
            handshakes: VecDeque::new(),
            unfinished: 0,
            has_replies: false,
            share: 0,
        };
        Self {
            slab,
            core,
            inbox: VecDeque::new(),
            room: Vec::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            joined: Vec::new(),
            is_closing: false,
            peak: 0,
        }
    }

    /// Sets the moment for all that follows.
    pub fn set_now(&mut self, now: Now) {
        self.core.now = now;
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
        let handshake = Handshake { received: head, began: now, peer, decision, upgrade: None };
        let conn = Connection {
            socket,
            key,
            high: 0,
            phase: Phase::Handshake(Box::new(handshake)),
            reader: FrameReader::new(),
            pending: Pending::NONE,
            backlog: None,
            topics: Vec::new(),
            caller: None,
            last_seen: now,
            last_ping: 0,
            page: 0,
            rate,
            last_event: 0,
            waiting: 0,
            is_silent: false,
            said_hello: false,
            is_stalled: false,
            is_read_closed: false,
            is_ended: false,
        };
        let conn = self.slab.insert(slot, conn);
        self.core.schedule(conn);
        self.core.unfinished += 1;
        self.core.handshakes.push_back(key);
        if has_head {
            self.core.read_head(conn, &[]);
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
        let of_address = config.max_handshakes_per_address;
        if cap != 0 && self.core.unfinished > cap {
            self.drop_handshake(|_| true);
        }
        if of_address != 0 {
            let slab = &mut self.slab;
            let is_unfinished = |key: &&ConnectionKey| {
                slab.get_mut(key.slot())
                    .is_some_and(|conn| conn.key == **key && conn.handshake_peer() == Some(peer))
            };
            if self.core.handshakes.iter().filter(is_unfinished).count() > of_address {
                self.drop_handshake(|from| from == peer);
            }
        }
        // Finished ones at the front are only names; they must not pile up.
        while let Some(key) = self.core.handshakes.front() {
            match self.slab.get_mut(key.slot()) {
                Some(conn) if conn.key == *key && matches!(conn.phase, Phase::Handshake(_)) => break,
                _ => drop(self.core.handshakes.pop_front()),
            }
        }
    }

    fn drop_handshake(&mut self, is_victim: impl Fn(IpAddr) -> bool) {
        let slab = &mut self.slab;
        let victim = self.core.handshakes.iter().find(|key| {
            slab.get_mut(key.slot()).is_some_and(|conn| {
                conn.key == **key && !conn.is_ended && conn.handshake_peer().is_some_and(&is_victim)
            })
        });
        if let Some(conn) = victim.copied().and_then(|key| self.slab.get_mut(key.slot())) {
            count(&self.core.shared.metrics.handshakes_dropped_total, 1);
            self.core.end(conn);
        }
    }

    /// A socket is ready. A panic while serving it ends this connection alone.
    pub fn ready(&mut self, key: ConnectionKey, is_readable: bool, is_writable: bool, is_read_closed: bool) {
        let Some(conn) = self.slab.get_mut(key.slot()).filter(|conn| conn.key == key) else { return };
        let (core, buffer, joined) = (&mut self.core, &mut self.buffer, &mut self.joined);
        core.share = core.shared.inbound_share();
        let served = catch_unwind(AssertUnwindSafe(|| {
            conn.is_read_closed |= is_read_closed;
            if is_writable && conn.backlog.is_some() {
                core.drain_backlog(conn, joined);
            }
            if is_readable && !conn.is_stalled {
                core.read(conn, buffer);
            }
        }));
        if served.is_err() {
            self.core.fail(key, &mut self.slab);
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
        self.look_at_due();
        self.read_again();
        self.write();
        self.note_longest();
        self.remove_ended();
        let core = &mut self.core;
        let shared = &core.shared;
        count(&shared.metrics.messages_received_total, std::mem::take(&mut core.heard));
        if core.arrivals.deliver(&shared.desks[core.index].inbound) {
            shared.wake_for_events();
        }
        if std::mem::take(&mut core.has_replies) {
            shared.wake_for_replies();
        }
        !self.inbox.is_empty() || !core.again.is_empty()
    }

    /// When the shard wants its next turn, in milliseconds.
    pub fn next_due(&self) -> Option<u64> {
        self.core.calendar.next()
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
            mail.shrink_to(4_096);
            self.room = mail;
        }
        let (mut frames, mut bytes) = (0, 0);
        while frames < SLICE_FRAMES && bytes < SLICE_BYTES {
            let Some(command) = self.inbox.pop_front() else { break };
            let before = self.core.turn.len();
            bytes += self.execute(command);
            frames += self.core.turn.len() - before;
        }
        if self.inbox.is_empty() {
            self.inbox.shrink_to(4_096);
        }
    }

    /// Carries out a command; returns the bytes that it puts into the turn.
    fn execute(&mut self, command: Command) -> usize {
        let Self { slab, core, .. } = self;
        match command {
            Command::Publish(topic, frame) => {
                let bytes = frame.bytes().len();
                let number = core.turn.add(frame, Some(Arc::clone(&topic)));
                let index = core.index;
                topic.for_each(index, |slot| {
                    if let Some(conn) = slab.get_mut(slot as usize) {
                        core.queue(conn, number);
                    }
                });
                return bytes;
            }
            Command::Everyone(frame) => {
                let bytes = frame.bytes().len();
                let number = core.turn.add(frame, None);
                for slot in slab.slots() {
                    if let Some(conn) = slab.get_mut(slot).filter(|conn| conn.is_open()) {
                        core.queue(conn, number);
                    }
                }
                return bytes;
            }
            Command::Send(key, frame) => {
                let conn = slab.get_mut(key.slot()).filter(|conn| conn.key == key && conn.is_open());
                let Some(conn) = conn else { return 0 };
                let bytes = frame.bytes().len();
                let number = core.turn.add(frame, None);
                core.queue(conn, number);
                return bytes;
            }
            Command::Subscribe { key, topics, mut refused, request } => {
                let mut granted = Vec::with_capacity(topics.len());
                for topic in topics {
                    let conn = slab.get_mut(key.slot()).filter(|conn| conn.key == key && conn.is_open());
                    let is_held = match conn {
                        Some(conn) => core.hold(conn, &topic),
                        None => {
                            core.shared.topics.release(&topic, core.index);
                            false
                        }
                    };
                    if is_held {
                        granted.push(topic.name().into())
                    } else {
                        refused.push(topic.name().into())
                    }
                }
                core.reply(Reply::Subscribed { request, granted, refused });
            }
            Command::Unsubscribe { key, topics } => {
                if let Some(conn) = slab.get_mut(key.slot()).filter(|conn| conn.key == key) {
                    match topics {
                        None => core.leave_topics(conn),
                        Some(names) => names.iter().for_each(|name| {
                            core.unsubscribe(conn, name);
                        }),
                    }
                }
            }
            Command::Disconnect { key, code, reason, error } => {
                if let Some(conn) = slab.get_mut(key.slot()).filter(|conn| conn.key == key && conn.is_open())
                {
                    if let Some(error) = error {
                        core.say_error(conn, error, &reason);
                    }
                    core.close(conn, code, &reason);
                }
            }
            Command::Decide(key, identity) => {
                if let Some(conn) = slab.get_mut(key.slot()).filter(|conn| conn.key == key) {
                    core.decided(conn, identity);
                    core.again.push(key);
                }
            }
            Command::Close => {
                self.is_closing = true;
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
        0
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

    /// Reads on where a connection had more than its share, or where the application has caught up.
    fn read_again(&mut self) {
        let core = &mut self.core;
        let mut keys = std::mem::take(&mut core.again);
        let inbound = &core.shared.desks[core.index].inbound;
        if !core.stalled.is_empty() {
            // Asked for before looking, so that what is taken in between is not missed.
            inbound.stall();
            let consumed = inbound.consumed();
            let (slab, now) = (&mut self.slab, core.now.millis);
            core.stalled.retain(|key| {
                let Some(conn) = slab.get_mut(key.slot()).filter(|conn| conn.key == *key) else {
                    return false;
                };
                let is_ready = conn.last_event <= consumed || !conn.is_open();
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

    fn write(&mut self) {
        let Self { slab, core, .. } = self;
        let mut dirty = std::mem::take(&mut core.dirty);
        for slot in dirty.drain(..) {
            let Some(conn) = slab.get_mut(slot as usize) else { continue };
            core.flush(conn);
        }
        core.dirty = dirty;
        core.turn.clear();
    }

    fn note_longest(&mut self) {
        let core = &mut self.core;
        let (mut messages, mut bytes) = (0, 0);
        let slab = &mut self.slab;
        core.parked.retain(|key| {
            let conn = slab.get_mut(key.slot()).filter(|conn| conn.key == *key);
            let Some(backlog) = conn.and_then(|conn| conn.backlog.as_ref()) else { return false };
            messages = messages.max(backlog.len());
            bytes = bytes.max(backlog.bytes());
            true
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

impl Core {
    // ---- reading ----

    fn read<S: Socket>(&mut self, conn: &mut Connection<S>, buffer: &mut [u8]) {
        for _ in 0..READS {
            if conn.is_ended || conn.is_stalled || self.is_deciding(conn) {
                return;
            }
            match conn.socket.read(buffer) {
                Ok(0) => return self.read_end(conn),
                Ok(length) => {
                    count(&self.shared.metrics.bytes_received_total, length as u64);
                    self.received(conn, &mut buffer[..length]);
                    // A short read has emptied the socket; the next bytes, or the end, are told anew.
                    if length < buffer.len() && !conn.is_read_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.end(conn),
            }
        }
        self.again.push(conn.key);
    }

    /// The peer sends nothing more. What it is owed in answer still leaves.
    fn read_end<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let has_more_to_say = conn.backlog.is_some() || !conn.pending.is_none();
        match conn.phase {
            Phase::Closing(_) if has_more_to_say => self.stop_listening(conn, true),
            _ => self.end(conn),
        }
    }

    fn is_deciding<S>(&self, conn: &Connection<S>) -> bool {
        matches!(&conn.phase, Phase::Handshake(handshake) if handshake.upgrade.is_some())
    }

    fn received<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: &mut [u8]) {
        match &conn.phase {
            Phase::Handshake(_) => self.read_head(conn, bytes),
            Phase::Open => self.read_frames(conn, bytes),
            Phase::Closing(closing) if !closing.is_deaf => self.read_farewell(conn, bytes),
            Phase::Closing(_) => {}
        }
    }

    // ---- the handshake ----

    fn read_head<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: &[u8]) {
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        handshake.received.extend_from_slice(bytes);
        match handshake::read(&handshake.received, handshake.peer, &self.shared.config) {
            Head::Partial => {}
            Head::Answer(Answer::Refused(refusal)) => self.refuse(conn, refusal),
            Head::Answer(Answer::Health) => {
                let status = if self.shared.is_closing() { "503 Service Unavailable" } else { "200 OK" };
                let body = self.shared.health(self.now);
                self.answer(conn, handshake::response(status, "application/json", "", &body));
            }
            Head::Answer(Answer::Ready) => {
                let (status, body) = self.shared.readiness();
                self.answer(conn, handshake::response(status, "application/json", "", body));
            }
            Head::Upgrade(upgrade) => self.upgrade(conn, upgrade),
        }
    }

    fn upgrade<S: Socket>(&mut self, conn: &mut Connection<S>, upgrade: Box<Upgrade>) {
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        let config = &self.shared.config;
        if self.shared.is_closing() {
            return self.refuse(conn, Refusal::Closing);
        }
        if self.shared.is_full() {
            return self.refuse(conn, Refusal::Full);
        }
        match (&config.auth, std::mem::take(&mut handshake.decision)) {
            (_, Decision::Granted(identity)) => self.open(conn, &upgrade, identity),
            (_, Decision::Refused) => self.turn_away(conn, &upgrade, Code::AuthFailed),
            (Auth::Anonymous, Decision::Open) => {
                self.open(conn, &upgrade, Identity { user_id: None, claims: "{}".into() })
            }
            (Auth::Hook, Decision::Open) => {
                let request = upgrade.request.clone().unwrap_or_default();
                handshake.upgrade = Some(upgrade);
                self.reply(Reply::Authenticate { key: conn.key, request });
            }
            (Auth::Jwt(verifier), Decision::Open) => match &upgrade.token {
                None => self.turn_away(conn, &upgrade, Code::AuthRequired),
                Some(token) => match verifier.verify(token, self.now.unix_ms) {
                    Ok(identity) => self.open(conn, &upgrade, identity),
                    Err(_) => self.turn_away(conn, &upgrade, Code::AuthFailed),
                },
            },
        }
    }

    fn decided<S: Socket>(&mut self, conn: &mut Connection<S>, identity: Option<Identity>) {
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        let Some(upgrade) = handshake.upgrade.take() else { return };
        match identity {
            Some(identity) => self.open(conn, &upgrade, identity),
            None => self.turn_away(conn, &upgrade, Code::AuthFailed),
        }
    }

    /// Opens the connection: from here on the application knows of it.
    fn open<S: Socket>(&mut self, conn: &mut Connection<S>, upgrade: &Upgrade, identity: Identity) {
        let user = identity.user_id.map(Arc::<str>::from);
        let shared = Arc::clone(&self.shared);
        if !shared.take_place() {
            return self.refuse(conn, Refusal::Full);
        }
        if let Some(user) = &user {
            let member = Member { key: conn.key, fingerprint: upgrade.fingerprint };
            let limit = (shared.config.max_connections_per_user, shared.config.connection_limit_policy);
            let silent = |key: ConnectionKey| shared.desk(key).is_some_and(|desk| desk.seats.is_silent(key));
            match shared.users.join(user, member, limit, self.now.millis, silent) {
                Seat::Granted => {}
                Seat::Replacing(key) => shared.replace(key),
                Seat::Refused => {
                    shared.give_place_back();
                    return self.turn_away(conn, upgrade, Code::ConnectionLimit);
                }
            }
        }
        let Phase::Handshake(handshake) = std::mem::replace(&mut conn.phase, Phase::Open) else { return };
        self.unfinished -= 1;
        conn.high = shared.ids.high(self.now.unix_ms, self.random.u64(..), conn.key);
        let caller = Arc::new(Caller { user, address: upgrade.address });
        shared.desks[self.index].seats.open(conn.key, conn.high, Arc::clone(&caller));
        conn.caller = Some(caller);
        conn.last_seen = self.now.millis;
        count(&shared.metrics.connections_total, 1);
        self.greet(conn, upgrade);
        let (kind, event) = match conn.user() {
            Some(user) => {
                let user_id = serde_json::Value::from(&**user);
                (Kind::AuthConnect, format!(r#"{{"userId":{user_id},"claims":{}}}"#, identity.claims))
            }
            None => (Kind::Connect, upgrade.request.clone().unwrap_or_else(|| "{}".into())),
        };
        self.event(conn, kind, event.as_bytes());
        for topic in &upgrade.topics {
            self.subscribe(conn, topic);
        }
        self.schedule(conn);
        let mut early = handshake.received;
        early.drain(..upgrade.length);
        if !early.is_empty() {
            self.read_frames(conn, &mut early);
        }
    }

    /// Ends a WebSocket before it began: after the 101, because a browser sees nothing else (PROTOCOL §3).
    fn turn_away<S: Socket>(&mut self, conn: &mut Connection<S>, upgrade: &Upgrade, code: Code) {
        if matches!(code, Code::AuthRequired | Code::AuthFailed) {
            count(&self.shared.metrics.auth_failed_total, 1);
        }
        self.send_now(conn, Frame::ready(upgrade.response().into_bytes()));
        self.say_error(conn, code, "");
        let reason = code.as_str();
        self.close(conn, code.close_code().unwrap_or(close::POLICY), reason);
    }

    /// Answers with an HTTP refusal.
    fn refuse<S: Socket>(&mut self, conn: &mut Connection<S>, refusal: Refusal) {
        count(&self.shared.metrics.handshakes_refused_total, 1);
        self.answer(conn, refusal.response());
    }

    fn answer<S: Socket>(&mut self, conn: &mut Connection<S>, response: Vec<u8>) {
        self.send_now(conn, Frame::ready(response));
        self.begin_closing(conn, true);
    }

    // ---- closing ----

    /// Says Close and ends the connection once that has left and been answered.
    pub fn close<S: Socket>(&mut self, conn: &mut Connection<S>, code: u16, reason: &str) {
        if matches!(conn.phase, Phase::Closing(_)) {
            return;
        }
        self.depart(conn, code, reason);
        if let Some(backlog) = &mut conn.backlog {
            backlog.abandon();
        }
        self.send_control(conn, Frame::ready(encode_close(code, reason)));
        self.begin_closing(conn, false);
    }

    fn begin_closing<S: Socket>(&mut self, conn: &mut Connection<S>, is_deaf: bool) {
        if matches!(conn.phase, Phase::Handshake(_)) {
            self.unfinished -= 1;
        }
        let deadline = self.now.millis + LINGER_MS;
        conn.phase = Phase::Closing(Closing { deadline, is_answered: false, is_deaf, is_shut: false });
        conn.is_stalled = false;
        self.schedule(conn);
        self.again.push(conn.key);
    }

    /// The peer has said Close, or broken the protocol so that nothing more can be read.
    pub fn stop_listening<S: Socket>(&mut self, conn: &mut Connection<S>, is_answered: bool) {
        if let Phase::Closing(closing) = &mut conn.phase {
            closing.is_deaf = true;
            closing.is_answered |= is_answered;
        }
        self.touch(conn);
    }

    /// The application's part of the end: once for each connection that was open.
    fn depart<S>(&mut self, conn: &mut Connection<S>, code: u16, reason: &str) {
        if !conn.is_open() {
            return;
        }
        self.leave_topics(conn);
        if let Some(user) = conn.user() {
            self.shared.users.leave(user, conn.key);
        }
        self.shared.desks[self.index].seats.leave(conn.key);
        self.shared.give_place_back();
        count(&self.shared.metrics.disconnections_total, 1);
        self.event(conn, Kind::Disconnect, format!("{code} {reason}").as_bytes());
        conn.phase =
            Phase::Closing(Closing { deadline: 0, is_answered: false, is_deaf: true, is_shut: false });
    }

    /// Drops the connection at the end of the turn.
    pub fn end<S>(&mut self, conn: &mut Connection<S>) {
        if !std::mem::replace(&mut conn.is_ended, true) {
            self.ended.push(conn.key.slot() as u32);
        }
    }

    fn fail<S: Socket>(&mut self, key: ConnectionKey, slab: &mut Slab<Connection<S>>) {
        count(&self.shared.metrics.panics_total, 1);
        if let Some(conn) = slab.get_mut(key.slot()).filter(|conn| conn.key == key) {
            self.close(conn, close::FAULT, "a fault of the server");
            self.stop_listening(conn, false);
        }
    }

    // ---- time ----

    fn schedule<S>(&mut self, conn: &mut Connection<S>) {
        let config = &self.shared.config;
        let at = match &conn.phase {
            Phase::Handshake(_) if config.handshake_timeout_ms == 0 => return,
            Phase::Handshake(handshake) => handshake.began + config.handshake_timeout_ms,
            Phase::Closing(closing) => closing.deadline,
            Phase::Open => {
                let beat = match config.heartbeat.due(conn.last_seen, conn.last_ping, self.now.millis) {
                    Due::At(at) => Some(at),
                    Due::Ping | Due::Close => Some(self.now.millis),
                    Due::Never => None,
                };
                let full_since = conn.backlog.as_ref().and_then(|backlog| backlog.full_since());
                let slow_timeout = config.outbound.slow_timeout_ms;
                let slow = full_since.filter(|_| slow_timeout != 0).map(|since| since + slow_timeout);
                match beat.into_iter().chain(slow).min() {
                    Some(at) => at,
                    None => return,
                }
            }
        };
        if conn.page == 0 || Calendar::page(at) < conn.page {
            conn.page = self.calendar.note(conn.key.slot(), at);
        }
    }

    fn due<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let now = self.now.millis;
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        match &conn.phase {
            Phase::Handshake(handshake) if now >= handshake.began + config.handshake_timeout_ms => {
                count(&shared.metrics.handshakes_dropped_total, 1);
                return if handshake.upgrade.is_some() {
                    self.decided(conn, None)
                } else {
                    self.refuse(conn, Refusal::Timeout)
                };
            }
            Phase::Handshake(_) => {}
            Phase::Closing(closing) => {
                if now >= closing.deadline {
                    return self.end(conn);
                }
            }
            Phase::Open => {
                let full_since = conn.backlog.as_ref().and_then(|backlog| backlog.full_since());
                let slow_timeout = config.outbound.slow_timeout_ms;
                if slow_timeout != 0 && full_since.is_some_and(|since| now >= since + slow_timeout) {
                    count(&shared.metrics.slow_closed_total, 1);
                    return self.close(conn, close::SLOW, "too slow: the outbound queue stayed full");
                }
                if conn.is_stalled {
                    // It is we who do not listen.
                    conn.last_seen = now;
                }
                match config.heartbeat.due(conn.last_seen, conn.last_ping, now) {
                    Due::Close => {
                        count(&shared.metrics.idle_closed_total, 1);
                        return self.close(conn, close::IDLE, "nothing was heard for too long");
                    }
                    Due::Ping => {
                        conn.last_ping = now;
                        conn.is_silent = true;
                        shared.desks[self.index].seats.set_silent(conn.key, true);
                        self.ping(conn);
                    }
                    Due::At(_) | Due::Never => {}
                }
            }
        }
        self.schedule(conn);
    }

    // ---- writing ----

    /// Queues a message of this turn for a connection, behind what waits.
    pub fn queue<S>(&mut self, conn: &mut Connection<S>, number: u32) {
        let Some(backlog) = &mut conn.backlog else {
            if conn.pending.is_none() {
                self.dirty.push(conn.key.slot() as u32);
            }
            return self.turn.queue(&mut conn.pending, number);
        };
        let (frame, topic) = self.turn.frame(number);
        let was_full = backlog.full_since().is_some();
        if backlog.push(frame, topic, &self.shared.config.outbound, self.now.millis) {
            return;
        }
        count(&self.shared.metrics.outbound_refused_total, 1);
        if !was_full {
            self.shared.desks[self.index].seats.set_full(conn.key, true);
            self.schedule(conn);
        }
    }

    /// Queues one frame for one connection.
    pub fn send_now<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        let number = self.turn.add(frame, None);
        self.queue(conn, number);
    }

    /// Queues a control frame, before whatever waits.
    pub fn send_control<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        if !conn.push_control(&frame) {
            self.send_now(conn, frame);
        }
    }

    /// Makes sure that the connection is looked at when the turn ends.
    fn touch<S>(&mut self, conn: &Connection<S>) {
        if conn.pending.is_none() {
            self.dirty.push(conn.key.slot() as u32);
        }
    }

    fn flush<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let pending = std::mem::replace(&mut conn.pending, Pending::NONE);
        if !pending.is_none() && !conn.is_ended {
            let (bytes, frames) = self.turn.bytes(pending);
            let written = write_all(&mut conn.socket, bytes);
            let length = bytes.len();
            match written {
                Err(_) => self.end(conn),
                Ok(written) => {
                    let metrics = &self.shared.metrics;
                    count(&metrics.bytes_sent_total, written as u64);
                    if written == length {
                        count(&metrics.messages_sent_total, frames);
                    } else {
                        self.park(conn, pending, written);
                    }
                }
            }
        }
        self.finish(conn);
    }

    /// What the kernel refused becomes the connection's backlog.
    fn park<S>(&mut self, conn: &mut Connection<S>, pending: Pending, mut written: usize) {
        let mut left = self.turn.chain(pending).peekable();
        let mut sent = 0;
        while let Some(frame) = left.next_if(|frame| frame.bytes().len() <= written) {
            written -= frame.bytes().len();
            sent += 1;
        }
        count(&self.shared.metrics.messages_sent_total, sent);
        if !matches!(conn.phase, Phase::Closing(_)) {
            self.parked.push(conn.key);
        }
        conn.backlog_mut().resume(left, written);
    }

    fn drain_backlog<S: Socket>(&mut self, conn: &mut Connection<S>, joined: &mut Vec<u8>) {
        let shared = Arc::clone(&self.shared);
        let limits = &shared.config.outbound;
        let Some(backlog) = &mut conn.backlog else { return };
        let was_full = backlog.full_since().is_some();
        loop {
            let next = backlog.next(joined, BACKLOG_WRITE);
            if next.is_empty() {
                break;
            }
            let asked = next.len();
            let Ok(taken) = write_all(&mut conn.socket, next) else { return self.end(conn) };
            count(&shared.metrics.bytes_sent_total, taken as u64);
            count(&shared.metrics.messages_sent_total, backlog.advance(taken, limits));
            if taken < asked {
                break;
            }
        }
        if was_full && backlog.full_since().is_none() {
            shared.desks[self.index].seats.set_full(conn.key, false);
        }
        let news = backlog.take_missed();
        if backlog.is_empty() {
            conn.backlog = None;
        }
        for missed in news {
            self.tell_gap(conn, &missed);
        }
        self.finish(conn);
    }

    /// Takes the last step of a connection that says goodbye, when its last byte has left.
    fn finish<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let Phase::Closing(closing) = &mut conn.phase else { return };
        if conn.backlog.is_some() || !conn.pending.is_none() {
            return;
        }
        if closing.is_deaf
            && !std::mem::replace(&mut closing.is_shut, true)
            && conn.socket.shutdown().is_err()
        {
            return self.end(conn);
        }
        if closing.is_answered {
            self.end(conn);
        }
    }

    // ---- the application ----

    /// Leaves a reply for the host.
    pub fn reply(&mut self, reply: Reply) {
        self.shared.reply(reply);
        self.has_replies = true;
    }

    /// Hands an event to the application, or counts it when it may not wait.
    pub fn event<S>(&mut self, conn: &mut Connection<S>, kind: Kind, payload: &[u8]) {
        let shared = &self.shared;
        let inbound = &shared.desks[self.index].inbound;
        if kind.is_lifecycle() {
            if !shared.reserve_lifecycle() {
                return count(&shared.metrics.inbound_dropped_total, 1);
            }
            conn.last_event = self.arrivals.push(inbound, kind, (conn.key, conn.high), payload);
            return;
        }
        if conn.last_event <= inbound.consumed() {
            conn.waiting = 0;
        }
        let is_over = conn.waiting >= self.share;
        if is_over && !shared.has_consumer() {
            return count(&shared.metrics.inbound_dropped_total, 1);
        }
        conn.waiting += payload.len() + size_of::<crate::inbound::Entry>();
        conn.last_event = self.arrivals.push(inbound, kind, (conn.key, conn.high), payload);
        if is_over && !std::mem::replace(&mut conn.is_stalled, true) {
            self.stalled.push(conn.key);
            inbound.stall();
        }
    }

    // ---- topics ----

    /// Makes the connection hold an announced topic; `false`: it may hold no more, or is gone.
    fn hold<S>(&mut self, conn: &mut Connection<S>, topic: &Arc<Topic>) -> bool {
        if conn.topics.iter().any(|held| Arc::ptr_eq(held, topic)) {
            self.shared.topics.release(topic, self.index);
            return true;
        }
        if conn.topics.len() >= crate::topics::MAX_SUBSCRIPTIONS {
            self.shared.topics.release(topic, self.index);
            return false;
        }
        self.shared.topics.hold(topic, self.index, conn.key.slot());
        if conn.topics.capacity() == 0 {
            conn.topics.reserve_exact(1);
        }
        conn.topics.push(Arc::clone(topic));
        true
    }

    /// Subscribes a connection by its own wish; `false`: refused.
    pub fn subscribe<S>(&mut self, conn: &mut Connection<S>, name: &str) -> bool {
        let shared = Arc::clone(&self.shared);
        if wse_protocol::topic::validate(name).is_err()
            || !shared.config.topics.client_may(conn.user().map(|user| &**user), name)
        {
            return false;
        }
        let topic = shared.topics.want(name, self.index);
        self.hold(conn, &topic)
    }

    /// Ends a subscription; `false`: it was not held.
    pub fn unsubscribe<S>(&mut self, conn: &mut Connection<S>, name: &str) -> bool {
        let Some(index) = conn.topics.iter().position(|topic| topic.name() == name) else { return false };
        let topic = conn.topics.swap_remove(index);
        self.shared.topics.leave(&topic, self.index, conn.key.slot());
        true
    }

    fn leave_topics<S>(&mut self, conn: &mut Connection<S>) {
        for topic in std::mem::take(&mut conn.topics) {
            self.shared.topics.leave(&topic, self.index, conn.key.slot());
        }
    }

    /// The time stamp of this turn.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp(self.now.unix_ms)
    }
}

/// Writes until everything is gone or the kernel refuses; how much went.
fn write_all<S: Socket>(socket: &mut S, bytes: &[u8]) -> std::io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// A control frame with a payload.
pub fn control(opcode: OpCode, payload: &[u8]) -> Frame {
    Frame::ready(wse_protocol::frame::encode(opcode, payload))
}
