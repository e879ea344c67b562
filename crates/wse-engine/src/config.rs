//! The settings of an engine, validated once by whoever fills them in; inside, a value is always good.

use crate::auth::Auth;
use crate::expiry::TokenExpiry;
use crate::heartbeat::Heartbeat;
use crate::log::Level;
use crate::policy::Policies;
use crate::presence::PresenceLimits;
use crate::rate_limit::Rate;
use crate::signing::Signing;
use crate::tickets::Tickets;
use std::sync::Arc;
use wse_protocol::compress::Terms;
use wse_protocol::frame::FrameLimits;
use wse_protocol::rules::Rules;

/// What happens when a user has too many connections (PROTOCOL §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionLimitPolicy {
    /// One of the user's connections makes room: one that did not answer its last heartbeat, else the oldest.
    #[default]
    Replace,
    /// The new one is refused with 4429.
    Refuse,
}

/// What becomes of the messages of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They are the application's.
    #[default]
    App,
    /// Each one is sent back, and the application hears of nothing (PROTOCOL §17).
    Echo,
}

/// Bounds of one connection's outbound queue: what the kernel has refused. Zero: no bound.
#[derive(Debug, Clone, Copy)]
pub struct OutboundLimits {
    /// Messages that may wait. Default: 1 000.
    pub max_messages: usize,
    /// Bytes that may wait. Default: 16 MiB.
    pub max_bytes: usize,
    /// How long the queue may refuse newcomers before the connection is closed with 4503. Default: 10 000.
    pub slow_timeout_ms: u64,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        Self { max_messages: 1_000, max_bytes: 16 << 20, slow_timeout_ms: 10_000 }
    }
}

/// Bounds of what clients have sent and the application has not got. Zero: no bound.
#[derive(Debug, Clone, Copy)]
pub struct InboundLimits {
    /// Bytes of all connections that wait for the application. Messages whose end has not come may take as much again:
    /// beyond, a shard that has more than its part closes the connection that has most. Default: 64 MiB.
    pub max_bytes: usize,
    /// Bytes of one connection that wait for the application. Default: 256 KiB.
    pub max_bytes_per_connection: usize,
}

impl Default for InboundLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_bytes_per_connection: 256 << 10 }
    }
}

/// How much is kept of what is published, for clients that were away (PROTOCOL §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Publications of one topic, a power of two; the last one is always kept. Default: 256.
    pub slots: usize,
    /// How long one is kept, in milliseconds; zero: for any time. Default: 300 000.
    pub ttl_ms: u64,
    /// Publications of one replay, or `slots` when those are more. Default: 500.
    pub max_messages: usize,
    /// Bytes of all logs; zero: any number. Default: 256 MiB.
    pub budget_bytes: usize,
    /// The topics that have a log, as globs. Default: all.
    pub topics: Vec<String>,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            slots: 256,
            ttl_ms: 300_000,
            max_messages: 500,
            budget_bytes: 256 << 20,
            topics: vec!["*".into()],
        }
    }
}

/// How publications are compressed for connections that ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Messages up to this length leave as they are. Default: 1 024.
    pub threshold_bytes: usize,
    /// From 0 (stored) to 9 (smallest). Default: 6.
    pub level: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self { threshold_bytes: 1_024, level: 6 }
    }
}

/// How the connections of clients that offer permessage-deflate have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deflate {
    /// Windows, and who keeps them.
    pub terms: Terms,
    /// Which messages are compressed, and how much.
    pub compression: Compression,
}

