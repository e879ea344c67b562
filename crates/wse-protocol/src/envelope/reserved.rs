//! What a publisher may not say, because clients would take it for the server's word (PROTOCOL §6).
//!
//! A message of a client that the application passes on must not be able to move another client's position,
//! nor to change its keys or its ticket.

use super::EnvelopeError;
use crate::scan;

/// A stamp, in short and in the names that older clients read.
const MEMBERS: [&str; 6] = ["tp", "e", "o", "topic", "epoch", "offset"];

/// Types by which a client takes over a key, a ticket or a position, and the one in which it finds another of them.
const TYPES: [&str; 7] = [
    "server_ready",
    "server_hello",
    "server_draining",
    "subscription_update",
    "encryption_response",
    "key_rotation_response",
    "priority_message",
];

/// The member's name, if it is one of a stamp.
pub fn member(name: &str) -> Option<&'static str> {
    MEMBERS.into_iter().find(|member| *member == name)
}

/// Looks at a publication's type, and into its payload where it is a batch. `kinds` and `payloads`: JSON of the
/// members that a type and a payload may stand in. Which of them counts differs from reader to reader, so all do.
pub fn check(kinds: [Option<&str>; 3], payloads: [Option<&str>; 2]) -> Result<(), EnvelopeError> {
    for kind in kinds.into_iter().flatten().filter_map(scan::string_value) {
        check_type(&kind)?;
        if kind == "batch" {
            payloads.into_iter().flatten().try_for_each(check_batch)?;
        }
    }
    Ok(())
}

fn check_type(kind: &str) -> Result<(), EnvelopeError> {
    TYPES.into_iter().find(|own| *own == kind).map_or(Ok(()), |own| Err(EnvelopeError::ReservedType(own)))
}

/// Older clients take a batch apart, and each message inside for one of the server's.
fn check_batch(payload: &str) -> Result<(), EnvelopeError> {
    let mut verdict = Ok(());
    let read = scan::loose_members(payload, &mut |found| {
        if scan::key_is(found.key, "messages") {
            scan::loose_items(found.value, &mut |message| {
                verdict = verdict.and_then(|()| check_message(message));
            });
        }
    });
    // Where the payload is no object there is nothing that a client could take apart.
    read.map_or(Ok(()), |()| verdict)
}

fn check_message(message: &str) -> Result<(), EnvelopeError> {
    let mut verdict = Ok(());
    let read = scan::loose_members(message, &mut |found| {
        verdict = verdict.and_then(|()| match found.name().as_deref() {
            Some("t" | "type" | "event_type") => {
                scan::string_value(found.value).map_or(Ok(()), |kind| check_type(&kind))
            }
            Some(name) => member(name).map_or(Ok(()), |name| Err(EnvelopeError::ReservedMember(name))),
            None => Ok(()),
        });
    });
    read.map_or(Ok(()), |()| verdict)
}
