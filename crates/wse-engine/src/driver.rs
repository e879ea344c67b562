//! Real sockets and a real clock for a shard; the only file that touches one.
//!
//! One thread, one poll, edge-triggered: a connection is registered once and costs nothing while it is idle.
//! Its twin for tests is in `tests/simulation`.

use crate::auth::Decision;
use crate::connection::Socket;
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::log::{Event, Overload, Subject};
use crate::metrics::count;
use crate::shard::{Now, Shard};
use crate::shared::Shared;
use crate::streams::Stream;
use crate::tls::TlsSocket;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const WAKE: Token = Token(usize::MAX);
const LISTEN: Token = Token(usize::MAX - 1);
/// Events taken at once.
const EVENTS: usize = 1_024;
/// Connections accepted in one turn: then those that are open have theirs.
const ACCEPTS: usize = 128;
/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_AGAIN_MS: u64 = 100;

/// Whether an error of accept(2) is about the socket that was to be accepted, not about the listener.
fn is_of_one_peer(kind: ErrorKind) -> bool {
    use ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut,
    };
    matches!(
        kind,
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable | TimedOut
    )
}

/// The engine's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// This moment; milliseconds begin at one, so that zero can mean never.
    pub fn now(&self) -> Now {
        let unix_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { millis: self.0.elapsed().as_millis() as u64 + 1, unix_ms }
    }
}

impl Socket for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        TcpStream::shutdown(self, Shutdown::Write)
    }
}

/// A connection's way to its peer.
#[derive(Debug)]
pub enum Transport {
    /// A plain socket.
    Plain(TcpStream),
    /// TLS over one; in a box, so that a plain connection stays small.
    Tls(Box<TlsSocket<TcpStream>>),
    /// A stream of the host: no shard with a thread has one. Here, so that there is one shard's code and not two.
    Carried(Stream),
}

impl Transport {
    /// What the system knows of it.
    fn source(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(socket) => Some(socket.inner()),
            Self::Carried(_) => None,
        }
    }
}

impl Socket for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Socket::read(socket, buffer),
            Self::Tls(socket) => socket.read(buffer),
            Self::Carried(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Socket::write(socket, bytes),
            Self::Tls(socket) => socket.write(bytes),
            Self::Carried(stream) => stream.write(bytes),
        }
    }

    fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => Socket::shutdown(socket),
            Self::Tls(socket) => socket.shutdown(),
            Self::Carried(stream) => stream.shutdown(),
        }
    }

    fn is_drained(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_drained(),
            Self::Tls(socket) => socket.is_drained(),
            Self::Carried(stream) => stream.is_drained(),
        }
    }

    fn is_costly(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_costly(),
            Self::Tls(socket) => socket.is_costly(),
            Self::Carried(stream) => stream.is_costly(),
        }
    }

    fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.has_unsent(),
            Self::Tls(socket) => socket.has_unsent(),
            Self::Carried(stream) => stream.has_unsent(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => Socket::flush(socket),
            Self::Tls(socket) => socket.flush(),
            Self::Carried(stream) => stream.flush(),
        }
    }
}

/// A socket that the host hands over.
#[derive(Debug)]
pub struct Adoption {
    /// The socket, non-blocking.
    pub socket: std::net::TcpStream,
    /// Everything that was read of it: the request's head, and what came behind it.
    pub head: Vec<u8>,
    /// Who it is, as far as the host knows.
    pub decision: Decision,
}

/// Sockets on their way to a shard.
#[derive(Debug, Default)]
pub struct Arriving {
    adopted: Mutex<Vec<Adoption>>,
    accepted: Mutex<Vec<(TcpStream, SocketAddr)>>,
    listeners: Mutex<Vec<(std::net::TcpListener, bool)>>,
}

impl Arriving {
    /// Leaves a socket for the shard; wake it afterwards.
    pub fn adopt(&self, adoption: Adoption) {
        self.adopted.lock().push(adoption);
    }

    /// Leaves a listening socket for the shard; wake it afterwards. `deals`: it is the only one, so what it accepts
    /// is dealt out to all shards.
    pub fn listen(&self, listener: std::net::TcpListener, deals: bool) {
        self.listeners.lock().push((listener, deals));
    }
}

/// Tells the host that a shard has ended, however that came about.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.reply(Reply::Closed);
        self.0.wake_for_replies();
    }
}

/// Runs one shard until the engine is closed and its last connection is gone.
pub struct Driver {
    index: usize,
    shared: Arc<Shared>,
    /// What is on its way to each shard.
    arriving: Vec<Arc<Arriving>>,
    clock: Clock,
    poll: Poll,
    shard: Shard<Transport>,
    listener: Option<TcpListener>,
    has_accepts: bool,
    deals: bool,
    /// How many sockets were dealt out.
    dealt: usize,
    /// When accepting goes on after the system ran out of something, in milliseconds.
    accept_at: Option<u64>,
}

