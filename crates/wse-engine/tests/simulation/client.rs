//! A peer of the server: writes what clients write, and reads what comes back.
//!
//! Frames are coded by tungstenite, an implementation that is not ours. Never touches the shard: bytes move
//! when the world takes a turn.

use crate::kernel::Kernel;
use serde_json::Value;
use std::cell::{Ref, RefCell, RefMut};
use std::io::Cursor;
use std::rc::Rc;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use wse_engine::ConnectionKey;
use wse_protocol::compress::{Deflater, Format, InflateLimits, Inflater};

pub const TEXT: OpCode = OpCode::Data(Data::Text);
pub const BINARY: OpCode = OpCode::Data(Data::Binary);
pub const MORE: OpCode = OpCode::Data(Data::Continue);
pub const PING: OpCode = OpCode::Control(Control::Ping);
pub const PONG: OpCode = OpCode::Control(Control::Pong);
pub const CLOSE: OpCode = OpCode::Control(Control::Close);

/// The opening request of a plain client.
pub const HEAD: &str = "GET /wse HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame as clients send it: masked.
pub fn frame(opcode: OpCode, payload: &[u8], is_final: bool) -> Vec<u8> {
    let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
    let header = FrameHeader { is_final, opcode, mask, ..FrameHeader::default() };
    let mut bytes = Vec::new();
    let frame = Frame::from_payload(header, payload.to_vec().into());
    frame.format(&mut bytes).expect("a vector takes everything");
    bytes
}

/// Frames of a client that compresses its messages by themselves, in one frame each.
pub fn deflated(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    Deflater::new(Format::RAW, 6).deflate(payload, &mut compressed);
    let mut bytes = frame(opcode, &compressed, true);
    bytes[0] |= 0x40;
    bytes
}

/// A Close of a client.
pub fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes(), true)
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub opcode: OpCode,
    pub payload: Vec<u8>,
}

/// What a server has said: the answer to the opening request, whole frames, and the rest.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub head: String,
    pub frames: Vec<Received>,
    pub rest: Vec<u8>,
    /// How many of the frames came compressed.
    pub compressed: usize,
}

/// Reads the server's bytes; a server's frames are whole, unmasked, and use no reserved bit but that of
/// permessage-deflate, where that was agreed on: what is compressed is inflated here.
pub fn hear(bytes: &[u8]) -> Heard {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let head = String::from_utf8(bytes[..end].to_vec()).expect("heads are ASCII");
    let (mut frames, mut rest, mut compressed) = (Vec::new(), &bytes[end..], 0);
    let keeps_window = !head.contains("server_no_context_takeover");
    let has_deflate = head.contains("permessage-deflate");
    let mut inflater = Inflater::new(Format::Raw { window_bits: 15, keeps_window });
    while head.starts_with("HTTP/1.1 101") {
        let mut cursor = Cursor::new(rest);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).expect("a valid header") else { break };
        let (from, length) = (cursor.position() as usize, length as usize);
        if rest.len() < from + length {
            break;
        }
        assert!(header.is_final && header.mask.is_none(), "a server's frames are whole and unmasked");
        assert!(!(header.rsv2 || header.rsv3), "no other reserved bit is used");
        let mut payload = rest[from..from + length].to_vec();
        if header.rsv1 {
            assert!(has_deflate && matches!(header.opcode, TEXT | BINARY), "only a message is compressed");
            payload.clear();
            let limits = InflateLimits { max_bytes: 0, max_ratio: 0 };
            inflater.inflate(&rest[from..from + length], &limits, &mut payload).expect("a good stream");
            compressed += 1;
        }
        frames.push(Received { opcode: header.opcode, payload });
        rest = &rest[from + length..];
    }
    Heard { head, frames, rest: rest.to_vec(), compressed }
}

/// One peer.
pub struct Client {
    /// What the shard calls the connection; `None`: there was no place for it.
    pub key: Option<ConnectionKey>,
    kernel: Rc<RefCell<Kernel>>,
}

