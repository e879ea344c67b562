//! TLS of a client that measures servers: every session is a full handshake, and no certificate is checked.
//!
//! What a check would cost is the client's time, and the core of the load has none to spare.

use crate::transport::Arrival;
use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// What all clients offer, which is what browsers prefer: TLS 1.3, AES-128-GCM, X25519. One choice only, so that all
/// servers encrypt alike.
pub fn configuration() -> Result<Arc<ClientConfig>, Error> {
    let provider = CryptoProvider {
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One session and the socket below it.
pub struct Tls {
    session: ClientConnection,
    /// The socket below.
    pub socket: TcpStream,
}

impl Tls {
    /// A session that begins when the socket is connected.
    pub fn new(config: Arc<ClientConfig>, socket: TcpStream) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self { session, socket })
    }

    /// Reads until there is something for the connection, or nothing more in the socket.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut inlet = Inlet { socket: &mut self.socket, is_drained: false };
        loop {
            match self.session.reader().read(buffer) {
                // The buffer is longer than what one read(2) of a session brings.
                Ok(length) => return Ok(Arrival { length, is_all: length > 0 && inlet.is_drained }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.session.read_tls(&mut inlet)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Encrypts some of `bytes`, unless the kernel still has to take what came before.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if !self.is_flushed() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = self.session.writer().write(bytes)?;
        self.flush()?;
        Ok(length)
    }

    /// Passes on what is encrypted, as far as the kernel takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the kernel has all that is encrypted.
    pub fn is_flushed(&self) -> bool {
        !self.session.wants_write()
    }
}

/// The socket as the session reads it.
struct Inlet<'a> {
    socket: &'a mut TcpStream,
    /// The last read did not fill its buffer.
    is_drained: bool,
}

impl Read for Inlet<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.socket.read(buffer)?;
        self.is_drained = length < buffer.len();
        Ok(length)
    }
}

/// Trusts every server: all of them are our own.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
