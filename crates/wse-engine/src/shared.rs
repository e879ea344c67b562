//! What the shards of an engine share: settings, registries, mailboxes. Locks are held briefly; which is taken
//! under which is in docs/architecture.md.

mod desk;

use crate::budget::{Budget, Charge};
use crate::command::Command;
use crate::config::Config;
use crate::door::Door;
use crate::drain::Pace;
use crate::handled::Handled;
use crate::host::{Host, Reply};
use crate::id::{ConnectionKey, IdKey};
use crate::log::{Event, Line, Log, Subject};
use crate::logs::Logs;
use crate::metrics::{Metrics, count};
use crate::presence::PresenceTotals;
use crate::pressure::Pressure;
use crate::shard::Now;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex};
use crate::tls::Certificate;
use crate::topics::Topics;
use crate::users::Users;
pub use desk::{Desk, Longest, Mailbox};
use std::sync::Arc;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};
use wse_protocol::codes::{Code, close};
use wse_protocol::rules::Rules;
use wse_protocol::sign::SignError;

/// Everything that shards share.
pub struct Shared {
    /// Settings.
    pub config: Config,
    /// Bytes of all queues.
    pub budget: Arc<Budget>,
    /// Counters.
    pub metrics: Metrics,
    /// Who waits for room.
    pub pressure: Arc<Pressure>,
    /// Who may have which topic; each shard has its own copy, which changes with its commands.
    rules: Mutex<Arc<Rules>>,
    /// Who wants which topic.
    pub topics: Topics,
    /// How many are present.
    pub presence: PresenceTotals,
    /// Who has which connections.
    pub users: Users,
    /// What the application answers itself.
    pub handled: Handled,
    /// Names of connections.
    pub ids: IdKey,
    /// The shards: those with a thread, and last the one that the host drives.
    pub desks: Vec<Desk>,
    /// The certificate of the own port.
    pub certificate: Certificate,
    host: Box<dyn Host>,
    is_host_waiting: AtomicBool,
    is_host_called: AtomicBool,
    replies: Mutex<Vec<Reply>>,
    is_key_wanted: AtomicBool,
    /// Looks for newer keys that the host was asked for.
    looks: AtomicU32,
    unsigned: Mutex<Option<SignError>>,
    log: Option<Box<Log>>,
    has_consumer: AtomicBool,
    is_draining: AtomicBool,
    is_closing: AtomicBool,
    door: Option<Door>,
    /// Lifecycle events that wait for the application, and those of the ends that are still to come.
    pub lifecycle_waiting: AtomicU64,
}

/// Slots beyond the open connections: handshakes, and connections that are closing.
const SPARE_SLOTS: usize = 1_024;
/// Connections of a shard when their number is unlimited.
const MOST_SLOTS: usize = 1 << 20;

impl Shared {
    /// The shared part of an engine.
    pub fn new(config: Config, host: Box<dyn Host>, ids: IdKey) -> Self {
        let slots = match (config.max_connections, config.max_handshakes) {
            (0, _) | (_, 0) => MOST_SLOTS,
            (connections, handshakes) => (connections + handshakes + SPARE_SLOTS).min(MOST_SLOTS),
        };
        let budget = Budget::new(config.memory_budget_bytes);
        let logs = config.recovery.clone().map(|limits| Logs::new(limits, ids.first_epoch(), &budget));
        let pressure = Arc::new(Pressure::new(config.shards + 1, &config.outbound));
        Self {
            budget,
            metrics: Metrics::default(),
            rules: Mutex::new(Arc::new(config.topics.clone())),
            topics: Topics::new(config.shards + 1, logs, Arc::clone(&config.policies), Arc::clone(&pressure)),
            pressure,
            presence: PresenceTotals::default(),
            users: Users::default(),
            handled: Handled::default(),
            ids,
            desks: (0..=config.shards).map(|_| Desk::new(slots)).collect(),
            certificate: Certificate::default(),
            door: config.admission.map(Door::new),
            log: config.log.map(|least| Box::new(Log::new(least))),
            config,
            host,
            is_host_waiting: AtomicBool::new(false),
            is_host_called: AtomicBool::new(false),
            replies: Mutex::default(),
            is_key_wanted: AtomicBool::new(false),
            looks: AtomicU32::new(0),
            unsigned: Mutex::default(),
            has_consumer: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            lifecycle_waiting: AtomicU64::new(0),
        }
    }

