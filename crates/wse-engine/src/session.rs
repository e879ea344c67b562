//! What is said on an open connection: reading its messages, answering those that are the engine's own.
//!
//! Transport messages never wake JavaScript; everything else becomes an event (PROTOCOL §7). Decides nothing
//! about when bytes leave.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::frame::{FRAME_WEIGHT, Frame};
use crate::handshake::Upgrade;
use crate::id::message_id;
use crate::inbound::Kind;
use crate::log::{Event, Fault, Overload};
use crate::metrics::count;
use crate::outbound::Missed;
use crate::rate_limit::Verdict;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use wse_protocol::codes::{Code, close};
use wse_protocol::envelope::Dialect;
use wse_protocol::frame::{Message, OpCode};
use wse_protocol::message::{
    Available, Error, Gap, Hole, Ping, Pong, RateLimitWarning, ServerHello, ServerMessage, ServerReady,
    correlate, write,
};
use wse_protocol::priority::Priority;
use wse_protocol::scan;

/// Messages of the server's own that may wait for a connection although the memory budget is used up.
const UNCHARGED: usize = 32;

/// What a `client_hello` says; what it leaves out, or says in another type, is not asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientHello {
    #[serde(deserialize_with = "lenient")]
    protocol_version: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    features: ClientFeatures,
    #[serde(deserialize_with = "lenient")]
    encryption_public_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClientFeatures {
    #[serde(deserialize_with = "lenient")]
    compression: bool,
    #[serde(deserialize_with = "lenient")]
    encryption: bool,
}

/// A member of another type counts as absent.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// The public key in the payload of a request.
fn public_key(payload: Option<&str>) -> Option<String> {
    serde_json::from_str::<ClientHello>(payload?).ok()?.encryption_public_key
}

