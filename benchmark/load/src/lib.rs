//! The load of the benchmarks: clients that cost less than any server they talk to.

pub mod clock;
pub mod connection;
pub mod control;
pub mod counters;
pub mod frame;
pub mod generator;
pub mod latency;
pub mod peer;
pub mod target;
pub mod tls;
pub mod transport;
pub mod work;
