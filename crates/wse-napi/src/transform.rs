//! Domain events as envelopes: text in, text out.

use crate::error::coded;
use crate::text::with_text;
use napi::JsString;
use napi::bindgen_prelude::{Env, External, Result};
use napi_derive::napi;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};
use wse_engine::id::message_id;
use wse_protocol::envelope::Timestamp;
use wse_protocol::transform::{Mapping, Outcome, TransformError, Unmapped, transform};

/// Between the texts of a batch: no JSON has it.
const SEPARATOR: u8 = 0;
/// In front of the fault of an event of a batch: no envelope begins with it.
const FAULT: u8 = b'!';

thread_local! {
    /// An environment has one thread, so its ids are that thread's.
    static RANDOM: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::new());
}

/// A mapping from types of events to types of envelopes (JSON). `snake_case`: what it does not name goes out
/// under its own name.
#[napi(ts_return_type = "ExternalObject<unknown>")]
pub fn event_mapping(types: String, snake_case: bool) -> Result<External<Mapping>> {
    let types: HashMap<String, String> =
        serde_json::from_str(&types).map_err(|error| coded("WSE_OPTION_INVALID", &error.to_string()))?;
    let unmapped = if snake_case { Unmapped::SnakeCase } else { Unmapped::Filter };
    Ok(External::new(Mapping::new(types, unmapped)))
}

/// The envelope of an event; null: the mapping does not name it.
#[napi]
pub fn transform_event<'a>(
    env: &'a Env,
    #[napi(ts_arg_type = "ExternalObject<unknown>")] mapping: &External<Mapping>,
    event: JsString<'_>,
    seq: Option<f64>,
) -> Result<Option<JsString<'a>>> {
    with_text(&event, |event| {
        let mut out = Vec::new();
        match one(mapping, event, number(seq), now(), &mut out) {
            Ok(Outcome::Envelope) => text(env, &out).map(Some),
            Ok(Outcome::Filtered) => Ok(None),
            Err(error) => Err(coded("WSE_EVENT_INVALID", &error.to_string())),
        }
    })
}

/// The envelopes of events, numbered from `first_seq` on. The events are joined by NUL, and so is what they
/// became: an envelope, nothing for one that the mapping does not name, or `!` and what is wrong.
#[napi]
pub fn transform_events<'a>(
    env: &'a Env,
    #[napi(ts_arg_type = "ExternalObject<unknown>")] mapping: &External<Mapping>,
    events: JsString<'_>,
    first_seq: Option<f64>,
) -> Result<JsString<'a>> {
    let (mut seq, at) = (number(first_seq), now());
    with_text(&events, |events| {
        let mut out = Vec::with_capacity(2 * events.len());
        for (index, event) in events.split(char::from(SEPARATOR)).enumerate() {
            if index > 0 {
                out.push(SEPARATOR);
            }
            match one(mapping, event, seq, at, &mut out) {
                Ok(Outcome::Envelope) => seq = seq.map(|seq| seq + 1),
                Ok(Outcome::Filtered) => {}
                Err(error) => {
                    out.push(FAULT);
                    out.extend_from_slice(error.to_string().as_bytes());
                }
            }
        }
        text(env, &out)
    })
}

fn one(
    mapping: &Mapping,
    event: &str,
    seq: Option<u64>,
    at: Timestamp,
    out: &mut Vec<u8>,
) -> std::result::Result<Outcome, TransformError> {
    let id = || RANDOM.with_borrow_mut(|random| message_id(at.0, random));
    transform(event, seq, mapping, id, at, out)
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since_1970.as_millis() as u64)
}

/// The facade has checked that it is a whole number.
fn number(seq: Option<f64>) -> Option<u64> {
    seq.map(|seq| seq as u64)
}

fn text<'a>(env: &'a Env, out: &[u8]) -> Result<JsString<'a>> {
    // ASCII need not be decoded.
    if out.is_ascii() {
        return env.create_string_latin1(out);
    }
    let out = std::str::from_utf8(out).map_err(|error| napi::Error::from_reason(error.to_string()))?;
    env.create_string(out)
}
