//! Encryption between one client and the server: what waits for it, and what it carries (PROTOCOL §11).
//!
//! Owns the keys of a connection and the moments at which they change. What is the server's own to say stays in
//! plain text; everything of the application's is sealed, or waits.

use crate::connection::{Connection, Socket};
use crate::core::Core;
use crate::delivery::Publication;
use crate::frame::{FRAME_WEIGHT, Payload};
use crate::metrics::count;
use crate::outbound::Outbound;
use ring::rand::{SecureRandom, SystemRandom};
use wse_protocol::codes::{Code, close};
use wse_protocol::crypto::{self, Key, KeyExchangeError, KeyPair, NONCE_LEN};
use wse_protocol::frame::OpCode;
use wse_protocol::message::{EncryptionResponse, KeyRotationResponse};

/// How long publications wait for the client's key, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// The least time between two changes of keys, in milliseconds: each costs as much as a thousand messages.
const ROTATION_MS: u64 = 1_000;
/// Messages that cannot be opened before the connection is closed.
const MAX_FAILURES: u8 = 3;

/// What a connection has of encryption, once it has asked for it.
#[derive(Debug)]
pub enum Secrecy {
    /// The client has said that it wants encryption, and not with which key.
    Waiting {
        /// Since when, in milliseconds.
        since: u64,
        /// Publications, as they came.
        held: Outbound,
    },
    /// There is a key.
    Keyed(Keys),
}

/// The keys of a connection.
#[derive(Debug)]
pub struct Keys {
    key: Key,
    /// The key before, until the client has used the new one.
    previous: Option<Key>,
    /// Ours of the last exchange, in base64.
    public: String,
    /// When they were agreed on, in milliseconds.
    since: u64,
    /// The next nonce: it begins at random and counts, so that none comes twice.
    nonce: [u8; NONCE_LEN],
    /// How many messages the key may still seal.
    left: u32,
    failures: u8,
}

impl Secrecy {
    /// The client wants encryption from `now` on.
    pub fn wanted(now: u64) -> Box<Self> {
        Box::new(Self::Waiting { since: now, held: Outbound::default() })
    }

    /// When the connection is given up unless the client's key has come; milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Self::Waiting { since, .. } => Some(since + PATIENCE_MS),
            Self::Keyed(_) => None,
        }
    }

    /// The server's public key, when there has been an exchange.
    pub fn public_key(&self) -> Option<&str> {
        match self {
            Self::Waiting { .. } => None,
            Self::Keyed(keys) => Some(&keys.public),
        }
    }
}

impl Keys {
    /// Agrees with the owner of `peer`, a public key in base64.
    fn agree(peer: &str, now: u64) -> Result<Self, KeyExchangeError> {
        let random = SystemRandom::new();
        let pair = KeyPair::generate(&random)?;
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).map_err(|_| KeyExchangeError::Randomness)?;
        let public = pair.public_key();
        let key = pair.agree(peer)?;
        Ok(Self { key, previous: None, public, since: now, nonce, left: u32::MAX, failures: 0 })
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

    /// Opens `message` where it stands; whether it could.
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
    /// Agrees on keys with a client that wants encryption, once. What waited for them is returned, for
    /// [`Core::release`]: sealed, or as it is when there is no key that both know.
    pub(crate) fn agree<S>(&mut self, conn: &mut Connection<S>, peer: Option<&str>) -> Option<Outbound> {
        if matches!(conn.secrecy.as_deref(), Some(Secrecy::Keyed(_))) {
            return None;
        }
        let keys = match Keys::agree(peer.unwrap_or_default(), self.now.millis) {
            Ok(keys) => Some(Box::new(Secrecy::Keyed(keys))),
            Err(error) => {
                self.say_error(conn, Code::KeyExchangeFailed, &error.to_string());
                None
            }
        };
        match *std::mem::replace(&mut conn.secrecy, keys)? {
            Secrecy::Waiting { held, .. } => Some(held),
            Secrecy::Keyed(_) => None,
        }
    }

