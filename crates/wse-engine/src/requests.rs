//! What a client asks of the server itself, and the answers that need nobody else (PROTOCOL §7).
//!
//! Answered where the connection lives, without waking JavaScript. Never sees a type that the application has
//! taken over, and says nothing of other users.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::log::{Event, Fault};
use crate::speech::Encoding;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;
use wse_protocol::codes::Code;
use wse_protocol::envelope::Timestamp;
use wse_protocol::message::{
    BatchMessageResult, BatchResult, ConfigResponse, ConfigUpdateResponse, ConnectionState,
    ConnectionStateResponse, DebugConnection, DebugHandlers, DebugResponse, Error, HealthCheckResponse,
    HelloFeatures, HelloLimits, MetricsResponse, QueueStats, SequenceStatsResponse, SnapshotComplete,
    SnapshotDetails, Status, SystemStatusResponse,
};
use wse_protocol::request::{self, MAX_BATCH, RequestError};
use wse_protocol::scan::{self, Inbound};

/// The types that are answered here, or that need no answer.
pub const TYPES: &[&str] = &[
    "health_check",
    "health_check_request",
    "metrics_request",
    "config_request",
    "config_update",
    "connection_state_request",
    "system_status_request",
    "sequence_stats_request",
    "debug_request",
    "debug_handlers",
    "sync_request",
    "snapshot_request",
    "request_snapshot",
    "presence_request",
    "priority_message",
    "batch",
    "batch_message",
    "health_check_response",
    "metrics_response",
    "sync_response",
];

/// Topics of a connection that a debug answer names.
const DEBUG_TOPICS: usize = 32;
/// The longest value of a setting that is looked at, in bytes.
const MAX_SETTING: usize = 256;

