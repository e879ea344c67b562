//! JSON Web Tokens: which are good and what they say (PROTOCOL §3), and how they are made.
//!
//! Never looks at a connection or a clock, and never fetches a key.

use crate::auth::Identity;
use crate::crypto;
use crate::error::EngineError;
use crate::expiry::moment;
use crate::keys::{Algorithm, KeyError, Keys, Place, check_secret};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{EncodingKey, Header, Validation};
use parking_lot::RwLock;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A token longer than this is refused before anything of it is decoded.
pub const MAX_TOKEN_BYTES: usize = 8_192;

/// Settings of a [`Verifier`].
#[derive(Debug)]
pub struct JwtConfig {
    /// The only algorithm that is accepted.
    pub algorithm: Algorithm,
    /// The keys of that algorithm; `None`: they are yet to come, see [`Verifier::set_keys`].
    pub keys: Option<Keys>,
    /// Whether newer keys may come: then a token of an unknown one is worth a look.
    pub may_renew: bool,
    /// Required and equal when set.
    pub issuer: Option<String>,
    /// Required and contained when set.
    pub audience: Option<String>,
    /// Clock skew that `exp` and `nbf` are forgiven.
    pub leeway_seconds: u64,
}

/// Why a token is refused. Told to the log and to who holds the keys, never to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The library refused it: form or audience.
    #[error("{0}")]
    Refused(String),
    /// Signed in another way than the configured one.
    #[error("the header's alg is not {0}")]
    OtherAlgorithm(Algorithm),
    /// It names extensions that must be understood (RFC 7515 §4.1.11).
    #[error("the header's crit names an unknown extension")]
    Critical,
    /// Its `kid` names no key, or it names none and no key fits: a newer set of keys may have it.
    #[error("no known key has signed the token")]
    UnknownKey,
    /// The key that it names did not sign it.
    #[error("the key that the token names has not signed it")]
    Signature,
    /// `exp` is missing or not a number.
    #[error("exp is missing or not a number")]
    NoExpiry,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It is not good yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iss` is not the one that is expected, as a text.
    #[error("iss is not the expected one")]
    Issuer,
    /// `sub` is missing or empty.
    #[error("sub is missing or empty")]
    NoSubject,
}

/// Checks tokens of one algorithm against keys that may change.
pub struct Verifier {
    algorithm: Algorithm,
    keys: RwLock<Option<Arc<Keys>>>,
    may_renew: bool,
    validation: Validation,
    issuer: Option<String>,
    leeway_seconds: u64,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys stay out of logs.
        f.debug_struct("Verifier").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier; what it is made of has been checked.
    pub fn new(config: JwtConfig) -> Self {
        crypto::install();
        let mut validation = Validation::new(config.algorithm.into());
        // The library does not require a claim just because a value is expected, and it reads its own clock.
        let mut required = vec!["sub", "exp"];
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = config.audience.is_some();
        if config.issuer.is_some() {
            // Compared by us: the library is content with a list that contains it.
            required.push("iss");
        }
        if let Some(audience) = &config.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self {
            algorithm: config.algorithm,
            keys: RwLock::new(config.keys.map(Arc::new)),
            may_renew: config.may_renew,
            validation,
            issuer: config.issuer.clone(),
            leeway_seconds: config.leeway_seconds,
        }
    }

    /// Whether it has keys; without any, every token is unknown to it.
    pub fn has_keys(&self) -> bool {
        self.keys.read().is_some()
    }

    /// Whether newer keys may come.
    pub fn may_renew(&self) -> bool {
        self.may_renew
    }

    /// Clock skew that `exp` and `nbf` are forgiven, in milliseconds.
    pub fn leeway_ms(&self) -> u64 {
        self.leeway_seconds.saturating_mul(1_000)
    }

    /// Uses the keys of a JSON Web Key Set from now on; after an error it has those of before.
    pub fn set_keys(&self, jwks: &str) -> Result<(), KeyError> {
        let keys = Keys::of_set(jwks, self.algorithm)?;
        *self.keys.write() = Some(Arc::new(keys));
        Ok(())
    }

    /// Checks `token` at `unix_ms`.
    pub fn verify(&self, token: &str, unix_ms: u64) -> Result<Identity, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = header(token).ok_or_else(|| TokenError::Refused("the header is not JSON".into()))?;
        if header.get("alg").and_then(Value::as_str) != Some(self.algorithm.as_str()) {
            return Err(TokenError::OtherAlgorithm(self.algorithm));
        }
        // We understand no extension, so any is unknown.
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let kid = header.get("kid").and_then(Value::as_str);
        let keys = self.keys.read().clone().ok_or(TokenError::UnknownKey)?;
        let mut refusal = TokenError::UnknownKey;
        for key in keys.fitting(kid) {
            match jsonwebtoken::decode::<Map<String, Value>>(token, key, &self.validation) {
                Ok(token) => return self.identify(token.claims, unix_ms),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {
                    // Without a `kid` it may be of a key that took the place of this one.
                    refusal = if kid.is_some() { TokenError::Signature } else { TokenError::UnknownKey };
                }
                Err(error) => return Err(TokenError::Refused(reason(&error))),
            }
        }
        Err(refusal)
    }

    /// Whom the claims of a signed token name, if its time has come and not passed.
    fn identify(&self, claims: Map<String, Value>, unix_ms: u64) -> Result<Identity, TokenError> {
        let (now, leeway) = (unix_ms as f64 / 1_000.0, self.leeway_seconds as f64);
        let time = |name| claims.get(name).map(Value::as_f64);
        let Some(Some(expires)) = time("exp") else { return Err(TokenError::NoExpiry) };
        if now >= expires + leeway {
            return Err(TokenError::Expired);
        }
        match time("nbf") {
            None => {}
            Some(Some(starts)) if now + leeway >= starts => {}
            Some(_) => return Err(TokenError::NotYet),
        }
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
        let user_id = Some(subject.ok_or(TokenError::NoSubject)?.to_owned());
        Ok(Identity { user_id, expires: Some(moment(expires)), claims: Value::Object(claims).to_string() })
    }
}

/// What the library says, without what it quotes of the claims.
fn reason(error: &jsonwebtoken::errors::Error) -> String {
    match error.kind() {
        ErrorKind::Json(error) => format!("the claims: {}", Place::of(error)),
        _ => error.to_string(),
    }
}

/// Whom a token names. That it is good is not said.
pub fn subject(token: &str) -> Option<String> {
    let claims = if token.len() <= MAX_TOKEN_BYTES { part(token, 1)? } else { return None };
    claims.get("sub")?.as_str().map(str::to_owned)
}

fn header(token: &str) -> Option<Map<String, Value>> {
    part(token, 0)
}

/// What a part of a token says.
fn part(token: &str, index: usize) -> Option<Map<String, Value>> {
    let encoded = token.split('.').nth(index)?;
    let decoded = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    serde_json::from_slice(&decoded).ok()
}

/// Signs `claims`, a JSON object with `sub`, `iat` and `exp`, which have no defaults.
///
/// `key` is the secret, or the private key as PKCS #8 in DER.
pub fn encode_jwt(
    claims: &str,
    key: &[u8],
    algorithm: Algorithm,
    key_id: Option<String>,
) -> Result<String, EngineError> {
    let claims: Map<String, Value> = serde_json::from_str(claims).map_err(|error| {
        EngineError::Token(format!("claims are not a JSON object: {}", Place::of(&error)))
    })?;
    for name in ["iat", "exp"] {
        if !claims.get(name).is_some_and(Value::is_number) {
            return Err(EngineError::Token(format!("claims.{name} is required: seconds since 1970")));
        }
    }
    if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(EngineError::Token("claims.sub is required: the user id, a non-empty string".into()));
    }
    let key = match algorithm {
        Algorithm::Hs256 => {
            check_secret(key).map_err(|error| EngineError::Token(error.to_string()))?;
            EncodingKey::from_secret(key)
        }
        Algorithm::Rs256 => EncodingKey::from_rsa_der(key),
        Algorithm::Es256 => EncodingKey::from_ec_der(key),
    };
    crypto::install();
    let header = Header { kid: key_id, ..Header::new(algorithm.into()) };
    jsonwebtoken::encode(&header, &claims, &key).map_err(|error| EngineError::Token(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_700_000_000_000;

    fn verifier(issuer: Option<&str>, audience: Option<&str>) -> Verifier {
        Verifier::new(JwtConfig {
            algorithm: Algorithm::Hs256,
            keys: Some(Keys::of_secret(SECRET, None, None).expect("the secret is long enough")),
            may_renew: false,
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            leeway_seconds: 30,
        })
    }

    fn hs256(claims: &str) -> String {
        crypto::install();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(SECRET);
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, algorithm).expect("it signs");
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_good_token_names_its_user() {
        let token = hs256(r#"{"sub":"ann","exp":1700000001,"role":"x"}"#);
        let identity = verifier(None, None).verify(&token, NOW).expect("it is good");
        assert_eq!(identity.user_id.as_deref(), Some("ann"));
        assert!(identity.claims.contains(r#""role":"x""#));
        assert_eq!(identity.expires, Some(1_700_000_001_000));
    }

    #[test]
    fn expected_claims_are_required_and_equal() {
        let both = verifier(Some("me"), Some("you"));
        let exp = r#""sub":"ann","exp":1700000001"#;
        assert!(both.verify(&hs256(&format!(r#"{{{exp},"iss":"me","aud":"you"}}"#)), NOW).is_ok());
        assert!(both.verify(&hs256(&format!(r#"{{{exp},"iss":"me","aud":["else","you"]}}"#)), NOW).is_ok());
        for rest in
            [r#""iss":"me""#, r#""aud":"you""#, r#""iss":"me","aud":"else""#, r#""iss":"x","aud":"you""#]
        {
            assert!(both.verify(&hs256(&format!("{{{exp},{rest}}}")), NOW).is_err(), "{rest}");
        }
    }

    #[test]
    fn times_are_forgiven_by_the_leeway_and_no_more() {
        let plain = verifier(None, None);
        let expires = |seconds: u64| hs256(&format!(r#"{{"sub":"ann","exp":{seconds}}}"#));
        assert!(plain.verify(&expires(1_699_999_971), NOW).is_ok());
        assert_eq!(plain.verify(&expires(1_699_999_970), NOW), Err(TokenError::Expired));
        let starts = |seconds: u64| hs256(&format!(r#"{{"sub":"ann","exp":1800000000,"nbf":{seconds}}}"#));
        assert!(plain.verify(&starts(1_700_000_030), NOW).is_ok());
        assert_eq!(plain.verify(&starts(1_700_000_031), NOW), Err(TokenError::NotYet));
    }

    #[test]
    fn a_token_needs_a_subject_and_an_end() {
        let plain = verifier(None, None);
        for claims in [r#"{"sub":"ann"}"#, r#"{"exp":1800000000}"#, r#"{"sub":"ann","exp":"1800000000"}"#] {
            assert!(plain.verify(&hs256(claims), NOW).is_err(), "{claims}");
        }
        for subject in [r#""""#, "7", "null"] {
            let token = hs256(&format!(r#"{{"sub":{subject},"exp":1800000000}}"#));
            assert!(plain.verify(&token, NOW).is_err(), "{subject}");
        }
        assert_eq!(plain.verify(&"x".repeat(MAX_TOKEN_BYTES + 1), NOW), Err(TokenError::TooLong));
    }

    #[test]
    fn what_we_encode_we_accept_and_nothing_is_filled_in() {
        let encode = |claims: &str| encode_jwt(claims, SECRET, Algorithm::Hs256, None);
        let token = encode(r#"{"sub":"ann","iat":1,"exp":1800000000}"#).expect("it signs");
        assert!(verifier(None, None).verify(&token, NOW).is_ok());
        for claims in [r#"{"sub":"ann","exp":2}"#, r#"{"sub":"ann","iat":1}"#, r#"{"iat":1,"exp":2}"#, "[]"] {
            assert!(encode(claims).is_err(), "{claims}");
        }
        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            let claims = r#"{"sub":"ann","iat":1,"exp":2}"#;
            assert!(encode_jwt(claims, SECRET, algorithm, None).is_err(), "a secret is no {algorithm} key");
        }
    }
}
