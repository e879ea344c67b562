//! Envelopes as MessagePack: JSON text into a map, and a map into JSON text.
//!
//! Values go across one at a time, without a tree between. Knows both grammars, and what one can say
//! that the other cannot; never what a member means.

mod reader;
mod writer;

pub use crate::error::MsgpackError;
pub use reader::decode;
pub use writer::encode;

/// What a binary message begins with whose rest is a MessagePack map.
pub const PREFIX: &[u8; 2] = b"M:";

/// How many maps and arrays of a client may stand inside each other, the outermost counted.
pub const MAX_DEPTH: u32 = 64;

/// Whether `bytes` begin like a map.
pub fn is_map(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80..=0x8f | 0xde | 0xdf, ..])
}
