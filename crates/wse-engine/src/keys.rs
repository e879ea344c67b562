//! The keys that check tokens: a secret, or public keys in the form of JSON Web Keys (RFC 7517).
//!
//! Decides which keys are of any use and which of them a token asks for; never whether a token is good. Its errors name
//! members and places, and quote nothing: what was given by mistake may be a secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::{Map, Value};
use std::fmt;

/// The shortest HS256 secret: as long as the hash (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Most keys of a set. Providers publish two to ten.
pub const MAX_KEYS: usize = 64;
/// What an RSA modulus may have: fewer bits are broken soon (RFC 7518 §3.3), more take long.
const MIN_RSA_BITS: usize = 2_048;
const MAX_RSA_BITS: usize = 8_192;
/// Bytes of a P-256 coordinate.
const COORDINATE_BYTES: usize = 32;

/// An algorithm of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// HMAC with SHA-256, and one secret on both sides.
    Hs256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// Its name in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::HS256,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
        }
    }
}

/// Why keys are of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret that can be guessed.
    #[error("an HS256 secret has at least {MIN_SECRET_BYTES} bytes, this one has {0}")]
    ShortSecret(usize),
    /// A key in PEM where a secret belongs: whoever knows the public key could sign.
    #[error("a key in PEM is no HS256 secret: its algorithm is RS256 or ES256")]
    PemSecret,
    /// Not a set of keys.
    #[error("not a JSON Web Key Set: {0}")]
    NotASet(Place),
    /// A set that gives a private key away.
    #[error("a key of the set has private members: publish the public ones only, and replace that key")]
    Private,
    /// More keys than [`MAX_KEYS`].
    #[error("the set has {0} keys, at most {MAX_KEYS} are taken")]
    TooMany(usize),
    /// No key can check tokens of this algorithm.
    #[error("no key for {algorithm}: {}", fault.as_ref().map_or("the set is empty".into(), ToString::to_string))]
    NoneOfUse {
        /// The algorithm.
        algorithm: Algorithm,
        /// What is wrong with the first one.
        fault: Option<Unfit>,
    },
}

/// Why one key is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// This member is missing, or has another form.
    #[error("its {0} is missing, or has another form")]
    Malformed(&'static str),
    /// Of another type, on another curve, or for another algorithm, as this member says.
    #[error("it is a key of another kind (see its {0})")]
    OtherKind(&'static str),
    /// For another use than checking signatures.
    #[error("it is not for checking signatures")]
    OtherUse,
    /// An RSA modulus of so many bits.
    #[error("an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, this one has {0}")]
    RsaSize(usize),
    /// An even RSA modulus: the product of no two primes.
    #[error("its modulus is even")]
    RsaModulus,
    /// An RSA exponent that is even, 1, or larger than 33 bits.
    #[error("its exponent is even, 1, or over 33 bits")]
    RsaExponent,
    /// Coordinates that are no point of the curve.
    #[error("its point is not on the curve P-256")]
    NotOnCurve,
}

/// Where a text stops being what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at line {line}, column {column}")]
pub struct Place {
    fault: &'static str,
    line: usize,
    column: usize,
}

impl Place {
    /// Where reading JSON failed, without what stands there.
    pub fn of(error: &serde_json::Error) -> Self {
        let fault = match error.classify() {
            Category::Data => "a value of another form",
            Category::Eof => "an early end",
            Category::Syntax | Category::Io => "no JSON",
        };
        Self { fault, line: error.line(), column: error.column() }
    }
}

/// Keys of one algorithm.
#[derive(Debug)]
pub struct Keys(Vec<Key>);

struct Key {
    kid: Kid,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        self.kid.fmt(f)
    }
}

/// What a token's `kid` must be for a key.
#[derive(Debug)]
enum Kid {
    /// Anything.
    Any,
    /// This, or absent.
    OrNone(String),
    /// This.
    Exactly(String),
}

impl Kid {
    fn of_option(key_id: Option<String>) -> Self {
        key_id.map_or(Self::Any, Self::Exactly)
    }

    fn fits(&self, kid: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::OrNone(own) => kid.is_none_or(|kid| kid == own),
            Self::Exactly(own) => kid == Some(own),
        }
    }
}

impl Keys {
    /// A secret, asked for by `key_id` when there is one, and the one before it, which is asked for by nothing.
    pub fn of_secret(
        secret: &[u8],
        key_id: Option<String>,
        previous: Option<&[u8]>,
    ) -> Result<Self, KeyError> {
        let current = Key { kid: Kid::of_option(key_id), key: secret_key(secret)? };
        let mut keys = vec![current];
        if let Some(previous) = previous {
            keys.push(Key { kid: Kid::Any, key: secret_key(previous)? });
        }
        Ok(Self(keys))
    }

    /// A public key (a JSON Web Key), asked for by `key_id` when there is one.
    pub fn of_public(jwk: &str, algorithm: Algorithm, key_id: Option<String>) -> Result<Self, KeyError> {
        let key = serde_json::from_str(jwk)
            .map_err(|_| Unfit::Malformed("JSON"))
            .and_then(|jwk| Jwk::read(&jwk)?.key(algorithm))
            .map_err(|fault| KeyError::NoneOfUse { algorithm, fault: Some(fault) })?;
        Ok(Self(vec![Key { kid: Kid::of_option(key_id), key }]))
    }

