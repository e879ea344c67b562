//! JavaScript strings as text, without a call for their length.

use crate::error::coded;
use napi::bindgen_prelude::Result;
use napi::{JsString, JsValue, check_status, sys};
use std::cell::RefCell;

/// Room that most messages fit in. It is one thread's and stays, so that a call allocates nothing to read them.
const ROOM: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; ROOM]);
}

/// Runs `work` on the text of `value`. What is none is `WSE_MESSAGE_INVALID`.
pub fn with_text<T>(value: &JsString<'_>, work: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    BUFFER.with(|buffer| {
        // A nested call, which no caller makes today, gets a buffer of its own.
        let Ok(mut buffer) = buffer.try_borrow_mut() else {
            return work(value.into_utf8()?.as_str()?);
        };
        let length = read(value, &mut buffer)
            .map_err(|_| coded("WSE_MESSAGE_INVALID", "expected text, or an event that JSON can hold"))?;
        // The engine of JavaScript stops at whole characters; a full buffer may have cut the text.
        if length + 4 >= buffer.len() {
            drop(buffer);
            return work(value.into_utf8()?.as_str()?);
        }
        // Checked, not trusted: it costs nanoseconds.
        let text = std::str::from_utf8(&buffer[..length])
            .map_err(|error| napi::Error::from_reason(error.to_string()))?;
        work(text)
    })
}

/// Reads as much of the text of `value` as fits into `buffer`; how many bytes.
pub fn read(value: &JsString<'_>, buffer: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    // SAFETY: the value belongs to the environment that is calling; the pointer and the length are those of
    // `buffer`, which nothing else uses during the call, and what is written is at most that long.
    check_status!(unsafe {
        sys::napi_get_value_string_utf8(
            value.value().env,
            value.raw(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            &mut length,
        )
    })?;
    Ok(length)
}
