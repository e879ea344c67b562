//! What an engine counts. Plain atomics, written by the shards, read by anyone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counters of an engine since it started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Open connections.
    pub connections: AtomicUsize,
    /// Connections that were opened.
    pub connections_total: AtomicU64,
    /// Connections that ended.
    pub disconnections_total: AtomicU64,
    /// Handshakes answered with an HTTP refusal.
    pub handshakes_refused_total: AtomicU64,
    /// Handshakes dropped because too many were unfinished, or took too long.
    pub handshakes_dropped_total: AtomicU64,
    /// Connections that came back with a resume ticket.
    pub resumed_total: AtomicU64,
    /// Resume tickets that were not good.
    pub resume_refused_total: AtomicU64,
    /// Tokens refused.
    pub auth_failed_total: AtomicU64,
    /// Messages read.
    pub messages_received_total: AtomicU64,
    /// Bytes read.
    pub bytes_received_total: AtomicU64,
    /// Frames given to the kernel.
    pub messages_sent_total: AtomicU64,
    /// Bytes given to the kernel.
    pub bytes_sent_total: AtomicU64,
    /// Messages that a full outbound queue refused.
    pub outbound_refused_total: AtomicU64,
    /// Messages for groups that nobody got: too many waited, or for too long, or the last member had left.
    pub groups_dropped_total: AtomicU64,
    /// Connections closed with 4503.
    pub slow_closed_total: AtomicU64,
    /// Connections closed with 4408.
    pub idle_closed_total: AtomicU64,
    /// Connections closed with 1012 because they were open for long enough.
    pub aged_closed_total: AtomicU64,
    /// Connections closed with 4300: they were sent away.
    pub drained_total: AtomicU64,
    /// Newcomers turned away because too many came at once.
    pub admission_refused_total: AtomicU64,
    /// Connections closed with 4401 because their token ended.
    pub expired_closed_total: AtomicU64,
    /// Inbound messages dropped: over the rate.
    pub rate_dropped_total: AtomicU64,
    /// Inbound events dropped because nobody drains.
    pub inbound_dropped_total: AtomicU64,
    /// Connections closed for a violation of RFC 6455 or of a limit, and messages that could not be read.
    pub protocol_errors_total: AtomicU64,
    /// Encrypted messages dropped: there was no key yet.
    pub encrypted_dropped_total: AtomicU64,
    /// Messages of clients dropped because their signature is missing, or none of ours.
    pub signatures_refused_total: AtomicU64,
    /// Publications that could not be signed: those who should have got them signed got none.
    pub unsigned_total: AtomicU64,
    /// Connections ended because what they sent is not TLS.
    pub tls_errors_total: AtomicU64,
    /// Publications refused because the memory budget was used up.
    pub budget_refused_total: AtomicU64,
    /// Users who came to a topic and are not tracked there: too much data, or no room.
    pub presence_refused_total: AtomicU64,
    /// Members that were left behind by their connection, and found by the sweep: there should be none.
    pub presence_swept_total: AtomicU64,
    /// Requests for topics that were refused in part because the `authorize` hook failed, or was late.
    pub authorize_failed_total: AtomicU64,
    /// Connections ended by a panic while they were served.
    pub panics_total: AtomicU64,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
