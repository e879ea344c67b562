//! What permessage-deflate adds to reading: compressed messages are opened and heard like any other.

use super::Deflate;
use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::decoding::inflate_limits;
use crate::handshake::Upgrade;
use std::ops::ControlFlow;
use wse_protocol::codes::close;
use wse_protocol::frame::{FrameError, Message};

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

    /// Opens a compressed message and hears it; breaks when the rest of what was read has to wait.
    pub(crate) fn heard_compressed<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        is_text: bool,
        payload: &[u8],
    ) -> ControlFlow<()> {
        let deflate = conn.deflate.as_mut().expect("whoever has not agreed is refused by its header");
        let limits = inflate_limits(self.shared.config.frame.max_message_bytes, payload.len());
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
        if self.has_enough(conn) { ControlFlow::Break(()) } else { flow }
    }
}