impl Client {
    pub fn new(key: Option<ConnectionKey>, kernel: Rc<RefCell<Kernel>>) -> Self {
        Self { key, kernel }
    }

    pub fn key(&self) -> ConnectionKey {
        self.key.expect("the shard had a place")
    }

    pub fn kernel(&self) -> RefMut<'_, Kernel> {
        self.kernel.borrow_mut()
    }

    fn look(&self) -> Ref<'_, Kernel> {
        self.kernel.borrow()
    }

    pub fn write(&self, bytes: &[u8]) {
        self.kernel().arrive(bytes);
    }

    pub fn text(&self, text: &str) {
        self.write(&frame(TEXT, text.as_bytes(), true));
    }

    pub fn binary(&self, bytes: &[u8]) {
        self.write(&frame(BINARY, bytes, true));
    }

    pub fn ping(&self, payload: &[u8]) {
        self.write(&frame(PING, payload, true));
    }

    pub fn close(&self, code: u16) {
        self.write(&close(code));
    }

    /// Asks for topics as PROTOCOL §8 says.
    pub fn subscribe(&self, topics: &[&str]) {
        let request =
            serde_json::json!({"t": "subscription_update", "p": {"action": "subscribe", "topics": topics}});
        self.text(&request.to_string());
    }

    /// Reads nothing from now on, behind a send buffer of `send_buffer` bytes.
    pub fn stop_reading(&self, send_buffer: usize) {
        let mut kernel = self.kernel();
        kernel.is_reading = false;
        kernel.send_buffer = send_buffer;
    }

    /// Reads everything from now on.
    pub fn resume(&self) {
        self.kernel().is_reading = true;
    }

    /// All that the server has said.
    pub fn heard(&self) -> Heard {
        hear(self.look().read())
    }

    /// Everything that arrived, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        self.look().read().to_vec()
    }

    /// The status of the answer to the opening request.
    pub fn status(&self) -> u16 {
        let head = self.heard().head;
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Payloads of the frames with `opcode`, in order.
    pub fn payloads(&self, opcode: OpCode) -> Vec<Vec<u8>> {
        let frames = self.heard().frames.into_iter();
        frames.filter(|frame| frame.opcode == opcode).map(|frame| frame.payload).collect()
    }

    /// The envelopes that arrived, in order; other text is left out.
    pub fn envelopes(&self) -> Vec<Value> {
        let texts = self.payloads(TEXT).into_iter();
        texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
    }

    /// The payloads of the envelopes of one type.
    pub fn told(&self, kind: &str) -> Vec<Value> {
        let envelopes = self.envelopes().into_iter().filter(|envelope| envelope["t"] == kind);
        envelopes.map(|mut envelope| envelope["p"].take()).collect()
    }

    /// Numbers of the publications of `topic` that arrived (see [`crate::world::World::publish_number`]).
    pub fn numbers(&self, topic: &str) -> Vec<u64> {
        self.told(topic).iter().filter_map(|payload| payload["n"].as_u64()).collect()
    }

    /// Codes of the `error`s that arrived.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.told("error").into_iter();
        errors.filter_map(|error| error["code"].as_str().map(str::to_owned)).collect()
    }

    /// The code of the server's Close; there is never more than one, and nothing behind it.
    pub fn close_code(&self) -> Option<u16> {
        let frames = self.heard().frames;
        let at = frames.iter().position(|frame| frame.opcode == CLOSE)?;
        assert_eq!(at + 1, frames.len(), "nothing follows a Close");
        frames[at].payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Whether the server has let go of the socket.
    pub fn is_gone(&self) -> bool {
        self.look().is_dropped()
    }

    /// Bytes that the server has not read.
    pub fn waiting(&self) -> usize {
        self.look().waiting()
    }

    /// Bytes that wait in the send buffer.
    pub fn unread(&self) -> usize {
        self.look().unread()
    }
}
