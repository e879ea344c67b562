//! Tokens: the keys that an engine checks them with, and those that the application makes and reads itself.

use crate::config;
use crate::error::{coded, from_engine};
use crate::instance;
use napi::bindgen_prelude::{External, Result, Uint8ArraySlice};
use napi_derive::napi;
use wse_engine::jwt::Verifier;
use wse_engine::keys::Algorithm;

/// Checks tokens with the keys of a JSON Web Key Set from now on; after an error with those of before.
#[napi]
pub fn set_keys(handle: u32, jwks: String) -> Result<()> {
    instance::with(handle, |it| it.engine.set_keys(&jwks).map_err(from_engine))
}

/// Answers a `look` reply: newer keys were looked for, or could not be had.
#[napi]
pub fn looked(handle: u32, look: u32, is_done: bool) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.looked(look, is_done);
        Ok(())
    })
}

/// Whether the engine has what it needs to tell who connects.
#[napi]
pub fn is_ready(handle: u32) -> Result<bool> {
    instance::with(handle, |it| Ok(it.engine.is_ready()))
}

/// Signs claims (JSON) with the secret, or the private key as PKCS #8 in DER.
#[napi]
pub fn encode_jwt(
    claims: String,
    key: Uint8ArraySlice<'_>,
    algorithm: String,
    key_id: Option<String>,
) -> Result<String> {
    let algorithm = serde_json::from_value::<Algorithm>(algorithm.into())
        .map_err(|_| coded("WSE_TOKEN_INVALID", "alg is HS256, RS256 or ES256"))?;
    wse_engine::jwt::encode_jwt(&claims, &key, algorithm, key_id).map_err(from_engine)
}

/// What checks tokens by the options `config` (JSON, as those of an engine).
#[napi]
pub fn verifier(config: String) -> Result<External<Verifier>> {
    Ok(External::new(Verifier::new(config::read_jwt(&config)?)))
}

/// The claims (JSON) of a token that is good at `unix_ms`.
#[napi]
pub fn decode_jwt(verifier: &External<Verifier>, token: String, unix_ms: f64) -> Result<String> {
    let identity = verifier.verify(&token, unix_ms as u64);
    identity.map(|it| it.claims).map_err(|error| coded("WSE_TOKEN_INVALID", &error.to_string()))
}
