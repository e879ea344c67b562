//! What is on the wire: frames, envelopes, topics and codes. No I/O; time and randomness are arguments.
#![forbid(unsafe_code)]

pub mod codes;
mod error;
pub mod frame;
pub mod scan;
pub mod topic;
