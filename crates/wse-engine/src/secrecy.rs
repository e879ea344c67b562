//! Encryption between one client and the server: what waits for it, and what it carries (PROTOCOL §11).
//!
//! Owns the keys of a connection and the moments at which they change. What is the server's own to say stays in
//! plain text; everything of the application's is sealed, or waits.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::delivery::Publication;
use crate::frame::{FRAME_WEIGHT, Lack, Payload};
use crate::metrics::count;
use crate::outbound::{Outbound, Terms};
use crate::topics::Topic;
use crate::turn::SEALED;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use wse_protocol::codes::{Code, close};
use wse_protocol::crypto::{self, Key, KeyExchangeError, KeyPair, NONCE_LEN};
use wse_protocol::frame::OpCode;
use wse_protocol::message::{EncryptionResponse, KeyRotationResponse, ServerMessage};

/// How long publications wait for the client's key, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// The least time between two changes of keys, in milliseconds.
const EXCHANGE_MS: u64 = 1_000;
/// How often a client may try in that time: each costs as much as a hundred messages.
const MAX_TRIES: u8 = 4;
/// Sealed bytes of one turn that are written at its end; beyond, each message is when it is sealed, so that a fan-out to
/// many never stands in memory as a whole.
const MOST_SEALED: usize = 1 << 20;
/// Messages that cannot be opened before the connection is closed.
const MAX_FAILURES: u8 = 3;

/// What a connection has of encryption, once it has asked for it.
#[derive(Debug)]
pub struct Secrecy {
    /// When it asked, in milliseconds.
    since: u64,
    /// Publications, as they came, while the client has not said with which key; with the bounds of an outbound queue.
    held: Option<Box<Outbound>>,
    /// When keys were last exchanged, in milliseconds.
    exchanged: Option<u64>,
    /// Since when tries are counted, and how many there were.
    tries: (u64, u8),
    /// Without keys nothing is sealed: there is none that both sides know.
    keys: Option<Keys>,
}

/// The keys of a connection.
#[derive(Debug)]
struct Keys {
    key: Key,
    /// The key before, until the client has used the new one.
    previous: Option<Key>,
    /// Ours of the last exchange, in base64.
    public: String,
    /// The next nonce: it begins at random and counts, so that none comes twice.
    nonce: [u8; NONCE_LEN],
    /// How many messages the key may still seal.
    left: u32,
    failures: u8,
}

impl Secrecy {
    fn new(now: u64, held: Option<Box<Outbound>>) -> Box<Self> {
        Box::new(Self { since: now, held, exchanged: None, tries: (now, 0), keys: None })
    }

    /// The client wants encryption from `now` on: publications wait for its key.
    pub fn wanted(now: u64) -> Box<Self> {
        Self::new(now, Some(Box::default()))
    }

    /// Whether publications wait for the client's key.
    pub fn is_waiting(&self) -> bool {
        self.held.is_some()
    }

    /// The first publication of `topic` that waits for the client's key, by its place in the log.
    pub fn first_held(&self, topic: &Arc<Topic>) -> Option<u64> {
        self.held.as_ref()?.first_of(topic)
    }

    /// The connection gets nothing more of those topics: what waits of their logs would have a hole behind it.
    pub fn forget(&mut self, is_left: impl Fn(&Topic) -> bool) {
        if let Some(held) = &mut self.held {
            held.forget(is_left);
        }
    }

    /// Whether publications leave as they are.
    pub fn is_off(&self) -> bool {
        self.held.is_none() && self.keys.is_none()
    }

    /// When the connection is closed: the client's key has not come, or the key that there is has served its time.
    /// Milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        match (&self.held, &self.keys) {
            (Some(_), _) => Some(self.since + PATIENCE_MS),
            (None, Some(keys)) => (keys.left == 0).then_some(self.since),
            (None, None) => None,
        }
    }

    /// The code and the reason of that Close.
    pub fn farewell(&self) -> (u16, &'static str) {
        if self.is_waiting() {
            (close::PROTOCOL, "encryption was asked for, and no key came")
        } else {
            (close::RESTART, "the key is used up: connect again")
        }
    }

    /// The server's public key, when there has been an exchange.
    pub fn public_key(&self) -> Option<&str> {
        self.keys.as_ref().map(|keys| &*keys.public)
    }

    /// Exchanges keys with the owner of `peer`, a public key in base64; or says why that cannot be.
    fn exchange(&mut self, peer: Option<&str>, now: u64) -> Result<Keys, (Code, String)> {
        if now >= self.tries.0 + EXCHANGE_MS {
            self.tries = (now, 0);
        }
        self.tries.1 = self.tries.1.saturating_add(1);
        if self.tries.1 > MAX_TRIES || self.exchanged.is_some_and(|at| now < at + EXCHANGE_MS) {
            return Err((Code::RateLimited, "keys are exchanged once a second at most".into()));
        }
        let keys = Keys::agree(peer.unwrap_or_default());
        if keys.is_ok() {
            self.exchanged = Some(now);
        }
        keys.map_err(|error| (error.code(), error.to_string()))
    }
}

