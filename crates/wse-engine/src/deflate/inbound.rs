//! What permessage-deflate adds to reading: compressed messages are opened and heard like any other.
//!
//! A little of the wire can become much, so this also says when enough has come out for now: the rest of what was read
//! waits, as it came, for the connection's next turn.

use super::Deflate;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::handshake::Upgrade;
use std::ops::ControlFlow;
use wse_protocol::codes::close;
use wse_protocol::compress::InflateLimits;
use wse_protocol::frame::{FrameError, Message};

/// Bytes that may come out of a connection's messages before others have their turn: as many as are read at once.
const MOST_INFLATED: usize = 256 << 10;

/// What a message may always contain, however short it came: a line of one repeated letter is no attack.
const HARMLESS_BYTES: usize = 64 << 10;

/// What one message of `len` bytes may contain.
fn limits(max_bytes: usize, len: usize) -> InflateLimits {
    let InflateLimits { max_ratio, .. } = InflateLimits::default();
    InflateLimits { max_bytes, max_ratio: max_ratio.max(HARMLESS_BYTES / len.max(1)) }
}

impl Core {
    /// Remembers what a connection has agreed on.
    pub(crate) fn take_agreement<S>(&self, conn: &mut Connection<S>, upgrade: &Upgrade) {
        let config = self.shared.config.deflate.as_ref();
        conn.deflate = upgrade
            .deflate
            .as_ref()
            .zip(config)
            .map(|(agreement, config)| Box::new(Deflate::new(agreement, config.compression)));
    }

    /// Whether so much has come out of compressed messages that the rest has to wait.
    pub(crate) fn has_inflated_enough(&self) -> bool {
        self.inflated >= MOST_INFLATED
    }

    /// Opens a compressed message and hears it; breaks when the rest of what was read has to wait.
    pub(crate) fn heard_compressed<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        is_text: bool,
        payload: &[u8],
    ) -> ControlFlow<()> {
        let deflate = conn.deflate.as_mut().expect("whoever has not agreed is refused by its header");
        let limits = limits(self.shared.config.frame.max_message_bytes, payload.len());
        let inflated = match self.deflate.inflate(deflate, payload, &limits) {
            Ok(inflated) => inflated,
            Err(error) => {
                self.violated(conn, error.close_code(), &error.to_string());
                return ControlFlow::Break(());
            }
        };
        self.inflated += inflated.len();
        let flow = match is_text.then(|| str::from_utf8(&inflated)) {
            None => self.heard(conn, &Message::Binary(&inflated)),
            Some(Ok(text)) => self.heard(conn, &Message::Text(text)),
            Some(Err(_)) => {
                self.violated(conn, close::INVALID_DATA, FrameError::InvalidUtf8.reason());
                ControlFlow::Break(())
            }
        };
        self.deflate.recycle(inflated);
        if conn.is_stalled || self.has_inflated_enough() { ControlFlow::Break(()) } else { flow }
    }

    /// Keeps what was read and has to wait: for the application, or for the next turn. Of a connection that is over
    /// nothing is read any more.
    pub(crate) fn leave_unread<S>(&mut self, conn: &mut Connection<S>, bytes: &[u8]) {
        let is_open = conn.is_open();
        let Some(deflate) = conn.deflate.as_mut().filter(|_| is_open && !bytes.is_empty()) else { return };
        deflate.unread.extend_from_slice(bytes);
        if !conn.is_stalled {
            self.again.push(conn.key);
        }
    }
}
