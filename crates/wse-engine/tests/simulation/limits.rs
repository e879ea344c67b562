//! Verifies the limits of a user and of a connection's rate: who gives way, what is told, and when it ends.

use crate::client::{Client, TEXT};
use crate::world::{World, settings, value};
use serde_json::json;
use wse_engine::Config;
use wse_engine::config::ConnectionLimitPolicy;
use wse_engine::inbound::Kind;
use wse_engine::rate_limit::Rate;

fn two_each(policy: ConnectionLimitPolicy) -> World {
    let config = Config { max_connections_per_user: 2, connection_limit_policy: policy, ..settings() };
    World::new(config)
}

fn knock(world: &mut World, user: &str, agent: &str) -> Client {
    let client = world.knock_as(user, agent);
    world.settle();
    client
}

#[test]
fn a_new_connection_takes_the_place_of_the_oldest() {
    let mut world = two_each(ConnectionLimitPolicy::Replace);
    let clients = ["a", "b", "c"].map(|agent| knock(&mut world, "ann", agent));
    let other = knock(&mut world, "bob", "a");
    assert_eq!(clients[0].errors(), ["CONNECTION_REPLACED"]);
    assert_eq!(clients[0].close_code(), Some(4403));
    assert!(clients[1].close_code().is_none() && clients[2].close_code().is_none());
    assert!(other.close_code().is_none());
    assert_eq!(world.open(), 3);
    clients[0].close(4403);
    world.settle();
    assert!(clients[0].is_gone());
    assert_eq!(world.shared.users.connections("ann"), [clients[1].key(), clients[2].key()]);
}