    /// Lets go what waited for the key, behind the message that told the client of ours.
    pub(crate) fn release<S: Socket>(&mut self, conn: &mut Connection<S>, held: Option<Outbound>) {
        let Some(held) = held else { return };
        let (frames, missed) = held.into_parts();
        for frame in frames {
            self.publish(conn, &mut Publication::new(frame, None));
        }
        for missed in missed {
            self.tell_gap(conn, &missed);
        }
    }

    /// `encryption_request`: an exchange of keys beside the hello, or without a key how things stand.
    pub(crate) fn encryption<S: Socket>(&mut self, conn: &mut Connection<S>, peer: Option<&str>) {
        let held = peer.and_then(|peer| self.agree(conn, Some(peer)));
        let public = conn.secrecy.as_ref().and_then(|secrecy| secrecy.public_key()).map(str::to_owned);
        self.say(conn, &EncryptionResponse::new(public.as_deref()));
        self.release(conn, held);
    }

    /// `key_rotation_request`: another pair of keys. What the client has sealed before it knows ours is still read.
    pub(crate) fn rotate<S: Socket>(&mut self, conn: &mut Connection<S>, peer: Option<&str>) {
        let now = self.now.millis;
        let Some(Secrecy::Keyed(keys)) = conn.secrecy.as_deref_mut() else {
            return self.say_error(
                conn,
                Code::KeyExchangeFailed,
                "there is no key to rotate: ask for encryption first",
            );
        };
        if now < keys.since + ROTATION_MS {
            return self.say_error(conn, Code::RateLimited, "keys change once a second at most");
        }
        match Keys::agree(peer.unwrap_or_default(), now) {
            Ok(fresh) => {
                let before = std::mem::replace(keys, fresh);
                keys.previous = Some(before.key);
                keys.failures = before.failures;
                let public = keys.public.clone();
                self.say(conn, &KeyRotationResponse::new(&public));
            }
            Err(error) => {
                keys.since = now;
                self.say_error(conn, Code::KeyExchangeFailed, &error.to_string());
            }
        }
    }

    /// Queues a publication for a connection that has asked for encryption.
    pub(crate) fn publish_sealed<S: Socket>(&mut self, conn: &mut Connection<S>, publication: &Publication) {
        let Publication { frame, topic, .. } = publication;
        let (limits, now) = (self.shared.config.outbound, self.now.millis);
        let keys = match conn.secrecy.as_deref_mut() {
            Some(Secrecy::Keyed(keys)) => keys,
            Some(Secrecy::Waiting { held, .. }) => {
                if !held.push(frame, topic.as_ref(), &limits, now) {
                    count(&self.shared.metrics.outbound_refused_total, 1);
                }
                return;
            }
            None => return,
        };
        let nonce = keys.next_nonce();
        keys.left = keys.left.saturating_sub(1);
        if keys.left == 0 {
            return self.close(conn, close::RESTART, "the key is used up: connect again");
        }
        let Some(plain) = self.spoken(frame, conn.speech.as_json()) else {
            return self.miss(conn, topic.clone());
        };
        let message = plain.payload();
        let length = message.len() + crypto::OVERHEAD;
        let Some(charge) = self.shared.budget.charge(length + FRAME_WEIGHT) else {
            return self.miss(conn, topic.clone());
        };
        let mut bytes = Payload::room(length);
        if let Some(Secrecy::Keyed(keys)) = conn.secrecy.as_deref() {
            keys.key.seal(&nonce, message, &mut bytes);
        }
        let frame = Payload::new(OpCode::Binary, bytes, None, Some(charge)).into_frame(None).0;
        let number = self.turn.add(frame, topic.clone(), conn.speech.lane());
        self.queue(conn, number);
    }

    /// The text inside of an `E:` message, opened where it stands. `None`: there is no key yet, or another one sealed
    /// it; the client has been told.
    pub(crate) fn unseal<'a, S: Socket>(
        &mut self,
        conn: &mut Connection<S>,
        message: &'a mut [u8],
    ) -> Option<&'a str> {
        let Some(Secrecy::Keyed(keys)) = conn.secrecy.as_deref_mut() else {
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
                self.say_error(conn, error.code(), &error.to_string());
                if is_enough {
                    self.close(conn, close::PROTOCOL, "too many messages could not be opened");
                    self.stop_listening(conn, false);
                }
                None
            }
        }
    }
}
