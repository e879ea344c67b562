//! Which messages carry a signature, and what says that one is genuine (PROTOCOL §12).
//!
//! Owns the keys, and the nonces that were seen or given. Never decides what becomes of a message.

use parking_lot::Mutex;
use ring::rand::{self, SystemRandom};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wse_protocol::envelope::{Dialect, Timestamp};
use wse_protocol::glob;
use wse_protocol::scan;
use wse_protocol::sign::{self, MAX_LEN, NONCE_LEN, Nonces, SignError, SigningKey};

/// Nonces that are remembered, at most 64 MiB of them: two minutes of 8 700 signed messages a second. Beyond,
/// signed messages are refused with `OVERLOADED` until the oldest may be forgotten.
const MOST_NONCES: usize = 1 << 20;

/// Which messages of clients must have a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requirement {
    /// None; but a signature that is there must be genuine.
    Nobody,
    /// Those of connections that speak v2.
    #[default]
    V2,
    /// All: a client evades nothing by asking for the other dialect.
    Everyone,
}

/// The signatures of an engine.
#[derive(Debug)]
pub struct Signing {
    /// The first one signs.
    keys: Vec<SigningKey>,
    /// How much longer it makes an envelope at most, in bytes.
    growth: usize,
    /// Globs over types.
    types: Vec<String>,
    required: Requirement,
    seen: Mutex<Nonces>,
    /// Random for each engine, so that no two of them give the same nonce.
    first: u128,
    given: AtomicU64,
}

impl Signing {
    /// Signatures of messages whose type one of the globs `types` matches. The first of `keys` signs, all verify; there
    /// must be one.
    pub fn new(keys: Vec<SigningKey>, types: Vec<String>, required: Requirement) -> Self {
        let random = rand::generate::<[u8; NONCE_LEN]>(&SystemRandom::new());
        let first = random.expect("the system has random bytes: it has started").expose();
        let growth = keys[0].overhead();
        let (seen, given) = (Mutex::new(Nonces::new(MOST_NONCES)), AtomicU64::new(0));
        Self { keys, growth, types, required, seen, first: u128::from_be_bytes(first), given }
    }

    /// Whether messages of this type are signed. One without a type counts as one whose type is empty.
    fn covers(&self, kind: &str) -> bool {
        self.types.iter().any(|glob| glob::matches(glob, kind))
    }

    /// How much longer an envelope of `length` bytes becomes, and how long a signed one may be; `None`: it is not signed.
    ///
    /// Asked by publishers, on whose thread each microsecond counts: `envelope` is read only where it is near `limit`
    /// (zero: none), everywhere else it fits.
    pub fn growth(&self, envelope: &[u8], length: usize, limit: usize) -> Option<(usize, usize)> {
        let limit = if limit == 0 { MAX_LEN } else { limit.min(MAX_LEN) };
        if length + self.growth <= limit {
            return None;
        }
        let message = scan::inbound(std::str::from_utf8(envelope).ok()?).ok()?;
        self.covers(&message.kind.unwrap_or_default()).then_some((self.growth, limit))
    }

