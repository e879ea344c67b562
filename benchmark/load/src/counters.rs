//! What the generator has seen so far. Only what arrived is counted, never what a kernel accepted.

use serde::Serialize;

/// Sums since the start of the process.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Messages that open connections received.
    pub frames: u64,
    /// Bytes that came with them, heads included.
    pub bytes: u64,
    /// Calls of read(2) that brought messages or parts of them to an open connection.
    pub reads: u64,
    /// Messages that were handed to the kernel.
    pub sent: u64,
    /// Connections that were opened, and closed again with a close handshake.
    pub handshakes: u64,
    /// Connections that failed or ended without being asked to.
    pub errors: u64,
}