#[test]
fn one_that_owes_an_answer_goes_before_the_oldest() {
    let mut world = two_each(ConnectionLimitPolicy::Replace);
    let (old, silent) = (knock(&mut world, "ann", "a"), knock(&mut world, "ann", "b"));
    world.pass(25_100);
    old.text(r#"{"t":"heartbeat"}"#);
    world.settle();
    let new = knock(&mut world, "ann", "c");
    assert_eq!(silent.close_code(), Some(4403));
    assert!(old.close_code().is_none() && new.close_code().is_none());
}

#[test]
fn two_tabs_do_not_throw_each_other_out_for_ever() {
    let mut world = two_each(ConnectionLimitPolicy::Replace);
    let clients = ["a", "b", "c"].map(|agent| knock(&mut world, "ann", agent));
    assert_eq!(clients[0].close_code(), Some(4403));
    let back = knock(&mut world, "ann", "a");
    assert_eq!((back.errors(), back.close_code()), (vec!["CONNECTION_LIMIT".to_owned()], Some(4429)));
    assert_eq!(back.envelopes().len(), 1, "no server_ready");
    world.pass(30_000);
    clients[1].text("alive");
    clients[2].text("alive");
    world.pass(30_100);
    let later = knock(&mut world, "ann", "a");
    assert!(later.close_code().is_none(), "after a minute it may");
}

#[test]
fn the_other_policy_refuses_the_new_one() {
    let mut world = two_each(ConnectionLimitPolicy::Refuse);
    let first = knock(&mut world, "ann", "a");
    let _second = knock(&mut world, "ann", "b");
    let refused = knock(&mut world, "ann", "c");
    assert_eq!((refused.errors(), refused.close_code()), (vec!["CONNECTION_LIMIT".to_owned()], Some(4429)));
    assert_eq!(world.open(), 2, "its place was given back");
    let events = world.take_events();
    assert!(events.iter().all(|event| event.key != refused.key()), "the application never hears of it");
    first.kernel().reset();
    world.settle();
    assert!(knock(&mut world, "ann", "d").close_code().is_none());
}

#[test]
fn a_user_may_come_and_go_without_a_trace() {
    let mut world = two_each(ConnectionLimitPolicy::Replace);
    for n in 0..100 {
        let client = knock(&mut world, "ann", &n.to_string());
        if n % 3 == 0 {
            client.kernel().reset();
            world.settle();
        }
    }
    world.pass(70_000);
    world.assert_nothing_is_left(&["ann"]);
}

#[test]
fn two_that_arrive_together_take_two_places() {
    let mut world = two_each(ConnectionLimitPolicy::Replace);
    let old = ["a", "b"].map(|agent| knock(&mut world, "ann", agent));
    let new = ["c", "d"].map(|agent| world.knock_as("ann", agent));
    world.settle();
    assert_eq!(old.each_ref().map(Client::close_code), [Some(4403); 2]);
    assert!(new.iter().all(|client| client.close_code().is_none()));
    assert_eq!(world.open(), 2);
}

fn ten_a_second() -> World {
    World::new(Config { rate: Some(Rate { per_second: 10, burst: 10 }), ..settings() })
}

#[test]
fn a_rate_is_warned_of_then_told_then_enforced() {
    let mut world = ten_a_second();
    let (flooder, healthy) = (world.connect(), world.connect());
    (0..20).for_each(|_| flooder.text("x"));
    world.settle();
    let warning = json!({ "current_rate": 9, "limit": 10, "remaining": 1, "retry_after": 0.9 });
    assert_eq!(flooder.told("rate_limit_warning"), [warning]);
    assert_eq!(flooder.errors(), ["RATE_LIMITED"], "once a second, not once a message");
    let raw = world.take_events().into_iter().filter(|event| event.kind == Kind::Raw).count();
    assert_eq!(raw, 10);
    assert_eq!(value(&world.shared.metrics.rate_dropped_total), 10);
    let mut tenths = 0;
    while flooder.close_code().is_none() && tenths < 100 {
        (0..5).for_each(|_| flooder.text("x"));
        world.pass(100);
        healthy.text("y");
        world.pass(100);
        tenths += 2;
    }
    assert_eq!(flooder.close_code(), Some(4429));
    assert_eq!(tenths, 52, "five seconds of excess, and the turn that found them over");
    assert!(healthy.errors().is_empty() && healthy.close_code().is_none());
}

#[test]
fn a_burst_that_ends_is_forgiven() {
    let mut world = ten_a_second();
    let client = world.connect();
    for _ in 0..10 {
        (0..15).for_each(|_| client.text("x"));
        world.pass(5_000);
    }
    assert!(client.close_code().is_none());
    assert_eq!(value(&world.shared.metrics.rate_dropped_total), 50);
}

#[test]
fn no_answer_is_much_larger_than_its_request() {
    let mut world = World::new(settings());
    let client = world.connect();
    let most = 1 << 20;
    client.subscribe(&[&"ä".repeat(most / 2 - 500)]);
    client.text(&json!({"t": "sync_request", "p": {"topics": ["a".repeat(most - 100)]}}).to_string());
    let topics = (0..1_024).map(|n| format!("{n}{}", "\u{1}".repeat(130))).collect::<Vec<_>>();
    client.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    world.settle();
    assert_eq!(client.told("subscription_update").len(), 2);
    assert_eq!(client.told("snapshot_complete").len(), 1);
    assert!(client.payloads(TEXT).iter().all(|payload| payload.len() <= most));
}

#[test]
fn a_client_that_reads_has_its_answers_also_when_memory_is_used_up() {
    let mut world = World::new(Config { memory_budget_bytes: 10_000, ..settings() });
    let client = world.connect();
    let rest = world.shared.budget.limit() - world.shared.budget.used();
    let _all = world.shared.budget.charge(rest).expect("it is what is left");
    client.text(r#"{"t":"client_hello","p":{"protocol_version":1}}"#);
    client.subscribe(&["news"]);
    world.settle();
    assert_eq!(client.told("server_hello").len(), 1);
    assert_eq!(client.told("subscription_update").len(), 1);
}

#[test]
fn the_error_that_says_why_comes_before_the_close_whatever_waits() {
    let mut world = two_each(ConnectionLimitPolicy::Replace);
    let clients = ["a", "b"].map(|agent| knock(&mut world, "ann", agent));
    clients[0].stop_reading(30);
    for _ in 0..5 {
        assert!(world.publish_all(r#"{"t":"all","p":{}}"#));
        world.settle();
    }
    knock(&mut world, "ann", "c");
    clients[0].resume();
    world.settle();
    assert_eq!(
        (clients[0].errors(), clients[0].close_code()),
        (vec!["CONNECTION_REPLACED".to_owned()], Some(4403))
    );
    assert_eq!(clients[0].told("all").len(), 1, "what had begun to leave");
}
