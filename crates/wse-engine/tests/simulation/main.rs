//! Runs a shard without a kernel, a clock or threads: the twin of `driver.rs` for tests.
//!
//! [`world`] drives the shard, [`application`] plays the host, [`kernel`] the sockets, [`client`] the peers,
//! [`listener`] those that understand every way of speaking.
//! Every other module verifies one behaviour. Time passes only when a test says so.

mod application;
mod client;
mod kernel;
mod listener;
mod world;

mod decoding;
mod deflate;
mod echo;
mod endings;
mod expiry;
mod groups;
mod handshakes;
mod heartbeats;
mod inbound;
mod journeys;
mod ledger;
mod limits;
mod logs;
mod overload;
mod partial_writes;
mod presence;
mod random;
mod reconnects;
mod requests;
mod rules;
mod secrecy;
mod signing;
mod slow_readers;
mod speeches;
mod splits;
mod storms;
