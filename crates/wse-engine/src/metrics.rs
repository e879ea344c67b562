//! What an engine counts. Plain atomics, written by the shards, read by anyone.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of an engine since it started.
        #[derive(Debug, Default)]
        pub struct Metrics {
            /// Open connections.
            pub connections: AtomicUsize,
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Metrics {
            /// All counters by name.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Connections that were opened.
    connections_total,
    /// Connections that ended.
    disconnections_total,
    /// Handshakes answered with an HTTP refusal.
    handshakes_refused_total,
    /// Handshakes dropped because too many were unfinished, or took too long.
    handshakes_dropped_total,
    /// Tokens refused.
    auth_failed_total,
    /// Messages read.
    messages_received_total,
    /// Bytes read.
    bytes_received_total,
    /// Frames given to the kernel.
    messages_sent_total,
    /// Bytes given to the kernel.
    bytes_sent_total,
    /// Messages that a full outbound queue refused.
    outbound_refused_total,
    /// Connections closed with 4503.
    slow_closed_total,
    /// Connections closed with 4408.
    idle_closed_total,
    /// Inbound messages dropped: over the rate.
    rate_dropped_total,
    /// Inbound events dropped because nobody drains.
    inbound_dropped_total,
    /// Connections closed for a violation of RFC 6455 or of a limit.
    protocol_errors_total,
    /// Publications refused because the memory budget was used up.
    budget_refused_total,
    /// Connections ended by a panic while they were served.
    panics_total,
}

/// Adds to a counter.
pub fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
