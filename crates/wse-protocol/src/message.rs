//! What the server itself says to a client.
//!
//! One struct for each message, its fields those of the payload. Never decides when one is sent.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::codes::Code;
use crate::envelope::{Category, Dialect, Timestamp};
use crate::scan;

/// A message of the server's own.
pub trait ServerMessage: Serialize {
    /// The type in the envelope.
    const TYPE: &'static str;
}

/// Appends the envelope of `message` to `out`.
///
/// It begins with the type, in v1 with the category before it: existing clients look for `ping` and `PONG` in
/// the first 25 characters (PROTOCOL §6).
pub fn write<M: ServerMessage>(message: &M, dialect: Dialect, id: &Uuid, at: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(match dialect {
        Dialect::V2 => b"{\"t\":\"",
        Dialect::V1 => b"{\"c\":\"WSE\",\"t\":\"",
    });
    write_members(M::TYPE, message, id, at, out);
    out.extend_from_slice(match dialect {
        Dialect::V2 => b",\"v\":2,\"_msg_cat\":\"WSE\"}",
        Dialect::V1 => b",\"v\":1}",
    });
}

/// Appends an envelope of the server's own that leaves like a publication: it begins with [`Dialect::members`] of
/// [`Dialect::V2`], directly behind its brace, so that it can be encoded for whoever gets it.
pub fn write_publication(kind: &str, payload: &impl Serialize, id: &Uuid, at: Timestamp, out: &mut Vec<u8>) {
    out.push(b'{');
    out.extend_from_slice(Dialect::V2.members(Category::Wse).as_bytes());
    out.extend_from_slice(b"\"t\":\"");
    write_members(kind, payload, id, at, out);
    out.push(b'}');
}

/// Appends the members of an envelope from behind the opening quote of its type.
fn write_members(kind: &str, payload: &impl Serialize, id: &Uuid, at: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"p\":");
    serde_json::to_writer(&mut *out, payload).expect("plain structs are written to memory without fail");
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    out.extend_from_slice(b"\",\"ts\":\"");
    out.extend_from_slice(&at.to_ascii());
    out.push(b'"');
}

/// Gives a written message the `cid` of the request that it answers, as JSON.
pub fn correlate(message: &mut Vec<u8>, cid: &str) {
    message.pop();
    message.extend_from_slice(b",\"cid\":");
    message.extend_from_slice(cid.as_bytes());
    message.push(b'}');
}

macro_rules! server_messages {
    ($($name:ident $(<$life:lifetime>)? = $type:literal,)*) => {
        $(impl $(<$life>)? ServerMessage for $name $(<$life>)? {
            const TYPE: &'static str = $type;
        })*
    };
}

mod answers;
mod presence;
mod subscription;

pub use answers::*;
pub use presence::*;
pub use subscription::*;

server_messages! {
    ServerReady<'a> = "server_ready",
    ServerHello<'a> = "server_hello",
    Ping = "ping",
    Pong<'a> = "PONG",
    Error<'a> = "error",
    RateLimitWarning = "rate_limit_warning",
    Gap<'a> = "gap",
    Hole<'a> = "gap",
    AuthExpiring = "auth_expiring",
    AuthRefreshed = "auth_refreshed",
    ServerDraining<'a> = "server_draining",
    EncryptionResponse<'a> = "encryption_response",
    KeyRotationResponse<'a> = "key_rotation_response",
}

/// The first message of every connection.
#[derive(Debug, Clone, Serialize)]
pub struct ServerReady<'a> {
    message: &'static str,
    details: ReadyDetails<'a>,
}

#[derive(Debug, Clone, Serialize)]
struct ReadyDetails<'a> {
    version: u32,
    features: ReadyFeatures,
    connection_id: Uuid,
    server_time: Timestamp,
    user_id: Option<&'a str>,
}

#[derive(Debug, Clone, Serialize)]
struct ReadyFeatures {
    compression: bool,
    encryption: bool,
    batching: bool,
    priority_queue: bool,
    circuit_breaker: bool,
    rust_transport: bool,
    rust_jwt: bool,
    recovery: bool,
}

/// What the server has for those who ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Available {
    /// Publications are compressed.
    pub compression: bool,
    /// Topics have logs.
    pub recovery: bool,
}