    /// The envelope with a signature; `None`: its type is not signed, or its publisher has signed it in another way.
    ///
    /// A signature of our kind that it has is replaced: it was over what a client sent, and this is more.
    pub fn sign(&self, envelope: &str, at: Timestamp) -> Result<Option<String>, SignError> {
        let message = scan::inbound(envelope).map_err(|error| SignError::Canonical(error.into()))?;
        if !self.covers(&message.kind.unwrap_or_default()) {
            return Ok(None);
        }
        let nonce = self.first.wrapping_add(self.given.fetch_add(1, Relaxed).into());
        match self.keys[0].sign(&sign::unsigned(envelope), at, &nonce.to_be_bytes()) {
            Ok(signed) => Ok(Some(signed)),
            Err(SignError::Signed) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a client's message is what it says, now and for the first time, as far as its type asks for that.
    pub fn check(
        &self,
        (dialect, kind): (Dialect, &str),
        json: &str,
        now: Timestamp,
    ) -> Result<(), SignError> {
        let is_required = match self.required {
            Requirement::Nobody => false,
            Requirement::V2 => dialect == Dialect::V2,
            Requirement::Everyone => true,
        };
        // What clients of v1 call a signature is their own.
        let is_ours = is_required || dialect == Dialect::V2 && has_signature(json);
        if !is_ours || !self.covers(kind) {
            return Ok(());
        }
        let authentic = sign::authenticate(&self.keys, json, now)?;
        self.seen.lock().insert(authentic.nonce, now)
    }
}

/// Whether there is a signature of our kind: an object.
fn has_signature(json: &str) -> bool {
    let mut is_there = false;
    let read = scan::members(json, &mut |member| {
        is_there |= member.name().as_deref() == Some("sig") && member.value.starts_with('{');
    });
    is_there || read.is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn signing(required: Requirement) -> Signing {
        let key = |kid| SigningKey::new(kid, &[7; 32]).expect("a key");
        Signing::new(vec![key("new"), key("old")], vec!["order_*".into()], required)
    }

    #[test]
    fn signs_the_types_that_are_named_and_not_what_its_publisher_signed() {
        let signing = signing(Requirement::V2);
        let signed = |envelope| signing.sign(envelope, NOW).map(|signed| signed.is_some());
        assert_eq!(signed(r#"{"t":"order_new","p":{}}"#), Ok(true));
        assert_eq!(signed(r#"{"type":"order_new","p":{}}"#), Ok(true));
        assert_eq!(signed(r#"{"t":"chat","p":{}}"#), Ok(false));
        assert_eq!(signed(r#"{"p":{}}"#), Ok(false));
        assert_eq!(signed(r#"{"t":"order_new","sig":"mine"}"#), Ok(false));
        let again = signing.sign(r#"{"t":"order_new","sig":{"kid":"old"},"p":{}}"#, NOW).expect("a form");
        let again = again.expect("signed");
        assert_eq!((again.matches("\"sig\"").count(), again.contains(r#""kid":"old""#)), (1, false));
        assert!(signed(r#"{"t":"order_new","p":{"n":9007199254740993}}"#).is_err());
        let first = signing.sign(r#"{"t":"order_new"}"#, NOW).expect("a form").expect("signed");
        let second = signing.sign(r#"{"t":"order_new"}"#, NOW).expect("a form").expect("signed");
        assert_ne!(first, second, "no nonce is given twice");
        assert!(first.contains(r#""kid":"new""#));
    }

    #[test]
    fn what_is_near_the_limit_is_measured_with_its_signature() {
        let signing = signing(Requirement::V2);
        let (order, chat) = (r#"{"t":"order_new"}"#, r#"{"t":"chat"}"#);
        let signed = signing.sign(order, NOW).expect("a form").expect("signed");
        let (growth, limit) = signing.growth(order.as_bytes(), 990, 1_000).expect("it is signed");
        assert_eq!(limit, 1_000);
        // The time has room for three more digits.
        assert_eq!(growth, signed.len() - order.len() + 3);
        assert_eq!(signing.growth(chat.as_bytes(), 990, 1_000), None);
        assert_eq!(signing.growth(order.as_bytes(), 990, 0), None);
        assert_eq!(signing.growth(order.as_bytes(), MAX_LEN, 0), Some((growth, MAX_LEN)));
    }

    #[test]
    fn asks_for_signatures_where_they_are_required() {
        let (bare, text) = (r#"{"t":"order_new"}"#, r#"{"t":"order_new","sig":"of v1"}"#);
        let forged = signing(Requirement::V2)
            .sign(bare, NOW)
            .expect("a form")
            .expect("signed")
            .replace(r#""kid":"new""#, r#""kid":"who""#);
        for (required, dialect, message, expected) in [
            (Requirement::V2, Dialect::V2, bare, Err(SignError::Unsigned)),
            (Requirement::V2, Dialect::V2, text, Err(SignError::Unsigned)),
            (Requirement::V2, Dialect::V1, bare, Ok(())),
            (Requirement::V2, Dialect::V1, text, Ok(())),
            (Requirement::Nobody, Dialect::V2, bare, Ok(())),
            (Requirement::Nobody, Dialect::V2, text, Ok(())),
            (Requirement::Nobody, Dialect::V2, &forged, Err(SignError::UnknownKey)),
            (Requirement::Everyone, Dialect::V1, text, Err(SignError::Unsigned)),
        ] {
            let signing = signing(required);
            assert_eq!(
                signing.check((dialect, "order_new"), message, NOW),
                expected,
                "{required:?} {message}"
            );
            assert_eq!(signing.check((dialect, "chat"), message, NOW), Ok(()));
        }
    }

    #[test]
    fn believes_each_signature_once_and_forged_ones_fill_nothing() {
        let signing = signing(Requirement::V2);
        let genuine = signing.sign(r#"{"t":"order_new","n":1}"#, NOW).expect("a form").expect("signed");
        let check = |text: &str| signing.check((Dialect::V2, "order_new"), text, NOW);
        for n in 2..1_000 {
            let forged = genuine.replace(r#""n":1"#, &format!(r#""n":{n}"#));
            assert_eq!(check(&forged), Err(SignError::Forged));
        }
        assert!(signing.seen.lock().is_empty());
        assert_eq!(check(&genuine), Ok(()));
        assert_eq!(check(&genuine), Err(SignError::Replayed));
        assert_eq!(signing.seen.lock().len(), 1);
    }
}
