//! What is due for a connection when: its handshake, its heartbeat, its slow reading, its token, its goodbye.

use crate::calendar::Calendar;
use crate::connection::{Connection, Phase, Socket};
use crate::core::Core;
use crate::expiry;
use crate::handshake::Refusal;
use crate::heartbeat::Due;
use crate::metrics::count;
use std::sync::Arc;
use wse_protocol::codes::close;

impl Core {
    /// What the heartbeat has due for a connection: clients of v1 are pinged although they speak (PROTOCOL §14).
    fn due_of_heartbeat<S>(&self, conn: &Connection<S>) -> Due {
        let heartbeat = &self.shared.config.heartbeat;
        heartbeat.due(conn.last_seen, conn.last_ping, self.is_v1(conn), self.now.millis)
    }

    /// How long a connection may still be open, in milliseconds, as far as can be said now; `None`: as long as it likes.
    ///
    /// Its id knows when it began, and says by its random bits how much sooner or later than others it ends: those who
    /// came together do not go together.
    fn left_of_age<S>(&self, conn: &Connection<S>) -> Option<u64> {
        let age = Some(self.shared.config.max_connection_age_ms).filter(|age| *age != 0)?;
        let random = conn.high >> 2 & 0x3ff;
        let end = (conn.high >> 16) + age - age / 10 + age / 5 * random / 1_024;
        Some(end.saturating_sub(self.now.unix_ms).min(expiry::LOOK_MS))
    }

    pub(crate) fn schedule<S>(&mut self, conn: &mut Connection<S>) {
        let config = &self.shared.config;
        let at = match &conn.phase {
            Phase::Handshake(_) if config.handshake_timeout_ms == 0 => return,
            Phase::Handshake(handshake) => handshake.began + config.handshake_timeout_ms,
            Phase::Closing(closing) => closing.deadline,
            Phase::Open => {
                let beat = match self.due_of_heartbeat(conn) {
                    Due::At(at) => Some(at),
                    Due::Ping | Due::Close => Some(self.now.millis),
                    Due::Never => None,
                };
                let slow = conn.backlog.as_ref().and_then(|backlog| backlog.closes_at(&config.outbound));
                let secrecy = conn.secrecy.as_ref().and_then(|secrecy| secrecy.deadline());
                let expiry = match self.due_of_token(conn) {
                    expiry::Due::In(ms) => Some(self.now.millis + ms),
                    expiry::Due::Tell | expiry::Due::End => Some(self.now.millis),
                    expiry::Due::Never => None,
                };
                let age = self.left_of_age(conn).map(|left| self.now.millis + left);
                match beat.into_iter().chain(slow).chain(secrecy).chain(expiry).chain(age).min() {
                    Some(at) => at,
                    None => return,
                }
            }
        };
        if conn.page == 0 || Calendar::page(at) < conn.page {
            conn.page = self.calendar.note(conn.key.slot(), at);
        }
    }

    pub(crate) fn due<S: Socket>(&mut self, conn: &mut Connection<S>) {
        let now = self.now.millis;
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        match &conn.phase {
            Phase::Handshake(handshake) if now >= handshake.began + config.handshake_timeout_ms => {
                count(&shared.metrics.handshakes_dropped_total, 1);
                return match (&handshake.upgrade, handshake.look) {
                    (Some(_), Some(_)) => self.refuse(conn, Refusal::NoKeys),
                    (Some(_), None) => self.decided(conn, None),
                    (None, _) => self.refuse(conn, Refusal::Timeout),
                };
            }
            Phase::Handshake(_) => {}
            Phase::Closing(closing) => {
                if now >= closing.deadline {
                    return self.end(conn);
                }
            }
            Phase::Open => {
                match self.due_of_token(conn) {
                    expiry::Due::End => return self.expire(conn),
                    expiry::Due::Tell => self.tell_expiry(conn),
                    expiry::Due::In(_) | expiry::Due::Never => {}
                }
                if self.left_of_age(conn) == Some(0) {
                    count(&shared.metrics.aged_closed_total, 1);
                    return self.close(conn, close::RESTART, "it was open for long enough: connect again");
                }
                let slow = conn.backlog.as_ref().and_then(|backlog| backlog.closes_at(&config.outbound));
                if slow.is_some_and(|at| now >= at) {
                    return self.close_slow(conn);
                }
                let secrecy =
                    conn.secrecy.as_ref().filter(|secrecy| secrecy.deadline().is_some_and(|at| now >= at));
                if let Some((code, reason)) = secrecy.map(|secrecy| secrecy.farewell()) {
                    count(&shared.metrics.protocol_errors_total, u64::from(code == close::PROTOCOL));
                    return self.close(conn, code, reason);
                }
                // Of one that has hung up nothing is to be expected, whoever does not listen.
                if conn.is_stalled && !conn.is_read_closed {
                    // It is we who do not listen.
                    conn.last_seen = now;
                }
                match self.due_of_heartbeat(conn) {
                    Due::Close => {
                        count(&shared.metrics.idle_closed_total, 1);
                        return self.close(conn, close::IDLE, "nothing was heard for too long");
                    }
                    Due::Ping => {
                        conn.last_ping = now;
                        if now - conn.last_seen >= config.heartbeat.interval_ms {
                            conn.is_silent = true;
                            shared.desks[self.index].seats.set_silent(conn.key, true);
                        }
                        self.ping(conn);
                    }
                    Due::At(_) | Due::Never => {}
                }
            }
        }
        self.schedule(conn);
    }

    /// Ends a connection that did not take what was sent.
    pub(crate) fn close_slow<S: Socket>(&mut self, conn: &mut Connection<S>) {
        count(&self.shared.metrics.slow_closed_total, 1);
        let reason = conn.backlog.as_ref().map_or("too slow", |backlog| backlog.complaint(self.now.millis));
        self.close(conn, close::SLOW, reason);
    }
}