impl<'a> ServerReady<'a> {
    /// The greeting of a connection of `user_id` (`None`: anonymous). Its features are what the server has.
    pub const fn new(
        dialect: Dialect,
        available: Available,
        connection_id: Uuid,
        user_id: Option<&'a str>,
        server_time: Timestamp,
    ) -> Self {
        let Available { compression, recovery } = available;
        let features = ReadyFeatures {
            compression,
            encryption: true,
            batching: true,
            priority_queue: true,
            circuit_breaker: false,
            rust_transport: true,
            rust_jwt: true,
            recovery,
        };
        let version = dialect.version();
        let details = ReadyDetails { version, features, connection_id, server_time, user_id };
        Self { message: "connection established", details }
    }
}

/// The answer to each `client_hello`.
#[derive(Debug, Clone, Serialize)]
pub struct ServerHello<'a> {
    server_version: &'a str,
    protocol_version: u32,
    features: HelloFeatures,
    limits: HelloLimits,
    #[serde(serialize_with = "as_millis", skip_serializing_if = "Duration::is_zero")]
    ping_interval: Duration,
    connection_id: Uuid,
    server_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_public_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_ticket: Option<&'a str>,
}

/// What is in force on a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HelloFeatures {
    /// Publications over the threshold are compressed.
    pub compression: bool,
    /// Publications are MessagePack.
    pub msgpack: bool,
    /// Publications are encrypted.
    pub encryption: bool,
    /// Topics have logs.
    pub recovery: bool,
}

impl Serialize for HelloFeatures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct All {
            compression: bool,
            recovery: bool,
            cluster: bool,
            batching: bool,
            priority_queue: bool,
            msgpack: bool,
            encryption: bool,
        }
        let &Self { compression, msgpack, encryption, recovery } = self;
        let all = All {
            compression,
            recovery,
            cluster: false,
            batching: true,
            priority_queue: true,
            msgpack,
            encryption,
        };
        all.serialize(serializer)
    }
}

/// What a connection may send. Zero where there is no limit.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HelloLimits {
    /// The largest message in bytes.
    pub max_message_size: usize,
    /// Messages that may come in one burst.
    pub rate_limit_capacity: u32,
    /// Messages a second that may come for ever.
    pub rate_limit_refill: u32,
}

impl<'a> ServerHello<'a> {
    /// `ping_interval` is the time between heartbeats; it is left out when that is zero, for none,
    /// because clients count on a positive number.
    pub const fn new(
        server_version: &'a str,
        dialect: Dialect,
        features: HelloFeatures,
        limits: HelloLimits,
        ping_interval: Duration,
        connection_id: Uuid,
        server_time: Timestamp,
    ) -> Self {
        Self {
            server_version,
            protocol_version: dialect.version(),
            features,
            limits,
            ping_interval,
            connection_id,
            server_time,
            encryption_public_key: None,
            resume_ticket: None,
        }
    }

    /// Names the server's public key, in padded base64 (PROTOCOL §11).
    #[must_use]
    pub const fn with_public_key(mut self, key: Option<&'a str>) -> Self {
        self.encryption_public_key = key;
        self
    }

    /// Gives the client a ticket to come back with (PROTOCOL §12).
    #[must_use]
    pub const fn with_resume_ticket(mut self, ticket: Option<&'a str>) -> Self {
        self.resume_ticket = ticket;
        self
    }
}

/// The answer to `encryption_request`: how things stand, and the server's public key when there is one.
#[derive(Debug, Clone, Serialize)]
pub struct EncryptionResponse<'a> {
    enabled: bool,
    algorithm: &'static str,
    key_exchange: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_public_key: Option<&'a str>,
}

impl<'a> EncryptionResponse<'a> {
    /// `public_key`: the server's of the last exchange, in padded base64.
    pub const fn new(public_key: Option<&'a str>) -> Self {
        Self {
            enabled: public_key.is_some(),
            algorithm: "AES-256-GCM",
            key_exchange: "ECDH-P256",
            encryption_public_key: public_key,
        }
    }
}

/// The answer to `key_rotation_request`: what the server seals from now on has the key that follows from this one.
#[derive(Debug, Clone, Serialize)]
pub struct KeyRotationResponse<'a> {
    success: bool,
    encryption_public_key: &'a str,
}

impl<'a> KeyRotationResponse<'a> {
    /// `public_key`: the server's new one, in padded base64.
    pub const fn new(public_key: &'a str) -> Self {
        Self { success: true, encryption_public_key: public_key }
    }
}

/// A heartbeat to a connection that speaks the protocol.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ping {
    /// The server's clock, which comes back in the client's pong.
    pub server_time: Timestamp,
}