impl Core {
    /// Reads the frames of an open connection.
    pub fn read_frames<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: &mut [u8]) {
        conn.last_seen = self.now.millis;
        if std::mem::take(&mut conn.is_silent) {
            self.shared.desks[self.index].seats.set_silent(conn.key, false);
        }
        let shared = Arc::clone(&self.shared);
        let has_deflate = conn.deflate.is_some();
        let mut reader = self.take_reader(conn);
        let outcome =
            reader.feed(bytes, &shared.config.frame, has_deflate, &mut |message| self.heard(conn, &message));
        self.keep_reader(conn, reader);
        match outcome {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(left)) => self.leave_unread(conn, &bytes[bytes.len() - left..]),
            Err(error) => self.violated(conn, error.close_code(), error.reason()),
        }
    }

    /// Reads on after our Close, for the peer's.
    pub fn read_farewell<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: &mut [u8]) {
        let shared = Arc::clone(&self.shared);
        let mut is_answered = false;
        let has_deflate = conn.deflate.is_some();
        let mut reader = self.take_reader(conn);
        let outcome = reader.feed(bytes, &shared.config.frame, has_deflate, &mut |message| match message {
            Message::Close { .. } => {
                is_answered = true;
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        self.keep_reader(conn, reader);
        if is_answered || outcome.is_err() {
            self.stop_listening(conn, is_answered);
        }
    }

    /// Hears a message of an open connection; it breaks when nothing more is to be read for now.
    pub(crate) fn heard<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        message: &Message<'_>,
    ) -> ControlFlow<()> {
        if !conn.is_open() {
            return ControlFlow::Break(());
        }
        if let Message::Compressed { is_text, payload } = *message {
            return self.heard_compressed(conn, is_text, payload);
        }
        self.heard += 1;
        if let Message::Close { code, reason } = message {
            // Echoed as RFC 6455 §5.5.1 wants it; an empty Close is answered with 1000.
            let code = code.unwrap_or(close::NORMAL);
            self.close(conn, code, reason);
            self.stop_listening(conn, true);
            return ControlFlow::Break(());
        }
        let is_within_rate = self.is_within_rate(conn);
        if !conn.is_open() {
            return ControlFlow::Break(());
        }
        match *message {
            // Answered over the rate too: a client's own watchdog must not take its flood for our death.
            Message::Ping(payload) => self.send_control(conn, Frame::control(OpCode::Pong, payload)),
            Message::Pong(_) | Message::Close { .. } | Message::Compressed { .. } => {}
            Message::Binary(_) | Message::Text(_) if !is_within_rate => {}
            Message::Binary(payload) if self.is_echo() => self.echo(conn, OpCode::Binary, payload),
            Message::Text(text) if self.is_echo() => self.echo(conn, OpCode::Text, text.as_bytes()),
            Message::Binary(payload) => {
                let before = self.inflated;
                self.heard_binary(conn, payload);
                if self.inflated > before && self.has_enough(conn) {
                    return ControlFlow::Break(());
                }
            }
            Message::Text(text) => self.heard_text(conn, text),
        }
        ControlFlow::Continue(())
    }

    pub(crate) fn is_within_rate<S: Socket>(&mut self, conn: &mut Connection<S>) -> bool {
        let Some(rate) = self.shared.config.rate else { return true };
        match conn.rate.take(rate, self.now.millis) {
            Verdict::Pass => true,
            Verdict::Warn { remaining, current } => {
                let warning = RateLimitWarning {
                    current_rate: current,
                    limit: rate.per_second,
                    remaining,
                    retry_after: Duration::from_secs_f64(
                        f64::from(rate.burst - remaining) / f64::from(rate.per_second.max(1)),
                    ),
                };
                self.say(conn, &warning);
                true
            }
            Verdict::Drop { tell } => {
                count(&self.shared.metrics.rate_dropped_total, 1);
                if tell {
                    self.say_error(conn, Code::RateLimited, "");
                }
                false
            }
            Verdict::Close => {
                self.close(conn, close::RATE, "over the rate for five seconds");
                self.stop_listening(conn, false);
                false
            }
        }
    }

    /// Reads a message's text.
    pub(crate) fn heard_text<S: Socket>(&mut self, conn: &mut Connection<S>, text: &str) {
        self.takes(conn, text);
    }

    /// Reads a message's text; `false`: it was dropped, because a signature that it must have is missing or wrong.
    pub(crate) fn takes<S: Socket>(&mut self, conn: &mut Connection<S>, text: &str) -> bool {
        match scan::inbound(text) {
            Ok(message) => {
                let kind = message.kind.as_deref().filter(|_| self.shared.config.envelope);
                match kind {
                    Some("ping" | "PING") => self.pong(conn, message.payload),
                    Some("pong" | "PONG" | "heartbeat") => {}
                    Some("client_hello") => self.hello(conn, message.payload),
                    Some("encryption_request") => {
                        self.encryption(conn, public_key(message.payload).as_deref())
                    }
                    Some("key_rotation_request") => self.rotate(conn, public_key(message.payload).as_deref()),
                    Some("auth_refresh") if conn.speech.dialect() == Dialect::V2 => {
                        self.refresh(conn, message.payload);
                    }
                    Some("subscription_update" | "subscription") => self.subscription(conn, message.payload),
                    Some(kind) if self.shared.handled.has(kind) => {
                        if !self.is_genuine(conn, kind, message.json) {
                            return false;
                        }
                        self.request(conn, message.json);
                    }
                    Some(kind) if self.answer_request(conn, kind, &message) => {}
                    kind if self.shared.config.envelope => {
                        if !self.is_genuine(conn, kind.unwrap_or_default(), message.json) {
                            return false;
                        }
                        self.event(conn, Kind::Message, message.json.as_bytes());
                    }
                    // Plain: untouched, an old prefix included.
                    _ if message.json.len() == text.len() => self.event(conn, Kind::Message, text.as_bytes()),
                    _ => self.event(conn, Kind::Raw, text.as_bytes()),
                }
            }
            Err(scan::ScanError::TooDeep) if self.shared.config.envelope => {
                self.violated(conn, close::INVALID_DATA, "JSON is nested too deeply");
            }
            Err(_) => self.event(conn, Kind::Raw, text.as_bytes()),
        }
        true
    }

    /// Whether a message that is the application's may go there: those of types that are signed need a signature.
    fn is_genuine<S>(&mut self, conn: &mut Connection<S>, kind: &str, json: &str) -> bool {
        let Some(signing) = &self.shared.config.signing else { return true };
        let checked = signing.check((conn.speech.dialect(), kind), json, self.timestamp());
        let Err(error) = checked else { return true };
        count(&self.shared.metrics.signatures_refused_total, 1);
        self.note(conn, Event::Fault(Fault::Wire(error.code())));
        let reason = error.to_string();
        self.say(conn, &Error::new(error.code(), &reason, self.timestamp()).with_recovery());
        false
    }

    /// A message that the application has taken over, with the user, whom it would ask for in most cases.
    fn request<S>(&mut self, conn: &mut Connection<S>, json: &str) {
        let user = serde_json::json!(conn.user().map(|user| &**user));
        self.event(conn, Kind::Request, format!("[{user},{json}]").as_bytes());
    }

    /// The 101, and the server's first message behind it in the same write.
    pub fn greet<S: Socket>(&mut self, conn: &mut Connection<S>, upgrade: &Upgrade) {
        let mut bytes = upgrade.response().into_bytes();
        if self.shared.config.envelope {
            let id = self.shared.ids.id(conn.high, conn.key).0;
            let (dialect, user) = (conn.speech.dialect(), conn.user().map(|user| &**user));
            let config = &self.shared.config;
            let (compression, recovery) = (config.compression.is_some(), config.recovery.is_some());
            let available = Available { compression, recovery };
            let ready = ServerReady::new(dialect, available, id, user, self.timestamp());
            bytes.extend_from_slice(Frame::new(OpCode::Text, &self.text(dialect, &ready), None).bytes());
        }
        self.send_now(conn, Frame::ready(bytes));
    }

    fn hello<S: Socket>(&mut self, conn: &mut Connection<S>, payload: Option<&str>) {
        let hello =
            payload.and_then(|json| serde_json::from_str::<ClientHello>(json).ok()).unwrap_or_default();
        let is_first = !std::mem::replace(&mut conn.said_hello, true);
        let has_compression = self.shared.config.compression.is_some();
        conn.speech.greet(hello.protocol_version, hello.features.compression && has_compression);
        self.shared.desks[self.index].seats.set_dialect(conn.key, conn.speech.dialect());
        if is_first {
            // The time between heartbeats counts from here.
            conn.last_ping = self.now.millis;
            self.schedule(conn);
        }
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let id = shared.ids.id(conn.high, conn.key).0;
        let limits = self.limits();
        let interval = Duration::from_millis(config.heartbeat.interval_ms);
        let dialect = conn.speech.dialect();
        let is_wanted = conn.awaits_key();
        if (hello.features.encryption || is_wanted)
            && !self.agree(conn, hello.encryption_public_key.as_deref())
        {
            // It is neither plain nor sealed from here on: the client has to say hello again.
            return;
        }
        let public = conn.secrecy.as_ref().and_then(|secrecy| secrecy.public_key()).map(str::to_owned);
        let features = self.features_of(conn);
        let version = env!("CARGO_PKG_VERSION");
        let hello = ServerHello::new(version, dialect, features, limits, interval, id, self.timestamp());
        let ticket = self.resume_ticket(conn, false);
        let hello = hello.with_public_key(public.as_deref()).with_resume_ticket(ticket.as_deref());
        self.say_key(conn, &hello);
        self.release(conn);
    }

    fn pong<S: Socket>(&mut self, conn: &mut Connection<S>, payload: Option<&str>) {
        let pong = Pong::answer(conn.speech.dialect(), payload, self.timestamp());
        self.say(conn, &pong);
    }

    /// Asks a silent connection for a sign of life, in its own language (PROTOCOL §14).
    pub fn ping<S: Socket>(&mut self, conn: &mut Connection<S>) {
        // A client of v1 wants to hear it from the start.
        if conn.said_hello || (self.shared.config.envelope && conn.speech.dialect() == Dialect::V1) {
            self.say(conn, &Ping { server_time: self.timestamp() });
        } else {
            self.send_control(conn, Frame::control(OpCode::Ping, b""));
        }
    }

    /// Tells what a connection has missed. Where there is no room for that, it is told with what is missed next, or when the
    /// queue has drained further; but what comes behind a hole in a log cannot wait, so that such a connection is closed.
    pub fn tell_gap<S>(&mut self, conn: &mut Connection<S>, missed: Missed) {
        if self.shared.config.envelope {
            let frame = self.gap(conn.speech.dialect(), &missed);
            if self.tell(conn, frame) {
                return;
            }
            if missed.offsets.is_some() {
                self.doom(conn);
            } else if let Some(backlog) = &mut conn.backlog {
                backlog.miss(missed);
            }
        }
    }

    /// What tells of messages that are missing. It passes the memory budget: a hole that nobody knows of is worse.
    pub(crate) fn gap(&mut self, dialect: Dialect, missed: &Missed) -> Frame {
        let (topic, reason) = (missed.topic.as_ref().map(|topic| topic.name()), missed.reason.as_str());
        let text = match (topic, missed.offsets) {
            (Some(topic), Some((from, to))) => self.text(dialect, &Hole { topic, from, to, reason }),
            _ => self.text(dialect, &Gap { topic, count: missed.count, reason }),
        };
        let charge = self.shared.budget.charge(text.len() + FRAME_WEIGHT);
        Frame::own(&text, missed.lane, charge)
    }

    /// Says an error. Plain connections have none: they are told by the close code alone.
    pub fn say_error<S>(&mut self, conn: &mut Connection<S>, code: Code, message: &str) {
        self.note(conn, Event::Fault(Fault::Wire(code)));
        self.say(conn, &Error::new(code, explain(code, message), self.timestamp()));
    }

    /// The error that a Close follows, whatever room there is; plain connections have none.
    pub(crate) fn last_error<S>(&mut self, conn: &Connection<S>, code: Code, message: &str) -> Option<Frame> {
        self.note(conn, Event::Fault(Fault::Wire(code)));
        if !self.shared.config.envelope {
            return None;
        }
        let error = Error::new(code, explain(code, message), self.timestamp());
        let text = self.text(conn.speech.dialect(), &error);
        let charge = self.shared.budget.charge(text.len() + FRAME_WEIGHT);
        Some(Frame::own(&text, Priority::Critical, charge))
    }

    /// Queues a message of the server's own; whether there was room. Over the memory budget it is refused and counted.
    pub(crate) fn say<S>(&mut self, conn: &mut Connection<S>, message: &impl ServerMessage) -> bool {
        self.respond(conn, message, None)
    }

    /// Says a message in the lane of the topics that it is about, in order with their publications.
    pub(crate) fn say_in<S>(
        &mut self,
        conn: &mut Connection<S>,
        lane: Priority,
        message: &impl ServerMessage,
    ) -> bool {
        self.word(conn, lane, message, None)
    }

    /// Says where a client stands in a topic. One that reads so little that it cannot even be told that is closed.
    pub(crate) fn say_place<S>(
        &mut self,
        conn: &mut Connection<S>,
        lane: Priority,
        message: &impl ServerMessage,
    ) {
        // What follows would make no sense without what was not said.
        if conn.backlog.as_ref().is_some_and(|backlog| backlog.is_doomed()) {
            return;
        }
        if !self.say_in(conn, lane, message) && self.shared.config.envelope {
            self.doom(conn);
        }
    }

    /// A client was not told what it must know.
    fn doom<S>(&mut self, conn: &mut Connection<S>) {
        conn.backlog.get_or_insert_default().doom(self.now.millis);
        self.schedule(conn);
    }

    /// Says a message that answers the request with this `cid` (JSON).
    pub(crate) fn respond<S>(
        &mut self,
        conn: &mut Connection<S>,
        message: &impl ServerMessage,
        cid: Option<&str>,
    ) -> bool {
        self.word(conn, Priority::Critical, message, cid)
    }

    fn word<S>(
        &mut self,
        conn: &mut Connection<S>,
        lane: Priority,
        message: &impl ServerMessage,
        cid: Option<&str>,
    ) -> bool {
        if !self.shared.config.envelope {
            return false;
        }
        let mut text = self.text(conn.speech.dialect(), message);
        if let Some(cid) = cid {
            correlate(&mut text, cid);
        }
        let charge = self.shared.budget.charge(text.len() + FRAME_WEIGHT);
        // Over the budget the few answers leave that a client which reads has outstanding: it would wait for them.
        let is_reader = conn.backlog.as_ref().is_none_or(|backlog| backlog.len() < UNCHARGED);
        match charge {
            Some(_) => self.tell(conn, Frame::own(&text, lane, charge)),
            None if is_reader => self.tell(conn, Frame::own(&text, lane, None)),
            None => {
                count(&self.shared.metrics.budget_refused_total, 1);
                self.note(conn, Event::Overload(Overload::Memory));
                false
            }
        }
    }

    fn text(&mut self, dialect: Dialect, message: &impl ServerMessage) -> Vec<u8> {
        let id = message_id(self.now.unix_ms, &mut self.random);
        let mut text = Vec::with_capacity(512);
        write(message, dialect, &id, self.timestamp(), &mut text);
        text
    }
}

/// The message of an error that was given none.
fn explain(code: Code, message: &str) -> &str {
    match code {
        _ if !message.is_empty() => message,
        Code::AuthRequired => "a token is required",
        Code::AuthFailed => "the token was not accepted",
        Code::AuthExpired => "the token ended: come back with another",
        Code::ConnectionLimit => "this user has too many connections",
        Code::RateLimited => "too many messages: the rest of this second is dropped",
        _ => code.as_str(),
    }
}
