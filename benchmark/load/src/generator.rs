//! Many client connections on one thread, steered by commands.
//!
//! Keeps as many connections as wanted and hands each event to its connection. Opens no second
//! thread for them and never sleeps while there is work, so its CPU time is the whole cost of the load.

use crate::clock;
use crate::connection::{Connection, Shared, Stage, Written};
use crate::control::{self, Command};
use crate::latency::Latency;
use crate::target::Target;
use crate::work::{Batch, Work, single};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::net::sockopt::set_tcp_quickack;
use serde_json::json;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// The waker's token; connections are numbered from 0.
const COMMANDS: Token = Token(usize::MAX);
const BUFFER_BYTES: usize = 64 * 1024;
/// Failures after which a run is worth nothing.
const MAX_ERRORS: u64 = 1000;

/// What a command still waits for before it is answered.
enum Wait {
    Opened,
    Closed,
    Quiet,
    /// So many messages in all.
    Received(u64),
}

/// What an event says about the receiving half of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Incoming {
    Nothing,
    Bytes,
    /// The server sends no more; what it sent may still be there.
    End,
}

fn incoming(event: &Event) -> Incoming {
    match (event.is_read_closed() || event.is_error(), event.is_readable()) {
        (true, _) => Incoming::End,
        (false, true) => Incoming::Bytes,
        (false, false) => Incoming::Nothing,
    }
}

/// The load generator.
pub struct Generator {
    poll: Poll,
    commands: Receiver<Command>,
    deadline: Instant,
    target: Option<Target>,
    shared: Shared,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Connections that could write more at once.
    eager: VecDeque<usize>,
    wanted: usize,
    live: usize,
    opening: usize,
    concurrency: usize,
    /// Connections begun so far: the next one's number.
    begun: usize,
    waiting: Option<(u64, Wait)>,
    /// The first failure, for the report.
    failure: Option<String>,
    buffer: Vec<u8>,
}

