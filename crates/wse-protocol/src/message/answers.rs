//! Answers to what a client asks of the server itself.
//!
//! Each is small whatever the connection holds: only what a request names comes back at its length.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{HelloLimits, ServerMessage};
use crate::envelope::Timestamp;

server_messages! {
    HealthCheckResponse = "health_check_response",
    MetricsResponse = "metrics_response",
    ConfigResponse = "config_response",
    ConfigUpdateResponse<'a> = "config_update_response",
    ConnectionStateResponse<'a> = "connection_state_response",
    SystemStatusResponse<'a> = "system_status_response",
    SequenceStatsResponse = "sequence_stats_response",
    DebugResponse<'a> = "debug_response",
    SnapshotComplete<'a> = "snapshot_complete",
    BatchMessageResult<'a> = "batch_message_result",
}

/// How a connection, or the server, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should.
    Healthy,
    /// The connection's outbound queue is full: it misses messages.
    Degraded,
    /// The server has no room for another connection, or for another large message.
    Overloaded,
}

/// Where a connection is in its life, in the words that clients have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// It is open.
    Connected,
    /// It is open, and misses messages because its outbound queue is full.
    Degraded,
}

/// How a connection does, in short.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HealthCheckResponse {
    /// Of the connection.
    pub status: Status,
    /// Whose it is.
    pub connection_id: Uuid,
    /// Messages that wait because the client did not take them.
    pub queue_size: usize,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// How a connection does, in numbers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MetricsResponse {
    /// Whose they are.
    pub connection_id: Uuid,
    /// Since when it is open.
    pub connected_at: Timestamp,
    /// Topics that it holds.
    pub subscriptions: usize,
    /// The number of the last message to it alone.
    pub current_sequence: u64,
    /// What waits for the client.
    pub queue_stats: QueueStats,
    /// Bytes of its messages that wait for the application.
    pub inbound_bytes: usize,
    /// What it may send at once; `None`: there is no limit.
    pub rate_remaining: Option<u32>,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// An outbound queue, and its bounds; zero: none.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct QueueStats {
    /// Messages that wait.
    pub size: usize,
    /// Most of them.
    pub max_size: usize,
    /// Bytes that wait.
    pub bytes: usize,
    /// Most of them.
    pub max_bytes: usize,
}

/// What is in force for a connection. Zero where a number is switched off.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ConfigResponse {
    /// Whether large publications are compressed.
    pub compression_enabled: bool,
    /// From how many bytes on.
    pub compression_threshold: usize,
    /// Whether publications are encrypted.
    pub encryption_enabled: bool,
    /// Whether a client may send batches.
    pub batching_enabled: bool,
    /// Messages of one batch at most.
    pub batch_size: usize,
    /// How long the server waits for more before it sends, in milliseconds.
    pub batch_timeout: u64,
    /// Messages that may wait for the client.
    pub max_queue_size: usize,
    /// The dialect.
    pub protocol_version: u32,
    /// Silence after which the server asks for a sign of life, in milliseconds.
    pub heartbeat_interval: u64,
    /// Silence after which it closes the connection, in milliseconds.
    pub idle_timeout: u64,
    /// What the client may send.
    pub rate_limits: HelloLimits,
}

/// What became of a client's wishes.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigUpdateResponse<'a> {
    /// Whether all that was asked for is in force.
    pub success: bool,
    /// Settings that have the value that was asked for.
    pub applied: &'a [&'a str],
    /// Settings that keep another one.
    pub refused: &'a [&'a str],
    /// What is in force now.
    pub config: ConfigResponse,
}

/// What a connection is.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionStateResponse<'a> {
    /// Where it is in its life.
    pub state: ConnectionState,
    /// Its id.
    pub connection_id: Uuid,
    /// Its user; `None`: anonymous.
    pub user_id: Option<&'a str>,
    /// Since when it is open.
    pub connected_at: Timestamp,
    /// The dialect.
    pub protocol_version: u32,
    /// Topics that it holds.
    pub subscriptions: usize,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// How the server does, as far as any client may know: nothing of other users, not even how many there are.
#[derive(Debug, Clone, Serialize)]
pub struct SystemStatusResponse<'a> {
    /// Of the server.
    pub status: Status,
    /// Which one it is.
    pub server_version: &'a str,
    /// For how long it has been running, in seconds.
    pub uptime_secs: f64,
    /// Its clock.
    pub server_time: Timestamp,
}

/// How the numbers of a connection stand.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SequenceStatsResponse {
    /// Whose they are.
    pub connection_id: Uuid,
    /// The number of the last message to it alone.
    pub current_sequence: u64,
    /// Messages, of topics too, that it did not get because its queue was full.
    pub missed: u32,
    /// Messages that wait.
    pub queue_size: usize,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// What only somebody who looks for a fault may know.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DebugResponse<'a> {
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<DebugConnection<'a>>,
    /// The server: its health snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'a RawValue>,
    /// Who answers which types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handlers: Option<DebugHandlers<'a>>,
}

/// A connection from inside.
#[derive(Debug, Clone, Serialize)]
pub struct DebugConnection<'a> {
    /// Its id.
    pub connection_id: Uuid,
    /// Its user; `None`: anonymous.
    pub user_id: Option<&'a str>,
    /// The client's address.
    pub address: std::net::IpAddr,
    /// The thread that serves it.
    pub shard: usize,
    /// Whether it is not read until the application has taken its messages.
    pub is_stalled: bool,
    /// Topics that it holds.
    pub subscriptions: usize,
    /// The first of them.
    pub topics: &'a [&'a str],
}

/// Who answers which types.
#[derive(Debug, Clone, Serialize)]
pub struct DebugHandlers<'a> {
    /// Types that the engine answers.
    pub engine: &'a [&'a str],
    /// Types that the application answers instead.
    pub application: &'a [String],
}

/// The end of what a request for snapshots is answered with.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotComplete<'a> {
    /// What there is to say, for people.
    pub message: &'a str,
    /// Whether nothing failed.
    pub success: bool,
    /// The types of the snapshots that were sent.
    pub snapshots_sent: &'a [&'a str],
    /// The topics that were asked for.
    pub topics: &'a [String],
    /// How many snapshots there were.
    pub count: usize,
    /// Clients count on an object.
    pub details: SnapshotDetails,
}

/// Nothing yet.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct SnapshotDetails {}

/// What became of a batch.
#[derive(Debug, Clone, Serialize)]
pub struct BatchMessageResult<'a> {
    /// Messages in it.
    pub total: usize,
    /// Those that were answered, or handed to the application.
    pub successful: usize,
    /// The others.
    pub failed: usize,
    /// One for each message, in order.
    pub results: &'a [BatchResult<'a>],
}

/// What became of one message of a batch.
#[derive(Debug, Clone, Serialize)]
pub struct BatchResult<'a> {
    /// Whether it was answered, or handed to the application.
    pub success: bool,
    /// Its own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a RawValue>,
    /// What was wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}
