//! An engine's life, its topics, and what is sent: one function for each call of the facade.

use crate::error::{coded, from_engine};
use crate::text::with_text;
use crate::{config, instance};
use napi::bindgen_prelude::{Env, Function, Result, Uint8ArraySlice};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{JsString, Status, Unknown};
use napi_derive::napi;
use serde_json::value::RawValue;
use std::num::NonZeroU64;
use std::sync::Arc;
use uuid::Uuid;
use wse_engine::answer::Start;
use wse_engine::auth::Identity;
use wse_engine::content::Content;
use wse_engine::drain::Pace;
use wse_engine::pressure::Lacking;
use wse_engine::publishing::{Published, Publishing};
use wse_engine::recovery::Position;
use wse_engine::{ConnectionId, ConnectionKey, Engine, Host};

/// Wakes the JavaScript thread: weak, so that it keeps no process alive, and of queue size one, because one
/// wake-up is as good as many.
type WakeUp = ThreadsafeFunction<(), Unknown<'static>, (), Status, false, true, 1>;

struct Facade(WakeUp);

impl Host for Facade {
    fn wake(&self) {
        // A full queue means that a wake-up is under way; a closing one, that nobody is left to wake.
        let _ = self.0.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn trim_memory(&self) {
        // SAFETY: malloc_trim takes a number, locks what it needs, and may be called from any thread.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Starts an engine with the options `config` (JSON, complete); returns its handle.
#[napi]
pub fn start(env: Env, config: String, wake: Function<'_, (), Unknown<'static>>) -> Result<u32> {
    let config = config::read(&config)?;
    let wake_up: WakeUp = wake
        .build_threadsafe_function()
        .weak::<true>()
        .callee_handled::<false>()
        .max_queue_size::<1>()
        .build()?;
    let engine = Engine::start(config, Box::new(Facade(wake_up))).map_err(from_engine)?;
    instance::add(&env, engine)
}

/// Listens, with TLS when there is a certificate (PEM) and its key; returns the port.
#[napi]
pub fn listen(
    handle: u32,
    host: String,
    port: u16,
    certificate: Option<String>,
    key: Option<String>,
) -> Result<u16> {
    instance::with(handle, |it| {
        it.engine
            .set_certificate(certificate.as_deref().zip(key.as_deref()))
            .and_then(|()| it.engine.listen(&host, port))
            .map(|address| address.port())
            .map_err(from_engine)
    })
}

/// Uses another certificate (PEM) and key from the next connection on.
#[napi]
pub fn set_certificate(handle: u32, certificate: String, key: String) -> Result<()> {
    instance::with(handle, |it| it.engine.set_certificate(Some((&certificate, &key))).map_err(from_engine))
}

/// Begins to send everyone away; returns how many `drained` replies will follow.
#[napi]
pub fn drain_connections(handle: u32, waves: u32, deadline_ms: u32) -> Result<u32> {
    let pace = Pace { waves, deadline_ms: deadline_ms.into() };
    instance::with(handle, |it| Ok(it.engine.drain(pace) as u32))
}

/// Begins to close; returns how many `closed` replies will follow.
#[napi]
pub fn close(handle: u32) -> Result<u32> {
    instance::with(handle, |it| Ok(it.engine.close() as u32))
}

/// Forgets a closed engine.
#[napi]
pub fn release(handle: u32) {
    instance::remove(handle);
}

/// Lets the shards know of everything that was handed over.
#[napi]
pub fn flush(handle: u32) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.flush();
        Ok(())
    })
}

/// Publishes text to a topic; false: over the budget, or a reader that publishers wait for is behind.
#[napi]
pub fn broadcast(handle: u32, topic: JsString<'_>, text: JsString<'_>) -> Result<bool> {
    instance::with(handle, |it| {
        let topic = Name::read(&topic);
        let queued = |published| matches!(published, Published::Queued(_));
        with_text(&text, |text| {
            let publishing = Publishing::default();
            it.engine
                .publish(topic.as_str(), Content::Text(text), publishing)
                .map(queued)
                .map_err(from_engine)
        })
    })
}

