//! What comes out of an engine: batches of events, replies, and lines of the log.
//!
//! A batch is one string and one table; binary and text that is not ASCII is one more buffer, asked for when
//! the table says that there is any.

use crate::instance;
use napi::JsString;
use napi::bindgen_prelude::{BufferSlice, Env, Result, Uint32ArraySlice};
use napi_derive::napi;
use serde_json::{Map, Value};
use wse_engine::host::Stand;
use wse_engine::log::{Event, Fault, Line};
use wse_engine::{ConnectionKey, Reply};
use wse_protocol::codes::Code;

/// Words of the table before its rows: the number of events, and of bytes beside the string.
const HEAD: usize = 2;
/// Words of a row: kind (bit 8: its text is in the string), the connection in four words, where its bytes begin
/// and end.
const ROW: usize = 7;

/// The length that the table must have.
#[napi]
pub const TABLE_LENGTH: u32 = (HEAD + ROW * wse_engine::inbound::BATCH_EVENTS) as u32;

/// Asks to be woken for the next batch; true: one waits already.
#[napi]
pub fn wait(handle: u32) -> Result<bool> {
    instance::with(handle, |it| Ok(it.engine.wait()))
}

/// Says whether somebody takes inbound events.
#[napi]
pub fn set_consumer(handle: u32, present: bool) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.set_consumer(present);
        Ok(())
    })
}

/// Takes messages of a type over for the application, or gives the type back to the engine.
#[napi]
pub fn handle_type(handle: u32, kind: String, is_handled: bool) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.handle(&kind, is_handled);
        Ok(())
    })
}

/// Counts messages that were taken and that nobody wanted.
#[napi]
pub fn count_unheard(handle: u32, messages: u32) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.count_unheard(messages.into());
        Ok(())
    })
}

/// Takes a batch: fills `table` and returns the ASCII texts of its events, one behind the other.
/// Null: nothing waits.
#[napi]
pub fn drain<'a>(env: &'a Env, handle: u32, mut table: Uint32ArraySlice<'a>) -> Result<Option<JsString<'a>>> {
    instance::with(handle, |it| {
        let Some((shard, batch)) = it.engine.take_batch() else { return Ok(None) };
        // SAFETY: the table is the facade's own and belongs to this environment, whose thread is the calling
        // one, so JavaScript cannot touch it before this function returns; nothing else holds the slice.
        let words = unsafe { table.as_mut() };
        let (rows, _) = words[HEAD..].as_chunks_mut::<ROW>();
        let (mut in_text, mut in_bytes) = (0, 0);
        for (row, entry) in rows.iter_mut().zip(&batch.entries) {
            let begin =
                std::mem::replace(if entry.is_ascii { &mut in_text } else { &mut in_bytes }, entry.end);
            let kind = entry.kind as u32 | u32::from(entry.is_ascii) << 8;
            let (high, low) = ((entry.high >> 32) as u32, entry.high as u32);
            *row = [kind, entry.key.place, entry.key.generation, high, low, begin, entry.end];
        }
        words[0] = batch.entries.len() as u32;
        words[1] = batch.bytes.len() as u32;
        let text = env.create_string_latin1(&batch.text)?;
        if batch.bytes.is_empty() {
            it.engine.recycle(shard, batch);
        } else {
            *it.drained.borrow_mut() = batch.bytes;
        }
        Ok(Some(text))
    })
}

/// The bytes of the batch that was drained last: binary, and UTF-8 that is not ASCII. Once.
#[napi]
pub fn drained_bytes<'a>(env: &'a Env, handle: u32) -> Result<BufferSlice<'a>> {
    instance::with(handle, |it| BufferSlice::from_data(env, it.drained.take()))
}

/// The id of a connection, from its four words in the table; whether it and its engine are still there or not.
#[napi]
pub fn connection_id(handle: u32, place: u32, generation: u32, high: u32, low: u32) -> Result<String> {
    let high = u64::from(high) << 32 | u64::from(low);
    Ok(instance::ids(handle)?.id(high, ConnectionKey { place, generation }).to_string())
}

