//! Streams: sockets that JavaScript reads and writes, served on its own thread.
//!
//! What a turn asks for is a list of buffers: first when the next turn is due and the rows, then the chunks that the
//! rows speak of.

use crate::instance::{self, Instance};
use crate::router::decision;
use napi::bindgen_prelude::{BufferSlice, Env, Result, Uint8ArraySlice};
use napi_derive::napi;
use std::net::{IpAddr, Ipv4Addr};
use wse_engine::streams::{Next, Streams};

/// Nothing is due.
const NEVER: u32 = u32::MAX;
/// Takes a stream over; its number, or null when there is no place for it.
///
/// `head` is the request as it was read, with what came behind it; `address` the peer's; a pipe has
/// none, which is `0.0.0.0`.
/// `is_decided`, `user_id` and `claims` as in `adopt`.
#[napi]
pub fn open_stream(
    handle: u32,
    address: Option<String>,
    head: Uint8ArraySlice<'_>,
    is_decided: bool,
    user_id: Option<String>,
    claims: Option<String>,
) -> Result<Option<u32>> {
    instance::with(handle, |it| {
        let mut streams = it.streams.borrow_mut();
        if streams.is_none() {
            *streams = it.engine.streams();
        }
        // Without them the engine closes.
        let Some(streams) = streams.as_mut() else { return Ok(None) };
        // The zone of a link-local address names an interface of this machine, not the peer.
        let address =
            address.as_deref().and_then(|address| address.split('%').next()?.parse::<IpAddr>().ok());
        let peer = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical();
        Ok(streams.open(peer, head.to_vec(), decision(is_decided, user_id, claims)))
    })
}

/// Bytes have arrived on a stream; false: stop reading it until a turn says otherwise.
#[napi]
pub fn stream_arrived(handle: u32, stream: u32, bytes: Uint8ArraySlice<'_>) -> Result<bool> {
    with(handle, |streams| streams.arrived(stream, &bytes))
}

/// A stream's peer sends nothing more.
#[napi]
pub fn stream_ended(handle: u32, stream: u32) -> Result<()> {
    with(handle, |streams| streams.ended(stream))
}

/// A stream is closed.
#[napi]
pub fn stream_gone(handle: u32, stream: u32) -> Result<()> {
    with(handle, |streams| streams.gone(stream))
}

/// A stream takes nothing more for now.
#[napi]
pub fn stream_blocked(handle: u32, stream: u32) -> Result<()> {
    with(handle, |streams| streams.blocked(stream))
}

/// A stream takes bytes again.
#[napi]
pub fn stream_drained(handle: u32, stream: u32) -> Result<()> {
    with(handle, |streams| streams.drained(stream))
}

/// Tells every connection on a stream that the server restarts, and ends it.
#[napi]
pub fn disconnect_streams(handle: u32) -> Result<()> {
    instance::with(handle, |it| {
        it.engine.disconnect_streams();
        Ok(())
    })
}

/// Takes a turn: what it asks for, or an empty list when nothing was ever opened. A row has five words: the stream,
/// the chunk, where its bytes begin and end there, and what comes next (0 nothing, 1 resume, 2 end, 3 close).
#[napi]
pub fn turn_streams<'a>(env: &'a Env, handle: u32) -> Result<Vec<BufferSlice<'a>>> {
    let outcome = with(handle, |streams| Some(streams.turn()))?;
    let Some(outcome) = outcome else { return Ok(Vec::new()) };
    let due = outcome.due_ms.map_or(NEVER, |due| due.min(u64::from(NEVER - 1)) as u32);
    let mut table = due.to_le_bytes().to_vec();
    for row in &outcome.rows {
        let next = match row.next {
            Next::Go => 0,
            Next::Resume => 1,
            Next::End => 2,
            Next::Close => 3,
        };
        for word in [row.stream, row.chunk, row.begin, row.end, next] {
            table.extend_from_slice(&word.to_le_bytes());
        }
    }
    // Copied: handing memory over costs JavaScript more than 64 KiB of copying, and Bun loses some of it.
    std::iter::once(table).chain(outcome.chunks).map(|bytes| BufferSlice::copy_from(env, bytes)).collect()
}

/// Runs `work` on the streams of `handle`, if it has any.
fn with<T: Default>(handle: u32, work: impl FnOnce(&mut Streams) -> T) -> Result<T> {
    instance::with(handle, |it: &Instance| Ok(it.streams.borrow_mut().as_mut().map(work).unwrap_or_default()))
}
