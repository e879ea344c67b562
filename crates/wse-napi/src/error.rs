//! How an error crosses into JavaScript: `CODE: message`, taken apart again in `lib/errors.ts` and known
//! nowhere else.

use wse_engine::EngineError;

/// An engine's error for JavaScript.
pub fn from_engine(error: EngineError) -> napi::Error {
    coded(error.code(), &error.to_string())
}

/// An error with a code.
pub fn coded(code: &str, message: &str) -> napi::Error {
    napi::Error::from_reason(format!("{code}: {message}"))
}
