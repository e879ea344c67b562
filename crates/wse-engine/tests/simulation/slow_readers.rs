//! Verifies that a reader that stalls costs nobody else anything: its queue is bounded, what it missed is
//! counted and told, and it is closed when it stays slow.

use crate::client::Client;
use crate::world::{World, settings, value};
use wse_engine::Config;
use wse_engine::config::OutboundLimits;
use wse_protocol::priority::Priority;

fn bounded(max_messages: usize, max_bytes: usize) -> Config {
    let outbound = OutboundLimits { max_messages, max_bytes, slow_timeout_ms: 10_000 };
    Config { outbound, ..settings() }
}

fn gaps(client: &Client, topic: Option<&str>) -> u64 {
    let gaps = client.told("gap").into_iter().filter(|gap| gap["topic"].as_str() == topic);
    gaps.filter_map(|gap| gap["count"].as_u64()).sum()
}

/// A stalled and a healthy reader of `news`, and publications one by one.
fn flood(world: &mut World, publications: u64, padding: usize) -> (Client, Client) {
    let (slow, healthy) = (world.connect_to("news"), world.connect_to("news"));
    // Past the deadline of their handshakes, so that each later one is the reader's own.
    world.pass(12_000);
    slow.stop_reading(100);
    for n in 0..publications {
        assert!(world.publish_number("news", n, padding));
        world.settle();
    }
    assert_eq!(healthy.numbers("news"), (0..publications).collect::<Vec<_>>());
    (slow, healthy)
}

#[test]
fn the_queue_holds_no_more_messages_than_its_bound() {
    let mut world = World::new(bounded(10, 0));
    let (slow, _) = flood(&mut world, 100, 0);
    let longest = &world.shared.desks[0].longest;
    assert_eq!(longest.messages.load(std::sync::atomic::Ordering::Relaxed), 10);
    let refused = value(&world.shared.metrics.outbound_refused_total);
    slow.resume();
    world.settle();
    let got = slow.numbers("news");
    assert_eq!(got, (0..got.len() as u64).collect::<Vec<_>>(), "the newcomers were refused");
    assert_eq!(got.len() as u64 + refused, 100);
    assert_eq!(gaps(&slow, Some("news")), refused);
    world.publish_number("news", 100, 0);
    world.settle();
    assert_eq!(slow.numbers("news").last(), Some(&100), "it has caught up");
    assert_eq!(world.shared.budget.used(), 0);
}

#[test]
fn the_queue_holds_no_more_bytes_than_its_bound() {
    let mut world = World::new(bounded(0, 5_000));
    let (slow, _) = flood(&mut world, 100, 1_000);
    let bytes = world.shared.desks[0].longest.bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!((4_000..=5_000).contains(&bytes), "{bytes} bytes wait");
    assert!(world.shared.budget.used() <= 6_500, "what nobody waits for is given back");
    slow.resume();
    world.settle();
    assert_eq!(slow.numbers("news").len() as u64 + gaps(&slow, Some("news")), 100);
}

#[test]
fn a_burst_of_a_healthy_reader_is_no_backlog() {
    let mut world = World::new(bounded(10, 10_000));
    let client = world.connect_to("news");
    for n in 0..5_000 {
        assert!(world.publish_number("news", n, 10));
    }
    world.settle();
    assert_eq!(client.numbers("news"), (0..5_000).collect::<Vec<_>>());
    assert_eq!(value(&world.shared.metrics.outbound_refused_total), 0);
}

#[test]
fn every_topic_that_was_missed_is_told() {
    let mut world = World::new(bounded(4, 0));
    let client = world.connect();
    let topics = (0..40).map(|n| format!("topic{n}")).collect::<Vec<_>>();
    for topic in &topics {
        world.subscribe(client.key(), topic);
    }
    world.settle();
    client.stop_reading(1);
    for round in 0..3 {
        for topic in &topics {
            world.publish_number(topic, round, 0);
        }
        world.settle();
    }
    client.resume();
    world.settle();
    let got = topics.iter().map(|topic| client.numbers(topic).len() as u64).sum::<u64>();
    let told = client.told("gap").iter().filter_map(|gap| gap["count"].as_u64()).sum::<u64>();
    assert_eq!(got + told, 3 * 40, "received and told together are everything");
}