impl Keys {
    fn agree(peer: &str) -> Result<Self, KeyExchangeError> {
        let random = SystemRandom::new();
        let pair = KeyPair::generate(&random)?;
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).map_err(|_| KeyExchangeError::Randomness)?;
        let public = pair.public_key();
        let key = pair.agree(peer)?;
        Ok(Self { key, previous: None, public, nonce, left: u32::MAX, failures: 0 })
    }

    fn next_nonce(&mut self) -> [u8; NONCE_LEN] {
        let nonce = self.nonce;
        for byte in self.nonce.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        nonce
    }

    /// Opens `message` where it stands.
    fn open<'a>(&mut self, message: &'a mut [u8]) -> Result<&'a str, crypto::OpenError> {
        if let Some(previous) = &self.previous {
            let mut copy = message.to_vec();
            if self.key.open(&mut copy).is_err() {
                return previous.open(message);
            }
            // From here on the client has the new key.
            self.previous = None;
        }
        self.key.open(message)
    }
}

impl Core {
    /// Agrees on keys with a client that wants encryption, once. Without a key that both know the client is told, and
    /// may try again. `false`: it tries too often, and nothing has been decided.
    pub(crate) fn agree<S>(&mut self, conn: &mut Connection<S>, peer: Option<&str>) -> bool {
        let now = self.now.millis;
        let secrecy = conn.secrecy.get_or_insert_with(|| Secrecy::new(now, None));
        if secrecy.keys.is_some() {
            return true;
        }
        match secrecy.exchange(peer, now) {
            Ok(keys) => {
                secrecy.keys = Some(keys);
                true
            }
            Err((code, message)) => {
                self.say_error(conn, code, &message);
                code != Code::RateLimited
            }
        }
    }

    /// Says what names our key, if there is one. A client that missed it could read nothing from there on, so it is told
    /// to come back.
    pub(crate) fn say_key<S: Socket>(&mut self, conn: &mut Connection<S>, message: &impl ServerMessage) {
        if !self.say(conn, message) && conn.secrecy.as_ref().is_some_and(|secrecy| secrecy.keys.is_some()) {
            self.close(conn, close::OVERLOAD, "there is no room for the key");
        }
    }

    /// Lets go what waited for the key, behind the message that told the client of ours: sealed, or as it is when
    /// there is no key that both know.
    pub(crate) fn release<S: Socket>(&mut self, conn: &mut Connection<S>) {
        if !conn.is_open() {
            return;
        }
        let Some(mut queue) = conn.secrecy.as_mut().and_then(|secrecy| secrecy.held.take()) else { return };
        let expired = queue.expire(self.now.millis, &self.shared.config.outbound);
        self.lose(conn, expired);
        let (frames, missed) = queue.into_parts();
        for (frame, topic) in frames {
            // It may have left the topic while it waited, or asked for what it has missed of it.
            let is_due = |topic: &Arc<Topic>| {
                let replay = conn.replay.as_ref().filter(|_| frame.index() != 0);
                conn.hears(topic.name()) && !replay.is_some_and(|replay| replay.brings(topic, frame.index()))
            };
            if topic.as_ref().is_none_or(is_due) {
                self.publish(conn, &mut Publication::new(frame, topic));
            }
        }
        self.answer_settled(conn);
        for missed in missed {
            self.tell_gap(conn, missed);
        }
        if conn.is_member {
            self.feed(conn);
        }
        self.pull_soon(conn);
    }

    /// `encryption_request`: an exchange of keys beside the hello, or without a key how things stand.
    pub(crate) fn encryption<S: Socket>(&mut self, conn: &mut Connection<S>, peer: Option<&str>) {
        if peer.is_some() {
            self.agree(conn, peer);
        }
        let public = conn.secrecy.as_ref().and_then(|secrecy| secrecy.public_key()).map(str::to_owned);
        self.say_key(conn, &EncryptionResponse::new(public.as_deref()));
        // Without a key it still waits: what leaves in plain text after all is for a hello to say.
        if public.is_some() {
            self.release(conn);
        }
    }

