//! What a client must know about a server: where it is, how it is asked, and how it greets.

use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};

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
    /// The tokens, read from `token_file`.
    #[serde(skip)]
    pub tokens: Vec<String>,
}

impl Target {
    /// Reads the tokens into memory, so that no connection waits for a disk.
    pub fn load_tokens(&mut self) -> std::io::Result<()> {
        if let Some(file) = &self.token_file {
            self.tokens = std::fs::read_to_string(file)?.lines().map(str::to_owned).collect();
        }
        Ok(())
    }

    /// The address to connect to.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
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