    /// The rules that are in force for what is asked from now on.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.lock())
    }

    /// Replaces the rules: behind what was published before, and before what is published from now on. Connections lose
    /// what they may not have any more.
    pub fn set_rules(&self, rules: Rules) {
        let rules = Arc::new(rules);
        *self.rules.lock() = Arc::clone(&rules);
        for desk in self.manned_desks() {
            desk.mailbox.push(Command::Rules(Arc::clone(&rules)));
            desk.mailbox.wake();
        }
    }

    /// Events have been handed over: wakes the host if it waits for them.
    pub fn wake_for_events(&self) {
        if self.is_host_waiting.swap(false, SeqCst) {
            self.host.wake();
        }
    }

    /// The host found no events and wants to be woken for the next ones; `true`: some wait already, and nobody will wake
    /// it for them.
    pub fn wait_for_events(&self) -> bool {
        self.is_host_waiting.store(true, SeqCst);
        // Looked for after the announcement: what comes behind this wakes.
        self.inbound_depth() > 0
    }

    /// Events that wait for the application.
    pub fn inbound_depth(&self) -> u64 {
        self.desks.iter().map(|desk| desk.inbound.depth()).sum()
    }

    /// Wakes the host for the turn of a shard that it drives.
    pub fn wake_host(&self) {
        self.host.wake();
    }

    /// Leaves a reply; [`Shared::wake_for_replies`] follows at the end of the turn.
    pub fn reply(&self, reply: Reply) {
        self.replies.lock().push(reply);
    }

    /// Replies have been left: wakes the host, unless it has been woken and has not taken them.
    pub fn wake_for_replies(&self) {
        if !self.is_host_called.swap(true, SeqCst) {
            self.host.wake();
        }
    }

    /// Most connections of a shard have left, see [`Host::trim_memory`].
    pub fn trim_memory(&self) {
        self.host.trim_memory();
    }

    /// Takes all replies.
    pub fn take_replies(&self) -> Vec<Reply> {
        self.is_host_called.store(false, SeqCst);
        let mut replies = std::mem::take(&mut *self.replies.lock());
        if self.is_key_wanted.swap(false, SeqCst) {
            let look = self.looks.fetch_add(1, SeqCst).wrapping_add(1);
            replies.push(Reply::UnknownKey { look });
        }
        replies.extend(self.unsigned.lock().take().map(Reply::Unsigned));
        replies
    }

    /// Tells the host of a token that asks for an unknown key. Returns the number of a look for newer keys that
    /// begins after this call.
    pub fn want_key(&self) -> u32 {
        // Read before it is asked for, so that a look with this number is sure to come.
        let look = self.looks.load(SeqCst).wrapping_add(1);
        self.is_key_wanted.store(true, SeqCst);
        self.wake_for_replies();
        look
    }

    /// Tells the host of a publication that cannot be signed.
    pub fn note_unsigned(&self, error: SignError) {
        count(&self.metrics.unsigned_total, 1);
        *self.unsigned.lock() = Some(error);
        self.wake_for_replies();
    }

    /// Tells the log, if there is one that wants `event`, and wakes the host for it.
    pub fn note(&self, event: Event, subject: impl FnOnce() -> Subject) {
        if let Some(log) = self.log.as_ref().filter(|log| log.wants(&event)) {
            log.note(event, subject());
            self.wake_for_replies();
        }
    }

    /// Takes the lines for the host's logger.
    pub fn take_lines(&self) -> Vec<Line> {
        self.log.as_ref().map(|log| log.take()).unwrap_or_default()
    }

    /// Whether somebody takes inbound events.
    pub fn has_consumer(&self) -> bool {
        self.has_consumer.load(Relaxed)
    }

    /// Somebody takes inbound events from now on, or nobody does.
    pub fn set_consumer(&self, present: bool) {
        self.has_consumer.store(present, Relaxed);
        // Connections that wait for the application to catch up wait no longer.
        self.desks.iter().filter(|_| !present).for_each(|desk| desk.mailbox.wake());
    }

    /// Whether the engine is closing, or closed.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Relaxed)
    }

    /// Whether nobody is let in any more: the engine sends everyone away, or is closing.
    pub fn is_ending(&self) -> bool {
        self.is_draining.load(Relaxed) || self.is_closing()
    }

    /// Lets a newcomer in at `unix_ms`, or says after how many seconds it may come back.
    pub fn admit(&self, unix_ms: u64) -> Result<(), u32> {
        let admitted = self.door.as_ref().map_or(Ok(()), |door| door.admit(unix_ms));
        count(&self.metrics.admission_refused_total, u64::from(admitted.is_err()));
        admitted
    }

    /// Gives the place of a newcomer back that had no login: it is another one's.
    pub fn give_admission_back(&self) {
        self.door.iter().for_each(Door::give_back);
    }

    /// Tells every shard to send its connections away; how many shards there are, zero when that had happened before.
    pub fn drain(&self, pace: Pace) -> usize {
        if self.is_closing() || self.is_draining.swap(true, SeqCst) {
            return 0;
        }
        self.manned_desks()
            .map(|desk| {
                desk.mailbox.push(Command::Drain(pace));
                desk.mailbox.wake();
            })
            .count()
    }

    /// Tells every shard to close; `false` when that had happened before.
    pub fn close(&self) -> bool {
        let is_first = !self.is_closing.swap(true, SeqCst);
        for desk in self.manned_desks().filter(|_| is_first) {
            desk.mailbox.push(Command::Close);
            desk.mailbox.wake();
        }
        is_first
    }

    /// Bytes that one connection may have waiting for the application.
    ///
    /// Shrinks with the room that is left for all, so that those that have most stop first.
    pub fn inbound_share(&self) -> usize {
        let limits = &self.config.inbound;
        let waiting = || self.desks.iter().map(|desk| desk.inbound.bytes()).sum::<usize>();
        let left =
            if limits.max_bytes == 0 { usize::MAX } else { limits.max_bytes.saturating_sub(waiting()) };
        if limits.max_bytes_per_connection == 0 { left } else { left.min(limits.max_bytes_per_connection) }
    }

    /// Holds `bytes` of the memory budget; `None`: there is no room. Logs give way first.
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        loop {
            let charge = self.budget.charge(bytes);
            let Some(logs) = self.topics.logs().filter(|_| charge.is_none()) else { return charge };
            // Logs are not lost for what has no room without them either.
            let others = self.budget.used().saturating_sub(logs.bytes());
            if others.saturating_add(bytes) > self.budget.limit() || !logs.lose_oldest(&self.topics) {
                return None;
            }
        }
    }

    /// Bytes of messages whose end has not come.
    pub fn partial_bytes(&self) -> usize {
        self.desks.iter().map(|desk| desk.partial.load(Relaxed)).sum()
    }

    /// Lifecycle events for which there is reserved room: each connection's beginning and end.
    fn lifecycle_room(&self) -> u64 {
        let connections =
            if self.config.max_connections == 0 { MOST_SLOTS } else { self.config.max_connections };
        2 * (connections + SPARE_SLOTS) as u64
    }

    /// Makes room for a connection's beginning and its end. `false`: nobody drains, and the room is used up.
    pub fn reserve_lifecycle(&self) -> bool {
        let waiting = self.lifecycle_waiting.fetch_add(2, Relaxed);
        let is_lost = waiting >= self.lifecycle_room() && !self.has_consumer();
        if is_lost {
            self.lifecycle_waiting.fetch_sub(2, Relaxed);
        }
        !is_lost
    }

    /// Whether no connection may be added: every place is taken, or the application has not heard of so many
    /// connections that came and went that it must catch up first.
    pub fn is_full(&self) -> bool {
        let most = self.config.max_connections;
        let is_behind = self.has_consumer() && self.lifecycle_waiting.load(Relaxed) >= self.lifecycle_room();
        is_behind || most != 0 && self.metrics.connections.load(Relaxed) >= most
    }

    /// Whether there is no room for another connection, or for another message of the largest size.
    pub fn is_overloaded(&self) -> bool {
        let (used, limit) = (self.budget.used(), self.budget.limit());
        self.is_full() || limit != 0 && used + self.config.frame.max_message_bytes > limit
    }

    /// Takes a place among the open connections; `false`: there is none.
    pub fn take_place(&self) -> bool {
        let most = self.config.max_connections;
        let is_in = self.metrics.connections.fetch_add(1, Relaxed) < most || most == 0;
        if !is_in {
            self.give_place_back();
        }
        is_in
    }

    /// Gives a place among the open connections back.
    pub fn give_place_back(&self) {
        self.metrics.connections.fetch_sub(1, Relaxed);
    }

    /// Tells a connection that a newer one of its user took its place.
    pub fn replace(&self, key: ConnectionKey) {
        let error = Some(Code::ConnectionReplaced);
        let reason = "a newer connection of the same user took its place".into();
        if let Some(desk) = self.desk(key) {
            desk.mailbox.push(Command::Disconnect { key, code: close::NOT_ALLOWED, reason, error });
            desk.mailbox.wake();
        }
    }

    /// Answers `GET {path}/ready`: the status, and a body.
    pub fn readiness(&self) -> (&'static str, &'static str) {
        if self.is_ending() || !self.config.auth.is_ready() {
            ("503 Service Unavailable", r#"{"ready":false}"#)
        } else {
            ("200 OK", r#"{"ready":true}"#)
        }
    }

    /// The health snapshot as JSON, in the spelling of the reference: twenty fields, those of parts that are
    /// not there are zero or false.
    pub fn health(&self, now: Now) -> String {
        serde_json::json!({
            "connections": self.metrics.connections.load(Relaxed),
            "inbound_queue_depth": self.inbound_depth(),
            "inbound_dropped": self.metrics.inbound_dropped_total.load(Relaxed),
            "uptime_secs": now.millis as f64 / 1_000.0,
            "recovery_enabled": self.topics.logs().is_some(),
            "recovery_topic_count": self.topics.logs().map_or(0, |logs| logs.len()),
            "recovery_total_bytes": self.topics.logs().map_or(0, |logs| logs.bytes()),
            "cluster_connected": false,
            "cluster_peer_count": 0,
            "cluster_messages_sent": 0,
            "cluster_messages_delivered": 0,
            "cluster_messages_dropped": 0,
            "cluster_bytes_sent": 0,
            "cluster_bytes_received": 0,
            "cluster_reconnect_count": 0,
            "cluster_unknown_message_types": 0,
            "cluster_dlq_size": 0,
            "presence_enabled": self.config.presence.is_some(),
            "presence_topics": self.presence.topics.load(Relaxed),
            "presence_total_users": self.presence.users.load(Relaxed),
        })
        .to_string()
    }

    /// The desks that have a shard: the last one has none until the host carries streams.
    pub fn manned_desks(&self) -> impl Iterator<Item = &Desk> {
        self.desks.iter().filter(|desk| desk.mailbox.has_reader())
    }

    /// The desk of the shard that owns `key`.
    pub fn desk(&self, key: ConnectionKey) -> Option<&Desk> {
        self.desks.get(key.shard())
    }
}
