//! Frames of RFC 6455, from the server's side: what they are, and how ours are written.
//!
//! [`FrameReader`] takes in what clients send. Never touches a socket and never decides what happens
//! to a connection: it says what is wrong, and the caller closes.

mod mask;
mod reader;

pub use crate::error::FrameError;
pub use reader::FrameReader;

/// The longest header that the server writes. A client's has four bytes more, for its mask.
pub const MAX_HEADER: usize = 10;

/// The longest payload of a control frame.
pub const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The reserved bit that permessage-deflate has for its own (RFC 7692 section 6).
const COMPRESSED: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpCode {
    /// More of a message that another frame began.
    Continuation,
    /// The first frame of a text.
    Text,
    /// The first frame of a binary message.
    Binary,
    /// The last frame of a connection.
    Close,
    /// A question whether the peer lives.
    Ping,
    /// The answer to it.
    Pong,
}

impl OpCode {
    /// The four bits on the wire.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn is_control(self) -> bool {
        self.bits() & 0x8 != 0
    }

    const fn begins_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }
}

/// What one connection may send. Zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// The largest message in bytes, all its frames together. Default: 1 MiB.
    pub max_message_bytes: usize,
    /// The most frames of one message, empty ones counted. Default: 65 537.
    pub max_fragments: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_message_bytes: 1 << 20, max_fragments: 65_537 }
    }
}

/// One whole message or control frame of a client, unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text, known to be UTF-8.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A text or a binary message under permessage-deflate, as it came: nobody has looked what is in it.
    Compressed {
        /// Whether it is a text, whose UTF-8 is to be checked once it is inflated.
        is_text: bool,
        /// The compressed bytes.
        payload: &'a [u8],
    },
    /// A ping; its payload belongs into the pong.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer closes. Nothing is read after it.
    Close {
        /// Its code, which a peer was allowed to send, or `None` when it sent an empty Close.
        code: Option<u16>,
        /// Its words, often empty.
        reason: &'a str,
    },
}

/// A client's frame header.
#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    /// The message that it begins is compressed.
    is_compressed: bool,
    opcode: OpCode,
    /// Length of the payload.
    len: usize,
    mask: [u8; 4],
    /// Length of the header itself.
    size: usize,
}

impl Header {
    /// The longest header of a client.
    const MAX: usize = MAX_HEADER + 4;

    /// Reads the header that `bytes` begin with; `None` when more bytes are needed.
    ///
    /// Each fault is told by the first byte that shows it, so that a peer which then falls silent does
    /// not hold the connection.
    fn parse(bytes: &[u8], in_message: bool, has_deflate: bool) -> Result<Option<Self>, FrameError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let fin = first & FIN != 0;
        let is_compressed = first & RESERVED == COMPRESSED && has_deflate;
        if first & RESERVED != 0 && !is_compressed {
            return Err(FrameError::ReservedBits);
        }
        let Some(opcode) = OpCode::from_bits(first & OPCODE) else {
            return Err(FrameError::ReservedOpcode(first & OPCODE));
        };
        if is_compressed && !opcode.begins_message() {
            return Err(FrameError::ReservedBits);
        }
        match opcode {
            OpCode::Continuation if !in_message => return Err(FrameError::UnexpectedContinuation),
            OpCode::Text | OpCode::Binary if in_message => return Err(FrameError::ExpectedContinuation),
            OpCode::Close | OpCode::Ping | OpCode::Pong if !fin => return Err(FrameError::FragmentedControl),
            _ => {}
        }

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & LENGTH;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(FrameError::ControlTooLong);
        }

        let rest = &bytes[2..];
        let (len, rest) = match short {
            LENGTH_16 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let len = u16::from_be_bytes(*len);
                if len < u16::from(LENGTH_16) {
                    return Err(FrameError::LengthNotMinimal);
                }
                (usize::from(len), rest)
            }
            LENGTH_64 => {
                let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let len = u64::from_be_bytes(*len);
                if len >> 63 != 0 {
                    return Err(FrameError::LengthOutOfRange);
                }
                if len <= u64::from(u16::MAX) {
                    return Err(FrameError::LengthNotMinimal);
                }
                // No machine holds a message that its own addresses cannot count.
                (usize::try_from(len).map_err(|_| FrameError::MessageTooLarge)?, rest)
            }
            short => (usize::from(short), rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some(Self { fin, is_compressed, opcode, len, mask: *mask, size: bytes.len() - rest.len() }))
    }
}

/// Writes the header of an unfragmented server frame to the start of `out` and returns its length.
pub fn encode_header(opcode: OpCode, payload_len: usize, out: &mut [u8; MAX_HEADER]) -> usize {
    out[0] = FIN | opcode.bits();
    if payload_len < usize::from(LENGTH_16) {
        out[1] = payload_len as u8;
        2
    } else if let Ok(len) = u16::try_from(payload_len) {
        out[1] = LENGTH_16;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        4
    } else {
        out[1] = LENGTH_64;
        out[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
        MAX_HEADER
    }
}

/// Says in a header that [`encode_header`] wrote that its payload is compressed (RFC 7692 section 6).
pub fn mark_compressed(header: &mut [u8; MAX_HEADER]) {
    header[0] |= COMPRESSED;
}

/// The server frame that `bytes` begin with, as opcode and payload, and what follows it.
///
/// `None` when they begin with something else: less than a frame, or one that is compressed or a fragment.
pub fn split(bytes: &[u8]) -> Option<(OpCode, &[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let opcode = OpCode::from_bits(first & OPCODE).filter(|opcode| first == FIN | opcode.bits())?;
    let (&short, rest) = rest.split_first()?;
    let (len, rest) = match short {
        LENGTH_16 => {
            rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?
        }
        LENGTH_64 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
        short => (u64::from(short), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((opcode, payload, rest))
}

/// One whole server frame, in one allocation of its exact size.
///
/// A control payload must not exceed [`MAX_CONTROL`]; the caller has it from a client's frame, which
/// was checked, or wrote it.
pub fn encode(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    debug_assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL);
    let mut header = [0; MAX_HEADER];
    let size = encode_header(opcode, payload.len(), &mut header);
    let mut frame = Vec::with_capacity(size + payload.len());
    frame.extend_from_slice(&header[..size]);
    frame.extend_from_slice(payload);
    frame
}

/// A Close frame. `reason` is cut to the 123 bytes that fit, between two characters.
pub fn encode_close(code: u16, reason: &str) -> Vec<u8> {
    let mut len = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    let mut payload = [0; MAX_CONTROL];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + len].copy_from_slice(&reason.as_bytes()[..len]);
    encode(OpCode::Close, &payload[..2 + len])
}

/// Whether an endpoint may send `code` in a Close frame (RFC 6455 section 7.4, with what was
/// registered since).
const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests;
