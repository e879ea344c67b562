//! The stream path: connections whose bytes the host carries, on a shard that the host drives.
//!
//! The same shard as in `driver.rs`, without a thread and without sockets: the host brings what arrived, and after
//! each turn takes what is to be written, in one piece. Everything here happens on the host's thread.

use crate::auth::Decision;
use crate::connection::Socket;
use crate::driver::{Clock, Transport};
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::shard::{Now, Shard};
use crate::shared::Shared;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What one stream may write in one turn; what the host has not passed on is its to keep, so this bounds it.
const STREAM_BYTES: usize = 64 << 10;
/// What all streams may write in one turn, in chunks.
const TURN_BYTES: usize = 4 << 20;
/// Bytes of a chunk: the host passes slices on, and a slice that a slow peer keeps waiting keeps its chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// How late a turn may come before the host is taken to have stood still.
const LATE_MS: u64 = 100;
/// Unread bytes of a stream from which on the host stops reading it.
const UNREAD_BYTES: usize = 64 << 10;

/// What the host does with a stream, behind writing the row's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Go,
    /// Read again.
    Resume,
    /// End the writing half.
    End,
    /// Close, once everything is written.
    Close,
}

/// One step of the host: bytes of a stream, and what comes behind them.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The stream's number.
    pub stream: u32,
    /// The chunk that has its bytes.
    pub chunk: u32,
    /// Where they begin.
    pub begin: u32,
    /// Where they end.
    pub end: u32,
    /// What comes next.
    pub next: Next,
}

/// What a turn asks of the host.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The steps, in order.
    pub rows: Vec<Row>,
    /// What is to be written.
    pub chunks: Vec<Vec<u8>>,
    /// Milliseconds until the next turn is due; `None`: when something happens.
    pub due_ms: Option<u64>,
}

/// One stream, between the host and its connection.
#[derive(Debug, Default)]
struct Line {
    key: Option<ConnectionKey>,
    unread: Vec<u8>,
    read: usize,
    /// Bytes of this turn.
    written: usize,
    /// The turn that they belong to.
    turn: u64,
    has_ended: bool,
    is_gone: bool,
    /// The host takes nothing more for now.
    is_blocked: bool,
    /// The host does not read.
    is_paused: bool,
}

#[derive(Debug, Default)]
struct Exchange {
    lines: HashMap<u32, Line>,
    outcome: Outcome,
    turn: u64,
    /// Streams that wait only for the next turn.
    waiting: Vec<u32>,
    paused: Vec<u32>,
}

impl Exchange {
    /// Adds `bytes` to what the stream writes, as far as the turn takes them; how many it took.
    fn write(&mut self, stream: u32, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            // An empty chunk would be made for it, and a runtime may take an empty buffer for a detached one.
            return 0;
        }
        let chunks = &mut self.outcome.chunks;
        if chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK_BYTES) {
            if chunks.len() >= TURN_BYTES / CHUNK_BYTES {
                return 0;
            }
            chunks.push(Vec::new());
        }
        let number = chunks.len() as u32 - 1;
        let Some(chunk) = chunks.last_mut() else { return 0 };
        let begin = chunk.len() as u32;
        chunk.extend_from_slice(&bytes[..bytes.len().min(CHUNK_BYTES - chunk.len())]);
        let end = chunk.len() as u32;
        match self.outcome.rows.last_mut() {
            Some(row) if (row.stream, row.chunk, row.end, row.next) == (stream, number, begin, Next::Go) => {
                row.end = end;
            }
            _ => self.outcome.rows.push(Row { stream, chunk: number, begin, end, next: Next::Go }),
        }
        (end - begin) as usize
    }

    /// Says what comes behind everything that the stream has written.
    fn step(&mut self, stream: u32, next: Next) {
        match self.outcome.rows.last_mut() {
            Some(row) if row.stream == stream && row.next == Next::Go => row.next = next,
            _ => self.outcome.rows.push(Row { stream, chunk: 0, begin: 0, end: 0, next }),
        }
    }
}

/// A stream as its connection sees it. One thread has both ends of it, so its lock is always free.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    exchange: Arc<Mutex<Exchange>>,
}

