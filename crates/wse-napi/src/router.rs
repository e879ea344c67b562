//! Taking a socket over from the host's HTTP server.

use crate::error::{coded, from_engine};
use crate::instance;
use napi::bindgen_prelude::{Result, Uint8ArraySlice};
use napi_derive::napi;
use wse_engine::admission::Knock;
use wse_engine::auth::{Decision, Identity};

/// Takes over the socket behind `descriptor`, which stays the caller's to close.
///
/// `head` is the request as it was read, with what came behind it. `is_decided`: the host has asked who it is;
/// then `claims` (JSON) lets it in, and none refuses it.
#[napi]
#[cfg(unix)]
pub fn adopt(
    handle: u32,
    descriptor: i32,
    head: Uint8ArraySlice<'_>,
    is_decided: bool,
    user_id: Option<String>,
    claims: Option<String>,
) -> Result<()> {
    use std::os::fd::BorrowedFd;
    use wse_engine::driver::Adoption;

    if descriptor < 0 {
        return Err(coded("WSE_ADOPT_FAILED", "the socket has no descriptor"));
    }
    // SAFETY: the caller holds the socket open for the length of this call, and -1 is excluded above. Borrowing
    // leaves the descriptor its own; what is kept is a duplicate.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let duplicate =
        borrowed.try_clone_to_owned().map_err(|error| coded("WSE_ADOPT_FAILED", &error.to_string()))?;
    let decision = decision(is_decided, user_id, claims);
    let adoption = Adoption { socket: duplicate.into(), head: head.to_vec(), decision };
    instance::with(handle, |it| it.engine.adopt(adoption).map_err(from_engine))
}

/// What to do with a request, whose `head` was read, before the application is asked about it: 0 ask, -1 hand it over
/// without a decision, else answer 503 with so many seconds.
#[napi]
pub fn knock(handle: u32, head: Uint8ArraySlice<'_>) -> Result<i32> {
    instance::with(handle, |it| {
        Ok(match it.engine.knock(&head) {
            Knock::Ask => 0,
            Knock::HandOver => -1,
            Knock::Refuse { seconds } => seconds as i32,
        })
    })
}

/// What the host has decided before it hands a socket over.
pub fn decision(is_decided: bool, user_id: Option<String>, claims: Option<String>) -> Decision {
    match claims {
        Some(claims) => Decision::Granted(Identity::decided(user_id, claims)),
        None if is_decided => Decision::Refused,
        None => Decision::Open,
    }
}

/// Sockets have no descriptor that could be handed over here.
#[napi]
#[cfg(not(unix))]
pub fn adopt(
    _handle: u32,
    _descriptor: i32,
    _head: Uint8ArraySlice<'_>,
    _is_decided: bool,
    _user_id: Option<String>,
    _claims: Option<String>,
) -> Result<()> {
    Err(coded("WSE_ATTACH_UNSUPPORTED", "this platform has no descriptors to hand over"))
}
