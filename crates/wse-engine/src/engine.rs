//! The handle that everyone else holds.
//!
//! Every call hands something over and returns at once; what needs an answer gets it as a
//! [`Reply`]. Calls on a closed engine do nothing, and say so.

mod listeners;
mod overview;

use crate::admission::Knock;
use crate::answer::Start;
use crate::auth::{Auth, Identity};
use crate::command::Command;
use crate::config::Config;
use crate::content::Content;
use crate::drain::Pace;
use crate::driver::{Adoption, Arriving, Clock, Driver};
use crate::error::EngineError;
use crate::frame::Payload;
use crate::host::{Host, Reply};
use crate::id::{ConnectionId, ConnectionKey, IdKey, message_id};
use crate::inbound::Batch;
use crate::log::{Event, Line, Overload, Subject};
use crate::metrics::count;
use crate::publishing::{Published, Publishing};
use crate::shared::{Desk, Shared};
use crate::streams::Streams;
pub use overview::{Info, Memory};
use serde_json::value::RawValue;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use wse_protocol::codes::close;
use wse_protocol::envelope::Timestamp;
use wse_protocol::glob::is_glob;
use wse_protocol::rules::Rules;
use wse_protocol::ticket::{Kind, Ticket};
use wse_protocol::topic;

/// A running engine.
pub struct Engine {
    shared: Arc<Shared>,
    arriving: Vec<Arc<Arriving>>,
    clock: Clock,
    next_shard: AtomicUsize,
    has_streams: AtomicBool,
    random: parking_lot::Mutex<fastrand::Rng>,
}

impl Engine {
    /// Starts the shards' threads.
    pub fn start(config: Config, host: Box<dyn Host>) -> Result<Self, EngineError> {
        let mut random = fastrand::Rng::new();
        let ids = IdKey::new(random.u64(..), random.u64(..));
        let shared = Arc::new(Shared::new(config, host, ids));
        let clock = Clock::start();
        let arriving = (0..shared.config.shards).map(|_| Arc::new(Arriving::default())).collect::<Vec<_>>();
        for index in 0..shared.config.shards {
            let started =
                Driver::new(index, Arc::clone(&shared), arriving.clone(), clock).and_then(|driver| {
                    let name = format!("wse-shard-{index}");
                    thread::Builder::new().name(name).spawn(move || driver.run())
                });
            if let Err(error) = started {
                shared.close();
                return Err(EngineError::Start(error));
            }
        }
        Ok(Self {
            shared,
            arriving,
            clock,
            next_shard: AtomicUsize::new(0),
            has_streams: false.into(),
            random: random.into(),
        })
    }

    /// Listens on `host:port`; zero picks a port. Returns the address.
    pub fn listen(&self, host: &str, port: u16) -> Result<SocketAddr, EngineError> {
        if self.shared.is_closing() {
            return Err(EngineError::Closed);
        }
        let failed = |source| EngineError::Listen { address: format!("{host}:{port}"), source };
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let found = (name, port).to_socket_addrs().map_err(failed)?.next();
        let address = found.ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
        let (bound, listeners) = listeners::bind(address, self.arriving.len()).map_err(failed)?;
        let is_only = listeners.len() == 1;
        for (sockets, listener) in self.arriving.iter().zip(listeners) {
            sockets.listen(listener.into(), is_only);
        }
        self.wake_all();
        Ok(bound)
    }

    /// Takes over a socket whose opening request the host has read.
    pub fn adopt(&self, adoption: Adoption) -> Result<(), EngineError> {
        if self.shared.is_closing() {
            return Err(EngineError::Closed);
        }
        adoption.socket.set_nonblocking(true).map_err(EngineError::Adopt)?;
        let shard = self.next_shard.fetch_add(1, Relaxed) % self.arriving.len();
        self.arriving[shard].adopt(adoption);
        self.shared.desks[shard].mailbox.wake();
        Ok(())
    }