impl Socket for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut exchange = self.exchange.lock();
        let Some(line) = exchange.lines.get_mut(&self.number) else { return Ok(0) };
        let unread = &line.unread[line.read..];
        if unread.is_empty() {
            return match (line.is_gone, line.has_ended) {
                (true, _) => Err(ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let length = unread.len().min(buffer.len());
        buffer[..length].copy_from_slice(&unread[..length]);
        line.read += length;
        if line.read == line.unread.len() {
            // An idle stream keeps no memory.
            (line.unread, line.read) = (Vec::new(), 0);
        }
        Ok(length)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut exchange = self.exchange.lock();
        let exchange = &mut *exchange;
        let turn = exchange.turn;
        let Some(line) = exchange.lines.get_mut(&self.number).filter(|line| !line.is_gone) else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        if line.is_blocked {
            return Err(ErrorKind::WouldBlock.into());
        }
        if std::mem::replace(&mut line.turn, turn) != turn {
            line.written = 0;
        }
        let room = bytes.len().min(STREAM_BYTES - line.written);
        let length = exchange.write(self.number, &bytes[..room]);
        if length == 0 {
            exchange.waiting.push(self.number);
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(line) = exchange.lines.get_mut(&self.number) {
            line.written += length;
        }
        Ok(length)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.exchange.lock().step(self.number, Next::End);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut exchange = self.exchange.lock();
        exchange.lines.remove(&self.number);
        exchange.step(self.number, Next::Close);
    }
}

/// The clock of a shard that stands still while its host does: that time counts against nobody.
struct HostClock {
    clock: Clock,
    /// Milliseconds that it stood still.
    lost_ms: u64,
    /// The time that it told last.
    last_ms: u64,
}

impl HostClock {
    /// This moment, `due` being when something was to happen.
    ///
    /// When the host comes late, nothing is due yet: what peers have sent meanwhile has to be read before anybody is
    /// said to be silent.
    fn now(&mut self, due: Option<u64>) -> Now {
        let Now { millis, unix_ms } = self.clock.now();
        let mut millis = millis - self.lost_ms;
        if let Some(due) = due.filter(|due| millis > due + LATE_MS) {
            let stopped = self.last_ms.max(due - 1);
            self.lost_ms += millis - stopped;
            millis = stopped;
        }
        self.last_ms = millis;
        Now { millis, unix_ms }
    }
}

/// The streams of an engine, and the shard that serves them.
pub struct Streams {
    index: usize,
    shared: Arc<Shared>,
    clock: HostClock,
    /// Until it has ended, or failed.
    shard: Option<Shard<Transport>>,
    exchange: Arc<Mutex<Exchange>>,
    last: u32,
}

impl Streams {
    /// The driver of the shard behind those that have a thread. An engine has one, because a shard has.
    pub(crate) fn new(shared: Arc<Shared>, clock: Clock) -> Self {
        let index = shared.desks.len() - 1;
        // Whatever comes before the first turn wakes the host.
        shared.desks[index].mailbox.fall_asleep();
        let host = Arc::downgrade(&shared);
        shared.desks[index].mailbox.set_waker(Box::new(move || {
            if let Some(shared) = host.upgrade() {
                shared.wake_host();
            }
        }));
        let shard = Shard::new(index, Arc::clone(&shared), fastrand::Rng::new(), clock.now());
        let clock = HostClock { clock, lost_ms: 0, last_ms: 0 };
        Self { index, shared, clock, shard: Some(shard), exchange: Arc::default(), last: 0 }
    }

    /// A stream whose opening request the host has read: the number that it goes by from now on.
    ///
    /// `None`: the engine closes, or has no place for it; the stream is the host's to close.
    pub fn open(&mut self, peer: IpAddr, head: Vec<u8>, decision: Decision) -> Option<u32> {
        let shard = self.shard.as_mut().filter(|_| !self.shared.is_closing())?;
        self.last = self.last.wrapping_add(1);
        let number = self.last;
        self.exchange.lock().lines.insert(number, Line::default());
        let stream = Stream { number, exchange: Arc::clone(&self.exchange) };
        shard.set_now(self.clock.now(shard.next_due()));
        let key = shard.accept(Transport::Carried(stream), peer, head, decision).map(|(key, _)| key)?;
        if let Some(line) = self.exchange.lock().lines.get_mut(&number) {
            line.key = Some(key);
        }
        Some(number)
    }

    /// `bytes` have arrived. `false`: read no more of this stream until a turn says [`Next::Resume`].
    pub fn arrived(&mut self, stream: u32, bytes: &[u8]) -> bool {
        self.with_line(stream, |line| {
            // A stream that is never quite read must not keep all that it has read.
            if line.read >= UNREAD_BYTES {
                line.unread.drain(..std::mem::take(&mut line.read));
            }
            line.unread.extend_from_slice(bytes);
        });
        self.ready(stream, true, false, false);
        let mut exchange = self.exchange.lock();
        let Some(line) = exchange.lines.get_mut(&stream) else { return true };
        let is_over = line.unread.len() - line.read >= UNREAD_BYTES;
        if is_over && !std::mem::replace(&mut line.is_paused, true) {
            exchange.paused.push(stream);
        }
        !is_over
    }

    /// The peer sends nothing more.
    pub fn ended(&mut self, stream: u32) {
        self.with_line(stream, |line| line.has_ended = true);
        self.ready(stream, true, false, true);
    }

    /// The stream is closed, or broken.
    pub fn gone(&mut self, stream: u32) {
        self.with_line(stream, |line| line.is_gone = true);
        // What came before is read before a write finds out.
        self.ready(stream, true, false, true);
        self.ready(stream, false, true, true);
    }

    /// The host keeps what it could not pass on, and wants no more of this stream for now.
    pub fn blocked(&mut self, stream: u32) {
        self.with_line(stream, |line| line.is_blocked = true);
    }

    /// The host has passed everything on.
    pub fn drained(&mut self, stream: u32) {
        self.with_line(stream, |line| line.is_blocked = false);
        self.ready(stream, false, true, false);
    }

    /// Takes a turn: what is to be written, and when the next one is due.
    ///
    /// A panic beyond one connection ends all streams, as it would end a shard's thread.
    pub fn turn(&mut self) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let mailbox = &shared.desks[self.index].mailbox;
        mailbox.stay_awake();
        let now = self.clock.now(self.shard.as_ref().and_then(Shard::next_due));
        let waiting = std::mem::take(&mut self.exchange.lock().waiting);
        if let Some(shard) = &mut self.shard {
            shard.set_now(now);
        }
        for stream in waiting {
            self.ready(stream, false, true, false);
        }
        let turned = self.shard.as_mut().map(|shard| {
            let has_more = catch_unwind(AssertUnwindSafe(|| shard.turn()));
            (has_more.as_ref().is_ok_and(|has_more| *has_more), has_more.is_err() || shard.is_done())
        });
        let has_mail = mailbox.fall_asleep();
        let (has_more, is_over) = turned.unwrap_or_default();
        if is_over {
            // Dropping it closes every stream that it still has.
            self.shard = None;
            shared.reply(Reply::Closed);
            shared.wake_for_replies();
        }
        let mut outcome = self.take_outcome();
        let is_busy = has_more || has_mail || !self.exchange.lock().waiting.is_empty();
        let due = self.shard.as_ref().and_then(Shard::next_due);
        outcome.due_ms = match self.shard {
            None => None,
            Some(_) if is_busy => Some(0),
            // One millisecond more: a page of the calendar never comes up early.
            Some(_) => due.map(|due| (due + 1).saturating_sub(now.millis)),
        };
        outcome
    }

    fn take_outcome(&mut self) -> Outcome {
        let mut exchange = self.exchange.lock();
        let exchange = &mut *exchange;
        let mut resumed = Vec::new();
        exchange.paused.retain(|stream| {
            let Some(line) = exchange.lines.get_mut(stream) else { return false };
            line.is_paused = !line.unread.is_empty();
            if !line.is_paused {
                resumed.push(*stream);
            }
            line.is_paused
        });
        for stream in resumed {
            exchange.step(stream, Next::Resume);
        }
        exchange.turn += 1;
        std::mem::take(&mut exchange.outcome)
    }

    fn with_line(&mut self, stream: u32, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.exchange.lock().lines.get_mut(&stream) {
            change(line);
        }
    }

    fn ready(&mut self, stream: u32, is_readable: bool, is_writable: bool, is_read_closed: bool) {
        let key = self.exchange.lock().lines.get(&stream).and_then(|line| line.key);
        if let (Some(key), Some(shard)) = (key, &mut self.shard) {
            shard.ready(key, is_readable, is_writable, is_read_closed);
        }
    }
}
