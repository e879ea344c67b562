//! DEFLATE, one message at a time: the zlib streams of `C:` frames, and the payloads of permessage-deflate.
//!
//! Owns the state of a stream, which is made once and reset between messages, so that one of each kind
//! serves every connection of a thread. Never decides which message is worth it, nor what becomes of a
//! connection that sent rubbish.

mod offer;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

pub use crate::error::InflateError;
pub use offer::{Agreement, Terms, agree};

/// What a binary message begins with whose rest is a zlib stream of JSON.
pub const PREFIX: &[u8; 2] = b"C:";

/// The end of a flushed DEFLATE stream, which permessage-deflate leaves out (RFC 7692 section 7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// An empty message of permessage-deflate, wherever in a stream it stands (section 7.2.3.6).
const EMPTY: u8 = 0x00;

/// Ends a stream: a last block with nothing in it.
const LAST_BLOCK: &[u8] = &[0x03, 0x00];

/// Room for the output of a first step, in bytes.
const FIRST_ROOM: usize = 512;

/// What stands around a DEFLATE stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A zlib stream (RFC 1950) with header and checksum.
    Zlib,
    /// The payload of a message under permessage-deflate (RFC 7692): the bare stream without its tail.
    Raw {
        /// The base-2 logarithm of the window that is written with, 9 to 15; others count as the nearest.
        /// A window of 8 is none that can be written with, so a handshake must not promise it. An
        /// inflater reads them all and takes no less memory for a smaller one.
        window_bits: u8,
        /// A message may refer to what the messages before it brought ("context takeover"). Such a state
        /// belongs to one connection.
        keeps_window: bool,
    },
}

impl Format {
    /// permessage-deflate as it is unless a handshake says otherwise here: no context takeover.
    pub const RAW: Self = Self::Raw { window_bits: 15, keeps_window: false };

    const fn is_zlib(self) -> bool {
        matches!(self, Self::Zlib)
    }

    const fn keeps_window(self) -> bool {
        matches!(self, Self::Raw { keeps_window: true, .. })
    }

    fn window_bits(self) -> u8 {
        match self {
            Self::Zlib => 15,
            Self::Raw { window_bits, .. } => window_bits.clamp(9, 15),
        }
    }
}

/// Whether `bytes` begin like a zlib stream: the method is DEFLATE and the header's own check holds.
pub fn is_zlib(bytes: &[u8]) -> bool {
    // No text begins with two such bytes that JSON or one of the prefixes could begin with.
    matches!(bytes, [method, flags, ..] if method & 0x8f == 0x08 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

/// Compresses messages of one format.
///
/// Holds 370 KiB with the largest window and 245 KiB with the smallest.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
    format: Format,
}

impl Deflater {
    /// A deflater of `level` 0 (stored) to 9 (smallest); more counts as 9.
    pub fn new(format: Format, level: u32) -> Self {
        let level = Compression::new(level.min(9));
        let stream = Compress::new_with_window_bits(level, format.is_zlib(), format.window_bits());
        Self { stream, format }
    }

    /// Appends the compressed `message` to `out`. It can be longer than the message was.
    pub fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if self.format.is_zlib() {
            self.run(message, FlushCompress::Finish, out);
        } else if message.is_empty() {
            // A second flush in a row would write nothing at all.
            out.push(EMPTY);
            return;
        } else {
            self.run(message, FlushCompress::Sync, out);
            debug_assert!(out.ends_with(TAIL));
            out.truncate(out.len() - TAIL.len());
        }
        if !self.format.keeps_window() {
            self.stream.reset();
        }
    }

    fn run(&mut self, mut message: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        // Text shrinks to a fourth or less.
        out.reserve(message.len() / 4 + FIRST_ROOM);
        loop {
            let before = self.stream.total_in();
            let status = self.stream.compress_vec(message, out, flush);
            let status = status.expect("the state is nobody else's, so it is sound");
            message = &message[(self.stream.total_in() - before) as usize..];
            // A flush is complete when there is room left behind it.
            if status == Status::StreamEnd || (flush == FlushCompress::Sync && out.len() < out.capacity()) {
                debug_assert!(message.is_empty());
                return;
            }
            out.reserve(message.len() / 2 + FIRST_ROOM);
        }
    }
}

/// How much may come out of one compressed message. Zero means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InflateLimits {
    /// The largest message in bytes. Default: 1 MiB.
    pub max_bytes: usize,
    /// The most bytes that come out for each that goes in. Default: 200; DEFLATE reaches 1032.
    pub max_ratio: usize,
}