    /// What serves sockets that the host reads and writes itself; `None`: somebody has it already, or the engine closes.
    pub fn streams(&self) -> Option<Streams> {
        let is_free = !self.shared.is_closing() && !self.has_streams.swap(true, Relaxed);
        is_free.then(|| Streams::new(Arc::clone(&self.shared), self.clock))
    }

    /// Tells every connection on a stream that the server restarts (1012): the host that carries them ends.
    pub fn disconnect_streams(&self) {
        let shard = self.shared.desks.len() - 1;
        let keys = self.shared.desks[shard].seats.open_keys(shard);
        keys.for_each(|(key, _)| self.disconnect_key(key, close::RESTART, "the host is closing"));
    }

    /// Uses a certificate chain and its key (PEM) for the own port: TLS for whoever connects from now on, or
    /// without them plain HTTP. After an error it is as it was before.
    pub fn set_certificate(&self, pem: Option<(&str, &str)>) -> Result<(), EngineError> {
        self.shared.certificate.set(pem)
    }

    /// Checks tokens with the keys of a JSON Web Key Set from now on. Connections stay as they are; after an error
    /// the keys are those of before.
    pub fn set_keys(&self, jwks: &str) -> Result<(), EngineError> {
        match &self.shared.config.auth {
            Auth::Jwt(tokens) => Ok(tokens.verifier.set_keys(jwks)?),
            Auth::Anonymous | Auth::Hook => Ok(()),
        }
    }

    /// Answers [`Reply::UnknownKey`]: newer keys were looked for, or cannot be for now (`is_done` false). Decides
    /// about the handshakes that wait for it: a token of a key that is still unknown is refused for good, or told to
    /// come back.
    pub fn looked(&self, look: u32, is_done: bool) {
        for desk in self.shared.manned_desks() {
            desk.mailbox.push(Command::Looked { look, is_done });
            desk.mailbox.wake();
        }
    }

    /// What the host does with a request, whose `head` it has read, before it asks its application about it.
    pub fn knock(&self, head: &[u8]) -> Knock {
        self.shared.knock(head, self.timestamp())
    }

    /// Answers [`Reply::Authenticate`]; `None` refuses the connection.
    pub fn decide(&self, key: ConnectionKey, identity: Option<Identity>) {
        self.tell(key, Command::Decide(key, identity));
        self.flush();
    }

    /// Publishes to everyone who holds `topic`, see [`Shared::publish`].
    ///
    /// Shards learn of it with [`Engine::flush`], so that what is published in one go leaves in one write.
    pub fn publish(
        &self,
        topic: &str,
        content: Content<'_>,
        publishing: Publishing<'_>,
    ) -> Result<Published, EngineError> {
        let now = self.clock.now();
        self.shared
            .publish(topic, content, publishing, now, || message_id(now.unix_ms, &mut self.random.lock()))
    }

    /// Sends to every connection; `false`: over the memory budget, nothing was queued.
    pub fn publish_all(&self, content: Content<'_>) -> Result<bool, EngineError> {
        let Some(payload) = self.payload(content)? else { return Ok(false) };
        let (frame, _) = payload.into_frame(None);
        for desk in self.shared.manned_desks() {
            desk.mailbox.push(Command::Everyone(frame.clone()));
        }
        Ok(true)
    }

    /// Sends to one connection; the bytes queued, or `None`: it is gone, its queue refuses, or over the budget.
    pub fn send(&self, id: ConnectionId, content: Content<'_>) -> Result<Option<usize>, EngineError> {
        let Some((key, desk)) = self.find(id) else { return self.check(content).map(|()| None) };
        self.send_to(key, desk, content)
    }

