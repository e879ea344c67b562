//! What an operator may want to read: lines that wait for the host's logger.
//!
//! Exists only where the host has a logger, and keeps only what it wants to hear. Bounded: a fault that happens
//! again while its line waits is counted there, and what does not fit is counted too. Never formats, never writes.

use crate::connection::{Connection, Phase};
use crate::core::Core;
use crate::handshake::Refusal;
use crate::id::ConnectionId;
use crate::seats::Caller;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use wse_protocol::codes::Code;

/// How urgent a line is, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A client's mistake, and what the protocol answers by itself.
    Debug,
    /// What is as it should be.
    Info,
    /// The server could not do for somebody what it is there for.
    Warn,
    /// An operator must act.
    Error,
}

impl Level {
    /// Its name, which is also the logger's method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An opening request was refused over HTTP.
    Refused(Refusal),
    /// A client was told this code, or closed for it.
    Wire(Code),
    /// Serving a connection panicked.
    Panic,
}

/// What there was too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overload {
    /// Connections: the new one was answered with HTTP 503.
    Connections,
    /// Newcomers a second: one was answered with HTTP 503.
    Admission,
    /// Unfinished handshakes: the oldest was dropped.
    Handshakes,
    /// Bytes of all queues: a message was refused.
    Memory,
    /// Messages for one connection: its queue refuses newcomers.
    Outbound,
    /// Messages that wait for a queue group: the oldest was given up.
    Groups,
    /// Events that wait for the application: what connections may have waiting has shrunk.
    Inbound,
    /// Messages whose end has not come: the connection that had most was closed.
    Unfinished,
    /// Events that nobody takes: one was dropped.
    Unheard,
    /// Descriptors, or memory of the system: nothing could be accepted.
    Accept,
    /// Lines of the log: some were not kept.
    Log,
}

impl Overload {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Admission => "admission",
            Self::Handshakes => "handshakes",
            Self::Memory => "memory",
            Self::Outbound => "outbound",
            Self::Groups => "groups",
            Self::Inbound => "inbound",
            Self::Unfinished => "unfinished",
            Self::Unheard => "unheard",
            Self::Accept => "accept",
            Self::Log => "log",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A connection is open.
    Established,
    /// A connection that was open has ended.
    Closed {
        /// How long it was open, in milliseconds.
        open_ms: u64,
        /// The close code.
        code: u16,
    },
    /// Something went wrong.
    Fault(Fault),
    /// There was too much of something.
    Overload(Overload),
}

impl Event {
    /// How urgent it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Established | Self::Closed { .. } => Level::Info,
            Self::Fault(Fault::Panic) | Self::Overload(Overload::Accept) => Level::Error,
            // One slow reader is its own fault; the others are served.
            Self::Fault(_) | Self::Overload(Overload::Outbound) => Level::Debug,
            Self::Overload(_) => Level::Warn,
        }
    }

    fn may_repeat(&self) -> bool {
        matches!(self, Self::Fault(_) | Self::Overload(_))
    }
}

/// Whom a line is about, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The connection, once it is open.
    pub id: Option<ConnectionId>,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What happened.
    pub event: Event,
    /// To whom, the last time.
    pub subject: Subject,
    /// How often it happened.
    pub times: u64,
}

/// Lines that wait at most: those of the connections that come and go while JavaScript is busy for a moment.
const MOST_LINES: usize = 4_096;

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<Line>,
    /// Where the lines are that count: one for each fault and overload at most.
    counting: Vec<usize>,
    lost: u64,
}

/// The lines of one engine.
#[derive(Debug)]
pub struct Log {
    least: Level,
    waiting: Mutex<Waiting>,
}

impl Log {
    /// A log for everything that is at least as urgent as `least`.
    pub fn new(least: Level) -> Self {
        Self { least, waiting: Mutex::default() }
    }

    /// Whether `event` is urgent enough.
    pub fn wants(&self, event: &Event) -> bool {
        event.level() >= self.least
    }

    /// Keeps a line, or counts it.
    pub fn note(&self, event: Event, subject: Subject) {
        let mut waiting = self.waiting.lock();
        let Waiting { lines, counting, lost } = &mut *waiting;
        if event.may_repeat()
            && let Some(at) = counting.iter().find(|at| lines[**at].event == event)
        {
            let line = &mut lines[*at];
            line.times += 1;
            line.subject = subject;
        } else if lines.len() < MOST_LINES {
            if event.may_repeat() {
                counting.push(lines.len());
            }
            lines.push(Line { event, subject, times: 1 });
        } else {
            *lost += 1;
        }
    }

    /// Takes what waits, oldest first.
    pub fn take(&self) -> Vec<Line> {
        let Waiting { mut lines, lost, .. } = std::mem::take(&mut *self.waiting.lock());
        let event = Event::Overload(Overload::Log);
        if lost > 0 && self.wants(&event) {
            lines.push(Line { event, subject: Subject::default(), times: lost });
        }
        lines
    }
}

impl Core {
    /// Tells the log, if there is one, of something that happened to a connection.
    pub(crate) fn note<S>(&self, conn: &Connection<S>, event: Event) {
        self.shared.note(event, || match (&conn.caller, &conn.phase) {
            (Some(caller), _) => {
                let Caller { user, address } = &**caller;
                let id = self.shared.ids.id(conn.high, conn.key);
                Subject { id: Some(id), user: user.clone(), address: Some(*address) }
            }
            (None, Phase::Handshake(handshake)) => {
                Subject { address: Some(handshake.peer), ..Subject::default() }
            }
            (None, _) => Subject::default(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Event = Event::Fault(Fault::Refused(Refusal::NotFound));

    fn from(last: u8) -> Subject {
        Subject { address: Some([10, 0, 0, last].into()), ..Subject::default() }
    }

    #[test]
    fn what_repeats_is_counted_in_one_line_that_names_the_last() {
        let log = Log::new(Level::Debug);
        log.note(Event::Established, from(1));
        for last in 1..=100 {
            log.note(REFUSED, from(last));
            log.note(Event::Fault(Fault::Wire(Code::AuthFailed)), from(last));
        }
        let lines = log.take();
        let times = lines.iter().map(|line| line.times).collect::<Vec<_>>();
        assert_eq!(times, [1, 100, 100]);
        assert_eq!((lines[1].event, &lines[1].subject), (REFUSED, &from(100)));
        log.note(REFUSED, from(7));
        assert_eq!(
            log.take(),
            [Line { event: REFUSED, subject: from(7), times: 1 }],
            "taken lines count no more"
        );
        assert!(log.take().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_said() {
        let log = Log::new(Level::Info);
        for _ in 0..MOST_LINES + 10 {
            log.note(Event::Established, Subject::default());
        }
        let lines = log.take();
        assert_eq!(lines.len(), MOST_LINES + 1);
        let last = lines.last().expect("it is not empty");
        assert_eq!((last.event, last.times), (Event::Overload(Overload::Log), 10));
    }

    #[test]
    fn a_client_is_no_reason_to_wake_an_operator() {
        let log = Log::new(Level::Info);
        assert!(!log.wants(&REFUSED) && !log.wants(&Event::Overload(Overload::Outbound)));
        assert!(log.wants(&Event::Established) && log.wants(&Event::Overload(Overload::Memory)));
        let log = Log::new(Level::Error);
        assert!(log.wants(&Event::Fault(Fault::Panic)) && log.wants(&Event::Overload(Overload::Accept)));
        assert!(!log.wants(&Event::Overload(Overload::Memory)));
    }
}
