//! One connection as the kernel keeps it: a receive queue, a send buffer, and edges that are told once.
//!
//! Holds bytes and nothing else; never knows what they mean. Readiness is edge-triggered as mio tells it: a
//! shard that forgets to read or write until `WouldBlock` is never told again, and its test stands still.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use wse_engine::connection::Socket;

/// Bytes of a record.
const RECORD: usize = 16 << 10;

/// What has changed since the shard was last told.
#[derive(Debug, Default, Clone, Copy)]
pub struct Edges {
    pub readable: bool,
    pub writable: bool,
    pub read_closed: bool,
}

impl Edges {
    pub fn any(self) -> bool {
        self.readable || self.writable || self.read_closed
    }
}

/// Both directions of one connection.
#[derive(Debug)]
pub struct Kernel {
    /// What has changed since the shard was last told.
    pub edges: Edges,
    /// Bytes that the send buffer holds at most.
    pub send_buffer: usize,
    /// Bytes that one call of write takes at most.
    pub most_per_write: usize,
    /// Whether the peer reads all by itself.
    pub is_reading: bool,
    /// Whether the next read panics, as a bug of ours would.
    pub is_faulty: bool,
    /// How often the server has written.
    pub writes: usize,
    /// Whether a read is as expensive as a handshake of TLS.
    pub is_costly: bool,
    /// Whether the server writes records, as TLS does: each leaves whole or waits beside the connection's own queue.
    pub has_records: bool,
    record: Vec<u8>,
    arrived: VecDeque<u8>,
    unread: VecDeque<u8>,
    read: Vec<u8>,
    is_full: bool,
    is_ended: bool,
    is_reset: bool,
    is_shut: bool,
    is_dropped: bool,
}

impl Kernel {
    pub fn new() -> Self {
        Self {
            edges: Edges::default(),
            send_buffer: usize::MAX,
            most_per_write: usize::MAX,
            is_reading: true,
            is_faulty: false,
            writes: 0,
            is_costly: false,
            has_records: false,
            record: Vec::new(),
            arrived: VecDeque::new(),
            unread: VecDeque::new(),
            read: Vec::new(),
            is_full: false,
            is_ended: false,
            is_reset: false,
            is_shut: false,
            is_dropped: false,
        }
    }

    /// The peer's bytes arrive.
    pub fn arrive(&mut self, bytes: &[u8]) {
        if self.is_dropped || self.is_reset || self.is_ended {
            return;
        }
        self.arrived.extend(bytes);
        self.edges.readable |= !bytes.is_empty();
    }

    /// The peer ends its writing half.
    pub fn end(&mut self) {
        self.is_ended = true;
        self.edges.readable = true;
        self.edges.read_closed = true;
    }

    /// The connection is reset: what was under way in either direction is gone.
    pub fn reset(&mut self) {
        self.is_reset = true;
        self.arrived.clear();
        self.unread.clear();
        self.edges = Edges { readable: true, writable: true, read_closed: true };
    }

    /// The peer reads at most `most` bytes.
    pub fn drain(&mut self, most: usize) {
        let length = most.min(self.unread.len());
        self.read.extend(self.unread.drain(..length));
        if length > 0 && std::mem::take(&mut self.is_full) {
            self.edges.writable = true;
        }
    }

    /// All that the peer has read.
    pub fn read(&self) -> &[u8] {
        &self.read
    }

    /// Bytes that the server has not read.
    pub fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// Bytes in the send buffer that the peer has not read.
    pub fn unread(&self) -> usize {
        self.unread.len()
    }

    /// Room in the send buffer; `None`: there is none, and who asked is told when there is.
    fn room(&mut self) -> Option<usize> {
        let room = self.send_buffer.saturating_sub(self.unread.len());
        self.is_full |= room == 0;
        (room > 0).then_some(room)
    }

    /// Whether the server has ended its writing half.
    pub fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Whether the server has let go of the socket.
    pub fn is_dropped(&self) -> bool {
        self.is_dropped
    }
}

/// The server's end of a [`Kernel`].
#[derive(Debug)]
pub struct Wire(pub Rc<RefCell<Kernel>>);

impl Socket for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.0.borrow_mut();
        assert!(!std::mem::take(&mut kernel.is_faulty), "a fault that the test asked for");
        if kernel.is_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if kernel.arrived.is_empty() {
            return if kernel.is_ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let length = buffer.len().min(kernel.arrived.len());
        for (place, byte) in buffer.iter_mut().zip(kernel.arrived.drain(..length)) {
            *place = byte;
        }
        Ok(length)
    }

    fn is_costly(&self) -> bool {
        self.0.borrow().is_costly
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let mut kernel = self.0.borrow_mut();
        assert!(!kernel.is_shut, "nothing is written behind the end");
        let room =
            if kernel.has_records { kernel.record.is_empty().then_some(RECORD) } else { kernel.room() };
        let Some(room) = room else { return Err(ErrorKind::WouldBlock.into()) };
        let length = bytes.len().min(room).min(kernel.most_per_write);
        kernel.writes += 1;
        if kernel.has_records {
            kernel.record.extend(&bytes[..length]);
            drop(kernel);
            self.flush()?;
        } else {
            kernel.unread.extend(&bytes[..length]);
        }
        Ok(length)
    }

    fn has_unsent(&self) -> bool {
        !self.0.borrow().record.is_empty()
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        if kernel.is_reset {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if !kernel.record.is_empty() && kernel.room().is_some() {
            let record = std::mem::take(&mut kernel.record);
            kernel.unread.extend(record);
        }
        Ok(())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        let mut kernel = self.0.borrow_mut();
        if kernel.is_reset {
            return Err(ErrorKind::NotConnected.into());
        }
        kernel.is_shut = true;
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.borrow_mut().is_dropped = true;
    }
}