/// Everything that an engine is told when it starts. The field's units are in its name; zero means off.
#[derive(Debug)]
pub struct Config {
    /// The path of the upgrade. Default: `/wse`.
    pub path: String,
    /// Who may connect.
    pub auth: Auth,
    /// Which connections end with their token. Default: those of the native dialect.
    pub token_expiry: TokenExpiry,
    /// Origins that may connect; empty: the rule of PROTOCOL §2 (same host where a cookie is sent).
    pub allowed_origins: Vec<String>,
    /// How many proxies before the server are trusted to append to `X-Forwarded-For`. Default: none.
    pub trusted_proxies: usize,
    /// Open connections in all. Default: 10 000.
    pub max_connections: usize,
    /// Open connections of one user. Default: 5.
    pub max_connections_per_user: usize,
    /// What gives way at that limit.
    pub connection_limit_policy: ConnectionLimitPolicy,
    /// How long a connection is open, in milliseconds, a tenth more or less; zero: as long as it likes. Default: 0.
    pub max_connection_age_ms: u64,
    /// Time for a handshake. Default: 10 000.
    pub handshake_timeout_ms: u64,
    /// Unfinished handshakes in all; over it the oldest is dropped. Default: 4 096.
    pub max_handshakes: usize,
    /// Unfinished handshakes of one address; over it the oldest of that address is dropped. Default: off.
    pub max_handshakes_per_address: usize,
    /// How many newcomers are let in; both numbers are above zero. `None`: all. Default: none.
    pub admission: Option<Rate>,
    /// Pings and idle closing.
    pub heartbeat: Heartbeat,
    /// Inbound rate of a connection; `None`: unlimited.
    pub rate: Option<Rate>,
    /// Largest frame and message, and most fragments of one.
    pub frame: FrameLimits,
    /// permessage-deflate for clients that offer it; `None`: for nobody.
    pub deflate: Option<Deflate>,
    /// Bounds of a connection's outbound queue.
    pub outbound: OutboundLimits,
    /// Bounds of what waits for the application.
    pub inbound: InboundLimits,
    /// Bytes of all queues together. Default: 512 MiB.
    pub memory_budget_bytes: usize,
    /// How publications are compressed; `None`: never.
    pub compression: Option<Compression>,
    /// Which messages are signed; `None`: none, and what clients sign is theirs.
    pub signing: Option<Signing>,
    /// The tokens that the server gives out.
    pub tickets: Tickets,
    /// What is kept of publications; `None`: nothing.
    pub recovery: Option<Recovery>,
    /// Whether clients get tickets to come back without a login. Default: yes.
    pub resume: bool,
    /// Which topics a client may subscribe to, until they are replaced.
    pub topics: Rules,
    /// What becomes of the publications of topics where a reader does not keep up. Default: the same for all.
    pub policies: Arc<Policies>,
    /// Who is in a topic (PROTOCOL §10); `None`: nobody is tracked.
    pub presence: Option<PresenceLimits>,
    /// Whether the application is asked about topics that the rules neither grant nor deny.
    pub authorize: bool,
    /// What every connection holds from the start; `{id}` stands for its user. Default: nothing.
    pub subscribe_on_connect: Vec<String>,
    /// Topics that one connection may hold, globs among them. Default: 1 024.
    pub max_subscriptions: usize,
    /// Globs that one connection may hold. Default: 32.
    pub max_globs: usize,
    /// Whether messages are envelopes (PROTOCOL §6); `false`: plain WebSocket.
    pub envelope: bool,
    /// What becomes of the messages of clients. [`Mode::Echo`] goes with `envelope: false` and [`Auth::Anonymous`].
    pub mode: Mode,
    /// Threads that own connections.
    pub shards: usize,
    /// The least urgent lines that the host's logger wants; `None`: it has none.
    pub log: Option<Level>,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            path: "/wse".into(),
            auth: Auth::Anonymous,
            token_expiry: TokenExpiry::default(),
            allowed_origins: Vec::new(),
            trusted_proxies: 0,
            max_connections: 10_000,
            max_connections_per_user: 5,
            connection_limit_policy: ConnectionLimitPolicy::default(),
            max_connection_age_ms: 0,
            handshake_timeout_ms: 10_000,
            max_handshakes: 4_096,
            max_handshakes_per_address: 0,
            admission: None,
            heartbeat: Heartbeat::default(),
            rate: Some(Rate::default()),
            frame: FrameLimits { max_message_bytes: 1 << 20, max_fragments: 65_537 },
            deflate: None,
            outbound: OutboundLimits::default(),
            inbound: InboundLimits::default(),
            memory_budget_bytes: 512 << 20,
            compression: Some(Compression::default()),
            signing: None,
            tickets: Tickets::new(None),
            recovery: None,
            resume: true,
            topics: Rules::default(),
            policies: Arc::default(),
            presence: None,
            authorize: false,
            subscribe_on_connect: Vec::new(),
            max_subscriptions: 1_024,
            max_globs: 32,
            envelope: true,
            mode: Mode::default(),
            shards: cores.saturating_sub(1).clamp(1, 255),
            log: None,
        }
    }
}