    /// The keys of a JSON Web Key Set that can check tokens of `algorithm`; others are passed over (RFC 7517 §5).
    ///
    /// A lone one needs no `kid` and checks tokens without one; of several each needs its own.
    pub fn of_set(jwks: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        let set: Set = serde_json::from_str(jwks).map_err(|error| KeyError::NotASet(Place::of(&error)))?;
        // Before any is looked at: to check a point takes as long as a signature.
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::TooMany(set.keys.len()));
        }
        if set.keys.iter().any(|jwk| jwk.get("d").is_some()) {
            return Err(KeyError::Private);
        }
        let mut fault = None;
        let mut usable = Vec::new();
        for jwk in &set.keys {
            let key = Jwk::read(jwk).and_then(|jwk| Ok((jwk.key(algorithm)?, jwk.kid.map(str::to_owned))));
            match key {
                Ok(key) => usable.push(key),
                Err(unfit) => _ = fault.get_or_insert(unfit),
            }
        }
        let is_lone = usable.len() == 1;
        let keys = usable.into_iter().filter_map(|(key, kid)| match kid {
            None if is_lone => Some(Key { kid: Kid::Any, key }),
            None => {
                fault.get_or_insert(Unfit::Malformed("kid"));
                None
            }
            Some(kid) => Some(Key { kid: if is_lone { Kid::OrNone(kid) } else { Kid::Exactly(kid) }, key }),
        });
        let keys = keys.collect::<Vec<_>>();
        if keys.is_empty() { Err(KeyError::NoneOfUse { algorithm, fault }) } else { Ok(Self(keys)) }
    }

    /// The keys that a token with this `kid` may have been signed for.
    pub fn fitting(&self, kid: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        self.0.iter().filter(move |key| key.kid.fits(kid)).map(|key| &key.key)
    }
}

/// What begins a key in PEM.
const PEM_BEGIN: &[u8] = b"-----BEGIN ";

/// Refuses what is no secret of HS256.
pub fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    // Anywhere: text in front, a byte order mark for instance, makes it no secret.
    if secret.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN) {
        return Err(KeyError::PemSecret);
    }
    if secret.len() < MIN_SECRET_BYTES { Err(KeyError::ShortSecret(secret.len())) } else { Ok(()) }
}

fn secret_key(secret: &[u8]) -> Result<DecodingKey, KeyError> {
    check_secret(secret).map(|()| DecodingKey::from_secret(secret))
}

/// A JSON Web Key Set; its keys are read one by one, so that a strange one spoils no other.
#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// What is looked at of a JSON Web Key.
struct Jwk<'a> {
    members: &'a Map<String, Value>,
    kty: &'a str,
    kid: Option<&'a str>,
}

impl<'a> Jwk<'a> {
    fn read(jwk: &'a Value) -> Result<Self, Unfit> {
        let members = jwk.as_object().ok_or(Unfit::Malformed("JSON object"))?;
        let kty = text(members, "kty")?.ok_or(Unfit::Malformed("kty"))?;
        Ok(Self { members, kty, kid: text(members, "kid")? })
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, Unfit> {
        text(self.members, name)
    }

    fn key(&self, algorithm: Algorithm) -> Result<DecodingKey, Unfit> {
        if self.text("alg")?.is_some_and(|alg| alg != algorithm.as_str()) {
            return Err(Unfit::OtherKind("alg"));
        }
        let operations = match self.members.get("key_ops") {
            None | Some(Value::Null) => None,
            Some(operations) => Some(operations.as_array().ok_or(Unfit::Malformed("key_ops"))?),
        };
        let is_for_signatures = self.text("use")?.is_none_or(|usage| usage == "sig")
            && operations.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        match (algorithm, self.kty, self.text("crv")?) {
            _ if !is_for_signatures => Err(Unfit::OtherUse),
            (Algorithm::Rs256, "RSA", _) => self.rsa(),
            (Algorithm::Es256, "EC", Some("P-256")) => self.p256(),
            (Algorithm::Es256, "EC", _) => Err(Unfit::OtherKind("crv")),
            _ => Err(Unfit::OtherKind("kty")),
        }
    }

    fn rsa(&self) -> Result<DecodingKey, Unfit> {
        let (n, e) = (self.number("n")?, self.number("e")?);
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(Unfit::RsaSize(bits));
        }
        if n.last().is_some_and(|last| last % 2 == 0) {
            return Err(Unfit::RsaModulus);
        }
        let exponent = e.iter().take(6).fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if exponent < 3 || exponent % 2 == 0 || exponent >= 1 << 33 {
            return Err(Unfit::RsaExponent);
        }
        Ok(DecodingKey::from_rsa_raw_components(&n, &e))
    }

    fn p256(&self) -> Result<DecodingKey, Unfit> {
        let mut point = vec![4];
        for name in ["x", "y"] {
            let coordinate = self.bytes(name)?;
            if coordinate.len() != COORDINATE_BYTES {
                return Err(Unfit::Malformed(name));
            }
            point.extend_from_slice(&coordinate);
        }
        if is_on_curve(&point) { Ok(DecodingKey::from_ec_der(&point)) } else { Err(Unfit::NotOnCurve) }
    }

    /// A number (RFC 7518 §2, Base64urlUInt) without the leading zeros that some write.
    fn number(&self, name: &'static str) -> Result<Vec<u8>, Unfit> {
        let mut bytes = self.bytes(name)?;
        bytes.drain(..bytes.iter().take_while(|byte| **byte == 0).count());
        Ok(bytes)
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, Unfit> {
        let value = self.text(name)?.unwrap_or_default();
        URL_SAFE_NO_PAD.decode(value.trim_end_matches('=')).map_err(|_| Unfit::Malformed(name))
    }
}

/// A member that is a text, where it is there.
fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, Unfit> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(Unfit::Malformed(name)),
    }
}

/// Whether an uncompressed point is one of P-256: a key agreement with any other is refused.
fn is_on_curve(point: &[u8]) -> bool {
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new());
    own.and_then(|own| agree_ephemeral(own, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ())).is_ok()
}
