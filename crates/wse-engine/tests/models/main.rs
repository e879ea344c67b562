//! Verifies that what threads share is right at every order of their accesses, as far as a few preemptions go.
//!
//! The real code on the locks and atomics of loom (`src/sync.rs`). Built apart, with `--cfg loom`: see `scripts/test.mjs`.
#![cfg(loom)]

mod door;
mod groups;
mod host;
mod logs;
mod mailbox;
mod pressure;
mod seats;
mod topics;

use loom::model::Builder;
use loom::sync::Notify;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;
use uuid::Uuid;
use wse_engine::content::Content;
use wse_engine::id::IdKey;
use wse_engine::publishing::{Published, Publishing};
use wse_engine::recovery::Position;
use wse_engine::shard::Now;
use wse_engine::shared::Shared;
use wse_engine::{Config, Host};

/// Stack of a thread, in words.
const STACK: usize = 1 << 15;
/// Accesses of one run after which it is said never to end.
const MOST_BRANCHES: usize = 50_000;
/// A moment.
pub const NOW: Now = Now { millis: 1, unix_ms: 1 };

/// Plays `run` in every order, with as many preemptions as `LOOM_MAX_PREEMPTIONS` says, or two.
pub fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.max_branches = MOST_BRANCHES;
    builder.check(run);
}

/// Starts a thread of a model.
pub fn start<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(run).expect("a model has few threads")
}

struct Bell(Arc<Notify>);

impl Host for Bell {
    fn wake(&self) {
        self.0.notify();
    }
}

/// One shard with a thread, few places, and no log.
pub fn settings() -> Config {
    Config { shards: 1, max_connections: 1, max_handshakes: 1, ..Config::default() }
}

/// What shards share, and what their host sleeps on.
pub fn share(config: Config) -> (Arc<Shared>, Arc<Notify>) {
    let bell = Arc::<Notify>::default();
    (Arc::new(Shared::new(config, Box::new(Bell(Arc::clone(&bell))), IdKey::new(1, 2))), bell)
}

/// Publishes to `topic`, or is told when there may be room.
pub fn try_publish(shared: &Shared, topic: &str) -> Published {
    let publishing = Publishing { waits: true, ..Publishing::default() };
    let content = Content::Text(r#"{"t":"x","p":{}}"#);
    shared.publish(topic, content, publishing, NOW, Uuid::nil).expect("it is a good one")
}

/// Publishes to `topic`, where there is room: where it stands in the log.
pub fn publish(shared: &Shared, topic: &str) -> Option<Position> {
    match try_publish(shared, topic) {
        Published::Queued(position) => position,
        Published::Refused(lacking) => panic!("there is room: {lacking:?}"),
    }
}