impl Generator {
    /// A generator that takes `commands` and ends by itself after `limit`.
    pub fn new(commands: Receiver<Command>, limit: Duration) -> io::Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), COMMANDS)?);
        let generator = Self {
            poll,
            commands,
            deadline: Instant::now() + limit,
            target: None,
            shared: Shared::default(),
            connections: Vec::new(),
            free: Vec::new(),
            eager: VecDeque::new(),
            wanted: 0,
            live: 0,
            opening: 0,
            concurrency: 64,
            begun: 0,
            waiting: None,
            failure: None,
            buffer: vec![0; BUFFER_BYTES],
        };
        Ok((generator, waker))
    }

    /// Serves until the commands end; an error when the time or the patience is over.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(4096);
        while Instant::now() < self.deadline {
            let pause = if self.eager.is_empty() { Duration::from_secs(1) } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(pause)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                match event.token() {
                    COMMANDS if !self.obey()? => return Ok(()),
                    COMMANDS => {}
                    Token(slot) => self.serve(slot, incoming(event))?,
                }
            }
            for _ in 0..self.eager.len() {
                if let Some(slot) = self.eager.pop_front() {
                    self.serve(slot, Incoming::Nothing)?;
                }
            }
            self.open_wanted()?;
            self.settle();
        }
        Err(io::Error::new(ErrorKind::TimedOut, "the load ran longer than its limit"))
    }

    /// Takes the commands that came; false when there will be no more.
    fn obey(&mut self) -> io::Result<bool> {
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.execute(&command)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn execute(&mut self, command: &Command) -> io::Result<()> {
        let id = command.id;
        match command.verb.as_str() {
            "connect" => {
                let mut target: Target = serde_json::from_value(command.options.clone())?;
                target.prepare()?;
                self.target = Some(target);
                self.wanted = command.number("connections", 1) as usize;
                self.concurrency = command.number("concurrency", 64) as usize;
                self.order(Work::Listen);
                self.waiting = Some((id, Wait::Opened));
            }
            "churn" => {
                let mut target: Target = serde_json::from_value(command.options.clone())?;
                target.prepare()?;
                self.target = Some(target);
                self.wanted = command.number("concurrency", 64) as usize;
                self.concurrency = self.wanted;
                self.order(Work::Churn);
                control::answer(id, json!({}));
            }
            "flood" => {
                self.order(Work::Flood(Batch::of(command.text("text"))));
                control::answer(id, json!({}));
            }
            "echo" => {
                self.order(Work::Echo(single(command.text("text"))));
                control::answer(id, json!({}));
            }
            "say" => {
                let text = command.text("text");
                for slot in 0..self.connections.len() {
                    if let Some(connection) = &mut self.connections[slot] {
                        connection.say(&text.replace("{i}", &slot.to_string()), &mut self.shared);
                        self.eager.push_back(slot);
                    }
                }
                let frames = self.shared.counters.frames + command.number("answers", 0);
                self.waiting = Some((id, Wait::Received(frames)));
            }
            "stop" => {
                // A churn ends by closing what it has opened, so its order stands until all are closed.
                if matches!(self.shared.work, Work::Churn) {
                    self.wanted = 0;
                    self.waiting = Some((id, Wait::Closed));
                } else {
                    self.order(Work::Listen);
                    self.waiting = Some((id, Wait::Quiet));
                }
            }
            "close" => {
                self.order(Work::Listen);
                self.wanted = 0;
                for slot in 0..self.connections.len() {
                    if let Some(connection) = &mut self.connections[slot] {
                        connection.close();
                        self.eager.push_back(slot);
                    }
                }
                self.waiting = Some((id, Wait::Closed));
            }
            "time" => {
                self.shared.latency = Some(Latency::default());
                control::answer(id, json!({}));
            }
            "times" => {
                control::answer(id, self.shared.latency.as_mut().and_then(Latency::take));
            }
            "mark" => control::answer(id, self.mark()),
            other => control::refuse(id, format!("unknown command {other:?}")),
        }
        Ok(())
    }

    /// What was seen so far, with the fewest and the most messages that an open connection received.
    fn mark(&self) -> serde_json::Value {
        let received = || self.connections.iter().flatten().map(Connection::received);
        json!({
            "now": clock::now(),
            "live": self.live,
            "counters": self.shared.counters,
            "fewest": received().min(),
            "most": received().max(),
        })
    }

    /// Gives all connections new work and lets them begin.
    fn order(&mut self, work: Work) {
        self.shared.work = work;
        for (slot, connection) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = connection {
                connection.start(&mut self.shared);
                self.eager.push_back(slot);
            }
        }
    }

    /// Lets one connection write and, when there is something, read.
    fn serve(&mut self, slot: usize, incoming: Incoming) -> io::Result<()> {
        let (Some(target), Some(connection)) = (&self.target, &mut self.connections[slot]) else {
            return Ok(());
        };
        let before = connection.stage();
        let mut outcome = Ok(Written::Settled);
        if incoming != Incoming::Nothing {
            let is_last = incoming == Incoming::End;
            let read = connection.read(&mut self.buffer, is_last, target, &mut self.shared);
            outcome = read.map(|()| Written::Settled);
        }
        let has_opened = before != Stage::Open && connection.stage() == Stage::Open;
        if has_opened {
            self.opening -= 1;
            if matches!(self.shared.work, Work::Churn) {
                connection.close();
            }
        }
        let outcome = outcome.and_then(|_| connection.write(&mut self.shared));
        match outcome {
            Ok(Written::Settled) => {}
            Ok(Written::Eager) => self.eager.push_back(slot),
            // A socket that is not connected yet says so here; its first event comes when it is.
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            Err(error) => self.finish(slot, &error)?,
        }
        Ok(())
    }

    /// Forgets a connection that is over and counts how it ended.
    fn finish(&mut self, slot: usize, cause: &io::Error) -> io::Result<()> {
        let Some(connection) = self.connections[slot].take() else { return Ok(()) };
        self.free.push(slot);
        self.live -= 1;
        if connection.stage() == Stage::Closing {
            self.shared.counters.handshakes += 1;
            return Ok(());
        }
        if connection.stage() != Stage::Open {
            self.opening -= 1;
        }
        if !matches!(self.shared.work, Work::Churn) {
            self.wanted = self.wanted.saturating_sub(1);
        }
        self.failure.get_or_insert_with(|| format!("{:?}: {cause}", connection.stage()));
        self.shared.counters.errors += 1;
        if self.shared.counters.errors > MAX_ERRORS {
            return Err(io::Error::other(format!("too many failures, the first: {:?}", self.failure)));
        }
        Ok(())
    }

    /// Begins connections until as many are on their way as allowed or wanted.
    fn open_wanted(&mut self) -> io::Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        while self.live < self.wanted && self.opening < self.concurrency {
            let socket = TcpStream::connect(target.address())?;
            let mut connection = Connection::new(target.transport(socket)?, target.request(self.begun));
            let slot = self.free.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(connection.socket(), Token(slot), interest)?;
            connection.socket().set_nodelay(true)?;
            // Acknowledging each frame by itself would cost as much as reading it.
            set_tcp_quickack(&*connection.socket(), false)?;
            if slot == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[slot] = Some(connection);
            self.begun += 1;
            self.live += 1;
            self.opening += 1;
        }
        Ok(())
    }

    /// Answers the command that waits, once its condition holds.
    fn settle(&mut self) {
        let is_done = match &self.waiting {
            None => false,
            Some((_, Wait::Opened)) => self.opening == 0 && self.live == self.wanted,
            Some((_, Wait::Closed)) => self.live == 0,
            Some((_, Wait::Quiet)) => self.connections.iter().flatten().all(Connection::is_quiet),
            Some((_, Wait::Received(frames))) => self.shared.counters.frames >= *frames,
        };
        if is_done && let Some((id, _)) = self.waiting.take() {
            let counters = &self.shared.counters;
            control::answer(
                id,
                json!({
                    "now": clock::now(),
                    "live": self.live,
                    "sent": counters.sent,
                    "errors": counters.errors,
                    "failure": self.failure,
                }),
            );
        }
    }
}