impl Core {
    /// Answers a request; `false`: the type is none of [`TYPES`].
    pub(crate) fn answer_request<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        kind: &str,
        message: &Inbound<'_>,
    ) -> bool {
        let cid = || request::correlation(message.json);
        match kind {
            "health_check" | "health_check_request" => {
                let answer = self.health_of(conn);
                self.respond(conn, &answer, cid());
            }
            "metrics_request" => {
                let answer = self.metrics_of(conn);
                self.respond(conn, &answer, cid());
            }
            "config_request" => {
                let answer = self.config_of(conn);
                self.respond(conn, &answer, cid());
            }
            "config_update" => self.update_config(conn, message),
            "connection_state_request" => {
                let caller = conn.caller.clone();
                let answer = ConnectionStateResponse {
                    state: if is_full(conn) { ConnectionState::Degraded } else { ConnectionState::Connected },
                    connection_id: self.id_of(conn),
                    user_id: caller.as_ref().and_then(|caller| caller.user.as_deref()),
                    connected_at: opened_at(conn),
                    protocol_version: conn.speech.dialect().version(),
                    subscriptions: conn.topics.len(),
                    server_time: self.timestamp(),
                };
                self.respond(conn, &answer, cid());
            }
            "system_status_request" => {
                let answer = SystemStatusResponse {
                    status: if self.shared.is_overloaded() { Status::Overloaded } else { Status::Healthy },
                    server_version: env!("CARGO_PKG_VERSION"),
                    uptime_secs: self.now.millis as f64 / 1_000.0,
                    server_time: self.timestamp(),
                };
                self.respond(conn, &answer, cid());
            }
            "sequence_stats_request" => {
                let seats = &self.shared.desks[self.index].seats;
                let answer = SequenceStatsResponse {
                    connection_id: self.id_of(conn),
                    current_sequence: seats.sequence(conn.key),
                    missed: seats.missed(conn.key),
                    queue_size: conn.backlog.as_ref().map_or(0, |backlog| backlog.len()),
                    server_time: self.timestamp(),
                };
                self.respond(conn, &answer, cid());
            }
            "debug_request" | "debug_handlers" if !conn.is_debugger => {
                self.refuse_request(conn, RequestError::NotAllowed, message);
            }
            "debug_request" => self.debug_connection(conn, message),
            "debug_handlers" => {
                let application = &self.shared.handled.types();
                let handlers = Some(DebugHandlers { engine: TYPES, application });
                self.respond(conn, &DebugResponse { handlers, ..DebugResponse::default() }, cid());
            }
            "sync_request" | "snapshot_request" | "request_snapshot" => {
                let answer = SnapshotComplete {
                    message: "there are no snapshots",
                    success: true,
                    snapshots_sent: &[],
                    topics: &request::topics(message.payload),
                    count: 0,
                    details: SnapshotDetails {},
                };
                self.respond(conn, &answer, cid());
            }
            "presence_request" => self.answer_presence(conn, message),
            "priority_message" => {
                let inner = request::urgent(message.json, message.payload);
                match inner.and_then(|inner| readable(&inner).map(|()| inner)) {
                    Ok(inner) => self.heard_text(conn, &inner),
                    Err(error) => self.refuse_request(conn, error, message),
                }
            }
            "batch" | "batch_message" => self.heard_batch(conn, message),
            "health_check_response" | "metrics_response" | "sync_response" => {}
            _ => return false,
        }
        true
    }

    fn id_of<S>(&self, conn: &Connection<S>) -> Uuid {
        self.shared.ids.id(conn.high, conn.key).0
    }

    fn health_of<S>(&self, conn: &Connection<S>) -> HealthCheckResponse {
        HealthCheckResponse {
            status: if is_full(conn) { Status::Degraded } else { Status::Healthy },
            connection_id: self.id_of(conn),
            queue_size: conn.backlog.as_ref().map_or(0, |backlog| backlog.len()),
            server_time: self.timestamp(),
        }
    }

    fn metrics_of<S>(&self, conn: &Connection<S>) -> MetricsResponse {
        let (config, desk) = (&self.shared.config, &self.shared.desks[self.index]);
        let (size, bytes) = conn.backlog.as_ref().map_or((0, 0), |backlog| (backlog.len(), backlog.bytes()));
        let (max_size, max_bytes) = (config.outbound.max_messages, config.outbound.max_bytes);
        let is_taken = conn.last_event <= desk.inbound.consumed();
        MetricsResponse {
            connection_id: self.id_of(conn),
            connected_at: opened_at(conn),
            subscriptions: conn.topics.len(),
            current_sequence: desk.seats.sequence(conn.key),
            queue_stats: QueueStats { size, max_size, bytes, max_bytes },
            inbound_bytes: if is_taken { 0 } else { conn.waiting },
            rate_remaining: config.rate.map(|rate| conn.rate.remaining(rate, self.now.millis)),
            server_time: self.timestamp(),
        }
    }

    /// What is in force on a connection.
    pub(crate) fn features_of<S>(&self, conn: &Connection<S>) -> HelloFeatures {
        let encoding = conn.speech.encoding();
        HelloFeatures {
            compression: matches!(encoding, Encoding::Zlib | Encoding::ZlibPayload),
            msgpack: encoding == Encoding::Msgpack,
            encryption: conn.secrecy.as_ref().is_some_and(|secrecy| secrecy.public_key().is_some()),
            recovery: self.shared.config.recovery.is_some(),
        }
    }

    /// What a connection may send.
    pub(crate) fn limits(&self) -> HelloLimits {
        let config = &self.shared.config;
        HelloLimits {
            max_message_size: config.frame.max_message_bytes,
            rate_limit_capacity: config.rate.map_or(0, |rate| rate.burst),
            rate_limit_refill: config.rate.map_or(0, |rate| rate.per_second),
        }
    }

    fn config_of<S>(&self, conn: &Connection<S>) -> ConfigResponse {
        let config = &self.shared.config;
        let features = self.features_of(conn);
        ConfigResponse {
            compression_enabled: features.compression,
            compression_threshold: config.compression.map_or(0, |compression| compression.threshold_bytes),
            encryption_enabled: features.encryption,
            batching_enabled: true,
            batch_size: MAX_BATCH,
            // What is published leaves in the same turn: nothing is held back for company.
            batch_timeout: 0,
            max_queue_size: config.outbound.max_messages,
            protocol_version: conn.speech.dialect().version(),
            heartbeat_interval: config.heartbeat.interval_ms,
            idle_timeout: config.heartbeat.idle_timeout_ms,
            rate_limits: self.limits(),
        }
    }

    /// Applies what a connection may choose for itself, which is whether publications are compressed; everything
    /// else is answered with what is in force.
    fn update_config<S: Socket>(&mut self, conn: &mut Connection<S>, message: &Inbound<'_>) {
        let asked = match request::settings(message.payload) {
            Ok(asked) => asked,
            Err(error) => return self.refuse_request(conn, error, message),
        };
        for (_, value) in asked.iter().filter(|(name, _)| name == "compression_enabled") {
            let is_wanted = value.parse().ok().filter(|_| self.shared.config.compression.is_some());
            if let Some(is_wanted) = is_wanted {
                conn.speech.set_compressed(is_wanted);
            }
        }
        let config = self.config_of(conn);
        let in_force = serde_json::to_value(config).expect("plain structs become values without fail");
        let in_force = in_force.as_object().into_iter().flatten().collect::<Vec<_>>();
        let (mut applied, mut refused, mut is_known) = (Vec::new(), Vec::new(), true);
        for (name, value) in asked {
            let Some((setting, has)) = in_force.iter().find(|(setting, _)| **setting == name) else {
                is_known = false;
                continue;
            };
            let is_same = value.len() <= MAX_SETTING
                && serde_json::from_str::<Value>(value).is_ok_and(|value| value == **has);
            // Of a name that comes twice the last value counts.
            applied.retain(|other| other != setting);
            refused.retain(|other| other != setting);
            if is_same { applied.push(setting.as_str()) } else { refused.push(setting.as_str()) }
        }
        let success = is_known && refused.is_empty();
        let answer = ConfigUpdateResponse { success, applied: &applied, refused: &refused, config };
        self.respond(conn, &answer, request::correlation(message.json));
    }

    fn debug_connection<S>(&mut self, conn: &mut Connection<S>, message: &Inbound<'_>) {
        let Some(caller) = conn.caller.clone() else { return };
        let topics = conn.topics.iter().take(DEBUG_TOPICS).cloned().collect::<Vec<_>>();
        let connection = DebugConnection {
            connection_id: self.id_of(conn),
            user_id: caller.user.as_deref(),
            address: caller.address,
            shard: self.index,
            is_stalled: conn.is_stalled,
            subscriptions: conn.topics.len(),
            topics: &topics.iter().map(|topic| topic.name()).collect::<Vec<_>>(),
        };
        let server = RawValue::from_string(self.shared.health(self.now)).expect("the snapshot is JSON");
        let answer = DebugResponse { connection: Some(connection), server: Some(&server), handlers: None };
        self.respond(conn, &answer, request::correlation(message.json));
    }

    /// Handles each message of a batch in order; each counts as one against the connection's rate.
    fn heard_batch<S: Socket>(&mut self, conn: &mut Connection<S>, message: &Inbound<'_>) {
        let messages = match request::batch(message.payload) {
            Ok(messages) => messages,
            Err(error) => return self.refuse_request(conn, error, message),
        };
        let mut results = Vec::with_capacity(messages.len());
        for inner in &messages {
            let refused = match readable(inner) {
                Err(error) => Some(error.code()),
                Ok(()) if !self.is_within_rate(conn) => Some(Code::RateLimited),
                Ok(()) if !self.takes(conn, inner) => Some(Code::InvalidMessage),
                Ok(()) => None,
            };
            // What a message, or too many of them, made of the connection ends the batch.
            if !conn.is_open() {
                return;
            }
            let id = request::id(inner).and_then(|id| serde_json::from_str(id).ok());
            results.push(BatchResult { success: refused.is_none(), id, code: refused.map(Code::as_str) });
        }
        let successful = results.iter().filter(|result| result.success).count();
        let (total, failed) = (results.len(), results.len() - successful);
        let answer = BatchMessageResult { total, successful, failed, results: &results };
        self.respond(conn, &answer, request::correlation(message.json));
    }

    pub(crate) fn refuse_request<S>(
        &mut self,
        conn: &mut Connection<S>,
        error: RequestError,
        message: &Inbound<'_>,
    ) {
        self.note(conn, Event::Fault(Fault::Wire(error.code())));
        let text = error.to_string();
        let error = Error::new(error.code(), &text, self.timestamp());
        self.respond(conn, &error, request::correlation(message.json));
    }
}

fn is_full<S>(conn: &Connection<S>) -> bool {
    conn.backlog.as_ref().is_some_and(|backlog| backlog.full_since().is_some())
}

/// A connection's id says when it was opened.
fn opened_at<S>(conn: &Connection<S>) -> Timestamp {
    Timestamp(conn.high >> 16)
}

/// Whether what stands inside of a message is a message that may stand there.
fn readable(inner: &str) -> Result<(), RequestError> {
    let message = scan::inbound(inner).map_err(|_| RequestError::NotAnObject)?;
    let is_nested = message.kind.is_some_and(|kind| request::is_wrapper(&kind));
    if is_nested { Err(RequestError::Nested) } else { Ok(()) }
}