    /// Sends to each connection of `user`; how many of them it was queued for.
    pub fn send_to_user(&self, user: &str, content: Content<'_>) -> Result<usize, EngineError> {
        self.check(content)?;
        let mut sent = 0;
        for key in self.shared.users.connections(user) {
            if let Some(desk) = self.shared.desk(key) {
                sent += usize::from(self.send_to(key, desk, content)?.is_some());
            }
        }
        Ok(sent)
    }

    fn send_to(
        &self,
        key: ConnectionKey,
        desk: &Desk,
        content: Content<'_>,
    ) -> Result<Option<usize>, EngineError> {
        let payload = self.make(content)?;
        let payload = if desk.seats.refuses(key, payload.standing.priority) {
            count(&self.shared.metrics.outbound_refused_total, 1);
            desk.seats.refuse(key);
            None
        } else {
            self.shared.charged(payload, false)
        };
        // Also what is refused takes a number, so that the client sees the hole.
        let Some(payload) = payload else {
            desk.seats.miss(key, 1);
            desk.seats.next_sequence(key);
            return Ok(None);
        };
        let seq = payload.takes_number().then(|| desk.seats.next_sequence(key));
        let (frame, length) = payload.into_frame(seq);
        desk.mailbox.push(Command::Send(key, frame));
        Ok(Some(length))
    }

    /// Wakes the shards that have mail.
    pub fn flush(&self) {
        for desk in &self.shared.desks {
            if desk.mailbox.has_mail() {
                desk.mailbox.wake();
            }
        }
    }

