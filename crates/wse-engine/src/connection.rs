//! One connection: what a shard knows of it.
//!
//! Plain data, about 270 bytes when idle; the shard and its session act on it.

use crate::access::{Access, Held};
use crate::auth::Decision;
use crate::cursor::Replay;
use crate::deflate::Deflate;
use crate::expiry::Expiry;
use crate::frame::Frame;
use crate::handshake::Upgrade;
use crate::id::ConnectionKey;
use crate::outbound::Outbound;
use crate::rate_limit::RateLimit;
use crate::resume::Pass;
use crate::seats::Caller;
use crate::secrecy::Secrecy;
use crate::slab::Slab;
use crate::speech::{FORMS, Speech};
use crate::topics::Topic;
use crate::turn::Pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use wse_protocol::frame::FrameReader;
use wse_protocol::rules::Grants;

/// A byte stream that never blocks.
pub trait Socket {
    /// Reads what has arrived; `WouldBlock` when nothing has, `Ok(0)` at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes what fits; `WouldBlock` when nothing does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends the writing half, behind everything that was written.
    fn shutdown(&mut self) -> io::Result<()>;
    /// Whether a read that filled less than its buffer took everything: what comes later, the end included, is
    /// told anew.
    fn is_drained(&self) -> bool {
        true
    }
    /// Whether the next read may cost as much as a thousand others: a handshake signs.
    fn is_costly(&self) -> bool {
        false
    }
    /// Whether something that was written has not left yet: it goes on with [`Socket::flush`].
    fn has_unsent(&self) -> bool {
        false
    }
    /// Sends what was written and has not left, as far as it goes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a connection is in its life.
#[derive(Debug)]
pub enum Phase {
    /// Its opening request is not complete, or not decided.
    Handshake(Box<Handshake>),
    /// It is open: the application knows of it.
    Open,
    /// It is over; what remains is to say goodbye.
    Closing(Closing),
}

/// A connection that is not open yet.
#[derive(Debug)]
pub struct Handshake {
    /// What arrived of the head, and frames behind it.
    pub received: Vec<u8>,
    /// When it began, in milliseconds.
    pub began: u64,
    /// Where it comes from: what the socket says, then what the request of a trusted proxy says.
    pub peer: IpAddr,
    /// What the host decided before it handed the socket over.
    pub decision: Decision,
    /// The request, once complete, while the application decides or newer keys are looked for.
    pub upgrade: Option<Box<Upgrade>>,
    /// The number of the look for newer keys that its token waits for.
    pub look: Option<u32>,
}

/// A connection that says goodbye.
#[derive(Debug, Clone, Copy)]
pub struct Closing {
    /// When the socket is dropped, whatever the peer does; milliseconds.
    pub deadline: u64,
    /// The peer's Close has arrived: nothing more is expected.
    pub is_answered: bool,
    /// What arrives is no longer read as frames.
    pub is_deaf: bool,
    /// The writing half has ended.
    pub is_shut: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Connection<S> {
    /// Its socket; dropping it closes it.
    pub socket: S,
    /// Its name inside the process.
    pub key: ConnectionKey,
    /// The upper half of its id.
    pub high: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// The unfinished inbound frame or message.
    pub reader: FrameReader,
    /// What was read and not looked at yet, because enough has come out of what was before.
    /// In a box of its own, because hardly any connection has some.
    pub unread: Option<Box<Box<[u8]>>>,
    /// permessage-deflate, where it has agreed on it.
    pub deflate: Option<Box<Deflate>>,
    /// What leaves in this turn.
    pub pending: Pending,
    /// What the kernel has refused.
    pub backlog: Option<Box<Outbound>>,
    /// What it is behind with in topics that have a log.
    pub replay: Option<Box<Replay>>,
    /// The topics that it holds.
    pub topics: Vec<Held>,
    /// Its rights beside the rules, and what waits for them; `None`: nothing.
    pub access: Option<Box<Access>>,
    /// Who it belongs to, once it is open.
    pub caller: Option<Arc<Caller>>,
    /// How it speaks.
    pub speech: Speech,
    /// What it has of encryption, if it wants any.
    pub secrecy: Option<Box<Secrecy>>,
    /// When its token ends.
    pub expiry: Expiry,
    /// What it comes back with, where it could.
    pub pass: Option<Box<Pass>>,
    /// When something was last heard from it, in milliseconds.
    pub last_seen: u64,
    /// When it was last pinged, in milliseconds.
    pub last_ping: u64,
    /// The calendar's page that looks at it next; zero: none.
    pub page: u64,
    /// Its inbound rate.
    pub rate: RateLimit,
    /// The number of its last event for the application (see [`crate::inbound::Inbound::consumed`]).
    pub last_event: u64,
    /// Bytes of its events that the application has not taken.
    pub waiting: usize,
    /// It owes an answer to a ping.
    pub is_silent: bool,
    /// It is in the shard's list of backlogs.
    pub is_parked: bool,
    /// It is in a queue group, or has been.
    pub is_member: bool,
    /// The application has heard of it, so it hears of its end.
    pub is_known: bool,
    /// It may ask how the server does inside.
    pub is_debugger: bool,
    /// It said `client_hello`.
    pub said_hello: bool,
    /// It is not read until the application has taken its events.
    pub is_stalled: bool,
    /// The application has enough of its events for now: it stays stalled.
    pub is_held: bool,
    /// Its peer will send nothing more.
    pub is_read_closed: bool,
    /// It is to be removed at the end of the turn.
    pub is_ended: bool,
}

impl<S> Connection<S> {
    /// Whether what is published to it is sealed, or waits for a key.
    pub fn is_sealed(&self) -> bool {
        self.secrecy.as_ref().is_some_and(|secrecy| !secrecy.is_off())
    }

