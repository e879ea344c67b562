//! What an application publishes or sends, made ready for the wire.
//!
//! Completes envelopes and refuses what would be too large for some client. Never queues anything.

use crate::config::Config;
use crate::error::EngineError;
use crate::frame::{EnvelopeInfo, FRAME_WEIGHT, Payload, ROOM, Standing};
use uuid::Uuid;
use wse_protocol::crypto;
use wse_protocol::envelope::{self, Outcome, Seq, Timestamp};
use wse_protocol::frame::{MAX_HEADER, OpCode};

/// What an application publishes or sends.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// Text; an envelope is completed unless the engine is plain.
    Text(&'a str),
    /// Bytes, as they are.
    Binary(&'a [u8]),
}

impl Content<'_> {
    /// The payload, with the moment `at` and an id of its own where the publisher named none.
    pub fn payload(
        self,
        config: &Config,
        at: Timestamp,
        id: impl FnOnce() -> Uuid,
    ) -> Result<Payload, EngineError> {
        self.payload_behind(ROOM, Seq::Publisher, config, at, id)
    }

    /// The same for a topic with a log, with room for `stamp` bytes in place of an envelope's brace.
    pub fn logged_payload(
        self,
        stamp: usize,
        config: &Config,
        at: Timestamp,
        id: impl FnOnce() -> Uuid,
    ) -> Result<Payload, EngineError> {
        self.payload_behind(MAX_HEADER + stamp, Seq::Server, config, at, id)
    }

    fn payload_behind(
        self,
        room: usize,
        seq: Seq,
        config: &Config,
        at: Timestamp,
        id: impl FnOnce() -> Uuid,
    ) -> Result<Payload, EngineError> {
        let mut standing = Standing::default();
        let (opcode, bytes, envelope) = match self {
            Self::Binary(payload) => (OpCode::Binary, with_room(room, payload), None),
            Self::Text(text) if !config.envelope => (OpCode::Text, with_room(room, text.as_bytes()), None),
            Self::Text(text) => {
                let mut bytes = Payload::larger_room(room, text.len() + envelope::MAX_OVERHEAD);
                let envelope = match envelope::complete(text, &id(), at, seq, &mut bytes)? {
                    Outcome::Envelope { category, has_seq, priority } => {
                        standing.priority = priority;
                        Some(EnvelopeInfo { category, has_seq })
                    }
                    Outcome::Verbatim => None,
                };
                (OpCode::Text, bytes, envelope)
            }
        };
        // On its largest form: an envelope may take a number, and a client may ask for encryption.
        let number = if envelope.is_some() { room - MAX_HEADER } else { 0 };
        let sealed = if config.envelope { crypto::OVERHEAD } else { 0 };
        let (length, limit) = (bytes.len() - room + number + sealed, config.frame.max_message_bytes);
        let grown = config.signing.as_ref().filter(|_| envelope.is_some());
        let grown = grown.and_then(|signing| signing.growth(&bytes[room..], length, limit));
        let (length, limit) = grown.map_or((length, limit), |(growth, limit)| (length + growth, limit));
        if limit != 0 && length > limit {
            return Err(EngineError::TooLarge { bytes: length, limit });
        }
        // It would wait for room that there never is.
        let (held, limit) = (bytes.capacity() + FRAME_WEIGHT, config.memory_budget_bytes);
        if limit != 0 && held > limit {
            return Err(EngineError::TooLarge { bytes: held, limit });
        }
        Ok(Payload::behind(room, opcode, bytes, envelope, None).standing(standing))
    }
}

fn with_room(room: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Payload::larger_room(room, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}
