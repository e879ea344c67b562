//! What a publisher may not say, because clients would take it for the server's word (PROTOCOL §6).
//!
//! A message of a client that the application passes on must not be able to move another client's position,
//! nor to change its keys.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::EnvelopeError;
use crate::scan;

/// A stamp, in short and in the names that older clients read.
const MEMBERS: [&str; 6] = ["tp", "e", "o", "topic", "epoch", "offset"];

/// Types by which a client takes over a key, or a position.
const TYPES: [&str; 5] =
    ["server_ready", "server_hello", "subscription_update", "encryption_response", "key_rotation_response"];

/// A message that older clients take apart: each of those inside is one by itself.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

/// The member's name, if it is one of a stamp.
pub fn member(name: &str) -> Option<&'static str> {
    MEMBERS.into_iter().find(|member| *member == name)
}

/// Looks at a publication's type, and into its payload where it is a batch. `kinds`: JSON of the members that
/// a type may stand in.
pub fn check(kinds: [Option<&str>; 3], payload: Option<&str>) -> Result<(), EnvelopeError> {
    for kind in kinds.into_iter().flatten().filter_map(scan::string_value) {
        check_type(&kind)?;
        if kind == "batch" {
            payload.map_or(Ok(()), check_batch)?;
        }
    }
    Ok(())
}

fn check_type(kind: &str) -> Result<(), EnvelopeError> {
    TYPES.into_iter().find(|own| *own == kind).map_or(Ok(()), |own| Err(EnvelopeError::ReservedType(own)))
}

fn check_batch(payload: &str) -> Result<(), EnvelopeError> {
    // Where `messages` is no list there is nothing that a client could take apart.
    let Ok(batch) = serde_json::from_str::<Batch>(payload) else { return Ok(()) };
    for message in batch.messages {
        let (mut reserved, mut kinds) = (None, Vec::new());
        let read = scan::members(message.get(), &mut |found| match found.name().as_deref() {
            Some("t" | "type" | "event_type") => kinds.push(found.value),
            Some(name) => reserved = reserved.or_else(|| member(name)),
            None => {}
        });
        if let (Ok(()), Some(name)) = (read, reserved) {
            return Err(EnvelopeError::ReservedMember(name));
        }
        kinds
            .into_iter()
            .filter_map(scan::string_value)
            .try_for_each(|kind: Cow<'_, str>| check_type(&kind))?;
    }
    Ok(())
}
