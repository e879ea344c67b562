//! What holds for any text that a client may send as a token, and for any that may be a set of keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value};
use std::sync::LazyLock;
use wse_engine::jwt::{JwtConfig, MAX_TOKEN_BYTES, Verifier};
use wse_engine::keys::{Algorithm, Keys};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000_000;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    Verifier::new(JwtConfig {
        algorithm: Algorithm::Hs256,
        keys: Some(Keys::of_secret(SECRET, None, None).expect("32 bytes")),
        may_renew: false,
        issuer: None,
        audience: None,
        leeway_seconds: 30,
    })
});

/// Verifies that the text is no token by itself unless it is signed, that as claims which are signed it is one only
/// for a user whose time has not passed, and that as a set of keys it is judged.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(identity) = VERIFIER.verify(text, NOW) {
        let (signed, mac) = text.rsplit_once('.').expect("a token has three parts");
        assert_eq!(mac, sign(signed), "nobody else knows the secret");
        check_claims(&identity.claims, identity.user_id.as_deref());
    }
    let signed = [r#"{"alg":"HS256"}"#, text].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let token = format!("{signed}.{}", sign(&signed));
    if let Ok(identity) = VERIFIER.verify(&token, NOW) {
        assert!(token.len() <= MAX_TOKEN_BYTES);
        check_claims(&identity.claims, identity.user_id.as_deref());
        assert_eq!(serde_json::from_str::<Value>(&identity.claims).ok(), serde_json::from_str(text).ok());
    }
    for algorithm in [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256] {
        let _ = Keys::of_set(text, algorithm);
    }
}

fn sign(signed: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes()))
}

fn check_claims(claims: &str, user: Option<&str>) {
    let claims = serde_json::from_str::<Map<String, Value>>(claims).expect("an object");
    assert!(user.is_some_and(|user| !user.is_empty()) && claims["sub"].as_str() == user);
    let expires = claims["exp"].as_f64().expect("it has a time");
    assert!(expires + 30.0 > NOW as f64 / 1_000.0);
}
