//! What a client must know about a server: where it is, how it is asked, and how it greets.

use crate::tls::{self, Tls};
use crate::transport::Transport;
use mio::net::TcpStream;
use rustls::ClientConfig;
use serde::Deserialize;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The answer to the key of [`Target::request`]: both are the example of RFC 6455 §1.3.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A server on this machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Port on the loopback address.
    pub port: u16,
    /// Path and query; `{i}` becomes the number of the connection.
    pub path: String,
    /// Text frames that the server sends by itself before a connection counts as open.
    #[serde(default)]
    pub greeting: u32,
    /// Whether the server speaks Engine.IO: a greeting to answer, pings as text.
    #[serde(default)]
    pub engine_io: bool,
    /// File with one bearer token a line, taken in turn; none: no token is sent.
    #[serde(default)]
    pub token_file: Option<String>,
    /// Whether the port speaks TLS.
    #[serde(default)]
    pub is_secure: bool,
    /// The tokens, read from `token_file`.
    #[serde(skip)]
    tokens: Vec<String>,
    /// What its sessions share, where the port speaks TLS.
    #[serde(skip)]
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Makes what all connections share: no connection waits for a disk.
    pub fn prepare(&mut self) -> io::Result<()> {
        if self.is_secure {
            self.tls = Some(tls::configuration().map_err(io::Error::other)?);
        }
        if let Some(file) = &self.token_file {
            self.tokens = std::fs::read_to_string(file)?.lines().map(str::to_owned).collect();
        }
        Ok(())
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What a connection to it speaks through.
    pub fn transport(&self, socket: TcpStream) -> io::Result<Transport> {
        Ok(match &self.tls {
            None => Transport::Plain(socket),
            Some(config) => Transport::Tls(Box::new(Tls::new(Arc::clone(config), socket)?)),
        })
    }

    /// The upgrade request of connection `index`.
    pub fn request(&self, index: usize) -> Vec<u8> {
        let token = match self.tokens.len() {
            0 => String::new(),
            count => format!("Authorization: Bearer {}\r\n", self.tokens[index % count]),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{token}\r\n",
            path = self.path.replace("{i}", &index.to_string()),
            port = self.port,
        )
        .into_bytes()
    }
}
