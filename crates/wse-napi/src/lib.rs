//! The addon: conversions between the engine and JavaScript, no decisions.
//!
//! Exported functions are free functions that take a small handle, because a class method costs eight times
//! as much. Everything is handed over as text, numbers or one table; nothing is built object by object.

mod config;
mod drain;
mod error;
mod instance;
mod jwt;
mod policies;
mod router;
mod server;
mod sign;
mod streams;
mod text;
mod transform;
