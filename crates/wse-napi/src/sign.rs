//! What shows who said something: signatures of envelopes, and the tokens that an engine gives out.

use crate::error::{coded, from_engine};
use crate::instance;
use crate::server::connection_id;
use napi::JsString;
use napi::bindgen_prelude::{Result, Uint8ArraySlice};
use napi_derive::napi;
use wse_protocol::envelope::Timestamp;
use wse_protocol::sign::{self, NONCE_LEN, SigningKey};
use wse_protocol::ticket::Kind;

/// Signs an envelope (JSON) at `unix_ms`; `nonce` must be new.
#[napi]
pub fn sign_envelope(
    envelope: String,
    kid: String,
    secret: String,
    unix_ms: f64,
    nonce: Uint8ArraySlice<'_>,
) -> Result<String> {
    let nonce = <&[u8; NONCE_LEN]>::try_from(&*nonce)
        .map_err(|_| coded("WSE_OPTION_INVALID", "a nonce has 16 bytes"))?;
    key(kid, &secret)?
        .sign(&envelope, Timestamp(unix_ms as u64), nonce)
        .map_err(|error| coded("WSE_MESSAGE_INVALID", &error.to_string()))
}

/// Whether one of the keys signed an envelope, at the time of `unix_ms` or near it. Whether the signature is a
/// repetition is not known here.
#[napi]
pub fn verify_envelope(
    envelope: String,
    kids: Vec<String>,
    secrets: Vec<String>,
    unix_ms: f64,
) -> Result<()> {
    let keys = kids.into_iter().zip(&secrets).map(|(kid, secret)| key(kid, secret));
    sign::authenticate(&keys.collect::<Result<Vec<_>>>()?, &envelope, Timestamp(unix_ms as u64))
        .map(drop)
        .map_err(|error| coded("WSE_SIGNATURE_INVALID", &error.to_string()))
}

fn key(kid: String, secret: &str) -> Result<SigningKey> {
    SigningKey::new(kid, secret.as_bytes()).map_err(|error| coded("WSE_OPTION_INVALID", &error.to_string()))
}

/// A token for a connection, or, with topics, one that grants them; none: it is gone, or its user's token has ended.
#[napi]
pub fn issue_token(handle: u32, id: JsString<'_>, topics: Option<Vec<String>>) -> Result<Option<String>> {
    instance::with(handle, |it| {
        let Some(id) = connection_id(&id) else { return Ok(None) };
        it.engine.issue_token(id, topics).map_err(from_engine)
    })
}

/// What a good token of the type `session` or `topic` says, as JSON.
#[napi]
pub fn verify_token(handle: u32, token: String, is_of_topics: bool) -> Result<Option<String>> {
    let kind = if is_of_topics { Kind::Topic } else { Kind::Session };
    instance::with(handle, |it| {
        Ok(it.engine.verify_token(&token, kind).map(|ticket| {
            serde_json::json!({
                "userId": ticket.user_id,
                "connId": ticket.connection_id,
                "topics": ticket.topics,
                "expiresAt": ticket.expires_at.0,
            })
            .to_string()
        }))
    })
}

/// Takes back the tokens of a user.
#[napi]
pub fn revoke_tokens(handle: u32, user: String) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.revoke_tokens(&user);
        Ok(())
    })
}
