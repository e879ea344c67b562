//! One client connection, from its upgrade request to the end of its socket.
//!
//! Owns the bytes of one transport in both directions. Knows nothing of the other connections: what they
//! share (the counters, the order of the day) is lent to it for each call.

use crate::counters::Counters;
use crate::frame::{self, FrameReader};
use crate::latency::Latency;
use crate::target::{self, Target};
use crate::transport::{Arrival, Transport};
use crate::work::{Batch, Work, single};
use mio::net::TcpStream;
use std::io::{self, ErrorKind};

/// Batches that one connection may write before the others get their turn.
const BATCHES_A_TURN: usize = 4;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The answer to the upgrade request is not complete.
    Upgrading,
    /// So many text frames of the server's own are still to come.
    Greeting(u32),
    /// Messages count from here on.
    Open,
    /// Our Close frame is on its way.
    Closing,
}

/// What all connections of a generator share.
#[derive(Default)]
pub struct Shared {
    /// What arrived.
    pub counters: Counters,
    /// The delivery times, while they are wanted.
    pub latency: Option<Latency>,
    /// What to do beside receiving.
    pub work: Work,
}

/// What a call of [`Connection::write`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Nothing waits, or the kernel will tell when it takes more.
    Settled,
    /// The socket would take more right now; others come first.
    Eager,
}

/// One client.
pub struct Connection {
    transport: Transport,
    stage: Stage,
    head: Vec<u8>,
    frames: FrameReader,
    unsent: Vec<u8>,
    /// The batch that is being written, and how much of it the kernel has.
    batch: Option<(Batch, usize)>,
    received: u64,
}

impl Connection {
    /// A client whose request leaves as soon as the socket is connected.
    pub fn new(transport: Transport, request: Vec<u8>) -> Self {
        Self {
            transport,
            stage: Stage::Upgrading,
            head: Vec::new(),
            frames: FrameReader::default(),
            unsent: request,
            batch: None,
            received: 0,
        }
    }

    /// The socket, to register it.
    pub fn socket(&mut self) -> &mut TcpStream {
        self.transport.socket()
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Messages that it received while open.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the kernel has all that was to be sent.
    pub fn is_quiet(&self) -> bool {
        self.unsent.is_empty() && self.batch.is_none() && self.transport.is_flushed()
    }

    /// Begins the close handshake.
    pub fn close(&mut self) {
        self.stage = Stage::Closing;
        self.unsent.extend(frame::masked(frame::CLOSE, &1000u16.to_be_bytes(), [0; 4]));
    }

    /// Sends the first message of an echo; each answer brings the next.
    pub fn start(&mut self, shared: &mut Shared) {
        if let (Stage::Open, Work::Echo(message)) = (self.stage, &shared.work) {
            self.unsent.extend_from_slice(message);
            shared.counters.sent += 1;
        }
    }

    /// Sends `text` once.
    pub fn say(&mut self, text: &str, shared: &mut Shared) {
        self.unsent.extend_from_slice(&single(text));
        shared.counters.sent += 1;
    }

    /// Reads all that the socket has, to its end when that `is_last`; an error when the connection is over.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        is_last: bool,
        target: &Target,
        shared: &mut Shared,
    ) -> io::Result<()> {
        loop {
            let Arrival { length, is_all } = match self.transport.read(buffer) {
                Ok(Arrival { length: 0, .. }) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(arrival) => arrival,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if self.stage == Stage::Upgrading {
                self.upgrade(&buffer[..length], target, shared)?;
            } else {
                shared.counters.reads += u64::from(self.stage == Stage::Open);
                self.receive(&buffer[..length], target, shared);
            }
            if is_all && !is_last {
                return Ok(());
            }
        }
    }

    fn upgrade(&mut self, bytes: &[u8], target: &Target, shared: &mut Shared) -> io::Result<()> {
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
        let head = std::mem::take(&mut self.head);
        let text = String::from_utf8_lossy(&head[..end]);
        if !text.starts_with("HTTP/1.1 101") || !text.contains(target::ACCEPT) {
            let line = text.lines().next().unwrap_or_default();
            return Err(io::Error::other(format!("the server answered {line:?}")));
        }
        self.stage = match target.greeting {
            0 if !target.engine_io => Stage::Open,
            count => Stage::Greeting(count),
        };
        if head.len() > end + 4 {
            self.receive(&head[end + 4..], target, shared);
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8], target: &Target, shared: &mut Shared) {
        let Self { stage, frames, unsent, received, .. } = self;
        if *stage == Stage::Open {
            shared.counters.bytes += bytes.len() as u64;
        }
        frames.read(bytes, |opcode, payload| match (opcode, *stage) {
            (frame::PING, _) => unsent.extend(frame::masked(frame::PONG, payload, [0; 4])),
            (frame::CLOSE | frame::PONG, _) | (_, Stage::Closing | Stage::Upgrading) => {}
            (_, Stage::Greeting(_)) if target.engine_io => match payload {
                [b'0', ..] => unsent.extend(frame::masked(frame::TEXT, b"40", [0; 4])),
                [b'4', b'0', ..] => *stage = Stage::Open,
                _ => {}
            },
            (_, Stage::Greeting(0 | 1)) => *stage = Stage::Open,
            (_, Stage::Greeting(left)) => *stage = Stage::Greeting(left - 1),
            (_, Stage::Open) if target.engine_io && payload == b"2" => {
                unsent.extend(frame::masked(frame::TEXT, b"3", [0; 4]));
            }
            (_, Stage::Open) => {
                *received += 1;
                shared.counters.frames += 1;
                if let Some(latency) = &mut shared.latency {
                    latency.record(payload);
                }
                if let Work::Echo(message) = &shared.work {
                    unsent.extend_from_slice(message);
                    shared.counters.sent += 1;
                }
            }
        });
    }

    /// Writes what waits, then batches while a flood is ordered.
    pub fn write(&mut self, shared: &mut Shared) -> io::Result<Written> {
        for _ in 0..BATCHES_A_TURN {
            if !self.finish_batch(shared)? || !self.flush()? {
                return Ok(Written::Settled);
            }
            match &shared.work {
                Work::Flood(batch) if self.stage == Stage::Open => self.batch = Some((batch.clone(), 0)),
                _ => return Ok(Written::Settled),
            }
        }
        Ok(Written::Eager)
    }

    /// Writes the rest of a batch; false when the kernel took less. Nothing may come between its parts.
    fn finish_batch(&mut self, shared: &mut Shared) -> io::Result<bool> {
        let Some((batch, written)) = &mut self.batch else { return Ok(true) };
        *written += write_some(&mut self.transport, &batch.bytes[*written..])?;
        if *written < batch.bytes.len() {
            return Ok(false);
        }
        shared.counters.sent += batch.frames;
        self.batch = None;
        Ok(true)
    }

    fn flush(&mut self) -> io::Result<bool> {
        self.transport.flush()?;
        if !self.unsent.is_empty() {
            let written = write_some(&mut self.transport, &self.unsent)?;
            self.unsent.drain(..written);
        }
        Ok(self.unsent.is_empty())
    }
}

/// Writes until the transport takes no more and returns how much it took.
fn write_some(transport: &mut Transport, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match transport.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