impl Default for InflateLimits {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_ratio: 200 }
    }
}

impl InflateLimits {
    /// The most bytes that may come out of `len`.
    fn allowance(&self, len: usize) -> usize {
        let by_size = if self.max_bytes == 0 { usize::MAX } else { self.max_bytes };
        let by_ratio = if self.max_ratio == 0 { usize::MAX } else { self.max_ratio.saturating_mul(len) };
        by_size.min(by_ratio)
    }
}

/// Reads compressed messages of one format.
///
/// Holds 46 KiB.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    format: Format,
}

impl Inflater {
    /// An inflater at the start of a first message.
    pub fn new(format: Format) -> Self {
        Self { stream: Decompress::new(format.is_zlib()), format }
    }

    /// Appends what the compressed `message` contains to `out`.
    ///
    /// It stops at the first byte over a limit. Memory grows with what comes out, never beyond what is
    /// allowed, and after an error `out` is as it was. A message that keeps the window cannot be read
    /// after an error, since nobody knows what it refers to; every other one can.
    pub fn inflate(
        &mut self,
        message: &[u8],
        limits: &InflateLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        let start = out.len();
        let mut output = Output { start, allowance: limits.allowance(message.len()), bytes: out };
        let end = if self.format.is_zlib() {
            self.read_zlib(message, &mut output)
        } else {
            self.read_raw(message, &mut output)
        };
        if end.is_err() {
            out.truncate(start);
        }
        if end.is_err() || !self.format.keeps_window() {
            self.stream.reset(self.format.is_zlib());
        }
        end
    }

    fn read_zlib(&mut self, message: &[u8], output: &mut Output<'_>) -> Result<(), InflateError> {
        match self.run(message, output)? {
            None => Err(InflateError::Truncated),
            Some([]) => Ok(()),
            Some(_) => Err(InflateError::TrailingData),
        }
    }

    fn read_raw(&mut self, message: &[u8], output: &mut Output<'_>) -> Result<(), InflateError> {
        // Some clients send nothing for an empty message, though it should be one byte.
        if message.is_empty() {
            return Ok(());
        }
        match self.run(message, output)? {
            // The last block of a sender that cannot flush, with or without the empty one behind it
            // (RFC 7692 section 7.2.3.5). It begins anew, so nothing refers to what was before.
            Some([] | [EMPTY]) => {
                self.stream.reset(false);
                return Ok(());
            }
            Some(_) => return Err(InflateError::TrailingData),
            None => {}
        }
        // Behind a whole message the tail is an empty block; inside a cut one it reads as something else.
        let length = output.bytes.len();
        if self.run(TAIL, output) != Ok(None) || output.bytes.len() != length {
            return Err(InflateError::Truncated);
        }
        // Only a whole block can have another behind it, so that shows every cut; but it ends the stream.
        if !self.format.keeps_window() && self.run(LAST_BLOCK, output) != Ok(Some(&[])) {
            return Err(InflateError::Truncated);
        }
        Ok(())
    }

    /// Reads `input` up to its end (`None`), or up to the end of the stream: what follows there.
    fn run<'i>(
        &mut self,
        mut input: &'i [u8],
        output: &mut Output<'_>,
    ) -> Result<Option<&'i [u8]>, InflateError> {
        loop {
            output.make_room();
            let before = self.stream.total_in();
            let status = self.stream.decompress_vec(input, output.bytes, FlushDecompress::None);
            if output.is_too_large() {
                return Err(InflateError::TooLarge);
            }
            input = &input[(self.stream.total_in() - before) as usize..];
            match status {
                Err(_) => return Err(InflateError::Corrupt),
                Ok(Status::StreamEnd) => return Ok(Some(input)),
                // It stops for lack of input or of room.
                Ok(_) if output.bytes.len() < output.bytes.capacity() => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}

/// What comes out of one message.
struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    allowance: usize,
}

impl Output<'_> {
    /// Doubles the room when there is none, up to one byte over what is allowed, which tells that it is.
    fn make_room(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            let produced = self.bytes.len() - self.start;
            let room = produced.max(FIRST_ROOM).min((self.allowance - produced).saturating_add(1));
            self.bytes.reserve_exact(room);
        }
    }

    fn is_too_large(&self) -> bool {
        self.bytes.len() - self.start > self.allowance
    }
}
