//! What is on the wire: frames, envelopes, topics and codes. No I/O; time and randomness are arguments.
#![forbid(unsafe_code)]

pub mod canonical;
pub mod codes;
pub mod compress;
pub mod crypto;
pub mod envelope;
mod error;
pub mod form;
pub mod frame;
pub mod glob;
pub mod message;
pub mod msgpack;
pub mod priority;
pub mod request;
pub mod rules;
pub mod scan;
pub mod sign;
pub mod ticket;
mod timestamp;
pub mod topic;
pub mod transform;