    /// `key_rotation_request`: another pair of keys. What the client has sealed before it knows ours is still read.
    pub(crate) fn rotate<S: Socket>(&mut self, conn: &mut Connection<S>, peer: Option<&str>) {
        let now = self.now.millis;
        let Some(secrecy) = conn.secrecy.as_deref_mut().filter(|secrecy| secrecy.keys.is_some()) else {
            let message = "there is no key to rotate: ask for encryption first";
            return self.say_error(conn, Code::KeyExchangeFailed, message);
        };
        match secrecy.exchange(peer, now) {
            Ok(mut fresh) => {
                if let Some(before) = secrecy.keys.take() {
                    fresh.failures = before.failures;
                    fresh.previous = Some(before.key);
                }
                let public = secrecy.keys.insert(fresh).public.clone();
                self.say_key(conn, &KeyRotationResponse::new(&public));
            }
            Err((code, message)) => self.say_error(conn, code, &message),
        }
    }

    /// Queues a publication for a connection that has asked for encryption.
    pub(crate) fn publish_sealed<S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        publication: &mut Publication,
    ) -> bool {
        let Publication { frame, topic, .. } = publication;
        let Some(secrecy) = conn.secrecy.as_deref_mut() else { return false };
        if let Some(held) = &mut secrecy.held {
            let limits = &self.shared.config.outbound;
            // The order is that of one queue: there is no backlog yet.
            let terms = Terms { limits, now: self.now.millis, is_single: true, may_block: false };
            let outcome = held.push(frame, topic.as_ref(), &terms);
            self.give_up(conn, outcome);
            return true;
        }
        let Some(keys) = &mut secrecy.keys else { return false };
        // Without any left the connection is about to be closed; not from here, where a topic may be locked.
        let Some(left) = keys.left.checked_sub(1) else { return false };
        keys.left = left;
        let nonce = keys.next_nonce();
        let plain = match self.spoken(frame, conn.speech.as_json()) {
            Ok(plain) => plain,
            Err(lack) => return self.miss(conn, publication, lack),
        };
        let message = plain.payload();
        let length = message.len() + crypto::OVERHEAD;
        let Some(charge) = self.shared.charge(length + FRAME_WEIGHT) else {
            return self.miss(conn, publication, Lack::Room);
        };
        let mut bytes = Payload::room(length);
        keys.key.seal(&nonce, message, &mut bytes);
        let payload = Payload::new(OpCode::Binary, bytes, None, Some(charge)).standing(frame.standing());
        let frame = payload.into_frame(None).0;
        let number = self.turn.add(frame, topic.clone(), SEALED);
        self.queue(conn, number);
        self.sealed += length;
        if self.sealed >= MOST_SEALED {
            self.flush(conn);
            self.turn.forget(number);
        }
        if left == 0 {
            self.schedule(conn);
        }
        true
    }

    /// The text inside of an `E:` message, opened where it stands. `None`: there is no key yet, or another one sealed
    /// it; the client has been told.
    pub(crate) fn unseal<'a, S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        message: &'a mut [u8],
    ) -> Option<&'a str> {
        let Some(keys) = conn.secrecy.as_deref_mut().and_then(|secrecy| secrecy.keys.as_mut()) else {
            // Clients use the key of the connection before, right after a reconnect.
            count(&self.shared.metrics.encrypted_dropped_total, 1);
            return None;
        };
        match keys.open(message) {
            Ok(text) => Some(text),
            Err(error) => {
                keys.failures += 1;
                let is_enough = keys.failures >= MAX_FAILURES;
                count(&self.shared.metrics.protocol_errors_total, 1);
                let (code, message) = (error.code(), error.to_string());
                if is_enough {
                    let reason = "too many messages could not be opened";
                    self.close_for(conn, (code, &message), close::PROTOCOL, reason);
                    self.stop_listening(conn, false);
                } else {
                    self.say_error(conn, code, &message);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_has_served_its_time_ends_the_connection() {
        let pair = KeyPair::generate(&SystemRandom::new()).expect("randomness");
        let mut secrecy = Secrecy::new(5, None);
        let keys = secrecy.exchange(Some(&pair.public_key()), 5).expect("a good key");
        assert_eq!(keys.left, u32::MAX);
        secrecy.keys = Some(keys);
        assert_eq!(secrecy.deadline(), None);
        secrecy.keys.as_mut().expect("it was put there").left = 0;
        assert_eq!((secrecy.deadline(), secrecy.farewell().0), (Some(5), close::RESTART));
    }

    #[test]
    fn nonces_begin_at_random_and_count_over_every_byte() {
        let peer = KeyPair::generate(&SystemRandom::new()).expect("randomness").public_key();
        let keys = || Keys::agree(&peer).expect("a good key");
        assert_ne!(keys().nonce, keys().nonce);
        let mut keys = keys();
        keys.nonce = [0xff; NONCE_LEN];
        assert_eq!((keys.next_nonce(), keys.next_nonce()), ([0xff; NONCE_LEN], [0; NONCE_LEN]));
        keys.nonce[NONCE_LEN - 1] = 0xff;
        keys.next_nonce();
        assert_eq!(keys.nonce[NONCE_LEN - 2..], [1, 0]);
    }
}
