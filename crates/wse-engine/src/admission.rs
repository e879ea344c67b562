//! The beginning of a connection: its request is read and decided, and it is opened or turned away.

use crate::auth::{Auth, Decision, Identity};
use crate::connection::{Connection, Phase, Socket};
use crate::core::Core;
use crate::frame::Frame;
use crate::handshake::{self, Answer, Head, Refusal, Upgrade};
use crate::host::Reply;
use crate::id::ConnectionKey;
use crate::inbound::Kind;
use crate::jwt::TokenError;
use crate::log::{Event, Fault, Overload, Subject};
use crate::metrics::count;
use crate::resume::Pass;
use crate::seats::Caller;
use crate::secrecy::Secrecy;
use crate::shared::Shared;
use crate::users::{Member, Seat};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use wse_protocol::codes::{Code, close};
use wse_protocol::envelope::Timestamp;

/// What a host does with a request before it asks its application about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// It asks.
    Ask,
    /// It hands the socket over without a decision: the engine lets it in by itself, or knows why not.
    HandOver,
    /// It answers 503: too many come at once.
    Refuse {
        /// When to come back.
        seconds: u32,
    },
}

impl Shared {
    /// Looks at a request whose `head` the host has read, at `now`. Whoever is to be asked about has been let in.
    pub fn knock(&self, head: &[u8], now: Timestamp) -> Knock {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let Head::Upgrade(upgrade) = handshake::read(head, nobody, &self.config) else {
            return Knock::HandOver;
        };
        if self.is_ending() || self.is_full() || self.ticket_of(&upgrade, now).is_some() {
            return Knock::HandOver;
        }
        match self.admit(now.0) {
            Ok(()) => Knock::Ask,
            Err(seconds) => {
                self.note(Event::Overload(Overload::Admission), Subject::default);
                Knock::Refuse { seconds }
            }
        }
    }
}

impl Core {
    pub(crate) fn read_head<S: Socket>(&mut self, conn: &mut Connection<S>, bytes: &[u8]) {
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        handshake.received.extend_from_slice(bytes);
        match handshake::read(&handshake.received, handshake.peer, &self.shared.config) {
            Head::Partial => {}
            Head::Answer(Answer::Refused(refusal)) => self.refuse(conn, refusal),
            Head::Answer(Answer::Health) => {
                let status = if self.shared.is_ending() { "503 Service Unavailable" } else { "200 OK" };
                let body = self.shared.health(self.now);
                self.answer(conn, handshake::response(status, "application/json", "", &body));
            }
            Head::Answer(Answer::Ready) => {
                let (status, body) = self.shared.readiness();
                self.answer(conn, handshake::response(status, "application/json", "", body));
            }
            Head::Upgrade(upgrade) => self.upgrade(conn, upgrade),
        }
    }