/// Takes the engine's answers and questions, as a JSON list. An answered subscription is
/// `[request, refused, positions]`, or the request's number alone when there is nothing else to say, because there is
/// one for most connections.
#[napi]
pub fn replies(handle: u32) -> Result<String> {
    instance::with(handle, |it| {
        let replies = it.engine.take_replies().into_iter().map(|reply| match reply {
            Reply::Subscribed { request, refused, stands } if refused.is_empty() && stands.is_empty() => {
                request.into()
            }
            Reply::Subscribed { request, refused, stands } => {
                serde_json::json!([request, refused, positions(&stands)])
            }
            Reply::PresenceUpdated { request, topics } => {
                serde_json::json!({ "updated": request, "topics": topics })
            }
            Reply::Authenticate { key, request } => {
                serde_json::json!({ "place": key.place, "generation": key.generation, "request": request })
            }
            Reply::Authorize { key, id, number, user, claims, topics } => serde_json::json!({
                "place": key.place,
                "generation": key.generation,
                "number": number,
                "connId": id.to_string(),
                "userId": user.as_deref(),
                "claims": &*claims,
                "topics": topics,
            }),
            Reply::ClaimsChanged { user } => serde_json::json!({ "claimsOf": &*user }),
            Reply::UnknownKey { look } => serde_json::json!({ "look": look }),
            Reply::Room => "room".into(),
            Reply::Unsigned(error) => serde_json::json!({ "unsigned": error.to_string() }),
            Reply::Drained => true.into(),
            Reply::Closed => serde_json::Value::Null,
        });
        Ok(serde_json::Value::Array(replies.collect()).to_string())
    })
}

/// Where a connection stands, by topic, as a client would read it.
fn positions(stands: &[Stand]) -> Value {
    let written = stands.iter().map(|stand| {
        let position = serde_json::to_value(stand.written()).expect("a plain struct is JSON");
        (stand.topic.clone(), position)
    });
    Value::Object(written.collect())
}

/// Takes the lines for the logger, as a JSON list of `[level, event, fields]`.
#[napi]
pub fn lines(handle: u32) -> Result<String> {
    instance::with(handle, |it| {
        let lines = it.engine.take_lines().into_iter().map(|line| {
            let (event, mut fields) = described(&line.event);
            let Line { subject, times, .. } = &line;
            if let Some(id) = subject.id {
                fields.insert("conn_id".into(), id.to_string().into());
            }
            if let Some(user) = subject.user.as_deref() {
                fields.insert("user_id".into(), user.into());
            }
            if let Some(address) = subject.address {
                fields.insert("address".into(), address.to_string().into());
            }
            if *times > 1 {
                fields.insert("repeated".into(), (*times).into());
            }
            serde_json::json!([line.event.level().as_str(), event, fields])
        });
        Ok(serde_json::Value::Array(lines.collect()).to_string())
    })
}

/// The name of an event of the log, and what it says besides whom it is about.
fn described(event: &Event) -> (&'static str, Map<String, Value>) {
    let (name, fields) = match event {
        Event::Established => ("wse.connection.established", serde_json::json!({})),
        Event::Closed { open_ms, code } => (
            "wse.connection.closed",
            serde_json::json!({ "duration_s": *open_ms as f64 / 1_000.0, "code": code }),
        ),
        Event::Fault(Fault::Wire(code)) => ("wse.error", serde_json::json!({ "code": code.as_str() })),
        Event::Fault(Fault::Panic) => {
            let code = Code::ServerError.as_str();
            ("wse.error", serde_json::json!({ "code": code, "message": "serving a connection panicked" }))
        }
        Event::Fault(Fault::Refused(refusal)) => {
            let (status, _) = refusal.status().split_once(' ').unwrap_or_default();
            let (code, status) = ("HANDSHAKE_REFUSED", status.parse::<u16>().unwrap_or_default());
            (
                "wse.error",
                serde_json::json!({ "code": code, "status": status, "message": refusal.to_string() }),
            )
        }
        Event::Overload(overload) => ("wse.overload", serde_json::json!({ "reason": overload.as_str() })),
    };
    match fields {
        Value::Object(fields) => (name, fields),
        _ => (name, Map::new()),
    }
}