    /// Makes a connection hold topics from where each begins, and its user present there with `presence` (a JSON object);
    /// answered with [`Reply::Subscribed`]. `false`: it is gone.
    pub fn subscribe(
        &self,
        id: ConnectionId,
        names: Vec<(String, Start)>,
        presence: Option<Arc<RawValue>>,
        request: u32,
    ) -> bool {
        let Some((key, desk)) = self.find(id) else { return false };
        // Whether they are denied is the shard's to say, where rules change in order with publications.
        let (granted, refused): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|(name, _)| topic::validate(name).is_ok());
        let refused = refused.into_iter().map(|(name, _)| name).collect();
        // Announced before the command is queued: a publication right behind it finds the shard interested.
        let want = |(name, start): (String, Start)| (self.shared.topics.want(&name, key.shard()), start);
        let topics = granted.into_iter().map(want).collect();
        desk.mailbox.push(Command::Subscribe { key, topics, refused, presence, request });
        self.flush();
        true
    }

    /// Makes a connection a member of the group `group` of `topic`, which it then holds no longer by itself; answered
    /// with [`Reply::Subscribed`]. `false`: it is gone.
    pub fn join_group(
        &self,
        id: ConnectionId,
        name: String,
        group: &str,
        request: u32,
    ) -> Result<bool, EngineError> {
        topic::validate(group)?;
        let Some((key, desk)) = self.find(id) else { return Ok(false) };
        if self.shared.topics.has_log(&name) {
            return Err(EngineError::Logged);
        }
        let (topics, refused) = if topic::validate_name(&name).is_ok() {
            (vec![(self.shared.topics.want_in_group(&name, group), Start::Now)], Vec::new())
        } else {
            (Vec::new(), vec![name])
        };
        desk.mailbox.push(Command::Subscribe { key, topics, refused, presence: None, request });
        self.flush();
        Ok(true)
    }

    /// Replaces the rules, see [`Shared::set_rules`].
    pub fn set_rules(&self, rules: Rules) {
        self.shared.set_rules(rules);
    }

    /// Answers [`Reply::Authorize`] with those of its topics that are granted. `has_failed`: some are missing because
    /// nobody could say.
    pub fn authorized(&self, key: ConnectionKey, number: u32, granted: Vec<String>, has_failed: bool) {
        count(&self.shared.metrics.authorize_failed_total, u64::from(has_failed));
        self.tell(key, Command::Authorized { key, number, granted });
        self.flush();
    }

    /// Sets the data (a JSON object) of a connection's user wherever that connection is present; answered with
    /// [`Reply::PresenceUpdated`]. `false`: it is gone.
    pub fn update_presence(&self, id: ConnectionId, data: Arc<RawValue>, request: u32) -> bool {
        let Some((key, desk)) = self.find(id) else { return false };
        desk.mailbox.push(Command::UpdatePresence { key, data, request });
        self.flush();
        true
    }

    /// Ends subscriptions of a connection, all of them for `None`. `false`: it is gone.
    pub fn unsubscribe(&self, id: ConnectionId, topics: Option<Vec<String>>) -> bool {
        let Some((key, desk)) = self.find(id) else { return false };
        desk.mailbox.push(Command::Unsubscribe { key, topics });
        self.flush();
        true
    }

    /// Stops reading a connection, whose sender TCP then slows down, or goes on. What it has sent already still
    /// reaches the application.
    pub fn hold_back(&self, id: ConnectionId, is_held: bool) {
        if let Some((key, desk)) = self.find(id) {
            desk.mailbox.push(Command::HoldBack { key, is_held });
            self.flush();
        }
    }

    /// A token for an open connection (PROTOCOL §12): to act for it beside its socket, or, with topics, to have them.
    /// `None`: it is gone, or its user's own token has ended.
    pub fn issue_token(
        &self,
        id: ConnectionId,
        topics: Option<Vec<String>>,
    ) -> Result<Option<String>, EngineError> {
        for name in topics.iter().flatten() {
            topic::validate(name)?;
            if is_glob(name) {
                return Err(EngineError::Token("a token grants topics, and no globs".into()));
            }
        }
        let Some((key, desk)) = self.find(id) else { return Ok(None) };
        let Some(caller) = desk.seats.caller(key) else { return Ok(None) };
        let user = caller.user.as_deref().map(str::to_owned);
        let now = self.timestamp();
        let ends = desk.seats.expires(key).map(Timestamp);
        if ends.is_some_and(|ends| ends <= now) {
            return Ok(None);
        }
        let kind = if topics.is_some() { Kind::Topic } else { Kind::Session };
        let mut ticket = Ticket::new(kind, user, id.0, now, ends);
        ticket.topics = topics.unwrap_or_default();
        let token = self.shared.config.tickets.issue(ticket, None);
        token.map(Some).map_err(|error| EngineError::Token(error.to_string()))
    }

    /// What a token of [`Engine::issue_token`] says, if it is of this `kind` and good.
    pub fn verify_token(&self, token: &str, kind: Kind) -> Option<Ticket> {
        self.shared.config.tickets.verify(token, kind, self.timestamp()).ok()
    }

    /// Takes all tokens of `user` back that this engine has given out so far, or another with the same key.
    pub fn revoke_tokens(&self, user: &str) {
        self.shared.config.tickets.revoke(user, self.timestamp());
    }

    /// Closes a connection. `false`: it is gone.
    pub fn disconnect(&self, id: ConnectionId, code: u16, reason: &str) -> bool {
        self.find(id).map(|(key, _)| self.disconnect_key(key, code, reason)).is_some()
    }

    /// Closes all connections of `user`; how many there were.
    pub fn disconnect_user(&self, user: &str, code: u16, reason: &str) -> usize {
        let keys = self.shared.users.connections(user);
        keys.iter().for_each(|key| self.disconnect_key(*key, code, reason));
        keys.len()
    }

    fn disconnect_key(&self, key: ConnectionKey, code: u16, reason: &str) {
        self.tell(key, Command::Disconnect { key, code, reason: reason.into(), error: None });
        self.flush();
    }

    /// What turns a connection's key and upper half (see [`crate::inbound::Entry`]) into its id; it outlives the
    /// engine.
    pub fn ids(&self) -> IdKey {
        self.shared.ids
    }

    /// Takes the oldest batch of inbound events, shard by shard in turn, and the shard that it came from.
    pub fn take_batch(&self) -> Option<(usize, Batch)> {
        let shards = self.shared.desks.len();
        let first = if shards == 1 { 0 } else { self.next_shard.fetch_add(1, Relaxed) };
        let (shard, (batch, is_stalled)) = (0..shards).find_map(|step| {
            let shard = (first + step) % shards;
            self.shared.desks[shard].inbound.take().map(|taken| (shard, taken))
        })?;
        self.shared.lifecycle_waiting.fetch_sub(batch.lifecycle, Relaxed);
        if is_stalled {
            self.shared.desks[shard].mailbox.wake();
        }
        Some((shard, batch))
    }

    /// Gives a batch back that has been read, for its memory.
    pub fn recycle(&self, shard: usize, batch: Batch) {
        self.shared.desks[shard].inbound.recycle(batch);
    }

    /// Takes what the engine answers and asks.
    pub fn take_replies(&self) -> Vec<Reply> {
        self.shared.take_replies()
    }

    /// Takes the lines for the host's logger; it is woken for them as for replies.
    pub fn take_lines(&self) -> Vec<Line> {
        self.shared.take_lines()
    }

    /// Asks to be woken for the next batch; `true`: one waits already, and nobody will be woken for it.
    pub fn wait(&self) -> bool {
        self.shared.wait_for_events()
    }

    /// Says whether somebody takes inbound events. Without a consumer they are kept as far as the budget goes.
    pub fn set_consumer(&self, present: bool) {
        self.shared.set_consumer(present);
    }

    /// Takes over messages of a type that the engine would answer, or show as they come; or gives it back. Types
    /// that belong to the transport (PROTOCOL §7) stay the engine's.
    pub fn handle(&self, kind: &str, is_handled: bool) {
        self.shared.handled.set(kind, is_handled);
    }

    /// Counts messages that the host took and nobody wanted.
    pub fn count_unheard(&self, messages: u64) {
        count(&self.shared.metrics.inbound_dropped_total, messages);
        self.shared.note(Event::Overload(Overload::Unheard), Subject::default);
    }

    /// Lets nobody in any more and sends every connection away (PROTOCOL §14), in waves; each shard answers with
    /// [`Reply::Drained`]. The engine still runs.
    ///
    /// Returns how many of those answers there will be; zero when that had begun before, or the engine closes.
    pub fn drain(&self, pace: Pace) -> usize {
        self.shared.drain(pace)
    }

    /// Closes every connection with 1012 and ends the shards; each answers with [`Reply::Closed`].
    ///
    /// Returns how many of those answers there will be; zero when the engine was closing already.
    pub fn close(&self) -> usize {
        if self.shared.close() { self.shared.manned_desks().count() } else { 0 }
    }

    fn find(&self, id: ConnectionId) -> Option<(ConnectionKey, &Desk)> {
        let (key, high) = self.shared.ids.key(id);
        let desk = self.shared.desk(key)?;
        (desk.seats.high(key) == Some(high)).then_some((key, desk))
    }

    fn tell(&self, key: ConnectionKey, command: Command) {
        if let Some(desk) = self.shared.desk(key) {
            desk.mailbox.push(command);
        }
    }

    fn wake_all(&self) {
        self.shared.desks.iter().for_each(|desk| desk.mailbox.wake());
    }

    /// Whether `content` could be sent: a mistake is an error also where nobody listens.
    fn check(&self, content: Content<'_>) -> Result<(), EngineError> {
        self.make(content).map(drop)
    }

    fn payload(&self, content: Content<'_>) -> Result<Option<Payload>, EngineError> {
        Ok(self.shared.charged(self.make(content)?, false))
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(self.clock.now().unix_ms)
    }

    fn make(&self, content: Content<'_>) -> Result<Payload, EngineError> {
        let at = self.timestamp();
        content.payload(&self.shared.config, at, || message_id(at.0, &mut self.random.lock()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}