    pub(crate) fn upgrade<S: Socket>(&mut self, conn: &mut Connection<S>, upgrade: Box<Upgrade>) {
        conn.speech = upgrade.speech;
        if self.shared.config.compression.is_none() {
            conn.speech.set_compressed(false);
        }
        self.take_agreement(conn, &upgrade);
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        handshake.peer = upgrade.address;
        let decision = std::mem::take(&mut handshake.decision);
        if self.shared.is_ending() {
            return self.refuse(conn, Refusal::Closing);
        }
        if self.shared.is_full() {
            return self.refuse(conn, Refusal::Full);
        }
        // Whom the host has decided about it has let in before.
        if decision == Decision::Open {
            let ticket = self.shared.ticket_of(&upgrade, self.timestamp());
            let is_refused = upgrade.ticket.is_some() && ticket.is_none();
            count(&self.shared.metrics.resume_refused_total, u64::from(is_refused));
            let has_login = ticket.is_some() || upgrade.token.is_some();
            // Who has nothing to show takes nobody's place.
            let may_come_in = has_login || !matches!(self.shared.config.auth, Auth::Jwt(_));
            if may_come_in && let Err(seconds) = self.shared.admit(self.now.unix_ms) {
                return self.refuse(conn, Refusal::Busy { seconds });
            }
            if let Some(ticket) = ticket {
                let (identity, pass) = self.returning(ticket);
                return self.open(conn, &upgrade, identity, Some(pass));
            }
        }
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        let config = &self.shared.config;
        match (&config.auth, decision) {
            (_, Decision::Granted(identity)) => self.open(conn, &upgrade, identity, None),
            (_, Decision::Refused) => self.turn_away(conn, &upgrade, Code::AuthFailed),
            (Auth::Anonymous, Decision::Open) => self.open(conn, &upgrade, Identity::anonymous(), None),
            (Auth::Hook, Decision::Open) => {
                let request = upgrade.request.clone().unwrap_or_default();
                handshake.upgrade = Some(upgrade);
                self.reply(Reply::Authenticate { key: conn.key, request });
            }
            (Auth::Jwt(tokens), Decision::Open) => match &upgrade.token {
                None => self.turn_away(conn, &upgrade, Code::AuthRequired),
                // Not the token's fault: who is refused with 4401 does not come back.
                Some(_) if !tokens.verifier.has_keys() => self.refuse(conn, Refusal::NoKeys),
                Some(token) => match tokens.verifier.verify(token, self.now.unix_ms) {
                    Err(TokenError::UnknownKey) if tokens.verifier.may_renew() => {
                        handshake.look = Some(self.shared.want_key());
                        handshake.upgrade = Some(upgrade);
                    }
                    verdict => self.judged(conn, &upgrade, verdict),
                },
            },
        }
    }