/// The answer to a client's ping. Its numbers are milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Pong<'a> {
    client_timestamp: Option<&'a RawValue>,
    server_timestamp: u64,
    latency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<Option<u64>>,
}

/// The longest number of a client that comes back in a pong: more digits than any clock shows.
const MAX_TIMESTAMP_LEN: usize = 32;

impl<'a> Pong<'a> {
    /// Answers the ping with this payload, which arrived at `at`.
    ///
    /// Its `timestamp` comes back with the digits that it had. The latency is what the two clocks make
    /// of it, never negative; without a number it is null.
    pub fn answer(dialect: Dialect, payload: Option<&'a str>, at: Timestamp) -> Self {
        let mut client_timestamp = None;
        let read = scan::members(payload.unwrap_or("{}"), &mut |member| {
            if scan::key_is(member.key, "timestamp") {
                client_timestamp = Some(member.value);
            }
        });
        let number = client_timestamp
            .filter(|value| read.is_ok() && value.len() <= MAX_TIMESTAMP_LEN)
            .and_then(|value| Some((value, value.parse::<f64>().ok()?)));
        let latency = number.map(|(_, sent)| (at.0 as f64 - sent).max(0.0).round() as u64);
        Self {
            client_timestamp: number.and_then(|(value, _)| serde_json::from_str(value).ok()),
            server_timestamp: at.0,
            latency,
            latency_ms: (dialect == Dialect::V2).then_some(latency),
        }
    }
}

/// What went wrong, for a client to match on and a person to read.
#[derive(Debug, Clone, Serialize)]
pub struct Error<'a> {
    code: &'static str,
    message: &'a str,
    details: ErrorDetails<'a>,
    recoverable: bool,
    severity: &'static str,
    #[serde(serialize_with = "as_seconds", skip_serializing_if = "Duration::is_zero")]
    retry_after: Duration,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    topics: &'a [&'a str],
    timestamp: Timestamp,
}

#[derive(Debug, Clone, Serialize)]
struct ErrorDetails<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    topics: &'a [&'a str],
}

impl<'a> Error<'a> {
    /// An error that ends the connection is fatal where trying again cannot help.
    pub const fn new(code: Code, message: &'a str, timestamp: Timestamp) -> Self {
        let recoverable = code.is_retryable() || code.close_code().is_none();
        Self {
            code: code.as_str(),
            message,
            details: ErrorDetails { topics: &[] },
            recoverable,
            severity: if recoverable { "error" } else { "fatal" },
            retry_after: Duration::ZERO,
            topics: &[],
            timestamp,
        }
    }

    /// Names the topics that the error is about.
    #[must_use]
    pub const fn with_topics(mut self, topics: &'a [&'a str]) -> Self {
        self.topics = topics;
        self.details.topics = topics;
        self
    }

    /// Says that the connection goes on all the same.
    #[must_use]
    pub const fn with_recovery(mut self) -> Self {
        self.recoverable = true;
        self.severity = "error";
        self
    }

    /// Says when trying again can help; in seconds on the wire.
    #[must_use]
    pub const fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = retry_after;
        self
    }
}

/// Tells a client that it is about to send too fast.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RateLimitWarning {
    /// Messages a second that it sends, on average since its burst was whole.
    pub current_rate: u32,
    /// Messages a second that it may send.
    pub limit: u32,
    /// Messages that it may still send at once.
    pub remaining: u32,
    /// Until the burst is whole again; in seconds on the wire.
    #[serde(serialize_with = "as_seconds")]
    pub retry_after: Duration,
}

/// Tells a client that it missed messages because it did not take them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Gap<'a> {
    /// The topic that has a hole; `None` for what was sent to this connection alone.
    pub topic: Option<&'a str>,
    /// How many messages are missing.
    pub count: u64,
    /// Why, in one word.
    pub reason: &'a str,
}

/// Tells a client that it missed publications of a topic with a log, and which.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Hole<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The offset of the first publication that is missing.
    pub from: u64,
    /// The offset of the last one.
    pub to: u64,
    /// Why, in one word.
    pub reason: &'a str,
}

/// Tells a client that its token ends soon, and the connection with it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AuthExpiring {
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The answer to a token that took the place of the one before.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AuthRefreshed {
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Tells a client that the server sends everyone away: a Close follows.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ServerDraining<'a> {
    /// How long to wait before coming back, in milliseconds; each client has its own.
    pub retry_after_ms: u64,
    /// A resume ticket (PROTOCOL §12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<&'a str>,
}

fn as_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
