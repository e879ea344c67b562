//! Compresses what one connection is sent, where messages may refer to those before them.
//!
//! Such messages are compressed in the order in which they leave, and none may be given up afterwards. So this stands
//! behind the queues, at the socket, as TLS does: it takes whole frames, and what the kernel refuses of them waits
//! here. Never decides what is sent.

use super::is_worth;
use crate::config::Compression;
use crate::connection::Socket;
use std::io::{self, ErrorKind};
use wse_protocol::compress::{Deflater, Format};
use wse_protocol::frame::{self, MAX_HEADER, encode_header, mark_compressed};

/// Bytes that may wait here before it takes another frame.
const MOST_UNSENT: usize = 64 << 10;

/// The writing half of one connection.
///
/// Holds up to 370 KiB once it has compressed something.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    compression: Compression,
    deflater: Option<Deflater>,
    /// What was taken, of which the first `sent` bytes have left.
    unsent: Vec<u8>,
    sent: usize,
}

impl Writer {
    /// A writer at the start of a connection.
    pub fn new(format: Format, compression: Compression) -> Self {
        Self { format, compression, deflater: None, unsent: Vec::new(), sent: 0 }
    }

    /// Whether something was taken and has not left.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Takes frames that `bytes` begin with, and writes what `socket` takes of them; how many bytes it took, which
    /// is never a part of a frame; with `is_single` one frame.
    ///
    /// `WouldBlock` until what it took before has left.
    pub fn write<S: Socket>(&mut self, socket: &mut S, bytes: &[u8], is_single: bool) -> io::Result<usize> {
        self.flush(socket)?;
        let most = if is_single { 1 } else { MOST_UNSENT };
        let mut rest = bytes;
        while !rest.is_empty() && self.unsent.len() < most {
            rest = self.take(rest);
        }
        match self.flush(socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes.len() - rest.len()),
        }
    }

    /// Writes what was taken. `WouldBlock`: something is left of it.
    pub fn flush<S: Socket>(&mut self, socket: &mut S) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            match socket.write(&self.unsent[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sent = 0;
        // An idle connection keeps no room.
        self.unsent = Vec::new();
        Ok(())
    }

    /// Takes the first frame of `bytes`; returns what follows it.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((opcode, payload, rest)) = frame::split(bytes) else {
            // The answer to the opening request, with what was joined to it.
            self.unsent.extend_from_slice(bytes);
            return &[];
        };
        if is_worth(opcode, payload, self.compression) {
            let level = self.compression.level;
            let deflater = self.deflater.get_or_insert_with(|| Deflater::new(self.format, level));
            let mut compressed = Vec::new();
            deflater.deflate(payload, &mut compressed);
            let mut header = [0; MAX_HEADER];
            let size = encode_header(opcode, compressed.len(), &mut header);
            mark_compressed(&mut header);
            self.unsent.extend_from_slice(&header[..size]);
            self.unsent.extend_from_slice(&compressed);
        } else {
            self.unsent.extend_from_slice(&bytes[..bytes.len() - rest.len()]);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wse_protocol::compress::{InflateLimits, Inflater};
    use wse_protocol::frame::OpCode;

    const FORMAT: Format = Format::Raw { window_bits: 15, keeps_window: true };
    const COMPRESSION: Compression = Compression { threshold_bytes: 20, level: 6 };

    /// A socket that takes so many bytes before it blocks.
    struct Pipe {
        taken: Vec<u8>,
        room: usize,
    }

    impl Socket for Pipe {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.room);
            if length == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= length;
            self.taken.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn shutdown(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `stream` says to a client that inflates, frame by frame.
    fn read(mut stream: &[u8]) -> Vec<(bool, Vec<u8>)> {
        let mut inflater = Inflater::new(FORMAT);
        let mut messages = Vec::new();
        while !stream.is_empty() {
            let mut plain = stream.to_vec();
            plain[0] &= !0x40;
            let (_, payload, rest) = frame::split(&plain).expect("a whole frame");
            let is_compressed = stream[0] & 0x40 != 0;
            let mut message = payload.to_vec();
            if is_compressed {
                message.clear();
                inflater
                    .inflate(payload, &InflateLimits::default(), &mut message)
                    .expect("it refers to those before");
            }
            messages.push((is_compressed, message));
            stream = &stream[stream.len() - rest.len()..];
        }
        messages
    }

    #[test]
    fn messages_arrive_whole_and_in_order_however_little_the_kernel_takes() {
        let texts =
            (0..40).map(|n| format!("message {n} of forty, much like each other")).collect::<Vec<_>>();
        let mut bytes = Vec::new();
        for text in &texts {
            bytes.extend(frame::encode(OpCode::Text, text.as_bytes()));
            bytes.extend(frame::encode(OpCode::Ping, b"ping"));
        }
        for room in 1..60 {
            let mut writer = Writer::new(FORMAT, COMPRESSION);
            let mut pipe = Pipe { taken: Vec::new(), room: 0 };
            let mut rest = &bytes[..];
            while !rest.is_empty() || writer.has_unsent() {
                pipe.room = room;
                match writer.write(&mut pipe, rest, false) {
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            let expected =
                texts.iter().flat_map(|text| [(true, text.as_bytes().to_vec()), (false, b"ping".to_vec())]);
            assert_eq!(read(&pipe.taken), expected.collect::<Vec<_>>());
            assert!(pipe.taken.len() * 2 < bytes.len(), "{} of {}", pipe.taken.len(), bytes.len());
        }
    }

    #[test]
    fn what_is_small_or_has_another_form_leaves_as_it_is() {
        let mut writer = Writer::new(FORMAT, COMPRESSION);
        let mut pipe = Pipe { taken: Vec::new(), room: usize::MAX };
        let long = [b'x'; 40];
        let plain = [
            frame::encode(OpCode::Text, b"short"),
            frame::encode(OpCode::Binary, &[&b"C:"[..], &long].concat()),
            frame::encode(OpCode::Binary, &[&b"E:"[..], &long].concat()),
            frame::encode(OpCode::Binary, &[&b"M:"[..], &long].concat()),
            frame::encode(OpCode::Pong, &long),
            frame::encode_close(1000, "a reason that is long enough for the threshold"),
        ]
        .concat();
        assert_eq!(writer.write(&mut pipe, &plain, false).ok(), Some(plain.len()));
        assert_eq!(pipe.taken, plain);
        pipe.taken.clear();
        let head = [b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(), frame::encode(OpCode::Text, &long)]
            .concat();
        assert_eq!(writer.write(&mut pipe, &head, false).ok(), Some(head.len()));
        assert_eq!(pipe.taken, head);
        pipe.taken.clear();
        let other = frame::encode(OpCode::Binary, &long);
        assert_eq!(writer.write(&mut pipe, &other, false).ok(), Some(other.len()));
        assert_eq!(read(&pipe.taken), [(true, long.to_vec())]);
    }

    #[test]
    fn what_waits_is_bounded_by_one_frame() {
        let mut writer = Writer::new(FORMAT, COMPRESSION);
        let mut pipe = Pipe { taken: Vec::new(), room: 0 };
        let mut noise = 1_u32;
        let mut payload = || {
            let bytes = (0..100_000).map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            });
            bytes.collect::<Vec<u8>>()
        };
        let frames = [frame::encode(OpCode::Binary, &payload()), frame::encode(OpCode::Binary, &payload())];
        assert_eq!(writer.write(&mut pipe, &frames.concat(), false).ok(), Some(frames[0].len()));
        assert!(writer.has_unsent() && writer.unsent.len() < 101_000);
        let blocked = writer.write(&mut pipe, &frames[1], false).map_err(|error| error.kind());
        assert_eq!(blocked, Err(ErrorKind::WouldBlock));
        pipe.room = usize::MAX;
        assert!(writer.flush(&mut pipe).is_ok() && !writer.has_unsent());
    }
}
