//! What leaves: queued for the turn, written once, and kept when the kernel refuses it.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::frame::Frame;
use crate::log::{Event, Overload};
use crate::metrics::count;
use crate::turn::Pending;
use std::io::ErrorKind;
use std::sync::Arc;

/// What a backlog writes at once.
const BACKLOG_WRITE: usize = 64 << 10;

impl Core {
    /// Queues a message of this turn for a connection, behind what waits.
    pub fn queue<S>(&mut self, conn: &mut Connection<S>, number: u32) {
        let Some(backlog) = &mut conn.backlog else {
            if conn.pending.is_none() {
                self.dirty.push(conn.key.slot() as u32);
            }
            return self.turn.queue(&mut conn.pending, number);
        };
        let (frame, topic) = self.turn.frame(number);
        let was_full = backlog.full_since().is_some();
        if backlog.push(frame, topic, &self.shared.config.outbound, self.now.millis) {
            return;
        }
        count(&self.shared.metrics.outbound_refused_total, 1);
        self.shared.desks[self.index].seats.miss(conn.key);
        if !was_full {
            self.shared.desks[self.index].seats.set_full(conn.key, true);
            self.schedule(conn);
            self.note(conn, Event::Overload(Overload::Outbound));
        }
    }

    /// Queues what the engine itself has to say, see [`crate::outbound::Outbound::tell`].
    pub fn tell<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        let Some(backlog) = &mut conn.backlog else { return self.send_now(conn, frame) };
        if !backlog.tell(&frame, &self.shared.config.outbound) {
            count(&self.shared.metrics.outbound_refused_total, 1);
        }
    }

    /// Queues one frame for one connection.
    pub fn send_now<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        let number = self.turn.add(frame, None);
        self.queue(conn, number);
    }

    /// Queues a control frame, before whatever waits.
    pub fn send_control<S>(&mut self, conn: &mut Connection<S>, frame: Frame) {
        if !conn.push_control(&frame) {
            self.send_now(conn, frame);
        }
    }

    /// Makes sure that the connection is looked at when the turn ends.
    pub(crate) fn touch<S>(&mut self, conn: &Connection<S>) {
        if conn.pending.is_none() {
            self.dirty.push(conn.key.slot() as u32);
        }
    }

    pub(crate) fn flush<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let pending = std::mem::replace(&mut conn.pending, Pending::NONE);
        if !pending.is_none() && !conn.is_ended {
            let (bytes, frames) = self.turn.bytes(pending);
            let written = write_all(&mut conn.socket, bytes);
            let length = bytes.len();
            match written {
                Err(_) => self.end(conn),
                Ok(written) => {
                    let metrics = &self.shared.metrics;
                    count(&metrics.bytes_sent_total, written as u64);
                    if written == length {
                        count(&metrics.messages_sent_total, frames);
                    } else {
                        self.park(conn, pending, written);
                    }
                }
            }
        }
        self.finish(conn);
    }

    /// What the kernel refused becomes the connection's backlog.
    pub(crate) fn park<S>(&mut self, conn: &mut Connection<S>, pending: Pending, mut written: usize) {
        let mut left = self.turn.chain(pending).peekable();
        let mut sent = 0;
        while let Some(frame) = left.next_if(|frame| frame.bytes().len() <= written) {
            written -= frame.bytes().len();
            sent += 1;
        }
        count(&self.shared.metrics.messages_sent_total, sent);
        if !std::mem::replace(&mut conn.is_parked, true) {
            self.parked.push(conn.key);
        }
        conn.backlog_mut().resume(left, written);
    }

    /// The socket takes bytes again.
    pub(crate) fn writable<S: Socket>(&mut self, conn: &mut Connection<S>, joined: &mut Vec<u8>) {
        if conn.backlog.is_some() {
            self.drain_backlog(conn, joined);
        } else if conn.socket.has_unsent() {
            match conn.socket.flush() {
                Ok(()) => self.finish(conn),
                Err(_) => self.end(conn),
            }
        }
    }

    fn drain_backlog<S: Socket>(&mut self, conn: &mut Connection<S>, joined: &mut Vec<u8>) {
        let shared = Arc::clone(&self.shared);
        let limits = &shared.config.outbound;
        let Some(backlog) = &mut conn.backlog else { return };
        let was_full = backlog.full_since().is_some();
        loop {
            let next = backlog.next(joined, BACKLOG_WRITE);
            if next.is_empty() {
                break;
            }
            let asked = next.len();
            let Ok(taken) = write_all(&mut conn.socket, next) else { return self.end(conn) };
            count(&shared.metrics.bytes_sent_total, taken as u64);
            count(&shared.metrics.messages_sent_total, backlog.advance(taken, limits));
            if taken < asked {
                break;
            }
        }
        if was_full && backlog.full_since().is_none() {
            let seats = &shared.desks[self.index].seats;
            seats.set_full(conn.key, false);
            backlog.miss_unseen(seats.take_refused(conn.key));
        }
        let news = backlog.take_missed();
        if backlog.is_empty() {
            conn.backlog = None;
            if self.is_echo() {
                self.again.push(conn.key);
            }
        }
        for missed in news {
            self.tell_gap(conn, &missed);
        }
        self.finish(conn);
    }
}

/// Writes until everything is gone or the kernel refuses; how much went.
fn write_all<S: Socket>(socket: &mut S, bytes: &[u8]) -> std::io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
