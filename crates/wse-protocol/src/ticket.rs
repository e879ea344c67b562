//! Tickets (PROTOCOL §12): what the server gave out, and believes when it comes back.
//!
//! Owns their form and their life. Never decides who gets one, and knows nothing of logins: a ticket is
//! none. Whoever verifies one asks the list of revocations as well, by user and `issued_at`.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::envelope::Timestamp;
use crate::sign::MIN_SECRET_LEN;

pub use crate::error::{KeyError, TicketError};

/// The longest ticket, in bytes.
pub const MAX_LEN: usize = 8192;

const INFO: &[u8] = b"wse-tickets/hmac-key";

/// What a ticket is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// To act for one connection, beside its socket.
    Session,
    /// To have the topics that it names.
    Topic,
    /// To come back as who one was, with the topics that one had.
    Resume,
}

impl Kind {
    /// How long a ticket is good, unless the user's own token ends sooner.
    pub const fn lifetime(self) -> Duration {
        match self {
            Self::Session => Duration::from_secs(24 * 3600),
            Self::Topic | Self::Resume => Duration::from_secs(3600),
        }
    }
}

/// What a ticket says. Readable by whoever has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// What it is good for.
    #[serde(rename = "typ")]
    pub kind: Kind,
    /// The user; `None`: anonymous.
    #[serde(rename = "sub", default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The connection that it was made for.
    pub connection_id: Uuid,
    /// When it was made.
    #[serde(with = "millis")]
    pub issued_at: Timestamp,
    /// From when on it is worth nothing.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// The topics that it gives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The user's claims, a JSON object; their bytes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Box<RawValue>>,
}

impl Ticket {
    /// A ticket without topics and claims, good from `now` for the lifetime of its kind, and not longer
    /// than the user's own token.
    pub fn new(
        kind: Kind,
        user_id: Option<String>,
        connection_id: Uuid,
        now: Timestamp,
        user_expires_at: Option<Timestamp>,
    ) -> Self {
        let end = Timestamp(now.0.saturating_add(kind.lifetime().as_millis() as u64));
        let expires_at = user_expires_at.map_or(end, |user| user.min(end));
        Self { kind, user_id, connection_id, issued_at: now, expires_at, topics: Vec::new(), claims: None }
    }
}

/// What makes tickets, and knows its own again. Instances with the same secret know each other's.
pub struct TicketKey(hmac::Key);

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

impl TicketKey {
    /// The key that follows from a secret of at least 32 bytes.
    ///
    /// It is another one than the secret, so that even where somebody gave tickets and logins the same
    /// secret neither is taken for the other.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_LEN {
            return Err(KeyError::SecretTooShort { len: secret.len() });
        }
        let secret = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let key =
            secret.expand(&[INFO], hmac::HMAC_SHA256).expect("a key is shorter than what HKDF can give");
        Ok(Self(key.into()))
    }

    /// The ticket as text: what it says and its code, both base64url, with a point between.
    pub fn issue(&self, ticket: &Ticket) -> Result<String, TicketError> {
        let json = serde_json::to_vec(ticket).expect("a ticket is always JSON");
        let mut text = URL_SAFE_NO_PAD.encode(json);
        let mac = hmac::sign(&self.0, text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(mac, &mut text);
        if text.len() > MAX_LEN {
            return Err(TicketError::TooLong { len: text.len() });
        }
        Ok(text)
    }

    /// What a ticket of this `kind` says, if it is one of ours and still good at `now`.
    pub fn verify(&self, text: &str, kind: Kind, now: Timestamp) -> Result<Ticket, TicketError> {
        if text.len() > MAX_LEN {
            return Err(TicketError::TooLong { len: text.len() });
        }
        let (content, mac) = text.split_once('.').ok_or(TicketError::Malformed)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| TicketError::Malformed)?;
        hmac::verify(&self.0, content.as_bytes(), &mac).map_err(|_| TicketError::Forged)?;
        let json = URL_SAFE_NO_PAD.decode(content).map_err(|_| TicketError::Malformed)?;
        let ticket: Ticket = serde_json::from_slice(&json).map_err(|_| TicketError::Malformed)?;
        if ticket.kind != kind {
            return Err(TicketError::WrongKind);
        }
        if ticket.expires_at <= now {
            return Err(TicketError::Expired { ago_ms: now.0 - ticket.expires_at.0 });
        }
        Ok(ticket)
    }
}

/// Moments as milliseconds, which a clock compares without reading a date.
mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::envelope::Timestamp;

    pub fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(moment.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp)
    }
}
