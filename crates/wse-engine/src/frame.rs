//! An encoded frame, shared by all connections that it is for.
//!
//! Encoded once, by whoever publishes; connections hold references and the budget counts the bytes once.

use crate::budget::Charge;
use std::sync::Arc;
use wse_protocol::frame::{MAX_HEADER, OpCode, encode, encode_header};

/// What a frame weighs beside its bytes: its record, and the command that carries it.
pub const FRAME_WEIGHT: usize = size_of::<Encoded>() + size_of::<crate::shared::Command>();

/// Shared bytes of one RFC 6455 frame, header included. Cloning copies a pointer.
#[derive(Debug, Clone)]
pub struct Frame(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    bytes: Vec<u8>,
    start: usize,
    _charge: Option<Charge>,
}

/// Room before a payload for what the shard writes in front of it: a unicast's number, and the header.
pub const ROOM: usize = MAX_HEADER + 28;

/// A payload that waits for its header, and for its number when it is a numbered unicast.
#[derive(Debug)]
pub struct Payload {
    /// [`ROOM`] free bytes, then the payload.
    bytes: Vec<u8>,
    opcode: OpCode,
    is_envelope: bool,
    charge: Option<Charge>,
}

impl Payload {
    /// A payload behind [`ROOM`] free bytes. `is_envelope`: it is a JSON object that takes a `seq`.
    pub fn new(opcode: OpCode, bytes: Vec<u8>, is_envelope: bool, charge: Option<Charge>) -> Self {
        debug_assert!(bytes.len() >= ROOM && (!is_envelope || bytes[ROOM] == b'{'), "the room is kept free");
        Self { bytes, opcode, is_envelope, charge }
    }

    /// Room for a payload of about `length` bytes.
    pub fn room(length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ROOM + length);
        bytes.resize(ROOM, 0);
        bytes
    }

    /// Whether it takes a number.
    pub fn is_envelope(&self) -> bool {
        self.is_envelope
    }

    /// The frame, and the bytes of its payload; `seq` becomes the first member of an envelope (PROTOCOL §6),
    /// without a copy of the rest.
    pub fn into_frame(mut self, seq: Option<u64>) -> (Frame, usize) {
        let mut start = ROOM;
        if let Some(seq) = seq.filter(|_| self.is_envelope) {
            let opening = format!("{{\"seq\":{seq},");
            start = ROOM + 1 - opening.len();
            self.bytes[start..=ROOM].copy_from_slice(opening.as_bytes());
        }
        let mut header = [0; MAX_HEADER];
        let payload = self.bytes.len() - start;
        let length = encode_header(self.opcode, payload, &mut header);
        self.bytes[start - length..start].copy_from_slice(&header[..length]);
        (Frame(Arc::new(Encoded { bytes: self.bytes, start: start - length, _charge: self.charge })), payload)
    }
}

impl Frame {
    /// A frame around a copy of `payload`.
    pub fn new(opcode: OpCode, payload: &[u8], charge: Option<Charge>) -> Self {
        let mut bytes = Payload::room(payload.len());
        bytes.extend_from_slice(payload);
        Payload::new(opcode, bytes, false, charge).into_frame(None).0
    }

    /// A control frame, of at most 125 bytes of payload.
    pub fn control(opcode: OpCode, payload: &[u8]) -> Self {
        Self::ready(encode(opcode, payload))
    }

    /// Bytes that are ready for the wire as they are: an encoded control frame, or an HTTP answer.
    pub fn ready(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Encoded { bytes, start: 0, _charge: None }))
    }

    /// What goes on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_the_first_member() {
        for seq in [1, u64::MAX] {
            let mut bytes = Payload::room(8);
            bytes.extend_from_slice(br#"{"t":"x"}"#);
            let (frame, _) = Payload::new(OpCode::Text, bytes, true, None).into_frame(Some(seq));
            let expected = format!(r#"{{"seq":{seq},"t":"x"}}"#);
            assert_eq!(&frame.bytes()[2..], expected.as_bytes());
            assert_eq!(frame.bytes()[..2], [0x81, expected.len() as u8]);
        }
    }
}
