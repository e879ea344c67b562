//! Domain events as envelopes.
//!
//! Owns which events go out, under which type, and what of them. Keeps the payload's bytes as they are and
//! builds no tree; never decides to whom an envelope goes.

mod event;
mod name;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use crate::envelope::{Category, Dialect, Timestamp, category, push_members};
use crate::scan::{self, MAX_DEPTH, ScanError};
use event::Event;

pub use crate::error::TransformError;

/// The longest type of an event, in bytes. An envelope has it up to three times.
pub const MAX_TYPE_LEN: usize = 255;

/// What an envelope has besides the payload, when nothing is long.
const USUAL_OVERHEAD: usize = 512;

/// What becomes of an event that the mapping does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmapped {
    /// It is kept back. The default: what is new in the domain is shown to nobody by that alone.
    #[default]
    Filter,
    /// It goes out under its name in snake case: `ResourceCreated` as `resource_created`.
    SnakeCase,
}

/// Which events go out, and under which type.
#[derive(Debug, Default)]
pub struct Mapping {
    types: HashMap<String, Target>,
    unmapped: Unmapped,
}

/// The type of an envelope, its JSON, and the category that follows from it.
#[derive(Debug, Clone)]
struct Target {
    kind: String,
    json: String,
    category: Category,
}

impl Target {
    fn new(kind: String) -> Self {
        let json = serde_json::to_string(&kind).expect("text is written to memory without fail");
        Self { category: category(&kind), kind, json }
    }
}

impl Mapping {
    /// A mapping from types of events to types of envelopes.
    pub fn new(types: impl IntoIterator<Item = (String, String)>, unmapped: Unmapped) -> Self {
        let types = types.into_iter().map(|(event, kind)| (event, Target::new(kind))).collect();
        Self { types, unmapped }
    }

    /// What an event goes out as: `domain_type` is what the domain calls it, `kind` what the event says
    /// now, which is another name when its publisher has mapped it.
    fn target(&self, domain_type: &str, kind: &str) -> Option<Cow<'_, Target>> {
        let named = self.types.get(domain_type).or_else(|| self.types.get(kind));
        match self.unmapped {
            Unmapped::SnakeCase if named.is_none() => Some(Cow::Owned(Target::new(name::snake_case(kind)))),
            _ => named.map(Cow::Borrowed),
        }
    }
}

/// What an event became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An envelope.
    Envelope,
    /// Nothing: the mapping does not name it.
    Filtered,
}

/// Appends the envelope of a domain event to `out`, as PROTOCOL §6 says.
///
/// `seq` is its number, where somebody counts; `id` is asked for one when the event brings none; `at` is the
/// moment of sending. Whatever is at the start of `out` stays. What is appended is shorter than twice the
/// event and a few types. On an error, and for an event that is filtered, `out` is as it was.
pub fn transform(
    event: &str,
    seq: Option<u64>,
    mapping: &Mapping,
    id: impl FnOnce() -> Uuid,
    at: Timestamp,
    out: &mut Vec<u8>,
) -> Result<Outcome, TransformError> {
    let read = Event::read(event)?;
    if read.is_envelope() {
        out.push(b'{');
        if !read.has_seq {
            push_number(out, "\"seq\":", seq, ",");
        }
        push_members(event, &[], out);
        return Ok(Outcome::Envelope);
    }
    let kind = type_of(read.kind())?.ok_or(TransformError::NoType)?;
    let mapped = type_of(read.original)?;
    let domain_type = mapped.as_ref().unwrap_or(&kind);
    let Some(target) = mapping.target(domain_type, &kind) else { return Ok(Outcome::Filtered) };
    if target.kind.is_empty() {
        return Err(TransformError::NoType);
    }
    let payload = read.payload();
    if payload.is_none() {
        check_as_payload(event)?;
    }
    let original = if mapped.is_some() { read.original } else { read.kind() };
    let original = original.filter(|_| *domain_type != target.kind);

    out.reserve(event.len() + USUAL_OVERHEAD);
    push(out, "{\"t\":", &target.json, ",\"p\":{");
    let has_original = payload.map_or(read.original.is_some(), has_original_type);
    if let Some(original) = original.filter(|_| !has_original) {
        push(out, "\"original_event_type\":", original, ",");
    }
    match payload {
        Some(payload) => push_members(payload, &[], out),
        None => push_members(event, &read.metadata_places, out),
    }
    let about = read.metadata();
    let id = about.id().unwrap_or_else(|| format!("\"{}\"", id()).into());
    push(out, ",\"id\":", &id, ",\"ts\":\"");
    out.extend_from_slice(&at.to_ascii());
    out.push(b'"');
    push_number(out, ",\"seq\":", seq, "");
    push_number(out, ",\"v\":", Some(Dialect::V2.version()), "");
    push(out, ",\"_msg_cat\":\"", read.category().unwrap_or(target.category).as_str(), "\"");
    push_number(out, ",\"pri\":", about.priority(), "");
    push_text(out, ",\"cid\":", about.correlation_id());
    push_number(out, ",\"event_version\":", about.version(), "");
    push_text(out, ",\"trace_id\":", about.trace_id());
    push_number(out, ",\"latency_ms\":", about.latency_ms(at), "");
    push_text(out, ",\"original_event_type\":", original);
    out.push(b'}');
    Ok(Outcome::Envelope)
}

/// The text of a type; one that is empty, or no text, is none.
fn type_of(json: Option<&str>) -> Result<Option<Cow<'_, str>>, TransformError> {
    match json.and_then(scan::string_value).filter(|kind| !kind.is_empty()) {
        Some(kind) if kind.len() > MAX_TYPE_LEN => Err(TransformError::TypeTooLong { len: kind.len() }),
        kind => Ok(kind),
    }
}

/// A payload stands one level deeper than the event that it was.
fn check_as_payload(event: &str) -> Result<(), ScanError> {
    let openings = event.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if openings < MAX_DEPTH as usize {
        return Ok(());
    }
    scan::members(&format!("{{\"p\":{event}}}"), &mut |_| ())
}

fn has_original_type(payload: &str) -> bool {
    let mut has = false;
    let read = scan::members(payload, &mut |member| has |= scan::key_is(member.key, "original_event_type"));
    has && read.is_ok()
}

fn push(out: &mut Vec<u8>, front: &str, text: &str, behind: &str) {
    for part in [front, text, behind] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn push_text(out: &mut Vec<u8>, front: &str, json: Option<impl AsRef<str>>) {
    if let Some(json) = json {
        push(out, front, json.as_ref(), "");
    }
}

fn push_number(out: &mut Vec<u8>, front: &str, number: Option<impl Serialize>, behind: &str) {
    if let Some(number) = number {
        out.extend_from_slice(front.as_bytes());
        serde_json::to_writer(&mut *out, &number).expect("numbers are written to memory without fail");
        out.extend_from_slice(behind.as_bytes());
    }
}
