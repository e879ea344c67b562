//! The end of a connection: it says Close, is forgotten by the registries, and its socket is shut cleanly.

use crate::connection::{Closing, Connection, Phase, Socket};
use crate::core::Core;
use crate::frame::Frame;
use crate::id::ConnectionKey;
use crate::inbound::Kind;
use crate::log::{Event, Fault, Subject};
use crate::metrics::count;
use crate::slab::Slab;
use wse_protocol::codes::{Code, close};
use wse_protocol::frame::encode_close;

/// The code of a connection that ended without a Close (RFC 6455 §7.4.1); never on the wire.
pub const ABNORMAL: u16 = 1006;
/// How long a connection that says goodbye may take.
const LINGER_MS: u64 = 2_000;

impl Core {
    /// Says Close and ends the connection once that has left and been answered.
    pub fn close<S: Socket>(&mut self, conn: &mut Connection<S>, code: u16, reason: &str) {
        self.close_behind(conn, None, code, reason);
    }

    /// The same for an error, which is said before: it leaves although what waits is given up.
    pub(crate) fn close_for<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        (error, message): (Code, &str),
        code: u16,
        reason: &str,
    ) {
        let error = self.last_error(conn, error, message);
        self.close_behind(conn, error, code, reason);
    }

    fn close_behind<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        error: Option<Frame>,
        code: u16,
        reason: &str,
    ) {
        if matches!(conn.phase, Phase::Closing(_)) {
            return;
        }
        self.depart(conn, code, reason);
        if let Some(backlog) = &mut conn.backlog {
            backlog.abandon();
        }
        for frame in error.into_iter().chain([Frame::ready(encode_close(code, reason))]) {
            self.send_control(conn, frame);
        }
        self.begin_closing(conn, false);
    }

    pub(crate) fn begin_closing<S: Socket>(&mut self, conn: &mut Connection<S>, is_deaf: bool) {
        if matches!(conn.phase, Phase::Handshake(_)) {
            self.unfinished -= 1;
        }
        let deadline = self.now.millis + LINGER_MS;
        conn.phase = Phase::Closing(Closing { deadline, is_answered: false, is_deaf, is_shut: false });
        conn.is_stalled = false;
        self.schedule(conn);
        self.again.push(conn.key);
    }

    /// The peer has said Close, or broken the protocol so that nothing more can be read.
    pub fn stop_listening<S: Socket>(&mut self, conn: &mut Connection<S>, is_answered: bool) {
        if let Phase::Closing(closing) = &mut conn.phase {
            closing.is_deaf = true;
            closing.is_answered |= is_answered;
        }
        self.take_reader(conn);
        self.touch(conn);
    }

    /// The application's part of the end: once for each connection that was open.
    pub(crate) fn depart<S>(&mut self, conn: &mut Connection<S>, code: u16, reason: &str) {
        if !conn.is_open() {
            return;
        }
        self.open -= 1;
        if let Some(replay) = conn.replay.take() {
            self.abandon_answers(&replay);
        }
        self.leave_topics(conn);
        // Keys are wiped, and what waits for one is given up.
        conn.secrecy = None;
        if let Some(user) = conn.user() {
            self.shared.users.leave(user, conn.key);
        }
        self.shared.desks[self.index].seats.leave(conn.key);
        self.shared.give_place_back();
        count(&self.shared.metrics.disconnections_total, 1);
        // The upper half of an id begins with the moment of its making.
        let open_ms = self.now.unix_ms.saturating_sub(conn.high >> 16);
        self.note(conn, Event::Closed { open_ms, code });
        self.event(conn, Kind::Disconnect, format!("{code} {reason}").as_bytes());
        conn.phase =
            Phase::Closing(Closing { deadline: 0, is_answered: false, is_deaf: true, is_shut: false });
    }

    /// Drops the connection at the end of the turn.
    pub fn end<S>(&mut self, conn: &mut Connection<S>) {
        if !std::mem::replace(&mut conn.is_ended, true) {
            self.ended.push(conn.key.slot() as u32);
        }
    }

    /// Serving `key` panicked: that connection ends, and nobody else.
    pub(crate) fn failed<S: Socket>(&mut self, key: Option<ConnectionKey>, slab: &mut Slab<Connection<S>>) {
        count(&self.shared.metrics.panics_total, 1);
        let event = Event::Fault(Fault::Panic);
        let Some(conn) = key.and_then(|key| slab.find(key)) else {
            return self.shared.note(event, Subject::default);
        };
        self.note(conn, event);
        self.close(conn, close::FAULT, "a fault of the server");
        self.stop_listening(conn, false);
    }

    /// Takes the last step of a connection that says goodbye, when its last byte has left.
    pub(crate) fn finish<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let has_unsent = conn.has_unsent();
        let Phase::Closing(closing) = &mut conn.phase else { return };
        if conn.backlog.is_some() || !conn.pending.is_none() || has_unsent {
            return;
        }
        if closing.is_answered {
            // Both have said Close, so nothing unread is left that would turn the end into a reset.
            return self.end(conn);
        }
        let is_first = closing.is_deaf && !std::mem::replace(&mut closing.is_shut, true);
        if is_first && conn.socket.shutdown().is_err() {
            self.end(conn);
        }
    }
}
