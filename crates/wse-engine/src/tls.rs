//! TLS on the engine's own port: a socket around a socket, and the certificate that new ones get.
//!
//! Like the connection above it, it never waits: it is told when the socket below is ready. Connections keep
//! the certificate that they were made with; a new one is for those who come later.

use crate::connection::Socket;
use crate::error::EngineError;
use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ProducesTickets;
use rustls::{Error, InvalidMessage, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// What is spoken inside, for clients that ask (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";
/// What a session keeps of what the kernel refuses, beside the connection's own queue: one record.
const UNSENT_BYTES: usize = 16 << 10;
/// The answer to a client that speaks plain HTTP to this port.
const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 45\r\n\r\nthis port speaks TLS: use wss:// or https://\n";

/// The certificate of the own port.
#[derive(Default)]
pub struct Certificate {
    current: RwLock<Option<Arc<ServerConfig>>>,
}

impl Certificate {
    /// Uses a chain and its key (PEM) from the next connection on. An error leaves the one before in force.
    ///
    /// Whether the chain is still valid is the caller's to check: that takes a calendar.
    pub fn set(&self, pem: Option<(&str, &str)>) -> Result<(), EngineError> {
        let config = pem.map(|(chain, key)| self.configuration(chain, key)).transpose()?;
        *self.current.write() = config.map(Arc::new);
        Ok(())
    }

    fn configuration(&self, chain: &str, key: &str) -> Result<ServerConfig, EngineError> {
        let invalid = |what: &str, why: &dyn std::fmt::Display| EngineError::Tls(format!("{what}: {why}"));
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid("the certificate is not PEM", &error))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| invalid("the key is not an unencrypted private key in PEM", &error))?;
        let tickets = match &*self.current.read() {
            // Who was here before the reload comes back with the ticket that it has.
            Some(config) => Arc::clone(&config.ticketer),
            None => tickets()?,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid("no protocol version", &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| invalid("the certificate and its key are of no use", &error))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.ticketer = tickets;
        Ok(config)
    }

    /// The server's side of a new session; `None`: the port speaks plain HTTP.
    pub fn session(&self) -> Option<Result<ServerConnection, Error>> {
        let config = Arc::clone(self.current.read().as_ref()?);
        Some(ServerConnection::new(config))
    }
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, EngineError> {
    ring::Ticketer::new().map_err(|error| EngineError::Tls(format!("no randomness for tickets: {error}")))
}

/// A socket inside TLS.
#[derive(Debug)]
pub struct TlsSocket<S: Socket> {
    session: ServerConnection,
    socket: S,
    /// The first byte that the client sent: it tells a client that does not speak TLS.
    first: Option<u8>,
    /// Why nothing more can be read.
    fault: Option<ErrorKind>,
    /// The last read took everything that the socket had.
    is_drained: bool,
    /// The writing half ends when everything has left.
    is_ending: bool,
}

impl<S: Socket> TlsSocket<S> {
    /// TLS over `socket`.
    pub fn new(mut session: ServerConnection, socket: S) -> Self {
        session.set_buffer_limit(Some(UNSENT_BYTES));
        Self { session, socket, first: None, fault: None, is_drained: true, is_ending: false }
    }

    /// The socket below.
    pub fn inner(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Takes in what has arrived; `false`: nothing had. A fault is kept, behind what came before it.
    fn take_in(&mut self) -> bool {
        let mut inlet = Inlet { socket: &mut self.socket, first: &mut self.first };
        match self.session.read_tls(&mut inlet) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) => {
                self.fault = Some(error.kind());
                return true;
            }
        }
        if let Err(error) = self.session.process_new_packets().map(drop) {
            self.explain(&error);
            self.fault = Some(ErrorKind::InvalidData);
        } else if let Err(error) = self.flush() {
            self.fault = Some(error.kind());
        }
        true
    }

    /// Says why the session ends, as far as the socket takes it: the connection is over either way.
    fn explain(&mut self, error: &Error) {
        let is_plain = matches!(error, Error::InvalidMessage(InvalidMessage::InvalidContentType))
            && self.first.is_some_and(|byte| byte.is_ascii_uppercase());
        let _ = if is_plain { self.socket.write(PLAIN_REFUSAL).map(drop) } else { self.flush() };
    }
}

impl<S: Socket> Socket for TlsSocket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        // What ends the reading is told once everything before it was read.
        self.is_drained = false;
        while filled < buffer.len() {
            match self.session.reader().read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => {
                    filled += length;
                    continue;
                }
                // A peer that left without saying so: what it sent is whole frames or none.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if let Some(fault) = self.fault {
                return if filled > 0 { Ok(filled) } else { Err(fault.into()) };
            }
            if !self.take_in() {
                self.is_drained = true;
                return if filled > 0 { Ok(filled) } else { Err(ErrorKind::WouldBlock.into()) };
            }
        }
        Ok(filled)
    }

    fn is_drained(&self) -> bool {
        self.is_drained
    }

    fn is_costly(&self) -> bool {
        self.session.is_handshaking()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.session.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        // Takes as much as the session may keep.
        let length = self.session.writer().write(bytes)?;
        self.flush()?;
        // It is full of what it may not send before the handshake is over.
        if length == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(length) }
    }

    fn has_unsent(&self) -> bool {
        self.session.wants_write()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Outlet(&mut self.socket)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.is_ending) { self.socket.shutdown() } else { Ok(()) }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.is_ending = true;
        self.flush()
    }
}

impl<S: Socket> Drop for TlsSocket<S> {
    fn drop(&mut self) {
        if !self.session.is_handshaking() {
            self.session.send_close_notify();
            // A peer that is gone, or takes nothing more, is not told that this is the end.
            let _ = self.flush();
        }
    }
}

/// The socket as the session reads it.
struct Inlet<'a, S> {
    socket: &'a mut S,
    first: &'a mut Option<u8>,
}

impl<S: Socket> Read for Inlet<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.socket.read(buffer)?;
        if self.first.is_none() {
            *self.first = buffer[..length].first().copied();
        }
        Ok(length)
    }
}

/// The socket as the session writes it.
struct Outlet<'a, S>(&'a mut S);

impl<S: Socket> Write for Outlet<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
