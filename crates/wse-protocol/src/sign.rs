//! Signatures of envelopes (PROTOCOL §12): what says that nobody changed one, and that it is no repetition.
//!
//! Owns the form of `sig` and the judgement of one. Never decides which types are signed, and has neither
//! a clock nor randomness of its own.

mod nonces;

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::canonical::{CanonicalError, Json};
use crate::envelope::{Timestamp, push_members};
use crate::scan::{self, ScanError};

pub use crate::error::{KeyError, SignError};
pub use nonces::Nonces;

/// How far the time of a signature may be from ours.
pub const TOLERANCE: Duration = Duration::from_secs(60);
/// The bytes of a nonce.
pub const NONCE_LEN: usize = 16;
/// The shortest secret, in bytes: as long as the hash.
pub const MIN_SECRET_LEN: usize = 32;
/// The longest envelope that is signed, in bytes: as long as a message may be.
pub const MAX_LEN: usize = 1 << 20;
/// The longest key id, in bytes.
pub const MAX_KID_LEN: usize = 64;

const MAC_LEN: usize = 32;

/// The members of an object in canonical order.
type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// A secret that both sides have, and the name that they call it by.
pub struct SigningKey {
    kid: String,
    key: hmac::Key,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key from a secret of at least [`MIN_SECRET_LEN`] bytes, under a name of 1 to [`MAX_KID_LEN`].
    pub fn new(kid: impl Into<String>, secret: &[u8]) -> Result<Self, KeyError> {
        let kid = kid.into();
        if !(1..=MAX_KID_LEN).contains(&kid.len()) {
            return Err(KeyError::KeyId { len: kid.len() });
        }
        if secret.len() < MIN_SECRET_LEN {
            return Err(KeyError::SecretTooShort { len: secret.len() });
        }
        Ok(Self { kid, key: hmac::Key::new(hmac::HMAC_SHA256, secret) })
    }

    /// The name of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The most that [`SigningKey::sign`] adds to an envelope, in bytes.
    pub fn overhead(&self) -> usize {
        let kid = serde_json::Value::from(self.kid.as_str()).to_string();
        r#","sig":{"kid":,"ts":9007199254740991,"nonce":"","mac":""}"#.len() + kid.len() + 22 + 43
    }

    /// The envelope with a signature of the moment `at` as its last member; its own bytes stay as they are.
    ///
    /// `nonce` must never have been used before; 16 random bytes are. An envelope that has a `sig`, ours
    /// or another's, is not signed again.
    pub fn sign(&self, envelope: &str, at: Timestamp, nonce: &[u8; NONCE_LEN]) -> Result<String, SignError> {
        let mut members = members(envelope)?;
        let place = match find(&members, "sig") {
            Ok(_) => return Err(SignError::Signed),
            Err(place) => place,
        };
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let signature = Json::Object(vec![
            (Cow::Borrowed("kid"), Json::String(Cow::Borrowed(&self.kid))),
            (Cow::Borrowed("nonce"), Json::String(Cow::Borrowed(&nonce))),
            (Cow::Borrowed("ts"), Json::Number(at.0 as f64)),
        ]);
        let separator = if members.is_empty() { "" } else { "," };
        members.insert(place, (Cow::Borrowed("sig"), signature));
        let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, canonical(members).as_bytes()));

        let open = envelope.trim_ascii_end().strip_suffix('}').expect("an envelope is an object");
        let mut signed = String::with_capacity(envelope.len() + 160);
        signed.push_str(open);
        let kid = serde_json::Value::from(self.kid.as_str());
        let Timestamp(ts) = at;
        write!(signed, r#"{separator}"sig":{{"kid":{kid},"ts":{ts},"nonce":"{nonce}","mac":"{mac}"}}}}"#)
            .expect("a string takes all that is written to it");
        Ok(signed)
    }
}

/// A signature that holds, but may be a repetition.
#[derive(Debug)]
#[must_use = "a signature that holds is believed once: its nonce has to be held against those that were seen"]
pub struct Authentic<'k> {
    /// The key.
    pub key: &'k SigningKey,
    /// What is never used twice.
    pub nonce: [u8; NONCE_LEN],
}

