//! One process full of connections.
//!
//! [`Engine`] is the handle that everyone else holds. Behind it stand shards, a thread each, that own
//! their connections alone; what is shared between them are small registries, each behind its own lock.
#![deny(unsafe_code)]

pub mod access;
pub mod admission;
pub mod answer;
pub mod attendance;
pub mod auth;
pub mod budget;
pub mod calendar;
pub mod command;
pub mod config;
pub mod connection;
pub mod content;
pub mod core;
pub mod crypto;
pub mod cursor;
pub mod deadlines;
pub mod decoding;
pub mod deflate;
pub mod delivery;
pub mod driver;
pub mod echo;
pub mod encoding;
pub mod engine;
pub mod error;
pub mod expiry;
pub mod farewell;
pub mod fields;
pub mod frame;
pub mod groups;
pub mod handled;
pub mod handshake;
pub mod heartbeat;
pub mod host;
pub mod id;
pub mod idempotency;
pub mod inbound;
pub mod jwt;
pub mod keys;
pub mod log;
pub mod logs;
pub mod metrics;
pub mod outbound;
pub mod policy;
pub mod presence;
pub mod pressure;
pub mod publishing;
pub mod query;
pub mod questions;
pub mod rate_limit;
pub mod recovery;
pub mod refresh;
pub mod requests;
pub mod seats;
pub mod secrecy;
pub mod session;
pub mod shard;
pub mod shared;
pub mod signing;
pub mod slab;
pub mod speech;
pub mod streams;
pub mod subscription;
pub mod tickets;
pub mod tls;
pub mod topics;
pub mod turn;
pub mod users;

pub use config::Config;
pub use engine::Engine;
pub use error::EngineError;
pub use host::{Host, Reply};
pub use id::{ConnectionId, ConnectionKey};