/// Publishes text to a topic, once for each key; its epoch, a space and its offset, or `""` when the topic has no log.
/// Otherwise what there is no room in, `memory` or `reader`: a reply says when there is.
#[napi]
pub fn publish(
    handle: u32,
    topic: JsString<'_>,
    text: JsString<'_>,
    key: Option<String>,
    deadline_ms: Option<u32>,
) -> Result<String> {
    instance::with(handle, |it| {
        let topic = Name::read(&topic);
        let published = with_text(&text, |text| {
            let deadline_ms = deadline_ms.and_then(|ms| NonZeroU64::new(ms.into()));
            let publishing = Publishing { key: key.as_deref(), deadline_ms, waits: true };
            it.engine.publish(topic.as_str(), Content::Text(text), publishing).map_err(from_engine)
        })?;
        Ok(match published {
            Published::Refused(Lacking::Memory) => "memory".into(),
            Published::Refused(Lacking::Reader) => "reader".into(),
            Published::Queued(None) => String::new(),
            Published::Queued(Some(Position { epoch, offset })) => format!("{epoch:08x} {offset}"),
        })
    })
}

/// Sends text to everyone; false: over the budget.
#[napi]
pub fn broadcast_all(handle: u32, text: JsString<'_>) -> Result<bool> {
    instance::with(handle, |it| {
        with_text(&text, |text| it.engine.publish_all(Content::Text(text)).map_err(from_engine))
    })
}

/// Sends bytes to everyone; false: over the budget.
#[napi]
pub fn broadcast_all_bytes(handle: u32, bytes: Uint8ArraySlice<'_>) -> Result<bool> {
    instance::with(handle, |it| it.engine.publish_all(Content::Binary(&bytes)).map_err(from_engine))
}

/// Sends text to one connection; the bytes queued, or -1: it is gone, or its queue refuses.
#[napi]
pub fn send(handle: u32, id: JsString<'_>, text: JsString<'_>) -> Result<i32> {
    instance::with(handle, |it| {
        let Some(id) = connection_id(&id) else { return Ok(-1) };
        let queued = |sent: Option<usize>| sent.map_or(-1, |bytes| bytes as i32);
        with_text(&text, |text| it.engine.send(id, Content::Text(text)).map(queued).map_err(from_engine))
    })
}

/// Sends bytes to one connection; false: it is gone, or its queue refuses.
#[napi]
pub fn send_bytes(handle: u32, id: JsString<'_>, bytes: Uint8ArraySlice<'_>) -> Result<bool> {
    instance::with(handle, |it| {
        let Some(id) = connection_id(&id) else { return Ok(false) };
        it.engine.send(id, Content::Binary(&bytes)).map(|sent| sent.is_some()).map_err(from_engine)
    })
}

/// Sends text to each connection of a user; how many.
#[napi]
pub fn send_to_user(handle: u32, user: String, text: JsString<'_>) -> Result<u32> {
    instance::with(handle, |it| {
        with_text(&text, |text| {
            it.engine.send_to_user(&user, Content::Text(text)).map(|sent| sent as u32).map_err(from_engine)
        })
    })
}

/// Makes a connection hold topics, and its user present there with `presence` (a JSON object), answered by a
/// `subscribed` reply; false: it is gone. With as many `epochs` and `offsets` it begins each topic behind that position.
#[napi]
pub fn subscribe(
    handle: u32,
    id: JsString<'_>,
    topics: Vec<String>,
    presence: Option<String>,
    request: u32,
    epochs: Vec<u32>,
    offsets: Vec<f64>,
) -> Result<bool> {
    let presence = presence.map(json_object).transpose()?;
    instance::with(handle, |it| {
        let positions = epochs.into_iter().zip(offsets);
        let positions = positions.map(|(epoch, offset)| Position { epoch, offset: offset as u64 });
        let starts = positions.map(Start::Behind).chain(std::iter::repeat(Start::Now));
        let topics = topics.into_iter().zip(starts).collect();
        Ok(connection_id(&id).is_some_and(|id| it.engine.subscribe(id, topics, presence, request)))
    })
}