    /// Whether what is published waits for the client's key.
    pub fn awaits_key(&self) -> bool {
        self.secrecy.as_ref().is_some_and(|secrecy| secrecy.is_waiting())
    }

    /// Whether it is subscribed to `topic`.
    pub fn holds(&self, topic: &Arc<Topic>) -> bool {
        self.topics.iter().any(|held| Arc::ptr_eq(held, topic))
    }

    /// Whether it gets what is published to the topic `name`, by that name or through a glob.
    pub fn hears(&self, name: &str) -> bool {
        self.topics.iter().any(|held| held.brings(name))
    }

    /// Its subscription to `topic`.
    pub fn held_mut(&mut self, topic: &Arc<Topic>) -> Option<&mut Held> {
        self.topics.iter_mut().find(|held| Arc::ptr_eq(held, topic))
    }

    /// Whether the application knows of it.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Its user.
    pub fn user(&self) -> Option<&Arc<str>> {
        self.caller.as_ref()?.user.as_ref()
    }

    /// What its claims say of topics.
    pub fn grants(&self) -> Option<&Grants> {
        self.access.as_ref()?.grants.as_ref()
    }

    /// Where an unfinished handshake comes from.
    pub fn handshake_peer(&self) -> Option<IpAddr> {
        match &self.phase {
            Phase::Handshake(handshake) => Some(handshake.peer),
            Phase::Open | Phase::Closing(_) => None,
        }
    }

    /// The number of the form that its messages have in a turn, below [`crate::turn::FORMS`].
    pub fn form(&self) -> usize {
        let is_shared = self.deflate.as_ref().is_some_and(|deflate| deflate.shared().is_some());
        self.speech.form() + if is_shared { FORMS } else { 0 }
    }

    /// A control frame for the backlog, when there is one.
    pub fn push_control(&mut self, frame: &Frame) -> bool {
        self.backlog.as_mut().map(|backlog| backlog.push_control(frame)).is_some()
    }
}

impl<S: Socket> Connection<S> {
    /// Whether something that was read has not been looked at yet.
    pub fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// Whether something that was written has not left yet.
    pub fn has_unsent(&self) -> bool {
        self.deflate.as_ref().is_some_and(|deflate| deflate.has_unsent()) || self.socket.has_unsent()
    }

    /// Sends what was written and has not left, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some(deflate) = &mut self.deflate {
            deflate.flush(&mut self.socket)?;
        }
        self.socket.flush()
    }
}

impl<S> Slab<Connection<S>> {
    /// The connection of `key`; `None`: it is gone, whoever sits there now.
    pub fn find(&mut self, key: ConnectionKey) -> Option<&mut Connection<S>> {
        self.get_mut(key.slot()).filter(|conn| conn.key == key)
    }

    /// The same as long as it is open.
    pub fn find_open(&mut self, key: ConnectionKey) -> Option<&mut Connection<S>> {
        self.find(key).filter(|conn| conn.is_open())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        let bytes = size_of::<Option<Connection<mio::net::TcpStream>>>();
        assert!(bytes <= 272, "a place in the slab takes {bytes} bytes");
    }
}