/// Says which of `keys` signed the envelope, at most [`TOLERANCE`] before or after `now`, and with a nonce
/// that `nonces` had not seen. It has then.
///
/// A nonce is remembered only of a signature that holds, so that nobody without a key can fill the window.
pub fn verify<'k>(
    keys: &'k [SigningKey],
    envelope: &str,
    now: Timestamp,
    nonces: &mut Nonces,
) -> Result<&'k SigningKey, SignError> {
    let authentic = authenticate(keys, envelope, now)?;
    nonces.insert(authentic.nonce, now)?;
    Ok(authentic.key)
}

/// The first part of [`verify`], which is nearly all of its work: for whoever shares a window with others and has
/// to lock it, for [`Nonces::insert`] alone.
pub fn authenticate<'k>(
    keys: &'k [SigningKey],
    envelope: &str,
    now: Timestamp,
) -> Result<Authentic<'k>, SignError> {
    let mut members = members(envelope)?;
    let place = find(&members, "sig").map_err(|_| SignError::Unsigned)?;
    let Json::Object(signature) = &mut members[place].1 else {
        return Err(SignError::Unsigned);
    };
    let read = Signature::take(signature).ok_or(SignError::Malformed)?;
    let key = keys.iter().find(|key| key.kid == read.kid).ok_or(SignError::UnknownKey)?;
    let off_by_ms = now.0.abs_diff(read.at.0);
    if u128::from(off_by_ms) > TOLERANCE.as_millis() {
        return Err(SignError::Stale { off_by_ms });
    }
    hmac::verify(&key.key, canonical(members).as_bytes(), &read.mac).map_err(|_| SignError::Forged)?;
    Ok(Authentic { key, nonce: read.nonce })
}

/// The members of `sig`, read.
struct Signature {
    kid: String,
    at: Timestamp,
    nonce: [u8; NONCE_LEN],
    mac: [u8; MAC_LEN],
}

impl Signature {
    /// Reads the four members, and takes out the one that is not signed itself.
    fn take(members: &mut Members<'_>) -> Option<Self> {
        let [(kid_name, kid), (mac_name, mac), (nonce_name, nonce), (ts_name, ts)] = members.as_slice()
        else {
            return None;
        };
        if [kid_name, mac_name, nonce_name, ts_name] != ["kid", "mac", "nonce", "ts"] {
            return None;
        }
        let (Json::String(kid), &Json::Number(ts)) = (kid, ts) else { return None };
        // A double holds every millisecond up to here.
        let at = (0.0..9_007_199_254_740_992.0).contains(&ts).then_some(Timestamp(ts as u64))?;
        let read = Self { kid: kid.to_string(), at, nonce: bytes(nonce)?, mac: bytes(mac)? };
        members.remove(1);
        (read.at.0 as f64 == ts).then_some(read)
    }
}

/// The bytes of a string of base64url, if there are exactly as many.
fn bytes<const N: usize>(value: &Json<'_>) -> Option<[u8; N]> {
    let Json::String(text) = value else { return None };
    let mut bytes = [0; N];
    let len = URL_SAFE_NO_PAD.decode_slice(text.as_bytes(), &mut bytes).ok()?;
    (len == N).then_some(bytes)
}

/// The envelope without signatures of this kind, which are objects; what others call `sig`, a text, stays.
pub fn unsigned(envelope: &str) -> Cow<'_, str> {
    let mut cuts = Vec::new();
    let read = scan::members(envelope, &mut |member| {
        if member.name().as_deref() == Some("sig") && member.value.starts_with('{') {
            cuts.push(member.start..member.end);
        }
    });
    if read.is_err() || cuts.is_empty() {
        return Cow::Borrowed(envelope);
    }
    let mut bare = b"{".to_vec();
    push_members(envelope, &cuts, &mut bare);
    Cow::Owned(String::from_utf8(bare).expect("text without some of its members is text"))
}

fn members(envelope: &str) -> Result<Members<'_>, SignError> {
    if envelope.len() > MAX_LEN {
        return Err(SignError::TooLong { len: envelope.len() });
    }
    match Json::read(envelope)? {
        Json::Object(members) => Ok(members),
        _ => Err(CanonicalError::from(ScanError::NotAnObject).into()),
    }
}

/// Where the member is, or where it would have to be.
fn find(members: &Members<'_>, name: &str) -> Result<usize, usize> {
    members.binary_search_by(|(other, _)| other.encode_utf16().cmp(name.encode_utf16()))
}

fn canonical(members: Members<'_>) -> String {
    let mut text = String::new();
    Json::Object(members).write(&mut text);
    text
}