impl Driver {
    /// A driver for shard `index`, whose mailbox it learns to hear.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        arriving: Vec<Arc<Arriving>>,
        clock: Clock,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        // A failing wake-up means that the poll is gone, and the shard with it.
        shared.desks[index].mailbox.set_waker(Box::new(move || drop(waker.wake())));
        let shard = Shard::new(index, Arc::clone(&shared), fastrand::Rng::new(), clock.now());
        let (listener, accept_at) = (None, None);
        let (has_accepts, deals, dealt) = (false, false, 0);
        Ok(Self {
            index,
            shared,
            arriving,
            clock,
            poll,
            shard,
            listener,
            has_accepts,
            deals,
            dealt,
            accept_at,
        })
    }

    /// The thread's work.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut has_more = false;
        let shared = Arc::clone(&self.shared);
        let _end = End(Arc::clone(&shared));
        let mailbox = &shared.desks[self.index].mailbox;
        while !self.shard.is_done() {
            let is_busy = mailbox.fall_asleep() || has_more || self.has_accepts;
            let timeout = if is_busy { Some(Duration::ZERO) } else { self.until_due() };
            let polled = self.poll.poll(&mut events, timeout);
            mailbox.stay_awake();
            match polled {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                Err(_) => break,
            }
            self.shard.set_now(self.clock.now());
            for event in &events {
                match event.token() {
                    WAKE => {}
                    LISTEN => self.has_accepts = true,
                    Token(word) => {
                        let key = ConnectionKey { place: word as u32, generation: (word >> 32) as u32 };
                        let is_closed = event.is_read_closed() || event.is_error();
                        self.shard.ready(
                            key,
                            event.is_readable() || is_closed,
                            event.is_writable(),
                            is_closed,
                        );
                    }
                }
            }
            self.receive();
            if shared.is_closing() {
                // Before anyone is accepted whom the close that is under way would not meet.
                self.listener = None;
                self.has_accepts = false;
                self.accept_at = None;
            }
            if self.accept_at.is_some_and(|at| self.clock.now().millis >= at) {
                self.accept_at = None;
                self.has_accepts = true;
            }
            if self.has_accepts {
                self.accept();
            }
            has_more = self.shard.turn();
        }
    }

    fn until_due(&self) -> Option<Duration> {
        let due = self.shard.next_due().into_iter().chain(self.accept_at).min()?;
        // One millisecond more: the poll counts in whole ones, and a page never comes up early.
        Some(Duration::from_millis((due + 1).saturating_sub(self.clock.now().millis)))
    }

    fn receive(&mut self) {
        let mine = Arc::clone(&self.arriving[self.index]);
        let mut accepted = std::mem::take(&mut *mine.accepted.lock());
        if self.shared.is_closing() {
            // Nobody would tell them: the shard may have said its goodbyes.
            accepted.clear();
        }
        for (socket, peer) in accepted {
            self.add_accepted(socket, peer);
        }
        let adopted = std::mem::take(&mut *mine.adopted.lock());
        for adoption in adopted {
            let socket = TcpStream::from_std(adoption.socket);
            // A socket without a peer has been reset on its way here.
            if let Ok(peer) = socket.peer_addr() {
                self.add(Transport::Plain(socket), peer, adoption.head, adoption.decision);
            }
        }
        let listeners = std::mem::take(&mut *mine.listeners.lock());
        for (listener, deals) in listeners {
            let mut listener = TcpListener::from_std(listener);
            if self.poll.registry().register(&mut listener, LISTEN, Interest::READABLE).is_ok() {
                self.listener = Some(listener);
                self.has_accepts = true;
                self.deals = deals;
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { break };
            match listener.accept() {
                Ok((socket, peer)) => self.deal(socket, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.has_accepts = false;
                    break;
                }
                // Who gave up while waiting to be accepted concerns nobody else (accept(2)).
                Err(error) if is_of_one_peer(error.kind()) => {}
                Err(_) => {
                    // Out of descriptors or memory: those who wait are asked in again when some may be free.
                    self.shared.note(Event::Overload(Overload::Accept), Subject::default);
                    self.has_accepts = false;
                    self.accept_at = Some(self.clock.now().millis + ACCEPT_AGAIN_MS);
                    break;
                }
            }
        }
    }

    /// Gives an accepted socket to the shard whose turn it is.
    fn deal(&mut self, socket: TcpStream, peer: SocketAddr) {
        let shards = self.arriving.len();
        self.dealt = self.dealt.wrapping_add(1);
        let shard = if self.deals { (self.index + self.dealt) % shards } else { self.index };
        if shard == self.index {
            return self.add_accepted(socket, peer);
        }
        self.arriving[shard].accepted.lock().push((socket, peer));
        self.shared.desks[shard].mailbox.wake();
    }

    fn add_accepted(&mut self, socket: TcpStream, peer: SocketAddr) {
        let transport = match self.shared.certificate.session() {
            None => Transport::Plain(socket),
            Some(Ok(session)) => Transport::Tls(Box::new(TlsSocket::new(session, socket))),
            // Never in plain text instead: the socket is closed.
            Some(Err(_)) => return count(&self.shared.metrics.tls_errors_total, 1),
        };
        self.add(transport, peer, Vec::new(), Decision::Open);
    }

    fn add(&mut self, socket: Transport, peer: SocketAddr, head: Vec<u8>, decision: Decision) {
        let registry = self.poll.registry();
        // Without a place, dropping the socket closes it.
        let Some((key, socket)) = self.shard.accept(socket, peer.ip(), head, decision) else { return };
        let token = Token(key.place as usize | (key.generation as usize) << 32);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let is_known =
            socket.source().is_some_and(|source| registry.register(source, token, interest).is_ok());
        if !is_known {
            self.shard.ready(key, true, false, true);
        }
    }
}