    fn judged<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        upgrade: &Upgrade,
        verdict: Result<Identity, TokenError>,
    ) {
        match verdict {
            Ok(identity) => self.open(conn, upgrade, identity, None),
            Err(_) => self.turn_away(conn, upgrade, Code::AuthFailed),
        }
    }

    /// The look for newer keys is over that this handshake may have waited for. `is_done`: what its token needs
    /// would have been found.
    pub(crate) fn looked<S: Socket>(&mut self, conn: &mut Connection<S>, look: u32, is_done: bool) {
        let shared = Arc::clone(&self.shared);
        let (Phase::Handshake(handshake), Auth::Jwt(tokens)) = (&mut conn.phase, &shared.config.auth) else {
            return;
        };
        let Some(upgrade) = handshake.upgrade.take_if(|_| handshake.look == Some(look)) else { return };
        match tokens.verifier.verify(upgrade.token.as_deref().unwrap_or_default(), self.now.unix_ms) {
            // Not the token's fault, perhaps.
            Err(TokenError::UnknownKey) if !is_done => self.refuse(conn, Refusal::NoKeys),
            verdict => self.judged(conn, &upgrade, verdict),
        }
        self.again.push(conn.key);
    }

    pub(crate) fn decided<S: Socket>(&mut self, conn: &mut Connection<S>, identity: Option<Identity>) {
        let Phase::Handshake(handshake) = &mut conn.phase else { return };
        let Some(upgrade) = handshake.upgrade.take() else { return };
        match identity {
            Some(identity) => self.open(conn, &upgrade, identity, None),
            None => self.turn_away(conn, &upgrade, Code::AuthFailed),
        }
    }

    /// Opens the connection: from here on the application knows of it. `pass`: it has come back with a ticket.
    pub(crate) fn open<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        upgrade: &Upgrade,
        identity: Identity,
        pass: Option<Pass>,
    ) {
        let user = identity.user_id.as_deref().map(Arc::<str>::from);
        let shared = Arc::clone(&self.shared);
        if shared.is_ending() {
            return self.refuse(conn, Refusal::Closing);
        }
        if !shared.take_place() {
            return self.refuse(conn, Refusal::Full);
        }
        if let Some(user) = &user {
            let member = Member { key: conn.key, fingerprint: upgrade.fingerprint };
            let limit = (shared.config.max_connections_per_user, shared.config.connection_limit_policy);
            let silent = |key: ConnectionKey| shared.desk(key).is_some_and(|desk| desk.seats.is_silent(key));
            match shared.users.join(user, member, limit, self.now.millis, silent) {
                Seat::Granted => {}
                Seat::Replacing(key) => shared.replace(key),
                Seat::Refused => {
                    shared.give_place_back();
                    return self.turn_away(conn, upgrade, Code::ConnectionLimit);
                }
            }
        }
        let Phase::Handshake(handshake) = std::mem::replace(&mut conn.phase, Phase::Open) else { return };
        self.unfinished -= 1;
        self.open += 1;
        conn.high = shared.ids.high(self.now.unix_ms, self.random.u64(..), conn.key);
        let caller = Arc::new(Caller { user, address: upgrade.address });
        shared.desks[self.index].seats.open(conn.key, conn.high, Arc::clone(&caller));
        shared.desks[self.index].seats.set_dialect(conn.key, conn.speech.dialect());
        self.take_claims(conn, &identity);
        conn.caller = Some(caller);
        // What was taken back while a hook was asked was not known to it.
        let began = self.timestamp().0.saturating_sub(self.now.millis.saturating_sub(handshake.began));
        self.take_pass(conn, &identity.claims, pass.unwrap_or_else(|| Pass::of_login(Timestamp(began))));
        conn.last_seen = self.now.millis;
        conn.last_ping = self.now.millis;
        if upgrade.wants_encryption && shared.config.envelope {
            conn.secrecy = Some(Secrecy::wanted(self.now.millis));
        }
        count(&shared.metrics.connections_total, 1);
        self.note(conn, Event::Established);
        self.greet(conn, upgrade);
        let (kind, event) = match conn.user() {
            Some(user) => {
                let user_id = serde_json::Value::from(&**user);
                (Kind::AuthConnect, format!(r#"{{"userId":{user_id},"claims":{}}}"#, identity.claims))
            }
            None => (Kind::Connect, upgrade.request.clone().unwrap_or_else(|| "{}".into())),
        };
        self.event(conn, kind, event.as_bytes());
        self.give_topics(conn);
        self.take_query(conn, &upgrade.topics);
        self.schedule(conn);
        let mut early = handshake.received;
        early.drain(..upgrade.length);
        if !early.is_empty() {
            self.read_frames(conn, &mut early);
        }
    }

    /// Ends a WebSocket before it began: after the 101, because a browser sees nothing else (PROTOCOL §3).
    pub(crate) fn turn_away<S: Socket>(&mut self, conn: &mut Connection<S>, upgrade: &Upgrade, code: Code) {
        if matches!(code, Code::AuthRequired | Code::AuthFailed) {
            count(&self.shared.metrics.auth_failed_total, 1);
        }
        if code == Code::AuthFailed {
            self.shared.give_admission_back();
        }
        self.send_now(conn, Frame::ready(upgrade.response().into_bytes()));
        let close_code = code.close_code().unwrap_or(close::POLICY);
        self.close_for(conn, (code, ""), close_code, code.as_str());
    }

    /// Answers with an HTTP refusal.
    pub(crate) fn refuse<S: Socket>(&mut self, conn: &mut Connection<S>, refusal: Refusal) {
        count(&self.shared.metrics.handshakes_refused_total, 1);
        self.note(
            conn,
            match refusal {
                Refusal::Full => Event::Overload(Overload::Connections),
                Refusal::Busy { .. } => Event::Overload(Overload::Admission),
                _ => Event::Fault(Fault::Refused(refusal)),
            },
        );
        self.answer(conn, refusal.response());
    }

    pub(crate) fn answer<S: Socket>(&mut self, conn: &mut Connection<S>, response: Vec<u8>) {
        self.send_now(conn, Frame::ready(response));
        self.begin_closing(conn, true);
    }
}