/// Makes a connection a member of a topic's group, answered by a `subscribed` reply; false: it is gone.
#[napi]
pub fn join_group(handle: u32, id: JsString<'_>, topic: String, group: String, request: u32) -> Result<bool> {
    instance::with(handle, |it| {
        let Some(id) = connection_id(&id) else { return Ok(false) };
        it.engine.join_group(id, topic, &group, request).map_err(from_engine)
    })
}

/// Sets the data (a JSON object) of a connection's user wherever it is present, answered by an `updated` reply; false:
/// it is gone.
#[napi]
pub fn update_presence(handle: u32, id: JsString<'_>, data: String, request: u32) -> Result<bool> {
    let data = json_object(data)?;
    instance::with(handle, |it| {
        Ok(connection_id(&id).is_some_and(|id| it.engine.update_presence(id, data, request)))
    })
}

/// Members of a topic behind a user id, at most `limit`, as JSON.
#[napi]
pub fn presence(handle: u32, topic: JsString<'_>, after: Option<String>, limit: u32) -> Result<String> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Member<'a> {
        user_id: &'a str,
        data: &'a RawValue,
        connections: usize,
    }
    #[derive(serde::Serialize)]
    struct Members<'a> {
        members: Vec<Member<'a>>,
        next: Option<&'a str>,
        total: usize,
    }
    instance::with(handle, |it| {
        let page = it.engine.presence(Name::read(&topic).as_str(), after.as_deref(), limit as usize);
        let members = page.members.iter().map(|(user_id, data, connections)| Member {
            user_id,
            data,
            connections: *connections,
        });
        let next = page.members.last().filter(|_| page.has_more).map(|(user, ..)| &**user);
        let members = Members { members: members.collect(), next, total: page.total };
        serde_json::to_string(&members).map_err(|error| coded("WSE_INTERNAL", &error.to_string()))
    })
}

/// Users who are present in a topic, and their connections there.
#[napi]
pub fn presence_stats(handle: u32, topic: JsString<'_>) -> Result<Vec<u32>> {
    instance::with(handle, |it| {
        let (users, connections) = it.engine.presence_stats(Name::read(&topic).as_str());
        Ok(vec![users as u32, connections as u32])
    })
}

fn json_object(text: String) -> Result<Arc<RawValue>> {
    let json = RawValue::from_string(text).map(Arc::from);
    json.map_err(|error| coded("WSE_OPTION_INVALID", &format!("presence: {error}")))
}

/// Ends subscriptions of a connection; false: it is gone.
#[napi]
pub fn unsubscribe(handle: u32, id: JsString<'_>, topics: Option<Vec<String>>) -> Result<bool> {
    instance::with(handle, |it| Ok(connection_id(&id).is_some_and(|id| it.engine.unsubscribe(id, topics))))
}

/// Replaces the rules of topics (JSON, complete), and takes away what they no longer grant.
#[napi]
pub fn set_topic_rules(handle: u32, rules: String) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.set_rules(config::read_rules(&rules)?);
        Ok(())
    })
}

/// Answers an `authorize` reply: which of its topics are granted, and whether some are missing because the hook failed.
#[napi]
pub fn authorized(
    handle: u32,
    place: u32,
    generation: u32,
    number: u32,
    granted: Vec<String>,
    has_failed: bool,
) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.authorized(ConnectionKey { place, generation }, number, granted, has_failed);
        Ok(())
    })
}

/// Stops reading a connection, or goes on.
#[napi]
pub fn hold_back(handle: u32, id: JsString<'_>, is_held: bool) -> Result<()> {
    instance::with(handle, |it| {
        if let Some(id) = connection_id(&id) {
            it.engine.hold_back(id, is_held);
        }
        Ok(())
    })
}

/// Closes a connection; false: it is gone.
#[napi]
pub fn disconnect(handle: u32, id: JsString<'_>, code: u16, reason: String) -> Result<bool> {
    instance::with(handle, |it| {
        Ok(connection_id(&id).is_some_and(|id| it.engine.disconnect(id, code, &reason)))
    })
}