#[test]
fn a_unicast_to_a_full_queue_is_refused_at_once_and_leaves_a_hole_in_the_numbers() {
    let mut world = World::new(bounded(4, 0));
    let client = world.connect();
    client.stop_reading(1);
    let mut queued = Vec::new();
    for _ in 0..10 {
        queued.extend(world.send(client.key(), r#"{"t":"one","p":{}}"#));
        world.settle();
    }
    client.resume();
    world.settle();
    assert_eq!(world.send(client.key(), r#"{"t":"one","p":{}}"#), Some(11));
    world.settle();
    let seen = client.envelopes().iter().filter_map(|one| one["seq"].as_u64()).collect::<Vec<_>>();
    let missed = gaps(&client, None);
    assert_eq!(seen.last(), Some(&11));
    assert_eq!(seen.len() as u64 - 1 + missed, queued.len() as u64);
}

#[test]
fn a_reader_that_stays_slow_is_closed_and_its_socket_ends() {
    let mut world = World::new(bounded(10, 0));
    let (slow, healthy) = flood(&mut world, 50, 0);
    for n in 50..59 {
        world.pass(1_100);
        assert!(world.publish_number("news", n, 0));
    }
    assert_eq!(world.open(), 2);
    world.pass(200);
    assert_eq!(world.open(), 1);
    assert_eq!(value(&world.shared.metrics.slow_closed_total), 1);
    assert!(!slow.is_gone(), "it may still read why");
    world.pass(2_100);
    assert!(slow.is_gone());
    assert_eq!(world.len(), 1);
    assert_eq!(world.shared.budget.used(), 0);
    assert!(!healthy.is_gone());
}

#[test]
fn a_slow_reader_that_wakes_up_late_reads_why_it_was_closed() {
    let mut world = World::new(bounded(10, 0));
    let (slow, _) = flood(&mut world, 50, 0);
    world.pass(10_100);
    slow.resume();
    world.settle();
    assert_eq!(slow.close_code(), Some(4503));
}

#[test]
fn a_reader_that_catches_up_in_time_stays() {
    let mut world = World::new(bounded(10, 0));
    let (slow, _) = flood(&mut world, 50, 0);
    world.pass(9_000);
    slow.resume();
    world.settle();
    slow.stop_reading(100);
    (0..50).for_each(|n| assert!(world.publish_number("news", n, 0)));
    world.pass(9_000);
    assert_eq!(world.open(), 2, "its ten seconds began anew");
    assert_eq!(value(&world.shared.metrics.slow_closed_total), 0);
}

#[test]
fn over_the_memory_budget_a_publication_is_refused_and_room_comes_back() {
    let mut world = World::new(Config { memory_budget_bytes: 13_000, ..bounded(0, 0) });
    let (slow, healthy) = (world.connect_to("news"), world.connect_to("news"));
    slow.stop_reading(1);
    let mut published = 0;
    while world.publish_number("news", published, 1_000) {
        published += 1;
        world.settle();
    }
    assert_eq!(published, 9, "what waits is counted once, however many wait for it");
    assert_eq!(healthy.numbers("news").len(), 9);
    slow.resume();
    world.settle();
    assert_eq!(world.shared.budget.used(), 0);
    assert!(world.publish_number("news", published, 1_000));
    world.settle();
    assert_eq!(slow.numbers("news").len(), 10);
}

#[test]
fn a_queue_that_stays_more_than_half_full_is_still_slow() {
    for config in [bounded(10, 0), bounded(0, 10_000)] {
        let mut world = World::new(config);
        let (slow, _) = flood(&mut world, 20, 1_000);
        world.let_read(&slow, 3_000);
        world.pass(10_100);
        assert_eq!(value(&world.shared.metrics.slow_closed_total), 1);
    }
}

#[test]
fn the_next_occupant_of_a_slow_readers_place_starts_anew() {
    let mut world = World::new(bounded(2, 0));
    let slow = world.connect();
    slow.stop_reading(1);
    for _ in 0..5 {
        world.send(slow.key(), r#"{"t":"one","p":{}}"#);
        world.settle();
    }
    assert!(world.shared.desks[0].seats.refuses(slow.key(), Priority::Normal));
    slow.kernel().reset();
    world.settle();
    let next = world.connect();
    assert_eq!(slow.key().slot(), next.key().slot());
    assert_eq!(world.send(next.key(), r#"{"t":"one","p":{}}"#), Some(1));
}
