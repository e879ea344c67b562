//! Who is connecting: tokens, and the claims that they carry (PROTOCOL §3).

use crate::crypto;
use crate::error::EngineError;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value};
use std::fmt;

/// A token longer than this is refused before anything of it is decoded.
pub const MAX_TOKEN_BYTES: usize = 8_192;
/// The shortest HS256 secret: as long as the hash (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// How connections are told apart.
#[derive(Debug)]
pub enum Auth {
    /// Everyone may connect, and nobody has a user id.
    Anonymous,
    /// A JSON Web Token.
    Jwt(Box<Verifier>),
    /// The application decides, see [`crate::Reply::Authenticate`].
    Hook,
}

/// Who a connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user; `None`: anonymous.
    pub user_id: Option<String>,
    /// Claims as a JSON object.
    pub claims: String,
}

/// What is decided about a connection before its request is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Decision {
    /// Nothing.
    #[default]
    Open,
    /// The host knows who it is.
    Granted(Identity),
    /// The host does not let it in.
    Refused,
}

/// Settings of a [`Verifier`].
#[derive(Debug, Clone, Default)]
pub struct JwtConfig {
    /// The HS256 secret, at least 32 bytes.
    pub secret: Vec<u8>,
    /// Required and equal when set.
    pub issuer: Option<String>,
    /// Required and contained when set.
    pub audience: Option<String>,
    /// The cookie that carries the token. Default: `access_token`.
    pub cookie_name: String,
    /// Clock skew that `exp` and `nbf` are forgiven. Default: 30.
    pub leeway_seconds: u64,
}

/// Why a token is refused. Told to the log and the metrics, never to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The library refused it: form, algorithm, signature, issuer or audience.
    #[error("{0}")]
    Refused(String),
    /// It names extensions that must be understood (RFC 7515 §4.1.11).
    #[error("the header's crit names an unknown extension")]
    Critical,
    /// `exp` is missing or not a number.
    #[error("exp is missing or not a number")]
    NoExpiry,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// It is not good yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// `sub` is missing or empty.
    #[error("sub is missing or empty")]
    NoSubject,
}

/// Checks tokens against one key and one algorithm.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
    leeway_seconds: f64,
    cookie_name: String,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Verifier").field("cookie_name", &self.cookie_name).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for HS256.
    pub fn new(config: &JwtConfig) -> Result<Self, EngineError> {
        if config.secret.len() < MIN_SECRET_BYTES {
            let length = config.secret.len();
            return Err(EngineError::Token(format!(
                "an HS256 secret has at least {MIN_SECRET_BYTES} bytes, this one has {length}"
            )));
        }
        crypto::install();
        let mut validation = Validation::new(Algorithm::HS256);
        // The library does not require a claim just because a value is expected, and it reads its own clock.
        let mut required = vec!["sub", "exp"];
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = config.audience.is_some();
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &config.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Ok(Self {
            key: DecodingKey::from_secret(&config.secret),
            validation,
            leeway_seconds: config.leeway_seconds as f64,
            cookie_name: config.cookie_name.clone(),
        })
    }

    /// The cookie that carries the token.
    pub fn cookie_name(&self) -> &str {
        &self.cookie_name
    }

    /// Checks `token` at `unix_ms`.
    pub fn verify(&self, token: &str, unix_ms: u64) -> Result<Identity, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let data = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|error| TokenError::Refused(error.to_string()))?;
        if has_critical(token) {
            return Err(TokenError::Critical);
        }
        let now = unix_ms as f64 / 1_000.0;
        let time = |name| data.claims.get(name).map(|value: &Value| value.as_f64());
        let Some(Some(expires)) = time("exp") else { return Err(TokenError::NoExpiry) };
        if now >= expires + self.leeway_seconds {
            return Err(TokenError::Expired);
        }
        match time("nbf") {
            None => {}
            Some(Some(starts)) if now + self.leeway_seconds >= starts => {}
            Some(_) => return Err(TokenError::NotYet),
        }
        let subject = data.claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
        let Some(subject) = subject else { return Err(TokenError::NoSubject) };
        Ok(Identity {
            user_id: Some(subject.to_owned()),
            claims: Value::Object(data.claims.clone()).to_string(),
        })
    }
}

