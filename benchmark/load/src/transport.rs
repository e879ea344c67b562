//! The socket of one client, plain or inside TLS.
//!
//! Carries bytes and knows nothing of HTTP or frames. Like the socket below, it never waits.

use crate::tls::Tls;
use mio::net::TcpStream;
use std::io::{self, Read, Write};

/// Where a connection's bytes come from and go to.
pub enum Transport {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<Tls>),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes; zero: the peer has ended its half.
    pub length: usize,
    /// The socket had no more; the next bytes bring an event.
    pub is_all: bool,
}

impl Transport {
    /// The socket, to register it.
    pub fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &mut tls.socket,
        }
    }

    /// Reads what one read(2) brings.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Arrival> {
        match self {
            Self::Plain(socket) => {
                let length = socket.read(buffer)?;
                Ok(Arrival { length, is_all: length < buffer.len() })
            }
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Takes some of `bytes`, and says how many. Inside TLS the kernel may get them later: see [`Self::flush`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Passes on what was taken, as far as the kernel takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Whether the kernel has all that was taken.
    pub fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_flushed(),
        }
    }
}
