//! permessage-deflate (RFC 7692): what a connection has agreed on, and the states that a shard's connections share.
//!
//! Owns every compressor of the extension. A state that keeps its window belongs to one connection; all others are
//! made once for each shard, so that a connection costs no more than a record. Decides nothing about when bytes leave.

mod inbound;
mod outbound;
mod writer;

use crate::config::Compression;
use crate::connection::Socket;
use std::io;
use writer::Writer;
use wse_protocol::compress::{self, Agreement, Deflater, Format, InflateError, InflateLimits, Inflater};
use wse_protocol::frame::OpCode;
use wse_protocol::{crypto, msgpack};

/// The most that is kept of the room for what one message contains.
const SPARE_ROOM: usize = 64 << 10;
/// Sizes of a window that can be written with: 9 to 15.
pub const WINDOWS: usize = 7;

/// The place of a window among [`WINDOWS`].
fn place(format: Format) -> usize {
    match format {
        Format::Raw { window_bits, .. } => usize::from(window_bits.clamp(9, 15) - 9),
        Format::Zlib => WINDOWS - 1,
    }
}

/// What those messages of ours begin with that are never compressed (PROTOCOL §5), or are already.
const DENSE: [&[u8; 2]; 3] = [compress::PREFIX, msgpack::PREFIX, crypto::PREFIX];

/// Whether a message is compressed: when it is over the threshold, unless it is one of [`DENSE`]; with a threshold of
/// zero each one is.
pub fn is_worth(opcode: OpCode, payload: &[u8], compression: Compression) -> bool {
    let is_data = matches!(opcode, OpCode::Text | OpCode::Binary);
    let is_dense = opcode == OpCode::Binary && DENSE.iter().any(|prefix| payload.starts_with(*prefix));
    let is_wanted = payload.len() > compression.threshold_bytes && !is_dense;
    is_data && (is_wanted || compression.threshold_bytes == 0)
}

/// What one connection has agreed on, and what it has for itself.
#[derive(Debug)]
pub struct Deflate {
    server: Format,
    client: Format,
    /// What the client's messages may refer to, where it keeps its window: made by its first compressed message.
    inflater: Option<Box<Inflater>>,
    /// Compresses what leaves, where the server keeps its window.
    writer: Option<Box<Writer>>,
}

impl Deflate {
    /// The record of a connection that has agreed.
    pub fn new(agreement: &Agreement, compression: Compression) -> Self {
        let keeps_window = matches!(agreement.server, Format::Raw { keeps_window: true, .. });
        Self {
            server: agreement.server,
            client: agreement.client,
            inflater: None,
            writer: keeps_window.then(|| Box::new(Writer::new(agreement.server, compression))),
        }
    }

    /// Writes what `socket` takes of `bytes`, which are whole frames; how many bytes are done with. `is_single`: of no more
    /// than one of them, where they wait here.
    pub fn write<S: Socket>(&mut self, socket: &mut S, bytes: &[u8], is_single: bool) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(socket, bytes, is_single),
            None => socket.write(bytes),
        }
    }

    /// Whether something that was written waits here.
    pub fn has_unsent(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.has_unsent())
    }

    /// Passes on to `socket` what waits here.
    pub fn flush<S: Socket>(&mut self, socket: &mut S) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.flush(socket))
    }

    /// The format of the messages that it shares with others; `None`: it shares none.
    pub fn shared(&self) -> Option<Format> {
        self.writer.is_none().then_some(self.server)
    }
}

/// The states of a shard, each made when it is first needed.
#[derive(Debug, Default)]
pub struct Pool {
    inflater: Option<Inflater>,
    deflaters: [Option<Deflater>; WINDOWS],
    /// Where a message is inflated to.
    room: Vec<u8>,
}

impl Pool {
    /// Appends the compressed `message` to `out`.
    pub fn deflate(&mut self, format: Format, level: u32, message: &[u8], out: &mut Vec<u8>) {
        let deflater = &mut self.deflaters[place(format)];
        deflater.get_or_insert_with(|| Deflater::new(format, level)).deflate(message, out);
    }

    /// What a compressed `message` of a connection contains. The room goes back with [`Pool::recycle`].
    pub fn inflate(
        &mut self,
        deflate: &mut Deflate,
        message: &[u8],
        limits: &InflateLimits,
    ) -> Result<Vec<u8>, InflateError> {
        let inflater = if matches!(deflate.client, Format::Raw { keeps_window: true, .. }) {
            deflate.inflater.get_or_insert_with(|| Box::new(Inflater::new(deflate.client)))
        } else {
            // It reads a window of any size.
            self.inflater.get_or_insert_with(|| Inflater::new(Format::RAW))
        };
        let mut room = std::mem::take(&mut self.room);
        let end = inflater.inflate(message, limits, &mut room);
        match end {
            Ok(()) => Ok(room),
            Err(error) => {
                self.recycle(room);
                Err(error)
            }
        }
    }

    /// Takes the room of a message back.
    pub fn recycle(&mut self, mut room: Vec<u8>) {
        room.clear();
        room.shrink_to(SPARE_ROOM);
        self.room = room;
    }
}
