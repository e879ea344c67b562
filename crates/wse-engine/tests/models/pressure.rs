//! A publisher that waits for room, and the shards that make it.

use crate::{model, settings, share, start, try_publish};
use loom::sync::Notify;
use std::sync::Arc;
use wse_engine::Config;
use wse_engine::frame::{FRAME_WEIGHT, Payload, ROOM};
use wse_engine::policy::{Overflow, Policies, Policy};
use wse_engine::pressure::Blocked;
use wse_engine::publishing::Published;
use wse_engine::shared::Shared;
use wse_protocol::frame::OpCode;

/// Two shards drop what they hold, and end a turn; the publisher tries again whenever it is told.
fn tries_until_there_is_room<T: Send + 'static>(
    (shared, bell): (Arc<Shared>, Arc<Notify>),
    held: [T; 2],
    try_it: impl Fn(&Shared) -> bool,
) {
    for held in held {
        let (shared, bell) = (Arc::clone(&shared), Arc::clone(&bell));
        start(move || {
            drop(held);
            // As `Shard::turn` does.
            if shared.pressure.take_room(|| shared.budget.used(), shared.budget.limit()) {
                bell.notify();
            }
        });
    }
    while !try_it(&shared) {
        bell.wait();
    }
}

/// Publishers of every topic wait for its readers.
fn blocking() -> Config {
    let block = Policy { overflow: Overflow::Block(1), ..Policy::default() };
    Config { policies: Arc::new(Policies::new([(vec!["*".into()], block)])), ..settings() }
}

#[test]
fn a_reader_is_waited_for_whoever_makes_and_forgets_its_topic() {
    model(|| {
        let (shared, _) = share(blocking());
        let other = Arc::clone(&shared);
        start(move || {
            let topic = other.topics.want("t", 1);
            other.topics.release(&topic, 1);
        });
        for _ in 0..2 {
            let topic = shared.topics.want("t", 0);
            let held = Blocked::new(&topic);
            shared.topics.release(&topic, 0);
            drop(topic);
            let again = shared.topics.want("t", 0);
            assert!(again.brake().is_on() && held.is_of(&again));
            drop(held);
            assert!(!again.brake().is_on());
            shared.topics.release(&again, 0);
        }
    });
}

#[test]
fn who_waits_for_readers_is_told_when_the_last_has_caught_up() {
    model(|| {
        let engine = share(blocking());
        let topic = engine.0.topics.want("t", 0);
        let held = [Blocked::new(&topic), Blocked::new(&topic)];
        tries_until_there_is_room(engine, held, |shared| {
            matches!(try_publish(shared, "t"), Published::Queued(_))
        });
    });
}

#[test]
fn who_waits_for_memory_is_told_when_there_is_some_also_for_what_takes_nearly_all() {
    const LIMIT: usize = 10_000;
    model(|| {
        let engine = share(Config { memory_budget_bytes: LIMIT, ..settings() });
        // What the first makes is not enough to tell.
        let held = [5, 95].map(|percent| engine.0.charge(LIMIT / 100 * percent).expect("it fits"));
        tries_until_there_is_room(engine, held, |shared| {
            let bytes = Payload::room(LIMIT / 100 * 95 - FRAME_WEIGHT - ROOM);
            shared.charged(Payload::new(OpCode::Binary, bytes, None, None), true).is_some()
        });
    });
}