/// Whether the header has a `crit` member: we understand no extension, so any is unknown.
fn has_critical(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let decoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    let parsed = decoded.ok().and_then(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).ok());
    parsed.is_none_or(|header| header.contains_key("crit"))
}

/// Signs `claims` (a JSON object with `sub`, `iat` and `exp`, which have no defaults) with HS256.
pub fn encode_jwt(claims: &str, secret: &[u8], key_id: Option<String>) -> Result<String, EngineError> {
    let claims: Map<String, Value> = serde_json::from_str(claims)
        .map_err(|error| EngineError::Token(format!("claims are not a JSON object: {error}")))?;
    for name in ["iat", "exp"] {
        if !claims.get(name).is_some_and(Value::is_number) {
            return Err(EngineError::Token(format!("claims.{name} is required: seconds since 1970")));
        }
    }
    if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(EngineError::Token("claims.sub is required: the user id, a non-empty string".into()));
    }
    if secret.len() < MIN_SECRET_BYTES {
        let length = secret.len();
        return Err(EngineError::Token(format!(
            "an HS256 secret has at least {MIN_SECRET_BYTES} bytes, this one has {length}"
        )));
    }
    crypto::install();
    let header = Header { kid: key_id, ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret))
        .map_err(|error| EngineError::Token(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_700_000_000_000;

    fn verifier(issuer: Option<&str>, audience: Option<&str>) -> Verifier {
        let config = JwtConfig {
            secret: SECRET.to_vec(),
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            cookie_name: "access_token".into(),
            leeway_seconds: 30,
        };
        Verifier::new(&config).expect("the secret is long enough")
    }

    fn sign(header: &str, claims: &str) -> String {
        crypto::install();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_secret(SECRET);
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).expect("it signs");
        format!("{signed}.{signature}")
    }

    fn hs256(claims: &str) -> String {
        sign(r#"{"alg":"HS256"}"#, claims)
    }

    #[test]
    fn a_good_token_names_its_user() {
        let token = hs256(r#"{"sub":"ann","exp":1700000001,"role":"x"}"#);
        let identity = verifier(None, None).verify(&token, NOW).expect("it is good");
        assert_eq!(identity.user_id.as_deref(), Some("ann"));
        assert!(identity.claims.contains(r#""role":"x""#));
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
    fn refuses_what_is_not_exactly_a_token_of_ours() {
        let plain = verifier(None, None);
        let claims = r#"{"sub":"ann","exp":1800000000}"#;
        assert_eq!(
            plain.verify(&sign(r#"{"alg":"HS256","crit":["b64"]}"#, claims), NOW),
            Err(TokenError::Critical)
        );
        assert!(plain.verify(&sign(r#"{"alg":"HS384"}"#, claims), NOW).is_err());
        assert!(plain.verify(&sign(r#"{"alg":"none"}"#, claims), NOW).is_err());
        assert!(plain.verify(&hs256(r#"{"sub":"ann"}"#), NOW).is_err(), "no exp");
        assert!(plain.verify(&hs256(r#"{"exp":1800000000}"#), NOW).is_err(), "no sub");
        for subject in [r#""""#, "7", "null"] {
            let token = hs256(&format!(r#"{{"sub":{subject},"exp":1800000000}}"#));
            assert!(plain.verify(&token, NOW).is_err(), "{subject}");
        }
        let mut forged = hs256(claims);
        forged.truncate(forged.len() - 2);
        assert!(plain.verify(&forged, NOW).is_err());
        assert_eq!(plain.verify(&"x".repeat(MAX_TOKEN_BYTES + 1), NOW), Err(TokenError::TooLong));
    }

    #[test]
    fn what_we_encode_we_accept_and_nothing_is_filled_in() {
        let token = encode_jwt(r#"{"sub":"ann","iat":1,"exp":1800000000}"#, SECRET, None).expect("it signs");
        assert!(verifier(None, None).verify(&token, NOW).is_ok());
        for claims in [r#"{"sub":"ann","exp":2}"#, r#"{"sub":"ann","iat":1}"#, r#"{"iat":1,"exp":2}"#, "[]"] {
            assert!(encode_jwt(claims, SECRET, None).is_err(), "{claims}");
        }
    }
}