/// Closes all connections of a user; how many.
#[napi]
pub fn disconnect_user(handle: u32, user: String, code: u16, reason: String) -> Result<u32> {
    instance::with(handle, |it| Ok(it.engine.disconnect_user(&user, code, &reason) as u32))
}

/// Answers an `authenticate` reply: `claims` as JSON, or none to refuse.
#[napi]
pub fn decide(
    handle: u32,
    place: u32,
    generation: u32,
    user_id: Option<String>,
    claims: Option<String>,
) -> Result<()> {
    instance::with(handle, |it| {
        let identity = claims.map(|claims| Identity::decided(user_id, claims));
        it.engine.decide(ConnectionKey { place, generation }, identity);
        Ok(())
    })
}

/// The ids of all open connections.
#[napi]
pub fn connections(handle: u32) -> Result<Vec<String>> {
    instance::with(handle, |it| Ok(it.engine.connections().iter().map(ToString::to_string).collect()))
}

/// How many connections are open.
#[napi]
pub fn connection_count(handle: u32) -> Result<u32> {
    instance::with(handle, |it| Ok(it.engine.connection_count() as u32))
}

/// What is known of an open connection, as JSON.
#[napi]
pub fn connection_info(handle: u32, id: JsString<'_>) -> Result<Option<String>> {
    instance::with(handle, |it| {
        let Some(id) = connection_id(&id) else { return Ok(None) };
        Ok(it.engine.info(id).map(|info| {
            serde_json::json!({
                "connId": id.to_string(),
                "userId": info.caller.user.as_deref(),
                "remoteAddress": info.caller.address.to_string(),
                "connectedAt": info.connected_at,
                "expiresAt": info.expires_at,
                "protocolVersion": info.dialect.version(),
                "subscriptions": info.subscriptions,
                "waitingBytes": info.waiting_bytes,
                "missed": info.missed,
            })
            .to_string()
        }))
    })
}

/// Subscriptions to a topic.
#[napi]
pub fn subscriber_count(handle: u32, topic: JsString<'_>) -> Result<u32> {
    instance::with(handle, |it| Ok(it.engine.subscribers(Name::read(&topic).as_str()) as u32))
}

/// Events that wait for the application.
#[napi]
pub fn inbound_depth(handle: u32) -> Result<f64> {
    instance::with(handle, |it| Ok(it.engine.inbound_depth() as f64))
}

/// The health snapshot as JSON.
#[napi]
pub fn health(handle: u32) -> Result<String> {
    instance::with(handle, |it| Ok(it.engine.health()))
}

/// Bytes by kind, as JSON.
#[napi]
pub fn memory(handle: u32) -> Result<String> {
    instance::with(handle, |it| {
        let memory = it.engine.memory();
        Ok(serde_json::json!({
            "budgetBytes": memory.budget_bytes,
            "totalBytes": memory.outbound_bytes
                + memory.log_bytes
                + memory.presence_bytes
                + memory.inbound_bytes,
            "outboundBytes": memory.outbound_bytes,
            "logBytes": memory.log_bytes,
            "presenceBytes": memory.presence_bytes,
            "inboundBytes": memory.inbound_bytes,
            "waitingCommands": memory.waiting_commands,
            "longestOutboundMessages": memory.longest_outbound_messages,
            "longestOutboundBytes": memory.longest_outbound_bytes,
        })
        .to_string())
    })
}

/// A connection's id; what is none finds no connection.
pub fn connection_id(id: &JsString<'_>) -> Option<ConnectionId> {
    Uuid::try_parse(Name::read(id).as_str()).ok().map(ConnectionId)
}

/// A topic or an id: read into a buffer on the stack, because it is short.
struct Name {
    bytes: [u8; 260],
    length: usize,
}

impl Name {
    /// A value that is no text reads as empty, which is neither a topic nor an id.
    fn read(value: &JsString<'_>) -> Self {
        let mut name = Self { bytes: [0; 260], length: 0 };
        name.length = crate::text::read(value, &mut name.bytes).unwrap_or_default();
        name
    }

    fn as_str(&self) -> &str {
        // Only whole characters are written, so this cannot fail.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}
