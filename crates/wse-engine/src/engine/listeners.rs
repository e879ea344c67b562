//! The sockets that listen on the engine's own port.
//!
//! Binds them: one for all shards, or one for each. Never accepts a connection.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// Connections that wait to be accepted (PROTOCOL §2).
const BACKLOG: i32 = 4_096;
/// From this many shards on, each has a listening socket of its own.
const LISTENERS_FROM: usize = 4;

/// Listens at `address` for so many shards: all sockets, and the address that they have.
pub(super) fn bind(address: SocketAddr, shards: usize) -> io::Result<(SocketAddr, Vec<Socket>)> {
    // The first one binds alone, so that a port in use is an error; only then may others join it.
    let first = open(address, false)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = vec![first];
    if cfg!(target_os = "linux") && shards >= LISTENERS_FROM {
        share_port(&listeners[0])?;
        for _ in 1..shards {
            listeners.push(open(bound, true)?);
        }
    }
    Ok((bound, listeners))
}

fn open(address: SocketAddr, shares_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if cfg!(unix) {
        // A restarted server finds its port although old connections linger. On Windows it would mean theft.
        socket.set_reuse_address(true)?;
    }
    if shares_port {
        share_port(&socket)?;
    }
    // Accepted sockets inherit it, one system call less for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(unix)]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(unix))]
fn share_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
